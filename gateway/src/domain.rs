//! What the store's sensors mean, decided without doing: inputs in, effects out.
//!
//! Owns: the mapping of native payloads to [`Reading`]s ([`map`]), the store's state ([`State`]: twins, stock,
//! lockers, orders, traffic, zones, climate, roll-ups), and the rows and `hub/…` messages that follow from it. Does not own:
//! the journal that orders the inputs, the store that keeps the entities, or any clock, socket or thread.
//!
//! # Invariants
//!
//! - The same inputs in the same order give the same effects in the same order, whatever machine runs them.
//! - Restoring every entity and going on gives what never stopping would have given.
//! - A reading that was accepted is counted in exactly one window per roll-up width, or a counter says why not.
//! - Everything that grows has a named limit; what a limit turns away is counted.
//!
//! Units stand in names; inside, values are fixed-point millionths ([`fixed::Micro`]), so that sums do not depend on
//! the order of their terms and survive being written and read.

mod climate;
mod counters;
mod deadlines;
mod fixed;
mod lockers;
mod mapping;
mod orders;
mod planogram;
mod recent;
mod rollups;
mod state;
mod stock;
mod traffic;
mod twins;
mod zones;

#[cfg(test)]
mod properties;

use contract::{
    Timestamp,
    upstream::{CommandResult, Stream},
};

pub use self::{
    mapping::{Mapped, REFUSED_MARK, Reading, Rejection, What, map},
    orders::{
        CodeHash, HASH_BYTES, STAFF_TOPIC, SealedCommand, SealedRequest, StaffAction, command_topic,
        door_command_id,
    },
    planogram::{Planogram, PlanogramError, Shelf},
    state::{DomainView, RestoreError, State},
};

/// How far a device's clock may run ahead of the hub's before it is not believed.
pub const AHEAD_MS_MAX: i64 = 10 * 60_000;
/// Device times before 2020-01-01T00:00:00Z are not believed.
pub const PLAUSIBLE_FROM_MS: i64 = 1_577_836_800_000;
/// Most devices that the hub keeps a twin of; readings of further ones are counted and not applied.
pub const DEVICES_MAX: usize = 4_096;
/// Most compartments of one locker bank.
pub const COMPARTMENTS_PER_BANK_MAX: usize = 512;
/// Most lines of one traffic counter.
pub const LINES_PER_DEVICE_MAX: usize = 32;
/// Most zones of one traffic sensor.
pub const ZONES_PER_DEVICE_MAX: usize = 32;
/// Most zones of the store.
pub const ZONES_MAX: usize = 256;

/// One thing that happened, as the journal has it.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The journal's number of the record.
    pub seq: u64,
    /// The hub's wall clock when it happened.
    pub at: Timestamp,
    /// Milliseconds since the hub's machine started, a clock that never steps.
    pub mono_ms: u64,
    /// Which start of the hub `mono_ms` belongs to.
    pub boot: u64,
    /// What happened.
    pub kind: InputKind<'a>,
}

/// What happened.
#[derive(Debug, Clone, Copy)]
pub enum InputKind<'a> {
    /// A device has published.
    Publish {
        /// The device that was logged in.
        device: &'a str,
        /// Where it published.
        topic: &'a str,
        /// What it published.
        payload: &'a [u8],
    },
    /// Time has passed.
    Tick,
}

/// What follows from one input, to be carried out in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Effects {
    /// Entities with their new value, `None` where one has gone. A key may appear twice; the last one counts.
    pub changed: Vec<(EntityKey, Option<Vec<u8>>)>,
    /// Rows for headquarters.
    pub rows: Vec<DerivedRow>,
    /// Retained `hub/…` messages: topic and JSON.
    pub hub: Vec<(String, Vec<u8>)>,
    /// What is to be said once, to whom it is said now: not when it happened before this start of the hub.
    pub acts: Vec<Act>,
    /// The publish is one that was applied before, sent again: it is no further row of the stream `readings`.
    pub is_repeat: bool,
}

