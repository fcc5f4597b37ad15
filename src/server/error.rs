//! Error answers, in the one shape that suits every client of the original.
//!
//! The original sends `detail` as a text or as `{title, message}`, and without a page also `message` and `success` at
//! the top. Sending all of them lets every client find what it looks for. A fault of the caller is 4xx, because
//! clients repeat a 5xx for a long time.

use std::fmt::Display;
use std::hash::{BuildHasher, RandomState};

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::engine::{Deployment, EngineError, Failure, Loading};
use crate::lifecycle::DeployError;
use crate::media::VideoError;
use crate::session::SessionError;
use crate::supervisely::{PlatformError, SettingsError};

/// What the original says while no model is deployed. Apps show it to their users.
const UNDEPLOYED_TITLE: &str = "Call undeployed model error";
const UNDEPLOYED_MESSAGE: &str = "The model has not yet been deployed. Please select the appropriate model in the UI \
and press the 'Serve' button. If this app has no GUI, it signifies that 'load_on_device' was never called.";

/// The original's title for everything it did not expect.
const UNEXPECTED_TITLE: &str = "Oops! Something went wrong";

/// When a caller should ask again while the model loads.
const LOADING_RETRY_SECONDS: u16 = 5;

/// When a caller should ask again while too much is waiting.
const BUSY_RETRY_SECONDS: u16 = 1;

/// Most characters of a model's own error text that are shown to callers.
const SHOWN_CAUSE_CHARS: usize = 300;

/// Longest message of an answer.
const SHOWN_MESSAGE_BYTES: usize = 2000;

/// An answer that is an error.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError {
    status: StatusCode,
    body: Value,
    retry_after_seconds: Option<u16>,
}

impl ApiError {
    /// The caller's fault, explained.
    pub fn bad_request(message: impl Display) -> Self {
        Self::titled(StatusCode::BAD_REQUEST, "Invalid request", &message.to_string())
    }

    /// The caller's fault in a case where the original's `detail` is the bare text.
    pub fn bad_request_text(message: impl Display) -> Self {
        let message = shortened(&message.to_string());
        let body = json!({"detail": message, "success": false, "message": message});
        Self { status: StatusCode::BAD_REQUEST, body, retry_after_seconds: None }
    }

