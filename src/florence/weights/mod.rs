//! A checkpoint's tensors by the names that Microsoft gave them, checked and cast as they are read.

mod layout;
mod random;
mod safetensors;
mod wanted;

use std::collections::HashSet;
use std::fmt::Display;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::pickle::{PthTensors, TensorInfo};
use candle_core::{CpuStorage, Device, Shape, Storage, Tensor};

pub use layout::{IMAGE_PROJECTION, Layout, POSITION_OFFSET, TOKEN_EMBEDDING};
use random::RandomWeights;
use safetensors::SafetensorsFile;
use wanted::Wanted;

use super::error::{CheckpointError, CheckpointResult};
use super::files::CheckpointFiles;
use super::kernels::{LayerNorm, Linear, Vocabulary, WeightType};
use super::precision::Precision;

/// The preferred file of weights.
pub const SAFETENSORS_FILE: &str = "model.safetensors";
/// The file of weights that Microsoft published: a zip with a pickle that is read without running any code.
pub const PICKLE_FILE: &str = "pytorch_model.bin";

/// Told the bytes of weights that were read so far and those that there are, 0 where nobody knows; says whether to go on.
pub type LoadWatch = Arc<dyn Fn(u64, u64) -> ControlFlow<()> + Send + Sync>;

/// An open file of weights.
struct Checkpoint {
    store: Store,
    layout: Layout,
    /// For messages.
    file: String,
    used: Mutex<HashSet<String>>,
    read_bytes: AtomicU64,
    watch: Option<LoadWatch>,
}

enum Store {
    Safetensors(SafetensorsFile),
    Pickle(PthTensors),
    /// No file at all.
    Random(RandomWeights),
}

/// A place in the tree of tensor names, with the type and device that tensors are brought to.
#[derive(Clone)]
pub struct Weights {
    checkpoint: Arc<Checkpoint>,
    prefix: String,
    precision: Precision,
    device: Device,
}

impl Weights {
    /// Opens a checkpoint's weights: `model.safetensors` if there is one, else `pytorch_model.bin`. Drawn ones have no file.
    /// `watch` sees each tensor go by.
    ///
    /// # Errors
    /// No such file, a broken one, or one without a Florence-2 model. Tensors fail as cancelled once `watch` breaks off.
    pub fn open(
        files: &CheckpointFiles,
        precision: Precision,
        device: &Device,
        watch: Option<LoadWatch>,
    ) -> CheckpointResult<Self> {
        let (store, layout, file) = match files {
            CheckpointFiles::Drawn { .. } => {
                (Store::Random(RandomWeights::new(files)?), Layout::Original, files.location())
            }
            CheckpointFiles::Folder(_) | CheckpointFiles::Embedded { .. } => open_file(files)?,
        };
        let checkpoint =
            Checkpoint { store, layout, file, used: Mutex::default(), read_bytes: AtomicU64::new(0), watch };
        Ok(Self { checkpoint: Arc::new(checkpoint), prefix: String::new(), precision, device: device.clone() })
    }

    /// One level down the tree.
    pub fn pp(&self, part: impl Display) -> Self {
        Self { prefix: self.path(part), ..self.clone() }
    }

    /// A tensor of this shape.
    ///
    /// # Errors
    /// It is missing, has another shape, is no float, cut off or not finite.
    pub fn get(&self, shape: impl Into<Shape>, name: &str) -> CheckpointResult<Tensor> {
        self.read(name, Wanted::Shape(shape.into().dims()))
    }

