//! Frames of videos, read by the programs `ffprobe` and `ffmpeg` as child processes.
//!
//! A video is a file without a name, which the child gets as its standard input and opens anew through `/proc`, so that it can
//! seek in it. The child sees nothing else of us: no variables, no network, no other file, whatever the video says.

mod child;
mod error;
mod frames;
mod probe;
#[cfg(test)]
mod tests;

pub use error::VideoError;
pub use frames::{Frame, FrameRange, FrameReader};
pub use probe::{VideoInfo, probe_video};

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How videos are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VideoSettings {
    /// The program that decodes.
    pub ffmpeg: PathBuf,
    /// The program that tells about files.
    pub ffprobe: PathBuf,
    /// Frames of more pixels are not decoded.
    pub max_pixels: u64,
    /// Longest that looking at a file may take.
    pub probe_timeout: Duration,
    /// Longest wait for a frame.
    pub frame_timeout: Duration,
}

impl Default for VideoSettings {
    fn default() -> Self {
        Self {
            ffmpeg: "ffmpeg".into(),
            ffprobe: "ffprobe".into(),
            // 8K, and something.
            max_pixels: 50_000_000,
            probe_timeout: Duration::from_secs(60),
            frame_timeout: Duration::from_secs(60),
        }
    }
}

/// A video's file. It needs no name, and many may read it at a time.
#[derive(Debug, Clone)]
pub struct VideoFile {
    file: Arc<File>,
}

impl VideoFile {
    /// A file that is complete.
    pub const fn new(file: Arc<File>) -> Self {
        Self { file }
    }
}

/// Whether both programs are here.
///
/// # Errors
/// [`VideoError::FfmpegMissing`] for the one that is not.
pub fn ffmpeg_is_here(settings: &VideoSettings) -> Result<(), VideoError> {
    for program in [&settings.ffmpeg, &settings.ffprobe] {
        if !child::is_program(program) {
            return Err(VideoError::FfmpegMissing { program: program.display().to_string() });
        }
    }
    Ok(())
}
