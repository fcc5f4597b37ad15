//! From the model's answers to labels.

use super::SessionError;
use crate::florence::answer::{Answer, LabelledBox};
use crate::supervisely::{ImageSize, InferenceSettings, Label, LabelTag, Rectangle, UNNAMED_CLASS};

/// Ending of a class whose labels are boxes; the platform's apps expect it.
pub const BOX_SUFFIX: &str = "_bbox";

/// What a caller wants to see of the scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoreRules {
    /// Whether labels carry their score in a tag.
    pub tag: bool,
    /// Labels that score less are dropped. A label whose score is not known stays.
    pub min: f64,
}

impl ScoreRules {
    /// The rules that the settings ask for: whoever filters by score also sees it.
    pub fn from_settings(settings: &InferenceSettings) -> Self {
        Self { tag: settings.scores || settings.min_confidence > 0.0, min: settings.min_confidence }
    }
}

/// The part of a picture that the model saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct View {
    /// Its size.
    pub(super) size: ImageSize,
    /// Its first column in the picture.
    pub(super) left: i64,
    /// Its first row in the picture.
    pub(super) top: i64,
}

/// The labels that an answer holds, in the coordinates of the whole picture. `class`, where given, names them all.
///
/// Inverted boxes are dropped, and boxes outside the view; duplicates stay.
pub(super) fn read_labels(
    answer: &Answer,
    class: Option<&str>,
    view: View,
    rules: ScoreRules,
) -> Result<Vec<Label>, SessionError> {
    match answer {
        Answer::Boxes(boxes) => Ok(boxes.iter().filter_map(|found| box_label(found, class, view, rules)).collect()),
        // Refused as `TaskWithoutBoxes` before the model runs.
        Answer::Text(_) | Answer::Quads(_) | Answer::Instances(_) | Answer::BoxesOrInstances { .. } => {
            Err(SessionError::Internal("the model answered in a form that has no labels".to_owned()))
        }
    }
}

fn box_label(found: &LabelledBox, class: Option<&str>, view: View, rules: ScoreRules) -> Option<Label> {
    if found.score.is_some_and(|score| score < rules.min) {
        return None;
    }
    let rectangle = Rectangle::from_corners(found.corners)?.clip(view.size)?.shift(view.left, view.top);
    let score = found.score.filter(|_| rules.tag);
    Some(Label {
        class_title: class_title(class.unwrap_or(&found.label)),
        tags: score.map(LabelTag::confidence).into_iter().collect(),
        rectangle,
    })
}

fn class_title(label: &str) -> String {
    let label = if label.is_empty() { UNNAMED_CLASS } else { label };
    format!("{label}{BOX_SUFFIX}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIEW: View = View { size: ImageSize { height: 100, width: 200 }, left: 0, top: 0 };
    const NO_SCORES: ScoreRules = ScoreRules { tag: false, min: 0.0 };

    fn found(label: &str, corners: [f64; 4], score: Option<f64>) -> LabelledBox {
        LabelledBox { label: label.to_owned(), corners, score }
    }

    fn read(boxes: Vec<LabelledBox>, class: Option<&str>, view: View, rules: ScoreRules) -> Vec<Label> {
        read_labels(&Answer::Boxes(boxes), class, view, rules).unwrap()
    }

    #[test]
    fn labels_are_named_after_their_text_or_the_class() {
        let boxes = vec![found("a cat ", [0.0, 0.0, 9.0, 9.0], None), found("", [0.0, 0.0, 9.0, 9.0], None)];
        let titles =
            |class| read(boxes.clone(), class, VIEW, NO_SCORES).into_iter().map(|l| l.class_title).collect::<Vec<_>>();
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
            assert_eq!(read(boxes.clone(), class, VIEW, NO_SCORES).len(), 2);
        }
    }

    #[test]
    fn boxes_are_clipped_to_the_view_and_moved_to_its_place() {
        let view = View { left: 30, top: 40, ..VIEW };
        let labels = read(vec![found("a", [-5.0, 2.5, 200.0, 99.9], None)], None, view, NO_SCORES);
        assert_eq!(labels.first().unwrap().rectangle.exterior(), [[30, 42], [229, 139]]);
    }

    #[test]
    fn scores_are_shown_and_filter_on_demand() {
        let corners = [0.0, 0.0, 9.0, 9.0];
        let boxes = vec![found("a", corners, Some(0.9)), found("b", corners, Some(0.2)), found("c", corners, None)];
        assert!(read(boxes.clone(), None, VIEW, NO_SCORES).iter().all(|label| label.tags.is_empty()));
        let labels = read(boxes, None, VIEW, ScoreRules { tag: true, min: 0.5 });
        assert_eq!(labels.iter().map(|l| l.class_title.as_str()).collect::<Vec<_>>(), ["a_bbox", "c_bbox"]);
        assert_eq!(labels.first().unwrap().tags, [LabelTag::confidence(0.9)]);
        assert_eq!(labels.last().unwrap().tags, []);
    }

    #[test]
    fn an_answer_without_boxes_is_an_error() {
        assert!(read_labels(&Answer::Text("a cat".to_owned()), None, VIEW, NO_SCORES).is_err());
    }
}
