//! What a search wants to know of a row of logits: its best few tokens.

/// What is wanted of a row of logits.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// How many tokens, the best first; none where the next one is forced.
    pub most: usize,
    /// What the row has scored so far. Tokens are ranked by the sum of it and their log-probability, as rounded to f32.
    pub score: f32,
    /// Tokens that must not come.
    pub banned: Vec<u32>,
}

/// A token that may come next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Its id.
    pub token: u32,
    /// Its log-probability among all tokens, the banned ones included.
    pub log_prob: f32,
}

/// The best tokens of a row, best first, of equals the lower id; `None` if the row is not made of numbers.
pub type Ranking = Option<Vec<Candidate>>;

impl Wanted {
    /// Nothing is wanted, as the next token is forced.
    pub const NOTHING: Self = Self { most: 0, score: 0., banned: vec![] };

    /// Ranks a row of logits by the definition; kernels do the same with vectors.
    #[allow(clippy::cast_possible_truncation, reason = "log-probabilities are f32 as in the reference")]
    pub fn rank(&self, logits: &[f32]) -> Ranking {
        if self.most == 0 {
            return Some(vec![]);
        }
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|logit| f64::from((logit - max).exp())).sum();
        let log_sum = sum.ln() as f32;
        if !max.is_finite() || !log_sum.is_finite() {
            return None;
        }
        let mut best = BestFew::new(self.most);
        for (token, logit) in (0u32..).zip(logits) {
            let log_prob = logit - max - log_sum;
            let score = log_prob + self.score;
            if best.takes(score) && !self.banned.contains(&token) {
                best.offer(score, Candidate { token, log_prob });
            }
        }
        Some(best.into_items())
    }
}

/// The best few of many scored things, found without sorting them all. Of equals those offered first stay first.
#[derive(Debug)]
pub struct BestFew<T> {
    ranked: Vec<(f32, T)>,
    most: usize,
}

impl<T> BestFew<T> {
    /// Keeps at most so many.
    pub fn new(most: usize) -> Self {
        Self { ranked: Vec::with_capacity(most + 1), most }
    }

    /// Whether a thing of this score would be kept.
    pub fn takes(&self, score: f32) -> bool {
        self.ranked.len() < self.most || self.ranked.last().is_some_and(|(worst, _)| score > *worst)
    }

    /// Keeps a thing if it is among the best so far.
    pub fn offer(&mut self, score: f32, item: T) {
        let place = self.ranked.partition_point(|(other, _)| *other >= score);
        self.ranked.insert(place, (score, item));
        self.ranked.truncate(self.most);
    }

    /// The worst that is kept, once there are as many as may be.
    pub fn worst(&self) -> Option<&T> {
        self.ranked.last().filter(|_| self.ranked.len() == self.most).map(|(_, item)| item)
    }

    /// Those that were kept, best first.
    pub fn into_items(self) -> Vec<T> {
        self.ranked.into_iter().map(|(_, item)| item).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(most: usize, score: f32, banned: &[u32]) -> Wanted {
        Wanted { most, score, banned: banned.to_vec() }
    }

    #[test]
    fn the_best_come_first_and_the_banned_not_at_all() {
        let logits = [1.0, -2.0, 0.5, 100.0, 99.0];
        let ranked = wanted(3, -7., &[3]).rank(&logits).unwrap();
        assert_eq!(ranked.iter().map(|candidate| candidate.token).collect::<Vec<_>>(), [4, 0, 2]);
        let all = wanted(5, 0., &[]).rank(&logits).unwrap();
        let sum: f32 = all.iter().map(|candidate| candidate.log_prob.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6);
        assert_eq!(Wanted::NOTHING.rank(&logits), Some(vec![]));
    }

    #[test]
    fn rows_that_are_no_numbers_have_no_ranking() {
        for logits in [&[f32::NAN, 1.0][..], &[f32::INFINITY, 1.0], &[]] {
            assert_eq!(wanted(1, 0., &[]).rank(logits), None);
        }
    }

    #[test]
    fn equals_are_ranked_by_token() {
        let ranked = wanted(3, 0., &[1]).rank(&[1.; 6]).unwrap();
        assert_eq!(ranked.iter().map(|candidate| candidate.token).collect::<Vec<_>>(), [0, 2, 3]);
    }
}
