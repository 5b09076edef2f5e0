//! One client's session: what outlives its connection.
//!
//! Owns subscriptions, the queue of messages on their way out, what is in flight, the packet ids
//! of QoS 2 messages on their way in, and the will that waits. A connection that owns the session
//! (`owner`) drives it; one that was taken over finds that it no longer owns it and can change
//! nothing but the QoS 2 ids it began.
//!
//! Invariants: queue and in flight together never exceed the limits; a message in flight keeps its
//! packet id over connections; a topic reaches the session through one filter only, the oldest
//! subscription that takes it, so overlapping filters deliver once.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::BytesMut;
use tokio::sync::Notify;

use crate::{
    codec::encode::{self, OutboundPublish},
    config::Limits,
    counters::{Counter, Counters},
    hooks::{Principal, Protocol, Qos},
    message::Message,
    topic::filter_matches,
};

/// A session, connected or not.
#[derive(Debug)]
pub(crate) struct Session {
    /// Unique for the life of the broker; 0 is the host.
    pub(crate) number: u64,
    pub(crate) client_id: Arc<str>,
    pub(crate) principal: Principal,
    /// Wakes the connection: there is something to send or to decide.
    pub(crate) wake: Notify,
    state: Mutex<State>,
}

/// How the broker speaks to a connection's task.
#[derive(Debug, Default)]
pub(crate) struct Control {
    order: AtomicU8,
    pub(crate) wake: Notify,
}

/// What a connection is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    TakenOver,
    Administrative,
}

impl Control {
    pub(crate) fn tell(&self, order: Order) {
        let code = match order {
            Order::TakenOver => 1,
            Order::Administrative => 2,
        };
        self.order.store(code, Ordering::Release);
        self.wake.notify_one();
    }

    pub(crate) fn order(&self) -> Option<Order> {
        match self.order.load(Ordering::Acquire) {
            1 => Some(Order::TakenOver),
            2 => Some(Order::Administrative),
            _ => None,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// The connection that drives the session.
    pub(crate) owner: Option<(u64, Arc<Control>)>,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) expiry: Duration,
    pub(crate) detached_at: Option<Instant>,
    pub(crate) delayed_will: Option<(Instant, Arc<Message>)>,
    /// Set when the session was dropped from the broker; nothing is queued any more.
    pub(crate) ended: bool,
    queue: VecDeque<Outbound>,
    queue_bytes: usize,
    in_flight: VecDeque<InFlight>,
    in_flight_max: usize,
    last_packet_id: u16,
    inbound_qos2: BTreeMap<u16, InboundQos2>,
    /// Retained messages still to be read, one entry per subscription.
    pub(crate) retained_scans: VecDeque<RetainedScan>,
}

#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    pub(crate) filter: Arc<str>,
    /// At most 1.
    pub(crate) qos: u8,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
}

#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) message: Arc<Message>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
}

#[derive(Debug)]
struct InFlight {
    packet_id: u16,
    outbound: Outbound,
    /// Sent at least once, on whatever connection.
    was_sent: bool,
    /// Sent on the present connection.
    is_sent: bool,
}

/// Where an inbound QoS 2 message is between PUBLISH and PUBREL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InboundQos2 {
    /// Its verdict is not there yet.
    Undecided,
    /// PUBREC was due; a repeated PUBLISH gets the same again.
    Received,
}

/// What a PUBLISH with QoS 2 is to its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Qos2Arrival {
    New,
    DuplicateUndecided,
    DuplicateReceived,
    TooMany,
}

/// What a PUBREL is to its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pubrel {
    Released,
    /// Released before, or never begun.
    Unknown,
    /// There was no PUBREC yet: the client cannot have seen one.
    TooEarly,
}

/// How far the retained messages of one subscription have been read.
#[derive(Debug)]
pub(crate) struct RetainedScan {
    pub(crate) filter: Arc<str>,
    pub(crate) qos: u8,
    /// Leaves out what the session itself published.
    pub(crate) no_local: bool,
    pub(crate) after: Option<Arc<str>>,
    /// Found, and not queued yet for want of room.
    pub(crate) found: VecDeque<Arc<Message>>,
    /// The whole table has been looked at.
    pub(crate) is_done: bool,
}

impl Session {
    pub(crate) fn new(number: u64, client_id: Arc<str>, principal: Principal) -> Arc<Self> {
        Arc::new(Self {
            number,
            client_id,
            principal,
            wake: Notify::new(),
            state: Mutex::new(State { in_flight_max: 1, ..State::default() }),
        })
    }

    #[cfg(test)]
    pub(crate) fn for_tests() -> Arc<Self> {
        Self::new(1, "test".into(), Principal { name: "test".into(), kind: "test".into() })
    }

    /// The state. A panic while it was held cannot leave it worse than a lost message.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a message that arrived through `filter`, if that is the filter to take it.
    pub(crate) fn deliver(&self, filter: &str, message: &Arc<Message>, limits: &Limits, counters: &Counters) {
        let mut state = self.state();
        let Some(outbound) = state.addressed(self.number, filter, message) else {
            return;
        };
        if state.push(outbound, limits, counters) {
            drop(state);
            self.wake.notify_one();
        }
    }
}

