//! Lockers: every compartment's door, and the events that staff and headquarters want to hear of.

use std::collections::BTreeMap;

use contract::{
    DeviceId, Timestamp,
    hub::{self, Compartment, LockerBank},
    native::Door,
};
use serde::{Deserialize, Serialize};

use super::{
    COMPARTMENTS_PER_BANK_MAX, Effects, RestoreError, Tree, counters::Counters, deadlines::Moment, json,
    state, supersedes,
};

/// All banks by id, each with its compartments by number.
#[derive(Debug, Default)]
pub(super) struct Lockers(BTreeMap<String, BTreeMap<u16, Locker>>);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Locker {
    at_ms: i64,
    door: Door,
    occupied: Option<bool>,
    tamper: bool,
}

/// What one message says about one compartment.
pub(super) struct Seen<'a> {
    pub(super) bank: &'a DeviceId,
    pub(super) at: Timestamp,
    pub(super) compartment: u16,
    pub(super) door: Door,
    pub(super) occupied: Option<bool>,
    pub(super) tamper: Option<bool>,
}

#[derive(Serialize)]
struct DoorEvent {
    compartment: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    occupied: Option<bool>,
}

impl Lockers {
    /// Applies a message; true when a door was opened.
    pub(super) fn apply(
        &mut self,
        seen: &Seen<'_>,
        now: Moment,
        counters: &mut Counters,
        effects: &mut Effects,
    ) -> bool {
        let bank = self.0.entry(seen.bank.to_string()).or_default();
        let last = bank.get(&seen.compartment);
        if last.is_none() && COMPARTMENTS_PER_BANK_MAX <= bank.len() {
            counters.bump("lockers.over_limit", effects);
            return false;
        }
        if last.is_some_and(|last| !supersedes(seen.at, last.at_ms, now.at)) {
            counters.bump("lockers.out_of_order", effects);
            return false;
        }
        let locker = Locker {
            at_ms: seen.at.as_millis(),
            door: seen.door,
            occupied: seen.occupied.or(last.and_then(|last| last.occupied)),
            tamper: seen.tamper.unwrap_or(last.is_some_and(|last| last.tamper)),
        };
        let data = DoorEvent { compartment: seen.compartment, occupied: locker.occupied };
        let mut event = |kind| effects.event(kind, seen.at, seen.bank.as_str(), &data);
        let was = last.map(|last| last.door);
        let has_opened = locker.door == Door::Open && was != Some(Door::Open);
        if has_opened {
            event("locker.opened");
        }
        // The first message about a closed door tells a state, not an event.
        if locker.door == Door::Closed && was == Some(Door::Open) {
            event("locker.closed");
        }
        if locker.tamper && !last.is_some_and(|last| last.tamper) {
            event("locker.tamper");
        }
        let is_same = last.is_some_and(|last| Locker { at_ms: last.at_ms, ..locker.clone() } == *last);
        effects.put(Tree::Lockers, key(seen.bank.as_str(), seen.compartment), json(&locker));
        bank.insert(seen.compartment, locker);
        if !is_same {
            effects.tell(hub::lockers_topic(seen.bank), &view(seen.bank, bank));
        }
        has_opened
    }

    pub(super) fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        let wrong = || state::wrong_key(Tree::Lockers, key);
        let [bank @ .., 0, high, low] = key else { return Err(wrong()) };
        let bank = state::device_key(Tree::Lockers, bank)?;
        let locker = state::value(Tree::Lockers, key, value)?;
        self.0.entry(bank).or_default().insert(u16::from_be_bytes([*high, *low]), locker);
        Ok(())
    }

    pub(super) fn entities(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        self.0
            .iter()
            .flat_map(|(id, bank)| bank.iter().map(move |(&number, locker)| (key(id, number), json(locker))))
    }

    pub(super) fn view(&self) -> Vec<LockerBank> {
        self.0.iter().filter_map(|(id, bank)| Some(view(&DeviceId::parse(id).ok()?, bank))).collect()
    }
}

fn key(bank: &str, compartment: u16) -> Vec<u8> {
    [bank.as_bytes(), &[0], &compartment.to_be_bytes()].concat()
}

fn view(id: &DeviceId, bank: &BTreeMap<u16, Locker>) -> LockerBank {
    let at_ms = bank.values().map(|locker| locker.at_ms).max().unwrap_or(0);
    let compartment = |(&number, locker): (&u16, &Locker)| {
        let Locker { at_ms, door, occupied, tamper } = *locker;
        (number, Compartment { door, occupied, tamper, at: Timestamp::saturating_from_millis(at_ms) })
    };
    LockerBank {
        bank: id.clone(),
        compartments: bank.iter().map(compartment).collect(),
        at: Timestamp::saturating_from_millis(at_ms),
    }
}
