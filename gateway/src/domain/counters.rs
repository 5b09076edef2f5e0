//! Counts of what was refused, late or odd, by reason. Names are fixed words of the code, so their number is bounded.

use std::collections::BTreeMap;

use super::{Effects, RestoreError, Tree, json, state};

/// Counters by name.
#[derive(Debug, Default)]
pub(super) struct Counters(BTreeMap<String, u64>);

impl Counters {
    /// Adds one.
    pub(super) fn bump(&mut self, name: &str, effects: &mut Effects) {
        let value = match self.0.get_mut(name) {
            Some(value) => value,
            None => self.0.entry(name.to_owned()).or_default(),
        };
        *value = value.saturating_add(1);
        effects.put(Tree::Counters, name, json(value));
    }

    pub(super) fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        let name = state::text_key(Tree::Counters, key)?;
        self.0.insert(name, state::value(Tree::Counters, key, value)?);
        Ok(())
    }

    pub(super) fn entities(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        self.0.iter().map(|(name, value)| (name.clone().into_bytes(), json(value)))
    }

    pub(super) fn view(&self) -> BTreeMap<String, u64> {
        self.0.clone()
    }
}
