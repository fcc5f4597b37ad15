//! Everything around the tensors: pictures to pixels, prompts to ids, ids to answers.
//!
//! It knows the checkpoint's sizes and vocabulary but holds none of its weights, so other threads can prepare requests and
//! read answers while the model's own thread computes.

use candle_core::{Device, Tensor};

use super::answer::{self, Answer, PictureSize};
use super::config::Config;
use super::error::FlorenceError;
use super::generation::Hypothesis;
use super::image::{Picture, normalize, resize_bicubic};
use super::task::{Task, expand_prompt};
use super::tokenizer::Tokenizer;

/// No token of the published vocabulary stands for more bytes.
const MAX_TOKEN_BYTES: usize = 128;

/// Prepares what the model reads, and reads what it writes.
pub struct Processor {
    config: Config,
    tokenizer: Tokenizer,
    /// Rows and columns that the projector's position tables hold.
    max_map: (usize, usize),
    /// Positions of picture and prompt together that the encoder's table holds.
    max_positions: usize,
}

impl Processor {
    /// The processor of a model with position tables of these sizes.
    pub(super) const fn new(
        config: Config,
        tokenizer: Tokenizer,
        max_map: (usize, usize),
        max_positions: usize,
    ) -> Self {
        Self { config, tokenizer, max_map, max_positions }
    }

    /// The checkpoint's configuration.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Height and width that pictures are resized to unless asked otherwise.
    pub const fn image_size(&self) -> (u32, u32) {
        (self.config.image.height, self.config.image.width)
    }

    /// Positions that a picture resized to this height and width takes before the prompt: the mean, and the map's cells.
    ///
    /// # Errors
    /// A size whose map the position tables do not hold.
    pub fn image_tokens(&self, (height, width): (u32, u32)) -> Result<usize, FlorenceError> {
        let (rows, columns) = self.config.vision.map_size(height as usize, width as usize);
        let (most_rows, most_columns) = self.max_map;
        if rows == 0 || columns == 0 || rows > most_rows || columns > most_columns {
            return Err(FlorenceError::ImageSize(format!(
                "a picture of {width}x{height} becomes a map of {columns}x{rows}; this model takes 1x1 to {most_columns}x{most_rows}"
            )));
        }
        Ok(1 + rows * columns)
    }

    /// Pixels `[1, 3, height, width]` of a picture, resized and normalised, in f32 on the CPU.
    ///
    /// # Errors
    /// As [`Self::image_tokens`].
    pub fn pixels(&self, picture: &Picture, (height, width): (u32, u32)) -> Result<Tensor, FlorenceError> {
        self.image_tokens((height, width))?;
        let image = &self.config.image;
        let resized = resize_bicubic(picture, width, height);
        let values = normalize(&resized, image.mean, image.std, image.rescale_factor);
        Ok(Tensor::from_vec(values, (1, 3, height as usize, width as usize), &Device::Cpu)?)
    }

    /// Bytes `[1, height, width, 3]` of a picture, resized. A GPU normalises them itself, to what [`Self::pixels`] gives; on the
    /// way there they are a quarter.
    ///
    /// # Errors
    /// As [`Self::image_tokens`].
    pub fn bytes(&self, picture: &Picture, (height, width): (u32, u32)) -> Result<Tensor, FlorenceError> {
        self.image_tokens((height, width))?;
        let resized = resize_bicubic(picture, width, height);
        let shape = (1, height as usize, width as usize, 3);
        Ok(Tensor::from_slice(resized.rgb(), shape, &Device::Cpu)?)
    }

    /// Most tokens of a prompt behind image features of `image_tokens` positions.
    pub const fn max_prompt_tokens(&self, image_tokens: usize) -> usize {
        self.max_positions.saturating_sub(image_tokens)
    }

    /// Ids of a prompt as a caller writes it, behind image features of `image_tokens` positions.
    ///
    /// # Errors
    /// A prompt that its task refuses, or that does not fit behind the picture.
    pub fn tokenize(&self, prompt: &str, image_tokens: usize) -> Result<Vec<u32>, FlorenceError> {
        let text = expand_prompt(prompt)?;
        let most = self.max_prompt_tokens(image_tokens);
        let too_long = |tokens| FlorenceError::PromptTooLong { tokens, image_tokens, most };
        // A text that cannot fit, however long its tokens are, is not worth the time that megabytes take.
        if text.len() / MAX_TOKEN_BYTES > most {
            return Err(too_long(text.len() / MAX_TOKEN_BYTES));
        }
        let ids = self.tokenizer.encode(&text)?;
        if ids.len() > most { Err(too_long(ids.len())) } else { Ok(ids) }
    }

    /// What a found answer to `prompt` means on a picture of this size, behind its text.
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
}
