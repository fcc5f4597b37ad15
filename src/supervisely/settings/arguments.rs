//! What else a request's state may hold beside the settings: which pictures or frames, and where predictions go.

use serde_json::{Map, Value};

use super::SettingsError;
use super::read;

/// Every spelling of the pictures' ids; the first that is there counts.
const IMAGE_ID_KEYS: [&str; 6] = ["batch_ids", "image_ids", "images_ids", "imageIds", "image_id", "imageId"];
/// Most ids that one request may name.
const MAX_IDS: usize = 1_000_000;

/// The pictures of the platform that a request is about, repetitions included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageIds(pub Vec<i64>);

impl ImageIds {
    /// Reads them under any of their spellings.
    ///
    /// # Errors
    /// None are named, or something that is no id.
    pub fn parse(state: &Map<String, Value>) -> Result<Self, SettingsError> {
        let key = IMAGE_ID_KEYS.iter().find(|key| state.contains_key(**key)).ok_or(SettingsError::NoImageIds)?;
        let ids = read::ids(state, key)?.ok_or(SettingsError::NoImageIds)?;
        if ids.len() > MAX_IDS {
            return Err(SettingsError::TooMany { key: (*key).to_owned(), given: ids.len(), most: MAX_IDS });
        }
        Ok(Self(ids))
    }
}

/// What becomes of predictions on the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadMode {
    /// They join what the pictures have.
    Append,
    /// As `Append`, but not where a picture has such a label already.
    IouMerge,
    /// They take the place of what the pictures have.
    Replace,
    /// They go into a new project, with copies of the pictures.
    Create,
}

/// Where predictions go beside, or in place of, the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct UploadArguments {
    /// What becomes of them; `None` means that they are only answered.
    pub mode: Option<UploadMode>,
    /// Project that gets them, with copies of the pictures; else they go to the pictures themselves.
    pub output_project_id: Option<i64>,
    /// Ending of a class whose name the project uses for another geometry.
    pub suffix: String,
    /// From this overlap on a label counts as there already; `None` lets labels repeat.
    pub existing_iou: Option<f64>,
}

impl UploadArguments {
    /// The SDK's ending.
    const DEFAULT_SUFFIX: &str = "_nn";
    /// The SDK's overlap.
    const DEFAULT_EXISTING_IOU: f64 = 0.9;

    /// Reads them from a state whose settings are `settings`.
    ///
    /// # Errors
    /// A value of the wrong type.
    pub fn parse(state: &Map<String, Value>, settings: &Map<String, Value>) -> Result<Self, SettingsError> {
        let output_project_id = read::id(state, "output_project_id")?;
        let mode = match read::string(state, "upload_mode")? {
            None if output_project_id.is_some() => Some(UploadMode::Append),
            None => None,
            Some("append") => Some(UploadMode::Append),
            Some("iou_merge") => Some(UploadMode::IouMerge),
            Some("create") => Some(UploadMode::Create),
            // As in the original, every other word means this one.
            Some(_) => Some(UploadMode::Replace),
        };
        let suffix = read::string(state, "model_prediction_suffix")?.filter(|suffix| !suffix.is_empty());
        let existing_iou = read::positive_fraction(settings, "existing_objects_iou_thresh")?;
        Ok(Self {
            mode,
            output_project_id,
            suffix: suffix.unwrap_or(Self::DEFAULT_SUFFIX).to_owned(),
            existing_iou: existing_iou
                .or_else(|| (mode == Some(UploadMode::IouMerge)).then_some(Self::DEFAULT_EXISTING_IOU)),
        })
    }
}

/// Which pictures of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectArguments {
    /// The project.
    pub project_id: i64,
    /// Its datasets; all of them unless given.
    pub dataset_ids: Option<Vec<i64>>,
}

impl ProjectArguments {
    /// Reads them.
    ///
    /// # Errors
    /// No project, or a value of the wrong type.
    pub fn parse(state: &Map<String, Value>) -> Result<Self, SettingsError> {
        let project_id = read::first(&["projectId", "project_id"], |key| read::id(state, key))?;
        Ok(Self {
            project_id: project_id.ok_or(SettingsError::Missing { key: "projectId" })?,
            dataset_ids: read::first(&["dataset_ids", "datasetIds"], |key| read::ids(state, key))?,
        })
    }
}

/// How often a project's pictures are predicted to see how long that takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpeedTestArguments {
    /// The pictures.
    pub project: ProjectArguments,
    /// Pictures at a time.
    pub batch_size: usize,
    /// Batches that count.
    pub iterations: usize,
    /// Batches before them.
    pub warmup: usize,
}

