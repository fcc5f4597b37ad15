//! The innermost loop of a product: a few rows times one panel of outputs, all sums in registers.

use super::super::simd::Simd;
use super::packed::PANEL_VECTORS;

/// Steps whose activations of a row lie together, so that packing them is copying.
pub const CHUNK: usize = 16;

/// Up to so many rows a product waits for memory more than it computes, so weights are fetched ahead by as many words.
const FEW_ROWS: usize = 3;
const PREFETCH_WORDS: usize = 1024;

/// How activations and weights of one type are multiplied. A step reads a word of each output.
pub trait Form<S: Simd> {
    /// Sums.
    type Sum: Copy;
    /// Weights of a step, a vector of outputs.
    type Weights: Copy;
    /// Inputs of a step.
    const INPUTS: usize;
    /// Words that the activations of a row take in a step.
    const WORDS: usize;

    /// The sum of nothing.
    unsafe fn zero() -> Self::Sum;
    /// A sum to go on with.
    unsafe fn resume(from: S::F32) -> Self::Sum;
    /// Reads a vector of words.
    unsafe fn load(from: *const u32) -> Self::Weights;
    /// Adds the products of a step.
    unsafe fn step(values: *const u32, weights: Self::Weights, sum: Self::Sum) -> Self::Sum;
    /// The sum as floats.
    unsafe fn value(sum: Self::Sum) -> S::F32;
}

/// Floats with floats.
pub struct Floats;

impl<S: Simd> Form<S> for Floats {
    type Sum = S::F32;
    type Weights = S::F32;
    const INPUTS: usize = 1;
    const WORDS: usize = 1;

    #[inline(always)]
    unsafe fn zero() -> S::F32 {
        // SAFETY: the caller's promise, here and below.
        unsafe { S::splat(0.) }
    }
    #[inline(always)]
    unsafe fn resume(from: S::F32) -> S::F32 {
        from
    }
    #[inline(always)]
    unsafe fn load(from: *const u32) -> S::F32 {
        // SAFETY: as above.
        unsafe { S::load(from.cast()) }
    }
    #[inline(always)]
    unsafe fn step(values: *const u32, weights: S::F32, sum: S::F32) -> S::F32 {
        // SAFETY: as above.
        unsafe { S::mul_add(S::splat(*values.cast()), weights, sum) }
    }
    #[inline(always)]
    unsafe fn value(sum: S::F32) -> S::F32 {
        sum
    }
}

/// Floats with pairs of bf16, which become floats on the way.
pub struct WideBf16;

impl<S: Simd> Form<S> for WideBf16 {
    type Sum = S::F32;
    type Weights = (S::F32, S::F32);
    const INPUTS: usize = 2;
    const WORDS: usize = 2;

    #[inline(always)]
    unsafe fn zero() -> S::F32 {
        // SAFETY: the caller's promise, here and below.
        unsafe { S::splat(0.) }
    }
    #[inline(always)]
    unsafe fn resume(from: S::F32) -> S::F32 {
        from
    }
    #[inline(always)]
    unsafe fn load(from: *const u32) -> (S::F32, S::F32) {
        // SAFETY: as above.
        unsafe { S::split_bf16(S::load(from.cast())) }
    }
    #[inline(always)]
    unsafe fn step(values: *const u32, (low, high): (S::F32, S::F32), sum: S::F32) -> S::F32 {
        // SAFETY: as above.
        unsafe {
            let sum = S::mul_add(S::splat(*values.cast()), low, sum);
            S::mul_add(S::splat(*values.add(1).cast()), high, sum)
        }
    }
    #[inline(always)]
    unsafe fn value(sum: S::F32) -> S::F32 {
        sum
    }
}

/// Pairs of bf16 with pairs of bf16.
pub struct PairedBf16;

impl<S: Simd> Form<S> for PairedBf16 {
    type Sum = S::F32;
    type Weights = S::F32;
    const INPUTS: usize = 2;
    const WORDS: usize = 1;

