//! The kernels of a step, one after the other.

use candle_core::Result;
use candle_core::cuda_backend::cudarc::driver::CudaStream;

use super::buffers::Buffers;
use super::{LayerWeights, Sizes, StepWeights, Weighted, both};
use crate::florence::kernels::cuda::Gpu;
use crate::florence::kernels::cuda::gpu::{int, kernel, launch};
use crate::florence::kernels::cuda::map::normalise_on;
use crate::florence::kernels::cuda::memory::{address, optional_address};

/// Values of the inner axis, and columns, of a block of the split products.
const SPLIT_INNER: usize = super::QUICK_INNER;
const SPLIT_OUTER: u32 = 64;
/// Columns of a block of the products with GELU.
const GELU_OUTER: usize = 24;
/// Threads of a block of the attention to the input.
const CROSS_THREADS: u32 = 256;
/// Threads of a block of the logits.
const LOGIT_THREADS: u32 = 416;
/// Rows of a tile, and tiles of a block at most.
const TILE: usize = 16;
const MOST_TILES: usize = 4;

/// All that the kernels of a step need.
pub struct Kernels<'a> {
    gpu: &'a Gpu,
    weights: &'a StepWeights,
    sizes: Sizes,
    buffers: &'a Buffers,
    rows: usize,
}

