//! One sensor: a real MQTT client that repeats what was not acknowledged.
//!
//! Each connection has a fresh `rumqttc` event loop, and its packet ids are matched to messages by the order of sending,
//! so that an acknowledgement is never taken for another message's.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use contract::topic::SensorKind;
use rumqttc::v5;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    sim::{
        faults::Order,
        truth::{Line, TruthSender},
    },
    world::Message,
};

/// Messages handed to the client and not yet acknowledged.
const WINDOW: usize = 32;
/// Messages that wait in the device; when it is full the world waits.
pub const QUEUE_MAX: usize = 1_024;
const EVENTS_WAITING_MAX: usize = 128;
const BACKOFF: Duration = Duration::from_millis(200);
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Without any event for this long the connection is thrown away.
const SILENCE_MAX: Duration = Duration::from_secs(45);
const FAREWELL_MAX: Duration = Duration::from_secs(2);

/// What a device needs to know.
#[derive(Debug, Clone)]
pub struct DeviceOptions {
    /// Its id, also client id and user name.
    pub id: String,
    /// Its kind.
    pub kind: SensorKind,
    /// The hub.
    pub broker: SocketAddr,
    /// Its password; none where the hub lets everybody in.
    pub secret: Option<String>,
    /// MQTT 5 instead of 3.1.1.
    pub v5: bool,
    /// When to give up on what is still unacknowledged after the last order.
    pub drain: Duration,
}

/// Counters over all devices.
#[derive(Debug, Default)]
pub struct Counters {
    /// Messages handed over for the first time.
    pub sent: AtomicU64,
    /// Messages acknowledged.
    pub acked: AtomicU64,
    /// Garbage handed over.
    pub garbage: AtomicU64,
    /// Acknowledgements with a reason that says refused (MQTT 5).
    pub refused: AtomicU64,
    /// Connections lost or not made.
    pub reconnects: AtomicU64,
    /// Messages given up unacknowledged at the end.
    pub abandoned: AtomicU64,
}

enum Happening {
    Connected,
    Sent(u16),
    Acked(u16, u8),
    Alive,
    Lost,
}

enum Client {
    V4(rumqttc::AsyncClient),
    V5(v5::AsyncClient),
}

struct Connection {
    client: Client,
    events: mpsc::Receiver<Happening>,
    poller: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.poller.abort();
    }
}

struct Waiting {
    ticket: u64,
    message: Message,
    garbage: bool,
    handed: bool,
}

struct Device {
    options: DeviceOptions,
    orders: mpsc::Receiver<Order>,
    truth: TruthSender,
    counters: Arc<Counters>,
    waiting: VecDeque<Waiting>,
    ticket: u64,
    ends_at: Option<Instant>,
}

/// Lives until the orders end and everything is acknowledged.
pub async fn run(
    options: DeviceOptions,
    orders: mpsc::Receiver<Order>,
    truth: TruthSender,
    counters: Arc<Counters>,
) {
    let mut device =
        Device { options, orders, truth, counters, waiting: VecDeque::new(), ticket: 0, ends_at: None };
    loop {
        let connection = Connection::open(&device.options);
        if device.live(connection).await {
            return;
        }
        device.counters.reconnects.fetch_add(1, Ordering::Relaxed);
        for waiting in &mut device.waiting {
            waiting.handed = false;
        }
        if device.is_over() {
            let left = u64::try_from(device.waiting.len()).expect("the queue is bounded");
            device.counters.abandoned.fetch_add(left, Ordering::Relaxed);
            return;
        }
        tokio::time::sleep(BACKOFF).await;
    }
}

