//! The decoder's attentions in a step: one query for each row, over the caches of its input.

use rayon::prelude::*;

use super::super::memory::{Scratch, Shared, written};
use super::super::simd::{InstructionSet, Kernel, Simd};
use super::softmax::softmax;

/// Positions whose values are added at a time, so that sums stay in registers.
const POSITIONS: usize = 8;

/// Rows of a step.
#[derive(Clone, Copy)]
pub struct StepInput<'a> {
    /// A query for each row, at the beginning of every `stride` floats; behind it, for attention to what was written, the
    /// row's key and value.
    pub rows: &'a [f32],
    /// From one row to the next.
    pub stride: usize,
    /// Floats of a query.
    pub width: usize,
    /// Heads side by side in the width.
    pub heads: usize,
}

/// Keys and values of one input, in one layer.
pub struct Written<'a> {
    /// `[capacity, beams, 2 * width]`, with room for the token that is written now.
    pub own: Shared<f32>,
    /// For each beam and each of its tokens so far, in whose place it was written.
    pub ancestry: Vec<&'a [u8]>,
}

/// Attention to the encoder's output: for each input its keys and values `[positions, 2 * width]` and its rows. `[rows, width]`.
///
/// # Panics
/// The heads do not divide the width, or there are fewer rows.
pub fn cross_attention(input: StepInput<'_>, inputs: &[(&[f32], usize)], set: InstructionSet) -> Vec<f32> {
    let sources: Vec<Source<'_>> = inputs.iter().map(|(cross, _)| Source::Shared(cross)).collect();
    let beams: Vec<usize> = inputs.iter().map(|(_, beams)| *beams).collect();
    attend(input, &sources, &beams, set)
}

/// Attention to what was written, after this step's keys and values are written as well. `[rows, width]`.
///
/// # Panics
/// As [`cross_attention`].
///
/// # Safety
/// Nobody else uses the memory of `own`, which has room for the token; the beams of an input have written as many tokens, each in
/// the place of one of them.
pub unsafe fn cached_attention(input: StepInput<'_>, inputs: &[Written<'_>], set: InstructionSet) -> Vec<f32> {
    let beams: Vec<usize> = inputs.iter().map(|written| written.ancestry.len()).collect();
    let mut row = 0;
    for (written, beams) in inputs.iter().zip(&beams) {
        let length = written.ancestry.first().map_or(0, |tokens| tokens.len());
        for beam in 0..*beams {
            let from = input.rows.get(row * input.stride + input.width..).unwrap_or_default();
            let token = from.get(..2 * input.width).unwrap_or_default();
            // SAFETY: there is room for the token, and nobody else uses it.
            unsafe {
                let to = written.own.at((length * beams + beam) * 2 * input.width);
                std::ptr::copy_nonoverlapping(token.as_ptr(), to, token.len());
            }
            row += 1;
        }
    }
    let sources: Vec<Source<'_>> = inputs.iter().map(Source::Written).collect();
    attend(input, &sources, &beams, set)
}

/// Where keys and values are.
enum Source<'a> {
    /// The same for all beams.
    Shared(&'a [f32]),
    /// Each beam has its own.
    Written(&'a Written<'a>),
}

/// Attends by inputs and parts of the heads, as many as keep the threads busy.
fn attend(input: StepInput<'_>, sources: &[Source<'_>], beams: &[usize], set: InstructionSet) -> Vec<f32> {
    let rows: usize = beams.iter().sum();
    let StepInput { rows: queries, stride, width, heads } = input;
    assert!(width > 0 && width.is_multiple_of(heads), "{heads} heads in a width of {width}");
    assert!(rows == 0 || queries.len() >= (rows - 1) * stride + width, "a query for each row");
    let first_rows: Vec<usize> =
        beams.iter().scan(0, |next, beams| Some(std::mem::replace(next, *next + beams))).collect();
    let threads = rayon::current_num_threads();
    let parts = if threads == 1 { 1 } else { (2 * threads).div_ceil(sources.len().max(1)).min(input.heads) };
    let heads_each = input.heads.div_ceil(parts.max(1)).max(1);
    let parts = input.heads.div_ceil(heads_each);
    // SAFETY: every task writes its own rows and heads.
    unsafe {
        written(rows * input.width, |out| {
            (0..sources.len() * parts).into_par_iter().for_each(|index| {
                let (source, first_head) = (index / parts, index % parts * heads_each);
                let (Some(&beams), Some(&row)) = (beams.get(source), first_rows.get(source)) else { return };
                let Some(source) = sources.get(source) else { return };
                let heads = heads_each.min(input.heads - first_head);
                set.run(Attend { input, source, row, beams, first_head, heads, out });
            });
        })
    }
}