/// Operands of a product: where its input, of so many columns, its output and weights lie.
struct Product<'a> {
    from: u64,
    inner: usize,
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
        let inner = self.sizes.width;
        let product = |from, to, by| Product { from, inner, to, by, is_gelu: false };
        self.multiply(stream, product(places.hidden, places.qkv, &layer.qkv))?;
        self.attend_own(stream, index, layer)?;
        self.multiply(stream, product(places.attended, places.projected, &layer.own_out))?;
        self.norm(stream, &layer.own_out, &layer.own_norm)?;
        self.multiply(stream, product(places.hidden, places.query, &layer.query))?;
        self.attend_cross(stream, index, layer)?;
        self.multiply(stream, product(places.attended, places.projected, &layer.cross_out))?;
        self.norm(stream, &layer.cross_out, &layer.cross_norm)?;
        self.multiply(stream, Product { is_gelu: true, ..product(places.hidden, places.inner, &layer.fc1) })?;
        let inner = self.sizes.hidden;
        self.multiply(stream, Product { inner, ..product(places.inner, places.projected, &layer.fc2) })?;
        self.norm(stream, &layer.fc2, &layer.norm)
    }

    /// `hidden = norm(product + hidden)`, the product being the one before, by `of`.
    fn norm(&self, stream: &CudaStream, of: &Weighted, by: &Weighted) -> Result<()> {
        let Sizes { width, dtype, is_quick, .. } = self.sizes;
        let places = &self.buffers.places;
        let (weight, bias) = both(by)?;
        if !is_quick {
            let addresses = [places.projected, places.hidden, weight, bias, places.hidden];
            return normalise_on(self.gpu, stream, addresses, (self.rows, width), dtype);
        }
        let (name, grid) = (kernel("step_norm", dtype)?, (self.rows as u32, 1, 1));
        let (parts, product_bias, hidden) = (places.parts, address(&of.bias)?, places.hidden);
        let [splits, width] = [splits_of(of)?, int(width)?];
        launch!(self.gpu => early stream, name, grid, 256, parts, product_bias, weight, bias, hidden, splits, width);
        Ok(())
    }

    /// A product; the quick ones without GELU leave their parts behind instead, without the bias.
    fn multiply(&self, stream: &CudaStream, product: Product<'_>) -> Result<()> {
        let Sizes { dtype, is_quick, .. } = self.sizes;
        // Weights may have been filled up with zeros, which the input has not.
        let (outer, pitch) = product.by.weight.dims2()?;
        let inner = product.inner;
        let (weight, bias) = both(product.by)?;
        let (from, to, is_gelu) = (product.from, product.to, i32::from(product.is_gelu));
        let [outer_int, inner_int, pitch] = [int(outer)?, int(inner)?, int(pitch)?];
        let (tiles, steps) = (self.tiles(), inner / SPLIT_INNER);
        let row_blocks = (self.rows / (tiles * TILE)) as u32;
        if !is_quick {
            let (name, grid) = (kernel("step_multiply_any", dtype)?, (outer.div_ceil(8) as u32, self.rows as u32, 1));
            launch!(self.gpu => early stream, name, grid, 256, from, weight, bias, to, outer_int, inner_int, pitch, outer_int, is_gelu);
        } else if product.is_gelu {
            let name = kernel(&format!("step_gelu_{tiles}_{steps}"), dtype)?;
            let grid = (outer.div_ceil(GELU_OUTER) as u32, row_blocks, 1);
            launch!(self.gpu => early stream, name, grid, 256, from, weight, bias, to, outer_int);
        } else {
            let name = kernel(&format!("step_split_{tiles}"), dtype)?;
            let grid = ((outer as u32).div_ceil(SPLIT_OUTER), steps as u32, row_blocks);
            let parts = self.buffers.places.parts;
            launch!(self.gpu => early stream, name, grid, 256, from, weight, parts, outer_int, inner_int);
        }
        Ok(())
    }

    fn logits(&self, stream: &CudaStream) -> Result<()> {
        let Sizes { width, vocabulary, dtype, is_quick, .. } = self.sizes;
        let (table, bias) = (address(&self.weights.tokens)?, optional_address(self.weights.logits_bias.as_ref())?);
        let (from, to, sums) = (self.buffers.places.hidden, self.buffers.places.logits, self.buffers.places.sums);
        let [tokens, inner, stride] = [int(vocabulary)?, int(width)?, int(self.buffers.stride)?];
        if is_quick {
            let tiles = self.tiles();
            let name = kernel(&format!("step_logits_{tiles}"), dtype)?;
            let grid = ((self.rows / (tiles * TILE)) as u32, self.sizes.chunks() as u32, 1);
            launch!(self.gpu => early stream, name, grid, LOGIT_THREADS, from, table, bias, to, sums, tokens, inner, stride);
        } else {
            let name = kernel("step_logits_any", dtype)?;
            let grid = (vocabulary.div_ceil(8) as u32, self.rows as u32, 1);
            launch!(self.gpu => early stream, name, grid, 256, from, table, bias, to, tokens, inner, inner, stride, 0i32);
            let (name, rows) = ("select_sums", self.buffers.places.description);
            let grid = (self.sizes.chunks() as u32, self.rows as u32, 1);
            launch!(self.gpu => early stream, name, grid, 256, rows, to, sums, tokens, stride);
        }
        Ok(())
    }

    fn attend_own(&self, stream: &CudaStream, index: i32, layer: &LayerWeights) -> Result<()> {
        let Sizes { width, heads, dtype, is_quick, .. } = self.sizes;
        let (places, layout) = (&self.buffers.places, self.buffers.layout);
        let (rows, inputs) = (places.description, places.description + layout.inputs() as u64);
        let (description, qkv, to) = (places.description, places.qkv, places.attended);
        let grid = (heads as u32, self.rows as u32, 1);
        let heads_int = int(heads)?;
        if is_quick {
            let name = kernel("step_own", dtype)?;
            let (parts, bias, splits) = (places.parts, address(&layer.qkv.bias)?, splits_of(&layer.qkv)?);
            launch!(
                self.gpu => early stream, name, grid, 128, description, rows, inputs, parts, bias, to, splits, index, heads_int
            );
        } else {
            let (name, head_width) = (kernel("step_own_any", dtype)?, int(width / heads)?);
            launch!(self.gpu => early stream, name, grid, 32, description, rows, inputs, qkv, to, index, heads_int, head_width);
        }
        Ok(())
    }

    fn attend_cross(&self, stream: &CudaStream, index: i32, layer: &LayerWeights) -> Result<()> {
        let Sizes { width, heads, dtype, is_quick, .. } = self.sizes;
        let (places, layout) = (&self.buffers.places, self.buffers.layout);
        let inputs = places.description + layout.inputs() as u64;
        let (to, heads_int) = (places.attended, int(heads)?);
        if is_quick {
            // There are as many inputs as rows at most; blocks beyond those that there are end at once.
            let (name, grid) = (kernel("step_cross", dtype)?, (heads as u32, self.rows as u32, 1));
            let count = places.description + layout.count() as u64;
            let (parts, bias) = (places.parts, address(&layer.query.bias)?);
            let [rows, splits] = [int(self.rows)?, splits_of(&layer.query)?];
            launch!(
                self.gpu => early stream, name, grid, CROSS_THREADS,
                inputs, count, parts, bias, to, rows, splits, index
            );
        } else {
            let (name, rows, query) = (kernel("step_cross_any", dtype)?, places.description, places.query);
            let (grid, head_width) = ((heads as u32, self.rows as u32, 1), int(width / heads)?);
            launch!(self.gpu => early stream, name, grid, 32, rows, inputs, query, to, index, heads_int, head_width);
        }
        Ok(())
    }

    fn select(&self, stream: &CudaStream) -> Result<()> {
        let places = &self.buffers.places;
        let (description, rows, logits, sums) = (places.description, places.description, places.logits, places.sums);
        let [tokens, stride] = [int(self.sizes.vocabulary)?, int(self.buffers.stride)?];
        let [size, chunks] = [int(self.sizes.chunk())?, int(self.sizes.chunks())?];
        let (name, grid, taken) = ("select_best", (self.rows as u32, 1, 1), places.taken);
        launch!(
            self.gpu => early stream, name, grid, 256,
            description, rows, logits, sums, taken, tokens, stride, size, chunks
        );
        Ok(())
    }

    /// Tiles of a block.
    fn tiles(&self) -> usize {
        (self.rows / TILE).clamp(1, MOST_TILES)
    }
}

/// Parts that a split product leaves behind.
fn splits_of(product: &Weighted) -> Result<i32> {
    int(product.weight.dim(1)? / SPLIT_INNER)
}
