//! The kernels of the CPU: plain slices in, plain slices out, on rayon's pool of whoever calls.
//!
//! Each is written once over [`simd::Simd`] and compiled for every instruction set; [`simd::InstructionSet`] picks at run time.
//! `unsafe` is only here, where indices are checked once before a loop instead of at every element.

pub mod attention;
pub mod depthwise;
pub mod layer_norm;
pub mod memory;
pub mod patches;
pub mod product;
pub mod rank;
pub mod ranking;
pub mod simd;
