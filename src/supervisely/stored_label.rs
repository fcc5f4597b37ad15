//! Labels in the form in which the platform stores them.
//!
//! There a rectangle's far corner lies behind its last pixel, while the session protocol counts that pixel in.

use serde_json::{Map, Value, json};

use super::{Annotation, Geometry, Label, LabelTag, Rectangle};

/// How far the stored corner lies from the last pixel.
const SUBPIXEL: i64 = 1;

impl Label {
    /// The label as it is stored, under the names that the project has for its class and tags.
    pub fn to_stored(&self, class_title: &str, tags: &[LabelTag]) -> Value {
        let mut exterior = self.geometry.exterior();
        if let (Geometry::Rectangle(_), Some(far)) = (&self.geometry, exterior.last_mut()) {
            far.iter_mut().for_each(|coordinate| *coordinate += SUBPIXEL);
        }
        let named = Self { class_title: class_title.to_owned(), tags: tags.to_vec(), geometry: self.geometry.clone() };
        let mut stored = json!(named);
        if let Some(points) = stored.pointer_mut("/points/exterior") {
            *points = json!(exterior);
        }
        stored
    }
}

impl Annotation {
    /// The annotation as it is stored, with these labels and tags in place of its own.
    pub fn to_stored(&self, labels: Vec<Value>, tags: Vec<LabelTag>) -> Map<String, Value> {
        let stored = json!({
            "description": self.description, "size": self.size, "tags": tags, "objects": labels, "customBigData": {},
        });
        match stored {
            Value::Object(stored) => stored,
            _ => Map::new(),
        }
    }
}

/// The pixels that a stored label covers at most; `None` where it has no corners.
pub fn stored_bounds(label: &Value) -> Option<Rectangle> {
    let corners = label.pointer("/points/exterior")?.as_array()?;
    let axis = |axis: usize| corners.iter().filter_map(move |corner| corner.get(axis)?.as_f64());
    let (left, top) = (axis(0).reduce(f64::min)?.floor(), axis(1).reduce(f64::min)?.floor());
    let (right, bottom) = (axis(0).reduce(f64::max)?, axis(1).reduce(f64::max)?);
    let is_rectangle = label["geometryType"] == "rectangle";
    let beyond = if is_rectangle { SUBPIXEL as f64 } else { 0.0 };
    Rectangle::from_corners([left, top, (right - beyond).max(left), (bottom - beyond).max(top)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisely::{ImageSize, Polygon};

    #[test]
    fn rectangles_grow_by_a_pixel_and_polygons_do_not() {
        let rectangle = Geometry::Rectangle(Rectangle::from_corners([0.0, 0.0, 160.0, 120.0]).unwrap());
        let label = Label { class_title: "a_bbox".to_owned(), tags: vec![], geometry: rectangle };
        let stored = label.to_stored("a_bbox_nn", &[LabelTag::confidence(0.9)]);
        assert_eq!(stored["points"]["exterior"], json!([[0, 0], [161, 121]]));
        assert_eq!((&stored["classTitle"], &stored["tags"][0]["value"]), (&json!("a_bbox_nn"), &json!(0.9)));
        assert_eq!(stored_bounds(&stored).unwrap().exterior(), [[0, 0], [160, 120]]);
        let polygon = Geometry::Polygon(Polygon::from_points(&[0.0, 0.0, 9.0, 0.0, 5.0, 7.0]).unwrap());
        let stored = Label { geometry: polygon, ..label }.to_stored("a", &[]);
        assert_eq!(stored["points"]["exterior"], json!([[0, 0], [9, 0], [5, 7]]));
        assert_eq!(stored_bounds(&stored).unwrap().exterior(), [[0, 0], [9, 7]]);
    }

    #[test]
    fn labels_of_other_kinds_have_bounds_or_none() {
        assert_eq!(stored_bounds(&json!({"geometryType": "bitmap", "bitmap": {}})), None);
        assert_eq!(stored_bounds(&json!({"points": {"exterior": []}})), None);
        let point = json!({"geometryType": "point", "points": {"exterior": [[5.5, 6.0]]}});
        assert_eq!(stored_bounds(&point).unwrap().exterior(), [[5, 6], [6, 6]]);
    }

    #[test]
    fn an_annotation_keeps_its_size() {
        let annotation = Annotation::new(ImageSize { height: 3, width: 4 }, vec![]);
        let stored = Value::Object(annotation.to_stored(vec![json!(1)], vec![LabelTag::text("caption", "a")]));
        assert_eq!(
            (&stored["size"]["width"], &stored["objects"], &stored["tags"][0]["name"]),
            (&json!(4), &json!([1]), &json!("caption"))
        );
    }
}
