//! Operations that the model needs and candle lacks, or has only in a slow form.
//!
//! Each has an implementation for the CPU and one made of candle's own operations, which every device runs.

#[cfg(feature = "cuda")]
#[allow(dead_code, unused_imports, reason = "the model begins to use it")]
pub mod cuda;
mod depthwise;
mod layer_norm;

use candle_core::{CpuStorage, Layout, Result, bail};

pub use depthwise::depthwise_conv3x3;
pub use layer_norm::LayerNorm;

/// The f32 values of a tensor that an operation was given.
fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let values = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets().and_then(|(start, end)| values.get(start..end)) {
        Some(values) => Ok(values),
        None => bail!("the operation needs contiguous tensors"),
    }
}
