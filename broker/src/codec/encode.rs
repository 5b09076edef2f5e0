//! From packets to bytes: what a server sends, appended to an output buffer.

use bytes::{BufMut, BytesMut};

use crate::hooks::Protocol;

/// What a CONNACK of 5.0 says about this broker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offer<'a> {
    pub(crate) receive_maximum: u16,
    pub(crate) packet_bytes_max: u32,
    pub(crate) assigned_client_id: Option<&'a str>,
    pub(crate) session_expiry_secs: Option<u32>,
}

/// An acknowledgement with a packet id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "these are the packets' own names")]
pub(crate) enum AckType {
    PubAck,
    PubRec,
    PubComp,
}

/// One message on its way to one subscriber.
#[derive(Debug)]
pub(crate) struct OutboundPublish<'a> {
    pub(crate) dup: bool,
    /// `Some` makes it QoS 1.
    pub(crate) packet_id: Option<u16>,
    pub(crate) retain: bool,
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) expiry_secs: Option<u32>,
    pub(crate) forwarded: &'a [u8],
}

pub(crate) fn connack_v311(out: &mut BytesMut, session_present: bool, code: u8) {
    out.put_slice(&[0x20, 2, u8::from(session_present), code]);
}

pub(crate) fn connack_v5(out: &mut BytesMut, session_present: bool, code: u8, offer: Option<Offer<'_>>) {
    let mut properties = BytesMut::new();
    if let Some(offer) = offer {
        properties.put_u8(0x21);
        properties.put_u16(offer.receive_maximum);
        properties.put_u8(0x27);
        properties.put_u32(offer.packet_bytes_max);
        if let Some(secs) = offer.session_expiry_secs {
            properties.put_u8(0x11);
            properties.put_u32(secs);
        }
        if let Some(client_id) = offer.assigned_client_id {
            properties.put_u8(0x12);
            text(&mut properties, client_id);
        }
        // Neither subscription identifiers nor shared subscriptions are offered.
        properties.put_slice(&[0x29, 0, 0x2a, 0]);
    }
    out.put_u8(0x20);
    length(out, 2 + length_bytes(properties.len()) + properties.len());
    out.put_slice(&[u8::from(session_present), code]);
    length(out, properties.len());
    out.put_slice(&properties);
}

/// The size of a publish on the wire.
pub(crate) fn publish_bytes(publish: &OutboundPublish<'_>, protocol: Protocol) -> usize {
    let remaining = publish_remaining(publish, protocol);
    1 + length_bytes(remaining) + remaining
}

fn publish_remaining(publish: &OutboundPublish<'_>, protocol: Protocol) -> usize {
    let packet_id = if publish.packet_id.is_some() { 2 } else { 0 };
    let properties = match protocol {
        Protocol::V311 => 0,
        Protocol::V5 => {
            let properties = properties_bytes(publish);
            length_bytes(properties) + properties
        }
    };
    2 + publish.topic.len() + packet_id + properties + publish.payload.len()
}

fn properties_bytes(publish: &OutboundPublish<'_>) -> usize {
    publish.forwarded.len() + if publish.expiry_secs.is_some() { 5 } else { 0 }
}

pub(crate) fn publish(out: &mut BytesMut, publish: &OutboundPublish<'_>, protocol: Protocol) {
    let remaining = publish_remaining(publish, protocol);
    out.reserve(5 + remaining);
    let qos = u8::from(publish.packet_id.is_some());
    out.put_u8(0x30 | (u8::from(publish.dup) << 3) | (qos << 1) | u8::from(publish.retain));
    length(out, remaining);
    text(out, publish.topic);
    if let Some(packet_id) = publish.packet_id {
        out.put_u16(packet_id);
    }
    if protocol == Protocol::V5 {
        length(out, properties_bytes(publish));
        if let Some(secs) = publish.expiry_secs {
            out.put_u8(0x02);
            out.put_u32(secs);
        }
        out.put_slice(publish.forwarded);
    }
    out.put_slice(publish.payload);
}

pub(crate) fn acknowledgement(
    out: &mut BytesMut,
    ack: AckType,
    packet_id: u16,
    reason: u8,
    protocol: Protocol,
) {
    let first = match ack {
        AckType::PubAck => 0x40,
        AckType::PubRec => 0x50,
        AckType::PubComp => 0x70,
    };
    let [high, low] = packet_id.to_be_bytes();
    if protocol == Protocol::V5 && reason != 0 {
        out.put_slice(&[first, 3, high, low, reason]);
    } else {
        out.put_slice(&[first, 2, high, low]);
    }
}

pub(crate) fn suback(out: &mut BytesMut, packet_id: u16, codes: &[u8], protocol: Protocol) {
    acknowledgement_list(out, 0x90, packet_id, codes, protocol);
}

/// 3.1.1 has no codes in its UNSUBACK.
pub(crate) fn unsuback(out: &mut BytesMut, packet_id: u16, codes: &[u8], protocol: Protocol) {
    let codes = if protocol == Protocol::V5 { codes } else { &[] };
    acknowledgement_list(out, 0xb0, packet_id, codes, protocol);
}

fn acknowledgement_list(out: &mut BytesMut, first: u8, packet_id: u16, codes: &[u8], protocol: Protocol) {
    let v5 = protocol == Protocol::V5;
    out.put_u8(first);
    length(out, 2 + usize::from(v5) + codes.len());
    out.put_u16(packet_id);
    if v5 {
        out.put_u8(0);
    }
    out.put_slice(codes);
}

pub(crate) fn pingresp(out: &mut BytesMut) {
    out.put_slice(&[0xd0, 0]);
}

/// Only 5.0 has a DISCONNECT from the server.
pub(crate) fn disconnect_v5(out: &mut BytesMut, reason: u8) {
    // The property length could be left out; some clients take its absence for an error.
    out.put_slice(&[0xe0, 2, reason, 0]);
}

fn text(out: &mut BytesMut, text: &str) {
    out.put_u16(
        u16::try_from(text.len())
            .expect("every text came in with a 16-bit length or was checked against one"),
    );
    out.put_slice(text.as_bytes());
}

fn length_bytes(value: usize) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x001f_ffff => 3,
        _ => 4,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "masked to seven bits")]
fn length(out: &mut BytesMut, mut value: usize) {
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.put_u8(byte);
            return;
        }
        out.put_u8(byte | 0x80);
    }
}
