//! The engine owns the device: it takes pictures with prompts, runs the model, and gives answers back.
//!
//! It knows the model and threads, and nothing of HTTP or Supervisely. Callers hold an `Arc<dyn Engine>`; the real one
//! is [`ModelEngine`], tests put their own behind the trait.

mod device;
mod error;
mod features;
mod load;
mod model_engine;
mod policy;
mod request;
mod worker;

pub use device::{DeviceChoice, OpenDevice, Precision};
pub use error::EngineError;
pub use model_engine::{EngineConfig, ModelEngine};
pub use request::{Reply, Request};

use std::future::Future;
use std::pin::Pin;

/// A future that an object-safe trait can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the server and the sessions need of a model.
pub trait Engine: Send + Sync {
    /// Answers every prompt of the request, in order. The picture is encoded once.
    ///
    /// Dropping the future gives the request up.
    fn infer(&self, request: Request) -> BoxFuture<'_, Result<Vec<Reply>, EngineError>>;

    /// Whether a model is served, and which.
    fn deployment(&self) -> Deployment;
}

/// The model life cycle as callers see it.
#[derive(Debug, Clone, PartialEq)]
pub enum Deployment {
    /// No model was asked for yet, or it was unloaded.
    Undeployed,
    /// A model is being fetched or loaded.
    Loading {
        /// Name of the model on its way.
        model_name: String,
        /// What is being done, such as `reading model.safetensors`.
        stage: String,
    },
    /// Requests are answered.
    Ready(ServedModel),
    /// The last load failed and no model is served.
    Failed {
        /// Name of the model that failed.
        model_name: String,
        /// Why, in one line.
        message: String,
    },
}

/// The model that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedModel {
    /// Name in models.json such as `Florence-2-large`, `demo`, or the folder's name of an own checkpoint.
    pub name: String,
    /// `microsoft/Florence-2-large` for a published checkpoint, the folder for an own one.
    pub source: String,
    /// Whether the weights come from a folder that the user named.
    pub custom: bool,
    /// `cpu`, `cuda:0` …
    pub device: String,
    /// `FP32`, `FP16` or `BF16`.
    pub precision: String,
    /// Name of the processor that runs it.
    pub hardware: String,
}
