//! The attentions of the model: within windows of a map, between channels, of the encoder, and of the decoder over its caches.

use candle_core::{D, DType, Result, Tensor, bail};
use florence_cpu::attention as cpu;
use florence_cpu::memory::Shared;
use florence_cpu::simd::InstructionSet;

use super::DecoderCache;
use super::composed::{attend, softmax_f32};
use super::values::{Values, is_on_cpu, tensor};

/// Attention between the pixels of each window of a map.
///
/// `qkv` `[batch, height, width, 3 * channels]` holds queries, keys and values; the result is `[batch, height, width, channels]`.
/// Windows of `side` x `side` pixels tile the map from its upper left corner. What they cover beyond the map is attended to,
/// with `bias` `[3 * channels]`, or zeros, for queries, keys and values.
///
/// # Errors
/// Shapes that do not fit, and the device's own.
pub fn window_attention(qkv: &Tensor, bias: Option<&Tensor>, heads: usize, side: usize) -> Result<Tensor> {
    let (batch, height, width, triple) = qkv.dims4()?;
    let channels = triple / 3;
    if is_on_cpu(qkv) {
        let qkv = qkv.contiguous()?;
        let zeros = vec![0.; triple];
        let (qkv, bias) = (Values::of(&qkv), bias.map(Values::of));
        let beyond = match &bias {
            None => zeros.as_slice(),
            Some(bias) => bias.get()?,
        };
        let input = cpu::WindowInput { qkv: qkv.get()?, beyond, height, width, heads, side };
        return tensor(cpu::window_attention(input, InstructionSet::chosen()), (batch, height, width, channels));
    }
    #[cfg(feature = "cuda")]
    if qkv.device().is_cuda() {
        return super::cuda::window_attention(&qkv.contiguous()?, bias, heads, side);
    }
    let (rows, columns) = (height.div_ceil(side), width.div_ceil(side));
    let padded = pad_with(&pad_with(qkv, 1, rows * side, bias)?, 2, columns * side, bias)?;
    let windows = padded.reshape(&[batch, rows, side, columns, side, triple])?.transpose(2, 3)?.reshape((
        batch * rows * columns,
        side * side,
        triple,
    ))?;
    let [q, k, v] = split_heads(&windows, heads)?;
    let attended = attend(&(q * inverse_root(channels / heads))?, &k, &v, None)?;
    join_heads(&attended)?
        .reshape(&[batch, rows, columns, side, side, channels])?
        .transpose(2, 3)?
        .reshape((batch, rows * side, columns * side, channels))?
        .narrow(1, 0, height)?
        .narrow(2, 0, width)?
        .contiguous()
}

/// Attention between the channels of each of `groups`, over all pixels: `qkv` `[batch, pixels, 3 * channels]` to
/// `[batch, pixels, channels]`.
///
/// The product of queries and keys sums over every pixel, up to 36,864 of them, so it is computed in f32. The scale is the
/// number of pixels, not the width of a group.
///
/// # Errors
/// Shapes that do not fit, and the device's own.
pub fn channel_attention(qkv: &Tensor, groups: usize) -> Result<Tensor> {
    let (batch, pixels, triple) = qkv.dims3()?;
    if is_on_cpu(qkv) {
        let qkv = qkv.contiguous()?;
        let attended =
            cpu::channel_attention(Values::of(&qkv).get()?, batch, triple / 3, groups, InstructionSet::chosen());
        return tensor(attended, (batch, pixels, triple / 3));
    }
    #[cfg(feature = "cuda")]
    if qkv.device().is_cuda() {
        return super::cuda::channel_attention(&qkv.contiguous()?, groups);
    }
    let [q, k, v] = split_heads(qkv, groups)?;
    let q = (q.to_dtype(DType::F32)? * inverse_root(pixels))?;
    let scores = q.transpose(D::Minus2, D::Minus1)?.matmul(&k.to_dtype(DType::F32)?)?;
    let weights = softmax_f32(&scores)?.to_dtype(v.dtype())?;
    // (A vᵀ)ᵀ = v Aᵀ
    join_heads(&v.matmul(&weights.transpose(D::Minus2, D::Minus1)?)?)
}

