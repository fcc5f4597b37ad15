//! The stages of an answer, each on its own and all together.

use std::path::Path;

use candle_core::{Device, Tensor};

use super::clock::{Clock, Timing};
use crate::cli::args::BenchArgs;
use crate::cli::error::{CliError, CliResult};
use crate::cli::picture;
use crate::florence::generation::{GenerationOptions, Wanted};
use crate::florence::{DecoderCache, Encoded, Florence, FlorenceError, Probe};

/// The first ids of a vocabulary have meanings of their own.
const FIRST_WORD: u32 = 4;

/// A model with what it is asked.
pub struct Bench<'a> {
    model: &'a Florence,
    device: &'a Device,
    args: &'a BenchArgs,
    /// `[batch, 3, height, width]`.
    pixels: Tensor,
    /// For each row, its ids.
    prompts: Vec<Vec<u32>>,
}

/// What was measured.
pub struct Measured {
    /// Stages in their order; the last is the whole.
    pub timings: Vec<(&'static str, Timing)>,
    /// Tokens of each answer of the whole.
    pub new_tokens: usize,
}

impl<'a> Bench<'a> {
    /// Draws pictures and prompts.
    ///
    /// # Errors
    /// Prompts or answers that do not fit into the model.
    pub fn new(model: &'a Florence, device: &'a Device, args: &'a BenchArgs) -> CliResult<Self> {
        let processor = model.processor();
        let (height, width) = processor.image_size();
        let most = processor.max_prompt_tokens(processor.image_tokens((height, width))?);
        if args.prompt_tokens > most {
            return Err(CliError::Usage(format!("this model takes at most {most} prompt tokens behind a picture")));
        }
        if args.beams > GenerationOptions::MAX_BEAMS {
            return Err(CliError::Usage(format!("at most {} beams are searched", GenerationOptions::MAX_BEAMS)));
        }
        if args.tokens > model.max_new_tokens() {
            let most = model.max_new_tokens();
            return Err(CliError::Usage(format!("this model writes at most {most} tokens")));
        }
        let shape = (args.batch, 3, height as usize, width as usize);
        let pixels = Tensor::randn(0f32, 1f32, shape, &Device::Cpu).map_err(FlorenceError::from)?;
        let words = u32::try_from(model.vocabulary()).unwrap_or(u32::MAX).saturating_sub(FIRST_WORD).max(1);
        // Any ids will do, as long as rows differ.
        let id = |row: usize, place: usize| FIRST_WORD + ((row * 7919 + place * 104_729) as u32) % words;
        let rows = args.batch * args.prompts;
        let prompts = (0..rows).map(|row| (0..args.prompt_tokens).map(|place| id(row, place)).collect()).collect();
        let pixels = pixels.to_device(device).map_err(FlorenceError::from)?;
        Ok(Self { model, device, args, pixels, prompts })
    }

    /// Times every stage, after a call that does not count.
    ///
    /// # Errors
    /// The model's.
    pub fn run(&self) -> CliResult<Measured> {
        let mut timings = match &self.args.picture {
            None => vec![],
            Some(file) => self.picture(file)?,
        };
        let (map, vision) = self.repeat(|| Ok(self.model.see(&self.pixels, &mut Probe::none())?))?;
        let (features, projector) = self.repeat(|| Ok(self.model.project(&map, &mut Probe::none())?))?;
        let (encoded, encoder) = self.repeat(|| self.encode(&features))?;
        let (cross_kv, step) = self.decode(&encoded)?;
        let (new_tokens, generate) = self.repeat(|| self.generate())?;
        timings.extend([
            ("vision", vision),
            ("projector", projector),
            ("encoder", encoder),
            ("cross_kv", cross_kv),
            ("step", step),
            ("generate", generate),
        ]);
        Ok(Measured { timings, new_tokens })
    }

    /// What happens to a file before the model sees it.
    fn picture(&self, file: &Path) -> CliResult<Vec<(&'static str, Timing)>> {
        let bytes = picture::read(file)?;
        let (picture, decode) = self.repeat(|| picture::decode(file, &bytes))?;
        let processor = self.model.processor();
        let (_, resize) = self.repeat(|| Ok(processor.pixels(&picture, processor.image_size())?))?;
        Ok(vec![("decode", decode), ("resize", resize)])
    }

    /// Image features, repeated for each prompt of a picture, together with the prompts.
    fn encode(&self, features: &Tensor) -> CliResult<Encoded> {
        let (batch, positions, width) = features.dims3().map_err(FlorenceError::from)?;
        let prompts = self.args.prompts;
        let rows = features
            .unsqueeze(1)
            .and_then(|features| features.broadcast_as((batch, prompts, positions, width)))
            .and_then(|features| features.reshape((batch * prompts, positions, width)))
            .map_err(FlorenceError::from)?;
        Ok(self.model.encode(&rows, &self.prompts, &mut Probe::none())?)
    }

    /// The first step, with the keys and values of the encoder's output, and the later ones.
    fn decode(&self, encoded: &Encoded) -> CliResult<(Timing, Timing)> {
        let beams = vec![self.args.beams; self.prompts.len()];
        let tokens = vec![FIRST_WORD; beams.iter().sum()];
        let wanted = vec![Wanted { most: 2 * self.args.beams, score: 0., banned: vec![] }; tokens.len()];
        let step = |caches: &mut Vec<DecoderCache>| -> CliResult<()> {
            let mut caches: Vec<&mut DecoderCache> = caches.iter_mut().collect();
            self.model.step_best(&tokens, &wanted, &mut caches)?;
            Ok(())
        };
        let first = || -> CliResult<Vec<DecoderCache>> {
            let mut caches = self.model.caches(encoded, &beams)?;
            step(&mut caches)?;
            self.wait()?;
            Ok(caches)
        };
        first()?;
        let (mut first_clock, mut later_clock) = (Clock::default(), Clock::default());
        for _ in 0..self.args.repeat.div_ceil(2) {
            let mut caches = first_clock.time(first)?;
            for _ in 1..self.args.tokens {
                later_clock.time(|| step(&mut caches))?;
            }
        }
        Ok((first_clock.timing(), later_clock.timing()))
    }

    /// Everything, from pixels to ids; the number of tokens that each answer has.
    fn generate(&self) -> CliResult<usize> {
        let features = self.model.encode_pixels(&self.pixels, &mut Probe::none())?;
        let options = GenerationOptions {
            num_beams: self.args.beams,
            min_new_tokens: self.args.tokens,
            max_new_tokens: self.args.tokens,
            ..GenerationOptions::default()
        };
        let found = self.model.search(&self.encode(&features)?, options)?;
        Ok(found.iter().flatten().next().map_or(0, |best| best.ids.len().saturating_sub(1)))
    }

    fn repeat<T>(&self, work: impl Fn() -> CliResult<T>) -> CliResult<(T, Timing)> {
        let mut result = work()?;
        self.wait()?;
        let mut clock = Clock::default();
        for _ in 0..self.args.repeat {
            result = clock.time(|| {
                let result = work()?;
                self.wait()?;
                Ok(result)
            })?;
        }
        Ok((result, clock.timing()))
    }

    /// Lets a device that works in the background finish.
    fn wait(&self) -> CliResult<()> {
        Ok(self.device.synchronize().map_err(FlorenceError::from)?)
    }
}
