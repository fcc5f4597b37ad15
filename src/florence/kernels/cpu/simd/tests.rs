//! Every operation of every instruction set that this machine has, against plain arithmetic.

use super::*;

/// Runs a function of lanes on each instruction set.
struct Check;

const VALUES: [f32; 16] = [0.5, -1.25, 3., -0., 7.75, -20., 1e-3, 2.5, -2.5, 0.1, 30., -30., 80., -80., 1.5, -1.5];

impl Kernel for Check {
    type Output = ();
    const HAS_DOTS: bool = true;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let other: Vec<f32> = VALUES.iter().rev().copied().collect();
        let lanes = |value: S::F32| {
            let mut out = [0f32; 16];
            // SAFETY: there are at most sixteen lanes.
            unsafe { S::store(out.as_mut_ptr(), value) };
            out[..S::LANES].to_vec()
        };
        let by_lane =
            |f: fn(f32, f32) -> f32| (0..S::LANES).map(|lane| f(VALUES[lane], other[lane])).collect::<Vec<_>>();
        // SAFETY: the arrays hold sixteen elements, and the instruction set is enabled.
        unsafe {
            let (a, b) = (S::load(VALUES.as_ptr()), S::load(other.as_ptr()));
            assert_eq!(lanes(S::add(a, b)), by_lane(|a, b| a + b));
            assert_eq!(lanes(S::sub(a, b)), by_lane(|a, b| a - b));
            assert_eq!(lanes(S::mul(a, b)), by_lane(|a, b| a * b));
            assert_eq!(lanes(S::div(a, b)), by_lane(|a, b| a / b));
            assert_eq!(lanes(S::max(a, b)), by_lane(f32::max));
            assert_eq!(lanes(S::min(a, b)), by_lane(f32::min));
            assert_eq!(lanes(S::round(a)), by_lane(|a, _| a.round_ties_even()));
            assert_eq!(lanes(S::abs(a)), by_lane(|a, _| a.abs()));
            assert_eq!(lanes(S::copy_sign(S::abs(a), b)), by_lane(f32::copysign));
            assert_eq!(lanes(S::scale(a, S::splat(-3.))), by_lane(|a, _| a / 8.));
            for (sum, (a, b)) in lanes(S::mul_add(a, b, S::splat(1.))).iter().zip(VALUES.iter().zip(&other)) {
                assert!((sum - a.mul_add(*b, 1.)).abs() <= 1e-6 * (1. + (a * b).abs()), "{sum}");
            }
            let greatest = VALUES[..S::LANES].iter().copied().fold(f32::MIN, f32::max);
            assert_eq!(S::greatest(a), greatest);
            assert!((S::sum(a) - VALUES[..S::LANES].iter().sum::<f32>()).abs() < 1e-4);
            assert!(S::any_greater(a, S::splat(greatest - 0.01)) && !S::any_greater(a, S::splat(greatest)));
            for count in 0..=S::LANES {
                let mut out = [9f32; 17];
                let first = S::load_up_to(VALUES.as_ptr(), count);
                assert_eq!(lanes(first)[count..], vec![0.; S::LANES - count]);
                S::store_up_to(out.as_mut_ptr(), a, count);
                assert_eq!((&out[..count], out[count]), (&VALUES[..count], 9.));
            }
            Self::dots::<S>(lanes);
            Self::transposed::<S>();
        }
    }
}

impl Check {
    #[inline(always)]
    unsafe fn transposed<S: Simd>() {
        let (width, stride) = (S::LANES + 1, S::LANES + 3);
        let from: Vec<f32> = (0..MOST_LANES * width).map(|index| index as f32).collect();
        let mut to = vec![-1.; S::LANES * stride];
        let rows: [*const f32; MOST_LANES] = std::array::from_fn(|row| from.as_ptr().wrapping_add(row * width));
        // SAFETY: rows have as many elements, and the result as many rows.
        unsafe { S::transpose(&rows, to.as_mut_ptr(), stride) };
        for (element, row) in to.chunks(stride).enumerate() {
            let expected: Vec<f32> = (0..S::LANES).map(|lane| (lane * width + element) as f32).collect();
            assert_eq!((&row[..S::LANES], row[S::LANES]), (&expected[..], -1.));
        }
    }

