//! The arguments of a deployment as the platform's SDK writes them: into `/deploy_from_api`, into deploy information, and into
//! the record that a restarted session reads. Either implementation can read the other's.

use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::settings::LifecycleSettings;
use crate::engine::{DeviceChoice, ModelPlan, ServedModel};
use crate::models::{Catalog, ModelSource};
use crate::supervisely::SettingsError;

/// The source of published models.
pub const PRETRAINED: &str = "Pretrained models";
/// The source of a user's own.
pub const CUSTOM: &str = "Custom models";
/// Clients know three runtimes and ours is none of them, so this is the one that the original reports.
pub const RUNTIME: &str = "PyTorch";
/// Its other names.
const RUNTIME_NAMES: [&str; 3] = ["pytorch", "torch", "pt"];
/// The original's folder of published checkpoints, below its cache.
const PUBLISHED_FOLDER: &str = "checkpoints/";

/// The arguments that the original would have been deployed with.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct DeployParams {
    model_files: CheckpointPath,
    model_source: &'static str,
    model_info: Value,
    device: String,
    runtime: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct CheckpointPath {
    checkpoint: String,
}

impl DeployParams {
    /// The arguments that lead to this model. `rows` are those of the published models.
    pub fn of(model: &ServedModel, rows: &[Value]) -> Self {
        let checkpoint = if model.custom { model.source.clone() } else { format!("{PUBLISHED_FOLDER}{}", model.name) };
        Self {
            model_files: CheckpointPath { checkpoint },
            model_source: if model.custom { CUSTOM } else { PRETRAINED },
            // A checkpoint of the user's own may have the name of a published one.
            model_info: if model.custom { Value::Object(Map::new()) } else { find_row(rows, &model.name) },
            device: model.device.clone(),
            runtime: RUNTIME,
        }
    }
}

/// The row of the published model of this name, `{}` for any other model.
fn find_row(rows: &[Value], name: &str) -> Value {
    let named = |row: &&Value| row.pointer("/meta/model_name").and_then(Value::as_str) == Some(name);
    rows.iter().find(named).cloned().unwrap_or_else(|| json!({}))
}

/// The plan that a request describes: `model_name` beside its `deploy_params`, or in them.
///
/// # Errors
/// Another runtime, a source that requests may not name, a device that is none, or a model that does not exist.
pub fn requested_plan(state: &Map<String, Value>, settings: &LifecycleSettings) -> Result<ModelPlan, DeployError> {
    let parameters = match state.get("deploy_params") {
        Some(Value::Object(parameters)) => parameters,
        None | Some(Value::Null) => return Err(SettingsError::Missing { key: "deploy_params" }.into()),
        Some(other) => return Err(SettingsError::invalid("deploy_params", "an object", other).into()),
    };
    if let Some(source) = text(parameters, "model_source")?.filter(|source| !source.eq_ignore_ascii_case(PRETRAINED)) {
        return Err(DeployError::Source(source.to_owned()));
    }
    check_runtime(parameters)?;
    let devices = device(parameters)?.unwrap_or_else(|| settings.devices.clone());
    let source = published(text(state, "model_name")?, parameters)?;
    Ok(ModelPlan { source, devices, precision: settings.precision, update: false })
}

/// The plan that a record of an earlier deployment describes. Unlike requests it may name a folder, if the server was started
/// with it or it lies in the folder of own checkpoints.
///
/// # Errors
/// As [`requested_plan`].
pub fn recorded_plan(parameters: &Map<String, Value>, settings: &LifecycleSettings) -> Result<ModelPlan, DeployError> {
    check_runtime(parameters)?;
    let devices = device(parameters)?.unwrap_or_else(|| settings.devices.clone());
    let source = match text(parameters, "model_source")? {
        Some(source) if source.eq_ignore_ascii_case(CUSTOM) => {
            let folder = checkpoint(parameters).unwrap_or_default();
            settings.own_checkpoint(folder).ok_or_else(|| DeployError::Unknown(folder.to_owned()))?
        }
        _ => published(None, parameters)?,
    };
    Ok(ModelPlan { source, devices, precision: settings.precision, update: false })
}

/// The model is named, or described in the parameters.
fn published(name: Option<&str>, parameters: &Map<String, Value>) -> Result<ModelSource, DeployError> {
    let described = parameters.get("model_info").and_then(|info| info.pointer("/meta/model_name")?.as_str());
    let checkpoint = checkpoint(parameters);
    let in_folder = checkpoint.and_then(|checkpoint| checkpoint.strip_prefix(PUBLISHED_FOLDER));
    if let Some(name) = name.or(described).or(in_folder) {
        return ModelSource::choose(Some(name), None).map_err(|_| DeployError::Unknown(name.to_owned()));
    }
    let catalog = Catalog::embedded();
    let entry = catalog.entries().iter().find(|entry| Some(entry.repository.as_str()) == checkpoint);
    let entry = entry.ok_or(SettingsError::Missing { key: "model_name" })?;
    Ok(ModelSource::choose(Some(&entry.name), None).unwrap_or(ModelSource::Demo))
}

