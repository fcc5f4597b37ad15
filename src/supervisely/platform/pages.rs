//! Lists that the platform hands out page by page.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::error::PlatformError;
use super::transport::{Platform, nonsense};

/// Most pages of a list: more than any project has, and an end for an answer that never ends.
const MAX_PAGES: u64 = 100_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<T> {
    total: u64,
    per_page: u64,
    pages_count: u64,
    entities: Vec<T>,
}

impl Platform {
    /// Every entity of a list. `body` is an object.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        method: &'static str,
        body: Value,
    ) -> Result<Vec<T>, PlatformError> {
        let mut body: Map<String, Value> = serde_json::from_value(body).unwrap_or_default();
        let Page { total, per_page, pages_count, mut entities } = self.call::<Page<T>>(method, &body).await?;
        for page in 2..=pages_count.min(MAX_PAGES) {
            body.insert("page".to_owned(), json!(page));
            body.insert("per_page".to_owned(), json!(per_page));
            entities.append(&mut self.call::<Page<T>>(method, &body).await?.entities);
        }
        if entities.len() as u64 != total {
            return Err(nonsense(method, &format!("{} entities of {total} on {pages_count} pages", entities.len())));
        }
        Ok(entities)
    }
}
