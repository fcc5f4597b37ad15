//! One attention block of DaViT; spatial and channel blocks differ in their attention alone.

use candle_core::{Module, Result, Tensor};
use candle_nn::Linear;

use super::attention::{ChannelAttention, WindowAttention};
use crate::florence::config::VisionConfig;
use crate::florence::error::CheckpointResult;
use crate::florence::kernels::{LayerNorm, depthwise_conv3x3};
use crate::florence::probe::Probe;
use crate::florence::weights::Weights;

/// Depthwise convolution, attention, depthwise convolution, MLP, each added to its input.
pub struct Block {
    before_attention: DepthwiseConv,
    attention_norm: LayerNorm,
    attention: Attention,
    before_mlp: DepthwiseConv,
    mlp_norm: LayerNorm,
    mlp_in: Linear,
    mlp_out: Linear,
}

enum Attention {
    Window(WindowAttention),
    Channel(ChannelAttention),
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
        let attention = WindowAttention::new(config, stage, &weights.pp("window_attn.fn"))?;
        Self::new(config, stage, weights, ("window_attn", Attention::Window(attention)))
    }

    /// The block that attends between channels.
    ///
    /// # Errors
    /// As [`Self::spatial`].
    pub fn channel(config: &VisionConfig, stage: usize, weights: &Weights) -> CheckpointResult<Self> {
        let attention = ChannelAttention::new(config, stage, &weights.pp("channel_attn.fn"))?;
        Self::new(config, stage, weights, ("channel_attn", Attention::Channel(attention)))
    }

    fn new(
        config: &VisionConfig,
        stage: usize,
        weights: &Weights,
        (name, attention): (&str, Attention),
    ) -> CheckpointResult<Self> {
        let channels = config.dim_embed.get(stage).copied().unwrap_or(0);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive ratio")]
        let hidden = (channels as f64 * config.mlp_ratio) as usize;
        let mlp = weights.pp("ffn.fn.net");
        Ok(Self {
            before_attention: DepthwiseConv::new(channels, &weights.pp("conv1.fn.dw"))?,
            attention_norm: weights.pp(name).pp("norm").layer_norm(channels)?,
            attention,
            before_mlp: DepthwiseConv::new(channels, &weights.pp("conv2.fn.dw"))?,
            mlp_norm: weights.pp("ffn.norm").layer_norm(channels)?,
            mlp_in: mlp.pp("fc1").linear(channels, hidden)?,
            mlp_out: mlp.pp("fc2").linear(hidden, channels)?,
        })
    }

    /// A map `[batch, height, width, channels]` to one of the same shape.
    ///
    /// # Errors
    /// The device's.
    pub fn forward(&self, map: &Tensor, name: &str, probe: &mut Probe<'_>) -> Result<Tensor> {
        let map = self.before_attention.forward(map)?;
        let normed = self.attention_norm.forward(&map)?;
        let (attended, kind) = match &self.attention {
            Attention::Window(attention) => (attention.forward(&normed)?, "window_attn"),
            Attention::Channel(attention) => (attention.forward(&normed)?, "channel_attn"),
        };
        probe.visit(|| format!("{name}.{kind}"), &attended);
        let map = self.before_mlp.forward(&(map + attended)?)?;
        let hidden = self.mlp_in.forward(&self.mlp_norm.forward(&map)?)?.gelu_erf()?;
        let map = (map + self.mlp_out.forward(&hidden)?)?;
        probe.visit(|| format!("{name}.{}", kind.trim_end_matches("_attn").replace("window", "spatial")), &map);
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