fn checkpoint(parameters: &Map<String, Value>) -> Option<&str> {
    parameters.get("model_files")?.get("checkpoint")?.as_str()
}

fn check_runtime(parameters: &Map<String, Value>) -> Result<(), DeployError> {
    match text(parameters, "runtime")? {
        Some(other) if !RUNTIME_NAMES.contains(&other.to_ascii_lowercase().as_str()) => {
            Err(DeployError::Runtime(other.to_owned()))
        }
        _ => Ok(()),
    }
}

fn device(parameters: &Map<String, Value>) -> Result<Option<DeviceChoice>, DeployError> {
    let Some(device) = text(parameters, "device")? else { return Ok(None) };
    let read = device.trim().to_ascii_lowercase().parse();
    read.map(Some).map_err(|reason| DeployError::Device { device: device.to_owned(), reason })
}

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> Result<Option<&'a str>, SettingsError> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(SettingsError::invalid(key, "a string", other)),
    }
}

/// Why a description of a deployment is none that can be followed. The caller's fault.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DeployError {
    /// An argument is missing or has a wrong type.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// No published model has this name.
    #[error("Model {0} not found in models.json of serving app")]
    Unknown(String),
    /// A runtime that there is not.
    #[error("runtime {0:?} is not supported by this server, only {RUNTIME:?} is")]
    Runtime(String),
    /// A source that requests may not name.
    #[error(
        "model_source {0:?} is not supported by this server, only {PRETRAINED:?} is; a checkpoint of your own is served \
         with --weights, or chosen on the app's page if the server was started with --models-folder"
    )]
    Source(String),
    /// A device that is none.
    #[error("device {device:?}: {reason}")]
    Device {
        /// What was asked for.
        device: String,
        /// What is wrong with it.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn served(name: &str, custom: bool) -> ServedModel {
        ServedModel {
            name: name.to_owned(),
            source: if custom { format!("weights/{name}") } else { format!("microsoft/{name}") },
            custom,
            device: "cpu".to_owned(),
            precision: "FP32".to_owned(),
            hardware: "a processor".to_owned(),
            stale: None,
        }
    }

    #[test]
    fn what_is_recorded_is_read_again() {
        let settings = LifecycleSettings::default();
        let rows = Catalog::embedded().rows_for_clients();
        for name in ["Florence-2-base", "Florence-2-large-ft", "demo"] {
            let written = serde_json::to_value(DeployParams::of(&served(name, false), &rows)).unwrap();
            let plan = recorded_plan(&map(written), &settings).unwrap();
            assert_eq!((plan.source.name().as_str(), plan.devices), (name, DeviceChoice::Cpu));
        }
    }

    #[test]
    fn a_folder_that_was_not_opened_is_not_read_again() {
        let written = serde_json::to_value(DeployParams::of(&served("mine", true), &[])).unwrap();
        let error = recorded_plan(&map(written), &LifecycleSettings::default()).unwrap_err();
        assert_eq!(error, DeployError::Unknown("weights/mine".to_owned()));
    }

    #[test]
    fn the_originals_record_is_read() {
        let record = json!({"model_files": {"checkpoint": "microsoft/Florence-2-base"}, "model_source": "Pretrained models",
            "model_info": {"Model": "Florence-2-base", "meta": {"model_name": "Florence-2-base"}},
            "device": "cuda:0", "runtime": "PyTorch"});
        let plan = recorded_plan(&map(record), &LifecycleSettings::default()).unwrap();
        assert_eq!(plan.source.name(), "Florence-2-base");
        assert_eq!(plan.devices, DeviceChoice::Cuda(vec![0]));
    }

    #[test]
    fn requests_are_checked_before_anything_happens() {
        let plan = |state: Value| requested_plan(&map(state), &LifecycleSettings::default());
        let named =
            plan(json!({"model_name": "FLORENCE-2-base", "deploy_params": {"runtime": "torch", "device": "CPU"}}));
        assert_eq!(named.unwrap().source.name(), "Florence-2-base");
        let unknown = plan(json!({"model_name": "x", "deploy_params": {}})).unwrap_err();
        assert_eq!(unknown.to_string(), "Model x not found in models.json of serving app");
        for wrong in [
            json!({"model_name": "Florence-2-base"}),
            json!({"model_name": "Florence-2-base", "deploy_params": {"runtime": "TensorRT"}}),
            json!({"model_name": "Florence-2-base", "deploy_params": {"model_source": "Custom models"}}),
            json!({"model_name": "Florence-2-base", "deploy_params": {"device": "tpu"}}),
            json!({"deploy_params": {}}),
        ] {
            assert!(plan(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
