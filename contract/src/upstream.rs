//! What a store and headquarters say to each other: batches up, acknowledgements and commands down.
//!
//! MQTT 3.1.1-compatible, QoS 1. Topics have neither dots nor spaces, so that every broker carries them.
//!
//! # How nothing is lost
//!
//! Rows of a stream are numbered by `seq`, strictly rising within an `epoch` but *not* without holes: a row's
//! `seq` is its place in the store's journal, which all streams share. Each batch therefore says after which
//! row it follows (`prev_seq`). Headquarters keeps, per store, stream and epoch, the `seq` through which it
//! has committed every row (`through_seq`, 0 at first):
//!
//! - `prev_seq <= through_seq`: insert what is new (by key `(store, stream, epoch, seq)`), commit, move
//!   `through_seq` to the batch's last `seq` when that is greater, acknowledge.
//! - `prev_seq > through_seq`: a gap. Keep the rows, do not move `through_seq`, and ask for a resend from
//!   `through_seq` ([`Command::Resend`]).
//!
//! The store forgets a row only after an [`Ack`] whose `through_seq` covers it. At each connection it says its
//! [`Birth`] and sends no rows before headquarters has answered with an acknowledgement of each stream: what is there.
//! Headquarters that has less than it once acknowledged is sent the rows again.
//!
//! # A journal that was put back or lost
//!
//! A store whose journal is another one than headquarters knows (lost disk, restored copy) goes on under a new,
//! greater `epoch`: it begins there at `prev_seq` 0 with the first row that it does not know to be at headquarters.
//! It knows by an acknowledgement of rows that it never had, or whose last row ([`Ack::row_digest`]) is another one
//! than its own. Rows that it may have sent under an earlier epoch it names ([`BatchData::sent_before_through`]), so
//! that headquarters takes those as repetitions that it has already, with the same content, under an earlier epoch.
//!
//! Records that the journal does not have any more are said with the rows that follow them ([`BatchData::lost`]), so
//! that headquarters can tell "lost" from "never existed" and asks for them no more.

use std::fmt;

use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::{id::StoreId, time::Timestamp};

/// Largest encoded batch in bytes; a forwarder closes a batch before it grows beyond.
pub const BATCH_BYTES_MAX: usize = 256 * 1024;
/// Most rows in one batch.
pub const BATCH_ROWS_MAX: usize = 500;

/// What flows to headquarters, each with its own acknowledgements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Closed and corrected windows of counts and measurements.
    Rollups,
    /// Locker, stock, alert and order events.
    Events,
    /// Anonymous kiosk events.
    Experience,
    /// Every raw reading.
    Readings,
}

impl Stream {
    /// All streams.
    pub const ALL: [Self; 4] = [Self::Rollups, Self::Events, Self::Experience, Self::Readings];

    /// The stream's name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rollups => "rollups",
            Self::Events => "events",
            Self::Experience => "experience",
            Self::Readings => "readings",
        }
    }

    /// The stream that a name names.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stream| stream.as_str() == name)
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which life of a store's journal: greater is newer. Milliseconds since 1970 at the journal's creation.
pub type Epoch = u64;

/// One row of a stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// Its place: unique and rising within the epoch.
    pub seq: u64,
    /// When it happened.
    pub at: Timestamp,
    /// What it is, such as `shelf.reading`, `locker.opened`, `rollup.1m`.
    pub kind: String,
    /// Which device it is about, where one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Its content; for a raw reading the payload's fields as published.
    pub data: Box<RawValue>,
}

impl Row {
    /// Tells this row from another one that has its place in a journal that was put back: FNV-1a over time, kind,
    /// device and content. Not for secrets.
    #[must_use]
    pub fn digest(&self) -> u32 {
        let at = self.at.as_millis().to_le_bytes();
        let device = self.device.as_deref().unwrap_or_default().as_bytes();
        let parts = [&at[..], self.kind.as_bytes(), device, self.data.get().as_bytes()];
        parts.into_iter().fold(FNV_OFFSET, |digest, part| {
            // 0xff, which no UTF-8 text has, between the parts.
            let bytes = part.iter().copied().chain([0xff]);
            bytes.fold(digest, |digest, byte| (digest ^ u32::from(byte)).wrapping_mul(FNV_PRIME))
        })
    }
}

const FNV_OFFSET: u32 = 0x811c_9dc5;
const FNV_PRIME: u32 = 0x0100_0193;

