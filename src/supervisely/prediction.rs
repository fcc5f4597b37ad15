//! What one picture, or one frame of a video, is answered with.

use serde::Serialize;
use serde_json::{Map, Value};

use super::Annotation;

/// Where a predicted picture came from; everything is null for an upload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// File name on the platform.
    pub name: Option<String>,
    /// Path of a local file.
    pub path: Option<String>,
    /// Address it was fetched from.
    pub url: Option<String>,
    /// Project that holds it.
    pub project_id: Option<i64>,
    /// Dataset that holds it.
    pub dataset_id: Option<i64>,
    /// Its id.
    pub image_id: Option<i64>,
    /// The video it is a frame of.
    pub video_id: Option<i64>,
    /// Which frame.
    pub frame_index: Option<i64>,
}

/// A prediction on the wire.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    source: Option<String>,
    /// What was found.
    pub annotation: Annotation,
    /// Where the picture came from.
    #[serde(flatten)]
    pub origin: Origin,
    slides_data: Map<String, Value>,
    data: Map<String, Value>,
}

impl Prediction {
    /// The prediction for a picture from `origin`.
    pub fn new(annotation: Annotation, origin: Origin) -> Self {
        Self { source: None, annotation, origin, slides_data: Map::new(), data: Map::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisely::ImageSize;

    #[test]
    fn the_keys_stand_in_the_order_of_the_recordings() {
        let annotation = Annotation::new(ImageSize { height: 1, width: 2 }, Vec::new());
        let json = serde_json::to_value(Prediction::new(annotation, Origin::default())).unwrap();
        let keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "source",
                "annotation",
                "name",
                "path",
                "url",
                "project_id",
                "dataset_id",
                "image_id",
                "video_id",
                "frame_index",
                "slides_data",
                "data"
            ]
        );
        assert_eq!(json["data"], serde_json::json!({}));
        assert_eq!(json["image_id"], Value::Null);
    }
}
