//! Uploaded files on their way to pictures.
//!
//! Every file of a request is decoded before anything runs, so that a broken one refuses the request at once. Pixels
//! take far more room than files, and a small file may hold very many, so both decoding and what waits for the engine
//! draw on budgets that all requests share: what does not fit is decoded again when its turn comes.

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Instant;

use futures_util::stream::{self, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use super::SessionError;
use crate::florence::image::Picture;
use crate::media::{self, DecodeOptions};
use crate::supervisely::ImageSize;
use crate::telemetry::{Histogram, HistogramSnapshot};

/// Most pixels that all requests keep from the check until their turn.
const KEPT_PIXELS: u64 = 96 << 20;
/// Pixels are counted in units of this size, because a semaphore's count is limited.
const UNIT_PIXELS: u64 = 1 << 10;

/// Bytes of a decoded pixel.
const BYTES_OF_PIXEL: u64 = 3;

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

impl CheckedUpload {
    /// Bytes of the decoded picture.
    pub(super) fn decoded_bytes(&self) -> u64 {
        (self.size.height * self.size.width).unsigned_abs() * BYTES_OF_PIXEL
    }
}

#[derive(Debug)]
enum Pixels {
    Decoded(HeldPicture),
    Encoded(Arc<Vec<u8>>),
}

/// A decoded picture with its share of a budget, which is free again when this is dropped.
#[derive(Debug)]
pub(super) struct HeldPicture {
    pub(super) picture: Arc<Picture>,
    /// None once its place with the engine is all that bounds it.
    _share: Option<OwnedSemaphorePermit>,
}

/// A number of pixels that all requests share.
#[derive(Debug, Clone)]
struct PixelBudget {
    units: Arc<Semaphore>,
    total: u32,
}

impl PixelBudget {
    fn new(pixels: u64) -> Self {
        let total = u32::try_from(pixels.div_ceil(UNIT_PIXELS)).unwrap_or(u32::MAX).clamp(1, u32::MAX >> 3);
        Self { units: Arc::new(Semaphore::new(total as usize)), total }
    }

    /// Waits for room. A picture larger than the whole budget waits until it is alone.
    async fn acquire(&self, pixels: u64) -> Result<OwnedSemaphorePermit, Fault> {
        Arc::clone(&self.units)
            .acquire_many_owned(self.units_of(pixels).min(self.total))
            .await
            .map_err(|_| Fault::Stopped)
    }

    /// Takes room if there is any.
    fn try_acquire(&self, pixels: u64) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.units).try_acquire_many_owned(self.units_of(pixels)).ok()
    }

    fn units_of(&self, pixels: u64) -> u32 {
        u32::try_from(pixels.div_ceil(UNIT_PIXELS)).unwrap_or(u32::MAX)
    }
}

/// Decodes pictures away from the threads that serve connections, a few at a time for the whole server.
#[derive(Debug, Clone)]
pub(super) struct Decoder {
    options: Arc<DecodeOptions>,
    cores: Arc<Semaphore>,
    /// For what is being decoded, and for pictures that were decoded when their turn came. Whoever waits for it holds
    /// nothing of it, so it always comes free.
    working: PixelBudget,
    /// For pictures that wait for their turn. Nobody ever waits for it.
    kept: PixelBudget,
    width: usize,
    /// How long decoding takes, without the wait for it.
    times: Arc<Histogram>,
}

impl Decoder {
    pub(super) fn new(options: DecodeOptions) -> Self {
        let width = available_parallelism().map_or(FALLBACK_DECODERS, usize::from);
        Self {
            working: PixelBudget::new(options.max_pixels),
            kept: PixelBudget::new(KEPT_PIXELS),
            options: Arc::new(options),
            cores: Arc::new(Semaphore::new(width)),
            width,
            times: Arc::new(Histogram::of_seconds()),
        }
    }

    /// How long decoding took so far.
    pub(super) fn times(&self) -> HistogramSnapshot {
        self.times.snapshot()
    }

    /// Decodes every file once.
    pub(super) async fn check(&self, uploads: Vec<Upload>) -> Result<Vec<CheckedUpload>, SessionError> {
        let count = uploads.len();
        let jobs: Vec<_> = uploads.into_iter().map(|upload| self.clone().decode_upload(upload)).collect();
        let mut results = stream::iter(jobs).buffered(self.width);
        let mut checked = Vec::with_capacity(count);
        // Only the first ones are kept: their turns come first, and so their room comes free.
        let mut keeps = true;
        while let Some((upload, result)) = results.next().await {
            let held = result.map_err(|fault| fault.of_upload(upload.name, checked.len() + 1, count))?;
            let size = size_of(&held.picture);
            let share = self.kept.try_acquire(pixels_of(&held.picture)).filter(|_| keeps);
            keeps = share.is_some();
            let pixels = match share {
                Some(share) => Pixels::Decoded(HeldPicture { picture: held.picture, _share: Some(share) }),
                None => Pixels::Encoded(upload.bytes),
            };
            checked.push(CheckedUpload { size, pixels });
        }
        Ok(checked)
    }

