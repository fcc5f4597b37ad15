//! Options of `bench`.

use std::path::PathBuf;
use std::thread::available_parallelism;

use clap::Args;

use super::super::error::CliResult;
use super::{ModelArgs, parse_count};
use crate::engine::ModelPlan;
use crate::models::{ModelSource, RandomSize};

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
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = parse_count)]
    pub beams: usize,
    /// Tokens of each answer
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = parse_count)]
    pub tokens: usize,
    /// Tokens of each prompt
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = parse_count)]
    pub prompt_tokens: usize,
    /// Pictures
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = parse_count)]
    pub batch: usize,
    /// Prompts about each picture
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = parse_count)]
    pub prompts: usize,
    /// A picture whose decoding and resizing are timed as well
    #[arg(long, value_name = "FILE")]
    pub picture: Option<PathBuf>,
    /// Calls of each stage that count
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = parse_count)]
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
