//! MQTT packets by hand: for clients that break the rules, and for load that no client library slows down.
//!
//! Knows just enough of MQTT 3.1.1 and 5 to write what a sensor writes and to read what a broker answers. It never
//! checks what it writes: being wrong is its job.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

/// Packet types: the upper half of the first byte.
pub mod kind {
    /// Answer to CONNECT.
    pub const CONNACK: u8 = 2;
    /// A message.
    pub const PUBLISH: u8 = 3;
    /// QoS 1 acknowledgement.
    pub const PUBACK: u8 = 4;
    /// Answer to SUBSCRIBE.
    pub const SUBACK: u8 = 9;
    /// Answer to PINGREQ.
    pub const PINGRESP: u8 = 13;
    /// MQTT 5: the broker says why it ends.
    pub const DISCONNECT: u8 = 14;
}

/// Longest wait for one answer.
pub const ANSWER_MAX: Duration = Duration::from_secs(15);
const PACKET_BYTES_MAX: usize = 1 << 20;

/// Protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 3.1.1
    V311,
    /// 5.0
    V5,
}

impl Version {
    fn level(self) -> u8 {
        match self {
            Self::V311 => 4,
            Self::V5 => 5,
        }
    }

    /// An empty property list, which 3.1.1 does not have.
    fn properties(self) -> &'static [u8] {
        match self {
            Self::V311 => &[],
            Self::V5 => &[0],
        }
    }
}

/// A packet as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Type and flags.
    pub first: u8,
    /// Everything after the remaining length.
    pub body: Vec<u8>,
}

impl Packet {
    /// The packet's type (see [`kind`]).
    #[must_use]
    pub fn kind(&self) -> u8 {
        self.first >> 4
    }

    /// The packet id and reason code of a PUBACK; 3.1.1 has no reason and means success.
    #[must_use]
    pub fn puback(&self) -> Option<(u16, u8)> {
        match self.body[..] {
            [high, low, ref rest @ ..] if self.kind() == kind::PUBACK => {
                Some((u16::from_be_bytes([high, low]), rest.first().copied().unwrap_or(0)))
            }
            _ => None,
        }
    }
}

/// A CONNECT with user name and password.
#[must_use]
pub fn connect(version: Version, client_id: &str, login: Option<(&str, &str)>, keep_alive_s: u16) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, "MQTT");
    body.push(version.level());
    // Clean session, and both of user name and password.
    body.push(if login.is_some() { 0b1100_0010 } else { 0b0000_0010 });
    body.extend(keep_alive_s.to_be_bytes());
    body.extend(version.properties());
    text(&mut body, client_id);
    if let Some((username, password)) = login {
        text(&mut body, username);
        text(&mut body, password);
    }
    packet(0x10, &body)
}

/// A 3.1.1 CONNECT without login whose session the broker must keep (clean session 0).
#[must_use]
pub fn connect_to_keep(client_id: &str) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, "MQTT");
    body.extend([Version::V311.level(), 0, 0, 0]);
    text(&mut body, client_id);
    packet(0x10, &body)
}

/// A PUBLISH with QoS 1.
#[must_use]
pub fn publish(version: Version, topic: &str, packet_id: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(topic.len() + payload.len() + 5);
    text(&mut body, topic);
    body.extend(packet_id.to_be_bytes());
    body.extend(version.properties());
    body.extend(payload);
    packet(0x32, &body)
}

/// A SUBSCRIBE to one filter with QoS 1.
#[must_use]
pub fn subscribe(version: Version, packet_id: u16, filter: &str) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    body.extend(version.properties());
    text(&mut body, filter);
    body.push(1);
    packet(0x82, &body)
}

/// A PINGREQ.
#[must_use]
pub fn ping() -> Vec<u8> {
    vec![0xc0, 0]
}

/// First byte, remaining length, body.
#[must_use]
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len() + 5);
    bytes.push(first);
    let mut rest = body.len();
    loop {
        let low = u8::try_from(rest % 128).expect("a remainder of 128 fits");
        rest /= 128;
        bytes.push(if 0 < rest { low | 0x80 } else { low });
        if rest == 0 {
            break;
        }
    }
    bytes.extend(body);
    bytes
}

fn text(body: &mut Vec<u8>, text: &str) {
    let len = u16::try_from(text.len()).expect("an MQTT string has at most 65 535 bytes");
    body.extend(len.to_be_bytes());
    body.extend(text.as_bytes());
}

