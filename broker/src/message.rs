//! A message inside the broker, and the envelope that carries it through rumqttd's router.
//!
//! The router upgrades QoS, mixes up properties and keeps retained messages in its own way. So it
//! is only ever shown QoS 0 publishes without properties or retain flag, whose payload is an
//! envelope of ours. All numbers in it are big-endian.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::hooks::Qos;

/// One message, as published. Shared by every queue it waits in.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) topic: Arc<str>,
    pub(crate) payload: Bytes,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    /// 5.0 properties that travel along, validated and encoded.
    pub(crate) forwarded: Bytes,
    pub(crate) expires_at: Option<Instant>,
    /// The number of the publishing session, for "no local"; 0 is the host.
    pub(crate) publisher: u64,
}

impl Message {
    /// What the message weighs in a queue.
    pub(crate) fn bytes(&self) -> usize {
        self.topic.len() + self.payload.len() + self.forwarded.len()
    }

    /// What is left of its life in whole seconds, at least one while it lives.
    pub(crate) fn expiry_secs(&self, now: Instant) -> Option<u32> {
        let left = self.expires_at?.saturating_duration_since(now);
        Some(u32::try_from(left.as_secs()).unwrap_or(u32::MAX).max(1))
    }

    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

const HEADER_BYTES: usize = 8 + 1 + 8 + 8 + 4;
const RETAIN: u8 = 0b100;
const EXPIRES: u8 = 0b1000;

/// Wraps a message. `base` is the origin of the expiry time; both sides must use the same.
pub(crate) fn seal(sequence: u64, message: &Message, base: Instant) -> Bytes {
    let mut out = BytesMut::with_capacity(HEADER_BYTES + message.forwarded.len() + message.payload.len());
    let mut flags = match message.qos {
        Qos::AtMostOnce => 0,
        Qos::AtLeastOnce => 1,
        Qos::ExactlyOnce => 2,
    };
    if message.retain {
        flags |= RETAIN;
    }
    let expires_ms = message.expires_at.map(|at| at.saturating_duration_since(base).as_millis());
    if expires_ms.is_some() {
        flags |= EXPIRES;
    }
    out.put_u64(sequence);
    out.put_u8(flags);
    out.put_u64(message.publisher);
    out.put_u64(expires_ms.map_or(0, |ms| u64::try_from(ms).unwrap_or(u64::MAX)));
    out.put_u32(u32::try_from(message.forwarded.len()).expect("a packet is smaller than 4 GiB"));
    out.put_slice(&message.forwarded);
    out.put_slice(&message.payload);
    out.freeze()
}

/// The sequence number of an envelope.
pub(crate) fn sequence(envelope: &[u8]) -> Option<u64> {
    envelope.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// Opens an envelope; `None` if it is not one of ours.
pub(crate) fn open(topic: &str, mut envelope: Bytes, base: Instant) -> Option<Message> {
    if envelope.len() < HEADER_BYTES {
        return None;
    }
    envelope.advance(8);
    let flags = envelope.get_u8();
    let publisher = envelope.get_u64();
    let expires_ms = envelope.get_u64();
    let forwarded_bytes = usize::try_from(envelope.get_u32()).ok()?;
    if envelope.len() < forwarded_bytes {
        return None;
    }
    let forwarded = envelope.split_to(forwarded_bytes);
    Some(Message {
        topic: Arc::from(topic),
        payload: envelope,
        qos: match flags & 0b11 {
            0 => Qos::AtMostOnce,
            1 => Qos::AtLeastOnce,
            _ => Qos::ExactlyOnce,
        },
        retain: flags & RETAIN != 0,
        forwarded,
        expires_at: if flags & EXPIRES == 0 {
            None
        } else {
            base.checked_add(Duration::from_millis(expires_ms))
        },
        publisher,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_gives_back_what_was_sealed() {
        let base = Instant::now();
        let message = Message {
            topic: "été/temp".into(),
            payload: Bytes::from_static(b"21"),
            qos: Qos::AtLeastOnce,
            retain: true,
            forwarded: Bytes::from_static(&[1, 1]),
            expires_at: Some(base + Duration::from_secs(5)),
            publisher: 7,
        };
        let sealed = seal(9, &message, base);
        assert_eq!(sequence(&sealed), Some(9));
        let opened = open("été/temp", sealed, base).expect("it is ours");
        assert_eq!(format!("{opened:?}"), format!("{message:?}"));
        assert!(open("a", Bytes::from_static(b"short"), base).is_none());
    }
}
