//! Operations on maps and rows: norm, depthwise convolution, GELU, patches.

use candle_core::cuda_backend::cudarc::driver::{CudaStream, DeviceRepr};
use candle_core::{DType, Result, Tensor, bail};

use super::gpu::{Gpu, int, kernel, launch};
use super::memory::{address, optional_address, strided_address, unwritten};
use crate::florence::kernels::PatchGeometry;

/// Threads of a block of the kernels that have no other reason for a number.
const BLOCK: usize = 256;
/// Values that a thread reads and writes together.
const VECTOR: usize = 8;
/// Neighbouring pixels that a thread convolves.
const STRIP: usize = 4;
/// Row sizes that have a kernel of their own, with the lanes that share a row.
const NORM_SIZES: [(usize, usize); 6] = [(128, 16), (256, 32), (512, 32), (768, 32), (1024, 32), (2048, 32)];

/// The layer norm of `x`, or of `x + residual`, over the last axis.
///
/// # Errors
/// Shapes that do not fit, and the device's.
pub fn layer_norm(x: &Tensor, residual: Option<&Tensor>, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let size = x.dims().last().copied().unwrap_or(0);
    if weight.dims() != [size] || bias.dims() != [size] || residual.is_some_and(|other| other.dims() != x.dims()) {
        bail!("a norm of {:?} does not fit {:?}", weight.dims(), x.dims());
    }
    let out = unwritten(x.shape(), x.dtype(), x.device())?;
    if out.elem_count() == 0 {
        return Ok(out);
    }
    let gpu = Gpu::of(x.device())?;
    let addresses = [address(x)?, optional_address(residual)?, address(weight)?, address(bias)?, address(&out)?];
    normalise_on(&gpu, &gpu.stream, addresses, (x.elem_count() / size, size), x.dtype())?;
    Ok(out)
}

/// Normalises rows `(number, size)` between addresses: of the input, of what is added to it or 0, of weight, bias and output.
///
/// # Errors
/// The device's.
pub fn normalise_on(
    gpu: &Gpu,
    stream: &CudaStream,
    addresses: [u64; 5],
    (rows, size): (usize, usize),
    dtype: DType,
) -> Result<()> {
    let [x, residual, weight, bias, out] = addresses;
    match NORM_SIZES.iter().find(|(of, _)| *of == size) {
        Some((_, lanes)) => {
            let name = kernel(&format!("layer_norm_{size}"), dtype)?;
            let blocks = rows.div_ceil(BLOCK / lanes) as u32;
            launch!(gpu => stream, name, (blocks, 1, 1), BLOCK as u32, x, residual, weight, bias, out, int(rows)?);
        }
        None => {
            let name = kernel("layer_norm_any", dtype)?;
            launch!(gpu => stream, name, (rows as u32, 1, 1), 128, x, residual, weight, bias, out, int(size)?);
        }
    }
    Ok(())
}

/// `x + conv(x) + bias`, as [`depthwise_conv3x3`](crate::florence::kernels::depthwise_conv3x3) says.
///
/// # Errors
/// The device's.
pub fn depthwise_conv3x3(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (batch, height, width, channels) = x.dims4()?;
    let out = unwritten(x.shape(), x.dtype(), x.device())?;
    if out.elem_count() == 0 {
        return Ok(out);
    }
    let gpu = Gpu::of(x.device())?;
    let (name, threads) = match channels % VECTOR {
        0 => ("depthwise", batch * height * width.div_ceil(STRIP) * (channels / VECTOR)),
        _ => ("depthwise_any", x.elem_count()),
    };
    let name = kernel(name, x.dtype())?;
    let (x, weight, bias, to) = (address(x)?, address(weight)?, address(bias)?, address(&out)?);
    let grid = (threads.div_ceil(BLOCK) as u32, 1, 1);
    let [height, width, channels, threads] = [int(height)?, int(width)?, int(channels)?, int(threads)?];
    launch!(gpu, name, grid, BLOCK as u32, x, weight, bias, to, height, width, channels, threads);
    Ok(out)
}

