//! Deployment on demand, and what can be deployed.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::super::envelope::Envelope;
use super::super::error::ApiError;
use super::super::openapi::{answers, requests};
use super::super::state::AppState;
use crate::engine::EngineError;
use crate::lifecycle::{Cause, requested_plan};
use crate::models::Catalog;
use crate::session::SessionError;

/// Arguments of the original's load function, which `/get_deploy_settings` lists.
const LOAD_ARGUMENTS: [&str; 5] = ["model_files", "model_info", "model_source", "device", "runtime"];

/// `POST /deploy_from_api`: answers once the model does. What is wrong with the request is told before anything happens to
/// the model that is served.
#[utoipa::path(
    post,
    path = "/deploy_from_api",
    tag = "Deployment",
    summary = "Load a model; answers once it does",
    request_body(content = requests::Envelope<requests::DeployState>, example = json!({"state": {"model_name": "Florence-2-base", "deploy_params": {"model_source": "Pretrained models", "device": null, "runtime": "PyTorch"}}})),
    responses((status = 200, description = "The model answers. A model that cannot be had is a 409 and leaves the present one as it is.", body = answers::DeployResult))
)]
pub(in crate::server) async fn deploy(
    State(app): State<AppState>,
    envelope: Envelope,
) -> Result<Json<Value>, ApiError> {
    let plan = requested_plan(envelope.state()?, app.lifecycle.settings())?;
    match app.lifecycle.deploy(plan, Cause::Api).await {
        Ok(_) => Ok(Json(json!({"result": "model was successfully deployed"}))),
        Err(SessionError::Engine(EngineError::Device(message) | EngineError::Load(message))) => {
            Err(ApiError::not_deployable(message))
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /get_deploy_settings`.
#[utoipa::path(
    post,
    path = "/get_deploy_settings",
    tag = "Deployment",
    summary = "Arguments of the original's load function",
    request_body = Option<requests::EmptyEnvelope>,
    responses((status = 200, description = "The arguments.", body = Vec<answers::LoadArgument>))
)]
pub(in crate::server) async fn settings(_: Envelope) -> Json<Value> {
    let argument = |name| json!({"name": name, "type": null, "default": null, "doc": null});
    Json(LOAD_ARGUMENTS.into_iter().map(argument).collect())
}

/// `POST /list_pretrained_models`.
#[utoipa::path(
    post,
    path = "/list_pretrained_models",
    tag = "Deployment",
    summary = "Names of the published models",
    request_body = Option<requests::EmptyEnvelope>,
    responses((status = 200, description = "The names.", body = Vec<String>))
)]
pub(in crate::server) async fn list_models(_: Envelope) -> Json<Vec<String>> {
    Json(Catalog::embedded().entries().iter().map(|entry| entry.name.clone()).collect())
}

/// `POST /list_pretrained_model_infos`.
#[utoipa::path(
    post,
    path = "/list_pretrained_model_infos",
    tag = "Deployment",
    summary = "Rows of the published models",
    request_body = Option<requests::EmptyEnvelope>,
    responses((status = 200, description = "A row each, as `models.json` has it.", body = Vec<Map<String, Value>>))
)]
pub(in crate::server) async fn list_model_infos(State(app): State<AppState>, _: Envelope) -> Json<Vec<Value>> {
    Json(app.lifecycle.rows().to_vec())
}
