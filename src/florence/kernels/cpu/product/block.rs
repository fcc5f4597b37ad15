//! A block of rows times a range of panels, on one thread.

use std::ops::Range;

use super::super::memory::{LINE, Scratch, Shared};
use super::super::simd::{Kernel, Simd, gelu};
use super::packed::{PackedMatrix, Panels};
use super::rows::{BYTE_OFFSET, Input, Pack, Rows};
use super::tile::{Ahead, Bytes, CHUNK, Floats, PANEL_VECTORS, PairedBf16, Sums, Total, WideBf16, multiply};

/// Inputs that are multiplied at a time. Sums that wait for further inputs go through memory, so they are few; a panel stays in the
/// second cache.
const BLOCK_INPUTS: usize = 1024;

/// Fewer tiles than these would have to fetch much of the next panel each, and read panels one after the other anyway.
const FEW_TILES: usize = 3;

/// What follows a product.
#[derive(Clone, Copy, Default)]
pub struct After<'a> {
    /// GELU.
    pub gelu: bool,
    /// What is added then.
    pub residual: Option<Rows<'a>>,
}

impl After<'_> {
    /// What follows from row `first` on.
    pub fn skip(&self, first: usize) -> Self {
        Self { gelu: self.gelu, residual: self.residual.map(|rows| rows.skip(first)) }
    }
}

/// Rows, panels, and where the results go.
pub struct Block<'a> {
    /// What is multiplied, from the block's first row on.
    pub input: Input<'a>,
    /// Number of rows.
    pub rows: usize,
    /// With what.
    pub weights: &'a PackedMatrix,
    /// Which panels of it.
    pub panels: Range<usize>,
    /// What follows, from the block's first row on.
    pub after: After<'a>,
    /// Where the first row's result goes.
    pub out: Shared<f32>,
    /// From one row of results to the next.
    pub out_stride: usize,
}

impl Kernel for Block<'_> {
    type Output = ();
    const HAS_DOTS: bool = true;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the caller's promise, handed on; the words are of that form.
        unsafe {
            match &self.weights.panels {
                Panels::F32(words) => self.multiply::<S, Floats>(words.as_ptr().cast(), None),
                Panels::Bf16(words) if S::HAS_BF16_DOT => self.multiply::<S, PairedBf16>(words.as_ptr(), None),
                Panels::Bf16(words) => self.multiply::<S, WideBf16>(words.as_ptr(), None),
                Panels::I8 { words, scales, sums } => {
                    self.multiply::<S, Bytes>(words.as_ptr(), Some(Units { scales, sums }));
                }
            }
        }
    }
}

/// What the units of quantised weights are worth, and the sums of these units, for each output.
#[derive(Clone, Copy)]
struct Units<'a> {
    scales: &'a [f32],
    sums: &'a [f32],
}

/// Rows that are multiplied at a time, `padded` of which `rows` exist.
#[derive(Clone, Copy)]
struct Tile {
    first: usize,
    rows: usize,
    padded: usize,
}

/// Part of a panel: its first words, the steps in it, and what is fetched meanwhile.
#[derive(Clone, Copy)]
struct Weights {
    words: *const u32,
    steps: usize,
    ahead: Ahead,
}

/// A tile and a panel, and how far their sums are.
#[derive(Clone, Copy)]
struct Place<'a> {
    tile: Tile,
    panel: usize,
    is_first: bool,
    is_last: bool,
    units: Option<Units<'a>>,
    /// For each row of the tile, what a unit of its activations is worth.
    row_scales: *const f32,
}

/// The tiles of so many rows. Sizes are few, as each is compiled on its own.
fn tiles<S: Simd>(rows: usize) -> impl Iterator<Item = Tile> {
    (0..rows).step_by(S::TILE_ROWS).map(move |first| {
        let rows = (rows - first).min(S::TILE_ROWS);
        let padded = [1, 3, 6].into_iter().find(|size| *size >= rows).unwrap_or(12);
        Tile { first, rows, padded }
    })
}

