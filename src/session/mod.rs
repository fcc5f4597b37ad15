//! One inference request: settings become prompts, the engine answers them, and the answers become annotations.
//!
//! The server and the command line call it; it knows nothing of HTTP. A caller waits for few pictures and starts a run for
//! many, which the queue then shows to whoever polls.

mod caching;
mod error;
mod inquiry;
mod labels;
mod pictures;
mod question;
mod question_answering;
mod queue;
mod runs;
mod settings;
mod upload;
mod uploads;

pub use error::SessionError;
pub use inquiry::Inquiry;
pub use labels::{BOX_SUFFIX, Findings, POLYGON_SUFFIX, ScoreRules};
pub use pictures::StoreSettings;
pub use question::{ClassPrompt, Question, TaskText};
pub use queue::{Exception, InferenceRequest, Progress, Queue, QueueSettings, RequestStatus, RunStage};
pub use runs::VideoAnswer;
pub use settings::SessionSettings;
pub use uploads::Upload;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::{Map, Value};
use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use tokio::time::timeout_at;

use self::inquiry::Turn;
use self::pictures::PictureStore;
use self::question::list_tasks_with_labels;
use self::runs::FileRoom;
use self::uploads::{CheckedUpload, Decoder, size_of};
use crate::engine::{Deployment, Engine, EngineError, ModelPlan, Place, Run, ServedModel, Stage, Stats};
use crate::florence::image::Picture;
use crate::media::{Fetcher, VideoSettings};
use crate::supervisely::{
    ClassRegistry, ImageSize, InferenceSettings, InferenceState, Origin, Platform, PlatformAccess, PlatformError,
    Prediction, ProjectMeta, Rectangle, Regions, Token,
};

/// Addresses that are fetched from at a time.
const MAX_FETCHES: usize = 16;

