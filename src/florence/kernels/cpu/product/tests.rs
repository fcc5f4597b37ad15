//! Products of all forms against their definition in f64, on shapes that fill nothing evenly.

use super::super::layer_norm::NormWeights;
use super::super::simd::{InstructionSet, Kernel, Portable};
use super::*;

fn drawn(count: usize, seed: u64) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ seed;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..count).map(|_| next()).collect()
}

fn gelu(x: f64) -> f64 {
    // The tanh form is within 5e-4 of the other, which is tested on its own.
    0.5 * x * (1. + ((2. / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x)).tanh())
}

struct Case {
    rows: usize,
    inputs: usize,
    outputs: usize,
    x: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    residual: Vec<f32>,
}

impl Case {
    fn new(rows: usize, inputs: usize, outputs: usize) -> Self {
        let weight = drawn(inputs * outputs, 2);
        let (x, bias, residual) = (drawn(rows * inputs, 1), drawn(outputs, 3), drawn(rows * outputs, 4));
        Self { rows, inputs, outputs, x, weight, bias, residual }
    }

    /// The result from its definition, with weights as a packed matrix holds them.
    fn expected(&self, matrix: &PackedMatrix, is_gelu: bool) -> Vec<f64> {
        let mut row = vec![0.; self.inputs];
        let mut out = vec![0f64; self.rows * self.outputs];
        for output in 0..self.outputs {
            matrix.unpack(output, &mut row);
            for index in 0..self.rows {
                let x = &self.x[index * self.inputs..(index + 1) * self.inputs];
                let sum: f64 = x.iter().zip(&row).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                let sum = sum + f64::from(self.bias[output]);
                let value = if is_gelu { gelu(sum) } else { sum };
                out[index * self.outputs + output] = value + f64::from(self.residual[index * self.outputs + output]);
            }
        }
        out
    }

    fn product(&self, matrix: &PackedMatrix, gelu: bool) -> Vec<f32> {
        let residual = Some(Rows::new(&self.residual, self.outputs));
        product(Input::plain(Rows::new(&self.x, self.inputs)), self.rows, matrix, After { gelu, residual })
    }
}

/// ‖found − expected‖ / ‖expected‖.
fn difference(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let of = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let apart = of(&mut found.iter().zip(expected).map(|(found, expected)| f64::from(*found) - expected));
    apart / of(&mut expected.iter().copied()).max(1e-9)
}

#[test]
fn every_form_is_the_definition_on_odd_shapes() {
    for set in InstructionSet::supported() {
        for (rows, inputs, outputs) in
            [(1, 1, 1), (2, 3, 5), (7, 33, 31), (13, 300, 17), (98, 259, 45), (5, 768, 130), (14, 2100, 37)]
        {
            let case = Case::new(rows, inputs, outputs);
            // Activations are quantised as well in the last.
            for (kind, allowed) in [(WeightType::F32, 2e-6), (WeightType::Bf16, 4e-3), (WeightType::I8, 1e-2)] {
                let matrix = PackedMatrix::for_set(set, (&case.weight, inputs), Some(&case.bias), kind);
                let apart = difference(&case.product(&matrix, false), &case.expected(&matrix, false));
                assert!(apart < allowed, "{set:?} {kind:?} {rows} {inputs} {outputs}: {apart}");
                let apart = difference(&case.product(&matrix, true), &case.expected(&matrix, true));
                assert!(apart < allowed + 1e-3, "{set:?} {kind:?} {rows} {inputs} {outputs} gelu: {apart}");
            }
        }
    }
}

#[test]
fn pairs_of_bf16_are_the_definition_as_well() {
    for (rows, inputs, outputs) in [(1, 1, 1), (2, 3, 5), (7, 33, 31), (14, 2100, 37)] {
        let case = Case::new(rows, inputs, outputs);
        let set = InstructionSet::Portable;
        let matrix = PackedMatrix::for_set(set, (&case.weight, inputs), Some(&case.bias), WeightType::Bf16);
        let mut found = vec![0f32; rows * outputs];
        let block = Block {
            input: Input::plain(Rows::new(&case.x, inputs)),
            rows,
            weights: &matrix,
            panels: 0..matrix.panel_count(),
            after: After { gelu: false, residual: Some(Rows::new(&case.residual, outputs)) },
            out: Shared::new(&mut found),
            out_stride: outputs,
        };
        // SAFETY: every processor has these instructions.
        unsafe { block.run::<Portable<true>>() };
        let apart = difference(&found, &case.expected(&matrix, false));
        // Activations are rounded as well.
        assert!(apart < 4e-3, "{rows} {inputs} {outputs}: {apart}");
    }
}