    #[inline(always)]
    unsafe fn dots<S: Simd>(lanes: impl Fn(S::F32) -> Vec<f32>) {
        let words: Vec<u32> = (0..16u32).map(|lane| 0x3f80_4000 ^ (lane << 20) ^ (lane << 3)).collect();
        let halves = |word: u32| (f32::from_bits(word << 16), f32::from_bits(word & 0xffff_0000));
        let pair = 0xc000_3f00;
        // Bytes of all sizes, and the other factor in both forms.
        let bytes: Vec<[i8; 4]> = (0..16).map(|lane| [lane as i8, -127, 127 - lane as i8, -(lane as i8)]).collect();
        let values = [200, 3, 255, 17];
        let packed: Vec<u32> =
            bytes.iter().map(|four| u32::from_le_bytes(four.map(|byte| byte.cast_unsigned()))).collect();
        // SAFETY: as above.
        unsafe {
            let vector = S::load(words.as_ptr().cast());
            let (low, high) = S::split_bf16(vector);
            let expected: Vec<_> = words[..S::LANES].iter().map(|word| halves(*word)).collect();
            assert_eq!(lanes(low), expected.iter().map(|(low, _)| *low).collect::<Vec<_>>());
            assert_eq!(lanes(high), expected.iter().map(|(_, high)| *high).collect::<Vec<_>>());
            let sums = lanes(S::dot_bf16(pair, vector, S::splat(0.25)));
            for (sum, (low, high)) in sums.iter().zip(expected) {
                let expected = 0.25 + halves(pair).0 * low + halves(pair).1 * high;
                assert!((sum - expected).abs() <= 1e-5 * (1. + expected.abs()), "{sum} is not {expected}");
            }
            let four = if S::HAS_BYTE_DOT {
                [u32::from_le_bytes(values.map(|value| value as u8)), 0]
            } else {
                [values[0] | values[2] << 16, values[1] | values[3] << 16]
            };
            let sums = S::dot_i8(four.as_ptr(), S::load_bytes(packed.as_ptr()), S::zero_i32());
            let expected = bytes[..S::LANES].iter().map(|four| {
                four.iter().zip(values).map(|(byte, value)| i32::from(*byte) * value as i32).sum::<i32>() as f32
            });
            assert_eq!(lanes(S::to_f32(sums)), expected.collect::<Vec<_>>());
        }
    }
}

#[test]
fn every_operation_is_what_it_says() {
    for set in InstructionSet::supported() {
        set.run(Check);
    }
}

/// Functions on many values.
struct Functions(Vec<f32>);

impl Kernel for Functions {
    type Output = Vec<[f32; 2]>;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> Self::Output {
        // SAFETY: the instruction set is enabled.
        let of = |value: f32| unsafe {
            let value = S::splat(value);
            [S::greatest(exp::<S>(value)), S::greatest(gelu::<S>(value))]
        };
        self.0.iter().map(|value| of(*value)).collect()
    }
}

/// erf from its series, in f64.
fn erf(x: f64) -> f64 {
    if x.abs() > 5. {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..120 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

#[test]
fn functions_are_exact_to_the_last_digits() {
    let values: Vec<f32> = (-870..=870).map(|value| value as f32 / 10.).chain([0., -0., 1e-20, 3.7e-3]).collect();
    for set in InstructionSet::supported() {
        for (x, found) in values.iter().zip(set.run(Functions(values.clone()))) {
            let wide = f64::from(*x);
            let gelu = 0.5 * wide * (1. + erf(wide / std::f64::consts::SQRT_2));
            assert!((f64::from(found[0]) / wide.exp() - 1.).abs() < 3e-7, "{set:?}: exp {x} is not {}", found[0]);
            let allowed = 4e-7 * wide.abs().max(1.);
            assert!((f64::from(found[1]) - gelu).abs() < allowed, "{set:?}: gelu {x} is not {}", found[1]);
        }
    }
}

#[test]
fn the_environment_names_sets_by_their_names() {
    let names: Vec<_> = InstructionSet::ALL.iter().map(|set| set.name()).collect();
    assert_eq!(names[0], "portable");
    assert!(InstructionSet::supported().next() == Some(InstructionSet::Portable));
    assert!(InstructionSet::chosen().is_supported());
}
