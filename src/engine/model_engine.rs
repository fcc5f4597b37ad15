//! The engine that runs the model: one thread owns the device and everything on it; callers reach it through a bounded
//! queue and get their answer through a channel of their own.

use std::sync::{Arc, PoisonError, RwLock, mpsc};

use tokio::sync::oneshot;

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

/// What the engine's thread tells the rest of the program.
#[derive(Debug, Clone)]
pub(super) struct DeploymentCell(Arc<RwLock<Deployment>>);

impl DeploymentCell {
    pub fn get(&self) -> Deployment {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set(&self, deployment: Deployment) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = deployment;
    }
}

/// Handle of the thread that runs the model. The thread ends when the last handle is dropped.
#[derive(Clone)]
pub struct ModelEngine {
    queue: mpsc::SyncSender<Job>,
    deployment: DeploymentCell,
}

impl ModelEngine {
    /// Starts the thread, which loads the model before it takes requests.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(config: EngineConfig) -> Result<Self, EngineError> {
        let loading = Deployment::Loading { model_name: config.source.name(), stage: "starting".to_owned() };
        let deployment = DeploymentCell(Arc::new(RwLock::new(loading)));
        let (queue, jobs) = mpsc::sync_channel(MAX_WAITING_REQUESTS);
        let cell = deployment.clone();
        std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || Worker::load(&config, &cell).map(|mut worker| worker.run(&jobs)))
            .map_err(|error| EngineError::Internal(format!("cannot start a thread: {error}")))?;
        Ok(Self { queue, deployment })
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
        self.deployment.get()
    }
}
