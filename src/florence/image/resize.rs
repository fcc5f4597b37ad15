//! Pillow's 8-bit bicubic resize, bit for bit.
//!
//! The width is resized first and stored in 8 bits, then the height; an axis whose size stays is skipped. Weights are
//! computed in f64 and used as integers with 22 fraction bits, so results do not depend on the machine.

use rayon::prelude::*;

use super::{CHANNELS, Picture};

/// Fraction bits of the weights.
const FRACTION_BITS: u32 = 22;
/// Half of the last place that survives, so that the shift rounds.
const HALF: i32 = 1 << (FRACTION_BITS - 1);
/// Pixels on each side that a bicubic kernel reaches when it enlarges.
const KERNEL_REACH: f64 = 2.0;
/// The free parameter of the cubic.
const CUBIC_A: f64 = -0.5;

/// The picture at another size, aspect ratio ignored. Neither side may be zero; the model's configuration sees to that.
pub fn resize_bicubic(picture: &Picture, width: u32, height: u32) -> Picture {
    let widened = if picture.width() == width { None } else { Some(resize_width(picture, width)) };
    let source = widened.as_ref().unwrap_or(picture);
    if source.height() == height { source.clone() } else { resize_height(source, height) }
}

/// The source pixels that make up one target pixel.
struct Taps {
    /// First source pixel.
    start: usize,
    /// One weight for each from there on.
    weights: Vec<i32>,
}

/// Taps of every target pixel of an axis that goes from `source` to `target` pixels.
fn axis_taps(source: u32, target: u32) -> Vec<Taps> {
    let scale = f64::from(source) / f64::from(target);
    let stretch = scale.max(1.0);
    let reach = KERNEL_REACH * stretch;
    let inverse = 1.0 / stretch;
    let taps = |index: u32| {
        let centre = (f64::from(index) + 0.5) * scale;
        // Truncation towards zero is Pillow's; the values are far inside the range.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the axis")]
        let (start, end) =
            ((centre - reach + 0.5).max(0.0) as usize, ((centre + reach + 0.5) as usize).min(source as usize));
        let weights: Vec<f64> = (start..end).map(|pixel| cubic((pixel as f64 - centre + 0.5) * inverse)).collect();
        let sum: f64 = weights.iter().sum();
        Taps { start, weights: weights.into_iter().map(|weight| fixed_point(weight / sum)).collect() }
    };
    (0..target).map(taps).collect()
}

