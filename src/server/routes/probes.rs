//! Is the process alive, and can it answer? Bodies are not read: a probe may send anything.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::super::error::ApiError;
use super::super::state::AppState;

/// `GET /livez`, `GET /is_alive`, `POST /is_running`.
pub(in crate::server) async fn is_alive(State(app): State<AppState>) -> Json<Value> {
    Json(json!({ "running": true, "mode": app.identity.mode() }))
}

/// `GET /readyz`, `GET` and `POST /is_ready`.
pub(in crate::server) async fn is_ready(State(app): State<AppState>) -> Result<Json<Value>, ApiError> {
    if app.is_ready() { Ok(Json(json!({ "status": "ready" }))) } else { Err(ApiError::not_ready()) }
}
