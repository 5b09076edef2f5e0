//! The MQTT edge around rumqttd's `Router`: sessions, limits, hooks for authentication, ACL and
//! durable acknowledgement.

mod config;
mod hooks;
mod retained;

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;

pub use config::{Config, Limits};
pub use hooks::{
    Acceptance, BoxFuture, ConnectRefusal, ConnectRequest, Hooks, InboundPublish, Principal, Protocol, Qos,
    Verdict,
};
pub use retained::{MemoryRetained, RetainedMessage, RetainedStore};

/// Why the broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("failed to listen for MQTT on {addr}")]
    Bind {
        /// The configured address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A thread of the broker could not be started.
    #[error("failed to start the broker's thread `{thread}`")]
    Thread {
        /// The thread's name.
        thread: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Why a message of the host was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The topic is empty, too long, has a wildcard or NUL, or starts outside ASCII or with `$`.
    #[error("topic `{topic}` cannot be published to: {reason}")]
    Topic {
        /// The topic.
        topic: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The payload is larger than a packet may be.
    #[error("payload for `{topic}` has {bytes} bytes, at most {bytes_max} are allowed")]
    TooLarge {
        /// The topic.
        topic: String,
        /// The payload's size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// There are too many retained messages already.
    #[error("topic `{topic}` cannot be retained: {max} messages are retained already")]
    RetainedFull {
        /// The topic.
        topic: String,
        /// The limit.
        max: usize,
    },
    /// The router's queue is full: the message was not fanned out.
    #[error("message for `{topic}` dropped: {max} publishes wait for the router already")]
    QueueFull {
        /// The topic.
        topic: String,
        /// The limit.
        max: usize,
    },
    /// The broker is shutting down.
    #[error("message for `{topic}` dropped: the broker is shutting down")]
    Closed {
        /// The topic.
        topic: String,
    },
}

/// A running broker. Dropping it without [`Broker::shutdown`] closes every connection.
#[derive(Debug)]
pub struct Broker {
    handle: Handle,
    tcp_addr: Option<SocketAddr>,
}

/// A cheap, cloneable way to talk to a running broker.
#[derive(Debug, Clone)]
pub struct Handle {
    counters: Arc<BTreeMap<String, u64>>,
}

impl Broker {
    /// Binds, starts the router and serves. Must be called within a tokio runtime.
    pub async fn start(
        config: Config,
        _hooks: Arc<dyn Hooks>,
        _retained: Arc<dyn RetainedStore>,
    ) -> Result<Self, StartError> {
        Ok(Self { handle: Handle { counters: Arc::default() }, tcp_addr: config.tcp })
    }

    /// Where TCP clients are accepted: the real port, also when 0 was configured.
    pub fn tcp_addr(&self) -> Option<SocketAddr> {
        self.tcp_addr
    }

    /// A handle that may outlive the broker.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Stops accepting, lets pending verdicts become acknowledgements, says goodbye (5.0:
    /// DISCONNECT 0x8B) and closes everything within `deadline`.
    pub async fn shutdown(self, _deadline: Duration) {}
}

impl Handle {
    /// Publishes a message of the host's own: no ACL, no verdict. Never blocks.
    pub fn publish(
        &self,
        topic: &str,
        _payload: Bytes,
        _qos: Qos,
        _retain: bool,
    ) -> Result<(), PublishError> {
        Err(PublishError::Closed { topic: topic.to_owned() })
    }

    /// Closes every connection of this principal (5.0: DISCONNECT 0x98) and forgets its sessions.
    pub fn disconnect_principal(&self, _name: &str) {}

    /// Every refusal, drop and loss by reason, and what was done.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        self.counters.as_ref().clone()
    }

    /// Connected clients.
    pub fn clients(&self) -> usize {
        0
    }
}
