//! The decoder: one token a step for every row, over caches that the caller keeps.

#[cfg(feature = "cuda")]
use candle_core::bail;
use candle_core::{Module, Result, Tensor};

use super::attention::{CrossAttention, SelfAttention};
use super::embedding::PositionEmbedding;
use super::encoder::{Encoded, FeedForward};
use crate::florence::config::TextConfig;
use crate::florence::error::CheckpointResult;
use crate::florence::kernels::{DecoderCache, LayerNorm};
#[cfg(feature = "cuda")]
use crate::florence::kernels::{
    Vocabulary,
    cuda::step::{LayerWeights, StepWeights},
};
use crate::florence::probe::Probe;
#[cfg(feature = "cuda")]
use crate::florence::weights::POSITION_OFFSET;
use crate::florence::weights::Weights;

/// The stack of decoder layers.
pub struct Decoder {
    positions: PositionEmbedding,
    layers: Vec<DecoderLayer>,
}

struct DecoderLayer {
    self_attention: SelfAttention,
    self_attention_norm: LayerNorm,
    cross_attention: CrossAttention,
    cross_attention_norm: LayerNorm,
    feed_forward: FeedForward,
}

impl Decoder {
    /// Takes the tensors below `weights`.
    ///
    /// # Errors
    /// A tensor that is missing or does not fit.
    pub fn new(config: &TextConfig, weights: &Weights) -> CheckpointResult<Self> {
        let layer = |index| DecoderLayer::new(config, &weights.pp("layers").pp(index));
        Ok(Self {
            positions: PositionEmbedding::new(config, weights)?,
            layers: (0..config.decoder_layers).map(layer).collect::<CheckpointResult<_>>()?,
        })
    }

    /// Most tokens that can be written.
    pub fn max_positions(&self) -> usize {
        self.positions.positions()
    }

    /// A cache for each row of the encoder's output, whose answers have that many beams each.
    ///
    /// # Errors
    /// The device's.
    pub fn caches(&self, encoded: &Encoded, beams: &[usize]) -> Result<Vec<DecoderCache>> {
        let layers = self.layers.iter().map(|layer| layer.cross_attention.keys_values(&encoded.hidden));
        let layers = layers.collect::<Result<Vec<_>>>()?;
        let cache = |(row, (&length, &beams)): (usize, (&usize, &usize))| {
            // Padding is cut off, so that nothing need be masked. Each row is on its own, so that one long answer does not keep
            // the memory of those that were begun with it.
            let own = layers.iter().map(|layer| layer.narrow(0, row, 1)?.narrow(1, 0, length));
            Ok(DecoderCache::new(Tensor::cat(&own.collect::<Result<Vec<_>>>()?, 0)?, beams))
        };
        encoded.lengths.iter().zip(beams).enumerate().map(cache).collect()
    }

    /// Embeddings `[rows, d_model]` of the last tokens to hidden states of the same shape.
    ///
    /// The rows are the beams of the first cache, those of the second, and so on. Inputs may differ in everything: what
    /// each attends to is its own, and only the products with the weights are shared.
    ///
    /// The token is written to the caches but not counted there, so a step that fails on the way can be repeated; whoever
    /// has its result calls [`DecoderCache::advance`].
    ///
    /// # Errors
    /// The device's, and a step beyond the position table.
    pub fn step(&self, tokens: &Tensor, caches: &mut [&mut DecoderCache], probe: &mut Probe<'_>) -> Result<Tensor> {
        let positions = caches.iter().flat_map(|cache| std::iter::repeat_n(cache.length(), cache.beams()));
        let positions: Vec<usize> = positions.collect();
        let step = positions.first().copied().unwrap_or(0);
        let mut hidden = self.positions.forward_at(tokens, &positions)?;
        probe.visit(|| format!("decoder_step{step}.embed_norm"), &hidden);
        for (index, layer) in self.layers.iter().enumerate() {
            let name = |part: &str| format!("decoder_step{step}.layer{index}{part}");
            let sum = layer.self_attention.add_cached(&hidden, index, caches)?;
            probe.visit_added(|| name(".self_attn"), &sum, &hidden)?;
            hidden = layer.self_attention_norm.forward(&sum)?;
            let sum = layer.cross_attention.add_to(&hidden, index, caches)?;
            probe.visit_added(|| name(".cross_attn"), &sum, &hidden)?;
            hidden = layer.cross_attention_norm.forward(&sum)?;
            hidden = layer.feed_forward.forward(&hidden)?;
            probe.visit(|| name(""), &hidden);
        }
        Ok(hidden)
    }
}

#[cfg(feature = "cuda")]
impl Decoder {
    /// The weights of a step as a GPU's kernels take them.
    ///
    /// # Errors
    /// Weights in another form.
    pub fn step_weights(&self, vocabulary: &Vocabulary) -> Result<StepWeights> {
        let Some((tokens, logits_bias)) = vocabulary.as_tensors() else { bail!("the table of tokens is packed") };
        let (positions, norm) = self.positions.parts();
        Ok(StepWeights {
            tokens,
            logits_bias,
            positions: positions.clone(),
            position_offset: POSITION_OFFSET,
            norm: norm.weighted(),
            layers: self.layers.iter().map(DecoderLayer::step_weights).collect::<Result<_>>()?,
            heads: self.layers.first().map_or(1, |layer| layer.self_attention.parts().2),
        })
    }
}

#[cfg(feature = "cuda")]
impl DecoderLayer {
    fn step_weights(&self) -> Result<LayerWeights> {
        let (qkv, own_out, _heads) = self.self_attention.parts();
        let (query, cross_out) = self.cross_attention.parts();
        let (mlp, norm) = self.feed_forward.parts();
        let (fc1, fc2) = mlp.parts();
        Ok(LayerWeights {
            qkv: qkv.weighted()?,
            own_out: own_out.weighted()?,
            own_norm: self.self_attention_norm.weighted(),
            query: query.weighted()?,
            cross_out: cross_out.weighted()?,
            cross_norm: self.cross_attention_norm.weighted(),
            fc1: fc1.weighted()?,
            fc2: fc2.weighted()?,
            norm: norm.weighted(),
        })
    }
}

impl DecoderLayer {
    fn new(config: &TextConfig, weights: &Weights) -> CheckpointResult<Self> {
        let (d_model, heads) = (config.d_model, config.decoder_attention_heads);
        Ok(Self {
            self_attention: SelfAttention::new(d_model, heads, &weights.pp("self_attn"))?,
            self_attention_norm: weights.pp("self_attn_layer_norm").layer_norm(d_model)?,
            cross_attention: CrossAttention::new(d_model, heads, &weights.pp("encoder_attn"))?,
            cross_attention_norm: weights.pp("encoder_attn_layer_norm").layer_norm(d_model)?,
            feed_forward: FeedForward::new(d_model, config.decoder_ffn_dim, weights)?,
        })
    }
}
