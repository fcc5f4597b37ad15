//! One call to the platform: POST with a JSON body, repeated as the SDK repeats it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::{Client, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::access::{Address, Token};
use super::error::PlatformError;
use super::retry::{Retries, asked_pause, is_passing};
use crate::outgoing::client_builder;

/// Longest that connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest pause within an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest that a call without files may take as a whole.
const CALL_TIMEOUT: Duration = Duration::from_secs(90);
/// Longest that files may take as a whole: a video of 8 GiB at 1 MB a second.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(2 * 60 * 60 + 30 * 60);
/// Longest that a server may take to show that it speaks TLS.
const TLS_TRIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of an answer in JSON.
const MAX_JSON_BYTES: usize = 256 << 20;
/// Most characters of the platform's words that are kept.
const SHOWN_CHARS: usize = 300;

const TOKEN_HEADER: &str = "x-api-key";
const TASK_HEADER: &str = "x-task-id";

/// What all clients share: connections, and how often they try.
#[derive(Debug, Clone)]
pub(super) struct Transport {
    retries: Retries,
    task_id: Option<String>,
    /// Made at the first call: reading the system's certificates takes a while.
    http: Arc<OnceLock<Client>>,
    /// For each address without TLS, the one that is used.
    secured: Arc<Mutex<HashMap<String, String>>>,
}

/// A client for one platform and one token.
#[derive(Debug, Clone)]
pub struct Platform {
    transport: Transport,
    address: Arc<Address>,
    api: String,
    token: Token,
    /// Told when what it asks for is not wanted any more: no call is tried again then.
    stop: CancellationToken,
}

impl Transport {
    pub(super) fn new(retries: Retries, task_id: Option<String>) -> Self {
        Self { retries, task_id, http: Arc::default(), secured: Arc::default() }
    }

    fn http(&self) -> Result<Client, String> {
        if let Some(client) = self.http.get() {
            return Ok(client.clone());
        }
        // The system's certificates and its proxy variables, as the library reads them. Answers of the platform never send us
        // anywhere else: a token would go along.
        let client = client_builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| error.to_string())?;
        Ok(self.http.get_or_init(|| client).clone())
    }

    /// The address to use for this one: the same with TLS if a server answers there, as the SDK finds out as well. Tried once.
    async fn secure(&self, http: &Client, api: &str) -> String {
        let Some(rest) = api.strip_prefix("http://") else { return api.to_owned() };
        let mut secured = self.secured.lock().await;
        if let Some(known) = secured.get(api) {
            return known.clone();
        }
        let with_tls = format!("https://{rest}");
        let used = match http.get(&with_tls).timeout(TLS_TRIAL_TIMEOUT).send().await {
            Ok(_) => with_tls,
            Err(_) => api.to_owned(),
        };
        secured.insert(api.to_owned(), used.clone());
        used
    }
}

impl Platform {
    pub(super) fn new(transport: Transport, address: Arc<Address>, api: String, token: Token) -> Self {
        Self { transport, address, api, token, stop: CancellationToken::new() }
    }

    /// The same client, which tries no call again once this is told.
    #[must_use]
    pub fn until(self, stop: &CancellationToken) -> Self {
        Self { stop: stop.clone(), ..self }
    }

    /// The platform's address.
    pub fn address(&self) -> &Address {
        &self.address
    }

    #[cfg(test)]
    pub(super) fn token(&self) -> &Token {
        &self.token
    }

