//! From an open stream to a connected client: CONNECT, authentication, will, session, CONNACK.
//!
//! Everything here runs against `connect_deadline`; a refusal is said in the client's own
//! protocol, counted, and ends the connection.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

use super::{Allowance, Connection, GOODBYE_DEADLINE, READ_BYTES_MIN, copied, linger};
use crate::{
    broker::{AttachRefusal, SessionRequest, Shared},
    codec::{
        Connect, DecodeError, Packet, decode,
        encode::{self, Offer},
        reason,
    },
    counters::Counter,
    hooks::{ConnectRefusal, ConnectRequest, Incident, Principal, Protocol, Qos, Trouble},
    message::Message,
    session::ClientLimits,
    topic::topic_fault,
};

/// Largest CONNECT, a will included.
const CONNECT_BYTES_MAX: usize = 16 * 1024;
/// Longest client id, in bytes.
const CLIENT_ID_BYTES_MAX: usize = 256;

/// Why a client is turned away, in both protocols.
struct Refusal {
    counter: Counter,
    v5: u8,
    /// `None`: 3.1.1 has no code, the connection is only closed.
    v311: Option<u8>,
}

fn refusal(counter: Counter, v5: u8, v311: u8) -> Refusal {
    Refusal { counter, v5, v311: Some(v311) }
}

/// A will and its delay.
type Will = (Arc<Message>, Duration);

/// Gives the connected client, or nothing if it was turned away.
pub(super) async fn shake_hands<S>(
    mut read: ReadHalf<S>,
    mut write: WriteHalf<S>,
    peer: SocketAddr,
    shared: Arc<Shared>,
) -> Option<Connection<S>>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let mut input = BytesMut::new();
    let mut output = BytesMut::new();
    let first = tokio::select! {
        () = shared.stop.cancelled() => return None,
        first = tokio::time::timeout(
            shared.limits.connect_deadline,
            read_connect(&mut read, &mut input, shared.limits.packet_bytes_max.min(CONNECT_BYTES_MAX)),
        ) => first,
    };
    let frame = match first {
        Err(_) => {
            shared.counters.one(Counter::ConnectTimeout);
            return None;
        }
        Ok(Err(turned_away)) => {
            shared.counters.one(turned_away);
            return None;
        }
        Ok(Ok(frame)) => frame,
    };
    let connect = match decode::packet(frame.first, &frame.body, Protocol::V311) {
        Ok(Packet::Connect(connect)) => connect,
        Ok(_) => {
            shared.counters.one(Counter::ConnectNotFirst);
            return None;
        }
        Err(error) => {
            refuse_undecoded(&frame.body, error, &shared, &mut write, &mut output).await;
            linger(&mut read, &mut input).await;
            return None;
        }
    };
    let protocol = connect.protocol;
    let admitted = tokio::select! {
        () = shared.stop.cancelled() => {
            Err(refusal(Counter::ConnectUnavailable, reason::SERVER_UNAVAILABLE, 3))
        }
        admitted = admit(&connect, peer, &shared) => admitted,
    };
    let admitted = match admitted {
        Ok(admitted) => admitted,
        Err(refusal) => {
            refuse(&refusal, protocol, &shared, &mut write, &mut output).await;
            linger(&mut read, &mut input).await;
            return None;
        }
    };
    let limits = &shared.limits;
    match protocol {
        Protocol::V311 => encode::connack_v311(&mut output, admitted.attached.session_present, 0),
        Protocol::V5 => {
            let shortened = Duration::from_secs(connect.session_expiry_secs.into()) != admitted.expiry;
            let offer = Offer {
                receive_maximum: limits.receive_maximum,
                packet_bytes_max: u32::try_from(limits.packet_bytes_max).unwrap_or(u32::MAX),
                assigned_client_id: connect
                    .client_id
                    .is_empty()
                    .then_some(&*admitted.attached.session.client_id),
                session_expiry_secs: shortened
                    .then(|| u32::try_from(admitted.expiry.as_secs()).unwrap_or(u32::MAX)),
            };
            encode::connack_v5(&mut output, admitted.attached.session_present, 0, Some(offer));
        }
    }
    let keep_alive =
        (connect.keep_alive_secs != 0).then(|| Duration::from_secs(connect.keep_alive_secs.into()));
    let now = Instant::now();
    Some(Connection {
        principal: admitted.attached.session.principal.clone(),
        client: ClientLimits { protocol, packet_bytes_max: connect.packet_bytes_max },
        will: admitted.will,
        attached: admitted.attached,
        read,
        write,
        input,
        output,
        read_bytes: READ_BYTES_MIN,
        pending: std::collections::VecDeque::new(),
        pending_bytes: 0,
        keep_alive,
        last_heard: now,
        write_progress: now,
        overdue_turns: 0,
        allowance: Allowance::new(limits.publishes_per_second_max),
        outbound_ready: true,
        peer,
        shared,
    })
}

