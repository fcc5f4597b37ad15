//! The upload form of a video: its file goes to the disk as it comes, into a file without a name.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use axum::extract::multipart::{Field, Multipart};
use axum::extract::{FromRequest, Request};
use serde_json::{Map, Value};
use tokio::task::spawn_blocking;

use super::budget::Reservation;
use super::error::ApiError;
use super::form::{TextParts, broken_form, is_form, next_chunk};
use super::limits::{MAX_PARTS, MAX_VIDEO_BYTES};
use super::state::AppState;

/// A video's form, read in full.
#[derive(Debug)]
pub(super) struct VideoForm {
    /// The first file.
    pub(super) file: Arc<File>,
    /// The arguments.
    pub(super) state: Map<String, Value>,
    /// Holds the file's bytes in the server's budget.
    pub(super) reservation: Reservation,
}

impl FromRequest<AppState> for VideoForm {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &AppState) -> Result<Self, ApiError> {
        // Before gigabytes are taken for nothing.
        app.served_model()?;
        app.session.check_videos_are_read()?;
        if !is_form(request.headers()) {
            return Err(ApiError::missing_files());
        }
        let mut form = Multipart::from_request(request, app)
            .await
            .map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
        let mut reservation = app.videos.open();
        let mut texts = TextParts::default();
        let mut file = None;
        let mut parts = 0;
        while let Some(part) = form.next_field().await.map_err(broken_form)? {
            parts += 1;
            if parts > MAX_PARTS {
                return Err(ApiError::too_large(format!("A form may have at most {MAX_PARTS} parts")));
            }
            match part.name() {
                Some("files") if file.is_none() => {
                    let target = app.session.create_video_file()?;
                    file = Some(store(part, target, &mut reservation).await?);
                }
                Some("state" | "settings") => texts.read(part).await?,
                // The body has no limit of its own here.
                _ => return Err(ApiError::bad_request("The form holds one video, and text parts state or settings")),
            }
        }
        let file = file.ok_or_else(ApiError::missing_files)?;
        Ok(Self { file, state: texts.parse()?, reservation })
    }
}

/// Writes a part to the file.
async fn store(mut part: Field<'_>, file: File, reservation: &mut Reservation) -> Result<Arc<File>, ApiError> {
    let file = Arc::new(file);
    let mut length = 0;
    while let Some(chunk) = next_chunk(&mut part).await? {
        length += chunk.len() as u64;
        if length > MAX_VIDEO_BYTES {
            return Err(ApiError::too_large(format!("A video may have at most {MAX_VIDEO_BYTES} bytes")));
        }
        if !reservation.grow(chunk.len()) {
            return Err(ApiError::overloaded());
        }
        let target = Arc::clone(&file);
        let written = spawn_blocking(move || (&*target).write_all(&chunk)).await;
        let written = written.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        written.map_err(|error| ApiError::internal(format!("cannot keep the video: {error}")))?;
    }
    Ok(file)
}