/// The `data` member of a batch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BatchData {
    /// Which stream.
    pub stream: Stream,
    /// Which life of the journal.
    pub epoch: Epoch,
    /// The last row of this stream before this batch; 0 when there is none.
    pub prev_seq: u64,
    /// Rows through this one may have been sent under an earlier epoch, by a journal that was put back or lost; 0 in
    /// all other cases.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sent_before_through: u64,
    /// Journal records between `prev_seq` and the first row that are gone; some may have been rows of this stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<SeqRange>,
    /// The rows, `seq` strictly rising, at least one.
    pub rows: Vec<Row>,
}

/// Journal numbers, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SeqRange {
    /// The first.
    pub first_seq: u64,
    /// The last.
    pub last_seq: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it by reference")]
fn is_zero(seq: &u64) -> bool {
    *seq == 0
}

/// A batch on the wire, shaped as a CloudEvents 1.0 structured-mode JSON event
/// (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Batch {
    /// `1.0`.
    pub specversion: String,
    /// `<store>-<stream>-<epoch>-<first seq>`.
    pub id: String,
    /// `/stores/<store>`.
    pub source: String,
    /// `storehub.batch.v1`.
    #[serde(rename = "type")]
    pub kind: String,
    /// When the batch was made.
    pub time: Timestamp,
    /// `application/json`.
    pub datacontenttype: String,
    /// The rows.
    pub data: BatchData,
}

/// The `type` of [`Batch`].
pub const BATCH_TYPE: &str = "storehub.batch.v1";

/// Why bytes are no batch that headquarters may take.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// Larger than [`BATCH_BYTES_MAX`].
    #[error("batch has {len} bytes, at most {BATCH_BYTES_MAX} are allowed")]
    TooLarge {
        /// Its size.
        len: usize,
    },
    /// Not the JSON of a batch.
    #[error("batch is not the JSON of a storehub batch")]
    Json {
        /// Where and why.
        source: serde_json::Error,
    },
    /// An envelope member has another value than it must.
    #[error("batch has `{field}` = `{value}`, expected `{expected}`")]
    Envelope {
        /// Which member.
        field: &'static str,
        /// What it says.
        value: String,
        /// What it must say.
        expected: String,
    },
    /// No rows, or too many.
    #[error("batch has {rows} rows, 1 to {BATCH_ROWS_MAX} are allowed")]
    Rows {
        /// How many.
        rows: usize,
    },
    /// What is said to be lost does not lie between the row before the batch and its first row.
    #[error("batch has `lost` {first_seq} to {last_seq}, which is not between `prev_seq` and the first row")]
    Lost {
        /// The first that is said to be lost.
        first_seq: u64,
        /// The last.
        last_seq: u64,
    },
    /// `seq` does not rise.
    #[error("batch has row seq {seq} after {after}; it must rise")]
    Order {
        /// The row before, or `prev_seq`.
        after: u64,
        /// The row.
        seq: u64,
    },
}

impl Batch {
    /// Wraps rows for the wire.
    ///
    /// # Panics
    /// When there are no rows: the caller batches what it has.
    #[must_use]
    pub fn new(store: &StoreId, time: Timestamp, data: BatchData) -> Self {
        let first_seq = data.rows.first().expect("a batch has at least one row").seq;
        Self {
            specversion: "1.0".to_owned(),
            id: format!("{store}-{}-{}-{first_seq}", data.stream, data.epoch),
            source: format!("/stores/{store}"),
            kind: BATCH_TYPE.to_owned(),
            time,
            datacontenttype: "application/json".to_owned(),
            data,
        }
    }

    /// Reads and checks a batch that `store` has published.
    ///
    /// # Errors
    /// When it is too large, no JSON, another store's, empty, or out of order.
    pub fn parse(store: &StoreId, payload: &[u8]) -> Result<Self, BatchError> {
        if BATCH_BYTES_MAX < payload.len() {
            return Err(BatchError::TooLarge { len: payload.len() });
        }
        let batch: Self = serde_json::from_slice(payload).map_err(|source| BatchError::Json { source })?;
        let members = [
            ("specversion", &batch.specversion, "1.0".to_owned()),
            ("type", &batch.kind, BATCH_TYPE.to_owned()),
            ("source", &batch.source, format!("/stores/{store}")),
        ];
        for (field, value, expected) in members {
            if *value != expected {
                let value = value.chars().take(80).collect();
                return Err(BatchError::Envelope { field, value, expected });
            }
        }
        let rows = batch.data.rows.len();
        if rows == 0 || BATCH_ROWS_MAX < rows {
            return Err(BatchError::Rows { rows });
        }
        let mut after = batch.data.prev_seq;
        for row in &batch.data.rows {
            if row.seq <= after {
                return Err(BatchError::Order { after, seq: row.seq });
            }
            after = row.seq;
        }
        if let Some(SeqRange { first_seq, last_seq }) = batch.data.lost
            && !(batch.data.prev_seq < first_seq
                && first_seq <= last_seq
                && last_seq < batch.data.rows[0].seq)
        {
            return Err(BatchError::Lost { first_seq, last_seq });
        }
        Ok(batch)
    }
}

