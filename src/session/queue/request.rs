//! One inference request: how far it is, and its results until they are taken.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::QueueSettings;
use super::status::{Exception, Progress, RequestStatus};
use crate::session::SessionError;

/// Seconds in the status count from here.
static CLOCK_START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// How far a request is, in the original's words, by which clients decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunStage {
    /// Its pictures are being looked up.
    Preparing,
    /// A speed test's batches that do not count.
    Warmup,
    /// Pictures are being predicted. Clients take results for as long as they see this.
    Running,
    /// Everything was done.
    Finished,
    /// It was stopped.
    Cancelled,
    /// It failed.
    Error,
}

impl RunStage {
    /// The original's words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Preparing => "Preparing model for inference...",
            Self::Warmup => "warmup",
            Self::Running => "Running inference...",
            Self::Finished => "Finished",
            Self::Cancelled => "Cancelled",
            Self::Error => "Error",
        }
    }
}

impl fmt::Display for RunStage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.words())
    }
}

impl Serialize for RunStage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.words())
    }
}

/// A request that clients poll.
#[derive(Debug)]
pub struct InferenceRequest {
    id: String,
    settings: QueueSettings,
    state: Mutex<State>,
    taken: Notify,
    stop: CancellationToken,
}

#[derive(Debug)]
struct State {
    stage: RunStage,
    current: u64,
    total: u64,
    pending: VecDeque<Box<RawValue>>,
    final_result: Option<Value>,
    exception: Option<Exception>,
    is_paused: bool,
    is_finished: bool,
    created: Instant,
    changed: Instant,
    cleared: Option<Instant>,
}

impl InferenceRequest {
    pub(super) fn new(id: String, settings: QueueSettings) -> Self {
        LazyLock::force(&CLOCK_START);
        let now = Instant::now();
        let state = State {
            stage: RunStage::Preparing,
            current: 0,
            total: 1,
            pending: VecDeque::new(),
            final_result: None,
            exception: None,
            is_paused: false,
            is_finished: false,
            created: now,
            changed: now,
            cleared: None,
        };
        Self { id, settings, state: Mutex::new(state), taken: Notify::new(), stop: CancellationToken::new() }
    }

    /// Its id: 32 hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Told when somebody stops it.
    pub fn stopped(&self) -> &CancellationToken {
        &self.stop
    }

    /// Stops it: what is done stays, what is not is left.
    pub fn stop(&self) {
        self.stop.cancel();
        self.change(|_| ());
    }

    pub(super) fn clear(&self) {
        self.stop();
        self.change(|state| state.cleared = Some(Instant::now()));
    }

    /// It comes to a stage in which so much is to be done.
    pub(in crate::session) fn begin(&self, stage: RunStage, total: u64) {
        self.change(|state| (state.stage, state.current, state.total) = (stage, 0, total));
    }

    /// So much more is done.
    pub(in crate::session) fn advance(&self, done: u64) {
        self.change(|state| state.current += done);
    }

    /// A result waits to be taken, and counts as done.
    pub(in crate::session) fn push(&self, result: &impl Serialize) -> Result<(), SessionError> {
        let result = to_raw_value(result).map_err(|error| SessionError::Internal(error.to_string()))?;
        self.change(|state| {
            state.pending.push_back(result);
            state.current += 1;
        });
        Ok(())
    }

    /// The result that is there once everything is done.
    pub(in crate::session) fn set_final_result(&self, result: Value) {
        self.change(|state| state.final_result = Some(result));
    }

    /// Waits while too many results wait to be taken.
    pub(in crate::session) async fn wait_for_room(&self) -> Result<(), SessionError> {
        loop {
            let taken = self.taken.notified();
            if self.lock().pending.len() < self.settings.max_pending {
                return Ok(());
            }
            self.change(|state| state.is_paused = true);
            let resumed = tokio::select! {
                resumed = timeout(self.settings.max_pause, taken) => resumed,
                () = self.stop.cancelled() => Ok(()),
            };
            self.change(|state| state.is_paused = false);
            resumed.map_err(|_| SessionError::LongPause)?;
            if self.stop.is_cancelled() {
                return Ok(());
            }
        }
    }

    /// Everything that waits, for the caller alone.
    pub fn take_results(&self) -> Vec<Box<RawValue>> {
        let results = std::mem::take(&mut self.lock().pending);
        self.taken.notify_waiters();
        results.into()
    }

    pub(super) fn end(&self, result: Result<(), SessionError>) {
        // A call to the platform that was given up because of the stop is no failure.
        let result = match result {
            Err(SessionError::Platform(_)) if self.stop.is_cancelled() => Ok(()),
            result => result,
        };
        let stage = match &result {
            Err(error) => {
                tracing::warn!(request = self.id, %error, "an inference request failed");
                RunStage::Error
            }
            Ok(()) if self.stop.is_cancelled() => RunStage::Cancelled,
            Ok(()) => RunStage::Finished,
        };
        self.change(|state| {
            state.exception = result.err().as_ref().map(Exception::of);
            state.stage = stage;
            state.is_finished = true;
        });
    }

    /// Whether its task has ended in any way.
    pub fn is_finished(&self) -> bool {
        self.lock().is_finished
    }

    /// The final result, null while there is none.
    pub fn final_result(&self) -> Value {
        self.lock().final_result.clone().unwrap_or_default()
    }

    /// Progress if it is predicting.
    pub(super) fn running(&self) -> Option<(u64, u64)> {
        let state = self.lock();
        let is_running = matches!(state.stage, RunStage::Running | RunStage::Warmup);
        is_running.then_some((state.current, state.total))
    }

    pub(super) fn changed(&self) -> Instant {
        self.lock().changed
    }

    pub(super) fn is_expired(&self, settings: QueueSettings) -> bool {
        let state = self.lock();
        match state.cleared {
            Some(cleared) => state.is_finished && cleared.elapsed() > settings.cleared_lifetime,
            None => state.is_finished && state.changed.elapsed() > settings.lifetime,
        }
    }

    /// How far it is. Asking counts as a change.
    pub fn status(&self) -> RequestStatus {
        self.change(|_| ());
        self.peek()
    }

    /// How far it is, without that anybody notices.
    pub fn peek(&self) -> RequestStatus {
        let state = self.lock();
        let seconds = |moment: Instant| moment.duration_since(*CLOCK_START).as_secs_f64();
        RequestStatus {
            uuid: self.id.clone(),
            stage: state.stage,
            progress: Progress::new(state.stage, state.current, state.total),
            pending_results: state.pending.len(),
            exception: state.exception.clone(),
            is_stopped: self.stop.is_cancelled(),
            is_paused: state.is_paused,
            is_finished: state.is_finished,
            created_at: seconds(state.created),
            updated_at: seconds(state.changed),
            has_final_result: state.final_result.is_some(),
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        state.changed = Instant::now();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
