//! Attention of whole sequences: windows, channels, and the encoder's positions.

use candle_core::{DType, Result, Tensor, bail};

use super::gpu::{Gpu, int, is_half, kernel, launch};
use super::memory::{address, optional_address, unwritten};

/// Window side and head width of the published models, which have a kernel of their own.
const SIDE: usize = 12;
const HEAD: usize = 32;
/// Head width of their text model, likewise, and the queries of a block.
const WIDE: usize = 64;
const QUERIES: usize = 64;
/// Greatest head width of the kernels for any.
const MOST_WIDTH: usize = 256;
/// Blocks over which the sums of a picture's channel attention are spread at least. It does not depend on the batch, so neither do
/// the sums.
const CHANNEL_BLOCKS: usize = 144;
/// Pixels that a block of channel attention takes at a time, and warps that share them.
const STAGE: usize = 64;
/// Rounds of sixteen pixels of a warp when weights and values are multiplied.
const MIX_ROUNDS: usize = 4;

/// Attention between the pixels of each window: `qkv` `[batch, height, width, 3 · channels]` to `[batch, height, width, channels]`.
/// Pixels of a window that lie outside of the map have `bias` `[3 · channels]` as queries, keys and values, or zeros.
///
/// # Errors
/// Shapes that do not fit, and the device's.
pub fn window_attention(qkv: &Tensor, bias: Option<&Tensor>, heads: usize, side: usize) -> Result<Tensor> {
    let (batch, height, width, channels) = qkv.dims4()?;
    let channels = channels / 3;
    let head_width = checked_width(channels, heads)?;
    let out = unwritten((batch, height, width, channels), qkv.dtype(), qkv.device())?;
    if out.elem_count() == 0 {
        return Ok(out);
    }
    let gpu = Gpu::of(qkv.device())?;
    let windows = batch * height.div_ceil(side) * width.div_ceil(side);
    let (from, bias, to) = (address(qkv)?, optional_address(bias)?, address(&out)?);
    let [heads_int, height, width] = [int(heads)?, int(height)?, int(width)?];
    if is_half(qkv.dtype()) && side == SIDE && head_width == HEAD {
        let name = kernel("window_attention", qkv.dtype())?;
        let grid = ((windows * heads) as u32, 1, 1);
        launch!(gpu, name, grid, 2 * (SIDE * SIDE) as u32, from, bias, to, heads_int, height, width);
    } else {
        let name = kernel("window_attention_any", qkv.dtype())?;
        let queries = windows * side * side * heads;
        let grid = (queries.div_ceil(8) as u32, 1, 1);
        let [head_width, side, queries] = [int(head_width)?, int(side)?, int(queries)?];
        launch!(gpu, name, grid, 256, from, bias, to, heads_int, head_width, side, height, width, queries);
    }
    Ok(out)
}