    /// A table `[rows, columns]` whose number of rows is the file's own business, but not zero.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn table(&self, columns: usize, name: &str) -> CheckpointResult<Tensor> {
        self.read(name, Wanted::Table { columns })
    }

    /// Whether the file holds the tensor.
    pub fn contains(&self, name: &str) -> bool {
        let names = self.checkpoint.store.names();
        self.checkpoint.layout.file_names(&self.path(name)).iter().any(|name| names.contains(name))
    }

    /// `weight` `[outputs, inputs]` and `bias` `[outputs]`.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn linear(&self, inputs: usize, outputs: usize) -> CheckpointResult<Linear> {
        self.product(self.get((outputs, inputs), "weight")?, Some(self.get(outputs, "bias")?))
    }

    /// Several linear layers of the same input as one, their outputs side by side.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn linears(&self, names: &[&str], inputs: usize, outputs: usize) -> CheckpointResult<Linear> {
        let parts = names.iter().map(|name| self.pp(name));
        let parts = parts.map(|part| Ok((part.get((outputs, inputs), "weight")?, part.get(outputs, "bias")?)));
        let (weights, biases): (Vec<_>, Vec<_>) = parts.collect::<CheckpointResult<Vec<_>>>()?.into_iter().unzip();
        self.product(Tensor::cat(&weights, 0)?, Some(Tensor::cat(&biases, 0)?))
    }

    /// A product with `weight` `[outputs, inputs]` in the form that is best for the device.
    ///
    /// # Errors
    /// The device's.
    pub fn product(&self, weight: Tensor, bias: Option<Tensor>) -> CheckpointResult<Linear> {
        self.product_as(self.precision.weights(), weight, bias)
    }

    /// Like [`Self::product`], with weights that are few and matter much.
    ///
    /// # Errors
    /// The device's.
    pub fn sensitive_product(&self, weight: Tensor, bias: Option<Tensor>) -> CheckpointResult<Linear> {
        self.product_as(self.precision.sensitive_weights(), weight, bias)
    }

    fn product_as(&self, kind: WeightType, weight: Tensor, bias: Option<Tensor>) -> CheckpointResult<Linear> {
        match self.device.is_cpu() {
            true => Ok(Linear::packed(&weight, bias, kind)?),
            false => Ok(Linear::on_device(weight, bias)?),
        }
    }

    /// The table of tokens `[tokens, width]`, and what is added to logits, in the form that is best for the device.
    ///
    /// # Errors
    /// The device's.
    pub fn vocabulary(&self, table: Tensor, bias: Option<Tensor>) -> CheckpointResult<Vocabulary> {
        match self.device.is_cpu() {
            true => Ok(Vocabulary::packed(&table, bias.as_ref(), self.precision.sensitive_weights())?),
            false => Ok(Vocabulary::new(table, bias)?),
        }
    }

    /// `weight` and `bias` `[size]`.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn layer_norm(&self, size: usize) -> CheckpointResult<LayerNorm> {
        Ok(LayerNorm::new(self.get(size, "weight")?, self.get(size, "bias")?))
    }

    /// Checks, after a model took its tensors, that none was left which it should have had: the file then holds another
    /// model than the configuration says.
    ///
    /// # Errors
    /// Names one such tensor.
    pub fn check_nothing_left(&self) -> CheckpointResult<()> {
        let used = self.checkpoint.used.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left: Vec<_> = self.checkpoint.store.names();
        left.retain(|name| !used.contains(name) && self.checkpoint.layout.is_unexpected(name));
        left.sort_unstable();
        match left.first() {
            None => Ok(()),
            Some(name) => Err(self.checkpoint.error(name, "config.json describes a model without it".to_owned())),
        }
    }

    fn path(&self, part: impl Display) -> String {
        if self.prefix.is_empty() { part.to_string() } else { format!("{}.{part}", self.prefix) }
    }

    fn read(&self, name: &str, wanted: Wanted<'_>) -> CheckpointResult<Tensor> {
        let path = self.path(name);
        let (file_name, mut tensor) = self.checkpoint.read(&path, wanted)?;
        if self.checkpoint.layout.is_transposed(&path) && tensor.rank() == 2 {
            tensor = tensor.t()?.contiguous()?;
        }
        if !wanted.fits(tensor.dims()) {
            let reason = format!("its shape is {:?}, but {wanted} was expected", tensor.dims());
            return Err(self.checkpoint.error(&file_name, reason));
        }
        self.checkpoint.note_read(&tensor)?;
        let dtype = self.precision.activations(&self.device);
        let tensor = tensor.to_dtype(dtype)?;
        if !is_finite(&tensor) {
            return Err(self.checkpoint.error(&file_name, format!("a value is not finite as {dtype:?}")));
        }
        Ok(tensor.to_device(&self.device)?)
    }
}

