//! One file from the hub to the disk: what is there already is not sent again, and what came is what the hub promised.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, LOCATION, RANGE, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url};
use tokio::time::sleep;

use super::error::{FetchError, describe};
use super::listing::RemoteFile;
use super::record::{FileRecord, git_sha1_of, sha256_of};
use crate::models::folders::HubSettings;

/// Tries without a byte more than the last one.
const MAX_TRIES: u32 = 6;
/// Pause after the first of them; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause that the hub may ask for.
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(120);
/// Other addresses that a file may be at.
const MAX_REDIRECTS: usize = 5;
/// Where the hub tells the SHA-256 of a large file, also in an answer that leads elsewhere.
const LINKED_ETAG: &str = "x-linked-etag";

/// A file that is being fetched.
pub(super) struct Transfer<'a> {
    pub http: &'a Client,
    pub hub: &'a HubSettings,
    pub url: String,
    pub remote: &'a RemoteFile,
    /// Where it gathers, and stays until the others are there as well.
    pub part: PathBuf,
    /// Bytes of all files that are here.
    pub done_bytes: &'a AtomicU64,
}

/// What became of a try.
enum Try {
    /// All bytes are here.
    Complete,
    /// The connection broke, or the hub asks for patience.
    Again { reason: String, pause: Option<Duration> },
    /// It is of no use to ask again.
    Never(String),
}

impl Transfer<'_> {
    /// Fetches what is not there, and checks the whole.
    pub async fn run(self) -> Result<FileRecord, FetchError> {
        let mut sha256 = self.remote.sha256.clone();
        let mut tries = 0;
        let mut counted = 0;
        loop {
            let before = self.bytes_here()?;
            // What an earlier run fetched counts as done.
            self.done_bytes.fetch_add(before.saturating_sub(counted), Ordering::Relaxed);
            counted = before.max(counted);
            let tried = if before == self.remote.size && before > 0 {
                Try::Complete
            } else {
                self.try_once(before, &mut sha256, &mut counted).await?
            };
            let (reason, pause) = match tried {
                Try::Complete => break,
                Try::Never(reason) => return Err(self.failed(reason)),
                Try::Again { reason, pause } => (reason, pause),
            };
            tries = if self.bytes_here()? > before { 1 } else { tries + 1 };
            if tries >= MAX_TRIES {
                return Err(self.failed(reason));
            }
            let pause = pause.unwrap_or(FIRST_PAUSE * 2_u32.pow(tries - 1));
            tracing::warn!(file = self.remote.name, reason, pause_ms = pause.as_millis(), "the hub is asked again");
            sleep(pause).await;
        }
        self.check(sha256).await
    }

    async fn try_once(&self, have: u64, sha256: &mut Option<String>, counted: &mut u64) -> Result<Try, FetchError> {
        let mut response = match self.ask(have, sha256).await {
            Ok(response) => response,
            Err(failed) => return Ok(failed),
        };
        let is_rest = response.status() == StatusCode::PARTIAL_CONTENT;
        let mut file = self.open(is_rest)?;
        let mut here = if is_rest { have } else { 0 };
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    file.write_all(&chunk).map_err(FetchError::disk(&self.part))?;
                    here += chunk.len() as u64;
                    self.done_bytes.fetch_add(here.saturating_sub(*counted), Ordering::Relaxed);
                    *counted = here.max(*counted);
                    if here > self.remote.size {
                        drop(file);
                        self.forget()?;
                        return Ok(Try::Never(format!(
                            "the hub sends more than the {} bytes it told",
                            self.remote.size
                        )));
                    }
                }
                Ok(None) if here == self.remote.size => {
                    file.sync_all().map_err(FetchError::disk(&self.part))?;
                    return Ok(Try::Complete);
                }
                Ok(None) => {
                    return Ok(Try::Again { reason: "the hub ended the file early".to_owned(), pause: None });
                }
                Err(error) => return Ok(Try::Again { reason: describe(&error.without_url()), pause: None }),
            }
        }
    }

    /// The answer that holds the bytes from `have` on, or all of them.
    async fn ask(&self, have: u64, sha256: &mut Option<String>) -> Result<Response, Try> {
        let never = |reason: &dyn std::fmt::Display| Try::Never(reason.to_string());
        let mut url = Url::parse(&self.url).map_err(|error| never(&error))?;
        let home = url.origin();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.http.get(url.clone());
            if let Some(token) = self.hub.token.as_ref().filter(|_| url.origin() == home) {
                // For the hub alone, and not for wherever it sends us.
                request = request.header(AUTHORIZATION, format!("Bearer {token}"));
            }
            if have > 0 {
                request = request.header(RANGE, format!("bytes={have}-"));
            }
            let response = match request.send().await {
                Ok(response) => response,
                Err(error) => return Err(Try::Again { reason: describe(&error.without_url()), pause: None }),
            };
            *sha256 = sha256.take().or_else(|| told_sha256(response.headers()));
            let status = response.status();
            match status {
                StatusCode::OK | StatusCode::PARTIAL_CONTENT => return Ok(response),
                StatusCode::RANGE_NOT_SATISFIABLE => {
                    self.forget().map_err(|error| never(&error))?;
                    return Err(Try::Again { reason: "the hub has no such part".to_owned(), pause: None });
                }
                status if status.is_redirection() => {
                    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
                    let location = location.ok_or_else(|| never(&"the hub leads nowhere"))?;
                    url = url.join(location).map_err(|error| never(&error))?;
                }
                StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => return Err(again(&response)),
                status if status.is_server_error() => return Err(again(&response)),
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    return Err(never(&format!(
                        "the hub answers {status}: HF_TOKEN is missing, or has no right to it"
                    )));
                }
                status => return Err(never(&format!("the hub answers {status}"))),
            }
        }
        Err(never(&"the hub leads from address to address"))
    }

    /// Compares the whole file with what the hub told about it.
    async fn check(&self, wanted: Option<String>) -> Result<FileRecord, FetchError> {
        let (file, is_small) = (self.part.clone(), self.remote.git_sha1.is_some());
        let hash = move || -> std::io::Result<_> {
            let git_sha1 = if is_small { Some(git_sha1_of(&file)?) } else { None };
            Ok((sha256_of(&file)?, git_sha1))
        };
        let hashed = tokio::task::spawn_blocking(hash).await;
        let (sha256, git_sha1) =
            hashed.map_err(|error| self.failed(error.to_string()))?.map_err(FetchError::disk(&self.part))?;
        self.compare("SHA-256", Some(&sha256), wanted.as_ref())?;
        self.compare("git SHA-1", git_sha1.as_ref(), self.remote.git_sha1.as_ref())?;
        Ok(FileRecord { size: self.remote.size, oid: self.remote.oid.clone(), sha256 })
    }

    /// Throws the file away if both hashes are known and differ.
    fn compare(&self, kind: &'static str, got: Option<&String>, wanted: Option<&String>) -> Result<(), FetchError> {
        match got.zip(wanted) {
            Some((got, wanted)) if got != wanted => {
                self.forget()?;
                let (file, got, wanted) = (self.remote.name.clone(), got.clone(), wanted.clone());
                Err(FetchError::Hash { file, kind, got, wanted })
            }
            _ => Ok(()),
        }
    }

    fn bytes_here(&self) -> Result<u64, FetchError> {
        match std::fs::metadata(&self.part) {
            Ok(metadata) if metadata.len() <= self.remote.size => Ok(metadata.len()),
            // No part of this file is longer than it.
            Ok(_) => self.forget().map(|()| 0),
            Err(_) => Ok(0),
        }
    }

    fn open(&self, is_rest: bool) -> Result<File, FetchError> {
        let mut options = OpenOptions::new();
        options.create(true).write(true);
        if is_rest {
            options.append(true)
        } else {
            options.truncate(true)
        };
        options.open(&self.part).map_err(FetchError::disk(&self.part))
    }

    fn forget(&self) -> Result<(), FetchError> {
        match std::fs::remove_file(&self.part) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(FetchError::disk(&self.part)(error)),
            _ => Ok(()),
        }
    }

    fn failed(&self, reason: String) -> FetchError {
        FetchError::Transfer { file: self.remote.name.clone(), reason }
    }
}

