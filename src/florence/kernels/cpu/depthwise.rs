//! The 3x3 depthwise convolution, channels last, with bias and residual in the same pass.

use std::ops::Range;

use rayon::prelude::*;

use super::memory::{Shared, written};
use super::simd::{InstructionSet, Kernel, Simd};

/// Weights of one channel.
pub const TAPS: usize = 9;

/// Pixels of a row whose sources stay in the first cache while all channels are computed.
const PIXELS: usize = 8;

/// A map and the weights of a convolution.
#[derive(Clone, Copy)]
pub struct DepthwiseInput<'a> {
    /// `[batch, height, width, channels]`.
    pub map: &'a [f32],
    /// `[9, channels]`, row by row of the kernel.
    pub weight: &'a [f32],
    /// `[channels]`.
    pub bias: &'a [f32],
    /// Rows of a picture.
    pub height: usize,
    /// Columns of a picture.
    pub width: usize,
}

/// `x + conv(x) + bias`, of the same shape as the map.
pub fn depthwise_conv3x3(input: DepthwiseInput<'_>, set: InstructionSet) -> Vec<f32> {
    let row = input.width * input.bias.len();
    let rows = input.map.len().checked_div(row).unwrap_or(0);
    // SAFETY: every row is written by its own task.
    unsafe {
        written(rows * row, |out| {
            (0..rows).into_par_iter().for_each(|index| set.run(Row { input, index, out: out.skip(index * row) }));
        })
    }
}

/// One row of the result, counted over the whole batch.
struct Row<'a> {
    input: DepthwiseInput<'a>,
    index: usize,
    out: Shared<f32>,
}

impl Kernel for Row<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let channels = self.input.bias.len();
        for first in (0..self.input.width).step_by(PIXELS) {
            let columns = first..(first + PIXELS).min(self.input.width);
            for channel in (0..channels).step_by(S::LANES) {
                // SAFETY: the caller's promise.
                unsafe { self.columns::<S>(columns.clone(), channel, channels - channel) }
            }
        }
    }
}

impl Row<'_> {
    /// Some pixels of the row, for a vector of channels of which `left` exist.
    ///
    /// Every source pixel is read once: it belongs to the results before, at and behind it, whose sums move along.
    #[inline(always)]
    #[allow(clippy::indexing_slicing, reason = "indices below the arrays' own lengths")]
    unsafe fn columns<S: Simd>(&self, columns: Range<usize>, channel: usize, left: usize) {
        let DepthwiseInput { map, weight, bias, height, width } = self.input;
        let channels = bias.len();
        let (row, y) = (width * channels, self.index % height);
        // SAFETY: rows above the first and below the last are left out, and so are the columns beside the map.
        unsafe {
            let taps: [S::F32; TAPS] =
                std::array::from_fn(|tap| S::load_up_to(weight.as_ptr().add(tap * channels + channel), left));
            let bias = S::load_up_to(bias.as_ptr().add(channel), left);
            let (mut before, mut at, mut behind) = (bias, bias, bias);
            // The pixel itself comes last, so that what is added to it is summed without its size.
            let finish = |column: usize, sum: S::F32| {
                let place = column * channels + channel;
                let pixel = S::load_up_to(map.as_ptr().wrapping_add(self.index * row + place), left);
                S::store_up_to(self.out.at(place), S::add(pixel, sum), left);
            };
            let above = map.as_ptr().wrapping_add(self.index * row + channel).wrapping_sub(row);
            for source in columns.start.saturating_sub(1)..(columns.end + 1).min(width) {
                for dy in 0..3 {
                    if (dy == 0 && y == 0) || (dy == 2 && y + 1 == height) {
                        continue;
                    }
                    let value = S::load_up_to(above.wrapping_add(dy * row + source * channels), left);
                    before = S::mul_add(value, taps[3 * dy + 2], before);
                    at = S::mul_add(value, taps[3 * dy + 1], at);
                    behind = S::mul_add(value, taps[3 * dy], behind);
                }
                if source > columns.start {
                    finish(source - 1, before);
                }
                (before, at, behind) = (at, behind, bias);
            }
            if columns.end == width {
                finish(width - 1, before);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The convolution from its definition, in f64.
    fn by_definition(input: DepthwiseInput<'_>) -> Vec<f64> {
        let DepthwiseInput { map, weight, bias, height, width } = input;
        let channels = bias.len();
        let at = |pixel: usize, channel: usize| f64::from(map[pixel * channels + channel]);
        let mut out = vec![];
        for pixel in 0..map.len() / channels {
            let (y, x) = (pixel / width % height, pixel % width);
            for channel in 0..channels {
                let mut sum = at(pixel, channel) + f64::from(bias[channel]);
                for tap in 0..TAPS {
                    let (dy, dx) = (y + tap / 3, x + tap % 3);
                    if (1..=height).contains(&dy) && (1..=width).contains(&dx) {
                        let source = pixel + (tap / 3) * width + tap % 3 - width - 1;
                        sum += at(source, channel) * f64::from(weight[tap * channels + channel]);
                    }
                }
                out.push(sum);
            }
        }
        out
    }

    #[test]
    fn every_instruction_set_computes_the_definition_on_odd_shapes() {
        for (batch, height, width, channels) in [(1, 1, 1, 1), (2, 3, 5, 7), (1, 1, 6, 4), (3, 7, 1, 3), (1, 9, 8, 49)]
        {
            let value = |index: usize, scale: usize| ((index * scale) % 97) as f32 / 48.5 - 1.;
            let values = |count: usize, scale: usize| (0..count).map(|index| value(index, scale)).collect::<Vec<_>>();
            let (map, weight) = (values(batch * height * width * channels, 31), values(TAPS * channels, 17));
            let bias = values(channels, 11);
            let input = DepthwiseInput { map: &map, weight: &weight, bias: &bias, height, width };
            let expected = by_definition(input);
            for set in InstructionSet::supported() {
                let found = depthwise_conv3x3(input, set);
                assert_eq!(found.len(), expected.len());
                for (found, expected) in found.iter().zip(&expected) {
                    assert!((f64::from(*found) - expected).abs() < 1e-5, "{set:?}: {found} is not {expected}");
                }
            }
        }
    }
}
