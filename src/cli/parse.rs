//! `parse`: what a generated text means.

use std::io::Read;

use super::args::ParseArgs;
use super::error::{CliError, CliResult};
use super::print_line;
use crate::florence::Task;
use crate::florence::answer::{PictureSize, parse};

/// Reads stdin as it is and prints the answer's JSON.
pub fn run(args: &ParseArgs) -> CliResult<()> {
    let mut bytes = vec![];
    std::io::stdin()
        .read_to_end(&mut bytes)
        .map_err(|error| CliError::Failed(format!("cannot read stdin: {error}")))?;
    let task = Task::from_token(&args.task).unwrap_or(Task::FreeText);
    let (width, height) = args.size;
    let text = String::from_utf8_lossy(&bytes);
    print_line(&parse(task.answer_kind(), &text, PictureSize { width, height }, &[]).to_json().to_string())
}
