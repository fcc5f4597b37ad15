//! Pictures: their records, their bytes, and copies of them.

use std::collections::HashMap;

use futures_util::StreamExt;
use reqwest::Response;
use reqwest::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::error::PlatformError;
use super::records::ImageRecord;
use super::transport::{Failure, Platform, nonsense, read_limited};

/// Ids that one question about pictures may name.
const IDS_PER_CALL: usize = 50;

/// A picture to be copied into a dataset; no bytes move.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewImage {
    /// Its name there.
    #[serde(rename = "title")]
    pub name: String,
    /// The picture that is copied.
    #[serde(rename = "imageId")]
    pub image_id: i64,
}

#[derive(Deserialize)]
struct IdOnly {
    id: i64,
}

impl Platform {
    /// A picture's record, none if it does not exist for this token.
    ///
    /// # Errors
    /// The platform's.
    pub async fn image(&self, id: i64) -> Result<Option<ImageRecord>, PlatformError> {
        let body = json!({"id": id, "forceMetadataForLinks": false});
        match self.call("images.info", &body).await {
            Ok(record) => Ok(Some(record)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Those of the pictures that lie in the dataset.
    ///
    /// # Errors
    /// The platform's.
    pub async fn images_of_dataset(&self, dataset_id: i64, ids: &[i64]) -> Result<Vec<ImageRecord>, PlatformError> {
        let mut found = Vec::with_capacity(ids.len());
        for ids in ids.chunks(IDS_PER_CALL) {
            let body = json!({
                "datasetId": dataset_id, "filter": [{"field": "id", "operator": "in", "value": ids}],
                "forceMetadataForLinks": true, "sort": "id", "sort_order": "asc",
            });
            found.append(&mut self.list("images.list", body).await?);
        }
        Ok(found)
    }

    /// Every picture that lies directly in the dataset, by id.
    ///
    /// # Errors
    /// The platform's.
    pub async fn all_images_of_dataset(&self, dataset_id: i64) -> Result<Vec<ImageRecord>, PlatformError> {
        let body = json!({
            "projectId": null, "datasetId": dataset_id, "filter": [], "sort": "id", "sort_order": "asc",
            "forceMetadataForLinks": true, "recursive": false,
        });
        self.list("images.list", body).await
    }

    /// A picture's file.
    ///
    /// # Errors
    /// The platform's, and a file of more than `max_bytes`.
    pub async fn download_image(&self, id: i64, max_bytes: usize) -> Result<Vec<u8>, PlatformError> {
        const METHOD: &str = "images.download";
        self.download(METHOD, &json!({ "id": id }), |response| read_limited(METHOD, response, max_bytes)).await
    }

    /// The files of several pictures of a dataset, by id; the platform sends them in any order, and may leave some out.
    ///
    /// # Errors
    /// The platform's, and a file of more than `max_bytes`.
    pub async fn download_images(
        &self,
        dataset_id: i64,
        ids: &[i64],
        max_bytes: usize,
    ) -> Result<HashMap<i64, Vec<u8>>, PlatformError> {
        const METHOD: &str = "images.bulk.download";
        let body = json!({"datasetId": dataset_id, "imageIds": ids});
        let parts =
            self.download(METHOD, &body, |response| read_parts(METHOD, response, (max_bytes, ids.len()))).await?;
        Ok(parts.into_iter().filter_map(|(name, bytes)| Some((name.parse().ok()?, bytes))).collect())
    }

    /// The files with these hashes, by hash.
    ///
    /// # Errors
    /// As for [`Self::download_images`].
    pub async fn download_by_hash(
        &self,
        hashes: &[String],
        max_bytes: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, PlatformError> {
        const METHOD: &str = "images.bulk.download-by-hash";
        self.download(METHOD, &json!({ "hashes": hashes }), |response| {
            read_parts(METHOD, response, (max_bytes, hashes.len()))
        })
        .await
    }

    /// Copies pictures into a dataset and gives the copies' ids, in order.
    ///
    /// # Errors
    /// The platform's; a taken name is one.
    pub async fn copy_images(&self, dataset_id: i64, images: &[NewImage]) -> Result<Vec<i64>, PlatformError> {
        const METHOD: &str = "images.bulk.add";
        let body = json!({
            "datasetId": dataset_id, "images": images, "forceMetadataForLinks": false, "skipValidation": false,
        });
        let ids = match self.call::<Vec<IdOnly>>(METHOD, &body).await {
            Ok(added) => added.into_iter().map(|image| image.id).collect(),
            // An answer may be lost after the work was done, and the repeated call then finds the names taken by it.
            Err(error) if error.is_name_taken() => self.find_copies(dataset_id, images).await?.ok_or(error)?,
            Err(error) => return Err(error),
        };
        match images.len() == ids.len() {
            true => Ok(ids),
            false => Err(nonsense(METHOD, &format!("{} of {} pictures were copied", ids.len(), images.len()))),
        }
    }

    /// The ids of these pictures if all of them are in the dataset.
    async fn find_copies(&self, dataset_id: i64, images: &[NewImage]) -> Result<Option<Vec<i64>>, PlatformError> {
        let there = self.all_images_of_dataset(dataset_id).await?;
        let by_name: HashMap<&str, i64> = there.iter().map(|image| (image.name.as_str(), image.id)).collect();
        Ok(images.iter().map(|image| by_name.get(image.name.as_str()).copied()).collect())
    }
}

/// The named parts of a multipart answer, each read as it comes: so many at most, of so many bytes each.
pub(super) async fn read_parts(
    method: &'static str,
    response: Response,
    (max_bytes, max_parts): (usize, usize),
) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let broken = |error: multer::Error| Failure::passing(nonsense(method, &error));
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(content_type).map_err(broken)?;
    let stream = response.bytes_stream().map(|chunk| chunk.map_err(reqwest::Error::without_url));
    let mut multipart = multer::Multipart::new(stream, boundary);
    let mut parts = Vec::new();
    while let Some(mut part) = multipart.next_field().await.map_err(broken)? {
        if parts.len() >= max_parts {
            return Err(Failure::lasting(nonsense(method, &"more files than were asked for")));
        }
        let name = part.name().unwrap_or_default().to_owned();
        let mut bytes = Vec::new();
        while let Some(chunk) = part.chunk().await.map_err(broken)? {
            if bytes.len() + chunk.len() > max_bytes {
                return Err(Failure::lasting(PlatformError::TooLarge { method, most: max_bytes as u64 }));
            }
            bytes.extend_from_slice(&chunk);
        }
        parts.push((name, bytes));
    }
    Ok(parts)
}
