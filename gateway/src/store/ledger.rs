//! What the store keeps beside the domain: retained messages, what headquarters has acknowledged, and which journal
//! records are repetitions.
//!
//! Owns: these values in memory, and which of them the store does not have yet. Does not own: the database; the
//! projector takes what is unwritten ([`Ledger::take_unwritten`]) into its next transaction. Calls never block for
//! longer than a map operation.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use contract::upstream::Stream;

use super::{Changes, EntryKey, StoreTree, repeats::Repeats};

/// A retained message as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retained {
    /// 0, 1 or 2.
    pub qos: u8,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// How far headquarters is in one stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Acked {
    /// Headquarters has every row through this one.
    pub through_seq: u64,
    /// The stream has no row between `through_seq` and this one.
    pub empty_through_seq: u64,
    /// The journal's epoch under which headquarters said so; 0 when that was not kept.
    pub epoch: u64,
}

/// Bytes of [`Acked`] as the store keeps it.
const ACKED_BYTES: usize = 24;

#[derive(Default)]
struct Inner {
    retained: BTreeMap<String, Retained>,
    acked: BTreeMap<Stream, Acked>,
    repeats: Repeats,
    unwritten: BTreeSet<EntryKey>,
}

/// See the module.
#[derive(Default)]
pub struct Ledger(Mutex<Inner>);

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an entry of the store back; entries of other trees and unreadable ones are left out (`false`).
    pub fn restore(&self, entry: &EntryKey, value: &[u8]) -> bool {
        if entry.tree == StoreTree::Repeats {
            let bucket = entry.key.as_slice().try_into().map(u64::from_be_bytes);
            return bucket.is_ok_and(|bucket| self.lock().repeats.restore(bucket, value));
        }
        let Ok(key) = std::str::from_utf8(&entry.key) else { return false };
        match entry.tree {
            StoreTree::Domain(_) | StoreTree::Repeats => false,
            StoreTree::Retained => {
                let Some((&qos, payload)) = value.split_first() else { return false };
                let retained = Retained { qos, payload: payload.to_vec() };
                self.lock().retained.insert(key.to_owned(), retained);
                true
            }
            StoreTree::Uplink => {
                let (Some(stream), Some(acked)) = (Stream::parse(key), decode_acked(value)) else {
                    return false;
                };
                self.lock().acked.insert(stream, acked);
                true
            }
        }
    }

    /// Every retained message by topic.
    #[must_use]
    pub fn retained(&self) -> BTreeMap<String, Retained> {
        self.lock().retained.clone()
    }

    /// Keeps or replaces a retained message.
    pub fn retain(&self, topic: &str, retained: Retained) {
        let mut inner = self.lock();
        inner.retained.insert(topic.to_owned(), retained);
        inner.unwritten.insert(retained_key(topic));
    }

    /// Forgets a retained message.
    pub fn forget(&self, topic: &str) {
        let mut inner = self.lock();
        if inner.retained.remove(topic).is_some() {
            inner.unwritten.insert(retained_key(topic));
        }
    }

    /// How far headquarters is.
    #[must_use]
    pub fn acked(&self, stream: Stream) -> Acked {
        self.lock().acked.get(&stream).copied().unwrap_or_default()
    }

    /// Headquarters has every row through this one, as it said under `epoch`; never goes back.
    pub fn ack(&self, stream: Stream, epoch: u64, through_seq: u64) {
        let mut inner = self.lock();
        let acked = inner.acked.entry(stream).or_default();
        if acked.through_seq < through_seq {
            acked.through_seq = through_seq;
            acked.epoch = epoch;
            acked.empty_through_seq = acked.empty_through_seq.max(through_seq);
            inner.unwritten.insert(uplink_key(stream));
        }
    }

    /// The stream has no row after `after_seq` up to `empty_through_seq`; counts only while `after_seq` is where
    /// headquarters is.
    pub fn empty(&self, stream: Stream, after_seq: u64, empty_through_seq: u64) {
        let mut inner = self.lock();
        let acked = inner.acked.entry(stream).or_default();
        if acked.through_seq == after_seq && acked.empty_through_seq < empty_through_seq {
            acked.empty_through_seq = empty_through_seq;
            inner.unwritten.insert(uplink_key(stream));
        }
    }

    /// The record is a repetition of an earlier one. It stays one for as long as the journal has it.
    pub fn note_repeat(&self, seq: u64) {
        let mut inner = self.lock();
        let bucket = inner.repeats.insert(seq);
        inner.unwritten.extend(bucket.map(repeats_key));
    }

    /// Whether the record is a repetition of an earlier one.
    #[must_use]
    pub fn is_repeat(&self, seq: u64) -> bool {
        self.lock().repeats.contains(seq)
    }

    /// The journal has nothing before `seq` any more.
    pub fn forget_repeats_before(&self, seq: u64) {
        let mut inner = self.lock();
        let gone = inner.repeats.prune(seq);
        inner.unwritten.extend(gone.map(repeats_key));
    }

    /// Forgets what belongs to the journal, for one that started anew: what headquarters has, and the repetitions.
    pub fn reset_journal(&self) {
        let mut inner = self.lock();
        let gone = inner.repeats.clear();
        inner.unwritten.extend(gone.map(repeats_key));
        let streams: Vec<_> = std::mem::take(&mut inner.acked).into_keys().collect();
        inner.unwritten.extend(streams.into_iter().map(uplink_key));
    }

    /// How far headquarters is in every stream, for the journal to keep with its mark: the database may be a moment
    /// older than a segment's end.
    #[must_use]
    pub fn uplink_note(&self) -> Vec<u8> {
        let inner = self.lock();
        let mut note = Vec::new();
        for stream in inner.acked.keys() {
            let name = stream.as_str().as_bytes();
            note.push(u8::try_from(name.len()).expect("a stream's name is short"));
            note.extend_from_slice(name);
            note.extend(inner.value(&uplink_key(*stream)).unwrap_or_default());
        }
        note
    }

    /// Takes what [`Self::uplink_note`] gave wherever it says more than is known. A note of another form says nothing.
    pub fn restore_uplink_note(&self, mut note: &[u8]) {
        let mut inner = self.lock();
        while let Some((stream, noted)) = take_noted(&mut note) {
            let Some(stream) = stream else { continue };
            let acked = inner.acked.entry(stream).or_default();
            let before = *acked;
            if acked.through_seq < noted.through_seq {
                (acked.through_seq, acked.epoch) = (noted.through_seq, noted.epoch);
            }
            acked.empty_through_seq = acked.empty_through_seq.max(noted.empty_through_seq);
            if *acked != before {
                inner.unwritten.insert(uplink_key(stream));
            }
        }
    }

    /// Adds everything that the store does not have yet to `changes`.
    pub fn take_unwritten(&self, changes: &mut Changes) {
        let mut inner = self.lock();
        for key in std::mem::take(&mut inner.unwritten) {
            let value = inner.value(&key);
            changes.insert(key, value);
        }
    }

    /// Every entry as the store has it.
    #[must_use]
    pub fn entries(&self) -> Vec<(EntryKey, Vec<u8>)> {
        let inner = self.lock();
        let keys = inner.retained.keys().map(|topic| retained_key(topic));
        let keys = keys.chain(inner.acked.keys().copied().map(uplink_key));
        let keys: Vec<_> = keys.chain(inner.repeats.buckets().map(repeats_key)).collect();
        keys.into_iter().filter_map(|key| inner.value(&key).map(|value| (key, value))).collect()
    }
}

