//! The broker's questions, answered: who may come in, what may be touched, and when a publish is safe.
//!
//! Owns: counters and the last refused payloads. Does not own: connections, devices, the journal.
//!
//! # Invariants
//!
//! - A publish of QoS 1 or 2 gets a verdict only after its record is durable, or after it was refused.
//! - A refused payload is journalled as a short mark and its beginning, which no mapper takes: it can neither become
//!   a reading on replay nor take the room of readings that headquarters does not have yet.
//! - Everything that is journalled has a bound of its own, far below that of a packet: telemetry and kiosk events in the
//!   mapper, kiosk requests in their contract, what only passes through and every topic here.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use broker::{
    Acceptance, BoxFuture, ConnectRefusal, ConnectRequest, Hooks, InboundPublish, Principal, Qos,
    RetainedOwner, Verdict,
};
use contract::{
    DeviceId, Timestamp,
    kiosk::{Request, RequestError},
    topic::{self, SensorTopic},
};
use serde::Serialize;
use tokio::sync::oneshot;

use crate::{
    clock::Clock,
    codes::Codes,
    config::PassthroughLimits,
    devices::{ANONYMOUS_KIND, Gatekeeper, Stranger, may_publish, may_subscribe},
    domain::{Mapped, REFUSED_MARK, Rejection, SealedRequest, map},
    journal::{AppendError, Journal, Publish, Record},
};

/// Refused payloads that are remembered for the integrator.
const REJECTIONS_MAX: usize = 20;
/// Bytes of each that are remembered.
const REJECTION_BYTES_MAX: usize = 512;
/// Bytes of a refused payload that the journal keeps, behind [`REFUSED_MARK`].
const REFUSED_BYTES_MAX: usize = 512;
/// Bytes of a topic that the journal keeps. The longest one that means something is
/// `commands/<device>/<id>/result` with ids of 64 bytes.
const TOPIC_BYTES_MAX: usize = 256;

/// One refused payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RejectedPayload {
    /// When.
    pub at: Timestamp,
    /// Who published.
    pub device: String,
    /// Where.
    pub topic: String,
    /// One word.
    pub code: &'static str,
    /// What is wrong.
    pub reason: String,
    /// Its beginning, as text.
    pub payload: String,
}

/// What happened at the edge.
#[derive(Default)]
pub struct EdgeCounts {
    stored: AtomicU64,
    reasons: Mutex<BTreeMap<String, u64>>,
    rejections: Mutex<VecDeque<RejectedPayload>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EdgeCounts {
    pub(crate) fn count(&self, what: &str, reason: &str) {
        *lock(&self.reasons).entry(format!("{what}.{reason}")).or_default() += 1;
    }

    fn reject(&self, publish: &InboundPublish, at: Timestamp, rejection: &Rejection, shown: &[u8]) {
        self.count("publishes_rejected", rejection.code());
        let payload = &shown[..shown.len().min(REJECTION_BYTES_MAX)];
        let rejected = RejectedPayload {
            at,
            device: publish.principal.name.to_string(),
            topic: beginning(&publish.topic).to_owned(),
            code: rejection.code(),
            reason: rejection.to_string(),
            payload: String::from_utf8_lossy(payload).into_owned(),
        };
        let mut rejections = lock(&self.rejections);
        if REJECTIONS_MAX <= rejections.len() {
            rejections.pop_front();
        }
        rejections.push_back(rejected);
    }

    /// Counters by name and reason.
    #[must_use]
    pub fn counters(&self) -> BTreeMap<String, u64> {
        let mut counters = lock(&self.reasons).clone();
        counters.insert("publishes_stored".to_owned(), self.stored.load(Ordering::Relaxed));
        counters
    }

    /// The last refused payloads, the newest last.
    #[must_use]
    pub fn rejections(&self) -> Vec<RejectedPayload> {
        lock(&self.rejections).iter().cloned().collect()
    }
}

/// The broker's questions, answered.
pub(crate) struct Edge {
    pub(crate) journal: Journal,
    pub(crate) gatekeeper: Arc<Gatekeeper>,
    pub(crate) counts: Arc<EdgeCounts>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) boot: u64,
    pub(crate) is_open: bool,
    pub(crate) codes: Arc<Codes>,
    pub(crate) passthrough: PassthroughLimits,
}

