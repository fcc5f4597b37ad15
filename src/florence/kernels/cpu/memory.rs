//! Memory that several threads write to, each its own part, and scratch that outlives a call.

use std::cell::RefCell;

/// A pointer to memory of which each thread writes a part of its own.
#[derive(Debug)]
pub struct Shared<T>(*mut T);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<T> {}

// SAFETY: whoever writes through it promises, where it does, that no other thread touches the same elements.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// Memory of the caller's.
    pub const fn new(values: &mut [T]) -> Self {
        Self(values.as_mut_ptr())
    }

    /// The element at `index`.
    ///
    /// # Safety
    /// `index` lies within the memory.
    #[inline(always)]
    pub const unsafe fn at(self, index: usize) -> *mut T {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(index) }
    }

    /// The memory from `index` on.
    ///
    /// # Safety
    /// `index` lies within the memory, or just behind it.
    pub const unsafe fn skip(self, index: usize) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { self.0.add(index) })
    }
}

/// A new vector of `length` floats, written by `write`, without being zeroed first.
///
/// # Safety
/// `write` writes every element.
pub unsafe fn written(length: usize, write: impl FnOnce(Shared<f32>)) -> Vec<f32> {
    let mut values = Vec::with_capacity(length);
    write(Shared(values.as_mut_ptr()));
    // SAFETY: the capacity is there, and the elements are written as the caller promises.
    unsafe { values.set_len(length) };
    values
}

thread_local! {
    static SCRATCH: RefCell<Vec<Vec<f32>>> = const { RefCell::new(vec![]) };
}

/// Lends the thread's scratch memory of at least `length` floats, of no particular content, and keeps it for the next time.
pub fn with_scratch<R>(length: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    // Nested loans are served from a stack, so each depth settles at its own size.
    let mut memory = SCRATCH.with_borrow_mut(Vec::pop).unwrap_or_default();
    if memory.len() < length {
        memory.resize(length, 0.);
    }
    let result = work(memory.get_mut(..length).unwrap_or_default());
    SCRATCH.with_borrow_mut(|stack| stack.push(memory));
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_loans_are_apart() {
        with_scratch(4, |outer| {
            outer.fill(1.);
            with_scratch(8, |inner| inner.fill(2.));
            assert_eq!(outer, [1.; 4]);
        });
        with_scratch(6, |again| assert_eq!(again.len(), 6));
    }
}