impl State {
    pub(crate) fn is_owned_by(&self, connection: u64) -> bool {
        self.owner.as_ref().is_some_and(|(owner, _)| *owner == connection)
    }

    /// Makes a connection the owner; what is in flight is to be sent again.
    pub(crate) fn attach(&mut self, connection: u64, control: Arc<Control>, in_flight_max: u16) {
        self.owner = Some((connection, control));
        self.detached_at = None;
        self.in_flight_max = usize::from(in_flight_max.max(1));
        for entry in &mut self.in_flight {
            entry.is_sent = false;
        }
    }

    /// What this session makes of a message that came through `filter`: nothing if another of its
    /// filters takes it.
    fn addressed(&self, number: u64, filter: &str, message: &Arc<Message>) -> Option<Outbound> {
        let mut chosen: Option<&Subscription> = None;
        let mut qos = 0;
        let mut retain_as_published = false;
        for subscription in &self.subscriptions {
            let takes = *subscription.filter == *filter
                || (1 < self.subscriptions.len() && filter_matches(&subscription.filter, &message.topic));
            if !takes || (subscription.no_local && message.publisher == number) {
                continue;
            }
            // An older one delivers it; to look further would cost the square of the filters.
            if chosen.is_none() && *subscription.filter != *filter {
                return None;
            }
            chosen = chosen.or(Some(subscription));
            qos = subscription.qos.max(qos);
            retain_as_published |= subscription.retain_as_published;
        }
        chosen?;
        let published = u8::from(message.qos != Qos::AtMostOnce);
        Some(Outbound {
            message: Arc::clone(message),
            qos: qos.min(published),
            retain: message.retain && retain_as_published,
        })
    }

    /// Queues a message; `false` if it was lost or skipped, which is counted.
    pub(crate) fn push(&mut self, outbound: Outbound, limits: &Limits, counters: &Counters) -> bool {
        if self.ended {
            counters.one(Counter::LostSessionEnded);
            return false;
        }
        if self.owner.is_none() && outbound.qos == 0 {
            counters.one(Counter::LostOfflineQos0);
            return false;
        }
        if limits.session_queue_messages_max <= self.queue.len() + self.in_flight.len() {
            counters.one(Counter::LostQueueMessages);
            return false;
        }
        let bytes = outbound.message.bytes();
        if limits.session_queue_bytes_max < self.queue_bytes + bytes {
            counters.one(Counter::LostQueueBytes);
            return false;
        }
        self.queue_bytes += bytes;
        self.queue.push_back(outbound);
        true
    }

    /// Messages that wait or are in flight.
    pub(crate) fn backlog(&self) -> usize {
        self.queue.len() + self.in_flight.len()
    }

    /// Whether a message finds room beside those that wait; any does if none waits.
    pub(crate) fn has_room(&self, message: &Message, limits: &Limits) -> bool {
        self.backlog() == 0
            || (self.backlog() < limits.session_queue_messages_max
                && self.queue_bytes + message.bytes() <= limits.session_queue_bytes_max)
    }

    /// Drops everything that waits; how many messages that were.
    pub(crate) fn clear(&mut self) -> usize {
        let backlog = self.backlog();
        self.queue.clear();
        self.in_flight.clear();
        self.retained_scans.clear();
        self.queue_bytes = 0;
        backlog
    }

    /// Drops messages that have expired while they waited.
    pub(crate) fn drop_expired(&mut self, now: Instant, counters: &Counters) {
        let (mut bytes, mut messages) = (0, 0);
        self.queue.retain(|outbound| {
            let is_expired = outbound.message.is_expired(now);
            if is_expired {
                bytes += outbound.message.bytes();
                messages += 1;
            }
            !is_expired
        });
        self.queue_bytes -= bytes;
        counters.add(Counter::LostExpired, messages);
    }

    /// Writes what may go out now, until `out` holds `out_bytes_max`. `false` if the connection
    /// does not own the session.
    pub(crate) fn write_outbound(
        &mut self,
        connection: u64,
        client: ClientLimits,
        out: &mut BytesMut,
        out_bytes_max: usize,
        counters: &Counters,
    ) -> bool {
        if !self.is_owned_by(connection) {
            return false;
        }
        let now = Instant::now();
        let mut index = 0;
        // The client may take fewer at once than it did on the connection before.
        let mut sent = self.in_flight.iter().filter(|entry| entry.is_sent).count();
        while index < self.in_flight.len() && sent < self.in_flight_max && out.len() < out_bytes_max {
            let entry = &mut self.in_flight[index];
            if entry.is_sent {
                index += 1;
                continue;
            }
            sent += 1;
            let is_repeat = entry.was_sent;
            if !write_publish(&entry.outbound, Some(entry.packet_id), is_repeat, client, now, out) {
                counters.one(Counter::LostClientPacketSize);
                sent -= 1;
                let lost = self.in_flight.remove(index);
                self.queue_bytes -= lost.map_or(0, |entry| entry.outbound.message.bytes());
                continue;
            }
            entry.is_sent = true;
            entry.was_sent = true;
            if is_repeat {
                counters.one(Counter::Redelivered);
            }
            index += 1;
        }
        while out.len() < out_bytes_max {
            let Some(next) = self.queue.front() else {
                break;
            };
            if next.qos != 0 && self.in_flight_max <= self.in_flight.len() {
                break;
            }
            let Some(outbound) = self.queue.pop_front() else {
                break;
            };
            self.send_new(outbound, client, now, out, counters);
        }
        true
    }

