//! What can go wrong with a request, and whose fault it is.

use thiserror::Error;

/// Why a request got no answers.
#[derive(Debug, Clone, PartialEq, Error)]
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
    /// The prompt does not fit behind the picture.
    #[error("{message}")]
    PromptTooLong {
        /// Which prompt, and what would fit.
        message: String,
        /// How much of it fits, from 0 to 1.
        fitting_share: f64,
    },
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
