//! The whole model: pictures and prompts in, answers out.

use candle_core::{DType, Device, Tensor};

use super::answer::{self, Answer, PictureSize, StopReason};
use super::bart::{Decoder, DecoderCache, Encoded, Encoder, TokenEmbedding};
use super::config::{CONFIG_FILE, Config};
use super::error::{CheckpointResult, FlorenceError};
use super::files::CheckpointFiles;
use super::generation::{GenerationOptions, Hypothesis};
use super::image::{Picture, normalize, resize_bicubic};
use super::probe::Probe;
use super::task::{Task, expand_prompt};
use super::tokenizer::{TOKENIZER_FILE, Tokenizer};
use super::vision::{DaViT, Projector};
use super::weights::Weights;

/// Name of the text model in the checkpoint's tree of tensors.
const TEXT_MODEL: &str = "language_model.model";

/// No token of the published vocabulary stands for more bytes.
const MAX_TOKEN_BYTES: usize = 128;

/// A loaded checkpoint.
pub struct Florence {
    config: Config,
    tokenizer: Tokenizer,
    tower: DaViT,
    projector: Projector,
    embedding: TokenEmbedding,
    encoder: Encoder,
    decoder: Decoder,
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
    /// Loads a checkpoint onto a device, with weights and activations of type `dtype`.
    ///
    /// # Errors
    /// A file or tensor that is missing, broken, or not of this model.
    pub fn load(files: &CheckpointFiles, dtype: DType, device: &Device) -> CheckpointResult<Self> {
        let config = Config::load(files)?;
        let tokenizer = Tokenizer::load(files)?;
        let weights = Weights::open(files, dtype, device)?;
        let text = weights.pp(TEXT_MODEL);
        let model = Self {
            tokenizer,
            tower: DaViT::new(&config.vision, &weights.pp("vision_tower"))?,
            projector: Projector::new(&config, &weights)?,
            embedding: TokenEmbedding::new(&config.text, &weights)?,
            encoder: Encoder::new(&config.text, &text.pp("encoder"))?,
            decoder: Decoder::new(&config.text, &text.pp("decoder"))?,
            config,
            device: device.clone(),
            dtype,
        };
        weights.check_nothing_left()?;
        model.check_ids(files)?;
        Ok(model)
    }

    /// Refuses a tokenizer or a configuration whose ids the embedding does not hold: each request would fail on one.
    fn check_ids(&self, files: &CheckpointFiles) -> CheckpointResult<()> {
        let rows = self.embedding.vocabulary();
        let text = &self.config.text;
        let named = [Some(text.decoder_start_token_id), Some(text.eos_token_id), Some(text.pad_token_id)];
        let named = named.into_iter().chain([text.forced_bos_token_id, text.forced_eos_token_id]).flatten();
        let is_beyond = |id: u32| id as usize >= rows;
        if let Some(id) = named.into_iter().find(|id| is_beyond(*id)) {
            return Err(files.invalid(CONFIG_FILE, format!("names token {id}, but the embedding has {rows} rows")));
        }
        if is_beyond(self.tokenizer.greatest_id()) {
            let id = self.tokenizer.greatest_id();
            return Err(files.invalid(TOKENIZER_FILE, format!("has token {id}, but the embedding has {rows} rows")));
        }
        Ok(())
    }

    /// The checkpoint's configuration.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Height and width that pictures are resized to unless asked otherwise.
    pub const fn image_size(&self) -> (u32, u32) {
        (self.config.image.height, self.config.image.width)
    }

    /// Pixels `[1, 3, height, width]` of a picture, resized and normalised, on the model's device.
    ///
    /// # Errors
    /// A size whose feature map the position tables do not hold, and the device's.
    pub fn pixels(&self, picture: &Picture, (height, width): (u32, u32)) -> Result<Tensor, FlorenceError> {
        self.check_image_size(height, width)?;
        let image = &self.config.image;
        let resized = resize_bicubic(picture, width, height);
        let values = normalize(&resized, image.mean, image.std, image.rescale_factor);
        let pixels = Tensor::from_vec(values, (1, 3, height as usize, width as usize), &Device::Cpu)?;
        Ok(pixels.to_dtype(self.dtype)?.to_device(&self.device)?)
    }

    /// Pixels `[batch, 3, height, width]` to image features `[batch, positions, d_model]`.
    ///
    /// # Errors
    /// The device's.
    pub fn encode_pixels(&self, pixels: &Tensor, probe: &mut Probe<'_>) -> Result<Tensor, FlorenceError> {
        let map = self.tower.forward(pixels, probe)?;
        let features = self.projector.forward(&map)?;
        probe.visit(|| "image_features".to_owned(), &features);
        Ok(features)
    }

