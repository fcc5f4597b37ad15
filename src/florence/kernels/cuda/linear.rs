//! Products with weights, by cuBLASLt: bias and residual are added in the same pass.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::cublaslt::result::{self, CublasError};
use candle_core::cuda_backend::cudarc::cublaslt::sys;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaStream, DevicePtr};
use candle_core::{DType, Result, Tensor, bail};

use super::gpu::Gpu;
use super::memory::{address, optional_address, unwritten};

/// Scratch memory of a product, as NVIDIA recommends for the newest chips.
const WORKSPACE_BYTES: usize = 32 << 20;
/// Every address that a product is given is a multiple of this.
const ALIGNMENT: u32 = 16;

/// A handle of cuBLASLt with what it found out about products so far.
pub struct Blas {
    handle: sys::cublasLtHandle_t,
    workspace: CudaSlice<u8>,
    plans: HashMap<Product, Option<Plan>>,
}

// SAFETY: the handle and the plans' descriptors are used by one thread at a time, behind the mutex of the GPU.
unsafe impl Send for Blas {}

/// What a plan depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Product {
    rows: usize,
    inner: usize,
    outer: usize,
    dtype: DType,
    has_bias: bool,
}

/// How a product is computed.
struct Plan {
    description: sys::cublasLtMatmulDesc_t,
    weight: sys::cublasLtMatrixLayout_t,
    input: sys::cublasLtMatrixLayout_t,
    output: sys::cublasLtMatrixLayout_t,
    algorithm: sys::cublasLtMatmulAlgo_t,
}

/// Addresses of a product's operands; 0 is none.
#[derive(Clone, Copy)]
struct Operands {
    input: u64,
    weight: u64,
    bias: u64,
    residual: u64,
    output: u64,
}

/// `x weightᵀ + bias + residual` of `x` `[…, inner]` and `weight` `[outer, inner]`: `[…, outer]`.
///
/// # Errors
/// Shapes that do not fit, and the device's.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, residual: Option<&Tensor>) -> Result<Tensor> {
    let (outer, inner) = weight.dims2()?;
    let mut shape = x.dims().to_vec();
    let Some(last) = shape.last_mut() else { bail!("a product needs an axis") };
    let given = std::mem::replace(last, outer);
    if given > inner || bias.is_some_and(|bias| bias.dims() != [outer]) {
        bail!("weights {:?} do not fit {:?}", weight.dims(), x.dims());
    }
    if residual.is_some_and(|residual| residual.dims() != shape) {
        bail!("a residual is not of the shape {shape:?}");
    }
    // Weights may have been filled up with zeros, see `pad_inner`.
    let x = match inner - given {
        0 => x.contiguous()?,
        missing => x.pad_with_zeros(candle_core::D::Minus1, 0, missing)?,
    };
    let out = unwritten(shape, x.dtype(), x.device())?;
    if out.elem_count() == 0 {
        return Ok(out);
    }
    let gpu = Gpu::of(x.device())?;
    let operands = Operands {
        input: address(&x)?,
        weight: address(weight)?,
        bias: optional_address(bias)?,
        residual: optional_address(residual)?,
        output: address(&out)?,
    };
    let product = Product { rows: x.elem_count() / inner, inner, outer, dtype: x.dtype(), has_bias: bias.is_some() };
    let mut blas = gpu.blas.lock().unwrap_or_else(PoisonError::into_inner);
    if blas.multiply(product, operands, &gpu.stream).is_ok() {
        return Ok(out);
    }
    drop(blas);
    by_candle(&x, weight, bias, residual)
}

/// Weights `[outer, inner]` with the inner axis filled up with zeros to a multiple of eight, which tensor cores need.
///
/// # Errors
/// The device's.
pub fn pad_inner(weight: &Tensor) -> Result<Tensor> {
    let inner = weight.dim(1)?;
    match inner.next_multiple_of(8) - inner {
        0 => weight.contiguous(),
        missing => weight.pad_with_zeros(1, 0, missing),
    }
}

/// The same from candle's operations, where cuBLASLt has no way.
fn by_candle(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, residual: Option<&Tensor>) -> Result<Tensor> {
    let (outer, inner) = weight.dims2()?;
    let mut shape = x.dims().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = outer;
    }
    let product = x.reshape(((), inner))?.matmul(&weight.t()?)?;
    let product = match bias {
        Some(bias) => product.broadcast_add(bias)?,
        None => product,
    }
    .reshape(shape)?;
    match residual {
        Some(residual) => product + residual,
        None => Ok(product),
    }
}

impl Blas {
    /// A handle for products on this stream's device.
    ///
    /// # Errors
    /// The device's.
    pub fn new(stream: &Arc<CudaStream>) -> Result<Self> {
        let handle = result::create_handle().map_err(candle_core::Error::wrap)?;
        // SAFETY: the products write their scratch memory before they read it.
        let workspace = unsafe { stream.alloc::<u8>(WORKSPACE_BYTES) }.w()?;
        Ok(Self { handle, workspace, plans: HashMap::new() })
    }

