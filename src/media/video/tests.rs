//! Videos whose frames are known, made by ffmpeg itself.

use std::io::Write;
use std::process::{Command, Stdio};

use super::*;

const WIDTH: usize = 64;
const HEIGHT: usize = 48;
/// Grey of frame k is k times this, from a start.
const GREY_STEP: u8 = 7;
const FIRST_GREY: u8 = 20;

fn settings() -> VideoSettings {
    VideoSettings::default()
}

/// Whether the programs are here; tests that need them say so and pass where they are not.
fn can_run() -> bool {
    let is_here = ffmpeg_is_here(&settings()).is_ok();
    if !is_here {
        eprintln!("SKIPPED: ffmpeg is not installed");
    }
    is_here
}

fn video_file(bytes: &[u8]) -> VideoFile {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    VideoFile::new(Arc::new(file))
}

/// A video of grey frames that get brighter, in this container; none where ffmpeg lacks the encoder.
fn video(frames: u8, options: &[&str], extension: &str) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join(format!("video.{extension}"));
    let size = format!("{WIDTH}x{HEIGHT}");
    let mut child = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", &size, "-r", "6", "-i", "pipe:0"])
        .args(options)
        .arg(&target)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    for frame in 0..frames {
        // Broken encoders close the pipe; that shows below.
        let _ = input.write_all(&vec![FIRST_GREY + frame * GREY_STEP; WIDTH * HEIGHT * 3]);
    }
    drop(input);
    child.wait().unwrap().success().then(|| std::fs::read(target).unwrap())
}

fn mjpeg(frames: u8) -> Vec<u8> {
    video(frames, &["-c:v", "mjpeg", "-q:v", "2"], "avi").unwrap()
}

/// The frame's number by its grey.
fn shown(frame: &Frame) -> u64 {
    let middle = frame.rgb[frame.rgb.len() / 2];
    ((f64::from(middle) - f64::from(FIRST_GREY)) / f64::from(GREY_STEP)).round() as u64
}

async fn read(file: &VideoFile, range: FrameRange) -> Result<Vec<(u64, u64)>, VideoError> {
    let info = probe_video(file, &settings()).await?;
    let mut reader = FrameReader::open(file, &info, range, &settings()).await?;
    let mut frames = vec![];
    while let Some(frame) = reader.next().await? {
        assert_eq!((frame.width, frame.height, frame.rgb.len()), (info.width, info.height, WIDTH * HEIGHT * 3));
        frames.push((frame.index, shown(&frame)));
    }
    Ok(frames)
}

fn forward(start: u64, step: u64, count: u64) -> FrameRange {
    FrameRange { start, step, count, backward: false }
}

fn same(indices: &[u64]) -> Vec<(u64, u64)> {
    indices.iter().map(|index| (*index, *index)).collect()
}

#[tokio::test]
async fn frames_are_those_of_their_numbers_in_every_container() {
    if !can_run() {
        return;
    }
    let kinds: [(&str, &[&str], &str); 5] = [
        ("mjpeg", &["-c:v", "mjpeg", "-q:v", "2"], "avi"),
        ("mpeg4", &["-c:v", "mpeg4", "-bf", "2", "-g", "5", "-q:v", "2"], "mp4"),
        ("h264", &["-c:v", "libx264", "-bf", "3", "-g", "6", "-qp", "10", "-pix_fmt", "yuv420p"], "mp4"),
        (
            "h264 in matroska, frames of uneven length",
            &[
                "-c:v",
                "libx264",
                "-qp",
                "10",
                "-pix_fmt",
                "yuv420p",
                "-vf",
                "setpts=(3*N+mod(N\\,2))/18/TB",
                "-vsync",
                "vfr",
            ],
            "mkv",
        ),
        ("mpeg2", &["-c:v", "mpeg2video", "-bf", "2", "-q:v", "2", "-r", "24"], "ts"),
    ];
    for (name, options, extension) in kinds {
        let Some(bytes) = video(20, options, extension) else {
            eprintln!("SKIPPED {name}: no such encoder");
            continue;
        };
        let file = video_file(&bytes);
        let info = probe_video(&file, &settings()).await.unwrap();
        assert_eq!((info.width as usize, info.height as usize), (WIDTH, HEIGHT), "{name}");
        if extension == "ts" {
            // Its frames are repeated to make 24 a second; only their number and order can be known.
            let frames = read(&file, forward(0, 1, 1000)).await.unwrap();
            assert!(frames.is_sorted_by_key(|(_, shown)| *shown) && frames.len() as u64 == info.frames, "{name}");
            continue;
        }
        assert_eq!(info.frames, 20, "{name}");
        assert_eq!(read(&file, forward(0, 1, 20)).await, Ok(same(&(0..20).collect::<Vec<_>>())), "{name}");
        assert_eq!(read(&file, forward(7, 1, 3)).await, Ok(same(&[7, 8, 9])), "{name}");
        assert_eq!(read(&file, forward(1, 4, 5)).await, Ok(same(&[1, 5, 9, 13, 17])), "{name}");
        assert_eq!(read(&file, forward(18, 1, 50)).await, Ok(same(&[18, 19])), "{name}: it ends early");
        assert_eq!(read(&file, forward(30, 1, 5)).await, Ok(vec![]), "{name}");
        let backward = FrameRange { backward: true, ..forward(9, 3, 3) };
        assert_eq!(read(&file, backward).await, Ok(same(&[9, 6, 3])), "{name}");
        let to_the_start = FrameRange { backward: true, ..forward(4, 3, 10) };
        assert_eq!(read(&file, to_the_start).await, Ok(same(&[4, 1])), "{name}");
    }
}

