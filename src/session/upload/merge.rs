//! What a picture has on the platform, and what was found on it now.

use serde_json::{Map, Value, json};

use crate::supervisely::{Annotation, LabelTag, stored_bounds};

/// Labels and tags of an annotation as they are stored.
pub(super) struct Stored {
    /// Each with the title of its class.
    pub(super) labels: Vec<(Value, String)>,
    pub(super) tags: Vec<LabelTag>,
}

/// The annotation to store: what was there, if anything, with the new labels behind it.
///
/// With `least_iou`, a new label that overlaps one of the same class that was there by so much is left out.
pub(super) fn merge_labels(
    present: Option<Map<String, Value>>,
    found: &Annotation,
    stored: Stored,
    least_iou: Option<f64>,
) -> Map<String, Value> {
    let Some(mut present) = present else {
        return found.to_stored(stored.labels.into_iter().map(|(label, _)| label).collect(), stored.tags);
    };
    let there: Vec<Value> = present.get("objects").and_then(Value::as_array).cloned().unwrap_or_default();
    let new = stored.labels.into_iter().filter(|(label, title)| {
        !least_iou.is_some_and(|least| there.iter().any(|known| repeats(known, label, title, least)))
    });
    let objects: Vec<Value> = there.iter().cloned().chain(new.map(|(label, _)| label)).collect();
    let mut tags = present.get("tags").and_then(Value::as_array).cloned().unwrap_or_default();
    for tag in stored.tags {
        // A picture has a tag of a name once.
        tags.retain(|known| known["name"] != tag.name.as_str());
        tags.push(json!(tag));
    }
    present.insert("objects".to_owned(), json!(objects));
    present.insert("tags".to_owned(), json!(tags));
    present
}

fn repeats(known: &Value, label: &Value, title: &str, least_iou: f64) -> bool {
    let overlap = || Some(stored_bounds(known)?.iou(&stored_bounds(label)?));
    known["classTitle"] == title && overlap().is_some_and(|iou| iou >= least_iou)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisely::{Geometry, ImageSize, Label, Rectangle};

    fn found() -> (Annotation, Stored) {
        let label = |title: &str, corners| Label {
            class_title: title.to_owned(),
            tags: vec![],
            geometry: Geometry::Rectangle(Rectangle::from_corners(corners).unwrap()),
        };
        let labels = [label("a", [0.0, 0.0, 9.0, 9.0]), label("b", [0.0, 0.0, 9.0, 9.0])];
        let stored = labels.iter().map(|label| (label.to_stored(&label.class_title, &[]), label.class_title.clone()));
        let stored = Stored { labels: stored.collect(), tags: vec![LabelTag::text("caption", "new")] };
        (Annotation::new(ImageSize { height: 20, width: 30 }, labels.to_vec()), stored)
    }

    fn present() -> Map<String, Value> {
        let present = json!({
            "size": {"height": 20, "width": 30}, "customBigData": {"x": 1},
            "tags": [{"name": "caption", "value": "old"}, {"name": "other", "value": null}],
            "objects": [{"id": 5, "classTitle": "a", "geometryType": "rectangle",
                "points": {"exterior": [[0, 0], [10, 9.5]]}}],
        });
        present.as_object().unwrap().clone()
    }

    fn titles(annotation: &Map<String, Value>) -> Vec<&str> {
        annotation["objects"].as_array().unwrap().iter().filter_map(|label| label["classTitle"].as_str()).collect()
    }

    #[test]
    fn labels_join_what_is_there() {
        let (annotation, stored) = found();
        let merged = merge_labels(Some(present()), &annotation, stored, None);
        assert_eq!(titles(&merged), ["a", "a", "b"]);
        assert_eq!((&merged["objects"][0]["id"], &merged["customBigData"]["x"]), (&json!(5), &json!(1)));
        assert_eq!(merged["tags"], json!([{"name": "other", "value": null}, {"name": "caption", "value": "new"}]));
    }

    #[test]
    fn repetitions_of_the_same_class_are_left_out() {
        let (annotation, stored) = found();
        let merged = merge_labels(Some(present()), &annotation, stored, Some(0.9));
        assert_eq!(titles(&merged), ["a", "b"]);
        let (annotation, stored) = found();
        let merged = merge_labels(Some(present()), &annotation, stored, Some(1.0));
        assert_eq!(titles(&merged), ["a", "a", "b"]);
    }

    #[test]
    fn nothing_there_is_nothing_to_keep() {
        let (annotation, stored) = found();
        let merged = merge_labels(None, &annotation, stored, Some(0.9));
        assert_eq!((titles(&merged), &merged["size"]["width"]), (vec!["a", "b"], &json!(30)));
    }
}
