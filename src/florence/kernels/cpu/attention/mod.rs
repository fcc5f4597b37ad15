//! The attentions, each on the strided results of its projections: nothing is transposed or copied in memory beforehand.

mod channels;
mod head;
mod sequence;
mod softmax;
mod step;
mod windows;

pub use channels::channel_attention;
pub use sequence::sequence_attention;
pub use step::{StepInput, Written, cached_attention, cross_attention};
pub use windows::{WindowInput, window_attention};

#[cfg(test)]
mod tests;
