//! What a video is: its size, its frames, and how fast they follow one another.

use serde::Deserialize;
use tokio::time::timeout;

use super::child::{INPUT, command, read_complaints, spawn};
use super::error::VideoError;
use super::{VideoFile, VideoSettings};

/// About a video.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VideoInfo {
    /// Columns of a frame, after it was turned as the file says.
    pub width: u32,
    /// Rows of a frame.
    pub height: u32,
    /// Frames.
    pub frames: u64,
    /// Frames a second, on average.
    pub frames_per_second: f64,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    streams: Vec<Stream>,
}

#[derive(Deserialize)]
struct Stream {
    width: Option<u32>,
    height: Option<u32>,
    nb_read_packets: Option<String>,
    avg_frame_rate: Option<String>,
    r_frame_rate: Option<String>,
    #[serde(default)]
    tags: Tags,
    #[serde(default)]
    side_data_list: Vec<SideData>,
}

#[derive(Default, Deserialize)]
struct Tags {
    rotate: Option<String>,
}

#[derive(Deserialize)]
struct SideData {
    rotation: Option<f64>,
}

/// Looks at a video. Its packets are counted, which reads it once: what containers say of themselves is not always so.
///
/// # Errors
/// It is none that is read, or its frames are too large.
pub async fn probe_video(file: &VideoFile, settings: &VideoSettings) -> Result<VideoInfo, VideoError> {
    let options = [
        "-select_streams",
        "v:0",
        "-count_packets",
        "-show_entries",
        "stream=width,height,nb_read_packets,avg_frame_rate,r_frame_rate:stream_tags=rotate:stream_side_data=rotation",
        "-of",
        "json",
        INPUT,
    ];
    let child = spawn(&mut command(&settings.ffprobe, file, &options)?, &settings.ffprobe)?;
    let output = timeout(settings.probe_timeout, child.wait_with_output()).await;
    let output = output.map_err(|_| VideoError::TimedOut)?.map_err(VideoError::failed)?;
    if !output.status.success() {
        return Err(VideoError::NotAVideo { reason: read_complaints(output.stderr.as_slice()).await });
    }
    let answer: Answer = serde_json::from_slice(&output.stdout).map_err(VideoError::failed)?;
    let stream = answer.streams.first().ok_or_else(|| no_picture("there is no picture in it"))?;
    let info = stream.info().ok_or_else(|| no_picture("it does not say how large its frames are"))?;
    if u64::from(info.width) * u64::from(info.height) > settings.max_pixels {
        return Err(VideoError::TooLarge { width: info.width, height: info.height, most: settings.max_pixels });
    }
    Ok(info)
}

fn no_picture(reason: &str) -> VideoError {
    VideoError::NotAVideo { reason: reason.to_owned() }
}

impl Stream {
    fn info(&self) -> Option<VideoInfo> {
        let (width, height) = (self.width.filter(|side| *side > 0)?, self.height.filter(|side| *side > 0)?);
        let turned = self.side_data_list.iter().find_map(|data| data.rotation);
        let turned = turned.or_else(|| self.tags.rotate.as_deref()?.parse().ok()).unwrap_or(0.0);
        // A quarter turn, in either direction.
        let is_on_its_side = (turned.abs() % 180.0 - 90.0).abs() < 45.0;
        let (width, height) = if is_on_its_side { (height, width) } else { (width, height) };
        let frames = self.nb_read_packets.as_deref().and_then(|count| count.parse().ok()).unwrap_or(0);
        let rate = |text: &Option<String>| text.as_deref().and_then(ratio);
        let frames_per_second = rate(&self.avg_frame_rate).or_else(|| rate(&self.r_frame_rate)).unwrap_or(0.0);
        Some(VideoInfo { width, height, frames, frames_per_second })
    }
}

/// `30000/1001`; nothing for `0/0`.
fn ratio(text: &str) -> Option<f64> {
    let (above, below) = text.split_once('/')?;
    let (above, below): (f64, f64) = (above.parse().ok()?, below.parse().ok()?);
    (above > 0.0 && below > 0.0).then(|| above / below)
}
