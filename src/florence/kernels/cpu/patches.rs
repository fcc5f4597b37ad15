//! Convolutions of square patches: patches of a row are copied to scratch memory and multiplied there.

use rayon::prelude::*;

use super::memory::{Scratch, Shared, written};
use super::product::{After, Input, PackedMatrix, Rows, block_into};

/// A map and where a convolution looks at it.
#[derive(Clone, Copy)]
pub struct PatchInput<'a> {
    /// `[batch, height, width, channels]`.
    pub map: &'a [f32],
    /// Pictures, rows, columns and channels of the map.
    pub shape: (usize, usize, usize, usize),
    /// Side of a patch.
    pub kernel: usize,
    /// Pixels from one patch to the next.
    pub stride: usize,
    /// Rings of zeros around the map.
    pub padding: usize,
}

impl PatchInput<'_> {
    /// Rows and columns of patches.
    pub fn patches(&self) -> (usize, usize) {
        let (_batch, height, width, _channels) = self.shape;
        let side = |length: usize| (length + 2 * self.padding).saturating_sub(self.kernel) / self.stride + 1;
        (side(height), side(width))
    }

    /// Writes the patches `[columns, kernel * kernel * channels]` of a row.
    fn row_of_patches(&self, picture: usize, row: usize, to: &mut [f32]) {
        let (_batch, height, width, channels) = self.shape;
        let line = self.kernel * channels;
        for (column, patch) in to.chunks_exact_mut((self.kernel * line).max(1)).enumerate() {
            for (dy, values) in patch.chunks_exact_mut(line).enumerate() {
                values.fill(0.);
                let Some(y) = (row * self.stride + dy).checked_sub(self.padding).filter(|y| *y < height) else {
                    continue;
                };
                // The part of the line that lies on the map.
                let start = column * self.stride;
                let (from, until) = (start.max(self.padding), (start + self.kernel).min(width + self.padding));
                if from < until {
                    let first = ((picture * height + y) * width + from - self.padding) * channels;
                    let source = self.map.get(first..first + (until - from) * channels).unwrap_or_default();
                    let place = (from - start) * channels;
                    if let Some(values) = values.get_mut(place..place + source.len()) {
                        values.copy_from_slice(source);
                    }
                }
            }
        }
    }
}

/// The convolution: `[batch, rows, columns, outputs]`. `weights` take `kernel * kernel * channels` inputs.
pub fn patch_conv(input: PatchInput<'_>, weights: &PackedMatrix) -> Vec<f32> {
    let (rows, columns) = input.patches();
    let outputs = weights.outputs();
    let row = |index: usize, out: Shared<f32>| {
        let mut patches = Scratch::new(columns * weights.inputs());
        input.row_of_patches(index / rows, index % rows, &mut patches);
        let patches = Input::plain(Rows::new(&patches, weights.inputs()));
        // SAFETY: the row of the output is this task's.
        unsafe {
            let out = out.skip(index * columns * outputs);
            block_into((patches, columns), weights, After::default(), (out, outputs));
        }
    };
    let count = input.shape.0 * rows;
    // SAFETY: every row is written by its own task.
    unsafe {
        written(count * columns * outputs, |out| {
            (0..count).into_par_iter().for_each(|index| row(index, out));
        })
    }
}
