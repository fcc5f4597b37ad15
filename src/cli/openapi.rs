//! `openapi`: the description of the routes, without a server.

use super::error::CliResult;
use super::print_line;
use crate::server::openapi_json;

/// Prints what `/openapi.json` answers.
pub fn run() -> CliResult<()> {
    print_line(openapi_json().trim_end())
}
