//! Whether a replica still gets on with its work: a device that hangs lets its thread wait for ever, so others watch it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Called with the reason when a device stopped working.
pub(super) type OnLost = dyn Fn(&str) + Send + Sync;

/// When a replica began what it is doing.
#[derive(Debug)]
pub(super) struct Heart {
    device: String,
    born: Instant,
    /// Milliseconds from birth to the begin of the action under way, plus one; 0 between actions.
    busy_since: AtomicU64,
    /// Longest that an action may take; a CPU may take any time.
    patience: Option<Duration>,
}

impl Heart {
    /// The heart of a replica on this device.
    pub fn new(device: &str, patience: Option<Duration>) -> Self {
        Self { device: device.to_owned(), born: Instant::now(), busy_since: AtomicU64::new(0), patience }
    }

    /// An action begins.
    pub fn begin(&self) {
        self.busy_since.store(self.age_ms() + 1, Ordering::Relaxed);
    }

    /// The action is over.
    pub fn end(&self) {
        self.busy_since.store(0, Ordering::Relaxed);
    }

    /// The reason to give the device up, if the action under way takes too long.
    pub fn stalled(&self) -> Option<String> {
        let since = self.busy_since.load(Ordering::Relaxed);
        let patience = self.patience.filter(|_| since > 0)?;
        let busy = Duration::from_millis((self.age_ms() + 1).saturating_sub(since));
        (busy > patience).then(|| format!("{} has not come back for {} s", self.device, busy.as_secs()))
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_that_does_not_end_is_noticed() {
        let heart = Heart::new("cuda:0", Some(Duration::ZERO));
        assert_eq!(heart.stalled(), None);
        heart.begin();
        std::thread::sleep(Duration::from_millis(3));
        assert!(heart.stalled().unwrap().contains("cuda:0"));
        heart.end();
        assert_eq!(heart.stalled(), None);
        let patient = Heart::new("cpu", None);
        patient.begin();
        assert_eq!(patient.stalled(), None);
    }
}