/// What the platform calls a session: a served model and the classes that it has named so far.
pub struct Session {
    engine: Arc<dyn Engine>,
    classes: ClassRegistry,
    decoder: Decoder,
    deadline: Duration,
    queue: Queue,
    store: PictureStore,
    file_room: FileRoom,
    platforms: PlatformAccess,
    fetcher: Fetcher,
    fetches: Semaphore,
    /// Held while a project's meta is read and written back.
    meta_turn: AsyncMutex<()>,
    video: VideoSettings,
    picture_folder: Option<PathBuf>,
    max_picture_bytes: usize,
    task_id: Option<i64>,
    shows_scores: bool,
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
        Self {
            engine,
            classes: ClassRegistry::new(),
            decoder: Decoder::new(settings.decode),
            deadline: settings.deadline,
            queue: Queue::new(settings.queue),
            max_picture_bytes: settings.store.max_picture_bytes,
            store: PictureStore::new(settings.store),
            file_room: FileRoom::new(),
            platforms: PlatformAccess::new(settings.platform),
            fetcher: Fetcher::new(settings.fetch),
            fetches: Semaphore::new(MAX_FETCHES),
            meta_turn: AsyncMutex::default(),
            video: settings.video,
            picture_folder: settings.picture_folder,
            task_id: settings.task_id,
            shows_scores: settings.shows_scores,
        }
    }

    /// The platform's client for a request that named this token and this address, or neither.
    ///
    /// # Errors
    /// There is no platform, or no token.
    pub fn platform(&self, token: Option<Token>, address: Option<&str>) -> Result<Platform, PlatformError> {
        self.platforms.client(token, address)
    }

    /// The requests that clients poll.
    pub const fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Loads another model, which takes over from the one before; that one stays if it fails. It can be broken off from the call
    /// on.
    ///
    /// # Errors
    /// The engine's.
    pub fn deploy(&self, plan: ModelPlan) -> impl Future<Output = Result<ServedModel, SessionError>> + Send + '_ {
        let loading = self.engine.deploy(plan);
        async { Ok(loading.await?) }
    }

    /// Breaks off the load under way. False if there is none.
    pub fn cancel_loading(&self) -> bool {
        self.engine.cancel_loading()
    }

    /// Takes the model off its devices for good.
    pub async fn unload(&self) {
        self.engine.unload().await;
    }

    /// Takes the model off its device until the next request.
    ///
    /// # Errors
    /// The engine's.
    pub async fn freeze(&self) -> Result<(), SessionError> {
        Ok(self.engine.freeze().await?)
    }

    /// What the engine has done so far.
    pub fn engine_stats(&self) -> Stats {
        let mut stats = self.engine.stats();
        // The one stage that comes before the engine.
        stats.stage_times.push((Stage::Decoding.name(), self.decoder.times()));
        stats
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
        let inquiry = self.inquiry(&state.settings)?;
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
        self.classes.register_all(predictions.iter().filter_map(|prediction| prediction.annotation.as_ref()));
        Ok(predictions)
    }

    /// Predicts the picture at an address.
    ///
    /// # Errors
    /// Whatever is wrong with the arguments, the address or the picture.
    pub async fn infer_url(&self, url: &str, state: &Map<String, Value>) -> Result<Prediction, SessionError> {
        // What is wrong with the arguments is told before anything is fetched.
        self.inquiry(&InferenceState::parse(state)?.settings)?;
        // Whoever fetches may hold a whole file.
        let turn = self.fetches.try_acquire().map_err(|_| EngineError::Overloaded)?;
        let bytes = self.fetcher.fetch(url).await?;
        drop(turn);
        let name = url.split(['?', '#']).next().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
        let upload = Upload { name: name.to_owned(), bytes: Arc::new(bytes) };
        let mut predictions = self.infer_uploads(vec![upload], state).await?;
        let mut prediction = predictions.pop().ok_or(SessionError::NoPictures)?;
        prediction.origin.url = Some(url.to_owned());
        Ok(prediction)
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
    ) -> Result<Findings, SessionError> {
        let place = self.engine.places().wait_in_run(run, picture.rgb().len() as u64).await?;
        let turn = Turn { engine: self.engine.as_ref(), place, deadline: None };
        let findings = self.look_at(&turn, picture, region, inquiry).await?;
        self.classes.register(&findings.annotation);
        Ok(findings)
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
        let Findings { annotation, notes } =
            self.look_at(&turn, Arc::clone(&held.picture), region, batch.inquiry).await?;
        Ok(Prediction::new(annotation, notes, Origin::default()))
    }

    /// Asks the model about a picture that has its turn.
    async fn look_at(
        &self,
        turn: &Turn<'_>,
        picture: Arc<Picture>,
        region: Option<Rectangle>,
        inquiry: &Inquiry,
    ) -> Result<Findings, SessionError> {
        check_region(region, size_of(&picture))?;
        inquiry.investigate(turn, picture, region).await
    }

    /// What the settings ask.
    fn inquiry(&self, settings: &InferenceSettings) -> Result<Inquiry, SessionError> {
        let inquiry = Inquiry::new(settings)?;
        Ok(if self.shows_scores { inquiry.showing_scores() } else { inquiry })
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
    check_regions_count(regions, pictures.len())?;
    pictures.iter().enumerate().try_for_each(|(index, picture)| check_region(regions.of_picture(index), picture.size))
}

/// `rectangles` are one for each picture.
fn check_regions_count(regions: &Regions, pictures: usize) -> Result<(), SessionError> {
    match regions {
        Regions::PerPicture(regions) if regions.len() != pictures => {
            Err(SessionError::RegionCount { regions: regions.len(), pictures })
        }
        _ => Ok(()),
    }
}

fn check_region(region: Option<Rectangle>, size: ImageSize) -> Result<(), SessionError> {
    match region {
        Some(region) if !region.fits(size) => Err(SessionError::RegionOutsidePicture),
        _ => Ok(()),
    }
}
