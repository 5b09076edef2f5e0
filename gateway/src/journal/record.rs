//! What one journal record says, and its bytes (the body of a frame, little-endian).
//!
//! ```text
//! publish: 1 | flags (bits 0-1 qos, bit 2 retain) | at i64 | mono_ms u64 | boot u64
//!            | device u8 + bytes | topic u16 + bytes | payload
//! tick:    2 | at i64 | mono_ms u64 | boot u64
//! derived: 3 | stream u8 | cause_seq u64 | ordinal u32 | at i64 | kind u8 + bytes | device u8 + bytes | data
//! ```
//!
//! Owns: this layout. Does not own: framing, checksums, sequence numbers. A device of length 0 is "none".

use contract::{Timestamp, upstream::Stream};

/// One record, borrowed from the buffer it was read from or is written from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record<'a> {
    /// A publish as it came.
    Publish(Publish<'a>),
    /// The hub's clock, written every few seconds so that time-driven effects replay exactly.
    Tick {
        /// The hub's wall clock.
        at: Timestamp,
        /// Milliseconds since this start of the hub.
        mono_ms: u64,
        /// Which start of the hub.
        boot: u64,
    },
    /// A row for headquarters that the projector made.
    Derived(Derived<'a>),
}

/// A publish as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Who published.
    pub device: &'a str,
    /// Where.
    pub topic: &'a str,
    /// What, untouched; of a refused publish the edge's mark and its beginning.
    pub payload: &'a [u8],
    /// Whether it was to be retained.
    pub retain: bool,
    /// 0, 1 or 2.
    pub qos: u8,
    /// The hub's wall clock at receipt.
    pub received_at: Timestamp,
    /// Milliseconds since this start of the hub.
    pub mono_ms: u64,
    /// Which start of the hub.
    pub boot: u64,
}

/// A row for headquarters; `(cause_seq, ordinal)` rises through the journal and makes replay idempotent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Derived<'a> {
    /// The record that caused it.
    pub cause_seq: u64,
    /// Its place among the rows of that cause.
    pub ordinal: u32,
    /// Which stream it belongs to.
    pub stream: Stream,
    /// When it happened.
    pub at: Timestamp,
    /// What it is.
    pub kind: &'a str,
    /// Which device it is about.
    pub device: Option<&'a str>,
    /// Its content as JSON.
    pub data: &'a str,
}

/// Why a record cannot be written: a field is longer than its length prefix can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field} has {len} bytes, a journal record holds at most {max}")]
pub struct FieldTooLong {
    field: &'static str,
    len: usize,
    max: usize,
}

const TAG_PUBLISH: u8 = 1;
const TAG_TICK: u8 = 2;
const TAG_DERIVED: u8 = 3;

impl Record<'_> {
    /// Appends the record's bytes to `out`.
    ///
    /// # Errors
    /// When a name is too long; `out` may then hold a part, which the caller cuts off.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), FieldTooLong> {
        match self {
            Self::Publish(publish) => {
                out.push(TAG_PUBLISH);
                out.push((publish.qos & 3) | (u8::from(publish.retain) << 2));
                clock(out, publish.received_at, publish.mono_ms, publish.boot);
                short(out, "device", publish.device)?;
                let len = u16::try_from(publish.topic.len()).map_err(|_| FieldTooLong {
                    field: "topic",
                    len: publish.topic.len(),
                    max: usize::from(u16::MAX),
                })?;
                out.extend_from_slice(&len.to_le_bytes());
                out.extend_from_slice(publish.topic.as_bytes());
                out.extend_from_slice(publish.payload);
            }
            Self::Tick { at, mono_ms, boot } => {
                out.push(TAG_TICK);
                clock(out, *at, *mono_ms, *boot);
            }
            Self::Derived(row) => {
                out.push(TAG_DERIVED);
                out.push(stream_tag(row.stream));
                out.extend_from_slice(&row.cause_seq.to_le_bytes());
                out.extend_from_slice(&row.ordinal.to_le_bytes());
                out.extend_from_slice(&row.at.as_millis().to_le_bytes());
                short(out, "kind", row.kind)?;
                short(out, "device", row.device.unwrap_or_default())?;
                out.extend_from_slice(row.data.as_bytes());
            }
        }
        Ok(())
    }
}

impl<'a> Record<'a> {
    /// Reads a frame's body; `None` when it is no record of this version.
    #[must_use]
    pub fn decode(body: &'a [u8]) -> Option<Self> {
        let mut rest = body;
        match take::<1>(&mut rest)? {
            [TAG_PUBLISH] => {
                let [flags] = take::<1>(&mut rest)?;
                let (received_at, mono_ms, boot) = read_clock(&mut rest)?;
                let device = read_short(&mut rest)?;
                let topic_len = usize::from(u16::from_le_bytes(take(&mut rest)?));
                let (topic, payload) = rest.split_at_checked(topic_len)?;
                let topic = std::str::from_utf8(topic).ok()?;
                let (qos, retain) = (flags & 3, flags & 4 != 0);
                let publish = Publish { device, topic, payload, retain, qos, received_at, mono_ms, boot };
                Some(Self::Publish(publish))
            }
            [TAG_TICK] => {
                let (at, mono_ms, boot) = read_clock(&mut rest)?;
                Some(Self::Tick { at, mono_ms, boot })
            }
            [TAG_DERIVED] => {
                let [stream] = take::<1>(&mut rest)?;
                let stream = stream_of_tag(stream)?;
                let cause_seq = u64::from_le_bytes(take(&mut rest)?);
                let ordinal = u32::from_le_bytes(take(&mut rest)?);
                let at = Timestamp::try_from_millis(i64::from_le_bytes(take(&mut rest)?)).ok()?;
                let kind = read_short(&mut rest)?;
                let device = Some(read_short(&mut rest)?).filter(|device| !device.is_empty());
                let data = std::str::from_utf8(rest).ok()?;
                Some(Self::Derived(Derived { cause_seq, ordinal, stream, at, kind, device, data }))
            }
            _ => None,
        }
    }
}

fn clock(out: &mut Vec<u8>, at: Timestamp, mono_ms: u64, boot: u64) {
    out.extend_from_slice(&at.as_millis().to_le_bytes());
    out.extend_from_slice(&mono_ms.to_le_bytes());
    out.extend_from_slice(&boot.to_le_bytes());
}

fn read_clock(rest: &mut &[u8]) -> Option<(Timestamp, u64, u64)> {
    let at = Timestamp::try_from_millis(i64::from_le_bytes(take(rest)?)).ok()?;
    Some((at, u64::from_le_bytes(take(rest)?), u64::from_le_bytes(take(rest)?)))
}

fn short(out: &mut Vec<u8>, field: &'static str, text: &str) -> Result<(), FieldTooLong> {
    let len = u8::try_from(text.len()).map_err(|_| FieldTooLong {
        field,
        len: text.len(),
        max: usize::from(u8::MAX),
    })?;
    out.push(len);
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn read_short<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let [len] = take::<1>(rest)?;
    let (text, after) = rest.split_at_checked(usize::from(len))?;
    *rest = after;
    std::str::from_utf8(text).ok()
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*head)
}

fn stream_tag(stream: Stream) -> u8 {
    match stream {
        Stream::Rollups => 1,
        Stream::Events => 2,
        Stream::Experience => 3,
        Stream::Readings => 4,
    }
}

fn stream_of_tag(tag: u8) -> Option<Stream> {
    Stream::ALL.into_iter().find(|stream| stream_tag(*stream) == tag)
}