impl Effects {
    fn put(&mut self, tree: Tree, key: impl Into<Vec<u8>>, value: Vec<u8>) {
        self.changed.push((EntityKey { tree, key: key.into() }, Some(value)));
    }

    fn remove(&mut self, tree: Tree, key: impl Into<Vec<u8>>) {
        self.changed.push((EntityKey { tree, key: key.into() }, None));
    }

    fn tell(&mut self, topic: String, message: &impl serde::Serialize) {
        self.hub.push((topic, json(message)));
    }

    fn event(&mut self, kind: &str, at: Timestamp, device: &str, data: &impl serde::Serialize) {
        self.rows.push(DerivedRow {
            stream: Stream::Events,
            at,
            kind: kind.to_owned(),
            device: Some(device.to_owned()),
            data: json_text(data),
        });
    }
}

/// Something to be said once. What must not be lost is said again by whoever needs it: the kiosk asks again, the door
/// command is repeated until it is answered, headquarters repeats its command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// On the store's own broker, QoS 1, not retained.
    Publish {
        /// Where.
        topic: String,
        /// JSON.
        payload: Vec<u8>,
    },
    /// To headquarters.
    Result {
        /// Which command.
        id: String,
        /// How it went.
        result: CommandResult,
    },
}

/// Where an entity is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityKey {
    /// Which kind of entity.
    pub tree: Tree,
    /// Its key within the tree, at most a few hundred bytes.
    pub key: Vec<u8>,
}

/// Kinds of entity, each a tree of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tree {
    /// The last state of every device.
    Twins,
    /// What every device has said recently, to tell a repetition.
    Recent,
    /// What lies on every shelf.
    Stock,
    /// Every bank of lockers.
    Lockers,
    /// Orders, and who asked for them.
    Orders,
    /// Every counting line, and the day's totals.
    Traffic,
    /// Every zone of the sales floor.
    Zones,
    /// Every fridge and room.
    Climate,
    /// Windows that are open or can still be corrected.
    Rollups,
    /// What was refused, late or odd, by reason.
    Counters,
    /// What the state knows about itself.
    Meta,
}

impl Tree {
    /// All trees.
    pub const ALL: [Self; 11] = [
        Self::Twins,
        Self::Recent,
        Self::Stock,
        Self::Lockers,
        Self::Orders,
        Self::Traffic,
        Self::Zones,
        Self::Climate,
        Self::Rollups,
        Self::Counters,
        Self::Meta,
    ];

    /// The tree's stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Twins => "twins",
            Self::Recent => "recent",
            Self::Stock => "stock",
            Self::Lockers => "lockers",
            Self::Orders => "orders",
            Self::Traffic => "traffic",
            Self::Zones => "zones",
            Self::Climate => "climate",
            Self::Rollups => "rollups",
            Self::Counters => "counters",
            Self::Meta => "meta",
        }
    }

    /// The tree that a name names.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tree| tree.as_str() == name)
    }
}

/// A row for headquarters that the state has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DerivedRow {
    /// The stream that it belongs to.
    pub stream: Stream,
    /// When it happened.
    pub at: Timestamp,
    /// What it is, such as `stock.taken` or `rollup.1m`.
    pub kind: String,
    /// Which device it is about.
    pub device: Option<String>,
    /// Its content, one JSON object.
    pub data: String,
}

/// Whether something seen at `new_at` replaces what was seen at `old_at`: it does unless it is older. A stored time
/// that lies in the hub's future comes from a clock that was wrong and holds nothing back.
fn supersedes(new_at: Timestamp, old_at_ms: i64, hub_at: Timestamp) -> bool {
    old_at_ms <= new_at.as_millis() || hub_at.as_millis().saturating_add(AHEAD_MS_MAX) < old_at_ms
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain structs with text keys and finite numbers are always JSON")
}

fn json_text(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("plain structs with text keys and finite numbers are always JSON")
}
