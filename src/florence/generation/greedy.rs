//! Greedy decoding: the most probable token each time.

use super::rules::{Allowed, Rules};
use super::{Candidate, Hypothesis, Step, Wanted};
use crate::florence::error::FlorenceError;

/// The state of a greedy search.
#[derive(Debug)]
pub struct GreedySearch {
    rules: Rules,
    ids: Vec<u32>,
    log_probs: Vec<f32>,
}

impl GreedySearch {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, ids: vec![rules.tokens.start], log_probs: vec![] }
    }

    pub(super) fn last_token(&self) -> u32 {
        self.ids.last().copied().unwrap_or(self.rules.tokens.start)
    }

    pub(super) fn wanted(&self) -> Wanted {
        self.rules.allowed(&self.ids).wanted(1, 0.)
    }

    pub(super) fn advance(&mut self, rankings: &[Vec<Candidate>]) -> Result<Step, FlorenceError> {
        let (token, log_prob) = match self.rules.allowed(&self.ids) {
            Allowed::Only(token) => (token, 0.0),
            Allowed::AllBut(_) => {
                let best = rankings.first().and_then(|ranking| ranking.first()).ok_or(FlorenceError::NotFinite)?;
                (best.token, best.log_prob)
            }
        };
        self.ids.push(token);
        self.log_probs.push(log_prob);
        if self.rules.is_complete(&self.ids) { Ok(Step::Done) } else { Ok(Step::Continue { parents: vec![0] }) }
    }

    pub(super) fn into_hypothesis(self) -> Hypothesis {
        let score = self.rules.normalise(self.log_probs.iter().sum(), self.log_probs.len());
        let stop = self.rules.stop_reason(&self.ids);
        Hypothesis { ids: self.ids, log_probs: self.log_probs, score, stop }
    }
}
