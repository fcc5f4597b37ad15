//! The two attentions of DaViT: between the pixels of a window, and between the channels of a group.

use candle_core::{D, DType, Module, Result, Tensor};
use candle_nn::Linear;

use crate::florence::config::VisionConfig;
use crate::florence::error::CheckpointResult;
use crate::florence::ops::{attention, softmax_f32};
use crate::florence::weights::Weights;

/// Projections into queries, keys and values, and out again.
struct Projections {
    qkv: Linear,
    out: Linear,
    /// Heads or groups.
    parts: usize,
}

impl Projections {
    fn new(channels: usize, parts: usize, has_qkv_bias: bool, weights: &Weights) -> CheckpointResult<Self> {
        let qkv = weights.pp("qkv");
        let bias = if has_qkv_bias { Some(qkv.get(3 * channels, "bias")?) } else { None };
        Ok(Self {
            qkv: Linear::new(qkv.get((3 * channels, channels), "weight")?, bias),
            out: weights.pp("proj").linear(channels, channels)?,
            parts,
        })
    }

    /// Tokens `[batch, tokens, channels]` to queries, keys and values, each `[batch, parts, tokens, width]`.
    fn split(&self, tokens: &Tensor) -> Result<[Tensor; 3]> {
        let (batch, count, channels) = tokens.dims3()?;
        let qkv = self.qkv.forward(tokens)?.reshape((batch, count, 3, self.parts, channels / self.parts))?;
        let part = |index| qkv.narrow(2, index, 1)?.squeeze(2)?.transpose(1, 2)?.contiguous();
        Ok([part(0)?, part(1)?, part(2)?])
    }

    /// `[batch, parts, tokens, width]` back to `[batch, tokens, channels]`.
    fn join(&self, parts: &Tensor) -> Result<Tensor> {
        self.out.forward(&parts.transpose(1, 2)?.flatten_from(2)?.contiguous()?)
    }
}

/// Attention between the pixels of windows that tile the map.
pub struct WindowAttention {
    projections: Projections,
    window: usize,
    scale: f64,
}

impl WindowAttention {
    /// Takes the tensors below `weights`.
    ///
    /// # Errors
    /// A tensor that is missing or does not fit.
    pub fn new(config: &VisionConfig, stage: usize, weights: &Weights) -> CheckpointResult<Self> {
        let channels = config.dim_embed.get(stage).copied().unwrap_or(0);
        let heads = config.num_heads.get(stage).copied().unwrap_or(1);
        let scale = ((channels / heads) as f64).powf(-0.5);
        let projections = Projections::new(channels, heads, config.qkv_bias, weights)?;
        Ok(Self { projections, window: config.window_size, scale })
    }

    /// A normalised map `[batch, height, width, channels]` to one of the same shape.
    ///
    /// The map is padded with zeros on the right and at the bottom to whole windows. Padding is attended to: its keys
    /// and values are the biases.
    ///
    /// # Errors
    /// The device's.
    pub fn forward(&self, map: &Tensor) -> Result<Tensor> {
        let (batch, height, width, channels) = map.dims4()?;
        let side = self.window;
        let (rows, columns) = (height.div_ceil(side), width.div_ceil(side));
        let padded = map
            .pad_with_zeros(1, 0, rows * side - height)?
            .pad_with_zeros(2, 0, columns * side - width)?
            .reshape(&[batch, rows, side, columns, side, channels])?
            .transpose(2, 3)?
            .reshape((batch * rows * columns, side * side, channels))?;
        let [q, k, v] = self.projections.split(&padded)?;
        let attended = self.projections.join(&attention(&(q * self.scale)?, &k, &v, None)?)?;
        attended
            .reshape(&[batch, rows, columns, side, side, channels])?
            .transpose(2, 3)?
            .reshape((batch, rows * side, columns * side, channels))?
            .narrow(1, 0, height)?
            .narrow(2, 0, width)?
            .contiguous()
    }
}

/// Attention between the channels of a group, over all pixels of the map.
pub struct ChannelAttention {
    projections: Projections,
}

impl ChannelAttention {
    /// Takes the tensors below `weights`.
    ///
    /// # Errors
    /// A tensor that is missing or does not fit.
    pub fn new(config: &VisionConfig, stage: usize, weights: &Weights) -> CheckpointResult<Self> {
        let channels = config.dim_embed.get(stage).copied().unwrap_or(0);
        let groups = config.num_groups.get(stage).copied().unwrap_or(1);
        Ok(Self { projections: Projections::new(channels, groups, config.qkv_bias, weights)? })
    }

    /// A normalised map `[batch, height, width, channels]` to one of the same shape.
    ///
    /// The product of queries and keys sums over every pixel, up to 36,864 at 768 x 768, so it is computed in f32, and
    /// the queries are scaled before it. The scale is the number of pixels, not the width of a group.
    ///
    /// # Errors
    /// The device's.
    pub fn forward(&self, map: &Tensor) -> Result<Tensor> {
        let (batch, height, width, channels) = map.dims4()?;
        let pixels = height * width;
        let [q, k, v] = self.projections.split(&map.reshape((batch, pixels, channels))?)?;
        let q = (q.to_dtype(DType::F32)? * (pixels as f64).powf(-0.5))?;
        let scores = q.transpose(D::Minus2, D::Minus1)?.matmul(&k.to_dtype(DType::F32)?)?;
        let weights = softmax_f32(&scores)?.to_dtype(v.dtype())?;
        // (A vᵀ)ᵀ = v Aᵀ
        let attended = v.matmul(&weights.transpose(D::Minus2, D::Minus1)?)?;
        self.projections.join(&attended)?.reshape((batch, height, width, channels))
    }
}
