//! A broker to test against, and a client that can say anything.

use std::{
    future::ready,
    sync::{Arc, Mutex},
    time::Duration,
};

use broker::{
    Acceptance, BoxFuture, Broker, Config, ConnectRefusal, ConnectRequest, Hooks, InboundPublish, Limits,
    MemoryRetained, Principal, Qos, RetainedOwner, Verdict,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
};

/// The longest that any test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Hooks that let nearly everything pass, write down what came, and hold verdicts when told to.
#[derive(Default)]
pub(crate) struct TestHooks {
    pub(crate) accepted: Mutex<Vec<(String, Vec<u8>, Qos)>>,
    /// Verdicts for topics under `held/` wait here.
    pub(crate) held: Mutex<Vec<oneshot::Sender<Verdict>>>,
    /// A publish under `gate/` takes one and waits for its other end to go: a host that blocks.
    pub(crate) gate: Mutex<Option<std::sync::mpsc::Receiver<()>>>,
}

impl Hooks for TestHooks {
    fn authenticate<'a>(
        &'a self,
        request: &'a ConnectRequest,
    ) -> BoxFuture<'a, Result<Principal, ConnectRefusal>> {
        let answer = match request.password.as_deref() {
            Some(b"wrong") => Err(ConnectRefusal::BadCredentials),
            Some(b"banned") => Err(ConnectRefusal::NotAuthorized),
            _ => {
                let name = request.username.as_deref().unwrap_or(&request.client_id);
                Ok(Principal { name: name.into(), kind: "test".into() })
            }
        };
        Box::pin(ready(answer))
    }

    fn may_publish(&self, _: &Principal, topic: &str) -> bool {
        assert!(!topic.starts_with("panic/"), "asked for");
        if topic.starts_with("gate/") {
            let gate = self.gate.lock().unwrap().take().expect("the test has closed the gate");
            // Disconnected is what it waits for.
            let _ = gate.recv_timeout(PATIENCE);
        }
        !topic.starts_with("denied/")
    }

    fn may_retain(&self, _: &Principal, topic: &str) -> bool {
        !topic.starts_with("fleeting/")
    }

    fn retained_owner(&self, topic: &str) -> RetainedOwner {
        match topic.split('/').next() {
            Some("host") => RetainedOwner::Host,
            Some("fleeting") => RetainedOwner::Nobody,
            _ => RetainedOwner::Client,
        }
    }

    fn may_subscribe(&self, _: &Principal, filter: &str) -> bool {
        !filter.starts_with("denied/")
    }

    fn accept(&self, publish: InboundPublish) -> Acceptance {
        let entry = (publish.topic.to_string(), publish.payload.to_vec(), publish.qos);
        assert!(!publish.topic.starts_with("fault/"), "asked for");
        self.accepted.lock().unwrap().push(entry);
        if publish.topic.starts_with("held/") {
            let (sender, receiver) = oneshot::channel();
            self.held.lock().unwrap().push(sender);
            return Acceptance::Pending(receiver);
        }
        Acceptance::Done(match &publish.payload[..] {
            b"refuse" => Verdict::RefusedPayload,
            b"lose" => Verdict::NotStored,
            _ => Verdict::Accepted,
        })
    }
}

impl TestHooks {
    pub(crate) fn accepted_on(&self, topic: &str) -> Vec<String> {
        let accepted = self.accepted.lock().unwrap();
        accepted
            .iter()
            .filter(|(of, ..)| of == topic)
            .map(|(_, payload, _)| String::from_utf8_lossy(payload).into_owned())
            .collect()
    }
}

/// A broker on a free port.
pub(crate) struct Edge {
    pub(crate) broker: Broker,
    pub(crate) hooks: Arc<TestHooks>,
    pub(crate) port: u16,
}

impl Edge {
    pub(crate) async fn start() -> Self {
        Self::with(Limits::default()).await
    }

