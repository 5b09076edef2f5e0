//! The MQTT connection to the hub: one named thread, a current-thread runtime, `rumqttc`, and no opinion.
//!
//! Reconnects for ever with a growing pause. Towards the frame a full queue makes the connection wait, so nothing is
//! lost here; what the hub does with a reader that waits too long is the hub's affair. From the frame, a request goes
//! out at once or not at all: a door must not open when its visitor has left. Experience events wait in an [`Outbox`].
//!
//! A connection's buffers keep what went through them until other packets come to lie there. After a visit that asked
//! for something the connection is therefore renewed: it ends in order, and its buffers are freed and wiped.

use std::{
    collections::{HashMap, VecDeque},
    panic::AssertUnwindSafe,
    pin::pin,
    sync::Arc,
    thread,
    time::Duration,
};

use contract::{KioskId, RequestId, topic};
use rumqttc::{
    AsyncClient, Event, EventLoop, MqttOptions, Outgoing, Packet, QoS, SubAck, SubscribeFilter,
    SubscribeReasonCode,
};
use tokio::{
    sync::mpsc::{Receiver, Sender},
    time::Instant,
};
use zeroize::Zeroizing;

use super::{LinkEvent, Order, outbox::Outbox};
use crate::config::Hub;

/// Larger packets end the connection; the hub's largest topic is a locker bank of some 20 kB.
const PACKET_BYTES_MAX: usize = 256 * 1024;
/// Packets of ours that may wait for the connection: subscriptions, some requests, one experience event.
const PACKETS_MAX: usize = 16;
/// What a visit leaves to be told (its experience events) goes out before its connection is renewed.
const RENEWED_AFTER: Duration = Duration::from_secs(1);
/// Requests that wait for the renewed connection: one of each matter, and its repetition.
const HELD_MAX: usize = 4;
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// First and longest pause before another attempt to connect.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The system gives no runtime.
    #[error("failed to start the runtime for the hub's connection")]
    Runtime {
        /// Why.
        source: std::io::Error,
    },
    /// The system gives no thread.
    #[error("failed to start the thread for the hub's connection")]
    Thread {
        /// Why.
        source: std::io::Error,
    },
}

/// The thread's ends of the channels.
pub(super) struct Wires {
    pub(super) events: Sender<LinkEvent>,
    pub(super) orders: Receiver<Order>,
    pub(super) outbox: Arc<Outbox>,
}

/// Starts the thread; it ends when the frame's ends of `wires` are dropped.
pub(super) fn start(kiosk: KioskId, hub: &Hub, mut wires: Wires) -> Result<(), LinkError> {
    let mut options = MqttOptions::new(kiosk.as_str(), hub.mqtt.ip().to_string(), hub.mqtt.port());
    options.set_keep_alive(KEEP_ALIVE);
    options.set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
    if let Some(username) = &hub.username {
        options.set_credentials(username, hub.password.clone().unwrap_or_default());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| LinkError::Runtime { source })?;
    thread::Builder::new()
        .name("hub-link".to_owned())
        .spawn(move || {
            // A kiosk runs for months: whatever breaks here is started anew as long as somebody listens.
            loop {
                let talk = talk(options.clone(), &kiosk, &mut wires);
                if std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(talk))).is_ok() {
                    return;
                }
                let lost = LinkEvent::Offline("the connection broke down".to_owned());
                let is_over = runtime.block_on(async {
                    wires.outbox.release();
                    let is_over = wires.events.send(lost).await.is_err();
                    tokio::time::sleep(PAUSE_MIN).await;
                    is_over
                });
                if is_over {
                    return;
                }
            }
        })
        .map(drop)
        .map_err(|source| LinkError::Thread { source })
}

/// What a PUBACK is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Request,
    Experience,
}

/// Why a connection has ended.
enum End {
    /// We have ended it, to begin another one at once.
    Renewal,
    /// It was lost or never stood.
    Failure(String),
}