/// The reading half of a connection.
#[derive(Debug)]
pub struct Reader(BufReader<OwnedReadHalf>);

impl Reader {
    /// The next packet, however long it takes.
    ///
    /// # Errors
    /// When the connection ends or sends something that is no packet.
    pub async fn next(&mut self) -> io::Result<Packet> {
        let first = self.0.read_u8().await?;
        let mut len = 0_usize;
        for shift in [0, 7, 14, 21] {
            let byte = self.0.read_u8().await?;
            len |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        if PACKET_BYTES_MAX < len {
            return Err(io::Error::other(format!("a packet of {len} bytes")));
        }
        let mut body = vec![0; len];
        self.0.read_exact(&mut body).await?;
        Ok(Packet { first, body })
    }

    /// Whether bytes are there already, so that the next packet costs no wait.
    #[must_use]
    pub fn has_more(&self) -> bool {
        !self.0.buffer().is_empty()
    }
}

/// A connection in two halves.
#[derive(Debug)]
pub struct RawClient {
    /// What the broker says.
    pub reader: Reader,
    /// Where bytes go out.
    pub writer: OwnedWriteHalf,
    version: Version,
}

impl RawClient {
    /// Opens a connection and says nothing.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn open(broker: SocketAddr, version: Version) -> io::Result<Self> {
        let stream = timeout(ANSWER_MAX, TcpStream::connect(broker)).await??;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        Ok(Self { reader: Reader(BufReader::with_capacity(16 * 1024, reader)), writer, version })
    }

    /// Opens a connection and logs in; gives the client and the CONNACK's code, 0 when it is in.
    ///
    /// # Errors
    /// When nobody listens or the connection ends without a CONNACK.
    pub async fn log_in(
        broker: SocketAddr,
        version: Version,
        client_id: &str,
        secret: Option<&str>,
    ) -> io::Result<(Self, u8)> {
        let mut client = Self::open(broker, version).await?;
        let login = secret.map(|secret| (client_id, secret));
        client.send(&connect(version, client_id, login, 0)).await?;
        let answer = client.answer().await?;
        match answer.body[..] {
            [_, code, ..] if answer.kind() == kind::CONNACK => Ok((client, code)),
            _ => Err(io::Error::other(format!("CONNECT was answered with {answer:?}"))),
        }
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(ANSWER_MAX, self.writer.write_all(bytes)).await?
    }

    /// Publishes with QoS 1 without waiting for the acknowledgement.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn publish(&mut self, topic: &str, packet_id: u16, payload: &[u8]) -> io::Result<()> {
        let bytes = publish(self.version, topic, packet_id, payload);
        self.send(&bytes).await
    }

    /// The next packet within [`ANSWER_MAX`].
    ///
    /// # Errors
    /// When the connection ends or nothing comes.
    pub async fn answer(&mut self) -> io::Result<Packet> {
        timeout(ANSWER_MAX, self.reader.next()).await?
    }

    /// Reads until the broker closes the connection; gives what it said before.
    ///
    /// # Errors
    /// When it has not closed within [`ANSWER_MAX`].
    pub async fn until_closed(&mut self) -> io::Result<Vec<Packet>> {
        let mut packets = Vec::new();
        let read = async {
            while let Ok(packet) = self.reader.next().await {
                packets.push(packet);
            }
        };
        timeout(ANSWER_MAX, read).await?;
        Ok(packets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_packet_has_a_long_length() {
        assert_eq!(packet(0xc0, &[])[..], [0xc0, 0]);
        assert_eq!(packet(0x30, &[0; 127])[..2], [0x30, 127]);
        assert_eq!(packet(0x30, &[0; 128])[..3], [0x30, 0x80, 1]);
        assert_eq!(packet(0x30, &[0; 16_384])[..4], [0x30, 0x80, 0x80, 1]);
    }

    #[test]
    fn a_puback_has_its_reason_only_in_version_5() {
        let ack = |body: &[u8]| Packet { first: 0x40, body: body.to_vec() }.puback();
        assert_eq!(ack(&[1, 2]), Some((258, 0)));
        assert_eq!(ack(&[0, 7, 0x99, 0]), Some((7, 0x99)));
        assert_eq!(ack(&[0]), None);
    }
}
