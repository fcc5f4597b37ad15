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

use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::{Map, Value};

use self::question::list_tasks_with_boxes;
use self::uploads::{CheckedUpload, Decoder, size_of};
use crate::engine::{Deployment, Engine};
use crate::florence::image::Picture;
use crate::media::DecodeOptions;
use crate::supervisely::{
    Annotation, ClassRegistry, ImageSize, InferenceState, Origin, Prediction, ProjectMeta, Rectangle, Regions,
};

/// Most pictures of one request that are with the engine at a time, whatever batch size the caller asks for.
const MAX_PICTURES_AT_WORK: usize = 64;

/// What the platform calls a session: a served model and the classes that it has named so far.
pub struct Session {
    engine: Arc<dyn Engine>,
    classes: ClassRegistry,
    decoder: Decoder,
}

impl Session {
    /// A session on this engine. `options` limit what is decoded.
    pub fn new(engine: Arc<dyn Engine>, options: DecodeOptions) -> Self {
        Self { engine, classes: ClassRegistry::new(), decoder: Decoder::new(options) }
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
    /// # Errors
    /// Whatever is wrong with one argument or one file is wrong with the request, and nothing runs.
    pub async fn infer_uploads(
        &self,
        uploads: Vec<Upload>,
        state: &Map<String, Value>,
    ) -> Result<Vec<Prediction>, SessionError> {
        let state = InferenceState::parse(state)?;
        let inquiry = Inquiry::new(&state.settings)?;
        let pictures = self.decoder.check(uploads).await?;
        check_regions(&state.settings.regions, &pictures)?;

        let jobs: Vec<_> = pictures
            .into_iter()
            .enumerate()
            .map(|(index, picture)| self.predict_upload(picture, state.settings.regions.of_picture(index), &inquiry))
            .collect();
        let width = state.batch_size.min(MAX_PICTURES_AT_WORK);
        let predictions: Vec<Prediction> = stream::iter(jobs).buffered(width).try_collect().await?;
        // Only now, so that the order of the classes does not depend on which picture was done first.
        predictions.iter().for_each(|prediction| self.register_classes(&prediction.annotation));
        Ok(predictions)
    }

    /// Predicts one picture, or the region of it that is given.
    ///
    /// # Errors
    /// A region outside the picture, and whatever the engine says.
    pub async fn infer_picture(
        &self,
        picture: Arc<Picture>,
        region: Option<Rectangle>,
        inquiry: &Inquiry,
    ) -> Result<Annotation, SessionError> {
        check_region(region, size_of(&picture))?;
        let annotation = inquiry.annotate(self.engine.as_ref(), picture, region).await?;
        self.register_classes(&annotation);
        Ok(annotation)
    }

    async fn predict_upload(
        &self,
        upload: CheckedUpload,
        region: Option<Rectangle>,
        inquiry: &Inquiry,
    ) -> Result<Prediction, SessionError> {
        // Its room is taken until it is answered.
        let held = self.decoder.load(upload).await?;
        let annotation = inquiry.annotate(self.engine.as_ref(), Arc::clone(&held.picture), region).await?;
        Ok(Prediction::new(annotation, Origin::default()))
    }

    fn register_classes(&self, annotation: &Annotation) {
        self.classes.register(annotation.objects.iter().map(|label| (label.class_title.as_str(), label.shape())));
    }
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
