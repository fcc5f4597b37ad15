//! What the model does otherwise on a GPU: the whole step of the decoder is one piece there.

use candle_core::{DType, Device, Result, Tensor, bail};

use super::bart::Decoder;
use super::config::ImageConfig;
use super::generation::{Candidate, Ranking, Wanted};
use super::image::normalized_bytes;
use super::kernels::cuda::step::{Candidates, Launching, StepDecoder, StepInput, StepRow, bucket_rows};
use super::kernels::cuda::{Gpu, Held, address, keep_pool, normalise_bytes};
use super::kernels::{DecoderCache, Vocabulary};

/// A model's GPU.
pub struct OnGpu {
    /// Set once the weights are there.
    decoder: Option<StepDecoder>,
    /// `[3, 256]`: what each byte of each channel of a picture becomes.
    byte_values: Option<Tensor>,
    _held: Held,
}

/// Opens a GPU for models: a stream of its own, on which everything happens in order, and memory that is kept for reuse.
///
/// # Errors
/// The driver's, and libraries that are missing.
pub fn open_cuda(index: usize) -> Result<Device> {
    let device = Device::new_cuda_with_stream(index)?;
    let Device::Cuda(cuda) = &device else { bail!("cuda:{index} is no GPU") };
    // SAFETY: all work on the device is put on this one stream, where it runs in order, so no event need be recorded to order it.
    unsafe { cuda.disable_event_tracking() };
    keep_pool(cuda)?;
    Ok(device)
}

impl OnGpu {
    /// Loads the kernels, if the device is a GPU.
    ///
    /// # Errors
    /// The driver's.
    pub fn hold(device: &Device) -> Result<Option<Self>> {
        match device {
            Device::Cuda(device) => Ok(Some(Self { decoder: None, byte_values: None, _held: Gpu::hold(device)? })),
            _ => Ok(None),
        }
    }

    /// Takes the weights of the decoder's step.
    ///
    /// # Errors
    /// Weights that do not fit together.
    pub fn set_decoder(&mut self, decoder: &Decoder, vocabulary: &Vocabulary, device: &Device) -> Result<()> {
        self.decoder = Some(StepDecoder::new(decoder.step_weights(vocabulary)?, device)?);
        Ok(())
    }

    /// Takes what pictures are normalised by.
    ///
    /// # Errors
    /// The device's.
    pub fn set_pixels(&mut self, config: &ImageConfig, device: &Device) -> Result<()> {
        let values = normalized_bytes(config.mean, config.std, config.rescale_factor);
        self.byte_values = Some(Tensor::from_vec(values.concat(), (values.len(), 256), device)?);
        Ok(())
    }

    /// Bytes `[batch, height, width, 3]` of pictures to pixels `[batch, 3, height, width]`.
    ///
    /// # Errors
    /// The device's.
    pub fn normalise(&self, bytes: &Tensor, dtype: DType) -> Result<Tensor> {
        match &self.byte_values {
            Some(values) => normalise_bytes(bytes, values, dtype)?.permute((0, 3, 1, 2)),
            None => bail!("it is not known how pictures are normalised"),
        }
    }

    /// Makes ready for steps of up to so many rows, so that the first of them takes no longer than others.
    ///
    /// # Errors
    /// The device's.
    pub fn warm_up(&self, rows: usize) -> Result<()> {
        let decoder = self.decoder()?;
        (1..=rows).filter(|rows| bucket_rows(*rows) == *rows).try_for_each(|rows| decoder.warm_up(rows))
    }

    /// The decoder's step.
    ///
    /// # Errors
    /// It has no weights yet.
    pub fn decoder(&self) -> Result<&StepDecoder> {
        match &self.decoder {
            Some(decoder) => Ok(decoder),
            None => bail!("the decoder is not loaded"),
        }
    }

    /// Switches between recorded and plain launches of the step.
    ///
    /// # Errors
    /// As [`Self::decoder`].
    pub fn set_graphs(&self, are_used: bool) -> Result<()> {
        self.decoder()?.set_launching(if are_used { Launching::Graph } else { Launching::Plain });
        Ok(())
    }

    /// One more token of each row, and the best tokens behind it; the caches do not count the token yet.
    ///
    /// # Errors
    /// The device's, and inputs that do not fit.
    pub fn step(&self, tokens: &[u32], wanted: &[Wanted], caches: &mut [&mut DecoderCache]) -> Result<Vec<Ranking>> {
        for cache in caches.iter_mut() {
            cache.own()?;
        }
        if tokens.len() != wanted.len() {
            bail!("{} tokens are not {} rows", tokens.len(), wanted.len());
        }
        let mut rows = tokens.iter().zip(wanted);
        let inputs = caches.iter().map(|cache| describe(cache, &mut rows)).collect::<Result<Vec<_>>>()?;
        let found = self.decoder()?.step(&inputs)?;
        Ok(found.into_iter().map(ranking).collect())
    }
}

fn describe<'a>(
    cache: &'a DecoderCache,
    rows: &mut impl Iterator<Item = (&'a u32, &'a Wanted)>,
) -> Result<StepInput<'a>> {
    let Some(own) = cache.written() else { bail!("the cache has no room") };
    let rows = (0..cache.beams()).zip(rows).map(|(beam, (token, wanted))| StepRow {
        token: *token,
        ancestry: cache.ancestry(beam),
        score: wanted.score,
        take: wanted.most,
        banned: &wanted.banned,
    });
    let rows: Vec<_> = rows.collect();
    if rows.len() != cache.beams() {
        bail!("there are fewer rows than beams");
    }
    Ok(StepInput {
        own: address(own)?,
        cross: address(cache.cross())?,
        capacity: own.dim(1)?,
        positions: cache.cross().dim(1)?,
        length: cache.length(),
        rows,
    })
}

fn ranking(found: Candidates) -> Ranking {
    let candidate = |(token, log_prob)| Candidate { token, log_prob };
    found.is_finite.then(|| found.best.into_iter().map(candidate).collect())
}
