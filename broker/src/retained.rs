//! Retained messages: the durable home is the host's, behind [`RetainedStore`].

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::Bytes;

use crate::{
    hooks::Qos,
    message::Message,
    topic::{filter_matches, literal_prefix},
};

/// One retained message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetainedMessage {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its payload, never empty.
    pub payload: Bytes,
    /// The QoS it was published with.
    pub qos: Qos,
}

/// The durable home of retained messages. The broker serves subscribers from memory and tells the
/// store about every change; calls come from the runtime's workers and must not block for long.
/// Messages with an expiry are not put here: a restart forgets them rather than their expiry.
pub trait RetainedStore: Send + Sync + 'static {
    /// Everything that is retained; called once, at start.
    fn load(&self) -> Vec<RetainedMessage>;
    /// Keep or replace.
    fn put(&self, message: &RetainedMessage);
    /// Forget.
    fn remove(&self, topic: &str);
}

/// A [`RetainedStore`] that lives as long as the process.
#[derive(Debug, Default)]
pub struct MemoryRetained {
    messages: Mutex<BTreeMap<Arc<str>, RetainedMessage>>,
}

impl RetainedStore for MemoryRetained {
    fn load(&self) -> Vec<RetainedMessage> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn put(&self, message: &RetainedMessage) {
        self.messages
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(Arc::clone(&message.topic), message.clone());
    }

    fn remove(&self, topic: &str) {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).remove(topic);
    }
}

/// The working copy of all retained messages, which subscribers are served from.
#[derive(Debug)]
pub(crate) struct RetainedTable {
    state: Mutex<State>,
    messages_max: usize,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct State {
    messages: BTreeMap<Arc<str>, Arc<Message>>,
    bytes: usize,
}

/// What a look at the table brought.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) messages: Vec<Arc<Message>>,
    /// The last topic looked at, if there may be more behind it.
    pub(crate) goes_on_after: Option<Arc<str>>,
}

impl RetainedTable {
    /// Takes what the store has, as far as it fits; the second is how many did not.
    pub(crate) fn load(store: &dyn RetainedStore, messages_max: usize, bytes_max: usize) -> (Self, usize) {
        let mut state = State::default();
        let mut left_out = 0;
        for retained in store.load() {
            let message = Message {
                topic: retained.topic,
                payload: retained.payload,
                qos: retained.qos,
                retain: true,
                forwarded: Bytes::new(),
                expires_at: None,
                publisher: 0,
            };
            if !state.insert(&Arc::new(message), messages_max, bytes_max) {
                left_out += 1;
            }
        }
        (Self { state: Mutex::new(state), messages_max, bytes_max }, left_out)
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().messages.len()
    }

    /// Keeps, replaces or, if its payload is empty, removes. `false` if there is no room.
    ///
    /// The store is told under the lock, so that it sees changes in the order that the table does.
    pub(crate) fn apply(&self, message: &Arc<Message>, store: &dyn RetainedStore) -> bool {
        let mut state = self.lock();
        if message.payload.is_empty() {
            if state.remove(&message.topic) {
                store.remove(&message.topic);
            }
            return true;
        }
        if !state.insert(message, self.messages_max, self.bytes_max) {
            return false;
        }
        if message.expires_at.is_some() {
            store.remove(&message.topic);
        } else {
            store.put(&RetainedMessage {
                topic: Arc::clone(&message.topic),
                payload: message.payload.clone(),
                qos: message.qos,
            });
        }
        true
    }

    /// Drops what has expired; how many that were.
    pub(crate) fn drop_expired(&self, now: Instant) -> usize {
        let mut state = self.lock();
        let expired: Vec<_> = state
            .messages
            .values()
            .filter(|message| message.is_expired(now))
            .map(|message| Arc::clone(&message.topic))
            .collect();
        for topic in &expired {
            state.remove(topic);
        }
        expired.len()
    }

    /// Looks at up to `count` messages, in the order of their topics, after `after`, and gives
    /// those that `filter` takes.
    pub(crate) fn page(&self, filter: &str, after: Option<&str>, count: usize) -> Page {
        let now = Instant::now();
        let state = self.lock();
        if !filter.contains(['+', '#']) {
            let found = if after.is_some() { None } else { state.messages.get(filter) };
            let messages = found.filter(|message| !message.is_expired(now)).cloned().into_iter().collect();
            return Page { messages, goes_on_after: None };
        }
        let prefix = literal_prefix(filter);
        let start = match after {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included(prefix),
        };
        let mut page = Page { messages: Vec::new(), goes_on_after: None };
        let in_reach = state
            .messages
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(topic, _)| topic.starts_with(prefix));
        for (looked_at, (topic, message)) in in_reach.enumerate() {
            if filter_matches(filter, topic) && !message.is_expired(now) {
                page.messages.push(Arc::clone(message));
            }
            if looked_at + 1 == count {
                page.goes_on_after = Some(Arc::clone(topic));
                break;
            }
        }
        page
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn insert(&mut self, message: &Arc<Message>, messages_max: usize, bytes_max: usize) -> bool {
        let before = self.messages.get(&message.topic).map(|message| message.bytes());
        let bytes = self.bytes - before.unwrap_or(0) + message.bytes();
        if bytes_max < bytes || (before.is_none() && messages_max <= self.messages.len()) {
            return false;
        }
        self.bytes = bytes;
        self.messages.insert(Arc::clone(&message.topic), Arc::clone(message));
        true
    }

    fn remove(&mut self, topic: &str) -> bool {
        let removed = self.messages.remove(topic);
        self.bytes -= removed.as_ref().map_or(0, |message| message.bytes());
        removed.is_some()
    }
}
