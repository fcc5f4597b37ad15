//! Bytes in, upright RGB pictures within limits out.
//!
//! Whatever the bytes are, the answer is a picture or a [`DecodeError`] in words that a user understands: nothing
//! panics, and what a file declares is checked before memory is taken for it. Functions are plain and block; callers
//! choose the thread.

mod decode;
mod draw;
mod error;
mod fetch;
mod file_cache;
mod format;
mod jpeg;
mod jpeg_scans;
mod orientation;
mod raster;
mod video;

pub use decode::{DecodeOptions, declared_pixels, decode};
pub use draw::draw_labelled_boxes;
pub use error::DecodeError;
pub use fetch::{AllowedHost, FetchError, FetchSettings, Fetcher};
pub use file_cache::{CachedFile, FileCache, FileCacheSettings};
pub use format::{is_picture_name, is_video_name};
pub use video::{
    Frame, FrameRange, FrameReader, VideoError, VideoFile, VideoInfo, VideoSettings, ffmpeg_is_here, probe_video,
};
