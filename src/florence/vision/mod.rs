//! From a picture to image features: DaViT and the projector behind it.

mod attention;
mod block;
mod davit;
mod projector;

pub use davit::DaViT;
pub use projector::Projector;
