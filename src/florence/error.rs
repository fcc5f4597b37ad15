//! What can be wrong with a checkpoint, and with what is asked of a model.

use thiserror::Error;

use super::task::PromptError;

/// A result of loading a checkpoint.
pub type CheckpointResult<T> = Result<T, CheckpointError>;

/// Why a checkpoint cannot be loaded. Each names the file, and the tensor where there is one.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// A file is not there.
    #[error("{folder} holds no {wanted}")]
    MissingFile {
        /// Where the checkpoint lies.
        folder: String,
        /// The file, or the files any of which would do.
        wanted: String,
    },
    /// A file cannot be read.
    #[error("cannot read {file}: {source}")]
    Read {
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{file}: {reason}")]
    Invalid {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// A tensor is absent, misshapen, cut off or not finite.
    #[error("{file}: tensor {tensor}: {reason}")]
    Tensor {
        /// The file.
        file: String,
        /// The tensor's name in that file.
        tensor: String,
        /// What is wrong.
        reason: String,
    },
    /// Nobody wants the model any more.
    #[error("loading the model was cancelled")]
    Cancelled,
    /// The device refused.
    #[error("loading the model failed: {0}")]
    Device(#[from] candle_core::Error),
}

/// Why the model cannot answer.
#[derive(Debug, Error)]
pub enum FlorenceError {
    /// The prompt itself is wrong.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// The prompt does not fit behind the picture.
    #[error(
        "the prompt has {tokens} tokens or more; behind a picture of {image_tokens} this model takes at most {most}"
    )]
    PromptTooLong {
        /// Tokens of the prompt, with start and end.
        tokens: usize,
        /// Positions that the picture takes.
        image_tokens: usize,
        /// Most tokens of a prompt.
        most: usize,
    },
    /// The asked-for picture size does not fit the model's position tables.
    #[error("{0}")]
    ImageSize(String),
    /// The options make no sense.
    #[error("{0}")]
    Options(String),
    /// The tokenizer failed.
    #[error("the tokenizer failed: {0}")]
    Tokenizer(String),
    /// The model produced something that is not a number.
    #[error("the model's output is not finite")]
    NotFinite,
    /// A mistake of this program's broke the search of an answer off.
    #[error("the search of the answer broke off")]
    Panicked,
    /// The device failed.
    #[error(transparent)]
    Device(#[from] candle_core::Error),
}

impl FlorenceError {
    /// Whether the caller asked for something that cannot be done, as opposed to a fault of the model or the device.
    pub const fn is_callers_fault(&self) -> bool {
        matches!(self, Self::Prompt(_) | Self::PromptTooLong { .. } | Self::ImageSize(_) | Self::Options(_))
    }

    /// Whether the device had no memory left, so that less at a time may do.
    pub fn is_out_of_memory(&self) -> bool {
        let Self::Device(error) = self else { return false };
        let text = error.to_string();
        OUT_OF_MEMORY.iter().any(|mark| text.contains(mark))
    }
}

/// How CUDA's driver and its matrix library say that memory is short; candle hands their words on as text.
const OUT_OF_MEMORY: [&str; 2] = ["CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_memory_is_told_from_other_failures() {
        let error = |text: &str| FlorenceError::Device(candle_core::Error::Msg(text.to_owned()));
        assert!(error(r#"DriverError(CUDA_ERROR_OUT_OF_MEMORY, "out of memory")"#).is_out_of_memory());
        assert!(!error(r#"DriverError(CUDA_ERROR_ILLEGAL_ADDRESS, "…")"#).is_out_of_memory());
        assert!(!FlorenceError::NotFinite.is_out_of_memory());
    }
}
