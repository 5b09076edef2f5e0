//! How often each thing happened, by reason; shared by every part of the receiver.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Cheap to clone; all clones count together. Names are the program's own words, so their number is bounded.
#[derive(Debug, Clone, Default)]
pub struct Counters(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Counters {
    /// Adds to a counter.
    pub fn add(&self, name: &'static str, by: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += by;
    }

    /// Adds one.
    pub fn count(&self, name: &'static str) {
        self.add(name, 1);
    }

    /// All counters as they are.
    #[must_use]
    pub fn all(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One counter; 0 when it never counted.
    #[must_use]
    pub fn value(&self, name: &str) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied().unwrap_or_default()
    }
}
