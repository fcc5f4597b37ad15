//! What the page is told.

#![allow(dead_code, reason = "these are descriptions, nothing is made of them")]

use utoipa::ToSchema;

use super::super::routes::page_api::Choice;

/// Everything about the server's state.
#[derive(ToSchema)]
pub(in crate::server) struct PageStatus {
    app: AppStatus,
    model: Option<ModelStatus>,
    loading: Option<LoadingStatus>,
    /// Why the last load failed.
    failure: Option<LoadFailure>,
    /// Why the device does not compute any more.
    lost: Option<String>,
    /// Whether the process is ending.
    stopping: bool,
    memory: ServerMemory,
    requests: RequestCounts,
    latency_ms: Option<LatencyStatus>,
    /// Seconds without a request after which the model leaves its device.
    idle_freeze_s: Option<u64>,
}

#[derive(ToSchema)]
struct AppStatus {
    name: String,
    version: String,
    session_id: Option<i64>,
    mode: String,
    uptime_s: u64,
}

#[derive(ToSchema)]
struct ModelStatus {
    name: String,
    /// The hub's repository, or a folder.
    source: String,
    custom: bool,
    device: String,
    precision: String,
    hardware: String,
    /// `ready` or `frozen`.
    state: String,
    /// Why its files are not the newest, where an update was asked for.
    stale: Option<String>,
    /// What brought it here.
    cause: Option<String>,
    deployed_s: Option<u64>,
}

#[derive(ToSchema)]
struct LoadingStatus {
    model_name: String,
    step: String,
    text: String,
    done_bytes: Option<u64>,
    total_bytes: Option<u64>,
    cause: Option<String>,
}

#[derive(ToSchema)]
struct LoadFailure {
    model_name: String,
    message: String,
}

#[derive(ToSchema)]
struct ServerMemory {
    resident_bytes: Option<u64>,
    peak_bytes: Option<u64>,
    total_bytes: Option<u64>,
    gpus: Vec<GpuMemory>,
}

#[derive(ToSchema)]
struct GpuMemory {
    id: String,
    used_bytes: u64,
    total_bytes: u64,
}

/// Requests since the start, by how they ended, and those that are under way.
#[derive(ToSchema)]
struct RequestCounts {
    answered: u64,
    failed: u64,
    refused: u64,
    given_up: u64,
    held: u64,
    runs: u64,
}

/// Of the last predictions that callers waited for.
#[derive(ToSchema)]
struct LatencyStatus {
    median: f64,
    p95: f64,
    count: u64,
}

/// The models that can be served.
#[derive(ToSchema)]
pub(in crate::server) struct Models {
    /// The one that is served unless another one is named.
    default: String,
    models: Vec<Choice>,
}

/// The devices that a model can run on.
#[derive(ToSchema)]
pub(in crate::server) struct Devices {
    default: String,
    devices: Vec<DeviceStatus>,
}

#[derive(ToSchema)]
struct DeviceStatus {
    id: String,
    name: String,
    used_bytes: Option<u64>,
    total_bytes: Option<u64>,
    precisions: Vec<String>,
}

/// Lines of the log.
#[derive(ToSchema)]
pub(in crate::server) struct LogLines {
    /// Number of the last line.
    last: u64,
    lines: Vec<LogLine>,
}

#[derive(ToSchema)]
struct LogLine {
    /// Its number, from 1.
    seq: u64,
    /// RFC 3339 in UTC.
    time: String,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    level: String,
    message: String,
}

/// The load goes on in the background.
#[derive(ToSchema)]
pub(in crate::server) struct Accepted {
    accepted: bool,
}

/// Whether there was a load to break off.
#[derive(ToSchema)]
pub(in crate::server) struct Cancelled {
    cancelled: bool,
}

/// The model has left.
#[derive(ToSchema)]
pub(in crate::server) struct Stopped {
    stopped: bool,
}
