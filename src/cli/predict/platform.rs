//! Pictures of the platform, by the session's runs.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::time::Duration;

use indicatif::ProgressBar;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::super::args::{PlatformSource, PredictOrder};
use super::super::error::{CliError, CliResult};
use super::super::print_line;
use super::output::{Output, Targets, file_safe};
use super::progress::{Tally, progress_bar};
use super::{load, make_output_folder, open_session};
use crate::florence::image::Picture;
use crate::media::decode;
use crate::session::{InferenceRequest, RunStage, SessionError, SessionSettings};
use crate::supervisely::{DatasetRecord, NewProject, Platform, PlatformError, ProjectRecord};

/// How often the run is asked for results.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Predicts pictures of the platform, and writes or uploads the results.
pub(super) fn predict(
    runtime: &Runtime,
    order: &PredictOrder,
    (pictures, upload): (&PlatformSource, bool),
) -> CliResult<Tally> {
    let settings = SessionSettings::from_env();
    let session = open_session(settings.clone());
    let platform = session.platform(None, None)?;
    let found = runtime.block_on(look_up(&platform, pictures))?;
    if !upload {
        make_output_folder(order)?;
    }
    load(runtime, order, &session)?;
    runtime.block_on(async {
        let state = state(&platform, order, (&found, upload)).await?;
        let started = match &found {
            Found::Project { .. } => session.start_project(|| Ok(platform.clone()), &state, ()),
            Found::Images(_) => session.start_image_ids(|| Ok(platform.clone()), &state, ()),
        };
        let request = session.queue().get(&started?)?;
        let folders = match &found {
            Found::Project { datasets, .. } => DatasetFolders::of(datasets),
            Found::Images(_) => DatasetFolders::default(),
        };
        let results = Results { platform, order, settings, folders, output: Output::new(order.draw) };
        results.follow(&request).await
    })
}

/// What the arguments mean on the platform.
enum Found {
    Project { project: ProjectRecord, datasets: Vec<DatasetRecord>, wanted: Option<Vec<i64>> },
    Images(Vec<i64>),
}

/// Asks for the project before the model is loaded: it may not be there, or hold something else.
async fn look_up(platform: &Platform, pictures: &PlatformSource) -> CliResult<Found> {
    let (project_id, wanted) = match pictures {
        PlatformSource::Images(ids) => return Ok(Found::Images(ids.clone())),
        PlatformSource::Project(id) => (*id, None),
        PlatformSource::Datasets(ids) => (project_of(platform, ids).await?, Some(ids.clone())),
    };
    let project = platform.project(project_id).await?;
    if !project.holds_images() {
        return Err(SessionError::NotAnImagesProject.into());
    }
    if project.images_count == Some(0) {
        return Err(CliError::Usage(format!("there is no picture in project {project_id}, {}", project.name)));
    }
    let datasets = platform.datasets(project_id).await?;
    Ok(Found::Project { project, datasets, wanted })
}

/// The project of the datasets.
async fn project_of(platform: &Platform, dataset_ids: &[i64]) -> CliResult<i64> {
    let mut project_id = None;
    for id in dataset_ids {
        let found = platform.dataset(*id).await?.project_id;
        if *project_id.get_or_insert(found) != found {
            return Err(CliError::Usage(
                "the datasets belong to several projects; predict one after the other".to_owned(),
            ));
        }
    }
    project_id.ok_or_else(|| CliError::Usage("no dataset is named".to_owned()))
}

/// The arguments of the run, as a client of the server would send them.
async fn state(
    platform: &Platform,
    order: &PredictOrder,
    (found, upload): (&Found, bool),
) -> CliResult<Map<String, Value>> {
    let mut state = Map::from_iter([("settings".to_owned(), Value::Object(order.settings.clone()))]);
    let mut set = |key: &str, value: Value| state.insert(key.to_owned(), value);
    match found {
        Found::Project { project, wanted, .. } => {
            set("project_id", json!(project.id));
            set("dataset_ids", json!(wanted));
            if upload {
                set("output_project_id", json!(make_project(platform, project).await?));
            }
        }
        Found::Images(ids) => {
            set("image_ids", json!(ids));
            if upload {
                set("upload_mode", json!("replace"));
            }
        }
    }
    Ok(state)
}

/// Makes the project for the results, under the original's name for it, and tells where it is.
async fn make_project(platform: &Platform, source: &ProjectRecord) -> CliResult<i64> {
    let workspace_id = source.workspace_id.ok_or_else(|| {
        CliError::Failed(format!("the platform does not say in which workspace project {} lies", source.id))
    })?;
    let name = format!("{} predicted", source.name);
    // By its description a project is found whose maker never got the answer.
    let description = format!("Predictions for project {}, run {}", source.id, Uuid::new_v4().simple());
    let project = NewProject { name, workspace_id, description, kind: "images" };
    let made = platform.add_project_under_free_name(project).await?;
    let page = platform.project_page(made.id);
    print_line(&json!({"project_id": made.id, "name": made.name, "url": page}).to_string())?;
    Ok(made.id)
}

