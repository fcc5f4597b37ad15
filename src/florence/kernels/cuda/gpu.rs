//! A GPU with our kernels loaded.

use std::collections::HashMap;
use std::ffi::c_void;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, RwLock};

use candle_core::cuda_backend::cudarc::driver::{CudaContext, CudaFunction, CudaModule, CudaStream, DeviceRepr, sys};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use candle_core::cuda_backend::{DeviceId, WrapErr};
use candle_core::{CudaDevice, DType, Device, Result, bail};

use super::linear::Blas;

/// Machine code of a source for the chips that `build.rs` names, and PTX for all others.
struct Source {
    machine_code: &'static [u8],
    ptx: &'static str,
}

macro_rules! source {
    ($name:literal) => {
        Source {
            machine_code: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".fatbin")),
            ptx: include_str!(concat!(env!("OUT_DIR"), "/", $name, ".ptx")),
        }
    };
}

const SOURCES: [Source; 5] = [
    source!("vision"),
    source!("attention"),
    source!("step_products"),
    source!("step_attention"),
    source!("step_ranking"),
];
/// Compute capability from which on a kernel can begin while the one before it ends.
const OVERLAPPING_SINCE: i32 = 9;

/// The GPUs in use. An entry goes with its last [`Held`], so that nothing here keeps a device's memory.
static GPUS: LazyLock<Mutex<HashMap<DeviceId, (Arc<Gpu>, usize)>>> = LazyLock::new(Mutex::default);

/// What our operations need of a device.
pub struct Gpu {
    /// candle's handle.
    pub device: CudaDevice,
    /// The one stream that everything runs on.
    pub stream: Arc<CudaStream>,
    /// Multiprocessors.
    pub processors: u32,
    /// Whether kernels that wait for the one before them may begin early.
    overlaps: bool,
    /// Matrix products.
    pub(super) blas: Mutex<Blas>,
    modules: Vec<Arc<CudaModule>>,
    functions: RwLock<HashMap<String, CudaFunction>>,
}

/// Keeps a GPU's kernels loaded.
pub struct Held(DeviceId);

impl Gpu {
    /// Loads the kernels of a device, and keeps them as long as the result lives.
    ///
    /// # Errors
    /// The driver's.
    pub fn hold(device: &CudaDevice) -> Result<Held> {
        let mut gpus = GPUS.lock().unwrap_or_else(PoisonError::into_inner);
        match gpus.get_mut(&device.id()) {
            Some((_, holders)) => *holders += 1,
            None => {
                let gpu = Arc::new(Self::load(device)?);
                gpus.insert(device.id(), (gpu, 1));
            }
        }
        Ok(Held(device.id()))
    }

    /// The GPU of a device that is held.
    ///
    /// # Errors
    /// A device that is not, or is no GPU.
    pub fn of(device: &Device) -> Result<Arc<Self>> {
        let Device::Cuda(device) = device else { bail!("{:?} is no GPU", device.location()) };
        let gpus = GPUS.lock().unwrap_or_else(PoisonError::into_inner);
        match gpus.get(&device.id()) {
            Some((gpu, _)) => Ok(Arc::clone(gpu)),
            None => bail!("the kernels of {:?} are not loaded", device.id()),
        }
    }

    fn load(device: &CudaDevice) -> Result<Self> {
        use sys::CUdevice_attribute as Attribute;

        let stream = device.cuda_stream();
        let context = stream.context();
        let processors = context.attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT).w()?;
        let major = context.attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR).w()?;
        let loaded = SOURCES.iter().map(|source| load_module(context, source)).collect::<Result<Vec<_>>>()?;
        // The PTX is for older chips and does not wait.
        let overlaps = major >= OVERLAPPING_SINCE && loaded.iter().all(|(_, is_machine_code)| *is_machine_code);
        Ok(Self {
            modules: loaded.into_iter().map(|(module, _)| module).collect(),
            overlaps,
            processors: u32::try_from(processors).unwrap_or(1),
            blas: Mutex::new(Blas::new(&stream)?),
            functions: RwLock::default(),
            device: device.clone(),
            stream,
        })
    }

    /// The kernel of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn function(&self, name: &str) -> Result<CudaFunction> {
        if let Some(function) = self.functions.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Ok(function.clone());
        }
        let Some(function) = self.modules.iter().find_map(|module| module.load_function(name).ok()) else {
            bail!("there is no kernel {name}");
        };
        let mut functions = self.functions.write().unwrap_or_else(PoisonError::into_inner);
        functions.insert(name.to_owned(), function.clone());
        Ok(function)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut gpus = GPUS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, holders)) = gpus.get_mut(&self.0) {
            *holders -= 1;
            if *holders == 0 {
                gpus.remove(&self.0);
            }
        }
    }
}

