//! The MQTT edge around rumqttd's `Router`: sessions, limits, hooks for authentication, ACL and
//! durable acknowledgement.
//!
//! Owns the listener, the connections, sessions, retained messages, wills and every limit on them.
//! Does not own what a publish means or where it is kept: the host says so through [`Hooks`] and
//! [`RetainedStore`]. Durations are [`Duration`]s, sizes are bytes, the rest are counts.
//!
//! # The design in facts
//!
//! 1. rumqttd 0.20 is only used for its `Router`, through its public API. Its listeners are not:
//!    they know no ACL per topic and no shutdown, acknowledge from memory, and seven inputs end
//!    them or the router for good while the process looks healthy.
//! 2. One task per connection reads, decides and writes (`connection`). It takes any `AsyncRead +
//!    AsyncWrite`; TLS and WebSocket go between accept and that task (`listener`).
//! 3. 3.1.1 and 5.0 share a port; the CONNECT tells them apart. The codec is ours (`codec`): only
//!    packets that a client may send can be decoded, and no input panics.
//! 4. An acknowledgement follows [`Hooks::accept`]'s verdict, in the order of receipt of its
//!    connection. At most [`Limits::receive_maximum`] verdicts are pending per connection; beyond
//!    that its socket is not read. A client that leaves does not take its verdicts with it.
//! 5. QoS 2 inbound is keyed by packet id in the session, so duplicates are known over reconnects.
//!    Subscribers are granted QoS 1 at most. Outbound QoS is the lesser of publish and
//!    subscription.
//! 6. Overlapping filters of a session deliver once: the oldest subscription that takes a topic
//!    delivers it, with the highest QoS among those that take it. (While an older overlapping
//!    subscription is being removed, a message already inside the router may be missed.)
//! 7. Fan-out: a publish that any filter takes goes, in an envelope, through the router to *lanes*
//!    (`subscriptions`): the router matches lanes' filters and copies; a lane's task hands the
//!    message to sessions. The first 48 distinct filters have a lane each; later ones share the
//!    lane of their first level or of everything, and are told apart by the tree. A publish that
//!    no filter takes never enters the router.
//! 8. The router is supervised (`router`): a canary makes a round trip every
//!    [`Limits::canary_period`], and every message is followed until its lanes have it. A dead or
//!    hung router is replaced while connections stay up; what it had not delivered goes into the
//!    new one, once. If that does not help, [`Handle::failed`] tells the host.
//! 9. Every queue is bounded and every loss has a counter: a session's queue by messages and bytes,
//!    pending verdicts, the router's queue, retained messages, subscriptions, sessions. A client
//!    that does not read for [`Limits::write_deadline`] is closed.
//! 10. Retained messages are served from memory and kept by [`RetainedStore`]; a subscriber gets
//!     them at the pace at which it reads, so any number of them arrives. v5 properties of a
//!     retained message live in memory alone, and so does one that expires.
//! 11. Sessions live in memory, for as long as the client asked within
//!     [`Limits::session_expiry_max`]. A session belongs to a principal and a client id: two
//!     principals with the same client id are two clients. A will is asked for at CONNECT and goes
//!     the way of any publish when it fires: on loss, take-over and "disconnect with will", not on
//!     a clean goodbye and not when the broker itself shuts down.
//! 12. Not offered, and said so to 5.0 clients: topic aliases, shared subscriptions, subscription
//!     identifiers, enhanced authentication. Topics that start with `$` belong to the broker.
//! 13. rumqttd logs each publish and subscription in spans of its own; a host that prints logs
//!     should filter `rumqttd` to errors or turn it off, for speed.
//! 14. The first broker of a process installs a panic hook that silences threads named `router-*`
//!     and passes everything else on, because a router can only be ended by its own panic. That
//!     needs `panic = "unwind"`.

mod broker;
mod codec;
mod config;
mod connection;
mod counters;
mod hooks;
mod listener;
mod message;
mod refusals;
mod retained;
mod router;
mod session;
mod subscriptions;
mod topic;

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use tokio::net::TcpListener;

