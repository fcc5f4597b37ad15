//! Models of the published shapes with drawn weights, for measuring on machines that have no checkpoint.

use std::str::FromStr;

use super::demo::TOKENIZER;
use crate::florence::{CheckpointFiles, TOKENIZER_FILE, config};

/// File of the published preprocessor, of which only this much is read.
const PREPROCESSOR: &[u8] = include_bytes!("random/preprocessor_config.json");

/// A published shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RandomSize {
    /// That of Florence-2-base.
    Base,
    /// That of Florence-2-large.
    Large,
}

impl RandomSize {
    /// Name to show.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Base => "random base",
            Self::Large => "random large",
        }
    }

    /// Its files. The tokenizer is the demo's, whose ids are among those of the published vocabulary.
    pub const fn files(self) -> CheckpointFiles {
        let files: &'static [(&'static str, &'static [u8])] = match self {
            Self::Base => &[
                (config::CONFIG_FILE, include_bytes!("random/base.json")),
                (config::PREPROCESSOR_FILE, PREPROCESSOR),
                (TOKENIZER_FILE, TOKENIZER),
            ],
            Self::Large => &[
                (config::CONFIG_FILE, include_bytes!("random/large.json")),
                (config::PREPROCESSOR_FILE, PREPROCESSOR),
                (TOKENIZER_FILE, TOKENIZER),
            ],
        };
        CheckpointFiles::Drawn { name: self.name(), files }
    }
}

impl FromStr for RandomSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "base" => Ok(Self::Base),
            "large" => Ok(Self::Large),
            _ => Err(format!("{text:?} is not base or large")),
        }
    }
}
