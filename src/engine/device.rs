//! Choosing the device that a model runs on, and the type it computes in.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use candle_core::{DType, Device, Tensor};

use super::error::EngineError;
use super::gpus::{gpus_by_room, list_gpus};
#[cfg(feature = "cuda")]
use crate::florence::open_cuda as open_gpu;
use crate::florence::{self, FlorenceError};

/// Which devices a user wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The GPU with the most free memory if there is one, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The GPUs of these numbers.
    Cuda(Vec<usize>),
    /// Every GPU that there is.
    AllCuda,
}

/// Which type a user wants weights and activations in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// f32 on a CPU, f16 on a GPU.
    Auto,
    /// 32-bit floats.
    F32,
    /// 16-bit floats with a small range, the checkpoints' own type.
    F16,
    /// 16-bit floats with a small mantissa.
    Bf16,
    /// Bytes, on a CPU.
    Int8,
}

impl Precision {
    /// What is computed in, where nothing is said in `natural`.
    const fn or(self, natural: florence::Precision) -> florence::Precision {
        match self {
            Self::Auto => natural,
            Self::F32 => florence::Precision::F32,
            Self::F16 => florence::Precision::F16,
            Self::Bf16 => florence::Precision::Bf16,
            Self::Int8 => florence::Precision::Int8,
        }
    }
}

/// A device that is ready for a model.
#[derive(Debug, Clone)]
pub struct OpenDevice {
    /// candle's handle.
    pub device: Device,
    /// What it computes in.
    pub precision: florence::Precision,
    /// `cpu` or `cuda:N`.
    pub label: String,
    /// Name of the processor.
    pub hardware: String,
}

impl OpenDevice {
    /// Opens the devices of the user's choice, at least one.
    ///
    /// # Errors
    /// A GPU that is not there, or a type that the device cannot compute in.
    pub fn open_all(choice: &DeviceChoice, precision: Precision) -> Result<Vec<Self>, EngineError> {
        let cuda = |index: &usize| Self::cuda(*index, precision).map_err(EngineError::Device);
        match choice {
            DeviceChoice::Cpu => Ok(vec![Self::cpu(precision)?]),
            DeviceChoice::Cuda(indices) => indices.iter().map(cuda).collect(),
            DeviceChoice::AllCuda => match count_cuda().map_err(EngineError::Device)? {
                0 => Err(EngineError::Device("this machine has no CUDA device".to_owned())),
                count => (0..count).map(|index| cuda(&index)).collect(),
            },
            DeviceChoice::Auto => {
                let mut reasons = vec![];
                for index in gpus_by_room() {
                    match Self::cuda(index, precision) {
                        Ok(device) => return Ok(vec![device]),
                        Err(reason) => reasons.push(reason),
                    }
                }
                // Without the feature there was nothing to look for.
                if cfg!(feature = "cuda") {
                    tracing::warn!("running on the CPU: {}", reasons.join("; "));
                }
                Ok(vec![Self::cpu(precision)?])
            }
        }
    }

    /// Opens the device of the user's choice where one is all that is of use.
    ///
    /// # Errors
    /// As [`Self::open_all`], and a choice of several.
    pub fn open(choice: &DeviceChoice, precision: Precision) -> Result<Self, EngineError> {
        let mut devices = Self::open_all(choice, precision)?;
        match (devices.pop(), devices.is_empty()) {
            (Some(device), true) => Ok(device),
            _ => Err(EngineError::Device("name one device, several are of use to a server only".to_owned())),
        }
    }

    /// Whether the device still computes: a sum of a few numbers, there and back.
    ///
    /// # Errors
    /// What the device says, or that the sum is wrong.
    pub fn check(&self) -> Result<(), String> {
        let sum = || Tensor::new(&[1f32, 2., 4.], &self.device)?.sum_all()?.to_scalar::<f32>();
        match sum() {
            Ok(7.) => Ok(()),
            Ok(wrong) => Err(format!("{} computes 1 + 2 + 4 = {wrong}", self.label)),
            // A device that is full works.
            Err(error) => match FlorenceError::from(error) {
                error if error.is_out_of_memory() => Ok(()),
                error => Err(first_line(&error.to_string())),
            },
        }
    }

    /// Type of the activations.
    pub fn activations(&self) -> DType {
        self.precision.activations(&self.device)
    }

    /// Gives back memory that is kept for later and that nobody uses.
    pub fn give_back(&self) {
        #[cfg(feature = "cuda")]
        if let Device::Cuda(device) = &self.device
            && let Err(error) = crate::florence::cuda::trim_pool(device)
        {
            tracing::warn!("{} keeps memory that nobody uses: {error}", self.label);
        }
    }

    fn cpu(precision: Precision) -> Result<Self, EngineError> {
        let computes = precision.or(florence::Precision::F32);
        if !computes.suits(&Device::Cpu) {
            return Err(EngineError::Device(format!("a CPU computes in f32, bf16 or int8, not in {precision}")));
        }
        Ok(Self { device: Device::Cpu, precision: computes, label: "cpu".to_owned(), hardware: Self::cpu_name() })
    }

    /// Name of the processor.
    pub fn cpu_name() -> String {
        read_field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned())
    }

    fn cuda(index: usize, precision: Precision) -> Result<Self, String> {
        let device = open_cuda(index)?;
        let computes = precision.or(florence::Precision::F16);
        if !computes.suits(&device) {
            return Err(format!("a GPU computes in f16, bf16 or f32, not in {precision}"));
        }
        Ok(Self { device, precision: computes, label: format!("cuda:{index}"), hardware: gpu_name(index) })
    }
}