impl Inner {
    fn value(&self, entry: &EntryKey) -> Option<Vec<u8>> {
        if entry.tree == StoreTree::Repeats {
            return self.repeats.value(u64::from_be_bytes(entry.key.as_slice().try_into().ok()?));
        }
        let key = std::str::from_utf8(&entry.key).ok()?;
        match entry.tree {
            StoreTree::Domain(_) | StoreTree::Repeats => None,
            StoreTree::Retained => self.retained.get(key).map(|retained| {
                let mut value = vec![retained.qos];
                value.extend_from_slice(&retained.payload);
                value
            }),
            StoreTree::Uplink => self.acked.get(&Stream::parse(key)?).map(|acked| {
                let mut value = acked.through_seq.to_le_bytes().to_vec();
                value.extend_from_slice(&acked.empty_through_seq.to_le_bytes());
                value.extend_from_slice(&acked.epoch.to_le_bytes());
                value
            }),
        }
    }
}

fn retained_key(topic: &str) -> EntryKey {
    EntryKey { tree: StoreTree::Retained, key: topic.as_bytes().to_vec() }
}

fn uplink_key(stream: Stream) -> EntryKey {
    EntryKey { tree: StoreTree::Uplink, key: stream.as_str().as_bytes().to_vec() }
}

/// Big-endian, so that keys sort as numbers do.
fn repeats_key(bucket: u64) -> EntryKey {
    EntryKey { tree: StoreTree::Repeats, key: bucket.to_be_bytes().to_vec() }
}

/// The next stream of a note; its name may be one that only a newer release knows.
fn take_noted(note: &mut &[u8]) -> Option<(Option<Stream>, Acked)> {
    let (&name_len, rest) = note.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(name_len))?;
    let (value, rest) = rest.split_at_checked(ACKED_BYTES)?;
    *note = rest;
    Some((Stream::parse(std::str::from_utf8(name).ok()?), decode_acked(value)?))
}

fn decode_acked(value: &[u8]) -> Option<Acked> {
    let (through_seq, rest) = value.split_first_chunk::<8>()?;
    let (empty_through_seq, rest) = rest.split_first_chunk::<8>()?;
    // Before epochs were kept with it, nothing followed.
    let epoch = if rest.is_empty() { 0 } else { u64::from_le_bytes(rest.try_into().ok()?) };
    Some(Acked {
        through_seq: u64::from_le_bytes(*through_seq),
        empty_through_seq: u64::from_le_bytes(*empty_through_seq),
        epoch,
    })
}
