//! Arm's Advanced SIMD: four lanes, thirty-two registers.

use std::arch::aarch64::*;

use super::{Kernel, Simd};

/// Four lanes.
#[derive(Debug, Clone, Copy)]
pub struct Neon;

const LANES: usize = 4;

/// Runs a kernel with these instructions.
///
/// # Safety
/// The processor has them.
#[target_feature(enable = "neon")]
pub unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the feature is enabled here.
    unsafe { kernel.run::<Neon>() }
}

// SAFETY: each operation is a few instructions that touch no more memory than it says.
unsafe impl Simd for Neon {
    type F32 = float32x4_t;
    type I32 = int32x4_t;
    /// Bytes 0 and 2, and bytes 1 and 3, of each lane as 16-bit values.
    type Bytes = (int16x8_t, int16x8_t);
    const LANES: usize = LANES;
    const TILE_ROWS: usize = 12;
    const HAS_BF16_DOT: bool = false;
    const HAS_BYTE_DOT: bool = false;

    #[inline(always)]
    unsafe fn splat(value: f32) -> float32x4_t {
        // SAFETY: the feature is enabled.
        unsafe { vdupq_n_f32(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> float32x4_t {
        // SAFETY: the caller vouches for four elements.
        unsafe { vld1q_f32(from) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> float32x4_t {
        let mut lanes = [0f32; LANES];
        for (lane, value) in lanes.iter_mut().enumerate().take(count) {
            // SAFETY: the caller vouches for `count` elements.
            *value = unsafe { *from.add(lane) };
        }
        // SAFETY: four elements are there.
        unsafe { vld1q_f32(lanes.as_ptr()) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: float32x4_t) {
        // SAFETY: the caller vouches for four elements.
        unsafe { vst1q_f32(to, value) }
    }
    #[inline(always)]
    unsafe fn store_first(to: *mut f32, value: float32x4_t, count: usize) {
        let mut lanes = [0f32; LANES];
        // SAFETY: four elements are there, and the caller vouches for `count` of them.
        unsafe {
            vst1q_f32(lanes.as_mut_ptr(), value);
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, count.min(LANES));
        }
    }
    #[inline(always)]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: the feature is enabled.
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: the feature is enabled.
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: the feature is enabled.
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: the feature is enabled.
        unsafe { vdivq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: the feature is enabled.
        unsafe { vfmaq_f32(c, a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: the feature is enabled.
        unsafe { vmaxq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: the feature is enabled.
        unsafe { vminq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn round(value: float32x4_t) -> float32x4_t {
        // SAFETY: the feature is enabled.
        unsafe { vrndnq_f32(value) }
    }
    #[inline(always)]
    unsafe fn scale(value: float32x4_t, exponent: float32x4_t) -> float32x4_t {
        // SAFETY: the feature is enabled.
        unsafe {
            let biased = vaddq_s32(vcvtnq_s32_f32(exponent), vdupq_n_s32(127));
            vmulq_f32(value, vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased)))
        }
    }
    #[inline(always)]
    unsafe fn copy_sign(value: float32x4_t, sign: float32x4_t) -> float32x4_t {
        // SAFETY: the feature is enabled.
        unsafe { vbslq_f32(vdupq_n_u32(1 << 31), sign, value) }
    }
    #[inline(always)]
    unsafe fn abs(value: float32x4_t) -> float32x4_t {
        // SAFETY: the feature is enabled.
        unsafe { vabsq_f32(value) }
    }
    #[inline(always)]
    unsafe fn sum(value: float32x4_t) -> f32 {
        // SAFETY: the feature is enabled.
        unsafe { vaddvq_f32(value) }
    }
    #[inline(always)]
    unsafe fn greatest(value: float32x4_t) -> f32 {
        // SAFETY: the feature is enabled.
        unsafe { vmaxvq_f32(value) }
    }
    #[inline(always)]
    unsafe fn any_greater(a: float32x4_t, b: float32x4_t) -> bool {
        // SAFETY: the feature is enabled.
        unsafe { vmaxvq_u32(vcgtq_f32(a, b)) != 0 }
    }

    #[inline(always)]
    unsafe fn split_bf16(words: float32x4_t) -> (float32x4_t, float32x4_t) {
        // SAFETY: the feature is enabled.
        unsafe {
            let words = vreinterpretq_u32_f32(words);
            let high = vandq_u32(words, vdupq_n_u32(0xffff_0000));
            (vreinterpretq_f32_u32(vshlq_n_u32::<16>(words)), vreinterpretq_f32_u32(high))
        }
    }

    #[inline(always)]
    unsafe fn zero_i32() -> int32x4_t {
        // SAFETY: the feature is enabled.
        unsafe { vdupq_n_s32(0) }
    }
    #[inline(always)]
    unsafe fn to_f32(value: int32x4_t) -> float32x4_t {
        // SAFETY: the feature is enabled.
        unsafe { vcvtq_f32_s32(value) }
    }
    #[inline(always)]
    unsafe fn load_bytes(from: *const u32) -> (int16x8_t, int16x8_t) {
        // SAFETY: the caller vouches for four words.
        unsafe {
            let bytes = vreinterpretq_s16_u32(vld1q_u32(from));
            (vshrq_n_s16::<8>(vshlq_n_s16::<8>(bytes)), vshrq_n_s16::<8>(bytes))
        }
    }
    #[inline(always)]
    unsafe fn dot_i8(values: *const u32, (even, odd): (int16x8_t, int16x8_t), c: int32x4_t) -> int32x4_t {
        // SAFETY: the caller vouches for two words.
        unsafe {
            let first = vreinterpretq_s16_u32(vdupq_n_u32(*values));
            let second = vreinterpretq_s16_u32(vdupq_n_u32(*values.add(1)));
            let (even_first, odd_second) = (vmull_s16(vget_low_s16(even), vget_low_s16(first)), vget_low_s16(odd));
            let low = vmlal_s16(even_first, odd_second, vget_low_s16(second));
            let high = vmlal_high_s16(vmull_high_s16(even, first), odd, second);
            vaddq_s32(c, vpaddq_s32(low, high))
        }
    }
}
