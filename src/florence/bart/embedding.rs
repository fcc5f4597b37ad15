//! Tokens and positions as vectors, and vectors as logits over tokens.

use candle_core::{Module, Result, Tensor, bail};

use crate::florence::config::TextConfig;
use crate::florence::error::CheckpointResult;
use crate::florence::kernels::LayerNorm;
use crate::florence::weights::{POSITION_OFFSET, TOKEN_EMBEDDING, Weights};

/// The one table that turns tokens into vectors, and vectors into logits.
pub struct TokenEmbedding {
    /// `[vocabulary, d_model]`.
    table: Tensor,
    /// `[vocabulary]`, where the checkpoint holds one that is not zero.
    logits_bias: Option<Tensor>,
}

impl TokenEmbedding {
    /// Takes the table from the root of `weights`.
    ///
    /// # Errors
    /// A tensor that is missing or does not fit.
    pub fn new(config: &TextConfig, weights: &Weights) -> CheckpointResult<Self> {
        let table = weights.table(config.d_model, TOKEN_EMBEDDING)?;
        let name = "language_model.final_logits_bias";
        let logits_bias = match weights.contains(name) {
            true => Some(weights.get((1, table.dim(0)?), name)?.squeeze(0)?),
            false => None,
        };
        // All published files hold zeros, which need not be added to every row of every step.
        let logits_bias = match logits_bias {
            Some(bias) if bias.abs()?.to_dtype(candle_core::DType::F32)?.sum_all()?.to_scalar::<f32>()? > 0. => {
                Some(bias)
            }
            _ => None,
        };
        Ok(Self { table, logits_bias })
    }

    /// Number of tokens.
    pub fn vocabulary(&self) -> usize {
        self.table.dims().first().copied().unwrap_or(0)
    }

    /// Ids `[…]` of type u32 to vectors `[…, d_model]`.
    ///
    /// # Errors
    /// The device's, and an id outside the table.
    pub fn embed(&self, ids: &Tensor) -> Result<Tensor> {
        let mut shape = ids.dims().to_vec();
        shape.push(self.table.dim(1)?);
        self.table.index_select(&ids.flatten_all()?, 0)?.reshape(shape)
    }

    /// Vectors `[rows, d_model]` to logits `[rows, vocabulary]`.
    ///
    /// # Errors
    /// The device's.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        let logits = hidden.matmul(&self.table.t()?)?;
        match &self.logits_bias {
            None => Ok(logits),
            Some(bias) => logits.broadcast_add(bias),
        }
    }
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

    /// Adds a position of its own to each row of `x` `[rows, 1, d_model]` and normalises.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn forward_at(&self, x: &Tensor, positions: &[usize]) -> Result<Tensor> {
        self.check(positions.iter().max().map_or(0, |last| last + 1))?;
        #[allow(clippy::cast_possible_truncation, reason = "checked against the table")]
        let rows: Vec<u32> = positions.iter().map(|position| (position + POSITION_OFFSET) as u32).collect();
        let rows = self.table.index_select(&Tensor::new(rows, self.table.device())?, 0)?;
        self.norm.forward(&(x + rows.unsqueeze(1)?)?)
    }

    fn check(&self, end: usize) -> Result<()> {
        if end > self.positions() {
            bail!("position {} is beyond the table of {}", end - 1, self.positions());
        }
        Ok(())
    }
}
