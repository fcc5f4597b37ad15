//! Attention between the channels of a group, over all pixels of a map.

use rayon::prelude::*;

use super::super::memory::{Shared, written};
use super::super::product::{After, Input, PackedMatrix, Rows, WeightType, block_into};
use super::super::simd::{InstructionSet, Kernel, Simd, exp};

/// Pixels whose products are summed by one task. The sums are added up in the order of the pixels.
const PIXELS: usize = 256;
/// Channels of the queries whose sums are held in registers at a time.
const TILE: usize = 4;

/// `qkv` `[batch, pixels, 3 * channels]` to `[batch, pixels, channels]`.
pub fn channel_attention(qkv: &[f32], batch: usize, channels: usize, groups: usize, set: InstructionSet) -> Vec<f32> {
    let pixels = qkv.len() / (batch * 3 * channels).max(1);
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
                let rows = (pixels - first).min(PIXELS);
                for (group, weights) in weights.iter().skip(batch * groups).take(groups).enumerate() {
                    let values = Rows::new(values.get(group * width..).unwrap_or_default(), 3 * channels);
                    let input = (Input::plain(values), rows);
                    block_into(input, weights, After::default(), (out.skip(group * width), channels));
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
        for group in (0..self.channels).step_by(self.width.max(1)) {
            for query in (0..self.width).step_by(TILE) {
                let rows = (self.width - query).min(TILE);
                for key in (0..self.width).step_by(2 * S::LANES) {
                    // SAFETY: the caller's promise.
                    unsafe {
                        if rows == TILE && key + 2 * S::LANES <= self.width {
                            self.tile::<S>(group, query, key);
                        } else {
                            self.rest((group, query, key), rows, (self.width - key).min(2 * S::LANES));
                        }
                    }
                }
            }
        }
    }
}

impl Correlate<'_> {
    #[inline(always)]
    #[allow(clippy::indexing_slicing, reason = "indices below the arrays' own lengths")]
    unsafe fn tile<S: Simd>(&self, group: usize, query: usize, key: usize) {
        // SAFETY: channels and pixels are there.
        unsafe {
            let mut sums = [[S::splat(0.); 2]; TILE];
            let mut pixel = self.qkv.as_ptr();
            for _ in 0..self.pixels {
                let keys = pixel.add(self.channels + group + key);
                let keys = [S::load(keys), S::load(keys.add(S::LANES))];
                for (row, sums) in sums.iter_mut().enumerate() {
                    let value = S::splat(*pixel.add(group + query + row));
                    sums[0] = S::mul_add(value, keys[0], sums[0]);
                    sums[1] = S::mul_add(value, keys[1], sums[1]);
                }
                pixel = pixel.add(3 * self.channels);
            }
            for (row, sums) in sums.iter().enumerate() {
                let to = self.out.at((group + query + row) * self.width + key);
                S::store(to, sums[0]);
                S::store(to.add(S::LANES), sums[1]);
            }
        }
    }

    /// What does not fill whole vectors.
    #[inline(always)]
    unsafe fn rest(&self, (group, query, key): (usize, usize, usize), queries: usize, keys: usize) {
        for row in 0..queries {
            for column in 0..keys {
                let mut sum = 0.;
                for pixel in self.qkv.chunks(3 * self.channels).take(self.pixels) {
                    // SAFETY: channels are there.
                    sum += unsafe {
                        pixel.get_unchecked(group + query + row)
                            * pixel.get_unchecked(self.channels + group + key + column)
                    };
                }
                // SAFETY: as above.
                unsafe { *self.out.at((group + query + row) * self.width + key + column) = sum };
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
        let greatest = self.row.iter().fold(f32::NEG_INFINITY, |most, score| most.max(score * self.scale));
        let mut sum = 0.;
        for scores in self.row.chunks_mut(S::LANES) {
            // SAFETY: as many elements as the chunk has.
            unsafe {
                let values = S::load_up_to(scores.as_ptr(), scores.len());
                let weights = exp::<S>(S::sub(S::mul(values, S::splat(self.scale)), S::splat(greatest)));
                S::store_up_to(scores.as_mut_ptr(), weights, scores.len());
            }
            sum += scores.iter().sum::<f32>();
        }
        let inverse = sum.recip();
        self.row.iter_mut().for_each(|weight| *weight *= inverse);
    }
}
