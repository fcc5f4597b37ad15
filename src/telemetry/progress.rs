//! Records that the platform shows as a bar in the task's row.
//!
//! Its pages wait for some of the titles, which are therefore those of its own SDK, to the letter.

/// Title while a model is on its way.
pub const DEPLOYING: &str = "Deploying model ...";
/// Title once a model answers.
pub const DEPLOYED: &str = "Model deployed";
/// Title of an app without a model.
pub const STARTED: &str = "Application is started ...";

/// What makes a record one of progress.
const EVENT_TYPE: &str = "EventType.PROGRESS";
/// Shares of a whole that are worth a record.
const STEPS: u64 = 100;
/// Bytes that are, of little and of much.
const BYTE_STEP: u64 = 1_000_000;
const LARGE_BYTE_STEP: u64 = 5_000_000;
/// More than this is much.
const LARGE_BYTES: u64 = 40_000_000;

/// Shows how far something is.
pub fn progress(title: &str, current: u64, total: u64) {
    tracing::info!(event_type = EVENT_TYPE, subtask = title, current, total, "progress");
}

/// Shows how many bytes of something are there.
pub fn progress_bytes(title: &str, current: u64, total: u64) {
    let (current_label, total_label) = (label(current), label(total));
    tracing::info!(event_type = EVENT_TYPE, subtask = title, current, total, current_label, total_label, "progress");
}

fn label(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000)
}

/// Says when it is worth telling how many bytes there are: at the beginning, at the end, and at steps in between.
#[derive(Debug, Default)]
pub struct BytePace {
    told: Option<u64>,
}

impl BytePace {
    /// Whether so many bytes should be told, which then counts as done.
    pub fn is_due(&mut self, current: u64, total: u64) -> bool {
        let step = if total > LARGE_BYTES { LARGE_BYTE_STEP } else { BYTE_STEP };
        let step = step.max(total / STEPS);
        let is_due = match self.told {
            None => true,
            Some(told) => current.abs_diff(told) >= step || (current == total && told != total),
        };
        if is_due {
            self.told = Some(current);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_in_steps() {
        let told = |total: u64| {
            let mut pace = BytePace::default();
            (0..=total).step_by(100_000).filter(|current| pace.is_due(*current, total)).collect::<Vec<_>>()
        };
        assert_eq!(told(2_500_000), [0, 1_000_000, 2_000_000, 2_500_000]);
        assert_eq!(told(1_000_000_000).len(), 101);
        assert_eq!(label(5_040_000), "5.0 MB");
    }
}