#[cfg(feature = "cuda")]
fn open_cuda(index: usize) -> Result<Device, String> {
    let count = count_cuda()?;
    if index >= count {
        return Err(format!("there is no cuda:{index}, this machine has {count} CUDA devices"));
    }
    open_gpu(index).map_err(|error| {
        let reason = first_line(&error.to_string());
        format!("cuda:{index} cannot be used, are libcublas, libcublasLt and libcurand there? {reason}")
    })
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(index: usize) -> Result<Device, String> {
    Err(format!("cuda:{index} needs a program that was built with the feature cuda; this one runs on the CPU"))
}

/// GPUs of this machine.
#[cfg(feature = "cuda")]
fn count_cuda() -> Result<usize, String> {
    use candle_core::cuda_backend::cudarc::driver::CudaContext;

    let count =
        CudaContext::device_count().map_err(|error| first_line(&format!("there is no CUDA driver: {error}")))?;
    Ok(usize::try_from(count).unwrap_or(0))
}

#[cfg(not(feature = "cuda"))]
fn count_cuda() -> Result<usize, String> {
    Err("GPUs need a program that was built with the feature cuda; this one runs on the CPU".to_owned())
}

/// candle's errors carry a backtrace in further lines; the first says what happened.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// The driver lists its devices as files; without them the number has to do.
fn gpu_name(index: usize) -> String {
    let mut files: Vec<_> = std::fs::read_dir("/proc/driver/nvidia/gpus")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("information")))
        .collect();
    files.sort();
    files.get(index).and_then(|file| read_field(file, "Model")).unwrap_or_else(|| format!("CUDA device {index}"))
}

/// The value of the first `field : value` line of a file.
fn read_field(file: impl AsRef<std::path::Path>, field: &str) -> Option<String> {
    let content = std::fs::read_to_string(file).ok()?;
    let lines = content.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.trim(), value.trim())).find(|(name, _)| *name == field).map(|(_, v)| v.to_owned())
}

impl DeviceChoice {
    /// Whether `auto` comes to this choice on this machine, whatever else runs there.
    pub fn is_only_one(&self) -> bool {
        match self {
            Self::Auto => true,
            Self::Cpu => list_gpus().is_empty(),
            Self::Cuda(indices) => indices == &[0] && list_gpus().len() == 1,
            Self::AllCuda => false,
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(vec![0])),
            "all" => Ok(Self::AllCuda),
            _ => {
                let index = |name: &str| name.trim().strip_prefix("cuda:")?.parse().ok();
                let indices: Option<Vec<usize>> = text.split(',').map(index).collect();
                let is_repeated = |list: &[usize]| list.iter().collect::<HashSet<_>>().len() < list.len();
                match indices {
                    Some(indices) if is_repeated(&indices) => Err(format!("{text:?} names a device twice")),
                    Some(indices) => Ok(Self::Cuda(indices)),
                    None => Err(format!("{text:?} is not auto, cpu, cuda, cuda:N, cuda:N,cuda:M or all")),
                }
            }
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Cpu => formatter.write_str("cpu"),
            Self::AllCuda => formatter.write_str("all"),
            Self::Cuda(indices) => {
                let names: Vec<String> = indices.iter().map(|index| format!("cuda:{index}")).collect();
                formatter.write_str(&names.join(","))
            }
        }
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "f32" | "fp32" => Ok(Self::F32),
            "f16" | "fp16" => Ok(Self::F16),
            "bf16" => Ok(Self::Bf16),
            "int8" => Ok(Self::Int8),
            _ => Err(format!("{text:?} is not auto, f32, f16, bf16 or int8")),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_as_written() {
        assert_eq!("cuda:3".parse(), Ok(DeviceChoice::Cuda(vec![3])));
        assert_eq!("cuda".parse(), Ok(DeviceChoice::Cuda(vec![0])));
        assert_eq!("cuda:0, cuda:2".parse(), Ok(DeviceChoice::Cuda(vec![0, 2])));
        assert_eq!("all".parse(), Ok(DeviceChoice::AllCuda));
        for text in ["auto", "cpu", "all", "cuda:1", "cuda:0,cuda:2"] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap().to_string(), text);
        }
        for wrong in ["cuda:x", "gpu", "cuda:1,cuda:1", "cuda:0,cpu", ""] {
            assert!(wrong.parse::<DeviceChoice>().is_err(), "{wrong}");
        }
        assert_eq!("FP16".parse(), Ok(Precision::F16));
        assert_eq!("int8".parse(), Ok(Precision::Int8));
        assert!("int4".parse::<Precision>().is_err());
    }

    #[test]
    fn the_cpu_is_always_there_and_computes_in_f32_unless_told_otherwise() {
        let open = OpenDevice::open(&DeviceChoice::Cpu, Precision::Auto).unwrap();
        assert_eq!((open.label.as_str(), open.precision.name()), ("cpu", "FP32"));
        assert!(!open.hardware.is_empty());
        assert_eq!(open.check(), Ok(()));
        assert!(OpenDevice::open(&DeviceChoice::Cpu, Precision::F16).is_err());
        for (precision, name) in [(Precision::Bf16, "BF16"), (Precision::Int8, "INT8")] {
            assert_eq!(OpenDevice::open(&DeviceChoice::Cpu, precision).unwrap().precision.name(), name);
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_gpu_is_refused_by_name_and_passed_over_by_auto() {
        assert!(OpenDevice::open(&DeviceChoice::Cuda(vec![0]), Precision::Auto).is_err());
        assert!(OpenDevice::open_all(&DeviceChoice::AllCuda, Precision::Auto).is_err());
        assert_eq!(OpenDevice::open(&DeviceChoice::Auto, Precision::Auto).unwrap().label, "cpu");
    }
}
