//! Products with weights, together with what goes before and what follows them.

use candle_core::{DType, Module, Result, Shape, Tensor, bail};
use florence_cpu::product::{After, Input, PackedMatrix, Rows, mlp, product};

use super::LayerNorm;
use super::layer_norm::NormValues;
use super::values::{Values, tensor};

pub use florence_cpu::product::WeightType;

/// `x Wᵀ + b` with what goes before and what follows it.
pub struct Linear {
    form: Form,
    /// `[outputs]`.
    bias: Option<Tensor>,
}

/// The weights in the form that suits the device.
enum Form {
    /// For the CPU's kernels, the bias included.
    Packed(PackedMatrix),
    /// `[outputs, inputs]` for any device; on a GPU the inputs may be filled up with zeros.
    Plain(Tensor),
}

impl Linear {
    /// `weight` `[outputs, inputs]` and `bias` `[outputs]`, wherever they are.
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { form: Form::Plain(weight), bias }
    }

    /// The same for the CPU's kernels, which keep the weights as `kind`.
    ///
    /// # Errors
    /// Tensors that are not in f32 on the CPU.
    pub fn packed(weight: &Tensor, bias: Option<Tensor>, kind: WeightType) -> Result<Self> {
        Ok(Self { form: Form::Packed(packed(weight, bias.as_ref(), kind)?), bias })
    }

    /// The same in the form that suits the device, which is none of those for the CPU's kernels.
    ///
    /// # Errors
    /// The device's.
    pub fn on_device(weight: Tensor, bias: Option<Tensor>) -> Result<Self> {
        #[cfg(feature = "cuda")]
        let weight = if weight.device().is_cuda() { super::cuda::pad_inner(&weight)? } else { weight };
        Ok(Self::new(weight, bias))
    }

    /// Weight and bias, where they are tensors.
    ///
    /// # Errors
    /// They are packed, or there is no bias.
    #[cfg(feature = "cuda")]
    pub fn weighted(&self) -> Result<super::cuda::step::Weighted> {
        match (&self.form, &self.bias) {
            (Form::Plain(weight), Some(bias)) => {
                Ok(super::cuda::step::Weighted { weight: weight.clone(), bias: bias.clone() })
            }
            _ => bail!("the weights are packed, or without a bias"),
        }
    }

    /// The bias `[outputs]`.
    pub const fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// The weights, if they are packed.
    pub(super) const fn as_packed(&self) -> Option<&PackedMatrix> {
        match &self.form {
            Form::Packed(packed) => Some(packed),
            Form::Plain(_) => None,
        }
    }

    /// `x` `[…, inputs]` to `[…, outputs]`.
    ///
    /// # Errors
    /// Shapes that do not fit, and the device's own.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.form {
            Form::Plain(weight) => plain_product(weight, self.bias.as_ref(), x, None),
            Form::Packed(packed) => packed_product(packed, None, x, (false, None)),
        }
    }

    /// `forward(norm(x))`.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn forward_normed(&self, norm: &LayerNorm, x: &Tensor) -> Result<Tensor> {
        match &self.form {
            Form::Plain(weight) => plain_product(weight, self.bias.as_ref(), &norm.forward(x)?, None),
            Form::Packed(packed) => packed_product(packed, Some(norm), x, (false, None)),
        }
    }

    /// `gelu(forward(x))`, by the error function.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn forward_gelu(&self, x: &Tensor) -> Result<Tensor> {
        match &self.form {
            Form::Plain(weight) => plain_gelu(plain_product(weight, self.bias.as_ref(), x, None)?),
            Form::Packed(packed) => packed_product(packed, None, x, (true, None)),
        }
    }

    /// `residual + forward(x)`.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn forward_add(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        match &self.form {
            Form::Plain(weight) => plain_product(weight, self.bias.as_ref(), x, Some(residual)),
            Form::Packed(packed) => packed_product(packed, None, x, (false, Some(residual))),
        }
    }
}

/// Two products around GELU.
pub struct Mlp {
    fc1: Linear,
    fc2: Linear,
}

impl Mlp {
    /// The inner product, which widens, and the outer.
    pub const fn new(fc1: Linear, fc2: Linear) -> Self {
        Self { fc1, fc2 }
    }

    /// The inner product and the outer.
    #[cfg(feature = "cuda")]
    pub const fn parts(&self) -> (&Linear, &Linear) {
        (&self.fc1, &self.fc2)
    }

