//! Tokens and positions as vectors, and vectors as logits over tokens.

use candle_core::{DType, Module, Result, Tensor, bail};

use crate::florence::config::TextConfig;
use crate::florence::error::CheckpointResult;
use crate::florence::kernels::{LayerNorm, Vocabulary};
use crate::florence::weights::{POSITION_OFFSET, TOKEN_EMBEDDING, Weights};

/// Reads the table of tokens from the root of `weights`.
///
/// # Errors
/// A tensor that is missing or does not fit.
pub fn vocabulary(config: &TextConfig, weights: &Weights) -> CheckpointResult<Vocabulary> {
    let table = weights.table(config.d_model, TOKEN_EMBEDDING)?;
    let name = "language_model.final_logits_bias";
    let bias = match weights.contains(name) {
        true => Some(weights.get((1, table.dim(0)?), name)?.squeeze(0)?),
        false => None,
    };
    // All published files hold zeros, which need not be added to every row of every step.
    let bias = match bias {
        Some(bias) if bias.abs()?.to_dtype(DType::F32)?.sum_all()?.to_scalar::<f32>()? > 0. => Some(bias),
        _ => None,
    };
    weights.vocabulary(table, bias)
}

/// Learned positions, and the norm behind the sum of both embeddings.
pub struct PositionEmbedding {
    /// `[positions + 2, d_model]`.
    table: Tensor,
    norm: LayerNorm,
}

impl PositionEmbedding {
    /// Takes the tensors of the encoder or the decoder below `weights`.
    ///
    /// # Errors
    /// A tensor that is missing or does not fit.
    pub fn new(config: &TextConfig, weights: &Weights) -> CheckpointResult<Self> {
        Ok(Self {
            table: weights.table(config.d_model, "embed_positions.weight")?,
            norm: weights.pp("layernorm_embedding").layer_norm(config.d_model)?,
        })
    }

    /// The table `[positions + 2, d_model]` and the norm.
    #[cfg(feature = "cuda")]
    pub const fn parts(&self) -> (&Tensor, &LayerNorm) {
        (&self.table, &self.norm)
    }

    /// Number of positions.
    pub fn positions(&self) -> usize {
        self.table.dims().first().map_or(0, |rows| rows.saturating_sub(POSITION_OFFSET))
    }

    /// Adds positions from 0 on to `x` `[batch, length, d_model]` and normalises.
    ///
    /// # Errors
    /// The device's, and a position beyond the table.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let length = x.dim(1)?;
        self.check(length)?;
        self.norm.forward(&x.broadcast_add(&self.table.narrow(0, POSITION_OFFSET, length)?)?)
    }

    /// Adds a position of its own to each row of `x` `[rows, d_model]` and normalises.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn forward_at(&self, x: &Tensor, positions: &[usize]) -> Result<Tensor> {
        self.check(positions.iter().max().map_or(0, |last| last + 1))?;
        #[allow(clippy::cast_possible_truncation, reason = "checked against the table")]
        let rows: Vec<u32> = positions.iter().map(|position| (position + POSITION_OFFSET) as u32).collect();
        let rows = self.table.index_select(&Tensor::new(rows, self.table.device())?, 0)?;
        self.norm.forward(&(x + rows)?)
    }

    fn check(&self, end: usize) -> Result<()> {
        if end > self.positions() {
            bail!("position {} is beyond the table of {}", end - 1, self.positions());
        }
        Ok(())
    }
}
