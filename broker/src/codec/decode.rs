//! From bytes to packets.
//!
//! [`frame`] finds the next whole packet, [`packet`] reads it. Both are pure and total.

use crate::{
    codec::{
        Connect, DecodeError, MessageProperties, Packet, Publish, Subscribe, SubscribeFilter, Unsubscribe,
        Will,
    },
    hooks::Protocol,
};

type Result<T> = std::result::Result<T, DecodeError>;

/// Where the next packet lies in the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Bytes before the variable header: 2 to 5.
    pub(crate) header_bytes: usize,
    /// Bytes of the whole packet.
    pub(crate) bytes: usize,
}

/// The extent of the first packet, if its whole is there. Fails as soon as its first byte or its
/// length is wrong, before the rest has arrived.
pub(crate) fn frame(input: &[u8], bytes_max: usize) -> Result<Option<Frame>> {
    let Some(&first) = input.first() else {
        return Ok(None);
    };
    check_first_byte(first)?;
    let mut remaining = 0_usize;
    for (index, shift) in [0, 7, 14, 21].into_iter().enumerate() {
        let Some(&byte) = input.get(1 + index) else {
            return Ok(None);
        };
        remaining |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            if byte == 0 && 0 < index {
                return Err(DecodeError::Malformed("remaining length is not in its shortest form"));
            }
            let header_bytes = 2 + index;
            let bytes = header_bytes + remaining;
            if bytes_max < bytes {
                return Err(DecodeError::TooLarge { bytes, bytes_max });
            }
            return Ok((bytes <= input.len()).then_some(Frame { header_bytes, bytes }));
        }
    }
    Err(DecodeError::Malformed("remaining length has more than four bytes"))
}

/// The packet type check: what a client may send, with the flags it must have.
fn check_first_byte(first: u8) -> Result<()> {
    let flags = first & 0x0f;
    let expected = match first >> 4 {
        3 if flags & 0b0110 == 0b0110 => return Err(DecodeError::Malformed("QoS 3")),
        3 => return Ok(()),
        1 | 4 | 5 | 7 | 12 | 14 | 15 => 0,
        6 | 8 | 10 => 2,
        other => return Err(DecodeError::WrongType(other)),
    };
    if flags == expected { Ok(()) } else { Err(DecodeError::Malformed("reserved header flags")) }
}

/// Reads one whole packet. `protocol` is that of the connection; CONNECT brings its own.
pub(crate) fn packet(first: u8, body: &[u8], protocol: Protocol) -> Result<Packet<'_>> {
    let reader = Reader { rest: body };
    let v5 = protocol == Protocol::V5;
    match first >> 4 {
        1 => connect(reader).map(|connect| Packet::Connect(Box::new(connect))),
        3 => publish(first, reader, v5),
        4 => Ok(Packet::PubAck { packet_id: acknowledgement(reader, v5)? }),
        5 => Ok(Packet::PubRec { packet_id: acknowledgement(reader, v5)? }),
        6 => Ok(Packet::PubRel { packet_id: acknowledgement(reader, v5)? }),
        7 => Ok(Packet::PubComp { packet_id: acknowledgement(reader, v5)? }),
        8 => subscribe(reader, v5),
        10 => unsubscribe(reader, v5),
        12 => {
            reader.end()?;
            Ok(Packet::PingReq)
        }
        14 => disconnect(reader, v5),
        15 if v5 => Err(DecodeError::Protocol("AUTH without an authentication method")),
        other => Err(DecodeError::WrongType(other)),
    }
}

