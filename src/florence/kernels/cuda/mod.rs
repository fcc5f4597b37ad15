//! The operations on an NVIDIA GPU, by kernels of our own and cuBLASLt.
//!
//! The kernels (`*.cu`) are compiled by `build.rs`. Everything runs on the one stream of candle's device, in the order in which
//! it is asked for, so a tensor's memory can be handed to a kernel as a bare address: what frees it is ordered behind.

mod attention;
mod gpu;
mod linear;
mod map;
mod memory;
pub mod step;

pub use attention::{channel_attention, encoder_attention, window_attention};
pub use gpu::{Gpu, Held};
pub use linear::{linear, pad_inner};
pub use map::{depthwise_conv3x3, gelu_in_place, layer_norm, normalise_bytes, patches};
pub use memory::{DeviceMemory, address, device_memory, keep_pool, trim_pool};