    #[inline(always)]
    unsafe fn zero() -> S::F32 {
        // SAFETY: the caller's promise, here and below.
        unsafe { S::splat(0.) }
    }
    #[inline(always)]
    unsafe fn resume(from: S::F32) -> S::F32 {
        from
    }
    #[inline(always)]
    unsafe fn load(from: *const u32) -> S::F32 {
        // SAFETY: as above.
        unsafe { S::load(from.cast()) }
    }
    #[inline(always)]
    unsafe fn step(values: *const u32, weights: S::F32, sum: S::F32) -> S::F32 {
        // SAFETY: as above.
        unsafe { S::dot_bf16(*values, weights, sum) }
    }
    #[inline(always)]
    unsafe fn value(sum: S::F32) -> S::F32 {
        sum
    }
}

/// Quantised activations with bytes. A product of them has one block of inputs, so no sum is resumed.
pub struct Bytes;

impl<S: Simd> Form<S> for Bytes {
    type Sum = S::I32;
    type Weights = S::Bytes;
    const INPUTS: usize = 4;
    const WORDS: usize = if S::HAS_BYTE_DOT { 1 } else { 2 };

    #[inline(always)]
    unsafe fn zero() -> S::I32 {
        // SAFETY: the caller's promise, here and below.
        unsafe { S::zero_i32() }
    }
    #[inline(always)]
    unsafe fn resume(_from: S::F32) -> S::I32 {
        // SAFETY: as above.
        unsafe { S::zero_i32() }
    }
    #[inline(always)]
    unsafe fn load(from: *const u32) -> S::Bytes {
        // SAFETY: as above.
        unsafe { S::load_bytes(from) }
    }
    #[inline(always)]
    unsafe fn step(values: *const u32, weights: S::Bytes, sum: S::I32) -> S::I32 {
        // SAFETY: as above.
        unsafe { S::dot_i8(values, weights, sum) }
    }
    #[inline(always)]
    unsafe fn value(sum: S::I32) -> S::F32 {
        // SAFETY: as above.
        unsafe { S::to_f32(sum) }
    }
}

/// Sums of a tile of `ROWS` rows and a panel.
pub type Sums<S, F, const ROWS: usize> = [[<F as Form<S>>::Sum; PANEL_VECTORS]; ROWS];

/// Adds `steps` steps to the sums of a tile.
///
/// `values` are the activations, `[chunks][ROWS][CHUNK steps]`; `weights` the panel's words, `[steps][outputs]`.
///
/// # Safety
/// As [`Simd`]; both hold as much as `steps` says.
#[inline(always)]
pub unsafe fn multiply<S: Simd, F: Form<S>, const ROWS: usize>(
    mut values: *const u32,
    mut weights: *const u32,
    mut steps: usize,
    mut sums: Sums<S, F, ROWS>,
) -> Sums<S, F, ROWS> {
    // Wrapping additions are those that are not checked where everything else is.
    while steps > 0 {
        let in_chunk = steps.min(CHUNK);
        let mut step_values = values;
        for _ in 0..in_chunk {
            // SAFETY: the caller's promise.
            unsafe {
                let panel = [F::load(weights), F::load(weights.wrapping_add(S::LANES))];
                if ROWS <= FEW_ROWS {
                    S::prefetch(weights.wrapping_add(PREFETCH_WORDS));
                    S::prefetch(weights.wrapping_add(PREFETCH_WORDS + S::LANES));
                }
                let mut value = step_values;
                for sums in &mut sums {
                    for (sum, weights) in sums.iter_mut().zip(panel) {
                        *sum = F::step(value, weights, *sum);
                    }
                    value = value.wrapping_add(CHUNK * F::WORDS);
                }
            }
            weights = weights.wrapping_add(PANEL_VECTORS * S::LANES);
            step_values = step_values.wrapping_add(F::WORDS);
        }
        values = values.wrapping_add(ROWS * CHUNK * F::WORDS);
        steps -= in_chunk;
    }
    sums
}
