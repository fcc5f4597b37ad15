//! What goes into the engine and what comes out of it.

use std::sync::Arc;

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
}

/// The model's answer to one prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The text that the model wrote, special tokens kept, nothing cleaned up.
    pub text: String,
    /// What the text means, in pixels of the request's picture.
    pub answer: Answer,
    /// Why the model stopped writing.
    pub stop: StopReason,
}
