//! What the hub has of a repository, of which only what is loaded is of interest.

use std::time::Duration;

use hf_hub::repository::RepoTreeEntry;
use hf_hub::{HFClient, HFError};
use reqwest::{Client, StatusCode};
use tokio::time::sleep;

use super::error::FetchError;
use super::transfer::MAX_PAUSE;
use crate::florence::{PICKLE_FILE, SAFETENSORS_FILE, TOKENIZER_FILE, config};
use crate::models::folders::HubSettings;

/// Files that every checkpoint needs; the weights come on top, from whichever file there is.
pub(super) const FILES: [&str; 3] = [config::CONFIG_FILE, config::PREPROCESSOR_FILE, TOKENIZER_FILE];

/// How often the hub is asked a question.
const MAX_TRIES: u32 = 5;
/// Pause after the first time, unless the hub names one; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

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
    /// SHA-1 of a small file as git counts it.
    pub git_sha1: Option<String>,
}

impl Listing {
    /// Asks the hub.
    pub async fn ask(hub: &HubSettings, http: &Client, repository: &str, revision: &str) -> Result<Self, FetchError> {
        let no_name = || FetchError::Listing(format!("{repository} is no repository"));
        let (owner, name) = repository.split_once('/').ok_or_else(no_name)?;
        // Its own tries do not wait for as long as the hub asks for; those below do.
        let mut client = HFClient::builder().endpoint(&hub.endpoint).client(http.clone()).retry_max_attempts(0);
        if let Some(token) = &hub.token {
            client = client.token(token);
        }
        let model = client.build()?.model(owner, name);
        let commit = patiently(async || model.info().revision(revision).send().await).await?.sha;
        let commit = commit.ok_or_else(|| FetchError::Listing(format!("the hub tells no state of {repository}")))?;
        let wanted: Vec<String> =
            FILES.iter().chain(&[SAFETENSORS_FILE, PICKLE_FILE]).map(|file| (*file).to_owned()).collect();
        let ask = async || model.get_paths_info().paths(wanted.clone()).revision(commit.clone()).send().await;
        let entries = patiently(ask).await?;
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
            // Of a large file git has a pointer alone.
            let git_sha1 = (lfs.is_none() && is_sha1(&oid)).then(|| oid.to_ascii_lowercase());
            let sha256 = lfs.and_then(|lfs| lfs.sha256);
            Some(RemoteFile { name: path, size, oid: sha256.clone().unwrap_or(oid), sha256, git_sha1 })
        }
        RepoTreeEntry::Directory { .. } => None,
    }
}

fn is_sha1(oid: &str) -> bool {
    oid.len() == 40 && oid.chars().all(|digit| digit.is_ascii_hexdigit())
}

/// Asks until there is an answer: a hub that wants patience says for how long.
async fn patiently<T>(ask: impl AsyncFn() -> Result<T, HFError>) -> Result<T, FetchError> {
    let mut tries = 1;
    loop {
        let error = match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if tries == MAX_TRIES || !is_worth_another_try(&error) {
            return Err(error.into());
        }
        let told = match &error {
            HFError::RateLimited { retry_after, .. } => retry_after.map(|pause| pause.min(MAX_PAUSE)),
            _ => None,
        };
        let pause = told.unwrap_or(FIRST_PAUSE * 2_u32.pow(tries - 1));
        tracing::warn!(%error, pause_ms = pause.as_millis(), "the hub is asked again");
        sleep(pause).await;
        tries += 1;
    }
}

fn is_worth_another_try(error: &HFError) -> bool {
    match error {
        HFError::RateLimited { .. } => true,
        HFError::Http { context } => context.status.is_server_error() || context.status == StatusCode::REQUEST_TIMEOUT,
        // A connection that was not made, or broke.
        HFError::Request { source, .. } => source.is_timeout() || source.is_connect() || source.is_request(),
        _ => false,
    }
}
