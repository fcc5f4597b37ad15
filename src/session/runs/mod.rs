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
        self.take_all(&[bytes]).await.pop().flatten()
    }

    /// Waits for room for several files, and takes it in one go: whoever held some of it while it waits for more could wait for
    /// somebody who does the same.
    async fn take_all(&self, sizes: &[Option<u64>]) -> Vec<Option<OwnedSemaphorePermit>> {
        let units: Vec<usize> = sizes.iter().map(|size| units_of(size.unwrap_or(UNKNOWN_FILE_BYTES))).collect();
        let all = units.iter().sum::<usize>().min(units_of(AHEAD_BYTES));
        let mut room = match u32::try_from(all) {
            Ok(all) => Arc::clone(&self.units).acquire_many_owned(all).await.ok(),
            Err(_) => None,
        };
        let shares = units.into_iter().map(|units| {
            let left = room.as_mut()?;
            left.split(units.min(left.num_permits()))
        });
        shares.collect()
    }
}

/// A file of nothing takes some room as well.
fn units_of(bytes: u64) -> usize {
    bytes.clamp(1, AHEAD_BYTES).div_ceil(UNIT_BYTES) as usize
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn room_is_taken_in_one_go_and_given_back_piece_by_piece() {
        let room = FileRoom::new();
        let total = room.units.available_permits();
        let mut shares = room.take_all(&[Some(1), None, Some(10 * UNIT_BYTES)]).await;
        assert_eq!(total - room.units.available_permits(), 1 + units_of(UNKNOWN_FILE_BYTES) + 10);
        drop(shares.pop());
        assert_eq!(total - room.units.available_permits(), 1 + units_of(UNKNOWN_FILE_BYTES));
        drop(shares);
        let all = room.take_all(&[Some(AHEAD_BYTES), Some(AHEAD_BYTES), Some(u64::MAX)]).await;
        assert_eq!((all.len(), room.units.available_permits()), (3, 0), "no more than there is");
        drop(all);
        assert_eq!(room.units.available_permits(), total);
    }
}
