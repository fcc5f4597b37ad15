//! Why files could not be fetched.

use std::path::Path;

use hf_hub::HFError;
use thiserror::Error;

/// Each is one line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(in crate::models) enum FetchError {
    /// Nobody wants them any more.
    #[error("it was cancelled")]
    Cancelled,
    /// The user forbade it.
    #[error("HF_HUB_OFFLINE forbids to ask the hub")]
    Offline,
    /// The hub does not say what it has.
    #[error("{0}")]
    Listing(String),
    /// The repository is none of a checkpoint.
    #[error("{repository} has no {wanted}")]
    Incomplete {
        /// The repository.
        repository: String,
        /// What it lacks.
        wanted: String,
    },
    /// The hub does not send a file.
    #[error("{file}: {reason}")]
    Transfer {
        /// The file.
        file: String,
        /// Why.
        reason: String,
    },
    /// What came is something else.
    #[error("{file} came with another {kind} than the hub told, and was thrown away: {got} in place of {wanted}")]
    Hash {
        /// The file.
        file: String,
        /// Which hash.
        kind: &'static str,
        /// Its hash.
        got: String,
        /// What the hub told.
        wanted: String,
    },
    /// In its place lies something that was not fetched by this program.
    #[error(
        "{folder} was not downloaded by this program, so nothing is fetched into its place: complete it, or move it away"
    )]
    NotOurs {
        /// The folder.
        folder: String,
    },
    /// There is no room.
    #[error(
        "{folder} has {free_mb} MB free, and {needed_mb} MB are needed; APPS_CACHE_DIR or HF_HOME names another place"
    )]
    NoSpace {
        /// The folder.
        folder: String,
        /// Megabytes that are free.
        free_mb: u64,
        /// Megabytes that are to come.
        needed_mb: u64,
    },
    /// The disk does not take them.
    #[error("{file}: {reason}")]
    Disk {
        /// The file or folder.
        file: String,
        /// What the system says.
        reason: String,
    },
}

impl FetchError {
    /// What the system says about a file.
    pub fn disk(file: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let file = file.display().to_string();
        move |error| Self::Disk { file, reason: error.to_string() }
    }
}

impl From<HFError> for FetchError {
    fn from(error: HFError) -> Self {
        Self::Listing(match &error {
            HFError::AuthRequired { .. } | HFError::Forbidden { .. } => {
                "the hub does not let us in: HF_TOKEN is missing, or has no right to the repository".to_owned()
            }
            HFError::RateLimited { .. } => "the hub is asked too often, try again in some minutes".to_owned(),
            error => match std::error::Error::source(error) {
                Some(cause) => format!("the hub cannot be reached: {}", innermost(cause)),
                None => describe(error),
            },
        })
    }
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// The outermost and the innermost cause in one line.
pub(super) fn describe(error: &dyn std::error::Error) -> String {
    let (outer, inner) = (error.to_string(), innermost(error));
    let text = if outer.contains(&inner) { outer } else { format!("{outer}: {inner}") };
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