impl Edge {
    async fn identify(&self, request: &ConnectRequest) -> Result<Principal, ConnectRefusal> {
        let name = request.username.as_deref();
        let password = request.password.as_deref().unwrap_or_default();
        let stranger = match name {
            Some(name) => {
                let address = request.peer.ip();
                match self.gatekeeper.verify(name, &request.client_id, password, address).await {
                    Ok(identity) => return Ok(Principal { name: identity.id, kind: identity.kind }),
                    Err(stranger) => stranger,
                }
            }
            None => Stranger::Unknown,
        };
        let is_unregistered = stranger == Stranger::Unknown;
        if self.is_open && is_unregistered {
            let name = anonymous_name(&request.client_id);
            return Ok(Principal { name: name.into(), kind: ANONYMOUS_KIND.into() });
        }
        let shown = name.unwrap_or(&request.client_id);
        let (reason, refusal) = match stranger {
            Stranger::Unknown => ("unknown_device", ConnectRefusal::BadCredentials),
            Stranger::WrongSecret => ("wrong_secret", ConnectRefusal::BadCredentials),
            Stranger::OtherClientId => ("client_id_is_not_the_device", ConnectRefusal::NotAuthorized),
            Stranger::Busy => ("busy", ConnectRefusal::Busy),
            Stranger::BackingOff => ("backing_off", ConnectRefusal::Busy),
        };
        self.counts.count("connects_refused", reason);
        if is_unregistered {
            self.gatekeeper.note_stranger(shown, request.peer.ip().to_string(), self.clock.now());
        }
        Err(refusal)
    }
}

/// What becomes of a kiosk's request before it is written.
enum Sealed {
    /// It is none.
    Not,
    /// Without its code.
    Request(Vec<u8>),
    /// It is no request that can be.
    Refused(Rejection),
    /// There is no key to hash its code with.
    NoKey,
}

impl Edge {
    fn seal(&self, publish: &InboundPublish) -> Sealed {
        let mut levels = publish.topic.split('/');
        if (levels.next(), levels.nth(1)) != (Some("kiosk"), Some("request")) {
            return Sealed::Not;
        }
        if topic::parse_kiosk_request(&publish.topic).is_none() {
            let cause = RequestError::Json { reason: "its topic has no id".to_owned() };
            return Sealed::Refused(Rejection::Request { cause });
        }
        let request = match Request::parse(&publish.payload) {
            Ok(request) => request,
            Err(cause) => return Sealed::Refused(Rejection::Request { cause }),
        };
        match self.codes.hasher() {
            Ok(hasher) => Sealed::Request(SealedRequest::new(request, hasher).to_bytes()),
            Err(error) => {
                tracing::error!(error = %crate::projector::chain(&error), "a kiosk's request cannot be taken");
                Sealed::NoKey
            }
        }
    }
}

impl Edge {
    fn judge(&self, publish: &InboundPublish, received_at: Timestamp) -> Result<(), Rejection> {
        let InboundPublish { topic, payload, .. } = publish;
        if TOPIC_BYTES_MAX < topic.len() {
            return Err(Rejection::TopicTooLong { len: topic.len(), max: TOPIC_BYTES_MAX });
        }
        if map(topic, payload, received_at)? == Mapped::Passthrough {
            let (max, limit) = self.passthrough.of(topic);
            if max < payload.len() {
                return Err(Rejection::OverLimit { len: payload.len(), max, limit });
            }
        }
        Ok(())
    }
}

/// The topic, or the beginning of one that is too long and therefore refused.
fn beginning(topic: &str) -> &str {
    &topic[..topic.floor_char_boundary(TOPIC_BYTES_MAX)]
}

/// A refused payload as the journal keeps it.
fn refused_record(payload: &[u8]) -> Vec<u8> {
    let beginning = &payload[..payload.len().min(REFUSED_BYTES_MAX)];
    [REFUSED_MARK, beginning].concat()
}

/// A device id from any client id: what is outside the alphabet becomes `-`.
fn anonymous_name(client_id: &str) -> String {
    let name: String = client_id
        .chars()
        .take(contract::id::ID_BYTES_MAX)
        .map(|c| match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9' | '-') => c,
            _ => '-',
        })
        .collect();
    match DeviceId::parse(&name) {
        Ok(id) => id.into(),
        Err(_) => "anonymous".to_owned(),
    }
}

