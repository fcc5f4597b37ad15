//! BART, the text model: an encoder over image features and prompt, and a decoder that writes the answer.

mod attention;
mod decoder;
mod embedding;
mod encoder;

pub use decoder::Decoder;
pub use embedding::vocabulary;
pub use encoder::{Encoded, Encoder};
