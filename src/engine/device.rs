//! Choosing the device that a model runs on, and the type it computes in.

use std::fmt;
use std::str::FromStr;

use candle_core::{DType, Device};

use super::error::EngineError;

/// Which device a user wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first GPU if there is one, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU of this number.
    Cuda(usize),
}

/// Which type a user wants weights and activations in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// f32 on the CPU, f16 on a GPU.
    Auto,
    /// 32-bit floats.
    F32,
    /// 16-bit floats with a small range, the checkpoints' own type.
    F16,
    /// 16-bit floats with a small mantissa.
    Bf16,
}

/// A device that is ready for a model.
#[derive(Debug, Clone)]
pub struct OpenDevice {
    /// candle's handle.
    pub device: Device,
    /// What weights and activations are.
    pub dtype: DType,
    /// `cpu` or `cuda:N`.
    pub label: String,
    /// Name of the processor.
    pub hardware: String,
}

impl OpenDevice {
    /// Opens the device of the user's choice.
    ///
    /// # Errors
    /// A GPU that is not there, or a type that the device cannot compute in.
    pub fn open(choice: DeviceChoice, precision: Precision) -> Result<Self, EngineError> {
        match choice {
            DeviceChoice::Cpu => Self::cpu(precision),
            DeviceChoice::Cuda(index) => Self::cuda(index, precision).map_err(EngineError::Device),
            DeviceChoice::Auto => match Self::cuda(0, precision) {
                Ok(device) => Ok(device),
                Err(reason) => {
                    // Without the feature there was nothing to look for.
                    if cfg!(feature = "cuda") {
                        tracing::warn!("running on the CPU: {reason}");
                    }
                    Self::cpu(precision)
                }
            },
        }
    }

    /// `FP32`, `FP16` or `BF16`, as the platform spells them.
    pub const fn precision_name(&self) -> &'static str {
        match self.dtype {
            DType::F16 => "FP16",
            DType::BF16 => "BF16",
            _ => "FP32",
        }
    }

    fn cpu(precision: Precision) -> Result<Self, EngineError> {
        match precision {
            Precision::Auto | Precision::F32 => {}
            Precision::F16 | Precision::Bf16 => {
                return Err(EngineError::Device(format!("the CPU computes in f32 only, not in {precision}")));
            }
        }
        let hardware = read_field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
        Ok(Self { device: Device::Cpu, dtype: DType::F32, label: "cpu".to_owned(), hardware })
    }

    fn cuda(index: usize, precision: Precision) -> Result<Self, String> {
        let device = open_cuda(index)?;
        let dtype = match precision {
            Precision::Auto | Precision::F16 => DType::F16,
            Precision::F32 => DType::F32,
            Precision::Bf16 => DType::BF16,
        };
        Ok(Self { device, dtype, label: format!("cuda:{index}"), hardware: gpu_name(index) })
    }
}

#[cfg(feature = "cuda")]
fn open_cuda(index: usize) -> Result<Device, String> {
    use candle_core::cuda_backend::cudarc::driver::CudaContext;

    // candle's errors carry a backtrace in further lines; the first says what happened.
    let first_line = |text: String| text.lines().next().unwrap_or_default().to_owned();
    let count = CudaContext::device_count().map_err(|error| first_line(format!("there is no CUDA driver: {error}")))?;
    if usize::try_from(count).is_ok_and(|count| index >= count) {
        return Err(format!("there is no cuda:{index}, this machine has {count} CUDA devices"));
    }
    Device::new_cuda(index).map_err(|error| {
        first_line(format!("cuda:{index} cannot be used, are libcublas, libcublasLt and libcurand there? {error}"))
    })
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(index: usize) -> Result<Device, String> {
    Err(format!("cuda:{index} needs a program that was built with the feature cuda; this one runs on the CPU"))
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

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|index| index.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| format!("{text:?} is not auto, cpu or cuda:N")),
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
            _ => Err(format!("{text:?} is not auto, f32, f16 or bf16")),
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
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_as_written() {
        assert_eq!("cuda:3".parse(), Ok(DeviceChoice::Cuda(3)));
        assert_eq!("cuda".parse(), Ok(DeviceChoice::Cuda(0)));
        assert!("cuda:x".parse::<DeviceChoice>().is_err() && "gpu".parse::<DeviceChoice>().is_err());
        assert_eq!("FP16".parse(), Ok(Precision::F16));
        assert!("int8".parse::<Precision>().is_err());
    }

    #[test]
    fn the_cpu_is_always_there_and_computes_in_f32() {
        let open = OpenDevice::open(DeviceChoice::Cpu, Precision::Auto).unwrap();
        assert_eq!((open.label.as_str(), open.precision_name()), ("cpu", "FP32"));
        assert!(!open.hardware.is_empty());
        assert!(OpenDevice::open(DeviceChoice::Cpu, Precision::F16).is_err());
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_gpu_is_refused_by_name_and_passed_over_by_auto() {
        assert!(OpenDevice::open(DeviceChoice::Cuda(0), Precision::Auto).is_err());
        assert_eq!(OpenDevice::open(DeviceChoice::Auto, Precision::Auto).unwrap().label, "cpu");
    }
}
