//! The loops of the resize with 256-bit vectors, for processors that have them. Bits are those of the portable loops.
//!
//! Weights have 24 bits, but the instruction that multiplies and adds in pairs takes 16. So each weight is split into
//! `high * 2^12 + low`, both sums are made, and put together at the end: exact modulo 2³², as are the portable sums.

use std::arch::x86_64::{
    __m256i, _mm_cvtsi128_si32, _mm_hadd_epi32, _mm_loadu_si128, _mm_packs_epi32, _mm_packus_epi16, _mm_srai_epi32,
    _mm256_add_epi32, _mm256_broadcastsi128_si256, _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_madd_epi16,
    _mm256_set1_epi64x, _mm256_setr_epi8, _mm256_setr_epi32, _mm256_setzero_si256, _mm256_shuffle_epi8,
    _mm256_slli_epi32,
};

use super::CHANNELS;
use super::resize::{Rows, blend_pixel, blend_rows};
use super::taps::{FRACTION_BITS, HALF, Taps};

/// Bits of a weight's lower part.
const LOW_BITS: i32 = 12;
/// Pixels that are multiplied at a time.
const GROUP_PIXELS: usize = 4;
/// Their bytes.
const GROUP_BYTES: usize = GROUP_PIXELS * CHANNELS;
/// Bytes that are read for them: a vector, whose end is ignored.
const LOAD_BYTES: usize = 16;
/// Source rows that are blended at a time, so that weights are read once for all of them.
const ROWS_AT_A_TIME: usize = 4;

/// Proof that the processor has AVX2.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx2(());

/// Weights of four neighbouring pixels, four 16-bit numbers in each.
struct Group {
    high: i64,
    low: i64,
}

/// Weights of several target pixels, in groups of four and padded with zeros.
pub(super) struct PackedTaps {
    groups: Vec<Group>,
    /// Groups of each target pixel.
    counts: Vec<usize>,
}

impl PackedTaps {
    pub(super) fn new(taps: &[Taps]) -> Self {
        let groups = taps.iter().flat_map(|taps| taps.weights.chunks(GROUP_PIXELS)).map(Group::new).collect();
        Self { groups, counts: taps.iter().map(|taps| taps.weights.len().div_ceil(GROUP_PIXELS)).collect() }
    }
}

impl Group {
    fn new(weights: &[i32]) -> Self {
        let pack = |part: fn(i32) -> i32| {
            let parts = weights.iter().rev().map(|weight| i64::from(part(*weight)) & 0xFFFF);
            // The first weight ends up in the lowest bits.
            parts.fold(0, |packed, part| packed << 16 | part)
        };
        Self { high: pack(|weight| weight >> LOW_BITS), low: pack(|weight| weight & ((1 << LOW_BITS) - 1)) }
    }
}

/// Some columns of the target.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a> {
    pub(super) first: usize,
    pub(super) taps: &'a [Taps],
    pub(super) packed: &'a PackedTaps,
}

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        std::arch::is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    /// These columns of the target, for as many rows as there are.
    pub(super) fn blend_columns(self, sources: Rows, targets: &mut [u8], target_row: usize, columns: Columns) {
        let sources_at_a_time = sources.bytes.chunks(sources.row_bytes * ROWS_AT_A_TIME);
        for (targets, bytes) in targets.chunks_mut(target_row * ROWS_AT_A_TIME).zip(sources_at_a_time) {
            if bytes.len() == sources.row_bytes * ROWS_AT_A_TIME {
                let rows = Rows { bytes, row_bytes: sources.row_bytes };
                // SAFETY: `self` proves that the processor has AVX2.
                unsafe { blend_columns_of_rows::<ROWS_AT_A_TIME>(rows, targets, target_row, columns) };
                continue;
            }
            for (target, bytes) in targets.chunks_exact_mut(target_row).zip(bytes.chunks_exact(sources.row_bytes)) {
                let rows = Rows { bytes, row_bytes: sources.row_bytes };
                // SAFETY: `self` proves that the processor has AVX2.
                unsafe { blend_columns_of_rows::<1>(rows, target, target_row, columns) };
            }
        }
    }

    /// The weighted sum of some rows.
    pub(super) fn blend_rows(self, rows: Rows, weights: &[i32], target: &mut [u8]) {
        #[target_feature(enable = "avx2")]
        fn with_avx2(rows: Rows, weights: &[i32], target: &mut [u8]) {
            blend_rows(rows, weights, target);
        }
        // SAFETY: `self` proves that the processor has AVX2.
        unsafe { with_avx2(rows, weights, target) }
    }
}

