//! What clients were refused lately, folded, for whoever looks after the devices.
//!
//! Owns a short list and its bounds. Does not own the words: the host says what was wrong and what to do.
//!
//! # Invariants
//!
//! - At most [`REFUSALS_MAX`] entries of bounded size, in memory alone: any number of refused clients costs the same.
//! - A repetition is counted where it was first said. When the list is full, whoever has most in it loses its oldest:
//!   a client that makes up names pushes out its own.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Mutex, MutexGuard, PoisonError},
};

use contract::Timestamp;
use serde::Serialize;

/// Different refusals that are remembered.
pub const REFUSALS_MAX: usize = 64;
/// Characters that are kept of a name, a client id or a topic.
const NAME_CHARS_MAX: usize = 64;
const TOPIC_CHARS_MAX: usize = 256;
/// Characters that are kept of what is said about it, which may quote the client, and of a payload.
const WORDS_CHARS_MAX: usize = 512;

/// One thing that was refused, once or again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// What kind of refusal, in one word.
    pub code: &'static str,
    /// Who: the device, or the name that a stranger gave.
    pub device: String,
    /// Its client id, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Where it spoke from last; a last will is spoken by the broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<SocketAddr>,
    /// Which topic or filter it was about, at last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// What is wrong.
    pub reason: String,
    /// What to do.
    pub hint: String,
    /// The beginning of the payload, at last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// How often.
    pub times: u64,
    /// When first.
    pub first_at: Timestamp,
    /// When last.
    pub at: Timestamp,
}

/// Whose entries are counted together when the list is full.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blame {
    /// A client that has proved who it is.
    Device(String),
    /// Everybody at a [`source`], whatever they call themselves.
    Address(IpAddr),
}

/// Whose turn and whose blame it is: the address, or the network of an address that one host can change at will.
#[must_use]
pub fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// The list.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<Vec<(Blame, Refusal)>>);

impl Refusals {
    fn lock(&self) -> MutexGuard<'_, Vec<(Blame, Refusal)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a refusal; its `times` and `first_at` are this list's affair. Gives how often it was said by now.
    pub fn note(&self, blame: Blame, mut refusal: Refusal) -> u64 {
        cut(&mut refusal.device, NAME_CHARS_MAX);
        refusal.client_id.as_mut().into_iter().for_each(|id| cut(id, NAME_CHARS_MAX));
        refusal.topic.as_mut().into_iter().for_each(|topic| cut(topic, TOPIC_CHARS_MAX));
        refusal.payload.as_mut().into_iter().for_each(|payload| cut(payload, WORDS_CHARS_MAX));
        cut(&mut refusal.reason, WORDS_CHARS_MAX);
        cut(&mut refusal.hint, WORDS_CHARS_MAX);
        (refusal.times, refusal.first_at) = (1, refusal.at);
        let mut list = self.lock();
        let is_same = |(_, known): &(Blame, Refusal)| {
            known.code == refusal.code
                && known.device == refusal.device
                && known.peer.map(|peer| peer.ip()) == refusal.peer.map(|peer| peer.ip())
        };
        if let Some(index) = list.iter().position(is_same) {
            let (_, known) = list.remove(index);
            (refusal.times, refusal.first_at) = (known.times.saturating_add(1), known.first_at);
        }
        let times = refusal.times;
        list.push((blame, refusal));
        if REFUSALS_MAX < list.len() {
            let mut counts = BTreeMap::<&Blame, usize>::new();
            list.iter().for_each(|(blame, _)| *counts.entry(blame).or_default() += 1);
            let most = counts.values().max().copied().unwrap_or_default();
            if let Some(index) = list.iter().position(|(blame, _)| counts[blame] == most) {
                list.remove(index);
            }
        }
        times
    }

    /// What was refused, the latest first.
    #[must_use]
    pub fn list(&self) -> Vec<Refusal> {
        self.lock().iter().rev().map(|(_, refusal)| refusal.clone()).collect()
    }
}

fn cut(text: &mut String, chars_max: usize) {
    if let Some((end, _)) = text.char_indices().nth(chars_max) {
        text.truncate(end);
        text.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(device: &str, from: u8, at_ms: i64) -> (Blame, Refusal) {
        let peer = SocketAddr::from(([10, 0, 0, from], 1_883));
        let at = Timestamp::saturating_from_millis(at_ms);
        let refusal = Refusal {
            code: "unknown_device",
            device: device.to_owned(),
            client_id: None,
            peer: Some(peer),
            topic: Some("t".repeat(100_000)),
            reason: "no such device".to_owned(),
            hint: "add it".to_owned(),
            payload: None,
            times: 0,
            first_at: at,
            at,
        };
        (Blame::Address(source(peer.ip())), refusal)
    }

    #[test]
    fn a_repetition_is_counted_and_a_client_that_makes_up_names_pushes_out_its_own() {
        let refusals = Refusals::default();
        let note = |device: &str, from, at_ms| {
            let (blame, refusal) = refusal(device, from, at_ms);
            refusals.note(blame, refusal)
        };
        assert_eq!((note("shelf-01", 1, 1_000), note("shelf-01", 1, 3_000)), (1, 2));
        for n in 0..10 * REFUSALS_MAX {
            note(&format!("made-up-{n}"), 2, 4_000);
        }
        note("shelf-02", 3, 5_000);
        let list = refusals.list();
        assert_eq!(list.len(), REFUSALS_MAX);
        assert_eq!(list[0].device, "shelf-02", "the newest comes first");
        assert_eq!(list[1].device, format!("made-up-{}", 10 * REFUSALS_MAX - 1));
        let kept = list.last().unwrap();
        assert_eq!((kept.device.as_str(), kept.times), ("shelf-01", 2), "an honest one's is still there");
        assert_eq!((kept.first_at.as_millis(), kept.at.as_millis()), (1_000, 3_000));
        assert_eq!(kept.topic.as_ref().map(String::len), Some(TOPIC_CHARS_MAX));
    }

    #[test]
    fn one_host_is_one_source_whatever_its_address_is_written_as() {
        let source = |text: &str| source(text.parse().unwrap()).to_string();
        assert_eq!(source("::ffff:192.168.0.7"), "192.168.0.7");
        assert_eq!(source("2001:db8:1:2:3:4:5:6"), source("2001:db8:1:2:ffff::1"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
    }
}
