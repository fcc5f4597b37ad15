//! Chooses the parser of an answer and turns location bins into pixels.

use super::boxes::{labelled_boxes, unlabelled_boxes};
use super::cleanup::without_marks;
use super::polygons::{labelled_polygons, unlabelled_polygons};
use super::quads::quads;
use super::scan::Location;
use super::{Answer, LabelledBox};
use crate::florence::image::Picture;
use crate::florence::task::AnswerKind;

/// Bins on each axis of the picture.
const BINS: f64 = 1000.0;

/// Size of the picture that an answer speaks about, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureSize {
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

impl PictureSize {
    /// The size of a picture.
    pub const fn of(picture: &Picture) -> Self {
        Self { width: picture.width(), height: picture.height() }
    }

    /// The middle of each bin in pixels, widths and heights in turn.
    ///
    /// Computed in f32 as the original does, so that even the last bits agree. Bins beyond 999 lie beyond the picture.
    pub fn pixels(self, locations: &[Location]) -> impl Iterator<Item = f64> {
        #[allow(clippy::cast_possible_truncation, reason = "the original computes in f32")]
        let scales = [self.width, self.height].map(|side| (f64::from(side) / BINS) as f32);
        locations.iter().zip(scales.into_iter().cycle()).map(|(location, scale)| {
            #[allow(clippy::cast_possible_truncation, reason = "the original computes in f32")]
            let bin = location.bin.min(f64::from(f32::MAX)) as f32;
            f64::from(((bin + 0.5) * scale).min(f32::MAX))
        })
    }
}

/// Reads an answer.
///
/// `text` is the decoded answer with its special tokens, cleaned up or not. `location_log_probs` holds the log-probability
/// of each location token of the answer in order; boxes get no scores where their number is not that of the text.
pub fn parse(kind: AnswerKind, text: &str, size: PictureSize, location_log_probs: &[f32]) -> Answer {
    match kind {
        AnswerKind::PureText => Answer::Text(text.replace("<s>", "").replace("</s>", "")),
        AnswerKind::Ocr => Answer::Quads(quads(&text.replace("<s>", ""), size)),
        AnswerKind::LabelledBoxes => Answer::Boxes(read_boxes(text, size, location_log_probs, |_| false)),
        AnswerKind::PhraseGrounding => Answer::Boxes(read_boxes(text, size, location_log_probs, is_banned)),
        AnswerKind::Boxes => Answer::Boxes(unlabelled_boxes(&without_marks(text), size, location_log_probs)),
        AnswerKind::Polygons => Answer::Instances(unlabelled_polygons(&without_marks(text), size)),
        AnswerKind::BoxesOrPolygons if text.contains("<poly>") => {
            Answer::BoxesOrInstances { boxes: vec![], instances: labelled_polygons(&without_marks(text), size) }
        }
        AnswerKind::BoxesOrPolygons => {
            Answer::BoxesOrInstances { boxes: read_boxes(text, size, location_log_probs, |_| false), instances: vec![] }
        }
    }
}

fn read_boxes(text: &str, size: PictureSize, log_probs: &[f32], is_dropped: fn(&str) -> bool) -> Vec<LabelledBox> {
    labelled_boxes(&without_marks(text), size, log_probs, is_dropped)
}

/// Words that a caption contains and that name nothing to be found.
const BANNED_PHRASES: [&str; 72] = [
    "it",
    "I",
    "me",
    "mine",
    "you",
    "your",
    "yours",
    "he",
    "him",
    "his",
    "she",
    "her",
    "hers",
    "they",
    "them",
    "their",
    "theirs",
    "one",
    "oneself",
    "we",
    "us",
    "our",
    "ours",
    "its",
    "myself",
    "yourself",
    "himself",
    "herself",
    "itself",
    "ourselves",
    "yourselves",
    "themselves",
    "this",
    "that",
    "these",
    "those",
    "who",
    "whom",
    "whose",
    "which",
    "what",
    "all",
    "another",
    "any",
    "anybody",
    "anyone",
    "anything",
    "each",
    "everybody",
    "everyone",
    "everything",
    "few",
    "many",
    "nobody",
    "none",
    "several",
    "some",
    "somebody",
    "someone",
    "something",
    "image",
    "images",
    "the",
    "a",
    "an",
    "lots",
    "each other",
    "one another",
    "the image",
    "a group",
    "other objects",
    "a set",
];

fn is_banned(label: &str) -> bool {
    BANNED_PHRASES.contains(&label)
}
