//! Values that come from a picture, wiped when they are dropped.

use std::{hint::black_box, ops::Deref};

/// A list of numbers made from a picture: its memory is overwritten when it goes. It never grows, because a list that
/// moves leaves its old place behind as it was.
#[derive(Clone, PartialEq)]
pub(crate) struct Wiped<T: Copy + Default>(Vec<T>);

impl<T: Copy + Default> Wiped<T> {
    pub(crate) fn new(values: Vec<T>) -> Self {
        Self(values)
    }
}

impl<T: Copy + Default> Deref for Wiped<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Copy + Default> Drop for Wiped<T> {
    fn drop(&mut self) {
        self.0.fill(T::default());
        // Keeps the compiler from dropping stores that nobody reads.
        black_box(&mut self.0);
    }
}

/// The size alone: what comes from a picture never reaches a log.
impl<T: Copy + Default> std::fmt::Debug for Wiped<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Wiped({} values)", self.0.len())
    }
}
