//! The commands and their options as they are written.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use super::error::{CliError, CliResult};
use crate::engine::{DeviceChoice, EngineSettings, Faults, ModelPlan, PlaceLimits, Precision};
use crate::florence::generation::{EarlyStopping, GenerationOptions};
use crate::lifecycle::LifecycleSettings;
use crate::media::AllowedHost;
use crate::models::{ModelFolders, ModelSource, RandomSize};
use crate::session::SessionSettings;
use crate::supervisely::Address;

/// Florence-2 inference server for Supervisely.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 120)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a model over HTTP.
    Serve(ServeArgs),
    /// Write a Supervisely annotation for each picture.
    Predict(PredictArgs),
    /// Print the model's own output for pairs of picture and prompt, one JSON object a line.
    Generate(GenerateArgs),
    /// Read generated text on stdin and print what it means.
    Parse(ParseArgs),
    /// List the published models and where each one is.
    Models,
    /// Fetch a published model, so that it is there when a server starts.
    Download(DownloadArgs),
    /// Check that a folder holds a checkpoint that works.
    Verify(VerifyArgs),
    /// Time the stages of the model.
    Bench(BenchArgs),
}

/// Which model, and where it runs.
#[derive(Debug, Args)]
pub struct ModelArgs {
    /// A published model such as Florence-2-base, or demo [default: Florence-2-large]
    #[arg(long, value_name = "NAME", conflicts_with = "weights")]
    model: Option<String>,
    /// Folder of a checkpoint: config.json, preprocessor_config.json, tokenizer.json, and weights
    #[arg(long, value_name = "DIR")]
    weights: Option<PathBuf>,
    /// auto, cpu, cuda:N, cuda:N,cuda:M or all
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// auto, f32, f16 or bf16; auto is f32 on the CPU and f16 on a GPU
    #[arg(long, value_name = "TYPE", default_value = "auto")]
    precision: Precision,
}

impl ModelArgs {
    /// The model and devices that are meant.
    ///
    /// # Errors
    /// A model that does not exist, or a folder that cannot be read.
    pub fn plan(&self) -> CliResult<ModelPlan> {
        let source = ModelSource::choose(self.model.as_deref(), self.weights.as_deref())?;
        Ok(ModelPlan { source, devices: self.device.clone(), precision: self.precision, update: false })
    }

    /// Whether a model was named.
    pub const fn is_named(&self) -> bool {
        self.model.is_some() || self.weights.is_some()
    }
}

/// Options of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port to listen on
    #[arg(long, default_value_t = 8000)]
    pub port: u16,
    /// Seconds after which a caller that waits for an answer is told 504
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=604_800))]
    deadline: u64,
    /// Single pictures that may wait or be worked on; one more is told 429
    #[arg(long, value_name = "PICTURES", default_value_t = 256, value_parser = parse_count)]
    queue: usize,
    /// Bytes that decoded pictures in the queue may take, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    queue_mib: u32,
    /// Bytes of image features that are kept for the next question about the same picture, in MiB on each device
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    feature_cache_mib: u32,
    /// Threads that compute on the CPU [default: one for each core]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    threads: Option<usize>,
    /// Platform beside SERVER_ADDRESS that a request may name, with a token of its own; may be given again
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    allow_platform: Vec<Address>,
    /// Host, or host:port, that /inference_image_url may fetch from although its address is not public; may be given again
    #[arg(long, value_name = "HOST")]
    allow_fetch: Vec<AllowedHost>,
    /// Folder whose pictures /visual_question_answering may be asked about by image_path
    #[arg(long, value_name = "DIR")]
    picture_folder: Option<PathBuf>,
    /// Folder of checkpoints of your own, a folder each, which the page offers
    #[arg(long, value_name = "DIR")]
    models_folder: Option<PathBuf>,
    /// Seconds without a request after which the model leaves its device until the next one; 0 is never
    #[arg(long, value_name = "SECONDS", default_value_t = LifecycleSettings::DEFAULT_IDLE_FREEZE.as_secs())]
    idle_freeze: u64,
}

impl ServeArgs {
    /// Limits of the engine.
    pub fn engine_settings(&self) -> EngineSettings {
        let defaults = EngineSettings::default();
        EngineSettings {
            places: PlaceLimits {
                pictures: self.queue,
                bytes: u64::from(self.queue_mib) << 20,
                // Time for the answer itself has to be left.
                wait: self.deadline() / 2,
                // A quarter of the queue, or what is usual where that is less.
                run_pictures: defaults.places.run_pictures.min(self.queue.div_ceil(4)),
            },
            feature_cache_bytes: (self.feature_cache_mib as usize) << 20,
            threads: self.threads,
            folders: ModelFolders::from_env(),
            faults: Faults::from_env(),
            ..defaults
        }
    }

