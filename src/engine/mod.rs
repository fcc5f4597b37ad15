//! The engine owns the devices: it takes pictures with prompts, runs the model, and gives answers back.
//!
//! It knows the model and threads, and nothing of HTTP or Supervisely. Callers hold an `Arc<dyn Engine>`; the real one
//! is [`ModelEngine`], tests put their own behind the trait.
//!
//! A request takes a [`Place`], waits in a fair queue, is prepared by an assistant, and comes to a replica, which encodes its
//! picture and writes all of its answers beside those of other requests; an assistant reads them.

mod assistant;
mod board;
mod deployment;
mod device;
mod error;
mod fair_queue;
mod faults;
mod features;
mod gpus;
mod heart;
mod load;
mod memory;
mod model_engine;
mod places;
mod policy;
mod replica;
mod request;
mod running;
mod settings;
mod stats;

pub use deployment::{Amount, Deployment, Failure, LoadStep, Loading, ServedModel, Serving};
pub use device::{DeviceChoice, OpenDevice, Precision};
pub use error::EngineError;
#[cfg(feature = "fault-points")]
pub use faults::Fault;
pub use faults::{Faults, Point};
pub use gpus::{Gpu, GpuMemory, look_at_gpus};
pub use memory::keep_freed_memory;
pub use model_engine::ModelEngine;
pub use places::{Lane, Place, PlaceLimits, Places, Run};
pub use policy::Limits;
pub use request::{Reply, Request, Stage};
pub use settings::{EngineSettings, ModelPlan};
pub use stats::Stats;

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

    /// Where requests take their places.
    fn places(&self) -> &Places;

    /// Whether a model is served, and which.
    fn deployment(&self) -> Deployment;

    /// Loads a model and lets it take over from the one before, which stays if that fails. Waits its turn; whoever asks for
    /// the same model meanwhile shares the load, and a published model that is served already is not loaded again.
    fn deploy(&self, plan: ModelPlan) -> BoxFuture<'_, Result<ServedModel, EngineError>>;

    /// Breaks off the load under way. Whatever was served before stays. False if nothing was loading.
    fn cancel_loading(&self) -> bool;

    /// Takes the model off its devices until the next request.
    fn freeze(&self) -> BoxFuture<'_, Result<(), EngineError>>;

    /// Serves nothing any more.
    fn unload(&self) -> BoxFuture<'_, ()>;

    /// What was done so far.
    fn stats(&self) -> Stats;
}
