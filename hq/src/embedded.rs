//! The broker in this process: who may come in, what they may touch, and what becomes of what they publish.
//!
//! Owns admission, and the list of those who were refused. A store may publish only what the contract lets it publish under its own name, and subscribe only
//! under `stores/<own id>/`. Its PUBACK follows the commit.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use broker::{
    Acceptance, Blame, BoxFuture, Broker, ConnectRefusal, ConnectRequest, Handle, Hooks, InboundPublish,
    Incident, Limits, MemoryRetained, Principal, Qos, Refusal, Refusals, StartError, Trouble, Verdict,
    source,
};
use bytes::Bytes;
use contract::{
    StoreId, Timestamp,
    upstream::{BATCH_BYTES_MAX, StoreTopic},
};
use tokio::sync::oneshot;

use crate::{
    config::Admission,
    counters::Counters,
    ingest::{Downlink, Ingest, Outcome},
    log_limit::LogLimit,
};

/// Stores that may be connected at once.
const CONNECTIONS_MAX: usize = 5_000;
/// Room in a packet for what is no payload: fixed header, topic, packet id.
const PACKET_OVERHEAD_BYTES: usize = 1_024;
/// How long pending acknowledgements may take at shutdown.
pub const DRAIN: Duration = Duration::from_secs(5);

/// Starts the broker on the present runtime.
///
/// # Errors
/// When the address cannot be bound; the error names it.
pub async fn start(listen: SocketAddr, door: Door) -> Result<Broker, StartError> {
    let limits = Limits {
        connections: CONNECTIONS_MAX,
        // A whole fleet may stand behind one address translator.
        connections_per_address: CONNECTIONS_MAX,
        packet_bytes_max: BATCH_BYTES_MAX + PACKET_OVERHEAD_BYTES,
        sessions_max: 2 * CONNECTIONS_MAX,
        // A birth and a status for each.
        retained_messages_max: 4 * CONNECTIONS_MAX,
        ..Limits::default()
    };
    let config = broker::Config { tcp: Some(listen), limits };
    Broker::start(config, Arc::new(door), Arc::new(MemoryRetained::default())).await
}

/// The way back through the broker in this process.
pub struct EmbeddedDownlink {
    /// The broker.
    pub handle: Handle,
    /// Counts what was not published.
    pub counters: Counters,
}

impl Downlink for EmbeddedDownlink {
    fn publish(&self, topic: String, payload: Vec<u8>) {
        if let Err(error) = self.handle.publish(&topic, payload.into(), Qos::AtLeastOnce, false) {
            self.counters.count("downlink_lost");
            tracing::warn!("not published: {error}");
        }
    }
}

/// Stores that were refused. All of them are counted and listed; the log hears of some.
pub struct Refused {
    /// Who, why, and what to do.
    pub list: Refusals,
    clock: fn() -> Timestamp,
    log: LogLimit,
}

impl Refused {
    /// An empty list.
    #[must_use]
    pub fn new(clock: fn() -> Timestamp) -> Self {
        Self { list: Refusals::default(), clock, log: LogLimit::default() }
    }

    fn note(&self, blame: Blame, refusal: Refusal) {
        if self.log.allows(Instant::now()) {
            let Refusal { code, device, peer, topic, reason, hint, .. } = &refusal;
            tracing::warn!(code, login = ?device, ?peer, ?topic, "refused: {reason}; {hint}");
        }
        self.list.note(blame, refusal);
    }
}

/// Who may come in, and what becomes of what they publish.
pub struct Door {
    /// Who may come in.
    pub admission: Admission,
    /// Takes what is published.
    pub ingest: Ingest,
    /// Counts who and what is refused.
    pub counters: Counters,
    /// Says who was refused.
    pub refused: Arc<Refused>,
}

