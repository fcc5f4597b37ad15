//! Where weights may lie on this machine, and which hub is asked for those that do not.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where the platform keeps what apps download, across restarts.
const APPS_CACHE_VARIABLE: &str = "APPS_CACHE_DIR";
/// Where the original app's image keeps its checkpoints, below the home folder.
const ORIGINAL_IMAGE_FOLDER: &str = ".cache/supervisely/checkpoints";
/// Where our own image keeps them.
const IMAGE_FOLDER: &str = "/opt/florence2/checkpoints";
/// Our folder below the hub's home, where there is no other place for downloads.
const OWN_FOLDER: &str = "serve-florence-2";
/// The hub.
const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// Where weights may lie.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelFolders {
    /// Downloads, a folder each: `$APPS_CACHE_DIR`, or a folder below the hub's home.
    pub downloads: PathBuf,
    /// Folders of an image, which are only read.
    pub image: Vec<PathBuf>,
    /// The hub.
    pub hub: HubSettings,
}

/// The model hub.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct HubSettings {
    /// Its address without a slash at the end: `HF_ENDPOINT`.
    pub endpoint: String,
    /// The user's token there: `HF_TOKEN`, or the file that its own tools keep.
    pub token: Option<String>,
    /// Where its own tools keep what they fetched: `HF_HUB_CACHE`, or `hub` below `HF_HOME`.
    pub cache: PathBuf,
    /// Whether it must not be asked: `HF_HUB_OFFLINE`.
    pub is_offline: bool,
}

/// Without the token.
impl fmt::Debug for HubSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("HubSettings")
            .field("endpoint", &self.endpoint)
            .field("has_token", &self.token.is_some())
            .field("cache", &self.cache)
            .field("is_offline", &self.is_offline)
            .finish()
    }
}

impl ModelFolders {
    /// What the environment says. An empty variable counts as unset.
    pub fn from_env() -> Self {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let variable =
            |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let path = |name: &str| variable(name).map(PathBuf::from);
        let user = path("HOME");
        let cache_home = path("XDG_CACHE_HOME").or_else(|| Some(user.clone()?.join(".cache")));
        let home = path("HF_HOME").or_else(|| Some(cache_home?.join("huggingface")));
        let home = home.unwrap_or_else(std::env::temp_dir);
        let token_file = path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());
        Self {
            downloads: path(APPS_CACHE_VARIABLE).unwrap_or_else(|| home.join(OWN_FOLDER)),
            image: user
                .map(|user| user.join(ORIGINAL_IMAGE_FOLDER))
                .into_iter()
                .chain([PathBuf::from(IMAGE_FOLDER)])
                .collect(),
            hub: HubSettings {
                endpoint: endpoint.trim_end_matches('/').to_owned(),
                token: variable("HF_TOKEN").or_else(|| read_token(&token_file)),
                cache: path("HF_HUB_CACHE")
                    .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
                    .unwrap_or_else(|| home.join("hub")),
                is_offline: variable("HF_HUB_OFFLINE")
                    .is_some_and(|value| matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on")),
            },
        }
    }
}

impl HubSettings {
    /// Where the hub's own tools keep this state of a repository, if they fetched it.
    pub fn snapshot(&self, repository: &str, revision: &str) -> Option<PathBuf> {
        let folder = self.cache.join(format!("models--{}", repository.replace('/', "--")));
        let commit = std::fs::read_to_string(folder.join("refs").join(revision));
        let commit = commit.map_or_else(|_| revision.to_owned(), |commit| commit.trim().to_owned());
        let snapshot = folder.join("snapshots").join(commit);
        snapshot.is_dir().then_some(snapshot)
    }
}

fn read_token(file: &Path) -> Option<String> {
    let token = std::fs::read_to_string(file).ok()?.trim().to_owned();
    (!token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(variables: &[(&str, &str)]) -> ModelFolders {
        ModelFolders::from_variables(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_variables_are_those_of_the_platform_and_the_hub() {
        let read = folders(&[
            ("APPS_CACHE_DIR", "/apps_cache"),
            ("HOME", "/root"),
            ("HF_HOME", "/hf"),
            ("HF_ENDPOINT", "http://hub.test/"),
            ("HF_TOKEN", "hf_secret"),
            ("HF_HUB_OFFLINE", "ON"),
        ]);
        assert_eq!(read.downloads, Path::new("/apps_cache"));
        assert_eq!(read.image[0], Path::new("/root/.cache/supervisely/checkpoints"));
        assert_eq!((read.hub.endpoint.as_str(), read.hub.is_offline), ("http://hub.test", true));
        assert_eq!(read.hub.cache, Path::new("/hf/hub"));
        assert!(!format!("{read:?}").contains("hf_secret"));
    }

    #[test]
    fn without_them_everything_lies_below_the_users_folder() {
        let read = folders(&[("HOME", "/home/me"), ("HF_ENDPOINT", ""), ("HF_HUB_OFFLINE", "0")]);
        assert_eq!(read.downloads, Path::new("/home/me/.cache/huggingface/serve-florence-2"));
        assert_eq!((read.hub.endpoint.as_str(), read.hub.is_offline), (DEFAULT_ENDPOINT, false));
    }

    #[test]
    fn what_the_hubs_own_tools_fetched_is_found() {
        let cache = tempfile::tempdir().unwrap();
        let hub = HubSettings { cache: cache.path().to_owned(), ..HubSettings::default() };
        assert_eq!(hub.snapshot("a/b", "main"), None);
        let folder = cache.path().join("models--a--b");
        std::fs::create_dir_all(folder.join("refs")).unwrap();
        std::fs::create_dir_all(folder.join("snapshots/abc")).unwrap();
        std::fs::write(folder.join("refs/main"), "abc\n").unwrap();
        assert_eq!(hub.snapshot("a/b", "main"), Some(folder.join("snapshots/abc")));
        assert_eq!(hub.snapshot("a/b", "abc"), Some(folder.join("snapshots/abc")));
    }
}