fn connect(mut reader: Reader<'_>) -> Result<Connect<'_>> {
    let name = reader.bytes()?;
    let level = reader.u8()?;
    let protocol = match (name, level) {
        (b"MQTT", 4) => Protocol::V311,
        (b"MQTT", 5) => Protocol::V5,
        (b"MQTT" | b"MQIsdp", other) => return Err(DecodeError::UnsupportedProtocol(other)),
        _ => return Err(DecodeError::Malformed("not MQTT")),
    };
    let flags = reader.u8()?;
    let (has_will, will_qos, will_retain) = (flags & 4 != 0, (flags >> 3) & 3, flags & 32 != 0);
    let (has_username, has_password) = (flags & 128 != 0, flags & 64 != 0);
    if flags & 1 != 0 {
        return Err(DecodeError::Malformed("reserved CONNECT flag"));
    }
    if will_qos == 3 || (!has_will && (will_qos != 0 || will_retain)) {
        return Err(DecodeError::Malformed("will flags"));
    }
    if has_password && !has_username && protocol == Protocol::V311 {
        return Err(DecodeError::Malformed("a password without a user name"));
    }
    let keep_alive_secs = reader.u16()?;
    let mut connect = Connect {
        protocol,
        client_id: "",
        clean_start: flags & 2 != 0,
        keep_alive_secs,
        username: None,
        password: None,
        will: None,
        session_expiry_secs: 0,
        receive_maximum: u16::MAX,
        packet_bytes_max: None,
    };
    match protocol {
        // A 3.1.1 session that is not clean lives until the broker's own limit.
        Protocol::V311 if !connect.clean_start => connect.session_expiry_secs = u32::MAX,
        Protocol::V311 => {}
        Protocol::V5 => connect_properties(reader.properties()?, &mut connect)?,
    }
    connect.client_id = reader.text()?;
    if has_will {
        let (delay_secs, properties) = match protocol {
            Protocol::V311 => (0, MessageProperties::default()),
            Protocol::V5 => will_properties(reader.properties()?)?,
        };
        let topic = reader.text()?;
        let payload = reader.bytes()?;
        connect.will =
            Some(Will { topic, payload, qos: will_qos, retain: will_retain, delay_secs, properties });
    }
    if has_username {
        connect.username = Some(reader.text()?);
    }
    if has_password {
        connect.password = Some(reader.bytes()?);
    }
    reader.end()?;
    Ok(connect)
}

fn connect_properties(mut properties: Reader<'_>, connect: &mut Connect<'_>) -> Result<()> {
    let mut seen = Seen::default();
    while let Some(id) = properties.property_id()? {
        seen.check(id)?;
        match id {
            0x11 => connect.session_expiry_secs = properties.u32()?,
            0x21 => {
                connect.receive_maximum = properties.u16()?;
                if connect.receive_maximum == 0 {
                    return Err(DecodeError::Protocol("receive maximum is 0"));
                }
            }
            0x27 => {
                let bytes_max = properties.u32()?;
                if bytes_max == 0 {
                    return Err(DecodeError::Protocol("maximum packet size is 0"));
                }
                connect.packet_bytes_max = Some(bytes_max);
            }
            // Aliases towards the client are never used.
            0x22 => drop(properties.u16()?),
            0x17 | 0x19 => drop(properties.flag()?),
            0x15 | 0x16 => return Err(DecodeError::AuthenticationMethod),
            0x26 => drop((properties.text()?, properties.text()?)),
            _ => return Err(DecodeError::Malformed("a property that CONNECT does not have")),
        }
    }
    Ok(())
}

fn will_properties(mut properties: Reader<'_>) -> Result<(u32, MessageProperties)> {
    let mut seen = Seen::default();
    let mut delay_secs = 0;
    let mut message = MessageProperties::default();
    while let Some(id) = properties.property_id()? {
        seen.check(id)?;
        if id == 0x18 {
            delay_secs = properties.u32()?;
        } else if !message_property(id, &mut properties, &mut message)? {
            return Err(DecodeError::Malformed("a property that a will does not have"));
        }
    }
    Ok((delay_secs, message))
}

/// Takes a property that travels with a message; `false` if `id` is none of them.
fn message_property(id: u8, properties: &mut Reader<'_>, message: &mut MessageProperties) -> Result<bool> {
    let before = properties.rest;
    match id {
        0x02 => {
            message.expiry_secs = Some(properties.u32()?);
            return Ok(true);
        }
        0x01 => drop(properties.flag()?),
        0x03 => drop(properties.text()?),
        0x08 => {
            if properties.text()?.contains(['+', '#']) {
                return Err(DecodeError::Protocol("the response topic has a wildcard"));
            }
        }
        0x09 => drop(properties.bytes()?),
        0x26 => drop((properties.text()?, properties.text()?)),
        _ => return Ok(false),
    }
    message.forwarded.push(id);
    message.forwarded.extend_from_slice(&before[..before.len() - properties.rest.len()]);
    Ok(true)
}

fn publish(first: u8, mut reader: Reader<'_>, v5: bool) -> Result<Packet<'_>> {
    let (dup, qos, retain) = (first & 8 != 0, (first >> 1) & 3, first & 1 != 0);
    if dup && qos == 0 {
        return Err(DecodeError::Malformed("DUP with QoS 0"));
    }
    let topic = reader.text()?;
    let packet_id = if qos == 0 { 0 } else { reader.packet_id()? };
    let mut properties = MessageProperties::default();
    if v5 {
        let mut seen = Seen::default();
        let mut list = reader.properties()?;
        while let Some(id) = list.property_id()? {
            seen.check(id)?;
            match id {
                0x23 => return Err(DecodeError::TopicAlias),
                0x0b => {
                    return Err(DecodeError::Protocol("a client's PUBLISH has a subscription identifier"));
                }
                _ if message_property(id, &mut list, &mut properties)? => {}
                _ => return Err(DecodeError::Malformed("a property that PUBLISH does not have")),
            }
        }
    }
    Ok(Packet::Publish(Publish { dup, qos, retain, topic, packet_id, payload: reader.rest, properties }))
}

fn acknowledgement(mut reader: Reader<'_>, v5: bool) -> Result<u16> {
    let packet_id = reader.packet_id()?;
    if v5 && !reader.rest.is_empty() {
        reader.u8()?;
        if !reader.rest.is_empty() {
            reader.skip_reason_properties()?;
        }
    }
    reader.end()?;
    Ok(packet_id)
}

fn subscribe(mut reader: Reader<'_>, v5: bool) -> Result<Packet<'_>> {
    let packet_id = reader.packet_id()?;
    if v5 {
        let mut list = reader.properties()?;
        while let Some(id) = list.property_id()? {
            match id {
                0x0b => return Err(DecodeError::SubscriptionId),
                0x26 => drop((list.text()?, list.text()?)),
                _ => return Err(DecodeError::Malformed("a property that SUBSCRIBE does not have")),
            }
        }
    }
    let mut filters = Vec::new();
    while !reader.rest.is_empty() {
        let filter = reader.text()?;
        let options = reader.u8()?;
        let reserved = if v5 { 0b1100_0000 } else { 0b1111_1100 };
        let (qos, retain_handling) = (options & 3, (options >> 4) & 3);
        if options & reserved != 0 || qos == 3 || retain_handling == 3 {
            return Err(DecodeError::Malformed("subscription options"));
        }
        filters.push(SubscribeFilter {
            filter,
            qos,
            no_local: options & 4 != 0,
            retain_as_published: options & 8 != 0,
            retain_handling,
        });
    }
    if filters.is_empty() {
        return Err(DecodeError::Protocol("SUBSCRIBE without a filter"));
    }
    Ok(Packet::Subscribe(Subscribe { packet_id, filters }))
}

fn unsubscribe(mut reader: Reader<'_>, v5: bool) -> Result<Packet<'_>> {
    let packet_id = reader.packet_id()?;
    if v5 {
        let mut list = reader.properties()?;
        while let Some(id) = list.property_id()? {
            match id {
                0x26 => drop((list.text()?, list.text()?)),
                _ => return Err(DecodeError::Malformed("a property that UNSUBSCRIBE does not have")),
            }
        }
    }
    let mut filters = Vec::new();
    while !reader.rest.is_empty() {
        filters.push(reader.text()?);
    }
    if filters.is_empty() {
        return Err(DecodeError::Protocol("UNSUBSCRIBE without a filter"));
    }
    Ok(Packet::Unsubscribe(Unsubscribe { packet_id, filters }))
}

fn disconnect(mut reader: Reader<'_>, v5: bool) -> Result<Packet<'_>> {
    let mut reason = 0;
    let mut session_expiry_secs = None;
    if v5 && !reader.rest.is_empty() {
        reason = reader.u8()?;
        // A reason without a property length is valid: `e0 01 00` is a clean goodbye.
        if !reader.rest.is_empty() {
            let mut seen = Seen::default();
            let mut list = reader.properties()?;
            while let Some(id) = list.property_id()? {
                seen.check(id)?;
                match id {
                    0x11 => session_expiry_secs = Some(list.u32()?),
                    0x1f => drop(list.text()?),
                    0x26 => drop((list.text()?, list.text()?)),
                    _ => return Err(DecodeError::Malformed("a property that DISCONNECT does not have")),
                }
            }
        }
    }
    reader.end()?;
    Ok(Packet::Disconnect { reason, session_expiry_secs })
}

/// Which properties were there; only user properties may come twice.
#[derive(Default)]
struct Seen(u64);

impl Seen {
    fn check(&mut self, id: u8) -> Result<()> {
        let bit = 1_u64.checked_shl(u32::from(id)).ok_or(DecodeError::Malformed("unknown property"))?;
        if self.0 & bit != 0 && id != 0x26 {
            return Err(DecodeError::Protocol("a property is there twice"));
        }
        self.0 |= bit;
        Ok(())
    }
}

/// What is left of a packet.
#[derive(Clone, Copy)]
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8]> {
        let (head, rest) =
            self.rest.split_at_checked(bytes).ok_or(DecodeError::Malformed("it ends too early"))?;
        self.rest = rest;
        Ok(head)
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn flag(&mut self) -> Result<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Protocol("a flag is neither 0 nor 1")),
        }
    }

    fn u16(&mut self) -> Result<u16> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> Result<u32> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn packet_id(&mut self) -> Result<u16> {
        match self.u16()? {
            0 => Err(DecodeError::Protocol("packet id 0")),
            packet_id => Ok(packet_id),
        }
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let bytes = usize::from(self.u16()?);
        self.take(bytes)
    }

    fn text(&mut self) -> Result<&'a str> {
        let text =
            std::str::from_utf8(self.bytes()?).map_err(|_| DecodeError::Malformed("text is not UTF-8"))?;
        if text.contains('\0') {
            return Err(DecodeError::Malformed("text has a NUL"));
        }
        Ok(text)
    }

    /// The property list that comes next.
    fn properties(&mut self) -> Result<Self> {
        let mut bytes = 0_usize;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8()?;
            bytes |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(Self { rest: self.take(bytes)? });
            }
        }
        Err(DecodeError::Malformed("property length has more than four bytes"))
    }

    /// The next property's identifier; all of those in use fit one byte.
    fn property_id(&mut self) -> Result<Option<u8>> {
        if self.rest.is_empty() { Ok(None) } else { self.u8().map(Some) }
    }

    fn skip_reason_properties(&mut self) -> Result<()> {
        let mut list = self.properties()?;
        while let Some(id) = list.property_id()? {
            match id {
                0x1f => drop(list.text()?),
                0x26 => drop((list.text()?, list.text()?)),
                _ => return Err(DecodeError::Malformed("a property that an acknowledgement does not have")),
            }
        }
        Ok(())
    }

    fn end(&self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Malformed("bytes after the end")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_packet_types_and_wrong_flags_are_refused_at_the_first_byte() {
        for first in [0x00, 0x20, 0x90, 0xb0, 0xd0] {
            assert_eq!(frame(&[first], 100), Err(DecodeError::WrongType(first >> 4)));
        }
        for first in [0x11, 0x36, 0x41, 0x60, 0x80, 0xa0, 0xc1] {
            assert!(matches!(frame(&[first], 100), Err(DecodeError::Malformed(_))), "{first:#x}");
        }
    }

    #[test]
    fn lengths_are_checked_before_the_body_arrives() {
        assert_eq!(frame(&[0x30, 0x05, 1], 100), Ok(None));
        assert_eq!(frame(&[0x30, 0x80], 100), Ok(None));
        assert!(matches!(frame(&[0x30, 0xff, 0xff, 0xff, 0x7f], 100), Err(DecodeError::TooLarge { .. })));
        assert!(matches!(frame(&[0x30, 0xff, 0xff, 0xff, 0xff], 100), Err(DecodeError::Malformed(_))));
        assert_eq!(frame(&[0xc0, 0, 9], 100), Ok(Some(Frame { header_bytes: 2, bytes: 2 })));
    }

    #[test]
    fn a_disconnect_of_three_bytes_is_a_clean_one() {
        let expected = Packet::Disconnect { reason: 0, session_expiry_secs: None };
        assert_eq!(packet(0xe0, &[0], Protocol::V5), Ok(expected));
    }

    #[test]
    fn a_topic_alias_is_told_apart() {
        let body = [0, 1, b'a', 3, 0x23, 0, 1];
        assert_eq!(packet(0x30, &body, Protocol::V5), Err(DecodeError::TopicAlias));
    }
}
