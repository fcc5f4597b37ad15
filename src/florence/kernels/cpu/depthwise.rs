//! The 3x3 depthwise convolution, channels last, with bias and residual in the same pass.

use rayon::prelude::*;

use super::memory::{Shared, written};
use super::simd::{InstructionSet, Kernel, Simd};

/// Weights of one channel.
pub const TAPS: usize = 9;

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
        for channel in (0..channels).step_by(S::LANES) {
            // SAFETY: the caller's promise.
            unsafe {
                if channel + S::LANES <= channels {
                    self.columns::<S>(channel, |from| S::load(from), |to, value| S::store(to, value));
                } else {
                    let rest = channels - channel;
                    let load = |from| S::load_first(from, rest);
                    self.columns::<S>(channel, load, |to, value| S::store_first(to, value, rest));
                }
            }
        }
    }
}

impl Row<'_> {
    /// All pixels of the row, for a vector of channels.
    #[inline(always)]
    #[allow(clippy::indexing_slicing, reason = "indices below the arrays' own lengths")]
    unsafe fn columns<S: Simd>(
        &self,
        channel: usize,
        load: impl Fn(*const f32) -> S::F32,
        store: impl Fn(*mut f32, S::F32),
    ) {
        let DepthwiseInput { map, weight, bias, height, width } = self.input;
        let channels = bias.len();
        let (row, y) = (width * channels, self.index % height);
        // SAFETY: rows above the first and below the last are left out, and so are the columns beside the map.
        unsafe {
            let taps: [S::F32; TAPS] = std::array::from_fn(|tap| load(weight.as_ptr().add(tap * channels + channel)));
            let bias = load(bias.as_ptr().add(channel));
            let centre = map.as_ptr().add(self.index * row + channel);
            let lines = [y > 0, true, y + 1 < height];
            let line = |dy: usize, x: usize| centre.wrapping_add(dy * row + x * channels).wrapping_sub(row);
            for x in 0..width {
                let mut sum = S::add(bias, load(line(1, x)));
                for (dy, _) in lines.iter().enumerate().filter(|(_, exists)| **exists) {
                    if x > 0 {
                        sum = S::mul_add(load(line(dy, x - 1)), taps[3 * dy], sum);
                    }
                    sum = S::mul_add(load(line(dy, x)), taps[3 * dy + 1], sum);
                    if x + 1 < width {
                        sum = S::mul_add(load(line(dy, x + 1)), taps[3 * dy + 2], sum);
                    }
                }
                store(self.out.at(x * channels + channel), sum);
            }
        }
    }
}
