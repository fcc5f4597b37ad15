//! What the server is doing, and freezing.

use std::collections::HashSet;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};

use super::super::envelope::Envelope;
use super::super::openapi::{answers, requests};
use super::super::state::AppState;
use crate::engine::{GpuMemory, Serving, look_at_gpus};
use crate::telemetry::{resident_bytes, total_memory_bytes};

/// `POST /get_status`.
#[utoipa::path(
    post,
    path = "/get_status",
    tag = "Session",
    summary = "What the server is doing",
    request_body = Option<requests::EmptyEnvelope>,
    responses((status = 200, description = "The run under way, and memory.", body = answers::StatusAnswer))
)]
pub(in crate::server) async fn status(State(app): State<AppState>, _: Envelope) -> Json<Map<String, Value>> {
    let (message, current, total) = match app.session.queue().running() {
        Some((current, total)) => ("Inferring model...", current, total),
        None => ("Ready", 0, 1),
    };
    let progress = json!({"message": message, "current": current, "total": total});
    let mut status =
        Map::from_iter([("is_deployed".to_owned(), json!(app.is_deployed())), ("progress".to_owned(), progress)]);
    status.extend(memory(&app).await);
    Json(status)
}

/// Memory in bytes, as the original tells it: of the GPUs that the model runs on, and of this machine.
pub(super) async fn memory(app: &AppState) -> [(String, Value); 2] {
    let devices = app.session.deployment().model().map(|model| model.device.clone()).unwrap_or_default();
    let gpus = memory_of(&devices).await;
    let of_gpus = json!({"allocated": gpus.map(|gpus| gpus.used_bytes), "total": gpus.map(|gpus| gpus.total_bytes)});
    let main = json!({"allocated": resident_bytes(), "total": total_memory_bytes()});
    [("gpu_memory".to_owned(), of_gpus), ("ram_memory".to_owned(), main)]
}

/// Memory of the GPUs that are named as `cuda:0,cuda:1`, where it is known; whoever uses it.
async fn memory_of(devices: &str) -> Option<GpuMemory> {
    let named: HashSet<&str> = devices.split(',').collect();
    // Asking costs a while where there is nothing to know.
    if !devices.contains("cuda") {
        return None;
    }
    let gpus = look_at_gpus().await.into_iter().filter(|gpu| named.contains(format!("cuda:{}", gpu.index).as_str()));
    gpus.filter_map(|gpu| gpu.memory).reduce(|sum, one| GpuMemory {
        used_bytes: sum.used_bytes + one.used_bytes,
        total_bytes: sum.total_bytes + one.total_bytes,
    })
}

/// `POST /freeze_model`: always 200, in the original's words.
#[utoipa::path(
    post,
    path = "/freeze_model",
    tag = "Deployment",
    summary = "Take the model off its device until the next request",
    request_body = Option<requests::EmptyEnvelope>,
    responses((status = 200, description = "What became of it.", body = answers::Message))
)]
pub(in crate::server) async fn freeze(State(app): State<AppState>, _: Envelope) -> Json<Value> {
    let message = match app.session.deployment().serving {
        Serving::Frozen(_) => "Model is already frozen.",
        Serving::Nothing | Serving::Ready(_) => match app.session.freeze().await {
            Ok(()) => "Model is frozen.",
            Err(error) => {
                tracing::warn!(%error, "the model was not frozen");
                "Failed to freeze model. Check the logs for details."
            }
        },
    };
    Json(json!({ "message": message }))
}
