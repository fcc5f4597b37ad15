//! The thread that owns a device: it loads the model and then answers one request after the other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak, mpsc};
use std::time::Instant;

use candle_core::Tensor;
use tokio::sync::watch;

use super::model_engine::{EngineConfig, Job};
use super::{Deployment, EngineError, OpenDevice, Reply, Request, ServedModel};
use crate::florence::answer::PictureSize;
use crate::florence::image::Picture;
use crate::florence::{Florence, FlorenceError, Generation, Probe};

/// Prompts of one picture that are answered together; more are answered in turns, so that a long list of classes takes
/// no more memory than a short one.
const MAX_PROMPTS_AT_ONCE: usize = 8;
/// Pictures whose features are kept for further prompts of the same request, such as the second step of a cascade.
const MAX_KEPT_FEATURES: usize = 8;

/// A loaded model on its device.
pub(super) struct Worker {
    model: Florence,
    /// Features of the pictures seen last, while somebody still holds the picture.
    features: Vec<(Weak<Picture>, Tensor)>,
}

impl Worker {
    /// Finds and loads the model, and says so in `deployment`; `None` when that failed.
    pub fn load(config: &EngineConfig, deployment: &watch::Sender<Deployment>) -> Option<Self> {
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
                Some(Self { model, features: vec![] })
            }
            Err(error) => {
                let message = error.to_string();
                tracing::error!(model = model_name, "{message}");
                deployment.send_replace(Deployment::Failed { model_name: model_name.clone(), message });
                None
            }
        }
    }

    /// Answers requests until every handle of the engine is gone.
    pub fn run(&mut self, jobs: &mpsc::Receiver<Job>) {
        for Job { request, reply } in jobs {
            if reply.is_closed() {
                continue; // The client went away while the request waited.
            }
            let answer = catch_unwind(AssertUnwindSafe(|| self.answer(&request, &|| reply.is_closed())))
                .unwrap_or_else(|_| Err(EngineError::Internal("a part of the model panicked".to_owned())));
            // Nobody waiting any more is no error.
            let _ = reply.send(answer);
        }
    }

    fn answer(&mut self, request: &Request, is_given_up: &dyn Fn() -> bool) -> Result<Vec<Reply>, EngineError> {
        let picture = &request.picture;
        let features = self.features_of(picture)?;
        let size = PictureSize { width: picture.width(), height: picture.height() };
        let mut replies = Vec::with_capacity(request.prompts.len());
        for prompts in request.prompts.chunks(MAX_PROMPTS_AT_ONCE) {
            if is_given_up() {
                return Err(EngineError::Internal("the request was given up".to_owned()));
            }
            let questions: Vec<_> = prompts.iter().map(|prompt| (prompt.as_str(), size)).collect();
            let rows = features.repeat((prompts.len(), 1, 1)).map_err(FlorenceError::from)?;
            let found = self.model.generate(&rows, &questions, request.options)?;
            replies.extend(found.into_iter().map(Reply::from));
        }
        Ok(replies)
    }

    /// Features `[1, positions, d_model]` of a picture, encoded once for as long as its requests last.
    fn features_of(&mut self, picture: &Arc<Picture>) -> Result<Tensor, EngineError> {
        self.features.retain(|(kept, _)| kept.strong_count() > 0);
        if let Some((_, features)) = self.features.iter().find(|(kept, _)| kept.as_ptr() == Arc::as_ptr(picture)) {
            return Ok(features.clone());
        }
        let pixels = self.model.pixels(picture, self.model.image_size())?;
        let features = self.model.encode_pixels(&pixels, &mut Probe::none())?;
        if self.features.len() >= MAX_KEPT_FEATURES {
            self.features.remove(0);
        }
        self.features.push((Arc::downgrade(picture), features.clone()));
        Ok(features)
    }
}

fn load_model(config: &EngineConfig, stage: &dyn Fn(&str)) -> Result<(Florence, ServedModel), EngineError> {
    let device = OpenDevice::open(config.device, config.precision)?;
    let found = config.source.locate(stage).map_err(|error| EngineError::Load(error.to_string()))?;
    stage("loading");
    let model = Florence::load(&found.files, device.dtype, &device.device)
        .map_err(|error| EngineError::Load(error.to_string()))?;
    let served = ServedModel {
        name: found.name,
        source: found.origin,
        custom: found.custom,
        device: device.label.clone(),
        precision: device.precision_name().to_owned(),
        hardware: device.hardware,
    };
    Ok((model, served))
}

impl From<Generation> for Reply {
    fn from(generation: Generation) -> Self {
        Self { text: generation.text, answer: generation.answer, stop: generation.stop }
    }
}

impl From<FlorenceError> for EngineError {
    fn from(error: FlorenceError) -> Self {
        if error.is_callers_fault() {
            Self::InvalidRequest(error.to_string())
        } else {
            Self::Internal(error.to_string().lines().next().unwrap_or_default().to_owned())
        }
    }
}
