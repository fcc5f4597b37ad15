//! What the hub has of a repository, of which only what is loaded is of interest.

use hf_hub::HFClient;
use hf_hub::repository::RepoTreeEntry;
use reqwest::Client;

use super::error::FetchError;
use crate::florence::{PICKLE_FILE, SAFETENSORS_FILE, TOKENIZER_FILE, config};
use crate::models::folders::HubSettings;

/// Files that every checkpoint needs; the weights come on top, from whichever file there is.
pub(super) const FILES: [&str; 3] = [config::CONFIG_FILE, config::PREPROCESSOR_FILE, TOKENIZER_FILE];

/// A state of a repository.
#[derive(Debug, Clone)]
pub(super) struct Listing {
    pub commit: String,
    pub files: Vec<RemoteFile>,
}

/// A file on the hub.
#[derive(Debug, Clone)]
pub(super) struct RemoteFile {
    pub name: String,
    pub size: u64,
    /// The hub's id of the content.
    pub oid: String,
    /// SHA-256, where the list tells it; the headers of the file itself may do so as well.
    pub sha256: Option<String>,
}

impl Listing {
    /// Asks the hub.
    pub async fn ask(hub: &HubSettings, http: &Client, repository: &str, revision: &str) -> Result<Self, FetchError> {
        let no_name = || FetchError::Listing(format!("{repository} is no repository"));
        let (owner, name) = repository.split_once('/').ok_or_else(no_name)?;
        let mut client = HFClient::builder().endpoint(&hub.endpoint).client(http.clone());
        if let Some(token) = &hub.token {
            client = client.token(token);
        }
        let model = client.build()?.model(owner, name);
        let commit = model.info().revision(revision).send().await?.sha;
        let commit = commit.ok_or_else(|| FetchError::Listing(format!("the hub tells no state of {repository}")))?;
        let wanted: Vec<String> =
            FILES.iter().chain(&[SAFETENSORS_FILE, PICKLE_FILE]).map(|file| (*file).to_owned()).collect();
        let entries = model.get_paths_info().paths(wanted.clone()).revision(commit.clone()).send().await?;
        let mut files: Vec<RemoteFile> = entries.into_iter().filter_map(as_file).collect();
        // Names become files here, so no others are taken from an answer.
        files.retain(|file| wanted.contains(&file.name));
        let has = |files: &[RemoteFile], name: &str| files.iter().any(|file| file.name == name);
        if has(&files, SAFETENSORS_FILE) {
            files.retain(|file| file.name != PICKLE_FILE);
        } else if !has(&files, PICKLE_FILE) {
            let wanted = format!("{SAFETENSORS_FILE} or {PICKLE_FILE}");
            return Err(FetchError::Incomplete { repository: repository.to_owned(), wanted });
        }
        match FILES.into_iter().find(|name| !has(&files, name)) {
            Some(wanted) => {
                Err(FetchError::Incomplete { repository: repository.to_owned(), wanted: wanted.to_owned() })
            }
            None => Ok(Self { commit, files }),
        }
    }

    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

fn as_file(entry: RepoTreeEntry) -> Option<RemoteFile> {
    match entry {
        RepoTreeEntry::File { oid, size, path, lfs, .. } => {
            let sha256 = lfs.and_then(|lfs| lfs.sha256);
            Some(RemoteFile { name: path, size, oid: sha256.clone().unwrap_or(oid), sha256 })
        }
        RepoTreeEntry::Directory { .. } => None,
    }
}
