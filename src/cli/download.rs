//! `download`: the files of published models, so that a server has them when it starts.

use super::args::DownloadArgs;
use super::error::{CliError, CliResult};
use super::locate::locate;
use super::print_line;
use crate::models::{Catalog, ModelSource};
use crate::telemetry::{self, LogStyle};

/// What stands for every published model.
const ALL: &str = "all";

/// Fetches them one after the other and prints where each one lies. Fails if one is not what was asked for, after all were tried.
pub fn run(args: &DownloadArgs) -> CliResult<()> {
    telemetry::start(LogStyle::Text);
    let catalog = Catalog::embedded();
    let names: Vec<&str> = match args.model.eq_ignore_ascii_case(ALL) {
        true => catalog.entries().iter().map(|entry| entry.name.as_str()).collect(),
        false => vec![catalog.find(&args.model)?.name.as_str()],
    };
    let mut stale = vec![];
    for name in names {
        let found = locate(&ModelSource::choose(Some(name), None)?, args.update)?;
        print_line(&format!("{name} {}", found.files.location()))?;
        stale.extend(found.stale.map(|reason| format!("{name} stays as it was: {reason}")));
    }
    if stale.is_empty() { Ok(()) } else { Err(CliError::Failed(stale.join("; "))) }
}
