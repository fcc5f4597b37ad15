//! The 3x3 depthwise convolution, channels last, with bias and residual in the same pass.
//!
//! candle splits a convolution with as many groups as channels into one convolution a channel, thousands for each
//! picture. Here every channel of a pixel is neighbouring memory, so nine multiply-adds over a row do it.

use candle_core::{CpuStorage, CustomOp3, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::contiguous;

/// Weights of one channel.
const TAPS: usize = 9;

/// `x + conv(x)` of `x` `[batch, height, width, channels]` with `weight` `[9, channels]`, row by row of the kernel, and
/// `bias` `[channels]`. The picture is padded with one ring of zeros, so the size stays.
///
/// # Errors
/// Shapes that do not fit, and the device's own.
pub fn depthwise_conv3x3(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let channels = x.dim(3)?;
    if weight.dims() != [TAPS, channels] || bias.dims() != [channels] {
        bail!("depthwise weights {:?} and {:?} do not fit {:?}", weight.dims(), bias.dims(), x.dims());
    }
    if x.device().is_cpu() && x.dtype() == DType::F32 {
        return x.contiguous()?.apply_op3_no_bwd(&weight.contiguous()?, &bias.contiguous()?, &DepthwiseConv);
    }
    shifted_sum(x, weight, bias)
}

/// The same from candle's operations: nine shifted copies, weighted and summed in f32.
fn shifted_sum(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (_batch, height, width, _channels) = x.dims4()?;
    let dtype = x.dtype();
    let [x, weight, bias] = [x.to_dtype(DType::F32)?, weight.to_dtype(DType::F32)?, bias.to_dtype(DType::F32)?];
    let padded = x.pad_with_zeros(1, 1, 1)?.pad_with_zeros(2, 1, 1)?;
    let mut sum = x.broadcast_add(&bias)?;
    for tap in 0..TAPS {
        let shifted = padded.narrow(1, tap / 3, height)?.narrow(2, tap % 3, width)?;
        sum = (sum + shifted.broadcast_mul(&weight.get(tap)?)?)?;
    }
    sum.to_dtype(dtype)
}

struct DepthwiseConv;

impl CustomOp3 for DepthwiseConv {
    fn name(&self) -> &'static str {
        "depthwise-conv3x3"
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
        let (_batch, height, width, channels) = x_layout.shape().dims4()?;
        let map = Map {
            x: contiguous(x, x_layout)?,
            weight: contiguous(weight, weight_layout)?,
            bias: contiguous(bias, bias_layout)?,
            height,
            width,
            channels,
        };
        let row = width * channels;
        let mut output = vec![0f32; map.x.len()];
        if row > 0 {
            output.par_chunks_mut(row).enumerate().for_each(|(index, output)| map.row(index, output));
        }
        Ok((CpuStorage::F32(output), x_layout.shape().clone()))
    }
}

/// The inputs of one convolution.
struct Map<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    height: usize,
    width: usize,
    channels: usize,
}

impl Map<'_> {
    /// Computes row `index`, counted over the whole batch.
    fn row(&self, index: usize, output: &mut [f32]) {
        let row = self.width * self.channels;
        let y = index % self.height;
        for (pixel, x) in output.chunks_exact_mut(self.channels).zip(self.rows(index).chunks_exact(self.channels)) {
            for ((out, x), bias) in pixel.iter_mut().zip(x).zip(self.bias) {
                *out = x + bias;
            }
        }
        for dy in 0..3 {
            // The ring of zeros above the first and below the last row adds nothing.
            if y + dy == 0 || y + dy > self.height {
                continue;
            }
            let source = self.rows(index + dy - 1);
            for dx in 0..3 {
                let taps = self.weight.chunks_exact(self.channels).nth(dy * 3 + dx).unwrap_or_default();
                // Column x of the output meets column x + dx - 1 of the source.
                let (skip_out, skip_in) = (usize::from(dx == 0), usize::from(dx == 2));
                let targets = output.chunks_exact_mut(self.channels).skip(skip_out);
                let sources = source.get(..row).unwrap_or_default().chunks_exact(self.channels).skip(skip_in);
                for (target, source) in targets.zip(sources) {
                    for ((out, value), tap) in target.iter_mut().zip(source).zip(taps) {
                        *out += value * tap;
                    }
                }
            }
        }
    }

    fn rows(&self, index: usize) -> &[f32] {
        let row = self.width * self.channels;
        self.x.get(index * row..(index + 1) * row).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// The convolution from its definition, in f64.
    fn by_definition(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Vec<f64> {
        let (batch, height, width, channels) = x.dims4().unwrap();
        let x = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let weight = weight.to_vec2::<f32>().unwrap();
        let bias = bias.to_vec1::<f32>().unwrap();
        let at = |b: usize, y: i64, column: i64, c: usize| {
            let inside = (0..height as i64).contains(&y) && (0..width as i64).contains(&column);
            if inside { f64::from(x[((b * height + y as usize) * width + column as usize) * channels + c]) } else { 0. }
        };
        let mut out = vec![];
        for b in 0..batch {
            for y in 0..height as i64 {
                for column in 0..width as i64 {
                    for c in 0..channels {
                        let mut sum = at(b, y, column, c) + f64::from(bias[c]);
                        for (tap, weight) in weight.iter().enumerate() {
                            let (dy, dx) = (tap as i64 / 3 - 1, tap as i64 % 3 - 1);
                            sum += at(b, y + dy, column + dx, c) * f64::from(weight[c]);
                        }
                        out.push(sum);
                    }
                }
            }
        }
        out
    }

    #[test]
    fn both_forms_equal_the_definition_on_odd_shapes() {
        let device = Device::Cpu;
        for (batch, height, width, channels) in [(1, 1, 1, 1), (2, 3, 5, 7), (1, 1, 6, 4), (3, 7, 1, 3), (1, 9, 8, 16)]
        {
            let x = Tensor::randn(0f32, 1., (batch, height, width, channels), &device).unwrap();
            let weight = Tensor::randn(0f32, 1., (TAPS, channels), &device).unwrap();
            let bias = Tensor::randn(0f32, 1., channels, &device).unwrap();
            let expected = by_definition(&x, &weight, &bias);
            for result in [depthwise_conv3x3(&x, &weight, &bias).unwrap(), shifted_sum(&x, &weight, &bias).unwrap()] {
                assert_eq!(result.dims(), x.dims());
                let values = result.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                for (value, expected) in values.iter().zip(&expected) {
                    assert!((f64::from(*value) - expected).abs() < 1e-4, "{value} is not {expected}");
                }
            }
        }
    }

    #[test]
    fn weights_of_another_width_are_refused() {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        assert!(depthwise_conv3x3(&zeros(&[1, 2, 2, 4]), &zeros(&[9, 3]), &zeros(&[4])).is_err());
    }
}
