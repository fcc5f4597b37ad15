//! From tensors on the CPU to the slices that kernels take, and back.

use candle_core::{DType, Device, Layout, Result, Shape, Storage, Tensor, bail};
use parking_lot::RwLockReadGuard;

/// The values of a contiguous f32 tensor on the CPU, locked for reading.
pub struct Values<'a> {
    storage: RwLockReadGuard<'a, Storage>,
    layout: &'a Layout,
}

impl<'a> Values<'a> {
    /// Locks a tensor.
    pub fn of(tensor: &'a Tensor) -> Self {
        let (storage, layout) = tensor.storage_and_layout();
        Self { storage, layout }
    }

    /// The values.
    ///
    /// # Errors
    /// The tensor is of another type, elsewhere, or not contiguous.
    pub fn get(&self) -> Result<&[f32]> {
        let Storage::Cpu(storage) = &*self.storage else { bail!("the kernel is for tensors on the CPU") };
        let values = storage.as_slice::<f32>()?;
        match self.layout.contiguous_offsets().and_then(|(start, end)| values.get(start..end)) {
            Some(values) => Ok(values),
            None => bail!("the kernel needs contiguous tensors"),
        }
    }
}

/// Whether kernels of the CPU can be used on a tensor.
pub fn is_on_cpu(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == DType::F32
}

/// A tensor on the CPU.
///
/// # Errors
/// As many values as the shape does not have.
pub fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(values, shape.into(), &Device::Cpu)
}