/// One connection after another, until nobody listens.
async fn talk(options: MqttOptions, kiosk: &KioskId, wires: &mut Wires) {
    let (client, mut connection) = AsyncClient::new(options, PACKETS_MAX);
    let mut line = Line::new(client, kiosk);
    let mut pause = PAUSE_MIN;
    loop {
        let Some(step) = line.step(&mut connection, wires).await else { return };
        if step.is_err() {
            // Nothing of a connection is sent on the next one: the outbox knows what is still to be said, and a
            // request that was cut off is asked again by whoever still wants it.
            connection.clean();
            connection.pending.clear();
            line.cut();
            wires.outbox.release();
        }
        let (event, is_failure) = match step {
            Ok(Some(event)) => (event, false),
            Ok(None) => continue,
            Err(End::Renewal) => {
                line.standing = Standing::Renewing;
                continue;
            }
            Err(End::Failure(reason)) => {
                line.give_up_held(wires).await;
                (LinkEvent::Offline(reason), true)
            }
        };
        if wires.events.send(event).await.is_err() {
            return;
        }
        if !is_failure {
            pause = PAUSE_MIN;
            line.send_next(&wires.outbox);
            continue;
        }
        let mut wait = pin!(tokio::time::sleep(pause));
        loop {
            tokio::select! {
                () = wires.events.closed() => return,
                () = &mut wait => break,
                order = wires.orders.recv() => match order {
                    Some(order) => line.take(order, wires).await,
                    None => return,
                },
            }
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// How the connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Not.
    Down,
    /// Connected and subscribed.
    Up,
    /// Spent, and its end is on its way.
    Leaving,
    /// The one after a spent one is about to stand.
    Renewing,
}

/// What is known about the connection that stands now.
struct Line<'a> {
    client: AsyncClient,
    kiosk: &'a KioskId,
    standing: Standing,
    /// Handed to `rumqttc`, which has not yet said under which packet id.
    handed: VecDeque<Sent>,
    /// Sent and not yet acknowledged.
    unacked: HashMap<u16, Sent>,
    /// When the connection is to be renewed, or later, as soon as everything that was sent is acknowledged.
    spent_at: Option<Instant>,
    /// What visitors ask between two connections: the frame repeats it, if they are still there, when the next one stands.
    held: Vec<RequestId>,
}

impl<'a> Line<'a> {
    fn new(client: AsyncClient, kiosk: &'a KioskId) -> Self {
        Self {
            client,
            kiosk,
            standing: Standing::Down,
            handed: VecDeque::new(),
            unacked: HashMap::new(),
            spent_at: None,
            held: Vec::new(),
        }
    }

    /// Waits for the next thing that the connection says, and takes orders meanwhile; nothing when nobody listens.
    async fn step(
        &mut self,
        connection: &mut EventLoop,
        wires: &mut Wires,
    ) -> Option<Result<Option<LinkEvent>, End>> {
        // An order must not cancel the poll: half a packet may be on its way.
        let mut poll = pin!(connection.poll());
        let polled = loop {
            let spent_at = self.spent_at;
            tokio::select! {
                () = wires.events.closed() => return None,
                order = wires.orders.recv() => self.take(order?, wires).await,
                () = wait_until(spent_at), if spent_at.is_some_and(|at| Instant::now() < at) => {
                    self.leave_when_spent(&wires.outbox);
                }
                polled = &mut poll => break polled,
            }
        };
        Some(match polled {
            Ok(Event::Outgoing(Outgoing::Disconnect)) => Err(End::Renewal),
            Ok(event) => {
                let said = self.hear(event, wires).map_err(End::Failure);
                self.leave_when_spent(&wires.outbox);
                said
            }
            Err(_) if self.standing == Standing::Leaving => Err(End::Renewal),
            Err(error) => Err(End::Failure(crate::chain(&error))),
        })
    }

    fn hear(&mut self, event: Event, wires: &Wires) -> Result<Option<LinkEvent>, String> {
        match event {
            Event::Incoming(Packet::ConnAck(_)) => {
                let filters = [
                    SubscribeFilter::new("hub/#".to_owned(), QoS::AtLeastOnce),
                    SubscribeFilter::new(topic::kiosk_replies(self.kiosk), QoS::AtLeastOnce),
                ];
                // The queue of packets is empty after a connect, so this cannot be refused for want of room.
                self.client.try_subscribe_many(filters).map_err(|error| error.to_string())?;
                Ok(None)
            }
            Event::Incoming(Packet::SubAck(ack)) => {
                let can_ask = granted(&ack, self.kiosk)?;
                self.standing = Standing::Up;
                self.held.clear();
                Ok(Some(LinkEvent::Online { can_ask }))
            }
            Event::Incoming(Packet::Publish(publish)) => {
                let payload = publish.payload.to_vec();
                Ok(Some(match topic::parse_kiosk_reply(&publish.topic) {
                    Some((_, id)) => LinkEvent::Reply { id: id.into(), payload: Zeroizing::new(payload) },
                    None => LinkEvent::Message { topic: publish.topic, payload },
                }))
            }
            Event::Incoming(Packet::PubAck(ack)) => {
                if self.unacked.remove(&ack.pkid) == Some(Sent::Experience) {
                    wires.outbox.acknowledged();
                    self.send_next(&wires.outbox);
                }
                Ok(None)
            }
            Event::Outgoing(Outgoing::Publish(packet_id)) => {
                if let Some(sent) = self.handed.pop_front() {
                    self.unacked.insert(packet_id, sent);
                }
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// Carries out what the frame asks for.
    async fn take(&mut self, order: Order, wires: &Wires) {
        match order {
            Order::Request { id, payload } => {
                let is_taken = match self.standing {
                    Standing::Up => {
                        self.publish(&topic::kiosk_request(self.kiosk, &id), payload, Sent::Request)
                    }
                    Standing::Leaving | Standing::Renewing if self.held.len() < HELD_MAX => {
                        self.held.push(id.clone());
                        true
                    }
                    _ => false,
                };
                if !is_taken {
                    unsent(id, wires).await;
                }
            }
            Order::Experience(payload) => {
                wires.outbox.put(payload);
                self.send_next(&wires.outbox);
            }
            Order::Renew => {
                // A connection that does not stand has no buffers.
                let stands = self.standing != Standing::Down;
                self.spent_at = stands.then(|| Instant::now() + RENEWED_AFTER);
            }
        }
    }

    /// Ends the connection in order, once nothing is on its way.
    fn leave_when_spent(&mut self, outbox: &Outbox) {
        let is_spent = self.spent_at.is_some_and(|at| at <= Instant::now());
        let is_quiet = self.handed.is_empty() && self.unacked.is_empty() && outbox.len() == 0;
        let is_due = is_spent && is_quiet && self.standing == Standing::Up;
        if is_due && self.client.try_disconnect().is_ok() {
            (self.standing, self.spent_at) = (Standing::Leaving, None);
        }
    }

    /// There is no connection for what was to go out with the next one.
    async fn give_up_held(&mut self, wires: &Wires) {
        for id in std::mem::take(&mut self.held) {
            unsent(id, wires).await;
        }
    }

    /// Sends the oldest experience event, unless one is on its way.
    fn send_next(&mut self, outbox: &Outbox) {
        if self.standing != Standing::Up {
            return;
        }
        if let Some(payload) = outbox.next()
            && !self.publish(&topic::kiosk_experience(self.kiosk), Zeroizing::new(payload), Sent::Experience)
        {
            outbox.release();
        }
    }

    fn publish(&mut self, topic: &str, payload: Zeroizing<Vec<u8>>, sent: Sent) -> bool {
        let is_taken = self.client.try_publish(topic, QoS::AtLeastOnce, false, payload.as_slice()).is_ok();
        if is_taken {
            self.handed.push_back(sent);
        }
        is_taken
    }

    fn cut(&mut self) {
        if self.standing != Standing::Leaving {
            // A visit that ends meanwhile has spent the next one.
            self.spent_at = None;
        }
        self.standing = Standing::Down;
        self.handed.clear();
        self.unacked.clear();
    }
}

/// Tells the frame that a request did not go out.
async fn unsent(id: RequestId, wires: &Wires) {
    // The frame drains this queue; when it has ended, nobody waits for the answer.
    let _ = wires.events.send(LinkEvent::Unsent { id: id.into() }).await;
}

async fn wait_until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at).await;
    }
}

/// Whether requests can be answered; without the hub's own topics there is no link at all.
fn granted(ack: &SubAck, kiosk: &KioskId) -> Result<bool, String> {
    let is_granted = |index: usize| {
        ack.return_codes.get(index).is_some_and(|code| !matches!(code, SubscribeReasonCode::Failure))
    };
    if !is_granted(0) {
        return Err("the hub refuses the subscription to `hub/#`".to_owned());
    }
    if !is_granted(1) {
        bevy::log::warn!(
            "the hub refuses the subscription to `{}`, so nothing can be picked up here: the kiosk's id must be its \
             user name at the hub",
            topic::kiosk_replies(kiosk)
        );
    }
    Ok(is_granted(1))
}
