//! Inference requests that clients start, poll and clear.
//!
//! A request's work is a task of its own; clients see it through its entry here. An entry that nobody asks for any more is
//! removed: a minute after it was cleared, or an hour after its last change.

mod request;
mod status;

pub use request::{InferenceRequest, RunStage};
pub use status::{Exception, Progress, RequestStatus};

use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use uuid::Uuid;

use super::SessionError;
use crate::engine::EngineError;

/// How often old entries are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);
/// Requests that may be under way.
const MAX_UNFINISHED: usize = 256;
/// Requests that may be kept, finished ones included.
const MAX_ENTRIES: usize = 4096;

/// How long entries are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueSettings {
    /// After the last change.
    pub lifetime: Duration,
    /// After it was cleared.
    pub cleared_lifetime: Duration,
    /// Results that may wait to be taken before a run pauses.
    pub max_pending: usize,
    /// How long a run may pause.
    pub max_pause: Duration,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            lifetime: Duration::from_secs(60 * 60),
            cleared_lifetime: Duration::from_secs(60),
            max_pending: 500,
            max_pause: Duration::from_secs(60 * 60),
        }
    }
}

/// The requests, by id.
#[derive(Debug, Default)]
pub struct Queue {
    settings: QueueSettings,
    entries: Arc<Mutex<Entries>>,
}

#[derive(Debug, Default)]
struct Entries {
    by_id: HashMap<String, Arc<InferenceRequest>>,
    is_swept: bool,
}

impl Queue {
    /// An empty queue.
    pub fn new(settings: QueueSettings) -> Self {
        Self { settings, entries: Arc::default() }
    }

    /// A request that is not in the queue: its caller waits for it and nobody polls.
    pub(super) fn unlisted(&self) -> Arc<InferenceRequest> {
        Arc::new(InferenceRequest::new(new_id(), QueueSettings { max_pending: usize::MAX, ..self.settings }))
    }

    /// Starts a request and gives its id. The work says itself how far it is; how it ended is noted here.
    ///
    /// # Errors
    /// Too many are under way.
    pub(super) fn start<F>(
        &self,
        work: impl FnOnce(Arc<InferenceRequest>) -> F + Send + 'static,
    ) -> Result<String, SessionError>
    where
        F: Future<Output = Result<(), SessionError>> + Send + 'static,
    {
        self.start_entry(work, true)
    }

    /// Starts a request whose id nobody is told: it leaves when it has ended.
    ///
    /// # Errors
    /// As of [`Self::start`].
    pub(super) fn start_unseen<F>(
        &self,
        work: impl FnOnce(Arc<InferenceRequest>) -> F + Send + 'static,
    ) -> Result<(), SessionError>
    where
        F: Future<Output = Result<(), SessionError>> + Send + 'static,
    {
        self.start_entry(work, false).map(drop)
    }

    fn start_entry<F>(
        &self,
        work: impl FnOnce(Arc<InferenceRequest>) -> F + Send + 'static,
        is_seen: bool,
    ) -> Result<String, SessionError>
    where
        F: Future<Output = Result<(), SessionError>> + Send + 'static,
    {
        let id = new_id();
        let request = Arc::new(InferenceRequest::new(id.clone(), self.settings));
        {
            let mut entries = self.lock();
            let unfinished = entries.by_id.values().filter(|request| !request.is_finished()).count();
            if unfinished >= MAX_UNFINISHED {
                return Err(EngineError::Overloaded.into());
            }
            if entries.by_id.len() >= MAX_ENTRIES {
                entries.forget_oldest();
            }
            entries.by_id.insert(id.clone(), Arc::clone(&request));
            if !std::mem::replace(&mut entries.is_swept, true) {
                tokio::spawn(sweep(Arc::downgrade(&self.entries), self.settings));
            }
        }
        let entries = Arc::downgrade(&self.entries);
        tokio::spawn(async move {
            let work = work(Arc::clone(&request));
            // A fault of ours in one run must not look like a run that goes on for ever.
            let result = AssertUnwindSafe(work).catch_unwind().await;
            request.end(result.unwrap_or_else(|_| Err(SessionError::Internal("the run broke off".to_owned()))));
            if let Some(entries) = entries.upgrade().filter(|_| !is_seen) {
                lock(&entries).by_id.remove(request.id());
            }
        });
        Ok(id)
    }

    /// The request of this id.
    ///
    /// # Errors
    /// There is none.
    pub fn get(&self, id: &str) -> Result<Arc<InferenceRequest>, SessionError> {
        self.find(id).ok_or_else(|| SessionError::UnknownRequest { id: id.chars().take(MAX_SHOWN_ID_CHARS).collect() })
    }

    /// Stops the request of this id and forgets it soon. An unknown one is as good as forgotten.
    pub fn clear(&self, id: &str) {
        if let Some(request) = self.find(id) {
            request.clear();
        }
    }

    /// Progress of all running requests together: done, and in all; `None` if none runs.
    pub fn running(&self) -> Option<(u64, u64)> {
        let entries = self.lock();
        let running = entries.by_id.values().filter_map(|request| request.running());
        running.reduce(|(done, total), (more_done, more)| (done + more_done, total + more))
    }

    /// Requests that run.
    pub fn running_count(&self) -> usize {
        self.lock().by_id.values().filter(|request| request.running().is_some()).count()
    }

    /// Stops every request, because the server ends.
    pub fn stop_all(&self) {
        self.lock().by_id.values().for_each(|request| request.stop());
    }

    /// Clients may write the id with or without dashes.
    fn find(&self, id: &str) -> Option<Arc<InferenceRequest>> {
        self.lock().by_id.get(&id.replace('-', "")).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        lock(&self.entries)
    }
}

impl Entries {
    /// Of those that have ended, the one that changed longest ago.
    fn forget_oldest(&mut self) {
        let ended = self.by_id.values().filter(|request| request.is_finished());
        if let Some(id) = ended.min_by_key(|request| request.changed()).map(|request| request.id().to_owned()) {
            self.by_id.remove(&id);
        }
    }
}

/// Most characters of an unknown id that are shown.
const MAX_SHOWN_ID_CHARS: usize = 64;

fn new_id() -> String {
    Uuid::new_v4().simple().to_string()
}

fn lock(entries: &Mutex<Entries>) -> MutexGuard<'_, Entries> {
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes old entries for as long as there is a queue.
async fn sweep(entries: Weak<Mutex<Entries>>, settings: QueueSettings) {
    loop {
        tokio::time::sleep(SWEEP_INTERVAL.min(settings.cleared_lifetime)).await;
        let Some(entries) = entries.upgrade() else { return };
        lock(&entries).by_id.retain(|_, request| !request.is_expired(settings));
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
