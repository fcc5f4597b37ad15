//! The commands and their options as they are written.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::error::CliResult;
use crate::engine::{DeviceChoice, EngineConfig, Precision};
use crate::florence::generation::{EarlyStopping, GenerationOptions};
use crate::models::ModelSource;

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
    /// List the published models.
    Models,
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
    /// auto, cpu or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// auto, f32, f16 or bf16; auto is f32 on the CPU and f16 on a GPU
    #[arg(long, value_name = "TYPE", default_value = "auto")]
    precision: Precision,
}

impl ModelArgs {
    /// The model and device that are meant.
    ///
    /// # Errors
    /// A model that does not exist, or a folder that cannot be read.
    pub fn engine_config(&self) -> CliResult<EngineConfig> {
        let source = ModelSource::choose(self.model.as_deref(), self.weights.as_deref())?;
        Ok(EngineConfig { source, device: self.device, precision: self.precision })
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
            length_penalty: self.length_penalty,
            no_repeat_ngram_size: self.no_repeat_ngram_size,
            early_stopping: self.early_stopping,
            ..Default::default()
        }
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
