//! Frames of a video, on the platform or uploaded, with or without tracks.

use std::fs::File;
use std::future::ready;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::stream::{self, BoxStream, StreamExt};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::super::queue::InferenceRequest;
use super::super::{Session, SessionError, in_time};
use super::{Content, Course, Input, Load, Predicted, Sink};
use crate::engine::Stage;
use crate::florence::image::Picture;
use crate::media::{FrameRange, FrameReader, VideoFile, ffmpeg_is_here, probe_video};
use crate::supervisely::{
    ImageSize, InferenceState, Label, Origin, Platform, TrackerChoice, VideoAnnotation, VideoArguments, VideoRecord,
};
use crate::tracking::{Detection, Tracker, TrackerSettings};

/// Frames that are fetched from the platform one by one sooner than that the whole video is.
const MAX_SINGLE_FRAMES: u64 = 64;
/// Frames of the platform in one download.
const FRAMES_PER_DOWNLOAD: usize = 8;
/// Bytes of a decoded pixel.
const RGB_BYTES: i64 = 3;
/// Score of a label that shows none, for the tracker.
const UNKNOWN_SCORE: f64 = 1.0;

/// The answer to a synchronous request about a video.
#[derive(Debug, Serialize)]
pub struct VideoAnswer {
    ann: Vec<Box<RawValue>>,
    video_ann: Value,
}

/// A video, as far as a run needs it.
pub(super) struct Video {
    /// Where its frames come from, but for their index.
    pub(super) origin: Origin,
    pub(super) size: ImageSize,
    pub(super) frames: u64,
    pub(super) frames_per_second: Option<f64>,
}

/// The frames that a run looks at, in its order.
#[derive(Debug, Clone, Copy)]
pub(super) struct FramePlan {
    pub(super) range: FrameRange,
}

impl FramePlan {
    pub(super) fn new(arguments: &VideoArguments, video: &Video) -> Self {
        let selection = arguments.frames;
        let count = selection.resolve(video.frames, video.frames_per_second);
        // Backward from beyond the end is backward from the end.
        let last = if selection.is_backward { video.frames.saturating_sub(1) } else { u64::MAX };
        let range = FrameRange {
            start: selection.start.min(last),
            step: selection.step.max(1),
            count,
            backward: selection.is_backward,
        };
        Self { range }
    }

    fn indices(&self) -> impl Iterator<Item = u64> + use<> {
        let FrameRange { start, step, count, backward } = self.range;
        (0..count).map(move |number| if backward { start - number * step } else { start + number * step })
    }
}

impl Video {
    /// What the platform tells.
    pub(super) fn of_platform(record: &VideoRecord) -> Self {
        let origin = Origin {
            project_id: Some(record.project_id),
            dataset_id: Some(record.dataset_id),
            video_id: Some(record.id),
            ..Origin::default()
        };
        let frames_per_second = record.frames_per_second();
        Self { origin, size: record.image_size(), frames: record.file_meta.frames_count, frames_per_second }
    }

    fn frame_bytes(&self) -> u64 {
        (self.size.width * self.size.height * RGB_BYTES).unsigned_abs()
    }

    fn input(&self, index: u64, content: Result<Content, SessionError>) -> Input {
        let origin = Origin { frame_index: i64::try_from(index).ok(), ..self.origin.clone() };
        Input { origin, size: self.size, region: None, content }
    }
}

impl Session {
    /// Predicts frames of a video of the platform, and waits for all of them.
    ///
    /// # Errors
    /// Whatever is wrong with the arguments or the video, and the deadline.
    pub async fn infer_video(
        &self,
        platform: impl FnOnce() -> Result<Platform, SessionError>,
        state: &Map<String, Value>,
    ) -> Result<VideoAnswer, SessionError> {
        let (video_id, arguments) = (VideoArguments::video_id(state)?, VideoArguments::parse(state)?);
        let parsed = InferenceState::parse(state)?;
        self.check_inquiry(&parsed)?;
        check_tracker(&arguments)?;
        let request = self.queue.unlisted();
        let work = self.run_platform_video(Arc::clone(&request), platform()?, (video_id, arguments, parsed));
        in_time(Instant::now() + self.deadline, Stage::Writing, work).await?;
        let video_ann = request.final_result().get_mut("video_ann").map(Value::take).unwrap_or_default();
        Ok(VideoAnswer { ann: request.take_results(), video_ann })
    }

