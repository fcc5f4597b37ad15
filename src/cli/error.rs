//! How a command ends when it does not end well.

use thiserror::Error;

use crate::engine::EngineError;
use crate::florence::{CheckpointError, FlorenceError};
use crate::models::ModelError;
use crate::session::SessionError;
use crate::supervisely::PlatformError;

/// A result of a command.
pub type CliResult<T> = Result<T, CliError>;

/// Why a command did not do what it was asked to.
#[derive(Debug, Error)]
pub enum CliError {
    /// The arguments are wrong, or name something that is not there.
    #[error("{0}")]
    Usage(String),
    /// Something failed on the way.
    #[error("{0}")]
    Failed(String),
}

impl CliError {
    /// 2 for wrong arguments, else 1.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Failed(_) => 1,
        }
    }
}

impl From<ModelError> for CliError {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Unknown { .. } | ModelError::Folder { .. } => Self::Usage(error.to_string()),
            ModelError::Fetch { .. } | ModelError::Cancelled => Self::Failed(error.to_string()),
        }
    }
}

impl From<CheckpointError> for CliError {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Device(_) => Self::Failed(error.to_string()),
            _ => Self::Usage(error.to_string()),
        }
    }
}

impl From<FlorenceError> for CliError {
    fn from(error: FlorenceError) -> Self {
        if error.is_callers_fault() { Self::Usage(error.to_string()) } else { Self::Failed(error.to_string()) }
    }
}

impl From<EngineError> for CliError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Device(_)
            | EngineError::Load(_)
            | EngineError::InvalidRequest(_)
            | EngineError::PromptTooLong { .. } => Self::Usage(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<PlatformError> for CliError {
    fn from(error: PlatformError) -> Self {
        match error {
            PlatformError::NoAddress | PlatformError::NoToken => {
                Self::Usage("pictures of the platform need SERVER_ADDRESS and API_TOKEN in the environment".to_owned())
            }
            error if error.is_not_found() => Self::Usage(error.to_string()),
            error => Self::Failed(error.to_string()),
        }
    }
}

impl From<SessionError> for CliError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Engine(error) => error.into(),
            SessionError::Platform(error) => error.into(),
            error if error.is_callers_fault() => Self::Usage(error.to_string()),
            error => Self::Failed(error.to_string()),
        }
    }
}
