//! Weights that are drawn instead of read, so that a model of any size can be measured without its files.
//!
//! They are the same on every machine and with any number of threads: each tensor is drawn from its name, each value from
//! its place. A shape is whatever the model asks for; the tables, whose rows a file would tell, have those of `config.json`.

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use serde::Deserialize;

use super::layout::{POSITION_OFFSET, TOKEN_EMBEDDING};
use super::wanted::Wanted;
use crate::florence::config::CONFIG_FILE;
use crate::florence::error::CheckpointResult;
use crate::florence::files::CheckpointFiles;

/// Standard deviation of the drawn values, that from which the original was trained.
const STANDARD_DEVIATION: f32 = 0.02;
/// Values that a thread draws at a time.
const CHUNK: usize = 1 << 16;

/// A source of tensors that answers every name.
#[derive(Debug)]
pub struct RandomWeights {
    vocabulary: usize,
    text_positions: usize,
    image_positions: usize,
}

/// The part of a `config.json` in the style of Microsoft's that tells the rows of tables.
#[derive(Deserialize)]
struct TableSizes {
    text_config: TextSizes,
    vision_config: VisionSizes,
}

#[derive(Deserialize)]
struct TextSizes {
    vocab_size: usize,
    max_position_embeddings: usize,
}

#[derive(Deserialize)]
struct VisionSizes {
    image_pos_embed: ImagePositions,
}

#[derive(Deserialize)]
struct ImagePositions {
    max_pos_embeddings: usize,
}

impl RandomWeights {
    /// Weights for the model that `config.json` describes.
    ///
    /// # Errors
    /// The file is missing or does not tell the rows of every table.
    pub fn new(files: &CheckpointFiles) -> CheckpointResult<Self> {
        let TableSizes { text_config: text, vision_config: vision } = files.read_json(CONFIG_FILE)?;
        Ok(Self {
            vocabulary: text.vocab_size,
            text_positions: text.max_position_embeddings,
            image_positions: vision.image_pos_embed.max_pos_embeddings,
        })
    }

    /// A tensor in f32 on the CPU: biases are 0, factors of norms 1, everything else is drawn about 0.
    ///
    /// # Errors
    /// The reason as text: a table whose rows nobody knows.
    pub fn draw(&self, name: &str, wanted: Wanted<'_>) -> Result<Tensor, String> {
        let shape = match wanted {
            Wanted::Shape(dims) => dims.to_vec(),
            Wanted::Table { columns } => vec![self.rows(name).ok_or("has no known number of rows")?, columns],
        };
        let mut values = vec![0f32; shape.iter().product()];
        match shape.as_slice() {
            [_] if name.ends_with("bias") => {}
            // No other weight of the model has a single axis.
            [_] => values.fill(1.0),
            _ => fill_normal(&mut values, seed_of(name)),
        }
        Tensor::from_vec(values, shape, &Device::Cpu).map_err(|error| error.to_string())
    }

    fn rows(&self, name: &str) -> Option<usize> {
        if name == TOKEN_EMBEDDING {
            Some(self.vocabulary)
        } else if name.ends_with("embed_positions.weight") {
            Some(POSITION_OFFSET + self.text_positions)
        } else if name.starts_with("image_pos_embed.") {
            Some(self.image_positions)
        } else {
            None
        }
    }
}

/// FNV-1a of a name: unlike the standard library's hashes it is the same in every release.
fn seed_of(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Value `i` comes from the `i`-th number of the SplitMix64 sequence that starts at `seed`.
fn fill_normal(values: &mut [f32], seed: u64) {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    values.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, values)| {
        let first = (chunk * CHUNK) as u64;
        let mut state = seed.wrapping_add(first.wrapping_mul(STEP));
        for value in values {
            state = state.wrapping_add(STEP);
            *value = normal(mix(state));
        }
    });
}

/// The output function of SplitMix64.
const fn mix(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// A value about 0 from 64 random bits: the sum of four uniform numbers of 16 bits is near enough to normal here.
fn normal(bits: u64) -> f32 {
    /// Mean and standard deviation of that sum.
    const MEAN: f32 = 2.0 * 65_535.0;
    const DEVIATION: f32 = 65_536.0 / 1.732_050_8;
    let part = |shift: u32| (bits >> shift) & 0xffff;
    let sum = part(0) + part(16) + part(32) + part(48);
    (sum as f32 - MEAN) * (STANDARD_DEVIATION / DEVIATION)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEIGHTS: RandomWeights = RandomWeights { vocabulary: 7, text_positions: 5, image_positions: 3 };

    fn draw(name: &str, dims: &[usize]) -> Vec<f32> {
        WEIGHTS.draw(name, Wanted::Shape(dims)).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn values_are_spread_as_meant() {
        let values = draw("some.fc1.weight", &[700, 300]);
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / values.len() as f64;
        assert!(mean.abs() < 2e-4 && (variance.sqrt() - 0.02).abs() < 2e-4, "{mean} {}", variance.sqrt());
        assert!(values.iter().any(|v| v.abs() > 0.06), "there is a tail");
    }

    #[test]
    fn norms_change_nothing_and_biases_add_nothing() {
        assert!(draw("conv.bias", &[9]).iter().all(|value| *value == 0.0));
        assert!(draw("self_attn_layer_norm.weight", &[9]).iter().all(|value| *value == 1.0));
    }

    #[test]
    fn a_tensor_depends_on_its_name_alone() {
        let size = [3 * CHUNK + 5, 1];
        let whole = draw("a.weight", &size);
        let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(one_thread.install(|| draw("a.weight", &size)), whole);
        assert_eq!(draw("a.weight", &[CHUNK + 9, 1]), whole[..CHUNK + 9]);
        assert_ne!(draw("b.weight", &size), whole);
        assert_eq!(whole[..2], [0.054_533_593, -0.017_474_325], "the same on every machine");
    }

    #[test]
    fn tables_have_the_rows_of_the_configuration() {
        let rows = |name| WEIGHTS.draw(name, Wanted::Table { columns: 2 }).map(|table| table.dims().to_vec());
        assert_eq!(rows(TOKEN_EMBEDDING), Ok(vec![7, 2]));
        assert_eq!(rows("language_model.model.encoder.embed_positions.weight"), Ok(vec![7, 2]));
        assert_eq!(rows("image_pos_embed.row_embeddings.weight"), Ok(vec![3, 2]));
        assert!(rows("some.table").is_err());
    }
}