#[tokio::test]
async fn several_read_one_file_at_a_time() {
    if !can_run() {
        return;
    }
    let file = video_file(&mjpeg(12));
    let (first, second) = tokio::join!(read(&file, forward(0, 1, 12)), read(&file, forward(3, 2, 3)));
    assert_eq!((first.unwrap().len(), second), (12, Ok(same(&[3, 5, 7]))));
}

#[tokio::test]
async fn a_turned_video_is_as_large_as_its_frames() {
    if !can_run() {
        return;
    }
    let Some(bytes) = video(3, &["-c:v", "mpeg4", "-metadata:s:v:0", "rotate=90"], "mp4") else { return };
    let file = video_file(&bytes);
    let info = probe_video(&file, &settings()).await.unwrap();
    let mut reader = FrameReader::open(&file, &info, forward(0, 1, 1), &settings()).await.unwrap();
    let frame = reader.next().await.unwrap().unwrap();
    // Newer versions of ffmpeg write no such mark any more; then nothing is turned.
    assert!(matches!((info.width as usize, info.height as usize), (HEIGHT, WIDTH) | (WIDTH, HEIGHT)));
    assert_eq!(frame.rgb.len(), WIDTH * HEIGHT * 3);
}

#[tokio::test]
async fn what_is_no_video_is_refused() {
    if !can_run() {
        return;
    }
    let mut half = mjpeg(12);
    half.truncate(half.len() / 2);
    let secret = tempfile::NamedTempFile::with_suffix(".avi").unwrap();
    std::fs::write(secret.path(), mjpeg(3)).unwrap();
    let secret = secret.path().display().to_string();
    let tricks = [
        "just text".to_owned(),
        String::new(),
        format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n"),
        format!("ffconcat version 1.0\nfile {secret}\n"),
        format!("ffconcat version 1.0\nfile file:{secret}\n"),
        format!("[reference]\nmovie={secret}\n"),
        format!(
            "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\"><Period><AdaptationSet><Representation><BaseURL>{secret}</BaseURL></Representation></AdaptationSet></Period></MPD>"
        ),
        format!("RTSPtext\nrtsp://127.0.0.1/{secret}\n"),
        format!("v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n{secret}"),
    ];
    for trick in tricks {
        let error = probe_video(&video_file(trick.as_bytes()), &settings()).await.unwrap_err();
        assert!(matches!(error, VideoError::NotAVideo { .. }), "{trick}: {error}");
        assert!(!error.to_string().contains("/proc/"), "{error}");
    }
    // What is there of it can be seen.
    if let Ok(frames) = read(&video_file(&half), forward(0, 1, 12)).await {
        assert!(frames.len() < 12 && frames.iter().all(|(index, shown)| index == shown), "{frames:?}");
    }
    let small = VideoSettings { max_pixels: 100, ..settings() };
    let error = probe_video(&video_file(&mjpeg(2)), &small).await.unwrap_err();
    assert_eq!(error, VideoError::TooLarge { width: 64, height: 48, most: 100 });
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let missing = VideoSettings { ffmpeg: "no-such-ffmpeg".into(), ffprobe: "/no/such/ffprobe".into(), ..settings() };
    assert_eq!(ffmpeg_is_here(&missing), Err(VideoError::FfmpegMissing { program: "no-such-ffmpeg".to_owned() }));
    let error = probe_video(&video_file(b""), &missing).await.unwrap_err();
    assert_eq!(error, VideoError::FfmpegMissing { program: "/no/such/ffprobe".to_owned() });
}

/// A program of a few lines in place of ffmpeg.
#[cfg(unix)]
fn script(folder: &tempfile::TempDir, lines: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.path().join("program");
    std::fs::write(&path, format!("#!/bin/sh\n{lines}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[cfg(unix)]
#[tokio::test]
async fn a_child_that_hangs_is_ended_and_sees_no_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let notes = folder.path().join("notes");
    let lines = format!("env > {0}; echo $$ >> {0}; exec sleep 1000", notes.display());
    let hanging = script(&folder, &lines);
    let quick = VideoSettings {
        ffmpeg: hanging.clone(),
        ffprobe: hanging,
        probe_timeout: Duration::from_millis(500),
        frame_timeout: Duration::from_millis(500),
        ..settings()
    };
    let file = video_file(b"x");
    assert_eq!(probe_video(&file, &quick).await, Err(VideoError::TimedOut));
    let info = VideoInfo { width: 4, height: 4, frames: 1, frames_per_second: 1.0 };
    let mut reader = FrameReader::open(&file, &info, forward(0, 1, 1), &quick).await.unwrap();
    assert_eq!(reader.next().await, Err(VideoError::TimedOut));
    drop(reader);
    let seen = std::fs::read_to_string(notes).unwrap();
    let names: Vec<&str> = seen.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    assert!(names.iter().all(|name| ["PATH", "LC_ALL", "PWD", "_", "SHLVL", "OLDPWD"].contains(name)), "{names:?}");
    let process = format!("/proc/{}", seen.lines().last().unwrap());
    for _ in 0..100 {
        // Killed, and reaped by the runtime a little later.
        if !std::path::Path::new(&process).exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the child still runs");
}
