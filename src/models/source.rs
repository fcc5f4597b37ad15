//! From what a user names to files that can be loaded.

use std::path::{Path, PathBuf};

use super::catalog::{Catalog, DEFAULT_MODEL, DEFAULT_REVISION};
use super::demo::{self, DEMO_MODEL};
use super::error::ModelError;
use super::folders::ModelFolders;
use super::hub::{DownloadRecord, Fetch, FetchError, is_complete, mend};
use super::locating::{LocateStep, Locating};
use super::random::RandomSize;
use crate::florence::{CheckpointFiles, PICKLE_FILE, SAFETENSORS_FILE, config};

/// A model as a user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSource {
    /// The one in the program.
    Demo,
    /// A published checkpoint.
    Published {
        /// Name in models.json.
        name: String,
        /// Repository on the hub.
        repository: String,
    },
    /// A folder of the user's own.
    Folder(PathBuf),
    /// The shape of a published model with weights that are drawn: it answers nothing of use, but takes as long.
    Random(RandomSize),
}

/// A model whose files are at hand.
#[derive(Debug, Clone)]
pub struct ModelFiles {
    /// Name to show.
    pub name: String,
    /// The hub's repository, or the folder.
    pub origin: String,
    /// Whether a user named the folder.
    pub custom: bool,
    /// The files.
    pub files: CheckpointFiles,
    /// Why these are not the newest ones, where those were asked for and could not be had.
    pub stale: Option<String>,
}

impl ModelSource {
    /// Chooses by `--weights`, `--model`, or neither, which means Florence-2-large.
    ///
    /// # Errors
    /// A name that no model has, or a folder that cannot be read or holds no checkpoint.
    pub fn choose(name: Option<&str>, folder: Option<&Path>) -> Result<Self, ModelError> {
        if let Some(folder) = folder {
            let unreadable = |reason: String| ModelError::Folder { folder: folder.display().to_string(), reason };
            std::fs::read_dir(folder).map_err(|error| unreadable(error.to_string()))?;
            if !is_checkpoint(folder) {
                let wanted = format!("{}, and {SAFETENSORS_FILE} or {PICKLE_FILE}", config::CONFIG_FILE);
                return Err(unreadable(format!("a checkpoint has {wanted}")));
            }
            return Ok(Self::Folder(folder.to_owned()));
        }
        let name = name.unwrap_or(DEFAULT_MODEL);
        if name.eq_ignore_ascii_case(DEMO_MODEL) {
            return Ok(Self::Demo);
        }
        let catalog = Catalog::embedded();
        let entry = catalog.find(name)?;
        Ok(Self::Published { name: entry.name.clone(), repository: entry.repository.clone() })
    }

    /// Name to show.
    pub fn name(&self) -> String {
        match self {
            Self::Demo => DEMO_MODEL.to_owned(),
            Self::Published { name, .. } => name.clone(),
            Self::Random(size) => size.name().to_owned(),
            Self::Folder(folder) => {
                let last = folder.canonicalize().unwrap_or_else(|_| folder.clone());
                last.file_name()
                    .map_or_else(|| folder.display().to_string(), |name| name.to_string_lossy().into_owned())
            }
        }
    }

    /// Finds the files on this machine, or fetches them from the hub.
    ///
    /// # Errors
    /// They are not here and cannot be fetched, or it was cancelled.
    pub fn locate(&self, how: &Locating<'_>) -> Result<ModelFiles, ModelError> {
        let mut stale = None;
        let (files, origin, custom) = match self {
            Self::Demo => (demo::files(), DEMO_MODEL.to_owned(), false),
            Self::Random(size) => (size.files(), size.name().to_owned(), false),
            Self::Folder(folder) => (CheckpointFiles::Folder(folder.clone()), folder.display().to_string(), true),
            Self::Published { name, repository } => {
                let folder;
                (folder, stale) = locate_published(name, repository, how)?;
                (CheckpointFiles::Folder(folder), repository.clone(), false)
            }
        };
        Ok(ModelFiles { name: self.name(), origin, custom, files, stale })
    }

    /// Where the files are, as far as can be told without asking the hub.
    pub fn location(&self, folders: &ModelFolders) -> Location {
        match self {
            Self::Demo | Self::Random(_) => Location::Program,
            Self::Folder(_) => Location::Disk,
            Self::Published { name, repository } => {
                find_published(name, repository, folders).map_or(Location::Hub, |found| {
                    let is_of_image = folders.image.iter().any(|image| found.folder.starts_with(image));
                    if is_of_image { Location::Image } else { Location::Disk }
                })
            }
        }
    }
}

