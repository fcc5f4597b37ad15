//! Frames of a video, one after the other.
//!
//! Frames are counted as they are decoded, from the first one on, so that an index means the same frame in every container. That
//! costs decoding what lies before the range. Backward, windows of frames are decoded forward and handed out from their ends.

use tokio::io::{AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::child::{INPUT, command, read_complaints, spawn};
use super::error::VideoError;
use super::probe::VideoInfo;
use super::{VideoFile, VideoSettings};

/// Bytes of a pixel.
const RGB_BYTES: usize = 3;
/// The first frame may take so many times as long as another.
const FIRST_FRAME_PATIENCE: u32 = 10;
/// Bytes of frames that are held to be handed out backward.
const WINDOW_BYTES: usize = 64 << 20;

/// Which frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRange {
    /// The first one that is handed out.
    pub start: u64,
    /// Distance from one to the next, at least 1.
    pub step: u64,
    /// How many.
    pub count: u64,
    /// Whether they go back from the first one.
    pub backward: bool,
}

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its number in the video, from 0.
    pub index: u64,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Three bytes a pixel, row by row.
    pub rgb: Vec<u8>,
}

/// Reads frames. Its child process ends with it.
#[derive(Debug)]
pub struct FrameReader {
    file: VideoFile,
    info: VideoInfo,
    settings: VideoSettings,
    /// What is still to be handed out.
    rest: FrameRange,
    /// What is being decoded.
    decoding: Option<Decoding>,
    /// Frames of a window, the next one last.
    window: Vec<Frame>,
}

/// A child that decodes frames, each `step` from the one before.
#[derive(Debug)]
struct Decoding {
    child: Child,
    pixels: BufReader<ChildStdout>,
    complaints: JoinHandle<String>,
    next_index: u64,
    step: u64,
    /// Whether no frame has come yet.
    is_fresh: bool,
}

impl FrameReader {
    /// Starts reading. Frames of more pixels than the settings allow are not decoded.
    ///
    /// # Errors
    /// The program cannot be started.
    pub async fn open(
        file: &VideoFile,
        info: &VideoInfo,
        range: FrameRange,
        settings: &VideoSettings,
    ) -> Result<Self, VideoError> {
        let (file, settings) = (file.clone(), settings.clone());
        let rest = FrameRange { step: range.step.max(1), ..range };
        let mut reader = Self { file, info: *info, settings, rest, decoding: None, window: vec![] };
        if rest.count > 0 && !rest.backward {
            reader.decoding = Some(reader.decode(rest.start, rest.count)?);
        }
        Ok(reader)
    }

    /// The next frame, none after the last one or after the end of the video.
    ///
    /// # Errors
    /// The program breaks off or hangs.
    pub async fn next(&mut self) -> Result<Option<Frame>, VideoError> {
        if self.rest.count == 0 {
            return Ok(None);
        }
        if self.rest.backward && self.window.is_empty() {
            self.fill_window().await?;
        }
        let frame = if self.rest.backward { self.window.pop() } else { self.read().await? };
        self.rest.count = if frame.is_some() { self.rest.count - 1 } else { 0 };
        Ok(frame)
    }

    /// Decodes the frames before those that were handed out, as many as may be held.
    async fn fill_window(&mut self) -> Result<(), VideoError> {
        let FrameRange { start, step, count, .. } = self.rest;
        let held = (WINDOW_BYTES / self.frame_bytes().max(1)).max(1) as u64;
        let wanted = count.min(held).min(start / step + 1);
        let first = start - (wanted - 1) * step;
        self.decoding = Some(self.decode(first, wanted)?);
        while let Some(frame) = self.read().await? {
            self.window.push(frame);
        }
        self.decoding = None;
        match first.checked_sub(step) {
            Some(before) => self.rest.start = before,
            // Nothing is before the first frame.
            None => self.rest.count = wanted,
        }
        Ok(())
    }

    fn frame_bytes(&self) -> usize {
        self.info.width as usize * self.info.height as usize * RGB_BYTES
    }

    fn decode(&self, first: u64, count: u64) -> Result<Decoding, VideoError> {
        let step = self.rest.step;
        let select = format!("select=gte(n\\,{first})*not(mod(n-{first}\\,{step}))");
        let (size, count) = (format!("{}x{}", self.info.width, self.info.height), count.to_string());
        // Every frame that was chosen, once, whatever its time; in the size that was promised, even if the video changes it.
        // It would take what comes from its input, which is the video, for key presses.
        let options = [
            "-nostdin",
            "-i",
            INPUT,
            "-map",
            "0:v:0",
            "-an",
            "-sn",
            "-dn",
            "-vf",
            &select,
            "-vsync",
            "passthrough",
            "-frames:v",
            &count,
            "-s",
            &size,
            "-pix_fmt",
            "rgb24",
            "-f",
            "rawvideo",
            "pipe:1",
        ];
        let mut child = spawn(&mut command(&self.settings.ffmpeg, &self.file, &options)?, &self.settings.ffmpeg)?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(VideoError::failed("it has no output"));
        };
        let complaints = tokio::spawn(read_complaints(stderr));
        Ok(Decoding { child, pixels: BufReader::new(stdout), complaints, next_index: first, step, is_fresh: true })
    }

    async fn read(&mut self) -> Result<Option<Frame>, VideoError> {
        let mut rgb = vec![0; self.frame_bytes()];
        let Some(decoding) = &mut self.decoding else { return Ok(None) };
        // Before the first frame come those that are passed over.
        let patience = if std::mem::replace(&mut decoding.is_fresh, false) { FIRST_FRAME_PATIENCE } else { 1 };
        let read = timeout(self.settings.frame_timeout * patience, read_frame(&mut decoding.pixels, &mut rgb)).await;
        if read.map_err(|_| VideoError::TimedOut)?? {
            let index = decoding.next_index;
            decoding.next_index += decoding.step;
            return Ok(Some(Frame { index, width: self.info.width, height: self.info.height, rgb }));
        }
        let Some(Decoding { mut child, complaints, .. }) = self.decoding.take() else { return Ok(None) };
        let status = timeout(self.settings.frame_timeout, child.wait()).await.map_err(|_| VideoError::TimedOut)?;
        if status.map_err(VideoError::failed)?.success() {
            return Ok(None);
        }
        Err(VideoError::failed(complaints.await.unwrap_or_default()))
    }
}

/// Whether there was another frame. A piece of one is no frame.
async fn read_frame(pixels: &mut BufReader<ChildStdout>, rgb: &mut [u8]) -> Result<bool, VideoError> {
    match pixels.read_exact(rgb).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(VideoError::failed(error)),
    }
}
