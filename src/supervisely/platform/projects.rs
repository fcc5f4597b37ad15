//! Projects, their datasets and their meta.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::error::PlatformError;
use super::records::{DatasetRecord, ProjectRecord};
use super::transport::Platform;

/// A project to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewProject {
    /// Its name.
    pub name: String,
    /// Workspace that will hold it.
    #[serde(rename = "workspaceId")]
    pub workspace_id: i64,
    /// What users read about it.
    pub description: String,
    /// `images`.
    #[serde(rename = "type")]
    pub kind: &'static str,
}

/// A dataset to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewDataset {
    /// Project that will hold it.
    pub project_id: i64,
    /// Its name.
    pub name: String,
    /// What users read about it.
    pub description: String,
    /// Dataset that it will lie in.
    pub parent_id: Option<i64>,
}

impl Platform {
    /// A project's record.
    ///
    /// # Errors
    /// The platform's.
    pub async fn project(&self, id: i64) -> Result<ProjectRecord, PlatformError> {
        self.call("projects.info", &json!({ "id": id })).await
    }

    /// Whether a project of this name is in the workspace.
    ///
    /// # Errors
    /// The platform's.
    pub async fn has_project(&self, workspace_id: i64, name: &str) -> Result<bool, PlatformError> {
        let body = json!({
            "filter": [{"field": "name", "operator": "=", "value": name}],
            "workspaceId": workspace_id, "sort": "id", "sort_order": "asc",
        });
        let found: Vec<ProjectRecord> = self.list("projects.list", body).await?;
        Ok(!found.is_empty())
    }

    /// Makes a project.
    ///
    /// # Errors
    /// The platform's.
    pub async fn add_project(&self, project: &NewProject) -> Result<ProjectRecord, PlatformError> {
        self.call("projects.add", &json!(project)).await
    }

    /// A dataset's record.
    ///
    /// # Errors
    /// The platform's.
    pub async fn dataset(&self, id: i64) -> Result<DatasetRecord, PlatformError> {
        self.call("datasets.info", &json!({ "id": id })).await
    }

    /// Every dataset of a project, nested ones too.
    ///
    /// # Errors
    /// The platform's.
    pub async fn datasets(&self, project_id: i64) -> Result<Vec<DatasetRecord>, PlatformError> {
        let body = json!({"projectId": project_id, "filter": [], "recursive": true, "sort": "id", "sort_order": "asc"});
        self.list("datasets.list", body).await
    }

    /// The datasets of this name directly below a parent, or directly in the project.
    ///
    /// # Errors
    /// The platform's.
    pub async fn datasets_named(
        &self,
        project_id: i64,
        parent_id: Option<i64>,
        name: &str,
    ) -> Result<Vec<DatasetRecord>, PlatformError> {
        let mut filter = vec![json!({"field": "name", "operator": "=", "value": name})];
        if let Some(parent_id) = parent_id {
            filter.push(json!({"field": "parentId", "operator": "=", "value": parent_id}));
        }
        let body = json!({
            "projectId": project_id, "filter": filter, "recursive": parent_id.is_some(), "sort": "id",
            "sort_order": "asc",
        });
        let found: Vec<DatasetRecord> = self.list("datasets.list", body).await?;
        Ok(found.into_iter().filter(|dataset| dataset.parent_id == parent_id).collect())
    }

    /// Makes a dataset.
    ///
    /// # Errors
    /// The platform's.
    pub async fn add_dataset(&self, dataset: &NewDataset) -> Result<DatasetRecord, PlatformError> {
        self.call("datasets.add", &json!(dataset)).await
    }

    /// A project's meta, as the platform writes it.
    ///
    /// # Errors
    /// The platform's.
    pub async fn project_meta(&self, project_id: i64) -> Result<Map<String, Value>, PlatformError> {
        self.call("projects.meta", &json!({ "id": project_id })).await
    }

    /// Replaces a project's meta.
    ///
    /// # Errors
    /// The platform's.
    pub async fn update_project_meta(
        &self,
        project_id: i64,
        meta: &Map<String, Value>,
    ) -> Result<Map<String, Value>, PlatformError> {
        self.call("projects.meta.update", &json!({"id": project_id, "meta": meta})).await
    }
}
