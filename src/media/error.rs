//! Why bytes are not a picture that can be read.

use thiserror::Error;

use super::format::SUPPORTED_FORMATS;

/// Each says what is wrong with the file, not with the program.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// No bytes at all.
    #[error("the file is empty")]
    Empty,
    /// Something else than a supported picture.
    #[error("not a picture that can be read: the file looks like {found}; supported are {SUPPORTED_FORMATS}")]
    UnsupportedFormat {
        /// What it looks like.
        found: &'static str,
    },
    /// A picture of a supported format, in a flavour that is not read.
    #[error("not a picture that can be read: this kind of {format} is not supported ({reason})")]
    UnsupportedKind {
        /// Its format.
        format: &'static str,
        /// What is unusual about it.
        reason: String,
    },
    /// More pixels than are read.
    #[error("the picture is {width}x{height} = {} pixels; at most {most} are read", u64::from(*width) * u64::from(*height))]
    TooLarge {
        /// Declared width.
        width: u32,
        /// Declared height.
        height: u32,
        /// Most pixels.
        most: u64,
    },
    /// Decoding it would take more memory than is allowed.
    #[error("reading the {format} file takes more than the {most} bytes of memory that are allowed for it")]
    TooMuchMemory {
        /// Its format.
        format: &'static str,
        /// Most bytes.
        most: u64,
    },
    /// The file ends before its picture does.
    #[error("the {format} file is truncated")]
    Truncated {
        /// Its format.
        format: &'static str,
    },
    /// Anything else that a decoder complains about.
    #[error("the {format} file cannot be read: {reason}")]
    Broken {
        /// Its format.
        format: &'static str,
        /// The decoder's words.
        reason: String,
    },
}
