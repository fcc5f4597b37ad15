//! Annotations of pictures.

use serde_json::{Value, json};

use super::error::PlatformError;
use super::records::StoredAnnotation;
use super::transport::Platform;

impl Platform {
    /// The annotations of pictures of a dataset.
    ///
    /// # Errors
    /// The platform's.
    pub async fn annotations(
        &self,
        dataset_id: i64,
        image_ids: &[i64],
    ) -> Result<Vec<StoredAnnotation>, PlatformError> {
        let body = json!({
            "datasetId": dataset_id, "imageIds": image_ids, "withCustomBigData": false,
            "forceMetadataForLinks": true, "integerCoords": false,
        });
        self.call("annotations.bulk.info", &body).await
    }

    /// Replaces the annotations of pictures of a dataset. Doing it twice is doing it once.
    ///
    /// # Errors
    /// The platform's.
    pub async fn store_annotations(&self, dataset_id: i64, annotations: &[(i64, Value)]) -> Result<(), PlatformError> {
        let annotations: Vec<Value> = annotations
            .iter()
            .map(|(image_id, annotation)| json!({"imageId": image_id, "annotation": annotation}))
            .collect();
        let body = json!({"datasetId": dataset_id, "annotations": annotations, "skipBoundsValidation": false});
        self.call::<Value>("annotations.bulk.add", &body).await.map(drop)
    }
}
