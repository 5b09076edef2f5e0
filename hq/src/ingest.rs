//! From a store's publish to a job for the database's thread.
//!
//! Owns the queue and its bounds. Decides nothing about rows; a publish that cannot be a store's document is refused
//! here, unread, and counted.
//!
//! # Invariants
//!
//! - Offering never blocks: what finds the queue full is answered [`Outcome::NotStored`], and the store sends it again.
//! - Every job is answered exactly once, or its [`Done`] is dropped, which counts as [`Outcome::NotStored`].

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use contract::{
    StoreId,
    upstream::{Batch, BatchError, Birth, CommandResult, StoreStatus, StoreTopic, Stream},
};

use crate::{counters::Counters, desk::Results};

/// Most publishes that wait for the database.
pub const QUEUE_MAX: usize = 2_048;
/// Most payload bytes that wait for the database.
pub const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// No store gets here: epochs are milliseconds since 1970, seqs and boots count from 1. Greater ones would be rounded by
/// whoever reads our JSON into doubles (2^53 - 1), and would leave no room after them.
pub const NUMBER_MAX: u64 = (1 << 53) - 1;

/// What became of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is on disk.
    Committed,
    /// It never can be: sending it again is of no use.
    Refused,
    /// Not now: send it again.
    NotStored,
}

/// Takes the outcome.
pub type Done = Box<dyn FnOnce(Outcome) + Send>;

/// The way back to the stores. Never blocks; what is lost is counted by whoever carries it, and repaired by the
/// protocol: an acknowledgement by the next one, a resend command by the next gap.
pub trait Downlink: Send + Sync {
    /// Publishes to one store, QoS 1, not retained.
    fn publish(&self, topic: String, payload: Vec<u8>);
}

/// The way back, which exists only after the broker has started.
pub type DownlinkSlot = Arc<OnceLock<Arc<dyn Downlink>>>;

/// What the database's thread finds in the queue.
pub enum Entry {
    /// A publish.
    Publish(Job),
    /// Nothing comes after this: commit what came before, and end.
    Stop,
}

/// One publish for the database's thread.
pub struct Job {
    /// Whose it is, by its topic.
    pub store: StoreId,
    /// What it is, by its topic.
    pub topic: StoreTopic,
    /// Its payload, unread.
    pub payload: Bytes,
    /// Takes the outcome.
    pub done: Done,
    /// Its share of [`QUEUE_BYTES_MAX`], given back when the job is dropped.
    pub weight: Weight,
}

/// A share of the queue's bytes.
pub struct Weight {
    bytes: usize,
    total: Arc<AtomicUsize>,
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A store's document.
#[derive(Debug)]
pub enum Document {
    /// Rows.
    Batch(Batch),
    /// What it is.
    Birth(Birth),
    /// How it is.
    Status(StoreStatus),
    /// How a command went.
    CommandResult {
        /// The command.
        id: String,
        /// Its result.
        result: CommandResult,
    },
}

/// Why a payload is no document that can be kept.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// No batch that the contract allows.
    #[error("not a batch")]
    Batch {
        /// Why.
        source: BatchError,
    },
    /// The topic names another stream than the batch.
    #[error("batch of stream `{batch}` came on the topic of `{topic}`")]
    Stream {
        /// In the payload.
        batch: Stream,
        /// In the topic.
        topic: Stream,
    },
    /// More than [`NUMBER_MAX`].
    #[error("`{document}.{field}` = {value} is more than {NUMBER_MAX}")]
    Range {
        /// In which document.
        document: &'static str,
        /// Which number.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// Not the JSON of the document that the topic names.
    #[error("not a `{document}` document")]
    Json {
        /// Which one.
        document: &'static str,
        /// Where and why.
        source: serde_json::Error,
    },
}

impl Rejection {
    /// The name of its counter.
    #[must_use]
    pub fn counter(&self) -> &'static str {
        match self {
            Self::Batch { source: BatchError::TooLarge { .. } } => "batches_refused_too_large",
            Self::Batch { source: BatchError::Json { .. } } => "batches_refused_json",
            Self::Batch { source: BatchError::Envelope { .. } } => "batches_refused_envelope",
            Self::Batch { source: BatchError::Rows { .. } } => "batches_refused_rows",
            Self::Batch { source: BatchError::Order { .. } } => "batches_refused_order",
            Self::Batch { source: BatchError::Lost { .. } } => "batches_refused_lost",
            Self::Stream { .. } => "batches_refused_stream",
            Self::Range { document: "batch", .. } => "batches_refused_range",
            Self::Range { .. } => "documents_refused_range",
            Self::Json { .. } => "documents_refused_json",
        }
    }
}

