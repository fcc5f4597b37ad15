//! The threads around the devices: they resize pictures, turn prompts into ids, and read what was written, so that a device's
//! own thread does nothing but compute.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use candle_core::Tensor;

use super::board::{Board, Errand, Job, Prepared, Written};
use super::faults::{Faults, Point};
use super::features::FeatureCache;
use super::heart::{Heart, OnLost};
use super::policy::Kind;
use super::request::Stage;
use super::stats::Counters;
use super::{EngineError, Reply};
use crate::florence::answer::PictureSize;
use crate::florence::image::Digest;
use crate::florence::{FlorenceError, Processor};

/// How long an assistant sleeps before it looks up by itself.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the assistants of a running model share.
#[derive(Clone)]
pub(super) struct Assistant {
    pub board: Arc<Board>,
    pub processor: Arc<Processor>,
    /// Whether the devices normalise pictures themselves.
    pub gives_bytes: bool,
    /// Of each replica.
    pub features: Vec<Arc<FeatureCache>>,
    pub counters: Arc<Counters>,
    pub faults: Faults,
    /// Of each replica.
    pub hearts: Vec<Arc<Heart>>,
    /// Told when a device stopped working.
    pub on_lost: Arc<OnLost>,
}

impl Assistant {
    /// Does errands until the model is closed and every request is answered.
    pub fn run(&self) {
        loop {
            match self.board.next_errand(PATIENCE) {
                Errand::Prepare(kind, job) => self.prepare(kind, job),
                Errand::Read(written) => self.read(written),
                Errand::Idle => {
                    if let Some(reason) = self.hearts.iter().find_map(|heart| heart.stalled()) {
                        self.board.lose(&reason);
                        (self.on_lost)(&reason);
                    }
                }
                Errand::Leave => return,
            }
        }
    }

    fn prepare(&self, kind: Kind, job: Job) {
        job.stage.set(Stage::Preparing);
        match contain(|| self.prepared(kind, &job)) {
            Ok(ready) => {
                let Ready { digest, pixels, prompts } = ready;
                let prepared = Prepared { job, kind, digest, pixels, prompts };
                self.board.put_prepared(prepared, |replica| self.knows(replica, &digest));
            }
            Err(error) => {
                self.board.drop_unprepared(kind);
                self.counters.failed.add(1);
                job.end(Err(error));
            }
        }
    }

    fn prepared(&self, kind: Kind, job: &Job) -> Result<Ready, EngineError> {
        let request = &job.request;
        self.faults.pass(Point::Prepare, &job.prompts())?;
        let size = self.processor.image_size();
        let image_tokens = self.processor.image_tokens(size)?;
        let prompts = request.prompts.iter().map(|prompt| self.processor.tokenize(prompt, image_tokens));
        let prompts = prompts.collect::<Result<Vec<_>, _>>()?;
        let digest = request.picture.digest();
        let is_known = (0..self.features.len()).any(|replica| self.knows(replica, &digest));
        let pixels = match (is_known, self.gives_bytes) {
            (true, _) => None,
            (false, true) => Some(self.processor.bytes(&request.picture, size)?),
            (false, false) => Some(self.processor.pixels(&request.picture, size)?),
        };
        debug_assert_eq!(kind, job.kind());
        Ok(Ready { digest, pixels, prompts })
    }

    /// Whether the picture's features are kept by this replica.
    fn knows(&self, replica: usize, digest: &Digest) -> bool {
        self.features.get(replica).is_some_and(|features| features.contains(digest))
    }

    fn read(&self, written: Written) {
        let Written { job, found } = written;
        job.stage.set(Stage::Reading);
        let replies = contain(|| {
            self.faults.pass(Point::Read, &job.prompts())?;
            let size = PictureSize::of(&job.request.picture);
            let read = job.request.prompts.iter().zip(&found).map(|(prompt, found)| {
                let (text, answer) = self.processor.read(prompt, found, size)?;
                Ok::<_, FlorenceError>(Reply { ids: found.ids.clone(), text, answer, stop: found.stop })
            });
            Ok(read.collect::<Result<Vec<_>, _>>()?)
        });
        match replies {
            Ok(replies) => {
                self.counters.answered.add(1);
                self.counters.tokens.add(found.iter().map(|found| found.ids.len().saturating_sub(1)).sum());
                job.end(Ok(replies));
            }
            Err(error) => {
                self.counters.failed.add(1);
                job.end(Err(error));
            }
        }
    }
}

/// What the model needs of a request.
struct Ready {
    digest: Digest,
    pixels: Option<Tensor>,
    prompts: Vec<Vec<u32>>,
}

/// Runs a part of the work on a request; a panic in it is an error like any other.
pub(super) fn contain<T>(work: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    let panicked = || Err(EngineError::Internal("a part of the model panicked".to_owned()));
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| panicked())
}