impl SpeedTestArguments {
    const DEFAULT_WARMUP: usize = 3;
    /// Most batches: a test is no way to keep the server busy for ever.
    const MAX_ITERATIONS: usize = 10_000;
    /// Most pictures in a batch.
    const MAX_BATCH_SIZE: usize = 1000;

    /// Reads them.
    ///
    /// # Errors
    /// A value that is missing, of the wrong type or too large.
    pub fn parse(state: &Map<String, Value>) -> Result<Self, SettingsError> {
        let count = |key, most| match read::index(state, key)? {
            Some(count) if count > most as u64 => {
                Err(SettingsError::TooMany { key: key.to_owned(), given: count as usize, most })
            }
            count => Ok(count.map(|count| count as usize)),
        };
        let positive = |key: &'static str, most| {
            let count = count(key, most)?.ok_or(SettingsError::Missing { key })?;
            if count == 0 { read::positive_integer(state, key).map(|_| count) } else { Ok(count) }
        };
        Ok(Self {
            project: ProjectArguments::parse(state)?,
            batch_size: positive("batch_size", Self::MAX_BATCH_SIZE)?,
            iterations: positive("num_iterations", Self::MAX_ITERATIONS)?,
            warmup: count("num_warmup", Self::MAX_ITERATIONS)?.unwrap_or(Self::DEFAULT_WARMUP),
        })
    }
}

/// Which frames of a video, in the caller's words; how many they are depends on the video.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct FrameSelection {
    /// The first frame.
    pub start: u64,
    /// Distance from one frame to the next, at least 1.
    pub step: u64,
    /// Frames of the video that are covered, of which every `step`-th is looked at.
    pub count: Option<u64>,
    /// The first frame that is not covered.
    pub end: Option<u64>,
    /// Seconds that are covered.
    pub duration_s: Option<f64>,
    /// Whether the frames before `start` are meant.
    pub is_backward: bool,
}

/// Whether objects are tracked.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum TrackerChoice {
    /// No.
    #[default]
    None,
    /// By BoT-SORT, with these settings of the caller.
    BotSort(Map<String, Value>),
}

/// A video, its frames, and whether objects are tracked.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoArguments {
    /// The frames.
    pub frames: FrameSelection,
    /// Whether objects are tracked.
    pub tracker: TrackerChoice,
}

impl VideoArguments {
    /// The one tracker there is.
    pub const TRACKER: &str = "botsort";

    const START_KEYS: [&str; 4] = ["startFrameIndex", "start_frame_index", "start_frame", "frameIndex"];
    const STEP_KEYS: [&str; 2] = ["stride", "step"];
    const END_KEYS: [&str; 3] = ["endFrameIndex", "end_frame_index", "end_frame"];
    const COUNT_KEYS: [&str; 3] = ["framesCount", "frames_count", "num_frames"];

    /// The video's id.
    ///
    /// # Errors
    /// There is none.
    pub fn video_id(state: &Map<String, Value>) -> Result<i64, SettingsError> {
        let id = read::first(&["videoId", "video_id"], |key| read::id(state, key))?;
        id.ok_or(SettingsError::Missing { key: "videoId" })
    }

    /// Reads the arguments of a video on the platform, whose end frame is not covered.
    ///
    /// # Errors
    /// A value of the wrong type.
    pub fn parse(state: &Map<String, Value>) -> Result<Self, SettingsError> {
        let index = |keys: &[&str]| read::first(keys, |key| read::index(state, key));
        let step = read::first(&Self::STEP_KEYS, |key| read::positive_integer(state, key))?;
        let frames = FrameSelection {
            start: index(&Self::START_KEYS)?.unwrap_or(0),
            step: step.unwrap_or(1) as u64,
            count: index(&Self::COUNT_KEYS)?,
            end: index(&Self::END_KEYS)?,
            duration_s: read::seconds(state, "duration")?,
            is_backward: read::string(state, "direction")? == Some("backward"),
        };
        Ok(Self { frames, tracker: Self::parse_tracker(state)? })
    }

    /// Reads the arguments of an uploaded video. Its end frame is covered, as in the original, where the two routes differ.
    ///
    /// # Errors
    /// A value of the wrong type.
    pub fn parse_upload(state: &Map<String, Value>) -> Result<Self, SettingsError> {
        let mut arguments = Self::parse(state)?;
        arguments.frames.end = arguments.frames.end.map(|end| end.saturating_add(1));
        Ok(arguments)
    }

    fn parse_tracker(state: &Map<String, Value>) -> Result<TrackerChoice, SettingsError> {
        let settings = read::object(state, "tracker_settings")?.cloned().unwrap_or_default();
        Ok(match read::string(state, "tracker")? {
            Some(Self::TRACKER) => TrackerChoice::BotSort(settings),
            None => TrackerChoice::None,
            Some(other) => {
                tracing::warn!(tracker = other, "no such tracker; objects are not tracked");
                TrackerChoice::None
            }
        })
    }
}

