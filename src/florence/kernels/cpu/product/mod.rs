//! Products of rows with packed weights, and what follows them, in one pass over the results.
//!
//! Each result is summed in the same order whatever company its row has, so answers do not depend on the batch.

mod block;
mod packed;
mod rows;
pub(crate) mod tile;

use rayon::prelude::*;

use super::memory::{Scratch, Shared, written};

pub use block::After;
use block::Block;
pub use packed::{PackedMatrix, WeightType};
pub use rows::{Input, Rows};

/// Rows of a block, a multiple of every tile's: as many as the second cache holds beside the weights of a panel.
const BLOCK_ROWS: usize = 96;
/// Blocks for each thread, so that none waits long for the last one.
const BLOCKS_PER_THREAD: usize = 4;

/// `rows` rows of `input` times `weights`, and what follows: `[rows, outputs]`.
///
/// # Panics
/// There are fewer rows, or they have another width.
pub fn product(input: Input<'_>, rows: usize, weights: &PackedMatrix, after: After<'_>) -> Vec<f32> {
    assert!(input.has(rows, weights.inputs), "rows of a product");
    assert!(after.residual.is_none_or(|residual| residual.has(rows, weights.outputs())), "residual of a product");
    // SAFETY: the blocks cover every row and panel.
    unsafe { written(rows * weights.outputs(), |out| product_into(input, rows, weights, after, out)) }
}

/// The same into memory of the caller's, `[rows, outputs]`.
///
/// # Safety
/// `out` has room for all results.
unsafe fn product_into(input: Input<'_>, rows: usize, weights: &PackedMatrix, after: After<'_>, out: Shared<f32>) {
    let panels = weights.panel_count();
    let row_blocks = rows.div_ceil(BLOCK_ROWS);
    let threads = rayon::current_num_threads();
    let column_blocks = if threads == 1 { 1 } else { (threads * BLOCKS_PER_THREAD).div_ceil(row_blocks.max(1)) };
    let panels_each = panels.div_ceil(column_blocks.max(1)).max(1);
    let column_blocks = panels.div_ceil(panels_each);
    let outputs = weights.outputs();
    (0..row_blocks * column_blocks).into_par_iter().for_each(|index| {
        let (first_row, first_panel) = ((index / column_blocks) * BLOCK_ROWS, (index % column_blocks) * panels_each);
        let block = Block {
            input: input.skip(first_row),
            rows: (rows - first_row).min(BLOCK_ROWS),
            weights,
            panels: first_panel..(first_panel + panels_each).min(panels),
            after: after.skip(first_row),
            // SAFETY: the row is there.
            out: unsafe { out.skip(first_row * outputs) },
            out_stride: outputs,
        };
        weights.set.run(block);
    });
}

/// The same on this thread alone, to rows that begin every `stride` floats of `out`.
///
/// # Safety
/// `out` has room for all results, and nobody else uses them.
pub unsafe fn block_into(
    (input, rows): (Input<'_>, usize),
    weights: &PackedMatrix,
    after: After<'_>,
    (out, stride): (Shared<f32>, usize),
) {
    for first in (0..rows).step_by(BLOCK_ROWS) {
        weights.set.run(Block {
            input: input.skip(first),
            rows: (rows - first).min(BLOCK_ROWS),
            weights,
            panels: 0..weights.panel_count(),
            after: after.skip(first),
            // SAFETY: the row is there.
            out: unsafe { out.skip(first * stride) },
            out_stride: stride,
        });
    }
}

/// `residual + outer(gelu(inner(input)))`, `[rows, outputs]`: block by block, so that the wide rows in between stay in the cache.
///
/// # Panics
/// As [`product`], or if one matrix does not follow the other.
pub fn mlp(
    input: Input<'_>,
    rows: usize,
    (inner, outer): (&PackedMatrix, &PackedMatrix),
    residual: Rows<'_>,
) -> Vec<f32> {
    assert!(input.has(rows, inner.inputs) && inner.outputs() == outer.inputs, "rows of an MLP");
    assert!(residual.has(rows, outer.outputs()), "residual of an MLP");
    let after_inner = After { gelu: true, residual: None };
    let after_outer = After { gelu: false, residual: Some(residual) };
    if rows.div_ceil(BLOCK_ROWS) < 2 * rayon::current_num_threads() && rayon::current_num_threads() > 1 {
        let hidden = product(input, rows, inner, after_inner);
        return product(Input::plain(Rows::new(&hidden, inner.outputs())), rows, outer, after_outer);
    }
    let outputs = outer.outputs();
    let block = |first: usize, out: Shared<f32>| {
        let rows = (rows - first).min(BLOCK_ROWS);
        let mut hidden = Scratch::new(rows * inner.outputs());
        inner.set.run(Block {
            input: input.skip(first),
            rows,
            weights: inner,
            panels: 0..inner.panel_count(),
            after: after_inner,
            out: Shared::new(&mut hidden),
            out_stride: inner.outputs(),
        });
        outer.set.run(Block {
            input: Input::plain(Rows::new(&hidden, inner.outputs())),
            rows,
            weights: outer,
            panels: 0..outer.panel_count(),
            after: after_outer.skip(first),
            // SAFETY: the row is there.
            out: unsafe { out.skip(first * outputs) },
            out_stride: outputs,
        });
    };
    // SAFETY: the blocks cover every row.
    unsafe {
        written(rows * outputs, |out| {
            (0..rows.div_ceil(BLOCK_ROWS)).into_par_iter().for_each(|index| block(index * BLOCK_ROWS, out));
        })
    }
}

#[cfg(test)]
mod tests;
