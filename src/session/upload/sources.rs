//! The datasets that a run's pictures come from, as far as they are known.

use std::collections::HashMap;

use crate::session::SessionError;
use crate::supervisely::{DatasetRecord, Platform};

/// Dataset records by id, asked for when they are first needed.
pub(in crate::session) struct SourceDatasets {
    platform: Platform,
    known: HashMap<i64, DatasetRecord>,
}

impl SourceDatasets {
    /// Nothing is known yet.
    pub(in crate::session) fn unknown(platform: Platform) -> Self {
        Self { platform, known: HashMap::new() }
    }

    /// All datasets of this project are known.
    pub(in crate::session) fn known(platform: Platform, project_id: i64, datasets: Vec<DatasetRecord>) -> Self {
        let known = datasets.into_iter().map(|dataset| (dataset.id, DatasetRecord { project_id, ..dataset }));
        Self { platform, known: known.collect() }
    }

    /// A dataset's record.
    pub(super) async fn dataset(&mut self, id: i64) -> Result<DatasetRecord, SessionError> {
        if let Some(known) = self.known.get(&id) {
            return Ok(known.clone());
        }
        let record = self.platform.dataset(id).await?;
        self.known.insert(id, record.clone());
        Ok(record)
    }
}
