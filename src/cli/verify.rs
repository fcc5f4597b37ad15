//! `verify`: whether a folder holds a checkpoint that works.

use super::args::VerifyArgs;
use super::error::{CliError, CliResult};
use super::print_line;
use crate::engine::{DeviceChoice, Engine, EngineSettings, ModelEngine, ModelPlan, Precision};
use crate::models::{DownloadRecord, ModelSource};
use crate::telemetry::{self, LogStyle};

/// Compares the files with what was downloaded, loads every tensor, and lets the model write a few tokens.
pub fn run(args: &VerifyArgs) -> CliResult<()> {
    telemetry::start(LogStyle::Text);
    let folder = &args.folder;
    let source = ModelSource::choose(None, Some(folder)).map_err(|error| CliError::Failed(error.to_string()))?;
    match DownloadRecord::read(folder) {
        None => print_line("there is no record of a download, so no hashes to compare")?,
        Some(record) => {
            if let Some(difference) = record.check(folder) {
                return Err(CliError::Failed(difference));
            }
            let DownloadRecord { repository, commit, files, .. } = record;
            print_line(&format!("{} files are those of {repository} at {commit}", files.len()))?;
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::Failed(format!("cannot start: {error}")))?;
    let engine = ModelEngine::new(EngineSettings::default());
    let plan = ModelPlan { source, devices: DeviceChoice::Cpu, precision: Precision::Auto, update: false };
    let served = runtime.block_on(engine.deploy(plan)).map_err(|error| CliError::Failed(error.to_string()))?;
    print_line(&format!("{} loads and answers", served.name))
}
