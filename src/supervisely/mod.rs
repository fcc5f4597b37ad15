//! The platform's language: annotations, project meta and inference settings as its clients write and read them.
//!
//! Data only. Nothing here runs a model or answers a request; field names and their order are those of the platform's
//! own SDK, because clients compare them.

mod annotation;
mod geometry;
mod meta;
mod prediction;
mod settings;

pub use annotation::{Annotation, Label, LabelTag};
pub use geometry::{ImageSize, Rectangle};
pub use meta::{ClassRegistry, ObjectClass, ProjectMeta, Shape, TagMeta};
pub use prediction::{Origin, Prediction};
pub use settings::{
    ClassPrompts, DEFAULT_SETTINGS_YAML, InferenceSettings, InferenceState, Regions, SettingsError, TaskPrompt,
};

/// Tag that carries a box's score.
pub const CONFIDENCE_TAG: &str = "confidence";

/// Class of a label whose text the model left empty.
pub const UNNAMED_CLASS: &str = "object";

/// What this kind of model is called in session and deploy information.
pub const TASK_TYPE: &str = "prompt-based object detection";