    fn send_new(
        &mut self,
        outbound: Outbound,
        client: ClientLimits,
        now: Instant,
        out: &mut BytesMut,
        counters: &Counters,
    ) {
        let bytes = outbound.message.bytes();
        if outbound.message.is_expired(now) {
            counters.one(Counter::LostExpired);
            self.queue_bytes -= bytes;
            return;
        }
        let packet_id = (outbound.qos != 0).then(|| self.next_packet_id());
        if !write_publish(&outbound, packet_id, false, client, now, out) {
            counters.one(Counter::LostClientPacketSize);
            self.queue_bytes -= bytes;
            return;
        }
        match packet_id {
            Some(packet_id) => {
                counters.one(Counter::DeliveredQos1);
                self.in_flight.push_back(InFlight { packet_id, outbound, was_sent: true, is_sent: true });
            }
            None => {
                counters.one(Counter::DeliveredQos0);
                self.queue_bytes -= bytes;
            }
        }
    }

    fn next_packet_id(&mut self) -> u16 {
        loop {
            self.last_packet_id = self.last_packet_id.wrapping_add(1);
            let candidate = self.last_packet_id;
            if candidate != 0 && self.in_flight.iter().all(|entry| entry.packet_id != candidate) {
                return candidate;
            }
        }
    }

    /// The client has acknowledged a message, in whatever order it likes.
    pub(crate) fn acknowledge(&mut self, connection: u64, packet_id: u16) {
        if !self.is_owned_by(connection) {
            return;
        }
        if let Some(index) = self.in_flight.iter().position(|entry| entry.packet_id == packet_id)
            && let Some(entry) = self.in_flight.remove(index)
        {
            self.queue_bytes -= entry.outbound.message.bytes();
        }
    }

    pub(crate) fn qos2_arrival(&mut self, packet_id: u16, ids_max: usize) -> Qos2Arrival {
        match self.inbound_qos2.get(&packet_id) {
            Some(InboundQos2::Undecided) => Qos2Arrival::DuplicateUndecided,
            Some(InboundQos2::Received) => Qos2Arrival::DuplicateReceived,
            None if ids_max <= self.inbound_qos2.len() => Qos2Arrival::TooMany,
            None => {
                self.inbound_qos2.insert(packet_id, InboundQos2::Undecided);
                Qos2Arrival::New
            }
        }
    }

    pub(crate) fn qos2(&self, packet_id: u16) -> Option<InboundQos2> {
        self.inbound_qos2.get(&packet_id).copied()
    }

    pub(crate) fn qos2_received(&mut self, packet_id: u16) {
        self.inbound_qos2.insert(packet_id, InboundQos2::Received);
    }

    /// The client says that it has seen PUBREC.
    pub(crate) fn qos2_pubrel(&mut self, packet_id: u16) -> Pubrel {
        match self.inbound_qos2.get(&packet_id) {
            Some(InboundQos2::Received) => {
                self.inbound_qos2.remove(&packet_id);
                Pubrel::Released
            }
            Some(InboundQos2::Undecided) => Pubrel::TooEarly,
            None => Pubrel::Unknown,
        }
    }

    /// Frees the packet id; whether it was held.
    pub(crate) fn qos2_release(&mut self, packet_id: u16) -> bool {
        self.inbound_qos2.remove(&packet_id).is_some()
    }
}

/// What the client can take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientLimits {
    pub(crate) protocol: Protocol,
    pub(crate) packet_bytes_max: Option<u32>,
}

/// Appends the packet, unless it is larger than the client takes.
fn write_publish(
    outbound: &Outbound,
    packet_id: Option<u16>,
    dup: bool,
    client: ClientLimits,
    now: Instant,
    out: &mut BytesMut,
) -> bool {
    let message = &outbound.message;
    let publish = OutboundPublish {
        dup,
        packet_id,
        retain: outbound.retain,
        topic: &message.topic,
        payload: &message.payload,
        expiry_secs: message.expiry_secs(now),
        forwarded: &message.forwarded,
    };
    let fits = client
        .packet_bytes_max
        .is_none_or(|max| encode::publish_bytes(&publish, client.protocol) as u64 <= u64::from(max));
    if fits {
        encode::publish(out, &publish, client.protocol);
    }
    fits
}
