//! How far something is, as the platform shows it beside the task.

use serde_json::Value;

use super::output;
use super::record::{Level, Record};

/// The platform's words for a model on its way. Its page looks for these very texts.
pub const DEPLOYING: &str = "Deploying model ...";
/// The platform's words for a model that answers.
pub const DEPLOYED: &str = "Model deployed";
/// The platform's words for an app without a model.
pub const STARTED: &str = "Application is started ...";

/// The one kind of event that an app may tell of.
const EVENT_TYPE: &str = "EventType.PROGRESS";

/// The original's units, in steps of 1024.
const UNITS: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];
const UNIT_STEP: f64 = 1024.;

const MIB: u64 = 1 << 20;
/// From here on a step is larger.
const LARGE_BYTES: u64 = 40 * MIB;

/// Shows how far something is.
pub fn progress(subtask: &str, current: u64, total: u64) {
    write(subtask, (current, total), None);
}

/// Shows how many bytes of something are done.
pub fn progress_bytes(subtask: &str, current: u64, total: u64) {
    write(subtask, (current, total), Some((byte_label(current), byte_label(total))));
}

/// A number of bytes as the platform shows it, such as `5.0 MB`.
pub fn byte_label(bytes: u64) -> String {
    let mut rest = bytes as f64;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while rest >= UNIT_STEP {
        let Some(larger) = units.next() else { break };
        rest /= UNIT_STEP;
        unit = Some(larger);
    }
    format!("{rest:.1} {}", unit.unwrap_or(&""))
}

fn write(subtask: &str, (current, total): (u64, u64), labels: Option<(String, String)>) {
    // As with all that is said, not where less is wanted.
    if !tracing::enabled!(tracing::Level::INFO) {
        return;
    }
    output::write(record(subtask, (current, total), labels));
}

fn record(subtask: &str, (current, total): (u64, u64), labels: Option<(String, String)>) -> Record {
    let mut record = Record::new(Level::Info, "progress");
    let mut add = |name, value: Value| record.add(name, value);
    add("event_type", EVENT_TYPE.into());
    add("subtask", subtask.into());
    add("current", current.into());
    add("total", total.into());
    if let Some((current, total)) = labels {
        add("current_label", current.into());
        add("total_label", total.into());
    }
    record
}

/// Says when the next report of a number of bytes is due: at 0, then at every hundredth, but not at steps that nobody could
/// see, and at the end.
#[derive(Debug, Clone)]
pub struct ProgressPace {
    total: u64,
    step: u64,
    /// What the next report is due at.
    next: u64,
    is_complete: bool,
}

impl ProgressPace {
    /// The pace for so many bytes, 0 where nobody knows.
    pub fn of_bytes(total: u64) -> Self {
        let least = if total > LARGE_BYTES || total == 0 { 5 * MIB } else { MIB };
        Self { total, step: total.div_ceil(100).max(least), next: 0, is_complete: false }
    }

    /// Whether to report that so many are done.
    pub fn is_due(&mut self, current: u64) -> bool {
        let is_last = self.total > 0 && current >= self.total && !self.is_complete;
        if current < self.next && !is_last {
            return false;
        }
        self.is_complete |= is_last;
        self.next = current.saturating_add(self.step);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::json;
    use super::*;

    #[test]
    fn a_report_is_as_the_original_prints_it() {
        let line = json::render(&record(DEPLOYED, (1, 1), None));
        let mut read: Value = serde_json::from_str(&line).unwrap();
        read["timestamp"] = "T".into();
        let expected = serde_json::json!({
            "message": "progress", "timestamp": "T", "level": "info", "event_type": "EventType.PROGRESS",
            "subtask": "Model deployed", "current": 1, "total": 1,
        });
        assert_eq!(read, expected);
    }

    #[test]
    fn bytes_have_the_originals_units() {
        for (bytes, label) in
            [(0, "0.0 B"), (1023, "1023.0 B"), (5 * MIB, "5.0 MB"), (3 << 30, "3.0 GB"), (u64::MAX, "16777216.0 TB")]
        {
            assert_eq!(byte_label(bytes), label);
        }
    }

    #[test]
    fn reports_come_at_0_at_steps_and_at_the_end() {
        let reports = |total: u64, step: u64| {
            let mut pace = ProgressPace::of_bytes(total);
            let steps = (0..=total / step).map(|i| i * step).chain([total, total]);
            steps.filter(|current| pace.is_due(*current)).collect::<Vec<_>>()
        };
        let half = MIB / 2;
        assert_eq!(reports(3 * MIB + 5, half), [0, MIB, 2 * MIB, 3 * MIB, 3 * MIB + 5]);
        assert_eq!(reports(50 * MIB, MIB), (0..=10).map(|i| i * 5 * MIB).collect::<Vec<_>>());
        assert_eq!(reports(1000 * MIB, MIB).len(), 101, "every hundredth");
        assert_eq!(reports(1, 1), [0, 1]);
        let mut unknown = ProgressPace::of_bytes(0);
        assert!(unknown.is_due(0) && !unknown.is_due(MIB) && unknown.is_due(5 * MIB));
    }
}
