//! Predictions on their way to the platform: into the pictures' own annotations, or into copies in another project.

mod destination;
mod merge;
mod sources;

pub(super) use sources::SourceDatasets;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use self::destination::{Destination, Maker};
use self::merge::{Stored, merge_labels};
use super::queue::InferenceRequest;
use super::runs::{Predicted, Sink};
use super::{Session, SessionError};
use crate::supervisely::{
    Annotation, LabelTag, Platform, ProjectClasses, StoredAnnotation, TagMeta, UploadArguments, UploadMode,
};

/// Pictures whose predictions are uploaded together, as in the original.
const UPLOADED_TOGETHER: usize = 16;

/// Puts predictions on the platform and then tells clients that they are there.
pub(super) struct PlatformSink<'a> {
    session: &'a Session,
    platform: Platform,
    arguments: UploadArguments,
    request: Arc<InferenceRequest>,
    sources: SourceDatasets,
    destination: Option<Destination>,
    /// What is known of the projects' meta.
    classes: HashMap<i64, ProjectClasses>,
}

/// A prediction with the picture that it is for.
struct Labelled<'a> {
    image_id: i64,
    annotation: &'a Annotation,
}

impl<'a> PlatformSink<'a> {
    pub(super) fn new(
        session: &'a Session,
        platform: Platform,
        arguments: UploadArguments,
        request: Arc<InferenceRequest>,
        sources: SourceDatasets,
    ) -> Self {
        Self { session, platform, arguments, request, sources, destination: None, classes: HashMap::new() }
    }

