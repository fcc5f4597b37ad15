//! Options of `generate`.

use std::path::PathBuf;

use clap::Args;

use super::{ModelArgs, parse_size};
use crate::florence::generation::{EarlyStopping, GenerationOptions};

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
    #[arg(long, required = true, num_args = 1.., value_name = "TEXT")]
    pub prompt: Vec<String>,
    /// Size that pictures are resized to, width first [default: the checkpoint's]
    #[arg(long, value_name = "WxH", value_parser = parse_size)]
    pub image_size: Option<(u32, u32)>,
    /// Beams of the search; 1 is greedy
    #[arg(long, value_name = "N", default_value_t = 3)]
    num_beams: usize,
    /// Most tokens to generate
    #[arg(long, value_name = "N", default_value_t = GenerationOptions::DEFAULT_MAX_NEW_TOKENS)]
    max_new_tokens: usize,
    /// No answer ends of itself before it has so many new tokens
    #[arg(long, value_name = "N", default_value_t = 0)]
    min_new_tokens: usize,
    /// Answers are ranked by log-probability over length to this power
    #[arg(long, value_name = "POWER", default_value_t = 1.0, allow_negative_numbers = true)]
    length_penalty: f32,
    /// No sequence of this many tokens occurs twice; 0 allows all
    #[arg(long, value_name = "N", default_value_t = 3)]
    no_repeat_ngram_size: usize,
    /// true, false or never
    #[arg(long, value_name = "WHEN", default_value = "false", value_parser = parse_early_stopping)]
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
    use super::super::{Cli, Command};
    use super::*;
    use clap::Parser;

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
