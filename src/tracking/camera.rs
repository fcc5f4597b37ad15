//! How the camera moved between two frames: the shift at which the frames agree best.
//!
//! Objects that move by themselves are the minority of a frame, and no pixel counts for more than a small difference, so they do
//! not decide. A shift is only believed if it makes the frames agree much better than none.

use crate::florence::image::Picture;

/// Longest side of the grey frames that are compared.
const MAX_SIDE: u32 = 320;
/// The first search is on frames that are smaller by this factor.
const COARSE_FACTOR: usize = 8;
/// It looks this far in each direction, in its own pixels: a fifth of the longest side.
const COARSE_REACH: i64 = 8;
/// The second search looks this far around the first one's answer.
const FINE_REACH: i64 = 8;
/// A pixel's difference counts for no more than this.
const MAX_DIFFERENCE: i64 = 40;
/// The best shift must leave less of the difference than this share.
const BELIEVED_SHARE: f64 = 0.7;
/// Rows and columns are passed over in the second search: one in so many is looked at.
const FINE_STRIDE: usize = 2;
/// Frames with a shorter side tell nothing.
const LEAST_SIDE: usize = 16;

/// A small grey picture of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GreyFrame {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
    /// Pixels of the frame on a side of one of these.
    factor: usize,
}

impl GreyFrame {
    /// The frame, smaller by a whole factor: each pixel is the mean of a square.
    pub fn of(picture: &Picture) -> Self {
        let factor = picture.width().max(picture.height()).div_ceil(MAX_SIDE).max(1) as usize;
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let (columns, rows) = (width / factor, height / factor);
        let mut sums = vec![0_u32; columns * rows];
        for (y, row) in picture.rgb().chunks_exact((width * 3).max(1)).take(rows * factor).enumerate() {
            let Some(sums) = sums.get_mut(y / factor * columns..(y / factor + 1) * columns) else { continue };
            for (sum, square) in sums.iter_mut().zip(row.chunks(factor * 3)) {
                // Green stands for most of the brightness.
                *sum += square
                    .as_chunks::<3>()
                    .0
                    .iter()
                    .map(|[red, green, blue]| u32::from(*red) + 2 * u32::from(*green) + u32::from(*blue))
                    .sum::<u32>();
            }
        }
        let area = (factor * factor * 4) as u32;
        let pixels = sums.into_iter().map(|sum| (sum / area.max(1)).min(255) as u8).collect();
        Self { width: columns, height: rows, pixels, factor }
    }

    fn shrunk(&self) -> Self {
        let (width, height) = (self.width / COARSE_FACTOR, self.height / COARSE_FACTOR);
        let mean = |index: usize| {
            let (left, top) = (index % width * COARSE_FACTOR, index / width * COARSE_FACTOR);
            let rows = (top..top + COARSE_FACTOR)
                .filter_map(|y| self.pixels.get(y * self.width + left..y * self.width + left + COARSE_FACTOR));
            let sum: usize = rows.flatten().map(|pixel| usize::from(*pixel)).sum();
            (sum / (COARSE_FACTOR * COARSE_FACTOR)) as u8
        };
        let pixels = (0..width * height).map(mean).collect();
        Self { width, height, pixels, factor: self.factor * COARSE_FACTOR }
    }

    /// Mean difference from another frame of the same size whose content lies `[columns, rows]` further on.
    fn difference(&self, other: &Self, [columns, rows]: [i64; 2], stride: usize) -> f64 {
        let range = |side: usize, shift: i64| {
            let side = side as i64;
            (0.max(-shift).min(side), side.min(side - shift).max(0))
        };
        let ((left, right), (top, bottom)) = (range(self.width, columns), range(self.height, rows));
        let (mut sum, mut count) = (0, 0_u64);
        for y in (top..bottom).step_by(stride) {
            let row = |frame: &Self, y: i64, from: i64| {
                let start = y as usize * frame.width + from as usize;
                start..start + (right - left).max(0) as usize
            };
            let (Some(here), Some(there)) =
                (self.pixels.get(row(self, y, left)), other.pixels.get(row(other, y + rows, left + columns)))
            else {
                continue;
            };
            for (one, two) in here.iter().zip(there).step_by(stride) {
                sum += (i64::from(*one) - i64::from(*two)).abs().min(MAX_DIFFERENCE);
                count += 1;
            }
        }
        if count == 0 { f64::MAX } else { sum as f64 / count as f64 }
    }
}

/// How far what was on the one frame lies on the next, in pixels of the frames; `None` where the camera stood still, or where that
/// cannot be told.
pub(super) fn camera_shift(before: &GreyFrame, now: &GreyFrame) -> Option<[f64; 2]> {
    let is_alike = (before.width, before.height, before.factor) == (now.width, now.height, now.factor);
    if !is_alike || before.width.min(before.height) < LEAST_SIDE {
        return None;
    }
    let (small_before, small_now) = (before.shrunk(), now.shrunk());
    let rough = best_shift([0, 0], COARSE_REACH, |shift| small_before.difference(&small_now, shift, 1));
    let rough = rough.map(|side| side * COARSE_FACTOR as i64);
    let difference = |shift| before.difference(now, shift, FINE_STRIDE);
    let best = best_shift(rough, FINE_REACH, difference);
    let is_believed = best != [0, 0] && difference(best) < BELIEVED_SHARE * difference([0, 0]);
    let [columns, rows] = best;
    let finer = |low: [i64; 2], high: [i64; 2]| vertex(difference(low), difference(best), difference(high));
    let shift = [
        columns as f64 + finer([columns - 1, rows], [columns + 1, rows]),
        rows as f64 + finer([columns, rows - 1], [columns, rows + 1]),
    ];
    is_believed.then(|| shift.map(|side| side * before.factor as f64))
}

/// The shift with the least difference; of equal ones the nearest.
fn best_shift([columns, rows]: [i64; 2], reach: i64, difference: impl Fn([i64; 2]) -> f64) -> [i64; 2] {
    let mut best = ([columns, rows], f64::INFINITY, i64::MAX);
    for y in -reach..=reach {
        for x in -reach..=reach {
            let shift = [columns + x, rows + y];
            let (found, far) = (difference(shift), x * x + y * y);
            if found < best.1 || (found == best.1 && far < best.2) {
                best = (shift, found, far);
            }
        }
    }
    best.0
}

/// Where between its neighbours the least of three values lies, from -0.5 to 0.5.
fn vertex(low: f64, middle: f64, high: f64) -> f64 {
    let bend = low - 2.0 * middle + high;
    if bend > 0.0 && bend.is_finite() { ((low - high) / (2.0 * bend)).clamp(-0.5, 0.5) } else { 0.0 }
}