/// Attention of every position to every other of its row: `qkv` `[batch, length, 3 * width]` to `[batch, length, width]`. Of each
/// row the first `lengths[row]` positions are attended to.
///
/// # Errors
/// Shapes that do not fit, and the device's own.
pub fn encoder_attention(qkv: &Tensor, heads: usize, lengths: &[usize]) -> Result<Tensor> {
    let (batch, longest, triple) = qkv.dims3()?;
    if is_on_cpu(qkv) {
        let qkv = qkv.contiguous()?;
        let values = Values::of(&qkv);
        let attended = cpu::sequence_attention(values.get()?, triple / 3, heads, lengths, InstructionSet::chosen());
        return tensor(attended, (batch, longest, triple / 3));
    }
    #[cfg(feature = "cuda")]
    if qkv.device().is_cuda() {
        return super::cuda::encoder_attention(&qkv.contiguous()?, heads, lengths);
    }
    let mask = padding_mask(lengths, longest, qkv)?;
    let [q, k, v] = split_heads(qkv, heads)?;
    join_heads(&attend(&(q * inverse_root(triple / 3 / heads))?, &k, &v, mask.as_ref())?)
}

/// Attention of the decoder to what it has written, the present token included, which is written to the caches on the way.
///
/// `qkv` `[rows, 3 * width]` to `[rows, width]`; the rows are the beams of the first cache, those of the second, and so on.
///
/// # Errors
/// Shapes that do not fit, and the device's own.
pub fn cached_attention(qkv: &Tensor, heads: usize, layer: usize, caches: &mut [&mut DecoderCache]) -> Result<Tensor> {
    let width = qkv.dim(1)? / 3;
    if is_on_cpu(qkv) {
        return cached_on_cpu(qkv, heads, layer, caches);
    }
    let (queries, token) = (qkv.narrow(1, 0, width)?, qkv.narrow(1, width, 2 * width)?);
    let mut start = 0;
    let mut attended = Vec::with_capacity(caches.len());
    for cache in caches {
        let beams = cache.beams();
        let (queries, token) = (queries.narrow(0, start, beams)?, token.narrow(0, start, beams)?);
        start += beams;
        let written = append(cache, layer, &token.contiguous()?)?;
        let (keys, values) = (written.narrow(2, 0, width)?, written.narrow(2, width, width)?);
        attended.push(attend_heads(&queries.unsqueeze(1)?, &keys, &values, heads)?);
    }
    Tensor::cat(&attended, 0)?.squeeze(1)
}

/// Writes one token's keys and values `[beams, 2 * width]` of a layer and gives all of each beam, `[beams, length, 2 * width]`.
fn append(cache: &mut DecoderCache, layer: usize, token: &Tensor) -> Result<Tensor> {
    let (beams, width) = token.dims2()?;
    let length = cache.length();
    let own = cache.own()?.get(layer)?;
    own.slice_set(&token.unsqueeze(0)?, 0, length)?;
    #[allow(clippy::cast_possible_truncation, reason = "tokens and beams are few")]
    let rows = (0..beams).flat_map(|beam| {
        let written =
            cache.ancestry(beam).iter().enumerate().map(move |(token, place)| token * beams + usize::from(*place));
        written.chain([length * beams + beam]).map(|row| row as u32)
    });
    let rows = Tensor::from_iter(rows, token.device())?;
    let all = own.narrow(0, 0, length + 1)?.reshape(((length + 1) * beams, width))?;
    all.index_select(&rows, 0)?.reshape((beams, length + 1, width))
}

/// Attention of the decoder to the encoder's output: `queries` `[rows, width]` to the same shape, rows as in [`cached_attention`].
///
/// The beams of an input attend as if they were its successive positions, so its keys and values are read once.
///
/// # Errors
/// Shapes that do not fit, and the device's own.
pub fn cross_attention(queries: &Tensor, heads: usize, layer: usize, caches: &[&mut DecoderCache]) -> Result<Tensor> {
    let width = queries.dim(1)?;
    if is_on_cpu(queries) {
        return cross_on_cpu(queries, heads, layer, caches);
    }
    let mut start = 0;
    let mut attended = Vec::with_capacity(caches.len());
    for cache in caches {
        let queries = queries.narrow(0, start, cache.beams())?.unsqueeze(0)?;
        start += cache.beams();
        let cross = cache.cross().get(layer)?.unsqueeze(0)?;
        let (keys, values) = (cross.narrow(2, 0, width)?, cross.narrow(2, width, width)?);
        attended.push(attend_heads(&queries, &keys, &values, heads)?.squeeze(0)?);
    }
    Tensor::cat(&attended, 0)
}

