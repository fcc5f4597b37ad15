//! A look at the tensors between the stages of the model, for finding where two implementations part.

use candle_core::Tensor;

/// Hands intermediate tensors, by the names that the golden data uses, to whoever wants to see them.
#[derive(Default)]
pub struct Probe<'a>(Option<&'a mut dyn FnMut(&str, &Tensor)>);

impl<'a> Probe<'a> {
    /// Shows every tensor to `visitor`.
    pub fn new(visitor: &'a mut dyn FnMut(&str, &Tensor)) -> Self {
        Self(Some(visitor))
    }

    /// Shows nothing to nobody.
    pub const fn none() -> Self {
        Self(None)
    }

    /// Called by the model with each tensor; the name is only made when somebody looks.
    pub fn visit(&mut self, name: impl FnOnce() -> String, tensor: &Tensor) {
        if let Some(visitor) = &mut self.0 {
            visitor(&name(), tensor);
        }
    }
}
