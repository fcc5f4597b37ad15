//! Options of `predict`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use serde_json::{Map, Value, json};

use super::super::error::{CliError, CliResult};
use super::settings::read_settings;
use super::{ModelArgs, RuntimeArgs, parse_task};
use crate::engine::ModelPlan;
use crate::session::Inquiry;
use crate::supervisely::{InferenceSettings, Regions};

/// Options of `predict`, as they are written.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("pictures").required(true))]
pub struct PredictArgs {
    /// Pictures, or folders of pictures
    #[arg(group = "pictures", value_name = "FILE|FOLDER")]
    inputs: Vec<PathBuf>,
    /// All pictures of a project of the platform
    #[arg(long, group = "pictures", visible_alias = "project_id", value_name = "ID", value_parser = parse_id)]
    project_id: Option<i64>,
    /// All pictures of datasets of one project, such as 505,506
    #[arg(long, group = "pictures", visible_alias = "dataset_id", value_name = "ID,…", value_delimiter = ',',
        value_parser = parse_id)]
    dataset_id: Vec<i64>,
    /// Pictures of the platform, such as 301,302
    #[arg(long, group = "pictures", visible_alias = "image_id", value_name = "ID,…", value_delimiter = ',',
        value_parser = parse_id)]
    image_id: Vec<i64>,
    /// Send the results to the platform: those of a project or of datasets into a new project with copies of the pictures,
    /// those of pictures to the pictures themselves, in place of the labels that they have
    #[arg(long)]
    upload: bool,
    /// The model.
    #[command(flatten)]
    model: ModelArgs,
    /// The runtime.
    #[command(flatten)]
    _runtime: RuntimeArgs,
    /// Inference settings: a .json or .yaml file, or words such as conf=0.3 scores=true
    #[arg(long, num_args = 1.., value_name = "FILE|KEY=VALUE")]
    settings: Vec<String>,
    /// Phrases to find, such as "a red circle"; goes before --settings, as the next two do
    #[arg(long, conflicts_with = "mapping")]
    text: Option<String>,
    /// Task such as OD; by default a text is grounded, and without one the picture is captioned
    #[arg(long, value_name = "TASK", value_parser = parse_task)]
    task: Option<String>,
    /// JSON object from class to prompt, such as {"ball": "a red circle"}
    #[arg(long, value_name = "JSON")]
    mapping: Option<String>,
    /// Folder for the annotations, one FILENAME.json for each picture; those of a folder or dataset lie in a folder of its name
    #[arg(long, value_name = "DIR", default_value = "./predictions")]
    output: PathBuf,
    /// Also write each picture with its boxes drawn, as FILENAME.png beside FILENAME.json
    #[arg(long)]
    draw: bool,
}

/// What `predict` is to do.
#[derive(Debug)]
pub struct PredictOrder {
    /// The pictures.
    pub source: Source,
    /// The model.
    pub model: ModelPlan,
    /// What is asked about every picture, as a client of the server would send it.
    pub settings: Map<String, Value>,
    /// The same, read.
    pub inquiry: Inquiry,
    /// The parts of the pictures to look at.
    pub regions: Regions,
    /// Folder for what is written.
    pub output: PathBuf,
    /// Whether drawings are written.
    pub draw: bool,
}

/// Where pictures come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The disk: files and folders.
    Disk(Vec<PathBuf>),
    /// The platform.
    Platform {
        /// Which of its pictures.
        pictures: PlatformSource,
        /// Whether results go there as well, and are not written.
        upload: bool,
    },
}

/// Pictures of the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlatformSource {
    /// All of a project.
    Project(i64),
    /// All of some datasets.
    Datasets(Vec<i64>),
    /// Some, each once.
    Images(Vec<i64>),
}

impl PredictArgs {
    /// The options, checked as far as they can be without the disk's pictures, the platform and the model.
    ///
    /// # Errors
    /// Options that do not go together, settings that cannot be served, a model that does not exist.
    pub fn resolve(&self) -> CliResult<PredictOrder> {
        let source = self.source()?;
        let settings = self.settings()?;
        let parsed = InferenceSettings::parse(settings.clone()).map_err(|error| CliError::Usage(error.to_string()))?;
        let inquiry = Inquiry::new(&parsed)?;
        let (output, draw) = (self.output.clone(), self.draw);
        Ok(PredictOrder { source, model: self.model.plan()?, settings, inquiry, regions: parsed.regions, output, draw })
    }

