//! Beam search as transformers 5 does it, stated for one input.
//!
//! Each step ranks the best `2 K` continuations of the `K` beams. Of those that end, the ones among the first `K` join
//! the finished list; of those that do not, the best `K` run on.

use super::rules::{Allowed, Rules};
use super::{BestFew, Candidate, EarlyStopping, Hypothesis, Step, Wanted};
use crate::florence::error::FlorenceError;

/// Running score of the beams that duplicate the first one before anything was written.
const DUPLICATE: f32 = -1e9;

/// The state of a beam search.
#[derive(Debug)]
pub struct BeamSearch {
    rules: Rules,
    beams: Vec<Beam>,
    /// Complete answers, best first, at most as many as beams.
    finished: Vec<Hypothesis>,
}

#[derive(Debug, Clone)]
struct Beam {
    ids: Vec<u32>,
    log_probs: Vec<f32>,
    /// Sum of `log_probs`.
    score: f32,
}

/// A beam with one more token.
#[derive(Debug, Clone, Copy)]
struct Continuation {
    parent: usize,
    token: u32,
    log_prob: f32,
    score: f32,
}

impl BeamSearch {
    pub(super) fn new(rules: Rules) -> Self {
        let beam = |index| Beam {
            ids: vec![rules.tokens.start],
            log_probs: vec![],
            score: if index == 0 { 0.0 } else { DUPLICATE },
        };
        Self { rules, beams: (0..rules.options.num_beams).map(beam).collect(), finished: vec![] }
    }

    pub(super) fn last_tokens(&self) -> Vec<u32> {
        self.beams.iter().map(|beam| beam.ids.last().copied().unwrap_or(self.rules.tokens.start)).collect()
    }

    pub(super) fn wanted(&self) -> Vec<Wanted> {
        let most = 2 * self.rules.options.num_beams;
        self.beams.iter().map(|beam| self.rules.allowed(&beam.ids).wanted(most, beam.score)).collect()
    }

    pub(super) fn advance(&mut self, rankings: &[Vec<Candidate>]) -> Result<Step, FlorenceError> {
        let candidates = self.rank(rankings);
        let most = self.rules.options.num_beams;
        let length = self.beams.first().map_or(0, |beam| beam.ids.len());
        let is_closed = self.rules.options.early_stopping == EarlyStopping::Always && self.finished.len() == most;
        let (mut running, mut parents) = (vec![], vec![]);
        for (rank, candidate) in candidates.into_iter().enumerate() {
            let Some(beam) = self.extend(candidate) else {
                continue;
            };
            if !self.rules.is_complete(&beam.ids) {
                if running.len() < most {
                    running.push(beam);
                    parents.push(candidate.parent);
                }
            } else if rank < most && !is_closed {
                self.finish(beam, length);
            }
        }
        self.beams = running;
        if self.is_done(length) { Ok(Step::Done) } else { Ok(Step::Continue { parents }) }
    }

    pub(super) fn into_hypotheses(self) -> Vec<Hypothesis> {
        self.finished
    }

    /// The best `2 K` continuations, best first; of equals that of the lower beam, then the lower token.
    fn rank(&self, rankings: &[Vec<Candidate>]) -> Vec<Continuation> {
        let mut best = BestFew::new(2 * self.rules.options.num_beams);
        let mut offer = |continuation: Continuation| {
            if best.takes(continuation.score) {
                best.offer(continuation.score, continuation);
            }
        };
        for ((parent, beam), ranking) in self.beams.iter().enumerate().zip(rankings) {
            match self.rules.allowed(&beam.ids) {
                Allowed::Only(token) => offer(Continuation { parent, token, log_prob: 0.0, score: beam.score }),
                Allowed::AllBut(_) => ranking.iter().for_each(|&Candidate { token, log_prob }| {
                    offer(Continuation { parent, token, log_prob, score: log_prob + beam.score });
                }),
            }
        }
        best.into_items()
    }

    fn extend(&self, candidate: Continuation) -> Option<Beam> {
        let mut beam = self.beams.get(candidate.parent)?.clone();
        beam.ids.push(candidate.token);
        beam.log_probs.push(candidate.log_prob);
        beam.score = candidate.score;
        Some(beam)
    }

    fn finish(&mut self, beam: Beam, length: usize) {
        let hypothesis = Hypothesis {
            score: self.rules.normalise(beam.score, length),
            stop: self.rules.stop_reason(&beam.ids),
            ids: beam.ids,
            log_probs: beam.log_probs,
        };
        let place = self.finished.partition_point(|other| other.score >= hypothesis.score);
        self.finished.insert(place, hypothesis);
        self.finished.truncate(self.rules.options.num_beams);
    }

