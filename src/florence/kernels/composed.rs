//! Operations made of candle's own, which every device and type runs.

use candle_core::{D, DType, Result, Tensor};
use candle_nn::ops::softmax_last_dim;

/// Softmax over the last axis, computed in f32 whatever the type of `x`.
pub fn softmax_f32(x: &Tensor) -> Result<Tensor> {
    let dtype = x.dtype();
    softmax_last_dim(&x.to_dtype(DType::F32)?.contiguous()?)?.to_dtype(dtype)
}

/// `softmax(q kᵀ + mask) v` over the last two axes: `q` `[…, queries, width]`, `k` and `v` `[…, keys, width]`, `q` scaled
/// already; `mask` is added in f32 and may be broadcast.
pub fn attend(q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    let scores = q.matmul(&k.transpose(D::Minus2, D::Minus1)?)?;
    let weights = match mask {
        None => softmax_f32(&scores)?,
        Some(mask) => softmax_f32(&scores.to_dtype(DType::F32)?.broadcast_add(mask)?)?.to_dtype(v.dtype())?,
    };
    weights.matmul(v)
}
