//! What a session is told when it starts.

use std::path::PathBuf;
use std::time::Duration;

use super::pictures::StoreSettings;
use super::queue::QueueSettings;
use crate::media::{DecodeOptions, FetchSettings, VideoSettings};
use crate::supervisely::PlatformSettings;

/// Limits of a session, and whom it talks to.
#[derive(Debug, Clone)]
pub struct SessionSettings {
    /// What is decoded.
    pub decode: DecodeOptions,
    /// How long a caller that waits for an answer is let wait.
    pub deadline: Duration,
    /// How long requests and their results are kept.
    pub queue: QueueSettings,
    /// What of the platform's files is kept.
    pub store: StoreSettings,
    /// The platform.
    pub platform: PlatformSettings,
    /// What is fetched from addresses that callers name.
    pub fetch: FetchSettings,
    /// How videos are read.
    pub video: VideoSettings,
    /// Folder whose pictures callers may ask about by path; none unless given.
    pub picture_folder: Option<PathBuf>,
    /// The platform's number for us.
    pub task_id: Option<i64>,
    /// Whether scores are shown wherever there are some, asked for or not.
    pub shows_scores: bool,
}

impl SessionSettings {
    /// What the platform's variables say: its address and our token, and how much is kept of its pictures, and where. An
    /// empty variable counts as unset.
    pub fn from_env() -> Self {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let number = |name: &str| variable(name).and_then(|value| value.trim().parse::<u64>().ok());
        let mut settings = Self { platform: PlatformSettings::from_variables(&variable), ..Self::default() };
        let pictures = &mut settings.store.pictures;
        if let Some(files) = number("SMART_CACHE_SIZE").and_then(|files| usize::try_from(files).ok()) {
            pictures.max_files = files;
        }
        if let Some(seconds) = number("SMART_CACHE_TTL") {
            pictures.lifetime = Duration::from_secs(seconds);
        }
        if let Some(folder) = variable("SMART_CACHE_CONTAINER_DIR").map(PathBuf::from).filter(|folder| folder.is_dir())
        {
            pictures.folder.clone_from(&folder);
            settings.store.videos.folder = folder;
        }
        settings
    }
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            decode: DecodeOptions::default(),
            deadline: Duration::from_secs(120),
            queue: QueueSettings::default(),
            store: StoreSettings::default(),
            platform: PlatformSettings::default(),
            fetch: FetchSettings::default(),
            video: VideoSettings::default(),
            picture_folder: None,
            task_id: None,
            shows_scores: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platforms_variables_are_read_and_nonsense_is_not() {
        let read = |size: &str, seconds: &str, folder: &str| {
            let (size, seconds, folder) = (size.to_owned(), seconds.to_owned(), folder.to_owned());
            SessionSettings::from_variables(move |name| match name {
                "SMART_CACHE_SIZE" => Some(size.clone()),
                "SMART_CACHE_TTL" => Some(seconds.clone()),
                "SMART_CACHE_CONTAINER_DIR" => Some(folder.clone()),
                _ => None,
            })
        };
        let folder = tempfile::tempdir().unwrap();
        let store = read("10", "60", folder.path().to_str().unwrap()).store;
        assert_eq!((store.pictures.max_files, store.pictures.lifetime), (10, Duration::from_secs(60)));
        assert_eq!((store.pictures.folder.as_path(), store.videos.folder.as_path()), (folder.path(), folder.path()));
        assert_eq!(read("", "x", "").store, StoreSettings::default());
        assert_eq!(read("", "", folder.path().join("absent").to_str().unwrap()).store, StoreSettings::default());
    }
}
