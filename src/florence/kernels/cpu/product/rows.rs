//! The rows that are multiplied: read, normalised where that is asked for, and laid out for the tiles.

use super::super::layer_norm::{NormWeights, normalise_row};
use super::super::simd::Simd;
use super::packed::bf16;
use super::tile::{Bytes, CHUNK, Floats, Form, PairedBf16, WideBf16};

/// Rows of equal width somewhere in memory.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    values: &'a [f32],
    /// From one row to the next.
    stride: usize,
}

impl<'a> Rows<'a> {
    /// Rows that begin every `stride` values.
    pub const fn new(values: &'a [f32], stride: usize) -> Self {
        Self { values, stride }
    }

    /// Whether there are so many rows of a width.
    pub const fn has(&self, rows: usize, width: usize) -> bool {
        rows == 0 || width == 0 || (rows - 1) * self.stride + width <= self.values.len()
    }

    /// The rows from `first` on.
    pub fn skip(&self, first: usize) -> Self {
        Self { values: self.values.get(first * self.stride..).unwrap_or_default(), stride: self.stride }
    }

    /// `width` values of a row.
    #[inline(always)]
    pub fn row(&self, index: usize, width: usize) -> &'a [f32] {
        self.values.get(index * self.stride..index * self.stride + width).unwrap_or_default()
    }
}

/// What is multiplied.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// The rows.
    pub rows: Rows<'a>,
    /// With which they are normalised first.
    pub norm: Option<NormWeights<'a>>,
}

impl<'a> Input<'a> {
    /// Rows as they are.
    pub const fn plain(rows: Rows<'a>) -> Self {
        Self { rows, norm: None }
    }

    /// Whether there are so many rows of a width, and norms as wide.
    pub fn has(&self, rows: usize, width: usize) -> bool {
        self.rows.has(rows, width)
            && self.norm.is_none_or(|norm| norm.weight.len() == width && norm.bias.len() == width)
    }

    /// The input from row `first` on.
    pub fn skip(&self, first: usize) -> Self {
        Self { rows: self.rows.skip(first), norm: self.norm }
    }

    /// A row, in `buffer` if it had to be computed.
    ///
    /// # Safety
    /// As [`Simd`].
    #[inline(always)]
    pub unsafe fn read<'b, S: Simd>(&self, index: usize, buffer: &'b mut [f32]) -> &'b [f32]
    where
        'a: 'b,
    {
        let row = self.rows.row(index, buffer.len());
        match self.norm {
            None => row,
            Some(norm) => {
                // SAFETY: the caller's promise.
                unsafe { normalise_row::<S>(row, norm, buffer.as_mut_ptr()) };
                buffer
            }
        }
    }
}

/// Laying out a row's activations.
pub trait Pack<S: Simd>: Form<S> {
    /// Writes the words of a row, a chunk of steps every `stride` words, zeros behind the last; what a unit of them is worth.
    ///
    /// # Safety
    /// As [`Simd`]; there is room for all chunks.
    unsafe fn pack(row: &[f32], to: *mut u32, stride: usize) -> f32;
}

impl<S: Simd> Pack<S> for Floats {
    #[inline(always)]
    unsafe fn pack(row: &[f32], to: *mut u32, stride: usize) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { write_chunks(row, to, (CHUNK, stride), |[value]: [f32; 1]| [value.to_bits()]) };
        1.
    }
}

impl<S: Simd> Pack<S> for WideBf16 {
    #[inline(always)]
    unsafe fn pack(row: &[f32], to: *mut u32, stride: usize) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { write_chunks(row, to, (2 * CHUNK, stride), |[value]: [f32; 1]| [value.to_bits()]) };
        1.
    }
}

impl<S: Simd> Pack<S> for PairedBf16 {
    #[inline(always)]
    unsafe fn pack(row: &[f32], to: *mut u32, stride: usize) -> f32 {
        let pair = |[low, high]: [f32; 2]| [u32::from(bf16(low)) | u32::from(bf16(high)) << 16];
        // SAFETY: the caller's promise.
        unsafe { write_chunks(row, to, (CHUNK, stride), pair) };
        1.
    }
}