use crate::{
    broker::{NoRoom, Shared},
    counters::Counter,
    message::Message,
    router::Command,
};

pub use config::{Config, Limits};
pub use hooks::{
    Acceptance, BoxFuture, ConnectRefusal, ConnectRequest, Hooks, InboundPublish, Incident, Principal,
    Protocol, Qos, RetainedOwner, Trouble, Verdict,
};
pub use refusals::{Blame, REFUSALS_MAX, Refusal, Refusals, source};
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
    /// The topic is empty, too long, has a wildcard or NUL, or starts with `$`.
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
    /// The router's queue is full, in messages or in bytes: the message was not fanned out.
    #[error(
        "message for `{topic}` dropped: {max} publishes or {bytes_max} bytes wait for the router already"
    )]
    QueueFull {
        /// The topic.
        topic: String,
        /// The limit of messages.
        max: usize,
        /// The limit of topics' and payloads' bytes.
        bytes_max: usize,
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
    shared: Arc<Shared>,
    tcp_addr: Option<SocketAddr>,
}

/// A cheap, cloneable way to talk to a running broker.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

/// Something broke that the broker cannot mend; see [`Handle::failed`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the MQTT broker has failed: {reason}")]
pub struct Failure {
    reason: String,
}

/// How long the connections have to end once the deadline of a shutdown is over.
const HALT_GRACE: Duration = Duration::from_millis(500);
/// Room in the router's queue beside the messages, for what its thread is told.
const TOLD_MAX: usize = 16;
/// How long the router has to end after that; then its thread is left behind.
const ROUTER_GRACE: Duration = Duration::from_secs(5);

impl Broker {
    /// Binds, starts the router and serves. Must be called within a tokio runtime.
    pub async fn start(
        config: Config,
        hooks: Arc<dyn Hooks>,
        retained: Arc<dyn RetainedStore>,
    ) -> Result<Self, StartError> {
        let limits = config.limits.within_protocol();
        let listener = match config.tcp {
            Some(addr) => {
                let bound = async {
                    let listener = TcpListener::bind(addr).await?;
                    let addr = listener.local_addr()?;
                    Ok((listener, addr))
                };
                Some(bound.await.map_err(|source| StartError::Bind { addr, source })?)
            }
            None => None,
        };
        // Messages are let in one by one; what else the thread is told needs some room beside them.
        let (sender, commands) =
            flume::bounded(limits.router_queue_messages_max.max(1).saturating_add(TOLD_MAX));
        let shared = Arc::new(Shared::new(limits, hooks, retained, sender));
        router::spawn(Arc::clone(&shared), commands, tokio::runtime::Handle::current())
            .map_err(|source| StartError::Thread { thread: "mqtt-router-feed", source })?;
        let housed = Arc::clone(&shared);
        shared.spawn_vital("housekeeping", move || Arc::clone(&housed).keep_house());
        let tcp_addr = listener.map(|(listener, addr)| {
            let (door, entered) = (Arc::new(listener::Door::new(listener)), Arc::clone(&shared));
            shared.spawn_vital("accept", move || Arc::clone(&door).accept(Arc::clone(&entered)));
            addr
        });
        Ok(Self { shared, tcp_addr })
    }

    /// Where TCP clients are accepted: the real port, also when 0 was configured.
    pub fn tcp_addr(&self) -> Option<SocketAddr> {
        self.tcp_addr
    }

    /// A handle that may outlive the broker.
    pub fn handle(&self) -> Handle {
        Handle { shared: Arc::clone(&self.shared) }
    }

