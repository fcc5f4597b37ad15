//! What the life cycle is told when the process starts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::engine::{DeviceChoice, Precision};
use crate::models::{ModelFolders, ModelSource};

/// How models are deployed, and what happens to one that nobody asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifecycleSettings {
    /// Where a model runs, unless whoever asks for it says otherwise.
    pub devices: DeviceChoice,
    /// What it computes in, likewise.
    pub precision: Precision,
    /// Where published models are looked for.
    pub folders: ModelFolders,
    /// Folder of the user's own checkpoints, one in each folder below it; the page offers them.
    pub models_folder: Option<PathBuf>,
    /// The checkpoint that the server was started with.
    pub weights: Option<PathBuf>,
    /// How long a model may be unused before it leaves its device; none for ever.
    pub idle_freeze: Option<Duration>,
    /// The platform's number for us, where there is a platform that runs us.
    pub task_id: Option<i64>,
}

impl LifecycleSettings {
    /// An hour, as in the original.
    pub const DEFAULT_IDLE_FREEZE: Duration = Duration::from_secs(3600);

    /// The names of the user's own checkpoints, in order.
    pub fn own_checkpoints(&self) -> Vec<String> {
        self.own_folders().iter().map(|folder| shown_name(folder)).collect()
    }

    /// One of the user's own checkpoints by its name.
    pub fn own_checkpoint_named(&self, name: &str) -> Option<ModelSource> {
        let folder = self.own_folders().into_iter().find(|folder| shown_name(folder) == name)?;
        Some(ModelSource::Folder(self.models_folder.as_ref()?.join(folder)))
    }

    /// A folder that was opened to us as a whole or lies in the folder of own checkpoints.
    pub fn own_checkpoint(&self, folder: &str) -> Option<ModelSource> {
        let folder = Path::new(folder);
        if self.weights.as_deref() == Some(folder) {
            return ModelSource::choose(None, Some(folder)).ok();
        }
        let inside = folder.strip_prefix(self.models_folder.as_ref()?).ok()?.to_str()?;
        // Listed ones alone: what lies deeper was not opened.
        self.own_folders().iter().any(|own| own == inside).then(|| ModelSource::Folder(folder.to_owned()))
    }

    /// The folders of the user's own checkpoints, in order.
    fn own_folders(&self) -> Vec<String> {
        let entries = self.models_folder.as_ref().and_then(|folder| std::fs::read_dir(folder).ok());
        let folders = entries.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        let mut names: Vec<String> = folders
            .filter(|folder| ModelSource::choose(None, Some(folder)).is_ok())
            .filter_map(|folder| Some(folder.file_name()?.to_str()?.to_owned()))
            .collect();
        names.sort();
        names
    }
}

/// What a folder is called among the models: a published one of this name is another one.
pub fn shown_name(folder: &str) -> String {
    let is_taken = ModelSource::choose(Some(folder), None).is_ok();
    if is_taken { format!("{folder} (own)") } else { folder.to_owned() }
}

impl Default for LifecycleSettings {
    fn default() -> Self {
        Self {
            devices: DeviceChoice::Auto,
            precision: Precision::Auto,
            folders: ModelFolders::default(),
            models_folder: None,
            weights: None,
            idle_freeze: None,
            task_id: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_checkpoints_are_those_in_the_folder() {
        let root = tempfile::tempdir().unwrap();
        for name in ["b", "a", "Demo", "none"] {
            std::fs::create_dir(root.path().join(name)).unwrap();
        }
        for name in ["a", "b", "Demo"] {
            std::fs::write(root.path().join(name).join("config.json"), "{}").unwrap();
            std::fs::write(root.path().join(name).join("model.safetensors"), "").unwrap();
        }
        let settings =
            LifecycleSettings { models_folder: Some(root.path().to_owned()), ..LifecycleSettings::default() };
        assert_eq!(settings.own_checkpoints(), ["Demo (own)", "a", "b"]);
        let own = ModelSource::Folder(root.path().join("Demo"));
        assert_eq!(settings.own_checkpoint_named("Demo (own)"), Some(own), "the other one is ours");
        assert_eq!(settings.own_checkpoint_named("a"), Some(ModelSource::Folder(root.path().join("a"))));
        for name in ["none", "../a", "", ".", "a/", "Demo"] {
            assert_eq!(settings.own_checkpoint_named(name), None, "{name}");
        }
        let path = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
        assert!(settings.own_checkpoint(&path("a")).is_some());
        assert_eq!(settings.own_checkpoint(&path("a/..")), None);
        assert_eq!(settings.own_checkpoint("/etc"), None);
    }
}
