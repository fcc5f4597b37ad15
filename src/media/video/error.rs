//! Why a video cannot be read.

use thiserror::Error;

/// Why a video cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VideoError {
    /// A program is not installed.
    #[error("videos cannot be read here: the program {program} is not installed")]
    FfmpegMissing {
        /// Its name.
        program: String,
    },
    /// The file is none that is read.
    #[error("the file is no video that can be read: {reason}")]
    NotAVideo {
        /// What was said about it.
        reason: String,
    },
    /// Its frames are too large.
    #[error("the video's frames are {width}x{height}; at most {most} pixels are read")]
    TooLarge {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// Most pixels.
        most: u64,
    },
    /// The program took too long.
    #[error("reading the video took too long")]
    TimedOut,
    /// The program could not be run, or broke off.
    #[error("the video cannot be read: {reason}")]
    Failed {
        /// What happened.
        reason: String,
    },
}

impl VideoError {
    /// Whether the file is at fault, and not the server.
    pub const fn is_callers_fault(&self) -> bool {
        matches!(self, Self::NotAVideo { .. } | Self::TooLarge { .. })
    }

    pub(super) fn failed(reason: impl ToString) -> Self {
        Self::Failed { reason: reason.to_string() }
    }
}
