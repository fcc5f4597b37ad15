//! Keys and values that outlive a step. They are passed into the decoder, never hidden in it, so that inputs of any length
//! and number of beams can share a step, join between steps and leave.

use candle_core::{Result, Tensor, bail};

/// Tokens for which room is made at a time.
const BUCKET: usize = 64;

/// What the decoder remembers of one input: the encoder's output and the tokens that its beams have written.
#[derive(Debug)]
pub struct DecoderCache {
    /// For each layer, keys and values `[1, heads, positions, width]` of the encoder's output; the beams share them.
    cross: Vec<(Tensor, Tensor)>,
    /// For each layer, keys and values of the written tokens.
    own: Vec<Written>,
    beams: usize,
    length: usize,
}

/// Keys and values `[beams, heads, capacity, width]` of one layer, of which the first tokens are written.
#[derive(Debug)]
struct Written {
    keys: Tensor,
    values: Tensor,
}

impl DecoderCache {
    /// A cache of one input before its first step, with the keys and values of each layer.
    pub const fn new(cross: Vec<(Tensor, Tensor)>, beams: usize) -> Self {
        Self { cross, own: vec![], beams, length: 0 }
    }

    /// Number of beams, each a row of a step.
    pub const fn beams(&self) -> usize {
        self.beams
    }

    /// Tokens written so far, which is the position of the next one.
    pub const fn length(&self) -> usize {
        self.length
    }

    /// Memory of all keys and values, the room for tokens to come included.
    pub fn bytes(&self) -> usize {
        let bytes = |tensor: &Tensor| tensor.elem_count() * tensor.dtype().size_in_bytes();
        let cross: usize = self.cross.iter().map(|(keys, values)| bytes(keys) + bytes(values)).sum();
        cross + self.own.iter().map(|written| bytes(&written.keys) + bytes(&written.values)).sum::<usize>()
    }

    /// Keys and values `[1, heads, positions, width]` of the encoder's output.
    ///
    /// # Errors
    /// A layer that the cache was not made for.
    pub fn cross(&self, layer: usize) -> Result<&(Tensor, Tensor)> {
        match self.cross.get(layer) {
            Some(layer) => Ok(layer),
            None => bail!("the cache has no layer {layer}"),
        }
    }

    /// Writes one token's keys and values `[beams, heads, 1, width]` and gives all so far, `[beams, heads, length, width]`.
    ///
    /// # Errors
    /// The device's, and layers out of order.
    pub fn append(&mut self, layer: usize, keys: &Tensor, values: &Tensor) -> Result<(Tensor, Tensor)> {
        if layer == self.own.len() {
            self.own.push(Written { keys: with_room(keys)?, values: with_room(values)? });
        }
        let Some(written) = self.own.get_mut(layer) else { bail!("layer {layer} comes too early") };
        for (all, token) in [(&mut written.keys, keys), (&mut written.values, values)] {
            if all.dim(2)? == self.length {
                *all = Tensor::cat(&[&*all, &with_room(token)?], 2)?;
            }
            all.slice_set(token, 2, self.length)?;
        }
        let length = self.length + 1;
        Ok((written.keys.narrow(2, 0, length)?, written.values.narrow(2, 0, length)?))
    }

    /// Counts the token that every layer has appended. Until then it can be appended again, in its place.
    pub const fn advance(&mut self) {
        self.length += 1;
    }

    /// Makes beam `i` continue what beam `parents[i]` was. Beams that continue themselves are not touched.
    ///
    /// # Errors
    /// The device's.
    pub fn reorder(&mut self, parents: &[usize]) -> Result<()> {
        let moves: Vec<_> = parents.iter().copied().enumerate().filter(|(beam, parent)| beam != parent).collect();
        for written in &mut self.own {
            for tensor in [&written.keys, &written.values] {
                // All are read before any is overwritten.
                let read = |(_, parent): &(usize, usize)| {
                    tensor.narrow(0, *parent, 1)?.narrow(2, 0, self.length)?.force_contiguous()
                };
                let sources = moves.iter().map(read).collect::<Result<Vec<_>>>()?;
                for ((beam, _), source) in moves.iter().zip(sources) {
                    tensor.narrow(0, *beam, 1)?.slice_set(&source, 2, 0)?;
                }
            }
        }
        Ok(())
    }
}

/// Room for a bucket of tokens like this one.
fn with_room(token: &Tensor) -> Result<Tensor> {
    let (beams, heads, _, width) = token.dims4()?;
    Tensor::zeros((beams, heads, BUCKET, width), token.dtype(), token.device())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn token(beams: usize, value: f32) -> Tensor {
        let values: Vec<f32> = (0..beams).map(|beam| value + beam as f32 / 10.).collect();
        Tensor::from_vec(values, (beams, 1, 1, 1), &Device::Cpu).unwrap()
    }

    fn rows(tensor: &Tensor) -> Vec<Vec<f32>> {
        tensor
            .flatten(0, 2)
            .unwrap()
            .flatten_all()
            .unwrap()
            .reshape((tensor.dim(0).unwrap(), ()))
            .unwrap()
            .to_vec2()
            .unwrap()
    }

    #[test]
    fn beams_are_reordered_and_grow_past_a_bucket() {
        let mut cache = DecoderCache::new(vec![], 3);
        let mut expected: Vec<Vec<f32>> = vec![vec![]; 3];
        for step in 0..2 * BUCKET + 3 {
            let (keys, values) = cache.append(0, &token(3, step as f32), &token(3, -(step as f32))).unwrap();
            for (beam, row) in expected.iter_mut().enumerate() {
                row.push(step as f32 + beam as f32 / 10.);
            }
            assert_eq!(rows(&keys), expected);
            assert_eq!(values.dims(), [3, 1, step + 1, 1]);
            cache.advance();
            let parents = [[0, 1, 2], [1, 0, 0], [2, 2, 1], [0, 0, 2]][step % 4];
            cache.reorder(&parents).unwrap();
            expected = parents.iter().map(|&parent| expected[parent].clone()).collect();
        }
        assert_eq!(cache.length(), 2 * BUCKET + 3);
    }

    #[test]
    fn a_token_that_was_not_counted_is_written_again() {
        let mut cache = DecoderCache::new(vec![], 1);
        for step in 0..BUCKET + 2 {
            cache.append(0, &token(1, -1.), &token(1, -1.)).unwrap();
            let (keys, _) = cache.append(0, &token(1, step as f32), &token(1, step as f32)).unwrap();
            assert_eq!(rows(&keys), [(0..=step).map(|step| step as f32).collect::<Vec<_>>()]);
            cache.advance();
        }
    }

    #[test]
    fn layers_come_in_order() {
        let mut cache = DecoderCache::new(vec![], 1);
        assert!(cache.append(1, &token(1, 0.), &token(1, 0.)).is_err());
        assert!(cache.cross(0).is_err());
    }
}
