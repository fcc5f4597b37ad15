//! What the page asks and tells: the state of everything in one answer, and the few things that a user can do.
//!
//! Whoever reaches the server may use it, as they may use `/deploy_from_api`; there is nothing here that the page alone knows.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::super::error::ApiError;
use super::super::openapi::state;
use super::super::state::AppState;
use crate::engine::{Deployment, DeviceChoice, EngineError, ModelPlan, OpenDevice, Precision, Serving, look_at_gpus};
use crate::lifecycle::{Cause, DeployError, shown_name};
use crate::models::{Catalog, DEFAULT_MODEL, DEMO_MODEL, ModelSource};
use crate::telemetry::{available_memory_bytes, lines_after, peak_resident_bytes, resident_bytes, total_memory_bytes};

/// `GET /api/status`.
#[utoipa::path(
    get,
    path = "/api/status",
    tag = "App",
    summary = "Everything about the state in one answer",
    responses((status = 200, description = "The state.", body = state::PageStatus))
)]
pub(in crate::server) async fn status(State(app): State<AppState>) -> Json<Value> {
    let deployment = app.session.deployment();
    let stats = app.session.engine_stats();
    let lifecycle = &app.lifecycle;
    Json(json!({
        "app": {
            "name": app.identity.shown_name(),
            "version": env!("CARGO_PKG_VERSION"),
            "session_id": app.identity.session_id,
            "mode": app.identity.mode(),
            "uptime_s": app.started.elapsed().as_secs(),
        },
        "model": model(&app, &deployment),
        "loading": loading(&app, &deployment),
        "failure": deployment.failure.as_ref().map(|failure| {
            json!({"model_name": failure.model_name, "message": failure.message})
        }),
        "lost": deployment.lost,
        "stopping": lifecycle.is_stopping(),
        "memory": memory().await,
        "requests": {
            "answered": stats.answered,
            "failed": stats.failed,
            "refused": stats.refused,
            "given_up": stats.given_up,
            "held": stats.singles + stats.run_pictures,
            "runs": app.session.queue().running_count(),
        },
        "latency_ms": app.latency.summary().map(|summary| {
            json!({"median": summary.median_ms, "p95": summary.p95_ms, "count": summary.count})
        }),
        "idle_freeze_s": lifecycle.settings().idle_freeze.map(|limit| limit.as_secs()),
    }))
}

fn model(app: &AppState, deployment: &Deployment) -> Value {
    let Some(model) = deployment.model() else { return Value::Null };
    let served = app.lifecycle.served();
    json!({
        "name": if model.custom { shown_name(&model.name) } else { model.name.clone() },
        "source": model.source,
        "custom": model.custom,
        "device": model.device,
        "precision": model.precision,
        "hardware": model.hardware,
        "state": if matches!(deployment.serving, Serving::Frozen(_)) { "frozen" } else { "ready" },
        "stale": model.stale,
        "cause": served.map(|served| served.cause.name()),
        "deployed_s": served.map(|served| served.since.elapsed().as_secs()),
    })
}

fn loading(app: &AppState, deployment: &Deployment) -> Value {
    let Some(loading) = &deployment.loading else { return Value::Null };
    let amount = loading.step.amount();
    json!({
        "model_name": loading.model_name,
        "step": loading.step.name(),
        "text": loading.step.to_string(),
        "done_bytes": amount.map(|amount| amount.done_bytes),
        "total_bytes": amount.map(|amount| amount.total_bytes).filter(|bytes| *bytes > 0),
        "cause": app.lifecycle.loading_cause().map(Cause::name),
    })
}

async fn memory() -> Value {
    let gpu = |gpu: crate::engine::Gpu| {
        let memory = gpu.memory?;
        let id = format!("cuda:{}", gpu.index);
        Some(json!({"id": id, "used_bytes": memory.used_bytes, "total_bytes": memory.total_bytes}))
    };
    json!({
        "resident_bytes": resident_bytes(),
        "peak_bytes": peak_resident_bytes(),
        "total_bytes": total_memory_bytes(),
        "gpus": look_at_gpus().await.into_iter().filter_map(gpu).collect::<Vec<_>>(),
    })
}

/// A model that can be chosen.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::server) struct Choice {
    name: String,
    description: String,
    size: Option<String>,
    map: Option<f64>,
    date: Option<String>,
    repository: Option<String>,
    kind: &'static str,
    location: &'static str,
}

/// `GET /api/models`.
#[utoipa::path(
    get,
    path = "/api/models",
    tag = "App",
    summary = "What can be served",
    responses((status = 200, description = "The models.", body = state::Models))
)]
pub(in crate::server) async fn models(State(app): State<AppState>) -> Json<Value> {
    let settings = app.lifecycle.settings();
    let published = Catalog::embedded();
    let published = published.entries().iter().map(|entry| Choice {
        name: entry.name.clone(),
        description: entry.text("Model Description"),
        size: entry.size(),
        map: entry.accuracy(),
        date: Some(entry.text("Date")),
        repository: Some(entry.repository.clone()),
        kind: "pretrained",
        location: ModelSource::choose(Some(&entry.name), None)
            .map_or("hub", |source| source.location(&settings.folders).name()),
    });
    let plain = |name: &str, description: &str, kind, location| Choice {
        name: name.to_owned(),
        description: description.to_owned(),
        size: None,
        map: None,
        date: None,
        repository: None,
        kind,
        location,
    };
    let demo = plain(DEMO_MODEL, "Coloured shapes, to try the app without a download", "demo", "program");
    let own = settings.own_checkpoints();
    let own = own.iter().map(|name| plain(name, "A checkpoint of your own", "folder", "disk"));
    let models: Vec<Choice> = published.chain([demo]).chain(own).collect();
    Json(json!({"default": DEFAULT_MODEL, "models": models}))
}

