//! `predict`: a Supervisely annotation for each picture, of the disk or of the platform.
//!
//! Pictures of the disk are predicted one after the other; those of the platform by the runs that the server starts for its
//! clients, whose results are taken from the session's queue.

mod disk;
mod output;
mod platform;
mod progress;

use std::sync::Arc;

use tokio::runtime::Runtime;

use super::args::{PredictArgs, PredictOrder, Source};
use super::error::{CliError, CliResult};
use super::locate::locate;
use crate::engine::{EngineSettings, ModelEngine};
use crate::models::ModelFolders;
use crate::session::{Session, SessionSettings};
use crate::telemetry::{self, LogStyle};

/// Predicts what the arguments name. A picture that fails is reported at the end and stops no other.
pub fn run(args: &PredictArgs) -> CliResult<()> {
    telemetry::start(LogStyle::Text);
    let order = args.resolve()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::Failed(format!("cannot start: {error}")))?;
    let (tally, is_written) = match &order.source {
        Source::Disk(inputs) => (disk::predict(&runtime, &order, inputs)?, true),
        Source::Platform { pictures, upload } => (platform::predict(&runtime, &order, (pictures, *upload))?, !*upload),
    };
    if is_written {
        tracing::info!(annotations = tally.succeeded(), "written below {}", order.output.display());
    }
    tally.report()
}

fn open_session(settings: SessionSettings) -> Arc<Session> {
    let engine = EngineSettings { folders: ModelFolders::from_env(), ..EngineSettings::default() };
    Arc::new(Session::new(Arc::new(ModelEngine::new(engine)), settings))
}

/// Loads the model, when everything that could be wrong with the arguments was looked at.
fn load(runtime: &Runtime, order: &PredictOrder, session: &Session) -> CliResult<()> {
    // Here a missing model can still be told from a broken one.
    locate(&order.model.source, false)?;
    runtime.block_on(session.deploy(order.model.clone()))?;
    Ok(())
}

/// Makes the folder, so that one that cannot be is told before the model is loaded.
fn make_output_folder(order: &PredictOrder) -> CliResult<()> {
    std::fs::create_dir_all(&order.output)
        .map_err(|error| CliError::Usage(format!("cannot write to {}: {error}", order.output.display())))
}
