//! Why a model cannot be had.

use thiserror::Error;

/// Each is one line that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ModelError {
    /// No model has this name.
    #[error("there is no model {name:?}; choose one of {known}, or name a folder with --weights")]
    Unknown {
        /// What was asked for.
        name: String,
        /// Names that exist.
        known: String,
    },
    /// The folder is not there or cannot be read.
    #[error("cannot load the folder {folder}: {reason}")]
    Folder {
        /// The folder.
        folder: String,
        /// Why.
        reason: String,
    },
    /// Nobody wants it any more.
    #[error("it was cancelled")]
    Cancelled,
    /// The files are not on the disk and could not be fetched.
    #[error(
        "{name} is not on this machine and could not be fetched from the hub: {reason}; put its files into a folder and name it with --weights, or use --model demo"
    )]
    Fetch {
        /// The model.
        name: String,
        /// Why.
        reason: String,
    },
}
