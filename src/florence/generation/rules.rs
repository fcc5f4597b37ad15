//! Which tokens may come next, and what they cost.

use super::{GenerationOptions, Wanted};
use crate::florence::answer::StopReason;
use crate::florence::error::FlorenceError;

/// Options together with what the model itself fixes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// The caller's options.
    pub options: GenerationOptions,
    /// The model's.
    pub tokens: ModelTokens,
    /// Greatest length of an answer, the start token included.
    pub max_length: usize,
}

/// The tokens that a checkpoint gives a meaning to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelTokens {
    /// Every answer starts from it.
    pub start: u32,
    /// It ends an answer.
    pub eos: u32,
    /// Comes first, unless the options say otherwise.
    pub forced_bos: Option<u32>,
    /// Comes last at the greatest length, unless the options say otherwise.
    pub forced_eos: Option<u32>,
}

/// The tokens that may follow a row.
#[derive(Debug, PartialEq, Eq)]
pub enum Allowed {
    /// This one alone, for free.
    Only(u32),
    /// All but these.
    AllBut(Vec<u32>),
}

impl Allowed {
    /// The best `most` of these tokens are wanted of a row that has scored `score` so far.
    pub fn wanted(self, most: usize, score: f32) -> Wanted {
        match self {
            Self::Only(_) => Wanted::NOTHING,
            Self::AllBut(banned) => Wanted { most, score, banned },
        }
    }
}

impl Rules {
    /// Checks the options against a decoder with `positions` positions.
    ///
    /// `max_new_tokens` beyond the decoder's positions is cut to them.
    ///
    /// # Errors
    /// Options that make no search.
    pub fn new(options: GenerationOptions, tokens: ModelTokens, positions: usize) -> Result<Self, FlorenceError> {
        if options.num_beams == 0 || options.num_beams > GenerationOptions::MAX_BEAMS {
            let most = GenerationOptions::MAX_BEAMS;
            return Err(FlorenceError::Options(format!(
                "num_beams is {}, not between 1 and {most}",
                options.num_beams
            )));
        }
        if options.max_new_tokens == 0 {
            return Err(FlorenceError::Options("max_new_tokens is 0".to_owned()));
        }
        let longest = options.max_new_tokens.min(positions);
        if options.min_new_tokens > longest {
            let least = options.min_new_tokens;
            return Err(FlorenceError::Options(format!(
                "min_new_tokens is {least}, but an answer has at most {longest} tokens"
            )));
        }
        let most = GenerationOptions::MAX_LENGTH_PENALTY;
        if !(-most..=most).contains(&options.length_penalty) {
            let penalty = options.length_penalty;
            return Err(FlorenceError::Options(format!("length_penalty is {penalty}, not between -{most} and {most}")));
        }
        Ok(Self { options, tokens, max_length: 1 + longest })
    }

    /// What may follow `ids`.
    pub fn allowed(&self, ids: &[u32]) -> Allowed {
        // A forced end at the greatest length wins over a forced beginning, and both over the bans.
        if let Some(eos) =
            self.options.forced_eos.resolve(self.tokens.forced_eos).filter(|_| ids.len() + 1 == self.max_length)
        {
            return Allowed::Only(eos);
        }
        if let Some(bos) = self.options.forced_bos.resolve(self.tokens.forced_bos).filter(|_| ids.len() == 1) {
            return Allowed::Only(bos);
        }
        let mut banned = banned_tokens(ids, self.options.no_repeat_ngram_size);
        // All ids but the first are new.
        if ids.len() <= self.options.min_new_tokens {
            banned.push(self.tokens.eos);
        }
        Allowed::AllBut(banned)
    }

    /// Whether a row that ends with `ids` is complete.
    pub fn is_complete(&self, ids: &[u32]) -> bool {
        ids.last() == Some(&self.tokens.eos) || ids.len() >= self.max_length
    }

    /// Why a complete row ended.
    pub fn stop_reason(&self, ids: &[u32]) -> StopReason {
        if ids.len() >= self.max_length { StopReason::Length } else { StopReason::Stop }
    }

    /// A sum of log-probabilities normalised for `length` generated tokens.
    #[allow(clippy::cast_possible_truncation, reason = "scores are f32 as in the reference")]
    pub fn normalise(&self, sum: f32, length: usize) -> f32 {
        sum / (length as f64).powf(f64::from(self.options.length_penalty)) as f32
    }
}

