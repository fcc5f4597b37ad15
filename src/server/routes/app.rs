//! What the platform's own page shell asks of an app.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::super::state::AppState;

/// `POST /sly/shutdown`: answers, finishes what is under way, and the process ends with status 0.
pub(in crate::server) async fn shut_down(State(app): State<AppState>) -> Json<Value> {
    app.lifecycle.begin_shutdown();
    Json(Value::Null)
}

/// `POST /sly/session-info`. The original tells its user's token to whoever asks; this one does not.
pub(in crate::server) async fn session_info(State(app): State<AppState>) -> Json<Value> {
    let task = app.identity.session_id.map(|id| id.to_string()).unwrap_or_default();
    Json(json!({"TASK_ID": task, "SERVER_ADDRESS": "/", "API_TOKEN": ""}))
}

/// `POST /sly/state` and `POST /sly/data`: widgets keep something there, and there are none.
pub(in crate::server) async fn nothing() -> Json<Value> {
    Json(json!({}))
}
