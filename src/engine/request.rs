//! What goes into the engine and what comes out of it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::places::Place;
use crate::florence::answer::{Answer, StopReason};
use crate::florence::generation::GenerationOptions;
use crate::florence::image::Picture;
use crate::telemetry::{Histogram, HistogramSnapshot};

/// One picture with everything that is asked about it.
#[derive(Debug, Clone)]
pub struct Request {
    /// The picture, upright.
    pub picture: Arc<Picture>,
    /// Prompts as a caller writes them, `<CAPTION_TO_PHRASE_GROUNDING>a red circle` or free text; each is answered.
    pub prompts: Vec<String>,
    /// How each answer is searched.
    pub options: GenerationOptions,
    /// Nobody wants the answers after this.
    pub deadline: Option<Instant>,
    /// The picture's place in the queue.
    pub place: Arc<Place>,
    /// Everything that the caller set. The model needs no more than what stands above; engines that stand in for it may.
    pub settings: Arc<Map<String, Value>>,
}

/// The model's answer to one prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// Ids that the model wrote, the start token included.
    pub ids: Vec<u32>,
    /// Their text, special tokens kept, nothing cleaned up.
    pub text: String,
    /// What the text means, in pixels of the request's picture.
    pub answer: Answer,
    /// Why the model stopped writing.
    pub stop: StopReason,
}

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It waits for its turn.
    Waiting,
    /// The model that was frozen comes back.
    Waking,
    /// The file becomes pixels; before the engine, and told by those who call it.
    Decoding,
    /// The picture is resized and the prompts become ids.
    Preparing,
    /// Prepared, it waits for the device.
    WaitingForDevice,
    /// The vision tower looks at the picture.
    EncodingPicture,
    /// Answers are being written.
    Writing,
    /// Answers become boxes.
    Reading,
}

impl fmt::Display for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Waiting => "waiting for its turn",
            Self::Waking => "waking the model",
            Self::Decoding => "decoding the picture",
            Self::Preparing => "preparing the picture",
            Self::WaitingForDevice => "waiting for the device",
            Self::EncodingPicture => "encoding the picture",
            Self::Writing => "writing the answers",
            Self::Reading => "reading the answers",
        })
    }
}

impl Stage {
    const ALL: [Self; 8] = [
        Self::Waiting,
        Self::Waking,
        Self::Decoding,
        Self::Preparing,
        Self::WaitingForDevice,
        Self::EncodingPicture,
        Self::Writing,
        Self::Reading,
    ];

    /// One word for programs to read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Waking => "waking",
            Self::Decoding => "decoding",
            Self::Preparing => "preparing",
            Self::WaitingForDevice => "waiting_for_device",
            Self::EncodingPicture => "encoding_picture",
            Self::Writing => "writing",
            Self::Reading => "reading",
        }
    }
}

/// How long requests stay in each stage.
#[derive(Debug)]
pub(super) struct StageTimes([Histogram; Stage::ALL.len()]);

impl Default for StageTimes {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Histogram::of_seconds()))
    }
}

impl StageTimes {
    fn observe(&self, stage: Stage, time: Duration) {
        if let Some(times) = self.0.get(stage as usize) {
            times.observe(time);
        }
    }

    /// The times so far, by the stage's name. Decoding is not ours.
    pub fn snapshot(&self) -> Vec<(&'static str, HistogramSnapshot)> {
        let stages = Stage::ALL.iter().zip(&self.0).filter(|(stage, _)| **stage != Stage::Decoding);
        stages.map(|(stage, times)| (stage.name(), times.snapshot())).collect()
    }
}

/// The stage of a request, told across threads, with a clock that says how long it stays in each.
#[derive(Debug, Clone)]
pub(super) struct StageCell(Arc<CellState>);

#[derive(Debug)]
struct CellState {
    stage: AtomicU8,
    begun: Instant,
    /// When it came to its stage, in microseconds since it began.
    since: AtomicU64,
    is_over: AtomicBool,
    times: Arc<StageTimes>,
}

impl StageCell {
    /// The cell of a request that waits for its turn from now on.
    pub fn new(times: Arc<StageTimes>) -> Self {
        let (stage, since, is_over) = (AtomicU8::new(Stage::Waiting as u8), AtomicU64::new(0), AtomicBool::new(false));
        Self(Arc::new(CellState { stage, begun: Instant::now(), since, is_over, times }))
    }

    /// The request has come to this stage.
    pub fn set(&self, stage: Stage) {
        if stage == self.get() {
            return;
        }
        self.leave_stage();
        self.0.stage.store(stage as u8, Ordering::Relaxed);
    }

    /// Nobody waits for the request any more. A thread may still work on it; that counts no longer.
    pub fn end(&self) {
        self.leave_stage();
        self.0.is_over.store(true, Ordering::Relaxed);
    }

    /// The stage that the request has come to.
    pub fn get(&self) -> Stage {
        Stage::ALL.get(usize::from(self.0.stage.load(Ordering::Relaxed))).copied().unwrap_or(Stage::Waiting)
    }

    fn leave_stage(&self) {
        let now = u64::try_from(self.0.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let since = self.0.since.swap(now, Ordering::Relaxed);
        if !self.0.is_over.load(Ordering::Relaxed) {
            self.0.times.observe(self.get(), Duration::from_micros(now.saturating_sub(since)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_told_as_they_were_set_and_each_is_timed_once() {
        let times = Arc::new(StageTimes::default());
        let cell = StageCell::new(Arc::clone(&times));
        assert_eq!(cell.get(), Stage::Waiting);
        for stage in Stage::ALL {
            cell.clone().set(stage);
            assert_eq!(cell.get(), stage);
        }
        cell.end();
        cell.set(Stage::Writing);
        cell.set(Stage::Reading);
        assert!(times.0.iter().all(|times| times.snapshot().count == 1), "{times:?}");
        assert_eq!(times.snapshot().len(), Stage::ALL.len() - 1);
    }
}
