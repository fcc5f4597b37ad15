//! `deploy`: the original's word for `serve`, with its defaults.

use super::args::DeployArgs;
use super::error::CliResult;
use super::serve;

/// Serves until it is asked to end.
pub fn run(args: DeployArgs) -> CliResult<()> {
    serve::run(&args.resolve()?)
}
