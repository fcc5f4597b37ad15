//! Finding a model's files, loading them onto devices, and trying the model before anybody relies on it.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use tokio_util::sync::CancellationToken;

use super::device::OpenDevice;
use super::running::{CpuLayout, LoadedReplica};
use super::settings::{EngineSettings, ModelPlan};
use super::{Amount, EngineError, LoadStep, ServedModel};
use crate::florence::generation::GenerationOptions;
use crate::florence::{CheckpointError, Florence, FlorenceError, Probe};
use crate::models::{LocateStep, Locating, ModelError, ModelFiles};

/// Side of the picture that a model is tried with on a CPU. A GPU gets one of full size, which also loads its kernels.
const TRIAL_SIDE: u32 = 64;
/// Beams of all answers of a step that a GPU is made ready for.
#[cfg(feature = "cuda")]
const USUAL_ROWS: usize = 192;
/// Tokens of the answer that it is tried with.
const TRIAL_TOKENS: usize = 4;

/// A model that is ready to run.
pub(super) struct LoadedModel {
    pub replicas: Vec<LoadedReplica>,
    pub served: ServedModel,
    /// Where its files are, for loading it again.
    pub files: ModelFiles,
}

/// A load under way: where it looks, whom it tells, and who may break it off.
pub(super) struct LoadTurn<'a> {
    pub settings: &'a EngineSettings,
    pub tell: Arc<dyn Fn(LoadStep) + Send + Sync>,
    pub cancel: CancellationToken,
}

impl LoadTurn<'_> {
    /// Loads the model of the plan, from `files` if they are known.
    pub fn load(&self, plan: &ModelPlan, files: Option<ModelFiles>) -> Result<LoadedModel, EngineError> {
        let work = || self.load_model(plan, files);
        let panicked = || Err(EngineError::Load("loading the model broke off".to_owned()));
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| panicked())
    }

    fn load_model(&self, plan: &ModelPlan, files: Option<ModelFiles>) -> Result<LoadedModel, EngineError> {
        (self.tell)(LoadStep::Starting);
        let devices = OpenDevice::open_all(&plan.devices, plan.precision)?;
        let found = match files {
            Some(files) => files,
            None => self.locate(plan)?,
        };
        let mut replicas = vec![];
        for device in devices {
            let model = self.load_onto(&device, &found)?;
            // Several replicas on a CPU share the weights.
            let threads = self.settings.threads;
            let copies = if device.device.is_cpu() { CpuLayout::choose(threads).replicas } else { 1 };
            replicas.extend((0..copies).map(|_| LoadedReplica { model: Arc::clone(&model), device: device.clone() }));
        }
        let served = describe(&found, &replicas)?;
        Ok(LoadedModel { replicas, served, files: found })
    }

    fn locate(&self, plan: &ModelPlan) -> Result<ModelFiles, EngineError> {
        let tell = |step| {
            (self.tell)(match step {
                LocateStep::Searching => LoadStep::Searching,
                LocateStep::Waiting => LoadStep::Waiting,
                LocateStep::Downloading { done_bytes, total_bytes } => {
                    LoadStep::Downloading(Amount { done_bytes, total_bytes })
                }
                LocateStep::Checking => LoadStep::Checking,
            });
        };
        let folders = &self.settings.folders;
        plan.source.locate(&Locating { folders, update: plan.update, tell: &tell, cancel: &self.cancel }).map_err(
            |error| match error {
                ModelError::Cancelled => EngineError::Cancelled,
                error => EngineError::Load(error.to_string()),
            },
        )
    }

    fn load_onto(&self, device: &OpenDevice, found: &ModelFiles) -> Result<Arc<Florence>, EngineError> {
        let (tell, cancel) = (Arc::clone(&self.tell), self.cancel.clone());
        let watch = move |done_bytes, total_bytes| {
            tell(LoadStep::Reading(Amount { done_bytes, total_bytes }));
            if cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let model = Florence::load_watched(&found.files, device.precision, &device.device, Some(Arc::new(watch)));
        let model = model.map_err(|error| match error {
            CheckpointError::Cancelled => EngineError::Cancelled,
            error => EngineError::Load(error.to_string()),
        })?;
        (self.tell)(LoadStep::Trying);
        try_out(&model, device).map_err(|error| EngineError::Load(format!("the model does not work: {error}")))?;
        Ok(Arc::new(model))
    }
}

fn describe(found: &ModelFiles, replicas: &[LoadedReplica]) -> Result<ServedModel, EngineError> {
    let first = replicas.first().ok_or_else(|| EngineError::Device("no device was named".to_owned()))?;
    let mut labels: Vec<&str> = replicas.iter().map(|replica| replica.device.label.as_str()).collect();
    labels.dedup();
    Ok(ServedModel {
        name: found.name.clone(),
        source: found.origin.clone(),
        custom: found.custom,
        device: labels.join(","),
        precision: first.device.precision.name().to_owned(),
        hardware: first.device.hardware.clone(),
        stale: found.stale.clone(),
    })
}

/// A few tokens about a grey picture: weights that make no numbers, and a device that lacks something, show here and not in
/// the first request.
fn try_out(model: &Florence, device: &OpenDevice) -> Result<(), FlorenceError> {
    let processor = model.processor();
    let (full_height, full_width) = processor.image_size();
    let is_cpu = device.device.is_cpu();
    let side = |full: u32| if is_cpu { full.min(TRIAL_SIDE) } else { full };
    let (height, width) = (side(full_height), side(full_width));
    let pixels = Tensor::zeros((1, 3, height as usize, width as usize), DType::F32, &Device::Cpu)?;
    let features = model.encode_pixels(&pixels, &mut Probe::none())?;
    let prompt = processor.tokenize("<OD>", processor.image_tokens((height, width))?)?;
    let encoded = model.encode(&features, &[prompt], &mut Probe::none())?;
    let options = GenerationOptions { max_new_tokens: TRIAL_TOKENS, ..GenerationOptions::default() };
    model.search(&encoded, options)?;
    warm_up(model)
}

/// Steps of the usual numbers of answers together are recorded now, not while somebody waits.
fn warm_up(model: &Florence) -> Result<(), FlorenceError> {
    #[cfg(feature = "cuda")]
    if let Some(gpu) = model.gpu() {
        gpu.warm_up(USUAL_ROWS)?;
    }
    let _ = model;
    Ok(())
}