    /// Starts a run over frames of a video of the platform and gives its id. `held` is kept until the run has ended.
    ///
    /// # Errors
    /// Whatever is wrong with the arguments; the rest is told by the request itself.
    pub fn start_video<H: Send + 'static>(
        self: &Arc<Self>,
        platform: impl FnOnce() -> Result<Platform, SessionError>,
        state: &Map<String, Value>,
        held: H,
    ) -> Result<String, SessionError> {
        let arguments =
            (VideoArguments::video_id(state)?, VideoArguments::parse(state)?, InferenceState::parse(state)?);
        self.check_inquiry(&arguments.2)?;
        check_tracker(&arguments.1)?;
        let platform = platform()?;
        let session = Arc::clone(self);
        self.queue.start(move |request| async move {
            let _held = held;
            session.run_platform_video(request, platform, arguments).await
        })
    }

    /// Starts a run over frames of an uploaded video and gives its id. `held` is kept until the run has ended.
    ///
    /// # Errors
    /// Whatever is wrong with the arguments, and a machine that cannot read videos.
    pub fn start_video_upload<H: Send + 'static>(
        self: &Arc<Self>,
        file: Arc<File>,
        state: &Map<String, Value>,
        held: H,
    ) -> Result<String, SessionError> {
        self.check_videos_are_read()?;
        let (arguments, parsed) = (VideoArguments::parse_upload(state)?, InferenceState::parse(state)?);
        self.check_inquiry(&parsed)?;
        check_tracker(&arguments)?;
        let session = Arc::clone(self);
        self.queue.start(move |request| async move {
            let _held = held;
            let file = VideoFile::new(file);
            let probed = Self::prepare(&request, async { Ok(probe_video(&file, &session.video).await?) }).await?;
            let Some(info) = probed else { return Ok(()) };
            let video = Video {
                origin: Origin::default(),
                size: ImageSize { height: info.height.into(), width: info.width.into() },
                frames: info.frames,
                frames_per_second: Some(info.frames_per_second),
            };
            let plan = FramePlan::new(&arguments, &video);
            let inputs = session.read_frames(file, plan, &video).await?;
            let tracks = session.run_frames(&request, (&video, plan, inputs), (&arguments, &parsed)).await?;
            request.set_final_result(json!({"ann": [], "video_ann": tracks}));
            Ok(())
        })
    }

    /// A file without a name for a video that is being uploaded.
    ///
    /// # Errors
    /// The disk's.
    pub fn create_video_file(&self) -> Result<File, SessionError> {
        self.store.create_video_file()
    }

    /// Whether videos can be read here.
    ///
    /// # Errors
    /// There is no ffmpeg.
    pub fn check_videos_are_read(&self) -> Result<(), SessionError> {
        Ok(ffmpeg_is_here(&self.video)?)
    }

    async fn run_platform_video(
        &self,
        request: Arc<InferenceRequest>,
        platform: Platform,
        (video_id, arguments, state): (i64, VideoArguments, InferenceState),
    ) -> Result<(), SessionError> {
        let found = Self::prepare(&request, async { Ok(platform.video(video_id).await?) }).await?;
        let Some(record) = found else { return Ok(()) };
        let video = Video::of_platform(&record);
        let plan = FramePlan::new(&arguments, &video);
        let opened = Self::prepare(&request, self.open_frames(&platform, &record, plan, &video)).await?;
        let Some(inputs) = opened else { return Ok(()) };
        let tracks = self.run_frames(&request, (&video, plan, inputs), (&arguments, &state)).await?;
        request.set_final_result(json!({ "video_ann": tracks }));
        Ok(())
    }

    /// Predicts the frames; gives the video's annotation if objects were tracked, else null.
    async fn run_frames<'a>(
        &'a self,
        request: &Arc<InferenceRequest>,
        (video, plan, inputs): (&Video, FramePlan, BoxStream<'a, Load<'a>>),
        (arguments, state): (&VideoArguments, &InferenceState),
    ) -> Result<Value, SessionError> {
        Self::begin_running(request, usize::try_from(plan.range.count).unwrap_or(usize::MAX));
        let tracks = tracks_of(arguments, video)?;
        let course = Course { is_tracked: tracks.is_some(), ..self.course(state, request)? };
        let mut sink = FrameAnswers { request: Arc::clone(request), tracks };
        self.predict_all(inputs, &course, &mut sink).await?;
        Ok(sink.tracks.map_or(Value::Null, |tracks| tracks.annotation.to_json()))
    }

    /// A few frames come from the platform as pictures; of many, the whole video does, where it can be read.
    pub(super) async fn open_frames<'a>(
        &'a self,
        platform: &Platform,
        record: &VideoRecord,
        plan: FramePlan,
        video: &Video,
    ) -> Result<BoxStream<'a, Load<'a>>, SessionError> {
        let can_read = ffmpeg_is_here(&self.video).is_ok();
        let here = self.store.cached_video(platform, record.id).filter(|_| can_read);
        let file = match here {
            Some(file) => Some(file),
            None if can_read && plan.range.count > MAX_SINGLE_FRAMES => Some(self.store.video(platform, record).await?),
            None => None,
        };
        match file {
            Some(file) => self.read_frames(VideoFile::new(Arc::clone(file.file())), plan, video).await,
            None => Ok(self.fetch_frames(platform.clone(), record.id, plan, video)),
        }
    }

    fn fetch_frames<'a>(
        &'a self,
        platform: Platform,
        video_id: i64,
        plan: FramePlan,
        video: &Video,
    ) -> BoxStream<'a, Load<'a>> {
        let indices: Vec<u64> = plan.indices().collect();
        let groups: Vec<Vec<u64>> = indices.chunks(FRAMES_PER_DOWNLOAD).map(<[u64]>::to_vec).collect();
        let video = Arc::new(Video { origin: video.origin.clone(), ..*video });
        let fetch = move |frames: Vec<u64>| {
            let (platform, video) = (platform.clone(), Arc::clone(&video));
            let load: Load<'a> = Box::pin(async move {
                match self.store.frames(&platform, video_id, &frames).await {
                    Ok(files) => {
                        let content = |bytes| Ok(Content::File(bytes, None));
                        files.into_iter().map(|(index, bytes)| video.input(index, content(bytes))).collect()
                    }
                    Err(error) => frames.iter().map(|index| video.input(*index, Err(error.clone()))).collect(),
                }
            });
            load
        };
        stream::iter(groups).map(fetch).boxed()
    }

    async fn read_frames<'a>(
        &'a self,
        file: VideoFile,
        plan: FramePlan,
        video: &Video,
    ) -> Result<BoxStream<'a, Load<'a>>, SessionError> {
        let info = probe_video(&file, &self.video).await?;
        let reader = FrameReader::open(&file, &info, plan.range, &self.video).await?;
        let video = Video { origin: video.origin.clone(), ..*video };
        // Ends with the first frame that cannot be read: there is no way past it.
        let room = self.file_room.of_run();
        let frames = stream::unfold((Some((reader, video)), room), async |(state, room)| {
            let (mut reader, video) = state?;
            // Pixels take far more room than files.
            let share = room.take(Some(video.frame_bytes())).await;
            match reader.next().await {
                Ok(None) => None,
                Ok(Some(frame)) => {
                    let picture = Picture::new(frame.width, frame.height, frame.rgb);
                    let content = picture.map_err(|error| SessionError::Internal(error.to_string()));
                    let content = content.map(|picture| Content::Picture(Arc::new(picture), share));
                    Some((video.input(frame.index, content), (Some((reader, video)), room)))
                }
                Err(error) => Some((video.input(0, Err(error.into())), (None, room))),
            }
        });
        Ok(frames.map(|input| Load::from(ready(vec![input]).boxed())).boxed())
    }
}