/// Some heads of the rows of one input.
struct Attend<'a> {
    input: StepInput<'a>,
    source: &'a Source<'a>,
    row: usize,
    beams: usize,
    first_head: usize,
    heads: usize,
    out: Shared<f32>,
}

impl Kernel for Attend<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        match self.source {
            Source::Shared(cross) => {
                let at = |position: usize, _beam: usize| cross.as_ptr().wrapping_add(position * 2 * self.input.width);
                let positions = cross.len() / (2 * self.input.width).max(1);
                // SAFETY: the caller's promise.
                unsafe { self.run_over::<S>(0..self.beams, positions, at) }
            }
            Source::Written(written) => {
                for (beam, ancestry) in written.ancestry.iter().enumerate() {
                    let at = |position: usize, beam: usize| {
                        let place = ancestry.get(position).map_or(beam, |place| usize::from(*place));
                        // SAFETY: tokens up to the present one are there.
                        unsafe { written.own.at((position * self.beams + place) * 2 * self.input.width).cast_const() }
                    };
                    // SAFETY: the caller's promise.
                    unsafe { self.run_over::<S>(beam..beam + 1, ancestry.len() + 1, at) }
                }
            }
        }
    }
}

impl Attend<'_> {
    /// Beams that share their positions; `at` says where the key of one is, with its value behind it.
    #[inline(always)]
    unsafe fn run_over<S: Simd>(
        &self,
        beams: std::ops::Range<usize>,
        positions: usize,
        at: impl Fn(usize, usize) -> *const f32,
    ) {
        let width = self.input.width / self.input.heads;
        let scale = (width as f32).sqrt().recip();
        let count = beams.len();
        let mut scores = Scratch::new(self.heads * count * positions);
        let place = |head: usize, beam: usize| (head * count + beam) * positions;
        // SAFETY: heads, beams and positions are within their counts.
        unsafe {
            for position in 0..positions {
                let keys = at(position, beams.start).add(self.first_head * width);
                for head in 0..self.heads {
                    for beam in 0..count {
                        let query = self.query(beams.start + beam).add(head * width);
                        let score = dot::<S>(query, keys.add(head * width), width);
                        *scores.as_mut_ptr().add(place(head, beam) + position) = score;
                    }
                }
            }
            for row in scores.chunks_exact_mut(positions.max(1)) {
                softmax::<S>(row, scale);
            }
            for beam in beams.clone() {
                let out = self.out.at((self.row + beam) * self.input.width + self.first_head * width);
                out.write_bytes(0, self.heads * width);
            }
            for first in (0..positions).step_by(POSITIONS) {
                let block = POSITIONS.min(positions - first);
                let values: [*const f32; POSITIONS] = std::array::from_fn(|index| {
                    let position = first + index.min(block - 1);
                    at(position, beams.start).add(self.input.width + self.first_head * width)
                });
                for head in 0..self.heads {
                    for beam in 0..count {
                        let row = (self.row + beams.start + beam) * self.input.width;
                        let out = self.out.at(row + (self.first_head + head) * width);
                        let weights = scores.as_ptr().add(place(head, beam) + first);
                        add_values::<S>(out, (weights, block), values.map(|value| value.add(head * width)), width);
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn query(&self, beam: usize) -> *const f32 {
        let width = self.input.width / self.input.heads;
        let at = (self.row + beam) * self.input.stride + self.first_head * width;
        self.input.rows.as_ptr().wrapping_add(at)
    }
}

/// Sum of products of two rows.
#[inline(always)]
unsafe fn dot<S: Simd>(a: *const f32, b: *const f32, width: usize) -> f32 {
    let whole = width / S::LANES * S::LANES;
    // SAFETY: the rows are as wide.
    unsafe {
        let mut sum = S::splat(0.);
        for start in (0..whole).step_by(S::LANES) {
            sum = S::mul_add(S::load(a.add(start)), S::load(b.add(start)), sum);
        }
        let mut total = S::sum(sum);
        for place in whole..width {
            total += *a.add(place) * *b.add(place);
        }
        total
    }
}

/// Adds the weighted values of up to [`POSITIONS`] positions to a row.
#[inline(always)]
unsafe fn add_values<S: Simd>(
    out: *mut f32,
    (weights, count): (*const f32, usize),
    values: [*const f32; POSITIONS],
    width: usize,
) {
    // SAFETY: the rows are as wide, and there are `count` weights.
    unsafe {
        for start in (0..width).step_by(S::LANES) {
            let left = width - start;
            let mut sum = S::load_up_to(out.add(start), left);
            for (position, value) in values.iter().enumerate().take(count) {
                let value = S::load_up_to(value.add(start), left);
                sum = S::mul_add(S::splat(*weights.add(position)), value, sum);
            }
            S::store_up_to(out.add(start), sum, left);
        }
    }
}
