//! Memory of the steps of a number of rows: it is taken once and stays where it is, so that a recorded graph finds it again.

use candle_core::Result;
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr, PinnedHostSlice, result};

use super::plan::{Layout, read_row};
use super::{Candidates, MOST_ROWS, MOST_TAKEN, Sizes, StepInput};
use crate::florence::kernels::cuda::Gpu;

/// Words of a row's results.
const TAKEN_WORDS: usize = 1 + 2 * MOST_TAKEN;
/// Buffers begin at multiples of this.
const ALIGNMENT: usize = 256;

/// Addresses of the buffers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Places {
    pub description: u64,
    pub hidden: u64,
    pub qkv: u64,
    pub query: u64,
    pub attended: u64,
    pub projected: u64,
    pub inner: u64,
    pub logits: u64,
    pub sums: u64,
    pub parts: u64,
    pub taken: u64,
}

/// The buffers of a bucket.
pub struct Buffers {
    rows: usize,
    pub layout: Layout,
    pub places: Places,
    /// Values from one row of logits to the next.
    pub stride: usize,
    description: PinnedHostSlice<u8>,
    taken: PinnedHostSlice<u32>,
    /// Bytes of the description that are in use.
    described: usize,
    /// Holds all of them.
    _memory: CudaSlice<u8>,
}

impl Buffers {
    /// Takes the memory for steps of so many rows.
    ///
    /// # Errors
    /// The device is full.
    pub fn new(gpu: &Gpu, sizes: &Sizes, rows: usize) -> Result<Self> {
        debug_assert!(rows <= MOST_ROWS);
        let layout = Layout::new(rows, sizes.tokens);
        let stride = sizes.vocabulary.next_multiple_of(8);
        let value = sizes.dtype.size_in_bytes();
        let mut end = 0;
        let mut place = |bytes: usize| {
            let start = end;
            end += bytes.next_multiple_of(ALIGNMENT);
            start as u64
        };
        let mut places = Places {
            description: place(layout.bytes()),
            hidden: place(rows * sizes.width * value),
            qkv: place(rows * 3 * sizes.width * value),
            query: place(rows * sizes.width * value),
            attended: place(rows * sizes.width * value),
            projected: place(rows * sizes.width * value),
            inner: place(rows * sizes.hidden * value),
            logits: place(rows * stride * 4),
            sums: place(rows * sizes.chunks() * 8),
            parts: place(rows * sizes.part_values() * 4),
            taken: place(rows * TAKEN_WORDS * 4),
        };
        // Zeros, because rows that nobody uses are computed, too.
        let memory = gpu.device.alloc_zeros::<u8>(end)?;
        places.shift(memory.device_ptr(&gpu.stream).0);
        let context = gpu.stream.context();
        // SAFETY: every byte is written before it is uploaded, and every word downloaded before it is read.
        let (description, taken) = unsafe {
            (
                context.alloc_pinned::<u8>(layout.bytes()).w()?,
                context.alloc_pinned_with_flags::<u32>(rows * TAKEN_WORDS, 0).w()?,
            )
        };
        Ok(Self { rows, layout, places, stride, description, taken, described: 0, _memory: memory })
    }

    /// Rows that there is room for.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Writes down what the next step is about.
    ///
    /// # Errors
    /// Inputs that do not fit.
    pub fn describe(&mut self, inputs: &[StepInput<'_>]) -> Result<()> {
        let bytes = self.description.as_mut_slice().w()?;
        self.described = self.layout.write(inputs, bytes)?;
        Ok(())
    }

    /// Sends the description to the device.
    ///
    /// # Errors
    /// The device's.
    pub fn upload(&mut self, gpu: &Gpu) -> Result<()> {
        let bytes = self.description.as_slice().w()?;
        let bytes = bytes.get(..self.described).unwrap_or_default();
        // SAFETY: the place has room for the longest description. The bytes are written again after the next wait only.
        unsafe { result::memcpy_htod_async(self.places.description, bytes, gpu.stream.cu_stream()).w() }
    }

    /// Waits for the step and reads what it found.
    ///
    /// # Errors
    /// The device's, of everything that was asked of it before as well.
    pub fn read(&mut self, gpu: &Gpu, inputs: &[StepInput<'_>]) -> Result<Vec<Candidates>> {
        let rows: usize = inputs.iter().map(|input| input.rows.len()).sum();
        let words = self.taken.as_mut_slice().w()?;
        let used = words.get_mut(..rows * TAKEN_WORDS).unwrap_or_default();
        // SAFETY: the place holds as many words, and they are read after the wait.
        unsafe { result::memcpy_dtoh_async(used, self.places.taken, gpu.stream.cu_stream()).w()? };
        gpu.stream.synchronize().w()?;
        let takes = inputs.iter().flat_map(|input| input.rows.iter().map(|row| row.take));
        Ok(used.chunks_exact(TAKEN_WORDS).zip(takes).map(|(words, take)| read_row(words, take)).collect())
    }
}

impl Places {
    /// Turns offsets into addresses.
    fn shift(&mut self, base: u64) {
        for place in [
            &mut self.description,
            &mut self.hidden,
            &mut self.qkv,
            &mut self.query,
            &mut self.attended,
            &mut self.projected,
            &mut self.inner,
            &mut self.logits,
            &mut self.sums,
            &mut self.parts,
            &mut self.taken,
        ] {
            *place += base;
        }
    }
}