/// Attention between the channels of each group: `qkv` `[batch, pixels, 3 · channels]` to `[batch, pixels, channels]`.
///
/// # Errors
/// Shapes that do not fit, and the device's.
pub fn channel_attention(qkv: &Tensor, groups: usize) -> Result<Tensor> {
    let (batch, pixels, channels) = qkv.dims3()?;
    let channels = channels / 3;
    let width = checked_width(channels, groups)?;
    let out = unwritten((batch, pixels, channels), qkv.dtype(), qkv.device())?;
    if out.elem_count() == 0 {
        return Ok(out);
    }
    let gpu = Gpu::of(qkv.device())?;
    #[allow(clippy::cast_possible_truncation, reason = "a scale in f32 as the kernel takes it")]
    let scale = (pixels as f64).powf(-0.5) as f32;
    let (from, to) = (address(qkv)?, address(&out)?);
    let [groups_int, pixels_int] = [int(groups)?, int(pixels)?];
    if is_half(qkv.dtype()) && width == HEAD {
        let chunk = pixels.div_ceil(CHANNEL_BLOCKS.div_ceil(groups)).next_multiple_of(STAGE);
        let parts = pixels.div_ceil(chunk);
        let sums = unwritten((batch, groups, parts, HEAD * HEAD), DType::F32, qkv.device())?;
        let weights = unwritten((batch, groups, HEAD, HEAD), qkv.dtype(), qkv.device())?;
        let (sums, weights) = (address(&sums)?, address(&weights)?);
        let grid = |blocks: usize| (blocks as u32, groups as u32, batch as u32);
        let name = kernel("channel_sums", qkv.dtype())?;
        launch!(gpu, name, grid(parts), 128, from, sums, groups_int, pixels_int, int(chunk)?);
        let name = kernel("channel_weights", qkv.dtype())?;
        launch!(gpu, name, ((batch * groups) as u32, 1, 1), (HEAD * HEAD) as u32, sums, weights, int(parts)?, scale);
        let name = kernel("channel_mix", qkv.dtype())?;
        let blocks = pixels.div_ceil(STAGE * MIX_ROUNDS);
        launch!(gpu, name, grid(blocks), 128, from, weights, to, groups_int, pixels_int, int(MIX_ROUNDS)?);
    } else {
        let weights = unwritten((batch, groups, width, width), DType::F32, qkv.device())?;
        let (weights, width_int, count) = (address(&weights)?, int(width)?, out.elem_count());
        let name = kernel("channel_weights_any", qkv.dtype())?;
        let grid = (width as u32, groups as u32, batch as u32);
        launch!(gpu, name, grid, 256, from, weights, groups_int, width_int, pixels_int, scale);
        let name = kernel("channel_mix_any", qkv.dtype())?;
        let grid = (count.div_ceil(256) as u32, 1, 1);
        launch!(gpu, name, grid, 256, from, weights, to, groups_int, width_int, pixels_int, count as i64);
    }
    Ok(out)
}

/// Attention between positions: `qkv` `[batch, length, 3 · d]` to `[batch, length, d]`, each row over its first `lengths[row]`.
///
/// # Errors
/// Shapes that do not fit, and the device's.
pub fn encoder_attention(qkv: &Tensor, heads: usize, lengths: &[usize]) -> Result<Tensor> {
    let (batch, length, channels) = qkv.dims3()?;
    let channels = channels / 3;
    let width = checked_width(channels, heads)?;
    if lengths.len() != batch {
        bail!("{} lengths are not those of {batch} rows", lengths.len());
    }
    let out = unwritten((batch, length, channels), qkv.dtype(), qkv.device())?;
    if out.elem_count() == 0 {
        return Ok(out);
    }
    let gpu = Gpu::of(qkv.device())?;
    // The kernel reads them as i32, which is the same for numbers of this size.
    let lengths = lengths.iter().map(|length| int(*length).map(i32::cast_unsigned)).collect::<Result<Vec<u32>>>()?;
    let lengths = Tensor::new(lengths, qkv.device())?;
    let (from, lengths, to) = (address(qkv)?, address(&lengths)?, address(&out)?);
    let [heads_int, length_int] = [int(heads)?, int(length)?];
    if is_half(qkv.dtype()) && width == WIDE {
        let name = kernel("position_attention", qkv.dtype())?;
        let grid = (length.div_ceil(QUERIES) as u32, heads as u32, batch as u32);
        launch!(gpu, name, grid, 128, from, lengths, to, heads_int, length_int);
    } else {
        let name = kernel("position_attention_any", qkv.dtype())?;
        let queries = batch * length * heads;
        let grid = (queries.div_ceil(8) as u32, 1, 1);
        launch!(gpu, name, grid, 256, from, lengths, to, heads_int, int(width)?, length_int, int(queries)?);
    }
    Ok(out)
}

fn checked_width(channels: usize, parts: usize) -> Result<usize> {
    let width = channels / parts.max(1);
    if width == 0 || width > MOST_WIDTH || width * parts != channels {
        bail!("{channels} channels do not make {parts} heads of at most {MOST_WIDTH}");
    }
    Ok(width)
}
