//! The whole model: pictures and prompts in, answers out.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::answer::{Answer, PictureSize, StopReason};
use super::bart::{Decoder, Encoded, Encoder, vocabulary};
use super::config::{CONFIG_FILE, Config};
use super::error::{CheckpointResult, FlorenceError};
use super::files::CheckpointFiles;
use super::generation::{GenerationOptions, Ranking, Wanted};
#[cfg(feature = "cuda")]
use super::gpu::OnGpu;
use super::kernels::{DecoderCache, Vocabulary};
use super::precision::Precision;
use super::probe::Probe;
use super::processor::Processor;
use super::tokenizer::{TOKENIZER_FILE, Tokenizer};
use super::vision::{DaViT, Projector};
use super::weights::{LoadWatch, Weights};

/// Name of the text model in the checkpoint's tree of tensors.
const TEXT_MODEL: &str = "language_model.model";

/// A loaded checkpoint.
pub struct Florence {
    processor: Arc<Processor>,
    tower: DaViT,
    projector: Projector,
    vocabulary: Vocabulary,
    encoder: Encoder,
    decoder: Decoder,
    #[cfg(feature = "cuda")]
    gpu: Option<OnGpu>,
    device: Device,
    dtype: DType,
}

/// One answer of the model with what it means.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// Ids of the prompt as the model was given them.
    pub prompt_ids: Vec<u32>,
    /// Ids of the best answer, the start token included.
    pub ids: Vec<u32>,
    /// Its log-probability, normalised for its length.
    pub score: f32,
    /// Its text, special tokens kept, nothing cleaned up.
    pub text: String,
    /// Why it ended.
    pub stop: StopReason,
    /// What the text means once it is cleaned up.
    pub answer: Answer,
}

impl Florence {
    /// Loads a checkpoint onto a device, computing in `precision`.
    ///
    /// # Errors
    /// A file or tensor that is missing, broken, or not of this model.
    pub fn load(files: &CheckpointFiles, precision: Precision, device: &Device) -> CheckpointResult<Self> {
        Self::load_watched(files, precision, device, None)
    }

    /// Like [`Self::load`], and `watch` sees how far it is and may break it off.
    ///
    /// # Errors
    /// As [`Self::load`], and [`CheckpointError::Cancelled`](super::error::CheckpointError::Cancelled).
    pub fn load_watched(
        files: &CheckpointFiles,
        precision: Precision,
        device: &Device,
        watch: Option<LoadWatch>,
    ) -> CheckpointResult<Self> {
        let config = Config::load(files)?;
        let tokenizer = Tokenizer::load(files)?;
        #[cfg(feature = "cuda")]
        let mut gpu = OnGpu::hold(device)?;
        let weights = Weights::open(files, precision, device, watch)?;
        let text = weights.pp(TEXT_MODEL);
        let tower = DaViT::new(&config.vision, &weights.pp("vision_tower"))?;
        let projector = Projector::new(&config, &weights)?;
        let vocabulary = vocabulary(&config.text, &weights)?;
        let encoder = Encoder::new(&config.text, &text.pp("encoder"))?;
        let decoder = Decoder::new(&config.text, &text.pp("decoder"))?;
        weights.check_nothing_left()?;
        check_ids(files, &config, &tokenizer, vocabulary.tokens())?;
        #[cfg(feature = "cuda")]
        if let Some(gpu) = &mut gpu {
            gpu.set_decoder(&decoder, &vocabulary, device)?;
            gpu.set_pixels(&config.image, device)?;
        }
        let processor = Processor::new(config, tokenizer, projector.max_map_size(), encoder.max_positions());
        let (processor, device) = (Arc::new(processor), device.clone());
        Ok(Self {
            processor,
            tower,
            projector,
            vocabulary,
            encoder,
            decoder,
            #[cfg(feature = "cuda")]
            gpu,
            dtype: precision.activations(&device),
            device,
        })
    }

    /// What prepares requests and reads answers; it may be used on other threads.
    pub const fn processor(&self) -> &Arc<Processor> {
        &self.processor
    }

