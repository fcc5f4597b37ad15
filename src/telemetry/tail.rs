//! The last lines of the log, for the page.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

/// Lines that are kept.
const MAX_LINES: usize = 200;

static TAIL: Mutex<Tail> = Mutex::new(Tail { lines: VecDeque::new(), last: 0 });

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// Its number, from 1.
    pub seq: u64,
    /// RFC 3339 in UTC.
    pub time: String,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: &'static str,
    /// What it says, its fields included.
    pub message: String,
}

struct Tail {
    lines: VecDeque<LogLine>,
    last: u64,
}

/// The kept lines with a higher number, oldest first, and the number of the last one.
pub fn lines_after(seq: u64) -> (Vec<LogLine>, u64) {
    let tail = TAIL.lock().unwrap_or_else(PoisonError::into_inner);
    (tail.lines.iter().filter(|line| line.seq > seq).cloned().collect(), tail.last)
}

pub(super) fn push(level: &'static str, time: String, message: String) {
    let mut tail = TAIL.lock().unwrap_or_else(PoisonError::into_inner);
    tail.last += 1;
    if tail.lines.len() == MAX_LINES {
        tail.lines.pop_front();
    }
    let seq = tail.last;
    tail.lines.push_back(LogLine { seq, time, level, message });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept() {
        let (_, before) = lines_after(0);
        for number in 0..MAX_LINES + 5 {
            push("info", String::new(), format!("line {number}"));
        }
        let (lines, last) = lines_after(before);
        assert!(lines.len() <= MAX_LINES && last >= before + 205);
        assert!(lines.is_sorted_by_key(|line| line.seq));
        assert_eq!(lines_after(last).0.iter().filter(|line| line.message.starts_with("line ")).count(), 0);
    }
}
