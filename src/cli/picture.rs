//! Pictures that are named on the command line.

use std::path::Path;

use super::error::{CliError, CliResult};
use crate::florence::image::Picture;
use crate::media::{self, DecodeOptions};

/// The bytes of a file.
///
/// # Errors
/// It cannot be read.
pub fn read(file: &Path) -> CliResult<Vec<u8>> {
    std::fs::read(file).map_err(|error| CliError::Usage(format!("cannot read {}: {error}", file.display())))
}

/// The picture in a file's bytes.
///
/// # Errors
/// There is none.
pub fn decode(file: &Path, bytes: &[u8]) -> CliResult<Picture> {
    media::decode(bytes, &DecodeOptions::default())
        .map_err(|error| CliError::Failed(format!("{}: {error}", file.display())))
}
