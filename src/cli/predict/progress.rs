//! How far a prediction is, and what failed in the end.

use indicatif::{ProgressBar, ProgressStyle};

use super::super::error::{CliError, CliResult};

/// A bar on the terminal; nowhere else it shows anything.
pub(super) fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::no_length();
    match ProgressStyle::with_template("{bar:40} {pos}/{len} pictures, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Pictures that are done, those that failed among them.
#[derive(Debug, Default)]
pub(super) struct Tally {
    done: usize,
    failures: Vec<(String, String)>,
}

impl Tally {
    /// One more picture is done.
    pub(super) fn add(&mut self, name: &str, result: Result<(), String>) {
        self.done += 1;
        if let Err(reason) = result {
            self.failures.push((name.to_owned(), reason));
        }
    }

    /// Pictures that are done.
    pub(super) const fn done(&self) -> usize {
        self.done
    }

    /// Pictures that did not fail.
    pub(super) const fn succeeded(&self) -> usize {
        self.done - self.failures.len()
    }

    /// Names the failures.
    ///
    /// # Errors
    /// There are some.
    pub(super) fn report(self) -> CliResult<()> {
        if let ([(name, reason)], 1) = (self.failures.as_slice(), self.done) {
            return Err(CliError::Failed(format!("{name}: {reason}")));
        }
        self.list_failures();
        match self.failures.len() {
            0 => Ok(()),
            failed => Err(CliError::Failed(format!("{failed} of {} pictures failed", self.done))),
        }
    }

    /// Names the failures before an error that ended everything.
    pub(super) fn list_failures(&self) {
        for (name, reason) in &self.failures {
            tracing::error!("{name}: {reason}");
        }
    }
}
