//! Layer norm over the last axis with its variance from a second pass.
//!
//! candle's own takes the variance as the mean of squares minus the square of the mean, which loses half the digits where
//! the mean is large; a near tie between two beams then falls the other way than in the reference.

use candle_core::{CpuStorage, CustomOp3, DType, Layout, Module, Result, Shape, Tensor};
use candle_nn::ops;
use rayon::prelude::*;

use super::contiguous;

/// Epsilon of every layer norm of the model.
const EPSILON: f32 = 1e-5;

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
}

impl Module for LayerNorm {
    /// `x` `[…, size]` to the same shape.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.contiguous()?;
        if x.device().is_cpu() && x.dtype() == DType::F32 {
            return x.apply_op3_no_bwd(&self.weight, &self.bias, &LayerNormOp);
        }
        ops::layer_norm(&x, &self.weight, &self.bias, EPSILON)
    }
}

struct LayerNormOp;

impl CustomOp3 for LayerNormOp {
    fn name(&self) -> &'static str {
        "layer-norm-two-pass"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = contiguous(x, x_layout)?;
        let weight = contiguous(weight, weight_layout)?;
        let bias = contiguous(bias, bias_layout)?;
        let mut output = vec![0f32; x.len()];
        let size = weight.len().max(1);
        output.par_chunks_exact_mut(size).zip(x.par_chunks_exact(size)).for_each(|(output, x)| {
            normalise_row(x, weight, bias, output);
        });
        Ok((CpuStorage::F32(output), x_layout.shape().clone()))
    }
}

fn normalise_row(x: &[f32], weight: &[f32], bias: &[f32], output: &mut [f32]) {
    let size = x.len() as f32;
    let mean = sum(x, |value| value) / size;
    let variance = sum(x, |value| (value - mean) * (value - mean)) / size;
    let scale = (variance + EPSILON).sqrt().recip();
    for ((out, value), (weight, bias)) in output.iter_mut().zip(x).zip(weight.iter().zip(bias)) {
        *out = (value - mean) * scale * weight + bias;
    }
}

/// A sum in several partial sums, which is both quicker and more exact than one after the other.
#[inline(always)]
fn sum(values: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    const LANES: usize = 16;
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [0f32; LANES];
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += term(*value);
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|value| term(*value)).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn rows_far_from_zero_keep_their_digits() {
        for (rows, size) in [(1, 1), (3, 7), (5, 129)] {
            let x = (Tensor::randn(0f32, 1., (rows, size), &Device::Cpu).unwrap() + 300.0).unwrap();
            let weight = Tensor::randn(1f32, 0.1, size, &Device::Cpu).unwrap();
            let bias = Tensor::randn(0f32, 0.1, size, &Device::Cpu).unwrap();
            let result = LayerNorm::new(weight.clone(), bias.clone()).forward(&x).unwrap().to_vec2::<f32>().unwrap();
            let (weight, bias) = (weight.to_vec1::<f32>().unwrap(), bias.to_vec1::<f32>().unwrap());
            for (x, result) in x.to_vec2::<f32>().unwrap().iter().zip(result) {
                let mean = x.iter().map(|v| f64::from(*v)).sum::<f64>() / size as f64;
                let variance = x.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / size as f64;
                for (column, value) in result.iter().enumerate() {
                    let normed = (f64::from(x[column]) - mean) / (variance + 1e-5).sqrt();
                    let expected = normed * f64::from(weight[column]) + f64::from(bias[column]);
                    assert!((f64::from(*value) - expected).abs() < 1e-4, "{value} is not {expected}");
                }
            }
        }
    }
}
