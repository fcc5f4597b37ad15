//! AVX2 with fused multiply-add: eight lanes, sixteen registers.

use std::arch::x86_64::*;

use super::{Kernel, MOST_LANES, Simd};

/// Eight lanes.
#[derive(Debug, Clone, Copy)]
pub struct Avx2;

/// Runs a kernel with these instructions.
///
/// # Safety
/// The processor has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the features are enabled here.
    unsafe { kernel.run::<Avx2>() }
}

/// Ones, then zeros: a window on it is the mask of the first few lanes.
static MASKS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

#[inline(always)]
unsafe fn first(count: usize) -> __m256i {
    // SAFETY: 16 entries are there, of which eight are read from at most the eighth on.
    unsafe { _mm256_loadu_si256(MASKS.as_ptr().add(8 - count.min(8)).cast()) }
}

/// Transposes eight elements of eight rows; the results begin every `stride` floats.
///
/// # Safety
/// AVX is enabled; the elements are there, and room for them.
#[inline(always)]
pub(super) unsafe fn transpose_8(rows: [*const f32; 8], to: *mut f32, stride: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let [a, b, c, d, e, f, g, h] = rows;
        for half in 0..2 {
            // A row in each half of a vector, so that what follows stays within halves.
            let mut vectors = [_mm256_setzero_ps(); 4];
            for (vector, (lower, upper)) in vectors.iter_mut().zip([(a, e), (b, f), (c, g), (d, h)]) {
                let lower = _mm256_castps128_ps256(_mm_loadu_ps(lower.add(4 * half)));
                *vector = _mm256_insertf128_ps::<1>(lower, _mm_loadu_ps(upper.add(4 * half)));
            }
            let [a, b, c, d] = vectors;
            let (ab, cd) = (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d));
            let (ab_high, cd_high) = (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d));
            let columns = [
                _mm256_shuffle_ps::<0x44>(ab, cd),
                _mm256_shuffle_ps::<0xee>(ab, cd),
                _mm256_shuffle_ps::<0x44>(ab_high, cd_high),
                _mm256_shuffle_ps::<0xee>(ab_high, cd_high),
            ];
            for (index, column) in columns.into_iter().enumerate() {
                _mm256_storeu_ps(to.add((4 * half + index) * stride), column);
            }
        }
    }
}