    fn multiply(
        &mut self,
        product: Product,
        operands: Operands,
        stream: &Arc<CudaStream>,
    ) -> std::result::Result<(), CublasError> {
        let Self { handle, workspace, plans } = self;
        // A product that cannot be planned is not tried again.
        let plan = plans.entry(product).or_insert_with(|| Plan::new(*handle, product).ok());
        let Some(plan) = plan else {
            return Err(CublasError(sys::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED));
        };
        let (one, beta) = (1f32, if operands.residual == 0 { 0f32 } else { 1f32 });
        // Without a residual nothing is read there.
        let added = if operands.residual == 0 { operands.output } else { operands.residual };
        let scratch = workspace.device_ptr(stream).0;
        // SAFETY: the plan's layouts are those of the operands, which outlive the stream's work.
        unsafe {
            if product.has_bias {
                set(
                    plan.description,
                    sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                    &operands.bias,
                )?;
            }
            result::matmul(
                *handle,
                plan.description,
                std::ptr::from_ref(&one).cast(),
                std::ptr::from_ref(&beta).cast(),
                operands.weight as *const _,
                plan.weight,
                operands.input as *const _,
                plan.input,
                added as *const _,
                plan.output,
                operands.output as *mut _,
                plan.output,
                std::ptr::from_ref(&plan.algorithm),
                scratch as *mut _,
                WORKSPACE_BYTES,
                stream.cu_stream().cast(),
            )
        }
    }
}

impl Drop for Blas {
    fn drop(&mut self) {
        self.plans.clear();
        // SAFETY: nothing uses the handle any more. That it cannot be destroyed is nothing to act upon.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

impl Plan {
    /// cuBLASLt counts by columns, so it is told of the transposed matrices: outputᵀ = weight inputᵀ.
    fn new(handle: sys::cublasLtHandle_t, product: Product) -> std::result::Result<Self, CublasError> {
        use sys::cublasLtMatmulDescAttributes_t as Attribute;

        let Product { rows, inner, outer, dtype, has_bias } = product;
        let kind = match dtype {
            DType::F16 => sys::cudaDataType::CUDA_R_16F,
            DType::BF16 => sys::cudaDataType::CUDA_R_16BF,
            DType::F32 => sys::cudaDataType::CUDA_R_32F,
            _ => return Err(CublasError(sys::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED)),
        };
        let layout = |height: usize, width: usize| {
            result::create_matrix_layout(kind, height as u64, width as u64, height as i64)
        };
        let description =
            result::create_matmul_desc(sys::cublasComputeType_t::CUBLAS_COMPUTE_32F, sys::cudaDataType::CUDA_R_32F)?;
        let mut plan = Self {
            description,
            weight: layout(inner, outer)?,
            input: layout(inner, rows)?,
            output: layout(outer, rows)?,
            algorithm: sys::cublasLtMatmulAlgo_t { data: [0; 8] },
        };
        // SAFETY: each attribute has the type that cuBLASLt documents for it.
        unsafe {
            set(description, Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &1i32)?;
            if has_bias {
                let epilogue = sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS;
                set(description, Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue)?;
                // Some versions look at the address when they choose.
                set(description, Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &u64::from(ALIGNMENT))?;
            }
        }
        plan.algorithm = plan.choose(handle)?;
        Ok(plan)
    }

    /// The way that cuBLASLt expects to be quickest, among those in which every value is summed up in one piece: what is split
    /// depends on the number of rows, and a row's result shall not depend on its company.
    fn choose(&self, handle: sys::cublasLtHandle_t) -> std::result::Result<sys::cublasLtMatmulAlgo_t, CublasError> {
        use sys::cublasLtMatmulPreferenceAttributes_t as Attribute;

        let preference = Preference(result::create_matmul_pref()?);
        // SAFETY: each attribute has the type that cuBLASLt documents for it.
        unsafe {
            preference.set(Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &WORKSPACE_BYTES)?;
            preference.set(Attribute::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &0u32)?;
            for attribute in [
                Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
                Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
            ] {
                preference.set(attribute, &ALIGNMENT)?;
            }
            let found = result::get_matmul_algo_heuristic(
                handle,
                self.description,
                self.weight,
                self.input,
                self.output,
                self.output,
                preference.0,
            )?;
            Ok(found.algo)
        }
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY: the plan alone has them. That one cannot be destroyed is nothing to act upon.
        unsafe {
            let _ = result::destroy_matmul_desc(self.description);
            for layout in [self.weight, self.input, self.output] {
                let _ = result::destroy_matrix_layout(layout);
            }
        }
    }
}

/// What a chosen way has to satisfy.
struct Preference(sys::cublasLtMatmulPreference_t);

impl Preference {
    /// # Safety
    /// The attribute is of this type.
    unsafe fn set<T>(
        &self,
        attribute: sys::cublasLtMatmulPreferenceAttributes_t,
        value: &T,
    ) -> std::result::Result<(), CublasError> {
        // SAFETY: as the caller says.
        unsafe {
            result::set_matmul_pref_attribute(self.0, attribute, std::ptr::from_ref(value).cast(), size_of::<T>())
        }
    }
}

impl Drop for Preference {
    fn drop(&mut self) {
        // SAFETY: nobody else has it.
        let _ = unsafe { result::destroy_matmul_pref(self.0) };
    }
}

/// # Safety
/// The attribute is of this type.
unsafe fn set<T>(
    description: sys::cublasLtMatmulDesc_t,
    attribute: sys::cublasLtMatmulDescAttributes_t,
    value: &T,
) -> std::result::Result<(), CublasError> {
    // SAFETY: as the caller says.
    unsafe {
        result::set_matmul_desc_attribute(description, attribute, std::ptr::from_ref(value).cast(), size_of::<T>())
    }
}
