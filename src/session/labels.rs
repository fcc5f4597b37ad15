//! From the model's answers to labels.

use super::SessionError;
use crate::florence::answer::{Answer, BoxFilter, Filtered, LabelledBox, PictureSize};
use crate::supervisely::{ImageSize, InferenceSettings, Label, LabelTag, Rectangle, UNNAMED_CLASS};

/// Ending of a class whose labels are boxes; the platform's apps expect it.
pub const BOX_SUFFIX: &str = "_bbox";

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
}

/// An answer with the class that names what it found, if the caller gave one.
pub(super) struct NamedAnswer<'a> {
    pub(super) class: Option<&'a str>,
    pub(super) answer: Answer,
}

/// The labels that the answers about a picture hold, in the coordinates of the whole picture.
///
/// Inverted boxes are dropped, and boxes outside the view; duplicates stay unless the rules say otherwise. The boxes of all
/// answers are filtered together, because several prompts of one class may find the same object.
pub(super) fn read_labels(
    answers: Vec<NamedAnswer<'_>>,
    view: View,
    rules: ScoreRules,
) -> Result<Vec<Label>, SessionError> {
    let mut boxes = Vec::new();
    for named in answers {
        boxes.extend(named_boxes(named)?);
    }
    let Filtered { boxes, dropped } = rules.filter.apply(boxes, view.size);
    if dropped.total() > 0 {
        tracing::debug!(?dropped, "boxes were filtered");
    }
    Ok(boxes.into_iter().filter_map(|found| box_label(found, view, rules.tag)).collect())
}

/// The boxes of an answer under the title of their class.
fn named_boxes(named: NamedAnswer<'_>) -> Result<Vec<LabelledBox>, SessionError> {
    match named.answer {
        Answer::Boxes(mut boxes) => {
            for found in &mut boxes {
                found.label = class_title(named.class.unwrap_or(&found.label));
            }
            Ok(boxes)
        }
        // Refused as `TaskWithoutBoxes` before the model runs.
        Answer::Text(_) | Answer::Quads(_) | Answer::Instances(_) | Answer::BoxesOrInstances { .. } => {
            Err(SessionError::Internal("the model answered in a form that has no labels".to_owned()))
        }
    }
}

fn box_label(found: LabelledBox, view: View, with_score: bool) -> Option<Label> {
    let rectangle = Rectangle::from_corners(found.corners)?.clip(view.image_size())?.shift(view.left, view.top);
    let score = found.score.filter(|_| with_score);
    Some(Label { class_title: found.label, tags: score.map(LabelTag::confidence).into_iter().collect(), rectangle })
}