impl Hooks for Edge {
    fn authenticate<'a>(
        &'a self,
        request: &'a ConnectRequest,
    ) -> BoxFuture<'a, Result<Principal, ConnectRefusal>> {
        Box::pin(self.identify(request))
    }

    fn may_publish(&self, principal: &Principal, topic: &str) -> bool {
        may_publish(&principal.name, &principal.kind, topic)
    }

    /// Only a sensor's own state stays; anything else would let one device fill the table under names of its choice.
    fn may_retain(&self, principal: &Principal, topic: &str) -> bool {
        SensorTopic::parse(topic).is_ok_and(|topic| topic.device.as_str() == &*principal.name)
    }

    fn retained_owner(&self, topic: &str) -> RetainedOwner {
        if topic.starts_with("hub/") {
            return RetainedOwner::Host;
        }
        match SensorTopic::parse(topic) {
            Ok(topic) if self.is_open || self.gatekeeper.knows(topic.device.as_str()) => {
                RetainedOwner::Client
            }
            _ => RetainedOwner::Nobody,
        }
    }

    fn may_subscribe(&self, principal: &Principal, filter: &str) -> bool {
        may_subscribe(&principal.name, &principal.kind, filter)
    }

    fn accept(&self, publish: InboundPublish) -> Acceptance {
        let received_at = self.clock.now();
        let kept;
        let (verdict, payload) = match self.seal(&publish) {
            Sealed::Not => match self.judge(&publish, received_at) {
                Ok(()) => (Verdict::Accepted, &*publish.payload),
                Err(rejection) => {
                    self.counts.reject(&publish, received_at, &rejection, &publish.payload);
                    kept = refused_record(&publish.payload);
                    (Verdict::RefusedPayload, &*kept)
                }
            },
            Sealed::Request(sealed) => {
                kept = sealed;
                (Verdict::Accepted, &*kept)
            }
            Sealed::Refused(rejection) => {
                // Whatever was typed there could be a code.
                self.counts.reject(&publish, received_at, &rejection, b"");
                kept = refused_record(b"");
                (Verdict::RefusedPayload, &*kept)
            }
            Sealed::NoKey => {
                self.counts.count("publishes_not_stored", "no_key");
                return Acceptance::Done(Verdict::NotStored);
            }
        };
        let record = Record::Publish(Publish {
            device: &publish.principal.name,
            topic: beginning(&publish.topic),
            payload,
            retain: publish.retain,
            qos: match publish.qos {
                Qos::AtMostOnce => 0,
                Qos::AtLeastOnce => 1,
                Qos::ExactlyOnce => 2,
            },
            received_at,
            mono_ms: self.clock.mono_ms(),
            boot: self.boot,
        });
        let counts = Arc::clone(&self.counts);
        let stored = move |result: Result<u64, AppendError>| match result {
            Ok(_) => {
                counts.stored.fetch_add(1, Ordering::Relaxed);
                verdict
            }
            Err(error) => {
                counts.count("publishes_not_stored", error.reason());
                Verdict::NotStored
            }
        };
        if publish.qos == Qos::AtMostOnce {
            // Nobody waits: it is fanned out now, and a refusal of the disk is counted.
            self.journal.append_then(&record, move |result| {
                stored(result);
            });
            return Acceptance::Done(verdict);
        }
        let (tx, rx) = oneshot::channel();
        self.journal.append_then(&record, move |result| {
            // A connection that has gone does not need its verdict.
            tx.send(stored(result)).ok();
        });
        Acceptance::Pending(rx)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use contract::topic::{Channel, SensorKind};

    use super::*;
    use crate::{
        clock::SystemClock,
        devices::Registry,
        journal::{Options, Reader},
    };

    fn edge(dir: &std::path::Path) -> Edge {
        let (journal, _) = Journal::open(&dir.join("journal"), Options::default(), 1).unwrap();
        Edge {
            journal,
            gatekeeper: Arc::new(Gatekeeper::open(Registry::in_dir(dir)).unwrap()),
            counts: Arc::default(),
            clock: Arc::new(SystemClock::start()),
            boot: 1,
            is_open: false,
            codes: Arc::new(Codes::in_dir(dir)),
            passthrough: PassthroughLimits { command_result_bytes_max: 300, kiosk_bytes_max: 400 },
        }
    }

    async fn accept(edge: &Edge, topic: &str, payload: Vec<u8>) -> Verdict {
        let acceptance = edge.accept(InboundPublish {
            principal: Principal { name: "s1".into(), kind: "shelf".into() },
            topic: topic.into(),
            payload: Bytes::from(payload),
            qos: Qos::AtLeastOnce,
            retain: false,
        });
        match acceptance {
            Acceptance::Done(verdict) => verdict,
            Acceptance::Pending(verdict) => verdict.await.unwrap(),
        }
    }

    /// Topic and payload of the next publish.
    fn next(reader: &mut Reader) -> (String, Vec<u8>) {
        match reader.next().unwrap().expect("a record").record {
            Record::Publish(publish) => (publish.topic.to_owned(), publish.payload.to_vec()),
            other => panic!("{other:?} is no publish"),
        }
    }

    #[tokio::test]
    async fn a_refused_payload_takes_little_room_in_the_journal_and_never_becomes_a_reading() {
        let dir = tempfile::tempdir().unwrap();
        let edge = edge(dir.path());
        let topic = "sensors/shelf/s1/reading";
        let reading = b"{\"count\":7}".to_vec();
        // Too long only because of what is cut off.
        let blanks = [reading.clone(), vec![b' '; 100_000]].concat();
        assert_eq!(accept(&edge, topic, vec![b'x'; 200_000]).await, Verdict::RefusedPayload);
        assert_eq!(accept(&edge, topic, blanks).await, Verdict::RefusedPayload);
        assert_eq!(accept(&edge, topic, Vec::new()).await, Verdict::RefusedPayload);
        assert_eq!(accept(&edge, topic, reading.clone()).await, Verdict::Accepted);

        let mut reader = edge.journal.reader(1);
        for _ in 0..3 {
            let (topic, payload) = next(&mut reader);
            assert!(payload.len() <= REFUSED_MARK.len() + REFUSED_BYTES_MAX);
            assert!(payload.starts_with(REFUSED_MARK));
            assert!(map(&topic, &payload, Timestamp::UNIX_EPOCH).is_err());
        }
        assert_eq!(next(&mut reader), (topic.to_owned(), reading), "a reading is kept as it came");
        let codes: Vec<_> = edge.counts.rejections().iter().map(|rejected| rejected.code).collect();
        assert_eq!(codes, ["too_large", "too_large", "not_json"]);
        assert!(edge.counts.rejections()[0].payload.starts_with("xxx"), "the integrator sees its beginning");
        edge.journal.close();
    }

    #[tokio::test]
    async fn what_only_passes_through_has_a_bound_of_its_kind_and_topics_have_one_too() {
        let dir = tempfile::tempdir().unwrap();
        let edge = edge(dir.path());
        let long_topic = format!("kiosk/s1/{}", "é".repeat(30_000));
        let long_result = format!("commands/s1/{}/result", "x".repeat(TOPIC_BYTES_MAX));
        let cases = [
            ("commands/s1/c1/result", 300, None),
            (
                "commands/s1/c1/result",
                301,
                Some("301 bytes, at most 300 are allowed here (`limits.command_result_bytes_max`)"),
            ),
            ("kiosk/s1/words", 400, None),
            (
                "kiosk/s1/words",
                401,
                Some("401 bytes, at most 400 are allowed here (`limits.kiosk_bytes_max`)"),
            ),
            (&long_topic, 0, Some("topic has 60009 bytes, at most 256 are allowed")),
            (&long_result, 0, Some("topic has 275 bytes, at most 256 are allowed")),
        ];
        let mut reader = edge.journal.reader(1);
        for (topic, len, reason) in cases {
            let verdict = accept(&edge, topic, vec![b'x'; len]).await;
            let expected = if reason.is_some() { Verdict::RefusedPayload } else { Verdict::Accepted };
            assert_eq!(verdict, expected, "{topic} {len}");
            let (kept, payload) = next(&mut reader);
            assert!(topic.starts_with(&kept) && kept.len() <= TOPIC_BYTES_MAX, "{kept}");
            assert_eq!(payload.starts_with(REFUSED_MARK), reason.is_some());
            if let Some(reason) = reason {
                let last = edge.counts.rejections().pop().expect("it is listed");
                assert!(last.reason.contains(reason), "{last:?}");
                assert!(last.topic.len() <= TOPIC_BYTES_MAX);
            }
        }
        let counters = edge.counts.counters();
        assert_eq!(counters["publishes_rejected.too_large"], 2);
        assert_eq!(counters["publishes_rejected.topic"], 2);
        edge.journal.close();
    }

    #[tokio::test]
    async fn a_code_reaches_neither_the_journal_nor_the_list_of_refused_payloads() {
        let dir = tempfile::tempdir().unwrap();
        let edge = edge(dir.path());
        let ask = |code: &str| {
            format!("{{\"at\":\"2026-01-02T03:04:05Z\",\"kind\":\"pick_up\",\"code\":\"{code}\"}}")
                .into_bytes()
        };
        let refused = [
            ("kiosk/s1/request/r1", ask("9421370")),
            ("kiosk/s1/request/R", ask("942137")),
            ("kiosk/s1/request", ask("942137")),
            ("kiosk/s1/request/r1/x", ask("942137")),
            ("kiosk/s1/request/r1", b"942137".to_vec()),
        ];
        for (topic, payload) in refused {
            assert_eq!(accept(&edge, topic, payload).await, Verdict::RefusedPayload, "{topic}");
        }
        assert_eq!(accept(&edge, "kiosk/s1/request/r1", ask("942137")).await, Verdict::Accepted);
        let mut reader = edge.journal.reader(1);
        for n in 0..6 {
            let (_, payload) = next(&mut reader);
            assert!(!String::from_utf8_lossy(&payload).contains("94213"), "record {n}");
            assert_eq!(serde_json::from_slice::<SealedRequest>(&payload).is_ok(), n == 5, "record {n}");
        }
        assert_eq!(edge.counts.rejections().len(), 5);
        assert!(edge.counts.rejections().iter().all(|rejected| rejected.payload.is_empty()));
        edge.journal.close();
    }

    #[tokio::test]
    async fn only_a_known_sensors_own_topics_are_retained() {
        let dir = tempfile::tempdir().unwrap();
        let mut edge = edge(dir.path());
        let s1 = Principal { name: "s1".into(), kind: "shelf".into() };
        let cases = [
            ("sensors/shelf/s1/reading", true),
            ("sensors/shelf/s1/status", true),
            ("sensors/shelf/s2/status", false),
            ("sensors/shelf/s1/made-up", false),
            ("commands/s1/c1/result", false),
            ("hub/health", false),
        ];
        for (topic, may) in cases {
            assert_eq!(edge.may_retain(&s1, topic), may, "{topic}");
        }
        assert_eq!(edge.retained_owner("hub/stock/s1"), RetainedOwner::Host);
        assert_eq!(edge.retained_owner("commands/s1/c1/result"), RetainedOwner::Nobody);
        assert_eq!(
            edge.retained_owner("sensors/shelf/s1/status"),
            RetainedOwner::Nobody,
            "it is not registered"
        );
        edge.is_open = true;
        assert_eq!(edge.retained_owner("sensors/shelf/s1/status"), RetainedOwner::Client);
        edge.journal.close();
    }

    #[test]
    fn no_mapper_takes_a_marked_payload_whatever_it_is() {
        let d = contract::DeviceId::parse("d1").unwrap();
        let topics = SensorKind::ALL.iter().flat_map(|&kind| {
            let topic = |&channel: &Channel| SensorTopic { kind, device: d.clone(), channel }.to_string();
            Channel::of(kind).iter().map(topic).collect::<Vec<_>>()
        });
        let topics = topics.chain(["kiosk/k1/experience".to_owned(), "sensors/lamp/d1/reading".to_owned()]);
        for topic in topics {
            for payload in
                ["", "online", "offline", "{}", "{\"count\":1}", "{\"present\":[]}", "1", "\u{feff}{}"]
            {
                let kept = refused_record(payload.as_bytes());
                assert!(map(&topic, &kept, Timestamp::UNIX_EPOCH).is_err(), "{topic}: {payload}");
            }
        }
    }

    #[test]
    fn any_client_id_becomes_a_device_id_when_the_hub_is_open() {
        for (client_id, name) in
            [("shelf-01", "shelf-01"), ("Küche 1", "k-che-1"), ("", "anonymous"), ("mqttjs_1a", "mqttjs-1a")]
        {
            assert_eq!(anonymous_name(client_id), name);
        }
        assert_eq!(anonymous_name(&"x".repeat(200)).len(), 64);
    }
}
