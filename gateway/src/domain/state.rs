//! The store's state: takes inputs in the journal's order and says what follows.
//!
//! Owns the order in which an input meets the parts (time first, then the reading); each part owns its entities.

use std::collections::BTreeMap;

use contract::{
    StoreId, Timestamp,
    hub::{Climate, Health, LockerBank, SensorSeen, ShelfStock, StoreView, Traffic, Uplink, Zone},
};

use super::{Effects, EntityKey, Input, Planogram, Tree};

/// Everything that the hub knows about its store, apart from the journal.
#[derive(Debug)]
pub struct State {
    planogram: Planogram,
}

/// Why an entity could not be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The key has another form than the tree's keys.
    #[error("entity of `{tree}` has the key {key:?}, which is none of that tree")]
    Key {
        /// Which tree.
        tree: &'static str,
        /// The key, as text where it is text.
        key: String,
    },
    /// The value has another form than the tree's values.
    #[error("entity `{key}` of `{tree}` cannot be read")]
    Value {
        /// Which tree.
        tree: &'static str,
        /// The key, as text where it is text.
        key: String,
        /// Where and why.
        source: serde_json::Error,
    },
}

/// The domain's part of a [`StoreView`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DomainView {
    /// Shelves by id.
    pub stock: Vec<ShelfStock>,
    /// Locker banks by id.
    pub lockers: Vec<LockerBank>,
    /// Entrances today, once anything was counted.
    pub traffic: Option<Traffic>,
    /// Zones by name.
    pub zones: Vec<Zone>,
    /// Fridges and rooms by id.
    pub climate: Vec<Climate>,
    /// Every sensor ever seen, by id.
    pub sensors: Vec<SensorSeen>,
    /// What was refused, late or odd, by reason.
    pub counters: BTreeMap<String, u64>,
}

impl DomainView {
    /// Completes the picture with what the domain does not know.
    #[must_use]
    pub fn into_store_view(
        self,
        store: StoreId,
        at: Timestamp,
        uplink: Uplink,
        health: Health,
        more_counters: BTreeMap<String, u64>,
    ) -> StoreView {
        let Self { stock, lockers, traffic, zones, climate, sensors, mut counters } = self;
        counters.extend(more_counters);
        StoreView { store, at, stock, lockers, traffic, zones, climate, sensors, uplink, health, counters }
    }
}

impl State {
    /// An empty store.
    #[must_use]
    pub fn new(planogram: Planogram) -> Self {
        Self { planogram }
    }

    /// Applies one input; inputs come in the journal's order, each once.
    pub fn apply(&mut self, _input: &Input<'_>) -> Effects {
        Effects::default()
    }

    /// Puts an entity back that [`Effects::changed`] or [`Self::entities`] has given; the order does not matter.
    ///
    /// # Errors
    /// When key or value have another form than the tree's.
    pub fn restore(&mut self, _entity: EntityKey, _value: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }

    /// Every entity with its value, for snapshots and checks.
    pub fn entities(&self) -> impl Iterator<Item = (EntityKey, Vec<u8>)> {
        std::iter::empty()
    }

    /// What the store's screens show.
    #[must_use]
    pub fn view(&self) -> DomainView {
        DomainView::default()
    }

    /// Every retained `hub/…` message as it should be now, for a start whose broker has lost them.
    #[must_use]
    pub fn hub_messages(&self) -> Vec<(String, Vec<u8>)> {
        Vec::new()
    }
}
