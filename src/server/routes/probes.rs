//! Is the process alive, and can it answer? Bodies are not read: a probe may send anything.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::super::error::ApiError;
use super::super::openapi::answers;
use super::super::state::AppState;

/// `GET /livez`.
#[utoipa::path(
    get,
    path = "/livez",
    tag = "Health",
    summary = "The process lives",
    responses((status = 200, description = "It does.", body = answers::Alive))
)]
pub(in crate::server) async fn livez(State(app): State<AppState>) -> Json<Value> {
    alive(&app)
}

/// `GET /is_alive`.
#[utoipa::path(
    get,
    path = "/is_alive",
    tag = "Health",
    summary = "The process lives",
    responses((status = 200, description = "It does.", body = answers::Alive))
)]
pub(in crate::server) async fn is_alive(State(app): State<AppState>) -> Json<Value> {
    alive(&app)
}

/// `POST /is_running`.
#[utoipa::path(
    post,
    path = "/is_running",
    tag = "Health",
    summary = "The process lives",
    responses((status = 200, description = "It does.", body = answers::Alive))
)]
pub(in crate::server) async fn is_running(State(app): State<AppState>) -> Json<Value> {
    alive(&app)
}

/// `GET /readyz`.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "Health",
    summary = "A model answers; 503 until then",
    responses((status = 200, description = "It does.", body = answers::Ready))
)]
pub(in crate::server) async fn readyz(State(app): State<AppState>) -> Result<Json<Value>, ApiError> {
    ready(&app)
}

/// `GET` and `POST /is_ready`.
#[utoipa::path(
    method(get, post),
    path = "/is_ready",
    tag = "Health",
    summary = "A model answers; 503 until then",
    responses((status = 200, description = "It does.", body = answers::Ready))
)]
pub(in crate::server) async fn is_ready(State(app): State<AppState>) -> Result<Json<Value>, ApiError> {
    ready(&app)
}

fn alive(app: &AppState) -> Json<Value> {
    Json(json!({ "running": true, "mode": app.identity.mode() }))
}

fn ready(app: &AppState) -> Result<Json<Value>, ApiError> {
    if app.is_ready() { Ok(Json(json!({ "status": "ready" }))) } else { Err(ApiError::not_ready()) }
}
