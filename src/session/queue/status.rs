//! What clients are shown of a request. The fields and their doubles are the original's.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::request::RunStage;
use crate::session::SessionError;

/// How far a request is.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestStatus {
    /// Its id.
    pub uuid: String,
    /// Where it is.
    pub stage: RunStage,
    /// How much is done.
    pub progress: Progress,
    /// Results that wait to be taken.
    pub pending_results: usize,
    /// Why it failed.
    pub exception: Option<Exception>,
    /// Whether somebody stopped it.
    pub is_stopped: bool,
    /// Whether it waits for results to be taken.
    pub is_paused: bool,
    /// Whether it has ended in any way.
    pub is_finished: bool,
    /// When it was made, in seconds of a clock that only runs forward.
    pub created_at: f64,
    /// When it last changed.
    pub updated_at: f64,
    /// Whether there is a final result.
    pub has_final_result: bool,
}

/// How much of a stage is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Progress {
    status: RunStage,
    /// Done.
    pub current: u64,
    /// In all.
    pub total: u64,
    is_size: bool,
}

impl Progress {
    pub(super) const fn new(status: RunStage, current: u64, total: u64) -> Self {
        Self { status, current, total, is_size: false }
    }
}

/// Why a request failed, in the form of the original's language, which clients show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exception {
    #[serde(rename = "type")]
    kind: &'static str,
    message: String,
    traceback: String,
}

impl Exception {
    /// The error as clients know such errors.
    pub fn of(error: &SessionError) -> Self {
        let message = error.to_string();
        match error {
            // Python shows the key of this one in quotes.
            SessionError::UnknownImage { .. } => Self::new("KeyError", format!("{message:?}")),
            error if error.is_callers_fault() => Self::new("ValueError", message),
            _ => Self::new("RuntimeError", message),
        }
    }

    /// What happened, without the quotes around some.
    pub fn message(&self) -> &str {
        self.message.trim_matches('"')
    }

    fn new(kind: &'static str, message: String) -> Self {
        // Nothing about the inside of the server: the log has it.
        Self { traceback: format!("{kind}: {message}"), kind, message }
    }
}

impl RequestStatus {
    /// The answer to a question for progress. Outside the running stage it shows none, by which clients know that the
    /// run has not begun.
    pub fn progress_json(&self) -> Map<String, Value> {
        let progress = match self.stage {
            RunStage::Running => json!(self.progress),
            _ => json!({"current": 0, "total": 1}),
        };
        self.to_json(progress, json!(self.pending_results))
    }

    /// The answer that hands over results.
    pub fn results_json(&self, results: Value) -> Map<String, Value> {
        self.to_json(json!(self.progress), results)
    }

    /// The answer to a question for the status alone.
    pub fn status_json(&self) -> Map<String, Value> {
        let mut status = self.progress_json();
        ["pending_results", "final_result", "created_at", "updated_at"].iter().for_each(|key| {
            status.remove(*key);
        });
        let mut progress = json!({ "message": self.stage });
        if let (Some(progress), Value::Object(fields)) = (progress.as_object_mut(), json!(self.progress)) {
            progress.extend(fields);
        }
        status.insert("progress".to_owned(), progress);
        status
    }

    fn to_json(&self, progress: Value, pending_results: Value) -> Map<String, Value> {
        let is_inferring = self.stage == RunStage::Running;
        let status = json!({
            "uuid": self.uuid, "stage": self.stage, "progress": progress, "pending_results": pending_results,
            "final_result": self.has_final_result, "exception": self.exception, "is_inferring": is_inferring,
            "stopped": self.is_stopped, "paused": self.is_paused, "finished": self.is_finished,
            "created_at": self.created_at, "updated_at": self.updated_at, "cancel_inference": self.is_stopped,
            "has_result": self.has_final_result, "preparing_progress": self.progress, "result": self.has_final_result,
        });
        match status {
            Value::Object(status) => status,
            _ => Map::new(),
        }
    }
}