    /// Stops accepting, lets pending verdicts become acknowledgements, says goodbye (5.0:
    /// DISCONNECT 0x8B) and closes everything within `deadline`. Wills are not published: it is
    /// the hub that goes, not its clients.
    pub async fn shutdown(self, deadline: Duration) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        if tokio::time::timeout(deadline, self.shared.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = self.shared.tasks.len(), "connections are cut: the deadline is over");
        }
        self.halt();
        drop(tokio::time::timeout(HALT_GRACE, self.shared.tasks.wait()).await);
        drop(tokio::time::timeout(ROUTER_GRACE, self.shared.feeder_ended.cancelled()).await);
    }

    fn halt(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.halt.cancel();
        // Only wakes the thread; it also looks at `halt` by itself.
        drop(self.shared.commands.try_send(Command::Look));
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.halt();
    }
}

impl Handle {
    /// Publishes a message of the host's own: no ACL, no verdict, and always room to be retained (how
    /// many topics it retains on is the host's to bound). Never blocks.
    pub fn publish(&self, topic: &str, payload: Bytes, qos: Qos, retain: bool) -> Result<(), PublishError> {
        let limits = &self.shared.limits;
        let topic_owned = || topic.to_owned();
        if self.shared.stop.is_cancelled() {
            return Err(PublishError::Closed { topic: topic_owned() });
        }
        if let Some(reason) = topic::topic_fault(topic, limits.topic_bytes_max) {
            return Err(PublishError::Topic { topic: topic_owned(), reason });
        }
        if limits.packet_bytes_max < payload.len() {
            let (bytes, bytes_max) = (payload.len(), limits.packet_bytes_max);
            return Err(PublishError::TooLarge { topic: topic_owned(), bytes, bytes_max });
        }
        let message = Arc::new(Message {
            topic: Arc::from(topic),
            payload,
            qos,
            retain,
            forwarded: Bytes::new(),
            expires_at: None,
            publisher: 0,
        });
        self.shared.publish_own(&message).map_err(|NoRoom| PublishError::QueueFull {
            topic: topic_owned(),
            max: limits.router_queue_messages_max,
            bytes_max: limits.router_queue_bytes_max,
        })
    }

    /// Removes every retained message whose topic is to go, of clients and the host; how many that were.
    pub fn remove_retained(&self, is_to_go: impl Fn(&str) -> bool) -> usize {
        let removed = self.shared.retained.remove_where(is_to_go, &*self.shared.store);
        self.shared.counters.add(Counter::RetainedForgotten, removed as u64);
        removed
    }

    /// Whether a client of this principal is connected.
    pub fn is_connected(&self, name: &str) -> bool {
        self.shared.is_connected(name)
    }

    /// Closes every connection of this principal (5.0: DISCONNECT 0x98) and forgets its sessions.
    pub fn disconnect_principal(&self, name: &str) {
        self.shared.disconnect_principal(name);
    }

    /// Waits until something breaks that the broker cannot mend by itself: it still accepts and
    /// acknowledges, but delivers nothing, or lets nobody in any more. The host should end itself
    /// and say why. Never ready while all is well, nor after a shutdown.
    pub async fn failed(&self) -> Failure {
        self.shared.failed.cancelled().await;
        let reason = self.shared.failure().unwrap_or("for an unknown reason").to_owned();
        Failure { reason }
    }

    /// Every refusal, drop and loss by reason, what was done, and a few gauges (`clients`,
    /// `sessions`, `connections_open`, `handshakes_open`, `retained_messages`, `retained_full`, `subscribed_filters`, `router_lanes`,
    /// `router_queue_messages`, `failed`).
    pub fn counters(&self) -> BTreeMap<String, u64> {
        self.shared.snapshot()
    }

    /// Connected clients.
    pub fn clients(&self) -> usize {
        self.shared.clients.load(Ordering::Relaxed)
    }

    /// Kills the router as a bug of it would; for tests of the supervision alone.
    #[doc(hidden)]
    pub fn kill_router_for_tests(&self) {
        drop(self.shared.commands.try_send(Command::KillRouter));
    }

    /// Panics the thread that feeds the router; for tests of the supervision alone.
    #[doc(hidden)]
    pub fn kill_feeder_for_tests(&self) {
        drop(self.shared.commands.try_send(Command::KillFeeder));
    }
}