    /// Calls a method and reads its JSON answer.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        body: &impl Serialize,
    ) -> Result<T, PlatformError> {
        self.repeat(method, || async {
            let response = self.send(method, body, Some(CALL_TIMEOUT)).await?;
            let bytes = read_limited(method, response, MAX_JSON_BYTES).await?;
            serde_json::from_slice(&bytes).map_err(|error| Failure::passing(nonsense(method, &error)))
        })
        .await
    }

    /// Calls a method and hands its answer to `read`, which may be called again with a new answer after a failure that may
    /// pass. It reads a file or files, so only pauses are limited and not the whole.
    pub(super) async fn download<T, F>(
        &self,
        method: &'static str,
        body: &impl Serialize,
        read: impl Fn(Response) -> F,
    ) -> Result<T, PlatformError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        self.repeat(method, || async {
            let late = |_| {
                let reason = "the file did not come in time".to_owned();
                Failure::passing(PlatformError::Unreachable { method, reason })
            };
            timeout(DOWNLOAD_TIMEOUT, async { read(self.send(method, body, None).await?).await }).await.map_err(late)?
        })
        .await
    }

    async fn repeat<T, F>(&self, method: &'static str, attempt: impl Fn() -> F) -> Result<T, PlatformError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut tried = 0;
        loop {
            let failure = match attempt().await {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            if !failure.may_pass || tried + 1 >= self.transport.retries.tries {
                return Err(failure.error);
            }
            let pause = self.transport.retries.pause(tried, failure.asked_pause);
            tracing::warn!(method, error = %failure.error, pause_ms = pause.as_millis(), "the platform is asked again");
            if self.stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return Err(failure.error);
            }
            tried += 1;
        }
    }

    async fn send(
        &self,
        method: &'static str,
        body: &impl Serialize,
        timeout: Option<Duration>,
    ) -> Result<Response, Failure> {
        let unreachable = |reason: String| PlatformError::Unreachable { method, reason };
        let http = self.transport.http().map_err(|reason| Failure::lasting(unreachable(reason)))?;
        let api = self.transport.secure(&http, &self.api).await;
        let mut request = http.post(format!("{api}/v3/{method}")).header(TOKEN_HEADER, self.token.expose()).json(body);
        if let Some(task_id) = &self.transport.task_id {
            request = request.header(TASK_HEADER, task_id);
        }
        if let Some(timeout) = timeout {
            request = request.timeout(timeout);
        }
        let response = request.send().await.map_err(|error| Failure::passing(unreachable(words_of(error))))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let asked_pause = asked_pause(response.headers());
        let message = match read_limited(method, response, MAX_JSON_BYTES).await {
            Ok(bytes) => refusal(&bytes),
            Err(_) => "no reason given".to_owned(),
        };
        let error = PlatformError::Refused { method, status: status.as_u16(), message };
        Err(Failure { error, may_pass: is_passing(status), asked_pause })
    }
}

/// A try that failed.
#[derive(Debug)]
pub(super) struct Failure {
    error: PlatformError,
    may_pass: bool,
    asked_pause: Option<Duration>,
}

impl Failure {
    /// One after which the same call may yet succeed.
    pub(super) const fn passing(error: PlatformError) -> Self {
        Self { error, may_pass: true, asked_pause: None }
    }

    /// One that stays.
    pub(super) const fn lasting(error: PlatformError) -> Self {
        Self { error, may_pass: false, asked_pause: None }
    }

    /// A connection that broke while an answer was read.
    pub(super) fn broken(method: &'static str, error: reqwest::Error) -> Self {
        Self::passing(PlatformError::Unreachable { method, reason: words_of(error) })
    }
}

/// Reads an answer that may have at most so many bytes.
pub(super) async fn read_limited(
    method: &'static str,
    mut response: Response,
    most: usize,
) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| Failure::broken(method, error))? {
        if bytes.len() + chunk.len() > most {
            return Err(Failure::lasting(PlatformError::TooLarge { method, most: most as u64 }));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

pub(super) fn nonsense(method: &'static str, reason: &dyn std::fmt::Display) -> PlatformError {
    PlatformError::Nonsense { method, reason: reason.to_string() }
}

/// The innermost cause tells most; the address, which stands in the outer ones, is left out.
fn words_of(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    if error.is_timeout() { "it did not answer in time".to_owned() } else { cause.to_string() }
}

/// The platform's own reason, which stands in `details.message` or `error`.
fn refusal(body: &[u8]) -> String {
    let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = parsed.pointer("/details/message").or_else(|| parsed.get("error")).and_then(Value::as_str);
    let text = text.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
    let text: String = text.chars().take(SHOWN_CHARS).collect();
    if text.trim().is_empty() { "no reason given".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_found_wherever_it_stands() {
        assert_eq!(refusal(br#"{"error": "a", "details": {"message": "b"}}"#), "b");
        assert_eq!(refusal(br#"{"error": "a", "details": [1]}"#), "a");
        assert_eq!(refusal(b"<html>"), "<html>");
        assert_eq!(refusal(b""), "no reason given");
        assert_eq!(refusal(&[b'x'; 5000]).len(), SHOWN_CHARS);
    }
}
