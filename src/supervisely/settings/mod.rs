//! What a caller may ask for: the arguments of an inference request, completed and checked.

mod arguments;
mod defaults;
mod error;
mod merge;
mod read;
mod task_prompt;

pub use arguments::{
    CacheArguments, FrameSelection, ImageIds, ProjectArguments, SpeedTestArguments, TrackerChoice, UploadArguments,
    UploadMode, VideoArguments,
};
pub use defaults::DEFAULT_SETTINGS_YAML;
pub use error::SettingsError;
pub use task_prompt::TaskPrompt;

use serde_json::{Map, Value};

use super::Rectangle;
use crate::florence::answer::BoxFilter;

/// The arguments of an inference request: the `state` of the envelope.
#[derive(Debug, Clone, PartialEq)]
pub struct InferenceState {
    /// How each picture is treated.
    pub settings: InferenceSettings,
    /// How many pictures are worked on at a time.
    pub batch_size: usize,
}

impl InferenceState {
    /// The original's batch size for callers who name none.
    pub const DEFAULT_BATCH_SIZE: usize = 16;

    /// Completes and checks the arguments.
    ///
    /// # Errors
    /// A value of the wrong type or outside its range, and an unknown task. Keys without a meaning here are ignored,
    /// because clients send many of them.
    pub fn parse(state: &Map<String, Value>) -> Result<Self, SettingsError> {
        let batch_size = read::positive_integer(state, "batch_size")?.unwrap_or(Self::DEFAULT_BATCH_SIZE);
        let settings = InferenceSettings::from_merged(&merge::merge(state)?)?;
        Ok(Self { settings, batch_size })
    }
}

/// How each picture of a request is treated.
#[derive(Debug, Clone, PartialEq)]
pub struct InferenceSettings {
    /// What the model does.
    pub task_prompt: TaskPrompt,
    /// Phrases for tasks that take some; empty for none.
    pub text: String,
    /// The classes to look for. Goes before `text`.
    pub mapping: Option<Vec<ClassPrompts>>,
    /// The parts of the pictures to look at.
    pub regions: Regions,
    /// Most tokens of an answer, `None` for the model's default.
    pub max_new_tokens: Option<usize>,
    /// Whether labels carry their score.
    pub scores: bool,
    /// Which of the found boxes become labels.
    pub box_filter: BoxFilter,
    /// Everything that the caller set, what has no meaning here included.
    pub given: Map<String, Value>,
}

/// A class and the prompts that find its objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassPrompts {
    /// Name that the labels get.
    pub class: String,
    /// What follows the task's token; an empty prompt is the task alone.
    pub prompts: Vec<String>,
}

/// Regions of interest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Regions {
    /// The same for every picture; `None` is the whole picture.
    Same(Option<Rectangle>),
    /// One entry a picture.
    PerPicture(Vec<Option<Rectangle>>),
}

impl Regions {
    /// The region of the picture at this position of the request.
    pub fn of_picture(&self, index: usize) -> Option<Rectangle> {
        match self {
            Self::Same(region) => *region,
            Self::PerPicture(regions) => regions.get(index).copied().flatten(),
        }
    }
}

impl InferenceSettings {
    /// Completes and checks settings as a caller writes them.
    ///
    /// # Errors
    /// As [`InferenceState::parse`].
    pub fn parse(settings: Map<String, Value>) -> Result<Self, SettingsError> {
        let state = Map::from_iter([("settings".to_owned(), Value::Object(settings))]);
        Self::from_merged(&merge::merge(&state)?)
    }

    /// A null means the default wherever it has no meaning of its own.
    fn from_merged(settings: &Map<String, Value>) -> Result<Self, SettingsError> {
        let task_prompt = match read::string(settings, "task_prompt")? {
            Some(task) => task.parse()?,
            None => TaskPrompt::default(),
        };
        let text = read::string(settings, "text")?.unwrap_or_default().to_owned();
        // An empty mapping names no class to look for, so a text beside it is what the caller wants.
        let mapping = read::mapping(settings)?.filter(|classes| !classes.is_empty() || text.trim().is_empty());
        Ok(Self {
            task_prompt,
            text,
            mapping,
            regions: read::regions(settings)?,
            max_new_tokens: read::positive_integer(settings, "max_new_tokens")?,
            scores: read::boolean(settings, "scores")?.unwrap_or(false),
            box_filter: box_filter(settings)?,
            given: settings.clone(),
        })
    }
}

