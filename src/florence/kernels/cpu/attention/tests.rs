//! The attentions against their definition in f64, on every instruction set that this machine has.

use super::super::memory::Shared;
use super::super::simd::InstructionSet;
use super::*;

fn drawn(count: usize, seed: u64) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ seed;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        4. * ((state >> 40) as f32 / (1 << 24) as f32 - 0.5)
    };
    (0..count).map(|_| next()).collect()
}

fn softmax(scores: &[f64]) -> Vec<f64> {
    let most = scores.iter().copied().fold(f64::MIN, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

/// What a query finds among keys and values.
fn attend(query: &[f32], pairs: &[(&[f32], &[f32])]) -> Vec<f64> {
    let scale = (query.len() as f64).powf(-0.5);
    let dot = |key: &[f32]| query.iter().zip(key).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() * scale;
    let weights = softmax(&pairs.iter().map(|(key, _)| dot(key)).collect::<Vec<_>>());
    let mut sums = vec![0.; query.len()];
    for (weight, (_, value)) in weights.iter().zip(pairs) {
        sums.iter_mut().zip(*value).for_each(|(sum, value)| *sum += weight * f64::from(*value));
    }
    sums
}

fn assert_close(found: &[f32], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(*found) - expected).abs() < 2e-5, "{what} at {index}: {found} is not {expected}");
    }
}

#[test]
fn windows_attend_to_what_lies_beyond_the_map() {
    for (batch, height, width, heads, head_width, side) in
        [(1, 4, 4, 1, 32, 4), (2, 5, 7, 2, 5, 3), (1, 1, 1, 1, 1, 2), (1, 13, 12, 3, 33, 12)]
    {
        let channels = heads * head_width;
        let qkv = drawn(batch * height * width * 3 * channels, 1);
        let beyond = drawn(3 * channels, 2);
        let mut expected = vec![0.; batch * height * width * channels];
        let row = |picture: usize, y: usize, x: usize| match y < height && x < width {
            true => &qkv[((picture * height + y) * width + x) * 3 * channels..][..3 * channels],
            false => &beyond[..],
        };
        for picture in 0..batch {
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                for head in 0..heads {
                    let part = |row: &'_ [f32], part: usize| {
                        let at = part * channels + head * head_width;
                        at..at + head_width.min(row.len())
                    };
                    let (top, left) = (y / side * side, x / side * side);
                    let rows: Vec<&[f32]> =
                        (0..side * side).map(|index| row(picture, top + index / side, left + index % side)).collect();
                    let pairs: Vec<_> = rows.iter().map(|row| (&row[part(row, 1)], &row[part(row, 2)])).collect();
                    let own = row(picture, y, x);
                    let at = ((picture * height + y) * width + x) * channels + head * head_width;
                    expected[at..at + head_width].copy_from_slice(&attend(&own[part(own, 0)], &pairs));
                }
            }
        }
        for set in InstructionSet::supported() {
            let input = WindowInput { qkv: &qkv, beyond: &beyond, height, width, heads, side };
            assert_close(&window_attention(input, set), &expected, &format!("{set:?} {height}x{width}"));
        }
    }
}

#[test]
fn sequences_attend_to_their_own_positions_only() {
    for (lengths, length, heads, head_width) in
        [(vec![1], 1, 1, 1), (vec![7, 3], 7, 2, 5), (vec![61, 100, 1], 100, 1, 64)]
    {
        let width = heads * head_width;
        let qkv = drawn(lengths.len() * length * 3 * width, 3);
        let mut expected = vec![0.; lengths.len() * length * width];
        for (batch, count) in lengths.iter().enumerate() {
            let row = |position: usize| &qkv[(batch * length + position) * 3 * width..][..3 * width];
            for (query, head) in (0..*count).flat_map(|query| (0..heads).map(move |head| (query, head))) {
                let part = |part: usize| part * width + head * head_width..part * width + (head + 1) * head_width;
                let pairs: Vec<_> = (0..*count).map(|key| (&row(key)[part(1)], &row(key)[part(2)])).collect();
                let at = (batch * length + query) * width + head * head_width;
                expected[at..at + head_width].copy_from_slice(&attend(&row(query)[part(0)], &pairs));
            }
        }
        for set in InstructionSet::supported() {
            let found = sequence_attention(&qkv, width, heads, &lengths, set);
            assert_close(&found, &expected, &format!("{set:?} {lengths:?}"));
        }
    }
}

