//! Fetches published checkpoints from the model hub.
//!
//! What the hub has is asked through its own client; the bytes come over connections of ours, because a download has to
//! go on where it was broken off, by whatever: a kill, a cancel, a connection that was cut. Files come into a folder beside the
//! final one, which takes its place in one step when all of them are there and are what the hub told. So a folder of this name
//! is always complete, and one that is being read from is never changed.

mod error;
mod listing;
mod record;
mod staging;
mod transfer;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use reqwest::Client;
use reqwest::redirect::Policy;
use tokio::time::{interval, sleep};

pub(super) use error::FetchError;
pub use record::{DownloadRecord, FileRecord, sha256_of};

use listing::Listing;
use staging::{Staging, file_of, try_lock};
pub(super) use staging::{is_complete, mend};
use transfer::Transfer;

use super::locating::{LocateStep, Locating};
use crate::outgoing::client_builder;

/// Files that are fetched at a time.
const PARALLEL_FILES: usize = 4;
/// Longest that connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest pause within an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// How often is told how far it is.
const TELL_INTERVAL: Duration = Duration::from_millis(200);
/// How often is looked whether another process has ended its download.
const LOCK_INTERVAL: Duration = Duration::from_millis(300);

/// A published checkpoint that is to be fetched.
pub(super) struct Fetch<'a> {
    /// Name of its folder.
    pub name: &'a str,
    pub repository: &'a str,
    pub revision: &'a str,
    pub how: &'a Locating<'a>,
}

impl Fetch<'_> {
    /// Brings the folder of downloads to the hub's state, and leaves it as it is where that cannot be done.
    ///
    /// # Errors
    /// Why not. What was fetched so far is used the next time.
    pub fn run(&self) -> Result<(), FetchError> {
        if self.how.folders.hub.is_offline {
            return Err(FetchError::Offline);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| FetchError::Listing(error.to_string()))?;
        let result = runtime.block_on(async {
            tokio::select! {
                () = self.how.cancel.cancelled() => Err(FetchError::Cancelled),
                result = self.fetch() => result,
            }
        });
        // A name that is being looked up is waited for by nobody.
        runtime.shutdown_background();
        result
    }

    async fn fetch(&self) -> Result<(), FetchError> {
        let staging = Staging::new(&self.how.folders.downloads, self.name)?;
        let _lock = self.lock(&staging).await?;
        staging.recover()?;
        let is_wanted = staging.record().is_none_or(|record| record.is_of(self.revision));
        if !self.how.update && staging.is_complete() && is_wanted {
            // Another process was here first.
            return Ok(());
        }
        staging.refuse_others()?;
        (self.how.tell)(LocateStep::Searching);
        let http = client_builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .redirect(Policy::none())
            .build()
            .map_err(|error| FetchError::Listing(error::describe(&error)))?;
        let listing = Listing::ask(&self.how.folders.hub, &http, self.repository, self.revision).await?;
        let mut known = staging.record();
        if self.how.update {
            (self.how.tell)(LocateStep::Checking);
            known = staging.checked_record().await;
        }
        let is_same = |file| known.as_ref().is_some_and(|record| file_of(record, file).is_some());
        if staging.is_complete() && listing.files.iter().all(is_same) {
            tracing::info!(model = self.name, commit = listing.commit, "the hub has nothing newer");
            // The same files may be those of another revision.
            return staging.note(self.download(&listing, known.map(|record| record.files).unwrap_or_default()));
        }
        staging.prepare(&listing, known.as_ref())?;
        let record = self.fetch_files(&staging, (&http, &listing), known.as_ref()).await?;
        staging.take_over(&record)
    }

    /// Only one process fetches a model at a time.
    async fn lock(&self, staging: &Staging) -> Result<std::fs::File, FetchError> {
        loop {
            if let Some(lock) = try_lock(&staging.lock_file())? {
                return Ok(lock);
            }
            (self.how.tell)(LocateStep::Waiting);
            sleep(LOCK_INTERVAL).await;
        }
    }

    async fn fetch_files(
        &self,
        staging: &Staging,
        (http, listing): (&Client, &Listing),
        known: Option<&DownloadRecord>,
    ) -> Result<DownloadRecord, FetchError> {
        let (done, total_bytes) = (AtomicU64::new(0), listing.bytes());
        let hub = &self.how.folders.hub;
        let transfers = listing.files.iter().map(|remote| {
            let url = format!("{}/{}/resolve/{}/{}", hub.endpoint, self.repository, listing.commit, remote.name);
            let transfer = Transfer { http, hub, url, remote, part: staging.part(remote), done_bytes: &done };
            async move { Ok::<_, FetchError>((remote.name.clone(), staging.reuse_or(transfer, known).await?)) }
        });
        let files = stream::iter(transfers).buffer_unordered(PARALLEL_FILES).try_collect();
        let telling = async {
            let mut ticks = interval(TELL_INTERVAL);
            let mut done_bytes = 0;
            while done_bytes < total_bytes {
                ticks.tick().await;
                done_bytes = done.load(Ordering::Relaxed).min(total_bytes);
                (self.how.tell)(LocateStep::Downloading { done_bytes, total_bytes });
            }
            // All is here, and is being hashed.
            (self.how.tell)(LocateStep::Checking);
        };
        tokio::pin!(files, telling);
        let mut is_told = false;
        let files = loop {
            tokio::select! {
                files = &mut files => break files?,
                () = &mut telling, if !is_told => is_told = true,
            }
        };
        if !is_told {
            (self.how.tell)(LocateStep::Downloading { done_bytes: total_bytes, total_bytes });
        }
        Ok(self.download(listing, files))
    }

    fn download(&self, listing: &Listing, files: BTreeMap<String, FileRecord>) -> DownloadRecord {
        DownloadRecord {
            repository: self.repository.to_owned(),
            revision: Some(self.revision.to_owned()),
            commit: listing.commit.clone(),
            files,
        }
    }
}
