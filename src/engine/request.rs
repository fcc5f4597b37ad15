//! What goes into the engine and what comes out of it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use serde_json::{Map, Value};

use super::places::Place;
use crate::florence::answer::{Answer, StopReason};
use crate::florence::generation::GenerationOptions;
use crate::florence::image::Picture;

/// One picture with everything that is asked about it.
#[derive(Debug, Clone)]
pub struct Request {
    /// The picture, upright.
    pub picture: Arc<Picture>,
    /// Prompts as a caller writes them, `<CAPTION_TO_PHRASE_GROUNDING>a red circle` or free text; each is answered.
    pub prompts: Vec<String>,
    /// How each answer is searched.
    pub options: GenerationOptions,
    /// Nobody wants the answers after this.
    pub deadline: Option<Instant>,
    /// The picture's place in the queue.
    pub place: Arc<Place>,
    /// Everything that the caller set. The model needs no more than what stands above; engines that stand in for it may.
    pub settings: Arc<Map<String, Value>>,
}

/// The model's answer to one prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// Ids that the model wrote, the start token included.
    pub ids: Vec<u32>,
    /// Their text, special tokens kept, nothing cleaned up.
    pub text: String,
    /// What the text means, in pixels of the request's picture.
    pub answer: Answer,
    /// Why the model stopped writing.
    pub stop: StopReason,
}

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It waits for its turn.
    Waiting,
    /// The model that was frozen comes back.
    Waking,
    /// The file becomes pixels; before the engine, and told by those who call it.
    Decoding,
    /// The picture is resized and the prompts become ids.
    Preparing,
    /// Prepared, it waits for the device.
    WaitingForDevice,
    /// The vision tower looks at the picture.
    EncodingPicture,
    /// Answers are being written.
    Writing,
    /// Answers become boxes.
    Reading,
}

impl fmt::Display for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Waiting => "waiting for its turn",
            Self::Waking => "waking the model",
            Self::Decoding => "decoding the picture",
            Self::Preparing => "preparing the picture",
            Self::WaitingForDevice => "waiting for the device",
            Self::EncodingPicture => "encoding the picture",
            Self::Writing => "writing the answers",
            Self::Reading => "reading the answers",
        })
    }
}

/// The stage of a request, told across threads.
#[derive(Debug, Clone, Default)]
pub(super) struct StageCell(Arc<AtomicU8>);

impl StageCell {
    const STAGES: [Stage; 8] = [
        Stage::Waiting,
        Stage::Waking,
        Stage::Decoding,
        Stage::Preparing,
        Stage::WaitingForDevice,
        Stage::EncodingPicture,
        Stage::Writing,
        Stage::Reading,
    ];

    /// The request has come to this stage.
    pub fn set(&self, stage: Stage) {
        self.0.store(stage as u8, Ordering::Relaxed);
    }

    /// The stage that the request has come to.
    pub fn get(&self) -> Stage {
        Self::STAGES.get(usize::from(self.0.load(Ordering::Relaxed))).copied().unwrap_or(Stage::Waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_told_as_they_were_set() {
        let cell = StageCell::default();
        assert_eq!(cell.get(), Stage::Waiting);
        for stage in StageCell::STAGES {
            cell.clone().set(stage);
            assert_eq!(cell.get(), stage);
        }
    }
}