struct FirstFrame {
    first: u8,
    body: BytesMut,
}

/// Reads until the first packet is whole.
async fn read_connect<S: AsyncRead>(
    read: &mut ReadHalf<S>,
    input: &mut BytesMut,
    bytes_max: usize,
) -> Result<FirstFrame, Counter> {
    loop {
        if let Some(&first) = input.first()
            && first != 0x10
        {
            return Err(Counter::ConnectNotFirst);
        }
        match decode::frame(input, bytes_max) {
            Ok(Some(frame)) => {
                let first = input[0];
                let mut body = input.split_to(frame.bytes);
                drop(body.split_to(frame.header_bytes));
                return Ok(FirstFrame { first, body });
            }
            Ok(None) => {}
            Err(DecodeError::TooLarge { .. }) => return Err(Counter::ConnectOversize),
            Err(_) => return Err(Counter::ConnectMalformed),
        }
        input.reserve(512);
        match read.read_buf(input).await {
            Ok(0) | Err(_) => return Err(Counter::ConnectEof),
            Ok(_) => {}
        }
    }
}

struct Admitted {
    attached: crate::broker::Attached,
    will: Option<Will>,
    expiry: Duration,
}

/// Decides about a CONNECT.
async fn admit(connect: &Connect<'_>, peer: SocketAddr, shared: &Arc<Shared>) -> Result<Admitted, Refusal> {
    let client_id = client_id(connect, shared)?;
    let request = ConnectRequest {
        peer,
        client_id: client_id.to_string(),
        username: connect.username.map(str::to_owned),
        password: connect.password.map(<[u8]>::to_vec),
        protocol: connect.protocol,
    };
    let answer =
        tokio::time::timeout(shared.limits.connect_deadline, shared.hooks.authenticate(&request)).await;
    let principal = match answer {
        Ok(Ok(principal)) => principal,
        Ok(Err(refused)) => return Err(refused.into()),
        Err(_) => return Err(refusal(Counter::ConnectTimeout, reason::SERVER_UNAVAILABLE, 3)),
    };
    let note = |trouble, topic| {
        let client_id = &request.client_id;
        shared.hooks.note(Incident { trouble, principal: &principal, client_id, peer, topic });
    };
    let will = will(connect, &principal, shared).map_err(|(trouble, refusal)| {
        note(trouble, connect.will.as_ref().map(|will| will.topic));
        refusal
    })?;
    let expiry =
        Duration::from_secs(connect.session_expiry_secs.into()).min(shared.limits.session_expiry_max);
    let attached = shared
        .attach(SessionRequest {
            client_id,
            principal: principal.clone(),
            clean_start: connect.clean_start,
            expiry,
            in_flight_max: connect.receive_maximum.min(shared.limits.receive_maximum),
        })
        .map_err(|refused| {
            note(Trouble::SessionsFull, None);
            let counter = match refused {
                AttachRefusal::PrincipalFull => Counter::ConnectPrincipalFull,
                AttachRefusal::SessionsFull => Counter::ConnectSessionsFull,
            };
            refusal(counter, reason::QUOTA_EXCEEDED, 3)
        })?;
    if attached.took_over {
        note(Trouble::TookOver, None);
    }
    Ok(Admitted { attached, will, expiry })
}

fn client_id(connect: &Connect<'_>, shared: &Shared) -> Result<Arc<str>, Refusal> {
    let invalid = || refusal(Counter::ConnectClientId, reason::CLIENT_ID_INVALID, 2);
    if CLIENT_ID_BYTES_MAX < connect.client_id.len() {
        return Err(invalid());
    }
    if !connect.client_id.is_empty() {
        return Ok(Arc::from(connect.client_id));
    }
    if connect.protocol == Protocol::V311 && !connect.clean_start {
        return Err(invalid());
    }
    // The start makes it differ from those of an earlier run, which a client may still remember.
    let started = shared.started_at_unix_ms;
    Ok(Arc::from(format!("auto-{started:x}-{}", shared.next_number())))
}

