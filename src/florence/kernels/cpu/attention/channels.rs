//! Attention between the channels of a group, over all pixels of a map.

use rayon::prelude::*;

use super::super::memory::{Scratch, Shared, copy, fetch, written};
use super::super::product::{After, Input, PackedMatrix, Rows, WeightType, block_into};
use super::super::simd::{InstructionSet, Kernel, Simd};
use super::softmax::softmax;

/// Pixels whose products are summed by one task. The sums are added up in the order of the pixels.
const PIXELS: usize = 256;
/// Pixels whose values are read group by group while they are in the cache; a multiple of every tile's rows.
const VALUES: usize = 48;
/// Channels of the queries whose sums are held in registers at a time.
const TILE: usize = 4;

/// `qkv` `[batch, pixels, 3 * channels]` to `[batch, pixels, channels]`.
///
/// # Panics
/// The groups do not divide the channels, or the sizes do not make the map.
pub fn channel_attention(qkv: &[f32], batch: usize, channels: usize, groups: usize, set: InstructionSet) -> Vec<f32> {
    let pixels = qkv.len() / (batch * 3 * channels).max(1);
    assert_eq!(qkv.len(), batch * pixels * 3 * channels, "projections of a map");
    assert!(channels > 0 && channels.is_multiple_of(groups), "{groups} groups of {channels} channels");
    let width = channels / groups.max(1);
    let parts = pixels.div_ceil(PIXELS);
    let block = channels * width;
    let picture = |index: usize| qkv.get(index * pixels * 3 * channels..).unwrap_or_default();
    // SAFETY: every task writes the sums of its own pixels.
    let partial = unsafe {
        written(batch * parts * block, |out| {
            (0..batch * parts).into_par_iter().for_each(|index| {
                let (first, qkv) = (index % parts * PIXELS, picture(index / parts));
                let qkv = qkv.get(first * 3 * channels..).unwrap_or_default();
                let pixels = (pixels - first).min(PIXELS);
                set.run(Correlate { qkv, pixels, channels, width, out: out.skip(index * block) });
            });
        })
    };
    let scale = (pixels as f32).sqrt().recip();
    let weights: Vec<PackedMatrix> = (0..batch * groups)
        .into_par_iter()
        .map(|index| {
            let (picture, group) = (index / groups, index % groups);
            let mut scores = vec![0f32; width * width];
            for part in 0..parts {
                let at = (picture * parts + part) * block + group * width * width;
                scores.iter_mut().zip(partial.iter().skip(at)).for_each(|(sum, value)| *sum += value);
            }
            scores.chunks_exact_mut(width).for_each(|row| set.run(Softmax { row, scale }));
            PackedMatrix::for_set(set, (&scores, width), None, WeightType::F32)
        })
        .collect();
    // SAFETY: every task writes its own pixels, and all groups of them.
    unsafe {
        written(batch * pixels * channels, |out| {
            (0..batch * parts).into_par_iter().for_each(|index| {
                let (first, batch) = (index % parts * PIXELS, index / parts);
                let values = picture(batch).get(first * 3 * channels + 2 * channels..).unwrap_or_default();
                let out = out.skip((batch * pixels + first) * channels);
                let pixels = (pixels - first).min(PIXELS);
                for first in (0..pixels).step_by(VALUES) {
                    let rows = (pixels - first).min(VALUES);
                    for (group, weights) in weights.iter().skip(batch * groups).take(groups).enumerate() {
                        let values = values.get(first * 3 * channels + group * width..).unwrap_or_default();
                        let input = (Input::plain(Rows::new(values, 3 * channels)), rows);
                        let out = out.skip(first * channels + group * width);
                        block_into(input, weights, After::default(), (out, channels));
                    }
                }
            });
        })
    }
}

/// For every group, the sums over pixels of products of its queries and keys: `[groups][width queries][width keys]`.
struct Correlate<'a> {
    qkv: &'a [f32],
    pixels: usize,
    channels: usize,
    width: usize,
    out: Shared<f32>,
}

