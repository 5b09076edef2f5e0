//! The kiosk's view of its hub: the retained `hub/…` topics as one resource, and whether they are fresh.
//!
//! Owns [`StoreFacts`]. The socket lives on a thread of its own (`link/client.rs`), which hands messages over through
//! a bounded channel; one system drains it, a bounded number in each frame. When the hub is away the facts stay and
//! the badge says so.

mod client;

use std::{collections::BTreeMap, sync::Mutex};

use bevy::prelude::*;
use contract::hub::{Climate, Health, LockerBank, ShelfStock, Traffic, Zone};
use tokio::sync::mpsc::{Receiver, error::TryRecvError};

pub use client::LinkError;

use crate::config::{Config, Hub};

/// Messages that may wait between the thread and the frame.
const QUEUE_MESSAGES_MAX: usize = 256;
/// Messages that one frame takes in.
const MESSAGES_PER_FRAME_MAX: usize = 64;
/// Most shelves, banks, zones or sensors that are kept of each kind; a hub that says more is not one of ours.
const ENTRIES_MAX: usize = 1024;

/// Keeps the facts.
pub(crate) fn plugin(app: &mut App) {
    app.init_resource::<StoreFacts>().add_systems(PreUpdate, take_in.run_if(resource_exists::<Link>));
}

/// Whether the facts are fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LinkState {
    /// No hub is configured.
    #[default]
    Alone,
    /// Not connected yet.
    Connecting,
    /// Connected and subscribed.
    Online,
    /// It was tried, or it was lost.
    Offline,
}

/// What the hub says about the store.
#[derive(Resource, Debug, Default)]
pub struct StoreFacts {
    /// Whether this is fresh.
    pub link: LinkState,
    /// Shelves by topic level.
    pub shelves: BTreeMap<String, ShelfStock>,
    /// Locker banks by topic level.
    pub lockers: BTreeMap<String, LockerBank>,
    /// Entrances today.
    pub traffic: Option<Traffic>,
    /// Zones by topic level.
    pub zones: BTreeMap<String, Zone>,
    /// Fridges and rooms by topic level.
    pub climate: BTreeMap<String, Climate>,
    /// How the hub is.
    pub health: Option<Health>,
    /// Messages that could not be read.
    pub refused: u64,
}

impl StoreFacts {
    /// Free and all compartments of all banks; absent when nothing is known.
    #[must_use]
    pub fn lockers_free(&self) -> Option<(usize, usize)> {
        let all = || self.lockers.values().flat_map(|bank| bank.compartments.values());
        let total = all().count();
        let free =
            all().filter(|compartment| compartment.occupied == Some(false) && !compartment.tamper).count();
        (0 < total).then_some((free, total))
    }

    /// Pieces on all shelves; absent when nothing is known.
    #[must_use]
    pub fn pieces(&self) -> Option<u32> {
        let known: Vec<u32> = self.shelves.values().filter_map(|shelf| shelf.pieces).collect();
        (!known.is_empty()).then(|| known.iter().fold(0u32, |sum, pieces| sum.saturating_add(*pieces)))
    }

    /// Visitors today.
    #[must_use]
    pub fn visitors(&self) -> Option<u64> {
        self.traffic.as_ref().map(|traffic| traffic.count_in)
    }

    /// Takes one retained message in; an empty payload removes what the topic said.
    fn take(&mut self, topic: &str, payload: &[u8]) {
        let taken = match topic.strip_prefix("hub/").map(|rest| rest.split_once('/').unwrap_or((rest, ""))) {
            Some(("stock", key)) => put(&mut self.shelves, key, payload),
            Some(("lockers", key)) => put(&mut self.lockers, key, payload),
            Some(("zones", key)) => put(&mut self.zones, key, payload),
            Some(("climate", key)) => put(&mut self.climate, key, payload),
            Some(("traffic", "")) => set(&mut self.traffic, payload),
            Some(("health", "")) => set(&mut self.health, payload),
            // A newer hub says more than we know.
            _ => Ok(()),
        };
        if let Err(error) = taken {
            self.refused += 1;
            warn!("refused what the hub says on `{}`: {error}", topic.chars().take(128).collect::<String>());
        }
    }
}