/// A run's results, and what becomes of them.
struct Results<'a> {
    platform: Platform,
    order: &'a PredictOrder,
    settings: SessionSettings,
    folders: DatasetFolders,
    output: Output,
}

/// What is read of a result. An annotation that is on the platform is null here.
#[derive(Debug, Deserialize)]
struct Predicted {
    image_id: i64,
    dataset_id: i64,
    image_name: String,
    annotation: Value,
    error: Option<String>,
}

impl Results<'_> {
    /// Takes results until the run ends.
    async fn follow(mut self, request: &InferenceRequest) -> CliResult<Tally> {
        let (mut tally, progress) = (Tally::default(), progress_bar());
        let exception = loop {
            // The status first, so that no ended run hides a result.
            let status = request.status();
            if status.stage == RunStage::Running {
                progress.set_length(status.progress.total);
            }
            self.take(request.take_results(), &mut tally, &progress).await?;
            if status.is_finished {
                break status.exception;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        };
        progress.finish_and_clear();
        match exception {
            Some(exception) if tally.done() == 0 => Err(CliError::Failed(exception.message().to_owned())),
            Some(exception) => {
                tally.list_failures();
                Err(CliError::Failed(format!("after {} pictures: {}", tally.done(), exception.message())))
            }
            None if tally.done() == 0 => Err(CliError::Usage("there is no picture in what was named".to_owned())),
            None => Ok(tally),
        }
    }

    async fn take(&mut self, results: Vec<Box<RawValue>>, tally: &mut Tally, progress: &ProgressBar) -> CliResult<()> {
        for result in results {
            let predicted: Predicted = serde_json::from_str(result.get())
                .map_err(|error| CliError::Failed(format!("a result cannot be read: {error}")))?;
            let name = format!("{} (image {})", predicted.image_name, predicted.image_id);
            tally.add(&name, self.keep(predicted, &name).await);
            progress.inc(1);
        }
        Ok(())
    }

    async fn keep(&mut self, predicted: Predicted, name: &str) -> Result<(), String> {
        if let Some(error) = predicted.error {
            return Err(error);
        }
        if predicted.annotation.is_null() {
            // It is on the platform.
            return Ok(());
        }
        let folder = self.folders.folder_of(&self.platform, predicted.dataset_id).await?;
        let file_name = file_safe(&predicted.image_name);
        let folder = self.order.output.join(folder);
        let targets: Targets = self.output.targets(&folder, OsStr::new(&file_name), name.to_owned())?;
        let picture = match self.order.draw {
            true => Some(self.fetch(predicted.image_id).await?),
            false => None,
        };
        self.output.write(&targets, &predicted.annotation, picture.as_ref())
    }

    /// The picture, to draw on. The session has seen it and keeps its file to itself.
    async fn fetch(&self, image_id: i64) -> Result<Picture, String> {
        let most_bytes = self.settings.store.max_picture_bytes;
        let bytes = self.platform.download_image(image_id, most_bytes).await.map_err(|error| error.to_string())?;
        let options = self.settings.decode.clone();
        let decoded = spawn_blocking(move || decode(&bytes, &options).map_err(|error| error.to_string()));
        decoded.await.unwrap_or_else(|error| Err(error.to_string()))
    }
}

/// A folder for each dataset, by its name; of several datasets of one name the later ones have their id in it.
#[derive(Debug, Default)]
struct DatasetFolders {
    by_id: HashMap<i64, String>,
    taken: HashSet<String>,
}

impl DatasetFolders {
    fn of(datasets: &[DatasetRecord]) -> Self {
        let mut folders = Self::default();
        datasets.iter().for_each(|dataset| drop(folders.add(dataset)));
        folders
    }

    async fn folder_of(&mut self, platform: &Platform, dataset_id: i64) -> Result<String, String> {
        if let Some(folder) = self.by_id.get(&dataset_id) {
            return Ok(folder.clone());
        }
        let dataset = platform.dataset(dataset_id).await.map_err(|error: PlatformError| error.to_string())?;
        Ok(self.add(&dataset))
    }

    fn add(&mut self, dataset: &DatasetRecord) -> String {
        let name = file_safe(&dataset.name);
        let mut names = [name.clone(), format!("{name}_{}", dataset.id)].into_iter();
        let folder = names.find(|name| self.taken.insert(name.clone())).unwrap_or(name);
        self.by_id.insert(dataset.id, folder.clone());
        folder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datasets_of_one_name_have_folders_of_their_own() {
        let dataset = |id: i64, name: &str| DatasetRecord {
            id,
            name: name.to_owned(),
            project_id: 1,
            workspace_id: None,
            parent_id: None,
            description: None,
        };
        let folders = DatasetFolders::of(&[dataset(5, "ds"), dataset(6, "ds"), dataset(7, "../ds")]);
        let folder = |id: i64| folders.by_id[&id].as_str();
        assert_eq!([folder(5), folder(6), folder(7)], ["ds", "ds_6", ".._ds"]);
    }
}
