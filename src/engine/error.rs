//! What can go wrong with a request, and whose fault it is.

use thiserror::Error;

use super::request::Stage;
use crate::florence::FlorenceError;

/// Why a request got no answers, or a model is not served.
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
    /// The request's deadline has passed.
    #[error("the time for the request ran out while {stage}")]
    DeadlineExceeded {
        /// How far it had come.
        stage: Stage,
    },
    /// The engine is going down.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The device has no memory for this request, not even alone.
    #[error("the device is out of memory")]
    OutOfMemory,
    /// The device does not work any more.
    #[error("the device stopped working: {0}")]
    DeviceLost(String),
    /// The device that was asked for cannot be used.
    #[error("{0}")]
    Device(String),
    /// The model's files cannot be found or loaded.
    #[error("{0}")]
    Load(String),
    /// Somebody broke the load off.
    #[error("loading was cancelled")]
    Cancelled,
    /// The model failed on this request.
    #[error("the model failed: {0}")]
    Internal(String),
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
        } else if error.is_out_of_memory() {
            Self::OutOfMemory
        } else {
            Self::Internal(error.to_string().lines().next().unwrap_or_default().to_owned())
        }
    }
}

impl From<candle_core::Error> for EngineError {
    fn from(error: candle_core::Error) -> Self {
        FlorenceError::from(error).into()
    }
}
