//! The kernels of a step, one after the other.

use candle_core::Result;
use candle_core::cuda_backend::cudarc::driver::CudaStream;

use super::buffers::Buffers;
use super::{LayerWeights, Sizes, StepWeights, WIDE, Weighted, both};
use crate::florence::kernels::cuda::Gpu;
use crate::florence::kernels::cuda::gpu::{int, is_half, kernel, launch};
use crate::florence::kernels::cuda::map::normalise_on;
use crate::florence::kernels::cuda::memory::{address, optional_address};

/// Values of the inner axis that a block of the products takes at a time, times three or four.
const INNER: usize = 256;
/// The same for logits.
const SLICE: usize = 128;
/// Tokens of a block of the logits.
const TOKENS: usize = 128;
/// Rows of a tile, and tiles of a block at most.
const TILE: usize = 16;
const MOST_TILES: usize = 4;
/// Blocks of the attention to inputs that fit a multiprocessor together.
const CROSS_BLOCKS: u32 = 4;

/// All that the kernels of a step need.
pub struct Kernels<'a> {
    gpu: &'a Gpu,
    weights: &'a StepWeights,
    sizes: Sizes,
    buffers: &'a Buffers,
    rows: usize,
}

/// Operands of a product: where its input, output and weights lie.
struct Product<'a> {
    from: u64,
    to: u64,
    by: &'a Weighted,
    is_gelu: bool,
}

impl<'a> Kernels<'a> {
    /// The kernels that work in these buffers.
    ///
    /// # Errors
    /// None so far.
    pub fn new(gpu: &'a Gpu, weights: &'a StepWeights, sizes: Sizes, buffers: &'a Buffers) -> Result<Self> {
        Ok(Self { gpu, weights, sizes, buffers, rows: buffers.rows() })
    }

    /// Launches all of them on a stream.
    ///
    /// # Errors
    /// The device's.
    pub fn launch(&self, stream: &CudaStream) -> Result<()> {
        self.embed(stream)?;
        for (index, layer) in self.weights.layers.iter().enumerate() {
            self.layer(stream, int(index)?, layer)?;
        }
        self.logits(stream)?;
        self.select(stream)
    }

    fn embed(&self, stream: &CudaStream) -> Result<()> {
        let (weights, places) = (self.weights, &self.buffers.places);
        let (weight, bias) = both(&weights.norm)?;
        let (tokens, positions) = (address(&weights.tokens)?, address(&weights.positions)?);
        let [width, offset] = [int(self.sizes.width)?, int(weights.position_offset)?];
        let (description, hidden) = (places.description, places.hidden);
        let name = kernel("step_embed", self.sizes.dtype)?;
        let grid = (self.rows as u32, 1, 1);
        launch!(self.gpu => stream, name, grid, 256, description, tokens, positions, weight, bias, hidden, width, offset);
        Ok(())
    }

    fn layer(&self, stream: &CudaStream, index: i32, layer: &LayerWeights) -> Result<()> {
        let places = &self.buffers.places;
        let product = |from, to, by| Product { from, to, by, is_gelu: false };
        self.multiply(stream, product(places.hidden, places.qkv, &layer.qkv))?;
        self.attend_own(stream, index)?;
        self.multiply(stream, product(places.attended, places.projected, &layer.own_out))?;
        self.norm(stream, &layer.own_norm)?;
        self.multiply(stream, product(places.hidden, places.query, &layer.query))?;
        self.attend_cross(stream, index)?;
        self.multiply(stream, product(places.attended, places.projected, &layer.cross_out))?;
        self.norm(stream, &layer.cross_norm)?;
        self.multiply(stream, Product { is_gelu: true, ..product(places.hidden, places.inner, &layer.fc1) })?;
        self.multiply(stream, product(places.inner, places.projected, &layer.fc2))?;
        self.norm(stream, &layer.norm)
    }

    /// `hidden = norm(projected + hidden)`.
    fn norm(&self, stream: &CudaStream, by: &Weighted) -> Result<()> {
        let places = &self.buffers.places;
        let (weight, bias) = both(by)?;
        let addresses = [places.projected, places.hidden, weight, bias, places.hidden];
        normalise_on(self.gpu, stream, addresses, (self.rows, self.sizes.width), self.sizes.dtype)
    }

    fn multiply(&self, stream: &CudaStream, product: Product<'_>) -> Result<()> {
        let (outer, inner) = product.by.weight.dims2()?;
        let (weight, bias) = both(product.by)?;
        let (from, to, is_gelu) = (product.from, product.to, i32::from(product.is_gelu));
        let [outer_int, inner_int] = [int(outer)?, int(inner)?];
        let ahead = [3, 4].into_iter().find(|ahead| inner % (ahead * INNER) == 0);
        match ahead.filter(|_| is_half(self.sizes.dtype)) {
            Some(ahead) => {
                let tiles = self.tiles();
                // Wide blocks read less of the input, narrow ones are more.
                let is_wide = outer.div_ceil(16) * (self.rows / (tiles * TILE)) >= self.gpu.processors as usize;
                let columns = if is_wide { 2 } else { 1 };
                let name = kernel(&format!("step_multiply_{tiles}_{columns}_{ahead}"), self.sizes.dtype)?;
                let grid = (outer.div_ceil(8 * columns) as u32, (self.rows / (tiles * TILE)) as u32, 1);
                launch!(self.gpu => stream, name, grid, 256, from, weight, bias, to, outer_int, inner_int, is_gelu);
            }
            None => {
                let name = kernel("step_multiply_any", self.sizes.dtype)?;
                let grid = (outer.div_ceil(8) as u32, self.rows as u32, 1);
                launch!(self.gpu => stream, name, grid, 256, from, weight, bias, to, outer_int, inner_int, outer_int, is_gelu);
            }
        }
        Ok(())
    }

