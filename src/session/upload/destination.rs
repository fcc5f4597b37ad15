//! The project that gets copies of pictures: its datasets are made as they are needed, along the tree of the source's.

use std::collections::{HashMap, HashSet};

use super::sources::SourceDatasets;
use crate::session::SessionError;
use crate::supervisely::{
    DatasetRecord, MAX_NAMES, NewDataset, NewImage, NewProject, Platform, UploadArguments, free_names, number_suffix,
};

/// Datasets that may lie within each other: more would be a circle.
const MAX_DEPTH: usize = 100;

/// Who makes projects and datasets, for their names and descriptions.
pub(super) struct Maker {
    /// The platform's number for us.
    pub(super) task_id: Option<i64>,
    /// The inference request.
    pub(super) request_id: String,
}

impl Maker {
    fn describe(&self, what: &str) -> String {
        format!("Auto created {what} from inference request {}", self.request_id)
    }
}

/// A project that gets copies.
pub(super) struct Destination {
    project_id: i64,
    /// What users read about what is made.
    description: String,
    /// Ours for each of the source's.
    datasets: HashMap<i64, i64>,
    /// Names that are taken in each of ours.
    names: HashMap<i64, HashSet<String>>,
}

impl Destination {
    /// The project that the arguments name, or a new one beside the source.
    pub(super) async fn open(
        platform: &Platform,
        arguments: &UploadArguments,
        source: &DatasetRecord,
        maker: &Maker,
    ) -> Result<Self, SessionError> {
        let project_id = match arguments.output_project_id {
            Some(project_id) => project_id,
            None => create_project(platform, source, maker).await?,
        };
        let description = maker.describe("dataset");
        Ok(Self { project_id, description, datasets: HashMap::new(), names: HashMap::new() })
    }

    pub(super) const fn project_id(&self) -> i64 {
        self.project_id
    }

    /// Our dataset for one of the source's, made together with those it lies in.
    pub(super) async fn dataset_for(
        &mut self,
        platform: &Platform,
        sources: &mut SourceDatasets,
        source_id: i64,
    ) -> Result<i64, SessionError> {
        let mut missing = Vec::new();
        let mut next = Some(source_id);
        let mut parent = None;
        while let Some(id) = next {
            if let Some(known) = self.datasets.get(&id) {
                parent = Some(*known);
                break;
            }
            let source = sources.dataset(id).await?;
            next = source.parent_id;
            missing.push(source);
            if missing.len() > MAX_DEPTH {
                return Err(SessionError::Internal(format!("the datasets above {source_id} have no end")));
            }
        }
        while let Some(source) = missing.pop() {
            let made = self.make_dataset(platform, parent, &source.name).await?;
            self.datasets.insert(source.id, made);
            parent = Some(made);
        }
        parent.ok_or_else(|| SessionError::Internal(format!("dataset {source_id} has no copy")))
    }

    async fn make_dataset(&self, platform: &Platform, parent_id: Option<i64>, name: &str) -> Result<i64, SessionError> {
        for name in free_names(name) {
            if platform.datasets_named(self.project_id, parent_id, &name).await?.is_empty() {
                let dataset =
                    NewDataset { project_id: self.project_id, name, description: self.description.clone(), parent_id };
                return Ok(platform.add_dataset(&dataset).await?.id);
            }
        }
        Err(SessionError::Internal(format!("every name like {name:?} is taken")))
    }

    /// Names for the copies: their own, unless one of that name is there already.
    pub(super) fn name_copies(&mut self, dataset_id: i64, source_id: i64, images: &[(i64, &str)]) -> Vec<NewImage> {
        let taken = self.names.entry(dataset_id).or_default();
        images
            .iter()
            .map(|(image_id, name)| {
                let distinct = with_suffix(name, &format!("(dataset_id:{source_id})"));
                let numbered = (1..MAX_NAMES).map(|number| with_suffix(&distinct, &number_suffix(number)));
                let mut names = [(*name).to_owned(), distinct.clone()].into_iter().chain(numbered);
                let free = names.find(|name| !taken.contains(name)).unwrap_or_default();
                taken.insert(free.clone());
                NewImage { name: free, image_id: *image_id }
            })
            .collect()
    }
}

async fn create_project(platform: &Platform, source: &DatasetRecord, maker: &Maker) -> Result<i64, SessionError> {
    let workspace_id = match source.workspace_id {
        Some(workspace_id) => workspace_id,
        None => platform.project(source.project_id).await?.workspace_id.ok_or_else(|| {
            SessionError::Internal(format!("the platform does not say where project {} lies", source.project_id))
        })?,
    };
    let name = match maker.task_id {
        Some(task_id) => format!("Predictions from task #{task_id}"),
        None => "Predictions".to_owned(),
    };
    let project = NewProject { name, workspace_id, description: maker.describe("project"), kind: "images" };
    Ok(platform.add_project_under_free_name(project).await?.id)
}

/// The suffix goes before a file's extension.
fn with_suffix(name: &str, suffix: &str) -> String {
    match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => format!("{stem}{suffix}.{extension}"),
        _ => format!("{name}{suffix}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_keep_their_names_as_long_as_they_are_free() {
        let mut destination =
            Destination { project_id: 1, description: String::new(), datasets: HashMap::new(), names: HashMap::new() };
        let images = [(1, "a.png"), (2, "a.png"), (3, "a.png"), (4, "b")];
        let names = |images: Vec<NewImage>| images.into_iter().map(|image| image.name).collect::<Vec<_>>();
        let first = names(destination.name_copies(9, 5, &images));
        assert_eq!(first, ["a.png", "a(dataset_id:5).png", "a(dataset_id:5)_001.png", "b"]);
        assert_eq!(names(destination.name_copies(9, 5, &[(4, "b")])), ["b(dataset_id:5)"]);
        assert_eq!(names(destination.name_copies(10, 5, &[(4, "b")])), ["b"]);
    }
}
