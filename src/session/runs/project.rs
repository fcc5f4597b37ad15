//! All pictures of a project, or of some of its datasets.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::stream::{self, Stream, StreamExt};
use serde_json::{Map, Value};

use super::super::pictures::{PlatformImage, list_project_images};
use super::super::queue::InferenceRequest;
use super::super::upload::{PlatformSink, SourceDatasets};
use super::super::{Session, SessionError};
use super::{Answers, Content, FileRoom, Input, Load};
use crate::supervisely::{
    DatasetRecord, ImageRecord, InferenceState, Platform, ProjectArguments, Regions, UploadArguments,
};

/// Pictures that come in one download.
const IMAGES_PER_DOWNLOAD: usize = 4;

/// The pictures of a project.
pub(super) struct ProjectImages {
    pub(super) datasets: Vec<DatasetRecord>,
    pub(super) images: Vec<PlatformImage>,
}

impl Session {
    /// Starts a run over a project and gives its id. `held` is kept until the run has ended.
    ///
    /// # Errors
    /// Whatever is wrong with the arguments; the rest is told by the request itself.
    pub fn start_project<H: Send + 'static>(
        self: &Arc<Self>,
        platform: impl FnOnce() -> Result<Platform, SessionError>,
        state: &Map<String, Value>,
        held: H,
    ) -> Result<String, SessionError> {
        let project = ProjectArguments::parse(state)?;
        let parsed = InferenceState::parse(state)?;
        let upload = UploadArguments::parse(state, &parsed.settings.given)?;
        self.check_inquiry(&parsed)?;
        let platform = platform()?;
        let session = Arc::clone(self);
        self.queue.start(move |request| async move {
            let _held = held;
            session.run_project(request, platform, (project, parsed, upload)).await
        })
    }

    async fn run_project(
        &self,
        request: Arc<InferenceRequest>,
        platform: Platform,
        (project, state, upload): (ProjectArguments, InferenceState, UploadArguments),
    ) -> Result<(), SessionError> {
        let Some(found) = Self::prepare(&request, find_project_images(&platform, &project)).await? else {
            return Ok(());
        };
        Self::begin_running(&request, found.images.len());
        let course = self.course(&state, &request)?;
        let inputs = self.load_project(&platform, found.images, &state.settings.regions);
        match upload.mode {
            None => self.predict_all(inputs, &course, &mut Answers { request }).await,
            Some(_) => {
                let sources = SourceDatasets::known(platform.clone(), project.project_id, found.datasets);
                let mut sink =
                    PlatformSink::new(self, platform.clone().until(request.stopped()), upload, request, sources);
                self.predict_all(inputs, &course, &mut sink).await
            }
        }
    }

    /// The pictures' files, fetched ahead, a few of a dataset in one download.
    fn load_project<'a>(
        &'a self,
        platform: &'a Platform,
        images: Vec<PlatformImage>,
        regions: &'a Regions,
    ) -> impl Stream<Item = Load<'a>> + Send + 'a {
        let room = self.file_room.of_run();
        stream::iter(group_by_dataset(images)).map(move |group| {
            let room = room.clone();
            let load: Load<'a> = Box::pin(async move { self.load_group(platform, group, regions, &room).await });
            load
        })
    }

    async fn load_group(
        &self,
        platform: &Platform,
        group: Vec<(usize, PlatformImage)>,
        regions: &Regions,
        room: &FileRoom,
    ) -> Vec<Input> {
        let sizes: Vec<Option<u64>> = group.iter().map(|(_, image)| image.record.size).collect();
        let rooms = room.take_all(&sizes).await;
        let records: Vec<&ImageRecord> = group.iter().map(|(_, image)| &image.record).collect();
        let dataset_id = records.first().map_or(0, |record| record.dataset_id);
        let mut files = match records.len() {
            0 | 1 => HashMap::new(),
            _ => self.store.images(platform, dataset_id, &records).await,
        };
        let mut inputs = Vec::with_capacity(group.len());
        for ((index, image), room) in group.into_iter().zip(rooms) {
            let file = match files.remove(&image.record.id) {
                Some(file) => Ok(file),
                None => self.store.image(platform, &image.record).await,
            };
            let content = file.map(|bytes| Content::File(bytes, room));
            let (origin, size) = (image.origin(), image.record.image_size());
            inputs.push(Input { origin, size, region: regions.of_picture(index), content });
        }
        inputs
    }
}

/// The pictures that the arguments mean.
pub(super) async fn find_project_images(
    platform: &Platform,
    arguments: &ProjectArguments,
) -> Result<ProjectImages, SessionError> {
    let project = platform.project(arguments.project_id).await?;
    if !project.holds_images() {
        return Err(SessionError::NotAnImagesProject);
    }
    let datasets = platform.datasets(project.id).await?;
    let wanted: Vec<DatasetRecord> = match &arguments.dataset_ids {
        None => datasets.clone(),
        Some(ids) => datasets.iter().filter(|dataset| ids.contains(&dataset.id)).cloned().collect(),
    };
    let images = list_project_images(platform, project.id, &wanted).await?;
    Ok(ProjectImages { datasets, images })
}

fn group_by_dataset(images: Vec<PlatformImage>) -> Vec<Vec<(usize, PlatformImage)>> {
    let mut groups: Vec<Vec<(usize, PlatformImage)>> = Vec::new();
    for (index, image) in images.into_iter().enumerate() {
        match groups.last_mut() {
            Some(group)
                if group.len() < IMAGES_PER_DOWNLOAD
                    && group.first().is_some_and(|(_, first)| first.record.dataset_id == image.record.dataset_id) =>
            {
                group.push((index, image));
            }
            _ => groups.push(vec![(index, image)]),
        }
    }
    groups
}
