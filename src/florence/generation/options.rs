//! How the text of an answer is searched.

use serde::{Deserialize, Serialize};

/// When a beam search that has enough finished answers stops looking for better ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EarlyStopping {
    /// As soon as there are as many finished answers as beams.
    Always,
    /// When the best running beam, judged at its present length, cannot beat the worst finished answer.
    Heuristic,
    /// When no running beam could beat the worst finished answer at any length.
    Never,
}

/// A token that must stand at an end of every answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForcedToken {
    /// The one that the checkpoint's configuration names, if any.
    OfModel,
    /// None.
    Off,
    /// This one.
    Id(u32),
}

impl ForcedToken {
    /// The token, where `of_model` is the configuration's.
    pub fn resolve(self, of_model: Option<u32>) -> Option<u32> {
        match self {
            Self::OfModel => of_model,
            Self::Off => None,
            Self::Id(id) => Some(id),
        }
    }
}

/// The arguments of transformers' `generate` that matter here, with the defaults of the original app's calls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GenerationOptions {
    /// Beams of the search; 1 is greedy decoding.
    pub num_beams: usize,
    /// Most tokens to generate, counting the forced start and end; clamped to the decoder's position table.
    pub max_new_tokens: usize,
    /// No answer ends of itself before it has so many new tokens; a forced end at the greatest length is not held back.
    pub min_new_tokens: usize,
    /// Finished answers are ranked by their log-probability divided by `length^length_penalty`.
    pub length_penalty: f32,
    /// No sequence of this many tokens occurs twice in an answer; 0 switches the ban off.
    pub no_repeat_ngram_size: usize,
    /// When to stop.
    pub early_stopping: EarlyStopping,
    /// The token that must come first.
    pub forced_bos: ForcedToken,
    /// The token that must come last when an answer reaches its greatest length.
    pub forced_eos: ForcedToken,
}

impl GenerationOptions {
    /// Most beams that a caller may ask for.
    pub const MAX_BEAMS: usize = 16;
    /// Length penalties beyond this, either way, leave the range of f32.
    pub const MAX_LENGTH_PENALTY: f32 = 8.0;
    /// `max_new_tokens` of the original app.
    pub const DEFAULT_MAX_NEW_TOKENS: usize = 1024;
}

impl Default for GenerationOptions {
    fn default() -> Self {
        Self {
            num_beams: 3,
            max_new_tokens: Self::DEFAULT_MAX_NEW_TOKENS,
            min_new_tokens: 0,
            length_penalty: 1.0,
            no_repeat_ngram_size: 3,
            early_stopping: EarlyStopping::Heuristic,
            forced_bos: ForcedToken::OfModel,
            forced_eos: ForcedToken::OfModel,
        }
    }
}
