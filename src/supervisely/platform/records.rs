//! What the platform tells about its things, as far as it is read.

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::super::ImageSize;

/// A picture on the platform.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageRecord {
    /// Its number.
    pub id: i64,
    /// File name.
    #[serde(default)]
    pub name: String,
    /// Dataset that holds it.
    pub dataset_id: i64,
    /// Width in pixels as the platform knows it, before any turn.
    pub width: Option<i64>,
    /// Height in pixels.
    pub height: Option<i64>,
    /// Bytes of the file.
    #[serde(default, deserialize_with = "lenient_size")]
    pub size: Option<u64>,
    /// Hash of the file.
    pub hash: Option<String>,
}

impl ImageRecord {
    /// Its size as the platform knows it, 0x0 where it does not.
    pub fn image_size(&self) -> ImageSize {
        ImageSize { height: self.height.unwrap_or(0).max(0), width: self.width.unwrap_or(0).max(0) }
    }
}

/// A dataset of a project.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DatasetRecord {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Project that holds it.
    pub project_id: i64,
    /// The workspace of the project.
    pub workspace_id: Option<i64>,
    /// Dataset that it lies in.
    pub parent_id: Option<i64>,
    /// What users read about it.
    pub description: Option<String>,
}

/// A project.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProjectRecord {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// `images`, `videos` …
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
    /// Workspace that holds it.
    pub workspace_id: Option<i64>,
    /// What users read about it.
    pub description: Option<String>,
    /// Pictures in all of its datasets.
    pub images_count: Option<u64>,
}

impl ProjectRecord {
    /// Whether it holds pictures.
    pub fn holds_images(&self) -> bool {
        self.kind.as_deref() == Some("images")
    }
}

/// An annotation as the platform keeps it: sub-pixel, with its own fields.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredAnnotation {
    /// The picture.
    pub image_id: i64,
    /// Its annotation.
    pub annotation: Map<String, Value>,
}

/// A video on the platform.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VideoRecord {
    /// Its number.
    pub id: i64,
    /// File name.
    #[serde(default)]
    pub name: String,
    /// Dataset that holds it.
    pub dataset_id: i64,
    /// Project that holds it.
    pub project_id: i64,
    /// About the file.
    pub file_meta: VideoFileMeta,
}

/// About a video's file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VideoFileMeta {
    /// Frames.
    pub frames_count: u64,
    /// Width in pixels.
    pub width: i64,
    /// Height in pixels.
    pub height: i64,
    /// Length in seconds.
    #[serde(default)]
    pub duration: Option<f64>,
    /// Bytes of the file.
    #[serde(default, deserialize_with = "lenient_size")]
    pub size: Option<u64>,
}

impl VideoRecord {
    /// Size of a frame.
    pub fn image_size(&self) -> ImageSize {
        ImageSize { height: self.file_meta.height, width: self.file_meta.width }
    }

    /// Frames a second on average, where the length is known.
    pub fn frames_per_second(&self) -> Option<f64> {
        let duration = self.file_meta.duration.filter(|duration| *duration > 0.0)?;
        Some(self.file_meta.frames_count as f64 / duration)
    }
}

/// Sizes come as numbers or as text.
fn lenient_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn records_are_read_leniently() {
        let image: ImageRecord = serde_json::from_value(json!({"id": 1, "datasetId": 2})).unwrap();
        assert_eq!(
            (image.name.as_str(), image.size, image.image_size()),
            ("", None, ImageSize { height: 0, width: 0 })
        );
        let video = json!({"id": 5, "datasetId": 2, "projectId": 3,
            "fileMeta": {"framesCount": 12, "width": 160, "height": 120, "duration": 2, "size": "31116"}});
        let video: VideoRecord = serde_json::from_value(video).unwrap();
        assert_eq!((video.file_meta.size, video.frames_per_second()), (Some(31116), Some(6.0)));
    }
}