    pub(crate) async fn with(limits: Limits) -> Self {
        Self::with_store(limits, Arc::new(MemoryRetained::default())).await
    }

    pub(crate) async fn with_store(limits: Limits, store: Arc<MemoryRetained>) -> Self {
        let hooks = Arc::new(TestHooks::default());
        let config = Config { tcp: Some("127.0.0.1:0".parse().unwrap()), limits };
        let broker = Broker::start(config, Arc::clone(&hooks) as _, store).await.unwrap();
        let port = broker.tcp_addr().unwrap().port();
        assert_ne!(port, 0);
        Self { broker, hooks, port }
    }

    pub(crate) fn count(&self, name: &str) -> u64 {
        let counters = self.broker.handle().counters();
        *counters.get(name).unwrap_or_else(|| panic!("there is no counter `{name}`"))
    }

    /// Waits for a state, within [`PATIENCE`]; the one place in these tests that polls.
    pub(crate) async fn until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let waiting = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            panic!("{what}: not within {PATIENCE:?}; counters: {:?}", self.broker.handle().counters());
        }
    }

    pub(crate) async fn until_count(&self, name: &str, least: u64) {
        self.until(&format!("`{name}` reaches {least}"), || least <= self.count(name)).await;
    }

    pub(crate) async fn open(&self) -> Raw {
        Raw { stream: TcpStream::connect(("127.0.0.1", self.port)).await.unwrap() }
    }

    /// A connected 3.1.1 client with a clean session.
    pub(crate) async fn v4(&self, id: &str) -> Raw {
        let mut raw = self.open().await;
        raw.send(&connect(4, id, 2, 0, &[], &[])).await;
        assert_eq!(raw.packet().await, (0x20, vec![0, 0]));
        raw
    }

    /// A connected 5.0 client with a clean start and no expiry.
    pub(crate) async fn v5(&self, id: &str) -> Raw {
        let mut raw = self.open().await;
        raw.send(&connect(5, id, 2, 0, &[], &[])).await;
        let (first, body) = raw.packet().await;
        assert_eq!((first, &body[..2]), (0x20, &[0, 0][..]));
        raw
    }

    /// Two fresh clients pass a message on: everybody else is served.
    pub(crate) async fn serves_others(&self) {
        let mut subscriber = self.v4("bystander-s").await;
        subscriber.subscribe(4, 1, "bystander/+", 1).await;
        let mut publisher = self.v5("bystander-p").await;
        publisher.send(&publish(5, "bystander/1", Some(7), b"hello", false, false)).await;
        assert_eq!(publisher.packet().await, (0x40, vec![0, 7]));
        let (first, body) = subscriber.packet().await;
        assert_eq!(first, 0x32);
        assert!(body.ends_with(b"hello"));
    }
}

/// A socket without manners.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
}

impl Raw {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next packet: first byte and body.
    pub(crate) async fn packet(&mut self) -> (u8, Vec<u8>) {
        self.packet_or_end().await.expect("the broker closed the connection")
    }

    /// The next packet, or `None` once the connection is closed.
    pub(crate) async fn packet_or_end(&mut self) -> Option<(u8, Vec<u8>)> {
        let reading = async {
            let first = self.stream.read_u8().await.ok()?;
            let (mut length, mut shift) = (0_usize, 0);
            loop {
                let byte = self.stream.read_u8().await.ok()?;
                length |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let mut body = vec![0; length];
            self.stream.read_exact(&mut body).await.ok()?;
            Some((first, body))
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("a packet or an end in time")
    }

    /// Reads until the connection ends; gives the last packet before that.
    pub(crate) async fn until_closed(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut last = None;
        while let Some(packet) = self.packet_or_end().await {
            last = Some(packet);
        }
        last
    }

    /// Whether nothing arrives although a ping is answered, which proves that nothing was on its way.
    pub(crate) async fn is_silent(&mut self) -> bool {
        self.send(&[0xc0, 0]).await;
        self.packet().await == (0xd0, vec![])
    }

    /// Publishes with the retain flag and QoS 1, as a 3.1.1 client.
    pub(crate) async fn retain(&mut self, topic: &str, payload: &[u8]) {
        self.send(&publish(4, topic, Some(1), payload, true, false)).await;
        assert_eq!(self.packet().await, (0x40, vec![0, 1]));
    }

    pub(crate) async fn subscribe(&mut self, level: u8, packet_id: u16, filter: &str, options: u8) {
        self.send(&subscribe(level, packet_id, filter, options)).await;
        let (first, body) = self.packet().await;
        assert_eq!(first, 0x90);
        assert_eq!(&body[..2], packet_id.to_be_bytes());
        assert!(*body.last().unwrap() <= 1, "granted: {body:?}");
    }
}

fn text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes());
    out.extend_from_slice(text);
}

