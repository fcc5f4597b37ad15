//! Weights in the order in which a product reads them.

use rayon::prelude::*;

use super::super::simd::InstructionSet;
use super::tile::PANEL_VECTORS;

/// Words that are worth a task of their own when weights are packed.
const TASK_WORDS: usize = 1 << 16;

/// How weights are kept on a CPU. Sums are in f32 in any case, or exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightType {
    /// 32-bit floats.
    F32,
    /// The upper halves of 32-bit floats, rounded. Activations stay as they are, but where pairs of bf16 are one instruction.
    Bf16,
    /// Bytes with a scale for each output. Activations are quantised as well, with a scale for each row: to 8 bits where there is
    /// an instruction for bytes, else to 12.
    I8,
}

/// The weights of a product, packed into panels of as many outputs as two vectors hold, input by input.
pub struct PackedMatrix {
    /// The instruction set whose vectors the panels are made for.
    pub(super) set: InstructionSet,
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    pub(super) panels: Panels,
    /// For each output, zeros behind the last.
    pub(super) bias: Vec<f32>,
}

/// The panels, one after the other.
pub(super) enum Panels {
    /// `[panels][inputs][outputs of a panel]`.
    F32(Vec<f32>),
    /// `[panels][pairs of inputs][outputs of a panel]`, the earlier input in the lower half.
    Bf16(Vec<u32>),
    /// `[panels][fours of inputs][outputs of a panel]`, the earliest input in the lowest byte.
    I8 {
        words: Vec<u32>,
        /// For each output, what a unit is worth.
        scales: Vec<f32>,
        /// For each output, the sum of its bytes.
        sums: Vec<f32>,
    },
}

impl PackedMatrix {
    /// Packs `weight` `[outputs, inputs]` and `bias` `[outputs]`, or zeros, for the chosen instruction set.
    pub fn new(weight: &[f32], bias: Option<&[f32]>, inputs: usize, kind: WeightType) -> Self {
        Self::for_set(InstructionSet::chosen(), (weight, inputs), bias, kind)
    }

    /// As [`Self::new`], for an instruction set of one's choice.
    pub fn for_set(
        set: InstructionSet,
        (weight, inputs): (&[f32], usize),
        bias: Option<&[f32]>,
        kind: WeightType,
    ) -> Self {
        let outputs = weight.len() / inputs.max(1);
        let width = PANEL_VECTORS * set.lanes();
        let places = outputs.div_ceil(width) * width;
        let mut padded_bias = vec![0.; places];
        padded_bias.iter_mut().zip(bias.unwrap_or_default()).for_each(|(to, from)| *to = *from);
        let source = Source { weight, inputs, width, places };
        let panels = match kind {
            WeightType::F32 => Panels::F32(source.pack(1, 0., |row, input| row.get(input).copied().unwrap_or(0.))),
            WeightType::Bf16 => Panels::Bf16(source.pack(2, 0, |row, pair| {
                let half = |input: usize| u32::from(bf16(row.get(input).copied().unwrap_or(0.)));
                half(2 * pair) | half(2 * pair + 1) << 16
            })),
            WeightType::I8 => source.quantise(),
        };
        Self { set, outputs, inputs, panels, bias: padded_bias }
    }

    /// Width of a result.
    pub const fn outputs(&self) -> usize {
        self.outputs
    }

    /// Width of what is multiplied.
    pub const fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of panels.
    pub(super) const fn panel_count(&self) -> usize {
        self.outputs.div_ceil(PANEL_VECTORS * self.set.lanes())
    }

    /// Writes the weights of one output to `row`.
    pub fn unpack(&self, output: usize, row: &mut [f32]) {
        let width = PANEL_VECTORS * self.set.lanes();
        let (panel, column) = (output / width, output % width);
        let at = |per_word: usize, word: usize| (panel * self.inputs.div_ceil(per_word) + word) * width + column;
        for (input, value) in row.iter_mut().enumerate().take(self.inputs) {
            *value = match &self.panels {
                Panels::F32(values) => values.get(at(1, input)).copied().unwrap_or(0.),
                Panels::Bf16(words) => {
                    let word = words.get(at(2, input / 2)).copied().unwrap_or(0);
                    f32::from_bits(if input % 2 == 0 { word << 16 } else { word & 0xffff_0000 })
                }
                Panels::I8 { words, scales, .. } => {
                    let word = words.get(at(4, input / 4)).copied().unwrap_or(0);
                    let [byte, ..] = (word >> (8 * (input % 4))).to_le_bytes();
                    f32::from(byte.cast_signed()) * scales.get(output).copied().unwrap_or(0.)
                }
            };
        }
    }
}

/// Weights as they come.
struct Source<'a, T> {
    weight: &'a [T],
    inputs: usize,
    /// Outputs of a panel.
    width: usize,
    /// Outputs of all panels.
    places: usize,
}

impl<T: Sync> Source<'_, T> {
    /// Panels of words, each of `per_word` inputs of an output.
    fn pack<W: Copy + Send + Sync>(
        &self,
        per_word: usize,
        nothing: W,
        word: impl Fn(&[T], usize) -> W + Sync,
    ) -> Vec<W> {
        let words = self.inputs.div_ceil(per_word);
        let mut panels = vec![nothing; self.places * words];
        let panel_words = (self.width * words).max(1);
        let panel_rows = self.weight.par_chunks((self.width * self.inputs).max(1));
        let packed = panels.par_chunks_exact_mut(panel_words).zip(panel_rows);
        packed.with_min_len(TASK_WORDS.div_ceil(panel_words)).for_each(|(panel, rows)| {
            for (column, row) in rows.chunks_exact(self.inputs).enumerate() {
                for (index, place) in panel.iter_mut().skip(column).step_by(self.width).enumerate() {
                    *place = word(row, index);
                }
            }
        });
        panels
    }
}

impl Source<'_, f32> {
    fn quantise(&self) -> Panels {
        let (mut bytes, mut scales, mut sums) = (vec![], vec![], vec![]);
        for row in self.weight.chunks_exact(self.inputs.max(1)) {
            let scale = byte_scale(row);
            let start = bytes.len();
            #[allow(clippy::cast_possible_truncation, reason = "in the range of a byte")]
            bytes.extend(row.iter().map(|value| (value / scale).round() as i8));
            sums.push(bytes.iter().skip(start).map(|byte| f32::from(*byte)).sum());
            scales.push(scale);
        }
        let rows = Source { weight: &bytes, inputs: self.inputs, width: self.width, places: self.places };
        let words = rows.pack(4, 0, |row, four| {
            u32::from_le_bytes([0, 1, 2, 3].map(|byte| row.get(4 * four + byte).map_or(0, |byte| byte.cast_unsigned())))
        });
        scales.resize(self.places, 0.);
        sums.resize(self.places, 0.);
        Panels::I8 { words, scales, sums }
    }
}

/// What a unit of a row's bytes is worth.
fn byte_scale(row: &[f32]) -> f32 {
    row.iter().fold(f32::MIN_POSITIVE, |most, value| most.max(value.abs())) / 127.
}

/// The upper half of a float, rounded to the nearest, of equals to the even one. What is no number stays none.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "the upper half is taken")]
pub(super) const fn bf16(value: f32) -> u16 {
    const QUIET: u32 = 0x40_0000;
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
    ((if value.is_nan() { bits | QUIET } else { rounded }) >> 16) as u16
}
