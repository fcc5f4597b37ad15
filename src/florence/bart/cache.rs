//! Keys and values that outlive a step. They are passed into the decoder, never hidden in it, so that rows can join,
//! leave and change places.

use candle_core::{Result, Tensor};

use super::encoder::Encoded;

/// Keys and values of the encoder's output, once for each input however many beams share it.
#[derive(Debug, Clone)]
pub struct CrossCache {
    /// For each decoder layer, keys and values `[inputs, heads, length, width]`.
    pub layers: Vec<(Tensor, Tensor)>,
    /// As in [`Encoded`].
    pub mask: Option<Tensor>,
}

/// Keys and values of the tokens written so far, for each row.
#[derive(Debug, Clone, Default)]
pub struct SelfCache {
    /// For each decoder layer, keys and values `[rows, heads, length, width]`; empty before the first step.
    layers: Vec<(Tensor, Tensor)>,
    /// Tokens written so far.
    length: usize,
}

impl CrossCache {
    /// Wraps the layers' keys and values.
    pub fn new(layers: Vec<(Tensor, Tensor)>, encoded: &Encoded) -> Self {
        Self { layers, mask: encoded.mask.clone() }
    }

    /// Number of inputs.
    pub fn inputs(&self) -> usize {
        self.layers.first().and_then(|(keys, _)| keys.dims().first().copied()).unwrap_or(0)
    }

    /// Keeps the inputs with these indices, in this order.
    ///
    /// # Errors
    /// The device's.
    pub fn select(&mut self, inputs: &Tensor) -> Result<()> {
        for (keys, values) in &mut self.layers {
            *keys = keys.index_select(inputs, 0)?;
            *values = values.index_select(inputs, 0)?;
        }
        self.mask = self.mask.as_ref().map(|mask| mask.index_select(inputs, 0)).transpose()?;
        Ok(())
    }
}

impl SelfCache {
    /// Tokens written so far, which is the position of the next one.
    pub const fn length(&self) -> usize {
        self.length
    }

    /// Adds one token's keys and values of a layer and returns all of that layer.
    ///
    /// # Errors
    /// The device's.
    pub fn append(&mut self, layer: usize, keys: Tensor, values: Tensor) -> Result<(Tensor, Tensor)> {
        let all = match self.layers.get(layer) {
            None => (keys, values),
            Some((old_keys, old_values)) => {
                (Tensor::cat(&[old_keys, &keys], 2)?, Tensor::cat(&[old_values, &values], 2)?)
            }
        };
        match self.layers.get_mut(layer) {
            None => self.layers.push(all.clone()),
            Some(slot) => *slot = all.clone(),
        }
        Ok(all)
    }

    /// Counts the token that every layer has appended.
    pub const fn advance(&mut self) {
        self.length += 1;
    }

    /// Keeps the rows with these indices, in this order; a row may be kept twice.
    ///
    /// # Errors
    /// The device's.
    pub fn select(&mut self, rows: &Tensor) -> Result<()> {
        for (keys, values) in &mut self.layers {
            *keys = keys.index_select(rows, 0)?;
            *values = values.index_select(rows, 0)?;
        }
        Ok(())
    }
}