    /// Stores the predictions of pictures of one dataset.
    async fn store(&mut self, dataset_id: i64, predicted: &[Predicted]) -> Result<(), SessionError> {
        let labelled: Vec<(Labelled<'_>, &Predicted)> = predicted
            .iter()
            .filter_map(|one| {
                let annotation = &one.result.as_ref().ok()?.annotation;
                Some((Labelled { image_id: one.origin.image_id?, annotation }, one))
            })
            .collect();
        if labelled.is_empty() {
            return Ok(());
        }
        if self.goes_elsewhere() {
            return self.store_copies(dataset_id, labelled).await;
        }
        let project_id = self.sources.dataset(dataset_id).await?.project_id;
        let labelled: Vec<Labelled<'_>> = labelled.into_iter().map(|(labelled, _)| labelled).collect();
        self.store_labels(project_id, dataset_id, &labelled).await
    }

    fn goes_elsewhere(&self) -> bool {
        self.arguments.output_project_id.is_some() || self.arguments.mode == Some(UploadMode::Create)
    }

    /// Copies the pictures into the destination, and stores what was found on the copies.
    async fn store_copies(
        &mut self,
        dataset_id: i64,
        labelled: Vec<(Labelled<'_>, &Predicted)>,
    ) -> Result<(), SessionError> {
        if self.destination.is_none() {
            let source = self.sources.dataset(dataset_id).await?;
            let maker = Maker { task_id: self.session.task_id, request_id: self.request.id().to_owned() };
            self.destination = Some(Destination::open(&self.platform, &self.arguments, &source, &maker).await?);
        }
        let Some(destination) = &mut self.destination else { return Ok(()) };
        let target = destination.dataset_for(&self.platform, &mut self.sources, dataset_id).await?;
        let project_id = destination.project_id();
        let names: Vec<(i64, &str)> = labelled
            .iter()
            .map(|(labelled, one)| (labelled.image_id, one.origin.name.as_deref().unwrap_or_default()))
            .collect();
        let images = destination.name_copies(target, dataset_id, &names);
        // The classes first: a picture without its labels is worse than a class without labels.
        let annotations: Vec<Annotation> = labelled.iter().map(|(labelled, _)| labelled.annotation.clone()).collect();
        self.admit(project_id, &annotations).await?;
        let copies = self.platform.copy_images(target, &images).await?;
        let labelled: Vec<Labelled<'_>> = copies
            .into_iter()
            .zip(&annotations)
            .map(|(image_id, annotation)| Labelled { image_id, annotation })
            .collect();
        self.store_labels(project_id, target, &labelled).await
    }

    /// Stores labels on pictures, together with what they have or in place of it.
    async fn store_labels(
        &mut self,
        project_id: i64,
        dataset_id: i64,
        labelled: &[Labelled<'_>],
    ) -> Result<(), SessionError> {
        let annotations: Vec<Annotation> = labelled.iter().map(|labelled| labelled.annotation.clone()).collect();
        let stored = self.admit(project_id, &annotations).await?;
        let mut present: HashMap<i64, Map<String, Value>> = match self.keeps_labels() {
            true => {
                let mut ids: Vec<i64> = labelled.iter().map(|labelled| labelled.image_id).collect();
                ids.dedup();
                let present = self.platform.annotations(dataset_id, &ids).await?;
                present.into_iter().map(|StoredAnnotation { image_id, annotation }| (image_id, annotation)).collect()
            }
            false => HashMap::new(),
        };
        let least_iou = self.arguments.existing_iou;
        // A picture that is named twice is stored once: what was found the second time joins the first, or replaces it.
        let mut merged: Vec<(i64, Map<String, Value>)> = Vec::new();
        for (labelled, stored) in labelled.iter().zip(stored) {
            let before = merged.iter().position(|(image_id, _)| *image_id == labelled.image_id);
            let before = before.map(|index| merged.remove(index).1);
            let base = match before {
                Some(before) if self.keeps_labels() => Some(before),
                _ => present.remove(&labelled.image_id),
            };
            merged.push((labelled.image_id, merge_labels(base, labelled.annotation, stored, least_iou)));
        }
        let merged: Vec<(i64, Value)> =
            merged.into_iter().map(|(id, annotation)| (id, Value::Object(annotation))).collect();
        Ok(self.platform.store_annotations(dataset_id, &merged).await?)
    }

    /// Whether pictures may have labels that stay. Copies have none.
    fn keeps_labels(&self) -> bool {
        !self.goes_elsewhere() && matches!(self.arguments.mode, Some(UploadMode::Append | UploadMode::IouMerge))
    }

    /// Makes the project know every class and tag of the annotations, and gives them under the project's names.
    async fn admit(&mut self, project_id: i64, annotations: &[Annotation]) -> Result<Vec<Stored>, SessionError> {
        if let Some(classes) = self.classes.get_mut(&project_id) {
            let stored = admit_all(self.session, classes, annotations)?;
            if classes.to_store().is_none() {
                return Ok(stored);
            }
        }
        // Storing replaces the whole meta, so it is done to what is there now and not to what was there at some time, and by one of
        // our runs after the other.
        let _turn = self.session.meta_turn.lock().await;
        let meta = self.platform.project_meta(project_id).await?;
        let mut classes = ProjectClasses::new(meta, &self.arguments.suffix);
        let stored = admit_all(self.session, &mut classes, annotations)?;
        if let Some(meta) = classes.to_store() {
            let answer = self.platform.update_project_meta(project_id, meta).await?;
            classes.set_stored(answer);
        }
        self.classes.insert(project_id, classes);
        Ok(stored)
    }
}

impl Sink for PlatformSink<'_> {
    /// The calls for many are as many as for one.
    fn gathers(&self) -> usize {
        UPLOADED_TOGETHER
    }

    async fn deliver(&mut self, predicted: Vec<Predicted>) -> Result<(), SessionError> {
        for of_dataset in predicted.chunk_by(|one, next| one.origin.dataset_id == next.origin.dataset_id) {
            if let Some(dataset_id) = of_dataset.first().and_then(|one| one.origin.dataset_id) {
                self.store(dataset_id, of_dataset).await?;
            }
        }
        for one in predicted {
            self.request.wait_for_room().await?;
            let is_stored = one.result.is_ok();
            let prediction = one.into_prediction();
            self.request.push(&if is_stored { prediction.uploaded() } else { prediction })?;
        }
        Ok(())
    }
}

fn admit_all(
    session: &Session,
    classes: &mut ProjectClasses,
    annotations: &[Annotation],
) -> Result<Vec<Stored>, SessionError> {
    annotations.iter().map(|annotation| admit_annotation(session, classes, annotation)).collect()
}

/// An annotation's labels and tags under the project's names.
fn admit_annotation(
    session: &Session,
    classes: &mut ProjectClasses,
    annotation: &Annotation,
) -> Result<Stored, SessionError> {
    let mut labels = Vec::with_capacity(annotation.objects.len());
    for label in &annotation.objects {
        let title = classes.admit_class(&session.classes.class(&label.class_title, label.shape()))?;
        let tags = admit_tags(classes, &label.tags)?;
        labels.push((label.to_stored(&title, &tags), title));
    }
    Ok(Stored { labels, tags: admit_tags(classes, &annotation.tags)? })
}

fn admit_tags(classes: &mut ProjectClasses, tags: &[LabelTag]) -> Result<Vec<LabelTag>, SessionError> {
    let admit = |tag: &LabelTag| {
        let name = classes.admit_tag(&TagMeta::of(&tag.name))?;
        Ok(LabelTag { name, value: tag.value.clone() })
    };
    tags.iter().map(admit).collect()
}
