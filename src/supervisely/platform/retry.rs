//! How calls to the platform are repeated: the numbers are those of its own SDK.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// Answers after which the same call may yet succeed.
const PASSING_STATUSES: [u16; 10] = [408, 429, 499, 500, 502, 503, 504, 509, 598, 599];
/// Longest pause between two tries, unless the platform asks for more.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// Longest that the platform may ask us to wait.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// How often a call is tried, and how long is waited in between.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retries {
    /// Tries in all, at least one.
    pub tries: u32,
    /// Pause after the first one; each further pause is twice as long.
    pub first_pause: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self { tries: 10, first_pause: Duration::from_secs(1) }
    }
}

impl Retries {
    /// What the SDK's two variables say.
    pub(super) fn from_variables(variable: impl Fn(&'static str) -> Option<String>) -> Self {
        let default = Self::default();
        let tries = variable("SUPERVISELY_PUBLIC_API_RETRIES").and_then(|value| value.trim().parse().ok());
        let pause = variable("SUPERVISELY_PUBLIC_API_RETRY_SLEEP_SEC")
            .and_then(|value| value.trim().parse().ok())
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Self { tries: tries.unwrap_or(default.tries).max(1), first_pause: pause.unwrap_or(default.first_pause) }
    }

    /// The pause after the try of this number, from 0.
    pub(super) fn pause(&self, attempt: u32, asked: Option<Duration>) -> Duration {
        let doubled = self.first_pause.saturating_mul(2_u32.saturating_pow(attempt)).min(MAX_PAUSE);
        doubled.max(asked.unwrap_or_default())
    }
}

/// Whether the same call may yet succeed.
pub(super) fn is_passing(status: StatusCode) -> bool {
    PASSING_STATUSES.contains(&status.as_u16())
}

/// The pause that the platform asks for, where it says so in seconds.
pub(super) fn asked_pause(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok().map(|pause| pause.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_respect_the_platform() {
        let retries = Retries::default();
        let seconds: Vec<u64> = (0..8).map(|attempt| retries.pause(attempt, None).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(retries.pause(0, Some(Duration::from_secs(90))).as_secs(), 90);
        assert_eq!(retries.pause(3, Some(Duration::from_secs(2))).as_secs(), 8);
        assert_eq!(retries.pause(u32::MAX, None), MAX_PAUSE);
    }

    #[test]
    fn the_variables_are_the_sdks() {
        let read = |tries: &str, pause: &str| {
            Retries::from_variables(|name| {
                Some(if name.ends_with("RETRIES") { tries } else { pause }.to_owned()).filter(|value| !value.is_empty())
            })
        };
        assert_eq!(read("3", "0.5"), Retries { tries: 3, first_pause: Duration::from_millis(500) });
        assert_eq!(read("", ""), Retries::default());
        assert_eq!(read("0", "-1"), Retries { tries: 1, ..Retries::default() });
    }

    #[test]
    fn the_platforms_wish_is_read() {
        let asked = |value: &str| asked_pause(&HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]));
        assert_eq!(asked("3"), Some(Duration::from_secs(3)));
        assert_eq!(asked("1e9"), Some(MAX_RETRY_AFTER));
        assert_eq!(asked("soon"), None);
        assert_eq!(asked("-1"), None);
    }
}
