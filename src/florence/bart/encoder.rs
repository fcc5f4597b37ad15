//! The encoder: image features and prompt, each position seeing every other.

use candle_core::{DType, Device, Module, Result, Tensor};
use candle_nn::Linear;

use super::attention::MultiHeadAttention;
use super::embedding::PositionEmbedding;
use crate::florence::config::TextConfig;
use crate::florence::error::CheckpointResult;
use crate::florence::kernels::LayerNorm;
use crate::florence::ops::attention;
use crate::florence::probe::Probe;
use crate::florence::weights::Weights;

/// Added to the score of a masked position. Large enough that its weight is 0 in f32, finite so that a row in which
/// everything is masked stays a number.
const MASKED: f32 = -1e9;

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
    attention: MultiHeadAttention,
    attention_norm: LayerNorm,
    mlp: Mlp,
}

/// Two linear layers around GELU, added to their input and normalised.
pub struct Mlp {
    fc1: Linear,
    fc2: Linear,
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
        let mask = padding_mask(lengths, embeddings.dim(1)?, embeddings.device())?;
        let mut hidden = self.positions.forward(embeddings)?;
        probe.visit(|| "encoder.embed_norm".to_owned(), &hidden);
        for (index, layer) in self.layers.iter().enumerate() {
            hidden = layer.forward(&hidden, mask.as_ref())?;
            probe.visit(|| format!("encoder.layer{index}"), &hidden);
        }
        Ok(Encoded { hidden, lengths: lengths.to_vec() })
    }
}

impl EncoderLayer {
    fn new(config: &TextConfig, weights: &Weights) -> CheckpointResult<Self> {
        let (d_model, heads) = (config.d_model, config.encoder_attention_heads);
        Ok(Self {
            attention: MultiHeadAttention::new(d_model, heads, &weights.pp("self_attn"))?,
            attention_norm: weights.pp("self_attn_layer_norm").layer_norm(d_model)?,
            mlp: Mlp::new(d_model, config.encoder_ffn_dim, weights)?,
        })
    }

    fn forward(&self, x: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let (keys, values) = self.attention.keys_values(x)?;
        let attended = attention(&self.attention.queries(x)?, &keys, &values, mask)?;
        let attended = self.attention.join(&attended)?;
        self.mlp.forward(&self.attention_norm.forward(&(x + attended)?)?)
    }
}

impl Mlp {
    /// Takes `fc1`, `fc2` and `final_layer_norm` of a layer.
    ///
    /// # Errors
    /// A tensor that is missing or does not fit.
    pub fn new(d_model: usize, hidden: usize, weights: &Weights) -> CheckpointResult<Self> {
        Ok(Self {
            fc1: weights.pp("fc1").linear(d_model, hidden)?,
            fc2: weights.pp("fc2").linear(hidden, d_model)?,
            norm: weights.pp("final_layer_norm").layer_norm(d_model)?,
        })
    }

    /// `norm(x + fc2(gelu(fc1(x))))`.
    ///
    /// # Errors
    /// The device's.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let hidden = self.fc2.forward(&self.fc1.forward(x)?.gelu_erf()?)?;
        self.norm.forward(&(x + hidden)?)
    }
}

/// `[batch, 1, 1, length]`, zero where there is something to attend to; `None` when nothing is padded.
fn padding_mask(lengths: &[usize], longest: usize, device: &Device) -> Result<Option<Tensor>> {
    if lengths.iter().all(|&length| length >= longest) {
        return Ok(None);
    }
    let values: Vec<f32> = lengths
        .iter()
        .flat_map(|&length| (0..longest).map(move |position| if position < length { 0. } else { MASKED }))
        .collect();
    Tensor::from_vec(values, (lengths.len(), 1, 1, longest), device)?.to_dtype(DType::F32).map(Some)
}
