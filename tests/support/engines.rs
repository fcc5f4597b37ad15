//! Engines that serve small models, and requests to them.

use std::sync::Arc;

use serve_florence_2::engine::{
    DeviceChoice, Engine, EngineError, EngineSettings, ModelEngine, ModelPlan, Place, Precision, Reply, Request, Run,
};
use serve_florence_2::florence::CheckpointFiles;
use serve_florence_2::florence::generation::GenerationOptions;
use serve_florence_2::florence::image::Picture;
use serve_florence_2::models::{Locating, ModelSource};
use tokio::task::JoinHandle;

/// An answer is cut after this many tokens where its length is of no interest.
pub const MAX_NEW_TOKENS: usize = 60;

/// A plan to run this model on the CPU.
pub fn plan(source: ModelSource) -> ModelPlan {
    ModelPlan { source, devices: DeviceChoice::Cpu, precision: Precision::Auto, update: false }
}

/// The demo model's files.
pub fn demo_files() -> CheckpointFiles {
    let (folders, cancel) = Default::default();
    let how = Locating { folders: &folders, update: false, tell: &|_| {}, cancel: &cancel };
    ModelSource::Demo.locate(&how).unwrap().files
}

/// An engine that serves the demo model, by one replica unless the settings say otherwise, whatever machine this is.
pub async fn demo_engine(settings: EngineSettings) -> ModelEngine {
    let engine = ModelEngine::new(EngineSettings { threads: settings.threads.or(Some(2)), ..settings });
    engine.deploy(plan(ModelSource::Demo)).await.unwrap();
    engine
}

/// A request for a single picture, with a place of its own.
pub fn single(engine: &ModelEngine, picture: &Arc<Picture>, prompts: &[&str]) -> Result<Request, EngineError> {
    Ok(request(engine.places().take_single(picture.rgb().len() as u64)?, picture, prompts))
}

fn request(place: Arc<Place>, picture: &Arc<Picture>, prompts: &[&str]) -> Request {
    let prompts = prompts.iter().map(|prompt| (*prompt).to_owned()).collect();
    let options = GenerationOptions { max_new_tokens: MAX_NEW_TOKENS, ..Default::default() };
    Request { picture: Arc::clone(picture), prompts, options, deadline: None, place, settings: Arc::default() }
}

/// Asks about a single picture.
pub async fn ask(engine: &ModelEngine, picture: &Arc<Picture>, prompts: &[&str]) -> Result<Vec<Reply>, EngineError> {
    engine.infer(single(engine, picture, prompts)?).await
}

/// Asks about a single picture in the background.
pub fn spawn_ask(
    engine: &ModelEngine,
    picture: &Arc<Picture>,
    prompts: &'static [&'static str],
) -> JoinHandle<Result<Vec<Reply>, EngineError>> {
    let (engine, picture) = (engine.clone(), Arc::clone(picture));
    tokio::spawn(async move { ask(&engine, &picture, prompts).await })
}

/// Asks about a picture of a run.
pub async fn ask_in_run(
    engine: &ModelEngine,
    run: Run,
    picture: &Arc<Picture>,
    prompts: &[&str],
) -> Result<Vec<Reply>, EngineError> {
    let place = engine.places().wait_in_run(run, picture.rgb().len() as u64).await?;
    engine.infer(request(place, picture, prompts)).await
}
