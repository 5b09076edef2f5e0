//! The broker's questions, answered: who may come in, what may be touched, and when a publish is safe.
//!
//! Owns: counters and the last refused payloads. Does not own: connections, devices, the journal.
//!
//! Invariant: a publish of QoS 1 or 2 gets a verdict only after its record is durable, or after it was refused.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use broker::{
    Acceptance, BoxFuture, ConnectRefusal, ConnectRequest, Hooks, InboundPublish, Principal, Qos, Verdict,
};
use contract::{DeviceId, Timestamp};
use serde::Serialize;
use tokio::sync::oneshot;

use crate::{
    clock::Clock,
    devices::{ANONYMOUS_KIND, Gatekeeper, Stranger, may_publish, may_subscribe},
    domain::{Rejection, map},
    journal::{AppendError, Journal, Publish, Record},
};

/// Refused payloads that are remembered for the integrator.
const REJECTIONS_MAX: usize = 20;
/// Bytes of each that are remembered.
const REJECTION_BYTES_MAX: usize = 512;

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
    fn count(&self, what: &str, reason: &str) {
        *lock(&self.reasons).entry(format!("{what}.{reason}")).or_default() += 1;
    }

    fn reject(&self, publish: &InboundPublish, at: Timestamp, rejection: &Rejection) {
        self.count("publishes_rejected", rejection.code());
        let payload = &publish.payload[..publish.payload.len().min(REJECTION_BYTES_MAX)];
        let rejected = RejectedPayload {
            at,
            device: publish.principal.name.to_string(),
            topic: publish.topic.to_string(),
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
}

impl Edge {
    async fn identify(&self, request: &ConnectRequest) -> Result<Principal, ConnectRefusal> {
        let name = request.username.as_deref();
        let password = request.password.as_deref().unwrap_or_default();
        let stranger = match name {
            Some(name) => match self.gatekeeper.verify(name, &request.client_id, password).await {
                Ok(identity) => return Ok(Principal { name: identity.id, kind: identity.kind }),
                Err(stranger) => stranger,
            },
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
        };
        self.counts.count("connects_refused", reason);
        if is_unregistered {
            self.gatekeeper.note_stranger(shown, request.peer.ip().to_string(), self.clock.now());
        }
        Err(refusal)
    }
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

    fn may_subscribe(&self, principal: &Principal, filter: &str) -> bool {
        may_subscribe(&principal.name, &principal.kind, filter)
    }

    fn accept(&self, publish: InboundPublish) -> Acceptance {
        let received_at = self.clock.now();
        let verdict = match map(&publish.topic, &publish.payload, received_at) {
            Ok(_) => Verdict::Accepted,
            Err(rejection) => {
                self.counts.reject(&publish, received_at, &rejection);
                Verdict::RefusedPayload
            }
        };
        let record = Record::Publish(Publish {
            device: &publish.principal.name,
            topic: &publish.topic,
            payload: &publish.payload,
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
    use super::*;

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
