//! The 3x3 depthwise convolution, channels last, with bias and residual in the same pass.

use rayon::prelude::*;

use super::memory::{Scratch, Shared, written};
use super::simd::{InstructionSet, Kernel, Simd};

/// Weights of one channel.
pub const TAPS: usize = 9;

/// Neighbouring pixels that are computed together: each pixel of the map is then read twice a row, not three times.
const PIXELS: usize = 4;

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
///
/// # Panics
/// The map does not hold whole pictures, or weight and bias are of other channels.
pub fn depthwise_conv3x3(input: DepthwiseInput<'_>, set: InstructionSet) -> Vec<f32> {
    let row = input.width * input.bias.len();
    let rows = input.map.len().checked_div(row).unwrap_or(0);
    assert!(input.map.len() == rows * row && rows.is_multiple_of(input.height.max(1)), "whole pictures");
    assert_eq!(input.weight.len(), TAPS * input.bias.len(), "weights of a depthwise convolution");
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
        let beside = Scratch::zeros(self.input.bias.len());
        let width = self.input.width;
        for first in (0..width / PIXELS * PIXELS).step_by(PIXELS) {
            // SAFETY: the caller's promise, here and below; the pixels are there.
            unsafe { self.pixels::<S, PIXELS>(first, &beside) }
        }
        for first in width / PIXELS * PIXELS..width {
            // SAFETY: as above.
            unsafe { self.pixels::<S, 1>(first, &beside) }
        }
    }
}

impl Row<'_> {
    /// `COUNT` pixels from `first` on, channel by channel: the channels of a pixel lie together. `beside` are the pixels that are
    /// not on the map.
    #[inline(always)]
    #[allow(clippy::indexing_slicing, reason = "indices below the arrays' own lengths")]
    unsafe fn pixels<S: Simd, const COUNT: usize>(&self, first: usize, beside: &[f32]) {
        let DepthwiseInput { map, weight, bias, height, width } = self.input;
        let (channels, y) = (bias.len(), self.index % height);
        let here = map.as_ptr().wrapping_add(self.index * width * channels);
        let rows = y.saturating_sub(1)..(y + 2).min(height);
        // Where the sources are: for each of up to three rows, the pixels and their neighbours.
        let mut sources = [[beside.as_ptr(); PIXELS + 2]; 3];
        for (sources, row) in sources.iter_mut().zip(rows.clone()) {
            for (place, source) in sources.iter_mut().enumerate() {
                if let Some(column) = (first + place).checked_sub(1).filter(|column| *column < width) {
                    *source = here.wrapping_add((row * width + column) * channels).wrapping_sub(y * width * channels);
                }
            }
        }
        for channel in (0..channels).step_by(S::LANES) {
            let left = channels - channel;
            // SAFETY: the rows, and as many channels, are there.
            unsafe {
                let mut sums = [S::load_up_to(bias.as_ptr().add(channel), left); COUNT];
                for (sources, row) in sources.iter().zip(rows.clone()) {
                    let taps = weight.as_ptr().add(3 * (row + 1 - y) * channels + channel);
                    let taps = [
                        S::load_up_to(taps, left),
                        S::load_up_to(taps.add(channels), left),
                        S::load_up_to(taps.add(2 * channels), left),
                    ];
                    for place in 0..COUNT + 2 {
                        let value = S::load_up_to(sources[place].wrapping_add(channel), left);
                        for (dx, tap) in taps.into_iter().enumerate() {
                            if place >= dx && place - dx < COUNT {
                                sums[place - dx] = S::mul_add(value, tap, sums[place - dx]);
                            }
                        }
                    }
                }
                for (place, sum) in sums.into_iter().enumerate() {
                    // The pixel itself comes last, so that what is added to it is summed without its size.
                    let at = (first + place) * channels + channel;
                    let pixel = S::load_up_to(here.wrapping_add(at), left);
                    S::store_up_to(self.out.at(at), S::add(pixel, sum), left);
                }
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
