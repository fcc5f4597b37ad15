//! The annotation of a video: objects, and where each is on which frame.

use std::collections::HashMap;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{ImageSize, Label};

/// A video's annotation under construction. Every object is that of a track.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoAnnotation {
    size: ImageSize,
    frames_count: u64,
    key: String,
    objects: Vec<Value>,
    /// The objects' keys by track.
    keys: HashMap<u64, String>,
    frames: Vec<Value>,
}

impl VideoAnnotation {
    /// The annotation of a video of so many frames, on which nothing was found yet.
    pub fn new(size: ImageSize, frames_count: u64) -> Self {
        Self { size, frames_count, key: new_key(), objects: vec![], keys: HashMap::new(), frames: vec![] }
    }

    /// Adds what was found on a frame: labels with the tracks that they belong to. Tells nothing about a frame without any.
    pub fn add_frame(&mut self, index: u64, tracked: &[(u64, &Label)]) {
        let figures: Vec<Value> = tracked
            .iter()
            .map(|(track, label)| {
                let object_key = self.object_key(*track, label).to_owned();
                json!({
                    "key": new_key(), "objectKey": object_key, "geometryType": label.shape(),
                    "geometry": {"points": {"exterior": label.geometry.exterior(), "interior": []}},
                    "nnCreated": true, "nnUpdated": true, "trackId": track.to_string(),
                })
            })
            .collect();
        if !figures.is_empty() {
            self.frames.push(json!({"index": index, "figures": figures}));
        }
    }

    /// In the form of the platform's SDK.
    pub fn to_json(&self) -> Value {
        json!({
            "size": self.size, "description": "", "key": self.key, "tags": [], "objects": self.objects,
            "frames": self.frames, "framesCount": self.frames_count,
        })
    }

    fn object_key(&mut self, track: u64, label: &Label) -> &str {
        let objects = &mut self.objects;
        self.keys.entry(track).or_insert_with(|| {
            let key = new_key();
            objects.push(json!({"key": key, "classTitle": label.class_title, "tags": []}));
            key
        })
    }
}

fn new_key() -> String {
    Uuid::new_v4().simple().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisely::{Geometry, Rectangle};

    #[test]
    fn a_track_is_one_object_on_all_its_frames() {
        let label = |title: &str| Label {
            class_title: title.to_owned(),
            tags: vec![],
            geometry: Geometry::Rectangle(Rectangle::from_corners([1.0, 2.0, 3.0, 4.0]).unwrap()),
        };
        let (cat, dog) = (label("cat_bbox"), label("dog_bbox"));
        let mut annotation = VideoAnnotation::new(ImageSize { height: 10, width: 20 }, 12);
        annotation.add_frame(4, &[(7, &cat), (8, &dog)]);
        annotation.add_frame(5, &[]);
        annotation.add_frame(6, &[(7, &cat)]);
        let json = annotation.to_json();
        assert_eq!((json["objects"].as_array().unwrap().len(), &json["framesCount"]), (2, &json!(12)));
        assert_eq!((&json["frames"][0]["index"], &json["frames"][1]["index"]), (&json!(4), &json!(6)));
        let first = &json["frames"][1]["figures"][0];
        assert_eq!((&first["objectKey"], &first["trackId"]), (&json["objects"][0]["key"], &json!("7")));
        assert_eq!(first["geometry"]["points"]["exterior"], json!([[1, 2], [3, 4]]));
        assert_eq!(json["objects"][1]["classTitle"], "dog_bbox");
    }
}
