//! How quickly bytes must get on: no long pause, and not too few over a longer time.
//!
//! A pause limit alone would let a client hold a connection for days with one byte now and then. A mean over everything
//! would let it do so after a quick start. So time is cut into windows, and each must see its share of bytes.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Follows one direction of a connection. Only time spent waiting for the client counts.
#[derive(Debug)]
pub(super) struct Pace {
    max_pause: Duration,
    window: Duration,
    /// Bytes that end a window; until then it lasts.
    window_bytes: u64,
    /// Bytes of this window.
    bytes: u64,
    /// Time waited in this window, without the present wait.
    waited: Duration,
    waiting_since: Option<Instant>,
}

/// A timer whose time may change between two polls.
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Pace {
    /// At most so long a pause, and at least so many bytes a second in each window.
    pub(super) fn new(max_pause: Duration, window: Duration, min_bytes_per_second: u64) -> Self {
        let window_bytes = window.as_millis().saturating_mul(min_bytes_per_second.into()) / 1000;
        let window_bytes = u64::try_from(window_bytes).unwrap_or(u64::MAX);
        Self { max_pause, window, window_bytes, bytes: 0, waited: Duration::ZERO, waiting_since: None }
    }

    /// The client keeps the server waiting.
    pub(super) fn wait(&mut self, now: Instant) {
        self.waiting_since.get_or_insert(now);
    }

    /// So many bytes got on.
    pub(super) fn advance(&mut self, now: Instant, bytes: usize) {
        if let Some(since) = self.waiting_since.take() {
            self.waited += now.saturating_duration_since(since);
        }
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if self.bytes >= self.window_bytes {
            self.bytes = 0;
            self.waited = Duration::ZERO;
        }
    }

    /// When the present wait becomes too long. None while the server is not waiting.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let rest = self.window.saturating_sub(self.waited);
        self.waiting_since?.checked_add(rest.min(self.max_pause))
    }
}

impl Alarm {
    /// Ready once the deadline has passed. Without one, never.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let Some(deadline) = deadline else {
            return Poll::Pending;
        };
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Waker;

    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Thirty seconds of pause, and ten bytes a second over sixty.
    fn pace() -> Pace {
        Pace::new(seconds(30), seconds(60), 10)
    }

    #[test]
    fn a_pause_is_limited_and_counted_from_its_begin() {
        let start = Instant::now();
        let mut pace = pace();
        assert_eq!(pace.deadline(), None);
        pace.wait(start);
        pace.wait(start + seconds(20));
        assert_eq!(pace.deadline(), Some(start + seconds(30)));
        pace.advance(start + seconds(25), 1);
        assert_eq!(pace.deadline(), None, "it got on");
        pace.wait(start + seconds(26));
        assert_eq!(pace.deadline(), Some(start + seconds(56)));
    }

    #[test]
    fn single_bytes_do_not_hold_it_for_ever() {
        let start = Instant::now();
        let mut pace = pace();
        // A quick start earns nothing.
        pace.advance(start, 1 << 30);
        for n in 0..2 {
            pace.wait(start + seconds(29 * n));
            pace.advance(start + seconds(29 * (n + 1)), 1);
        }
        pace.wait(start + seconds(58));
        assert_eq!(pace.deadline(), Some(start + seconds(60)));
    }

    #[test]
    fn a_slow_but_steady_pace_is_fine() {
        let start = Instant::now();
        let mut pace = pace();
        for n in 0..1000 {
            pace.wait(start + seconds(5 * n));
            assert!(pace.deadline().unwrap() > start + seconds(5 * n + 5), "step {n}");
            pace.advance(start + seconds(5 * n + 5), 60);
        }
    }

    #[test]
    fn time_in_which_nobody_waits_does_not_count() {
        let start = Instant::now();
        let mut pace = pace();
        pace.advance(start + seconds(1000), 1);
        pace.wait(start + seconds(2000));
        assert_eq!(pace.deadline(), Some(start + seconds(2030)));
    }

    #[test]
    fn extreme_limits_do_no_harm() {
        let mut pace = Pace::new(Duration::MAX, Duration::MAX, u64::MAX);
        pace.wait(Instant::now());
        assert_eq!(pace.deadline(), None);
        pace.advance(Instant::now(), usize::MAX);
    }

    #[tokio::test]
    async fn an_alarm_follows_its_deadline() {
        let mut alarm = Alarm::default();
        let mut context = Context::from_waker(Waker::noop());
        let now = Instant::now();
        assert!(alarm.poll(&mut context, None).is_pending());
        assert!(alarm.poll(&mut context, Some(now + seconds(1000))).is_pending());
        poll_fn(|context| alarm.poll(context, Some(now))).await;
        poll_fn(|context| alarm.poll(context, Some(now))).await;
        assert!(alarm.poll(&mut context, Some(now + seconds(1000))).is_pending());
    }
}
