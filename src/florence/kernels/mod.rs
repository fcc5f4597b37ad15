//! Operations that the model needs and candle lacks, or has only in a slow form.
//!
//! On a CPU each is a kernel of `florence_cpu` (the folder `cpu`), with weights in f32, bf16 or int8; on a GPU one of `cuda`. What
//! neither has is composed of candle's own operations.

mod attention;
mod cache;
mod composed;
#[cfg(feature = "cuda")]
pub mod cuda;
mod depthwise;
mod layer_norm;
mod linear;
mod patches;
mod select;
mod values;

pub use attention::{cached_attention, channel_attention, cross_attention, encoder_attention, window_attention};
pub use cache::DecoderCache;
pub use depthwise::depthwise_conv3x3;
pub use layer_norm::LayerNorm;
pub use linear::{Linear, Mlp, WeightType};
pub use patches::{PatchConv, PatchGeometry};
pub use select::Vocabulary;
