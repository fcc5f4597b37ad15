//! The best few tokens of a row of logits in three passes: the greatest, the sum of exponentials, the search.

use super::ranking::{BestFew, Candidate, Ranking, Wanted};
use super::simd::{InstructionSet, Kernel, Simd, exp};

/// Logits whose exponentials are summed in f32 before the sum goes on in f64.
const BLOCK: usize = 1024;

/// Ranks a row of logits as [`Wanted::rank`] defines it.
pub fn rank(wanted: &Wanted, logits: &[f32], set: InstructionSet) -> Ranking {
    if wanted.most == 0 {
        return Some(vec![]);
    }
    set.run(RankRow { wanted, logits })
}

struct RankRow<'a> {
    wanted: &'a Wanted,
    logits: &'a [f32],
}

impl Kernel for RankRow<'_> {
    type Output = Ranking;

    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "log-probabilities are f32 as in the reference")]
    unsafe fn run<S: Simd>(self) -> Ranking {
        // SAFETY: the caller's promise, here and below.
        let max = unsafe { greatest::<S>(self.logits) };
        let mut sum = 0f64;
        // No closure: those are not compiled for the instruction set.
        for block in self.logits.chunks(BLOCK) {
            // SAFETY: as above.
            sum += f64::from(unsafe { exp_sum::<S>(block, max) });
        }
        let log_sum = sum.ln() as f32;
        if !max.is_finite() || !log_sum.is_finite() {
            return None;
        }
        let mut best = BestFew::new(self.wanted.most);
        let mut threshold = f32::NEG_INFINITY;
        for (index, logits) in self.logits.chunks(S::LANES).enumerate() {
            // Most vectors hold nothing that is good enough.
            // SAFETY: as above, and only whole vectors are read.
            if logits.len() == S::LANES && !unsafe { S::any_greater(S::load(logits.as_ptr()), S::splat(threshold)) } {
                continue;
            }
            for (token, logit) in (index * S::LANES..).zip(logits) {
                let token = token as u32;
                let log_prob = logit - max - log_sum;
                let score = log_prob + self.wanted.score;
                if best.takes(score) && !self.wanted.banned.contains(&token) {
                    best.offer(score, (Candidate { token, log_prob }, *logit));
                    threshold = best.worst().map_or(f32::NEG_INFINITY, |(_, logit)| *logit);
                }
            }
        }
        Some(best.into_items().into_iter().map(|(candidate, _)| candidate).collect())
    }
}

/// The greatest; something that is no number if there is one among them.
#[inline(always)]
unsafe fn greatest<S: Simd>(values: &[f32]) -> f32 {
    // SAFETY: whole vectors are read.
    unsafe {
        let mut most = S::splat(f32::NEG_INFINITY);
        let mut sum = S::splat(0.);
        let mut chunks = values.chunks_exact(S::LANES);
        for chunk in chunks.by_ref() {
            let value = S::load(chunk.as_ptr());
            most = S::max(most, value);
            // A sum that is no number shows what comparisons hide.
            sum = S::add(sum, value);
        }
        let rest = chunks.remainder().iter();
        let all = S::sum(sum) + rest.clone().sum::<f32>();
        if all.is_nan() { f32::NAN } else { rest.fold(S::greatest(most), |most, value| most.max(*value)) }
    }
}

#[inline(always)]
unsafe fn exp_sum<S: Simd>(values: &[f32], max: f32) -> f32 {
    // SAFETY: as many elements as a chunk has.
    unsafe {
        let mut sum = S::splat(0.);
        let mut chunks = values.chunks_exact(S::LANES);
        for chunk in chunks.by_ref() {
            sum = S::add(sum, exp::<S>(S::sub(S::load(chunk.as_ptr()), S::splat(max))));
        }
        S::sum(sum) + chunks.remainder().iter().map(|value| (value - max).exp()).sum::<f32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_ranks_by_the_definition() {
        for (count, most) in [(1, 1), (7, 3), (1000, 6), (2051, 32), (5, 9)] {
            // Few distinct values, so that there are ties.
            let logits: Vec<f32> = (0..count).map(|index| ((index * 7919) % 41) as f32 / 4. - 3.).collect();
            let wanted = Wanted { most, score: -3.25, banned: vec![0, 5, 40] };
            let expected = wanted.rank(&logits).unwrap();
            for set in InstructionSet::supported() {
                let found = rank(&wanted, &logits, set).unwrap();
                let tokens = |list: &[Candidate]| list.iter().map(|candidate| candidate.token).collect::<Vec<_>>();
                assert_eq!(tokens(&found), tokens(&expected), "{set:?} {count}");
                let close = |(a, b): (&Candidate, &Candidate)| (a.log_prob - b.log_prob).abs() < 2e-6;
                assert!(found.iter().zip(&expected).all(close), "{set:?}: {found:?} is not {expected:?}");
            }
        }
    }

    #[test]
    fn rows_that_are_no_numbers_have_no_ranking() {
        let wanted = Wanted { most: 2, score: 0., banned: vec![] };
        for set in InstructionSet::supported() {
            for (place, wrong) in [(0, f32::NAN), (40, f32::NAN), (17, f32::INFINITY), (99, f32::NAN)] {
                let mut logits = vec![1.; 100];
                logits[place] = wrong;
                assert_eq!(rank(&wanted, &logits, set), None, "{set:?}");
            }
            assert_eq!(rank(&wanted, &[], set), None);
            assert_eq!(rank(&Wanted::NOTHING, &[f32::NAN], set), Some(vec![]));
        }
    }
}
