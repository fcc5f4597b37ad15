//! What can go wrong with a request, and whose fault it is.

use thiserror::Error;

/// Why a request got no answers.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EngineError {
    /// No model is deployed.
    #[error("no model is deployed")]
    Undeployed,
    /// A model is on its way; asking again later will do.
    #[error("the model is still loading")]
    Loading,
    /// The caller's prompt or options cannot be served.
    #[error("{0}")]
    InvalidRequest(String),
    /// More is waiting than the engine takes.
    #[error("too many requests are waiting")]
    Overloaded,
    /// The engine is going down.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The device that was asked for cannot be used.
    #[error("{0}")]
    Device(String),
    /// The model's files cannot be found or loaded.
    #[error("{0}")]
    Load(String),
    /// The model failed on this request.
    #[error("the model failed: {0}")]
    Internal(String),
}
