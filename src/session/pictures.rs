//! Pictures of the platform on their way to the model: records, files, and the cache of files.
//!
//! The cache is asked only after the platform has shown the picture's record to the caller's own token, so nobody sees a
//! picture through it that the platform would not show.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Mutex as AsyncMutex;
use tokio::task::spawn_blocking;

use super::SessionError;
use crate::media::{CachedFile, FileCache, FileCacheSettings, declared_pixels};
use crate::supervisely::{Address, DatasetRecord, ImageRecord, Origin, Platform, PlatformError, VideoRecord};

/// Ids that are looked up together.
const IDS_PER_LOOKUP: usize = 50;

/// A file's content.
pub(super) type FileBytes = Arc<Vec<u8>>;

/// What a cached file is the content of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum FileKey {
    /// A picture of a platform.
    Image(Address, i64),
    /// A file of this hash, which the platform knows pictures by.
    Hash(Address, String),
    /// A frame of a video.
    Frame(Address, i64, u64),
    /// A whole video.
    Video(Address, i64),
}

/// A picture of the platform, and where it lies.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PlatformImage {
    pub(super) record: ImageRecord,
    pub(super) project_id: i64,
}

impl PlatformImage {
    /// What the prediction says about where it came from.
    pub(super) fn origin(&self) -> Origin {
        Origin {
            name: Some(self.record.name.clone()),
            project_id: Some(self.project_id),
            dataset_id: Some(self.record.dataset_id),
            image_id: Some(self.record.id),
            image_name: Some(self.record.name.clone()),
            ..Origin::default()
        }
    }
}

/// Fetches files, each once, and keeps them for a while.
#[derive(Debug)]
pub(super) struct PictureStore {
    pictures: Arc<FileCache<FileKey>>,
    videos: FileCache<FileKey>,
    /// What is being fetched now: whoever wants the same waits for it.
    flights: Mutex<HashMap<FileKey, Weak<AsyncMutex<()>>>>,
    max_picture_bytes: usize,
    max_video_bytes: u64,
}

/// How much is fetched and kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// The cache of pictures.
    pub pictures: FileCacheSettings,
    /// The cache of videos.
    pub videos: FileCacheSettings,
    /// Largest picture file.
    pub max_picture_bytes: usize,
    /// Largest video file.
    pub max_video_bytes: u64,
}

impl Default for StoreSettings {
    /// As many pictures for as long as the original keeps them.
    fn default() -> Self {
        let folder = std::env::temp_dir();
        let lifetime = std::time::Duration::from_secs(30 * 60);
        let pictures = FileCacheSettings { folder: folder.clone(), max_files: 256, max_bytes: 1 << 30, lifetime };
        let videos = FileCacheSettings { folder, max_files: 16, max_bytes: 16 << 30, lifetime };
        Self { pictures, videos, max_picture_bytes: 64 << 20, max_video_bytes: 8 << 30 }
    }
}

impl PictureStore {
    pub(super) fn new(settings: StoreSettings) -> Self {
        Self {
            pictures: Arc::new(FileCache::new(settings.pictures)),
            videos: FileCache::new(settings.videos),
            flights: Mutex::default(),
            max_picture_bytes: settings.max_picture_bytes,
            max_video_bytes: settings.max_video_bytes,
        }
    }

    /// A picture's file.
    pub(super) async fn image(&self, platform: &Platform, record: &ImageRecord) -> Result<FileBytes, SessionError> {
        if let Some(bytes) = self.cached_image(platform, record).await {
            return Ok(bytes);
        }
        let key = FileKey::Image(platform.address().clone(), record.id);
        let flight = self.flight(&key);
        let _turn = flight.lock().await;
        // Somebody else may have fetched it in the meantime.
        if let Some(bytes) = self.cached_image(platform, record).await {
            return Ok(bytes);
        }
        let bytes = Arc::new(platform.download_image(record.id, self.max_picture_bytes).await?);
        self.keep_image(platform, record, &bytes).await;
        Ok(bytes)
    }

