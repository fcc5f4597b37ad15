//! The decoder: one token a step for every row, over caches that the caller keeps.

use candle_core::{Module, Result, Tensor};

use super::attention::MultiHeadAttention;
use super::cache::DecoderCache;
use super::embedding::PositionEmbedding;
use super::encoder::{Encoded, Mlp};
use crate::florence::config::TextConfig;
use crate::florence::error::CheckpointResult;
use crate::florence::kernels::LayerNorm;
use crate::florence::ops::attention;
use crate::florence::probe::Probe;
use crate::florence::weights::Weights;

/// The stack of decoder layers.
pub struct Decoder {
    positions: PositionEmbedding,
    layers: Vec<DecoderLayer>,
}

struct DecoderLayer {
    self_attention: MultiHeadAttention,
    self_attention_norm: LayerNorm,
    cross_attention: MultiHeadAttention,
    cross_attention_norm: LayerNorm,
    mlp: Mlp,
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
        let rows = beams.len();
        let cache = |(row, (&length, &beams)): (usize, (&usize, &usize))| {
            // Padding is cut off, so that nothing need be masked. Each row is on its own, so that one long answer does not keep
            // the memory of those that were begun with it.
            let own = |tensor: &Tensor| {
                let own = tensor.narrow(0, row, 1)?.narrow(2, 0, length)?;
                if rows == 1 { own.contiguous() } else { own.force_contiguous() }
            };
            let cross = layers.iter().map(|(keys, values)| Ok((own(keys)?, own(values)?)));
            Ok(DecoderCache::new(cross.collect::<Result<_>>()?, beams))
        };
        encoded.lengths.iter().zip(beams).enumerate().map(cache).collect()
    }

    /// Embeddings `[rows, 1, d_model]` of the last tokens to hidden states `[rows, d_model]`.
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
            let attended = layer.self_attend(&hidden, index, caches)?;
            probe.visit(|| name(".self_attn"), &attended);
            hidden = layer.self_attention_norm.forward(&(hidden + attended)?)?;
            let attended = layer.cross_attend(&hidden, index, caches)?;
            probe.visit(|| name(".cross_attn"), &attended);
            hidden = layer.cross_attention_norm.forward(&(hidden + attended)?)?;
            hidden = layer.mlp.forward(&hidden)?;
            probe.visit(|| name(""), &hidden);
        }
        hidden.squeeze(1)
    }
}

impl DecoderLayer {
    fn new(config: &TextConfig, weights: &Weights) -> CheckpointResult<Self> {
        let (d_model, heads) = (config.d_model, config.decoder_attention_heads);
        Ok(Self {
            self_attention: MultiHeadAttention::new(d_model, heads, &weights.pp("self_attn"))?,
            self_attention_norm: weights.pp("self_attn_layer_norm").layer_norm(d_model)?,
            cross_attention: MultiHeadAttention::new(d_model, heads, &weights.pp("encoder_attn"))?,
            cross_attention_norm: weights.pp("encoder_attn_layer_norm").layer_norm(d_model)?,
            mlp: Mlp::new(d_model, config.decoder_ffn_dim, weights)?,
        })
    }

    fn self_attend(&self, x: &Tensor, index: usize, caches: &mut [&mut DecoderCache]) -> Result<Tensor> {
        let queries = self.self_attention.queries(x)?;
        let (keys, values) = self.self_attention.keys_values(x)?;
        let mut start = 0;
        let mut attended = Vec::with_capacity(caches.len());
        for cache in caches {
            let rows = |tensor: &Tensor| tensor.narrow(0, start, cache.beams());
            let queries = rows(&queries)?;
            let (keys, values) = (rows(&keys)?, rows(&values)?);
            start += cache.beams();
            let (keys, values) = cache.append(index, &keys, &values)?;
            attended.push(attention(&queries, &keys, &values, None)?);
        }
        self.self_attention.join(&Tensor::cat(&attended, 0)?)
    }

    /// The beams of an input attend as if they were its successive positions, so its keys and values are read once.
    fn cross_attend(&self, x: &Tensor, index: usize, caches: &[&mut DecoderCache]) -> Result<Tensor> {
        let queries = self.cross_attention.queries(x)?;
        let mut start = 0;
        let mut attended = Vec::with_capacity(caches.len());
        for cache in caches {
            // [beams, heads, 1, width] to [1, heads, beams, width] and back.
            let queries = queries.narrow(0, start, cache.beams())?.transpose(0, 2)?.contiguous()?;
            start += cache.beams();
            let (keys, values) = cache.cross(index)?;
            attended.push(attention(&queries, keys, values, None)?.transpose(0, 2)?.contiguous()?);
        }
        self.cross_attention.join(&Tensor::cat(&attended, 0)?)
    }
}
