//! The model life cycle as callers see it.

use std::fmt;

/// Which model answers, and what is becoming of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Deployment {
    /// The model that answers, if any. It goes on answering while another is being loaded.
    pub serving: Serving,
    /// The load under way.
    pub loading: Option<Loading>,
    /// Why the last load failed, until another succeeds.
    pub failure: Option<Failure>,
    /// Why a device does not work any more; nothing is served then, and the process is about to end.
    pub lost: Option<String>,
}

/// Whether a model answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Serving {
    /// None does.
    #[default]
    Nothing,
    /// Requests are answered.
    Ready(ServedModel),
    /// The model has left the device; the next request brings it back.
    Frozen(ServedModel),
}

/// A model on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loading {
    /// Its name.
    pub model_name: String,
    /// What is being done.
    pub step: LoadStep,
}

/// What is being done to have a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadStep {
    /// Devices are opened.
    Starting,
    /// Its files are looked for.
    Searching,
    /// Another process fetches its files.
    Waiting,
    /// The hub sends its files.
    Downloading(Amount),
    /// What came is compared with the hub's hashes.
    Checking,
    /// Weights go onto the device.
    Reading(Amount),
    /// It answers a question to nobody, to see whether it works.
    Trying,
}

/// A part of a number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount {
    /// Bytes that are done.
    pub done_bytes: u64,
    /// Bytes in all, 0 where nobody knows.
    pub total_bytes: u64,
}

impl LoadStep {
    /// One word for programs to read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Searching => "searching",
            Self::Waiting => "waiting",
            Self::Downloading(_) => "downloading",
            Self::Checking => "checking",
            Self::Reading(_) => "loading",
            Self::Trying => "trying",
        }
    }

    /// How far it is, where that is counted.
    pub const fn amount(self) -> Option<Amount> {
        match self {
            Self::Downloading(amount) | Self::Reading(amount) => Some(amount),
            _ => None,
        }
    }
}

impl fmt::Display for LoadStep {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Starting => "starting",
            Self::Searching => "looking for its files",
            Self::Waiting => "waiting for another process that fetches its files",
            Self::Downloading(_) => "downloading its files",
            Self::Checking => "checking its files",
            Self::Reading(_) => "loading its weights",
            Self::Trying => "trying it",
        })?;
        match self.amount() {
            Some(Amount { done_bytes, total_bytes }) if total_bytes > 0 => {
                write!(formatter, ", {} of {} MB", megabytes(done_bytes), megabytes(total_bytes))
            }
            _ => Ok(()),
        }
    }
}

const fn megabytes(bytes: u64) -> u64 {
    bytes / 1_000_000
}

/// A load that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The model's name.
    pub model_name: String,
    /// What happened, in one line.
    pub message: String,
}

/// The model that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedModel {
    /// Name in models.json such as `Florence-2-large`, `demo`, or the folder's name of an own checkpoint.
    pub name: String,
    /// `microsoft/Florence-2-large` for a published checkpoint, the folder for an own one.
    pub source: String,
    /// Whether the weights come from a folder that the user named.
    pub custom: bool,
    /// `cpu`, `cuda:0`, `cuda:0,cuda:1` …
    pub device: String,
    /// `FP32`, `FP16` or `BF16`.
    pub precision: String,
    /// Name of the processor that runs it.
    pub hardware: String,
    /// Why its files are not the newest, where an update was asked for.
    pub stale: Option<String>,
}

impl Deployment {
    /// A deployment in which this model answers.
    pub fn ready(model: ServedModel) -> Self {
        Self { serving: Serving::Ready(model), ..Self::default() }
    }

    /// The model that answers, awake or frozen.
    pub const fn model(&self) -> Option<&ServedModel> {
        match &self.serving {
            Serving::Nothing => None,
            Serving::Ready(model) | Serving::Frozen(model) => Some(model),
        }
    }
}