    /// The files of several pictures of one dataset: what the cache lacks comes in one call. What could not be had so is
    /// missing in the result, and may be had alone.
    pub(super) async fn images(
        &self,
        platform: &Platform,
        dataset_id: i64,
        records: &[&ImageRecord],
    ) -> HashMap<i64, FileBytes> {
        let mut found = HashMap::new();
        let mut missing = Vec::new();
        for record in records {
            match self.cached_image(platform, record).await {
                Some(bytes) => drop(found.insert(record.id, bytes)),
                None => missing.push(record.id),
            }
        }
        if missing.is_empty() {
            return found;
        }
        match platform.download_images(dataset_id, &missing, self.max_picture_bytes).await {
            Ok(fetched) => {
                for (id, bytes) in fetched {
                    let bytes = Arc::new(bytes);
                    if let Some(record) = records.iter().find(|record| record.id == id) {
                        self.keep_image(platform, record, &bytes).await;
                    }
                    found.insert(id, bytes);
                }
            }
            Err(error) => tracing::warn!(%error, "pictures are fetched one by one"),
        }
        found
    }

    /// Frames of a video as picture files, in the order asked for.
    pub(super) async fn frames(
        &self,
        platform: &Platform,
        video_id: i64,
        frames: &[u64],
    ) -> Result<Vec<(u64, FileBytes)>, SessionError> {
        let key = |frame| FileKey::Frame(platform.address().clone(), video_id, frame);
        let mut found = HashMap::new();
        for frame in frames {
            if let Some(bytes) = self.read(&key(*frame)).await {
                found.insert(*frame, bytes);
            }
        }
        let missing: Vec<u64> = frames.iter().copied().filter(|frame| !found.contains_key(frame)).collect();
        if !missing.is_empty() {
            for (frame, bytes) in platform.download_frames(video_id, &missing, self.max_picture_bytes).await? {
                let bytes = Arc::new(bytes);
                self.keep(key(frame), &bytes).await;
                found.insert(frame, bytes);
            }
        }
        let in_order = frames.iter().map(|frame| Some((*frame, found.remove(frame)?)));
        in_order.collect::<Option<_>>().ok_or(SessionError::MissingFrames { video_id })
    }

    /// A whole video, fetched if it is not here.
    pub(super) async fn video(&self, platform: &Platform, record: &VideoRecord) -> Result<CachedFile, SessionError> {
        let key = FileKey::Video(platform.address().clone(), record.id);
        let flight = self.flight(&key);
        let _turn = flight.lock().await;
        if let Some(file) = self.videos.get(&key) {
            return Ok(file);
        }
        let file = Arc::new(self.create_video_file()?);
        platform.download_video(record.id, Arc::clone(&file), self.max_video_bytes).await?;
        self.videos.insert(key, file).map_err(unwritable)
    }

    /// A file without a name for a video.
    pub(super) fn create_video_file(&self) -> Result<std::fs::File, SessionError> {
        self.videos.create().map_err(unwritable)
    }

    /// A video if it is here.
    pub(super) fn cached_video(&self, platform: &Platform, video_id: i64) -> Option<CachedFile> {
        self.videos.get(&FileKey::Video(platform.address().clone(), video_id))
    }

    /// Keeps the file of a picture that the platform knows by this hash.
    pub(super) async fn keep_by_hash(&self, address: &Address, hash: String, bytes: &FileBytes) {
        self.keep(FileKey::Hash(address.clone(), hash), bytes).await;
    }

    async fn cached_image(&self, platform: &Platform, record: &ImageRecord) -> Option<FileBytes> {
        let address = platform.address();
        if let Some(bytes) = self.read(&FileKey::Image(address.clone(), record.id)).await {
            return Some(bytes);
        }
        self.read(&FileKey::Hash(address.clone(), record.hash.clone()?)).await
    }

