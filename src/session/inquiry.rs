//! A question put to the engine about one picture after the other.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value};

use super::SessionError;
use super::labels::{Findings, NamedReply, ScoreRules, View, read_findings};
use super::question::{ClassPrompt, Question, TaskText, ground_caption};
use super::uploads::size_of;
use crate::engine::{Engine, EngineError, Place, Reply, Request};
use crate::florence::answer::{Answer, PictureSize, region_prompt};
use crate::florence::generation::GenerationOptions;
use crate::florence::image::Picture;
use crate::florence::task::Task;
use crate::supervisely::{InferenceSettings, Rectangle};

/// Times that a caption which does not fit behind the picture is cut before that is an error.
const MAX_CUTS: usize = 4;

/// What is asked about every picture of a request, and how the answers are read.
#[derive(Debug, Clone, PartialEq)]
pub struct Inquiry {
    question: Question,
    options: GenerationOptions,
    scores: ScoreRules,
    /// The caller's settings as a whole, for engines that know more of them.
    settings: Arc<Map<String, Value>>,
}

/// A picture's turn with the engine, for all that is asked about it.
pub(super) struct Turn<'a> {
    pub(super) engine: &'a dyn Engine,
    pub(super) place: Arc<Place>,
    pub(super) deadline: Option<Instant>,
}

impl Inquiry {
    /// The inquiry that the settings describe.
    ///
    /// # Errors
    /// As [`Question::from_settings`].
    pub fn new(settings: &InferenceSettings) -> Result<Self, SessionError> {
        let mut options = GenerationOptions::default();
        if let Some(max_new_tokens) = settings.max_new_tokens {
            options.max_new_tokens = max_new_tokens;
        }
        let (question, scores) = (Question::from_settings(settings)?, ScoreRules::from_settings(settings));
        Ok(Self { question, options, scores, settings: Arc::new(settings.given.clone()) })
    }

    /// Asks about a picture, or a region inside it; what is found is in the whole picture's coordinates.
    pub(super) async fn investigate(
        &self,
        turn: &Turn<'_>,
        picture: Arc<Picture>,
        region: Option<Rectangle>,
    ) -> Result<Findings, SessionError> {
        let whole = size_of(&picture);
        let (picture, left, top) = match region {
            Some(region) if !matches!(self.question, Question::Region(_)) => {
                (Arc::new(crop(&picture, region)?), region.left(), region.top())
            }
            _ => (picture, 0, 0),
        };
        let view = View { size: PictureSize::of(&picture), left, top };
        let replies = self.ask(turn, picture, region).await?;
        Ok(read_findings(whole, replies, view, self.scores))
    }

    /// The same rules, but scores are shown wherever there are some.
    #[must_use]
    pub(super) fn showing_scores(mut self) -> Self {
        self.scores.tag = true;
        self
    }

