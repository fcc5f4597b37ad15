//! The projections around the text model's attentions, with biases on all of them.

use candle_core::{Result, Tensor};

use crate::florence::error::CheckpointResult;
use crate::florence::kernels::{DecoderCache, Linear, cached_attention, cross_attention, encoder_attention};
use crate::florence::weights::Weights;

/// Attention within a sequence: of the encoder, or of the decoder over what it has written.
pub struct SelfAttention {
    /// To queries, keys and values side by side.
    qkv: Linear,
    out: Linear,
    heads: usize,
}

/// Attention of the decoder to the encoder's output.
pub struct CrossAttention {
    query: Linear,
    /// To keys and values side by side.
    key_value: Linear,
    out: Linear,
    heads: usize,
}

impl SelfAttention {
    /// Takes the tensors below `weights`.
    ///
    /// # Errors
    /// A tensor that is missing or does not fit.
    pub fn new(d_model: usize, heads: usize, weights: &Weights) -> CheckpointResult<Self> {
        Ok(Self {
            qkv: weights.linears(&["q_proj", "k_proj", "v_proj"], d_model, d_model)?,
            out: weights.pp("out_proj").linear(d_model, d_model)?,
            heads,
        })
    }

    /// `x` `[batch, length, d_model]` with what each position finds in its row added; see [`encoder_attention`].
    ///
    /// # Errors
    /// The device's.
    pub fn add_to(&self, x: &Tensor, lengths: &[usize]) -> Result<Tensor> {
        let attended = encoder_attention(&self.qkv.forward(x)?, self.heads, lengths)?;
        self.out.forward_add(&attended, x)
    }

    /// `x` `[rows, d_model]` with what each row finds in its cache added; see [`cached_attention`].
    ///
    /// # Errors
    /// The device's.
    pub fn add_cached(&self, x: &Tensor, layer: usize, caches: &mut [&mut DecoderCache]) -> Result<Tensor> {
        let attended = cached_attention(&self.qkv.forward(x)?, self.heads, layer, caches)?;
        self.out.forward_add(&attended, x)
    }
}

#[cfg(feature = "cuda")]
impl SelfAttention {
    /// The projections in and out, and the number of heads.
    pub const fn parts(&self) -> (&Linear, &Linear, usize) {
        (&self.qkv, &self.out, self.heads)
    }
}

#[cfg(feature = "cuda")]
impl CrossAttention {
    /// The projections of queries and out.
    pub const fn parts(&self) -> (&Linear, &Linear) {
        (&self.query, &self.out)
    }
}

impl CrossAttention {
    /// Takes the tensors below `weights`.
    ///
    /// # Errors
    /// A tensor that is missing or does not fit.
    pub fn new(d_model: usize, heads: usize, weights: &Weights) -> CheckpointResult<Self> {
        Ok(Self {
            query: weights.pp("q_proj").linear(d_model, d_model)?,
            key_value: weights.linears(&["k_proj", "v_proj"], d_model, d_model)?,
            out: weights.pp("out_proj").linear(d_model, d_model)?,
            heads,
        })
    }

    /// Keys and values `[…, 2 * d_model]` of the encoder's output `[…, d_model]`.
    ///
    /// # Errors
    /// The device's.
    pub fn keys_values(&self, encoded: &Tensor) -> Result<Tensor> {
        self.key_value.forward(encoded)
    }

    /// `x` `[rows, d_model]` with what each row finds in its encoder's output added; see [`cross_attention`].
    ///
    /// # Errors
    /// The device's.
    pub fn add_to(&self, x: &Tensor, layer: usize, caches: &[&mut DecoderCache]) -> Result<Tensor> {
        let attended = cross_attention(&self.query.forward(x)?, self.heads, layer, caches)?;
        self.out.forward_add(&attended, x)
    }
}
