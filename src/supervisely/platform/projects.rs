//! Projects, their datasets and their meta.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::error::PlatformError;
use super::names::free_names;
use super::records::{DatasetRecord, ProjectRecord};
use super::transport::{Platform, nonsense};

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

    /// The projects of this name in a workspace.
    ///
    /// # Errors
    /// The platform's.
    pub async fn projects_named(&self, workspace_id: i64, name: &str) -> Result<Vec<ProjectRecord>, PlatformError> {
        let body = json!({
            "filter": [{"field": "name", "operator": "=", "value": name}],
            "workspaceId": workspace_id, "sort": "id", "sort_order": "asc",
        });
        self.list("projects.list", body).await
    }

    /// Makes a project. One that was made before an answer was lost is found by its description.
    ///
    /// # Errors
    /// The platform's.
    pub async fn add_project(&self, project: &NewProject) -> Result<ProjectRecord, PlatformError> {
        let refusal = match self.call("projects.add", &json!(project)).await {
            Err(error) if error.is_name_taken() => error,
            other => return other,
        };
        let there = self.projects_named(project.workspace_id, &project.name).await?;
        let ours = there.into_iter().find(|known| known.description.as_ref() == Some(&project.description));
        ours.ok_or(refusal)
    }

    /// Makes a project under its name, or under that name with a number where others have it.
    ///
    /// # Errors
    /// The platform's.
    pub async fn add_project_under_free_name(&self, project: NewProject) -> Result<ProjectRecord, PlatformError> {
        for name in free_names(&project.name) {
            if self.projects_named(project.workspace_id, &name).await?.is_empty() {
                return self.add_project(&NewProject { name, ..project.clone() }).await;
            }
        }
        Err(nonsense("projects.list", &format!("every name like {:?} is taken", project.name)))
    }

    /// The page on which users see a project.
    pub fn project_page(&self, id: i64) -> String {
        format!("{}/projects/{id}/datasets", self.address())
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

    /// Makes a dataset. One that was made before an answer was lost is found by its description.
    ///
    /// # Errors
    /// The platform's.
    pub async fn add_dataset(&self, dataset: &NewDataset) -> Result<DatasetRecord, PlatformError> {
        let refusal = match self.call("datasets.add", &json!(dataset)).await {
            Err(error) if error.is_name_taken() => error,
            other => return other,
        };
        let there = self.datasets_named(dataset.project_id, dataset.parent_id, &dataset.name).await?;
        let ours = there.into_iter().find(|known| known.description.as_ref() == Some(&dataset.description));
        ours.ok_or(refusal)
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