    /// Number of tokens, which is the width of the logits.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary.tokens()
    }

    /// Brings pixels, or bytes, of pictures of one size together.
    ///
    /// # Errors
    /// The device's.
    pub fn together(&self, pictures: &[&Tensor]) -> Result<Tensor, FlorenceError> {
        if self.device.is_cpu() {
            return Ok(Tensor::cat(pictures, 0)?);
        }
        // Copying on the device is quicker than on the way there.
        let there = pictures.iter().map(|picture| picture.to_device(&self.device));
        Ok(Tensor::cat(&there.collect::<Result<Vec<_>, _>>()?, 0)?)
    }

    /// Pixels `[batch, 3, height, width]` to the vision tower's map `[batch, h, w, channels]`. Pixels may lie anywhere and have
    /// any type; they are brought to the model's. On a GPU they may as well be bytes `[batch, height, width, 3]`.
    ///
    /// # Errors
    /// The device's.
    pub fn see(&self, pixels: &Tensor, probe: &mut Probe<'_>) -> Result<Tensor, FlorenceError> {
        // The device converts quicker than the CPU.
        let pixels = pixels.to_device(&self.device)?;
        #[cfg(feature = "cuda")]
        if let (Some(gpu), DType::U8) = (&self.gpu, pixels.dtype()) {
            return Ok(self.tower.forward(&gpu.normalise(&pixels, self.dtype)?, probe)?);
        }
        let pixels = pixels.to_dtype(self.dtype)?;
        Ok(self.tower.forward(&pixels, probe)?)
    }

    /// The vision tower's map `[batch, h, w, channels]` to image features `[batch, positions, d_model]`.
    ///
    /// # Errors
    /// The device's.
    pub fn project(&self, map: &Tensor, probe: &mut Probe<'_>) -> Result<Tensor, FlorenceError> {
        let features = self.projector.forward(map)?;
        probe.visit(|| "image_features".to_owned(), &features);
        Ok(features)
    }

    /// Pixels `[batch, 3, height, width]` to image features `[batch, positions, d_model]`.
    ///
    /// # Errors
    /// As [`Self::see`] and [`Self::project`].
    pub fn encode_pixels(&self, pixels: &Tensor, probe: &mut Probe<'_>) -> Result<Tensor, FlorenceError> {
        let map = self.see(pixels, probe)?;
        self.project(&map, probe)
    }

    /// Encodes image features `[batch, positions, d_model]` together with a prompt for each.
    ///
    /// # Errors
    /// The device's.
    pub fn encode(
        &self,
        features: &Tensor,
        prompts: &[Vec<u32>],
        probe: &mut Probe<'_>,
    ) -> Result<Encoded, FlorenceError> {
        let image_tokens = features.dim(1)?;
        let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
        let pad = self.processor.config().text.pad_token_id;
        let ids: Vec<u32> = prompts
            .iter()
            .flat_map(|ids| ids.iter().copied().chain(std::iter::repeat_n(pad, longest - ids.len())))
            .collect();
        let embedded = self.vocabulary.embed(&ids)?.reshape((prompts.len(), longest, ()))?;
        let embeddings = Tensor::cat(&[features, &embedded], 1)?;
        probe.visit(|| "inputs_embeds".to_owned(), &embeddings);
        let lengths: Vec<usize> = prompts.iter().map(|ids| image_tokens + ids.len()).collect();
        let encoded = self.encoder.forward(&embeddings, &lengths, probe)?;
        probe.visit(|| "encoder_output".to_owned(), &encoded.hidden);
        Ok(encoded)
    }

    /// A cache for each row of the encoder's output, whose answers have that many beams each.
    ///
    /// # Errors
    /// The device's.
    pub fn caches(&self, encoded: &Encoded, beams: &[usize]) -> Result<Vec<DecoderCache>, FlorenceError> {
        Ok(self.decoder.caches(encoded, beams)?)
    }

    /// Reads one more token of each row and gives the logits `[rows, vocabulary]` of the next, in f32 on the CPU. The rows are
    /// the beams of the first cache, those of the second, and so on.
    ///
    /// A step that fails leaves the caches as they were.
    ///
    /// # Errors
    /// The device's, and a step beyond the decoder's positions.
    pub fn step(
        &self,
        tokens: &[u32],
        caches: &mut [&mut DecoderCache],
        probe: &mut Probe<'_>,
    ) -> Result<Tensor, FlorenceError> {
        let hidden = self.decoder.step(&self.vocabulary.embed(tokens)?, caches, probe)?;
        let logits = self.vocabulary.logits(&hidden)?;
        caches.iter_mut().for_each(|cache| cache.advance());
        Ok(logits)
    }

    /// Like [`Self::step`], but gives only the best tokens of each row.
    ///
    /// # Errors
    /// As [`Self::step`].
    pub fn step_best(
        &self,
        tokens: &[u32],
        wanted: &[Wanted],
        caches: &mut [&mut DecoderCache],
    ) -> Result<Vec<Ranking>, FlorenceError> {
        let rankings = self.rank_step(tokens, wanted, caches)?;
        // Errors of a device that works in the background have shown themselves by now.
        caches.iter_mut().for_each(|cache| cache.advance());
        Ok(rankings)
    }

    fn rank_step(
        &self,
        tokens: &[u32],
        wanted: &[Wanted],
        caches: &mut [&mut DecoderCache],
    ) -> Result<Vec<Ranking>, FlorenceError> {
        #[cfg(feature = "cuda")]
        if let Some(gpu) = &self.gpu {
            return Ok(gpu.step(tokens, wanted, caches)?);
        }
        let hidden = self.decoder.step(&self.vocabulary.embed(tokens)?, caches, &mut Probe::none())?;
        Ok(self.vocabulary.select(&hidden, wanted)?)
    }

    /// Its GPU, if it is on one.
    #[cfg(feature = "cuda")]
    pub const fn gpu(&self) -> Option<&OnGpu> {
        self.gpu.as_ref()
    }

    /// Most tokens that an answer can have.
    pub fn max_new_tokens(&self) -> usize {
        self.decoder.max_positions()
    }

    /// Answers a prompt for each row of image features `[batch, positions, d_model]`, of pictures of these sizes.
    ///
    /// # Errors
    /// As [`Processor::tokenize`] and [`Self::search`].
    pub fn generate(
        &self,
        features: &Tensor,
        questions: &[(&str, PictureSize)],
        options: GenerationOptions,
    ) -> Result<Vec<Generation>, FlorenceError> {
        let image_tokens = features.dim(1)?;
        let prompts = questions.iter().map(|(prompt, _)| self.processor.tokenize(prompt, image_tokens));
        let prompts = prompts.collect::<Result<Vec<_>, _>>()?;
        let found = self.search(&self.encode(features, &prompts, &mut Probe::none())?, options)?;
        let rows = questions.iter().zip(prompts).zip(found);
        rows.map(|((&(prompt, size), prompt_ids), found)| {
            let best = found.into_iter().next().ok_or(FlorenceError::NotFinite)?;
            let (text, answer) = self.processor.read(prompt, &best, size)?;
            Ok(Generation { prompt_ids, ids: best.ids, score: best.score, text, stop: best.stop, answer })
        })
        .collect()
    }
}

/// Refuses a tokenizer or a configuration whose ids the embedding does not hold: each request would fail on one.
fn check_ids(files: &CheckpointFiles, config: &Config, tokenizer: &Tokenizer, rows: usize) -> CheckpointResult<()> {
    let text = &config.text;
    let named = [Some(text.decoder_start_token_id), Some(text.eos_token_id), Some(text.pad_token_id)];
    let named = named.into_iter().chain([text.forced_bos_token_id, text.forced_eos_token_id]).flatten();
    let is_beyond = |id: u32| id as usize >= rows;
    if let Some(id) = named.into_iter().find(|id| is_beyond(*id)) {
        return Err(files.invalid(CONFIG_FILE, format!("names token {id}, but the embedding has {rows} rows")));
    }
    if is_beyond(tokenizer.greatest_id()) {
        let id = tokenizer.greatest_id();
        return Err(files.invalid(TOKENIZER_FILE, format!("has token {id}, but the embedding has {rows} rows")));
    }
    Ok(())
}