/// Tracks of a video's objects, and its annotation from them.
pub(super) struct Tracks {
    pub(super) tracker: Tracker,
    pub(super) annotation: VideoAnnotation,
}

impl Tracks {
    /// The track of each label of a frame, in order; labels without one leave.
    pub(super) fn follow(&mut self, one: &mut Predicted) -> Vec<u64> {
        let Ok(findings) = &mut one.result else { return vec![] };
        let labels = std::mem::take(&mut findings.annotation.objects);
        let detections: Vec<Detection> = labels.iter().map(detection).collect();
        let ids = self.tracker.update(&detections, one.grey.as_ref());
        let tracked: Vec<(u64, Label)> =
            ids.into_iter().zip(labels).filter_map(|(id, label)| Some((id?, label))).collect();
        let by_reference: Vec<(u64, &Label)> = tracked.iter().map(|(id, label)| (*id, label)).collect();
        let index = one.origin.frame_index.and_then(|index| u64::try_from(index).ok()).unwrap_or(0);
        self.annotation.add_frame(index, &by_reference);
        let (ids, labels): (Vec<u64>, Vec<Label>) = tracked.into_iter().unzip();
        findings.annotation.objects = labels;
        findings.annotation.custom_big_data = json!(ids);
        ids
    }
}

/// A tracker as the arguments ask for one, if they do.
pub(super) fn tracks_of(arguments: &VideoArguments, video: &Video) -> Result<Option<Tracks>, SessionError> {
    let TrackerChoice::BotSort(settings) = &arguments.tracker else { return Ok(None) };
    // What the tracker sees between two of its frames is a step of the video.
    let rate = video.frames_per_second.unwrap_or_default() / arguments.frames.step.max(1) as f64;
    let tracker = Tracker::new(TrackerSettings::from_json(settings)?, rate);
    Ok(Some(Tracks { tracker, annotation: VideoAnnotation::new(video.size, video.frames) }))
}

fn check_tracker(arguments: &VideoArguments) -> Result<(), SessionError> {
    match &arguments.tracker {
        TrackerChoice::BotSort(settings) => Ok(TrackerSettings::from_json(settings).map(drop)?),
        TrackerChoice::None => Ok(()),
    }
}

fn detection(label: &Label) -> Detection {
    let [[left, top], [right, bottom]] = label.geometry.bounds().exterior();
    Detection {
        // The last pixel belongs to the label.
        corners: [left, top, right + 1, bottom + 1].map(|corner| corner as f64),
        score: label.confidence().unwrap_or(UNKNOWN_SCORE),
        class: label.class_title.clone(),
    }
}

/// Frames' predictions wait in the request until they are taken.
struct FrameAnswers {
    request: Arc<InferenceRequest>,
    tracks: Option<Tracks>,
}

impl Sink for FrameAnswers {
    async fn deliver(&mut self, predicted: Vec<Predicted>) -> Result<(), SessionError> {
        for mut one in predicted {
            if let Some(tracks) = &mut self.tracks {
                tracks.follow(&mut one);
            }
            self.request.wait_for_room().await?;
            self.request.push(&one.into_prediction())?;
        }
        Ok(())
    }
}
