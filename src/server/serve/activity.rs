//! What a connection is doing, and until when it may.
//!
//! hyper has one time-out for both an idle connection and a head that does not get on. Telling them apart takes a look at
//! the bytes (`stream`) and at the requests (`connection`, `body`), which all report here. The connection's task asks
//! for the deadline whenever it has been woken, so nothing here needs a timer.
//!
//! One thing cannot be seen: the beginning of a next head that came while a request was being answered. Such a
//! connection counts as idle until more of the head comes, so it may live for the idle time and the head's.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::limits::ConnectionLimits;
use super::pace::Pace;

/// State of one connection, shared by all that see a part of it.
#[derive(Debug)]
pub(super) struct Activity {
    limits: ConnectionLimits,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// How the client takes the answers.
    answer_pace: Pace,
    /// The latest request's body was given up before its end.
    body_left: bool,
}

/// Deadlines are none when they are too far away to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No byte of the next request has come.
    Idle { until: Option<Instant> },
    /// The connection is new, or a part of a head has come.
    Head { until: Option<Instant> },
    /// A request is being answered.
    Answering,
    /// The answer has been made; not all of it is written.
    Flushing,
    /// All is said; what the client still sends is thrown away.
    Closing { until: Option<Instant> },
}

impl Activity {
    /// A connection that was just accepted.
    pub(super) fn new(limits: ConnectionLimits) -> Self {
        let phase = Phase::Head { until: Instant::now().checked_add(limits.header_timeout) };
        let state = State { phase, answer_pace: limits.answer_pace(), body_left: false };
        Self { limits, state: Mutex::new(state) }
    }

    /// What the connection may take.
    pub(super) fn limits(&self) -> ConnectionLimits {
        self.limits
    }

    /// Bytes came from the client.
    pub(super) fn note_read(&self) {
        let mut state = self.lock();
        if let Phase::Idle { .. } = state.phase {
            state.phase = Phase::Head { until: Instant::now().checked_add(self.limits.header_timeout) };
        }
    }

    /// A request's head is complete.
    pub(super) fn begin_request(&self) {
        let mut state = self.lock();
        state.phase = Phase::Answering;
        state.body_left = false;
    }

    /// Nobody will read the rest of the request's body.
    pub(super) fn leave_body(&self) {
        self.lock().body_left = true;
    }

    /// The last of the answer was handed over to be written.
    pub(super) fn end_answer(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Answering {
            state.phase = Phase::Flushing;
        }
    }

    /// The client does not take more for now.
    pub(super) fn note_blocked_write(&self) {
        self.lock().answer_pace.wait(Instant::now());
    }

    /// The client took so many bytes.
    pub(super) fn note_write(&self, bytes: usize) {
        self.lock().answer_pace.advance(Instant::now(), bytes);
    }

    /// Everything handed over so far is written.
    pub(super) fn note_flush(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Flushing {
            state.phase = Phase::Idle { until: Instant::now().checked_add(self.limits.idle_timeout) };
        }
    }

    /// The server closes its side. True if the client may still be sending, so that closing the other side as well would
    /// make its system throw the answer away unread.
    pub(super) fn begin_closing(&self) -> bool {
        let mut state = self.lock();
        let is_sending = match state.phase {
            Phase::Closing { .. } => return true,
            Phase::Head { .. } => true,
            Phase::Idle { .. } | Phase::Answering | Phase::Flushing => state.body_left,
        };
        if is_sending {
            state.phase = Phase::Closing { until: Instant::now().checked_add(self.limits.linger) };
        }
        is_sending
    }

    /// True while no request is under way, which begins with the end of its head.
    pub(super) fn awaits_request(&self) -> bool {
        matches!(self.lock().phase, Phase::Idle { .. } | Phase::Head { .. })
    }

    /// When the client will have taken too long for what it does now. None while the server is at work.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let state = self.lock();
        let until = match state.phase {
            Phase::Idle { until } | Phase::Head { until } | Phase::Closing { until } => until,
            Phase::Answering | Phase::Flushing => None,
        };
        [until, state.answer_pace.deadline()].into_iter().flatten().min()
    }

    /// What took the client too long, for the log.
    pub(super) fn describe_delay(&self) -> &'static str {
        let state = self.lock();
        match state.phase {
            _ if state.answer_pace.deadline().is_some() => "it did not read its answer",
            Phase::Idle { .. } => "it sent no further request",
            Phase::Head { .. } => "it did not finish the head of its request",
            Phase::Closing { .. } => "it did not close its side",
            Phase::Answering | Phase::Flushing => "it did not get on",
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activity() -> Activity {
        Activity::new(ConnectionLimits::default())
    }

    /// With its answer written.
    fn idle_activity() -> Activity {
        let activity = activity();
        activity.begin_request();
        activity.end_answer();
        activity.note_flush();
        activity
    }

    #[test]
    fn more_bytes_do_not_extend_the_time_for_a_head() {
        let activity = activity();
        let from_the_connection = activity.deadline().unwrap();
        activity.note_read();
        assert_eq!(activity.deadline(), Some(from_the_connection));
        let activity = idle_activity();
        activity.note_read();
        let from_the_first_byte = activity.deadline().unwrap();
        activity.note_read();
        assert_eq!(activity.deadline(), Some(from_the_first_byte));
    }

    #[test]
    fn an_idle_connection_has_more_time_than_a_head() {
        let activity = idle_activity();
        let limits = ConnectionLimits::default();
        assert!(activity.awaits_request());
        assert!(activity.deadline().unwrap() > Instant::now() + limits.header_timeout);
        activity.note_read();
        assert!(activity.awaits_request());
        assert!(activity.deadline().unwrap() <= Instant::now() + limits.header_timeout);
    }

    #[test]
    fn a_request_is_under_way_until_its_answer_is_written() {
        let activity = activity();
        activity.begin_request();
        assert_eq!((activity.deadline(), activity.awaits_request()), (None, false));
        activity.note_flush();
        assert!(!activity.awaits_request(), "only a part of the answer was written");
        activity.end_answer();
        assert!(!activity.awaits_request(), "the rest is not written");
        activity.note_flush();
        assert!(activity.awaits_request());
    }

    #[test]
    fn an_answer_must_be_read() {
        let activity = activity();
        activity.begin_request();
        activity.note_blocked_write();
        assert!(activity.deadline().is_some());
        assert_eq!(activity.describe_delay(), "it did not read its answer");
        activity.note_write(1);
        assert_eq!(activity.deadline(), None);
    }

    #[test]
    fn only_who_may_still_be_sending_is_listened_to() {
        let activity = idle_activity();
        activity.leave_body();
        activity.begin_request();
        activity.end_answer();
        assert!(!activity.begin_closing(), "an earlier body is over");
        activity.leave_body();
        assert!(activity.begin_closing());
        let until = activity.deadline();
        assert!(activity.begin_closing());
        assert_eq!(activity.deadline(), until, "the time is not extended");
        assert!(Activity::new(ConnectionLimits::default()).begin_closing(), "a broken head");
    }

    #[test]
    fn times_may_be_too_long_to_be_told() {
        let activity =
            Activity::new(ConnectionLimits { header_timeout: std::time::Duration::MAX, ..Default::default() });
        assert_eq!(activity.deadline(), None);
    }
}
