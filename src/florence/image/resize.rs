//! Pillow's 8-bit bicubic resize, bit for bit.
//!
//! The width is resized first and stored in 8 bits, then the height; an axis whose size stays is skipped. All rows of the
//! source are needed, since neighbouring taps leave no gap. Sums are the same in any order, so rows may be blended on
//! several threads and with the widest vectors at hand: `avx2` or what the compiler makes of the loops here.

use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
use super::avx2::{self, Avx2};
use super::taps::{Axis, FRACTION_BITS, HALF, Taps};
use super::{CHANNELS, Picture};

/// Weights kept at a time while rows are blended. Any usual picture needs far fewer; one of a single row of a hundred
/// million pixels would need gigabytes.
const MAX_WEIGHTS: usize = 1 << 20;
/// Bytes of a row that are summed up at a time when rows are blended: as many sums as stay in registers.
const TILE_BYTES: usize = 64;
/// Source rows that a thread takes at a time.
const ROWS_A_TASK: usize = 16;

/// The picture at another size, aspect ratio ignored. A side of zero is taken as one.
pub fn resize_bicubic(picture: &Picture, width: u32, height: u32) -> Picture {
    resize_with(Vectors::detect(), picture, width.max(1), height.max(1))
}

fn resize_with(vectors: Vectors, picture: &Picture, width: u32, height: u32) -> Picture {
    let widened = if picture.width() == width { None } else { Some(resize_width(vectors, picture, width)) };
    let source = widened.as_ref().unwrap_or(picture);
    if source.height() != height {
        return resize_height(vectors, source, height);
    }
    widened.unwrap_or_else(|| picture.clone())
}

/// How sums are made. The results are the same.
#[derive(Debug, Clone, Copy)]
enum Vectors {
    /// As the compiler does for any processor of the architecture.
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
}

impl Vectors {
    fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(proof) = Avx2::detect() {
            return Self::Avx2(proof);
        }
        Self::Portable
    }
}

/// Some columns of the target with their taps.
struct Columns {
    /// First of them.
    first: usize,
    taps: Vec<Taps>,
    #[cfg(target_arch = "x86_64")]
    packed: avx2::PackedTaps,
}

impl Columns {
    fn new(axis: &Axis, columns: std::ops::Range<u32>) -> Self {
        let first = columns.start as usize;
        let taps: Vec<Taps> = columns.map(|column| axis.taps(column)).collect();
        Self {
            first,
            #[cfg(target_arch = "x86_64")]
            packed: avx2::PackedTaps::new(&taps),
            taps,
        }
    }
}

fn resize_width(vectors: Vectors, picture: &Picture, width: u32) -> Picture {
    let axis = Axis::new(picture.width(), width);
    let (source_row, target_row) = (picture.width() as usize * CHANNELS, width as usize * CHANNELS);
    let mut rgb = vec![0; target_row * picture.height() as usize];
    let columns_at_a_time = u32::try_from(MAX_WEIGHTS / axis.max_taps()).unwrap_or(u32::MAX).max(1);
    let mut start = 0;
    while start < width {
        let end = start.saturating_add(columns_at_a_time).min(width);
        let columns = Columns::new(&axis, start..end);
        let sources = picture.rgb().par_chunks(source_row * ROWS_A_TASK);
        rgb.par_chunks_mut(target_row * ROWS_A_TASK).zip(sources).for_each(|(targets, sources)| {
            let rows = Rows { bytes: sources, row_bytes: source_row };
            blend_columns(vectors, rows, targets, target_row, &columns);
        });
        start = end;
    }
    Picture::from_resize(width, picture.height(), rgb)
}

fn resize_height(vectors: Vectors, picture: &Picture, height: u32) -> Picture {
    let axis = Axis::new(picture.height(), height);
    let row_bytes = picture.width() as usize * CHANNELS;
    let mut rgb = vec![0; row_bytes * height as usize];
    rgb.par_chunks_exact_mut(row_bytes).zip(0..height).for_each(|(target, row)| {
        let taps = axis.taps(row);
        let bytes = picture.rgb().get(taps.first * row_bytes..).unwrap_or_default();
        let rows = Rows { bytes, row_bytes };
        match vectors {
            Vectors::Portable => blend_rows(rows, &taps.weights, target),
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx2(proof) => proof.blend_rows(rows, &taps.weights, target),
        }
    });
    Picture::from_resize(picture.width(), height, rgb)
}

/// Rows of pixels one after the other.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) row_bytes: usize,
}

/// These columns of the target, for as many rows as there are.
fn blend_columns(vectors: Vectors, sources: Rows, targets: &mut [u8], target_row: usize, columns: &Columns) {
    match vectors {
        Vectors::Portable => {
            let sources = sources.bytes.chunks_exact(sources.row_bytes);
            for (target, source) in targets.chunks_exact_mut(target_row).zip(sources) {
                let pixels = target.as_chunks_mut::<CHANNELS>().0.iter_mut().skip(columns.first);
                for (pixel, taps) in pixels.zip(&columns.taps) {
                    *pixel = blend_pixel(source, taps);
                }
            }
        }
        #[cfg(target_arch = "x86_64")]
        Vectors::Avx2(proof) => {
            let columns = avx2::Columns { first: columns.first, taps: &columns.taps, packed: &columns.packed };
            proof.blend_columns(sources, targets, target_row, columns);
        }
    }
}