/// The tokens that would repeat a sequence of `size` tokens of `ids`.
fn banned_tokens(ids: &[u32], size: usize) -> Vec<u32> {
    if size == 0 || ids.len() < size {
        return vec![];
    }
    let tail = ids.get(ids.len() + 1 - size..).unwrap_or_default();
    ids.windows(size)
        .filter_map(|ngram| ngram.split_last().filter(|(_, before)| *before == tail))
        .map(|(last, _)| *last)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::florence::generation::ForcedToken;

    const TOKENS: ModelTokens = ModelTokens { start: 2, eos: 2, forced_bos: Some(0), forced_eos: Some(2) };

    fn rules(options: GenerationOptions) -> Rules {
        Rules::new(options, TOKENS, 100).unwrap()
    }

    #[test]
    fn the_ban_counts_start_and_bos() {
        assert_eq!(banned_tokens(&[2, 0, 5, 2, 0], 3), [5]);
        assert!(banned_tokens(&[2, 0], 3).is_empty());
        assert_eq!(banned_tokens(&[7, 8, 7, 9, 7], 2), [8, 9]);
        assert_eq!(banned_tokens(&[7, 8], 1), [7, 8]);
        assert!(banned_tokens(&[7, 8], 0).is_empty());
    }

    #[test]
    fn forced_tokens_come_first_and_last() {
        let rules = rules(GenerationOptions { max_new_tokens: 3, ..Default::default() });
        assert_eq!(rules.allowed(&[2]), Allowed::Only(0));
        assert_eq!(rules.allowed(&[2, 0]), Allowed::AllBut(vec![]));
        assert_eq!(rules.allowed(&[2, 0, 9]), Allowed::Only(2));
        let off = GenerationOptions {
            forced_bos: ForcedToken::Off,
            forced_eos: ForcedToken::Id(7),
            max_new_tokens: 3,
            ..Default::default()
        };
        let rules = self::rules(off);
        assert_eq!((rules.allowed(&[2]), rules.allowed(&[2, 0, 9])), (Allowed::AllBut(vec![]), Allowed::Only(7)));
        let one = self::rules(GenerationOptions { max_new_tokens: 1, ..Default::default() });
        assert_eq!(one.allowed(&[2]), Allowed::Only(2));
    }

    #[test]
    fn an_answer_does_not_end_before_its_least_length() {
        let least = GenerationOptions { min_new_tokens: 3, max_new_tokens: 5, ..Default::default() };
        let rules = self::rules(least);
        assert_eq!(rules.allowed(&[2]), Allowed::Only(0), "the forced beginning counts as new");
        assert_eq!(rules.allowed(&[2, 0]), Allowed::AllBut(vec![2]));
        assert_eq!(rules.allowed(&[2, 0, 9]), Allowed::AllBut(vec![2]));
        assert_eq!(rules.allowed(&[2, 0, 9, 8]), Allowed::AllBut(vec![]), "the fourth may be the end");
        assert_eq!(rules.allowed(&[2, 0, 9, 8, 7]), Allowed::Only(2));
        let exact = self::rules(GenerationOptions { min_new_tokens: 3, max_new_tokens: 3, ..Default::default() });
        assert_eq!(exact.allowed(&[2, 0, 9]), Allowed::Only(2), "a forced end is not held back");
        let unforced = GenerationOptions {
            forced_bos: ForcedToken::Off,
            forced_eos: ForcedToken::Off,
            no_repeat_ngram_size: 1,
            ..exact.options
        };
        let unforced = self::rules(unforced);
        assert_eq!(unforced.allowed(&[2]), Allowed::AllBut(vec![2, 2]), "both bans hold");
        assert_eq!(unforced.allowed(&[2, 8, 9]), Allowed::AllBut(vec![2, 8, 9, 2]));
        assert!(unforced.is_complete(&[2, 8, 9, 7]));
    }

    #[test]
    fn the_output_is_cut_to_the_position_table() {
        assert_eq!(rules(GenerationOptions::default()).max_length, 101);
        let wrong = [
            GenerationOptions { num_beams: 0, ..Default::default() },
            GenerationOptions { num_beams: 17, ..Default::default() },
            GenerationOptions { max_new_tokens: 0, ..Default::default() },
            GenerationOptions { max_new_tokens: 4, min_new_tokens: 5, ..Default::default() },
            GenerationOptions { min_new_tokens: 101, ..Default::default() },
            GenerationOptions { length_penalty: f32::NAN, ..Default::default() },
            GenerationOptions { length_penalty: -1e30, ..Default::default() },
        ];
        for options in wrong {
            assert!(Rules::new(options, TOKENS, 100).is_err());
        }
    }
}
