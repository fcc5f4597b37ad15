//! Searching the text of an answer: greedy or with beams, as transformers' `generate` does it.
//!
//! A [`Search`] is the state of one input and knows no tensors: it says what it wants to know of its rows, is shown their best
//! tokens after each step, and says which rows go on with which tokens. Whoever runs the model may mix inputs freely.

mod beam;
mod greedy;
mod options;
mod rules;

pub use florence_cpu::ranking::{BestFew, Candidate, Ranking, Wanted};
pub use options::{EarlyStopping, ForcedToken, GenerationOptions};
pub use rules::{ModelTokens, Rules};

use super::answer::StopReason;
use super::error::FlorenceError;
use beam::BeamSearch;
use greedy::GreedySearch;

/// A finished answer in tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Hypothesis {
    /// Ids, the start token included.
    pub ids: Vec<u32>,
    /// The log-probability of each token but the first; 0 for forced ones.
    pub log_probs: Vec<f32>,
    /// Their sum over `length^length_penalty`.
    pub score: f32,
    /// Why it ended.
    pub stop: StopReason,
}

/// What a search does after a step.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Its rows go on: row `i` continues what row `parents[i]` was.
    Continue {
        /// One entry a row.
        parents: Vec<usize>,
    },
    /// It needs no more steps.
    Done,
}

/// The search of one input.
#[derive(Debug)]
pub enum Search {
    /// Takes the most probable token each time.
    Greedy(GreedySearch),
    /// Follows several rows.
    Beam(BeamSearch),
}

impl Search {
    /// Starts a search under these rules.
    pub fn new(rules: Rules) -> Self {
        if rules.options.num_beams == 1 {
            Self::Greedy(GreedySearch::new(rules))
        } else {
            Self::Beam(BeamSearch::new(rules))
        }
    }

    /// The last token of each row, which the next step reads.
    pub fn last_tokens(&self) -> Vec<u32> {
        match self {
            Self::Greedy(search) => vec![search.last_token()],
            Self::Beam(search) => search.last_tokens(),
        }
    }

    /// What is wanted of each row of logits that follow the last tokens.
    pub fn wanted(&self) -> Vec<Wanted> {
        match self {
            Self::Greedy(search) => vec![search.wanted()],
            Self::Beam(search) => search.wanted(),
        }
    }

    /// Takes the best tokens of each row, as many as were wanted.
    ///
    /// # Errors
    /// A row without any.
    pub fn advance(&mut self, rankings: &[Vec<Candidate>]) -> Result<Step, FlorenceError> {
        match self {
            Self::Greedy(search) => search.advance(rankings),
            Self::Beam(search) => search.advance(rankings),
        }
    }

    /// The finished answers, best first.
    pub fn into_hypotheses(self) -> Vec<Hypothesis> {
        match self {
            Self::Greedy(search) => vec![search.into_hypothesis()],
            Self::Beam(search) => search.into_hypotheses(),
        }
    }
}
