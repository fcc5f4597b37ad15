//! Tracking for the video labelling tool: objects are found and followed, and put on the platform frame by frame.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::super::queue::InferenceRequest;
use super::super::{Session, SessionError};
use super::video::{FramePlan, Tracks, Video, tracks_of};
use super::{Course, Predicted, Sink};
use crate::supervisely::{
    Figure, InferenceState, Label, Notice, Platform, ProjectClasses, TrackerChoice, UploadArguments, VideoArguments,
    VideoRecord,
};

/// Frames whose figures are made together: the tool shows them as they come.
const FRAMES_TOGETHER: usize = 8;

/// Who asked for tracking, and what.
struct TrackingRun {
    video_id: i64,
    track_id: String,
    video: VideoArguments,
    state: InferenceState,
    upload: UploadArguments,
}

impl TrackingRun {
    fn parse(state: &Map<String, Value>) -> Result<Self, SessionError> {
        let mut video = VideoArguments::parse(state)?;
        if state.get("tracker").is_none_or(Value::is_null) {
            let settings = state.get("tracker_settings").and_then(Value::as_object).cloned().unwrap_or_default();
            video.tracker = TrackerChoice::BotSort(settings);
        }
        let track_id = ["trackId", "track_id"].iter().find_map(|key| state.get(*key));
        let track_id =
            track_id.map_or_else(String::new, |id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
        let parsed = InferenceState::parse(state)?;
        let upload = UploadArguments::parse(state, &parsed.settings.given)?;
        Ok(Self { video_id: VideoArguments::video_id(state)?, track_id, video, state: parsed, upload })
    }
}

impl Session {
    /// Starts tracking. `state` holds the arguments, over which the tool's own context was laid. `held` is kept until the run has ended.
    ///
    /// # Errors
    /// Whatever is wrong with the arguments. What goes wrong later the labelling tool is told.
    pub fn start_tracking<H: Send + 'static>(
        self: &Arc<Self>,
        platform: impl FnOnce() -> Result<Platform, SessionError>,
        state: &Map<String, Value>,
        held: H,
    ) -> Result<(), SessionError> {
        let run = TrackingRun::parse(state)?;
        self.check_inquiry(&run.state)?;
        if let TrackerChoice::BotSort(settings) = &run.video.tracker {
            crate::tracking::TrackerSettings::from_json(settings)?;
        }
        let platform = platform()?;
        let session = Arc::clone(self);
        self.queue.start_unseen(move |request| async move {
            let _held = held;
            let result = session.track(&request, &platform, &run).await;
            if let Err(error) = &result {
                let notice = Notice::Failed { message: error.to_string() };
                if let Err(error) = platform.notify_tracking(run.video_id, &run.track_id, &notice).await {
                    tracing::warn!(%error, "the labelling tool cannot be told that tracking failed");
                }
            }
            result
        })
    }

    async fn track(
        &self,
        request: &Arc<InferenceRequest>,
        platform: &Platform,
        run: &TrackingRun,
    ) -> Result<(), SessionError> {
        let found = Self::prepare(request, async { Ok(platform.video(run.video_id).await?) }).await?;
        let Some(record) = found else { return Ok(()) };
        let video = Video::of_platform(&record);
        let plan = FramePlan::new(&run.video, &video);
        let opened = Self::prepare(request, self.open_frames(platform, &record, plan, &video)).await?;
        let Some(inputs) = opened else { return Ok(()) };
        Self::begin_running(request, usize::try_from(plan.range.count).unwrap_or(usize::MAX));
        let tracks = tracks_of(&run.video, &video)?;
        let course = Course { is_tracked: tracks.is_some(), ..self.course(&run.state, request)? };
        let classes = ProjectClasses::new(platform.project_meta(record.project_id).await?, &run.upload.suffix);
        let mut sink = FigureSink {
            session: self,
            platform,
            request,
            run,
            record: &record,
            plan,
            tracks,
            classes,
            class_ids: HashMap::new(),
            objects: HashMap::new(),
            done: 0,
        };
        self.predict_all(inputs, &course, &mut sink).await
    }
}

/// Puts tracked objects on the platform.
struct FigureSink<'a> {
    session: &'a Session,
    platform: &'a Platform,
    request: &'a InferenceRequest,
    run: &'a TrackingRun,
    record: &'a VideoRecord,
    plan: FramePlan,
    tracks: Option<Tracks>,
    classes: ProjectClasses,
    /// The project's classes by name.
    class_ids: HashMap<String, i64>,
    /// The platform's objects by track.
    objects: HashMap<u64, i64>,
    done: u64,
}

