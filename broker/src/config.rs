//! What the host decides once, at start: where to listen and every limit of the edge.
//!
//! Owns the limits' names, units and defaults. Owns no behaviour.
//! Units: `*_bytes*` are bytes, durations are [`Duration`], the rest are counts.

use std::{net::SocketAddr, time::Duration};

/// What the broker needs to start.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where plain TCP is accepted; `None` starts no listener. Port 0 picks a free port, see
    /// [`Broker::tcp_addr`](crate::Broker::tcp_addr).
    pub tcp: Option<SocketAddr>,
    /// Every bound of the edge.
    pub limits: Limits,
}

/// Every bound of the edge. All of them are enforced, and each refusal or loss that one of them
/// causes has its own counter.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open client connections, those before CONNECT included.
    pub connections: usize,
    /// Open client connections from one IP address.
    pub connections_per_address: usize,
    /// Open connections from one IP address that have not completed their CONNECT, so that silent
    /// sockets of one address cannot hold every place; `None` means half of `connections`.
    pub handshakes_per_address_max: Option<usize>,
    /// Largest packet a client may send: fixed header, variable header and payload. A CONNECT may
    /// have 16 KiB at most, because it is read before anybody knows who sends it.
    pub packet_bytes_max: usize,
    /// From accept to a complete CONNECT, and again from there to the authentication's answer.
    pub connect_deadline: Duration,
    /// How long a client may leave our bytes unread before it is closed.
    pub write_deadline: Duration,
    /// How long the host may take for its verdict on a will, and on what a client sent before it was gone.
    pub verdict_deadline: Duration,
    /// Remembered sessions, connected ones included.
    pub sessions_max: usize,
    /// Remembered sessions of one principal, connected ones included. A new one takes the place of
    /// the one that has been without a connection for longest.
    pub sessions_per_principal_max: usize,
    /// Longest time that a session is kept without a connection.
    pub session_expiry_max: Duration,
    /// Messages that wait for one session, in flight included.
    pub session_queue_messages_max: usize,
    /// Topic and payload bytes that wait for one session, in flight included.
    pub session_queue_bytes_max: usize,
    /// Topic filters of one session.
    pub subscriptions_per_session_max: usize,
    /// Retained messages of all clients. The host's own are bounded by the host.
    pub retained_messages_max: usize,
    /// Topic and payload bytes of these.
    pub retained_bytes_max: usize,
    /// Distinct topics that the router is shown before it is replaced by a fresh one: rumqttd
    /// remembers every topic it ever saw.
    pub topics_max: usize,
    /// Unacknowledged QoS 1 messages in flight to one client, and the number of publishes of one
    /// client whose verdict may be pending before its socket is no longer read. (It is not read
    /// either while more than 1 MiB of publishes is pending.)
    pub receive_maximum: u16,
    /// Unreleased QoS 2 packet ids that one session may hold.
    pub inbound_qos2_max: usize,
    /// Sustained publishes (and filters subscribed to or given up) per second of one connection; a
    /// second's worth may come at once. Beyond it the connection is read more slowly. `0` means no limit.
    pub publishes_per_second_max: u32,
    /// Longest topic or topic filter, in bytes.
    pub topic_bytes_max: usize,
    /// Publishes that wait for the router, over all clients; beyond it a publish is not fanned
    /// out and counted (`fanout_dropped_router_queue_full`).
    pub router_queue_messages_max: usize,
    /// Topic and payload bytes of those publishes. A larger publish waits for an empty queue.
    pub router_queue_bytes_max: usize,
    /// How often the router must bring back a canary publish.
    pub canary_period: Duration,
}

impl Limits {
    /// [`Self::handshakes_per_address_max`], with its default.
    pub(crate) fn handshakes_per_address(&self) -> usize {
        self.handshakes_per_address_max.unwrap_or(self.connections.div_ceil(2))
    }

    /// The limits within what the protocol can express.
    pub(crate) fn within_protocol(mut self) -> Self {
        self.packet_bytes_max = self.packet_bytes_max.min(PACKET_BYTES_CEILING);
        self.topic_bytes_max = self.topic_bytes_max.min(usize::from(u16::MAX));
        self.receive_maximum = self.receive_maximum.max(1);
        self.canary_period = self.canary_period.max(Duration::from_millis(1));
        self
    }
}

/// The largest packet that a remaining length of four bytes can announce.
const PACKET_BYTES_CEILING: usize = 268_435_455 + 5;

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 2_000,
            connections_per_address: 2_000,
            handshakes_per_address_max: None,
            packet_bytes_max: 256 * 1024,
            connect_deadline: Duration::from_secs(10),
            write_deadline: Duration::from_secs(10),
            verdict_deadline: Duration::from_secs(30),
            sessions_max: 4_000,
            sessions_per_principal_max: 32,
            session_expiry_max: Duration::from_secs(7 * 24 * 3_600),
            session_queue_messages_max: 1_000,
            session_queue_bytes_max: 1024 * 1024,
            subscriptions_per_session_max: 64,
            retained_messages_max: 10_000,
            retained_bytes_max: 16 * 1024 * 1024,
            topics_max: 50_000,
            receive_maximum: 64,
            inbound_qos2_max: 64,
            publishes_per_second_max: 0,
            topic_bytes_max: 512,
            router_queue_messages_max: 8_192,
            router_queue_bytes_max: 8 * 1024 * 1024,
            canary_period: Duration::from_secs(1),
        }
    }
}
