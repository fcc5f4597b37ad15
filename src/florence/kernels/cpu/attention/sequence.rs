//! Attention of every position of a sequence to the others.

use rayon::prelude::*;

use super::super::memory::Shared;
use super::super::simd::InstructionSet;
use super::head::{Head, HeadRows};

/// One row of the batch and one head.
struct SequenceHead<'a> {
    /// Queries, keys and values of the row, `[length, 3 * width]`.
    qkv: &'a [f32],
    width: usize,
    /// First column of the head.
    column: usize,
    out: Shared<f32>,
}

impl HeadRows for SequenceHead<'_> {
    #[inline(always)]
    fn position(&self, index: usize) -> [*const f32; 3] {
        let row = self.qkv.as_ptr().wrapping_add(index * 3 * self.width + self.column);
        [0, 1, 2].map(|part| row.wrapping_add(part * self.width))
    }

    #[inline(always)]
    fn out(&self, index: usize) -> Option<*mut f32> {
        // SAFETY: the result has as many positions.
        Some(unsafe { self.out.at(index * self.width + self.column) })
    }
}

/// `qkv` `[batch, length, 3 * width]` to `[batch, length, width]`; of each row the first `lengths[row]` positions are attended to,
/// and only they get a result; the others are 0.
///
/// # Panics
/// The heads do not divide the width, or the sizes do not make the batch.
pub fn sequence_attention(qkv: &[f32], width: usize, heads: usize, lengths: &[usize], set: InstructionSet) -> Vec<f32> {
    let row = qkv.len() / lengths.len().max(1);
    let length = row / (3 * width).max(1);
    assert!(width > 0 && width.is_multiple_of(heads), "{heads} heads in a width of {width}");
    assert_eq!(qkv.len(), lengths.len() * length * 3 * width, "projections of a batch");
    let head_width = width / heads;
    let mut out = vec![0f32; lengths.len() * length * width];
    let shared = Shared::new(&mut out);
    (0..lengths.len() * heads).into_par_iter().for_each(|index| {
        let (batch, head) = (index / heads, index % heads);
        let count = lengths.get(batch).copied().unwrap_or(0).min(length);
        if count == 0 {
            return;
        }
        let rows = SequenceHead {
            qkv: qkv.get(batch * row..(batch + 1) * row).unwrap_or_default(),
            width,
            column: head * head_width,
            // SAFETY: the row is there.
            out: unsafe { shared.skip(batch * length * width) },
        };
        set.run(Head {
            rows,
            width: head_width,
            queries: count,
            keys: count,
            scale: (head_width as f32).sqrt().recip(),
        });
    });
    out
}
