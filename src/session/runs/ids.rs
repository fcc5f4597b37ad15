//! Pictures of the platform, named by their ids.

use std::sync::Arc;
use std::time::Instant;

use futures_util::stream::{self, Stream, StreamExt};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::super::inquiry::Turn;
use super::super::pictures::{PlatformImage, look_up_images};
use super::super::queue::InferenceRequest;
use super::super::upload::{PlatformSink, SourceDatasets};
use super::super::{Session, SessionError, check_regions_count, in_time};
use super::{Answers, Content, FileRoom, Input, Load};
use crate::engine::Stage;
use crate::supervisely::{ImageIds, InferenceState, Platform, Prediction, Rectangle, Regions, UploadArguments};

/// A request about pictures by id, read in full.
pub(super) struct IdRun {
    pub(super) platform: Platform,
    pub(super) ids: Vec<i64>,
    pub(super) state: InferenceState,
    pub(super) upload: UploadArguments,
}

impl IdRun {
    /// What is wrong with the arguments is told before what is wrong with the platform.
    fn parse(
        platform: impl FnOnce() -> Result<Platform, SessionError>,
        state: &Map<String, Value>,
    ) -> Result<Self, SessionError> {
        let ImageIds(ids) = ImageIds::parse(state)?;
        let parsed = InferenceState::parse(state)?;
        let upload = UploadArguments::parse(state, &parsed.settings.given)?;
        check_regions_count(&parsed.settings.regions, ids.len())?;
        Ok(Self { platform: platform()?, ids, state: parsed, upload })
    }
}

impl Session {
    /// Predicts one picture of the platform: the first that is named. It goes before all runs.
    ///
    /// # Errors
    /// Whatever is wrong with the arguments or the picture.
    pub async fn infer_image_id(
        &self,
        platform: impl FnOnce() -> Result<Platform, SessionError>,
        state: &Map<String, Value>,
    ) -> Result<Box<RawValue>, SessionError> {
        let mut run = IdRun::parse(platform, state)?;
        run.ids.truncate(1);
        let id = *run.ids.first().ok_or(SessionError::NoPictures)?;
        if run.upload.mode.is_some() {
            return self.run_now(run).await?.into_iter().next().ok_or(SessionError::NoPictures);
        }
        let deadline = Instant::now() + self.deadline;
        let prediction = in_time(deadline, Stage::Waiting, self.predict_id(&run, id, deadline)).await?;
        self.classes.register_all(prediction.annotation.as_ref());
        serde_json::value::to_raw_value(&prediction).map_err(|error| SessionError::Internal(error.to_string()))
    }

    async fn predict_id(&self, run: &IdRun, id: i64, deadline: Instant) -> Result<Prediction, SessionError> {
        let inquiry = self.check_inquiry(&run.state)?;
        let images = look_up_images(&run.platform, &[id]).await?;
        let image = images.into_iter().next().ok_or(SessionError::UnknownImage { id })?;
        // Before anything is fetched: what the platform knows of its size will do.
        let size = image.record.image_size();
        let place = self.engine.places().take_single((size.width * size.height).unsigned_abs() * 3)?;
        let file = self.store.image(&run.platform, &image.record).await?;
        let picture = self.decoder.decode_file(file).await.map_err(|error| error.named(&image.record.name))?;
        let turn = Turn { engine: self.engine.as_ref(), place, deadline: Some(deadline) };
        let region = run.state.settings.regions.of_picture(0);
        let findings = self.look_at(&turn, picture, region, &inquiry).await?;
        Ok(Prediction::new(findings.annotation, findings.notes, image.origin()))
    }

    /// Predicts several pictures of the platform, and waits for all of them.
    ///
    /// # Errors
    /// Whatever is wrong with the arguments, an id that the platform does not know, and the deadline. A picture that cannot be
    /// read fails alone, unless all fail.
    pub async fn infer_image_ids(
        &self,
        platform: impl FnOnce() -> Result<Platform, SessionError>,
        state: &Map<String, Value>,
    ) -> Result<Vec<Box<RawValue>>, SessionError> {
        self.run_now(IdRun::parse(platform, state)?).await
    }

    async fn run_now(&self, run: IdRun) -> Result<Vec<Box<RawValue>>, SessionError> {
        self.check_inquiry(&run.state)?;
        let request = self.queue.unlisted();
        let deadline = Instant::now() + self.deadline;
        let work = self.run_ids(Arc::clone(&request), run);
        in_time(deadline, Stage::Writing, work).await?;
        Ok(request.take_results())
    }

    /// Starts a run over pictures of the platform and gives its id. `held` is kept until the run has ended.
    ///
    /// # Errors
    /// Whatever is wrong with the arguments; the rest is told by the request itself.
    pub fn start_image_ids<H: Send + 'static>(
        self: &Arc<Self>,
        platform: impl FnOnce() -> Result<Platform, SessionError>,
        state: &Map<String, Value>,
        held: H,
    ) -> Result<String, SessionError> {
        let run = IdRun::parse(platform, state)?;
        self.check_inquiry(&run.state)?;
        let session = Arc::clone(self);
        self.queue.start(move |request| async move {
            let _held = held;
            session.run_ids(request, run).await
        })
    }

    async fn run_ids(&self, request: Arc<InferenceRequest>, run: IdRun) -> Result<(), SessionError> {
        let Some(images) = Self::prepare(&request, look_up_images(&run.platform, &run.ids)).await? else {
            return Ok(());
        };
        Self::begin_running(&request, images.len());
        let course = self.course(&run.state, &request)?;
        let inputs = self.load_images(&run.platform, images, &run.state.settings.regions);
        match run.upload.mode {
            None => self.predict_all(inputs, &course, &mut Answers { request }).await,
            Some(_) => {
                let sources = SourceDatasets::unknown(run.platform.clone());
                let mut sink = PlatformSink::new(
                    self,
                    run.platform.clone().until(request.stopped()),
                    run.upload,
                    request,
                    sources,
                );
                self.predict_all(inputs, &course, &mut sink).await
            }
        }
    }

    /// The pictures' files, fetched ahead.
    pub(super) fn load_images<'a>(
        &'a self,
        platform: &'a Platform,
        images: Vec<PlatformImage>,
        regions: &'a Regions,
    ) -> impl Stream<Item = Load<'a>> + Send + 'a {
        let room = self.file_room.of_run();
        stream::iter(images.into_iter().enumerate()).map(move |(index, image)| {
            let (room, region) = (room.clone(), regions.of_picture(index));
            let load: Load<'a> = Box::pin(async move { vec![self.load_image(platform, image, region, &room).await] });
            load
        })
    }

    async fn load_image(
        &self,
        platform: &Platform,
        image: PlatformImage,
        region: Option<Rectangle>,
        room: &FileRoom,
    ) -> Input {
        let room = room.take(image.record.size).await;
        let file = self.store.image(platform, &image.record).await;
        let content = file.map(|bytes| Content::File(bytes, room));
        Input { origin: image.origin(), size: image.record.image_size(), region, content }
    }
}