/// `stores/<store>/ack`: every row of the stream through `through_seq` is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Which stream.
    pub stream: Stream,
    /// Which life of the journal.
    pub epoch: Epoch,
    /// The last row of the committed prefix.
    pub through_seq: u64,
    /// [`Row::digest`] of the row at `through_seq`, where that is known; said in answer to a birth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_digest: Option<u32>,
}

/// `stores/<store>/command/<id>`: what headquarters asks of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Send every row of the stream after `after_seq` again.
    Resend {
        /// Which stream.
        stream: Stream,
        /// Which life of the journal; another one is answered with `failed`.
        epoch: Epoch,
        /// The last row that headquarters has.
        after_seq: u64,
    },
}

/// `stores/<store>/command/<id>/result`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandResult {
    /// How far the command is.
    pub state: CommandState,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// States of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CommandState {
    /// Taken; the outcome follows.
    Accepted,
    /// Carried out.
    Done,
    /// Not carried out.
    Failed,
}

/// `stores/<store>/birth`, retained: what this store is, sent at each connection before any batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Birth {
    /// The hub's version.
    pub version: String,
    /// Which life of the journal.
    pub epoch: Epoch,
    /// Counts the hub's starts.
    pub boot: u64,
    /// When the hub started.
    pub started_at: Timestamp,
    /// SHA-256-like digest of the configuration in hexadecimal, to see which stores differ.
    pub config_digest: String,
    /// The streams that will come.
    pub streams: Vec<Stream>,
    /// The registered devices.
    pub devices: Vec<BirthDevice>,
}

/// One device in a [`Birth`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BirthDevice {
    /// Its id.
    pub id: String,
    /// Its kind as registered.
    pub kind: String,
}

/// `stores/<store>/status`, retained; `online: false` is the hub's last will.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// Whether the hub is connected.
    pub online: bool,
    /// Which start of the hub; the last will carries it too, so that an old will is recognised.
    pub boot: u64,
    /// When this was said; absent in a last will, which is written before it happens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Reduced modes in words, empty when all is well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub degraded: Vec<String>,
    /// Rows that wait, over all streams.
    #[serde(default)]
    pub waiting_rows: u64,
}

/// `stores/<store>/batch/<stream>`
#[must_use]
pub fn batch_topic(store: &StoreId, stream: Stream) -> String {
    format!("stores/{store}/batch/{stream}")
}
/// `stores/<store>/ack`
#[must_use]
pub fn ack_topic(store: &StoreId) -> String {
    format!("stores/{store}/ack")
}
/// `stores/<store>/birth`
#[must_use]
pub fn birth_topic(store: &StoreId) -> String {
    format!("stores/{store}/birth")
}
/// `stores/<store>/status`
#[must_use]
pub fn status_topic(store: &StoreId) -> String {
    format!("stores/{store}/status")
}
/// `stores/<store>/command/<id>`
#[must_use]
pub fn command_topic(store: &StoreId, id: &str) -> String {
    format!("stores/{store}/command/{id}")
}
/// `stores/<store>/command/<id>/result`
#[must_use]
pub fn command_result_topic(store: &StoreId, id: &str) -> String {
    format!("stores/{store}/command/{id}/result")
}

/// What a store publishes, told by its topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreTopic {
    /// A batch of a stream.
    Batch(Stream),
    /// The birth document.
    Birth,
    /// The status document.
    Status,
    /// The result of command `id`.
    CommandResult(String),
}

impl StoreTopic {
    /// Reads `stores/<store>/…` as a store may publish it; `None` for anything else.
    #[must_use]
    pub fn parse(topic: &str) -> Option<(StoreId, Self)> {
        let rest = topic.strip_prefix("stores/")?;
        let (store, rest) = rest.split_once('/')?;
        let store = StoreId::parse(store).ok()?;
        let topic = match rest.split('/').collect::<Vec<_>>()[..] {
            ["batch", stream] => Self::Batch(Stream::parse(stream)?),
            ["birth"] => Self::Birth,
            ["status"] => Self::Status,
            ["command", id, "result"] if !id.is_empty() => Self::CommandResult(id.to_owned()),
            _ => return None,
        };
        Some((store, topic))
    }
}