impl Checkpoint {
    /// The tensor under the first of its names that the file holds, on the CPU and in its own type.
    fn read(&self, path: &str, wanted: Wanted<'_>) -> CheckpointResult<(String, Tensor)> {
        let names = self.layout.file_names(path);
        for name in &names {
            if let Some(result) = self.store.read(name, wanted) {
                let tensor = result.map_err(|reason| self.error(name, reason))?;
                self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone());
                return Ok((name.clone(), tensor));
            }
        }
        Err(self.error(&names.join(" or "), "is missing".to_owned()))
    }

    /// Tells how far it is.
    fn note_read(&self, tensor: &Tensor) -> CheckpointResult<()> {
        let Some(watch) = &self.watch else { return Ok(()) };
        let bytes = (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64;
        let read = self.read_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        match watch(read, self.store.bytes()) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(CheckpointError::Cancelled),
        }
    }

    fn error(&self, tensor: &str, reason: String) -> CheckpointError {
        CheckpointError::Tensor { file: self.file.clone(), tensor: tensor.to_owned(), reason }
    }
}

impl Store {
    fn names(&self) -> Vec<String> {
        match self {
            Self::Safetensors(file) => file.names().map(str::to_owned).collect(),
            Self::Pickle(file) => file.tensor_infos().keys().cloned().collect(),
            Self::Random(_) => vec![],
        }
    }

    /// Bytes of all tensors, 0 for weights without a file.
    fn bytes(&self) -> u64 {
        match self {
            Self::Safetensors(file) => file.tensor_bytes(),
            Self::Pickle(file) => {
                let bytes = |info: &TensorInfo| info.layout.shape().elem_count() * info.dtype.size_in_bytes();
                file.tensor_infos().values().map(|info| bytes(info) as u64).sum()
            }
            Self::Random(_) => 0,
        }
    }

    /// The tensor as the file holds it; only weights without a file heed what is wanted.
    fn read(&self, name: &str, wanted: Wanted<'_>) -> Option<Result<Tensor, String>> {
        match self {
            Self::Safetensors(file) => file.read(name),
            Self::Pickle(file) => file.get(name).map_err(|error| error.to_string()).transpose(),
            Self::Random(weights) => Some(weights.draw(name, wanted)),
        }
    }
}

/// The weights in the file that there is, their layout, and the file's name for messages.
fn open_file(files: &CheckpointFiles) -> CheckpointResult<(Store, Layout, String)> {
    let (file, store) = if files.contains(SAFETENSORS_FILE) {
        (SAFETENSORS_FILE, open_safetensors(files)?)
    } else if files.contains(PICKLE_FILE) {
        (PICKLE_FILE, open_pickle(files)?)
    } else {
        return Err(files.missing(&format!("{SAFETENSORS_FILE} or {PICKLE_FILE}")));
    };
    let layout = Layout::detect(store.names().iter().map(String::as_str))
        .ok_or_else(|| files.invalid(file, "holds no vision tower, so it is no Florence-2 checkpoint".to_owned()))?;
    Ok((store, layout, files.display(file)))
}

fn open_safetensors(files: &CheckpointFiles) -> CheckpointResult<Store> {
    let file = match files {
        CheckpointFiles::Folder(folder) => SafetensorsFile::open(&folder.join(SAFETENSORS_FILE)),
        CheckpointFiles::Embedded { files: list, .. } | CheckpointFiles::Drawn { files: list, .. } => list
            .iter()
            .find(|(name, _)| *name == SAFETENSORS_FILE)
            .map_or_else(|| Err("is missing".to_owned()), |(_, content)| SafetensorsFile::embedded(content)),
    };
    file.map(Store::Safetensors).map_err(|reason| files.invalid(SAFETENSORS_FILE, reason))
}

fn open_pickle(files: &CheckpointFiles) -> CheckpointResult<Store> {
    let CheckpointFiles::Folder(folder) = files else {
        return Err(files.missing(SAFETENSORS_FILE));
    };
    let file = PthTensors::new(folder.join(PICKLE_FILE), None)
        .map_err(|error| files.invalid(PICKLE_FILE, format!("not a zip-format PyTorch file: {error}")))?;
    if file.tensor_infos().is_empty() {
        return Err(files.invalid(PICKLE_FILE, "holds no tensors".to_owned()));
    }
    Ok(Store::Pickle(file))
}

/// Whether every value of a CPU tensor of a floating point type is finite.
fn is_finite(tensor: &Tensor) -> bool {
    let (storage, _layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(CpuStorage::F32(values)) => values.iter().all(|value| value.is_finite()),
        Storage::Cpu(CpuStorage::F16(values)) => values.iter().all(|value| value.is_finite()),
        Storage::Cpu(CpuStorage::BF16(values)) => values.iter().all(|value| value.is_finite()),
        Storage::Cpu(CpuStorage::F64(values)) => values.iter().all(|value| value.is_finite()),
        _ => false,
    }
}
