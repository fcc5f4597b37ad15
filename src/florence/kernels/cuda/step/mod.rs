//! A step of the decoder on a GPU: one token of every row, from ids to the best continuations, with one upload before it and one
//! wait behind it.
//!
//! All that differs from step to step lies in a description that the kernels read (`plan`), and everything between lies in
//! buffers that stay where they are (`buffers`). So the kernels of a step are always the same for a number of rows, in multiples,
//! and are recorded once as a graph, whose replay costs the host a single call.

mod buffers;
mod kernels;
mod plan;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaGraph, result, sys};
use candle_core::{DType, Device, Result, Tensor, bail};

use self::buffers::Buffers;
use self::kernels::Kernels;
pub use self::plan::{Candidates, StepInput, StepRow};
use super::Gpu;
use super::gpu::is_half;
use super::memory::address;

/// Rows that a step takes at most; more are written in several.
pub const MOST_ROWS: usize = 512;
/// Continuations that can be asked for of each row.
pub const MOST_TAKEN: usize = 32;
/// Heads of this width have quick kernels.
const WIDE: usize = 64;
/// Logits of a chunk, which the selection looks at or not: those of a block of their quick kernel, and of the other.
const QUICK_CHUNK: usize = 208;
const CHUNK: usize = 4096;
/// Chunks that a row has at most.
const MOST_CHUNKS: usize = 1024;
/// Values of the inner axis that a block of the quick products takes.
const QUICK_INNER: usize = 256;

/// A weight with its bias.
#[derive(Debug, Clone)]
pub struct Weighted {
    /// `[outer, inner]`, or `[size]` of a norm.
    pub weight: Tensor,
    /// `[outer]`.
    pub bias: Tensor,
}

/// The weights of a decoder layer.
#[derive(Debug, Clone)]
pub struct LayerWeights {
    /// Queries, keys and values of the written tokens, one below the other.
    pub qkv: Weighted,
    /// Behind the attention to them.
    pub own_out: Weighted,
    /// The norm behind that.
    pub own_norm: Weighted,
    /// Queries about the input.
    pub query: Weighted,
    /// Behind the attention to it.
    pub cross_out: Weighted,
    /// The norm behind that.
    pub cross_norm: Weighted,
    /// The first product of the MLP.
    pub fc1: Weighted,
    /// The second.
    pub fc2: Weighted,
    /// The norm behind that.
    pub norm: Weighted,
}

/// The weights of a step.
#[derive(Debug, Clone)]
pub struct StepWeights {
    /// `[vocabulary, d_model]`, of words and of logits.
    pub tokens: Tensor,
    /// `[vocabulary]`, added to the logits.
    pub logits_bias: Option<Tensor>,
    /// `[positions + offset, d_model]`.
    pub positions: Tensor,
    /// Rows of `positions` that stand before position 0.
    pub position_offset: usize,
    /// The norm behind the sum of both.
    pub norm: Weighted,
    /// The layers.
    pub layers: Vec<LayerWeights>,
    /// Heads of both attentions.
    pub heads: usize,
}

/// Sizes that the kernels of a step depend on.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    dtype: DType,
    width: usize,
    heads: usize,
    hidden: usize,
    vocabulary: usize,
    /// Most tokens of an answer.
    tokens: usize,
    /// Whether the quick kernels know the sizes and the type.
    is_quick: bool,
}

impl Sizes {
    /// Whether all of the quick kernels fit.
    fn fit_quick(self) -> bool {
        let is_known = matches!(self.width, 768 | 1024) && self.width / self.heads == WIDE;
        let is_small = self.vocabulary.div_ceil(QUICK_CHUNK) <= MOST_CHUNKS;
        is_half(self.dtype) && is_known && is_small && self.hidden % QUICK_INNER == 0
    }

    /// Logits of a chunk.
    const fn chunk(self) -> usize {
        if self.is_quick { QUICK_CHUNK } else { CHUNK }
    }

    /// Chunks of a row of logits.
    const fn chunks(self) -> usize {
        self.vocabulary.div_ceil(self.chunk())
    }

    /// Values for each row that the parts of the greatest of the split products have.
    const fn part_values(self) -> usize {
        let (of_qkv, of_fc2) = (self.width / QUICK_INNER * 3 * self.width, self.hidden / QUICK_INNER * self.width);
        if of_qkv > of_fc2 { of_qkv } else { of_fc2 }
    }
}

/// Whether the kernels of a step are recorded and replayed, or launched one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Launching {
    /// Recorded at the second step of a size, replayed from then on.
    Graph,
    /// One by one.
    Plain,
}

/// The decoder of a model on a GPU.
pub struct StepDecoder {
    gpu: Arc<Gpu>,
    weights: StepWeights,
    sizes: Sizes,
    buckets: Mutex<HashMap<usize, Bucket>>,
    launching: Mutex<Launching>,
}

/// What is kept for steps of a number of rows.
struct Bucket {
    buffers: Buffers,
    recording: Recording,
}

enum Recording {
    /// Not a step so far: the first one loads the kernels.
    Never,
    /// The next step is recorded.
    Due,
    Ready(CudaGraph),
    /// It was tried and cannot be.
    Failed,
}

// SAFETY: a graph is used by one thread at a time, behind the mutex of the buckets; the driver asks for no more.
unsafe impl Send for Bucket {}