/// Where a model's files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Location {
    /// In this program.
    Program,
    /// In a folder of this machine.
    Disk,
    /// In the image that this program runs in.
    Image,
    /// On the hub alone.
    Hub,
}

impl Location {
    /// One word for programs to read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Disk => "disk",
            Self::Image => "image",
            Self::Hub => "hub",
        }
    }
}

/// A folder with a published checkpoint.
#[derive(Debug, Clone)]
struct Found {
    folder: PathBuf,
    /// Whether it is of the revision that is meant. A folder without a record is the user's own, and always is.
    is_wanted: bool,
}

/// The folder of a published checkpoint: what was downloaded goes before what an image holds, because updates are downloads.
/// Where none is of the revision that is meant, the first one is found all the same.
fn find_published(name: &str, repository: &str, folders: &ModelFolders) -> Option<Found> {
    mend(&folders.downloads, name);
    let revision = revision_of(name);
    let image = folders.image.iter().map(|folder| folder.join(name));
    let snapshot = folders.hub.snapshot(repository, &revision);
    let candidates = std::iter::once(folders.downloads.join(name)).chain(image).chain(snapshot);
    let mut found = candidates.filter(|folder| is_complete(folder)).map(|folder| {
        let is_wanted = DownloadRecord::read(&folder).is_none_or(|record| record.is_of(&revision));
        Found { folder, is_wanted }
    });
    let first = found.next()?;
    if first.is_wanted { Some(first) } else { found.find(|found| found.is_wanted).or(Some(first)) }
}

/// The folder, and why it is not the newest where that was asked for.
fn locate_published(name: &str, repository: &str, how: &Locating<'_>) -> Result<(PathBuf, Option<String>), ModelError> {
    (how.tell)(LocateStep::Searching);
    let present = find_published(name, repository, how.folders);
    if let Some(found) = present.clone().filter(|found| found.is_wanted && !how.update) {
        return Ok((found.folder, None));
    }
    let revision = revision_of(name);
    match (Fetch { name, repository, revision: &revision, how }.run(), present) {
        (Ok(()), _) => Ok((how.folders.downloads.join(name), None)),
        (Err(FetchError::Cancelled), _) => Err(ModelError::Cancelled),
        (Err(error), Some(found)) => {
            tracing::warn!(model = name, %error, "the present files are used, newer ones could not be fetched");
            Ok((found.folder, Some(error.to_string())))
        }
        (Err(error), None) => Err(ModelError::Fetch { name: name.to_owned(), reason: error.to_string() }),
    }
}

/// The state of a repository that is meant.
fn revision_of(name: &str) -> String {
    Catalog::embedded().find(name).map_or_else(|_| DEFAULT_REVISION.to_owned(), |entry| entry.revision.clone())
}

fn is_checkpoint(folder: &Path) -> bool {
    let has = |file| folder.join(file).is_file();
    has(config::CONFIG_FILE) && (has(SAFETENSORS_FILE) || has(PICKLE_FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_named_means_large() {
        assert_eq!(ModelSource::choose(None, None).unwrap().name(), "Florence-2-large");
        assert_eq!(ModelSource::choose(Some("DEMO"), None).unwrap(), ModelSource::Demo);
    }

    #[test]
    fn a_folder_wins_and_must_be_readable() {
        let folder = tempfile::tempdir().unwrap();
        let error = ModelSource::choose(None, Some(folder.path())).unwrap_err().to_string();
        assert!(error.contains("config.json"), "{error}");
        for file in ["config.json", "pytorch_model.bin"] {
            std::fs::write(folder.path().join(file), "{}").unwrap();
        }
        let source = ModelSource::choose(Some("demo"), Some(folder.path())).unwrap();
        assert_eq!(source, ModelSource::Folder(folder.path().to_owned()));
        let error = ModelSource::choose(None, Some(&folder.path().join("absent"))).unwrap_err().to_string();
        assert!(error.contains("absent"), "{error}");
    }

    #[test]
    fn the_demo_is_always_at_hand() {
        let how = Locating {
            folders: &Default::default(),
            update: false,
            tell: &|_: LocateStep| {},
            cancel: &Default::default(),
        };
        let found = ModelSource::Demo.locate(&how).unwrap();
        assert_eq!((found.name.as_str(), found.custom), ("demo", false));
        assert!(found.files.contains("model.safetensors"));
    }
}
