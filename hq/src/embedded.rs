//! The broker in this process: who may come in, what they may touch, and what becomes of what they publish.
//!
//! Owns admission. A store may publish only what the contract lets it publish under its own name, and subscribe only
//! under `stores/<own id>/`. Its PUBACK follows the commit.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use broker::{
    Acceptance, BoxFuture, Broker, ConnectRefusal, ConnectRequest, Handle, Hooks, InboundPublish, Limits,
    MemoryRetained, Principal, Qos, StartError, Verdict,
};
use bytes::Bytes;
use contract::{
    StoreId,
    upstream::{BATCH_BYTES_MAX, StoreTopic},
};
use tokio::sync::oneshot;

use crate::{
    config::Admission,
    counters::Counters,
    ingest::{Downlink, Ingest, Outcome},
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
pub async fn start(
    listen: SocketAddr,
    admission: Admission,
    ingest: Ingest,
    counters: Counters,
) -> Result<Broker, StartError> {
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
    let hooks = Arc::new(Door { admission, ingest, counters });
    Broker::start(config, hooks, Arc::new(MemoryRetained::default())).await
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

struct Door {
    admission: Admission,
    ingest: Ingest,
    counters: Counters,
}

impl Door {
    fn admit(&self, request: &ConnectRequest) -> Result<Principal, ConnectRefusal> {
        let name = request.username.as_deref().unwrap_or(&request.client_id);
        let Ok(store) = StoreId::parse(name) else {
            self.counters.count("connects_refused_name");
            return Err(ConnectRefusal::NotAuthorized);
        };
        if let Admission::Listed(stores) = &self.admission {
            let offered = request.password.as_deref().unwrap_or_default();
            if !stores.get(&store).is_some_and(|secret| secret.matches(offered)) {
                self.counters.count("connects_refused_secret");
                tracing::warn!(peer = %request.peer, "refused `{store}`: unknown store or wrong secret");
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
        Door { admission, ingest: Ingest::new(counters.clone()).0, counters }
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
