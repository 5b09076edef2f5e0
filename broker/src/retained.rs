//! Retained messages: the durable home is the host's, behind [`RetainedStore`].

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::Bytes;

use crate::{
    hooks::{Qos, RetainedOwner},
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
    /// The topics whose message is the host's: these count neither in number nor in bytes.
    of_host: BTreeSet<Arc<str>>,
    /// Topic and payload bytes of the clients' messages.
    bytes: usize,
    /// A message was refused and there is no more room since.
    has_refused: bool,
}

/// Who retains a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Host,
    Client,
}

/// What loading could not take.
#[derive(Debug, Default)]
pub(crate) struct NotLoaded {
    /// For lack of room.
    pub(crate) left_out: usize,
    /// Because nobody may retain there any more; the store has forgotten these.
    pub(crate) dropped: usize,
}

/// What a look at the table brought.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) messages: Vec<Arc<Message>>,
    /// The last topic looked at, if there may be more behind it.
    pub(crate) goes_on_after: Option<Arc<str>>,
}

impl RetainedTable {
    /// Takes what the store has and somebody may retain, as far as it fits.
    pub(crate) fn load(
        store: &dyn RetainedStore,
        owner: impl Fn(&str) -> RetainedOwner,
        messages_max: usize,
        bytes_max: usize,
    ) -> (Self, NotLoaded) {
        let mut state = State::default();
        let mut not_loaded = NotLoaded::default();
        for retained in store.load() {
            let by = match owner(&retained.topic) {
                RetainedOwner::Host => By::Host,
                RetainedOwner::Client => By::Client,
                RetainedOwner::Nobody => {
                    store.remove(&retained.topic);
                    not_loaded.dropped += 1;
                    continue;
                }
            };
            let message = Message {
                topic: retained.topic,
                payload: retained.payload,
                qos: retained.qos,
                retain: true,
                forwarded: Bytes::new(),
                expires_at: None,
                publisher: 0,
            };
            if !state.insert(&Arc::new(message), by, messages_max, bytes_max) {
                not_loaded.left_out += 1;
            }
        }
        (Self { state: Mutex::new(state), messages_max, bytes_max }, not_loaded)
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().messages.len()
    }

    /// Whether a client's next message may find no room.
    pub(crate) fn is_full(&self) -> bool {
        let state = self.lock();
        state.has_refused || self.messages_max <= state.of_clients()
    }

    /// Removes every message whose topic is to go; how many that were.
    pub(crate) fn remove_where(&self, is_to_go: impl Fn(&str) -> bool, store: &dyn RetainedStore) -> usize {
        let mut state = self.lock();
        let going: Vec<_> = state.messages.keys().filter(|topic| is_to_go(topic)).cloned().collect();
        for topic in &going {
            state.remove(topic);
            store.remove(topic);
        }
        going.len()
    }

    /// Keeps, replaces or, if its payload is empty, removes. `false` if there is no room.
    ///
    /// The store is told under the lock, so that it sees changes in the order that the table does.
    pub(crate) fn apply(&self, message: &Arc<Message>, by: By, store: &dyn RetainedStore) -> bool {
        let mut state = self.lock();
        if message.payload.is_empty() {
            if state.remove(&message.topic) {
                store.remove(&message.topic);
            }
            return true;
        }
        if !state.insert(message, by, self.messages_max, self.bytes_max) {
            state.has_refused = true;
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
    fn of_clients(&self) -> usize {
        self.messages.len() - self.of_host.len()
    }

    fn insert(&mut self, message: &Arc<Message>, by: By, messages_max: usize, bytes_max: usize) -> bool {
        let of_host = self.of_host.contains(&message.topic);
        let before = self.messages.get(&message.topic).filter(|_| !of_host).map(|message| message.bytes());
        let without = self.bytes - before.unwrap_or(0);
        if by == By::Host {
            self.bytes = without;
            self.of_host.insert(Arc::clone(&message.topic));
        } else {
            let bytes = without + message.bytes();
            if bytes_max < bytes || (before.is_none() && messages_max <= self.of_clients()) {
                return false;
            }
            self.has_refused &= bytes >= self.bytes;
            self.bytes = bytes;
            self.of_host.remove(&message.topic);
        }
        self.messages.insert(Arc::clone(&message.topic), Arc::clone(message));
        true
    }

    fn remove(&mut self, topic: &str) -> bool {
        let Some(removed) = self.messages.remove(topic) else { return false };
        if !self.of_host.remove(topic) {
            self.bytes -= removed.bytes();
            self.has_refused = false;
        }
        true
    }
}
