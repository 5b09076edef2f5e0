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
    messages: Mutex<BTreeMap<Arc<str>, Arc<Message>>>,
    messages_max: usize,
}

impl RetainedTable {
    pub(crate) fn load(store: &dyn RetainedStore, messages_max: usize) -> Self {
        let messages = store
            .load()
            .into_iter()
            .take(messages_max)
            .map(|retained| {
                let topic = Arc::clone(&retained.topic);
                let message = Message {
                    topic: retained.topic,
                    payload: retained.payload,
                    qos: retained.qos,
                    retain: true,
                    forwarded: Bytes::new(),
                    expires_at: None,
                    publisher: 0,
                };
                (topic, Arc::new(message))
            })
            .collect();
        Self { messages: Mutex::new(messages), messages_max }
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Keeps, replaces or, if its payload is empty, removes. `false` if there is no room.
    ///
    /// The store is told under the lock, so that it sees changes in the order that the table does.
    pub(crate) fn apply(&self, message: &Arc<Message>, store: &dyn RetainedStore) -> bool {
        let mut messages = self.lock();
        if message.payload.is_empty() {
            if messages.remove(&message.topic).is_some() {
                store.remove(&message.topic);
            }
            return true;
        }
        if self.messages_max <= messages.len() && !messages.contains_key(&message.topic) {
            return false;
        }
        messages.insert(Arc::clone(&message.topic), Arc::clone(message));
        store.put(&RetainedMessage {
            topic: Arc::clone(&message.topic),
            payload: message.payload.clone(),
            qos: message.qos,
        });
        true
    }

    /// Up to `count` messages that `filter` takes, in the order of their topics, after `after`.
    pub(crate) fn matches(&self, filter: &str, after: Option<&str>, count: usize) -> Vec<Arc<Message>> {
        let now = Instant::now();
        let messages = self.lock();
        if !filter.contains(['+', '#']) {
            let found = if after.is_some() { None } else { messages.get(filter) };
            return found.filter(|message| !message.is_expired(now)).cloned().into_iter().collect();
        }
        let prefix = literal_prefix(filter);
        let start = match after {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included(prefix),
        };
        messages
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(topic, _)| topic.starts_with(prefix))
            .filter(|(topic, message)| filter_matches(filter, topic) && !message.is_expired(now))
            .take(count)
            .map(|(_, message)| Arc::clone(message))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<Message>>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
