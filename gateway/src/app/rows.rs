//! What headquarters gets, read from the journal: a [`RowSource`], and its cursors in the ledger.
//!
//! Owns: one journal reader per stream, so that a stream is read once and in order. A stream's rows are a filtered
//! range of the journal: publishes that map are `readings`, the other streams are the projector's rows.
//!
//! # Invariants
//!
//! - Nothing is read beyond what the projector has applied: whether a publish repeats an earlier one is known then,
//!   and a repetition is no row. So the answer for a place never changes, however often it is asked.

use std::{collections::BTreeMap, sync::Arc};

use contract::upstream::{Row, SeqRange, Stream};
use serde_json::value::RawValue;
use tokio::sync::watch;

use crate::{
    clock::Clock,
    domain::map,
    journal::{Entry, Journal, Reader, Record},
    projector::Tally,
    store::{Acked, Ledger},
    upstream::{Cursor, CursorStore, EpochBegun, Found, RowAt, RowSource, SourceError},
};

/// Rows and cursors of the uplink.
pub(crate) struct Rows {
    pub(crate) journal: Journal,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) tally: Arc<Tally>,
    /// The last record that the projector has applied.
    pub(crate) applied: watch::Receiver<u64>,
    /// Names new epochs.
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) lanes: BTreeMap<Stream, Lane>,
}

/// A stream's reader. There is no row of the stream between `after_seq` and the reader's place but the held one.
pub(crate) struct Lane {
    after_seq: u64,
    reader: Reader,
    /// A row that was read and did not fit into the batch, or lies beyond what is applied: damage was passed over.
    held: Option<Row>,
    /// Records that were passed over because they are gone, after `after_seq` and before the held row.
    lost: Option<SeqRange>,
}

impl Lane {
    /// Whether reading on gives exactly the rows after `after_seq`. A new reader would walk its segment from the
    /// start again, which an idle stream beside a busy one would do at every look.
    fn continues(&self, after_seq: u64) -> bool {
        let next_seq = self.held.as_ref().map_or(self.reader.next_seq(), |row| row.seq);
        (self.after_seq..next_seq.max(self.after_seq + 1)).contains(&after_seq)
    }
}

impl RowSource for Rows {
    fn rows_after(
        &mut self,
        stream: Stream,
        after_seq: u64,
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<Found, SourceError> {
        if !self.lanes.get(&stream).is_some_and(|lane| lane.continues(after_seq)) {
            let acked = self.ledger.acked(stream);
            let empty_through = if acked.through_seq == after_seq { acked.empty_through_seq } else { 0 };
            let reader = self.journal.reader(after_seq.max(empty_through) + 1);
            self.lanes.insert(stream, Lane { after_seq, reader, held: None, lost: None });
        }
        let lane = self.lanes.get_mut(&stream).expect("the lane was made above");
        let through_seq = *self.applied.borrow();
        let (mut rows, mut lost) = (Vec::new(), None);
        let mut bytes = 0;
        while rows.len() < rows_max {
            let row = match lane.held.take() {
                Some(row) => row,
                None => match next_row(&mut lane.reader, stream, through_seq)? {
                    Some(row) => row,
                    None => break,
                },
            };
            if let Some((first_seq, last_seq)) = lane.reader.take_gap() {
                let first_seq = lane.lost.map_or(first_seq, |lost| lost.first_seq);
                lane.lost = Some(SeqRange { first_seq, last_seq });
            }
            // What is gone is said with the row that follows it, which begins a batch.
            if lane.lost.is_some() && !rows.is_empty() {
                lane.held = Some(row);
                break;
            }
            if through_seq < row.seq {
                lane.held = Some(row);
                break;
            }
            if stream == Stream::Readings && self.ledger.is_repeat(row.seq) {
                continue;
            }
            bytes += row.data.get().len();
            if bytes_max < bytes && !rows.is_empty() {
                lane.held = Some(row);
                break;
            }
            lane.after_seq = row.seq;
            lost = lost.or(lane.lost.take());
            rows.push(row);
        }
        if rows.is_empty() && lane.lost.is_none() {
            let empty_through = (lane.reader.next_seq() - 1).min(through_seq);
            self.ledger.empty(stream, after_seq, empty_through);
        }
        Ok(Found { rows, lost })
    }

    fn row_at(&mut self, stream: Stream, seq: u64) -> Result<RowAt, SourceError> {
        if seq < self.journal.stats().first_seq {
            return Ok(RowAt::Gone);
        }
        let mut reader = self.journal.reader(seq);
        let Some(entry) = reader.next()? else { return Ok(RowAt::Other) };
        if entry.seq != seq {
            return Ok(RowAt::Gone);
        }
        Ok(row(entry, stream)?.map_or(RowAt::Other, RowAt::Row))
    }

    fn begin_epoch(&mut self, seen_seq: u64) -> Result<EpochBegun, SourceError> {
        self.journal.begin_epoch(seen_seq, self.clock.now().as_millis())?;
        Ok(present_epoch(&self.journal))
    }

    fn rows_waiting(&mut self, stream: Stream, after_seq: u64) -> Option<u64> {
        Some(self.tally.waiting(stream, after_seq).rows)
    }
}

fn next_row(reader: &mut Reader, stream: Stream, through_seq: u64) -> Result<Option<Row>, SourceError> {
    loop {
        if through_seq < reader.next_seq() {
            return Ok(None);
        }
        let Some(entry) = reader.next()? else { return Ok(None) };
        if let Some(row) = row(entry, stream)? {
            return Ok(Some(row));
        }
    }
}

/// The record as a row of the stream, when it is one.
fn row(entry: Entry<'_>, stream: Stream) -> Result<Option<Row>, SourceError> {
    let (at, kind, device, data) = match entry.record {
        Record::Derived(row) if row.stream == stream => {
            (row.at, row.kind.to_owned(), row.device.map(str::to_owned), row.data.to_owned())
        }
        Record::Publish(publish) if stream == Stream::Readings => {
            let mapped = map(publish.topic, publish.payload, publish.received_at);
            let Some(row) = mapped.ok().and_then(|mapped| mapped.raw_row(publish.payload)) else {
                return Ok(None);
            };
            (row.at, row.kind, row.device, row.data)
        }
        _ => return Ok(None),
    };
    // The mapper and the projector write JSON. Should it ever be none, the row still goes, so that nothing stalls.
    let data = RawValue::from_string(data).or_else(|_| RawValue::from_string("null".to_owned()))?;
    Ok(Some(Row { seq: entry.seq, at, kind, device, data }))
}

/// The journal's epoch as headquarters needs to know it.
pub(crate) fn present_epoch(journal: &Journal) -> EpochBegun {
    let epochs = journal.epochs();
    EpochBegun { epoch: epochs.epoch(), sent_before_through: epochs.sent_before_through() }
}

/// The uplink's cursors.
pub(crate) struct Cursors(pub(crate) Arc<Ledger>);

impl CursorStore for Cursors {
    fn load(&mut self, stream: Stream) -> Result<Cursor, SourceError> {
        let Acked { through_seq, epoch, .. } = self.0.acked(stream);
        Ok(Cursor { acked_seq: through_seq, epoch })
    }