fn cubic(distance: f64) -> f64 {
    let x = distance.abs();
    if x < 1.0 {
        ((CUBIC_A + 2.0) * x - (CUBIC_A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * CUBIC_A
    } else {
        0.0
    }
}

/// Rounded half away from zero.
#[allow(clippy::cast_possible_truncation, reason = "weights are below 2")]
fn fixed_point(weight: f64) -> i32 {
    let scaled = weight * f64::from(1u32 << FRACTION_BITS);
    if weight < 0.0 { (scaled - 0.5) as i32 } else { (scaled + 0.5) as i32 }
}

/// The byte that a sum of weighted bytes stands for.
///
/// A sum fits 32 bits: the weights' absolute values add up to less than 1.5, and 1.5 · 255 · 2²² is below 2³¹.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte")]
const fn to_byte(sum: i32) -> u8 {
    let value = sum >> FRACTION_BITS;
    if value < 0 {
        0
    } else if value > 255 {
        255
    } else {
        value as u8
    }
}

fn resize_width(picture: &Picture, width: u32) -> Picture {
    let taps = axis_taps(picture.width(), width);
    let mut rgb = vec![0; width as usize * picture.height() as usize * CHANNELS];
    let sources = picture.rgb().par_chunks_exact(picture.width() as usize * CHANNELS);
    rgb.par_chunks_exact_mut(width as usize * CHANNELS).zip(sources).for_each(|(target, source)| {
        with_widest_vectors(|| resize_row(source, target, &taps));
    });
    Picture { width, height: picture.height(), rgb }
}

fn resize_height(picture: &Picture, height: u32) -> Picture {
    let taps = axis_taps(picture.height(), height);
    let row_bytes = picture.width() as usize * CHANNELS;
    let mut rgb = vec![0; row_bytes * height as usize];
    rgb.par_chunks_exact_mut(row_bytes).zip(&taps).for_each_init(
        || vec![0; row_bytes],
        |sums, (target, taps)| {
            let rows = picture.rgb().chunks_exact(row_bytes).skip(taps.start);
            with_widest_vectors(|| blend_rows(rows, &taps.weights, sums, target));
        },
    );
    Picture { width: picture.width(), height, rgb }
}

/// One row to another width. Four bytes are read for each pixel, of which the last belongs to the next one: that makes
/// it a vector of four sums, where three would be single numbers.
#[inline(always)]
fn resize_row(source: &[u8], target: &mut [u8], taps: &[Taps]) {
    for (pixel, taps) in target.as_chunks_mut::<CHANNELS>().0.iter_mut().zip(taps) {
        let bytes = source.get(taps.start * CHANNELS..).unwrap_or_default();
        let mut sums = [HALF; CHANNELS + 1];
        for (index, weight) in taps.weights.iter().enumerate() {
            let at = index * CHANNELS;
            match bytes.get(at..at + CHANNELS + 1) {
                Some(bytes) => add_weighted(&mut sums, bytes, *weight),
                None => add_weighted(&mut sums, bytes.get(at..).unwrap_or_default(), *weight),
            }
        }
        for (byte, sum) in pixel.iter_mut().zip(sums) {
            *byte = to_byte(sum);
        }
    }
}

/// The weighted sum of some rows.
#[inline(always)]
fn blend_rows<'a>(rows: impl Iterator<Item = &'a [u8]>, weights: &[i32], sums: &mut [i32], target: &mut [u8]) {
    sums.fill(HALF);
    for (row, weight) in rows.zip(weights) {
        add_weighted(sums, row, *weight);
    }
    for (byte, sum) in target.iter_mut().zip(sums) {
        *byte = to_byte(*sum);
    }
}

#[inline(always)]
fn add_weighted(sums: &mut [i32], bytes: &[u8], weight: i32) {
    for (sum, byte) in sums.iter_mut().zip(bytes) {
        // The fourth sum of a pixel mixes neighbours and may wrap; it is thrown away.
        *sum = sum.wrapping_add(i32::from(*byte).wrapping_mul(weight));
    }
}

/// Runs `work` compiled for 256-bit vectors where the processor has them; the results are the same.
#[inline(always)]
fn with_widest_vectors(work: impl FnOnce()) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        fn with_avx2(work: impl FnOnce()) {
            work();
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2.
            return unsafe { with_avx2(work) };
        }
    }
    work();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(width: u32, height: u32) -> Picture {
        let mut state = 1u32;
        let mut byte = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        Picture::new(width, height, (0..width * height * 3).map(|_| byte()).collect()).unwrap()
    }

    /// The same from the definition: wide integers, one pixel after the other.
    fn by_definition(picture: &Picture, width: u32, height: u32) -> Picture {
        let one_axis = |from: &Picture, columns: u32, rows: u32, is_width: bool| {
            let taps = if is_width { axis_taps(from.width(), columns) } else { axis_taps(from.height(), rows) };
            let mut rgb = vec![];
            for y in 0..rows as usize {
                for x in 0..columns as usize {
                    for channel in 0..3 {
                        let taps = &taps[if is_width { x } else { y }];
                        let mut sum = i64::from(HALF);
                        for (index, weight) in taps.weights.iter().enumerate() {
                            let (x, y) = if is_width { (taps.start + index, y) } else { (x, taps.start + index) };
                            let byte = from.rgb()[(y * from.width() as usize + x) * 3 + channel];
                            sum += i64::from(byte) * i64::from(*weight);
                        }
                        rgb.push((sum >> FRACTION_BITS).clamp(0, 255) as u8);
                    }
                }
            }
            Picture::new(columns, rows, rgb).unwrap()
        };
        one_axis(&one_axis(picture, width, picture.height(), true), width, height, false)
    }

    #[test]
    fn every_shape_equals_the_definition() {
        let sizes = [(1, 1), (2, 3), (5, 1), (17, 9), (64, 64), (3, 400), (401, 3)];
        for (width, height) in sizes {
            let picture = noise(width, height);
            for (to_width, to_height) in [(1, 1), (7, 5), (64, 64), (96, 33)] {
                let expected = by_definition(&picture, to_width, to_height);
                // An axis of the same size is skipped, and its weights are those of the identity.
                assert!(
                    resize_bicubic(&picture, to_width, to_height) == expected,
                    "{width}x{height} to {to_width}x{to_height}"
                );
            }
        }
    }

    #[test]
    fn weights_leave_room_in_32_bits() {
        for (source, target) in [(1, 768), (2, 768), (3, 768), (30_000, 768), (769, 768), (30_000, 1), (5, 4), (7, 3)] {
            for taps in axis_taps(source, target) {
                let sum: i64 = taps.weights.iter().map(|weight| i64::from(weight.abs())).sum();
                assert!(sum * 255 + i64::from(HALF) < i64::from(i32::MAX), "{source} to {target}: {sum}");
            }
        }
    }

    #[test]
    fn a_plain_colour_stays() {
        let plain = Picture::new(31, 17, [10, 200, 255].repeat(31 * 17)).unwrap();
        assert_eq!(resize_bicubic(&plain, 96, 5).rgb(), [10, 200, 255].repeat(96 * 5));
    }
}
