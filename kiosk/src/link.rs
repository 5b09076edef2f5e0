//! The kiosk's line to its hub: the retained `hub/…` topics as one resource and whether they are fresh, requests with
//! their replies ([`Desk`]), and experience events that may wait ([`Link::tell`]).
//!
//! Owns [`StoreFacts`] and [`Desk`]. The socket lives on a thread of its own (`link/client.rs`) behind bounded channels;
//! one system drains what it says, a bounded number in each frame. When the hub is away the facts stay and the badge
//! says so. What the hub no longer says after a new connection is forgotten [`STALE_AFTER`] later.

mod client;
mod desk;
#[cfg(test)]
mod journey;
mod outbox;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bevy::prelude::*;
use contract::{
    RequestId,
    hub::{Climate, Health, LockerBank, ShelfStock, Traffic, Zone},
};
use tokio::sync::mpsc::{Receiver, Sender, channel, error::TryRecvError};
use zeroize::Zeroizing;

pub use client::LinkError;
pub use desk::{Desk, HubReply, Matter, Said};

use self::outbox::Outbox;
use crate::config::{Config, Hub};

/// Messages that may wait between the thread and the frame.
const QUEUE_MESSAGES_MAX: usize = 256;
/// Messages that one frame takes in.
const MESSAGES_PER_FRAME_MAX: usize = 64;
/// Orders that may wait between the frame and the thread.
const ORDERS_MAX: usize = 32;
/// The first of what is refused is named in the log, and then each time that it has doubled.
const REFUSED_NAMED: u64 = 8;
/// Most shelves, banks, zones or sensors that are kept of each kind; a hub that says more is not one of ours.
const ENTRIES_MAX: usize = 1024;
/// Topics whose connection is remembered: the four kinds with many entries, and some single ones.
const TOPICS_MAX: usize = 4 * ENTRIES_MAX + 16;
/// What was said before a new connection and is not said again within this time is no longer true.
const STALE_AFTER: Duration = Duration::from_secs(10);

/// Keeps the facts and the desk.
pub(crate) fn plugin(app: &mut App) {
    app.init_resource::<StoreFacts>()
        .add_plugins(desk::plugin)
        .add_systems(PreUpdate, take_in.run_if(resource_exists::<Link>).in_set(TakeIn));
}

/// When what the hub says reaches the world.
#[derive(SystemSet, Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct TakeIn;

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
    /// When the hub said something last.
    pub heard_at: Option<Instant>,
    /// Counts connections; what each topic said belongs to one.
    pub(crate) connection: u64,
    pub(crate) said_on: BTreeMap<String, u64>,
    /// When what the connections before said is no longer true.
    pub(crate) stale_at: Option<Instant>,
}

impl StoreFacts {
    /// A new connection stands at `now`.
    fn connected(&mut self, now: Instant) {
        self.link = LinkState::Online;
        self.heard_at = Some(now);
        self.connection += 1;
        self.stale_at = Some(now + STALE_AFTER);
    }

    /// Whether something may have to be forgotten at `now`.
    fn is_stale(&self, now: Instant) -> bool {
        self.link == LinkState::Online && self.stale_at.is_some_and(|at| at <= now)
    }

    /// Forgets what only earlier connections said.
    fn forget_stale(&mut self) {
        self.stale_at = None;
        let connection = self.connection;
        let stale: Vec<String> = self
            .said_on
            .iter()
            .filter(|(_, said_on)| **said_on < connection)
            .map(|(topic, _)| topic.clone())
            .collect();
        for topic in stale {
            self.take(&topic, &[]);
        }
    }

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
        let is_known = self.said_on.contains_key(topic);
        if payload.is_empty() {
            self.said_on.remove(topic);
        } else if is_known || self.said_on.len() < TOPICS_MAX {
            self.said_on.insert(topic.to_owned(), self.connection);
        }
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
            // The staff's screen counts them all; a log of them would only grow.
            if self.refused <= REFUSED_NAMED || self.refused.is_power_of_two() {
                warn!(
                    "refused what the hub says on `{}`: {error}",
                    topic.chars().take(128).collect::<String>()
                );
            }
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
    Online {
        /// Whether requests can be answered.
        can_ask: bool,
    },
    /// Not connected, and why.
    Offline(String),
    /// A message of the hub.
    Message {
        /// Its topic.
        topic: String,
        /// Its payload.
        payload: Vec<u8>,
    },
    /// The hub's answer to a request.
    Reply {
        /// Which request.
        id: String,
        /// Its payload; names what a visitor ordered.
        payload: Zeroizing<Vec<u8>>,
    },
    /// A request did not go out.
    Unsent {
        /// Which request.
        id: String,
    },
}

/// What the frame asks of the thread.
#[derive(Debug)]
pub(crate) enum Order {
    /// Ask the hub, now or not at all.
    Request {
        /// Which request.
        id: RequestId,
        /// What is asked; may hold a visitor's code.
        payload: Zeroizing<Vec<u8>>,
    },
    /// Tell the hub sooner or later.
    Experience(Vec<u8>),
    /// Begin a new connection, so that nothing of a visitor is left in the buffers of this one.
    Renew,
}

/// The near ends of the thread's channels. The thread ends when this is dropped.
#[derive(Resource)]
pub struct Link {
    // A receiver is no `Sync`; nobody ever waits for this lock.
    events: Mutex<Receiver<LinkEvent>>,
    orders: Sender<Order>,
    outbox: Arc<Outbox>,
}

