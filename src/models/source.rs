//! From what a user names to files that can be loaded.

use std::path::{Path, PathBuf};

use super::catalog::{Catalog, DEFAULT_MODEL};
use super::demo::{self, DEMO_MODEL};
use super::error::ModelError;
use super::hub;
use super::locating::{LocateStep, Locating};
use super::random::RandomSize;
use crate::florence::{CheckpointFiles, PICKLE_FILE, SAFETENSORS_FILE, config};

/// Where the platform keeps what apps download, across restarts.
const APPS_CACHE_VARIABLE: &str = "APPS_CACHE_DIR";
/// Where the original app's image keeps its checkpoints, below the home folder.
const ORIGINAL_IMAGE_FOLDER: &str = ".cache/supervisely/checkpoints";

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

    /// Finds the files on this machine, or fetches them from the hub, telling `progress` about each step.
    ///
    /// # Errors
    /// They are not here and cannot be fetched.
    pub fn locate(&self, how: &Locating<'_>) -> Result<ModelFiles, ModelError> {
        let (files, origin, custom) = match self {
            Self::Demo => (demo::files(), DEMO_MODEL.to_owned(), false),
            Self::Random(size) => (size.files(), size.name().to_owned(), false),
            Self::Folder(folder) => (CheckpointFiles::Folder(folder.clone()), folder.display().to_string(), true),
            Self::Published { name, repository } => {
                let folder = match local_folders(name).into_iter().find(|folder| is_checkpoint(folder)) {
                    Some(folder) => folder,
                    None => hub::fetch(repository, &|_| (how.tell)(LocateStep::Searching))
                        .map_err(|reason| ModelError::Fetch { name: name.clone(), reason })?,
                };
                (CheckpointFiles::Folder(folder), repository.clone(), false)
            }
        };
        Ok(ModelFiles { name: self.name(), origin, custom, files })
    }
}

/// The folders in which a published checkpoint may lie, most likely first.
fn local_folders(name: &str) -> Vec<PathBuf> {
    let folder = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = folder(APPS_CACHE_VARIABLE);
    let image = folder("HOME").map(|home| home.join(ORIGINAL_IMAGE_FOLDER));
    cache.into_iter().chain(image).map(|parent| parent.join(name)).collect()
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
