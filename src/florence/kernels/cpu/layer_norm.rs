//! Layer norm over the last axis with its variance from a second pass.
//!
//! The mean of squares minus the square of the mean would lose half the digits where the mean is large; a near tie between two
//! beams then falls the other way than in the reference.

use rayon::prelude::*;

use super::memory::{Shared, written};
use super::simd::{InstructionSet, Kernel, Simd};

/// Epsilon of every layer norm of the model.
pub const EPSILON: f32 = 1e-5;
/// Rows that a thread takes at a time.
const ROWS: usize = 16;

/// Weight and bias of a norm, as wide as the rows.
#[derive(Clone, Copy)]
pub struct NormWeights<'a> {
    /// The scale of each column.
    pub weight: &'a [f32],
    /// What is added to each column.
    pub bias: &'a [f32],
}

/// Rows of `norm.weight.len()` values, normalised.
pub fn layer_norm(x: &[f32], norm: NormWeights<'_>, set: InstructionSet) -> Vec<f32> {
    assert_eq!(norm.weight.len(), norm.bias.len(), "weight and bias of a norm");
    let width = norm.weight.len().max(1);
    let block = |index: usize, rows: &[f32], out: Shared<f32>| {
        // SAFETY: these rows are this block's.
        set.run(NormRows { rows, norm, out: unsafe { out.skip(index * ROWS * width) } });
    };
    // SAFETY: the blocks cover all rows.
    unsafe {
        written(x.len(), |out| {
            x.par_chunks(ROWS * width).enumerate().for_each(|(index, rows)| block(index, rows, out));
        })
    }
}

struct NormRows<'a> {
    rows: &'a [f32],
    norm: NormWeights<'a>,
    out: Shared<f32>,
}

impl Kernel for NormRows<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let width = self.norm.weight.len().max(1);
        for (index, row) in self.rows.chunks(width).enumerate() {
            // SAFETY: the output has as many rows.
            unsafe { normalise_row::<S>(row, self.norm, self.out.at(index * width)) };
        }
    }
}

/// `(x - mean) / sqrt(variance + 1e-5) * weight + bias`.
///
/// # Safety
/// As [`Simd`]; weight and bias are as wide as `row`, and there is room for as much behind `out`.
#[inline(always)]
pub unsafe fn normalise_row<S: Simd>(row: &[f32], norm: NormWeights<'_>, out: *mut f32) {
    let width = row.len().min(norm.weight.len()).min(norm.bias.len());
    let whole = width / S::LANES * S::LANES;
    let rest = width - whole;
    let x = row.as_ptr();
    // SAFETY: all four are at least `width` wide.
    unsafe {
        let mut sum = S::splat(0.);
        for start in (0..whole).step_by(S::LANES) {
            sum = S::add(sum, S::load(x.add(start)));
        }
        // Zeros add nothing to a sum.
        let mean = (S::sum(sum) + S::sum(S::load_first(x.add(whole), rest))) / width as f32;
        let mut squares = S::splat(0.);
        for start in (0..whole).step_by(S::LANES) {
            let deviation = S::sub(S::load(x.add(start)), S::splat(mean));
            squares = S::mul_add(deviation, deviation, squares);
        }
        let mut variance = S::sum(squares);
        for place in whole..width {
            let deviation = *x.add(place) - mean;
            variance += deviation * deviation;
        }
        let scale = (variance / width as f32 + EPSILON).sqrt().recip();
        let (mean, scale) = (S::splat(mean), S::splat(scale));
        let (weight, bias) = (norm.weight.as_ptr(), norm.bias.as_ptr());
        for start in (0..whole).step_by(S::LANES) {
            let normed = S::mul(S::sub(S::load(x.add(start)), mean), scale);
            S::store(out.add(start), S::mul_add(normed, S::load(weight.add(start)), S::load(bias.add(start))));
        }
        if rest > 0 {
            let normed = S::mul(S::sub(S::load_first(x.add(whole), rest), mean), scale);
            let (weight, bias) = (S::load_first(weight.add(whole), rest), S::load_first(bias.add(whole), rest));
            S::store_first(out.add(whole), S::mul_add(normed, weight, bias), rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_far_from_zero_keep_their_digits() {
        for (rows, width) in [(1, 1), (3, 7), (35, 129), (2, 64)] {
            let value = |index: usize| ((index * 37) % 101) as f32 / 50. + 300.;
            let x: Vec<f32> = (0..rows * width).map(value).collect();
            let weight: Vec<f32> = (0..width).map(|column| 1. + column as f32 / 99.).collect();
            let bias: Vec<f32> = (0..width).map(|column| column as f32 / 77. - 0.5).collect();
            for set in InstructionSet::supported() {
                let found = layer_norm(&x, NormWeights { weight: &weight, bias: &bias }, set);
                for (x, found) in x.chunks(width).zip(found.chunks(width)) {
                    let mean = x.iter().map(|v| f64::from(*v)).sum::<f64>() / width as f64;
                    let variance = x.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / width as f64;
                    for (column, value) in found.iter().enumerate() {
                        let normed = (f64::from(x[column]) - mean) / (variance + 1e-5).sqrt();
                        let expected = normed * f64::from(weight[column]) + f64::from(bias[column]);
                        assert!((f64::from(*value) - expected).abs() < 5e-4, "{set:?}: {value} is not {expected}");
                    }
                }
            }
        }
    }
}
