//! Finding and loading a model, and telling how far it is.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use tokio::sync::watch;

use super::model_engine::EngineConfig;
use super::{Deployment, EngineError, OpenDevice, ServedModel};
use crate::florence::{Florence, FlorenceError};

/// Finds and loads the model, and says so in `deployment`; `None` when that failed.
pub(super) fn load(config: &EngineConfig, deployment: &watch::Sender<Deployment>) -> Option<Florence> {
    let model_name = config.source.name();
    let started = Instant::now();
    let stage = |stage: &str| {
        tracing::info!(model = model_name, "{stage}");
        deployment.send_replace(Deployment::Loading { model_name: model_name.clone(), stage: stage.to_owned() });
    };
    let loaded = catch_unwind(AssertUnwindSafe(|| load_model(config, &stage)))
        .unwrap_or_else(|_| Err(EngineError::Load("loading the model broke off".to_owned())));
    match loaded {
        Ok((model, served)) => {
            let seconds = started.elapsed().as_secs_f32();
            tracing::info!(model = model_name, device = served.device, seconds, "the model is ready");
            deployment.send_replace(Deployment::Ready(served));
            Some(model)
        }
        Err(error) => {
            let message = error.to_string();
            tracing::error!(model = model_name, "{message}");
            deployment.send_replace(Deployment::Failed { model_name: model_name.clone(), message });
            None
        }
    }
}

fn load_model(config: &EngineConfig, stage: &dyn Fn(&str)) -> Result<(Florence, ServedModel), EngineError> {
    let device = OpenDevice::open(config.device, config.precision)?;
    let found = config.source.locate(stage).map_err(|error| EngineError::Load(error.to_string()))?;
    stage("loading");
    let model = Florence::load(&found.files, device.dtype, &device.device)
        .map_err(|error| EngineError::Load(error.to_string()))?;
    let precision = device.precision_name().to_owned();
    let served = ServedModel {
        name: found.name,
        source: found.origin,
        custom: found.custom,
        device: device.label,
        precision,
        hardware: device.hardware,
    };
    Ok((model, served))
}

impl From<FlorenceError> for EngineError {
    fn from(error: FlorenceError) -> Self {
        if let FlorenceError::PromptTooLong { tokens, most, .. } = error {
            return Self::PromptTooLong {
                message: error.to_string(),
                fitting_share: most as f64 / tokens.max(1) as f64,
            };
        }
        if error.is_callers_fault() {
            Self::InvalidRequest(error.to_string())
        } else {
            Self::Internal(error.to_string().lines().next().unwrap_or_default().to_owned())
        }
    }
}