    /// `x + fc2(gelu(fc1(x)))`.
    ///
    /// # Errors
    /// As [`Linear::forward`].
    pub fn add_to(&self, x: &Tensor) -> Result<Tensor> {
        match (self.fc1.as_packed(), self.fc2.as_packed()) {
            (Some(fc1), Some(fc2)) => packed_mlp((fc1, fc2), None, x),
            _ => self.fc2.forward_add(&self.fc1.forward_gelu(x)?, x),
        }
    }

    /// `x + fc2(gelu(fc1(norm(x))))`.
    ///
    /// # Errors
    /// As [`Linear::forward`].
    pub fn add_normed_to(&self, norm: &LayerNorm, x: &Tensor) -> Result<Tensor> {
        match (self.fc1.as_packed(), self.fc2.as_packed()) {
            (Some(fc1), Some(fc2)) => packed_mlp((fc1, fc2), Some(norm), x),
            _ => self.fc2.forward_add(&self.fc1.forward_gelu(&norm.forward(x)?)?, x),
        }
    }
}

/// `weight` `[outputs, inputs]` and `bias` `[outputs]`, in f32 on the CPU, for its kernels.
pub(super) fn packed(weight: &Tensor, bias: Option<&Tensor>, kind: WeightType) -> Result<PackedMatrix> {
    let (_outputs, inputs) = weight.dims2()?;
    let bias = bias.map(Values::of);
    let bias = bias.as_ref().map(Values::get).transpose()?;
    Ok(PackedMatrix::new(Values::of(weight).get()?, bias, inputs, kind))
}

/// `x weightᵀ + bias + residual` with unpacked weights.
fn plain_product(weight: &Tensor, bias: Option<&Tensor>, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return super::cuda::linear(x, weight, bias, residual);
    }
    let product = candle_nn::Linear::new(weight.clone(), bias.cloned()).forward(x)?;
    match residual {
        None => Ok(product),
        Some(residual) => residual + product,
    }
}

/// GELU by the error function, of a tensor that is nobody else's.
fn plain_gelu(x: Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        super::cuda::gelu_in_place(&x, None)?;
        return Ok(x);
    }
    x.gelu_erf()
}

/// Rows of `x`, whose last axis must have `inputs` elements, and the shape with `outputs` in its place.
fn rows_and_shape(x: &Tensor, inputs: usize, outputs: usize) -> Result<(usize, Shape)> {
    let mut dims = x.dims().to_vec();
    if x.dtype() != DType::F32 {
        bail!("packed weights take f32, not {:?}", x.dtype());
    }
    match dims.last_mut() {
        Some(last) if *last == inputs => *last = outputs,
        _ => bail!("{inputs} inputs do not fit {:?}", x.dims()),
    }
    Ok((x.elem_count() / inputs.max(1), dims.into()))
}

fn packed_product(
    weights: &PackedMatrix,
    norm: Option<&LayerNorm>,
    x: &Tensor,
    (gelu, residual): (bool, Option<&Tensor>),
) -> Result<Tensor> {
    let (rows, shape) = rows_and_shape(x, weights.inputs(), weights.outputs())?;
    if let Some(residual) = residual.filter(|residual| residual.shape() != &shape) {
        bail!("{:?} cannot be added to {shape:?}", residual.dims());
    }
    let x = x.contiguous()?;
    let residual = residual.map(Tensor::contiguous).transpose()?;
    let (x, residual) = (Values::of(&x), residual.as_ref().map(Values::of));
    let norm = norm.map(LayerNorm::values);
    let norm = norm.as_ref().map(NormValues::get).transpose()?;
    let residual = residual.as_ref().map(Values::get).transpose()?;
    let residual = residual.map(|values| Rows::new(values, weights.outputs()));
    let input = Input { rows: Rows::new(x.get()?, weights.inputs()), norm };
    tensor(product(input, rows, weights, After { gelu, residual }), shape)
}

fn packed_mlp(weights: (&PackedMatrix, &PackedMatrix), norm: Option<&LayerNorm>, x: &Tensor) -> Result<Tensor> {
    let (rows, shape) = rows_and_shape(x, weights.0.inputs(), weights.1.outputs())?;
    if x.shape() != &shape || weights.0.outputs() != weights.1.inputs() {
        bail!("the products do not fit each other");
    }
    let x = x.contiguous()?;
    let x = Values::of(&x);
    let norm = norm.map(LayerNorm::values);
    let norm = norm.as_ref().map(NormValues::get).transpose()?;
    let residual = Rows::new(x.get()?, weights.1.outputs());
    let input = Input { rows: Rows::new(x.get()?, weights.0.inputs()), norm };
    tensor(mlp(input, rows, weights, residual), shape)
}