    /// Ids of a prompt as a caller writes it, behind image features of `image_tokens` positions.
    ///
    /// # Errors
    /// A prompt that its task refuses, or that does not fit behind the picture.
    pub fn tokenize(&self, prompt: &str, image_tokens: usize) -> Result<Vec<u32>, FlorenceError> {
        let text = expand_prompt(prompt)?;
        let most = self.encoder.max_positions().saturating_sub(image_tokens);
        let too_long = |tokens| FlorenceError::PromptTooLong { tokens, image_tokens, most };
        // A text that cannot fit, however long its tokens are, is not worth the time that megabytes take.
        if text.len() / MAX_TOKEN_BYTES > most {
            return Err(too_long(text.len() / MAX_TOKEN_BYTES));
        }
        let ids = self.tokenizer.encode(&text)?;
        if ids.len() > most { Err(too_long(ids.len())) } else { Ok(ids) }
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
        let pad = self.config.text.pad_token_id;
        let ids: Vec<u32> = prompts
            .iter()
            .flat_map(|ids| ids.iter().copied().chain(std::iter::repeat_n(pad, longest - ids.len())))
            .collect();
        let ids = Tensor::from_vec(ids, (prompts.len(), longest), &self.device)?;
        let embeddings = Tensor::cat(&[features, &self.embedding.embed(&ids)?], 1)?;
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
        let ids = Tensor::new(tokens, &self.device)?.unsqueeze(1)?;
        let hidden = self.decoder.step(&self.embedding.embed(&ids)?, caches, probe)?;
        let logits = self.embedding.logits(&hidden)?.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
        // Errors of a device that works in the background have shown themselves by now.
        caches.iter_mut().for_each(|cache| cache.advance());
        Ok(logits)
    }

    /// Most tokens that an answer can have.
    pub fn max_new_tokens(&self) -> usize {
        self.decoder.max_positions()
    }

    /// What a found answer to `prompt` means on a picture of this size.
    ///
    /// # Errors
    /// The tokenizer's.
    pub fn read(&self, prompt: &str, found: &Hypothesis, size: PictureSize) -> Result<(String, Answer), FlorenceError> {
        let text = self.tokenizer.decode(&found.ids)?;
        let generated = found.ids.iter().skip(1).zip(&found.log_probs);
        let log_probs: Vec<f32> =
            generated.filter(|(id, _)| self.tokenizer.is_location(**id)).map(|(_, log_prob)| *log_prob).collect();
        let kind = Task::of_prompt(prompt).answer_kind();
        let answer = answer::parse(kind, &answer::clean_up(&text), size, &log_probs);
        Ok((text, answer))
    }

    /// Answers a prompt for each row of image features `[batch, positions, d_model]`, of pictures of these sizes.
    ///
    /// # Errors
    /// As [`Self::tokenize`] and [`Self::search`].
    pub fn generate(
        &self,
        features: &Tensor,
        questions: &[(&str, PictureSize)],
        options: GenerationOptions,
    ) -> Result<Vec<Generation>, FlorenceError> {
        let image_tokens = features.dim(1)?;
        let prompts = questions.iter().map(|(prompt, _)| self.tokenize(prompt, image_tokens));
        let prompts = prompts.collect::<Result<Vec<_>, _>>()?;
        let found = self.search(&self.encode(features, &prompts, &mut Probe::none())?, options)?;
        let rows = questions.iter().zip(prompts).zip(found);
        rows.map(|((&(prompt, size), prompt_ids), found)| {
            let best = found.into_iter().next().ok_or(FlorenceError::NotFinite)?;
            let (text, answer) = self.read(prompt, &best, size)?;
            Ok(Generation { prompt_ids, ids: best.ids, score: best.score, text, stop: best.stop, answer })
        })
        .collect()
    }

    fn check_image_size(&self, height: u32, width: u32) -> Result<(), FlorenceError> {
        let vision = &self.config.vision;
        let (mut rows, mut columns) = (height as usize, width as usize);
        let geometry = vision.patch_size.iter().zip(&vision.patch_stride).zip(&vision.patch_padding);
        for ((&size, &stride), &padding) in geometry {
            let shrink = |side: usize| (side + 2 * padding).checked_sub(size).map_or(0, |room| room / stride + 1);
            (rows, columns) = (shrink(rows), shrink(columns));
        }
        let (most_rows, most_columns) = self.projector.max_map_size();
        if rows == 0 || columns == 0 || rows > most_rows || columns > most_columns {
            return Err(FlorenceError::ImageSize(format!(
                "a picture of {height}x{width} becomes a map of {rows}x{columns}; this model takes 1x1 to {most_rows}x{most_columns}"
            )));
        }
        Ok(())
    }
}
