//! Multi-head attention with biases on all four projections.

use candle_core::{Module, Result, Tensor};
use candle_nn::Linear;

use crate::florence::error::CheckpointResult;
use crate::florence::weights::Weights;

/// The four projections of one attention.
pub struct MultiHeadAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    heads: usize,
    scale: f64,
}

impl MultiHeadAttention {
    /// Takes the tensors below `weights`.
    ///
    /// # Errors
    /// A tensor that is missing or does not fit.
    pub fn new(d_model: usize, heads: usize, weights: &Weights) -> CheckpointResult<Self> {
        let linear = |name| weights.pp(name).linear(d_model, d_model);
        Ok(Self {
            query: linear("q_proj")?,
            key: linear("k_proj")?,
            value: linear("v_proj")?,
            out: linear("out_proj")?,
            heads,
            scale: ((d_model / heads) as f64).powf(-0.5),
        })
    }

    /// Scaled queries of `x` `[batch, length, d_model]`: `[batch, heads, length, width]`.
    ///
    /// # Errors
    /// The device's.
    pub fn queries(&self, x: &Tensor) -> Result<Tensor> {
        self.split(&(self.query.forward(x)? * self.scale)?)
    }

    /// Keys and values of `x` `[batch, length, d_model]`, each `[batch, heads, length, width]`.
    ///
    /// # Errors
    /// The device's.
    pub fn keys_values(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        Ok((self.split(&self.key.forward(x)?)?, self.split(&self.value.forward(x)?)?))
    }

    /// What the heads found, `[batch, heads, length, width]`, to `[batch, length, d_model]`.
    ///
    /// # Errors
    /// The device's.
    pub fn join(&self, attended: &Tensor) -> Result<Tensor> {
        self.out.forward(&attended.transpose(1, 2)?.flatten_from(2)?.contiguous()?)
    }

    fn split(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, length, d_model) = x.dims3()?;
        x.reshape((batch, length, self.heads, d_model / self.heads))?.transpose(1, 2)?.contiguous()
    }
}
