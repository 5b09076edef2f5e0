//! Retained messages: the durable home is the host's, behind [`RetainedStore`].

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

use crate::hooks::Qos;

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
