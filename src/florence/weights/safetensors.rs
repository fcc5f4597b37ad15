//! `model.safetensors`, mapped into memory and read tensor by tensor.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use memmap2::{Mmap, UncheckedAdvice};
use safetensors::SafeTensors;

/// Bytes before the header of a safetensors file: its length as a little-endian u64.
const HEADER_LENGTH_BYTES: usize = 8;

/// An open file.
pub struct SafetensorsFile {
    bytes: Bytes,
    tensors: HashMap<String, Entry>,
}

enum Bytes {
    Mapped(Mmap),
    Embedded(&'static [u8]),
}

struct Entry {
    dtype: safetensors::Dtype,
    shape: Vec<usize>,
    /// Where the data lies, from the start of the file.
    start: usize,
    end: usize,
}

impl SafetensorsFile {
    /// Maps a file and reads its header.
    ///
    /// # Errors
    /// The reason as text: the file cannot be mapped, is no safetensors file, or ends before its last tensor does.
    pub fn open(path: &Path) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        // SAFETY: the mapping is only read. Should another process cut the file while it is being loaded, the read
        // faults, as it would for any program that maps files; checkpoints are replaced by renaming, never rewritten.
        let map = unsafe { Mmap::map(&file) }.map_err(|error| error.to_string())?;
        Self::parse(Bytes::Mapped(map))
    }

    /// Reads the header of a file that is part of the program.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn embedded(content: &'static [u8]) -> Result<Self, String> {
        Self::parse(Bytes::Embedded(content))
    }

    fn parse(bytes: Bytes) -> Result<Self, String> {
        let content = bytes.as_slice();
        let (header, metadata) =
            SafeTensors::read_metadata(content).map_err(|error| match first_cut_tensor(content) {
                Some(name) => format!("tensor {name}: the file ends before its data does, it is truncated"),
                None => format!("not a safetensors file: {error}"),
            })?;
        let base = HEADER_LENGTH_BYTES + header;
        let mut tensors = HashMap::new();
        for (name, info) in metadata.tensors() {
            let (start, end) = (base + info.data_offsets.0, base + info.data_offsets.1);
            tensors.insert(name, Entry { dtype: info.dtype, shape: info.shape.clone(), start, end });
        }
        Ok(Self { bytes, tensors })
    }

    /// Names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Bytes of all tensors.
    pub fn tensor_bytes(&self) -> u64 {
        self.tensors.values().map(|entry| (entry.end - entry.start) as u64).sum()
    }

    /// Copies a tensor out, in its own type, to the CPU; `None` if there is none of this name.
    ///
    /// # Errors
    /// The reason as text: a type that is no float.
    pub fn read(&self, name: &str) -> Option<Result<Tensor, String>> {
        self.tensors.get(name).map(|entry| self.read_entry(entry))
    }

    fn read_entry(&self, entry: &Entry) -> Result<Tensor, String> {
        let dtype = match entry.dtype {
            safetensors::Dtype::F16 => DType::F16,
            safetensors::Dtype::BF16 => DType::BF16,
            safetensors::Dtype::F32 => DType::F32,
            safetensors::Dtype::F64 => DType::F64,
            other => return Err(format!("its type {other:?} is not a floating point type")),
        };
        let data = self.bytes.as_slice().get(entry.start..entry.end).ok_or("its data lies outside the file")?;
        let tensor = Tensor::from_raw_buffer(data, dtype, &entry.shape, &Device::Cpu).map_err(|e| e.to_string())?;
        self.bytes.release(entry.start, entry.end - entry.start);
        Ok(tensor)
    }
}

/// The first tensor whose data a file with a readable header does not hold.
fn first_cut_tensor(content: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Extent {
        data_offsets: (usize, usize),
    }
    let (length, rest) = content.split_first_chunk::<HEADER_LENGTH_BYTES>()?;
    let (header, data) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let entries: HashMap<String, serde_json::Value> = serde_json::from_slice(header).ok()?;
    let extents = entries.into_iter().filter_map(|(name, entry)| {
        let (_, end) = serde_json::from_value::<Extent>(entry).ok()?.data_offsets;
        Some((end, name))
    });
    extents.filter(|(end, _)| *end > data.len()).min().map(|(_, name)| name)
}

impl Bytes {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Embedded(content) => content,
        }
    }

    /// Gives the pages of a tensor that was copied out back to the system, so that a large file never counts twice in
    /// the process's memory. That is a hint; a failure changes nothing.
    fn release(&self, offset: usize, length: usize) {
        if let Self::Mapped(map) = self {
            // SAFETY: the mapping is a read-only view of a file: dropped pages are read again on the next access.
            let _ = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, offset, length) };
        }
    }
}