impl Kernel for Correlate<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut rows = Scratch::new(self.pixels * 2 * self.width);
        for group in (0..self.channels).step_by(self.width.max(1)) {
            // SAFETY: the caller's promise; the group is there.
            let out = unsafe {
                self.gather::<S>(group, &mut rows);
                self.out.skip(group * self.width)
            };
            for query in (0..self.width).step_by(TILE) {
                let queries = (self.width - query).min(TILE);
                for key in (0..self.width).step_by(2 * S::LANES) {
                    // SAFETY: the caller's promise.
                    unsafe {
                        if queries == TILE && key + 2 * S::LANES <= self.width {
                            self.tile::<S>(&rows, (query, key), out);
                        } else {
                            self.rest(&rows, (query, queries), (key, (self.width - key).min(2 * S::LANES)), out);
                        }
                    }
                }
            }
        }
    }
}

impl Correlate<'_> {
    /// Brings the queries and keys of a group together, `[pixels][2 * width]`: where they come from, those of a group lie so far
    /// apart that they would displace each other in the first cache. Those of the next group are fetched meanwhile.
    #[inline(always)]
    unsafe fn gather<S: Simd>(&self, group: usize, rows: &mut [f32]) {
        let mut pixel = self.qkv.as_ptr().wrapping_add(group);
        let mut to = rows.as_mut_ptr();
        for _ in 0..self.pixels {
            for from in [pixel, pixel.wrapping_add(self.channels)] {
                // SAFETY: pixels have queries and keys, and there is room for those of one group.
                unsafe {
                    copy::<S>(from, to, self.width);
                    to = to.add(self.width);
                }
                fetch::<S>(from.wrapping_add(self.width), self.width);
            }
            pixel = pixel.wrapping_add(3 * self.channels);
        }
    }

    #[inline(always)]
    #[allow(clippy::indexing_slicing, reason = "indices below the arrays' own lengths")]
    unsafe fn tile<S: Simd>(&self, rows: &[f32], (query, key): (usize, usize), out: Shared<f32>) {
        // SAFETY: rows hold queries and keys, and the result has room for each with each.
        unsafe {
            let mut sums = [[S::splat(0.); 2]; TILE];
            let mut row = rows.as_ptr();
            for _ in 0..self.pixels {
                let keys = row.add(self.width + key);
                let keys = [S::load(keys), S::load(keys.add(S::LANES))];
                for (place, sums) in sums.iter_mut().enumerate() {
                    let value = S::splat(*row.add(query + place));
                    sums[0] = S::mul_add(value, keys[0], sums[0]);
                    sums[1] = S::mul_add(value, keys[1], sums[1]);
                }
                row = row.add(2 * self.width);
            }
            for (place, sums) in sums.iter().enumerate() {
                let to = out.at((query + place) * self.width + key);
                S::store(to, sums[0]);
                S::store(to.add(S::LANES), sums[1]);
            }
        }
    }

    /// What does not fill whole vectors.
    #[inline(always)]
    unsafe fn rest(
        &self,
        rows: &[f32],
        (query, queries): (usize, usize),
        (key, keys): (usize, usize),
        out: Shared<f32>,
    ) {
        for query in query..query + queries {
            for key in key..key + keys {
                let pairs = rows.chunks_exact((2 * self.width).max(1));
                // SAFETY: rows hold queries and keys, and the result has room for each with each.
                unsafe {
                    let products = pairs.map(|row| row.get_unchecked(query) * row.get_unchecked(self.width + key));
                    *out.at(query * self.width + key) = products.sum();
                }
            }
        }
    }
}

/// Softmax of a row of scores times `scale`.
struct Softmax<'a> {
    row: &'a mut [f32],
    scale: f32,
}

impl Kernel for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the caller's promise.
        unsafe { softmax::<S>(self.row, self.scale) }
    }
}
