//! Lockers: every compartment's door, and the events that staff and headquarters want to hear of.

use std::collections::BTreeMap;

use contract::{
    DeviceId, Timestamp,
    hub::{Compartment, LockerBank},
    native::Door,
    order::Place,
};
use serde::{Deserialize, Serialize};

use super::{
    COMPARTMENTS_PER_BANK_MAX, Effects, RestoreError, Tree, counters::Counters, deadlines::Moment, json,
    orders::Orders, state, supersedes,
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

/// What a message has changed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Step {
    /// A door was opened.
    pub(super) has_opened: bool,
    /// Something is different on screens.
    pub(super) has_changed: bool,
}

#[derive(Serialize)]
struct DoorEvent {
    compartment: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    occupied: Option<bool>,
}

impl Lockers {
    /// Applies a message.
    pub(super) fn apply(
        &mut self,
        seen: &Seen<'_>,
        now: Moment,
        counters: &mut Counters,
        effects: &mut Effects,
    ) -> Step {
        let bank = self.0.entry(seen.bank.to_string()).or_default();
        let last = bank.get(&seen.compartment);
        if last.is_none() && COMPARTMENTS_PER_BANK_MAX <= bank.len() {
            counters.bump("lockers.over_limit", effects);
            return Step::default();
        }
        if last.is_some_and(|last| !supersedes(seen.at, last.at_ms, now.at)) {
            counters.bump("lockers.out_of_order", effects);
            return Step::default();
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
        Step { has_opened, has_changed: !is_same }
    }

    /// A door's position, and whether something lies behind it.
    pub(super) fn get(&self, place: &Place) -> Option<(Door, Option<bool>)> {
        let locker = self.0.get(place.bank.as_str())?.get(&place.compartment)?;
        Some((locker.door, locker.occupied))
    }

    /// Every closed compartment that nobody has forced, by bank and number, and whether something lies inside.
    pub(super) fn closed(&self) -> impl Iterator<Item = (Place, Option<bool>)> {
        let places = self.0.iter().flat_map(|(bank, doors)| doors.iter().map(move |door| (bank, door)));
        places.filter(|(_, (_, locker))| locker.door == Door::Closed && !locker.tamper).filter_map(
            |(bank, (&compartment, locker))| {
                Some((Place { bank: DeviceId::parse(bank).ok()?, compartment }, locker.occupied))
            },
        )
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

    /// Every bank as screens show it.
    pub(super) fn view(&self, orders: &Orders) -> Vec<LockerBank> {
        self.0.iter().filter_map(|(id, bank)| Some(view(&DeviceId::parse(id).ok()?, bank, orders))).collect()
    }

    /// One bank as screens show it.
    pub(super) fn view_of(&self, bank: &DeviceId, orders: &Orders) -> Option<LockerBank> {
        Some(view(bank, self.0.get(bank.as_str())?, orders))
    }
}

fn key(bank: &str, compartment: u16) -> Vec<u8> {
    [bank.as_bytes(), &[0], &compartment.to_be_bytes()].concat()
}

fn view(id: &DeviceId, bank: &BTreeMap<u16, Locker>, orders: &Orders) -> LockerBank {
    let at_ms = bank.values().map(|locker| locker.at_ms).max().unwrap_or(0);
    let compartment = |(&number, locker): (&u16, &Locker)| {
        let Locker { at_ms, door, occupied, tamper } = *locker;
        let (busy, order, stuck) = orders.at(&Place { bank: id.clone(), compartment: number });
        let at = Timestamp::saturating_from_millis(at_ms);
        (number, Compartment { door, occupied, tamper, busy, stuck, order, at })
    };
    LockerBank {
        bank: id.clone(),
        compartments: bank.iter().map(compartment).collect(),
        at: Timestamp::saturating_from_millis(at_ms),
    }
}
