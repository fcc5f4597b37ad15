//! Pictures of the disk.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Runtime;

use super::super::args::PredictOrder;
use super::super::error::{CliError, CliResult};
use super::output::Output;
use super::progress::{Tally, progress_bar};
use super::{load, make_output_folder, open_session};
use crate::media::{DecodeOptions, decode, is_picture_name, is_video_name};
use crate::session::{Session, SessionSettings};

/// A file to predict.
#[derive(Debug, PartialEq, Eq)]
struct DiskPicture {
    file: PathBuf,
    /// Name of the folder that it was found in, if that was named and not the file.
    folder: Option<OsString>,
}

/// Predicts the named pictures one after the other.
pub(super) fn predict(runtime: &Runtime, order: &PredictOrder, inputs: &[PathBuf]) -> CliResult<Tally> {
    let pictures = list_pictures(inputs)?;
    make_output_folder(order)?;
    let session = open_session(SessionSettings::default());
    load(runtime, order, &session)?;
    runtime.block_on(async {
        let mut output = Output::new(order.draw);
        pictures.iter().for_each(|picture| output.protect(&picture.file));
        let (mut tally, progress) = (Tally::default(), progress_bar());
        progress.set_length(pictures.len() as u64);
        for (index, picture) in pictures.iter().enumerate() {
            let result = predict_one(&session, order, (index, picture), &mut output).await;
            tally.add(&picture.file.display().to_string(), result);
            progress.inc(1);
        }
        progress.finish_and_clear();
        Ok(tally)
    })
}

async fn predict_one(
    session: &Session,
    order: &PredictOrder,
    (index, picture): (usize, &DiskPicture),
    output: &mut Output,
) -> Result<(), String> {
    let DiskPicture { file, folder } = picture;
    let folder = folder.as_ref().map_or_else(|| order.output.clone(), |name| order.output.join(name));
    let targets = output.targets(&folder, file.file_name().unwrap_or_default(), file.display().to_string())?;
    let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
    let pixels = Arc::new(decode(&bytes, &DecodeOptions::default()).map_err(|error| error.to_string())?);
    let (region, run) = (order.regions.of_picture(index), session.open_run());
    let findings = session.infer_picture(Arc::clone(&pixels), region, &order.inquiry, run).await;
    let annotation = findings.map_err(|error| error.to_string())?.annotation;
    let annotation = serde_json::to_value(&annotation).map_err(|error| error.to_string())?;
    output.write(&targets, &annotation, Some(&pixels))
}

/// The named files, and of each named folder the pictures that lie directly in it, by name.
fn list_pictures(inputs: &[PathBuf]) -> CliResult<Vec<DiskPicture>> {
    let mut pictures = vec![];
    for input in inputs {
        if input.is_dir() {
            pictures.append(&mut list_folder(input)?);
        } else if is_video_name(input) {
            return Err(CliError::Usage(format!(
                "{} is a video, which predict does not read; a server does, by /inference_video_async",
                input.display()
            )));
        } else {
            pictures.push(DiskPicture { file: input.clone(), folder: None });
        }
    }
    if pictures.is_empty() {
        return Err(CliError::Usage("there is no picture in the named folders".to_owned()));
    }
    Ok(pictures)
}

fn list_folder(folder: &Path) -> CliResult<Vec<DiskPicture>> {
    let unreadable = |error: std::io::Error| CliError::Usage(format!("cannot read {}: {error}", folder.display()));
    let name = match folder.file_name() {
        Some(name) => Some(name.to_owned()),
        // It may be named as `.`; the root has no name.
        None => folder.canonicalize().map_err(unreadable)?.file_name().map(OsString::from),
    };
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if !path.is_file() {
            continue;
        }
        if is_picture_name(&path) {
            found.push(path);
        } else if is_video_name(&path) {
            tracing::warn!("{} is a video, which predict does not read", path.display());
        }
    }
    found.sort();
    Ok(found.into_iter().map(|file| DiskPicture { file, folder: name.clone() }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_of_a_folder_know_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("shots");
        std::fs::create_dir_all(inner.join("deeper.png")).unwrap();
        for name in ["b.png", "a.JPG", "notes.txt", "clip.mp4"] {
            std::fs::write(inner.join(name), "").unwrap();
        }
        let pictures = list_pictures(&[inner.join("../shots"), "single".into()]).unwrap();
        let names: Vec<_> =
            pictures.iter().map(|picture| picture.file.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a.JPG", "b.png", "single"]);
        assert_eq!(pictures[0].folder, Some("shots".into()));
        assert_eq!(pictures[2].folder, None);
        let error = list_pictures(&["x/clip.MOV".into()]).unwrap_err().to_string();
        assert!(error.contains("clip.MOV is a video"), "{error}");
    }
}
