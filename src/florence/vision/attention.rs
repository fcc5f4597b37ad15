//! The two attentions of DaViT: between the pixels of a window, and between the channels of a group.

use candle_core::{Result, Tensor};

use crate::florence::config::VisionConfig;
use crate::florence::error::CheckpointResult;
use crate::florence::kernels::{LayerNorm, Linear, channel_attention, window_attention};
use crate::florence::weights::Weights;

/// One of the two, with the norm before it and the projections around it.
pub struct Attention {
    norm: LayerNorm,
    /// To queries, keys and values side by side.
    qkv: Linear,
    out: Linear,
    between: Between,
}

/// What attends to what.
enum Between {
    /// The pixels of windows that tile the map.
    Pixels { heads: usize, window: usize },
    /// The channels of a group, over all pixels of the map.
    Channels { groups: usize },
}

impl Attention {
    /// Attention within windows; takes the tensors of `window_attn` below `weights`.
    ///
    /// # Errors
    /// A tensor that is missing or does not fit.
    pub fn spatial(config: &VisionConfig, stage: usize, weights: &Weights) -> CheckpointResult<Self> {
        let heads = config.num_heads.get(stage).copied().unwrap_or(1);
        let between = Between::Pixels { heads, window: config.window_size };
        Self::new(config, stage, &weights.pp("window_attn"), between)
    }

    /// Attention between channels; takes the tensors of `channel_attn` below `weights`.
    ///
    /// # Errors
    /// A tensor that is missing or does not fit.
    pub fn channel(config: &VisionConfig, stage: usize, weights: &Weights) -> CheckpointResult<Self> {
        let groups = config.num_groups.get(stage).copied().unwrap_or(1);
        Self::new(config, stage, &weights.pp("channel_attn"), Between::Channels { groups })
    }

    fn new(config: &VisionConfig, stage: usize, weights: &Weights, between: Between) -> CheckpointResult<Self> {
        let channels = config.dim_embed.get(stage).copied().unwrap_or(0);
        let projections = weights.pp("fn");
        let qkv = projections.pp("qkv");
        let bias = if config.qkv_bias { Some(qkv.get(3 * channels, "bias")?) } else { None };
        Ok(Self {
            norm: weights.pp("norm").layer_norm(channels)?,
            qkv: qkv.product(qkv.get((3 * channels, channels), "weight")?, bias)?,
            out: projections.pp("proj").linear(channels, channels)?,
            between,
        })
    }

    /// What the reference calls the block that attends like this, and the attention in it.
    pub const fn names(&self) -> (&'static str, &'static str) {
        match self.between {
            Between::Pixels { .. } => ("spatial", "window_attn"),
            Between::Channels { .. } => ("channel", "channel_attn"),
        }
    }

    /// A map `[batch, height, width, channels]` with what was found added.
    ///
    /// # Errors
    /// The device's.
    pub fn add_to(&self, map: &Tensor) -> Result<Tensor> {
        let qkv = self.qkv.forward_normed(&self.norm, map)?;
        let attended = match self.between {
            Between::Pixels { heads, window } => window_attention(&qkv, self.qkv.bias(), heads, window)?,
            Between::Channels { groups } => channel_attention(&qkv.flatten(1, 2)?, groups)?.reshape(map.shape())?,
        };
        self.out.forward_add(&attended, map)
    }
}