impl Document {
    /// Reads what `store` published on `topic`.
    ///
    /// # Errors
    /// When the payload is not what the topic names, or another store's.
    pub fn parse(store: &StoreId, topic: &StoreTopic, payload: &[u8]) -> Result<Self, Rejection> {
        let json = |document| move |source| Rejection::Json { document, source };
        match topic {
            StoreTopic::Batch(stream) => {
                let batch = Batch::parse(store, payload).map_err(|source| Rejection::Batch { source })?;
                if batch.data.stream != *stream {
                    return Err(Rejection::Stream { batch: batch.data.stream, topic: *stream });
                }
                let last_seq = batch.data.rows.last().map_or(0, |row| row.seq);
                within_range("batch", [("epoch", batch.data.epoch), ("seq", last_seq)])?;
                Ok(Self::Batch(batch))
            }
            StoreTopic::Birth => {
                let birth: Birth = serde_json::from_slice(payload).map_err(json("birth"))?;
                within_range("birth", [("epoch", birth.epoch), ("boot", birth.boot)])?;
                Ok(Self::Birth(birth))
            }
            StoreTopic::Status => {
                let status: StoreStatus = serde_json::from_slice(payload).map_err(json("status"))?;
                let numbers = [("boot", status.boot), ("waiting_rows", status.waiting_rows)];
                within_range("status", numbers)?;
                Ok(Self::Status(status))
            }
            StoreTopic::CommandResult(id) => serde_json::from_slice(payload)
                .map(|result| Self::CommandResult { id: id.clone(), result })
                .map_err(json("command result")),
        }
    }
}

