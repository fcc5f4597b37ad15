//! Memory of a GPU: addresses of tensors, new tensors, and what the driver keeps for later.

use candle_core::cuda_backend::cudarc::driver::{DevicePtr, result, sys};
use candle_core::cuda_backend::{CudaStorageSlice, WrapErr};
use candle_core::{CudaDevice, DType, Device, Result, Shape, Storage, Tensor, bail};

/// Memory of a device, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemory {
    /// What nobody uses.
    pub free: usize,
    /// All there is.
    pub total: usize,
    /// What tensors of this process take.
    pub used_here: u64,
    /// What this process keeps, the above included.
    pub kept_here: u64,
}

/// The address of a contiguous tensor's first value.
///
/// # Errors
/// A tensor that lies elsewhere, has gaps, or is of a type that no kernel takes.
pub fn address(tensor: &Tensor) -> Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    if !layout.is_contiguous() {
        bail!("a kernel needs a contiguous tensor, not {layout:?}");
    }
    start(&storage, layout.start_offset())
}

/// The address of the first value of a tensor with any strides.
///
/// # Errors
/// As [`address`].
pub fn strided_address(tensor: &Tensor) -> Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    start(&storage, layout.start_offset())
}

/// The address of an optional tensor, 0 without one.
///
/// # Errors
/// As [`address`].
pub fn optional_address(tensor: Option<&Tensor>) -> Result<u64> {
    tensor.map_or(Ok(0), address)
}

fn start(storage: &Storage, offset: usize) -> Result<u64> {
    let Storage::Cuda(storage) = storage else { bail!("a kernel needs a tensor on its GPU") };
    let stream = storage.device.cuda_stream();
    // The guards that come with the addresses would record events, which are switched off.
    let base = match &storage.slice {
        CudaStorageSlice::F16(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::BF16(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::F32(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::U32(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::U8(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::I32(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::I64(slice) => slice.device_ptr(&stream).0,
        _ => bail!("no kernel takes this type"),
    };
    let size = match &storage.slice {
        CudaStorageSlice::F16(_) | CudaStorageSlice::BF16(_) => 2,
        CudaStorageSlice::U8(_) => 1,
        CudaStorageSlice::I64(_) => 8,
        _ => 4,
    };
    Ok(base + (offset * size) as u64)
}

/// A tensor whose values a kernel is about to write, all of them.
///
/// # Errors
/// The device is full.
pub fn unwritten(shape: impl Into<Shape>, dtype: DType, device: &Device) -> Result<Tensor> {
    // SAFETY: nothing reads the values before the kernel has written them, in the order of the stream.
    unsafe { Tensor::empty(shape, dtype, device) }
}

/// Lets the driver keep freed memory for the next tensor. Without this it goes back at every wait for the device, and taking it
/// again costs more than most kernels.
///
/// # Errors
/// The driver's.
pub fn keep_pool(device: &CudaDevice) -> Result<()> {
    let mut threshold = u64::MAX;
    let Some(pool) = pool(device)? else { return Ok(()) };
    // SAFETY: the attribute is a number of this type.
    unsafe {
        let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        result::mem_pool::set_attribute(pool, attribute, std::ptr::from_mut(&mut threshold).cast()).w()
    }
}

/// Gives back what the driver keeps and nobody uses.
///
/// # Errors
/// The driver's.
pub fn trim_pool(device: &CudaDevice) -> Result<()> {
    device.cuda_stream().synchronize().w()?;
    let Some(pool) = pool(device)? else { return Ok(()) };
    // SAFETY: the pool is the device's own; what is in use stays.
    unsafe { result::mem_pool::trim_to(pool, 0).w() }
}

/// How much memory there is and who has it.
///
/// # Errors
/// The driver's.
pub fn device_memory(device: &CudaDevice) -> Result<DeviceMemory> {
    let stream = device.cuda_stream();
    let (free, total) = stream.context().mem_get_info().w()?;
    let read = |attribute| -> Result<u64> {
        let mut value = 0u64;
        let Some(pool) = pool(device)? else { return Ok(0) };
        // SAFETY: both attributes that are asked for are numbers of this type.
        unsafe { result::mem_pool::get_attribute(pool, attribute, std::ptr::from_mut(&mut value).cast()).w()? };
        Ok(value)
    };
    let used_here = read(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?;
    let kept_here = read(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?;
    Ok(DeviceMemory { free, total, used_here, kept_here })
}

/// The pool that tensors come from, if the device has one.
fn pool(device: &CudaDevice) -> Result<Option<sys::CUmemoryPool>> {
    let stream = device.cuda_stream();
    let context = stream.context();
    if !context.has_async_alloc() {
        return Ok(None);
    }
    context.bind_to_thread().w()?;
    // SAFETY: the device is open.
    unsafe { result::device::get_mem_pool(context.cu_device()).w().map(Some) }
}
