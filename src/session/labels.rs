//! From the model's answers to labels and tags.
//!
//! Boxes become rectangles of the class `NAME_bbox`, outlines and quadrangles polygons of the class `NAME_polygon`; text that
//! was read on a label goes into its tag `text`; a caption, or all text of a picture, into a tag of the picture.

use serde_json::{Map, Value, json};

use super::question::TaskText;
use crate::engine::Reply;
use crate::florence::answer::{
    Answer, BoxFilter, Dropped, Filtered, Instance, LabelledBox, PictureSize, Quad, RegionAnswer, StopReason,
};
use crate::florence::task::Task;
use crate::supervisely::{
    Annotation, CAPTION_TAG, Geometry, ImageSize, InferenceSettings, Label, LabelTag, OCR_TAG, Polygon, Rectangle,
    TEXT_TAG, UNNAMED_CLASS,
};

/// Ending of a class whose labels are boxes; the platform's apps expect it.
pub const BOX_SUFFIX: &str = "_bbox";
/// Ending of a class whose labels are outlines.
pub const POLYGON_SUFFIX: &str = "_polygon";
/// Name of a line of recognised text, which is no good name for a class itself.
const TEXT_CLASS: &str = "text";

/// Which boxes become labels, and whether those show their scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoreRules {
    /// Whether labels carry their score in a tag.
    pub tag: bool,
    /// Which boxes stay.
    pub filter: BoxFilter,
}

impl ScoreRules {
    /// The rules that the settings ask for: whoever filters by score also sees it.
    pub fn from_settings(settings: &InferenceSettings) -> Self {
        Self { tag: settings.scores || settings.box_filter.min_score > 0.0, filter: settings.box_filter }
    }
}

/// The part of a picture that the model saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct View {
    /// Its size.
    pub(super) size: PictureSize,
    /// Its first column in the picture.
    pub(super) left: i64,
    /// Its first row in the picture.
    pub(super) top: i64,
}

impl View {
    fn image_size(self) -> ImageSize {
        ImageSize { height: self.size.height.into(), width: self.size.width.into() }
    }

    fn place_rectangle(self, corners: [f64; 4]) -> Option<Geometry> {
        let rectangle = Rectangle::from_corners(corners)?.clip(self.image_size())?;
        Some(Geometry::Rectangle(rectangle.shift(self.left, self.top)))
    }

    fn place_polygon(self, points: &[f64]) -> Option<Geometry> {
        let polygon = Polygon::from_points(points)?.clip(self.image_size())?;
        Some(Geometry::Polygon(polygon.shift(self.left, self.top)))
    }
}

/// A reply, what was asked, and the class that names what was found, if the caller gave one.
pub(super) struct NamedReply<'a> {
    pub(super) class: Option<&'a str>,
    pub(super) asked: TaskText,
    pub(super) reply: Reply,
}

/// What was found on a picture, and what else there is to say about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Findings {
    /// The labels and tags, in the coordinates of the whole picture.
    pub annotation: Annotation,
    /// Boxes that the filters took away and answers that ended too early, counted; `{}` where there are none.
    pub notes: Map<String, Value>,
}

/// Reads all replies about a picture of this size.
///
/// Inverted boxes are dropped, and what lies outside the view; duplicates stay unless the rules say otherwise. The boxes of all
/// replies are filtered together, because several prompts of one class may find the same object.
pub(super) fn read_findings(whole: ImageSize, replies: Vec<NamedReply<'_>>, view: View, rules: ScoreRules) -> Findings {
    let mut reading = Reading { view, rules, boxes: vec![], labels: vec![], tags: vec![], dropped: Dropped::default() };
    let truncated = replies.iter().filter(|named| named.reply.stop == StopReason::Length).count();
    replies.into_iter().for_each(|named| reading.read(named));
    let Reading { boxes, labels, tags, dropped: dropped_outlines, .. } = reading;
    let Filtered { boxes, dropped } = rules.filter.apply(boxes, view.size);
    let boxes = boxes.into_iter().filter_map(|found| box_label(found, view, rules.tag));
    let mut annotation = Annotation::new(whole, boxes.chain(labels).collect());
    annotation.tags = tags;
    Findings { annotation, notes: notes(&[dropped, dropped_outlines], truncated) }
}

/// Replies on their way to labels.
struct Reading {
    view: View,
    rules: ScoreRules,
    /// To be filtered when all are there, already under the titles of their classes.
    boxes: Vec<LabelledBox>,
    labels: Vec<Label>,
    tags: Vec<LabelTag>,
    dropped: Dropped,
}

