//! The model life cycle as callers see it.

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
    /// What is being done, such as `reading model.safetensors`.
    pub stage: String,
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