fn put<T: serde::de::DeserializeOwned>(
    entries: &mut BTreeMap<String, T>,
    key: &str,
    payload: &[u8],
) -> Result<(), String> {
    if payload.is_empty() {
        entries.remove(key);
        return Ok(());
    }
    if ENTRIES_MAX <= entries.len() && !entries.contains_key(key) {
        return Err(format!("there are {ENTRIES_MAX} entries of this kind already"));
    }
    let value = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    entries.insert(key.to_owned(), value);
    Ok(())
}

fn set<T: serde::de::DeserializeOwned>(slot: &mut Option<T>, payload: &[u8]) -> Result<(), String> {
    *slot = match payload {
        [] => None,
        json => Some(serde_json::from_slice(json).map_err(|error| error.to_string())?),
    };
    Ok(())
}

/// What the thread says.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// Connected and subscribed.
    Online,
    /// Not connected, and why.
    Offline(String),
    /// A message of the hub.
    Message {
        /// Its topic.
        topic: String,
        /// Its payload.
        payload: Vec<u8>,
    },
}

/// The near end of the thread's channel. The thread ends when this is dropped.
#[derive(Resource)]
pub struct Link(Mutex<Receiver<LinkEvent>>);

impl Link {
    /// Starts the thread that talks to the hub.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(config: &Config, hub: &Hub) -> Result<Self, LinkError> {
        client::start(config.id.as_str(), hub, QUEUE_MESSAGES_MAX).map(|events| Self(Mutex::new(events)))
    }
}

fn take_in(mut link: ResMut<Link>, mut facts: ResMut<StoreFacts>) {
    let events =
        link.bypass_change_detection().0.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
    for _ in 0..MESSAGES_PER_FRAME_MAX {
        match events.try_recv() {
            Ok(LinkEvent::Online) => facts.link = LinkState::Online,
            Ok(LinkEvent::Offline(reason)) => {
                if facts.link != LinkState::Offline {
                    warn!("the hub is away: {reason}");
                    facts.link = LinkState::Offline;
                }
            }
            Ok(LinkEvent::Message { topic, payload }) => facts.take(&topic, &payload),
            Err(TryRecvError::Empty) => break,
            Err(TryRecvError::Disconnected) => {
                if facts.link != LinkState::Offline {
                    error!("the thread that talks to the hub has ended");
                    facts.link = LinkState::Offline;
                }
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCKERS: &[u8] = br#"{"bank":"a","at":"2026-11-22T20:00:00.000Z","compartments":{
        "1":{"door":"closed","occupied":false,"at":"2026-11-22T20:00:00.000Z"},
        "2":{"door":"closed","occupied":true,"at":"2026-11-22T20:00:00.000Z"},
        "3":{"door":"closed","at":"2026-11-22T20:00:00.000Z"}}}"#;

    #[test]
    fn retained_messages_become_facts_and_empty_ones_take_them_away() {
        let mut facts = StoreFacts::default();
        facts.take("hub/lockers/a", LOCKERS);
        assert_eq!(facts.lockers_free(), Some((1, 3)), "what is unknown is not promised");
        facts.take("hub/stock/s1", br#"{"shelf":"s1","pieces":4,"at":"2026-11-22T20:00:00.000Z","more":1}"#);
        facts.take("hub/stock/s2", br#"{"shelf":"s2","at":"2026-11-22T20:00:00.000Z"}"#);
        assert_eq!(facts.pieces(), Some(4));
        facts.take("hub/lockers/a", b"");
        assert_eq!(facts.lockers_free(), None);
    }

    #[test]
    fn what_cannot_be_read_is_counted_and_changes_nothing() {
        let mut facts = StoreFacts::default();
        facts.take("hub/lockers/a", LOCKERS);
        facts.take("hub/lockers/a", b"{");
        facts.take("hub/traffic", b"[]");
        facts.take("hub/news/from/tomorrow", b"?");
        assert_eq!((facts.refused, facts.lockers_free()), (2, Some((1, 3))));
    }

    #[test]
    fn a_flood_of_topics_is_bounded() {
        let mut facts = StoreFacts::default();
        for index in 0..ENTRIES_MAX + 5 {
            let payload = br#"{"shelf":"s","at":"2026-11-22T20:00:00.000Z"}"#;
            facts.take(&format!("hub/stock/{index}"), payload);
        }
        assert_eq!((facts.shelves.len(), facts.refused), (ENTRIES_MAX, 5));
    }
}