impl FrameSelection {
    /// How many frames are looked at on a video of so many frames at this rate, and the number of the video's frames that
    /// they cover.
    pub fn resolve(&self, video_frames: u64, frames_per_second: Option<f64>) -> u64 {
        let there = if self.is_backward {
            self.start.saturating_add(1).min(video_frames)
        } else {
            video_frames.saturating_sub(self.start)
        };
        let by_end = self
            .end
            .map(|end| if self.is_backward { self.start.saturating_sub(end) } else { end.saturating_sub(self.start) });
        let by_duration = self.duration_s.zip(frames_per_second).map(|(duration, rate)| (duration * rate) as u64);
        let covered = self.count.or(by_end).or(by_duration).unwrap_or(there).min(there);
        covered.div_ceil(self.step.max(1))
    }
}

/// What is to be fetched before it is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheArguments {
    /// Pictures by id.
    Images(Vec<i64>),
    /// Pictures by the hash of their files.
    Hashes(Vec<String>),
    /// Frames of a video.
    Frames {
        /// The video.
        video_id: i64,
        /// The frames.
        frames: Vec<u64>,
    },
    /// A whole video.
    Video(i64),
}

impl CacheArguments {
    /// Most frames that are fetched one by one.
    pub const MAX_FRAMES: usize = 256;

    /// Reads them.
    ///
    /// # Errors
    /// Nothing is named, or a value is of the wrong type.
    pub fn parse(state: &Map<String, Value>) -> Result<Self, SettingsError> {
        if let Some(ids) = read::ids(state, "image_ids")? {
            return Ok(Self::Images(ids));
        }
        let hash = |value: &Value| value.as_str().map(str::to_owned);
        if let Some(hashes) = read::list(state, "image_hashes", "a list of hashes", hash)? {
            return Ok(Self::Hashes(hashes));
        }
        let Some(video_id) = read::id(state, "video_id")? else {
            return Err(SettingsError::Missing { key: "image_ids, image_hashes or video_id" });
        };
        Ok(match Self::frames(state)? {
            Some(frames) if frames.len() <= Self::MAX_FRAMES => Self::Frames { video_id, frames },
            _ => Self::Video(video_id),
        })
    }