/// Greatest quantised value where bytes are multiplied with bytes.
const BYTE_RANGE: f32 = 127.;
/// Greatest where they are 16-bit values, unless sums of so many products would not fit into 32 bits.
const WORD_RANGE: f32 = 2047.;
/// Rows of smaller values are quantised as if this were their greatest magnitude: what they are divided by stays a number.
const LEAST: f32 = 1e-30;
/// What makes signed bytes unsigned ones.
pub const BYTE_OFFSET: f32 = 128.;

impl<S: Simd> Pack<S> for Bytes {
    #[inline(always)]
    unsafe fn pack(row: &[f32], to: *mut u32, stride: usize) -> f32 {
        // SAFETY: the caller's promise.
        let most = unsafe { magnitude::<S>(row) };
        let range = if S::HAS_BYTE_DOT { BYTE_RANGE } else { word_range(row.len()) };
        let inverse = range / most.max(LEAST);
        // SAFETY: the caller's promise.
        unsafe {
            if S::HAS_BYTE_DOT {
                let byte = |value: f32| nearest(value * inverse + BYTE_OFFSET) & 0xff;
                write_chunks(row, to, (CHUNK, stride), |[a, b, c, d]: [f32; 4]| {
                    [byte(a) | byte(b) << 8 | byte(c) << 16 | byte(d) << 24]
                });
            } else {
                let word = |value: f32| nearest(value * inverse) & 0xffff;
                write_chunks(row, to, (2 * CHUNK, stride), |[a, b, c, d]: [f32; 4]| {
                    [word(a) | word(c) << 16, word(b) | word(d) << 16]
                });
            }
        }
        // Bytes hide what is no number, their unit must not.
        if most.is_nan() { most } else { most.max(LEAST) / range }
    }
}

/// Greatest 16-bit value of which as many products with bytes can be summed.
fn word_range(products: usize) -> f32 {
    let most = i32::MAX / i32::from(i8::MAX);
    WORD_RANGE.min((most as f32 / products.max(1) as f32).floor())
}

/// The greatest magnitude of a row; no number if there is something among its values that is none, or is infinite.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
unsafe fn magnitude<S: Simd>(row: &[f32]) -> f32 {
    let (chunks, rest) = (row.chunks_exact(S::LANES), row.len() % S::LANES);
    // SAFETY: whole vectors are read, and of the last one what is there.
    unsafe {
        let (mut most, mut nothing) = (S::splat(0.), S::splat(0.));
        let last = S::load_first(row.as_ptr().wrapping_add(row.len() - rest), rest);
        for chunk in chunks {
            let value = S::load(chunk.as_ptr());
            most = S::max(most, S::abs(value));
            nothing = S::mul_add(value, S::splat(0.), nothing);
        }
        most = S::max(most, S::abs(last));
        nothing = S::mul_add(last, S::splat(0.), nothing);
        S::greatest(most) + S::sum(nothing)
    }
}

/// The nearest whole number of a small value, in two's complement.
#[inline(always)]
const fn nearest(value: f32) -> u32 {
    // Behind this sum the lowest bits of the mantissa are the number.
    const WHOLE: f32 = 12_582_912.;
    (value + WHOLE).to_bits().wrapping_sub(WHOLE.to_bits())
}

/// Turns every `N` values into `W` words. `size` words make a chunk; chunks begin every `stride` words; the last is filled up
/// with what zeros become.
///
/// # Safety
/// There is room for all chunks.
#[inline(always)]
unsafe fn write_chunks<const N: usize, const W: usize>(
    row: &[f32],
    to: *mut u32,
    (size, stride): (usize, usize),
    words: impl Fn([f32; N]) -> [u32; W],
) {
    let groups_in_chunk = size / W;
    for (index, values) in row.chunks(groups_in_chunk * N).enumerate() {
        // SAFETY: the caller's promise.
        let to = unsafe { to.add(index * stride).cast::<[u32; W]>() };
        let (groups, rest) = values.as_chunks::<N>();
        for (place, group) in groups.iter().enumerate() {
            // SAFETY: fewer groups than there are in a chunk.
            unsafe { to.add(place).write_unaligned(words(*group)) };
        }
        let mut last = [0.; N];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        for place in groups.len()..groups_in_chunk {
            // SAFETY: as above.
            unsafe { to.add(place).write_unaligned(words(last)) };
            last = [0.; N];
        }
    }
}
