//! Taking connections from the kernel, whatever it answers.
//!
//! A full table of open files or a client that is gone already is no reason to end a server: such errors pass.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Time for an error to pass before the next try.
const FAILURE_PAUSE: Duration = Duration::from_millis(100);

/// Errors are logged at most so often.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// What is known of failures to accept.
#[derive(Debug, Default)]
pub(super) struct AcceptFailures {
    logged: Option<Instant>,
    /// Failures since then.
    unlogged: u64,
}

impl AcceptFailures {
    fn note(&mut self, error: &io::Error) {
        if let Some(failures) = self.due(Instant::now()) {
            tracing::warn!(%error, failures, "cannot accept a connection");
        }
    }

    /// The number of failures to log, if it is time to.
    fn due(&mut self, now: Instant) -> Option<u64> {
        self.unlogged += 1;
        if self.logged.is_some_and(|logged| now.saturating_duration_since(logged) < LOG_INTERVAL) {
            return None;
        }
        self.logged = Some(now);
        Some(std::mem::take(&mut self.unlogged))
    }
}

/// The next connection. Failures are logged and tried again.
pub(super) async fn accept<T, F>(mut try_accept: impl FnMut() -> F, failures: &mut AcceptFailures) -> T
where
    F: Future<Output = io::Result<T>>,
{
    loop {
        match try_accept().await {
            Ok(connection) => return connection,
            Err(error) => {
                failures.note(&error);
                sleep(FAILURE_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[tokio::test]
    async fn errors_do_not_end_it() {
        let mut answers = vec![Ok("connection"), Err(ErrorKind::ConnectionAborted), Err(ErrorKind::OutOfMemory)];
        let mut failures = AcceptFailures::default();
        let try_accept = || std::future::ready(answers.pop().unwrap().map_err(io::Error::from));
        assert_eq!(accept(try_accept, &mut failures).await, "connection");
        assert_eq!(failures.unlogged, 1, "the first one is logged");
    }

    #[test]
    fn few_lines_tell_of_many_failures() {
        let mut failures = AcceptFailures::default();
        let now = Instant::now();
        assert_eq!(failures.due(now), Some(1));
        assert_eq!(failures.due(now + LOG_INTERVAL / 2), None);
        assert_eq!(failures.due(now + LOG_INTERVAL / 2), None);
        assert_eq!(failures.due(now + LOG_INTERVAL), Some(3));
        assert_eq!(failures.due(now + LOG_INTERVAL), None);
    }
}
