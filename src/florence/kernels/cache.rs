//! Keys and values that outlive a step. They are passed into the decoder, never hidden in it, so that inputs of any length
//! and number of beams can share a step, join between steps and leave.
//!
//! What a beam wrote stays where it was written. When beams change places, only the table of whose tokens each continues is
//! changed: keys and values are never copied.

use std::cell::OnceCell;

use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Result, Tensor, bail};
use florence_cpu::memory::Shared;

/// Tokens for which room is made at a time.
const BUCKET: usize = 64;

/// What the decoder remembers of one input: the encoder's output and the tokens that its beams have written.
#[derive(Debug)]
pub struct DecoderCache {
    /// `[layers, positions, 2 * width]`: keys and values of the encoder's output; the beams share them.
    cross: Tensor,
    /// `[layers, capacity, beams, 2 * width]`: keys and values of the written tokens; none before the first step.
    own: Option<Tensor>,
    /// For each beam and each of its tokens, the beam in whose place it was written.
    ancestry: Vec<Vec<u8>>,
    length: usize,
}

impl DecoderCache {
    /// A cache of one input before its first step, with the keys and values `[layers, positions, 2 * width]` of its encoder's
    /// output, all heads side by side.
    pub fn new(cross: Tensor, beams: usize) -> Self {
        Self { cross, own: None, ancestry: vec![vec![]; beams], length: 0 }
    }

    /// Number of beams, each a row of a step.
    pub const fn beams(&self) -> usize {
        self.ancestry.len()
    }

    /// Tokens written so far, which is the position of the next one.
    pub const fn length(&self) -> usize {
        self.length
    }

    /// For a beam and each of its tokens so far, the beam in whose place the token was written.
    pub fn ancestry(&self, beam: usize) -> &[u8] {
        self.ancestry.get(beam).map_or(&[], Vec::as_slice)
    }

    /// Memory of all keys and values, the room for tokens to come included.
    pub fn bytes(&self) -> usize {
        let bytes = |tensor: &Tensor| tensor.elem_count() * tensor.dtype().size_in_bytes();
        bytes(&self.cross) + self.own.as_ref().map_or(0, bytes)
    }

    /// Keys and values `[layers, positions, 2 * width]` of the encoder's output.
    pub const fn cross(&self) -> &Tensor {
        &self.cross
    }

    /// Keys and values `[layers, capacity, beams, 2 * width]` of the written tokens, with room for the next one.
    ///
    /// # Errors
    /// The device's.
    pub fn own(&mut self) -> Result<&Tensor> {
        let (layers, _positions, width) = self.cross.dims3()?;
        let capacity = self.own.as_ref().map_or(Ok(0), |own| own.dim(1))?;
        if capacity <= self.length {
            let more = zeros((layers, BUCKET, self.beams(), width), self.cross.dtype(), self.cross.device())?;
            self.own = Some(match self.own.take() {
                None => more,
                Some(own) => Tensor::cat(&[&own, &more], 1)?,
            });
        }
        match &self.own {
            Some(own) => Ok(own),
            None => bail!("the cache has no room"),
        }
    }

    /// [`Self::own`] as it is, none before the first step.
    #[cfg(feature = "cuda")]
    pub const fn written(&self) -> Option<&Tensor> {
        self.own.as_ref()
    }

    /// The values of [`Self::own`] of one layer, where they are in f32 on the CPU.
    ///
    /// # Errors
    /// As [`Self::own`], and values of another type or elsewhere.
    pub(super) fn own_values(&mut self, layer: usize) -> Result<Shared<f32>> {
        let own = self.own()?.get(layer)?;
        let place = OnceCell::new();
        own.inplace_op1(&Locate { place: &place })?;
        match place.into_inner() {
            Some(values) => Ok(values),
            None => bail!("keys and values are not on the CPU"),
        }
    }

    /// Counts the token that every layer has written. Until then it can be written again, in its place.
    #[allow(clippy::cast_possible_truncation, reason = "there are at most 16 beams")]
    pub fn advance(&mut self) {
        for (beam, ancestry) in self.ancestry.iter_mut().enumerate() {
            ancestry.push(beam as u8);
        }
        self.length += 1;
    }

    /// Makes beam `i` continue what beam `parents[i]` was.
    ///
    /// # Errors
    /// A parent that is no beam.
    pub fn reorder(&mut self, parents: &[usize]) -> Result<()> {
        if parents.iter().copied().eq(0..self.beams()) {
            return Ok(());
        }
        let of = |parent: &usize| self.ancestry.get(*parent).cloned();
        match parents.iter().map(of).collect::<Option<Vec<_>>>() {
            Some(ancestry) if ancestry.len() == self.ancestry.len() => {
                self.ancestry = ancestry;
                Ok(())
            }
            _ => bail!("{parents:?} are no parents of {} beams", self.ancestry.len()),
        }
    }
}

/// Finds out where a tensor's values are. They stay there: nothing but its cache holds the tensor.
struct Locate<'a> {
    place: &'a OnceCell<Shared<f32>>,
}

impl InplaceOp1 for Locate<'_> {
    fn name(&self) -> &'static str {
        "locate"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let CpuStorage::F32(values) = storage else { bail!("keys and values are not f32") };
        match layout.contiguous_offsets().and_then(|(start, end)| values.get_mut(start..end)) {
            Some(values) => drop(self.place.set(Shared::new(values))),
            None => bail!("keys and values are not contiguous"),
        }
        Ok(())
    }
}

fn zeros(shape: (usize, usize, usize, usize), dtype: DType, device: &Device) -> Result<Tensor> {
    Tensor::zeros(shape, dtype, device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beams_are_reordered_and_grow_past_a_bucket() {
        let cross = Tensor::zeros((2, 5, 4), DType::F32, &Device::Cpu).unwrap();
        let mut cache = DecoderCache::new(cross, 3);
        let mut expected: Vec<Vec<u8>> = vec![vec![]; 3];
        for step in 0..2 * BUCKET + 3 {
            let capacity = cache.own().unwrap().dim(1).unwrap();
            assert_eq!(capacity, (step / BUCKET + 1) * BUCKET);
            cache.advance();
            for (beam, row) in expected.iter_mut().enumerate() {
                row.push(beam as u8);
            }
            let parents = [[0, 1, 2], [1, 0, 0], [2, 2, 1], [0, 0, 2]][step % 4];
            cache.reorder(&parents).unwrap();
            expected = parents.iter().map(|&parent| expected[parent].clone()).collect();
            assert_eq!([0, 1, 2].map(|beam| cache.ancestry(beam).to_vec()).to_vec(), expected);
        }
        assert_eq!(cache.length(), 2 * BUCKET + 3);
        assert!(cache.reorder(&[0, 3, 1]).is_err() && cache.reorder(&[0]).is_err());
    }

    #[test]
    fn a_longer_cache_keeps_what_was_written() {
        let cross = Tensor::zeros((1, 1, 2), DType::F32, &Device::Cpu).unwrap();
        let mut cache = DecoderCache::new(cross, 1);
        for step in 0..BUCKET + 2 {
            let token = Tensor::full(step as f32, (1, 1, 1, 2), &Device::Cpu).unwrap();
            cache.own().unwrap().slice_set(&token, 1, step).unwrap();
            cache.advance();
        }
        let kept =
            cache.own().unwrap().narrow(1, 0, BUCKET + 2).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(kept, (0..2 * BUCKET + 4).map(|i| (i / 2) as f32).collect::<Vec<_>>());
    }
}