impl Door {
    fn refuse(&self, request: &ConnectRequest, code: &'static str, reason: String, hint: &str) {
        let at = (self.refused.clock)();
        let refusal = Refusal {
            code,
            device: request.username.clone().unwrap_or_else(|| request.client_id.clone()),
            client_id: Some(request.client_id.clone()),
            peer: Some(request.peer),
            topic: None,
            reason,
            hint: hint.to_owned(),
            payload: None,
            times: 1,
            first_at: at,
            at,
        };
        self.refused.note(Blame::Address(source(request.peer.ip())), refusal);
    }

    fn admit(&self, request: &ConnectRequest) -> Result<Principal, ConnectRefusal> {
        let name = request.username.as_deref().unwrap_or(&request.client_id);
        let Ok(store) = StoreId::parse(name) else {
            self.counters.count("connects_refused_name");
            let reason = format!("the user name {name:?} cannot be a store's id");
            self.refuse(
                request,
                "name",
                reason,
                "set the user in the store's `upstream.url` to its `store.id`",
            );
            return Err(ConnectRefusal::NotAuthorized);
        };
        if let Admission::Listed(stores) = &self.admission {
            let offered = request.password.as_deref().unwrap_or_default();
            if !stores.get(&store).is_some_and(|secret| secret.matches(offered)) {
                self.counters.count("connects_refused_secret");
                let (code, reason, hint) = match stores.contains_key(&store) {
                    true => (
                        "wrong_secret",
                        format!("the password is not the secret of `{store}`"),
                        "set the password in the store's `upstream.url` to `secret` of `[stores]` here",
                    ),
                    false => (
                        "unknown_store",
                        format!("no store is called `{store}`"),
                        "add it to `[stores]` here with a secret of its own, and start headquarters anew",
                    ),
                };
                self.refuse(request, code, reason, hint);
                return Err(ConnectRefusal::BadCredentials);
            }
        }
        Ok(Principal { name: store.as_str().into(), kind: "store".into() })
    }
}