#[test]
fn channels_attend_over_all_pixels() {
    for (batch, pixels, groups, width) in [(1, 1, 1, 1), (2, 9, 2, 6), (1, 700, 2, 32), (1, 300, 1, 7)] {
        let channels = groups * width;
        let qkv = drawn(batch * pixels * 3 * channels, 4);
        let at = |picture: usize, pixel: usize, part: usize, channel: usize| {
            f64::from(qkv[((picture * pixels + pixel) * 3 + part) * channels + channel])
        };
        let mut expected = vec![0.; batch * pixels * channels];
        for (picture, channel) in (0..batch).flat_map(|picture| (0..channels).map(move |channel| (picture, channel))) {
            let group = channel / width * width;
            let score = |key: usize| {
                let products =
                    (0..pixels).map(|pixel| at(picture, pixel, 0, channel) * at(picture, pixel, 1, group + key));
                products.sum::<f64>() * (pixels as f64).powf(-0.5)
            };
            let weights = softmax(&(0..width).map(score).collect::<Vec<_>>());
            for pixel in 0..pixels {
                let products = weights.iter().enumerate().map(|(key, w)| w * at(picture, pixel, 2, group + key));
                expected[(picture * pixels + pixel) * channels + channel] = products.sum();
            }
        }
        for set in InstructionSet::supported() {
            let found = channel_attention(&qkv, batch, channels, groups, set);
            assert_close(&found, &expected, &format!("{set:?} {pixels} {groups}x{width}"));
        }
    }
}

#[test]
fn a_step_attends_to_its_caches() {
    let (heads, head_width) = (3, 20);
    let width = heads * head_width;
    // Two inputs: three beams after four tokens, one beam at its first.
    let ancestry: [Vec<Vec<u8>>; 2] = [vec![vec![0, 0, 1, 2], vec![0, 1, 1, 0], vec![2, 2, 2, 2]], vec![vec![]]];
    let rows = drawn(4 * 3 * width, 5);
    let part =
        |row: usize, part: usize, head: usize| &rows[(row * 3 + part) * width + head * head_width..][..head_width];
    let memory: Vec<Vec<f32>> = ancestry.iter().map(|beams| drawn(8 * beams.len() * 2 * width, 6)).collect();
    let cross: Vec<Vec<f32>> = [37, 1].iter().map(|positions| drawn(positions * 2 * width, 7)).collect();
    let (mut expected_own, mut expected_cross) = (vec![], vec![]);
    let mut row = 0;
    for (input, beams) in ancestry.iter().enumerate() {
        for tokens in beams {
            for head in 0..heads {
                let at = |place: usize, part: usize| {
                    &memory[input][(place * 2 + part) * width + head * head_width..][..head_width]
                };
                let places = tokens.iter().enumerate().map(|(token, beam)| token * beams.len() + usize::from(*beam));
                let mut pairs: Vec<_> = places.map(|place| (at(place, 0), at(place, 1))).collect();
                pairs.push((part(row, 1, head), part(row, 2, head)));
                expected_own.extend(attend(part(row, 0, head), &pairs));
                let pairs: Vec<_> = cross[input]
                    .chunks(2 * width)
                    .map(|both| {
                        (&both[head * head_width..][..head_width], &both[width + head * head_width..][..head_width])
                    })
                    .collect();
                expected_cross.extend(attend(part(row, 0, head), &pairs));
            }
            row += 1;
        }
    }
    for set in InstructionSet::supported() {
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut memory = memory.clone();
            let written: Vec<Written<'_>> = memory
                .iter_mut()
                .zip(&ancestry)
                .map(|(own, beams)| Written {
                    own: Shared::new(own),
                    ancestry: beams.iter().map(Vec::as_slice).collect(),
                })
                .collect();
            let input = StepInput { rows: &rows, stride: 3 * width, width, heads };
            // SAFETY: the memory is this test's, with room for eight tokens.
            let own = pool.install(|| unsafe { cached_attention(input, &written, set) });
            assert_close(&own, &expected_own, &format!("{set:?} own"));
            let inputs: Vec<(&[f32], usize)> =
                cross.iter().zip(&ancestry).map(|(cross, beams)| (cross.as_slice(), beams.len())).collect();
            let found = pool.install(|| cross_attention(input, &inputs, set));
            assert_close(&found, &expected_cross, &format!("{set:?} cross"));
        }
    }
}
