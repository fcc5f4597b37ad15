//! Finding a model's files, loading them onto devices, and trying the model before anybody relies on it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::device::OpenDevice;
use super::running::{CpuLayout, LoadedReplica};
use super::settings::ModelPlan;
use super::{EngineError, ServedModel};
use crate::florence::generation::GenerationOptions;
use crate::florence::{Florence, FlorenceError, Probe};
use crate::models::ModelFiles;

/// Side of the picture that a model is tried with on a CPU. A GPU gets one of full size, which also loads its kernels.
const TRIAL_SIDE: u32 = 64;
/// Tokens of the answer that it is tried with.
const TRIAL_TOKENS: usize = 4;

/// A model that is ready to run.
pub(super) struct LoadedModel {
    pub replicas: Vec<LoadedReplica>,
    pub served: ServedModel,
    /// Where its files are, for loading it again.
    pub files: ModelFiles,
}

/// Loads the model of the plan, from `files` if they are known; tells `stage` what is being done.
pub(super) fn load(
    plan: &ModelPlan,
    files: Option<ModelFiles>,
    threads: Option<usize>,
    stage: &dyn Fn(&str),
) -> Result<LoadedModel, EngineError> {
    let work = || load_model(plan, files, threads, stage);
    let panicked = || Err(EngineError::Load("loading the model broke off".to_owned()));
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| panicked())
}

fn load_model(
    plan: &ModelPlan,
    files: Option<ModelFiles>,
    threads: Option<usize>,
    stage: &dyn Fn(&str),
) -> Result<LoadedModel, EngineError> {
    let devices = OpenDevice::open_all(&plan.devices, plan.precision)?;
    let failed = |error: &dyn std::fmt::Display| EngineError::Load(error.to_string());
    let found = match files {
        Some(files) => files,
        None => plan.source.locate(stage).map_err(|error| failed(&error))?,
    };
    let mut replicas = vec![];
    for device in devices {
        stage(&format!("loading onto {}", device.label));
        let model = Florence::load(&found.files, device.dtype, &device.device).map_err(|error| failed(&error))?;
        stage(&format!("trying it on {}", device.label));
        try_out(&model, &device).map_err(|error| EngineError::Load(format!("the model does not work: {error}")))?;
        // Several replicas on a CPU share the weights.
        let copies = if device.device.is_cpu() { CpuLayout::choose(threads).replicas } else { 1 };
        let model = Arc::new(model);
        replicas.extend((0..copies).map(|_| LoadedReplica { model: Arc::clone(&model), device: device.clone() }));
    }
    let served = describe(&found, &replicas)?;
    Ok(LoadedModel { replicas, served, files: found })
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
        precision: first.device.precision_name().to_owned(),
        hardware: first.device.hardware.clone(),
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
    model.search(&encoded, options).map(drop)
}
