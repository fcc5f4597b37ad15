//! Pillow's bicubic weights: which source pixels make up a target pixel, and how much of each.
//!
//! They are computed in f64 and used as integers with 22 fraction bits, so results do not depend on the machine. The
//! order of operations is Pillow's; another one moves last bits.

/// Fraction bits of the weights.
pub(super) const FRACTION_BITS: u32 = 22;
/// Half of the last place that survives, so that the shift rounds.
pub(super) const HALF: i32 = 1 << (FRACTION_BITS - 1);
/// Pixels on each side that a bicubic kernel reaches when it enlarges.
const KERNEL_REACH: f64 = 2.0;
/// The free parameter of the cubic.
const CUBIC_A: f64 = -0.5;

/// The source pixels that make up one target pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taps {
    /// First source pixel.
    pub(super) first: usize,
    /// One weight for each from there on.
    ///
    /// Weighted sums of bytes fit 32 bits: the absolute values add up to less than 1.5 (1.25 in the worst phase), and
    /// 1.5 · 255 · 2²² is below 2³¹. What rounding adds, half a unit each, comes to a quarter only past two million taps,
    /// that is when more pixels than `media` reads by default shrink to 350; there sums wrap.
    pub(super) weights: Vec<i32>,
}

/// One axis that goes from `source` to `target` pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    source: u32,
    scale: f64,
    /// How much wider than Pillow's kernel for enlarging: at least 1.
    stretch: f64,
}

impl Axis {
    pub(super) fn new(source: u32, target: u32) -> Self {
        let scale = f64::from(source) / f64::from(target);
        Self { source, scale, stretch: scale.max(1.0) }
    }

    /// The most source pixels that any target pixel takes.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and below 2^35")]
    pub(super) fn max_taps(&self) -> usize {
        ((KERNEL_REACH * self.stretch).ceil() as usize * 2 + 1).min(self.source as usize)
    }

    /// The taps of one target pixel.
    pub(super) fn taps(&self, target: u32) -> Taps {
        let reach = KERNEL_REACH * self.stretch;
        let inverse = 1.0 / self.stretch;
        let centre = (f64::from(target) + 0.5) * self.scale;
        // Truncation towards zero is Pillow's; both ends are far inside the range.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the axis")]
        let (first, end) =
            ((centre - reach + 0.5).max(0.0) as usize, ((centre + reach + 0.5) as usize).min(self.source as usize));
        let weight = |index: usize| cubic((index as f64 + first as f64 - centre + 0.5) * inverse);
        // Twice computed rather than kept: the widest pictures have a million taps.
        let count = end.saturating_sub(first);
        let sum: f64 = (0..count).map(weight).fold(0.0, |sum, weight| sum + weight);
        let weights = (0..count).map(|index| fixed_point(weight(index) / sum)).collect();
        Taps { first, weights }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn all_taps(source: u32, target: u32) -> impl Iterator<Item = Taps> {
        let axis = Axis::new(source, target);
        (0..target).map(move |index| axis.taps(index))
    }

    #[test]
    fn weights_leave_room_in_32_bits() {
        let extremes = [(1, 768), (2, 768), (3, 768), (30_000, 768), (769, 768), (30_000, 1), (2_000_000, 3)];
        let small = (1..60).flat_map(|source| (1..60).map(move |target| (source, target)));
        for (source, target) in extremes.into_iter().chain(small) {
            for taps in all_taps(source, target) {
                let sum: i64 = taps.weights.iter().map(|weight| i64::from(weight.abs())).sum();
                assert!(sum < 3 << (FRACTION_BITS - 1), "{source} to {target}: {sum}");
                assert!(sum * 255 + i64::from(HALF) < i64::from(i32::MAX), "{source} to {target}: {sum}");
            }
        }
    }

    #[test]
    fn taps_cover_the_source_without_gaps() {
        for (source, target) in [(1, 5), (4000, 768), (3000, 768), (480, 768), (7, 3), (30_000, 1)] {
            let axis = Axis::new(source, target);
            let mut covered = 0;
            for taps in all_taps(source, target) {
                assert!(taps.first <= covered && !taps.weights.is_empty() && taps.weights.len() <= axis.max_taps());
                covered = covered.max(taps.first + taps.weights.len());
            }
            assert_eq!(covered, source as usize, "every row is needed by some row of the result");
        }
    }

    #[test]
    fn an_axis_that_keeps_its_size_keeps_its_pixels() {
        for (index, taps) in all_taps(9, 9).enumerate() {
            let weight_of = |pixel: usize| pixel.checked_sub(taps.first).and_then(|at| taps.weights.get(at)).copied();
            assert!(
                (0..9)
                    .all(|pixel| weight_of(pixel).unwrap_or(0) == if pixel == index { 1 << FRACTION_BITS } else { 0 })
            );
        }
    }
}
