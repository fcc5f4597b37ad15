//! Why an inference request has no predictions.

use thiserror::Error;

use crate::engine::EngineError;
use crate::florence::task::PromptError;
use crate::media::{FetchError, VideoError};
use crate::supervisely::{NameConflict, PlatformError, SettingsError, TaskPrompt};
use crate::tracking::TrackerSettingsError;

/// Why an inference request has no predictions.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum SessionError {
    /// The caller's settings cannot be served.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The task's answers hold nothing that could become a label of a class.
    #[error(
        "{task} finds nothing that a class of the mapping could name; tasks that do are {}",
        super::list_tasks_with_labels()
    )]
    TaskWithoutLabels {
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
    /// The platform does not show such a picture to the caller; the text is the original's.
    #[error("Image (id: {id}) is either archived, doesn't exist or you don't have enough permissions to access it")]
    UnknownImage {
        /// Its id.
        id: i64,
    },
    /// Nothing to predict was named; the text is the original's.
    #[error("Inference finished without returning any results.")]
    NoPictures,
    /// A picture that is not an upload cannot be read.
    #[error("cannot read {name:?}: {reason}")]
    Unreadable {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The platform left out frames of a video.
    #[error("the platform did not send all frames of video {video_id} that were asked for")]
    MissingFrames {
        /// The video.
        video_id: i64,
    },
    /// The project holds something else; the text is the original's.
    #[error("Only images projects are supported.")]
    NotAnImagesProject,
    /// The project uses a name for something else.
    #[error(transparent)]
    NameConflict(#[from] NameConflict),
    /// No inference request has this id.
    #[error("there is no inference request {id}")]
    UnknownRequest {
        /// What the caller sent.
        id: String,
    },
    /// Results were not taken for too long; the text is the original's.
    #[error("Inference request cancelled due to long pause.")]
    LongPause,
    /// A question without a picture; the text is the original's.
    #[error("Request must contain either image_id, image_path or image_encoding!")]
    NoPictureToAskAbout,
    /// A picture on the server that the caller may not see, or that is not there.
    #[error("image_path is not available: there is no such picture in the folder that is open to callers")]
    NoSuchPath,
    /// The tracker's settings make no sense.
    #[error(transparent)]
    Tracker(#[from] TrackerSettingsError),
    /// An address cannot be fetched from.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A video cannot be read.
    #[error(transparent)]
    Video(#[from] VideoError),
    /// The platform refused or failed.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// The engine refused or failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A fault of ours.
    #[error("{0}")]
    Internal(String),
}

impl SessionError {
    /// Whether the caller can mend it, so that asking again for the same is of no use.
    pub fn is_callers_fault(&self) -> bool {
        match self {
            Self::Engine(error) => {
                matches!(error, EngineError::InvalidRequest(_) | EngineError::PromptTooLong { .. })
            }
            Self::Video(error) => error.is_callers_fault(),
            Self::LongPause | Self::MissingFrames { .. } | Self::Platform(_) | Self::Internal(_) => false,
            _ => true,
        }
    }

    /// The same about a picture of this name, if it is about a picture.
    #[must_use]
    pub(super) fn named(self, name: &str) -> Self {
        match self {
            Self::Unreadable { reason, .. } => Self::Unreadable { name: name.to_owned(), reason },
            other => other,
        }
    }

    /// Whether it concerns one picture alone: the others of a run may do better.
    pub(super) fn is_of_one_picture(&self) -> bool {
        match self {
            Self::Unreadable { .. } | Self::UnreadablePicture { .. } | Self::RegionOutsidePicture => true,
            Self::UnknownImage { .. } | Self::Platform(_) | Self::Internal(_) => true,
            Self::Engine(error) => matches!(error, EngineError::OutOfMemory | EngineError::Internal(_)),
            _ => false,
        }
    }
}
