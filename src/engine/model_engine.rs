//! The engine that runs the model: one thread owns the device and everything on it; callers reach it through a bounded
//! queue and get their answer through a channel of their own.

use std::sync::mpsc;

use tokio::sync::{oneshot, watch};

use super::load::load;
use super::worker::Worker;
use super::{BoxFuture, Deployment, DeviceChoice, Engine, EngineError, Precision, Reply, Request};
use crate::models::ModelSource;

/// Requests that may wait; one more is refused.
const MAX_WAITING_REQUESTS: usize = 256;

/// What the engine is to run, and on what.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// The model.
    pub source: ModelSource,
    /// The device.
    pub device: DeviceChoice,
    /// The type to compute in.
    pub precision: Precision,
}

/// A request with the channel that its answer goes to. A closed channel means that nobody waits any more.
pub(super) struct Job {
    pub request: Request,
    pub reply: oneshot::Sender<Result<Vec<Reply>, EngineError>>,
}

/// Handle of the thread that runs the model. The thread ends when the last handle is dropped.
#[derive(Clone)]
pub struct ModelEngine {
    queue: mpsc::SyncSender<Job>,
    deployment: watch::Receiver<Deployment>,
}

impl ModelEngine {
    /// Starts the thread, which loads the model before it takes requests.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(config: EngineConfig) -> Result<Self, EngineError> {
        let loading = Deployment::Loading { model_name: config.source.name(), stage: "starting".to_owned() };
        let (state, deployment) = watch::channel(loading);
        let (queue, jobs) = mpsc::sync_channel(MAX_WAITING_REQUESTS);
        std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || load(&config, &state).map(|model| Worker::new(model).run(&jobs)))
            .map_err(|error| EngineError::Internal(format!("cannot start a thread: {error}")))?;
        Ok(Self { queue, deployment })
    }

    /// Waits until the model is loaded or has failed to, and says which.
    pub async fn loaded(&self) -> Deployment {
        let mut deployment = self.deployment.clone();
        let settled = deployment.wait_for(|state| !matches!(state, Deployment::Loading { .. })).await;
        settled.map_or_else(|_| self.deployment(), |state| state.clone())
    }

    async fn answer(&self, request: Request) -> Result<Vec<Reply>, EngineError> {
        match self.deployment() {
            Deployment::Ready(_) => {}
            Deployment::Loading { .. } => return Err(EngineError::Loading),
            Deployment::Undeployed | Deployment::Failed { .. } => return Err(EngineError::Undeployed),
        }
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(Job { request, reply }).map_err(|error| match error {
            mpsc::TrySendError::Full(_) => EngineError::Overloaded,
            mpsc::TrySendError::Disconnected(_) => EngineError::ShuttingDown,
        })?;
        answer.await.unwrap_or(Err(EngineError::ShuttingDown))
    }
}

impl Engine for ModelEngine {
    fn infer(&self, request: Request) -> BoxFuture<'_, Result<Vec<Reply>, EngineError>> {
        Box::pin(self.answer(request))
    }

    fn deployment(&self) -> Deployment {
        self.deployment.borrow().clone()
    }
}