impl Device {
    /// One connection; true when all is said and acknowledged.
    async fn live(&mut self, mut connection: Connection) -> bool {
        // Tickets in the order in which they were handed over; `None` is the device's own presence.
        let mut handed: VecDeque<Option<u64>> = VecDeque::new();
        let mut by_packet: HashMap<u16, Option<u64>> = HashMap::new();
        let mut connected = false;
        loop {
            if connected && !self.hand_over(&connection.client, &mut handed).await {
                return false;
            }
            if self.ends_at.is_some() && self.waiting.is_empty() && connected {
                self.say_goodbye(connection).await;
                return true;
            }
            let deadline = self.ends_at.unwrap_or_else(|| Instant::now() + SILENCE_MAX);
            let wants_orders = self.ends_at.is_none() && self.waiting.len() < QUEUE_MAX;
            tokio::select! {
                event = timeout_at(deadline, connection.events.recv()) => match event {
                    Ok(Some(Happening::Connected)) => {
                        connected = true;
                        if connection.client.say(&self.presence_topic(), b"online".to_vec(), true) {
                            handed.push_back(None);
                        }
                    }
                    Ok(Some(Happening::Sent(packet))) => {
                        if let Some(ticket) = handed.pop_front() {
                            by_packet.insert(packet, ticket);
                        }
                    }
                    Ok(Some(Happening::Acked(packet, reason))) => {
                        if let Some(Some(ticket)) = by_packet.remove(&packet) {
                            self.acknowledged(ticket, reason).await;
                        }
                    }
                    Ok(Some(Happening::Alive)) => {}
                    Ok(Some(Happening::Lost) | None) | Err(_) => return false,
                },
                order = self.orders.recv(), if wants_orders => match order {
                    Some(Order::Say(message)) => self.enqueue(message, false).await,
                    Some(Order::SayGarbage(message)) => self.enqueue(message, true).await,
                    Some(Order::Cut) => return false,
                    None => self.ends_at = Some(Instant::now() + self.options.drain),
                },
            }
        }
    }

    fn is_over(&self) -> bool {
        self.ends_at.is_some_and(|at| at <= Instant::now())
    }

    async fn enqueue(&mut self, message: Message, garbage: bool) {
        let line = if garbage {
            self.counters.garbage.fetch_add(1, Ordering::Relaxed);
            Line::Garbage { device: message.device.clone(), topic: message.topic.clone() }
        } else {
            self.counters.sent.fetch_add(1, Ordering::Relaxed);
            Line::Sent {
                device: message.device.clone(),
                topic: message.topic.clone(),
                seq: message.seq,
                payload: serde_json::from_slice(&message.payload).expect("the world writes JSON"),
            }
        };
        self.truth.write(line).await;
        self.ticket += 1;
        self.waiting.push_back(Waiting { ticket: self.ticket, message, garbage, handed: false });
    }

    async fn hand_over(&mut self, client: &Client, handed: &mut VecDeque<Option<u64>>) -> bool {
        for waiting in self.waiting.iter_mut().take(WINDOW).filter(|waiting| !waiting.handed) {
            if !client.say(&waiting.message.topic, waiting.message.payload.clone(), false) {
                return false;
            }
            waiting.handed = true;
            handed.push_back(Some(waiting.ticket));
        }
        true
    }

    async fn acknowledged(&mut self, ticket: u64, reason: u8) {
        let Some(at) = self.waiting.iter().position(|waiting| waiting.ticket == ticket) else { return };
        let waiting = self.waiting.remove(at).expect("the position was just found");
        // 0x10 says that nobody is subscribed, which is no refusal.
        if 0x80 <= reason {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
        }
        if !waiting.garbage {
            self.counters.acked.fetch_add(1, Ordering::Relaxed);
            let Message { device, seq, .. } = waiting.message;
            self.truth.write(Line::Acked { device, seq, reason }).await;
        }
    }

    fn presence_topic(&self) -> String {
        format!("sensors/{}/{}/status", self.options.kind.as_str(), self.options.id)
    }

    async fn say_goodbye(&self, mut connection: Connection) {
        connection.client.say(&self.presence_topic(), b"offline".to_vec(), true);
        let farewell = async {
            while let Some(event) = connection.events.recv().await {
                if matches!(event, Happening::Acked(..)) {
                    connection.client.disconnect();
                } else if matches!(event, Happening::Lost) {
                    break;
                }
            }
        };
        // Whatever is not said by then, the last will says.
        timeout(FAREWELL_MAX, farewell).await.ok();
    }
}

impl Client {
    /// Hands a publish to the event loop; false when it is gone.
    fn say(&self, topic: &str, payload: Vec<u8>, retain: bool) -> bool {
        match self {
            Self::V4(client) => client.try_publish(topic, rumqttc::QoS::AtLeastOnce, retain, payload).is_ok(),
            Self::V5(client) => {
                client.try_publish(topic, v5::mqttbytes::QoS::AtLeastOnce, retain, payload).is_ok()
            }
        }
    }

    fn disconnect(&self) {
        match self {
            Self::V4(client) => client.try_disconnect().ok(),
            Self::V5(client) => client.try_disconnect().ok(),
        };
    }
}

