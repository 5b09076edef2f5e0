//! What headquarters gets, read from the journal: a [`RowSource`], and its cursors in the ledger.
//!
//! Owns: one journal reader per stream, so that a stream is read once and in order. A stream's rows are a filtered
//! range of the journal: publishes that map are `readings`, the other streams are the projector's rows.

use std::{collections::BTreeMap, sync::Arc};

use contract::upstream::{Row, Stream};
use serde_json::value::RawValue;

use crate::{
    domain::map,
    journal::{Journal, Reader, Record},
    projector::Tally,
    store::Ledger,
    upstream::{CursorStore, RowSource, SourceError},
};

/// Rows and cursors of the uplink.
pub(crate) struct Rows {
    pub(crate) journal: Journal,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) lanes: BTreeMap<Stream, Lane>,
}

/// A stream's reader. There is no row of the stream between `after_seq` and the reader's place.
pub(crate) struct Lane {
    after_seq: u64,
    reader: Reader,
    /// A row that was read and did not fit into the batch.
    held: Option<Row>,
}

impl RowSource for Rows {
    fn rows_after(
        &mut self,
        stream: Stream,
        after_seq: u64,
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Row>, SourceError> {
        if self.lanes.get(&stream).is_none_or(|lane| lane.after_seq != after_seq) {
            let acked = self.ledger.acked(stream);
            let empty_through = if acked.through_seq == after_seq { acked.empty_through_seq } else { 0 };
            let reader = self.journal.reader(after_seq.max(empty_through) + 1);
            self.lanes.insert(stream, Lane { after_seq, reader, held: None });
        }
        let lane = self.lanes.get_mut(&stream).expect("the lane was made above");
        let mut rows = Vec::new();
        let mut bytes = 0;
        while rows.len() < rows_max {
            let row = match lane.held.take() {
                Some(row) => row,
                None => match next_row(&mut lane.reader, stream)? {
                    Some(row) => row,
                    None => break,
                },
            };
            bytes += row.data.get().len();
            if bytes_max < bytes && !rows.is_empty() {
                lane.held = Some(row);
                break;
            }
            lane.after_seq = row.seq;
            rows.push(row);
        }
        if rows.is_empty() {
            self.ledger.empty(stream, after_seq, lane.reader.next_seq() - 1);
        }
        Ok(rows)
    }

    fn rows_waiting(&mut self, stream: Stream, after_seq: u64) -> Option<u64> {
        Some(self.tally.waiting(stream, after_seq).rows)
    }
}

fn next_row(reader: &mut Reader, stream: Stream) -> Result<Option<Row>, SourceError> {
    loop {
        let Some(entry) = reader.next()? else { return Ok(None) };
        let (at, kind, device, data) = match entry.record {
            Record::Derived(row) if row.stream == stream => {
                (row.at, row.kind.to_owned(), row.device.map(str::to_owned), row.data.to_owned())
            }
            Record::Publish(publish) if stream == Stream::Readings => {
                let mapped = map(publish.topic, publish.payload, publish.received_at);
                let Some(row) = mapped.ok().and_then(|mapped| mapped.raw_row(publish.payload)) else {
                    continue;
                };
                (row.at, row.kind, row.device, row.data)
            }
            _ => continue,
        };
        // The mapper and the projector write JSON. Should it ever be none, the row still goes, so that nothing stalls.
        let data = RawValue::from_string(data).or_else(|_| RawValue::from_string("null".to_owned()))?;
        return Ok(Some(Row { seq: entry.seq, at, kind, device, data }));
    }
}

/// The uplink's cursors.
pub(crate) struct Cursors(pub(crate) Arc<Ledger>);

impl CursorStore for Cursors {
    fn load(&mut self, stream: Stream) -> Result<u64, SourceError> {
        Ok(self.0.acked(stream).through_seq)
    }

    fn save(&mut self, stream: Stream, acked_seq: u64) -> Result<(), SourceError> {
        self.0.ack(stream, acked_seq);
        Ok(())
    }
}