fn box_filter(settings: &Map<String, Value>) -> Result<BoxFilter, SettingsError> {
    let off = BoxFilter::default();
    Ok(BoxFilter {
        min_score: read::fraction(settings, "conf")?.unwrap_or(off.min_score),
        nms_iou: read::fraction(settings, "nms_iou")?.or(off.nms_iou),
        max_area_share: read::positive_fraction(settings, "max_box_area")?.unwrap_or(off.max_area_share),
        min_side_px: read::pixels(settings, "min_box_px")?.unwrap_or(off.min_side_px),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::florence::task::Task;
    use serde_json::json;

    fn parse(settings: Value) -> Result<InferenceSettings, SettingsError> {
        InferenceSettings::parse(settings.as_object().unwrap().clone())
    }

    fn refusal(settings: Value) -> String {
        parse(settings).unwrap_err().to_string()
    }

    #[test]
    fn no_settings_are_the_originals() {
        let settings = parse(json!({})).unwrap();
        assert_eq!(settings.task_prompt, TaskPrompt::Cascade(Task::Caption));
        assert_eq!(settings.text, "");
        assert_eq!(settings.mapping, None);
        assert_eq!(settings.regions, Regions::Same(None));
        assert_eq!(settings.max_new_tokens, Some(1024));
        assert!(!settings.scores);
        assert_eq!(settings.box_filter, BoxFilter::default());
    }

    #[test]
    fn boxes_are_filtered_as_asked() {
        let settings = parse(json!({"conf": 0.3, "nms_iou": 0.5, "max_box_area": 0.9, "min_box_px": 4.0})).unwrap();
        let filter = BoxFilter { min_score: 0.3, nms_iou: Some(0.5), max_area_share: 0.9, min_side_px: 4.0 };
        assert_eq!(settings.box_filter, filter);
        // An overlap of 0 is a request of its own, not the same as none.
        assert_eq!(parse(json!({"nms_iou": 0})).unwrap().box_filter.nms_iou, Some(0.0));
    }

    #[test]
    fn nulls_are_defaults() {
        let nulls = json!({"task_prompt": null, "text": null, "mapping": null, "conf": null, "scores": null,
            "max_new_tokens": null, "rectangle": null, "rectangles": null, "nms_iou": null, "max_box_area": null,
            "min_box_px": null});
        let settings = parse(nulls).unwrap();
        let given = settings.given.clone();
        assert_eq!(settings, InferenceSettings { max_new_tokens: None, given, ..parse(json!({})).unwrap() });
    }

    #[test]
    fn unknown_keys_are_ignored() {
        let noise = json!({"mode": "text_prompt", "tracking": true, "classes": ["a"], "inference_mode": "full_image"});
        let settings = parse(noise).unwrap();
        assert_eq!(settings.given["mode"], "text_prompt");
        let given = settings.given.clone();
        assert_eq!(settings, InferenceSettings { given, ..parse(json!({})).unwrap() });
    }

    #[test]
    fn a_mapping_takes_null_a_prompt_or_several() {
        let settings = parse(json!({"mapping": {"Vehicle": "car", "Plant": null, "Pet": ["cat", "dog"]}})).unwrap();
        let classes: Vec<(String, Vec<String>)> =
            settings.mapping.unwrap().into_iter().map(|c| (c.class, c.prompts)).collect();
        let expected = [("Vehicle", vec!["car"]), ("Plant", vec![""]), ("Pet", vec!["cat", "dog"])]
            .map(|(class, prompts)| (class.to_owned(), prompts.into_iter().map(str::to_owned).collect()));
        assert_eq!(classes, expected);
    }

    #[test]
    fn an_empty_mapping_gives_way_to_a_text() {
        assert_eq!(parse(json!({"mapping": {}, "text": "car"})).unwrap().mapping, None);
        assert_eq!(parse(json!({"mapping": {}, "text": null})).unwrap().mapping, Some(vec![]));
    }

    #[test]
    fn wrong_types_are_named() {
        assert_eq!(refusal(json!({"text": 5})), "text must be a string, not 5");
        assert_eq!(refusal(json!({"task_prompt": ["<OD>"]})), "task_prompt must be a string, not [\"<OD>\"]");
        assert_eq!(
            refusal(json!({"mapping": ["car"]})),
            "mapping must be an object of classes with a prompt, a list of prompts or null each, not [\"car\"]"
        );
        assert_eq!(
            refusal(json!({"mapping": {"a": 1}})),
            "mapping.a must be a prompt, a list of prompts or null, not 1"
        );
        assert_eq!(refusal(json!({"scores": "yes"})), "scores must be true or false, not \"yes\"");
        assert_eq!(refusal(json!({"conf": 50})), "conf must be a number from 0 to 1, not 50");
        assert_eq!(refusal(json!({"nms_iou": 1.5})), "nms_iou must be a number from 0 to 1, not 1.5");
        assert_eq!(refusal(json!({"max_box_area": 0})), "max_box_area must be a number above 0 and up to 1, not 0");
        assert_eq!(refusal(json!({"max_box_area": 50})), "max_box_area must be a number above 0 and up to 1, not 50");
        assert_eq!(refusal(json!({"min_box_px": -1})), "min_box_px must be a number of pixels, 0 or more, not -1");
        assert_eq!(refusal(json!({"min_box_px": "9"})), "min_box_px must be a number of pixels, 0 or more, not \"9\"");
        assert_eq!(refusal(json!({"max_new_tokens": 0})), "max_new_tokens must be a positive integer, not 0");
        assert!(refusal(json!({"rectangle": [1, 2]})).starts_with("rectangle must be "));
        assert!(refusal(json!({"rectangles": [null, 3]})).starts_with("rectangles[1] must be "));
        assert!(refusal(json!({"task_prompt": "<NO_SUCH>"})).ends_with("not \"<NO_SUCH>\""));
    }

    #[test]
    fn long_values_are_shortened_in_messages() {
        let message = refusal(json!({"scores": "ü".repeat(5000)}));
        assert!(message.ends_with('…') && message.len() < 200, "{message}");
    }

    #[test]
    fn the_batch_size_is_checked() {
        let parse = |state: Value| InferenceState::parse(state.as_object().unwrap()).map(|state| state.batch_size);
        assert_eq!(parse(json!({})), Ok(16));
        assert_eq!(parse(json!({"batch_size": null})), Ok(16));
        assert_eq!(parse(json!({"batch_size": 4})), Ok(4));
        assert!(parse(json!({"batch_size": "4"})).is_err());
        assert!(parse(json!({"batch_size": -1})).is_err());
    }
}
