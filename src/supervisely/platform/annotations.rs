//! Annotations of pictures.

use serde_json::{Value, json};

use super::error::PlatformError;
use super::records::StoredAnnotation;
use super::transport::{Platform, nonsense};

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
        const METHOD: &str = "annotations.bulk.info";
        let body = json!({
            "datasetId": dataset_id, "imageIds": image_ids, "withCustomBigData": false,
            "forceMetadataForLinks": true, "integerCoords": false,
        });
        let stored: Vec<StoredAnnotation> = self.call(METHOD, &body).await?;
        // A picture that is left out has labels all the same, which whoever takes it for bare would overwrite.
        match image_ids.iter().find(|id| stored.iter().all(|annotation| annotation.image_id != **id)) {
            Some(missing) => Err(nonsense(METHOD, &format!("the annotation of image {missing} is missing"))),
            None => Ok(stored),
        }
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
