//! One inference request: settings become prompts, the engine answers them, and the answers become annotations.
//!
//! The server and the command line call it; it knows nothing of HTTP.

mod error;
mod inquiry;
mod labels;
mod question;
mod uploads;

pub use error::SessionError;
pub use inquiry::Inquiry;
pub use labels::{BOX_SUFFIX, ScoreRules};
pub use question::{ClassPrompt, Question};
pub use uploads::Upload;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::{Map, Value};
use tokio::time::timeout_at;

use self::inquiry::Turn;
use self::question::list_tasks_with_boxes;
use self::uploads::{CheckedUpload, Decoder, size_of};
use crate::engine::{Deployment, Engine, EngineError, Place, Run, Stage, Stats};
use crate::florence::image::Picture;
use crate::media::DecodeOptions;
use crate::supervisely::{
    Annotation, ClassRegistry, ImageSize, InferenceState, Origin, Prediction, ProjectMeta, Rectangle, Regions,
};

/// Limits of a session.
#[derive(Debug, Clone)]
pub struct SessionSettings {
    /// What is decoded.
    pub decode: DecodeOptions,
    /// How long a caller that waits for an answer is let wait.
    pub deadline: Duration,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self { decode: DecodeOptions::default(), deadline: Duration::from_secs(120) }
    }
}

/// What the platform calls a session: a served model and the classes that it has named so far.
pub struct Session {
    engine: Arc<dyn Engine>,
    classes: ClassRegistry,
    decoder: Decoder,
    deadline: Duration,
}

/// Pictures of one request, which share a run and a deadline.
struct Batch<'a> {
    inquiry: &'a Inquiry,
    run: Run,
    deadline: Instant,
}

impl Session {
    /// A session on this engine.
    pub fn new(engine: Arc<dyn Engine>, settings: SessionSettings) -> Self {
        let (decoder, deadline) = (Decoder::new(settings.decode), settings.deadline);
        Self { engine, classes: ClassRegistry::new(), decoder, deadline }
    }

    /// What the engine has done so far.
    pub fn engine_stats(&self) -> Stats {
        self.engine.stats()
    }

    /// Whether a model is served, and which.
    pub fn deployment(&self) -> Deployment {
        self.engine.deployment()
    }

    /// The meta of everything that was predicted so far.
    pub fn project_meta(&self) -> ProjectMeta {
        self.classes.project_meta()
    }

    /// Predicts every uploaded file, in order. `state` holds the arguments as the caller wrote them.
    ///
    /// A single picture goes before the pictures of a batch.
    ///
    /// # Errors
    /// Whatever is wrong with one argument or one file is wrong with the request, and nothing runs. When too much is waiting
    /// already that is told before anything is decoded, and what takes too long ends at the session's deadline.
    pub async fn infer_uploads(
        &self,
        uploads: Vec<Upload>,
        state: &Map<String, Value>,
    ) -> Result<Vec<Prediction>, SessionError> {
        let state = InferenceState::parse(state)?;
        let inquiry = Inquiry::new(&state.settings)?;
        let places = self.engine.places();
        let batch = Batch { inquiry: &inquiry, run: places.open_run(), deadline: Instant::now() + self.deadline };
        let Some(first) = uploads.first() else { return Ok(vec![]) };
        let bytes = self.decoder.decoded_bytes(&first.bytes);
        let first =
            if uploads.len() == 1 { places.take_single(bytes)? } else { places.take_in_run(batch.run, bytes)? };

        let pictures = in_time(batch.deadline, Stage::Decoding, self.decoder.check(uploads)).await?;
        check_regions(&state.settings.regions, &pictures)?;
        // Later pictures of a batch wait for places of their own.
        let places = std::iter::once(Some(first)).chain(std::iter::repeat_with(|| None));
        let jobs: Vec<_> = pictures
            .into_iter()
            .zip(places)
            .enumerate()
            .map(|(index, (picture, place))| {
                self.predict_upload(picture, state.settings.regions.of_picture(index), place, &batch)
            })
            .collect();
        let width = state.batch_size.min(self.engine.places().share_of_run());
        let predictions: Vec<Prediction> = stream::iter(jobs).buffered(width).try_collect().await?;
        // Only now, so that the order of the classes does not depend on which picture was done first.
        predictions.iter().for_each(|prediction| self.register_classes(&prediction.annotation));
        Ok(predictions)
    }

    /// Predicts one picture of a run, or the region of it that is given. Waits for a place, and has no deadline.
    ///
    /// # Errors
    /// A region outside the picture, and whatever the engine says.
    pub async fn infer_picture(
        &self,
        picture: Arc<Picture>,
        region: Option<Rectangle>,
        inquiry: &Inquiry,
        run: Run,
    ) -> Result<Annotation, SessionError> {
        check_region(region, size_of(&picture))?;
        let place = self.engine.places().wait_in_run(run, picture.rgb().len() as u64).await?;
        let turn = Turn { engine: self.engine.as_ref(), place, deadline: None };
        let annotation = inquiry.annotate(&turn, picture, region).await?;
        self.register_classes(&annotation);
        Ok(annotation)
    }

    /// A run of pictures for [`Self::infer_picture`].
    pub fn open_run(&self) -> Run {
        self.engine.places().open_run()
    }

    async fn predict_upload(
        &self,
        upload: CheckedUpload,
        region: Option<Rectangle>,
        place: Option<Arc<Place>>,
        batch: &Batch<'_>,
    ) -> Result<Prediction, SessionError> {
        let place = match place {
            Some(place) => place,
            None => {
                let wait = self.engine.places().wait_in_run(batch.run, upload.decoded_bytes());
                in_time(batch.deadline, Stage::Waiting, async { Ok(wait.await?) }).await?
            }
        };
        // Its room is taken until it is answered.
        let held = in_time(batch.deadline, Stage::Decoding, self.decoder.load(upload)).await?;
        let turn = Turn { engine: self.engine.as_ref(), place, deadline: Some(batch.deadline) };
        let annotation = batch.inquiry.annotate(&turn, Arc::clone(&held.picture), region).await?;
        Ok(Prediction::new(annotation, Origin::default()))
    }

    fn register_classes(&self, annotation: &Annotation) {
        self.classes.register(annotation.objects.iter().map(|label| (label.class_title.as_str(), label.shape())));
    }
}

/// The result of `work`, unless the deadline comes first.
async fn in_time<T>(
    deadline: Instant,
    stage: Stage,
    work: impl Future<Output = Result<T, SessionError>>,
) -> Result<T, SessionError> {
    let late = || EngineError::DeadlineExceeded { stage };
    timeout_at(deadline.into(), work).await.map_err(|_| late())?
}

fn check_regions(regions: &Regions, pictures: &[CheckedUpload]) -> Result<(), SessionError> {
    if let Regions::PerPicture(regions) = regions
        && regions.len() != pictures.len()
    {
        return Err(SessionError::RegionCount { regions: regions.len(), pictures: pictures.len() });
    }
    pictures.iter().enumerate().try_for_each(|(index, picture)| check_region(regions.of_picture(index), picture.size))
}

fn check_region(region: Option<Rectangle>, size: ImageSize) -> Result<(), SessionError> {
    match region {
        Some(region) if !region.fits(size) => Err(SessionError::RegionOutsidePicture),
        _ => Ok(()),
    }
}
