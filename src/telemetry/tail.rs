//! The last records, for the page.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::readable;
use super::record::Record;

/// Records that are kept.
const KEPT_LINES: usize = 200;

/// Longest text of a line.
const MAX_TEXT_BYTES: usize = 400;

/// A record as the page shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// Its number, counted from 1 without gaps.
    pub seq: u64,
    /// When it was written, in UTC.
    pub time: String,
    /// `trace`, `debug`, `info`, `warn`, `error` or `fatal`.
    pub level: &'static str,
    /// What it says, with its fields in short.
    pub message: String,
}

/// The last records of the process.
#[derive(Debug)]
pub struct LogTail(Mutex<Lines>);

#[derive(Debug)]
struct Lines {
    lines: VecDeque<LogLine>,
    last: u64,
}

static TAIL: LogTail = LogTail::new();

/// The last records of this process.
pub fn log_tail() -> &'static LogTail {
    &TAIL
}

impl LogTail {
    const fn new() -> Self {
        Self(Mutex::new(Lines { lines: VecDeque::new(), last: 0 }))
    }

    /// Records with greater numbers than this, in order; those that are kept.
    pub fn after(&self, seq: u64) -> Vec<LogLine> {
        self.lock().lines.iter().filter(|line| line.seq > seq).cloned().collect()
    }

    /// The number of the last record, 0 before the first.
    pub fn last(&self) -> u64 {
        self.lock().last
    }

    pub(super) fn push(&self, record: &Record) {
        let message = readable::text(record, MAX_TEXT_BYTES);
        let (time, level) = (record.timestamp.clone(), record.level.name());
        let mut lines = self.lock();
        lines.last += 1;
        let seq = lines.last;
        if lines.lines.len() == KEPT_LINES {
            lines.lines.pop_front();
        }
        lines.lines.push_back(LogLine { seq, time, level, message });
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Level;
    use super::*;

    #[test]
    fn only_the_last_lines_are_kept() {
        let tail = LogTail::new();
        assert_eq!((tail.last(), tail.after(0)), (0, vec![]));
        for number in 1..=KEPT_LINES + 5 {
            tail.push(&Record::new(Level::Warn, format!("line {number}")));
        }
        assert_eq!(tail.last(), 205);
        let all = tail.after(0);
        assert_eq!((all.len(), all[0].seq, all[0].message.as_str()), (200, 6, "line 6"));
        let new = tail.after(203);
        assert_eq!(new.iter().map(|line| line.seq).collect::<Vec<_>>(), [204, 205]);
        assert_eq!(new[0].level, "warn");
        assert!(tail.after(205).is_empty() && tail.after(u64::MAX).is_empty());
    }
}