/// One pixel of a row at another width.
pub(super) fn blend_pixel(source: &[u8], taps: &Taps) -> [u8; CHANNELS] {
    let pixels = source.as_chunks::<CHANNELS>().0.get(taps.first..).unwrap_or_default();
    let mut sums = [HALF; CHANNELS];
    for (pixel, weight) in pixels.iter().zip(&taps.weights) {
        for (sum, byte) in sums.iter_mut().zip(pixel) {
            *sum = sum.wrapping_add(i32::from(*byte).wrapping_mul(*weight));
        }
    }
    sums.map(to_byte)
}

/// The weighted sum of some rows.
#[inline(always)]
pub(super) fn blend_rows(rows: Rows, weights: &[i32], target: &mut [u8]) {
    let (tiles, rest) = target.as_chunks_mut::<TILE_BYTES>();
    let rest_start = tiles.len() * TILE_BYTES;
    for (tile, start) in tiles.iter_mut().zip((0..).step_by(TILE_BYTES)) {
        let mut sums = [HALF; TILE_BYTES];
        for (row, weight) in rows.bytes.chunks_exact(rows.row_bytes).zip(weights) {
            if let Some(bytes) = row.get(start..).and_then(<[u8]>::first_chunk::<TILE_BYTES>) {
                add_weighted(&mut sums, bytes, *weight);
            }
        }
        *tile = sums.map(to_byte);
    }
    let mut sums = [HALF; TILE_BYTES];
    for (row, weight) in rows.bytes.chunks_exact(rows.row_bytes).zip(weights) {
        add_weighted(&mut sums, row.get(rest_start..).unwrap_or_default(), *weight);
    }
    for (byte, sum) in rest.iter_mut().zip(sums) {
        *byte = to_byte(sum);
    }
}

#[inline(always)]
fn add_weighted(sums: &mut [i32], bytes: &[u8], weight: i32) {
    for (sum, byte) in sums.iter_mut().zip(bytes) {
        *sum = sum.wrapping_add(i32::from(*byte).wrapping_mul(weight));
    }
}

/// The byte that a sum of weighted bytes stands for.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte")]
#[inline(always)]
fn to_byte(sum: i32) -> u8 {
    (sum >> FRACTION_BITS).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(width: u32, height: u32) -> Picture {
        let mut state = width.wrapping_mul(31).wrapping_add(height);
        let mut byte = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Extremes are frequent, so that sums leave the range of a byte.
            if state & 0x300 == 0 { 255 * (state >> 31) as u8 } else { (state >> 24) as u8 }
        };
        Picture::new(width, height, (0..width * height * 3).map(|_| byte()).collect()).unwrap()
    }

    /// The same from the definition: wide integers, one pixel after the other.
    fn by_definition(picture: &Picture, width: u32, height: u32) -> Picture {
        let one_axis = |from: &Picture, columns: u32, rows: u32, is_width: bool| {
            let axis = if is_width { Axis::new(from.width(), columns) } else { Axis::new(from.height(), rows) };
            let taps: Vec<Taps> = (0..if is_width { columns } else { rows }).map(|index| axis.taps(index)).collect();
            let mut rgb = vec![];
            for y in 0..rows as usize {
                for x in 0..columns as usize {
                    for channel in 0..3 {
                        let taps = &taps[if is_width { x } else { y }];
                        let mut sum = i64::from(HALF);
                        for (index, weight) in taps.weights.iter().enumerate() {
                            let (x, y) = if is_width { (taps.first + index, y) } else { (x, taps.first + index) };
                            let byte = from.rgb()[(y * from.width() as usize + x) * 3 + channel];
                            sum += i64::from(byte) * i64::from(*weight);
                        }
                        rgb.push((sum >> FRACTION_BITS).clamp(0, 255) as u8);
                    }
                }
            }
            Picture::new(columns, rows, rgb).unwrap()
        };
        one_axis(&one_axis(picture, width, picture.height(), true), width, height, false)
    }

    fn check(size: (u32, u32), target: (u32, u32)) {
        let picture = noise(size.0, size.1);
        let expected = by_definition(&picture, target.0, target.1);
        // An axis of the same size is skipped, and its weights are those of the identity.
        for vectors in [Vectors::detect(), Vectors::Portable] {
            let resized = resize_with(vectors, &picture, target.0, target.1);
            assert!(resized == expected, "{size:?} to {target:?} with {vectors:?}");
        }
    }

    #[test]
    fn every_shape_equals_the_definition() {
        for size in [(1, 1), (2, 3), (5, 1), (17, 9), (64, 64), (3, 400), (401, 3), (96, 18), (43, 33)] {
            for target in [(1, 1), (7, 5), (64, 64), (96, 33), (22, 100)] {
                check(size, target);
            }
        }
    }

    #[test]
    fn extreme_ratios_equal_the_definition() {
        check((30_000, 3), (64, 48));
        check((3, 30_000), (48, 64));
        check((30_000, 3), (1, 1));
        check((1, 1), (300, 200));
    }

    #[test]
    fn the_widest_pictures_are_done_in_parts() {
        // More weights than are kept at a time.
        let picture = noise(700_000, 1);
        assert!(Axis::new(700_000, 5).max_taps() * 5 > MAX_WEIGHTS);
        assert!(resize_bicubic(&picture, 5, 1) == by_definition(&picture, 5, 1));
    }

    #[test]
    fn a_plain_colour_stays() {
        let plain = Picture::new(31, 17, [10, 200, 255].repeat(31 * 17)).unwrap();
        assert_eq!(resize_bicubic(&plain, 96, 5).rgb(), [10, 200, 255].repeat(96 * 5));
        assert_eq!(resize_bicubic(&plain, 31, 17), plain);
        assert_eq!(resize_bicubic(&plain, 0, 1).width(), 1);
    }
}
