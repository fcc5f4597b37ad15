//! One head of an attention whose queries and keys are all at hand: scores, softmax and sums for a few queries at a time.

use super::super::memory::{Scratch, copy, fetch};
use super::super::product::tile::{Ahead, CHUNK, FloatTotal, Floats, PANEL_VECTORS, Sums, Total, multiply};
use super::super::simd::{Kernel, MOST_LANES, Simd};
use super::softmax::exponentials;

/// Where the rows of a head are.
pub trait HeadRows {
    /// Queries, keys and values of a position, each as wide as the head.
    fn position(&self, index: usize) -> [*const f32; 3];
    /// Where the result of a query goes; nowhere if nobody wants it.
    fn out(&self, index: usize) -> Option<*mut f32>;
}

/// An attention of `queries` positions to the first `keys` of them.
pub struct Head<R> {
    /// The rows.
    pub rows: R,
    /// Floats of a row.
    pub width: usize,
    /// How many positions ask.
    pub queries: usize,
    /// How many are attended to.
    pub keys: usize,
    /// What scores are multiplied with.
    pub scale: f32,
}

/// Sizes of the parts of the scratch memory.
struct Layout {
    /// `[panels of keys][width][keys of a panel]`.
    keys: usize,
    /// `[panels of columns][keys][columns of a panel]`.
    values: usize,
    /// Queries of a tile, chunk by chunk.
    queries: usize,
    /// From one row of scores to the next.
    scores_stride: usize,
    /// Weights of a tile, chunk by chunk.
    weights: usize,
}

impl<R: HeadRows> Kernel for Head<R> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let panel = PANEL_VECTORS * S::LANES;
        let rows = S::TILE_ROWS;
        let layout = Layout {
            keys: self.keys.div_ceil(panel) * panel * self.width,
            values: self.width.div_ceil(panel) * panel * self.keys,
            queries: self.width.div_ceil(CHUNK) * CHUNK * rows,
            scores_stride: self.keys.div_ceil(panel) * panel,
            weights: self.keys.div_ceil(CHUNK) * CHUNK * rows,
        };
        let total = layout.keys + layout.values + layout.queries + layout.weights + rows * layout.scores_stride;
        let mut scratch = Scratch::new(total);
        let (keys, rest) = scratch.split_at_mut(layout.keys);
        let (values, rest) = rest.split_at_mut(layout.values);
        let (queries, rest) = rest.split_at_mut(layout.queries);
        let (weights, scores) = rest.split_at_mut(layout.weights);
        // SAFETY: the parts are as large as the layout says, and rows as wide as the head.
        unsafe {
            self.fetch_next_head::<S>();
            self.pack_keys::<S>(keys, panel);
            self.pack_values::<S>(values, panel);
            for first in (0..self.queries).step_by(rows) {
                let parts = Parts { keys, values, queries, weights, scores, scores_stride: layout.scores_stride };
                match S::TILE_ROWS {
                    12 => self.tile::<S, 12>(first, parts),
                    6 => self.tile::<S, 6>(first, parts),
                    _ => self.tile::<S, 3>(first, parts),
                }
            }
        }
    }
}

/// The scratch memory of a tile.
struct Parts<'a> {
    keys: &'a [f32],
    values: &'a [f32],
    queries: &'a mut [f32],
    weights: &'a mut [f32],
    scores: &'a mut [f32],
    scores_stride: usize,
}

impl<R: HeadRows> Head<R> {
    /// Has the rows of the head beside this one fetched, which is often the next: rows lie too far apart for the processor to see
    /// a pattern.
    #[inline(always)]
    fn fetch_next_head<S: Simd>(&self) {
        for index in 0..self.queries {
            for part in self.rows.position(index) {
                fetch::<S>(part.wrapping_add(self.width), self.width);
            }
        }
    }

