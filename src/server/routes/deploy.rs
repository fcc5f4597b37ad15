//! Deployment on demand, and what can be deployed.

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};

use super::super::envelope::Envelope;
use super::super::error::ApiError;
use super::super::state::AppState;
use crate::engine::{EngineError, ModelPlan};
use crate::models::{Catalog, ModelSource};
use crate::session::SessionError;
use crate::supervisely::SettingsError;

/// The one source that requests may name.
const PRETRAINED: &str = "Pretrained models";
/// The one runtime that clients know and that means us.
const RUNTIME: &str = "PyTorch";
/// Arguments of the original's load function, which `/get_deploy_settings` lists.
const LOAD_ARGUMENTS: [&str; 5] = ["model_files", "model_info", "model_source", "device", "runtime"];

/// `POST /deploy_from_api`: answers once the model does. What is wrong with the request is told before anything happens to
/// the model that is served.
pub(in crate::server) async fn deploy(
    State(app): State<AppState>,
    envelope: Envelope,
) -> Result<Json<Value>, ApiError> {
    let plan = plan(&app, envelope.state()?)?;
    match app.session.deploy(plan).await {
        Ok(_) => Ok(Json(json!({"result": "model was successfully deployed"}))),
        Err(SessionError::Engine(EngineError::Device(message) | EngineError::Load(message))) => {
            Err(ApiError::not_deployable(message))
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /get_deploy_settings`.
pub(in crate::server) async fn settings(_: Envelope) -> Json<Value> {
    let argument = |name| json!({"name": name, "type": null, "default": null, "doc": null});
    Json(LOAD_ARGUMENTS.into_iter().map(argument).collect())
}

/// `POST /list_pretrained_models`.
pub(in crate::server) async fn list_models(_: Envelope) -> Json<Vec<String>> {
    Json(Catalog::embedded().entries().iter().map(|entry| entry.name.clone()).collect())
}

/// `POST /list_pretrained_model_infos`.
pub(in crate::server) async fn list_model_infos(State(app): State<AppState>, _: Envelope) -> Json<Vec<Value>> {
    Json(app.models.to_vec())
}

fn plan(app: &AppState, state: &Map<String, Value>) -> Result<ModelPlan, ApiError> {
    let parameters = match state.get("deploy_params") {
        Some(Value::Object(parameters)) => parameters,
        None | Some(Value::Null) => return Err(SettingsError::Missing { key: "deploy_params" }.into()),
        Some(other) => return Err(SettingsError::invalid("deploy_params", "an object", other).into()),
    };
    only(parameters, "model_source", PRETRAINED)?;
    only(parameters, "runtime", RUNTIME)?;
    let devices = match text(parameters, "device")? {
        None => app.deploy.devices.clone(),
        Some(device) => {
            device.parse().map_err(|reason| ApiError::bad_request(format!("device {device:?}: {reason}")))?
        }
    };
    let source = source(state, parameters)?;
    Ok(ModelPlan { source, devices, precision: app.deploy.precision })
}

/// The model is named at the top, or described in the parameters.
fn source(state: &Map<String, Value>, parameters: &Map<String, Value>) -> Result<ModelSource, ApiError> {
    let described = parameters.get("model_info").and_then(|info| info.pointer("/meta/model_name")?.as_str());
    if let Some(name) = text(state, "model_name")?.or(described) {
        return ModelSource::choose(Some(name), None)
            .map_err(|_| ApiError::bad_request(format!("Model {name} not found in models.json of serving app")));
    }
    let files = parameters.get("model_files").and_then(|files| files.get("checkpoint")?.as_str());
    let catalog = Catalog::embedded();
    let entry = catalog.entries().iter().find(|entry| Some(entry.repository.as_str()) == files);
    let entry = entry.ok_or(SettingsError::Missing { key: "model_name" })?;
    Ok(ModelSource::Published { name: entry.name.clone(), repository: entry.repository.clone() })
}

/// Refuses every value but the one that there is.
fn only(parameters: &Map<String, Value>, key: &str, supported: &'static str) -> Result<(), ApiError> {
    match text(parameters, key)? {
        Some(other) if !other.eq_ignore_ascii_case(supported) => Err(ApiError::bad_request(format!(
            "{key} {other:?} is not supported by this server, only {supported:?} is"
        ))),
        _ => Ok(()),
    }
}

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> Result<Option<&'a str>, ApiError> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(SettingsError::invalid(key, "a string", other).into()),
    }
}
