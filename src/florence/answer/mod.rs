//! From the text that the model wrote to boxes, polygons and labels.
//!
//! The parsers follow the results of the processor that Microsoft ships with the checkpoints. They are total: every
//! text has an answer, whatever the model wrote, and reading it takes time linear in its length.

mod boxes;
mod cleanup;
mod filter;
mod parse;
mod polygons;
mod quads;
mod region;
mod scan;

pub use cleanup::clean_up;
pub use filter::{BoxFilter, Dropped, Filtered};
pub use parse::{PictureSize, parse};
pub use region::{RegionAnswer, region_prompt};

use serde::Serialize;
use serde_json::{Value, json};

/// Why an answer ends where it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StopReason {
    /// The model ended it.
    Stop,
    /// It reached the greatest length allowed.
    Length,
}

/// A box with its label.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledBox {
    /// The label, may be empty.
    pub label: String,
    /// `[x1, y1, x2, y2]` in pixels of the picture, as the model gave them: neither sorted nor clipped.
    pub corners: [f64; 4],
    /// `exp(mean log p)` of the four location tokens, where they are known.
    pub score: Option<f64>,
}

/// A quadrangle around a line of text.
#[derive(Debug, Clone, PartialEq)]
pub struct Quad {
    /// The text.
    pub label: String,
    /// `[x1, y1, … x4, y4]` in pixels.
    pub points: [f64; 8],
}

/// An object outlined by polygons.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// The label, empty where the task has none.
    pub label: String,
    /// Each polygon as `[x, y, x, y, …]` in pixels.
    pub polygons: Vec<Vec<f64>>,
}

/// What an answer means.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Plain text.
    Text(String),
    /// Boxes with labels.
    Boxes(Vec<LabelledBox>),
    /// Lines of text with their quadrangles.
    Quads(Vec<Quad>),
    /// Outlined objects.
    Instances(Vec<Instance>),
    /// Boxes or outlined objects; one of the two lists is empty.
    BoxesOrInstances {
        /// Boxes with labels.
        boxes: Vec<LabelledBox>,
        /// Outlined objects with labels.
        instances: Vec<Instance>,
    },
}

impl Answer {
    /// The answer's boxes, none for kinds that have no boxes.
    pub fn boxes(&self) -> &[LabelledBox] {
        match self {
            Self::Boxes(boxes) | Self::BoxesOrInstances { boxes, .. } => boxes,
            Self::Text(_) | Self::Quads(_) | Self::Instances(_) => &[],
        }
    }

    /// The answer in the original processor's JSON form, without the outer task key.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Boxes(boxes) => json!({
                "bboxes": boxes.iter().map(|b| b.corners).collect::<Vec<_>>(),
                "labels": boxes.iter().map(|b| &b.label).collect::<Vec<_>>(),
            }),
            Self::Quads(quads) => json!({
                "quad_boxes": quads.iter().map(|q| q.points).collect::<Vec<_>>(),
                "labels": quads.iter().map(|q| &q.label).collect::<Vec<_>>(),
            }),
            Self::Instances(instances) => json!({
                "polygons": instances.iter().map(|i| &i.polygons).collect::<Vec<_>>(),
                "labels": instances.iter().map(|i| &i.label).collect::<Vec<_>>(),
            }),
            Self::BoxesOrInstances { boxes, instances } => json!({
                "bboxes": boxes.iter().map(|b| b.corners).collect::<Vec<_>>(),
                "bboxes_labels": boxes.iter().map(|b| &b.label).collect::<Vec<_>>(),
                "polygons": instances.iter().map(|i| &i.polygons).collect::<Vec<_>>(),
                "polygons_labels": instances.iter().map(|i| &i.label).collect::<Vec<_>>(),
            }),
        }
    }
}
