//! The GPUs that this program can use, and how much of their memory is taken, by this process and by others.
//!
//! Asking the management library costs no memory on a GPU, unlike opening it. The library belongs to the driver: where there is
//! none, nothing is known.

use std::cmp::Reverse;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use nvml_wrapper::Nvml;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// Longest that a look at the GPUs is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// A GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// Its number among those that this process may use, as in `cuda:N`.
    pub index: usize,
    /// Its name, where it is known.
    pub name: Option<String>,
    /// Its memory, where it is known.
    pub memory: Option<GpuMemory>,
}

/// Memory of a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuMemory {
    /// Bytes that are taken.
    pub used_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

impl GpuMemory {
    const fn free_bytes(self) -> u64 {
        self.total_bytes.saturating_sub(self.used_bytes)
    }
}

/// Every GPU that a model can run on, none without the feature `cuda` or a driver.
pub fn list_gpus() -> Vec<Gpu> {
    let describe = |(index, uuid): (usize, Option<String>)| {
        let device = nvml().zip(uuid).and_then(|(nvml, uuid)| nvml.device_by_uuid(uuid).ok());
        let memory = device.as_ref().and_then(|device| device.memory_info().ok());
        let memory = memory.map(|memory| GpuMemory { used_bytes: memory.used, total_bytes: memory.total });
        Gpu { index, name: device.and_then(|device| device.name().ok()), memory }
    };
    cuda_uuids().into_iter().enumerate().map(describe).collect()
}

/// Every GPU that a model can run on, for who must not wait: a driver may hang. Nothing is known then, and one look at a time hangs.
pub async fn look_at_gpus() -> Vec<Gpu> {
    static LOOKING: LazyLock<Arc<Mutex<()>>> = LazyLock::new(Arc::default);
    let look = async {
        let looking = Arc::clone(&LOOKING).lock_owned().await;
        let list = move || {
            let gpus = list_gpus();
            drop(looking);
            gpus
        };
        tokio::task::spawn_blocking(list).await.unwrap_or_default()
    };
    timeout(PATIENCE, look).await.unwrap_or_default()
}

/// The GPUs that a model may be loaded onto, the one with the most free memory first, or the first one where nothing is known;
/// tells the log where there is a choice.
pub(super) fn gpus_by_room() -> Vec<usize> {
    let gpus = order_by_room(list_gpus());
    if let [first, _, ..] = gpus.as_slice() {
        let free_mb = first.memory.map(|memory| memory.free_bytes() / 1_000_000);
        tracing::info!(gpus = gpus.len(), free_mb, "cuda:{} comes first, it has the most free memory", first.index);
    }
    // One that is not listed says by itself what is missing.
    if gpus.is_empty() { vec![0] } else { gpus.into_iter().map(|gpu| gpu.index).collect() }
}

fn order_by_room(mut gpus: Vec<Gpu>) -> Vec<Gpu> {
    // Of several with the same, the first: the order is kept.
    gpus.sort_by_key(|gpu| Reverse(gpu.memory.map_or(0, GpuMemory::free_bytes)));
    gpus
}

fn nvml() -> Option<&'static Nvml> {
    static NVML: OnceLock<Option<Nvml>> = OnceLock::new();
    NVML.get_or_init(|| Nvml::init().ok()).as_ref()
}

/// The driver's names of its devices in the order of their numbers: the management library may count otherwise.
#[cfg(feature = "cuda")]
fn cuda_uuids() -> Vec<Option<String>> {
    use candle_core::cuda_backend::cudarc::driver::{CudaContext, result::device};

    let count = CudaContext::device_count().unwrap_or(0);
    let uuid = |index| {
        let uuid = device::get_uuid(device::get(index).ok()?).ok()?;
        // The driver's bytes are signed on some machines.
        Some(format_uuid(uuid.bytes.map(|byte| byte as u8)))
    };
    (0..count).map(uuid).collect()
}

#[cfg(not(feature = "cuda"))]
fn cuda_uuids() -> Vec<Option<String>> {
    vec![]
}

/// As the management library writes it.
#[cfg(any(feature = "cuda", test))]
fn format_uuid(bytes: [u8; 16]) -> String {
    format!("GPU-{}", uuid::Uuid::from_bytes(bytes).hyphenated())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(index: usize, memory: Option<(u64, u64)>) -> Gpu {
        let memory = memory.map(|(used_bytes, total_bytes)| GpuMemory { used_bytes, total_bytes });
        Gpu { index, name: None, memory }
    }

    #[test]
    fn the_freest_is_taken_first() {
        let order = |gpus| order_by_room(gpus).into_iter().map(|gpu| gpu.index).collect::<Vec<_>>();
        assert_eq!(order(vec![gpu(0, Some((70, 80))), gpu(1, Some((5, 24))), gpu(2, Some((60, 80)))]), [2, 1, 0]);
        assert_eq!(order(vec![gpu(0, Some((1, 8))), gpu(1, Some((1, 8)))]), [0, 1]);
        assert_eq!(order(vec![gpu(0, None), gpu(1, None)]), [0, 1]);
        assert_eq!(order(vec![]), [0; 0]);
    }

    #[test]
    fn names_are_written_as_the_driver_does() {
        let bytes = std::array::from_fn(|index| index as u8 * 17);
        assert_eq!(format_uuid(bytes), "GPU-00112233-4455-6677-8899-aabbccddeeff");
    }
}