    fn source(&self) -> CliResult<Source> {
        let pictures = match self.project_id {
            Some(id) => PlatformSource::Project(id),
            None if !self.dataset_id.is_empty() => PlatformSource::Datasets(distinct(&self.dataset_id)),
            None if !self.image_id.is_empty() => PlatformSource::Images(distinct(&self.image_id)),
            None if self.upload => {
                return Err(CliError::Usage(
                    "--upload is for pictures of the platform: --project_id, --dataset_id or --image_id".to_owned(),
                ));
            }
            None => return Ok(Source::Disk(self.inputs.clone())),
        };
        if self.upload && self.draw {
            return Err(CliError::Usage("--draw writes results here, --upload does not; leave one out".to_owned()));
        }
        Ok(Source::Platform { pictures, upload: self.upload })
    }

    fn settings(&self) -> CliResult<Map<String, Value>> {
        let mut settings = read_settings(&self.settings)?;
        let mut set = |key: &str, value: Value| settings.insert(key.to_owned(), value);
        if let Some(task) = &self.task {
            set("task_prompt", json!(task));
        }
        if let Some(text) = &self.text {
            set("text", json!(text));
            // It would go before the text.
            set("mapping", Value::Null);
        }
        if let Some(mapping) = &self.mapping {
            let mapping: Value = serde_json::from_str(mapping)
                .map_err(|error| CliError::Usage(format!("--mapping is not a JSON object: {error}")))?;
            set("mapping", mapping);
        }
        Ok(settings)
    }
}

fn parse_id(text: &str) -> Result<i64, String> {
    text.trim().parse().ok().filter(|id| *id > 0).ok_or_else(|| format!("{text:?} is no id"))
}

fn distinct(ids: &[i64]) -> Vec<i64> {
    let mut distinct = Vec::with_capacity(ids.len());
    for id in ids {
        if !distinct.contains(id) {
            distinct.push(*id);
        }
    }
    distinct
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, Command};
    use super::*;
    use clap::Parser;

    fn resolve(words: &[&str]) -> Result<PredictOrder, String> {
        let words = ["x", "predict", "--model", "demo"].iter().chain(words);
        let Command::Predict(args) = Cli::try_parse_from(words).map_err(|error| error.to_string())?.command else {
            unreachable!()
        };
        args.resolve().map_err(|error| error.to_string())
    }

    fn platform(words: &[&str]) -> PlatformSource {
        match resolve(words).unwrap().source {
            Source::Platform { pictures, .. } => pictures,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ids_are_spelled_in_two_ways_and_are_lists() {
        assert_eq!(platform(&["--project_id", "7"]), PlatformSource::Project(7));
        assert_eq!(platform(&["--project-id=7"]), PlatformSource::Project(7));
        assert_eq!(platform(&["--dataset_id", "5,6, 5"]), PlatformSource::Datasets(vec![5, 6]));
        assert_eq!(platform(&["--image-id", "3", "--image_id", "1,3"]), PlatformSource::Images(vec![3, 1]));
        for wrong in ["x", "0", "-1", "1,,2", ""] {
            assert!(resolve(&["--image_id", wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn there_is_one_source_and_what_fits_it() {
        for wrong in [
            vec![],
            vec!["a.png", "--project_id", "1"],
            vec!["--project_id", "1", "--dataset_id", "2"],
            vec!["--image_id", "1", "--dataset_id", "2"],
            vec!["a.png", "--upload"],
            vec!["--image_id", "1", "--upload", "--draw"],
            vec!["a.png", "--runtime", "ONNXRuntime"],
        ] {
            assert!(resolve(&wrong).is_err(), "{wrong:?}");
        }
        let order = resolve(&["--image_id", "1", "--upload", "--runtime", "PYTORCH"]).unwrap();
        assert_eq!(order.source, Source::Platform { pictures: PlatformSource::Images(vec![1]), upload: true });
        assert_eq!(order.output, PathBuf::from("./predictions"));
    }

    #[test]
    fn options_go_before_settings() {
        let words = ["a.png", "--text", "a star", "--settings", "text=a ball", "mapping={\"a\": null}", "conf=0.5"];
        let settings = resolve(&words).unwrap().settings;
        assert_eq!(Value::Object(settings), json!({"text": "a star", "mapping": null, "conf": 0.5}));
        assert!(resolve(&["a.png", "--settings", "conf=2"]).unwrap_err().contains("conf must be"));
    }
}
