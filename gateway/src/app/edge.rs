//! The broker's questions, answered: who may come in, what may be touched, and when a publish is safe.
//!
//! Owns: counters and the list of refusals. Does not own: connections, devices, the journal, the words ([`advice`]).
//!
//! # Invariants
//!
//! - A publish of QoS 1 or 2 gets a verdict only after its record is durable, or after it was refused.
//! - A refused payload is journalled as a short mark and its beginning, which no mapper takes: it can neither become
//!   a reading on replay nor take the room of readings that headquarters does not have yet.
//! - Everything that is journalled has a bound of its own, far below that of a packet: telemetry and kiosk events in the
//!   mapper, kiosk requests in their contract, what only passes through and every topic here.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use broker::{
    Acceptance, Blame, BoxFuture, ConnectRefusal, ConnectRequest, Hooks, InboundPublish, Incident, Principal,
    Qos, Refusal, Refusals, RetainedOwner, Verdict, source,
};
use contract::{
    DeviceId, Timestamp,
    kiosk::{Request, RequestError},
    topic::{self, SensorTopic},
};
use tokio::sync::oneshot;

use super::{
    advice::{self, Advice},
    orders::DoorResults,
};
use crate::{
    clock::Clock,
    codes::Codes,
    config::PassthroughLimits,
    devices::{ANONYMOUS_KIND, Gatekeeper, Stranger, may_publish, may_subscribe},
    domain::{Mapped, REFUSED_MARK, Rejection, SealedRequest, map},
    journal::{AppendError, Journal, Publish, Record},
};

/// Bytes of a refused payload that are remembered for the integrator.
const REJECTION_BYTES_MAX: usize = 512;
/// Bytes of a refused payload that the journal keeps, behind [`REFUSED_MARK`].
const REFUSED_BYTES_MAX: usize = 512;
/// Bytes of a topic that the journal keeps. The longest one that means something is
/// `commands/<device>/<id>/result` with ids of 64 bytes.
const TOPIC_BYTES_MAX: usize = 256;

