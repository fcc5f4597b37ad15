//! Vectors as arrays, which the compiler turns into whatever it knows.

use super::Simd;

/// Eight lanes of plain arithmetic. With `PAIRS` it takes activations in pairs of bf16, as processors with an instruction for these do:
/// nobody is served by that, but it can be tested everywhere.
#[derive(Debug, Clone, Copy)]
pub struct Portable<const PAIRS: bool = false>;

const LANES: usize = 8;

#[inline(always)]
fn each(f: impl Fn(usize) -> f32) -> [f32; LANES] {
    std::array::from_fn(f)
}

// The lanes are counted by the array's own length.
#[allow(clippy::indexing_slicing, reason = "indices come from the array's own length")]
// SAFETY: reads and writes no more elements than each operation says.
unsafe impl<const PAIRS: bool> Simd for Portable<PAIRS> {
    type F32 = [f32; LANES];
    type I32 = [i32; LANES];
    type Bytes = [[i8; 4]; LANES];
    const LANES: usize = LANES;
    const TILE_ROWS: usize = 3;
    const HAS_BF16_DOT: bool = PAIRS;
    const HAS_BYTE_DOT: bool = true;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::F32 {
        [value; LANES]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::F32 {
        // SAFETY: the caller vouches for as many elements.
        unsafe { from.cast::<[f32; LANES]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self::F32 {
        // SAFETY: the caller vouches for `count` elements.
        each(|lane| if lane < count { unsafe { *from.add(lane) } } else { 0. })
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::F32) {
        // SAFETY: the caller vouches for as many elements.
        unsafe { to.cast::<[f32; LANES]>().write_unaligned(value) }
    }
    #[inline(always)]
    unsafe fn store_first(to: *mut f32, value: Self::F32, count: usize) {
        for (lane, value) in value.iter().enumerate().take(count) {
            // SAFETY: the caller vouches for `count` elements.
            unsafe { *to.add(lane) = *value }
        }
    }
    #[inline(always)]
    unsafe fn add(a: Self::F32, b: Self::F32) -> Self::F32 {
        each(|lane| a[lane] + b[lane])
    }
    #[inline(always)]
    unsafe fn sub(a: Self::F32, b: Self::F32) -> Self::F32 {
        each(|lane| a[lane] - b[lane])
    }
    #[inline(always)]
    unsafe fn mul(a: Self::F32, b: Self::F32) -> Self::F32 {
        each(|lane| a[lane] * b[lane])
    }
    #[inline(always)]
    unsafe fn div(a: Self::F32, b: Self::F32) -> Self::F32 {
        each(|lane| a[lane] / b[lane])
    }
    /// Rounded twice: a call of the C library for each element would be slower by far.
    #[inline(always)]
    unsafe fn mul_add(a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        each(|lane| a[lane] * b[lane] + c[lane])
    }
    #[inline(always)]
    unsafe fn max(a: Self::F32, b: Self::F32) -> Self::F32 {
        each(|lane| if a[lane] > b[lane] { a[lane] } else { b[lane] })
    }
    #[inline(always)]
    unsafe fn min(a: Self::F32, b: Self::F32) -> Self::F32 {
        each(|lane| if a[lane] < b[lane] { a[lane] } else { b[lane] })
    }
    #[inline(always)]
    unsafe fn round(value: Self::F32) -> Self::F32 {
        // What is added and taken away leaves no bits behind the point.
        const WHOLE: f32 = 12_582_912.;
        each(|lane| (value[lane] + WHOLE) - WHOLE)
    }
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number between -126 and 127")]
    unsafe fn scale(value: Self::F32, exponent: Self::F32) -> Self::F32 {
        each(|lane| value[lane] * f32::from_bits(((exponent[lane] as i32 + 127) << 23) as u32))
    }
    #[inline(always)]
    unsafe fn copy_sign(value: Self::F32, sign: Self::F32) -> Self::F32 {
        each(|lane| value[lane].copysign(sign[lane]))
    }
    #[inline(always)]
    unsafe fn abs(value: Self::F32) -> Self::F32 {
        each(|lane| value[lane].abs())
    }
    #[inline(always)]
    unsafe fn sum(value: Self::F32) -> f32 {
        value.iter().sum()
    }
    #[inline(always)]
    unsafe fn greatest(value: Self::F32) -> f32 {
        value.iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }
    #[inline(always)]
    unsafe fn any_greater(a: Self::F32, b: Self::F32) -> bool {
        a.iter().zip(&b).any(|(a, b)| a > b)
    }

    #[inline(always)]
    unsafe fn split_bf16(words: Self::F32) -> (Self::F32, Self::F32) {
        let bits = words.map(f32::to_bits);
        (each(|lane| f32::from_bits(bits[lane] << 16)), each(|lane| f32::from_bits(bits[lane] & 0xffff_0000)))
    }

    #[inline(always)]
    unsafe fn zero_i32() -> Self::I32 {
        [0; LANES]
    }
    #[inline(always)]
    #[allow(clippy::cast_precision_loss, reason = "that is what it is for")]
    unsafe fn to_f32(value: Self::I32) -> Self::F32 {
        each(|lane| value[lane] as f32)
    }
    #[inline(always)]
    unsafe fn load_bytes(from: *const u32) -> Self::Bytes {
        // SAFETY: the caller vouches for as many words.
        unsafe { from.cast::<[[i8; 4]; LANES]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn dot_i8(values: *const u32, bytes: Self::Bytes, c: Self::I32) -> Self::I32 {
        // SAFETY: the caller vouches for a word.
        let values = unsafe { *values }.to_le_bytes().map(i32::from);
        std::array::from_fn(|lane| {
            let products = bytes[lane].iter().zip(&values).map(|(byte, value)| i32::from(*byte) * value);
            c[lane] + products.sum::<i32>()
        })
    }
}
