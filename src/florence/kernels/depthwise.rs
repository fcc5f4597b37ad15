//! The 3x3 depthwise convolution, channels last, with bias and residual in the same pass.
//!
//! candle splits a convolution with as many groups as channels into one convolution a channel, thousands for each
//! picture. Here every channel of a pixel is neighbouring memory, so nine multiply-adds over a row do it.

use candle_core::{DType, Result, Tensor, bail};
use florence_cpu::depthwise::{self, DepthwiseInput, TAPS};
use florence_cpu::simd::InstructionSet;

use super::values::{Values, is_on_cpu, tensor};

/// `x + conv(x)` of `x` `[batch, height, width, channels]` with `weight` `[9, channels]`, row by row of the kernel, and
/// `bias` `[channels]`. The picture is padded with one ring of zeros, so the size stays.
///
/// # Errors
/// Shapes that do not fit, and the device's own.
pub fn depthwise_conv3x3(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (_batch, height, width, channels) = x.dims4()?;
    if weight.dims() != [TAPS, channels] || bias.dims() != [channels] {
        bail!("depthwise weights {:?} and {:?} do not fit {:?}", weight.dims(), bias.dims(), x.dims());
    }
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return super::cuda::depthwise_conv3x3(&x.contiguous()?, weight, bias);
    }
    if !is_on_cpu(x) {
        return shifted_sum(x, weight, bias);
    }
    let map = x.contiguous()?;
    let (map, weight, bias) = (Values::of(&map), Values::of(weight), Values::of(bias));
    let input = DepthwiseInput { map: map.get()?, weight: weight.get()?, bias: bias.get()?, height, width };
    tensor(depthwise::depthwise_conv3x3(input, InstructionSet::chosen()), x.shape())
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