fn within_range<const N: usize>(
    document: &'static str,
    numbers: [(&'static str, u64); N],
) -> Result<(), Rejection> {
    match numbers.into_iter().find(|&(_, value)| NUMBER_MAX < value) {
        Some((field, value)) => Err(Rejection::Range { document, field, value }),
        None => Ok(()),
    }
}

/// Takes publishes in.
#[derive(Clone)]
pub struct Ingest {
    queue: flume::Sender<Entry>,
    bytes: Arc<AtomicUsize>,
    counters: Counters,
    results: Arc<OnceLock<Results>>,
}

impl Ingest {
    /// Shows results of commands to the order desk too. They are not kept by the time they are acknowledged: the desk
    /// sends a command again until it has seen its result.
    pub fn show_results(&self, results: Results) {
        // Only the first desk counts; there is one.
        self.results.set(results).ok();
    }

    fn show_result(&self, store: &StoreId, id: &str, payload: &[u8]) {
        if let (Some(results), Ok(result)) = (self.results.get(), serde_json::from_slice(payload)) {
            results.offer(store.clone(), id.to_owned(), result);
        }
    }

    /// A queue and its end.
    #[must_use]
    pub fn new(counters: Counters) -> (Self, flume::Receiver<Entry>) {
        let (queue, jobs) = flume::bounded(QUEUE_MAX);
        (Self { queue, bytes: Arc::default(), counters, results: Arc::default() }, jobs)
    }

    /// Puts a publish in line. `done` is called from the database's thread, or at once when there is no room.
    pub fn offer(&self, topic: &str, payload: Bytes, done: Done) {
        let Some((store, topic)) = StoreTopic::parse(topic) else {
            self.counters.count("publishes_refused_topic");
            return done(Outcome::Refused);
        };
        if let StoreTopic::CommandResult(id) = &topic {
            self.show_result(&store, id, &payload);
        }
        let bytes = payload.len();
        let weight = Weight { bytes, total: Arc::clone(&self.bytes) };
        let waiting = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if QUEUE_BYTES_MAX < waiting + bytes {
            self.counters.count("publishes_not_stored_queue_bytes");
            return done(Outcome::NotStored);
        }
        let job = Job { store, topic, payload, done, weight };
        let Err(flume::TrySendError::Full(entry) | flume::TrySendError::Disconnected(entry)) =
            self.queue.try_send(Entry::Publish(job))
        else {
            return;
        };
        self.counters.count("publishes_not_stored_queue_full");
        if let Entry::Publish(job) = entry {
            (job.done)(Outcome::NotStored);
        }
    }

    /// Ends the database's thread after what waits; later offers are not stored.
    ///
    /// The thread holds the way back to the broker, which holds this: waiting for all clones to go would be for ever.
    pub async fn stop(&self) {
        // An error means that the thread has ended already.
        let _ = self.queue.send_async(Entry::Stop).await;
    }

    /// Publishes that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_on_the_topic_of_another_stream_is_refused_with_its_counter() {
        let store = StoreId::parse("hz-1").unwrap();
        let text = r#"{"specversion":"1.0","id":"x","source":"/stores/hz-1","type":"storehub.batch.v1","time":"2026-01-01T00:00:00.000Z","datacontenttype":"application/json","data":{"stream":"events","epoch":1,"prev_seq":0,"rows":[{"seq":SEQ,"at":"2026-01-01T00:00:00.000Z","kind":"k","data":{}}]}}"#;
        let refusal = |topic, seq: &str| {
            Document::parse(&store, &topic, text.replace("SEQ", seq).as_bytes()).unwrap_err().counter()
        };
        assert_eq!(refusal(StoreTopic::Batch(Stream::Rollups), "1"), "batches_refused_stream");
        assert_eq!(refusal(StoreTopic::Batch(Stream::Events), "0"), "batches_refused_order");
        assert_eq!(refusal(StoreTopic::Birth, "1"), "documents_refused_json");
    }

    #[test]
    fn numbers_that_no_store_reaches_are_refused_with_their_counter() {
        let store = StoreId::parse("hz-1").unwrap();
        let batch = r#"{"specversion":"1.0","id":"x","source":"/stores/hz-1","type":"storehub.batch.v1","time":"2026-01-01T00:00:00.000Z","datacontenttype":"application/json","data":{"stream":"events","epoch":EPOCH,"prev_seq":0,"rows":[{"seq":SEQ,"at":"2026-01-01T00:00:00.000Z","kind":"k","data":{}}]}}"#;
        let birth = r#"{"version":"1","epoch":EPOCH,"boot":SEQ,"started_at":"2026-01-01T00:00:00.000Z","config_digest":"","streams":[],"devices":[]}"#;
        let status = r#"{"online":true,"boot":SEQ,"waiting_rows":EPOCH}"#;
        let documents = [
            (StoreTopic::Batch(Stream::Events), batch, "batches_refused_range"),
            (StoreTopic::Birth, birth, "documents_refused_range"),
            (StoreTopic::Status, status, "documents_refused_range"),
        ];
        for (topic, text, counter) in documents {
            let parse = |epoch: u64, seq: u64| {
                let text = text.replace("EPOCH", &epoch.to_string()).replace("SEQ", &seq.to_string());
                Document::parse(&store, &topic, text.as_bytes())
            };
            assert!(parse(NUMBER_MAX, NUMBER_MAX).is_ok(), "{text}");
            for beyond in [NUMBER_MAX + 1, i64::MAX as u64 - 1, i64::MAX as u64 + 1, u64::MAX] {
                for refused in [parse(beyond, 1), parse(1, beyond)] {
                    let rejection = refused.unwrap_err();
                    assert_eq!(rejection.counter(), counter, "{text}");
                    assert!(rejection.to_string().contains(&beyond.to_string()), "{rejection}");
                }
            }
        }
    }

    #[test]
    fn what_finds_no_room_is_not_stored_and_gives_its_bytes_back() {
        let counters = Counters::default();
        let (ingest, jobs) = Ingest::new(counters.clone());
        let (sender, outcomes) = flume::bounded(QUEUE_MAX + 8);
        let offer = |bytes: usize| {
            let sender = sender.clone();
            let done = Box::new(move |outcome| sender.send(outcome).unwrap());
            ingest.offer("stores/hz-1/birth", vec![0; bytes].into(), done);
        };
        offer(QUEUE_BYTES_MAX);
        offer(1);
        assert_eq!(outcomes.try_recv(), Ok(Outcome::NotStored));
        drop(jobs.recv().unwrap());
        for _ in 0..=QUEUE_MAX {
            offer(1);
        }
        assert_eq!(outcomes.try_recv(), Ok(Outcome::NotStored));
        assert!(outcomes.is_empty());
        assert_eq!(counters.value("publishes_not_stored_queue_full"), 1);
        assert_eq!(counters.value("publishes_not_stored_queue_bytes"), 1);
    }
}