impl Reading {
    fn read(&mut self, NamedReply { class, asked, reply }: NamedReply<'_>) {
        match reply.answer {
            Answer::Boxes(boxes) => self.add_boxes(class, boxes),
            Answer::BoxesOrInstances { boxes, instances } => {
                self.add_boxes(class, boxes);
                self.add_instances(class, &asked, instances);
            }
            Answer::Instances(instances) => self.add_instances(class, &asked, instances),
            Answer::Quads(quads) => quads.iter().for_each(|quad| self.add_quad(class, quad)),
            Answer::Text(text) if asked.task.is_about_region() => self.add_region(class, &asked, &text),
            Answer::Text(text) => self.tags.push(LabelTag::text(image_tag(asked.task), text.trim())),
        }
    }

    fn add_boxes(&mut self, class: Option<&str>, boxes: Vec<LabelledBox>) {
        self.boxes.extend(boxes.into_iter().map(|found| {
            let label = class_title(class.unwrap_or(&found.label), BOX_SUFFIX);
            LabelledBox { label, ..found }
        }));
    }

    /// An outline without a label is what the caller's phrase asked for.
    fn add_instances(&mut self, class: Option<&str>, asked: &TaskText, instances: Vec<Instance>) {
        let phrase = if asked.task.is_about_region() { "" } else { asked.text.trim() };
        for Instance { label, polygons } in instances {
            let name = class.unwrap_or(if label.is_empty() { phrase } else { &label });
            for points in &polygons {
                self.add_polygon(class_title(name, POLYGON_SUFFIX), points, vec![]);
            }
        }
    }

    fn add_quad(&mut self, class: Option<&str>, quad: &Quad) {
        let tags = vec![LabelTag::text(TEXT_TAG, quad.label.replace("</s>", "").trim())];
        self.add_polygon(class_title(class.unwrap_or(TEXT_CLASS), POLYGON_SUFFIX), &quad.points, tags);
    }

    /// Outlines have no scores and repeat nothing, but their size is judged as that of boxes.
    fn add_polygon(&mut self, class_title: String, points: &[f64], tags: Vec<LabelTag>) {
        let Some(geometry) = self.view.place_polygon(points) else { return };
        let [[left, top], [right, bottom]] = geometry.bounds().shift(-self.view.left, -self.view.top).exterior();
        let corners = [left, top, right, bottom].map(|corner| corner as f64);
        let bounds = LabelledBox { label: String::new(), corners, score: None };
        let Filtered { boxes, dropped } = self.rules.filter.apply(vec![bounds], self.view.size);
        self.dropped.too_small += dropped.too_small;
        self.dropped.too_large += dropped.too_large;
        if !boxes.is_empty() {
            self.labels.push(Label { class_title, tags, geometry });
        }
    }

    /// The answer names its region; if it does not, the question did.
    fn add_region(&mut self, class: Option<&str>, asked: &TaskText, text: &str) {
        let answer = RegionAnswer::parse(text, self.view.size);
        let corners = answer.corners.or_else(|| RegionAnswer::parse(&asked.text, self.view.size).corners);
        let is_text = asked.task == Task::RegionToOcr;
        let Some(geometry) = corners.and_then(|corners| self.view.place_rectangle(corners)) else {
            let tag = if is_text { OCR_TAG } else { CAPTION_TAG };
            return self.tags.push(LabelTag::text(tag, &answer.text));
        };
        let name = class.unwrap_or(if is_text { TEXT_CLASS } else { &answer.text });
        let tags = is_text.then(|| LabelTag::text(TEXT_TAG, &answer.text)).into_iter().collect();
        self.labels.push(Label { class_title: class_title(name, BOX_SUFFIX), tags, geometry });
    }
}

fn box_label(found: LabelledBox, view: View, with_score: bool) -> Option<Label> {
    let score = found.score.filter(|_| with_score);
    let tags = score.map(LabelTag::confidence).into_iter().collect();
    Some(Label { geometry: view.place_rectangle(found.corners)?, class_title: found.label, tags })
}

fn class_title(name: &str, suffix: &str) -> String {
    format!("{}{suffix}", if name.is_empty() { UNNAMED_CLASS } else { name })
}

fn image_tag(task: Task) -> &'static str {
    if task == Task::Ocr { OCR_TAG } else { CAPTION_TAG }
}

fn notes(dropped: &[Dropped], truncated_answers: usize) -> Map<String, Value> {
    let count = |of: fn(&Dropped) -> usize| dropped.iter().map(of).sum::<usize>();
    let reasons = [
        ("low_score", count(|dropped| dropped.low_score)),
        ("too_small", count(|dropped| dropped.too_small)),
        ("too_large", count(|dropped| dropped.too_large)),
        ("repeated", count(|dropped| dropped.repeated)),
    ];
    let reasons: Map<String, Value> = reasons
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| (name.to_owned(), json!(count)))
        .collect();
    let mut notes = Map::new();
    if !reasons.is_empty() {
        notes.insert("dropped_boxes".to_owned(), Value::Object(reasons));
    }
    if truncated_answers > 0 {
        notes.insert("truncated_answers".to_owned(), json!(truncated_answers));
    }
    notes
}

#[cfg(test)]
#[path = "labels_tests.rs"]
mod tests;
