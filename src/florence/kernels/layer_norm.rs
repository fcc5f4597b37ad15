//! Layer norm over the last axis.

use candle_core::{Module, Result, Tensor};
use candle_nn::ops;
use florence_cpu::layer_norm::{EPSILON, NormWeights, layer_norm};
use florence_cpu::simd::InstructionSet;

use super::values::{Values, is_on_cpu, tensor};

/// `(x - mean) / sqrt(variance + 1e-5) * weight + bias` over the last axis, statistics in f32 or wider.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
}

impl LayerNorm {
    /// `weight` and `bias` `[size]`.
    pub const fn new(weight: Tensor, bias: Tensor) -> Self {
        Self { weight, bias }
    }

    /// Weight and bias.
    #[cfg(feature = "cuda")]
    pub fn weighted(&self) -> super::cuda::step::Weighted {
        super::cuda::step::Weighted { weight: self.weight.clone(), bias: self.bias.clone() }
    }

    /// Weight and bias, locked for kernels of the CPU.
    pub(super) fn values(&self) -> NormValues<'_> {
        NormValues { weight: Values::of(&self.weight), bias: Values::of(&self.bias) }
    }
}

/// Weight and bias of a norm on the CPU, locked for reading.
pub(super) struct NormValues<'a> {
    weight: Values<'a>,
    bias: Values<'a>,
}

impl NormValues<'_> {
    /// The values.
    ///
    /// # Errors
    /// As [`Values::get`].
    pub fn get(&self) -> Result<NormWeights<'_>> {
        Ok(NormWeights { weight: self.weight.get()?, bias: self.bias.get()? })
    }
}

impl Module for LayerNorm {
    /// `x` `[…, size]` to the same shape.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.contiguous()?;
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            return super::cuda::layer_norm(&x, None, &self.weight, &self.bias);
        }
        if !is_on_cpu(&x) {
            return ops::layer_norm(&x, &self.weight, &self.bias, EPSILON);
        }
        let normed = layer_norm(Values::of(&x).get()?, self.values().get()?, InstructionSet::chosen());
        tensor(normed, x.shape())
    }
}
