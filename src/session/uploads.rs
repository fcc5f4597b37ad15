//! Uploaded files on their way to pictures.
//!
//! Every file of a request is decoded before anything runs, so that a broken one refuses the request at once. Pixels
//! take far more room than files: what does not fit into [`KEPT_BYTES`] is decoded again when its turn comes.

use std::sync::Arc;
use std::thread::available_parallelism;

use futures_util::stream::{self, StreamExt};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::SessionError;
use crate::florence::image::Picture;
use crate::media::{self, DecodeOptions};
use crate::supervisely::ImageSize;

/// Most bytes of decoded pixels that one request keeps from the check until their turn.
const KEPT_BYTES: usize = 256 << 20;

/// Decoders that may run at a time when the machine does not say how many cores it has.
const FALLBACK_DECODERS: usize = 2;

/// A file as it was sent.
#[derive(Debug, Clone)]
pub struct Upload {
    /// The caller's name for it, only ever shown.
    pub name: String,
    /// Its content.
    pub bytes: Arc<Vec<u8>>,
}

/// A file that is known to be a picture.
#[derive(Debug)]
pub(super) struct CheckedUpload {
    /// Size of the upright picture.
    pub(super) size: ImageSize,
    pixels: Pixels,
}

#[derive(Debug)]
enum Pixels {
    Decoded(Arc<Picture>),
    Encoded(Arc<Vec<u8>>),
}

/// Decodes pictures away from the threads that serve connections, a few at a time for the whole server.
#[derive(Debug, Clone)]
pub(super) struct Decoder {
    options: Arc<DecodeOptions>,
    permits: Arc<Semaphore>,
    width: usize,
    kept_bytes: usize,
}

impl Decoder {
    pub(super) fn new(options: DecodeOptions) -> Self {
        let width = available_parallelism().map_or(FALLBACK_DECODERS, usize::from);
        Self { options: Arc::new(options), permits: Arc::new(Semaphore::new(width)), width, kept_bytes: KEPT_BYTES }
    }

    /// Decodes every file once.
    pub(super) async fn check(&self, uploads: Vec<Upload>) -> Result<Vec<CheckedUpload>, SessionError> {
        let count = uploads.len();
        let jobs: Vec<_> = uploads.into_iter().map(|upload| self.clone().decode_upload(upload)).collect();
        let mut results = stream::iter(jobs).buffered(self.width);
        let mut checked = Vec::with_capacity(count);
        let mut kept_bytes = 0;
        while let Some((upload, result)) = results.next().await {
            let picture = result.map_err(|fault| fault.of_upload(upload.name, checked.len() + 1, count))?;
            let size = size_of(&picture);
            let picture_bytes = picture.rgb().len();
            let pixels = if kept_bytes + picture_bytes <= self.kept_bytes {
                kept_bytes += picture_bytes;
                Pixels::Decoded(Arc::new(picture))
            } else {
                Pixels::Encoded(upload.bytes)
            };
            checked.push(CheckedUpload { size, pixels });
        }
        Ok(checked)
    }

    /// The pixels of a file that was checked before.
    pub(super) async fn load(&self, upload: CheckedUpload) -> Result<Arc<Picture>, SessionError> {
        match upload.pixels {
            Pixels::Decoded(picture) => Ok(picture),
            Pixels::Encoded(bytes) => {
                let fault = |fault: Fault| SessionError::Internal(format!("a checked picture changed: {fault:?}"));
                self.decode(bytes).await.map(Arc::new).map_err(fault)
            }
        }
    }

    async fn decode_upload(self, upload: Upload) -> (Upload, Result<Picture, Fault>) {
        let result = self.decode(Arc::clone(&upload.bytes)).await;
        (upload, result)
    }

    async fn decode(&self, bytes: Arc<Vec<u8>>) -> Result<Picture, Fault> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| Fault::Stopped)?;
        let options = Arc::clone(&self.options);
        let job = spawn_blocking(move || {
            // The work cannot be called off, so the permit goes with it and not with the request.
            let _permit = permit;
            media::decode(&bytes, &options).map_err(|error| Fault::Unreadable(error.to_string()))
        });
        job.await.unwrap_or(Err(Fault::Stopped))
    }
}

/// Size of a picture in the platform's terms.
pub(super) fn size_of(picture: &Picture) -> ImageSize {
    ImageSize { height: i64::from(picture.height()), width: i64::from(picture.width()) }
}

#[derive(Debug)]
enum Fault {
    Unreadable(String),
    /// The decoder panicked, or the server is going down.
    Stopped,
}

impl Fault {
    fn of_upload(self, name: String, position: usize, count: usize) -> SessionError {
        match self {
            Self::Unreadable(reason) => SessionError::UnreadablePicture { name, position, count, reason },
            Self::Stopped => SessionError::Internal(format!("decoding of {name:?} was cut off")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn upload(width: u32) -> Upload {
        let mut file = Cursor::new(Vec::new());
        image::DynamicImage::new_rgb8(width, 10).write_to(&mut file, image::ImageFormat::Png).unwrap();
        Upload { name: format!("{width}.png"), bytes: Arc::new(file.into_inner()) }
    }

    #[tokio::test]
    async fn what_is_not_kept_is_decoded_again() {
        // Room for the second picture alone: the first one is too large and the third one comes too late.
        let decoder = Decoder { kept_bytes: 20 * 10 * 3, ..Decoder::new(DecodeOptions::default()) };
        let checked = decoder.check(vec![upload(30), upload(20), upload(10)]).await.unwrap();
        let kept: Vec<bool> = checked.iter().map(|upload| matches!(upload.pixels, Pixels::Decoded(_))).collect();
        assert_eq!(kept, [false, true, false]);
        for (upload, width) in checked.into_iter().zip([30, 20, 10]) {
            assert_eq!(upload.size, ImageSize { height: 10, width: i64::from(width) });
            assert_eq!(decoder.load(upload).await.unwrap().width(), width);
        }
    }
}