impl Block<'_> {
    /// # Safety
    /// As [`Simd`]; `panels` points to all panels, in this form.
    #[inline(always)]
    unsafe fn multiply<S: Simd, F: Pack<S>>(&self, panels: *const u32, units: Option<Units<'_>>) {
        let inputs = self.weights.inputs;
        let steps = inputs.div_ceil(F::INPUTS);
        let row_words = steps.div_ceil(CHUNK) * CHUNK * F::WORDS;
        // Quantised sums are not resumed.
        let at_a_time = if units.is_some() { steps.max(1) } else { BLOCK_INPUTS / F::INPUTS };
        let padded_rows: usize = tiles::<S>(self.rows).map(|tile| tile.padded).sum();
        let panel_words = PANEL_VECTORS * S::LANES;
        let next_lines = match tiles::<S>(self.rows).count() {
            few if few < FEW_TILES => 0,
            count => (CHUNK * panel_words / LINE).div_ceil(count),
        };
        let mut scratch = Scratch::new(padded_rows * (row_words + 1) + inputs);
        let (packed, rest) = scratch.split_at_mut(padded_rows * row_words);
        let (row_scales, buffer) = rest.split_at_mut(padded_rows);
        // SAFETY: the scratch holds as much as the tiles ask for; the rest is the caller's promise.
        unsafe {
            self.pack::<S, F>(packed, row_scales, buffer);
            for start in (0..steps.max(1)).step_by(at_a_time) {
                let count = (steps - start).min(at_a_time);
                for panel in self.panels.clone() {
                    let words = panels.add((panel * steps + start) * panel_words);
                    // While the tiles meet one panel, each of them has a part of the next one fetched.
                    let mut next = words.wrapping_add(steps * panel_words);
                    let lines = if panel + 1 < self.panels.end { next_lines } else { 0 };
                    for tile in tiles::<S>(self.rows) {
                        let at = tile.first * row_words + start * F::WORDS * tile.padded;
                        let values = packed.as_ptr().add(at).cast();
                        let row_scales = row_scales.as_ptr().add(tile.first);
                        let (is_first, is_last) = (start == 0, start + count == steps);
                        let place = Place { tile, panel, is_first, is_last, units, row_scales };
                        let ahead = Ahead { from: next, lines };
                        self.tile::<S, F>(place, values, Weights { words, steps: count, ahead });
                        next = next.wrapping_add(count.div_ceil(CHUNK) * lines * LINE);
                    }
                }
            }
        }
    }

    /// Lays out all rows, tile by tile.
    #[inline(always)]
    unsafe fn pack<S: Simd, F: Pack<S>>(&self, words: &mut [f32], row_scales: &mut [f32], buffer: &mut [f32]) {
        let row_words = words.len() / row_scales.len().max(1);
        for tile in tiles::<S>(self.rows) {
            let stride = tile.padded * CHUNK * F::WORDS;
            for row in 0..tile.padded {
                // Rows that only fill the tile up repeat the last one; nobody reads their results.
                let source = tile.first + row.min(tile.rows - 1);
                // SAFETY: all tiles before take `row_words` for each of their rows.
                unsafe {
                    let to = words.as_mut_ptr().add(tile.first * row_words + row * CHUNK * F::WORDS);
                    let scale = F::pack(self.input.read::<S>(source, buffer), to.cast(), stride);
                    *row_scales.as_mut_ptr().add(tile.first + row) = scale;
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn tile<S: Simd, F: Pack<S>>(&self, place: Place<'_>, values: *const u32, weights: Weights) {
        const { assert!(matches!(S::TILE_ROWS, 3 | 6 | 12), "tiles are compiled for these") };
        // SAFETY: the caller's promise, handed on.
        unsafe {
            match place.tile.padded {
                1 => self.rows::<S, F, 1>(place, values, weights),
                3 => self.rows::<S, F, 3>(place, values, weights),
                6 if S::TILE_ROWS >= 6 => self.rows::<S, F, 6>(place, values, weights),
                _ if S::TILE_ROWS >= 12 => self.rows::<S, F, 12>(place, values, weights),
                _ => {}
            }
        }
    }

    #[inline(always)]
    unsafe fn rows<S: Simd, F: Pack<S>, const ROWS: usize>(
        &self,
        place: Place<'_>,
        values: *const u32,
        weights: Weights,
    ) {
        // SAFETY: the caller's promise; what lies beyond the outputs is neither read nor written.
        unsafe {
            let mut sums: Sums<S, F, ROWS> = [[F::Sum::zero(); PANEL_VECTORS]; ROWS];
            if !place.is_first {
                for (row, sums) in sums.iter_mut().enumerate().take(place.tile.rows) {
                    for (vector, sum) in sums.iter_mut().enumerate() {
                        let from = self.at(place, row, vector, S::LANES);
                        *sum = F::Sum::resume(S::load_up_to(from, self.left::<S>(place.panel, vector)));
                    }
                }
            }
            self.fetch_places::<S>(place);
            let sums = multiply::<S, F, ROWS>(values, (weights.words, weights.steps), weights.ahead, sums);
            for (row, sums) in sums.into_iter().enumerate().take(place.tile.rows) {
                for (vector, sum) in sums.into_iter().enumerate() {
                    let value = sum.value();
                    let value = if place.is_last { self.finish::<S>(place, (row, vector), value) } else { value };
                    let to = self.at(place, row, vector, S::LANES);
                    S::store_up_to(to, value, self.left::<S>(place.panel, vector));
                }
            }
        }
    }

    /// Has those lines fetched that the tile's results go to, and what is added to them: they lie far apart, and nothing else
    /// foresees that they are needed when the sums are ready.
    #[inline(always)]
    unsafe fn fetch_places<S: Simd>(&self, place: Place<'_>) {
        let last = PANEL_VECTORS * S::LANES - 1;
        for row in 0..place.tile.rows {
            // SAFETY: the tile's rows are there.
            let to: *const u32 = unsafe { self.at(place, row, 0, S::LANES) }.cast();
            S::prefetch(to);
            S::prefetch(to.wrapping_add(last));
            if let Some(residual) = self.after.residual {
                let row = residual.row(place.tile.first + row, self.weights.outputs);
                let from: *const u32 = row.as_ptr().wrapping_add(self.column::<S>(place.panel, 0)).cast();
                S::prefetch(from);
                S::prefetch(from.wrapping_add(last));
            }
        }
    }

    /// Units, bias, GELU and residual.
    #[inline(always)]
    unsafe fn finish<S: Simd>(&self, place: Place<'_>, (row, vector): (usize, usize), value: S::F32) -> S::F32 {
        let column = self.column::<S>(place.panel, vector);
        // SAFETY: bias, scales and sums are there for all places of a panel; the residual for those of outputs.
        unsafe {
            let bias = S::load(self.weights.bias.as_ptr().add(column));
            let mut value = match place.units {
                None => S::add(value, bias),
                Some(units) => {
                    let sums = S::load(units.sums.as_ptr().add(column));
                    let offset = S::mul(sums, S::splat(BYTE_OFFSET));
                    let whole = if S::HAS_BYTE_DOT { S::sub(value, offset) } else { value };
                    let unit = S::mul(S::load(units.scales.as_ptr().add(column)), S::splat(*place.row_scales.add(row)));
                    S::mul_add(whole, unit, bias)
                }
            };
            if self.after.gelu {
                value = gelu::<S>(value);
            }
            if let Some(residual) = self.after.residual {
                let row = residual.row(place.tile.first + row, self.weights.outputs);
                let left = self.left::<S>(place.panel, vector);
                value = S::add(value, S::load_up_to(row.as_ptr().wrapping_add(column), left));
            }
            value
        }
    }

    #[inline(always)]
    const fn column<S: Simd>(&self, panel: usize, vector: usize) -> usize {
        (panel * PANEL_VECTORS + vector) * S::LANES
    }

    /// How many outputs there are from the first of a vector of a panel on.
    #[inline(always)]
    const fn left<S: Simd>(&self, panel: usize, vector: usize) -> usize {
        self.weights.outputs.saturating_sub(self.column::<S>(panel, vector))
    }

    /// Where a vector of a row of the tile goes. Beyond the outputs it is not used.
    #[inline(always)]
    const unsafe fn at(&self, place: Place<'_>, row: usize, vector: usize, lanes: usize) -> *mut f32 {
        let column = (place.panel * PANEL_VECTORS + vector) * lanes;
        // SAFETY: the block's rows are there.
        let row = unsafe { self.out.at((place.tile.first + row) * self.out_stride) };
        row.wrapping_add(column)
    }
}
