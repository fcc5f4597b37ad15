//! Bytes in, upright RGB pictures within limits out.

mod decode;
mod draw;
mod error;
mod format;
mod jpeg;
mod raster;

pub use decode::{DecodeOptions, decode};
pub use draw::draw_labelled_boxes;
pub use error::DecodeError;
pub use format::is_picture_name;
