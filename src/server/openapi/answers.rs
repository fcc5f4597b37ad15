//! What answers hold, where the handlers build them key by key.

#![allow(dead_code, reason = "these are descriptions, nothing is made of them")]

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::supervisely::Prediction;
use crate::tracking::TrackerSettings;

/// Why something was not done. Clients of the platform know two shapes, and this is both in one.
#[derive(ToSchema)]
pub(in crate::server) struct ErrorBody {
    detail: ErrorDetail,
    /// For people.
    message: Option<String>,
    /// Always false.
    success: Option<bool>,
}

/// The message once more, with a title, or bare where the original has it so, or the original's list of wrong fields.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum ErrorDetail {
    Titled(TitledError),
    Bare(String),
    Fields(Vec<Value>),
}

#[derive(Serialize, ToSchema)]
struct TitledError {
    title: String,
    message: String,
}

/// The process lives.
#[derive(ToSchema)]
pub(in crate::server) struct Alive {
    /// Always true.
    running: bool,
    /// `production` on the platform, else `development`.
    mode: String,
}

/// A model answers.
#[derive(ToSchema)]
pub(in crate::server) struct Ready {
    /// `ready`.
    status: String,
}

/// A sentence for people.
#[derive(ToSchema)]
pub(in crate::server) struct Message {
    message: String,
}

/// Whether a model is served.
#[derive(ToSchema)]
pub(in crate::server) struct IsDeployed {
    deployed: bool,
    /// Always the same sentence; the colon in its name is the original's.
    #[schema(rename = "description:")]
    description: String,
}

/// Settings with their defaults.
#[derive(ToSchema)]
pub(in crate::server) struct SettingsText {
    /// YAML with comments.
    settings: String,
}

/// The trackers and their defaults.
#[derive(ToSchema)]
pub(in crate::server) struct Trackers {
    botsort: TrackerSettings,
}

/// What the server is doing.
#[derive(ToSchema)]
pub(in crate::server) struct StatusAnswer {
    is_deployed: bool,
    progress: StatusProgress,
    gpu_memory: Memory,
    ram_memory: Memory,
}

#[derive(ToSchema)]
struct StatusProgress {
    message: String,
    current: u64,
    total: u64,
}

/// Bytes; null where they are not known.
#[derive(ToSchema)]
pub(in crate::server) struct Memory {
    allocated: Option<u64>,
    total: Option<u64>,
}

/// An argument of the original's load function.
#[derive(ToSchema)]
pub(in crate::server) struct LoadArgument {
    name: String,
    #[schema(rename = "type")]
    kind: Option<String>,
    default: Option<Value>,
    doc: Option<String>,
}

/// What came of a deployment.
#[derive(ToSchema)]
pub(in crate::server) struct DeployResult {
    result: String,
}

/// What prompts may say.
#[derive(ToSchema)]
pub(in crate::server) struct Instructions {
    instructions: String,
}

/// The model's own answer: a text, or what the task of the prompt makes of it.
#[derive(ToSchema)]
pub(in crate::server) struct Answer {
    answer: Value,
}

/// How far a run is. The doubled keys are the original's.
#[derive(ToSchema)]
pub(in crate::server) struct RunStatus<Pending: ToSchema> {
    uuid: String,
    /// `Preparing model for inference...`, `warmup`, `Running inference...`, `Finished`, `Cancelled` or `Error`.
    stage: String,
    progress: RunProgress,
    pending_results: Pending,
    final_result: bool,
    exception: Option<RunException>,
    /// Whether the stage is `Running inference...`.
    is_inferring: bool,
    stopped: bool,
    /// Whether it waits for results to be taken.
    paused: bool,
    /// Whether it has ended in any way.
    finished: bool,
    /// Seconds of a clock that only runs forward.
    created_at: f64,
    updated_at: f64,
    cancel_inference: bool,
    has_result: bool,
    preparing_progress: RunProgress,
    result: bool,
}

/// How far a run is, and the memory of the server.
#[derive(ToSchema)]
pub(in crate::server) struct RunStatusAlone {
    uuid: String,
    stage: String,
    progress: RunProgress,
    exception: Option<RunException>,
    is_inferring: bool,
    stopped: bool,
    paused: bool,
    finished: bool,
    cancel_inference: bool,
    has_result: bool,
    preparing_progress: RunProgress,
    result: bool,
    gpu_memory: Memory,
    ram_memory: Memory,
}

/// How much of a stage is done. Before the running stage 0 of 1.
#[derive(ToSchema)]
pub(in crate::server) struct RunProgress {
    current: u64,
    total: u64,
    /// The stage.
    status: Option<String>,
    /// The stage once more.
    message: Option<String>,
    is_size: Option<bool>,
}

/// Why a run failed.
#[derive(ToSchema)]
struct RunException {
    #[schema(rename = "type")]
    kind: String,
    message: String,
    traceback: String,
}

/// A result of a run.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(in crate::server) enum RunResult {
    Prediction(Box<Prediction>),
    Times(BatchTimes),
}

/// Milliseconds of one batch of a speed test.
#[derive(Serialize, ToSchema)]
pub(in crate::server) struct BatchTimes {
    total: f64,
    preprocess: Option<f64>,
    inference: Option<f64>,
    postprocess: Option<f64>,
}

/// Predictions by frame, and the annotation of the whole video where objects were tracked.
#[derive(ToSchema)]
pub(in crate::server) struct VideoAnswerBody {
    ann: Vec<Prediction>,
    video_ann: Option<Map<String, Value>>,
}

/// What became of a request to stop or to clear a run.
#[derive(ToSchema)]
pub(in crate::server) struct Done {
    message: Option<String>,
    success: bool,
}

/// What the platform's page shell asks for. There is no token in it, whoever asks.
#[derive(ToSchema)]
pub(in crate::server) struct ShellSession {
    #[schema(rename = "TASK_ID")]
    task_id: String,
    #[schema(rename = "SERVER_ADDRESS")]
    server_address: String,
    #[schema(rename = "API_TOKEN")]
    api_token: String,
}