    /// The form has no part `files`, in the words of the original's framework.
    pub fn missing_files() -> Self {
        let detail = json!([{"type": "missing", "loc": ["body", "files"], "msg": "Field required", "input": null}]);
        Self::bare(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// More bytes or parts than a request may have.
    pub fn too_large(message: impl Display) -> Self {
        Self::titled(StatusCode::PAYLOAD_TOO_LARGE, "Request too large", &message.to_string())
    }

    /// The caller stopped in the middle of its request.
    pub fn timed_out(message: impl Display) -> Self {
        Self::titled(StatusCode::REQUEST_TIMEOUT, "Request timed out", &message.to_string())
    }

    /// The model that was asked for cannot be served. Asking again for the same is of no use.
    pub fn not_deployable(message: impl Display) -> Self {
        Self::titled(StatusCode::CONFLICT, "Model cannot be deployed", &message.to_string())
    }

    /// The platform failed, not we.
    fn bad_gateway(message: &str) -> Self {
        Self::titled(StatusCode::BAD_GATEWAY, "The platform failed", message)
    }

    /// The caller may not.
    pub fn forbidden(message: impl Display) -> Self {
        Self::titled(StatusCode::FORBIDDEN, "Access denied", &message.to_string())
    }

    /// No such route.
    pub fn not_found() -> Self {
        Self::bare(StatusCode::NOT_FOUND, "Not Found".into())
    }

    /// The route is there, for another method.
    pub fn method_not_allowed() -> Self {
        Self::bare(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed".into())
    }

    /// A readiness probe's no.
    pub fn not_ready() -> Self {
        Self::bare(StatusCode::SERVICE_UNAVAILABLE, "Service not ready".into())
    }

    /// Too much is waiting; the same request will do a little later.
    pub fn overloaded() -> Self {
        let message = "Too many requests are waiting. Try again in a moment.";
        Self::titled(StatusCode::TOO_MANY_REQUESTS, "Server is busy", message).retry_after(BUSY_RETRY_SECONDS)
    }

    /// No model answers. Asking again is of use only while one is loading.
    pub fn not_served(deployment: &Deployment) -> Self {
        if let Some(reason) = &deployment.lost {
            return EngineError::DeviceLost(reason.clone()).into();
        }
        match (&deployment.loading, &deployment.failure) {
            (Some(Loading { model_name, step }), _) => Self::loading(&format!("{model_name} is loading: {step}")),
            (None, Some(Failure { message, .. })) => Self::undeployed(&format!("{UNDEPLOYED_MESSAGE} {message}")),
            (None, None) => Self::undeployed(UNDEPLOYED_MESSAGE),
        }
    }

    /// A fault of ours. `cause` goes to the log alone, under an id that the caller is told.
    pub fn internal(cause: impl Display) -> Self {
        Self::unexpected("The server failed", &cause.to_string())
    }

    /// The model failed. Its own words, such as that the device is out of memory, help the caller.
    fn model_failed(cause: &str) -> Self {
        let shown: String = cause.lines().next().unwrap_or_default().chars().take(SHOWN_CAUSE_CHARS).collect();
        Self::unexpected(&format!("The model failed: {shown}"), cause)
    }

    fn unexpected(shown: &str, cause: &str) -> Self {
        let id = error_id();
        tracing::error!(error_id = %id, cause, "request failed");
        let message = format!("{shown} (error {id}, see the server's log)");
        Self::titled(StatusCode::INTERNAL_SERVER_ERROR, UNEXPECTED_TITLE, &message)
    }

    fn undeployed(message: &str) -> Self {
        Self::titled(StatusCode::CONFLICT, UNDEPLOYED_TITLE, message)
    }

    fn loading(message: &str) -> Self {
        Self::titled(StatusCode::SERVICE_UNAVAILABLE, "Model is loading", message).retry_after(LOADING_RETRY_SECONDS)
    }

    fn titled(status: StatusCode, title: &str, message: &str) -> Self {
        let message = &shortened(message);
        let body = json!({
            "detail": {"title": title, "message": message},
            "success": false,
            "message": message,
        });
        Self { status, body, retry_after_seconds: None }
    }

    /// The shape of the original's framework, which clients may compare.
    fn bare(status: StatusCode, detail: Value) -> Self {
        Self { status, body: json!({ "detail": detail }), retry_after_seconds: None }
    }

    fn retry_after(self, seconds: u16) -> Self {
        Self { retry_after_seconds: Some(seconds), ..self }
    }
}

impl From<SessionError> for ApiError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Engine(error) => error.into(),
            SessionError::Platform(error) => error.into(),
            SessionError::Internal(cause) => Self::internal(cause),
            SessionError::UnknownImage { .. } | SessionError::UnknownRequest { .. } => {
                Self::titled(StatusCode::NOT_FOUND, "Not found", &error.to_string())
            }
            SessionError::Video(VideoError::FfmpegMissing { .. }) => {
                Self::titled(StatusCode::NOT_IMPLEMENTED, "Videos cannot be read", &error.to_string())
            }
            SessionError::MissingFrames { .. } => Self::bad_gateway(&error.to_string()),
            error => Self::bad_request(error),
        }
    }
}