impl Hooks for Door {
    fn authenticate<'a>(
        &'a self,
        request: &'a ConnectRequest,
    ) -> BoxFuture<'a, Result<Principal, ConnectRefusal>> {
        Box::pin(async { self.admit(request) })
    }

    fn may_publish(&self, principal: &Principal, topic: &str) -> bool {
        let own = StoreTopic::parse(topic).is_some_and(|(store, _)| store.as_str() == &*principal.name);
        if !own {
            self.counters.count("publishes_refused_foreign_topic");
        }
        own
    }

    fn may_subscribe(&self, principal: &Principal, filter: &str) -> bool {
        let rest = filter.strip_prefix("stores/").and_then(|rest| rest.strip_prefix(&*principal.name));
        let own = rest.is_some_and(|rest| rest.starts_with('/'));
        if !own {
            self.counters.count("subscriptions_refused_foreign_filter");
        }
        own
    }

    fn accept(&self, publish: InboundPublish) -> Acceptance {
        let (sender, verdict) = oneshot::channel();
        let done = Box::new(move |outcome| {
            let verdict = match outcome {
                Outcome::Committed => Verdict::Accepted,
                Outcome::Refused => Verdict::RefusedPayload,
                Outcome::NotStored => Verdict::NotStored,
            };
            // The client may be gone; then nobody waits for it.
            let _ = sender.send(verdict);
        });
        let payload: Bytes = publish.payload;
        self.ingest.offer(&publish.topic, payload, done);
        Acceptance::Pending(verdict)
    }

    fn note(&self, incident: Incident<'_>) {
        let Incident { trouble, principal, client_id, peer, topic } = incident;
        let login = &*principal.name;
        let named = topic.and_then(|topic| topic.strip_prefix("stores/")?.split('/').next());
        let (code, reason, hint) = match (trouble, named) {
            (Trouble::PublishDenied | Trouble::WillDenied | Trouble::SubscribeDenied, Some(store))
                if store != login =>
            {
                self.counters.count("login_is_not_the_store");
                (
                    "login_is_not_the_store",
                    format!("the login is `{login}`, and it speaks for the store {store:?}"),
                    "set the user in that store's `upstream.url`, and its secret, to those of its `store.id`",
                )
            }
            (Trouble::TookOver, _) => (
                "session_taken_over",
                format!("another connection of `{login}` was open and was closed for this one"),
                "now and then this is a store that reconnects; if it goes on, two hubs have the same `store.id`",
            ),
            _ => (
                "not_allowed",
                format!("`{login}` may not do that here"),
                "a store publishes and subscribes below `stores/<its id>/` alone",
            ),
        };
        let at = (self.refused.clock)();
        let refusal = Refusal {
            code,
            device: login.to_owned(),
            client_id: Some(client_id.to_owned()),
            peer: Some(peer),
            topic: topic.map(str::to_owned),
            reason,
            hint: hint.to_owned(),
            payload: None,
            times: 1,
            first_at: at,
            at,
        };
        let blame = match &self.admission {
            Admission::Listed(_) => Blame::Device(login.to_owned()),
            // Whoever comes in without a secret chooses its name.
            Admission::Anonymous => Blame::Address(source(peer.ip())),
        };
        self.refused.note(blame, refusal);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::{Config, Mqtt};

    fn door(toml: &str) -> Door {
        let text = format!(
            "[mqtt]\nembedded = \"127.0.0.1:0\"\n{toml}\n[database]\nurl = \"sqlite://x\"\n[http]\nlisten = \"127.0.0.1:0\"\n"
        );
        let config = Config::parse(std::path::Path::new("hq.toml"), &text).unwrap();
        let Mqtt::Embedded { admission, .. } = config.mqtt else { panic!() };
        let counters = Counters::default();
        let refused = Arc::new(Refused::new(crate::app::wall_clock));
        Door { admission, ingest: Ingest::new(counters.clone()).0, counters, refused }
    }

    fn request(username: Option<&str>, password: Option<&str>) -> ConnectRequest {
        ConnectRequest {
            peer: "127.0.0.1:1".parse().unwrap(),
            client_id: "hz-1".to_owned(),
            username: username.map(str::to_owned),
            password: password.map(|password| password.as_bytes().to_vec()),
            protocol: broker::Protocol::V311,
        }
    }

    #[test]
    fn a_listed_store_comes_in_with_its_secret_only() {
        let door =
            door("[stores.hz-1]\nsecret = \"first-secret\"\n[stores.sh-1]\nsecret = \"second-secret\"\n");
        assert_eq!(&*door.admit(&request(Some("hz-1"), Some("first-secret"))).unwrap().name, "hz-1");
        for (user, password) in [
            (Some("hz-1"), Some("second-secret")),
            (Some("hz-1"), None),
            (None, None),
            (Some("bj-1"), Some("")),
        ] {
            assert_eq!(door.admit(&request(user, password)), Err(ConnectRefusal::BadCredentials));
        }
        assert_eq!(door.admit(&request(Some("HZ"), Some("x"))), Err(ConnectRefusal::NotAuthorized));
    }

    #[test]
    fn a_store_touches_its_own_topics_only() {
        let door = door("anonymous = true");
        let store = door.admit(&request(None, None)).unwrap();
        let table: BTreeMap<&str, bool> = [
            ("stores/hz-1/batch/events", true),
            ("stores/hz-1/status", true),
            ("stores/hz-1/batch/nonsense", false),
            ("stores/hz-1/ack", false),
            ("stores/hz-10/status", false),
            ("stores/sh-1/batch/events", false),
            ("other", false),
        ]
        .into();
        for (topic, allowed) in table {
            assert_eq!(door.may_publish(&store, topic), allowed, "{topic}");
        }
        for (filter, allowed) in [
            ("stores/hz-1/#", true),
            ("stores/hz-1/command/+", true),
            ("stores/+/ack", false),
            ("stores/hz-10/#", false),
            ("stores/hz-1", false),
            ("#", false),
        ] {
            assert_eq!(door.may_subscribe(&store, filter), allowed, "{filter}");
        }
    }
}
