//! What one picture, or one frame of a video, is answered with.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{Annotation, ImageSize};

/// Where a predicted picture came from; everything is null for an upload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
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
    /// The file name once more, where clients look for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_name: Option<String>,
}

/// A prediction on the wire.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Prediction {
    source: Option<String>,
    /// What was found; null once it is on the platform.
    pub annotation: Option<Annotation>,
    /// Where the picture came from.
    #[serde(flatten)]
    pub origin: Origin,
    slides_data: Map<String, Value>,
    /// What else there is to say, `{}` mostly; null once the annotation is on the platform.
    data: Option<Map<String, Value>>,
    /// Why there is no prediction, where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Prediction {
    /// The prediction for a picture from `origin`.
    pub fn new(annotation: Annotation, notes: Map<String, Value>, origin: Origin) -> Self {
        Self {
            source: None,
            annotation: Some(annotation),
            origin,
            slides_data: notes.clone(),
            data: Some(notes),
            error: None,
        }
    }

    /// In place of a prediction that failed: an empty annotation of a picture of this size, and the reason.
    pub fn failed(size: ImageSize, origin: Origin, reason: String) -> Self {
        Self { error: Some(reason), ..Self::new(Annotation::new(size, vec![]), Map::new(), origin) }
    }

    /// What is answered once the annotation is on the platform.
    #[must_use]
    pub fn uploaded(mut self) -> Self {
        self.annotation = None;
        self.data = None;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_keys_stand_in_the_order_of_the_recordings() {
        let annotation = Annotation::new(ImageSize { height: 1, width: 2 }, Vec::new());
        let json = serde_json::to_value(Prediction::new(annotation, Map::new(), Origin::default())).unwrap();
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

    #[test]
    fn what_is_uploaded_or_failed_says_so() {
        let size = ImageSize { height: 1, width: 2 };
        let origin = Origin { image_name: Some("a.png".to_owned()), ..Origin::default() };
        let uploaded = Prediction::new(Annotation::new(size, vec![]), Map::new(), origin.clone()).uploaded();
        let json = serde_json::to_value(uploaded).unwrap();
        assert_eq!(
            (&json["annotation"], &json["data"], &json["slides_data"]),
            (&Value::Null, &Value::Null, &json!({}))
        );
        assert_eq!(json["image_name"], "a.png");
        let failed = serde_json::to_value(Prediction::failed(size, origin, "no picture".to_owned())).unwrap();
        assert_eq!((&failed["error"], &failed["annotation"]["objects"]), (&json!("no picture"), &json!([])));
    }
}