/// A source's kernels, and whether its machine code fits the chip.
fn load_module(context: &Arc<CudaContext>, source: &Source) -> Result<(Arc<CudaModule>, bool)> {
    match context.load_module(Ptx::from_binary(source.machine_code.to_vec())) {
        Ok(module) => Ok((module, true)),
        // A newer chip, or a driver that is older than the compiler.
        Err(_) => Ok((context.load_module(Ptx::from_src(source.ptx)).w()?, false)),
    }
}

/// The name of a kernel for a type: `NAME_f16` and so on.
///
/// # Errors
/// A type that there are no kernels for.
pub fn kernel(name: &str, dtype: DType) -> Result<String> {
    let suffix = match dtype {
        DType::F16 => "f16",
        DType::BF16 => "bf16",
        DType::F32 => "f32",
        _ => bail!("there is no kernel {name} for {dtype:?}"),
    };
    let mut full = String::with_capacity(name.len() + 5);
    write!(full, "{name}_{suffix}").map_err(candle_core::Error::wrap)?;
    Ok(full)
}

/// Whether tensor cores compute in a type.
pub fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}

/// A number as a kernel takes it.
///
/// # Errors
/// One beyond 31 bits.
pub fn int(value: usize) -> Result<i32> {
    i32::try_from(value).map_err(candle_core::Error::wrap)
}

/// Where and how a kernel is launched.
pub struct Launch<'a> {
    pub stream: &'a CudaStream,
    pub name: &'a str,
    pub grid: (u32, u32, u32),
    pub block: u32,
    /// It may begin while the kernel before it ends: it waits by itself.
    pub is_early: bool,
}

impl Launch<'_> {
    /// Launches the kernel with arguments at these addresses.
    ///
    /// # Safety
    /// The arguments are those of the kernel, and what they point to outlives the work of the stream.
    ///
    /// # Errors
    /// There is no such kernel, and the driver's.
    pub unsafe fn run(self, gpu: &Gpu, arguments: &mut [*mut c_void]) -> Result<()> {
        let function = gpu.function(self.name)?;
        self.stream.context().bind_to_thread().w()?;
        let mut early = sys::CUlaunchAttribute {
            id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
        };
        let (grid_x, grid_y, grid_z) = self.grid;
        let config = sys::CUlaunchConfig {
            gridDimX: grid_x,
            gridDimY: grid_y,
            gridDimZ: grid_z,
            blockDimX: self.block,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: 0,
            hStream: self.stream.cu_stream(),
            attrs: &raw mut early,
            numAttrs: u32::from(self.is_early && gpu.overlaps),
        };
        // SAFETY: the configuration and the attribute live until the call returns, and the rest is promised by the caller.
        unsafe {
            let (function, arguments) = (function.cu_function(), arguments.as_mut_ptr());
            sys::cuLaunchKernelEx(&raw const config, function, arguments, std::ptr::null_mut()).result().w()
        }
    }
}

/// Launches a kernel on the GPU's stream: `launch!(gpu, name, grid, block, arguments…)`, `grid` with three axes; or on another:
/// `launch!(gpu => stream, …)`; or one that may begin early: `launch!(gpu => early stream, …)`. Addresses are arguments of type
/// u64.
macro_rules! launch {
    (@ $gpu:expr, $stream:expr, $is_early:expr, $name:expr, $grid:expr, $block:expr, $($argument:expr),+ $(,)?) => {{
        let launch = $crate::florence::kernels::cuda::gpu::Launch {
            stream: &$stream, name: &$name, grid: $grid, block: $block, is_early: $is_early,
        };
        // SAFETY: the arguments are those of the kernel of this name, and the addresses those of memory that outlives the work
        // of the stream, in which freeing comes later.
        unsafe { launch.run(&$gpu, &mut [$($crate::florence::kernels::cuda::gpu::pointer(&$argument)),+]) }?;
    }};
    ($gpu:expr => early $stream:expr, $($rest:tt)+) => {
        launch!(@ $gpu, $stream, true, $($rest)+)
    };
    ($gpu:expr => $stream:expr, $($rest:tt)+) => {
        launch!(@ $gpu, $stream, false, $($rest)+)
    };
    ($gpu:expr, $($rest:tt)+) => {
        launch!(@ $gpu, $gpu.stream, false, $($rest)+)
    };
}
pub(super) use launch;

/// Where an argument lies.
pub fn pointer<T: DeviceRepr>(argument: &T) -> *mut c_void {
    std::ptr::from_ref(argument).cast_mut().cast()
}
