//! Videos: their records, files and frames, and what tracking makes of them.

use std::fs::File;
use std::io::{Seek, Write};
use std::sync::Arc;

use reqwest::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::error::PlatformError;
use super::images::read_parts;
use super::records::VideoRecord;
use super::transport::{Failure, Platform, nonsense};
use crate::supervisely::Rectangle;

/// Figures that one call may make.
const FIGURES_PER_CALL: usize = 100;

/// A rectangle on a frame of a tracked object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// The object on the platform.
    pub object_id: i64,
    /// The frame.
    pub frame: u64,
    /// Where it is, in pixels.
    pub rectangle: Rectangle,
}

/// What the labelling tool is told about a tracking run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Figures were made on these frames.
    Progress {
        /// First and last frame of the whole run.
        range: (u64, u64),
        /// Frames done.
        current: u64,
        /// Frames in all.
        total: u64,
    },
    /// The run failed.
    Failed {
        /// In one line.
        message: String,
    },
}

#[derive(Deserialize)]
struct Stopped {
    #[serde(default)]
    stopped: bool,
}

#[derive(Deserialize)]
struct Named {
    id: i64,
    name: String,
}

#[derive(Deserialize)]
struct IdOnly {
    id: i64,
}

impl Platform {
    /// A video's record.
    ///
    /// # Errors
    /// The platform's.
    pub async fn video(&self, id: i64) -> Result<VideoRecord, PlatformError> {
        self.call("videos.info", &json!({"id": id, "forceMetadataForLinks": true})).await
    }

    /// Frames as pictures, each with its index.
    ///
    /// # Errors
    /// The platform's, and a frame of more than `max_bytes`.
    pub async fn download_frames(
        &self,
        video_id: i64,
        frames: &[u64],
        max_bytes: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, PlatformError> {
        const METHOD: &str = "videos.bulk.download-frame";
        let body = json!({"videoId": video_id, "frames": frames});
        let parts =
            self.download(METHOD, &body, |response| read_parts(METHOD, response, (max_bytes, frames.len()))).await?;
        Ok(parts.into_iter().filter_map(|(name, bytes)| Some((name.parse().ok()?, bytes))).collect())
    }

    /// Writes a video's file into `target`, from its start.
    ///
    /// # Errors
    /// The platform's, and a file of more than `max_bytes`.
    pub async fn download_video(&self, id: i64, target: Arc<File>, max_bytes: u64) -> Result<(), PlatformError> {
        self.download("videos.download", &json!({ "id": id }), |response| {
            write_file(response, Arc::clone(&target), max_bytes)
        })
        .await
    }

    /// The ids of a project's classes, by name.
    ///
    /// # Errors
    /// The platform's.
    pub async fn class_ids(&self, project_id: i64) -> Result<Vec<(String, i64)>, PlatformError> {
        let body = json!({"projectId": project_id, "filter": [], "sort": "id", "sort_order": "asc"});
        let classes: Vec<Named> = self.list("advanced.object_classes.list", body).await?;
        Ok(classes.into_iter().map(|class| (class.name, class.id)).collect())
    }

    /// Makes objects of these classes on a video and gives their ids, in order.
    ///
    /// # Errors
    /// The platform's.
    pub async fn add_video_objects(&self, video: &VideoRecord, class_ids: &[i64]) -> Result<Vec<i64>, PlatformError> {
        const METHOD: &str = "annotation-objects.bulk.add";
        let objects: Vec<Value> =
            class_ids.iter().map(|class_id| json!({"classId": class_id, "entityId": video.id})).collect();
        let body = json!({"datasetId": video.dataset_id, "annotationObjects": objects});
        let added: Vec<IdOnly> = self.call(METHOD, &body).await?;
        match added.len() == class_ids.len() {
            true => Ok(added.into_iter().map(|object| object.id).collect()),
            false => Err(nonsense(METHOD, &format!("{} of {} objects were made", added.len(), class_ids.len()))),
        }
    }

    /// Makes figures on a video.
    ///
    /// # Errors
    /// The platform's.
    pub async fn add_figures(&self, video_id: i64, track_id: &str, figures: &[Figure]) -> Result<(), PlatformError> {
        for figures in figures.chunks(FIGURES_PER_CALL) {
            let figures: Vec<Value> = figures
                .iter()
                .map(|figure| {
                    json!({
                        "objectId": figure.object_id, "geometryType": "rectangle",
                        "geometry": {"points": {"exterior": figure.rectangle.exterior(), "interior": []}},
                        "meta": {"frame": figure.frame}, "trackId": track_id,
                    })
                })
                .collect();
            self.call::<Value>("figures.bulk.add", &json!({"entityId": video_id, "figures": figures})).await?;
        }
        Ok(())
    }

    /// Tells the labelling tool about a tracking run; true if its user stopped it.
    ///
    /// # Errors
    /// The platform's.
    pub async fn notify_tracking(&self, video_id: i64, track_id: &str, notice: &Notice) -> Result<bool, PlatformError> {
        let body = match notice {
            Notice::Progress { range: (first, last), current, total } => json!({
                "type": "videos:fetch-figures-in-range",
                "data": {"trackId": track_id, "videoId": video_id, "frameRange": [first, last],
                    "progress": {"current": current, "total": total}},
            }),
            Notice::Failed { message } => json!({
                "type": "videos:tracking-error",
                "data": {"trackId": track_id, "videoId": video_id, "error": {"message": message}},
            }),
        };
        let answer: Stopped = self.call("videos.notify-annotation-tool", &body).await?;
        Ok(answer.stopped)
    }
}

async fn write_file(mut response: Response, target: Arc<File>, max_bytes: u64) -> Result<(), Failure> {
    const METHOD: &str = "videos.download";
    let unwritable = |error: std::io::Error| Failure::lasting(nonsense(METHOD, &format!("cannot keep it: {error}")));
    let start = Arc::clone(&target);
    on_disk(move || {
        start.set_len(0)?;
        (&*start).rewind()
    })
    .await
    .map_err(unwritable)?;
    let mut written = 0;
    while let Some(chunk) = response.chunk().await.map_err(|error| Failure::broken(METHOD, error))? {
        written += chunk.len() as u64;
        if written > max_bytes {
            return Err(Failure::lasting(PlatformError::TooLarge { method: METHOD, most: max_bytes }));
        }
        let target = Arc::clone(&target);
        on_disk(move || (&*target).write_all(&chunk)).await.map_err(unwritable)?;
    }
    Ok(())
}

/// Work on a file, away from the threads that serve connections.
async fn on_disk(work: impl FnOnce() -> std::io::Result<()> + Send + 'static) -> std::io::Result<()> {
    spawn_blocking(work).await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}
