//! Functions of vectors.

use std::f32::consts::{FRAC_1_SQRT_2, LOG2_E};

use super::Simd;

/// The parts of ln 2 that are taken away one after the other, so that nothing is lost.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// Coefficients of the polynomial for `exp` on half an octave around 0 (Cephes), highest power first.
const EXP: [f32; 6] = [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
/// Below this `exp` is 0 as far as sums with ones can tell; above its negative it would overflow.
const EXP_RANGE: f32 = 87.;

/// `e^x`, off by at most two units in the last place between -87 and 87, and their values beyond.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
pub unsafe fn exp<S: Simd>(x: S::F32) -> S::F32 {
    // SAFETY: the caller's promise.
    unsafe {
        let x = S::max(S::min(x, S::splat(EXP_RANGE)), S::splat(-EXP_RANGE));
        let octaves = S::round(S::mul(x, S::splat(LOG2_E)));
        let rest = S::mul_add(octaves, S::splat(-LN_2[0]), x);
        let rest = S::mul_add(octaves, S::splat(-LN_2[1]), rest);
        let mut sum = S::splat(EXP[0]);
        for coefficient in &EXP[1..] {
            sum = S::mul_add(sum, rest, S::splat(*coefficient));
        }
        let sum = S::mul_add(sum, S::mul(rest, rest), S::add(rest, S::splat(1.)));
        S::scale(sum, octaves)
    }
}

/// Abramowitz and Stegun 7.1.26: at most 1.5e-7 off.
const ERF: [f32; 5] = [1.061_405_4, -1.453_152, 1.421_413_7, -0.284_496_73, 0.254_829_6];
const ERF_T: f32 = 0.327_591_1;

/// The error function.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
unsafe fn erf<S: Simd>(x: S::F32) -> S::F32 {
    // SAFETY: the caller's promise.
    unsafe {
        let size = S::abs(x);
        let one = S::splat(1.);
        let t = S::div(one, S::mul_add(size, S::splat(ERF_T), one));
        let mut sum = S::splat(ERF[0]);
        for coefficient in &ERF[1..] {
            sum = S::mul_add(sum, t, S::splat(*coefficient));
        }
        let tail = S::mul(S::mul(sum, t), exp::<S>(S::sub(S::splat(0.), S::mul(size, size))));
        S::copy_sign(S::sub(one, tail), x)
    }
}

/// `x * (1 + erf(x / sqrt 2)) / 2`.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
pub unsafe fn gelu<S: Simd>(x: S::F32) -> S::F32 {
    // SAFETY: the caller's promise.
    unsafe {
        let half = S::mul(x, S::splat(0.5));
        S::mul_add(half, erf::<S>(S::mul(x, S::splat(FRAC_1_SQRT_2))), half)
    }
}
