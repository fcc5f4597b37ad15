//! The innermost loop of a product: a few rows times one panel of outputs, all sums in registers.

use super::super::memory::LINE;
use super::super::simd::Simd;

/// Vectors of a panel.
pub const PANEL_VECTORS: usize = 2;

/// Steps whose activations of a row lie together, so that packing them is copying.
pub const CHUNK: usize = 16;

/// Up to so many rows a product waits for memory more than it computes, so weights are fetched ahead by as many words.
const FEW_ROWS: usize = 3;
const PREFETCH_WORDS: usize = 1024;

/// A vector of sums.
pub trait Total<S: Simd>: Copy {
    /// Of nothing.
    unsafe fn zero() -> Self;
    /// To go on with.
    unsafe fn resume(from: S::F32) -> Self;
    /// As floats.
    unsafe fn value(self) -> S::F32;
}

/// Sums of floats.
#[derive(Clone, Copy)]
pub struct FloatTotal<S: Simd>(S::F32);

impl<S: Simd> Total<S> for FloatTotal<S> {
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { S::splat(0.) })
    }
    #[inline(always)]
    unsafe fn resume(from: S::F32) -> Self {
        Self(from)
    }
    #[inline(always)]
    unsafe fn value(self) -> S::F32 {
        self.0
    }
}

/// Exact sums. A product of bytes has one block of inputs, so none is resumed.
#[derive(Clone, Copy)]
pub struct WholeTotal<S: Simd>(S::I32);

impl<S: Simd> Total<S> for WholeTotal<S> {
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { S::zero_i32() })
    }
    #[inline(always)]
    unsafe fn resume(_from: S::F32) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self::zero() }
    }
    #[inline(always)]
    unsafe fn value(self) -> S::F32 {
        // SAFETY: the caller's promise.
        unsafe { S::to_f32(self.0) }
    }
}

/// How activations and weights of one type are multiplied. A step reads a word of each output.
pub trait Form<S: Simd> {
    /// Sums.
    type Sum: Total<S>;
    /// Weights of a step, a vector of outputs.
    type Weights: Copy;
    /// Inputs of a step.
    const INPUTS: usize;
    /// Words that the activations of a row take in a step.
    const WORDS: usize;

    /// Reads a vector of words.
    unsafe fn load(from: *const u32) -> Self::Weights;
    /// Adds the products of a step.
    unsafe fn step(values: *const u32, weights: Self::Weights, sum: Self::Sum) -> Self::Sum;
}

/// Floats with floats.
pub struct Floats;

impl<S: Simd> Form<S> for Floats {
    type Sum = FloatTotal<S>;
    type Weights = S::F32;
    const INPUTS: usize = 1;
    const WORDS: usize = 1;

    #[inline(always)]
    unsafe fn load(from: *const u32) -> S::F32 {
        // SAFETY: the caller's promise, here and below.
        unsafe { S::load(from.cast()) }
    }
    #[inline(always)]
    unsafe fn step(values: *const u32, weights: S::F32, sum: FloatTotal<S>) -> FloatTotal<S> {
        // SAFETY: as above.
        FloatTotal(unsafe { S::mul_add(S::splat(*values.cast()), weights, sum.0) })
    }
}

/// Floats with pairs of bf16, which become floats on the way.
pub struct WideBf16;

impl<S: Simd> Form<S> for WideBf16 {
    type Sum = FloatTotal<S>;
    type Weights = (S::F32, S::F32);
    const INPUTS: usize = 2;
    const WORDS: usize = 2;

    #[inline(always)]
    unsafe fn load(from: *const u32) -> (S::F32, S::F32) {
        // SAFETY: the caller's promise, here and below.
        unsafe { S::split_bf16(S::load(from.cast())) }
    }
    #[inline(always)]
    unsafe fn step(values: *const u32, (low, high): (S::F32, S::F32), sum: FloatTotal<S>) -> FloatTotal<S> {
        // SAFETY: as above.
        unsafe {
            let sum = S::mul_add(S::splat(*values.cast()), low, sum.0);
            FloatTotal(S::mul_add(S::splat(*values.add(1).cast()), high, sum))
        }
    }
}

/// Pairs of bf16 with pairs of bf16.
pub struct PairedBf16;

impl<S: Simd> Form<S> for PairedBf16 {
    type Sum = FloatTotal<S>;
    type Weights = S::F32;
    const INPUTS: usize = 2;
    const WORDS: usize = 1;

    #[inline(always)]
    unsafe fn load(from: *const u32) -> S::F32 {
        // SAFETY: the caller's promise, here and below.
        unsafe { S::load(from.cast()) }
    }
    #[inline(always)]
    unsafe fn step(values: *const u32, weights: S::F32, sum: FloatTotal<S>) -> FloatTotal<S> {
        // SAFETY: as above.
        FloatTotal(unsafe { S::dot_bf16(*values, weights, sum.0) })
    }
}

/// Quantised activations with bytes.
pub struct Bytes;

impl<S: Simd> Form<S> for Bytes {
    type Sum = WholeTotal<S>;
    type Weights = S::Bytes;
    const INPUTS: usize = 4;
    const WORDS: usize = if S::HAS_BYTE_DOT { 1 } else { 2 };

    #[inline(always)]
    unsafe fn load(from: *const u32) -> S::Bytes {
        // SAFETY: the caller's promise, here and below.
        unsafe { S::load_bytes(from) }
    }
    #[inline(always)]
    unsafe fn step(values: *const u32, weights: S::Bytes, sum: WholeTotal<S>) -> WholeTotal<S> {
        // SAFETY: as above.
        WholeTotal(unsafe { S::dot_i8(values, weights, sum.0) })
    }
}

/// Sums of a tile of `ROWS` rows and a panel.
pub type Sums<S, F, const ROWS: usize> = [[<F as Form<S>>::Sum; PANEL_VECTORS]; ROWS];

/// What is fetched into the cache while a tile is computed: so many lines with each chunk of steps.
#[derive(Clone, Copy)]
pub struct Ahead {
    /// The first line.
    pub from: *const u32,
    /// Lines with each chunk.
    pub lines: usize,
}

impl Ahead {
    /// What follows is in the cache, or nobody knows it.
    pub const NOTHING: Self = Self { from: std::ptr::null(), lines: 0 };
}

/// Adds `steps` steps to the sums of a tile.
///
/// `values` are the activations, `[chunks][ROWS][CHUNK steps]`; `weights` the panel's words, `[steps][outputs]`.
///
/// # Safety
/// As [`Simd`]; both hold as much as `steps` says.
#[inline(always)]
pub unsafe fn multiply<S: Simd, F: Form<S>, const ROWS: usize>(
    mut values: *const u32,
    (mut weights, mut steps): (*const u32, usize),
    mut ahead: Ahead,
    mut sums: Sums<S, F, ROWS>,
) -> Sums<S, F, ROWS> {
    // Wrapping additions are those that are not checked where everything else is.
    while steps > 0 {
        let in_chunk = steps.min(CHUNK);
        for _ in 0..ahead.lines {
            S::prefetch(ahead.from);
            ahead.from = ahead.from.wrapping_add(LINE);
        }
        let mut step_values = values;
        for _ in 0..in_chunk {
            // SAFETY: the caller's promise.
            unsafe {
                let panel = [F::load(weights), F::load(weights.wrapping_add(S::LANES))];
                if ROWS <= FEW_ROWS {
                    S::prefetch(weights.wrapping_add(PREFETCH_WORDS));
                    if S::LANES >= LINE {
                        S::prefetch(weights.wrapping_add(PREFETCH_WORDS + S::LANES));
                    }
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