    /// Whether no running beam can or may better the finished ones, `length` tokens having been generated.
    fn is_done(&self, length: usize) -> bool {
        let Some(best) = self.beams.first() else {
            return true;
        };
        if self.finished.len() < self.rules.options.num_beams {
            return false;
        }
        let options = &self.rules.options;
        let judged_length = match options.early_stopping {
            EarlyStopping::Always => return true,
            EarlyStopping::Never if options.length_penalty > 0.0 => self.rules.max_length - 1,
            EarlyStopping::Never | EarlyStopping::Heuristic => length,
        };
        let worst = self.finished.last().map_or(f32::NEG_INFINITY, |hypothesis| hypothesis.score);
        self.rules.normalise(best.score, judged_length) <= worst
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::florence::answer::StopReason;
    use crate::florence::generation::{ForcedToken, GenerationOptions, ModelTokens};

    const VOCABULARY: usize = 6;
    const TOKENS: ModelTokens = ModelTokens { start: 2, eos: 2, forced_bos: Some(0), forced_eos: Some(2) };

    /// Logits that say: after the last token `t`, `t + 1` is likely, token 2 (the end) next, and others are not.
    fn logits(tokens: &[u32]) -> Vec<f32> {
        let row = |token: &u32| {
            let mut row = vec![-5.0; VOCABULARY];
            row[(*token as usize + 1) % VOCABULARY] = 2.0;
            row[2] = 1.0;
            row
        };
        tokens.iter().flat_map(row).collect()
    }

    fn rankings(search: &BeamSearch) -> Vec<Vec<Candidate>> {
        let logits = logits(&search.last_tokens());
        let rows = search.wanted().into_iter().zip(logits.chunks_exact(VOCABULARY));
        rows.map(|(wanted, logits)| wanted.rank(logits).unwrap()).collect()
    }

    fn run(options: GenerationOptions) -> (Vec<Hypothesis>, usize) {
        let mut search = BeamSearch::new(Rules::new(options, TOKENS, 50).unwrap());
        for step in 1.. {
            if search.advance(&rankings(&search)).unwrap() == Step::Done {
                return (search.into_hypotheses(), step);
            }
        }
        unreachable!()
    }

    #[test]
    fn answers_begin_and_end_as_forced_and_are_ranked() {
        let (found, _) = run(GenerationOptions { max_new_tokens: 12, ..Default::default() });
        assert!(!found.is_empty() && found.len() <= 3);
        assert!(found.windows(2).all(|pair| pair[0].score >= pair[1].score));
        for hypothesis in &found {
            assert_eq!(hypothesis.ids[..2], [2, 0]);
            assert_eq!(hypothesis.ids.last(), Some(&2));
            assert_eq!(hypothesis.log_probs.len() + 1, hypothesis.ids.len());
            let sum: f32 = hypothesis.log_probs.iter().sum();
            let mean = sum / hypothesis.log_probs.len() as f32;
            assert!((hypothesis.score - mean).abs() < 1e-6);
        }
    }

    #[test]
    fn the_greatest_length_is_kept_and_named() {
        let (found, steps) = run(GenerationOptions { max_new_tokens: 2, ..Default::default() });
        assert_eq!((steps, &found[0].ids[..], found[0].stop), (2, &[2, 0, 2][..], StopReason::Length));
    }

    #[test]
    fn the_least_length_holds_in_every_beam() {
        for forced_eos in [ForcedToken::OfModel, ForcedToken::Off] {
            let options = GenerationOptions {
                min_new_tokens: 9,
                max_new_tokens: 9,
                no_repeat_ngram_size: 0,
                forced_eos,
                ..Default::default()
            };
            let (found, steps) = run(options);
            assert_eq!((steps, found.len()), (9, 3));
            for hypothesis in &found {
                assert_eq!((hypothesis.ids.len(), hypothesis.stop), (10, StopReason::Length));
                assert!(!hypothesis.ids[1..9].contains(&TOKENS.eos), "{hypothesis:?}");
            }
        }
        let (found, _) = run(GenerationOptions { min_new_tokens: 4, max_new_tokens: 12, ..Default::default() });
        assert!(found.iter().all(|hypothesis| hypothesis.ids.len() > 5), "{found:?}");
    }

    #[test]
    fn stopping_early_takes_fewer_steps_than_never_stopping() {
        let with = |early_stopping| {
            run(GenerationOptions { early_stopping, length_penalty: 2.0, max_new_tokens: 30, ..Default::default() }).1
        };
        assert!(with(EarlyStopping::Always) <= with(EarlyStopping::Heuristic));
        assert!(with(EarlyStopping::Heuristic) <= with(EarlyStopping::Never));
    }

    #[test]
    fn equals_are_ranked_by_beam_and_token() {
        let options = GenerationOptions { num_beams: 2, max_new_tokens: 9, ..Default::default() };
        let mut search = BeamSearch::new(Rules::new(options, TOKENS, 50).unwrap());
        search.beams =
            [[2, 0, 3], [2, 0, 4]].map(|ids| Beam { ids: ids.to_vec(), log_probs: vec![], score: -1. }).to_vec();
        let candidate = |token| Candidate { token, log_prob: -1. };
        let ranked = search.rank(&[vec![candidate(4), candidate(5)], vec![candidate(0), candidate(1), candidate(3)]]);
        let order: Vec<_> = ranked.iter().map(|continuation| (continuation.parent, continuation.token)).collect();
        assert_eq!(order, [(0, 4), (0, 5), (1, 0), (1, 1)]);
    }
}