    /// Keys side by side, so that a vector holds one element of several.
    #[inline(always)]
    unsafe fn pack_keys<S: Simd>(&self, to: &mut [f32], panel: usize) {
        let whole = self.width / S::LANES * S::LANES;
        for (index, panel_keys) in to.chunks_exact_mut(panel * self.width).enumerate() {
            for first in (0..panel).step_by(S::LANES) {
                let mut keys = [std::ptr::null(); MOST_LANES];
                for (lane, place) in keys.iter_mut().enumerate().take(S::LANES) {
                    // Keys beyond the last repeat it: their scores are not used.
                    [_, *place, _] = self.rows.position((index * panel + first + lane).min(self.keys - 1));
                }
                // SAFETY: rows are as wide as the head, and there is room for each element of each key.
                unsafe {
                    let to = panel_keys.as_mut_ptr().add(first);
                    for element in (0..whole).step_by(S::LANES) {
                        let rows = keys.map(|key| key.wrapping_add(element));
                        S::transpose(&rows, to.add(element * panel), panel);
                    }
                    for element in whole..self.width {
                        for (lane, key) in keys.iter().enumerate().take(S::LANES) {
                            *to.add(element * panel + lane) = *key.add(element);
                        }
                    }
                }
            }
        }
    }

    /// Values by panels of columns.
    #[inline(always)]
    unsafe fn pack_values<S: Simd>(&self, to: &mut [f32], panel: usize) {
        for (index, columns) in to.chunks_exact_mut(panel * self.keys).enumerate() {
            let count = (self.width - index * panel).min(panel);
            for (key, place) in columns.chunks_exact_mut(panel).enumerate() {
                let [_, _, value] = self.rows.position(key);
                // SAFETY: rows are as wide as the head.
                unsafe { copy::<S>(value.add(index * panel), place.as_mut_ptr(), count) };
                place.iter_mut().skip(count).for_each(|rest| *rest = 0.);
            }
        }
    }

    #[inline(always)]
    #[allow(clippy::indexing_slicing, reason = "indices below the arrays' own lengths")]
    unsafe fn tile<S: Simd, const ROWS: usize>(&self, first: usize, parts: Parts<'_>) {
        let panel = PANEL_VECTORS * S::LANES;
        let count = (self.queries - first).min(ROWS);
        // SAFETY: the parts are as large as the layout says.
        unsafe {
            for row in 0..ROWS {
                let [query, _, _] = self.rows.position(first + row.min(count - 1));
                for start in (0..self.width).step_by(CHUNK) {
                    let to = parts.queries.as_mut_ptr().add(start * ROWS + row * CHUNK);
                    copy::<S>(query.add(start), to, CHUNK.min(self.width - start));
                }
            }
            for (index, keys) in parts.keys.chunks_exact(panel * self.width).enumerate() {
                let sums = self.product::<S, ROWS>(parts.queries.as_ptr(), keys.as_ptr(), self.width);
                for (row, sums) in sums.iter().enumerate() {
                    let to = parts.scores.as_mut_ptr().add(row * parts.scores_stride + index * panel);
                    S::store(to, sums[0].value());
                    S::store(to.add(S::LANES), sums[1].value());
                }
            }
            let mut inverse = [0f32; ROWS];
            for (row, inverse) in inverse.iter_mut().enumerate() {
                let scores = (parts.scores.as_ptr().add(row * parts.scores_stride), self.keys);
                let to = (parts.weights.as_mut_ptr().add(row * CHUNK), ROWS * CHUNK);
                *inverse = exponentials::<S>(scores, self.scale, to).recip();
            }
            for (index, values) in parts.values.chunks_exact(panel * self.keys).enumerate() {
                let sums = self.product::<S, ROWS>(parts.weights.as_ptr(), values.as_ptr(), self.keys);
                for (row, sums) in sums.iter().enumerate().take(count) {
                    let Some(out) = self.rows.out(first + row) else { continue };
                    for (vector, sum) in sums.iter().enumerate() {
                        let column = index * panel + vector * S::LANES;
                        let value = S::mul(sum.value(), S::splat(inverse[row]));
                        S::store_up_to(out.wrapping_add(column), value, self.width.saturating_sub(column));
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn product<S: Simd, const ROWS: usize>(
        &self,
        values: *const f32,
        panel: *const f32,
        steps: usize,
    ) -> Sums<S, Floats, ROWS> {
        // SAFETY: the caller's promise.
        unsafe {
            let zeros = [[FloatTotal::zero(); PANEL_VECTORS]; ROWS];
            multiply::<S, Floats, ROWS>(values.cast(), (panel.cast(), steps), Ahead::NOTHING, zeros)
        }
    }
}
