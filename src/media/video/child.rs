//! Child processes that see a video and nothing else of us.

use std::io;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use super::VideoFile;
use super::error::VideoError;

/// The child's own standard input, opened anew: with a position of its own, and room to seek.
pub(super) const INPUT: &str = "/proc/self/fd/0";
/// Containers that hold videos. Lists, patterns and scripts, which name other files, are none of them.
const FORMATS: &str = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,mjpeg,m4v,h264,hevc,ivf,\
nut,dv,mxf,rm,wtv,apng";
/// Bytes of the child's complaints that are kept: the last ones.
const KEPT_COMPLAINTS: usize = 2048;
/// Threads of a decoder. Frames wait for the model, not the model for frames.
const DECODER_THREADS: &str = "2";

/// Whether the program can be run: a path that is there, or a name in one of the folders for programs.
pub(super) fn is_program(program: &Path) -> bool {
    if program.components().count() > 1 {
        return program.is_file();
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(program).is_file())
}

/// A command whose input is the video. Options about the output are still to come.
pub(super) fn command(program: &Path, file: &VideoFile, options: &[&str]) -> Result<Command, VideoError> {
    let input = file.file.try_clone().map_err(VideoError::failed)?;
    let mut command = Command::new(program);
    command
        .args(["-v", "error", "-protocol_whitelist", "file", "-format_whitelist", FORMATS])
        .args(["-threads", DECODER_THREADS])
        .args(options)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("LC_ALL", "C")
        .stdin(Stdio::from(input))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    Ok(command)
}

/// Starts it.
pub(super) fn spawn(command: &mut Command, program: &Path) -> Result<Child, VideoError> {
    command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => VideoError::FfmpegMissing { program: program.display().to_string() },
        _ => VideoError::failed(error),
    })
}

/// Reads complaints to their end and keeps the last of them, in one line.
pub(super) async fn read_complaints(mut stream: impl AsyncRead + Unpin) -> String {
    let mut kept = Vec::new();
    let mut chunk = [0; 1024];
    while let Ok(length @ 1..) = stream.read(&mut chunk).await {
        kept.extend_from_slice(chunk.get(..length).unwrap_or_default());
        let surplus = kept.len().saturating_sub(KEPT_COMPLAINTS);
        kept.drain(..surplus);
    }
    let text = String::from_utf8_lossy(&kept).replace(INPUT, "the file");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() { "no reason given".to_owned() } else { text }
}
