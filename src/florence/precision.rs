//! In what a model computes.

use std::fmt;

use candle_core::{DType, Device};

use super::kernels::WeightType;

/// How exactly weights are kept and activations are computed. A CPU computes activations in f32 in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats: the same tokens as the reference.
    F32,
    /// 16-bit floats with a small range, the checkpoints' own type. For GPUs.
    F16,
    /// 16-bit floats with a small mantissa.
    Bf16,
    /// Weights as bytes with a scale for each output, and activations quantised for their products. For CPUs.
    Int8,
}

impl Precision {
    /// Type of the activations on a device.
    pub fn activations(self, device: &Device) -> DType {
        match self {
            _ if device.is_cpu() => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
            Self::F32 | Self::Int8 => DType::F32,
        }
    }

    /// Whether a device can compute so.
    pub fn suits(self, device: &Device) -> bool {
        match self {
            Self::F32 | Self::Bf16 => true,
            Self::F16 => !device.is_cpu(),
            Self::Int8 => device.is_cpu(),
        }
    }

    /// How a CPU keeps most weights.
    pub(super) const fn weights(self) -> WeightType {
        match self {
            Self::F32 | Self::F16 => WeightType::F32,
            Self::Bf16 => WeightType::Bf16,
            Self::Int8 => WeightType::I8,
        }
    }

    /// How a CPU keeps those weights that are few and matter much: the first convolution, and the table of tokens.
    pub(super) const fn sensitive_weights(self) -> WeightType {
        match self {
            Self::Int8 => WeightType::Bf16,
            _ => self.weights(),
        }
    }

    /// `FP32`, `FP16`, `BF16` or `INT8`, as the platform spells them.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "FP32",
            Self::F16 => "FP16",
            Self::Bf16 => "BF16",
            Self::Int8 => "INT8",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