    /// Limits of the session, and whom it talks to. The platform's own variables tell the rest.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn session_settings(&self, task_id: Option<i64>) -> CliResult<SessionSettings> {
        if let Some(folder) = &self.picture_folder {
            check_folder(folder)?;
        }
        let mut settings = SessionSettings::from_env();
        settings.deadline = self.deadline();
        settings.task_id = task_id;
        settings.platform.allowed.clone_from(&self.allow_platform);
        settings.fetch.allowed_hosts.clone_from(&self.allow_fetch);
        settings.picture_folder.clone_from(&self.picture_folder);
        Ok(settings)
    }

    /// How models are deployed.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn lifecycle_settings(&self, task_id: Option<i64>) -> CliResult<LifecycleSettings> {
        if let Some(folder) = &self.models_folder {
            check_folder(folder)?;
        }
        Ok(LifecycleSettings {
            devices: self.model.device.clone(),
            precision: self.model.precision,
            folders: ModelFolders::from_env(),
            models_folder: self.models_folder.clone(),
            weights: self.model.weights.clone(),
            idle_freeze: Some(Duration::from_secs(self.idle_freeze)).filter(|limit| !limit.is_zero()),
            task_id,
        })
    }

    /// How long a caller is let wait.
    pub const fn deadline(&self) -> Duration {
        Duration::from_secs(self.deadline)
    }
}

fn check_folder(folder: &Path) -> CliResult<()> {
    std::fs::read_dir(folder)
        .map(drop)
        .map_err(|error| CliError::Usage(format!("cannot read {}: {error}", folder.display())))
}

/// Options of `predict`.
#[derive(Debug, Args)]
pub struct PredictArgs {
    /// Pictures, or folders of pictures
    #[arg(required = true, value_name = "FILE|FOLDER")]
    pub inputs: Vec<PathBuf>,
    /// The model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Phrases to find, such as "a red circle"
    #[arg(long, conflicts_with = "mapping")]
    pub text: Option<String>,
    /// Task token, `OD` in angle brackets for one; by default a text is grounded, and without one a caption
    #[arg(long, value_name = "TASK")]
    pub task: Option<String>,
    /// JSON object from class to prompt, such as {"ball": "a red circle"}
    #[arg(long, value_name = "JSON")]
    pub mapping: Option<String>,
    /// Folder for the annotations
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub output: PathBuf,
    /// Also write each picture with its boxes drawn, as FILENAME.png beside FILENAME.json
    #[arg(long)]
    pub draw: bool,
}

/// Options of `download`.
#[derive(Debug, Args)]
pub struct DownloadArgs {
    /// Name of a published model, or all
    pub model: String,
    /// Ask the hub for newer files although there are some here
    #[arg(long)]
    pub update: bool,
}

/// Options of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Folder of a checkpoint
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

/// Options of `generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// The model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Pictures
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    pub image: Vec<PathBuf>,
    /// A prompt for each picture; one prompt serves all pictures, one picture all prompts
    #[arg(long, required = true, num_args = 1..)]
    pub prompt: Vec<String>,
    /// Size that pictures are resized to, height first [default: the checkpoint's]
    #[arg(long, value_name = "HxW", value_parser = parse_size)]
    pub image_size: Option<(u32, u32)>,
    /// Beams of the search; 1 is greedy
    #[arg(long, default_value_t = 3)]
    num_beams: usize,
    /// Most tokens to generate
    #[arg(long, default_value_t = GenerationOptions::DEFAULT_MAX_NEW_TOKENS)]
    max_new_tokens: usize,
    /// No answer ends of itself before it has so many new tokens
    #[arg(long, default_value_t = 0)]
    min_new_tokens: usize,
    /// Answers are ranked by log-probability over length to this power
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    length_penalty: f32,
    /// No sequence of this many tokens occurs twice; 0 allows all
    #[arg(long, default_value_t = 3)]
    no_repeat_ngram_size: usize,
    /// true, false or never
    #[arg(long, default_value = "false", value_parser = parse_early_stopping)]
    early_stopping: EarlyStopping,
}

impl GenerateArgs {
    /// The options of the search.
    pub fn options(&self) -> GenerationOptions {
        GenerationOptions {
            num_beams: self.num_beams,
            max_new_tokens: self.max_new_tokens,
            min_new_tokens: self.min_new_tokens,
            length_penalty: self.length_penalty,
            no_repeat_ngram_size: self.no_repeat_ngram_size,
            early_stopping: self.early_stopping,
            ..Default::default()
        }
    }
}