    fn logits(&self, stream: &CudaStream) -> Result<()> {
        let Sizes { width, vocabulary, dtype, .. } = self.sizes;
        let (table, bias) = (address(&self.weights.tokens)?, optional_address(self.weights.logits_bias.as_ref())?);
        let (from, to) = (self.buffers.places.hidden, self.buffers.places.logits);
        let [tokens, inner, stride] = [int(vocabulary)?, int(width)?, int(self.buffers.stride)?];
        if is_half(dtype) && width % SLICE == 0 {
            let tiles = self.tiles();
            let name = kernel(&format!("step_logits_{tiles}"), dtype)?;
            let grid = ((self.rows / (tiles * TILE)) as u32, vocabulary.div_ceil(TOKENS) as u32, 1);
            launch!(self.gpu => stream, name, grid, 256, from, table, bias, to, tokens, inner, stride);
        } else {
            let name = kernel("step_logits_any", dtype)?;
            let grid = (vocabulary.div_ceil(8) as u32, self.rows as u32, 1);
            launch!(self.gpu => stream, name, grid, 256, from, table, bias, to, tokens, inner, stride, 0i32);
        }
        Ok(())
    }

    fn attend_own(&self, stream: &CudaStream, layer: i32) -> Result<()> {
        let Sizes { width, heads, dtype, .. } = self.sizes;
        let (places, layout) = (&self.buffers.places, self.buffers.layout);
        let (rows, inputs) = (places.description, places.description + layout.inputs() as u64);
        let (description, qkv, to) = (places.description, places.qkv, places.attended);
        let grid = (heads as u32, self.rows as u32, 1);
        let heads_int = int(heads)?;
        if width / heads == WIDE {
            let name = kernel("step_own", dtype)?;
            launch!(self.gpu => stream, name, grid, 128, description, rows, inputs, qkv, to, layer, heads_int);
        } else {
            let name = kernel("step_own_any", dtype)?;
            let head_width = int(width / heads)?;
            launch!(self.gpu => stream, name, grid, 32, description, rows, inputs, qkv, to, layer, heads_int, head_width);
        }
        Ok(())
    }

    fn attend_cross(&self, stream: &CudaStream, layer: i32) -> Result<()> {
        let Sizes { width, heads, dtype, splits, .. } = self.sizes;
        let (places, layout) = (&self.buffers.places, self.buffers.layout);
        let inputs = places.description + layout.inputs() as u64;
        let items = places.description + layout.items() as u64;
        let (query, to, heads_int) = (places.query, places.attended, int(heads)?);
        if width / heads == WIDE {
            let name = kernel("step_cross", dtype)?;
            let most = u32::try_from(self.rows * heads * splits).unwrap_or(u32::MAX);
            let grid = (most.min(self.gpu.processors * CROSS_BLOCKS), 1, 1);
            let (parts, arrived, splits) = (places.parts, places.arrived_splits, int(splits)?);
            launch!(self.gpu => stream, name, grid, 128, inputs, items, query, to, parts, arrived, layer, heads_int, splits);
        } else {
            let name = kernel("step_cross_any", dtype)?;
            let (rows, head_width) = (places.description, int(width / heads)?);
            let grid = (heads as u32, self.rows as u32, 1);
            launch!(self.gpu => stream, name, grid, 32, rows, inputs, query, to, layer, heads_int, head_width);
        }
        Ok(())
    }

    fn select(&self, stream: &CudaStream) -> Result<()> {
        let places = &self.buffers.places;
        let (description, rows, logits, sums) = (places.description, places.description, places.logits, places.sums);
        let (candidates, arrived, taken) = (places.candidates, places.arrived_chunks, places.taken);
        let [tokens, stride] = [int(self.sizes.vocabulary)?, int(self.buffers.stride)?];
        let grid = (self.buffers.chunks as u32, self.rows as u32, 1);
        let name = "select_sums";
        launch!(self.gpu => stream, name, grid, 256, rows, logits, sums, tokens, stride);
        let name = "select_best";
        launch!(
            self.gpu => stream, name, grid, 256, description, rows, logits, sums, candidates, arrived, taken, tokens, stride
        );
        Ok(())
    }

    /// Tiles of a block.
    fn tiles(&self) -> usize {
        (self.rows / TILE).clamp(1, MOST_TILES)
    }
}
