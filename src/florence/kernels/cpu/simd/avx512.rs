//! AVX-512: sixteen lanes, thirty-two registers; with the dot products of VNNI and BF16 where they are there and quick.

use std::arch::x86_64::*;

use super::avx2::transpose_8;
use super::{Kernel, MOST_LANES, Simd, dot_bf16_in_floats};

/// Sixteen lanes; `BYTES` tells whether VNNI may be used, `PAIRS` whether BF16 may.
#[derive(Debug, Clone, Copy)]
pub struct Avx512<const BYTES: bool = false, const PAIRS: bool = false>;

/// Runs a kernel with the basic instructions.
///
/// # Safety
/// The processor has these features.
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the features are enabled here.
    unsafe { kernel.run::<Avx512<false, false>>() }
}

/// Runs a kernel with the dot products of bytes as well.
///
/// # Safety
/// The processor has these features.
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub unsafe fn run_bytes<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the features are enabled here.
    unsafe { kernel.run::<Avx512<true, false>>() }
}

/// Runs a kernel with the dot products of bytes and of bf16 as well.
///
/// # Safety
/// The processor has these features.
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16")]
pub unsafe fn run_pairs<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the features are enabled here.
    unsafe { kernel.run::<Avx512<true, true>>() }
}

#[inline(always)]
const fn first(count: usize) -> __mmask16 {
    if count >= 16 { 0xffff } else { (1 << count) - 1 }
}

// SAFETY: the operations are instructions that touch no more memory than it says.
unsafe impl<const BYTES: bool, const PAIRS: bool> Simd for Avx512<BYTES, PAIRS> {
    type F32 = __m512;
    type I32 = __m512i;
    /// Words of bytes; or bytes 0 and 2, and bytes 1 and 3, of each lane as 16-bit values.
    type Bytes = (__m512i, __m512i);
    const LANES: usize = 16;
    const TILE_ROWS: usize = 12;
    const HAS_BF16_DOT: bool = PAIRS;
    const HAS_BYTE_DOT: bool = BYTES;

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m512 {
        // SAFETY: the feature is enabled.
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        // SAFETY: the caller vouches for sixteen elements.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> __m512 {
        // SAFETY: masked lanes are not read.
        unsafe { _mm512_maskz_loadu_ps(first(count), from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: __m512) {
        // SAFETY: the caller vouches for sixteen elements.
        unsafe { _mm512_storeu_ps(to, value) }
    }
    #[inline(always)]
    unsafe fn store_first(to: *mut f32, value: __m512, count: usize) {
        // SAFETY: masked lanes are not written.
        unsafe { _mm512_mask_storeu_ps(to, first(count), value) }
    }
    #[inline(always)]
    unsafe fn transpose(rows: &[*const f32; MOST_LANES], to: *mut f32, stride: usize) {
        for (half, rows) in rows.as_chunks::<8>().0.iter().enumerate() {
            for element in [0, 8] {
                // SAFETY: the caller's promise.
                unsafe {
                    transpose_8(rows.map(|row| row.wrapping_add(element)), to.add(element * stride + 8 * half), stride);
                }
            }
        }
    }
    #[inline(always)]
    fn prefetch(at: *const u32) {
        // SAFETY: a hint, which is ignored for addresses that are nobody's.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the feature is enabled.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the feature is enabled.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the feature is enabled.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the feature is enabled.
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: the feature is enabled.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the feature is enabled.
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the feature is enabled.
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn round(value: __m512) -> __m512 {
        // SAFETY: the feature is enabled.
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(value) }
    }
    #[inline(always)]
    unsafe fn scale(value: __m512, exponent: __m512) -> __m512 {
        // SAFETY: the feature is enabled.
        unsafe { _mm512_scalef_ps(value, exponent) }
    }
    #[inline(always)]
    unsafe fn copy_sign(value: __m512, sign: __m512) -> __m512 {
        // SAFETY: the feature is enabled.
        unsafe { _mm512_or_ps(value, _mm512_and_ps(sign, _mm512_set1_ps(-0.))) }
    }
    #[inline(always)]
    unsafe fn abs(value: __m512) -> __m512 {
        // SAFETY: the feature is enabled.
        unsafe { _mm512_abs_ps(value) }
    }
    #[inline(always)]
    unsafe fn sum(value: __m512) -> f32 {
        // SAFETY: the feature is enabled.
        unsafe { _mm512_reduce_add_ps(value) }
    }
    #[inline(always)]
    unsafe fn greatest(value: __m512) -> f32 {
        // SAFETY: the feature is enabled.
        unsafe { _mm512_reduce_max_ps(value) }
    }
    #[inline(always)]
    unsafe fn any_greater(a: __m512, b: __m512) -> bool {
        // SAFETY: the feature is enabled.
        unsafe { _mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b) != 0 }
    }

    #[inline(always)]
    unsafe fn split_bf16(words: __m512) -> (__m512, __m512) {
        // SAFETY: the feature is enabled.
        unsafe {
            let words = _mm512_castps_si512(words);
            let high = _mm512_and_si512(words, _mm512_set1_epi32(0xffff_0000_u32.cast_signed()));
            (_mm512_castsi512_ps(_mm512_slli_epi32::<16>(words)), _mm512_castsi512_ps(high))
        }
    }
    #[inline(always)]
    unsafe fn dot_bf16(pair: u32, words: __m512, c: __m512) -> __m512 {
        // SAFETY: all bit patterns are pairs of bf16, and the instruction is there where it is used.
        unsafe {
            if PAIRS {
                let pair: __m512bh = std::mem::transmute(_mm512_set1_epi32(pair.cast_signed()));
                _mm512_dpbf16_ps(c, pair, std::mem::transmute::<__m512, __m512bh>(words))
            } else {
                dot_bf16_in_floats::<Self>(pair, words, c)
            }
        }
    }

    #[inline(always)]
    unsafe fn zero_i32() -> __m512i {
        // SAFETY: the feature is enabled.
        unsafe { _mm512_setzero_si512() }
    }
    #[inline(always)]
    unsafe fn to_f32(value: __m512i) -> __m512 {
        // SAFETY: the feature is enabled.
        unsafe { _mm512_cvtepi32_ps(value) }
    }
    #[inline(always)]
    unsafe fn load_bytes(from: *const u32) -> (__m512i, __m512i) {
        // SAFETY: the caller vouches for sixteen words.
        unsafe {
            let bytes = _mm512_loadu_si512(from.cast());
            if BYTES {
                return (bytes, bytes);
            }
            (_mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(bytes)), _mm512_srai_epi16::<8>(bytes))
        }
    }
    #[inline(always)]
    unsafe fn dot_i8(values: *const u32, (even, odd): (__m512i, __m512i), c: __m512i) -> __m512i {
        // SAFETY: the caller vouches for the words.
        unsafe {
            let first = _mm512_set1_epi32((*values).cast_signed());
            if BYTES {
                return _mm512_dpbusd_epi32(c, first, even);
            }
            let second = _mm512_set1_epi32((*values.add(1)).cast_signed());
            let sum = _mm512_add_epi32(c, _mm512_madd_epi16(even, first));
            _mm512_add_epi32(sum, _mm512_madd_epi16(odd, second))
        }
    }
}
