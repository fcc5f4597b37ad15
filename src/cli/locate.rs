//! A model's files for a command, with a bar on the terminal while they are fetched.

use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use super::error::CliResult;
use crate::models::{LocateStep, Locating, ModelFiles, ModelFolders, ModelSource};
use crate::telemetry::{BytePace, progress_bytes};

/// Finds the files, or fetches them; `update` asks the hub for newer ones. A download that is interrupted goes on the next time.
pub(super) fn locate(source: &ModelSource, update: bool) -> CliResult<ModelFiles> {
    let bar = bar();
    let pace = Mutex::new(BytePace::default());
    let tell = |step: LocateStep| match step {
        LocateStep::Searching => {}
        LocateStep::Checking => bar.set_message("checking its files"),
        LocateStep::Waiting => bar.set_message("another process fetches it"),
        LocateStep::Downloading { done_bytes, total_bytes } => {
            bar.set_length(total_bytes);
            bar.set_position(done_bytes);
            let is_due = pace.lock().is_ok_and(|mut pace| pace.is_due(done_bytes, total_bytes));
            if bar.is_hidden() && is_due {
                progress_bytes(&format!("Downloading {}", source.name()), done_bytes, total_bytes);
            }
        }
    };
    let (folders, cancel) = (ModelFolders::from_env(), CancellationToken::new());
    let found = source.locate(&Locating { folders: &folders, update, tell: &tell, cancel: &cancel });
    bar.finish_and_clear();
    Ok(found?)
}

/// Hidden where nobody sees it.
fn bar() -> ProgressBar {
    let bar = ProgressBar::no_length();
    match ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {binary_bytes_per_sec}, {eta} left {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