/// Whether bytes are one JSON value; used before raw bytes are embedded as a row's `data`.
#[must_use]
pub fn is_json(payload: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(payload).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(seq: u64) -> Row {
        Row {
            seq,
            at: Timestamp::UNIX_EPOCH,
            kind: "shelf.reading".to_owned(),
            device: Some("shelf-01".to_owned()),
            data: RawValue::from_string("{\"weight_g\":1.5}".to_owned()).unwrap(),
        }
    }

    fn batch(prev_seq: u64, seqs: &[u64]) -> Vec<u8> {
        let store = StoreId::parse("hz-1").unwrap();
        let rows = seqs.iter().map(|&seq| row(seq)).collect();
        let data = BatchData {
            stream: Stream::Readings,
            epoch: 7,
            prev_seq,
            sent_before_through: 0,
            lost: None,
            rows,
        };
        serde_json::to_vec(&Batch::new(&store, Timestamp::UNIX_EPOCH, data)).unwrap()
    }

    #[test]
    fn a_batch_reads_back_with_its_rows_as_published() {
        let store = StoreId::parse("hz-1").unwrap();
        let read = Batch::parse(&store, &batch(3, &[4, 9])).unwrap();
        assert_eq!(read.id, "hz-1-readings-7-4");
        assert_eq!(read.data.rows[1].data.get(), "{\"weight_g\":1.5}");
    }

    #[test]
    fn a_batch_of_another_store_or_out_of_order_is_refused() {
        let store = StoreId::parse("hz-1").unwrap();
        let other = StoreId::parse("sh-1").unwrap();
        assert!(matches!(
            Batch::parse(&other, &batch(0, &[1])),
            Err(BatchError::Envelope { field: "source", .. })
        ));
        assert!(matches!(Batch::parse(&store, &batch(4, &[4])), Err(BatchError::Order { after: 4, seq: 4 })));
        assert!(matches!(Batch::parse(&store, b"{}"), Err(BatchError::Json { .. })));
        let large = vec![b' '; BATCH_BYTES_MAX + 1];
        assert!(matches!(Batch::parse(&store, &large), Err(BatchError::TooLarge { .. })));
    }

    #[test]
    fn what_is_said_to_be_lost_lies_before_the_rows() {
        let store = StoreId::parse("hz-1").unwrap();
        let parse = |first_seq, last_seq| {
            let data = BatchData {
                stream: Stream::Readings,
                epoch: 7,
                prev_seq: 3,
                sent_before_through: 0,
                lost: Some(SeqRange { first_seq, last_seq }),
                rows: vec![row(9)],
            };
            let batch = Batch::new(&store, Timestamp::UNIX_EPOCH, data);
            Batch::parse(&store, &serde_json::to_vec(&batch).unwrap()).map(|batch| batch.data.lost)
        };
        assert_eq!(parse(4, 8).unwrap(), Some(SeqRange { first_seq: 4, last_seq: 8 }));
        for (first_seq, last_seq) in [(3, 8), (4, 9), (6, 5)] {
            assert!(matches!(parse(first_seq, last_seq), Err(BatchError::Lost { .. })));
        }
    }

    #[test]
    fn a_digest_tells_rows_apart_by_everything_but_their_place() {
        let digest = |change: fn(&mut Row)| {
            let mut row = row(4);
            change(&mut row);
            row.digest()
        };
        let same = digest(|_| {});
        assert_eq!(digest(|row| row.seq = 5), same);
        let others: [fn(&mut Row); 4] = [
            |row| row.at = Timestamp::saturating_from_millis(1),
            |row| row.kind.push('x'),
            |row| row.device = None,
            |row| row.data = RawValue::from_string("{}".to_owned()).unwrap(),
        ];
        others.into_iter().for_each(|change| assert_ne!(digest(change), same));
    }

    #[test]
    fn a_store_topic_is_told_apart_and_foreign_ones_are_not_taken() {
        let store = StoreId::parse("hz-1").unwrap();
        for stream in Stream::ALL {
            let parsed = StoreTopic::parse(&batch_topic(&store, stream));
            assert_eq!(parsed, Some((store.clone(), StoreTopic::Batch(stream))));
        }
        assert_eq!(StoreTopic::parse("stores/hz-1/ack"), None);
        assert_eq!(StoreTopic::parse("stores/HZ/birth"), None);
        assert_eq!(
            StoreTopic::parse(&command_result_topic(&store, "c1")),
            Some((store, StoreTopic::CommandResult("c1".to_owned())))
        );
    }
}
