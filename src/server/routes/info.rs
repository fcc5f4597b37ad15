//! What the session is, what it can do, and what it has named so far.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::super::envelope::Envelope;
use super::super::error::ApiError;
use super::super::openapi::{answers, requests};
use super::super::state::AppState;
use crate::engine::ServedModel;
use crate::lifecycle::{CUSTOM, DeployParams, PRETRAINED, RUNTIME};
use crate::supervisely::{DEFAULT_SETTINGS_YAML, ProjectMeta, TASK_TYPE, VideoArguments};
use crate::tracking::TrackerSettings;

/// `POST /get_session_info`.
#[utoipa::path(
    post,
    path = "/get_session_info",
    tag = "Session",
    summary = "What the session is and can do",
    request_body = Option<requests::EmptyEnvelope>,
    responses((status = 200, description = "The abilities.", body = SessionInfo))
)]
pub(in crate::server) async fn session_info(
    State(app): State<AppState>,
    _: Envelope,
) -> Result<Json<SessionInfo>, ApiError> {
    app.served_model()?;
    Ok(Json(SessionInfo {
        app_name: app.identity.app_name.clone(),
        session_id: app.identity.session_id,
        number_of_classes: 1,
        sliding_window_support: "none",
        videos_support: true,
        async_video_inference_support: true,
        tracking_on_videos_support: true,
        async_image_inference_support: true,
        tracking_algorithms: [VideoArguments::TRACKER],
        batch_inference_support: true,
        max_batch_size: None,
        task_type: TASK_TYPE,
    }))
}

/// `POST /get_model_meta`.
#[utoipa::path(
    post,
    path = "/get_model_meta",
    tag = "Session",
    summary = "Classes and tags that were used so far",
    request_body = Option<requests::EmptyEnvelope>,
    responses((status = 200, description = "The meta.", body = ProjectMeta))
)]
pub(in crate::server) async fn model_meta(
    State(app): State<AppState>,
    _: Envelope,
) -> Result<Json<ProjectMeta>, ApiError> {
    app.served_model()?;
    Ok(Json(app.session.project_meta()))
}

/// `POST /get_output_classes_and_tags`: the same under another name.
#[utoipa::path(
    post,
    path = "/get_output_classes_and_tags",
    tag = "Session",
    summary = "Classes and tags that were used so far, under another name",
    request_body = Option<requests::EmptyEnvelope>,
    responses((status = 200, description = "The meta.", body = ProjectMeta))
)]
pub(in crate::server) async fn output_classes_and_tags(
    app: State<AppState>,
    envelope: Envelope,
) -> Result<Json<ProjectMeta>, ApiError> {
    model_meta(app, envelope).await
}

/// `POST /get_custom_inference_settings`: the text with its comments, because people read it.
#[utoipa::path(
    post,
    path = "/get_custom_inference_settings",
    tag = "Session",
    summary = "Settings with their defaults and comments",
    request_body = Option<requests::EmptyEnvelope>,
    responses((status = 200, description = "The settings.", body = answers::SettingsText))
)]
pub(in crate::server) async fn inference_settings(_: Envelope) -> Json<Value> {
    Json(json!({ "settings": DEFAULT_SETTINGS_YAML }))
}

/// `POST /get_deploy_info`.
#[utoipa::path(
    post,
    path = "/get_deploy_info",
    tag = "Deployment",
    summary = "What is deployed, and how",
    request_body = Option<requests::EmptyEnvelope>,
    responses((status = 200, description = "The model.", body = DeployInfo))
)]
pub(in crate::server) async fn deploy_info(
    State(app): State<AppState>,
    _: Envelope,
) -> Result<Json<DeployInfo>, ApiError> {
    Ok(Json(DeployInfo::new(app.served_model()?, app.lifecycle.rows())))
}

/// `POST /get_tracking_settings`.
#[utoipa::path(
    post,
    path = "/get_tracking_settings",
    tag = "Session",
    summary = "Defaults of the tracker",
    request_body = Option<requests::EmptyEnvelope>,
    responses((status = 200, description = "The defaults.", body = answers::Trackers))
)]
pub(in crate::server) async fn tracking_settings(
    State(app): State<AppState>,
    _: Envelope,
) -> Result<Json<Value>, ApiError> {
    app.served_model()?;
    Ok(Json(json!({ VideoArguments::TRACKER: TrackerSettings::default() })))
}

/// `POST /is_deployed`: the colon in the key and the unchanging text are the original's.
#[utoipa::path(
    post,
    path = "/is_deployed",
    tag = "Deployment",
    summary = "Whether a model is served",
    request_body = Option<requests::EmptyEnvelope>,
    responses((status = 200, description = "Yes or no.", body = answers::IsDeployed))
)]
pub(in crate::server) async fn is_deployed(State(app): State<AppState>, _: Envelope) -> Json<Value> {
    Json(json!({ "deployed": app.is_deployed(), "description:": "Model is ready to receive requests" }))
}

/// Abilities of the session; info widgets print every key.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::server) struct SessionInfo {
    app_name: String,
    session_id: Option<i64>,
    /// The classes known beforehand, which is `object` alone: the others are in the pictures.
    number_of_classes: usize,
    sliding_window_support: &'static str,
    videos_support: bool,
    async_video_inference_support: bool,
    tracking_on_videos_support: bool,
    async_image_inference_support: bool,
    tracking_algorithms: [&'static str; 1],
    batch_inference_support: bool,
    max_batch_size: Option<usize>,
    #[serde(rename = "task type")]
    task_type: &'static str,
}

/// What is deployed. Clients build a fixed record from it: one key more or less is an error there.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::server) struct DeployInfo {
    checkpoint_name: String,
    model_name: String,
    architecture: &'static str,
    checkpoint_url: Option<String>,
    custom_checkpoint_path: Option<String>,
    model_source: &'static str,
    task_type: &'static str,
    device: String,
    runtime: &'static str,
    model_precision: String,
    hardware: String,
    deploy_params: DeployParams,
}

impl DeployInfo {
    fn new(model: ServedModel, rows: &[Value]) -> Self {
        Self {
            deploy_params: DeployParams::of(&model, rows),
            checkpoint_name: model.name.clone(),
            model_name: model.name,
            architecture: "Florence-2",
            checkpoint_url: (!model.custom).then(|| model.source.clone()),
            custom_checkpoint_path: model.custom.then_some(model.source),
            model_source: if model.custom { CUSTOM } else { PRETRAINED },
            task_type: TASK_TYPE,
            device: model.device,
            runtime: RUNTIME,
            model_precision: model.precision,
            hardware: model.hardware,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_from_a_folder_has_a_path_and_no_address() {
        let model = ServedModel {
            name: "mine".to_owned(),
            source: "weights/mine".to_owned(),
            custom: true,
            device: "cpu".to_owned(),
            precision: "FP32".to_owned(),
            hardware: "a processor".to_owned(),
            stale: None,
        };
        let info = serde_json::to_value(DeployInfo::new(model, &[])).unwrap();
        assert_eq!(info["checkpoint_url"], Value::Null);
        assert_eq!(info["custom_checkpoint_path"], "weights/mine");
        assert_eq!(info["model_source"], "Custom models");
        assert_eq!(info["deploy_params"]["model_files"]["checkpoint"], "weights/mine");
        assert_eq!(info["deploy_params"]["model_info"], json!({}));
        assert_eq!(info.as_object().unwrap().len(), 12);
    }
}