/// What happened at the edge.
#[derive(Default)]
pub struct EdgeCounts {
    stored: AtomicU64,
    reasons: Mutex<BTreeMap<String, u64>>,
    /// What was refused, to whom, and what to do about it.
    pub(crate) refusals: Refusals,
    pub(crate) door_results: DoorResults,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EdgeCounts {
    pub(crate) fn count(&self, what: &str, reason: &str) {
        *lock(&self.reasons).entry(format!("{what}.{reason}")).or_default() += 1;
    }

    /// Counters by name and reason.
    #[must_use]
    pub fn counters(&self) -> BTreeMap<String, u64> {
        let mut counters = lock(&self.reasons).clone();
        counters.insert("publishes_stored".to_owned(), self.stored.load(Ordering::Relaxed));
        counters
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
    /// Shown in advice.
    pub(crate) config_file: String,
}

impl Edge {
    /// Whose a refusal is when the list is full. Anybody may choose a name that is not registered.
    fn blame(&self, name: &str, peer: Option<SocketAddr>) -> Blame {
        match peer {
            Some(peer) if !self.gatekeeper.knows(name) => Blame::Address(source(peer.ip())),
            _ => Blame::Device(name.to_owned()),
        }
    }

    fn reject(&self, publish: &InboundPublish, at: Timestamp, rejection: &Rejection, shown: &[u8]) {
        self.counts.count("publishes_rejected", rejection.code());
        let payload = &shown[..shown.len().min(REJECTION_BYTES_MAX)];
        let Advice { code, reason, hint } = advice::on_payload(rejection.code(), rejection.to_string());
        let name = &publish.principal.name;
        let refusal = Refusal {
            code,
            device: name.to_string(),
            client_id: None,
            peer: publish.peer,
            topic: Some(beginning(&publish.topic).to_owned()),
            reason,
            hint,
            payload: Some(String::from_utf8_lossy(payload).into_owned()),
            times: 1,
            first_at: at,
            at,
        };
        self.counts.refusals.note(self.blame(name, publish.peer), refusal);
    }

    async fn identify(&self, request: &ConnectRequest) -> Result<Principal, ConnectRefusal> {
        let name = request.username.as_deref();
        let address = request.peer.ip();
        let password = request.password.as_deref().unwrap_or_default();
        let stranger = match name {
            Some(name) => match self.gatekeeper.verify(name, &request.client_id, password, address).await {
                Ok(identity) => return Ok(Principal { name: identity.id, kind: identity.kind }),
                Err(stranger) => stranger,
            },
            None => Stranger::Unknown,
        };
        if self.is_open && stranger == Stranger::Unknown {
            let name = anonymous_name(&request.client_id);
            return Ok(Principal { name: name.into(), kind: ANONYMOUS_KIND.into() });
        }
        let Advice { code, reason, hint } = advice::on_login(stranger, request, &self.config_file);
        self.counts.count("connects_refused", code);
        let at = self.clock.now();
        let refusal = Refusal {
            code,
            device: name.unwrap_or("(no user name)").to_owned(),
            client_id: Some(request.client_id.clone()),
            peer: Some(request.peer),
            topic: None,
            reason,
            hint,
            payload: None,
            times: 1,
            first_at: at,
            at,
        };
        self.counts.refusals.note(Blame::Address(source(address)), refusal);
        Err(match stranger {
            Stranger::Unknown | Stranger::WrongSecret => ConnectRefusal::BadCredentials,
            Stranger::OtherClientId => ConnectRefusal::NotAuthorized,
            Stranger::Busy | Stranger::BackingOff => ConnectRefusal::Busy,
        })
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

/// The device that a topic of the hub's own is about.
pub(super) fn hub_device(topic: &str) -> Option<&str> {
    ["hub/stock/", "hub/lockers/", "hub/climate/"].iter().find_map(|prefix| topic.strip_prefix(prefix))
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
            let is_gone = |device: &str| !self.is_open && !self.gatekeeper.knows(device);
            return match hub_device(topic) {
                Some(device) if is_gone(device) => RetainedOwner::Nobody,
                _ => RetainedOwner::Host,
            };
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
                Ok(()) => {
                    self.counts.door_results.note(&publish.topic, &publish.payload);
                    (Verdict::Accepted, &*publish.payload)
                }
                Err(rejection) => {
                    self.reject(&publish, received_at, &rejection, &publish.payload);
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
                self.reject(&publish, received_at, &rejection, b"");
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

    fn note(&self, incident: Incident<'_>) {
        let Incident { trouble: _, principal, client_id, peer, topic } = incident;
        let Advice { code, reason, hint } = advice::on_incident(&incident);
        let at = self.clock.now();
        let refusal = Refusal {
            code,
            device: principal.name.to_string(),
            client_id: Some(client_id.to_owned()),
            peer: Some(peer),
            topic: topic.map(str::to_owned),
            reason,
            hint,
            payload: None,
            times: 1,
            first_at: at,
            at,
        };
        self.counts.refusals.note(self.blame(&principal.name, Some(peer)), refusal);
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
            config_file: "gateway.toml".to_owned(),
        }
    }

    async fn accept(edge: &Edge, topic: &str, payload: Vec<u8>) -> Verdict {
        let acceptance = edge.accept(InboundPublish {
            principal: Principal { name: "s1".into(), kind: "shelf".into() },
            topic: topic.into(),
            payload: Bytes::from(payload),
            qos: Qos::AtLeastOnce,
            retain: false,
            peer: None,
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
        let refusals = edge.counts.refusals.list();
        let counted: Vec<_> = refusals.iter().map(|refusal| (refusal.code, refusal.times)).collect();
        assert_eq!(counted, [("not_json", 1), ("too_large", 2)]);
        let beginning = refusals[1].payload.as_deref().unwrap();
        assert!(
            beginning.starts_with("{\"count\":7}"),
            "the integrator sees how the last one began: {beginning}"
        );
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
                let last = edge.counts.refusals.list().into_iter().next().expect("it is listed");
                assert!(last.reason.contains(reason), "{last:?}");
                assert!(last.topic.is_some_and(|topic| topic.len() <= TOPIC_BYTES_MAX));
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
        let refusals = edge.counts.refusals.list();
        assert_eq!(refusals.iter().map(|refusal| refusal.times).sum::<u64>(), 5);
        assert!(refusals.iter().all(|refusal| refusal.payload.as_deref() == Some("")));
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
        assert_eq!(edge.retained_owner("hub/health"), RetainedOwner::Host);
        assert_eq!(edge.retained_owner("hub/stock/s1"), RetainedOwner::Nobody, "it is not registered");
        assert_eq!(edge.retained_owner("commands/s1/c1/result"), RetainedOwner::Nobody);
        assert_eq!(
            edge.retained_owner("sensors/shelf/s1/status"),
            RetainedOwner::Nobody,
            "it is not registered"
        );
        edge.is_open = true;
        assert_eq!(edge.retained_owner("hub/stock/s1"), RetainedOwner::Host);
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