    async fn ask(
        &self,
        turn: &Turn<'_>,
        picture: Arc<Picture>,
        region: Option<Rectangle>,
    ) -> Result<Vec<NamedReply<'_>>, SessionError> {
        match &self.question {
            Question::Prompt(prompt) => self.ask_alone(turn, picture, prompt.clone()).await,
            Question::Region(task) => {
                let size = PictureSize::of(&picture);
                let whole = [0.0, 0.0, f64::from(size.width), f64::from(size.height)];
                let corners = region.map_or(whole, |region| {
                    [region.left(), region.top(), region.right(), region.bottom()].map(|corner| corner as f64)
                });
                let prompt = TaskText { task: *task, text: region_prompt(corners, size) };
                self.ask_alone(turn, picture, prompt).await
            }
            Question::GroundedCaption(caption_task) => {
                let caption = self.ask_for_caption(turn, Arc::clone(&picture), *caption_task).await?;
                self.ground(turn, picture, &caption).await
            }
            Question::Classes(classes) => self.ask_for_classes(turn, picture, classes).await,
        }
    }

    async fn ask_alone(
        &self,
        turn: &Turn<'_>,
        picture: Arc<Picture>,
        asked: TaskText,
    ) -> Result<Vec<NamedReply<'_>>, SessionError> {
        let reply = self.ask_one(turn, picture, asked.to_prompt()).await?;
        Ok(vec![NamedReply { class: None, asked, reply }])
    }

    /// Asks where a caption's phrases are. A caption that is too long for the model, because the model looped, loses its end:
    /// the caller did not write it and cannot shorten it.
    async fn ground(
        &self,
        turn: &Turn<'_>,
        picture: Arc<Picture>,
        caption: &str,
    ) -> Result<Vec<NamedReply<'_>>, SessionError> {
        let mut caption = caption;
        for _ in 0..MAX_CUTS {
            match self.ask_alone(turn, Arc::clone(&picture), ground_caption(caption)).await {
                Err(SessionError::Engine(EngineError::PromptTooLong { fitting_share, .. })) => {
                    caption = beginning(caption, fitting_share);
                }
                result => return result,
            }
        }
        Err(SessionError::Internal("a caption does not fit behind the picture".to_owned()))
    }

    async fn ask_for_caption(
        &self,
        turn: &Turn<'_>,
        picture: Arc<Picture>,
        task: Task,
    ) -> Result<String, SessionError> {
        match self.ask_one(turn, picture, task.token().to_owned()).await?.answer {
            Answer::Text(caption) => Ok(caption),
            _ => Err(SessionError::Internal("the model answered a caption task without text".to_owned())),
        }
    }

    async fn ask_for_classes<'a>(
        &self,
        turn: &Turn<'_>,
        picture: Arc<Picture>,
        classes: &'a [ClassPrompt],
    ) -> Result<Vec<NamedReply<'a>>, SessionError> {
        if classes.is_empty() {
            return Ok(Vec::new());
        }
        let prompts = classes.iter().map(|class| class.prompt.to_prompt()).collect();
        let replies = self.ask_all(turn, picture, prompts).await?;
        let named = classes.iter().zip(replies);
        Ok(named
            .map(|(class, reply)| NamedReply { class: Some(&class.class), asked: class.prompt.clone(), reply })
            .collect())
    }

    async fn ask_one(&self, turn: &Turn<'_>, picture: Arc<Picture>, prompt: String) -> Result<Reply, SessionError> {
        let mut replies = self.ask_all(turn, picture, vec![prompt]).await?;
        replies.pop().ok_or_else(|| wrong_number_of_replies(0, 1))
    }

    async fn ask_all(
        &self,
        turn: &Turn<'_>,
        picture: Arc<Picture>,
        prompts: Vec<String>,
    ) -> Result<Vec<Reply>, SessionError> {
        let asked = prompts.len();
        let (place, deadline) = (Arc::clone(&turn.place), turn.deadline);
        let settings = Arc::clone(&self.settings);
        let request = Request { picture, prompts, options: self.options, deadline, place, settings };
        let replies = turn.engine.infer(request).await?;
        if replies.len() == asked { Ok(replies) } else { Err(wrong_number_of_replies(replies.len(), asked)) }
    }
}

fn wrong_number_of_replies(replies: usize, prompts: usize) -> SessionError {
    SessionError::Internal(format!("the engine answered {replies} of {prompts} prompts"))
}

/// Somewhat less than this share of a text, up to a blank if there is one.
fn beginning(text: &str, share: f64) -> &str {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length")]
    let length = text.floor_char_boundary((text.len() as f64 * share.clamp(0.0, 1.0) * 0.9) as usize);
    let start = text.get(..length).unwrap_or_default();
    start.rsplit_once(' ').map_or(start, |(words, _)| words)
}

/// Cuts out what the model is to see.
fn crop(picture: &Picture, region: Rectangle) -> Result<Picture, SessionError> {
    let pixels = |length: i64| u32::try_from(length).map_err(|_| SessionError::RegionOutsidePicture);
    let (left, top) = (pixels(region.left())?, pixels(region.top())?);
    let (width, height) = (pixels(region.size().width)?, pixels(region.size().height)?);
    picture.crop(left, top, width, height).ok_or(SessionError::RegionOutsidePicture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_words_and_always_gets_shorter() {
        assert_eq!(beginning("a red circle and a blue star", 0.5), "a red");
        assert_eq!(beginning("ééééééé", 0.5), "ééé");
        assert_eq!(beginning("a b", f64::NAN), "");
        let mut text = "one two three four five";
        for _ in 0..30 {
            text = beginning(text, 1.0);
        }
        assert_eq!(text, "");
    }
}
