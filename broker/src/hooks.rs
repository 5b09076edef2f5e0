//! What the host decides while the broker runs: who may connect, what they may touch, and when a
//! publish is safe enough to be acknowledged.
//!
//! Owns the vocabulary between the broker and its host; no behaviour, no state.

use std::{fmt, future::Future, net::SocketAddr, pin::Pin, sync::Arc};

use bytes::Bytes;
use tokio::sync::oneshot;

/// A boxed future that borrows from its caller.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Quality of service of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Qos {
    /// QoS 0.
    AtMostOnce,
    /// QoS 1.
    AtLeastOnce,
    /// QoS 2; only ever inbound, subscribers are granted QoS 1 at most.
    ExactlyOnce,
}

/// The protocol that a client speaks, detected from its CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.0.
    V5,
}

/// What a client says about itself.
#[derive(Clone)]
pub struct ConnectRequest {
    /// Where the connection comes from.
    pub peer: SocketAddr,
    /// The client id; one made by the broker if the client left it empty.
    pub client_id: String,
    /// The user name, if any.
    pub username: Option<String>,
    /// The password, if any. Never printed.
    pub password: Option<Vec<u8>>,
    /// The protocol spoken.
    pub protocol: Protocol,
}

impl fmt::Debug for ConnectRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectRequest")
            .field("peer", &self.peer)
            .field("client_id", &self.client_id)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("protocol", &self.protocol)
            .finish()
    }
}

/// Who a client is, as the host knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The device id.
    pub name: Arc<str>,
    /// The device's kind.
    pub kind: Arc<str>,
}

/// Why a client is not let in. Becomes the CONNACK code of its protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectRefusal {
    /// Unknown user or wrong password (3.1.1: 4; 5.0: 0x86).
    BadCredentials,
    /// Known, but not allowed (3.1.1: 5; 5.0: 0x87).
    NotAuthorized,
    /// Too much going on (3.1.1: 3; 5.0: 0x89).
    Busy,
    /// Not now (3.1.1: 3; 5.0: 0x88).
    Unavailable,
}

/// One publish of a client, validated and allowed by the ACL.
#[derive(Debug, Clone)]
pub struct InboundPublish {
    /// Who sent it.
    pub principal: Principal,
    /// Its topic: non-empty, no wildcard, no NUL, not starting with `$`.
    pub topic: Arc<str>,
    /// Its payload; owns exactly its own bytes.
    pub payload: Bytes,
    /// The QoS it was published with.
    pub qos: Qos,
    /// Its retain flag.
    pub retain: bool,
    /// Where it came from; a last will is published by the broker.
    pub peer: Option<SocketAddr>,
}

/// What befell a client that is logged in, without the host having been asked or in spite of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It may not publish there.
    PublishDenied,
    /// It may not leave its last will there; it was not let in.
    WillDenied,
    /// It may not subscribe to that.
    SubscribeDenied,
    /// No topic that can be published to, and why.
    Topic(&'static str),
    /// No filter that can be subscribed to, and why.
    Filter(&'static str),
    /// It has as many subscriptions as it may.
    SubscriptionsFull,
    /// There are as many sessions as may be; it was not let in.
    SessionsFull,
    /// It took the session of another connection with the same name and client id, which was closed.
    TookOver,
}

/// Something that whoever looks after the devices should see.
#[derive(Debug, Clone, Copy)]
pub struct Incident<'a> {
    /// What.
    pub trouble: Trouble,
    /// Whose.
    pub principal: &'a Principal,
    /// Its client id.
    pub client_id: &'a str,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// The topic or filter that it is about.
    pub topic: Option<&'a str>,
}

/// What becomes of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Safe: acknowledged, retained if asked, fanned out.
    Accepted,
    /// Safe but wrong: acknowledged (5.0: reason 0x99), neither retained nor fanned out.
    RefusedPayload,
    /// Not safe: never acknowledged. 5.0: PUBACK or PUBREC with 0x97; 3.1.1: closed.
    NotStored,
}

/// A verdict, now or later.
#[derive(Debug)]
pub enum Acceptance {
    /// The verdict is here.
    Done(Verdict),
    /// The verdict follows; a dropped sender counts as [`Verdict::NotStored`].
    Pending(oneshot::Receiver<Verdict>),
}

/// Whose a retained message is that was kept from an earlier run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetainedOwner {
    /// The host's own: not held against the limits.
    Host,
    /// A client's.
    Client,
    /// Nobody's who may retain there: it is dropped and counted.
    Nobody,
}

/// The host's decisions.
///
/// `may_publish`, `may_retain`, `may_subscribe`, `accept` and `note` are called on the runtime's workers for each packet:
/// they must not block.
pub trait Hooks: Send + Sync + 'static {
    /// Who is this? Bounded by [`Limits::connect_deadline`](crate::Limits::connect_deadline).
    fn authenticate<'a>(
        &'a self,
        request: &'a ConnectRequest,
    ) -> BoxFuture<'a, Result<Principal, ConnectRefusal>>;

    /// May this client publish to this topic? Also asked for the will, at CONNECT.
    fn may_publish(&self, principal: &Principal, topic: &str) -> bool;

    /// May this client's message stay on this topic? One that may not is delivered as one that is not
    /// retained, and counted. Also asked for the will, at CONNECT.
    fn may_retain(&self, _principal: &Principal, _topic: &str) -> bool {
        true
    }

    /// Whose is this message, which the store has kept from an earlier run?
    fn retained_owner(&self, _topic: &str) -> RetainedOwner {
        RetainedOwner::Client
    }

    /// May this client subscribe to this filter?
    fn may_subscribe(&self, principal: &Principal, filter: &str) -> bool;

    /// Called once per publish (QoS 2: once per message, duplicates are filtered), wills included,
    /// in the order of receipt per connection. PUBACK or PUBREC goes out, in that order, when the
    /// verdict is there.
    fn accept(&self, publish: InboundPublish) -> Acceptance;

    /// Told what befell a client. It is counted already, and answered as the protocol wants.
    fn note(&self, _incident: Incident<'_>) {}
}