    fn save(&mut self, stream: Stream, cursor: Cursor) -> Result<(), SourceError> {
        self.0.ack(stream, cursor.epoch, cursor.acked_seq);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use contract::Timestamp;

    use super::*;
    use crate::{
        clock::SystemClock,
        journal::{Derived, Options, Publish},
    };

    struct Bench {
        rows: Rows,
        place: watch::Sender<u64>,
        _dir: tempfile::TempDir,
    }

    impl Bench {
        fn new(segment_bytes: u64) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let options = Options { segment_bytes, ..Options::default() };
            let (journal, _) = Journal::open(dir.path(), options, 1).unwrap();
            let (place, applied) = watch::channel(u64::MAX);
            let (ledger, tally) = (Arc::default(), Arc::default());
            let clock = Arc::new(SystemClock::start());
            let rows = Rows { journal, ledger, tally, applied, clock, lanes: BTreeMap::new() };
            Self { rows, place, _dir: dir }
        }

        /// Appends a row of the stream and gives its number.
        fn append(&self, stream: Stream) -> u64 {
            let record = Record::Derived(Derived {
                cause_seq: 1,
                ordinal: 0,
                stream,
                at: Timestamp::UNIX_EPOCH,
                kind: "k",
                device: None,
                data: "{}",
            });
            self.rows.journal.append(&record).blocking_recv().unwrap().unwrap()
        }

        fn after(&mut self, after_seq: u64, rows_max: usize, bytes_max: usize) -> Vec<u64> {
            let found = self.rows.rows_after(Stream::Events, after_seq, rows_max, bytes_max).unwrap();
            found.rows.into_iter().map(|row| row.seq).collect()
        }
    }

    #[test]
    fn every_row_comes_once_and_in_order_whatever_lies_between_and_wherever_batches_end() {
        // Segments of a few records, so that the reading crosses many of their borders.
        let mut bench = Bench::new(1_200);
        let mut expected = Vec::new();
        let (mut seen, mut after_seq) = (Vec::new(), 0);
        for round in 0..60_u64 {
            // Streams alternate, with long runs of another one.
            for n in 0..(round % 7) {
                let stream = if (round + n).is_multiple_of(3) { Stream::Events } else { Stream::Rollups };
                let seq = bench.append(stream);
                if stream == Stream::Events {
                    expected.push(seq);
                }
            }
            // By rows, by bytes, or both.
            let (rows_max, bytes_max) = if round % 2 == 0 { (2, usize::MAX) } else { (100, 5) };
            let batch = bench.after(after_seq, rows_max, bytes_max);
            // An empty answer vouches for everything that was durable: the next question starts there.
            after_seq = batch.last().copied().unwrap_or_else(|| bench.rows.journal.head_seq());
            seen.extend(batch);
        }
        loop {
            let batch = bench.after(after_seq, 3, usize::MAX);
            let Some(last_seq) = batch.last() else { break };
            after_seq = *last_seq;
            seen.extend(batch);
        }
        assert_eq!(seen, expected);
        bench.rows.journal.close();
    }