/// Each target pixel of `ROWS` rows at once.
#[target_feature(enable = "avx2")]
fn blend_columns_of_rows<const ROWS: usize>(sources: Rows, targets: &mut [u8], target_row: usize, columns: Columns) {
    let mut groups = columns.packed.groups.as_slice();
    for ((taps, count), column) in columns.taps.iter().zip(&columns.packed.counts).zip(columns.first..) {
        let Some((own, others)) = groups.split_at_checked(*count) else { return };
        groups = others;
        let start = taps.first * CHANNELS;
        let last_row = (ROWS - 1) * sources.row_bytes;
        let end = last_row + start + own.len() * GROUP_BYTES + LOAD_BYTES - GROUP_BYTES;
        let pixels = if end <= sources.bytes.len() {
            // SAFETY: all that is read of the last row lies before `end`, and what is read of others before that.
            unsafe { blend_pixels::<ROWS>(sources, start, own) }
        } else {
            let mut rows = sources.bytes.chunks_exact(sources.row_bytes);
            std::array::from_fn(|_| rows.next().map_or([0; CHANNELS], |row| blend_pixel(row, taps)))
        };
        for (target, pixel) in targets.chunks_exact_mut(target_row).zip(pixels) {
            if let Some(bytes) = target.get_mut(column * CHANNELS..).and_then(<[u8]>::first_chunk_mut) {
                *bytes = pixel;
            }
        }
    }
}

/// One target pixel of each row.
///
/// # Safety
/// From `start` on, each of the `ROWS` rows must be followed by `GROUP_BYTES` for each group and by
/// `LOAD_BYTES - GROUP_BYTES` more; they may belong to the next row.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn blend_pixels<const ROWS: usize>(sources: Rows, start: usize, groups: &[Group]) -> [[u8; CHANNELS]; ROWS] {
    // Pairs of reds, greens and blues, each widened to 16 bits: R0 R1, R2 R3, G0 G1, G2 G3 | B0 B1, B2 B3, nothing.
    let pairs = _mm256_setr_epi8(
        0, -1, 3, -1, 6, -1, 9, -1, 1, -1, 4, -1, 7, -1, 10, -1, 2, -1, 5, -1, 8, -1, 11, -1, -1, -1, -1, -1, -1, -1,
        -1, -1,
    );
    let mut high = [_mm256_setzero_si256(); ROWS];
    let mut low = [_mm256_setr_epi32(HALF, 0, HALF, 0, HALF, 0, 0, 0); ROWS];
    let mut at = start;
    for group in groups {
        let (high_weights, low_weights) = (_mm256_set1_epi64x(group.high), _mm256_set1_epi64x(group.low));
        for (row, (high, low)) in high.iter_mut().zip(&mut low).enumerate() {
            // SAFETY: the caller vouches for 16 bytes at each group of each row; the load needs no alignment.
            let bytes = unsafe { _mm_loadu_si128(sources.bytes.as_ptr().add(row * sources.row_bytes + at).cast()) };
            let values = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bytes), pairs);
            *high = _mm256_add_epi32(*high, _mm256_madd_epi16(values, high_weights));
            *low = _mm256_add_epi32(*low, _mm256_madd_epi16(values, low_weights));
        }
        at += GROUP_BYTES;
    }
    let mut pixels = [[0; CHANNELS]; ROWS];
    for ((pixel, high), low) in pixels.iter_mut().zip(high).zip(low) {
        *pixel = finish_pixel(_mm256_add_epi32(_mm256_slli_epi32::<LOW_BITS>(high), low));
    }
    pixels
}

/// The bytes that sums of a pixel stand for; each channel has two lanes.
#[target_feature(enable = "avx2")]
#[inline]
fn finish_pixel(sums: __m256i) -> [u8; CHANNELS] {
    let sums = _mm_hadd_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
    #[allow(clippy::cast_possible_wrap, reason = "22")]
    let values = _mm_srai_epi32::<{ FRACTION_BITS as i32 }>(sums);
    let words = _mm_packs_epi32(values, values);
    // Both narrowings clamp.
    let [red, green, blue, _] = _mm_cvtsi128_si32(_mm_packus_epi16(words, words)).to_le_bytes();
    [red, green, blue]
}
