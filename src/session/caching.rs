//! Files that are fetched before they are needed.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream::{self, StreamExt};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::pictures::look_up_images;
use super::{Session, SessionError, Upload};
use crate::supervisely::{CacheArguments, ImageRecord, Platform};

/// Pictures in one download.
const IMAGES_PER_DOWNLOAD: usize = 4;
/// Frames in one download.
const FRAMES_PER_DOWNLOAD: usize = 8;
/// Downloads at a time.
const DOWNLOADS: usize = 4;

impl Session {
    /// Starts fetching in the background. What cannot be had is fetched again, and reported, when it is needed.
    ///
    /// # Errors
    /// Whatever is wrong with the arguments.
    pub fn start_caching(
        self: &Arc<Self>,
        platform: impl FnOnce() -> Result<Platform, SessionError>,
        state: &Map<String, Value>,
    ) -> Result<(), SessionError> {
        let (arguments, platform) = (CacheArguments::parse(state)?, platform()?);
        let session = Arc::clone(self);
        let work = async move {
            if let Err(error) = session.cache(&platform, arguments).await {
                tracing::warn!(%error, "not everything could be fetched ahead");
            }
        };
        // Bounded with all other background work.
        self.queue.start_unseen(move |_| async move {
            work.await;
            Ok(())
        })
    }

    async fn cache(&self, platform: &Platform, arguments: CacheArguments) -> Result<(), SessionError> {
        match arguments {
            CacheArguments::Images(ids) => {
                let images = look_up_images(platform, &ids).await?;
                let records: Vec<&ImageRecord> = images.iter().map(|image| &image.record).collect();
                let groups: Vec<&[&ImageRecord]> = records
                    .chunk_by(|one, next| one.dataset_id == next.dataset_id)
                    .flat_map(|of_dataset| of_dataset.chunks(IMAGES_PER_DOWNLOAD))
                    .collect();
                let fetch = async |group: &[&ImageRecord]| {
                    let dataset_id = group.first().map_or(0, |record| record.dataset_id);
                    self.store.images(platform, dataset_id, group).await;
                };
                stream::iter(groups).for_each_concurrent(DOWNLOADS, fetch).await;
            }
            CacheArguments::Hashes(hashes) => {
                for hashes in hashes.chunks(IMAGES_PER_DOWNLOAD) {
                    for (hash, bytes) in platform.download_by_hash(hashes, self.max_picture_bytes).await? {
                        self.store.keep_by_hash(platform.address(), hash, &Arc::new(bytes)).await;
                    }
                }
            }
            CacheArguments::Frames { video_id, frames } => {
                for frames in frames.chunks(FRAMES_PER_DOWNLOAD) {
                    self.store.frames(platform, video_id, frames).await?;
                }
            }
            CacheArguments::Video(video_id) => {
                let record = platform.video(video_id).await?;
                self.store.video(platform, &record).await?;
            }
        }
        Ok(())
    }

    /// Keeps files that a caller has sent ahead, each under the hash of its content: it is used for a picture whose record
    /// names that very hash, so nobody can pass a file off as somebody else's picture.
    pub async fn keep_files(&self, platform: &Platform, files: Vec<Upload>) {
        for file in files {
            let hash = STANDARD.encode(Sha256::digest(file.bytes.as_slice()));
            self.store.keep_by_hash(platform.address(), hash, &file.bytes).await;
        }
    }
}