    /// The pixels of a file that was checked before.
    pub(super) async fn load(&self, upload: CheckedUpload) -> Result<HeldPicture, SessionError> {
        match upload.pixels {
            Pixels::Decoded(picture) => Ok(picture),
            Pixels::Encoded(bytes) => {
                let fault = |fault: Fault| SessionError::Internal(format!("a checked picture changed: {fault:?}"));
                // It has a place with the engine; kept any longer, the share would let others wait for this one's answer.
                let held = self.decode(bytes).await.map_err(fault)?;
                Ok(HeldPicture { _share: None, ..held })
            }
        }
    }

    /// Bytes that a file takes once it is decoded, or the most that are decoded when it does not say.
    pub(super) fn decoded_bytes(&self, bytes: &[u8]) -> u64 {
        let pixels = media::declared_pixels(bytes).unwrap_or(self.options.max_pixels);
        pixels.min(self.options.max_pixels) * BYTES_OF_PIXEL
    }

    /// Decodes a file whose name the caller knows, and who has a place for the picture: its share of the decoders' room is free
    /// again.
    pub(super) async fn decode_file(&self, bytes: Arc<Vec<u8>>) -> Result<Arc<Picture>, SessionError> {
        let held = self.decode(bytes).await.map_err(|fault| match fault {
            Fault::Unreadable(reason) => SessionError::Unreadable { name: String::new(), reason },
            Fault::Stopped => SessionError::Internal("decoding was cut off".to_owned()),
        })?;
        Ok(held.picture)
    }

    async fn decode_upload(self, upload: Upload) -> (Upload, Result<HeldPicture, Fault>) {
        let result = self.decode(Arc::clone(&upload.bytes)).await;
        (upload, result)
    }

    async fn decode(&self, bytes: Arc<Vec<u8>>) -> Result<HeldPicture, Fault> {
        // A size that cannot be told may be any.
        let pixels = media::declared_pixels(&bytes).unwrap_or(self.options.max_pixels);
        // What declares too much is refused at once and takes no room.
        let pixels = if pixels > self.options.max_pixels { 0 } else { pixels };
        let share = self.working.acquire(pixels).await?;
        let core = Arc::clone(&self.cores).acquire_owned().await.map_err(|_| Fault::Stopped)?;
        let (options, times) = (Arc::clone(&self.options), Arc::clone(&self.times));
        let job = spawn_blocking(move || {
            // The work cannot be called off, so its shares go with it and not with the request.
            let _core = core;
            let begun = Instant::now();
            let picture = media::decode(&bytes, &options).map_err(|error| Fault::Unreadable(error.to_string()));
            times.observe(begun.elapsed());
            let picture = picture?;
            Ok(HeldPicture { picture: Arc::new(picture), _share: Some(share) })
        });
        job.await.unwrap_or(Err(Fault::Stopped))
    }
}

fn pixels_of(picture: &Picture) -> u64 {
    u64::from(picture.width()) * u64::from(picture.height())
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
        // Room for the first two pictures, each of which takes a whole unit; what follows is not kept even if it is small.
        let decoder = Decoder { kept: PixelBudget::new(2 * UNIT_PIXELS), ..Decoder::new(DecodeOptions::default()) };
        let checked = decoder.check(vec![upload(30), upload(20), upload(10)]).await.unwrap();
        let kept: Vec<bool> = checked.iter().map(|upload| matches!(upload.pixels, Pixels::Decoded(_))).collect();
        assert_eq!(kept, [true, true, false]);
        for (upload, width) in checked.into_iter().zip([30, 20, 10]) {
            assert_eq!(upload.size, ImageSize { height: 10, width: i64::from(width) });
            assert_eq!(decoder.load(upload).await.unwrap().picture.width(), width);
        }
        assert_eq!(decoder.kept.units.available_permits(), 2, "all room is free again");
    }

    #[tokio::test]
    async fn decoding_waits_for_room_and_large_pictures_for_all_of_it() {
        let options = DecodeOptions { max_pixels: 4 * UNIT_PIXELS, ..Default::default() };
        let decoder = Decoder { kept: PixelBudget::new(0), ..Decoder::new(options) };
        let busy = decoder.working.acquire(3 * UNIT_PIXELS).await.unwrap();
        let mut checked = decoder.check(vec![upload(102), upload(5)]).await.unwrap();
        let small = checked.pop().unwrap();
        let held = decoder.load(small).await.unwrap();
        let waiting = tokio::spawn({
            let (decoder, large) = (decoder.clone(), upload(400));
            async move { decoder.check(vec![large]).await.map(|checked| checked.len()) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "four units are not free");
        drop((busy, held));
        assert_eq!(waiting.await.unwrap(), Ok(1));
    }
}
