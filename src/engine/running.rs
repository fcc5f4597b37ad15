//! A model that is running: its replicas, one a device, and the assistants around them, all about one board.
//!
//! Each deployed model has a board and threads of its own, so a request is answered by the model that it was asked of, also
//! while another takes over.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use candle_core::DType;
use tokio::sync::mpsc;

use super::EngineError;
use super::assistant::Assistant;
use super::board::{Board, Job};
use super::device::OpenDevice;
use super::features::FeatureCache;
use super::heart::{Heart, OnLost};
use super::memory;
use super::policy::Limits;
use super::replica::{Replica, ReplicaParts};
use super::settings::EngineSettings;
use super::stats::Counters;
use crate::florence::Florence;
use crate::florence::config::Config;

/// Longest that an action may take on a GPU before the GPU counts as lost.
const GPU_PATIENCE: Duration = Duration::from_secs(20);

/// Threads of a CPU replica: with more, a product gains little, and a second replica more.
const THREADS_OF_REPLICA: usize = 8;

/// Bytes of decoder caches that a replica may hold on a CPU, and on a GPU.
const CPU_CACHE_BYTES: usize = 1 << 30;
const GPU_CACHE_BYTES: usize = 4 << 30;

/// A model that is loaded on a device.
pub(super) struct LoadedReplica {
    pub model: Arc<Florence>,
    pub device: OpenDevice,
}

/// What all models of an engine share.
#[derive(Clone)]
pub(super) struct Common {
    pub settings: EngineSettings,
    pub counters: Arc<Counters>,
    pub on_lost: Arc<OnLost>,
}

/// A running model. Dropping it lets it answer what it was asked, and then ends its threads.
pub(super) struct RunningModel {
    board: Arc<Board>,
    /// Ends when the last thread has, and with it the model.
    gone: Mutex<Option<mpsc::Receiver<()>>>,
}

/// Held by every thread of a running model.
type Alive = Arc<Presence>;

/// Ends with the last thread, and tells so.
struct Presence {
    devices: Vec<OpenDevice>,
    /// Nothing is ever sent.
    _gone: mpsc::Sender<()>,
}

impl Drop for Presence {
    fn drop(&mut self) {
        memory::give_back();
        self.devices.iter().for_each(OpenDevice::give_back);
    }
}

/// How the cores are shared out on a CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CpuLayout {
    /// Replicas, which share the weights.
    pub replicas: usize,
    /// Threads of each.
    pub threads: usize,
}

impl CpuLayout {
    /// The layout for so many threads in all: a small load has a whole replica for itself, a full load all of them.
    pub fn of(threads: usize) -> Self {
        let replicas = threads.div_ceil(THREADS_OF_REPLICA).max(1);
        Self { replicas, threads: (threads / replicas).max(1) }
    }

    /// The layout of this machine, or of the threads that were asked for.
    pub fn choose(threads: Option<usize>) -> Self {
        let cores = || available_parallelism().map_or(1, std::num::NonZero::get);
        Self::of(threads.unwrap_or_else(cores).max(1))
    }
}

impl RunningModel {
    /// Starts the threads of a model that is loaded on these devices, at least one.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(loaded: Vec<LoadedReplica>, common: &Common) -> Result<Self, EngineError> {
        let Some(first) = loaded.first() else {
            return Err(EngineError::Internal("a model without a device".to_owned()));
        };
        let processor = Arc::clone(first.model.processor());
        let limits = common.settings.limits.unwrap_or_else(|| limits_of(processor.config(), &first.device)).sensible();
        let gives_bytes = loaded.iter().all(|replica| replica.device.device.is_cuda());
        let answer_bytes = bytes_of_answer(processor.config(), first.device.activations());
        let board = Arc::new(Board::new(loaded.len(), limits.pictures));
        let (tell_gone, gone) = mpsc::channel(1);
        let devices = loaded.iter().map(|replica| replica.device.clone()).collect();
        let alive = Arc::new(Presence { devices, _gone: tell_gone });
        let running = Self { board: Arc::clone(&board), gone: Mutex::new(Some(gone)) };
        let (mut features, mut hearts) = (vec![], vec![]);
        let replicas = loaded.into_iter().enumerate().map(|(index, LoadedReplica { model, device })| {
            let cache = FeatureCache::new(common.settings.feature_cache_bytes, Arc::clone(&common.counters));
            let patience = (!device.device.is_cpu()).then_some(GPU_PATIENCE);
            features.push(Arc::new(cache));
            hearts.push(Arc::new(Heart::new(&device.label, patience)));
            (index, model, device)
        });
        for (index, model, device) in replicas.collect::<Vec<_>>() {
            let (Some(features), Some(heart)) = (features.get(index), hearts.get(index)) else { continue };
            let parts = ReplicaParts {
                index,
                model,
                device,
                limits,
                answer_bytes,
                board: Arc::clone(&board),
                features: Arc::clone(features),
                counters: Arc::clone(&common.counters),
                heart: Arc::clone(heart),
                on_lost: Arc::clone(&common.on_lost),
                faults: common.settings.faults.clone(),
            };
            start_replica(parts, common.settings.threads, Arc::clone(&alive))?;
        }
        let assistant = Assistant {
            board,
            processor,
            gives_bytes,
            features,
            counters: Arc::clone(&common.counters),
            faults: common.settings.faults.clone(),
            hearts,
            on_lost: Arc::clone(&common.on_lost),
        };
        start_assistants(&assistant, &alive)?;
        Ok(running)
    }

    /// Takes a request in.
    ///
    /// # Errors
    /// The model takes no more.
    pub fn submit(&self, job: Job) -> Result<(), EngineError> {
        self.board.submit(job)
    }
}