impl Link {
    /// Starts the thread that talks to the hub.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(config: &Config, hub: &Hub) -> Result<Self, LinkError> {
        let (link, wires) = Self::wire();
        client::start(config.id.clone(), hub, wires)?;
        Ok(link)
    }

    fn wire() -> (Self, client::Wires) {
        let (said, events) = channel(QUEUE_MESSAGES_MAX);
        let (orders, received) = channel(ORDERS_MAX);
        let outbox = Arc::new(Outbox::default());
        let wires = client::Wires { events: said, orders: received, outbox: Arc::clone(&outbox) };
        (Self { events: Mutex::new(events), orders, outbox }, wires)
    }

    /// Hands a request to the thread; not when its queue is full.
    fn ask(&self, id: RequestId, payload: Zeroizing<Vec<u8>>) -> bool {
        self.orders.try_send(Order::Request { id, payload }).is_ok()
    }

    /// Forgets what went through the connection's buffers.
    fn renew(&self) {
        if self.orders.try_send(Order::Renew).is_err() {
            // The thread does not keep up, or has ended; the next visit asks again.
            debug!("the connection to the hub is not renewed: its queue is full");
        }
    }

    /// Tells the hub an anonymous event, sooner or later; what is lost is counted.
    pub(crate) fn tell(&self, event: Vec<u8>) {
        if self.orders.try_send(Order::Experience(event)).is_err() {
            self.outbox.count_dropped();
        }
    }

    /// Events that were lost since this was asked.
    pub(crate) fn take_dropped(&self) -> u64 {
        self.outbox.take_dropped()
    }

    /// Events that wait for the hub.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.outbox.len()
    }
}

/// A hub that a test plays, at the far ends of the link's channels.
#[cfg(test)]
pub(crate) struct Played(client::Wires);

#[cfg(test)]
impl Link {
    /// A link to a hub that a test plays.
    pub(crate) fn played() -> (Self, Played) {
        let (link, wires) = Self::wire();
        (link, Played(wires))
    }
}

#[cfg(test)]
impl Played {
    fn say(&self, event: LinkEvent) {
        // A full queue makes the real thread wait; a test that says too much has said enough.
        let _ = self.0.events.try_send(event);
    }

    pub(crate) fn online(&self) {
        self.say(LinkEvent::Online { can_ask: true });
    }

    pub(crate) fn offline(&self) {
        self.say(LinkEvent::Offline("the test says so".to_owned()));
    }

    pub(crate) fn message(&self, topic: &str, payload: &str) {
        self.say(LinkEvent::Message { topic: topic.to_owned(), payload: payload.as_bytes().to_vec() });
    }

    pub(crate) fn reply(&self, id: &str, payload: &str) {
        let payload = Zeroizing::new(payload.as_bytes().to_vec());
        self.say(LinkEvent::Reply { id: id.to_owned(), payload });
    }

    /// The ids of what was asked, and the events that were told, since this was called.
    pub(crate) fn heard(&mut self) -> (Vec<String>, Vec<Vec<u8>>) {
        let (mut asked, mut told) = (Vec::new(), Vec::new());
        while let Ok(order) = self.0.orders.try_recv() {
            match order {
                Order::Request { id, .. } => asked.push(id.into()),
                Order::Experience(event) => told.push(event),
                Order::Renew => {}
            }
        }
        (asked, told)
    }
}

fn take_in(mut link: ResMut<Link>, mut facts: ResMut<StoreFacts>, mut desk: ResMut<Desk>) {
    let now = Instant::now();
    let link = link.bypass_change_detection();
    let events = link.events.get_mut().unwrap_or_else(PoisonError::into_inner);
    let mut is_spent = false;
    for _ in 0..MESSAGES_PER_FRAME_MAX {
        match events.try_recv() {
            Ok(LinkEvent::Online { can_ask }) => {
                if facts.link != LinkState::Online {
                    info!("the hub is there");
                }
                facts.connected(now);
                desk.connected(can_ask);
            }
            Ok(LinkEvent::Offline(reason)) => {
                if facts.link != LinkState::Offline {
                    warn!("the hub is away: {reason}");
                    facts.link = LinkState::Offline;
                }
            }
            Ok(LinkEvent::Message { topic, payload }) => {
                facts.heard_at = Some(now);
                facts.take(&topic, &payload);
            }
            Ok(LinkEvent::Reply { id, payload }) => {
                facts.bypass_change_detection().heard_at = Some(now);
                is_spent |= !desk.hear(&id, &payload);
            }
            Ok(LinkEvent::Unsent { id }) => desk.unsent(&id),
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
    if is_spent {
        link.renew();
    }
    if facts.is_stale(now) {
        facts.forget_stale();
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
    fn what_a_new_connection_does_not_say_again_is_forgotten() {
        let mut facts = StoreFacts::default();
        let start = Instant::now();
        facts.connected(start);
        facts.take("hub/lockers/a", LOCKERS);
        facts.take("hub/lockers/b", LOCKERS);
        facts.forget_stale();
        assert_eq!(facts.lockers.len(), 2, "the first connection said it");
        facts.connected(start);
        facts.take("hub/lockers/b", LOCKERS);
        assert!(!facts.is_stale(start) && facts.is_stale(start + STALE_AFTER));
        facts.forget_stale();
        assert_eq!(facts.lockers.keys().collect::<Vec<_>>(), ["b"]);
        assert!(!facts.is_stale(start + STALE_AFTER), "once for each connection");
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
