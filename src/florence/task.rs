//! The tasks that Florence-2 was trained on and the prompts that ask for them.
//!
//! A caller writes a task token such as `<OD>`; the model never sees it, but an English sentence instead. The
//! table below is that of the processor which Microsoft ships with the checkpoints.

use thiserror::Error;

/// What kind of text an answer is, and so which parser reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerKind {
    /// Plain text: captions, recognised text, answers to free prompts.
    PureText,
    /// Text with a quadrangle for each line.
    Ocr,
    /// Labels, each followed by its boxes.
    LabelledBoxes,
    /// Phrases of the prompt, each followed by its boxes.
    PhraseGrounding,
    /// Boxes without labels.
    Boxes,
    /// Polygons without labels.
    Polygons,
    /// Labels followed by boxes, or by polygons where the model chose to draw them.
    BoxesOrPolygons,
}

/// A task of the published checkpoints; everything else is [`Task::FreeText`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each variant is its token, see Task::token")]
pub enum Task {
    Ocr,
    OcrWithRegion,
    Caption,
    DetailedCaption,
    MoreDetailedCaption,
    ObjectDetection,
    DenseRegionCaption,
    RegionProposal,
    PhraseGrounding,
    ReferringExpressionSegmentation,
    RegionToSegmentation,
    OpenVocabularyDetection,
    RegionToCategory,
    RegionToDescription,
    RegionToOcr,
    /// A prompt that goes to the model as it is.
    FreeText,
}

/// How a task's sentence takes the caller's text.
enum Sentence {
    /// The sentence stands alone; the task takes no text.
    Fixed(&'static str),
    /// The text goes between the two parts.
    Around(&'static str, &'static str),
}

/// A prompt that no task accepts.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PromptError {
    /// A task without input was given one.
    #[error("the task {token} takes no further text, but was given {text:?}")]
    UnexpectedText {
        /// The task's token.
        token: &'static str,
        /// The whole prompt.
        text: String,
    },
}

impl Task {
    /// Every task with a token, in the order in which the original processor looks for them.
    pub const ALL: [Self; 15] = [
        Self::Ocr,
        Self::OcrWithRegion,
        Self::Caption,
        Self::DetailedCaption,
        Self::MoreDetailedCaption,
        Self::ObjectDetection,
        Self::DenseRegionCaption,
        Self::RegionProposal,
        Self::PhraseGrounding,
        Self::ReferringExpressionSegmentation,
        Self::RegionToSegmentation,
        Self::OpenVocabularyDetection,
        Self::RegionToCategory,
        Self::RegionToDescription,
        Self::RegionToOcr,
    ];

