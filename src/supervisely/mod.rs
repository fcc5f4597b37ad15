//! The platform's language: annotations, project meta and inference settings as its clients write and read them, and a
//! client of the platform itself.
//!
//! Nothing here runs a model or answers a request; field names and their order are those of the platform's own SDK, because
//! clients compare them.

mod annotation;
mod geometry;
mod meta;
mod platform;
mod polygon;
mod prediction;
mod project_classes;
mod settings;
mod stored_label;
mod video_annotation;

pub use annotation::{Annotation, Label, LabelTag};
pub use geometry::{ImageSize, Rectangle};
pub use meta::{ClassRegistry, ObjectClass, ProjectMeta, Shape, TagMeta};
pub use platform::{
    Address, DatasetRecord, Figure, ImageRecord, MAX_NAMES, NewDataset, NewImage, NewProject, Notice, Platform,
    PlatformAccess, PlatformError, PlatformSettings, ProjectRecord, Retries, StoredAnnotation, Token, VideoRecord,
    free_names, is_truthy, number_suffix,
};
pub use polygon::{Geometry, Polygon};
pub use prediction::{Origin, Prediction};
pub use project_classes::{NameConflict, ProjectClasses};
pub use settings::{
    CacheArguments, ClassPrompts, DEFAULT_SETTINGS_YAML, FrameSelection, ImageIds, InferenceSettings, InferenceState,
    ProjectArguments, Regions, SettingsError, SpeedTestArguments, TaskPrompt, TrackerChoice, UploadArguments,
    UploadMode, VideoArguments,
};
pub use stored_label::stored_bounds;
pub use video_annotation::VideoAnnotation;

/// Tag that carries a box's score.
pub const CONFIDENCE_TAG: &str = "confidence";

/// Tag that carries the text that was read on a label.
pub const TEXT_TAG: &str = "text";

/// Tag that carries a picture's caption, or the answer to a free prompt.
pub const CAPTION_TAG: &str = "caption";

/// Tag that carries all text that was read on a picture.
pub const OCR_TAG: &str = "ocr";

/// Class of a label whose text the model left empty.
pub const UNNAMED_CLASS: &str = "object";

/// What this kind of model is called in session and deploy information.
pub const TASK_TYPE: &str = "prompt-based object detection";
