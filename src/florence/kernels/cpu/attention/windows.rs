//! Attention between the pixels of each window of a map.

use rayon::prelude::*;

use super::super::memory::{Shared, written};
use super::super::simd::InstructionSet;
use super::head::{Head, HeadRows};

/// Projections of a map, and how windows lie on it.
#[derive(Clone, Copy)]
pub struct WindowInput<'a> {
    /// Queries, keys and values `[batch, height, width, 3 * channels]`.
    pub qkv: &'a [f32],
    /// Those of pixels beyond the map, `[3 * channels]`.
    pub beyond: &'a [f32],
    /// Rows of a picture.
    pub height: usize,
    /// Columns of a picture.
    pub width: usize,
    /// Heads side by side in the channels.
    pub heads: usize,
    /// Pixels of a window's side.
    pub side: usize,
}

/// One window and one head.
struct WindowHead<'a> {
    input: WindowInput<'a>,
    /// The first pixel of its picture.
    picture: usize,
    /// Row and column of the window's first pixel.
    corner: (usize, usize),
    /// First channel of the head.
    channel: usize,
    out: Shared<f32>,
}

impl WindowHead<'_> {
    /// The pixel of a position, counted over the whole batch; none beyond the map.
    #[inline(always)]
    fn pixel(&self, index: usize) -> Option<usize> {
        let (y, x) = (self.corner.0 + index / self.input.side, self.corner.1 + index % self.input.side);
        (y < self.input.height && x < self.input.width).then_some(self.picture + y * self.input.width + x)
    }
}

impl HeadRows for WindowHead<'_> {
    #[inline(always)]
    fn position(&self, index: usize) -> [*const f32; 3] {
        let triple = self.input.beyond.len();
        let row = match self.pixel(index) {
            Some(pixel) => self.input.qkv.as_ptr().wrapping_add(pixel * triple),
            None => self.input.beyond.as_ptr(),
        };
        [0, 1, 2].map(|part| row.wrapping_add(part * triple / 3 + self.channel))
    }

    #[inline(always)]
    fn out(&self, index: usize) -> Option<*mut f32> {
        let channels = self.input.beyond.len() / 3;
        // SAFETY: the result has as many pixels as the map.
        self.pixel(index).map(|pixel| unsafe { self.out.at(pixel * channels + self.channel) })
    }
}

/// What every pixel finds in its window: `[batch, height, width, channels]`.
///
/// # Panics
/// The heads do not divide the channels, or the sizes do not make the map.
pub fn window_attention(input: WindowInput<'_>, set: InstructionSet) -> Vec<f32> {
    let WindowInput { qkv, beyond, height, width, heads, side } = input;
    let channels = beyond.len() / 3;
    let head_width = channels / heads.max(1);
    let pixels = qkv.len() / beyond.len().max(1);
    assert_eq!(beyond.len(), 3 * channels, "a projection of queries, keys and values");
    assert!(channels > 0 && channels.is_multiple_of(heads), "{heads} heads of {channels} channels");
    assert!(qkv.len() == pixels * beyond.len() && pixels.is_multiple_of((height * width).max(1)), "whole pictures");
    let (rows, columns) = (height.div_ceil(side), width.div_ceil(side));
    let windows = pixels.checked_div(height * width).unwrap_or(0) * rows * columns;
    // SAFETY: every pixel lies in one window, and every channel in one head.
    unsafe {
        written(pixels * channels, |out| {
            (0..windows * heads).into_par_iter().for_each(|index| {
                let (window, head) = (index / heads, index % heads);
                let (row, column) = (window / columns % rows, window % columns);
                let picture = window / (rows * columns) * height * width;
                let rows =
                    WindowHead { input, picture, corner: (row * side, column * side), channel: head * head_width, out };
                let (positions, scale) = (side * side, (head_width as f32).sqrt().recip());
                set.run(Head { rows, width: head_width, queries: positions, keys: positions, scale });
            });
        })
    }
}
