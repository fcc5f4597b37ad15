//! The files of a checkpoint, in a folder or inside this program.

use std::borrow::Cow;
use std::path::PathBuf;

use serde::de::DeserializeOwned;

use super::error::{CheckpointError, CheckpointResult};

/// Where a checkpoint's files are.
#[derive(Debug, Clone)]
pub enum CheckpointFiles {
    /// A folder as published.
    Folder(PathBuf),
    /// Files that are part of the program.
    Embedded {
        /// Shown in messages.
        name: &'static str,
        /// File names and contents.
        files: &'static [(&'static str, &'static [u8])],
    },
    /// The same without a file of weights: they are drawn, the same each time, for measuring. `config.json` has to be in the
    /// style of Microsoft's.
    Drawn {
        /// Shown in messages.
        name: &'static str,
        /// File names and contents.
        files: &'static [(&'static str, &'static [u8])],
    },
}

impl CheckpointFiles {
    /// The folder, or the name of the embedded checkpoint.
    pub fn location(&self) -> String {
        match self {
            Self::Folder(folder) => folder.display().to_string(),
            Self::Embedded { name, .. } => format!("the embedded checkpoint {name}"),
            Self::Drawn { name, .. } => format!("the drawn checkpoint {name}"),
        }
    }

    /// A file's name for messages.
    pub fn display(&self, file: &str) -> String {
        match self {
            Self::Folder(folder) => folder.join(file).display().to_string(),
            Self::Embedded { name, .. } | Self::Drawn { name, .. } => format!("{name}/{file}"),
        }
    }

    /// Whether the file is there.
    pub fn contains(&self, file: &str) -> bool {
        match self {
            Self::Folder(folder) => folder.join(file).is_file(),
            Self::Embedded { files, .. } | Self::Drawn { files, .. } => files.iter().any(|(name, _)| *name == file),
        }
    }

    /// A small file's whole content.
    ///
    /// # Errors
    /// The file is missing or cannot be read.
    pub fn read(&self, file: &str) -> CheckpointResult<Cow<'static, [u8]>> {
        match self {
            Self::Embedded { files, .. } | Self::Drawn { files, .. } => files
                .iter()
                .find(|(name, _)| *name == file)
                .map(|(_, content)| Cow::Borrowed(*content))
                .ok_or_else(|| self.missing(file)),
            Self::Folder(folder) => match std::fs::read(folder.join(file)) {
                Ok(content) => Ok(Cow::Owned(content)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(self.missing(file)),
                Err(source) => Err(CheckpointError::Read { file: self.display(file), source }),
            },
        }
    }

    /// A JSON file.
    ///
    /// # Errors
    /// As [`Self::read`], and content that does not fit.
    pub fn read_json<T: DeserializeOwned>(&self, file: &str) -> CheckpointResult<T> {
        serde_json::from_slice(&self.read(file)?).map_err(|error| self.invalid(file, error.to_string()))
    }

    /// The error for a file that is not there; `wanted` may name several.
    pub fn missing(&self, wanted: &str) -> CheckpointError {
        CheckpointError::MissingFile { folder: self.location(), wanted: wanted.to_owned() }
    }

    /// The error for a file with the wrong content.
    pub fn invalid(&self, file: &str, reason: String) -> CheckpointError {
        CheckpointError::Invalid { file: self.display(file), reason }
    }
}
