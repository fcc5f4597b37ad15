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
        false => vec![find(&catalog, &args.model)?],
    };
    let mut failures = vec![];
    for name in names {
        match locate(&ModelSource::choose(Some(name), None)?, args.update) {
            Ok(found) => {
                print_line(&format!("{name} {}", found.files.location()))?;
                failures.extend(found.stale.map(|reason| format!("{name} stays as it was: {reason}")));
            }
            Err(error) => failures.push(error.to_string()),
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(CliError::Failed(failures.join("; "))) }
}

/// The name of a published model as the catalogue spells it.
fn find<'a>(catalog: &'a Catalog, name: &str) -> CliResult<&'a str> {
    let names = || catalog.entries().iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>().join(", ");
    let unknown =
        |_| CliError::Usage(format!("no published model is called {name:?}; choose one of {}, or {ALL}", names()));
    Ok(catalog.find(name).map_err(unknown)?.name.as_str())
}
