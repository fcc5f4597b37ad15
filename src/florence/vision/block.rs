//! One attention block of DaViT; spatial and channel blocks differ in their attention alone.

use candle_core::{Result, Tensor};

use super::attention::Attention;
use crate::florence::config::VisionConfig;
use crate::florence::error::CheckpointResult;
use crate::florence::kernels::{LayerNorm, Mlp, depthwise_conv3x3};
use crate::florence::probe::Probe;
use crate::florence::weights::Weights;

/// Depthwise convolution, attention, depthwise convolution, MLP, each added to its input.
pub struct Block {
    before_attention: DepthwiseConv,
    attention: Attention,
    before_mlp: DepthwiseConv,
    mlp_norm: LayerNorm,
    mlp: Mlp,
}

/// 3x3 kernels, one a channel, as `[9, channels]`.
struct DepthwiseConv {
    weight: Tensor,
    bias: Tensor,
}

impl Block {
    /// The block that attends within windows of the map.
    ///
    /// # Errors
    /// A tensor that is missing or does not fit.
    pub fn spatial(config: &VisionConfig, stage: usize, weights: &Weights) -> CheckpointResult<Self> {
        Self::new(config, stage, weights, Attention::spatial(config, stage, weights)?)
    }

    /// The block that attends between channels.
    ///
    /// # Errors
    /// As [`Self::spatial`].
    pub fn channel(config: &VisionConfig, stage: usize, weights: &Weights) -> CheckpointResult<Self> {
        Self::new(config, stage, weights, Attention::channel(config, stage, weights)?)
    }

    fn new(config: &VisionConfig, stage: usize, weights: &Weights, attention: Attention) -> CheckpointResult<Self> {
        let channels = config.dim_embed.get(stage).copied().unwrap_or(0);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive ratio")]
        let hidden = (channels as f64 * config.mlp_ratio) as usize;
        let mlp = weights.pp("ffn.fn.net");
        Ok(Self {
            before_attention: DepthwiseConv::new(channels, &weights.pp("conv1.fn.dw"))?,
            attention,
            before_mlp: DepthwiseConv::new(channels, &weights.pp("conv2.fn.dw"))?,
            mlp_norm: weights.pp("ffn.norm").layer_norm(channels)?,
            mlp: Mlp::new(mlp.pp("fc1").linear(channels, hidden)?, mlp.pp("fc2").linear(hidden, channels)?),
        })
    }

    /// A map `[batch, height, width, channels]` to one of the same shape.
    ///
    /// # Errors
    /// The device's.
    pub fn forward(&self, map: &Tensor, name: &str, probe: &mut Probe<'_>) -> Result<Tensor> {
        let map = self.before_attention.forward(map)?;
        let sum = self.attention.add_to(&map)?;
        let (block, attention) = self.attention.names();
        probe.visit_added(|| format!("{name}.{attention}"), &sum, &map)?;
        let map = self.before_mlp.forward(&sum)?;
        let map = self.mlp.add_normed_to(&self.mlp_norm, &map)?;
        probe.visit(|| format!("{name}.{block}"), &map);
        Ok(map)
    }
}

impl DepthwiseConv {
    fn new(channels: usize, weights: &Weights) -> CheckpointResult<Self> {
        let kernels = weights.get((channels, 1, 3, 3), "weight")?;
        Ok(Self { weight: kernels.reshape((channels, 9))?.t()?.contiguous()?, bias: weights.get(channels, "bias")? })
    }

    fn forward(&self, map: &Tensor) -> Result<Tensor> {
        depthwise_conv3x3(map, &self.weight, &self.bias)
    }
}
