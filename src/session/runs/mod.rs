//! Runs: inference requests about many pictures.

mod files;
mod ids;
mod pipeline;
mod project;
mod speed_test;
mod tracking;
mod video;

pub(super) use pipeline::{Content, Course, Input, Load, Predicted, Sink};
pub use video::VideoAnswer;

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::inquiry::Inquiry;
use super::queue::{InferenceRequest, RunStage};
use super::{Session, SessionError};
use crate::supervisely::InferenceState;

/// Bytes of files that one run holds ahead of the model.
const RUN_BYTES: u64 = 64 << 20;
/// Bytes that all runs together hold: even many that stand still leave room for others.
const ALL_RUNS_BYTES: u64 = 2 << 30;
/// They are counted in units of this size.
const UNIT_BYTES: u64 = 4 << 10;
/// Room that a file takes whose size is not known.
const UNKNOWN_FILE_BYTES: u64 = 4 << 20;

/// Room for files that were fetched and not decoded yet.
#[derive(Debug, Clone)]
pub(super) struct FileRoom {
    all: Arc<Semaphore>,
    run: Arc<Semaphore>,
}

/// Room that a file takes.
#[derive(Debug)]
pub(super) struct FileShare {
    _run: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl FileRoom {
    pub(super) fn new() -> Self {
        Self { all: Arc::new(Semaphore::new(units_of(ALL_RUNS_BYTES, ALL_RUNS_BYTES))), run: run_units() }
    }

    /// The room of another run.
    fn of_run(&self) -> Self {
        Self { all: Arc::clone(&self.all), run: run_units() }
    }

    /// Waits for room for a file of this size; a larger one than all of it waits until it is alone. None once the server goes
    /// down.
    async fn take(&self, bytes: Option<u64>) -> Option<FileShare> {
        self.take_all(&[bytes]).await.pop().flatten()
    }

    /// Waits for room for several files, and takes it in one go: whoever held some of it while it waits for more could wait for
    /// somebody who does the same.
    async fn take_all(&self, sizes: &[Option<u64>]) -> Vec<Option<FileShare>> {
        let units: Vec<usize> =
            sizes.iter().map(|size| units_of(size.unwrap_or(UNKNOWN_FILE_BYTES), RUN_BYTES)).collect();
        let sum = units.iter().sum::<usize>().min(units_of(RUN_BYTES, RUN_BYTES)) as u32;
        let mut run = Arc::clone(&self.run).acquire_many_owned(sum).await.ok();
        let mut all = Arc::clone(&self.all).acquire_many_owned(sum).await.ok();
        let mut share = |units: usize| {
            let (run, all) = (run.as_mut()?, all.as_mut()?);
            let units = units.min(run.num_permits());
            Some(FileShare { _run: run.split(units)?, _all: all.split(units)? })
        };
        units.into_iter().map(&mut share).collect()
    }
}

fn run_units() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(units_of(RUN_BYTES, RUN_BYTES)))
}

/// A file of nothing takes some room as well.
fn units_of(bytes: u64, most: u64) -> usize {
    bytes.clamp(1, most).div_ceil(UNIT_BYTES) as usize
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
        let room = FileRoom::new().of_run();
        let free = || (room.run.available_permits(), room.all.available_permits());
        let total = free();
        let taken = || (total.0 - free().0, total.1 - free().1);
        let mut shares = room.take_all(&[Some(1), None, Some(10 * UNIT_BYTES)]).await;
        let unknown = units_of(UNKNOWN_FILE_BYTES, RUN_BYTES);
        assert_eq!(taken(), (11 + unknown, 11 + unknown));
        drop(shares.pop());
        assert_eq!(taken(), (1 + unknown, 1 + unknown));
        drop(shares);
        let all = room.take_all(&[Some(RUN_BYTES), Some(RUN_BYTES), Some(u64::MAX)]).await;
        assert_eq!((all.len(), free().0), (3, 0), "no more than there is");
        let other = room.of_run();
        assert!(other.take(Some(RUN_BYTES)).await.is_some(), "another run has room of its own");
        drop(all);
        assert_eq!(free(), total);
    }
}