#[test]
fn what_is_no_number_shows() {
    for set in InstructionSet::supported() {
        for (wrong, place) in [(f32::NAN, 0), (f32::INFINITY, 17), (f32::NEG_INFINITY, 36)] {
            let mut case = Case::new(3, 37, 21);
            case.x[37 + place] = wrong;
            for kind in [WeightType::F32, WeightType::Bf16, WeightType::I8] {
                let matrix = PackedMatrix::for_set(set, (&case.weight, 37), Some(&case.bias), kind);
                let found = case.product(&matrix, false);
                let (others, row) = ([&found[..21], &found[42..]].concat(), &found[21..42]);
                assert!(row.iter().all(|value| !value.is_finite()), "{set:?} {kind:?} {wrong}: {row:?}");
                assert!(others.iter().all(|value| value.is_finite()), "{set:?} {kind:?} {wrong}");
            }
        }
    }
}

#[test]
fn bytes_of_rows_of_any_size_are_what_they_say() {
    for set in InstructionSet::supported() {
        // All at full scale: sums of 16-bit values that were not kept small would overflow. And nothing but zeros, or nearly.
        for (inputs, value) in [(9216, 1.), (70_000, -1.), (40, 0.), (40, 1e-37), (40, 1e-20)] {
            let (x, weight) = (vec![value; inputs], vec![1.; inputs]);
            let matrix = PackedMatrix::for_set(set, (&weight, inputs), None, WeightType::I8);
            let found = product(Input::plain(Rows::new(&x, inputs)), 1, &matrix, After::default());
            let expected = value * inputs as f32;
            // What is far below the least magnitude is nothing.
            let allowed = if expected.abs() < 1e-30 { 1e-35 } else { expected.abs() * 1e-2 };
            assert!((found[0] - expected).abs() <= allowed, "{set:?} {inputs} {value}: {}", found[0]);
        }
    }
}

#[test]
fn weights_keep_as_much_as_their_type_holds() {
    let case = Case::new(1, 50, 37);
    for set in InstructionSet::supported() {
        for (kind, allowed) in [(WeightType::F32, 0.), (WeightType::Bf16, 1. / 256.), (WeightType::I8, 0.5 / 127.)] {
            let matrix = PackedMatrix::for_set(set, (&case.weight, 50), None, kind);
            let mut row = vec![0.; 50];
            for (output, expected) in case.weight.chunks(50).enumerate() {
                matrix.unpack(output, &mut row);
                let most = expected.iter().fold(0f32, |most, value| most.max(value.abs()));
                assert!(row.iter().zip(expected).all(|(a, b)| (a - b).abs() <= allowed * most * 1.001), "{kind:?}");
            }
        }
    }
}

#[test]
fn a_row_gives_the_same_in_any_company() {
    for set in InstructionSet::supported() {
        let case = Case::new(29, 515, 70);
        for kind in [WeightType::F32, WeightType::Bf16, WeightType::I8] {
            let matrix = PackedMatrix::for_set(set, (&case.weight, 515), Some(&case.bias), kind);
            let together = case.product(&matrix, true);
            for row in [0, 11, 12, 28] {
                let alone = product(
                    Input::plain(Rows::new(&case.x, 515)).skip(row),
                    1,
                    &matrix,
                    After { gelu: true, residual: Some(Rows::new(&case.residual, 70).skip(row)) },
                );
                assert_eq!(alone, together[row * 70..(row + 1) * 70], "{set:?} {kind:?} row {row}");
            }
        }
    }
}

#[test]
fn norms_before_and_two_in_a_row_are_what_they_say() {
    let (rows, width, hidden) = (101, 37, 150);
    let x = drawn(rows * width, 5);
    let (weight, bias) = (drawn(width, 6), drawn(width, 7));
    let norm = NormWeights { weight: &weight, bias: &bias };
    for set in InstructionSet::supported() {
        let normed = super::super::layer_norm::layer_norm(&x, norm, set);
        let inner = PackedMatrix::for_set(set, (&drawn(hidden * width, 8), width), None, WeightType::F32);
        let outer = PackedMatrix::for_set(set, (&drawn(hidden * width, 9), hidden), Some(&bias), WeightType::F32);
        let apart =
            product(Input::plain(Rows::new(&normed, width)), rows, &inner, After { gelu: true, residual: None });
        let residual = Rows::new(&x, width);
        let apart = product(
            Input::plain(Rows::new(&apart, hidden)),
            rows,
            &outer,
            After { gelu: false, residual: Some(residual) },
        );
        let input = Input { rows: Rows::new(&x, width), norm: Some(norm) };
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(|| mlp(input, rows, (&inner, &outer), residual)), apart, "{set:?} {threads}");
        }
    }
}
