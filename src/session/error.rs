//! Why an inference request has no predictions.

use thiserror::Error;

use crate::engine::EngineError;
use crate::florence::task::PromptError;
use crate::supervisely::{SettingsError, TaskPrompt};

/// Why an inference request has no predictions.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum SessionError {
    /// The caller's settings cannot be served.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The task's answers hold nothing that could become a label.
    #[error("{task} gives no boxes; tasks that do are {}", super::list_tasks_with_boxes())]
    TaskWithoutBoxes {
        /// The caller's task.
        task: TaskPrompt,
    },
    /// The task does not take the caller's text.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// A mapping asks for more than one request may.
    #[error("mapping holds {given} prompts, at most {most} are allowed")]
    TooManyPrompts {
        /// How many the caller sent.
        given: usize,
        /// How many there may be.
        most: usize,
    },
    /// An uploaded file is no picture, or one that cannot be read.
    #[error("cannot read file {position} of {count}, {name:?}: {reason}")]
    UnreadablePicture {
        /// The caller's name for it.
        name: String,
        /// Where it stands in the request, from 1.
        position: usize,
        /// How many files there are.
        count: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The region of interest is not wholly inside the picture; the text is the original's.
    #[error("Rectangle for crop out of image area!")]
    RegionOutsidePicture,
    /// `rectangles` does not fit the pictures.
    #[error("rectangles holds {regions} regions for {pictures} pictures")]
    RegionCount {
        /// Regions in the settings.
        regions: usize,
        /// Pictures in the request.
        pictures: usize,
    },
    /// The engine refused or failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A fault of ours.
    #[error("{0}")]
    Internal(String),
}