impl From<PlatformError> for ApiError {
    fn from(error: PlatformError) -> Self {
        let message = error.to_string();
        match error {
            PlatformError::NoAddress | PlatformError::NoToken | PlatformError::TooLarge { .. } => {
                Self::bad_request(message)
            }
            error if error.is_not_found() => Self::titled(StatusCode::NOT_FOUND, "Not found", &message),
            error if error.is_forbidden() => Self::titled(StatusCode::FORBIDDEN, "Access denied", &message),
            error if error.is_refusal() => Self::bad_request(message),
            _ => Self::bad_gateway(&message),
        }
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Undeployed => Self::undeployed(UNDEPLOYED_MESSAGE),
            EngineError::Loading => Self::loading(&error.to_string()),
            EngineError::ShuttingDown => {
                Self::titled(StatusCode::SERVICE_UNAVAILABLE, "Server is stopping", &error.to_string())
                    .retry_after(LOADING_RETRY_SECONDS)
            }
            EngineError::InvalidRequest(message) | EngineError::PromptTooLong { message, .. } => {
                Self::bad_request(message)
            }
            EngineError::Overloaded => Self::overloaded(),
            EngineError::DeadlineExceeded { .. } => {
                Self::titled(StatusCode::GATEWAY_TIMEOUT, "Request timed out", &error.to_string())
            }
            EngineError::Cancelled => Self::titled(StatusCode::CONFLICT, "Loading cancelled", &error.to_string()),
            // A frozen model did not come back.
            EngineError::Device(message) | EngineError::Load(message) => {
                Self::titled(StatusCode::SERVICE_UNAVAILABLE, "Model is not available", &message)
                    .retry_after(LOADING_RETRY_SECONDS)
            }
            EngineError::OutOfMemory => {
                Self::titled(StatusCode::SERVICE_UNAVAILABLE, "Out of memory", &error.to_string())
                    .retry_after(LOADING_RETRY_SECONDS)
            }
            EngineError::DeviceLost(_) => {
                Self::titled(StatusCode::SERVICE_UNAVAILABLE, "Device failed", &error.to_string())
                    .retry_after(LOADING_RETRY_SECONDS)
            }
            EngineError::Internal(cause) => Self::model_failed(&cause),
        }
    }
}

impl From<DeployError> for ApiError {
    fn from(error: DeployError) -> Self {
        Self::bad_request(error)
    }
}

impl From<SettingsError> for ApiError {
    fn from(error: SettingsError) -> Self {
        Self::bad_request(error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// A message without the megabytes that a caller may have put into what it quotes: its beginning and its end.
fn shortened(message: &str) -> String {
    if message.len() <= SHOWN_MESSAGE_BYTES {
        return message.to_owned();
    }
    let half = SHOWN_MESSAGE_BYTES / 2;
    let (start, end) = (message.floor_char_boundary(half), message.ceil_char_boundary(message.len() - half));
    let cut = |range: std::ops::Range<usize>| message.get(range).unwrap_or_default();
    format!("{} … {}", cut(0..start), cut(end..message.len()))
}

/// Sixteen random hexadecimal digits that tie an answer to its line in the log.
fn error_id() -> String {
    format!("{:016x}", RandomState::new().hash_one(std::time::Instant::now()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model_name() -> String {
        "Florence-2-large".to_owned()
    }

    #[test]
    fn errors_have_every_clients_fields() {
        let error = ApiError::bad_request("conf must be a number");
        assert_eq!(
            error.body,
            json!({"detail": {"title": "Invalid request", "message": "conf must be a number"},
                "success": false, "message": "conf must be a number"})
        );
        let text = ApiError::bad_request_text("Settings is not json object");
        assert_eq!(text.body["detail"], text.body["message"]);
    }

    #[test]
    fn only_a_loading_model_is_worth_asking_again() {
        let loading = Loading { model_name: model_name(), step: crate::engine::LoadStep::Searching };
        let loading = Deployment { loading: Some(loading), ..Deployment::default() };
        let error = ApiError::not_served(&loading);
        assert_eq!((error.status, error.retry_after_seconds), (StatusCode::SERVICE_UNAVAILABLE, Some(5)));
        let failure = Failure { model_name: model_name(), message: "Loading it failed: no such file".to_owned() };
        let failed = Deployment { failure: Some(failure), ..Deployment::default() };
        let error = ApiError::not_served(&failed);
        assert_eq!((error.status, error.retry_after_seconds), (StatusCode::CONFLICT, None));
        assert!(error.body["message"].as_str().unwrap().ends_with("Loading it failed: no such file"));
    }

    #[test]
    fn causes_stay_in_the_log() {
        let error = ApiError::internal("secret path");
        assert_eq!(error.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!error.body.to_string().contains("secret"));
        let error = ApiError::from(EngineError::Internal("out of memory\n at frame 3".to_owned()));
        let message = error.body["message"].as_str().unwrap();
        assert!(message.starts_with("The model failed: out of memory (error ") && !message.contains("frame"));
    }

    #[test]
    fn error_ids_differ() {
        assert_ne!(error_id(), error_id());
    }
}
