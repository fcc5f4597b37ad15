//! Annotations of one picture, in the JSON form of the platform's SDK.

use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::geometry::ImageSize;
use super::polygon::Geometry;
use super::{CONFIDENCE_TAG, Shape};

/// Everything that was found on a picture.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Annotation {
    /// Free text, always empty in a prediction.
    pub description: String,
    /// The picture's size after it was turned upright.
    pub size: ImageSize,
    /// Tags of the picture as a whole.
    pub tags: Vec<LabelTag>,
    /// The labels, in the model's order.
    #[schema(value_type = Vec<LabelJson<'static>>)]
    pub objects: Vec<Label>,
    /// Room for other tools: `{}`, or the labels' track ids in order where objects were tracked.
    #[serde(rename = "customBigData")]
    pub custom_big_data: Value,
}

impl Annotation {
    /// The annotation of a picture with these labels and nothing else.
    pub fn new(size: ImageSize, objects: Vec<Label>) -> Self {
        Self { description: String::new(), size, tags: Vec::new(), objects, custom_big_data: json!({}) }
    }
}

/// A tag on a picture or a label.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct LabelTag {
    /// Name, as the project meta knows it.
    pub name: String,
    /// Value of the type that the meta states.
    pub value: Value,
}

impl LabelTag {
    /// A score keeps this many decimals: more would only show the noise of the arithmetic.
    const CONFIDENCE_DECIMALS: i32 = 4;

    /// The tag that carries a box's score.
    pub fn confidence(score: f64) -> Self {
        let scale = 10_f64.powi(Self::CONFIDENCE_DECIMALS);
        Self { name: CONFIDENCE_TAG.to_owned(), value: Value::from((score * scale).round() / scale) }
    }

    /// A tag that carries words.
    pub fn text(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), value: Value::from(text) }
    }
}

/// One object on a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    /// Name of its class.
    pub class_title: String,
    /// Its tags.
    pub tags: Vec<LabelTag>,
    /// Where it is.
    pub geometry: Geometry,
}

impl Label {
    /// Geometry that its class must have.
    pub const fn shape(&self) -> Shape {
        self.geometry.shape()
    }

    /// The score that its tag shows.
    pub fn confidence(&self) -> Option<f64> {
        self.tags.iter().find(|tag| tag.name == CONFIDENCE_TAG).and_then(|tag| tag.value.as_f64())
    }
}

impl Serialize for Label {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        LabelJson {
            class_title: &self.class_title,
            description: "",
            tags: &self.tags,
            points: Points { exterior: self.geometry.exterior(), interior: [] },
            geometry_type: self.shape(),
            shape: self.shape(),
            nn_created: true,
            nn_updated: true,
        }
        .serialize(serializer)
    }
}

/// A label on the wire. Both flags together say that a model made it and nobody has touched it since.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Label)]
struct LabelJson<'a> {
    class_title: &'a str,
    description: &'static str,
    tags: &'a [LabelTag],
    points: Points,
    geometry_type: Shape,
    shape: Shape,
    nn_created: bool,
    nn_updated: bool,
}

#[derive(Serialize, ToSchema)]
struct Points {
    /// Corners `[x, y]`, inclusive: two of a rectangle, all of a polygon.
    exterior: Vec<[i64; 2]>,
    /// Always empty.
    interior: [[i64; 2]; 0],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisely::Rectangle;

    #[test]
    fn the_json_has_the_fields_and_the_order_of_the_sdk() {
        let label = Label {
            class_title: "car_bbox".to_owned(),
            tags: vec![LabelTag::confidence(0.5)],
            geometry: Geometry::Rectangle(Rectangle::from_corners([0.0, 0.0, 320.0, 240.0]).unwrap()),
        };
        let annotation = Annotation::new(ImageSize { height: 480, width: 640 }, vec![label]);
        assert_eq!(
            serde_json::to_string(&annotation).unwrap(),
            concat!(
                r#"{"description":"","size":{"height":480,"width":640},"tags":[],"objects":["#,
                r#"{"classTitle":"car_bbox","description":"","tags":[{"name":"confidence","value":0.5}],"#,
                r#""points":{"exterior":[[0,0],[320,240]],"interior":[]},"geometryType":"rectangle","#,
                r#""shape":"rectangle","nnCreated":true,"nnUpdated":true}],"customBigData":{}}"#,
            )
        );
    }

    #[test]
    fn scores_are_rounded() {
        assert_eq!(LabelTag::confidence(0.912_345_678).value, Value::from(0.9123));
        assert_eq!(LabelTag::confidence(1.0).value, Value::from(1.0));
    }
}