impl FigureSink<'_> {
    /// The labels of a frame, each with its track; without a tracker every label is an object of its own.
    fn follow(&mut self, one: &mut Predicted) -> Vec<(u64, Label)> {
        let ids = self.tracks.as_mut().map(|tracks| tracks.follow(one));
        let Ok(findings) = &one.result else { return vec![] };
        let labels = findings.annotation.objects.iter().cloned();
        match ids {
            Some(ids) => ids.into_iter().zip(labels).collect(),
            None => (self.objects.len() as u64..).zip(labels).collect(),
        }
    }

    /// The project's names for the classes of labels.
    fn admit(&mut self, labels: &[(u64, &Label)]) -> Result<Vec<String>, SessionError> {
        let admit = |(_, label): &(u64, &Label)| {
            Ok(self.classes.admit_class(&self.session.classes.class(&label.class_title, label.shape()))?)
        };
        labels.iter().map(admit).collect()
    }

    /// Makes the objects of tracks that are new, in the order in which they appear.
    async fn add_objects(&mut self, labels: &[(u64, Label)]) -> Result<(), SessionError> {
        let mut new: Vec<(u64, &Label)> = Vec::new();
        for (track, label) in labels {
            if !self.objects.contains_key(track) && new.iter().all(|(known, _)| known != track) {
                new.push((*track, label));
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        let mut names = self.admit(&new)?;
        if self.classes.to_store().is_some() {
            // Storing replaces the whole meta, so it is done to what is there now.
            let _turn = self.session.meta_turn.lock().await;
            let meta = self.platform.project_meta(self.record.project_id).await?;
            self.classes = ProjectClasses::new(meta, &self.run.upload.suffix);
            names = self.admit(&new)?;
            if let Some(meta) = self.classes.to_store() {
                let answer = self.platform.update_project_meta(self.record.project_id, meta).await?;
                self.classes.set_stored(answer);
            }
        }
        if names.iter().any(|name| !self.class_ids.contains_key(name)) {
            self.class_ids = self.platform.class_ids(self.record.project_id).await?.into_iter().collect();
        }
        let class_ids: Option<Vec<i64>> = names.iter().map(|name| self.class_ids.get(name).copied()).collect();
        let class_ids =
            class_ids.ok_or_else(|| SessionError::Internal("the project lacks a class that was stored".to_owned()))?;
        let made = self.platform.add_video_objects(self.record, &class_ids).await?;
        self.objects.extend(new.into_iter().map(|(track, _)| track).zip(made));
        Ok(())
    }

    /// Tells the tool how far it is; it may answer that its user has had enough.
    async fn notify(&self) -> Result<(), SessionError> {
        let range = self.plan.range;
        let covered = range.count.saturating_mul(range.step);
        let (first, last) = if range.backward {
            (range.start.saturating_sub(covered), range.start)
        } else {
            (range.start, range.start + covered)
        };
        let notice = Notice::Progress { range: (first, last), current: self.done, total: range.count };
        if self.platform.notify_tracking(self.record.id, &self.run.track_id, &notice).await? {
            self.request.stop();
        }
        Ok(())
    }
}

impl Sink for FigureSink<'_> {
    fn gathers(&self) -> usize {
        FRAMES_TOGETHER
    }

    async fn deliver(&mut self, predicted: Vec<Predicted>) -> Result<(), SessionError> {
        if self.request.stopped().is_cancelled() {
            // The tool's user has had enough of figures.
            return Ok(());
        }
        let mut frames: Vec<(u64, Vec<(u64, Label)>)> = Vec::with_capacity(predicted.len());
        for mut one in predicted {
            let index = one.origin.frame_index.and_then(|index| u64::try_from(index).ok()).unwrap_or(0);
            let labels = self.follow(&mut one);
            self.add_objects(&labels).await?;
            frames.push((index, labels));
        }
        // The figures of one object together, as the tool is used to.
        let mut figures: Vec<(i64, Vec<Figure>)> = Vec::new();
        for (frame, labels) in &frames {
            for (track, label) in labels {
                let Some(object_id) = self.objects.get(track).copied() else { continue };
                let figure = Figure { object_id, frame: *frame, rectangle: label.geometry.bounds() };
                match figures.iter_mut().find(|(known, _)| *known == object_id) {
                    Some((_, of_object)) => of_object.push(figure),
                    None => figures.push((object_id, vec![figure])),
                }
            }
        }
        for (_, figures) in &figures {
            self.platform.add_figures(self.record.id, &self.run.track_id, figures).await?;
        }
        self.done += frames.len() as u64;
        self.request.advance(frames.len() as u64);
        self.notify().await
    }
}