impl Connection {
    fn open(options: &DeviceOptions) -> Self {
        let (sender, events) = mpsc::channel(EVENTS_WAITING_MAX);
        let (client, poller) = if options.v5 { open_v5(options, sender) } else { open_v4(options, sender) };
        Self { client, events, poller }
    }
}

fn will_topic(options: &DeviceOptions) -> String {
    format!("sensors/{}/{}/status", options.kind.as_str(), options.id)
}

fn open_v4(options: &DeviceOptions, sender: mpsc::Sender<Happening>) -> (Client, JoinHandle<()>) {
    use rumqttc::{Event, Incoming, LastWill, MqttOptions, Outgoing, QoS};
    let mut mqtt = MqttOptions::new(&options.id, options.broker.ip().to_string(), options.broker.port());
    mqtt.set_keep_alive(KEEP_ALIVE).set_clean_session(true).set_inflight(2 * 64);
    mqtt.set_last_will(LastWill::new(will_topic(options), "offline", QoS::AtLeastOnce, true));
    if let Some(secret) = &options.secret {
        mqtt.set_credentials(&options.id, secret);
    }
    let (client, mut events) = rumqttc::AsyncClient::new(mqtt, 2 * WINDOW);
    let poller = tokio::spawn(async move {
        loop {
            let happening = match events.poll().await {
                Ok(Event::Incoming(Incoming::ConnAck(_))) => Happening::Connected,
                Ok(Event::Incoming(Incoming::PubAck(ack))) => Happening::Acked(ack.pkid, 0),
                Ok(Event::Outgoing(Outgoing::Publish(packet))) => Happening::Sent(packet),
                Ok(Event::Incoming(Incoming::PingResp)) => Happening::Alive,
                Ok(_) => continue,
                Err(_) => Happening::Lost,
            };
            let lost = matches!(happening, Happening::Lost);
            if sender.send(happening).await.is_err() || lost {
                return;
            }
        }
    });
    (Client::V4(client), poller)
}

fn open_v5(options: &DeviceOptions, sender: mpsc::Sender<Happening>) -> (Client, JoinHandle<()>) {
    use v5::{
        Event, Incoming, MqttOptions,
        mqttbytes::{QoS, v5::LastWill},
    };
    let mut mqtt = MqttOptions::new(&options.id, options.broker.ip().to_string(), options.broker.port());
    mqtt.set_keep_alive(KEEP_ALIVE).set_clean_start(true).set_outgoing_inflight_upper_limit(2 * 64);
    mqtt.set_last_will(LastWill::new(will_topic(options), "offline", QoS::AtLeastOnce, true, None));
    if let Some(secret) = &options.secret {
        mqtt.set_credentials(&options.id, secret);
    }
    let (client, mut events) = v5::AsyncClient::new(mqtt, 2 * WINDOW);
    let poller = tokio::spawn(async move {
        loop {
            let happening = match events.poll().await {
                Ok(Event::Incoming(Incoming::ConnAck(_))) => Happening::Connected,
                Ok(Event::Incoming(Incoming::PubAck(ack))) => {
                    Happening::Acked(ack.pkid, reason_code(ack.reason))
                }
                Ok(Event::Outgoing(rumqttc::Outgoing::Publish(packet))) => Happening::Sent(packet),
                Ok(Event::Incoming(Incoming::PingResp(_))) => Happening::Alive,
                Ok(_) => continue,
                Err(_) => Happening::Lost,
            };
            let lost = matches!(happening, Happening::Lost);
            if sender.send(happening).await.is_err() || lost {
                return;
            }
        }
    });
    (Client::V5(client), poller)
}

fn reason_code(reason: v5::mqttbytes::v5::PubAckReason) -> u8 {
    use v5::mqttbytes::v5::PubAckReason;
    match reason {
        PubAckReason::Success => 0x00,
        PubAckReason::NoMatchingSubscribers => 0x10,
        PubAckReason::UnspecifiedError => 0x80,
        PubAckReason::ImplementationSpecificError => 0x83,
        PubAckReason::NotAuthorized => 0x87,
        PubAckReason::TopicNameInvalid => 0x90,
        PubAckReason::PacketIdentifierInUse => 0x91,
        PubAckReason::QuotaExceeded => 0x97,
        PubAckReason::PayloadFormatInvalid => 0x99,
    }
}
