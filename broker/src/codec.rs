//! MQTT 3.1.1 and 5.0 on the wire: frames in, packets out, and the other way round.
//!
//! Owns byte layout alone; no sessions, no policy. Only packets that a client may send can be
//! decoded, only packets that a server may send can be encoded. Decoding borrows from the frame,
//! never allocates by a length that the peer claims, and cannot panic on any input.
//!
//! rumqttd's own codec is not used: some of its fields are private, and it panics on packet types
//! that a client must not send.

pub(crate) mod decode;
pub(crate) mod encode;

use crate::hooks::Protocol;

/// Reason codes of MQTT 5.0 that this broker uses.
pub(crate) mod reason {
    pub(crate) const SUCCESS: u8 = 0x00;
    pub(crate) const DISCONNECT_WITH_WILL: u8 = 0x04;
    pub(crate) const NO_SUBSCRIPTION_EXISTED: u8 = 0x11;
    pub(crate) const MALFORMED: u8 = 0x81;
    pub(crate) const PROTOCOL_ERROR: u8 = 0x82;
    pub(crate) const UNSUPPORTED_PROTOCOL: u8 = 0x84;
    pub(crate) const CLIENT_ID_INVALID: u8 = 0x85;
    pub(crate) const BAD_CREDENTIALS: u8 = 0x86;
    pub(crate) const NOT_AUTHORIZED: u8 = 0x87;
    pub(crate) const SERVER_UNAVAILABLE: u8 = 0x88;
    pub(crate) const SERVER_BUSY: u8 = 0x89;
    pub(crate) const SHUTTING_DOWN: u8 = 0x8B;
    pub(crate) const BAD_AUTHENTICATION_METHOD: u8 = 0x8C;
    pub(crate) const KEEP_ALIVE_TIMEOUT: u8 = 0x8D;
    pub(crate) const TAKEN_OVER: u8 = 0x8E;
    pub(crate) const FILTER_INVALID: u8 = 0x8F;
    pub(crate) const TOPIC_INVALID: u8 = 0x90;
    pub(crate) const PACKET_ID_NOT_FOUND: u8 = 0x92;
    pub(crate) const RECEIVE_MAXIMUM_EXCEEDED: u8 = 0x93;
    pub(crate) const TOPIC_ALIAS_INVALID: u8 = 0x94;
    pub(crate) const PACKET_TOO_LARGE: u8 = 0x95;
    pub(crate) const QUOTA_EXCEEDED: u8 = 0x97;
    pub(crate) const ADMINISTRATIVE: u8 = 0x98;
    pub(crate) const PAYLOAD_FORMAT_INVALID: u8 = 0x99;
    pub(crate) const SHARED_UNSUPPORTED: u8 = 0x9E;
    pub(crate) const SUBSCRIPTION_ID_UNSUPPORTED: u8 = 0xA1;
    /// The only refusal that a SUBACK of 3.1.1 knows.
    pub(crate) const SUBACK_FAILURE_V311: u8 = 0x80;
}

/// Why bytes are not a packet that this broker takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("malformed packet: {0}")]
    Malformed(&'static str),
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    #[error("packet of {bytes} bytes is larger than {bytes_max}")]
    TooLarge { bytes: usize, bytes_max: usize },
    #[error("packet type {0} is not for a client to send")]
    WrongType(u8),
    #[error("topic aliases are not offered")]
    TopicAlias,
    #[error("subscription identifiers are not offered")]
    SubscriptionId,
    #[error("protocol level {0} is not spoken here")]
    UnsupportedProtocol(u8),
    #[error("enhanced authentication is not offered")]
    AuthenticationMethod,
}

impl DecodeError {
    /// The reason code that tells a 5.0 client.
    pub(crate) fn reason(self) -> u8 {
        match self {
            Self::Malformed(_) => reason::MALFORMED,
            Self::Protocol(_) | Self::WrongType(_) => reason::PROTOCOL_ERROR,
            Self::TooLarge { .. } => reason::PACKET_TOO_LARGE,
            Self::TopicAlias => reason::TOPIC_ALIAS_INVALID,
            Self::SubscriptionId => reason::SUBSCRIPTION_ID_UNSUPPORTED,
            Self::UnsupportedProtocol(_) => reason::UNSUPPORTED_PROTOCOL,
            Self::AuthenticationMethod => reason::BAD_AUTHENTICATION_METHOD,
        }
    }
}

/// A packet of a client, borrowed from its frame.
#[derive(Debug, PartialEq)]
pub(crate) enum Packet<'a> {
    Connect(Box<Connect<'a>>),
    Publish(Publish<'a>),
    PubAck { packet_id: u16 },
    PubRec { packet_id: u16 },
    PubRel { packet_id: u16 },
    PubComp { packet_id: u16 },
    Subscribe(Subscribe<'a>),
    Unsubscribe(Unsubscribe<'a>),
    PingReq,
    Disconnect { reason: u8, session_expiry_secs: Option<u32> },
}

#[derive(Debug, PartialEq)]
pub(crate) struct Connect<'a> {
    pub(crate) protocol: Protocol,
    pub(crate) client_id: &'a str,
    pub(crate) clean_start: bool,
    pub(crate) keep_alive_secs: u16,
    pub(crate) username: Option<&'a str>,
    pub(crate) password: Option<&'a [u8]>,
    pub(crate) will: Option<Will<'a>>,
    pub(crate) session_expiry_secs: u32,
    pub(crate) receive_maximum: u16,
    pub(crate) packet_bytes_max: Option<u32>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Will<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) delay_secs: u32,
    pub(crate) properties: MessageProperties,
}

/// The properties of a message that travel with it.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct MessageProperties {
    /// Message expiry interval.
    pub(crate) expiry_secs: Option<u32>,
    /// All others that are forwarded, validated and encoded as they go out again.
    pub(crate) forwarded: Vec<u8>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Publish<'a> {
    pub(crate) dup: bool,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) topic: &'a str,
    pub(crate) packet_id: u16,
    pub(crate) payload: &'a [u8],
    pub(crate) properties: MessageProperties,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Subscribe<'a> {
    pub(crate) packet_id: u16,
    pub(crate) filters: Vec<SubscribeFilter<'a>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SubscribeFilter<'a> {
    pub(crate) filter: &'a str,
    pub(crate) qos: u8,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) retain_handling: u8,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Unsubscribe<'a> {
    pub(crate) packet_id: u16,
    pub(crate) filters: Vec<&'a str>,
}
