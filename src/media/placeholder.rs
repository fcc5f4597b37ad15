//! Placeholder.
#![allow(missing_docs)]
use std::fs::File;
use std::sync::Arc;
use thiserror::Error;
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct FetchError(pub String);
impl FetchError {
    pub fn is_callers_fault(&self) -> bool {
        true
    }
}
#[derive(Debug, Clone, Default)]
pub struct FetchSettings {
    pub allowed_hosts: Vec<AllowedHost>,
}
#[derive(Debug, Clone)]
pub struct AllowedHost;
impl std::str::FromStr for AllowedHost {
    type Err = String;
    fn from_str(_: &str) -> Result<Self, String> {
        Ok(Self)
    }
}
#[derive(Debug)]
pub struct Fetcher;
impl Fetcher {
    pub fn new(_: FetchSettings) -> Self {
        Self
    }
    pub async fn fetch(&self, _: &str) -> Result<Vec<u8>, FetchError> {
        Err(FetchError("x".into()))
    }
}
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VideoError {
    #[error("{program}")]
    FfmpegMissing { program: String },
}
impl VideoError {
    pub fn is_callers_fault(&self) -> bool {
        true
    }
}
#[derive(Debug, Clone, Default)]
pub struct VideoSettings {}
#[derive(Debug, Clone)]
pub struct VideoFile(pub Arc<File>);
impl VideoFile {
    pub fn new(f: Arc<File>) -> Self {
        Self(f)
    }
}
pub struct VideoInfo {
    pub width: u32,
    pub height: u32,
    pub frames: u64,
    pub frames_per_second: f64,
}
pub async fn probe_video(_: &VideoFile, _: &VideoSettings) -> Result<VideoInfo, VideoError> {
    Err(VideoError::FfmpegMissing { program: "x".into() })
}
pub fn ffmpeg_is_here(_: &VideoSettings) -> Result<(), VideoError> {
    Err(VideoError::FfmpegMissing { program: "x".into() })
}
#[derive(Debug, Clone, Copy)]
pub struct FrameRange {
    pub start: u64,
    pub step: u64,
    pub count: u64,
    pub backward: bool,
}
pub struct Frame {
    pub index: u64,
    pub width: u32,
    pub height: u32,
    pub rgb: Vec<u8>,
}
pub struct FrameReader;
impl FrameReader {
    pub async fn open(_: &VideoFile, _: &VideoInfo, _: FrameRange, _: &VideoSettings) -> Result<Self, VideoError> {
        Ok(Self)
    }
    pub async fn next(&mut self) -> Result<Option<Frame>, VideoError> {
        Ok(None)
    }
}