    /// Keeps what is a picture of the size that the platform promised: anything else may come out better the next time.
    async fn keep_image(&self, platform: &Platform, record: &ImageRecord, bytes: &FileBytes) {
        let is_whole = record.size.is_none_or(|size| size == bytes.len() as u64);
        if is_whole && declared_pixels(bytes).is_some_and(|pixels| pixels > 0) {
            self.keep(FileKey::Image(platform.address().clone(), record.id), bytes).await;
        }
    }

    /// A disk that fails is as good as an empty cache.
    async fn read(&self, key: &FileKey) -> Option<FileBytes> {
        let file = self.pictures.get(key)?;
        let bytes = spawn_blocking(move || file.read()).await.ok()?;
        bytes.inspect_err(|error| tracing::warn!(%error, "a cached file cannot be read")).ok().map(Arc::new)
    }

    async fn keep(&self, key: FileKey, bytes: &FileBytes) {
        let (pictures, bytes) = (Arc::clone(&self.pictures), Arc::clone(bytes));
        let kept = spawn_blocking(move || pictures.insert_bytes(key, &bytes)).await;
        if let Ok(Err(error)) = kept {
            tracing::warn!(%error, "a file cannot be kept");
        }
    }

    fn flight(&self, key: &FileKey) -> Arc<AsyncMutex<()>> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        flights.retain(|_, flight| flight.strong_count() > 0);
        if let Some(flight) = flights.get(key).and_then(Weak::upgrade) {
            return flight;
        }
        let flight = Arc::default();
        flights.insert(key.clone(), Arc::downgrade(&flight));
        flight
    }
}

fn unwritable(error: std::io::Error) -> SessionError {
    SessionError::Internal(format!("cannot keep a file: {error}"))
}

/// The records of these pictures, in order and with repetitions.
///
/// # Errors
/// A picture that the platform does not show to this caller, by its id.
pub(super) async fn look_up_images(platform: &Platform, ids: &[i64]) -> Result<Vec<PlatformImage>, SessionError> {
    let mut records: HashMap<i64, ImageRecord> = HashMap::new();
    let mut projects: HashMap<i64, i64> = HashMap::new();
    // Pictures asked for together mostly lie together.
    let mut dataset = None;
    for ids in ids.chunks(IDS_PER_LOOKUP) {
        loop {
            let missing: Vec<i64> = ids.iter().copied().filter(|id| !records.contains_key(id)).collect();
            let Some(first) = missing.first() else { break };
            let dataset_id = match dataset.take() {
                Some(dataset_id) => dataset_id,
                None => {
                    let record = platform.image(*first).await?.ok_or(SessionError::UnknownImage { id: *first })?;
                    let dataset_id = record.dataset_id;
                    records.insert(*first, record);
                    dataset_id
                }
            };
            let missing: Vec<i64> = missing.into_iter().filter(|id| !records.contains_key(id)).collect();
            if !missing.is_empty() {
                let found = platform.images_of_dataset(dataset_id, &missing).await?;
                records.extend(found.into_iter().map(|record| (record.id, record)));
            }
            if let std::collections::hash_map::Entry::Vacant(project) = projects.entry(dataset_id) {
                project.insert(platform.dataset(dataset_id).await?.project_id);
            }
            if ids.iter().all(|id| records.contains_key(id)) {
                dataset = Some(dataset_id);
            }
        }
    }
    let image = |id: &i64| {
        let record = records.get(id).ok_or(SessionError::UnknownImage { id: *id })?;
        let project_id = projects.get(&record.dataset_id).copied().unwrap_or_default();
        Ok(PlatformImage { record: record.clone(), project_id })
    };
    ids.iter().map(image).collect()
}

/// The pictures of a project, by dataset as the platform lists them and then by id.
///
/// # Errors
/// The platform's.
pub(super) async fn list_project_images(
    platform: &Platform,
    project_id: i64,
    datasets: &[DatasetRecord],
) -> Result<Vec<PlatformImage>, PlatformError> {
    let mut images = Vec::new();
    for dataset in datasets {
        let records = platform.all_images_of_dataset(dataset.id).await?;
        images.extend(records.into_iter().map(|record| PlatformImage { record, project_id }));
    }
    Ok(images)
}