/// A frame around a body.
pub(crate) fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut length = body.len();
    loop {
        let byte = u8::try_from(length & 0x7f).unwrap();
        length >>= 7;
        if length == 0 {
            out.push(byte);
            break;
        }
        out.push(byte | 0x80);
    }
    out.extend_from_slice(body);
    out
}

/// A CONNECT; `tail` is what follows the client id (will, user, password), as `flags` announce.
pub(crate) fn connect(
    level: u8,
    id: &str,
    flags: u8,
    keep_alive: u16,
    properties: &[u8],
    tail: &[u8],
) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, b"MQTT");
    body.extend_from_slice(&[level, flags]);
    body.extend_from_slice(&keep_alive.to_be_bytes());
    if level == 5 {
        body.push(u8::try_from(properties.len()).unwrap());
        body.extend_from_slice(properties);
    }
    text(&mut body, id.as_bytes());
    body.extend_from_slice(tail);
    frame(0x10, &body)
}

/// Will topic and payload as they follow the client id.
pub(crate) fn will(level: u8, topic: &str, payload: &[u8], properties: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    if level == 5 {
        out.push(u8::try_from(properties.len()).unwrap());
        out.extend_from_slice(properties);
    }
    text(&mut out, topic.as_bytes());
    text(&mut out, payload);
    out
}

/// User name and password as they follow the client id.
pub(crate) fn credentials(user: &str, password: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    text(&mut out, user.as_bytes());
    text(&mut out, password);
    out
}

/// A PUBLISH with QoS 0 or, with a packet id, QoS 1.
pub(crate) fn publish(
    level: u8,
    topic: &str,
    packet_id: Option<u16>,
    payload: &[u8],
    retain: bool,
    dup: bool,
) -> Vec<u8> {
    let first = 0x30 | (u8::from(dup) << 3) | (u8::from(packet_id.is_some()) << 1) | u8::from(retain);
    frame(first, &publish_body(level, topic, packet_id, payload))
}

/// A PUBLISH with QoS 2.
pub(crate) fn publish2(level: u8, topic: &str, packet_id: u16, payload: &[u8], dup: bool) -> Vec<u8> {
    frame(0x34 | (u8::from(dup) << 3), &publish_body(level, topic, Some(packet_id), payload))
}

pub(crate) fn publish_body(level: u8, topic: &str, packet_id: Option<u16>, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, topic.as_bytes());
    if let Some(packet_id) = packet_id {
        body.extend_from_slice(&packet_id.to_be_bytes());
    }
    if level == 5 {
        body.push(0);
    }
    body.extend_from_slice(payload);
    body
}

pub(crate) fn subscribe(level: u8, packet_id: u16, filter: &str, options: u8) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if level == 5 {
        body.push(0);
    }
    text(&mut body, filter.as_bytes());
    body.push(options);
    frame(0x82, &body)
}

pub(crate) fn unsubscribe(level: u8, packet_id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if level == 5 {
        body.push(0);
    }
    for filter in filters {
        text(&mut body, filter.as_bytes());
    }
    frame(0xa2, &body)
}