    #[test]
    fn what_the_journal_has_dropped_is_said_with_the_row_that_follows_it() {
        let mut bench = Bench::new(1_200);
        while bench.rows.journal.segments().len() < 4 {
            bench.append(Stream::Events);
        }
        let (_, last_seq) = bench.rows.journal.drop_oldest(b"").unwrap().unwrap();
        let mut found = |after_seq| bench.rows.rows_after(Stream::Events, after_seq, 2, usize::MAX).unwrap();
        let first = found(1);
        assert_eq!(first.lost, Some(SeqRange { first_seq: 2, last_seq }));
        assert_eq!(first.rows[0].seq, last_seq + 1);
        assert_eq!(found(last_seq + 2).lost, None);
        assert_eq!(found(1).lost, first.lost, "asked again");
        bench.rows.journal.close();
    }

    #[test]
    fn a_resend_goes_back_and_what_was_held_comes_again() {
        let mut bench = Bench::new(1 << 20);
        let seqs: Vec<u64> = (0..10).map(|_| bench.append(Stream::Events)).collect();
        assert_eq!(bench.after(0, 100, 7), seqs[..3], "the fourth row is held back by the bytes");
        assert_eq!(bench.after(1, 100, usize::MAX), seqs[1..], "asked again from an earlier place");
        assert_eq!(bench.after(0, 4, usize::MAX), seqs[..4]);
        assert_eq!(bench.after(7, 100, usize::MAX), seqs[7..], "headquarters had more than was known here");
        assert_eq!(bench.after(10, 100, usize::MAX), Vec::<u64>::new());
        bench.append(Stream::Rollups);
        let next = bench.append(Stream::Events);
        assert_eq!(bench.after(11, 100, usize::MAX), [next], "after a place between the rows");
        bench.rows.journal.close();
    }

    #[test]
    fn nothing_is_read_beyond_what_is_applied_and_a_repetition_is_no_row() {
        let mut bench = Bench::new(1_200);
        bench.place.send_replace(0);
        let publish = |seq: u64| {
            let payload = format!("{{\"weight_g\":1,\"seq\":{seq}}}");
            let record = Record::Publish(Publish {
                device: "s1",
                topic: "sensors/shelf/s1/reading",
                payload: payload.as_bytes(),
                retain: false,
                qos: 1,
                received_at: Timestamp::UNIX_EPOCH,
                mono_ms: 1,
                boot: 1,
            });
            bench.rows.journal.append(&record).blocking_recv().unwrap().unwrap()
        };
        let seqs = [1, 2, 2, 3, 3, 3, 4].map(publish);
        bench.append(Stream::Events);
        let ledger = Arc::clone(&bench.rows.ledger);
        let mut after = |after_seq, applied: u64| {
            bench.place.send_replace(applied);
            let found = bench.rows.rows_after(Stream::Readings, after_seq, 100, usize::MAX).unwrap();
            found.rows.into_iter().map(|row| row.seq).collect::<Vec<_>>()
        };
        assert_eq!(after(0, 0), Vec::<u64>::new(), "the projector has not seen it");
        ledger.note_repeat(seqs[2]);
        assert_eq!(after(0, seqs[2]), seqs[..2]);
        assert_eq!(ledger.acked(Stream::Readings).empty_through_seq, 0);
        assert_eq!(after(seqs[1], seqs[2]), Vec::<u64>::new());
        for repeat in [seqs[4], seqs[5]] {
            ledger.note_repeat(repeat);
        }
        assert_eq!(after(seqs[1], seqs[5]), [seqs[3]]);
        assert_eq!(after(seqs[3], seqs[5]), Vec::<u64>::new());
        let all = [seqs[0], seqs[1], seqs[3], seqs[6]];
        assert_eq!(after(0, 99), all, "asked again from the start");
        assert_eq!(after(seqs[1], 99), all[2..]);
        assert_eq!(after(seqs[2], 99), all[2..], "after a repetition");
        bench.rows.journal.close();
    }

    #[test]
    fn an_idle_stream_reads_on_instead_of_searching_its_segment_again() {
        let mut bench = Bench::new(1 << 20);
        let first = bench.append(Stream::Events);
        assert_eq!(bench.after(0, 100, usize::MAX), [first]);
        let mut after_seq = first;
        for _ in 0..5 {
            after_seq = bench.append(Stream::Rollups);
            assert_eq!(bench.after(after_seq - 1, 100, usize::MAX), Vec::<u64>::new());
            assert!(bench.rows.lanes[&Stream::Events].continues(after_seq));
            assert_eq!(
                bench.rows.lanes[&Stream::Events].after_seq,
                first,
                "the reader is still the first one"
            );
        }
        let last = bench.append(Stream::Events);
        assert_eq!(bench.after(after_seq, 100, usize::MAX), [last]);
        bench.rows.journal.close();
    }
}
