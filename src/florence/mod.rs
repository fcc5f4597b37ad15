//! Florence-2 on candle: tensors and text, and nothing of servers.
//!
//! [`Florence`] is the model; the modules below it follow the way of a picture: [`image`] (pixels), `vision` (features),
//! `bart` (text model), [`generation`] (search), [`answer`] (meaning).

pub mod answer;
mod bart;
pub mod config;
mod decoding;
mod error;
mod files;
pub mod generation;
#[cfg(feature = "cuda")]
mod gpu;
pub mod image;
mod kernels;
mod model;
mod precision;
mod probe;
mod processor;
pub mod task;
mod tokenizer;
mod vision;
mod weights;

pub use bart::Encoded;
pub use decoding::{Decoding, Progress};
pub use error::{CheckpointError, CheckpointResult, FlorenceError};
pub use files::CheckpointFiles;
#[cfg(feature = "cuda")]
pub use gpu::{OnGpu, open_cuda};
pub use kernels::DecoderCache;
#[cfg(feature = "cuda")]
pub use kernels::cuda;
pub use model::{Florence, Generation};
pub use precision::Precision;
pub use probe::Probe;
pub use processor::Processor;
pub use task::{Task, expand_prompt};
pub use tokenizer::{TOKENIZER_FILE, Tokenizer};
pub use weights::{LoadWatch, PICKLE_FILE, SAFETENSORS_FILE};
