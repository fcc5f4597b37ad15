//! How long callers waited for their last answers.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Answers that are remembered.
const KEPT_ANSWERS: usize = 200;

/// The times of the last answers.
#[derive(Debug, Default)]
pub struct LatencyWindow(Mutex<VecDeque<u64>>);

/// What the last answers took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatencySummary {
    /// Half of them took no longer.
    pub median_ms: u64,
    /// Nineteen of twenty took no longer.
    pub p95_ms: u64,
    /// How many they are.
    pub count: usize,
}

impl LatencyWindow {
    /// Remembers what an answer took.
    pub fn observe(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if times.len() == KEPT_ANSWERS {
            times.pop_front();
        }
        times.push_back(ms);
    }

    /// What the last answers took; none before the first.
    pub fn summary(&self) -> Option<LatencySummary> {
        let mut times: Vec<u64> = self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        times.sort_unstable();
        let count = times.len();
        // The smallest that so many hundredths do not exceed.
        let percentile = |percent: usize| times.get((count * percent).div_ceil(100).saturating_sub(1)).copied();
        Some(LatencySummary { median_ms: percentile(50)?, p95_ms: percentile(95)?, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answers_count() {
        let window = LatencyWindow::default();
        assert_eq!(window.summary(), None);
        window.observe(Duration::from_millis(7));
        assert_eq!(window.summary(), Some(LatencySummary { median_ms: 7, p95_ms: 7, count: 1 }));
        (1..=1000).for_each(|ms| window.observe(Duration::from_millis(ms)));
        assert_eq!(window.summary(), Some(LatencySummary { median_ms: 900, p95_ms: 990, count: 200 }));
    }
}