/// `GET /api/devices`.
#[utoipa::path(
    get,
    path = "/api/devices",
    tag = "App",
    summary = "Where it can be served",
    responses((status = 200, description = "The devices.", body = state::Devices))
)]
pub(in crate::server) async fn devices(State(app): State<AppState>) -> Json<Value> {
    let cpu = json!({
        "id": "cpu",
        "name": OpenDevice::cpu_name(),
        "used_bytes": total_memory_bytes().zip(available_memory_bytes()).map(|(total, free)| total.saturating_sub(free)),
        "total_bytes": total_memory_bytes(),
        "precisions": ["f32", "bf16", "int8"],
    });
    let gpu = |gpu: crate::engine::Gpu| {
        let id = format!("cuda:{}", gpu.index);
        json!({
            "name": gpu.name.unwrap_or_else(|| id.clone()),
            "id": id,
            "used_bytes": gpu.memory.map(|memory| memory.used_bytes),
            "total_bytes": gpu.memory.map(|memory| memory.total_bytes),
            "precisions": ["f16", "bf16", "f32"],
        })
    };
    let devices: Vec<Value> = std::iter::once(cpu).chain(look_at_gpus().await.into_iter().map(gpu)).collect();
    let default = match &app.lifecycle.settings().devices {
        DeviceChoice::Auto => "auto".to_owned(),
        choice => choice.to_string(),
    };
    Json(json!({"default": default, "devices": devices}))
}

/// What to deploy.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::server) struct Order {
    /// Name in the list of models.
    model: String,
    /// Where it runs; what the server was started with unless given.
    device: Option<String>,
    /// What it computes in, likewise.
    precision: Option<String>,
    /// Whether the hub is asked for newer files.
    #[serde(default)]
    update: bool,
}

/// `POST /api/serve`: loading goes on in the background.
#[utoipa::path(
    post,
    path = "/api/serve",
    tag = "App",
    summary = "Load a model in the background",
    request_body(content = Order, example = json!({"model": "demo", "device": "cpu"})),
    responses((status = 202, description = "Loading has begun; `/api/status` shows it.", body = state::Accepted))
)]
pub(in crate::server) async fn serve(
    State(app): State<AppState>,
    order: Result<Json<Order>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    // Its media type is demanded: pages of other hosts cannot send it without asking first.
    let Json(order) = order.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let plan = plan(&app, &order)?;
    if app.lifecycle.is_stopping() {
        return Err(EngineError::ShuttingDown.into());
    }
    app.lifecycle.deploy_in_background(plan, Cause::Page);
    Ok((StatusCode::ACCEPTED, Json(json!({"accepted": true}))))
}

fn plan(app: &AppState, order: &Order) -> Result<ModelPlan, ApiError> {
    let settings = app.lifecycle.settings();
    let published = ModelSource::choose(Some(&order.model), None).ok();
    let source = published.or_else(|| settings.own_checkpoint_named(&order.model));
    let source = source.ok_or_else(|| DeployError::Unknown(order.model.clone()))?;
    let wrong = |what: &str, reason: String| ApiError::bad_request(format!("{what}: {reason}"));
    let devices: Option<DeviceChoice> =
        order.device.as_deref().map(str::parse).transpose().map_err(|reason| wrong("device", reason))?;
    let precision: Option<Precision> =
        order.precision.as_deref().map(str::parse).transpose().map_err(|reason| wrong("precision", reason))?;
    Ok(ModelPlan {
        source,
        devices: devices.unwrap_or_else(|| settings.devices.clone()),
        precision: precision.unwrap_or(settings.precision),
        update: order.update,
    })
}

/// `POST /api/cancel`.
#[utoipa::path(
    post,
    path = "/api/cancel",
    tag = "App",
    summary = "Break a load off",
    responses((status = 200, description = "What became of it.", body = state::Cancelled))
)]
pub(in crate::server) async fn cancel(State(app): State<AppState>) -> Json<Value> {
    Json(json!({"cancelled": app.lifecycle.cancel()}))
}

/// `POST /api/stop`: answers when the model has left.
#[utoipa::path(
    post,
    path = "/api/stop",
    tag = "App",
    summary = "Stop the model, to choose another one",
    responses((status = 200, description = "It has left.", body = state::Stopped))
)]
pub(in crate::server) async fn stop(State(app): State<AppState>) -> Json<Value> {
    app.lifecycle.stop().await;
    Json(json!({"stopped": true}))
}

/// Which lines of the log are wanted.
#[derive(Debug, Deserialize, IntoParams)]
pub(in crate::server) struct LogQuery {
    /// The number of the last line that is known.
    #[serde(default)]
    after: u64,
}

/// `GET /api/log`.
#[utoipa::path(
    get,
    path = "/api/log",
    tag = "App",
    summary = "The last lines of the log",
    params(LogQuery),
    responses((status = 200, description = "The lines.", body = state::LogLines))
)]
pub(in crate::server) async fn log(Query(query): Query<LogQuery>) -> Json<Value> {
    let (lines, last) = lines_after(query.after);
    Json(json!({"last": last, "lines": lines}))
}