fn class_title(label: &str) -> String {
    let label = if label.is_empty() { UNNAMED_CLASS } else { label };
    format!("{label}{BOX_SUFFIX}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const VIEW: View = View { size: PictureSize { width: 200, height: 100 }, left: 0, top: 0 };

    fn rules(filter: BoxFilter) -> ScoreRules {
        ScoreRules { tag: false, filter }
    }

    fn no_rules() -> ScoreRules {
        rules(BoxFilter::default())
    }

    fn found(label: &str, corners: [f64; 4], score: Option<f64>) -> LabelledBox {
        LabelledBox { label: label.to_owned(), corners, score }
    }

    fn read(boxes: Vec<LabelledBox>, class: Option<&str>, view: View, rules: ScoreRules) -> Vec<Label> {
        read_labels(vec![NamedAnswer { class, answer: Answer::Boxes(boxes) }], view, rules).unwrap()
    }

    #[test]
    fn labels_are_named_after_their_text_or_the_class() {
        let boxes = vec![found("a cat ", [0.0, 0.0, 9.0, 9.0], None), found("", [0.0, 0.0, 9.0, 9.0], None)];
        let titles =
            |class| read(boxes.clone(), class, VIEW, no_rules()).into_iter().map(|l| l.class_title).collect::<Vec<_>>();
        assert_eq!(titles(None), ["a cat _bbox", "object_bbox"]);
        assert_eq!(titles(Some("Pet")), ["Pet_bbox", "Pet_bbox"]);
        assert_eq!(titles(Some("")), ["object_bbox", "object_bbox"]);
    }

    #[test]
    fn inverted_boxes_go_and_points_and_duplicates_stay() {
        let boxes = vec![
            found("a", [10.0, 0.0, 5.0, 9.0], None),
            found("a", [0.0, 9.0, 5.0, 8.0], None),
            found("a", [5.0, 5.0, 5.0, 5.0], None),
            found("a", [5.0, 5.0, 5.0, 5.0], None),
        ];
        for class in [None, Some("Pet")] {
            assert_eq!(read(boxes.clone(), class, VIEW, no_rules()).len(), 2);
        }
    }

    #[test]
    fn boxes_are_clipped_to_the_view_and_moved_to_its_place() {
        let view = View { left: 30, top: 40, ..VIEW };
        let labels = read(vec![found("a", [-5.0, 2.5, 200.0, 99.9], None)], None, view, no_rules());
        assert_eq!(labels.first().unwrap().rectangle.exterior(), [[30, 42], [229, 139]]);
    }

    #[test]
    fn scores_are_shown_and_filter_on_demand() {
        let corners = [0.0, 0.0, 9.0, 9.0];
        let boxes = vec![found("a", corners, Some(0.9)), found("b", corners, Some(0.2)), found("c", corners, None)];
        assert!(read(boxes.clone(), None, VIEW, no_rules()).iter().all(|label| label.tags.is_empty()));
        let filter = BoxFilter { min_score: 0.5, ..BoxFilter::default() };
        let labels = read(boxes, None, VIEW, ScoreRules { tag: true, filter });
        assert_eq!(labels.iter().map(|l| l.class_title.as_str()).collect::<Vec<_>>(), ["a_bbox", "c_bbox"]);
        assert_eq!(labels.first().unwrap().tags, [LabelTag::confidence(0.9)]);
        assert_eq!(labels.last().unwrap().tags, []);
    }

    #[test]
    fn whoever_filters_by_score_sees_it() {
        let tag = |settings: serde_json::Value| {
            let settings = InferenceSettings::parse(settings.as_object().unwrap().clone()).unwrap();
            ScoreRules::from_settings(&settings).tag
        };
        assert!(tag(json!({"conf": 0.1})) && tag(json!({"scores": true})));
        assert!(!tag(json!({})) && !tag(json!({"nms_iou": 0.5, "max_box_area": 0.5, "min_box_px": 5})));
    }

    #[test]
    fn the_answers_for_one_class_are_filtered_together() {
        let corners = [10.0, 10.0, 19.0, 19.0];
        let answers = [("Pet", "cat", 0.4), ("Plant", "tree", 0.3), ("Pet", "dog", 0.5), ("Plant", "bush", 0.3)];
        let labels = |filter| {
            let answers = answers.map(|(class, label, score)| NamedAnswer {
                class: Some(class),
                answer: Answer::Boxes(vec![found(label, corners, Some(score))]),
            });
            let labels = read_labels(answers.into(), VIEW, ScoreRules { tag: true, filter }).unwrap();
            labels.into_iter().map(|label| (label.class_title, label.tags[0].value.clone())).collect::<Vec<_>>()
        };
        let kept = |label: &str, score: f64| (format!("{label}_bbox"), json!(score));
        let nms = BoxFilter { nms_iou: Some(0.5), ..BoxFilter::default() };
        assert_eq!(labels(nms), [kept("Plant", 0.3), kept("Pet", 0.5)]);
        assert_eq!(labels(BoxFilter::default()).len(), 4);
    }

    #[test]
    fn boxes_are_judged_as_the_labels_show_them() {
        let filter = |min_side_px| rules(BoxFilter { min_side_px, ..BoxFilter::default() });
        let view = View { size: PictureSize { width: 200, height: 1000 }, ..VIEW };
        for x1 in [-3.5, 0.5, 1.5, 9.49, 150.5] {
            for x2 in [151.5, 152.5, 199.4, 199.5, 260.0] {
                let boxes = vec![found("a", [x1, 0.0, x2, 999.0], None)];
                let drawn = read(boxes.clone(), None, view, no_rules()).first().unwrap().rectangle.size().width as f64;
                assert_eq!(read(boxes.clone(), None, view, filter(drawn)).len(), 1, "{x1} {x2}");
                assert_eq!(read(boxes, None, view, filter(drawn + 0.1)).len(), 0, "{x1} {x2}");
            }
        }
    }

    #[test]
    fn an_answer_without_boxes_is_an_error() {
        let named = NamedAnswer { class: None, answer: Answer::Text("a cat".to_owned()) };
        assert!(read_labels(vec![named], VIEW, no_rules()).is_err());
    }
}
