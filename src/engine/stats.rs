//! What the engine has done so far, counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::request::StageTimes;
use crate::telemetry::{Histogram, HistogramSnapshot};

/// Declares the counters together with their snapshot, so that neither can lack one of the other's.
macro_rules! counters {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// The counters, shared by all threads of an engine.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub $name: Counter,)+
            /// How full batches are.
            pub batches: Batches,
            /// How long requests stay in each stage.
            pub stages: Arc<StageTimes>,
        }

        /// What the engine has done since it started, and what it is doing.
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct Stats {
            $($(#[$doc])+ pub $name: u64,)+
            /// Requests that found no place.
            pub refused: u64,
            /// Single pictures that have a place now.
            pub singles: u64,
            /// Pictures of runs that have a place now.
            pub run_pictures: u64,
            /// How long requests stayed in each stage, in seconds, by the stage's name.
            pub stage_times: Vec<(&'static str, HistogramSnapshot)>,
            /// How many pictures, prompts and answers were worked on together, by what they are.
            pub batches: Vec<(&'static str, HistogramSnapshot)>,
        }

        impl Counters {
            /// All counts at this moment.
            pub fn snapshot(&self) -> Stats {
                let (stage_times, batches) = (self.stages.snapshot(), self.batches.snapshot());
                Stats { $($name: self.$name.get(),)+ stage_times, batches, ..Stats::default() }
            }
        }
    };
}

counters! {
    /// Requests that were taken.
    requests,
    /// Requests whose prompts were all answered.
    answered,
    /// Requests that failed in the engine.
    failed,
    /// Requests whose caller went away, or whose deadline passed.
    given_up,
    /// Passes of the vision tower.
    vision_passes,
    /// Pictures in them.
    pictures,
    /// Pictures whose features were known already.
    feature_hits,
    /// Bytes of image features that are kept now.
    feature_bytes,
    /// Passes of the encoder.
    encoder_passes,
    /// Prompts in them.
    prompts,
    /// Steps of the decoder.
    steps,
    /// Answers in them, over all steps: divided by the steps, how full they were.
    step_answers,
    /// Actions that were for pictures of runs alone.
    run_actions,
    /// Tokens of the answers that were handed over.
    tokens,
    /// Microseconds that replicas have spent on actions, all replicas together.
    busy_micros,
    /// Answers that are being written now.
    writing,
    /// Steps and passes that failed and were tried again in halves.
    retries,
    /// Models that were loaded, and came to answer.
    loads,
    /// Models that could not be loaded.
    failed_loads,
}

/// How full batches are.
#[derive(Debug)]
pub(super) struct Batches {
    /// Pictures in passes of the vision tower.
    pub pictures: Histogram,
    /// Prompts in passes of the encoder.
    pub prompts: Histogram,
    /// Answers in steps of the decoder.
    pub answers: Histogram,
}

impl Default for Batches {
    fn default() -> Self {
        let new = Histogram::of_counts;
        Self { pictures: new(), prompts: new(), answers: new() }
    }
}

impl Batches {
    fn snapshot(&self) -> Vec<(&'static str, HistogramSnapshot)> {
        let all = [("pictures", &self.pictures), ("prompts", &self.prompts), ("answers", &self.answers)];
        all.into_iter().map(|(name, batch)| (name, batch.snapshot())).collect()
    }
}

/// One count.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    /// Counts so many more.
    pub fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Takes so many away; for what is counted now and not ever.
    pub fn sub(&self, count: usize) {
        self.0.fetch_sub(count as u64, Ordering::Relaxed);
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