fn cached_on_cpu(qkv: &Tensor, heads: usize, layer: usize, caches: &mut [&mut DecoderCache]) -> Result<Tensor> {
    let (rows, triple) = qkv.dims2()?;
    check_rows(rows, caches)?;
    let qkv = qkv.contiguous()?;
    let own: Vec<Shared<f32>> = caches.iter_mut().map(|cache| cache.own_values(layer)).collect::<Result<_>>()?;
    let written = own.into_iter().zip(caches.iter()).map(|(own, cache)| {
        let ancestry = (0..cache.beams()).map(|beam| cache.ancestry(beam)).collect();
        cpu::Written { own, ancestry }
    });
    let written: Vec<_> = written.collect();
    let values = Values::of(&qkv);
    let input = cpu::StepInput { rows: values.get()?, stride: triple, width: triple / 3, heads };
    // SAFETY: the caches are borrowed for writing, and have room for one more token.
    let attended = unsafe { cpu::cached_attention(input, &written, InstructionSet::chosen()) };
    tensor(attended, (rows, triple / 3))
}

fn cross_on_cpu(queries: &Tensor, heads: usize, layer: usize, caches: &[&mut DecoderCache]) -> Result<Tensor> {
    let (rows, width) = queries.dims2()?;
    check_rows(rows, caches)?;
    let queries = queries.contiguous()?;
    let layers: Vec<Tensor> = caches.iter().map(|cache| cache.cross().get(layer)).collect::<Result<_>>()?;
    let layers: Vec<Values<'_>> = layers.iter().map(Values::of).collect();
    let inputs: Vec<(&[f32], usize)> =
        layers.iter().zip(caches).map(|(layer, cache)| Ok((layer.get()?, cache.beams()))).collect::<Result<_>>()?;
    let values = Values::of(&queries);
    let input = cpu::StepInput { rows: values.get()?, stride: width, width, heads };
    tensor(cpu::cross_attention(input, &inputs, InstructionSet::chosen()), (rows, width))
}

fn check_rows(rows: usize, caches: &[&mut DecoderCache]) -> Result<()> {
    match caches.iter().map(|cache| cache.beams()).sum::<usize>() {
        beams if beams == rows => Ok(()),
        beams => bail!("{rows} rows are not {beams} beams"),
    }
}

/// `q` `[batch, queries, width]`, `k` and `v` `[batch, keys, width]`, all heads side by side, to `[batch, queries, width]`.
fn attend_heads(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize) -> Result<Tensor> {
    let split = |x: &Tensor| {
        let (batch, length, width) = x.dims3()?;
        x.reshape((batch, length, heads, width / heads))?.transpose(1, 2)?.contiguous()
    };
    let scale = inverse_root(q.dim(2)? / heads);
    join_heads(&attend(&(split(q)? * scale)?, &split(k)?, &split(v)?, None)?)
}

/// `[batch, length, 3 * width]` to queries, keys and values `[batch, heads, length, width / heads]`.
fn split_heads(qkv: &Tensor, heads: usize) -> Result<[Tensor; 3]> {
    let (batch, length, triple) = qkv.dims3()?;
    let qkv = qkv.reshape((batch, length, 3, heads, triple / 3 / heads))?;
    let part = |index| qkv.narrow(2, index, 1)?.squeeze(2)?.transpose(1, 2)?.contiguous();
    Ok([part(0)?, part(1)?, part(2)?])
}

/// `[batch, heads, length, width]` to `[batch, length, heads * width]`.
fn join_heads(parts: &Tensor) -> Result<Tensor> {
    parts.transpose(1, 2)?.flatten_from(2)?.contiguous()
}

fn inverse_root(width: usize) -> f64 {
    (width as f64).powf(-0.5)
}

/// Extends an axis of a map to `size` with the bias as every further pixel.
fn pad_with(map: &Tensor, axis: usize, size: usize, bias: Option<&Tensor>) -> Result<Tensor> {
    let missing = size - map.dim(axis)?;
    match bias {
        _ if missing == 0 => Ok(map.clone()),
        None => map.pad_with_zeros(axis, 0, missing),
        Some(bias) => {
            let mut shape = map.dims().to_vec();
            if let Some(length) = shape.get_mut(axis) {
                *length = missing;
            }
            Tensor::cat(&[map, &bias.broadcast_as(shape)?.contiguous()?], axis)
        }
    }
}

/// Added to the score of a masked position. Large enough that its weight is 0 in f32, finite so that a row in which
/// everything is masked stays a number.
const MASKED: f32 = -1e9;

/// `[batch, 1, 1, length]`, zero where there is something to attend to; `None` when nothing is padded.
fn padding_mask(lengths: &[usize], longest: usize, like: &Tensor) -> Result<Option<Tensor>> {
    if lengths.iter().all(|&length| length >= longest) {
        return Ok(None);
    }
    let values: Vec<f32> = lengths
        .iter()
        .flat_map(|&length| (0..longest).map(move |position| if position < length { 0. } else { MASKED }))
        .collect();
    Tensor::from_vec(values, (lengths.len(), 1, 1, longest), like.device()).map(Some)
}
