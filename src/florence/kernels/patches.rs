//! The convolutions that make a map coarser, as products of patches with weights.

use candle_core::{Result, Tensor, bail};
use florence_cpu::patches::{PatchInput, patch_conv};

use super::Linear;
use super::values::{Values, tensor};

/// Where a convolution looks.
#[derive(Debug, Clone, Copy)]
pub struct PatchGeometry {
    /// Side of a patch.
    pub kernel: usize,
    /// Pixels from one patch to the next.
    pub stride: usize,
    /// Rings of zeros around the map.
    pub padding: usize,
}

/// A convolution of square patches, channels last.
pub struct PatchConv {
    /// From `kernel * kernel * inputs`, row by row of the patch, to `outputs`.
    product: Linear,
    geometry: PatchGeometry,
}

impl PatchConv {
    /// `product` takes patches `[…, kernel * kernel * inputs]`, row by row, channels last.
    pub const fn new(product: Linear, geometry: PatchGeometry) -> Self {
        Self { product, geometry }
    }

    /// A map `[batch, height, width, inputs]` to a coarser one `[batch, rows, columns, outputs]`.
    ///
    /// # Errors
    /// Shapes that do not fit, and the device's own.
    pub fn forward(&self, map: &Tensor) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if map.device().is_cuda() {
            return self.product.forward(&super::cuda::patches(map, self.geometry)?);
        }
        let Some(weights) = self.product.as_packed() else {
            return self.product.forward(&patches(map, self.geometry)?);
        };
        let shape = map.dims4()?;
        let PatchGeometry { kernel, stride, padding } = self.geometry;
        if weights.inputs() != kernel * kernel * shape.3 {
            bail!("{} inputs do not fit patches of {:?}", weights.inputs(), map.dims());
        }
        let map = map.contiguous()?;
        let map = Values::of(&map);
        let input = PatchInput { map: map.get()?, shape, kernel, stride, padding };
        let (rows, columns) = input.patches();
        tensor(patch_conv(input, weights), (shape.0, rows, columns, weights.outputs()))
    }
}

/// The patches of a map `[batch, height, width, channels]`: `[batch, rows, columns, kernel * kernel * channels]`.
pub(super) fn patches(map: &Tensor, geometry: PatchGeometry) -> Result<Tensor> {
    let PatchGeometry { kernel, stride, padding } = geometry;
    let (batch, height, width, channels) = map.dims4()?;
    let size = |length: usize| (length + 2 * padding).saturating_sub(kernel) / stride + 1;
    let (rows, columns) = (size(height), size(width));
    // Room for whole strides, so that every tap is a regular selection.
    let room = |count: usize, length: usize| (count * stride + kernel).saturating_sub(length + padding);
    let padded =
        map.pad_with_zeros(1, padding, room(rows, height))?.pad_with_zeros(2, padding, room(columns, width))?;
    let mut taps = Vec::with_capacity(kernel * kernel);
    for y in 0..kernel {
        for x in 0..kernel {
            let tap = padded
                .narrow(1, y, rows * stride)?
                .narrow(2, x, columns * stride)?
                .reshape(&[batch, rows, stride, columns, stride, channels])?
                .narrow(2, 0, 1)?
                .narrow(4, 0, 1)?;
            taps.push(tap.reshape((batch, rows, columns, channels))?);
        }
    }
    Tensor::cat(&taps, 3)
}

#[cfg(test)]
mod tests {
    use super::super::WeightType;
    use super::*;
    use candle_core::{DType, Device, Module};
    use candle_nn::{Conv2d, Conv2dConfig};

    #[test]
    fn patches_times_weights_is_the_convolution() {
        let device = Device::Cpu;
        for (size, channels, kernel, stride, padding) in
            [((9, 13), 3, 7, 4, 3), ((6, 5), 4, 3, 2, 1), ((7, 8), 5, 3, 2, 1), ((4, 4), 2, 2, 2, 0)]
        {
            let map = Tensor::randn(0f32, 1., (2, size.0, size.1, channels), &device).unwrap();
            let kernels = Tensor::randn(0f32, 1., (6, channels, kernel, kernel), &device).unwrap();
            let bias = Tensor::randn(0f32, 1., 6, &device).unwrap();
            let config = Conv2dConfig { stride, padding, ..Default::default() };
            let expected = Conv2d::new(kernels.clone(), Some(bias.clone()), config)
                .forward(&map.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap())
                .unwrap()
                .permute((0, 2, 3, 1))
                .unwrap();
            let weight = kernels.permute((0, 2, 3, 1)).unwrap().flatten_from(1).unwrap();
            let packed = Linear::packed(&weight.contiguous().unwrap(), Some(bias.clone()), WeightType::F32).unwrap();
            for product in [Linear::new(weight, Some(bias)), packed] {
                let conv = PatchConv::new(product, PatchGeometry { kernel, stride, padding });
                let found = conv.forward(&map).unwrap();
                assert_eq!(found.dims(), expected.dims());
                let worst = (found - &expected).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap();
                assert!(worst.to_dtype(DType::F32).unwrap().to_scalar::<f32>().unwrap() < 1e-4);
            }
        }
    }
}