// SAFETY: the operations are instructions that touch no more memory than it says.
unsafe impl Simd for Avx2 {
    type F32 = __m256;
    type I32 = __m256i;
    /// Bytes 0 and 2, and bytes 1 and 3, of each lane as 16-bit values.
    type Bytes = (__m256i, __m256i);
    const LANES: usize = 8;
    const TILE_ROWS: usize = 6;
    const HAS_BF16_DOT: bool = false;
    const HAS_BYTE_DOT: bool = false;

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m256 {
        // SAFETY: the feature is enabled.
        unsafe { _mm256_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        // SAFETY: the caller vouches for eight elements.
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> __m256 {
        // SAFETY: masked lanes are not read.
        unsafe { _mm256_maskload_ps(from, first(count)) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: __m256) {
        // SAFETY: the caller vouches for eight elements.
        unsafe { _mm256_storeu_ps(to, value) }
    }
    #[inline(always)]
    unsafe fn store_first(to: *mut f32, value: __m256, count: usize) {
        // SAFETY: masked lanes are not written.
        unsafe { _mm256_maskstore_ps(to, first(count), value) }
    }
    #[inline(always)]
    unsafe fn transpose(rows: &[*const f32; MOST_LANES], to: *mut f32, stride: usize) {
        let [a, b, c, d, e, f, g, h, ..] = *rows;
        // SAFETY: the caller's promise.
        unsafe { transpose_8([a, b, c, d, e, f, g, h], to, stride) }
    }
    #[inline(always)]
    fn prefetch(at: *const u32) {
        // SAFETY: a hint, which is ignored for addresses that are nobody's.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the feature is enabled.
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the feature is enabled.
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the feature is enabled.
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the feature is enabled.
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: the feature is enabled.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn max(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the feature is enabled.
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the feature is enabled.
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn round(value: __m256) -> __m256 {
        // SAFETY: the feature is enabled.
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(value) }
    }
    #[inline(always)]
    unsafe fn scale(value: __m256, exponent: __m256) -> __m256 {
        // SAFETY: the feature is enabled.
        unsafe {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(exponent), _mm256_set1_epi32(127));
            _mm256_mul_ps(value, _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased)))
        }
    }
    #[inline(always)]
    unsafe fn copy_sign(value: __m256, sign: __m256) -> __m256 {
        // SAFETY: the feature is enabled.
        unsafe { _mm256_or_ps(value, _mm256_and_ps(sign, _mm256_set1_ps(-0.))) }
    }
    #[inline(always)]
    unsafe fn abs(value: __m256) -> __m256 {
        // SAFETY: the feature is enabled.
        unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.), value) }
    }
    #[inline(always)]
    unsafe fn sum(value: __m256) -> f32 {
        // SAFETY: the feature is enabled.
        unsafe {
            let half = _mm_add_ps(_mm256_castps256_ps128(value), _mm256_extractf128_ps::<1>(value));
            let quarter = _mm_add_ps(half, _mm_movehl_ps(half, half));
            _mm_cvtss_f32(_mm_add_ss(quarter, _mm_movehdup_ps(quarter)))
        }
    }
    #[inline(always)]
    unsafe fn greatest(value: __m256) -> f32 {
        // SAFETY: the feature is enabled.
        unsafe {
            let half = _mm_max_ps(_mm256_castps256_ps128(value), _mm256_extractf128_ps::<1>(value));
            let quarter = _mm_max_ps(half, _mm_movehl_ps(half, half));
            _mm_cvtss_f32(_mm_max_ss(quarter, _mm_movehdup_ps(quarter)))
        }
    }
    #[inline(always)]
    unsafe fn any_greater(a: __m256, b: __m256) -> bool {
        // SAFETY: the feature is enabled.
        unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(a, b)) != 0 }
    }

    #[inline(always)]
    unsafe fn split_bf16(words: __m256) -> (__m256, __m256) {
        // SAFETY: the feature is enabled.
        unsafe {
            let words = _mm256_castps_si256(words);
            let high = _mm256_and_si256(words, _mm256_set1_epi32(0xffff_0000_u32.cast_signed()));
            (_mm256_castsi256_ps(_mm256_slli_epi32::<16>(words)), _mm256_castsi256_ps(high))
        }
    }

    #[inline(always)]
    unsafe fn zero_i32() -> __m256i {
        // SAFETY: the feature is enabled.
        unsafe { _mm256_setzero_si256() }
    }
    #[inline(always)]
    unsafe fn to_f32(value: __m256i) -> __m256 {
        // SAFETY: the feature is enabled.
        unsafe { _mm256_cvtepi32_ps(value) }
    }
    #[inline(always)]
    unsafe fn load_bytes(from: *const u32) -> (__m256i, __m256i) {
        // SAFETY: the caller vouches for eight words.
        unsafe {
            let bytes = _mm256_loadu_si256(from.cast());
            (_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(bytes)), _mm256_srai_epi16::<8>(bytes))
        }
    }
    /// By 16-bit values: the one instruction for bytes sums in 16 bits, which would overflow.
    #[inline(always)]
    unsafe fn dot_i8(values: *const u32, (even, odd): (__m256i, __m256i), c: __m256i) -> __m256i {
        // SAFETY: the caller vouches for two words.
        unsafe {
            let first = _mm256_set1_epi32((*values).cast_signed());
            let second = _mm256_set1_epi32((*values.add(1)).cast_signed());
            let sum = _mm256_add_epi32(c, _mm256_madd_epi16(even, first));
            _mm256_add_epi32(sum, _mm256_madd_epi16(odd, second))
        }
    }
}
