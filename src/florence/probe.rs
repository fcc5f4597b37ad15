//! A look at the tensors between the stages of the model, for finding where two implementations part.

use candle_core::{Result, Tensor};

/// Looks at a tensor and its name.
type Visitor<'a> = dyn FnMut(&str, &Tensor) + 'a;

/// Hands intermediate tensors, by the names that the golden data uses, to whoever wants to see them.
#[derive(Default)]
pub struct Probe<'a>(Option<&'a mut Visitor<'a>>);

impl<'a> Probe<'a> {
    /// Shows every tensor to `visitor`.
    pub fn new(visitor: &'a mut Visitor<'a>) -> Self {
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

    /// Called where the model has a sum of which the reference names the part that was added last.
    ///
    /// # Errors
    /// The device's.
    pub fn visit_added(&mut self, name: impl FnOnce() -> String, sum: &Tensor, before: &Tensor) -> Result<()> {
        if self.0.is_some() {
            self.visit(name, &(sum - before)?);
        }
        Ok(())
    }
}