    fn frames(state: &Map<String, Value>) -> Result<Option<Vec<u64>>, SettingsError> {
        if let Some(indexes) = read::list(state, "frame_indexes", "a list of frames", Value::as_u64)? {
            return Ok(Some(indexes));
        }
        let range = |value: &Value| match value.as_array()?.as_slice() {
            [first, last] => Some((first.as_u64()?, last.as_u64()?)),
            _ => None,
        };
        let ranges = read::list(state, "frame_ranges", "a list of [first, last]", range)?;
        Ok(ranges.map(|ranges| {
            // One more than are ever fetched tells that there are too many.
            let frames = ranges.into_iter().flat_map(|(first, last)| first.min(last)..=first.max(last));
            frames.take(Self::MAX_FRAMES + 1).collect()
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn ids_have_many_names_and_the_first_counts() {
        let ids = |state: Value| ImageIds::parse(&map(state)).map(|ids| ids.0).map_err(|error| error.to_string());
        assert_eq!(ids(json!({"image_id": 3})), Ok(vec![3]));
        assert_eq!(ids(json!({"imageIds": [3, 4, 3]})), Ok(vec![3, 4, 3]));
        assert_eq!(ids(json!({"image_id": 1, "batch_ids": [2]})), Ok(vec![2]));
        assert_eq!(ids(json!({"images_ids": ["7", 8.0]})), Ok(vec![7, 8]));
        assert_eq!(ids(json!({"batch_ids": []})), Ok(vec![]));
        for missing in [json!({}), json!({"image_id": null}), json!({"batch_ids": null, "image_id": 1})] {
            assert_eq!(ids(missing), Err("Image ids are not provided".to_owned()));
        }
        assert_eq!(
            ids(json!({"image_id": [1.5]})),
            Err("image_id must be a number or a list of numbers, not [1.5]".to_owned())
        );
    }

    #[test]
    fn the_upload_mode_follows_the_destination() {
        let upload = |state: Value| UploadArguments::parse(&map(state), &Map::new()).unwrap();
        assert_eq!(upload(json!({})).mode, None);
        assert_eq!(upload(json!({"output_project_id": 5})).mode, Some(UploadMode::Append));
        assert_eq!(upload(json!({"upload_mode": "iou_merge"})).mode, Some(UploadMode::IouMerge));
        assert_eq!(upload(json!({"upload_mode": "overwrite"})).mode, Some(UploadMode::Replace));
        assert_eq!(upload(json!({"model_prediction_suffix": ""})).suffix, "_nn");
        let settings = map(json!({"existing_objects_iou_thresh": 0.5}));
        assert_eq!(UploadArguments::parse(&Map::new(), &settings).unwrap().existing_iou, Some(0.5));
        assert_eq!(upload(json!({"upload_mode": "iou_merge"})).existing_iou, Some(0.9));
        assert_eq!(upload(json!({"upload_mode": "append"})).existing_iou, None);
        let zero = map(json!({"existing_objects_iou_thresh": 0}));
        assert!(UploadArguments::parse(&Map::new(), &zero).is_err());
    }

    #[test]
    fn a_speed_test_needs_its_numbers() {
        let parse = |state: Value| SpeedTestArguments::parse(&map(state)).map_err(|error| error.to_string());
        let full = json!({"projectId": 1, "batch_size": 2, "num_iterations": 3});
        assert_eq!(parse(full).unwrap().warmup, 3);
        assert_eq!(parse(json!({"projectId": 1, "num_iterations": 3})), Err("batch_size is required".to_owned()));
        let endless = json!({"projectId": 1, "batch_size": 2, "num_iterations": 1_000_000});
        assert_eq!(parse(endless), Err("num_iterations holds 1000000, at most 10000 are allowed".to_owned()));
        assert!(parse(json!({"projectId": 1, "batch_size": 0, "num_iterations": 3})).is_err());
    }

    fn frames(state: Value) -> FrameSelection {
        VideoArguments::parse(&map(state)).unwrap().frames
    }

    #[test]
    fn frames_are_counted_as_the_original_does() {
        let count = |state: Value| frames(state).resolve(12, Some(6.0));
        assert_eq!(count(json!({})), 12);
        assert_eq!(count(json!({"start_frame": 2, "num_frames": 3})), 3);
        assert_eq!(count(json!({"startFrameIndex": 2, "endFrameIndex": 5})), 3);
        assert_eq!(count(json!({"start_frame": 0, "num_frames": 4, "stride": 2})), 2);
        assert_eq!(count(json!({"num_frames": 5, "step": 2})), 3);
        assert_eq!(count(json!({"duration": 0.5})), 3);
        assert_eq!(count(json!({"start_frame": 10, "num_frames": 50})), 2);
        assert_eq!(count(json!({"start_frame": 50})), 0);
        assert_eq!(count(json!({"framesCount": 2, "end_frame": 9})), 2);
        assert_eq!(count(json!({"start_frame": 5, "direction": "backward"})), 6);
        assert_eq!(count(json!({"start_frame": 5, "direction": "backward", "num_frames": 3, "step": 2})), 2);
    }

    #[test]
    fn an_uploads_end_frame_is_covered() {
        let state = map(json!({"startFrameIndex": 2, "endFrameIndex": 5}));
        assert_eq!(VideoArguments::parse_upload(&state).unwrap().frames.resolve(12, None), 4);
    }

    #[test]
    fn unknown_trackers_do_not_track() {
        let tracker = |state: Value| VideoArguments::parse(&map(state)).unwrap().tracker;
        let settings = json!({"tracker": "botsort", "tracker_settings": {"match_thresh": 0.5}});
        assert_eq!(tracker(settings), TrackerChoice::BotSort(map(json!({"match_thresh": 0.5}))));
        assert_eq!(tracker(json!({"tracker": "deepsort"})), TrackerChoice::None);
        assert_eq!(tracker(json!({"tracker": null})), TrackerChoice::None);
    }

    #[test]
    fn what_is_cached_is_named_in_many_ways() {
        let parse = |state: Value| CacheArguments::parse(&map(state));
        let images = CacheArguments::Images(vec![1, 2]);
        assert_eq!(parse(json!({"image_ids": [1, 2], "dataset_id": 5})), Ok(images));
        let frames = CacheArguments::Frames { video_id: 5, frames: vec![2, 3, 4, 9] };
        assert_eq!(parse(json!({"video_id": 5, "frame_ranges": [[4, 2], [9, 9]]})), Ok(frames));
        assert_eq!(
            parse(json!({"video_id": 5, "frame_ranges": [[0, 1_000_000_000_u64]]})),
            Ok(CacheArguments::Video(5))
        );
        assert_eq!(parse(json!({"video_id": 5})), Ok(CacheArguments::Video(5)));
        assert!(parse(json!({})).is_err());
        assert!(parse(json!({"video_id": 5, "frame_ranges": [[1]]})).is_err());
    }
}
