//! BART, the text model: an encoder over image features and prompt, and a decoder that writes the answer.

mod attention;
mod cache;
mod decoder;
mod embedding;
mod encoder;

pub use cache::DecoderCache;
pub use decoder::Decoder;
pub use embedding::TokenEmbedding;
pub use encoder::{Encoded, Encoder};