/// Replaces every value by its GELU, `bias` over the last axis added before. The tensor must be nobody else's.
///
/// # Errors
/// The device's.
pub fn gelu_in_place(x: &Tensor, bias: Option<&Tensor>) -> Result<()> {
    let (count, size) = (x.elem_count(), x.dims().last().copied().unwrap_or(0));
    if count == 0 {
        return Ok(());
    }
    let gpu = Gpu::of(x.device())?;
    let (name, threads) = if size % VECTOR == 0 { ("gelu", count / VECTOR) } else { ("gelu_any", count) };
    let name = kernel(name, x.dtype())?;
    let (x, bias, size) = (address(x)?, optional_address(bias)?, int(size)?);
    launch!(gpu, name, (threads.div_ceil(BLOCK) as u32, 1, 1), BLOCK as u32, x, bias, size, threads as i64);
    Ok(())
}

/// How a map becomes patches, as the kernel takes it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Geometry {
    out_height: i32,
    out_width: i32,
    kernel: i32,
    stride: i32,
    padding: i32,
    height: i32,
    width: i32,
    channels: i32,
    padded: i32,
    strides: [i64; 4],
}

// SAFETY: it is made of plain numbers and laid out as the kernel's structure.
unsafe impl DeviceRepr for Geometry {}

/// Patches `[batch, h, w, kernel · kernel · channels]` of a map `[batch, height, width, channels]` with any strides; the last axis
/// is filled up with zeros to a multiple of eight, which matrix products like better.
///
/// # Errors
/// The device's.
pub fn patches(x: &Tensor, geometry: PatchGeometry) -> Result<Tensor> {
    let PatchGeometry { kernel: kernel_side, stride, padding } = geometry;
    let (batch, height, width, channels) = x.dims4()?;
    let out_side = |size: usize| (size + 2 * padding).checked_sub(kernel_side).map_or(0, |room| room / stride + 1);
    let (out_height, out_width) = (out_side(height), out_side(width));
    let padded = (kernel_side * kernel_side * channels).next_multiple_of(VECTOR);
    let out = unwritten((batch, out_height, out_width, padded), x.dtype(), x.device())?;
    if out.elem_count() == 0 {
        return Ok(out);
    }
    let gpu = Gpu::of(x.device())?;
    let mut strides = [0i64; 4];
    for (stride, of) in strides.iter_mut().zip(x.stride()) {
        *stride = *of as i64;
    }
    let are_aligned = strides.iter().take(3).all(|stride| stride % VECTOR as i64 == 0) && strides[3] == 1;
    let name = if channels % VECTOR == 0 && are_aligned { "patches" } else { "patches_any" };
    let geometry = Geometry {
        out_height: int(out_height)?,
        out_width: int(out_width)?,
        kernel: int(kernel_side)?,
        stride: int(stride)?,
        padding: int(padding)?,
        height: int(height)?,
        width: int(width)?,
        channels: int(channels)?,
        padded: int(padded)?,
        strides,
    };
    let name = kernel(name, x.dtype())?;
    let (x, to, threads) = (strided_address(x)?, address(&out)?, out.elem_count() / VECTOR);
    launch!(gpu, name, (threads.div_ceil(BLOCK) as u32, 1, 1), BLOCK as u32, x, to, geometry, int(threads)?);
    Ok(out)
}

/// The values that `values` `[3, 256]` has for the bytes of pictures `[batch, height, width, 3]`.
///
/// # Errors
/// The device's.
pub fn normalise_bytes(bytes: &Tensor, values: &Tensor, dtype: DType) -> Result<Tensor> {
    let (_, _, _, channels) = bytes.dims4()?;
    if values.dims() != [channels, 256] || values.dtype() != DType::F32 || bytes.dtype() != DType::U8 {
        bail!("{:?} do not say what {:?} become", values.dims(), bytes.dims());
    }
    let out = unwritten(bytes.shape(), dtype, bytes.device())?;
    if out.elem_count() == 0 {
        return Ok(out);
    }
    let gpu = Gpu::of(bytes.device())?;
    let (name, count) = (kernel("normalise_bytes", dtype)?, int(out.elem_count())?);
    let grid = (out.elem_count().div_ceil(VECTOR * BLOCK) as u32, 1, 1);
    let (bytes, values, to) = (address(bytes)?, address(values)?, address(&out)?);
    launch!(gpu, name, grid, BLOCK as u32, bytes, values, to, int(channels)?, count);
    Ok(out)
}