/// Where the beginning of a file lies. Its content's id is in the name: a part of another state is no part of this one.
pub(super) fn part_of(target: &Path, oid: &str) -> PathBuf {
    let oid: String = oid.chars().filter(char::is_ascii_alphanumeric).take(16).collect();
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!("{name}.{oid}.part"))
}

fn told_sha256(headers: &HeaderMap) -> Option<String> {
    let etag = headers.get(LINKED_ETAG)?.to_str().ok()?.trim_start_matches("W/").trim_matches('"').to_ascii_lowercase();
    (etag.len() == 64 && etag.chars().all(|digit| digit.is_ascii_hexdigit())).then_some(etag)
}

fn again(response: &Response) -> Try {
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok());
    let pause = seconds.map(|seconds| Duration::from_secs(seconds).min(MAX_PAUSE));
    Try::Again { reason: format!("the hub answers {}", response.status()), pause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_told_from_other_tags() {
        let told =
            |value: &str| told_sha256(&HeaderMap::from_iter([(LINKED_ETAG.parse().unwrap(), value.parse().unwrap())]));
        let hash = "ab".repeat(32);
        assert_eq!(told(&format!("\"{hash}\"")), Some(hash.clone()));
        assert_eq!(told(&format!("W/\"{}\"", hash.to_uppercase())), Some(hash));
        assert_eq!(told("\"0123456789abcdef0123456789abcdef01234567\""), None);
    }

    #[test]
    fn parts_of_different_states_are_apart() {
        let target = Path::new("/x/model.safetensors");
        assert_eq!(part_of(target, "abc/../d"), Path::new("/x/model.safetensors.abcd.part"));
        assert_ne!(part_of(target, "a"), part_of(target, "b"));
    }
}
