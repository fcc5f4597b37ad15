//! Memory that several threads write to, each its own part, and scratch that outlives a call.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use super::simd::Simd;

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

/// Copies few values, which calling the library's function would take longer than.
///
/// # Safety
/// As [`Simd`]; `count` values are there, and room for them elsewhere.
#[inline(always)]
pub unsafe fn copy<S: Simd>(from: *const f32, to: *mut f32, count: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        for start in (0..count).step_by(S::LANES) {
            S::store_up_to(to.add(start), S::load_up_to(from.add(start), count - start), count - start);
        }
    }
}

/// Floats of a line of the cache.
pub const LINE: usize = 16;

/// Has the lines of `count` floats fetched that are needed soon, wherever they are.
#[inline(always)]
pub fn fetch<S: Simd>(from: *const f32, count: usize) {
    for start in (0..count).step_by(LINE) {
        S::prefetch(from.wrapping_add(start).cast());
    }
}

thread_local! {
    static SCRATCH: RefCell<Vec<Vec<f32>>> = const { RefCell::new(vec![]) };
}

/// Scratch memory of the thread, of no particular content; it is kept for the next time.
///
/// A value and not a function that calls back: closures are not compiled for the instruction set of the kernel they stand in.
pub struct Scratch {
    memory: Vec<f32>,
    length: usize,
}

impl Scratch {
    /// `length` floats.
    pub fn new(length: usize) -> Self {
        // Several at a time are served from a stack, so each depth settles at its own size.
        let mut memory = SCRATCH.with_borrow_mut(Vec::pop).unwrap_or_default();
        if memory.len() < length {
            memory.resize(length, 0.);
        }
        Self { memory, length }
    }

    /// `length` zeros.
    pub fn zeros(length: usize) -> Self {
        let mut scratch = Self::new(length);
        scratch.fill(0.);
        scratch
    }
}

impl Deref for Scratch {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.memory.get(..self.length).unwrap_or_default()
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        self.memory.get_mut(..self.length).unwrap_or_default()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        SCRATCH.with_borrow_mut(|stack| stack.push(memory));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scratch_of_several_depths_is_apart_and_kept() {
        let mut outer = Scratch::new(4);
        outer.fill(1.);
        let mut inner = Scratch::new(8);
        inner.fill(2.);
        assert_eq!(*outer, [1.; 4]);
        let at = outer.as_ptr();
        drop(inner);
        drop(outer);
        assert_eq!((Scratch::new(4).as_ptr(), Scratch::new(6).len()), (at, 6));
    }
}
