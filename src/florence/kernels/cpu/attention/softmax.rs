//! Softmax over a row of scores.

use super::super::product::tile::CHUNK;
use super::super::simd::{Simd, exp};

/// Writes `e^(scale * score - greatest)` of the first `count` scores and gives the sum of that. Chunks of [`CHUNK`] begin every
/// `stride` floats; with a stride of [`CHUNK`] the scores themselves may be written over.
///
/// # Safety
/// As [`Simd`]; there is a score, and room for as many chunks.
#[inline(always)]
pub unsafe fn exponentials<S: Simd>(
    (scores, count): (*const f32, usize),
    scale: f32,
    (to, stride): (*mut f32, usize),
) -> f32 {
    let whole = count / S::LANES * S::LANES;
    // SAFETY: the caller's promise.
    unsafe {
        let mut most = S::splat(*scores);
        for start in (0..whole).step_by(S::LANES) {
            most = S::max(most, S::load(scores.add(start)));
        }
        let mut greatest = S::greatest(most);
        for place in whole..count {
            greatest = greatest.max(*scores.add(place));
        }
        let (scale, least) = (S::splat(scale), S::splat(-greatest * scale));
        let place = |start: usize| to.add(start / CHUNK * stride + start % CHUNK);
        let mut sum = S::splat(0.);
        for start in (0..whole).step_by(S::LANES) {
            let weight = exp::<S>(S::mul_add(S::load(scores.add(start)), scale, least));
            sum = S::add(sum, weight);
            S::store(place(start), weight);
        }
        let mut sum = S::sum(sum);
        if whole < count {
            let left = count - whole;
            let weight = exp::<S>(S::mul_add(S::load_first(scores.add(whole), left), scale, least));
            S::store_first(place(whole), weight, left);
            for lane in 0..left {
                sum += *place(whole).add(lane);
            }
        }
        sum
    }
}

/// Softmax of scores times `scale`, in their place. There is at least one.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
pub unsafe fn softmax<S: Simd>(row: &mut [f32], scale: f32) {
    let at = row.as_mut_ptr();
    // SAFETY: the row is written over, chunk by chunk.
    unsafe {
        let inverse = S::splat(exponentials::<S>((at, row.len()), scale, (at, CHUNK)).recip());
        for weights in row.chunks_mut(S::LANES) {
            let values = S::load_up_to(weights.as_ptr(), weights.len());
            S::store_up_to(weights.as_mut_ptr(), S::mul(values, inverse), weights.len());
        }
    }
}