/// Options of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// The model.
    #[command(flatten)]
    model: ModelArgs,
    /// Weights that are drawn, for a model of this size: base or large
    #[arg(long, value_name = "SIZE", conflicts_with_all = ["model", "weights"])]
    random: Option<RandomSize>,
    /// Threads that compute on the CPU [default: one for each core]; RAYON_NUM_THREADS bounds element-wise operations as well
    #[arg(long, value_name = "N", value_parser = parse_count)]
    threads: Option<usize>,
    /// Beams of the search
    #[arg(long, default_value_t = 3, value_parser = parse_count)]
    pub beams: usize,
    /// Tokens of each answer
    #[arg(long, default_value_t = 40, value_parser = parse_count)]
    pub tokens: usize,
    /// Tokens of each prompt
    #[arg(long, default_value_t = 20, value_parser = parse_count)]
    pub prompt_tokens: usize,
    /// Pictures
    #[arg(long, default_value_t = 1, value_parser = parse_count)]
    pub batch: usize,
    /// Prompts about each picture
    #[arg(long, default_value_t = 1, value_parser = parse_count)]
    pub prompts: usize,
    /// Calls of each stage that count
    #[arg(long, default_value_t = 5, value_parser = parse_count)]
    pub repeat: usize,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

impl BenchArgs {
    /// The model and device that are meant.
    ///
    /// # Errors
    /// As [`ModelArgs::plan`].
    pub fn plan(&self) -> CliResult<ModelPlan> {
        match self.random {
            None => self.model.plan(),
            Some(size) => {
                let (devices, precision) = (self.model.device.clone(), self.model.precision);
                Ok(ModelPlan { source: ModelSource::Random(size), devices, precision, update: false })
            }
        }
    }

    /// Threads that compute.
    pub fn threads(&self) -> usize {
        self.threads.unwrap_or_else(|| available_parallelism().map_or(1, std::num::NonZero::get))
    }
}

/// Options of `parse`.
#[derive(Debug, Args)]
pub struct ParseArgs {
    /// Task token, `OD` in angle brackets for one; an unknown one is pure text
    #[arg(long, allow_hyphen_values = true)]
    pub task: String,
    /// Size of the picture, width first
    #[arg(long, value_name = "WxH", value_parser = parse_size)]
    pub size: (u32, u32),
}

fn parse_count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| format!("{text:?} is no number from 1 up"))
}

fn parse_address(text: &str) -> Result<Address, String> {
    Address::parse(text).ok_or_else(|| format!("{text:?} is no address of a server"))
}

fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let sides = text.split_once(['x', 'X']).and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    sides.filter(|(a, b)| *a > 0 && *b > 0).ok_or_else(|| format!("{text:?} is not two numbers such as 768x768"))
}

fn parse_early_stopping(text: &str) -> Result<EarlyStopping, String> {
    match text {
        "true" => Ok(EarlyStopping::Always),
        "false" => Ok(EarlyStopping::Heuristic),
        "never" => Ok(EarlyStopping::Never),
        _ => Err(format!("{text:?} is not true, false or never")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_options_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn limits_become_the_engines_settings() {
        let line =
            "x serve --queue 8 --queue-mib 2 --feature-cache-mib 0 --threads 3 --deadline 7 --device cuda:0,cuda:1";
        let Command::Serve(args) = Cli::try_parse_from(line.split(' ')).unwrap().command else { unreachable!() };
        let settings = args.engine_settings();
        assert_eq!(
            settings.places,
            PlaceLimits { pictures: 8, run_pictures: 2, bytes: 2 << 20, wait: Duration::from_millis(3500) }
        );
        assert_eq!((settings.feature_cache_bytes, settings.threads), (0, Some(3)));
        assert_eq!(args.deadline(), Duration::from_secs(7));
        assert_eq!(args.model.device, DeviceChoice::Cuda(vec![0, 1]));
        for wrong in
            ["x serve --queue 0", "x serve --threads 0", "x serve --deadline 0", "x serve --device cuda:1,cuda:1"]
        {
            assert!(Cli::try_parse_from(wrong.split(' ')).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_two_positive_numbers() {
        assert_eq!(parse_size("96x160"), Ok((96, 160)));
        for wrong in ["96", "0x3", "axb", "3x", "1x2x3", "-1x5"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn negative_penalties_are_numbers_and_not_options() {
        let args = "x generate --weights d --image a.png --prompt <OD> --length-penalty -1.0 --early-stopping never";
        let cli = Cli::try_parse_from(args.split(' ')).unwrap();
        let Command::Generate(args) = cli.command else { unreachable!() };
        assert_eq!(args.options().length_penalty, -1.0);
        assert_eq!(args.options().early_stopping, EarlyStopping::Never);
        assert_eq!(args.options().max_new_tokens, 1024);
    }
}
