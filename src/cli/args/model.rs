//! Which model, and where it runs.

use std::path::{Path, PathBuf};

use clap::Args;

use super::super::error::{CliError, CliResult};
use crate::engine::{DeviceChoice, ModelPlan, Precision};
use crate::models::{DEFAULT_MODEL, ModelError, ModelSource};

/// Which model, and where it runs.
#[derive(Debug, Args)]
pub struct ModelArgs {
    /// A published model such as Florence-2-base, or demo, or a folder as for --weights [default: Florence-2-large]
    #[arg(long, value_name = "NAME|DIR", conflicts_with = "weights")]
    model: Option<String>,
    /// Folder of a checkpoint: config.json, preprocessor_config.json, tokenizer.json, and weights
    #[arg(long, value_name = "DIR")]
    weights: Option<PathBuf>,
    /// auto, cpu, cuda (the first GPU), cuda:N, cuda:N,cuda:M or all
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,
    /// auto, f32, bf16, int8 (on a CPU only) or f16 (on a GPU only); auto is f32 on a CPU and f16 on a GPU
    #[arg(long, value_name = "TYPE", default_value = "auto")]
    pub precision: Precision,
}

impl ModelArgs {
    /// The model and devices that are meant.
    ///
    /// # Errors
    /// A model that does not exist, or a folder that cannot be read.
    pub fn plan(&self) -> CliResult<ModelPlan> {
        Ok(ModelPlan { source: self.source()?, devices: self.device.clone(), precision: self.precision, update: false })
    }

    /// The checkpoint's folder, if one was named.
    pub fn folder(&self) -> Option<PathBuf> {
        match self.source() {
            Ok(ModelSource::Folder(folder)) => Some(folder),
            _ => None,
        }
    }

    fn source(&self) -> CliResult<ModelSource> {
        match &self.model {
            Some(model) => find_model(model),
            None => Ok(ModelSource::choose(None, self.weights.as_deref())?),
        }
    }

    /// Names the default model if none was named.
    pub fn name_default(&mut self) {
        if !self.is_named() {
            self.model = Some(DEFAULT_MODEL.to_owned());
        }
    }

    /// Whether a model was named.
    pub const fn is_named(&self) -> bool {
        self.model.is_some() || self.weights.is_some()
    }
}

/// A model by its name, or by the folder that it lies in.
fn find_model(model: &str) -> CliResult<ModelSource> {
    let unknown = match ModelSource::choose(Some(model), None) {
        Err(unknown @ ModelError::Unknown { .. }) => unknown,
        other => return Ok(other?),
    };
    let folder = Path::new(model);
    if folder.is_dir() {
        return Ok(ModelSource::choose(None, Some(folder))?);
    }
    // No model's name has a slash.
    if model.contains('/') {
        return Err(CliError::Usage(format!(
            "--model {model}: there is no such folder here; a checkpoint in Team Files has to be downloaded first"
        )));
    }
    Err(unknown.into())
}

/// The word that callers know what computes by. There is one, so nothing follows from it.
#[derive(Debug, Args)]
pub struct RuntimeArgs {
    /// PyTorch, the original's name for computing on the checkpoint's own weights, which is all there is
    #[arg(long = "runtime", value_name = "NAME", value_parser = parse_runtime)]
    _runtime: Option<Runtime>,
}

/// The one runtime.
#[derive(Debug, Clone, Copy)]
struct Runtime;

fn parse_runtime(text: &str) -> Result<Runtime, String> {
    match text.eq_ignore_ascii_case("PyTorch") {
        true => Ok(Runtime),
        false => Err("only PyTorch is supported, for there are no exported models; leave it out".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_have_names_and_folders() {
        assert_eq!(find_model("florence-2-BASE").unwrap().name(), "Florence-2-base");
        let folder = tempfile::tempdir().unwrap();
        let reason = |model: &str| find_model(model).unwrap_err().to_string();
        assert!(reason(folder.path().to_str().unwrap()).contains("config.json"));
        assert!(reason("/experiments/1/best").contains("Team Files"));
        assert!(reason("Florence-3").contains("Florence-2-large"));
        for file in ["config.json", "model.safetensors"] {
            std::fs::write(folder.path().join(file), "{}").unwrap();
        }
        let found = find_model(folder.path().to_str().unwrap()).unwrap();
        assert_eq!(found, ModelSource::Folder(folder.path().to_owned()));
    }
}
