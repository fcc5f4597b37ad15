//! How long batches of a project's pictures take.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::try_join_all;
use serde::Serialize;
use serde_json::{Map, Value};

use super::super::pictures::PlatformImage;
use super::super::queue::{InferenceRequest, RunStage};
use super::super::{Session, SessionError};
use super::project::find_project_images;
use super::{Predicted, Sink};
use crate::supervisely::{InferenceState, Platform, SpeedTestArguments};

/// Pictures of the project that are taken; batches go round them.
const MAX_IMAGES: usize = 100;

/// Pictures that are fetched at a time before the test begins; then they come from the cache.
const DOWNLOADS: usize = 8;

/// What one batch took, in milliseconds. The original has no use for the parts either.
#[derive(Debug, Serialize)]
struct BatchTime {
    total: f64,
    preprocess: Option<f64>,
    inference: Option<f64>,
    postprocess: Option<f64>,
}

/// A speed test's predictions are not looked at.
struct Nowhere;

impl Sink for Nowhere {
    async fn deliver(&mut self, predicted: Vec<Predicted>) -> Result<(), SessionError> {
        predicted.into_iter().try_for_each(|one| one.result.map(drop))
    }
}

impl Session {
    /// Starts a speed test and gives its id. `held` is kept until the run has ended.
    ///
    /// # Errors
    /// Whatever is wrong with the arguments, and a project that holds no pictures.
    pub async fn start_speed_test<H: Send + 'static>(
        self: &Arc<Self>,
        platform: impl FnOnce() -> Result<Platform, SessionError>,
        state: &Map<String, Value>,
        held: H,
    ) -> Result<String, SessionError> {
        let arguments = SpeedTestArguments::parse(state)?;
        let parsed = InferenceState::parse(state)?;
        self.check_inquiry(&parsed)?;
        let platform = platform()?;
        if !platform.project(arguments.project.project_id).await?.holds_images() {
            return Err(SessionError::NotAnImagesProject);
        }
        let session = Arc::clone(self);
        self.queue.start(move |request| async move {
            let _held = held;
            session.run_speed_test(&request, &platform, (&arguments, &parsed)).await
        })
    }

    async fn run_speed_test(
        &self,
        request: &InferenceRequest,
        platform: &Platform,
        (arguments, state): (&SpeedTestArguments, &InferenceState),
    ) -> Result<(), SessionError> {
        let images = self.fetch_test_images(request, platform, arguments);
        let Some(images) = Self::prepare(request, images).await? else { return Ok(()) };
        let course = self.course(&InferenceState { batch_size: arguments.batch_size, ..state.clone() }, request)?;
        // Every batch is of other pictures than the one before it, as far as there are enough.
        let mut pictures = images.into_iter().cycle();
        for (stage, batches) in [(RunStage::Warmup, arguments.warmup), (RunStage::Running, arguments.iterations)] {
            request.begin(stage, batches as u64);
            for _ in 0..batches {
                if request.stopped().is_cancelled() {
                    return Ok(());
                }
                let batch = pictures.by_ref().take(arguments.batch_size).collect();
                let start = Instant::now();
                let loads = self.load_images(platform, batch, &state.settings.regions);
                self.predict_all(loads, &course, &mut Nowhere).await?;
                let total = start.elapsed().as_secs_f64() * 1000.0;
                if request.stopped().is_cancelled() {
                    return Ok(());
                }
                match stage {
                    RunStage::Running => {
                        let time = BatchTime { total, preprocess: None, inference: None, postprocess: None };
                        request.push(&time)?;
                    }
                    _ => request.advance(1),
                }
            }
        }
        Ok(())
    }

    async fn fetch_test_images(
        &self,
        request: &InferenceRequest,
        platform: &Platform,
        arguments: &SpeedTestArguments,
    ) -> Result<Vec<PlatformImage>, SessionError> {
        let mut images = find_project_images(platform, &arguments.project).await?.images;
        // No more than the batches will see.
        let wanted = arguments.batch_size.saturating_mul(arguments.iterations.saturating_add(arguments.warmup));
        images.truncate(MAX_IMAGES.min(wanted));
        request.begin(RunStage::Preparing, images.len() as u64);
        for images in images.chunks(DOWNLOADS) {
            let fetches = images.iter().map(|image| self.store.image(platform, &image.record));
            try_join_all(fetches).await?;
            request.advance(images.len() as u64);
        }
        if images.is_empty() { Err(SessionError::NoPictures) } else { Ok(images) }
    }
}
