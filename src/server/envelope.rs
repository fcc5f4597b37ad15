//! The platform's JSON envelope, the body of every request that is not an upload.

use std::fmt;
use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use futures_util::StreamExt;
use serde_json::{Map, Value};

use super::budget::Reservation;
use super::error::ApiError;
use super::limits::{JSON_COST, MAX_JSON_BYTES};
use super::serve::is_too_slow;
use super::state::AppState;
use crate::session::SessionError;
use crate::supervisely::{Platform, Token};

/// A request's envelope; every part may be missing, and a body that is not JSON is an empty one.
#[derive(Default)]
pub(super) struct Envelope {
    /// The arguments.
    pub(super) state: Option<Map<String, Value>>,
    /// What the platform says about the call.
    pub(super) context: Map<String, Value>,
    /// The caller's token: `api_token` if that key is there, even as null, else `context.apiToken`.
    pub(super) token: Option<Token>,
    /// The platform that the caller means.
    pub(super) server_address: Option<String>,
    /// Holds the room that the parsed body takes.
    held: Option<Arc<Reservation>>,
}

impl Envelope {
    /// Reads a JSON body.
    fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let body: Value =
            serde_json::from_slice(body).map_err(|error| ApiError::bad_request(format!("Invalid JSON: {error}")))?;
        let Value::Object(mut body) = body else {
            return Err(ApiError::bad_request("The request body must be a JSON object"));
        };
        let context = take_object(&mut body, "context")?.unwrap_or_default();
        let api_token = match body.contains_key("api_token") {
            true => take_text(&mut body, "api_token")?,
            false => context.get("apiToken").and_then(Value::as_str).map(str::to_owned),
        };
        let state = take_object(&mut body, "state")?;
        let server_address = take_text(&mut body, "server_address")?;
        Ok(Self { state, context, token: api_token.and_then(Token::new), server_address, held: None })
    }

    /// The arguments, which the route cannot do without.
    pub(super) fn state(&self) -> Result<&Map<String, Value>, ApiError> {
        self.state.as_ref().ok_or_else(|| ApiError::bad_request_text("Settings is not json object"))
    }

    /// Holds the room of the body for whatever outlives the request.
    pub(super) fn hold(&self) -> Option<Arc<Reservation>> {
        self.held.clone()
    }

    /// The platform's client on behalf of the caller.
    pub(super) fn platform(&self, app: &AppState) -> Result<Platform, SessionError> {
        Ok(app.session.platform(self.token.clone(), self.server_address.as_deref())?)
    }
}

/// Neither the token nor anything that may hold one is shown.
impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("has_state", &self.state.is_some())
            .field("has_token", &self.token.is_some())
            .field("server_address", &self.server_address)
            .finish_non_exhaustive()
    }
}

impl FromRequest<AppState> for Envelope {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &AppState) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            return Ok(Self::default());
        }
        let mut held = app.uploads.open();
        let body = read_body(request, &mut held).await?;
        // Large bodies take a while, and other callers are waiting.
        let parse = move || Self::parse(&body).map(|envelope| Self { held: Some(Arc::new(held)), ..envelope });
        tokio::task::spawn_blocking(parse).await.unwrap_or_else(|_| Err(ApiError::internal("parsing broke off")))
    }
}

async fn read_body(request: Request, held: &mut Reservation) -> Result<Vec<u8>, ApiError> {
    let mut chunks = request.into_body().into_data_stream();
    let mut body = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| match is_too_slow(&error) {
            true => ApiError::timed_out("The request body came too slowly"),
            false => ApiError::bad_request("The request body ended early"),
        })?;
        if body.len() + chunk.len() > MAX_JSON_BYTES {
            return Err(ApiError::too_large(format!("A JSON body may have at most {MAX_JSON_BYTES} bytes")));
        }
        if !held.grow(chunk.len() * JSON_COST) {
            return Err(ApiError::overloaded());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// As the original decides it: anywhere in the header's value.
fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| value.to_ascii_lowercase().contains("application/json"))
}

fn take_object(body: &mut Map<String, Value>, key: &str) -> Result<Option<Map<String, Value>>, ApiError> {
    match body.remove(key) {
        None => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) if key == "state" => Err(ApiError::bad_request_text("Settings is not json object")),
        Some(_) => Err(ApiError::bad_request(format!("{key} must be a JSON object"))),
    }
}

fn take_text(body: &mut Map<String, Value>, key: &str) -> Result<Option<String>, ApiError> {
    match body.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(ApiError::bad_request(format!("{key} must be a string"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_may_be_missing() {
        let empty = Envelope::parse(b"{}").unwrap();
        assert!(empty.state.is_none() && empty.context.is_empty() && empty.token.is_none());
        let full = br#"{"state": {"a": 1}, "context": {}, "api_token": "t", "server_address": "http://p", "x": 1}"#;
        let envelope = Envelope::parse(full).unwrap();
        assert_eq!(envelope.state.unwrap().get("a"), Some(&Value::from(1)));
        assert_eq!(envelope.server_address.as_deref(), Some("http://p"));
    }

    #[test]
    fn the_token_of_the_body_goes_before_that_of_the_context() {
        let token = |body: &[u8]| Envelope::parse(body).unwrap().token;
        assert_eq!(token(br#"{"api_token": "a", "context": {"apiToken": "b"}}"#), Token::new("a"));
        assert_eq!(token(br#"{"context": {"apiToken": "b"}}"#), Token::new("b"));
        assert_eq!(token(br#"{"api_token": null, "context": {"apiToken": "b"}}"#), None);
    }

    #[test]
    fn wrong_bodies_are_refused() {
        for body in ["", "[]", "{oops", "1", r#"{"state": null}"#, r#"{"state": [1]}"#, r#"{"context": null}"#] {
            assert!(Envelope::parse(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn debug_output_hides_the_token() {
        let body = br#"{"api_token": "secret", "state": {"api_token": "secret"}, "context": {"apiToken": "secret"}}"#;
        assert!(!format!("{:?}", Envelope::parse(body).unwrap()).contains("secret"));
    }
}
