//! The decoder: one token a step for every row, over caches that the caller keeps.

use candle_core::{Module, Result, Tensor};

use super::attention::MultiHeadAttention;
use super::cache::{CrossCache, SelfCache};
use super::embedding::PositionEmbedding;
use super::encoder::{Encoded, Mlp};
use crate::florence::config::TextConfig;
use crate::florence::error::CheckpointResult;
use crate::florence::kernels::LayerNorm;
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

    /// Keys and values of the encoder's output for every layer.
    ///
    /// # Errors
    /// The device's.
    pub fn cross_cache(&self, encoded: &Encoded) -> Result<CrossCache> {
        let layers = self.layers.iter().map(|layer| layer.cross_attention.keys_values(&encoded.hidden));
        Ok(CrossCache::new(layers.collect::<Result<_>>()?, encoded))
    }

    /// Embeddings `[rows, 1, d_model]` of the last tokens to hidden states `[rows, d_model]`.
    ///
    /// The rows are the beams of the first input of `cross`, those of the second, and so on, equally many for each.
    ///
    /// # Errors
    /// The device's, and a step beyond the position table.
    pub fn step(
        &self,
        tokens: &Tensor,
        cross: &CrossCache,
        cache: &mut SelfCache,
        probe: &mut Probe<'_>,
    ) -> Result<Tensor> {
        let step = cache.length();
        let mut hidden = self.positions.forward(tokens, step)?;
        probe.visit(|| format!("decoder_step{step}.embed_norm"), &hidden);
        for (index, layer) in self.layers.iter().enumerate() {
            let name = format!("decoder_step{step}.layer{index}");
            let (keys, values) = layer.self_attention.keys_values(&hidden)?;
            let own = cache.append(index, keys, values)?;
            let Some(others) = cross.layers.get(index) else {
                candle_core::bail!("the cache has no layer {index}");
            };
            hidden = layer.self_attend(&hidden, &own, &name, probe)?;
            hidden = layer.cross_attend(&hidden, others, cross.mask.as_ref(), &name, probe)?;
            hidden = layer.mlp.forward(&hidden)?;
            probe.visit(|| name, &hidden);
        }
        cache.advance();
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

    fn self_attend(
        &self,
        x: &Tensor,
        (keys, values): &(Tensor, Tensor),
        name: &str,
        probe: &mut Probe<'_>,
    ) -> Result<Tensor> {
        let attended = self.self_attention.attend(&self.self_attention.queries(x)?, keys, values, None)?;
        probe.visit(|| format!("{name}.self_attn"), &attended);
        self.self_attention_norm.forward(&(x + attended)?)
    }

    /// The beams of an input attend as if they were its successive positions, so its keys and values are read once.
    fn cross_attend(
        &self,
        x: &Tensor,
        (keys, values): &(Tensor, Tensor),
        mask: Option<&Tensor>,
        name: &str,
        probe: &mut Probe<'_>,
    ) -> Result<Tensor> {
        let (rows, _, d_model) = x.dims3()?;
        let inputs = keys.dim(0)?;
        let beams = x.reshape((inputs, rows / inputs, d_model))?;
        let attended = self.cross_attention.attend(&self.cross_attention.queries(&beams)?, keys, values, mask)?;
        let attended = attended.reshape((rows, 1, d_model))?;
        probe.visit(|| format!("{name}.cross_attn"), &attended);
        self.cross_attention_norm.forward(&(x + attended)?)
    }
}
