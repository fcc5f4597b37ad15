//! The encoder: image features and prompt, each position seeing every other.

use candle_core::{Module, Result, Tensor};

use super::attention::SelfAttention;
use super::embedding::PositionEmbedding;
use crate::florence::config::TextConfig;
use crate::florence::error::CheckpointResult;
use crate::florence::kernels::{LayerNorm, Mlp};
use crate::florence::probe::Probe;
use crate::florence::weights::Weights;

/// What the decoder attends to.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// `[batch, length, d_model]`; meaningless at masked positions.
    pub hidden: Tensor,
    /// How many positions of each row mean something.
    pub lengths: Vec<usize>,
}

/// The stack of encoder layers.
pub struct Encoder {
    positions: PositionEmbedding,
    layers: Vec<EncoderLayer>,
}

struct EncoderLayer {
    attention: SelfAttention,
    attention_norm: LayerNorm,
    feed_forward: FeedForward,
}

/// Two products around GELU, added to their input and normalised.
pub struct FeedForward {
    mlp: Mlp,
    norm: LayerNorm,
}

impl Encoder {
    /// Takes the tensors below `weights`.
    ///
    /// # Errors
    /// A tensor that is missing or does not fit.
    pub fn new(config: &TextConfig, weights: &Weights) -> CheckpointResult<Self> {
        let layer = |index| EncoderLayer::new(config, &weights.pp("layers").pp(index));
        Ok(Self {
            positions: PositionEmbedding::new(config, weights)?,
            layers: (0..config.encoder_layers).map(layer).collect::<CheckpointResult<_>>()?,
        })
    }

    /// Most positions of picture and prompt together.
    pub fn max_positions(&self) -> usize {
        self.positions.positions()
    }

    /// Embeddings `[batch, length, d_model]`, of which each row uses its first `lengths[row]`, to what the decoder
    /// attends to.
    ///
    /// # Errors
    /// The device's.
    pub fn forward(&self, embeddings: &Tensor, lengths: &[usize], probe: &mut Probe<'_>) -> Result<Encoded> {
        let mut hidden = self.positions.forward(embeddings)?;
        probe.visit(|| "encoder.embed_norm".to_owned(), &hidden);
        for (index, layer) in self.layers.iter().enumerate() {
            hidden = layer.forward(&hidden, lengths)?;
            probe.visit(|| format!("encoder.layer{index}"), &hidden);
        }
        Ok(Encoded { hidden, lengths: lengths.to_vec() })
    }
}

impl EncoderLayer {
    fn new(config: &TextConfig, weights: &Weights) -> CheckpointResult<Self> {
        let (d_model, heads) = (config.d_model, config.encoder_attention_heads);
        Ok(Self {
            attention: SelfAttention::new(d_model, heads, &weights.pp("self_attn"))?,
            attention_norm: weights.pp("self_attn_layer_norm").layer_norm(d_model)?,
            feed_forward: FeedForward::new(d_model, config.encoder_ffn_dim, weights)?,
        })
    }

    fn forward(&self, x: &Tensor, lengths: &[usize]) -> Result<Tensor> {
        self.feed_forward.forward(&self.attention_norm.forward(&self.attention.add_to(x, lengths)?)?)
    }
}

impl FeedForward {
    /// Takes `fc1`, `fc2` and `final_layer_norm` of a layer.
    ///
    /// # Errors
    /// A tensor that is missing or does not fit.
    pub fn new(d_model: usize, hidden: usize, weights: &Weights) -> CheckpointResult<Self> {
        let fc1 = weights.pp("fc1").linear(d_model, hidden)?;
        let fc2 = weights.pp("fc2").linear(hidden, d_model)?;
        Ok(Self { mlp: Mlp::new(fc1, fc2), norm: weights.pp("final_layer_norm").layer_norm(d_model)? })
    }

    /// Both products and the norm.
    #[cfg(feature = "cuda")]
    pub const fn parts(&self) -> (&Mlp, &LayerNorm) {
        (&self.mlp, &self.norm)
    }

    /// `norm(x + fc2(gelu(fc1(x))))`.
    ///
    /// # Errors
    /// The device's.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.norm.forward(&self.mlp.add_to(x)?)
    }
}
