//! A model that nobody asks leaves its device, which others may need; the next request brings it back.

use std::time::{Duration, Instant};

use super::Lifecycle;
use crate::engine::{Serving, Stats};

/// How often the engine is looked at, unless the limit is short.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// What changes while somebody uses the model.
#[derive(Debug, Default, PartialEq, Eq)]
struct Signs {
    requests: u64,
    held: u64,
    /// A model that was only just loaded, or has woken, has its time before it.
    loads: u64,
    is_loading: bool,
    is_ready: bool,
}

impl Signs {
    fn of(stats: &Stats, is_loading: bool, is_ready: bool) -> Self {
        let held = stats.singles + stats.run_pictures;
        Self { requests: stats.requests, held, loads: stats.loads, is_loading, is_ready }
    }

    /// Whether the model is awake and nobody has used it since the other look.
    fn is_idle_since(&self, before: &Self) -> bool {
        self == before && self.is_ready && self.held == 0 && !self.is_loading
    }
}

impl Lifecycle {
    /// Freezes the model whenever it was not used for the time that the settings say. Ends only with the process.
    pub async fn freeze_when_idle(&self) {
        let Some(limit) = self.settings().idle_freeze else { return };
        let (mut before, mut since) = (Signs::default(), Instant::now());
        loop {
            tokio::time::sleep(LOOK_INTERVAL.min(limit / 4)).await;
            let deployment = self.session().deployment();
            let is_ready = matches!(deployment.serving, Serving::Ready(_));
            let now = Signs::of(&self.session().engine_stats(), deployment.loading.is_some(), is_ready);
            if !now.is_idle_since(&before) {
                (before, since) = (now, Instant::now());
            } else if since.elapsed() >= limit {
                tracing::info!(idle_s = since.elapsed().as_secs(), "the model was not used for long");
                if let Err(error) = self.session().freeze().await {
                    tracing::warn!(%error, "the model was not frozen");
                    since = Instant::now();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_is_seen() {
        let signs = |requests, singles| Signs::of(&Stats { requests, singles, ..Stats::default() }, false, true);
        assert!(signs(5, 0).is_idle_since(&signs(5, 0)));
        assert!(!signs(6, 0).is_idle_since(&signs(5, 0)), "a request came and went");
        assert!(!signs(5, 1).is_idle_since(&signs(5, 1)), "one is under way");
        let frozen = Signs { is_ready: false, ..signs(5, 0) };
        assert!(!Signs { is_ready: false, ..signs(5, 0) }.is_idle_since(&frozen), "there is nothing to freeze");
        assert!(!Signs { loads: 2, ..signs(5, 0) }.is_idle_since(&signs(5, 0)), "another model came");
        let loading = || Signs { is_loading: true, ..signs(5, 0) };
        assert!(!loading().is_idle_since(&loading()));
    }
}