impl StepDecoder {
    /// A decoder of these weights, which lie on a GPU that is held.
    ///
    /// # Errors
    /// Weights that do not fit together.
    pub fn new(weights: StepWeights, device: &Device) -> Result<Self> {
        let gpu = Gpu::of(device)?;
        let (vocabulary, width) = weights.tokens.dims2()?;
        let Some(first) = weights.layers.first() else { bail!("a decoder has layers") };
        let mut sizes = Sizes {
            dtype: weights.tokens.dtype(),
            width,
            heads: weights.heads,
            hidden: first.fc1.weight.dim(0)?,
            vocabulary,
            tokens: weights.positions.dim(0)?.saturating_sub(weights.position_offset),
            is_quick: false,
        };
        if width % sizes.heads.max(1) != 0 {
            bail!("{width} channels do not make {} heads", sizes.heads);
        }
        sizes.is_quick = sizes.fit_quick();
        if sizes.chunks() > MOST_CHUNKS {
            bail!("{vocabulary} tokens are too many");
        }
        let launching = match std::env::var_os("FLORENCE_CUDA_GRAPHS").is_some_and(|value| value == "0") {
            true => Launching::Plain,
            false => Launching::Graph,
        };
        Ok(Self { gpu, weights, sizes, buckets: Mutex::default(), launching: Mutex::new(launching) })
    }

    /// Switches between recorded and plain launches, which give the same.
    pub fn set_launching(&self, launching: Launching) {
        *self.launching.lock().unwrap_or_else(PoisonError::into_inner) = launching;
    }

    /// Writes the next token's keys and values of every input to its cache, and finds the best continuations of every row. The
    /// inputs' caches have room for one more token.
    ///
    /// # Errors
    /// The device's, and inputs that do not fit the model.
    pub fn step(&self, inputs: &[StepInput<'_>]) -> Result<Vec<Candidates>> {
        let mut found = vec![];
        let mut rest = inputs;
        while !rest.is_empty() {
            let mut rows = 0;
            let fits = rest.iter().take_while(|input| {
                rows += input.rows.len();
                rows <= MOST_ROWS
            });
            let Some((together, later)) = rest.split_at_checked(fits.count().max(1)) else { break };
            found.extend(self.step_together(together)?);
            rest = later;
        }
        Ok(found)
    }

    /// Makes ready for steps of up to so many rows: takes their memory and records their graphs.
    ///
    /// # Errors
    /// The device's.
    pub fn warm_up(&self, rows: usize) -> Result<()> {
        for _ in 0..2 {
            let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
            let bucket = self.bucket(&mut buckets, bucket_rows(rows.min(MOST_ROWS)))?;
            bucket.buffers.describe(&[])?;
            self.run(bucket)?;
            self.gpu.stream.synchronize().w()?;
        }
        Ok(())
    }

    fn step_together(&self, inputs: &[StepInput<'_>]) -> Result<Vec<Candidates>> {
        let rows: usize = inputs.iter().map(|input| input.rows.len()).sum();
        if rows == 0 || rows > MOST_ROWS {
            bail!("a step of {rows} rows");
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = self.bucket(&mut buckets, bucket_rows(rows))?;
        bucket.buffers.describe(inputs)?;
        self.run(bucket)?;
        bucket.buffers.read(&self.gpu, inputs)
    }

    fn bucket<'a>(&self, buckets: &'a mut HashMap<usize, Bucket>, rows: usize) -> Result<&'a mut Bucket> {
        use std::collections::hash_map::Entry;

        match buckets.entry(rows) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let buffers = Buffers::new(&self.gpu, &self.sizes, rows)?;
                Ok(entry.insert(Bucket { buffers, recording: Recording::Never }))
            }
        }
    }

    fn run(&self, bucket: &mut Bucket) -> Result<()> {
        bucket.buffers.upload(&self.gpu)?;
        let is_plain = *self.launching.lock().unwrap_or_else(PoisonError::into_inner) == Launching::Plain;
        if matches!(bucket.recording, Recording::Due) && !is_plain {
            bucket.recording = match self.record(&bucket.buffers) {
                Ok(graph) => Recording::Ready(graph),
                Err(error) => {
                    tracing::warn!("steps of {} rows are not recorded: {error}", bucket.buffers.rows());
                    Recording::Failed
                }
            };
        }
        match &bucket.recording {
            // SAFETY: the graph reads and writes the weights, the bucket's buffers and the caches that the description names.
            Recording::Ready(graph) if !is_plain => unsafe {
                return result::graph::launch(graph.cu_graph_exec(), self.gpu.stream.cu_stream()).w();
            },
            Recording::Never => bucket.recording = Recording::Due,
            _ => {}
        }
        self.kernels(&bucket.buffers)?.launch(&self.gpu.stream)
    }

    /// Records the kernels on a stream that nothing else uses, so that nothing else gets into the graph.
    fn record(&self, buffers: &Buffers) -> Result<CudaGraph> {
        let kernels = self.kernels(buffers)?;
        let private = self.gpu.stream.context().new_stream().w()?;
        private.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).w()?;
        let launched = kernels.launch(&private);
        // The capture is ended in any case.
        let graph = private.end_capture(sys::CUgraphInstantiate_flags(0)).w();
        launched?;
        match graph? {
            Some(graph) => Ok(graph),
            None => bail!("nothing was recorded"),
        }
    }

    fn kernels<'a>(&'a self, buffers: &'a Buffers) -> Result<Kernels<'a>> {
        Kernels::new(&self.gpu, &self.weights, self.sizes, buffers)
    }
}

/// Rows of the kernels for so many rows: whole tiles of sixteen, and above four of them whole fours.
pub const fn bucket_rows(rows: usize) -> usize {
    if rows <= 64 { rows.next_multiple_of(16) } else { rows.next_multiple_of(64) }
}

/// The addresses of a weight and its bias.
fn both(weighted: &Weighted) -> Result<(u64, u64)> {
    Ok((address(&weighted.weight)?, address(&weighted.bias)?))
}
