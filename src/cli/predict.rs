//! `predict`: a Supervisely annotation for each picture.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use super::args::PredictArgs;
use super::error::{CliError, CliResult};
use super::locate::locate;
use crate::engine::{Engine, EngineSettings, ModelEngine};
use crate::florence::image::Picture;
use crate::media::{DecodeOptions, decode, draw_labelled_boxes, is_picture_name};
use crate::session::{BOX_SUFFIX, Inquiry, POLYGON_SUFFIX, Session, SessionSettings};
use crate::supervisely::{Annotation, InferenceSettings};
use crate::telemetry::{self, LogStyle};

/// Writes `<file name>.json` for each picture. A picture that fails is reported at the end and stops no other.
pub fn run(args: &PredictArgs) -> CliResult<()> {
    telemetry::start(LogStyle::Text);
    let inquiry = inquiry(args)?;
    let pictures = list_pictures(&args.inputs)?;
    let plan = args.model.plan()?;
    // Here a missing model can still be told from a broken one.
    locate(&plan.source, false)?;
    std::fs::create_dir_all(&args.output)
        .map_err(|error| CliError::Usage(format!("cannot write to {}: {error}", args.output.display())))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| CliError::Failed(format!("cannot start: {error}")))?;
    runtime.block_on(async {
        let engine = ModelEngine::new(EngineSettings::default());
        engine.deploy(plan).await?;
        let session = Session::new(Arc::new(engine), SessionSettings::default());
        let failures = Prediction { args, session, inquiry }.predict_all(&pictures).await;
        report(&failures, pictures.len())
    })
}

/// What every picture of a run shares.
struct Prediction<'a> {
    args: &'a PredictArgs,
    session: Session,
    inquiry: Inquiry,
}

impl Prediction<'_> {
    /// Predicts them one after the other and gives those that failed, with the reason.
    async fn predict_all<'p>(&self, pictures: &'p [PathBuf]) -> Vec<(&'p Path, String)> {
        let progress = progress_bar(pictures.len());
        let mut failures = vec![];
        // Neither what was written before nor a picture of the run is overwritten.
        let mut written: HashMap<PathBuf, &Path> =
            pictures.iter().map(|picture| (canonical(picture), picture.as_path())).collect();
        for file in pictures {
            let targets = self.targets(file);
            let taken = targets.iter().find_map(|target| Some((target, written.get(target)?)));
            let result = match taken {
                Some((target, first)) => Err(format!("{} is already there for {}", target.display(), first.display())),
                None => self.predict(file, &targets).await,
            };
            match result {
                Ok(()) => written.extend(targets.map(|target| (target, file.as_path()))),
                Err(reason) => failures.push((file.as_path(), reason)),
            }
            progress.inc(1);
        }
        progress.finish_and_clear();
        failures
    }

    async fn predict(&self, file: &Path, [target, drawing]: &[PathBuf; 2]) -> Result<(), String> {
        let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
        let picture = Arc::new(decode(&bytes, &DecodeOptions::default()).map_err(|error| error.to_string())?);
        let run = self.session.open_run();
        let annotation = self.session.infer_picture(Arc::clone(&picture), None, &self.inquiry, run).await;
        let annotation = annotation.map_err(|error| error.to_string())?.annotation;
        let json = serde_json::to_vec(&annotation).map_err(|error| error.to_string())?;
        std::fs::write(target, json).map_err(|error| format!("cannot write {}: {error}", target.display()))?;
        if self.args.draw {
            draw(&picture, &annotation)
                .save(drawing)
                .map_err(|error| format!("cannot write {}: {error}", drawing.display()))?;
        }
        Ok(())
    }

    /// `OUTPUT/<file name>.json`, and `.png` for the drawing.
    fn targets(&self, file: &Path) -> [PathBuf; 2] {
        ["json", "png"].map(|extension| {
            let mut name = file.file_name().unwrap_or_default().to_owned();
            name.push(".");
            name.push(extension);
            canonical(&self.args.output).join(name)
        })
    }
}

/// The one name of a path, whatever way it was written.
fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

fn draw(picture: &Picture, annotation: &Annotation) -> image::RgbImage {
    let boxes = annotation.objects.iter().map(|label| {
        let [[left, top], [right, bottom]] = label.geometry.bounds().exterior();
        // Every class ends so; on the picture it only takes room.
        let suffixes = [BOX_SUFFIX, POLYGON_SUFFIX];
        let name = suffixes.iter().find_map(|suffix| label.class_title.strip_suffix(suffix));
        let name = name.unwrap_or(&label.class_title);
        (name.to_owned(), [left, top, right, bottom])
    });
    draw_labelled_boxes(picture, &boxes.collect::<Vec<_>>())
}

/// The same settings that a client of the server would send.
fn inquiry(args: &PredictArgs) -> CliResult<Inquiry> {
    let mut settings = Map::new();
    if let Some(task) = &args.task {
        settings.insert("task_prompt".to_owned(), json!(task));
    }
    if let Some(text) = &args.text {
        settings.insert("text".to_owned(), json!(text));
    }
    if let Some(mapping) = &args.mapping {
        let mapping: Value = serde_json::from_str(mapping)
            .map_err(|error| CliError::Usage(format!("--mapping is not a JSON object: {error}")))?;
        settings.insert("mapping".to_owned(), mapping);
    }
    let settings = InferenceSettings::parse(settings).map_err(|error| CliError::Usage(error.to_string()))?;
    Inquiry::new(&settings).map_err(|error| CliError::Usage(error.to_string()))
}

/// The named files, and of each named folder the pictures that lie directly in it, by name.
fn list_pictures(inputs: &[PathBuf]) -> CliResult<Vec<PathBuf>> {
    let mut pictures = vec![];
    for input in inputs {
        if !input.is_dir() {
            pictures.push(input.clone());
            continue;
        }
        let unreadable = |error: std::io::Error| CliError::Usage(format!("cannot read {}: {error}", input.display()));
        let mut found = vec![];
        for entry in std::fs::read_dir(input).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.is_file() && is_picture_name(&path) {
                found.push(path);
            }
        }
        found.sort();
        pictures.extend(found);
    }
    if pictures.is_empty() {
        return Err(CliError::Usage("there is no picture in the named folders".to_owned()));
    }
    Ok(pictures)
}

/// A bar on the terminal when there is more than one picture to wait for.
fn progress_bar(count: usize) -> ProgressBar {
    if count < 2 {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(count as u64);
    match ProgressStyle::with_template("{bar:40} {pos}/{len} pictures, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn report(failures: &[(&Path, String)], count: usize) -> CliResult<()> {
    if let ([(file, reason)], 1) = (failures, count) {
        return Err(CliError::Failed(format!("{}: {reason}", file.display())));
    }
    for (file, reason) in failures {
        tracing::error!("{}: {reason}", file.display());
    }
    match failures {
        [] => Ok(()),
        _ => Err(CliError::Failed(format!("{} of {count} pictures failed", failures.len()))),
    }
}