impl RunningModel {
    /// Done when the model, once nobody holds it any more, has left its devices; at once when somebody else waits for that.
    pub fn gone(&self) -> impl Future<Output = ()> + Send + use<> {
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move {
            if let Some(mut gone) = gone {
                // Nothing is ever sent.
                let _ = gone.recv().await;
            }
        }
    }
}

impl fmt::Debug for RunningModel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RunningModel")
    }
}

impl Drop for RunningModel {
    fn drop(&mut self) {
        self.board.close();
    }
}

/// What a device can do at a time.
fn limits_of(config: &Config, device: &OpenDevice) -> Limits {
    let is_cpu = device.device.is_cpu();
    let budget = if is_cpu { CPU_CACHE_BYTES } else { GPU_CACHE_BYTES };
    let answers = (budget / bytes_of_answer(config, device.activations())).clamp(4, 64);
    Limits {
        answers,
        reserved: answers / 4,
        // A CPU has nothing to gain from encoding pictures together, and a GPU little beyond this.
        pictures: if is_cpu { 1 } else { 8 },
        prompts: if is_cpu { 4 } else { 16 },
        // On either, a picture takes about as long as eight steps; a GPU encodes those that come meanwhile together.
        steps_between_pictures: 8,
        steps_between_prompts: if is_cpu { 2 } else { 4 },
        shares_steps: !is_cpu,
    }
}

/// Keys and values of picture and prompt for every layer, and of some hundred tokens of three beams.
fn bytes_of_answer(config: &Config, dtype: DType) -> usize {
    let (rows, columns) = config.vision.map_size(config.image.height as usize, config.image.width as usize);
    let positions = 1 + rows * columns + 3 * 100;
    (2 * config.text.decoder_layers * positions * config.text.d_model * dtype.size_in_bytes()).max(1)
}

fn start_replica(parts: ReplicaParts, threads: Option<usize>, alive: Alive) -> Result<(), EngineError> {
    let is_cpu = parts.device.device.is_cpu();
    let name = format!("replica-{}", parts.index);
    let (board, on_lost) = (Arc::clone(&parts.board), Arc::clone(&parts.on_lost));
    let work = move || {
        // Whatever can fail in a request is contained below. What comes here is a mistake of ours, and nobody would answer
        // what waits for this replica.
        if catch_unwind(AssertUnwindSafe(|| Replica::new(parts).run())).is_err() {
            let reason = "the thread of a device broke off";
            board.lose(reason);
            on_lost(reason);
        }
        drop(alive);
    };
    if !is_cpu {
        return spawn(name, work);
    }
    // What the model computes stays on the replica's own threads, of which its loop is one; all but candle's element-wise
    // operations on large tensors, which have threads of their own for the whole process.
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(CpuLayout::choose(threads).threads)
        .thread_name(move |thread| format!("{name}.{thread}"))
        .build()
        .map_err(|error| no_thread(&error))?;
    pool.spawn(work);
    Ok(())
}

fn start_assistants(assistant: &Assistant, alive: &Alive) -> Result<(), EngineError> {
    // A picture takes some ten milliseconds to prepare, far less than to encode: a few threads keep any device busy.
    let cores = available_parallelism().map_or(2, std::num::NonZero::get);
    for number in 0..(cores / 2).clamp(2, 8) {
        let (assistant, alive) = (assistant.clone(), Arc::clone(alive));
        let work = move || {
            assistant.run();
            drop(alive);
        };
        spawn(format!("assistant-{number}"), work)?;
    }
    Ok(())
}

fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> Result<(), EngineError> {
    std::thread::Builder::new().name(name).spawn(work).map(drop).map_err(|error| no_thread(&error))
}

fn no_thread(error: &dyn std::fmt::Display) -> EngineError {
    EngineError::Internal(format!("cannot start a thread: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_shared_out_evenly() {
        let layout = |threads| (CpuLayout::of(threads).replicas, CpuLayout::of(threads).threads);
        assert_eq!([1, 2, 8].map(layout), [(1, 1), (1, 2), (1, 8)]);
        assert_eq!([9, 12, 16, 64].map(layout), [(2, 4), (2, 6), (2, 8), (8, 8)]);
        assert_eq!(CpuLayout::choose(Some(3)), CpuLayout { replicas: 1, threads: 3 });
    }
}