    /// The token that callers write, `""` for free text.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Ocr => "<OCR>",
            Self::OcrWithRegion => "<OCR_WITH_REGION>",
            Self::Caption => "<CAPTION>",
            Self::DetailedCaption => "<DETAILED_CAPTION>",
            Self::MoreDetailedCaption => "<MORE_DETAILED_CAPTION>",
            Self::ObjectDetection => "<OD>",
            Self::DenseRegionCaption => "<DENSE_REGION_CAPTION>",
            Self::RegionProposal => "<REGION_PROPOSAL>",
            Self::PhraseGrounding => "<CAPTION_TO_PHRASE_GROUNDING>",
            Self::ReferringExpressionSegmentation => "<REFERRING_EXPRESSION_SEGMENTATION>",
            Self::RegionToSegmentation => "<REGION_TO_SEGMENTATION>",
            Self::OpenVocabularyDetection => "<OPEN_VOCABULARY_DETECTION>",
            Self::RegionToCategory => "<REGION_TO_CATEGORY>",
            Self::RegionToDescription => "<REGION_TO_DESCRIPTION>",
            Self::RegionToOcr => "<REGION_TO_OCR>",
            Self::FreeText => "",
        }
    }

    /// The task with exactly this token.
    pub fn from_token(token: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|task| task.token() == token)
    }

    /// The task whose token stands at the very start of a prompt, [`Task::FreeText`] without one.
    ///
    /// The parser of an answer is chosen by it.
    pub fn of_prompt(prompt: &str) -> Self {
        prompt.find('>').and_then(|end| prompt.get(..=end)).and_then(Self::from_token).unwrap_or(Self::FreeText)
    }

    /// Which parser reads the task's answers.
    pub const fn answer_kind(self) -> AnswerKind {
        match self {
            Self::OcrWithRegion => AnswerKind::Ocr,
            Self::ObjectDetection | Self::DenseRegionCaption => AnswerKind::LabelledBoxes,
            Self::RegionProposal => AnswerKind::Boxes,
            Self::PhraseGrounding => AnswerKind::PhraseGrounding,
            Self::ReferringExpressionSegmentation | Self::RegionToSegmentation => AnswerKind::Polygons,
            Self::OpenVocabularyDetection => AnswerKind::BoxesOrPolygons,
            Self::Ocr
            | Self::Caption
            | Self::DetailedCaption
            | Self::MoreDetailedCaption
            | Self::RegionToCategory
            | Self::RegionToDescription
            | Self::RegionToOcr
            | Self::FreeText => AnswerKind::PureText,
        }
    }

    /// Whether the task asks about one region, which stands in the prompt as four locations.
    pub const fn is_about_region(self) -> bool {
        matches!(
            self,
            Self::RegionToSegmentation | Self::RegionToCategory | Self::RegionToDescription | Self::RegionToOcr
        )
    }

    /// Whether the task's sentence has a place for the caller's text.
    pub fn takes_text(self) -> bool {
        !matches!(self.sentence(), Some(Sentence::Fixed(_)))
    }

    const fn sentence(self) -> Option<Sentence> {
        Some(match self {
            Self::Ocr => Sentence::Fixed("What is the text in the image?"),
            Self::OcrWithRegion => Sentence::Fixed("What is the text in the image, with regions?"),
            Self::Caption => Sentence::Fixed("What does the image describe?"),
            Self::DetailedCaption => Sentence::Fixed("Describe in detail what is shown in the image."),
            Self::MoreDetailedCaption => Sentence::Fixed("Describe with a paragraph what is shown in the image."),
            Self::ObjectDetection => Sentence::Fixed("Locate the objects with category name in the image."),
            Self::DenseRegionCaption => Sentence::Fixed("Locate the objects in the image, with their descriptions."),
            Self::RegionProposal => Sentence::Fixed("Locate the region proposals in the image."),
            Self::PhraseGrounding => Sentence::Around("Locate the phrases in the caption: ", ""),
            Self::ReferringExpressionSegmentation => Sentence::Around("Locate ", " in the image with mask"),
            Self::RegionToSegmentation => Sentence::Around("What is the polygon mask of region ", ""),
            Self::OpenVocabularyDetection => Sentence::Around("Locate ", " in the image."),
            Self::RegionToCategory => Sentence::Around("What is the region ", "?"),
            Self::RegionToDescription => Sentence::Around("What does the region ", " describe?"),
            Self::RegionToOcr => Sentence::Around("What text is in the region ", "?"),
            Self::FreeText => return None,
        })
    }
}

/// The English text that a prompt becomes before it is tokenised.
///
/// A task token may stand anywhere in the prompt; the rest is its input, blanks kept. After a task without input the
/// search goes on, as in the original, which cannot find another one in its fixed sentence.
///
/// # Errors
/// A task that takes no input must be the whole prompt.
pub fn expand_prompt(prompt: &str) -> Result<String, PromptError> {
    for task in Task::ALL {
        match task.sentence() {
            Some(Sentence::Fixed(sentence)) if prompt.contains(task.token()) => {
                if prompt != task.token() {
                    return Err(PromptError::UnexpectedText { token: task.token(), text: prompt.to_owned() });
                }
                return Ok(sentence.to_owned());
            }
            Some(Sentence::Around(before, after)) if prompt.contains(task.token()) => {
                return Ok(format!("{before}{}{after}", prompt.replace(task.token(), "")));
            }
            _ => {}
        }
    }
    Ok(prompt.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_unique_and_found_again() {
        for task in Task::ALL {
            assert_eq!(Task::from_token(task.token()), Some(task));
            assert_eq!(Task::of_prompt(&format!("{} and text", task.token())), task);
        }
        assert_eq!(Task::of_prompt("<VQA>what is this"), Task::FreeText);
        assert_eq!(Task::of_prompt("find <OD>"), Task::FreeText);
        assert_eq!(Task::of_prompt(""), Task::FreeText);
    }

    #[test]
    fn the_callers_text_keeps_its_blanks() {
        assert_eq!(expand_prompt("<OPEN_VOCABULARY_DETECTION> cat").as_deref(), Ok("Locate  cat in the image."));
        assert_eq!(
            expand_prompt("<CAPTION_TO_PHRASE_GROUNDING>").as_deref(),
            Ok("Locate the phrases in the caption: ")
        );
        assert_eq!(expand_prompt("a {} b").as_deref(), Ok("a {} b"));
    }

    #[test]
    fn a_task_without_input_refuses_one() {
        assert!(matches!(expand_prompt("<OD>cat"), Err(PromptError::UnexpectedText { token: "<OD>", .. })));
        assert!(expand_prompt("please <CAPTION>").is_err());
    }
}
