//! Runs under way: how far they are, their results, and their end.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};

use super::super::envelope::Envelope;
use super::super::error::ApiError;
use super::super::openapi::{answers, requests};
use super::super::state::AppState;
use super::status::memory;
use crate::session::InferenceRequest;

/// `POST /get_inference_progress`.
#[utoipa::path(
    post,
    path = "/get_inference_progress",
    tag = "Queue",
    summary = "How far a run is",
    request_body(content = requests::Envelope<requests::RunState>, example = json!({"state": {"inference_request_uuid": "0123456789abcdef0123456789abcdef"}})),
    responses((status = 200, description = "The status, and how many results wait.", body = answers::RunStatus<u64>))
)]
pub(in crate::server) async fn progress(
    State(app): State<AppState>,
    envelope: Envelope,
) -> Result<Json<Map<String, Value>>, ApiError> {
    Ok(Json(find(&app, &envelope)?.status().progress_json()))
}

/// `POST /pop_inference_results`: the results are the caller's from now on.
#[utoipa::path(
    post,
    path = "/pop_inference_results",
    tag = "Queue",
    summary = "Take what a run has found",
    request_body(content = requests::Envelope<requests::RunState>, example = json!({"state": {"inference_request_uuid": "0123456789abcdef0123456789abcdef"}})),
    responses((status = 200, description = "The status, and the results that waited.", body = answers::RunStatus<Vec<answers::RunResult>>))
)]
pub(in crate::server) async fn take_results(
    State(app): State<AppState>,
    envelope: Envelope,
) -> Result<Json<Map<String, Value>>, ApiError> {
    let request = find(&app, &envelope)?;
    // The status first: a result that comes in between shows in the next answer, and no ended run hides one.
    let status = request.status();
    Ok(Json(status.results_json(json!(request.take_results()))))
}

/// `POST /get_inference_result`.
#[utoipa::path(
    post,
    path = "/get_inference_result",
    tag = "Queue",
    summary = "What a run leaves in the end: of videos",
    request_body(content = requests::Envelope<requests::RunState>, example = json!({"state": {"inference_request_uuid": "0123456789abcdef0123456789abcdef"}})),
    responses((status = 200, description = "Null for pictures.", body = Option<Map<String, Value>>))
)]
pub(in crate::server) async fn final_result(
    State(app): State<AppState>,
    envelope: Envelope,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(find(&app, &envelope)?.final_result()))
}

/// `POST /get_preparing_progress`.
#[utoipa::path(
    post,
    path = "/get_preparing_progress",
    tag = "Queue",
    summary = "How far a run is, and nothing else",
    request_body(content = requests::Envelope<requests::RunState>, example = json!({"state": {"inference_request_uuid": "0123456789abcdef0123456789abcdef"}})),
    responses((status = 200, description = "The progress.", body = answers::RunProgress))
)]
pub(in crate::server) async fn preparing_progress(
    State(app): State<AppState>,
    envelope: Envelope,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!(find(&app, &envelope)?.status().progress)))
}

/// `POST /get_inference_status`.
#[utoipa::path(
    post,
    path = "/get_inference_status",
    tag = "Queue",
    summary = "How far a run is, and the memory of the server",
    request_body(content = requests::Envelope<requests::RunState>, example = json!({"state": {"inference_request_uuid": "0123456789abcdef0123456789abcdef"}})),
    responses((status = 200, description = "The status. Asking does not keep the run alive.", body = answers::RunStatusAlone))
)]
pub(in crate::server) async fn status(
    State(app): State<AppState>,
    envelope: Envelope,
) -> Result<Json<Map<String, Value>>, ApiError> {
    let mut status = find(&app, &envelope)?.peek().status_json();
    status.extend(memory(&app).await);
    Ok(Json(status))
}

/// `POST /stop_inference`.
#[utoipa::path(
    post,
    path = "/stop_inference",
    tag = "Queue",
    summary = "Stop a run; what it has found stays",
    request_body(content = requests::Envelope<requests::RunState>, example = json!({"state": {"inference_request_uuid": "0123456789abcdef0123456789abcdef"}})),
    responses((status = 200, description = "It ends at its next step.", body = answers::Done))
)]
pub(in crate::server) async fn stop(State(app): State<AppState>, envelope: Envelope) -> Result<Json<Value>, ApiError> {
    find(&app, &envelope)?.stop();
    Ok(Json(json!({"message": "Inference will be stopped.", "success": true})))
}

/// `POST /clear_inference_request`: an unknown one is as good as cleared.
#[utoipa::path(
    post,
    path = "/clear_inference_request",
    tag = "Queue",
    summary = "Stop a run and forget it a minute later",
    request_body(content = requests::Envelope<requests::RunState>, example = json!({"state": {"inference_request_uuid": "0123456789abcdef0123456789abcdef"}})),
    responses((status = 200, description = "Done, also for a run that is not known.", body = answers::Done))
)]
pub(in crate::server) async fn clear(State(app): State<AppState>, envelope: Envelope) -> Result<Json<Value>, ApiError> {
    app.session.queue().clear(request_id(&envelope)?);
    Ok(Json(json!({"success": true})))
}

fn find(app: &AppState, envelope: &Envelope) -> Result<Arc<InferenceRequest>, ApiError> {
    Ok(app.session.queue().get(request_id(envelope)?)?)
}

/// The words are the original's.
fn request_id(envelope: &Envelope) -> Result<&str, ApiError> {
    let id = envelope.state.as_ref().and_then(|state| state.get("inference_request_uuid")).and_then(Value::as_str);
    id.filter(|id| !id.is_empty())
        .ok_or_else(|| ApiError::bad_request_text("Error: 'inference_request_uuid' is required."))
}