fn will(
    connect: &Connect<'_>,
    principal: &Principal,
    shared: &Shared,
) -> Result<Option<Will>, (Trouble, Refusal)> {
    let Some(will) = &connect.will else {
        return Ok(None);
    };
    if let Some(fault) = topic_fault(will.topic, shared.limits.topic_bytes_max) {
        let refusal = Refusal { counter: Counter::ConnectWillTopic, v5: reason::TOPIC_INVALID, v311: None };
        return Err((Trouble::Topic(fault), refusal));
    }
    if !shared.hooks.may_publish(principal, will.topic) {
        let refusal = refusal(Counter::ConnectWillAcl, reason::NOT_AUTHORIZED, 5);
        return Err((Trouble::WillDenied, refusal));
    }
    let message = Message {
        topic: Arc::from(will.topic),
        payload: copied(will.payload),
        qos: match will.qos {
            0 => Qos::AtMostOnce,
            1 => Qos::AtLeastOnce,
            _ => Qos::ExactlyOnce,
        },
        retain: shared.is_retained(will.retain, principal, will.topic),
        forwarded: Bytes::copy_from_slice(&will.properties.forwarded),
        expires_at: will
            .properties
            .expiry_secs
            .and_then(|secs| Instant::now().checked_add(Duration::from_secs(secs.into()))),
        publisher: 0,
    };
    Ok(Some((Arc::new(message), Duration::from_secs(will.delay_secs.into()))))
}

impl From<ConnectRefusal> for Refusal {
    fn from(refused: ConnectRefusal) -> Self {
        match refused {
            ConnectRefusal::BadCredentials => {
                refusal(Counter::ConnectCredentials, reason::BAD_CREDENTIALS, 4)
            }
            ConnectRefusal::NotAuthorized => {
                refusal(Counter::ConnectNotAuthorized, reason::NOT_AUTHORIZED, 5)
            }
            ConnectRefusal::Busy => refusal(Counter::ConnectBusy, reason::SERVER_BUSY, 3),
            ConnectRefusal::Unavailable => {
                refusal(Counter::ConnectUnavailable, reason::SERVER_UNAVAILABLE, 3)
            }
        }
    }
}

async fn refuse<S: AsyncWrite>(
    refusal: &Refusal,
    protocol: Protocol,
    shared: &Shared,
    write: &mut WriteHalf<S>,
    output: &mut BytesMut,
) {
    shared.counters.one(refusal.counter);
    match (protocol, refusal.v311) {
        (Protocol::V5, _) => encode::connack_v5(output, false, refusal.v5, None),
        (Protocol::V311, Some(code)) => encode::connack_v311(output, false, code),
        (Protocol::V311, None) => return,
    }
    say(write, output).await;
}

/// Refuses a CONNECT that could not be read, in the protocol that its level byte names.
async fn refuse_undecoded<S: AsyncWrite>(
    body: &[u8],
    error: DecodeError,
    shared: &Shared,
    write: &mut WriteHalf<S>,
    output: &mut BytesMut,
) {
    let counter = match error {
        DecodeError::UnsupportedProtocol(_) => Counter::ConnectProtocol,
        DecodeError::AuthenticationMethod => Counter::ConnectAuthMethod,
        _ => Counter::ConnectMalformed,
    };
    shared.counters.one(counter);
    let is_v5 = body.starts_with(b"\x00\x04MQTT\x05");
    match error {
        DecodeError::UnsupportedProtocol(_) => encode::connack_v311(output, false, 1),
        _ if is_v5 => encode::connack_v5(output, false, error.reason(), None),
        _ => return,
    }
    say(write, output).await;
}

async fn say<S: AsyncWrite>(write: &mut WriteHalf<S>, output: &mut BytesMut) {
    let last_word = async {
        write.write_all_buf(output).await?;
        write.shutdown().await
    };
    // Whether the client hears it is its own affair.
    drop(tokio::time::timeout(GOODBYE_DEADLINE, last_word).await);
}
