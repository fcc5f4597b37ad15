//! Answers that are being written, one token a step, each at its own pace and by its own rules.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::bart::Encoded;
use super::error::FlorenceError;
use super::generation::{GenerationOptions, Hypothesis, ModelTokens, Ranking, Rules, Search, Step, Wanted};
use super::kernels::DecoderCache;
use super::model::Florence;

/// The answer to one prompt while it is written.
#[derive(Debug)]
pub struct Decoding {
    search: Search,
    cache: DecoderCache,
}

/// What became of an answer in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It needs more steps.
    Running,
    /// It is complete.
    Done,
}

impl Decoding {
    /// Rows that it takes in a step.
    pub const fn rows(&self) -> usize {
        self.cache.beams()
    }

    /// Memory that it holds on the device, in bytes.
    pub fn bytes(&self) -> usize {
        self.cache.bytes()
    }

    /// The answers that were found, best first.
    pub fn into_hypotheses(self) -> Vec<Hypothesis> {
        self.search.into_hypotheses()
    }

    fn take(&mut self, rankings: Vec<Ranking>) -> Result<Progress, FlorenceError> {
        let rankings = rankings.into_iter().collect::<Option<Vec<_>>>().ok_or(FlorenceError::NotFinite)?;
        match self.search.advance(&rankings)? {
            Step::Done => Ok(Progress::Done),
            Step::Continue { parents } => {
                self.cache.reorder(&parents)?;
                Ok(Progress::Running)
            }
        }
    }
}

impl Florence {
    /// Starts an answer for each row of the encoder's output, each by its own options.
    ///
    /// # Errors
    /// Options that make no search, and the device's errors.
    pub fn begin(&self, encoded: &Encoded, options: &[GenerationOptions]) -> Result<Vec<Decoding>, FlorenceError> {
        let text = &self.processor().config().text;
        let tokens = ModelTokens {
            start: text.decoder_start_token_id,
            eos: text.eos_token_id,
            forced_bos: text.forced_bos_token_id,
            forced_eos: text.forced_eos_token_id,
        };
        let rules = options.iter().map(|options| Rules::new(*options, tokens, self.max_new_tokens()));
        let rules = rules.collect::<Result<Vec<_>, _>>()?;
        let beams: Vec<usize> = options.iter().map(|options| options.num_beams).collect();
        let caches = self.caches(encoded, &beams)?;
        let decodings = caches.into_iter().zip(rules);
        Ok(decodings.map(|(cache, rules)| Decoding { search: Search::new(rules), cache }).collect())
    }

    /// Writes one more token of every answer. They may have begun at any time.
    ///
    /// An answer whose logits are no numbers fails alone, in its place of the result.
    ///
    /// # Errors
    /// The device's, which concern all of them.
    pub fn advance(
        &self,
        decodings: &mut [&mut Decoding],
    ) -> Result<Vec<Result<Progress, FlorenceError>>, FlorenceError> {
        let tokens: Vec<u32> = decodings.iter().flat_map(|decoding| decoding.search.last_tokens()).collect();
        let wanted: Vec<Wanted> = decodings.iter().flat_map(|decoding| decoding.search.wanted()).collect();
        let mut caches: Vec<&mut DecoderCache> = decodings.iter_mut().map(|decoding| &mut decoding.cache).collect();
        let mut rankings = self.step_best(&tokens, &wanted, &mut caches)?.into_iter();
        let progress = decodings.iter_mut().map(|decoding| {
            let rankings = rankings.by_ref().take(decoding.rows()).collect();
            // The step is done for all of them: a panic here is this answer's alone and must not let the others repeat it.
            catch_unwind(AssertUnwindSafe(|| decoding.take(rankings))).unwrap_or(Err(FlorenceError::Panicked))
        });
        Ok(progress.collect())
    }

    /// Writes the answers to their end, all together; each with what was found, best first.
    ///
    /// # Errors
    /// As [`Self::begin`] and [`Self::advance`]; here one failure is everybody's.
    pub fn search(&self, encoded: &Encoded, options: GenerationOptions) -> Result<Vec<Vec<Hypothesis>>, FlorenceError> {
        let mut decodings = self.begin(encoded, &vec![options; encoded.lengths.len()])?;
        let mut running: Vec<&mut Decoding> = decodings.iter_mut().collect();
        while !running.is_empty() {
            let progress = self.advance(&mut running)?.into_iter().collect::<Result<Vec<_>, _>>()?;
            let mut progress = progress.into_iter();
            running.retain(|_| progress.next() == Some(Progress::Running));
        }
        Ok(decodings.into_iter().map(Decoding::into_hypotheses).collect())
    }
}
