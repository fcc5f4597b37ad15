//! What the platform's own page shell asks of an app.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::super::openapi::{answers, requests};
use super::super::state::AppState;

/// `POST /sly/shutdown`: answers, finishes what is under way, and the process ends with status 0.
#[utoipa::path(
    post,
    path = "/sly/shutdown",
    tag = "App",
    summary = "End the process once all is answered",
    request_body = Option<requests::EmptyEnvelope>,
    responses((status = 200, description = "It ends.", body = ()))
)]
pub(in crate::server) async fn shut_down(State(app): State<AppState>) -> Json<Value> {
    app.lifecycle.begin_shutdown();
    Json(Value::Null)
}

/// `POST /sly/session-info`. The original tells its user's token to whoever asks; this one does not.
#[utoipa::path(
    post,
    path = "/sly/session-info",
    tag = "App",
    summary = "What the platform's page shell asks",
    request_body = Option<requests::EmptyEnvelope>,
    responses((status = 200, description = "The task.", body = answers::ShellSession))
)]
pub(in crate::server) async fn session_info(State(app): State<AppState>) -> Json<Value> {
    let task = app.identity.session_id.map(|id| id.to_string()).unwrap_or_default();
    Json(json!({"TASK_ID": task, "SERVER_ADDRESS": "/", "API_TOKEN": ""}))
}

/// `POST /sly/state`: widgets keep something there, and there are none.
#[utoipa::path(
    post,
    path = "/sly/state",
    tag = "App",
    summary = "State of widgets, of which there are none",
    request_body = Option<requests::EmptyEnvelope>,
    responses((status = 200, description = "Nothing.", body = Map<String, Value>))
)]
pub(in crate::server) async fn state() -> Json<Value> {
    Json(json!({}))
}

/// `POST /sly/data`: likewise.
#[utoipa::path(
    post,
    path = "/sly/data",
    tag = "App",
    summary = "Data of widgets, of which there are none",
    request_body = Option<requests::EmptyEnvelope>,
    responses((status = 200, description = "Nothing.", body = Map<String, Value>))
)]
pub(in crate::server) async fn data() -> Json<Value> {
    Json(json!({}))
}
