//! Asks once: sends a request, reads the answer to its end, and says how it ended.

use std::time::Duration;

use axum::body::Bytes;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, StatusCode};
use serde::Deserialize;

use super::traffic::Ask;

/// After so long a request counts as failed, unless the caller was made with another time-out.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(150);

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// 2xx with an annotation of the picture that was sent.
    Answered { boxes: usize },
    /// 2xx with anything else.
    Wrong,
    /// 429.
    Refused { retry_after_s: Option<u64> },
    /// Any other status.
    Status(u16),
    /// No whole answer came.
    Failed(Failure),
    /// The caller went away, as it was told to.
    Dropped,
}

/// Why no whole answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    TimedOut,
    NotConnected,
    BrokenWhileSent,
    BrokenWhileAnswered,
}

impl Failure {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TimedOut => "timed_out",
            Self::NotConnected => "not_connected",
            Self::BrokenWhileSent => "broken_while_sent",
            Self::BrokenWhileAnswered => "broken_while_answered",
        }
    }
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        if error.is_timeout() {
            Self::TimedOut
        } else if error.is_connect() {
            Self::NotConnected
        } else if error.is_request() {
            Self::BrokenWhileSent
        } else {
            Self::BrokenWhileAnswered
        }
    }
}

/// A client with its connections, which are kept and shared by its clones.
#[derive(Debug, Clone)]
pub struct Caller {
    client: Client,
    address: String,
}

impl Caller {
    /// A client of the server at `url`, such as `http://127.0.0.1:8000`.
    ///
    /// # Errors
    /// The client library's, which a working system does not have.
    pub fn new(url: &str) -> Result<Self, reqwest::Error> {
        Self::with_timeout(url, REQUEST_TIMEOUT)
    }

    /// The same with a time-out of its own for each request.
    ///
    /// # Errors
    /// As for [`Caller::new`].
    pub fn with_timeout(url: &str, timeout: Duration) -> Result<Self, reqwest::Error> {
        // Nothing is asked twice behind our back: a second attempt would be load that nobody counts.
        let client = Client::builder().no_proxy().retry(reqwest::retry::never()).timeout(timeout).build()?;
        Ok(Self { client, address: format!("{}/inference_image", url.trim_end_matches('/')) })
    }

    /// Sends one request and waits for its end.
    pub async fn ask(&self, ask: &Ask) -> End {
        self.try_to_ask(ask).await.unwrap_or_else(End::Failed)
    }

    /// Sends one request and hangs up after `patience`, wherever it is then: its connection is closed.
    pub async fn ask_with_patience(&self, ask: &Ask, patience: Duration) -> End {
        tokio::time::timeout(patience, self.ask(ask)).await.unwrap_or(End::Dropped)
    }

    async fn try_to_ask(&self, ask: &Ask) -> Result<End, Failure> {
        let request = self.client.post(&self.address).header(CONTENT_TYPE, Ask::content_type()).body(ask.body.clone());
        let response = request.send().await?;
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        // To its end whatever it is: only then is the connection free, and only then has the client been served.
        let body = response.bytes().await?;
        Ok(match status {
            StatusCode::TOO_MANY_REQUESTS => End::Refused { retry_after_s: retry_after },
            status if status.is_success() => read_answer(&body, ask),
            status => End::Status(status.as_u16()),
        })
    }
}

/// What an answer has to hold.
#[derive(Deserialize)]
struct Prediction {
    annotation: Annotation,
}

#[derive(Deserialize)]
struct Annotation {
    size: Size,
    objects: Vec<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Size {
    width: u32,
    height: u32,
}

/// An annotation of another size would be the answer to somebody else's picture.
pub fn read_answer(body: &Bytes, ask: &Ask) -> End {
    match serde_json::from_slice(body) {
        Ok(Prediction { annotation: Annotation { size, objects } }) if [size.width, size.height] == ask.size => {
            End::Answered { boxes: objects.len() }
        }
        _ => End::Wrong,
    }
}
