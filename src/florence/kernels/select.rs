//! The vocabulary: tokens as vectors, vectors as logits, and the best tokens of each row of logits.

use candle_core::{DType, Device, Result, Tensor, bail};
use florence_cpu::product::{After, Input, PackedMatrix, Rows, WeightType, product};
use florence_cpu::rank::rank;
use florence_cpu::simd::InstructionSet;
use rayon::prelude::*;

use super::linear::packed;
use super::values::{Values, tensor};
use crate::florence::generation::{Ranking, Wanted};

/// The one table that turns tokens into vectors, and vectors into logits.
pub struct Vocabulary {
    form: Form,
    tokens: usize,
    width: usize,
}

/// The table in the form that suits the device.
enum Form {
    /// For the CPU's kernels, the bias included.
    Packed(PackedMatrix),
    /// `[tokens, width]` for any device, and what is added to the logits, `[tokens]`.
    Plain(Tensor, Option<Tensor>),
}

impl Vocabulary {
    /// `table` `[tokens, width]` and `bias` `[tokens]`, wherever they are.
    ///
    /// # Errors
    /// A table that is none.
    pub fn new(table: Tensor, bias: Option<Tensor>) -> Result<Self> {
        let (tokens, width) = table.dims2()?;
        Ok(Self { form: Form::Plain(table, bias), tokens, width })
    }

    /// The same for the CPU's kernels, which keep the table as `kind`.
    ///
    /// # Errors
    /// Tensors that are not in f32 on the CPU.
    pub fn packed(table: &Tensor, bias: Option<&Tensor>, kind: WeightType) -> Result<Self> {
        let (tokens, width) = table.dims2()?;
        Ok(Self { form: Form::Packed(packed(table, bias, kind)?), tokens, width })
    }

    /// The table `[tokens, width]` and what is added to the logits, where they are tensors.
    #[cfg(feature = "cuda")]
    pub fn as_tensors(&self) -> Option<(Tensor, Option<Tensor>)> {
        match &self.form {
            Form::Plain(table, bias) => Some((table.clone(), bias.clone())),
            Form::Packed(_) => None,
        }
    }

    /// Number of tokens.
    pub const fn tokens(&self) -> usize {
        self.tokens
    }

    /// The vectors `[ids, width]` of tokens.
    ///
    /// # Errors
    /// The device's, and an id outside the table.
    pub fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        if let Some(id) = ids.iter().find(|id| **id as usize >= self.tokens) {
            bail!("token {id} is beyond the table of {}", self.tokens);
        }
        match &self.form {
            Form::Plain(table, _) => table.index_select(&Tensor::new(ids, table.device())?, 0),
            Form::Packed(table) => {
                let mut rows = vec![0.; ids.len() * self.width];
                for (id, row) in ids.iter().zip(rows.chunks_exact_mut(self.width)) {
                    table.unpack(*id as usize, row);
                }
                tensor(rows, (ids.len(), self.width))
            }
        }
    }

    /// Vectors `[rows, width]` to logits `[rows, tokens]`, in f32 on the CPU.
    ///
    /// # Errors
    /// The device's.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        let rows = hidden.dim(0)?;
        match &self.form {
            Form::Packed(table) => tensor(self.packed_logits(table, hidden)?, (rows, self.tokens)),
            Form::Plain(table, bias) => {
                let logits = hidden.matmul(&table.t()?)?;
                let logits = match bias {
                    None => logits,
                    Some(bias) => logits.broadcast_add(bias)?,
                };
                logits.to_dtype(DType::F32)?.to_device(&Device::Cpu)
            }
        }
    }

    /// The best tokens after each of the vectors `[rows, width]`.
    ///
    /// # Errors
    /// The device's.
    pub fn select(&self, hidden: &Tensor, wanted: &[Wanted]) -> Result<Vec<Ranking>> {
        if hidden.dim(0)? != wanted.len() {
            bail!("{} rows are not {}", hidden.dim(0)?, wanted.len());
        }
        let logits = match &self.form {
            // Where every token is forced, nobody asks.
            _ if wanted.iter().all(|wanted| wanted.most == 0) => return Ok(vec![Some(vec![]); wanted.len()]),
            Form::Packed(table) => self.packed_logits(table, hidden)?,
            Form::Plain(..) => self.logits(hidden)?.flatten_all()?.to_vec1()?,
        };
        let rows = wanted.par_iter().zip(logits.par_chunks(self.tokens));
        Ok(rows.map(|(wanted, logits)| rank(wanted, logits, InstructionSet::chosen())).collect())
    }

    fn packed_logits(&self, table: &PackedMatrix, hidden: &Tensor) -> Result<Vec<f32>> {
        let (rows, width) = hidden.dims2()?;
        if width != self.width {
            bail!("{:?} do not fit a table of {} columns", hidden.dims(), self.width);
        }
        let hidden = hidden.contiguous()?;
        let hidden = Values::of(&hidden);
        Ok(product(Input::plain(Rows::new(hidden.get()?, width)), rows, table, After::default()))
    }
}
