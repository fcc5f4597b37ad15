//! What a caller may set of the tracker: the names and defaults are the original tracker's.

use serde::Serialize;
use serde_json::{Map, Value};
use thiserror::Error;
use utoipa::ToSchema;

/// Names of the ways to follow the camera: the first looks at frames, the second does not follow it.
const CAMERA_METHODS: [&str; 2] = ["sparseOptFlow", "none"];

/// The tracker's settings. Those about appearance have no effect, because there is no model of it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TrackerSettings {
    /// Boxes that score this much or more are matched first.
    pub track_high_thresh: f64,
    /// Boxes that score this much or less are left out.
    pub track_low_thresh: f64,
    /// Boxes that score this much or more may begin a track.
    pub new_track_thresh: f64,
    /// Frames, at thirty a second, for which a lost track is kept.
    pub track_buffer: u64,
    /// Greatest distance of a box from its track, as 1 - IoU.
    pub match_thresh: f64,
    /// Boxes with less area, in pixels, are left out.
    pub min_box_area: f64,
    /// No effect.
    pub with_reid: bool,
    /// No effect.
    pub reid_weights: Option<String>,
    /// No effect.
    pub proximity_thresh: f64,
    /// No effect.
    pub appearance_thresh: f64,
    /// Whether a box's score counts in its distance.
    pub fuse_score: bool,
    /// No effect.
    pub ablation: bool,
    /// Whether scores never count in distances, whatever `fuse_score` says.
    pub mot20: bool,
    /// `sparseOptFlow`: tracks are moved along with the camera; `none`: they are not.
    pub cmc_method: String,
    /// No effect.
    pub fp16: bool,
}

impl Default for TrackerSettings {
    fn default() -> Self {
        Self {
            track_high_thresh: 0.6,
            track_low_thresh: 0.1,
            new_track_thresh: 0.7,
            track_buffer: 30,
            match_thresh: 0.8,
            min_box_area: 10.0,
            with_reid: true,
            reid_weights: None,
            proximity_thresh: 0.5,
            appearance_thresh: 0.25,
            fuse_score: false,
            ablation: false,
            mot20: false,
            cmc_method: "sparseOptFlow".to_owned(),
            fp16: false,
        }
    }
}

/// A setting that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("tracker_settings.{key} must be {expected}")]
pub struct TrackerSettingsError {
    key: &'static str,
    expected: &'static str,
}

impl TrackerSettings {
    /// Most frames for which a lost track may be kept.
    const MAX_BUFFER: u64 = 100_000;

    /// Reads a caller's settings; what is absent or null keeps its default, other keys are ignored.
    ///
    /// # Errors
    /// A value of the wrong type or outside its range.
    pub fn from_json(given: &Map<String, Value>) -> Result<Self, TrackerSettingsError> {
        let mut settings = Self::default();
        let fraction = |key, target: &mut f64| {
            let valid = |value: &Value| value.as_f64().filter(|number| (0.0..=1.0).contains(number));
            read(given, key, "a number from 0 to 1", valid, target)
        };
        fraction("track_high_thresh", &mut settings.track_high_thresh)?;
        fraction("track_low_thresh", &mut settings.track_low_thresh)?;
        fraction("new_track_thresh", &mut settings.new_track_thresh)?;
        fraction("match_thresh", &mut settings.match_thresh)?;
        fraction("proximity_thresh", &mut settings.proximity_thresh)?;
        fraction("appearance_thresh", &mut settings.appearance_thresh)?;
        let frames = |value: &Value| value.as_u64().filter(|frames| *frames <= Self::MAX_BUFFER);
        read(given, "track_buffer", "a number of frames up to 100000", frames, &mut settings.track_buffer)?;
        let area = |value: &Value| value.as_f64().filter(|area| *area >= 0.0);
        read(given, "min_box_area", "a number of pixels, 0 or more", area, &mut settings.min_box_area)?;
        for (key, target) in [
            ("with_reid", &mut settings.with_reid),
            ("fuse_score", &mut settings.fuse_score),
            ("ablation", &mut settings.ablation),
            ("mot20", &mut settings.mot20),
            ("fp16", &mut settings.fp16),
        ] {
            read(given, key, "true or false", Value::as_bool, target)?;
        }
        let text = |value: &Value| value.as_str().map(str::to_owned);
        read(given, "reid_weights", "null or a text", |value| text(value).map(Some), &mut settings.reid_weights)?;
        let method = |value: &Value| text(value).filter(|method| CAMERA_METHODS.contains(&method.as_str()));
        read(given, "cmc_method", "\"sparseOptFlow\" or \"none\"", method, &mut settings.cmc_method)?;
        settings.fuse_score &= !settings.mot20;
        Ok(settings)
    }

    /// Whether frames are looked at for the camera's motion.
    pub(super) fn follows_camera(&self) -> bool {
        CAMERA_METHODS.first() == Some(&self.cmc_method.as_str())
    }
}

fn read<T>(
    given: &Map<String, Value>,
    key: &'static str,
    expected: &'static str,
    convert: impl Fn(&Value) -> Option<T>,
    target: &mut T,
) -> Result<(), TrackerSettingsError> {
    if let Some(value) = given.get(key).filter(|value| !value.is_null()) {
        *target = convert(value).ok_or(TrackerSettingsError { key, expected })?;
    }
    Ok(())
}
