//! A request while a replica works on it.

use candle_core::Tensor;

use crate::engine::EngineError;
use crate::engine::board::{Job, Prepared, Written};
use crate::engine::policy::Kind;
use crate::engine::request::Stage;
use crate::florence::Decoding;
use crate::florence::generation::Hypothesis;

/// A request whose picture is encoded.
pub struct Task {
    /// The replica's own number for it.
    pub id: u64,
    /// When its next prompt is to be begun, before those of greater numbers.
    pub turn: u64,
    /// Whom it belongs to.
    pub kind: Kind,
    /// Features `[1, positions, d_model]` of its picture.
    pub features: Tensor,
    /// For each prompt, its ids.
    pub prompts: Vec<Vec<u32>>,
    /// Prompts whose answers were begun.
    pub begun: usize,
    /// The best answer to each prompt, once it is written.
    found: Vec<Option<Hypothesis>>,
    job: Job,
}

/// An answer that is being written.
pub struct Answer {
    /// The request it belongs to.
    pub task: u64,
    /// Whom that belongs to.
    pub kind: Kind,
    /// Which of its prompts is answered.
    pub prompt: usize,
    /// The answer.
    pub decoding: Decoding,
}

impl Task {
    /// The task of a prepared request with the features of its picture.
    pub fn new(id: u64, turn: u64, prepared: Prepared, features: Tensor) -> Self {
        let Prepared { job, kind, prompts, .. } = prepared;
        job.stage.set(Stage::Writing);
        Self { id, turn, kind, features, begun: 0, found: prompts.iter().map(|_| None).collect(), prompts, job }
    }

    /// Whether somebody waits for it.
    pub fn is_wanted(&self) -> bool {
        self.job.is_wanted()
    }

    /// The request.
    pub const fn job(&self) -> &Job {
        &self.job
    }

    /// Answers that are being written.
    pub fn writing(&self) -> usize {
        self.begun - self.found.iter().flatten().count()
    }

    /// Prompts that may be begun, if no more than `share` answers are to be written at a time.
    pub fn open(&self, share: usize) -> usize {
        (self.prompts.len() - self.begun).min(share.saturating_sub(self.writing()))
    }

    /// Takes note of a written answer; `true` when it was the last.
    pub fn take(&mut self, prompt: usize, found: Hypothesis) -> bool {
        if let Some(slot) = self.found.get_mut(prompt) {
            *slot = Some(found);
        }
        self.found.iter().all(Option::is_some)
    }

    /// The request with all of its answers.
    pub fn into_written(self) -> Written {
        Written { job: self.job, found: self.found.into_iter().flatten().collect() }
    }

    /// Ends the request with an error.
    pub fn fail(self, error: EngineError) {
        self.job.end(Err(error));
    }
}
