//! How long and how much a client may take of a connection.

use std::time::Duration;

use super::pace::Pace;

/// What one client, and all of them together, may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Longest time for the head of a request, from the connection's begin or from the head's first byte. More bytes do
    /// not extend it.
    pub header_timeout: Duration,
    /// Most header fields of a request. More are answered with 431.
    pub max_headers: usize,
    /// Largest head of a request, the first line included. A larger one is answered with 431.
    pub max_header_bytes: usize,
    /// Longest path and query. A longer one is answered with 414.
    pub max_uri_bytes: usize,
    /// Longest time from an answer to the first byte of the next request.
    pub idle_timeout: Duration,
    /// Longest pause within the body of a request.
    pub body_idle_timeout: Duration,
    /// Longest time in which a client takes nothing of its answer.
    pub answer_idle_timeout: Duration,
    /// Slowest that a client may send its request's body, or take its answer. Only time spent waiting for it counts.
    pub min_bytes_per_second: u64,
    /// Time over which [`Self::min_bytes_per_second`] is measured, again and again.
    pub rate_window: Duration,
    /// Longest time for which an answered client that still sends is listened to, so that it comes to read its answer.
    pub linger: Duration,
    /// Most connections at a time. Others wait in the kernel until one ends.
    pub max_connections: usize,
    /// How long the server still takes connections after it was told to stop, so that whoever sends requests here learns of it
    /// from an answer and not from a refused connection.
    pub farewell: Duration,
    /// How long requests that are under way may take after that.
    pub shutdown_grace: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(30),
            max_headers: 100,
            max_header_bytes: 64 << 10,
            max_uri_bytes: 8 << 10,
            idle_timeout: Duration::from_secs(75),
            body_idle_timeout: Duration::from_secs(30),
            answer_idle_timeout: Duration::from_secs(60),
            min_bytes_per_second: 256,
            rate_window: Duration::from_secs(60),
            linger: Duration::from_secs(2),
            max_connections: 4096,
            farewell: Duration::from_millis(500),
            // Half a minute with the farewell, as orchestrators wait.
            shutdown_grace: Duration::from_secs(29),
        }
    }
}

impl ConnectionLimits {
    /// How quickly the body of a request must come.
    pub(super) fn body_pace(&self) -> Pace {
        Pace::new(self.body_idle_timeout, self.rate_window, self.min_bytes_per_second)
    }

    /// How quickly an answer must be taken.
    pub(super) fn answer_pace(&self) -> Pace {
        Pace::new(self.answer_idle_timeout, self.rate_window, self.min_bytes_per_second)
    }
}
