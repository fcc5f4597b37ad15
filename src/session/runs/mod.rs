//! Runs: inference requests about many pictures.

mod files;
mod ids;
mod pipeline;
mod project;
mod speed_test;
mod tracking;
mod video;

pub(super) use pipeline::{Content, Course, Input, Predicted, Sink};
pub use video::VideoAnswer;

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::inquiry::Inquiry;
use super::queue::{InferenceRequest, RunStage};
use super::{Session, SessionError};
use crate::supervisely::InferenceState;

/// Bytes of files that all runs together hold ahead of the model.
const AHEAD_BYTES: u64 = 256 << 20;
/// They are counted in units of this size.
const UNIT_BYTES: u64 = 4 << 10;
/// Room that a file takes whose size is not known.
const UNKNOWN_FILE_BYTES: u64 = 4 << 20;
/// Files of a run that are fetched at a time.
const DOWNLOADS: usize = 16;

/// Room for files that were fetched and not decoded yet.
#[derive(Debug, Clone)]
pub(super) struct FileRoom {
    units: Arc<Semaphore>,
}

impl FileRoom {
    pub(super) fn new() -> Self {
        Self { units: Arc::new(Semaphore::new((AHEAD_BYTES / UNIT_BYTES) as usize)) }
    }

    /// Waits for room for a file of this size; a larger one than all of it waits until it is alone. None once the server goes
    /// down.
    async fn take(&self, bytes: Option<u64>) -> Option<OwnedSemaphorePermit> {
        let bytes = bytes.unwrap_or(UNKNOWN_FILE_BYTES).clamp(1, AHEAD_BYTES);
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).ok()?;
        Arc::clone(&self.units).acquire_many_owned(units).await.ok()
    }
}

/// Results wait in the request until they are taken.
struct Answers {
    request: Arc<InferenceRequest>,
}

impl Sink for Answers {
    async fn deliver(&mut self, predicted: Vec<Predicted>) -> Result<(), SessionError> {
        for one in predicted {
            self.request.wait_for_room().await?;
            self.request.push(&one.into_prediction())?;
        }
        Ok(())
    }
}

impl Session {
    /// The course of a run with these arguments.
    fn course(&self, state: &InferenceState, request: &InferenceRequest) -> Result<Course, SessionError> {
        Ok(Course {
            inquiry: Arc::new(self.inquiry(&state.settings)?),
            run: self.engine.places().open_run(),
            width: state.batch_size.min(self.engine.places().share_of_run()),
            stop: request.stopped().clone(),
            is_tracked: false,
        })
    }

    /// Does the preparing part of a run, unless the run is stopped first; then nothing is to be done.
    async fn prepare<T>(
        request: &InferenceRequest,
        work: impl Future<Output = Result<T, SessionError>>,
    ) -> Result<Option<T>, SessionError> {
        request.stopped().run_until_cancelled(work).await.transpose()
    }

    /// What is wrong with the settings is wrong with the request, and told at once.
    fn check_inquiry(&self, state: &InferenceState) -> Result<Arc<Inquiry>, SessionError> {
        self.inquiry(&state.settings).map(Arc::new)
    }

    /// From here on pictures are predicted.
    fn begin_running(request: &InferenceRequest, total: usize) {
        request.begin(RunStage::Running, total as u64);
    }
}
