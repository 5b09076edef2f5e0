//! The writer without its thread and without a broker: what is committed, answered and said to the stores.

use contract::upstream::{BatchData, Row, StoreTopic};
use serde_json::value::RawValue;

use super::*;
use crate::{
    database::{After, Reader},
    ingest::{Downlink, Ingest},
};

const EPOCH: Epoch = 7;

#[derive(Default)]
struct Said(Mutex<Vec<(String, String)>>);

impl Downlink for Said {
    fn publish(&self, topic: String, payload: Vec<u8>) {
        self.0.lock().unwrap().push((topic, String::from_utf8(payload).unwrap()));
    }
}

struct Bench {
    dir: tempfile::TempDir,
    said: Arc<Said>,
    around: Surroundings,
    writer: Writer,
}

fn store() -> StoreId {
    StoreId::parse("hz-1").unwrap()
}

fn batch(prev_seq: u64, seqs: impl IntoIterator<Item = u64>) -> Vec<u8> {
    batch_with(prev_seq, seqs, |_| {})
}

fn batch_with(
    prev_seq: u64,
    seqs: impl IntoIterator<Item = u64>,
    change: impl FnOnce(&mut BatchData),
) -> Vec<u8> {
    let rows = seqs.into_iter().map(|seq| Row {
        seq,
        at: Timestamp::saturating_from_millis(1_000 * i64::try_from(seq).unwrap()),
        kind: "shelf.reading".to_owned(),
        device: Some("shelf-01".to_owned()),
        data: RawValue::from_string(format!("{{\"seq\":{seq},\"text\":\"{}\"}}", "x".repeat(100))).unwrap(),
    });
    let (stream, rows) = (Stream::Events, rows.collect());
    let mut data = BatchData { stream, epoch: EPOCH, prev_seq, sent_before_through: 0, lost: None, rows };
    change(&mut data);
    serde_json::to_vec(&Batch::new(&store(), Timestamp::UNIX_EPOCH, data)).unwrap()
}

impl Bench {
    fn new() -> Self {
        Self::on(tempfile::tempdir().unwrap())
    }

    fn on(dir: tempfile::TempDir) -> Self {
        let said = Arc::new(Said::default());
        let around = Surroundings {
            fleet: Fleet::default(),
            counters: Counters::default(),
            downlink: Arc::default(),
            health: Health::default(),
            clock: || Timestamp::saturating_from_millis(60_000),
        };
        assert!(around.downlink.set(Arc::clone(&said) as Arc<dyn Downlink>).is_ok());
        let writer = Writer::open(&dir.path().join("hq.db"), around.clone()).unwrap();
        Self { dir, said, around, writer }
    }

    fn restarted(self) -> Self {
        drop(self.writer);
        Self::on(self.dir)
    }

    /// Offers payloads as one group; gives their outcomes.
    fn offer(&mut self, payloads: impl IntoIterator<Item = (StoreTopic, Vec<u8>)>) -> Vec<Outcome> {
        let (ingest, jobs) = Ingest::new(self.around.counters.clone());
        let (sender, outcomes) = flume::bounded(GROUP_JOBS_MAX);
        for (topic, payload) in payloads {
            let sender = sender.clone();
            let name = match topic {
                StoreTopic::Batch(stream) => upstream::batch_topic(&store(), stream),
                StoreTopic::Birth => upstream::birth_topic(&store()),
                StoreTopic::Status => upstream::status_topic(&store()),
                StoreTopic::CommandResult(id) => upstream::command_result_topic(&store(), &id),
            };
            ingest.offer(&name, payload.into(), Box::new(move |outcome| sender.send(outcome).unwrap()));
        }
        if let Ok(Entry::Publish(first)) = jobs.try_recv() {
            assert_eq!(self.writer.take_group(first, &jobs), Next::Go);
        }
        assert!(jobs.is_empty());
        outcomes.drain().collect()
    }

    fn events(&mut self, prev_seq: u64, seqs: impl IntoIterator<Item = u64>) -> Outcome {
        self.offer([(StoreTopic::Batch(Stream::Events), batch(prev_seq, seqs))])[0]
    }

    fn said(&self) -> Vec<(String, String)> {
        std::mem::take(&mut *self.said.0.lock().unwrap())
    }

    fn acked(&self) -> Option<u64> {
        let said = self.said();
        let (_, ack) = said.iter().rfind(|(topic, _)| topic == "stores/hz-1/ack")?;
        Some(serde_json::from_str::<Ack>(ack).unwrap().through_seq)
    }

    fn state(&self) -> StreamState {
        self.around.fleet.lock()[&store()].streams[&(Stream::Events, EPOCH)]
    }

    fn seqs(&self) -> Vec<u64> {
        let reader = Reader::open(&self.dir.path().join("hq.db")).unwrap();
        let after = After { epoch: None, seq: 0 };
        let rows = reader.rows(&store(), Stream::Events, after, usize::MAX >> 1).unwrap();
        rows.into_iter().map(|row| row.seq).collect()
    }
}

#[test]
fn a_batch_that_comes_twice_is_stored_once_and_acknowledged_twice() {
    let mut bench = Bench::new();
    assert_eq!(bench.events(0, [2, 5, 9]), Outcome::Committed);
    assert_eq!(bench.acked(), Some(9));
    assert_eq!(bench.events(0, [2, 5, 9]), Outcome::Committed);
    assert_eq!(bench.acked(), Some(9));
    assert_eq!(bench.seqs(), [2, 5, 9]);
    assert_eq!((bench.state().rows, bench.around.counters.value("rows_repeated")), (3, 3));
}

#[test]
fn a_gap_keeps_the_rows_asks_once_and_joins_when_it_is_filled_even_after_a_restart() {
    let mut bench = Bench::new();
    bench.events(0, [1, 2]);
    bench.said();
    assert_eq!(bench.events(4, [5, 6]), Outcome::Committed);
    let said = bench.said();
    let commands: Vec<_> =
        said.iter().filter(|(topic, _)| topic.contains("/command/resend-events-")).collect();
    assert_eq!(commands.len(), 1, "{said:?}");
    let command: Command = serde_json::from_str(&commands[0].1).unwrap();
    assert_eq!(command, Command::Resend { stream: Stream::Events, epoch: EPOCH, after_seq: 2 });
    assert_eq!((bench.state().through_seq, bench.state().gaps_open), (2, 1));

    bench.events(6, [7]);
    assert!(!bench.said().iter().any(|(topic, _)| topic.contains("/command/")));
    assert_eq!(bench.around.counters.value("resends_held_back"), 1);

    let mut bench = bench.restarted();
    assert_eq!((bench.state().through_seq, bench.state().gaps_open, bench.state().rows), (2, 1, 5));
    bench.events(2, [3, 4]);
    assert_eq!(bench.acked(), Some(7));
    assert_eq!((bench.state().through_seq, bench.state().gaps_open), (7, 0));
    assert_eq!(bench.seqs(), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_birth_is_answered_with_what_is_there_of_each_stream() {
    let mut bench = Bench::new();
    bench.events(0, [1, 2]);
    let mut bench = bench.restarted();
    let birth = Birth {
        version: "0.1.0".to_owned(),
        epoch: EPOCH,
        boot: 3,
        started_at: Timestamp::UNIX_EPOCH,
        config_digest: String::new(),
        streams: vec![Stream::Rollups, Stream::Events],
        devices: Vec::new(),
    };
    let outcomes = bench.offer([(StoreTopic::Birth, serde_json::to_vec(&birth).unwrap())]);
    assert_eq!(outcomes, [Outcome::Committed]);
    let acks: Vec<Ack> = bench.said().iter().map(|(_, ack)| serde_json::from_str(ack).unwrap()).collect();
    let place = |stream, through_seq, row_digest| Ack { stream, epoch: EPOCH, through_seq, row_digest };
    let data = Batch::parse(&store(), &batch(0, [2])).unwrap().data;
    let digest = Some(data.rows[0].digest());
    assert_eq!(acks, [place(Stream::Rollups, 0, None), place(Stream::Events, 2, digest)]);
    let bench = bench.restarted();
    assert_eq!(bench.around.fleet.lock()[&store()].birth.as_ref().unwrap().boot, 3);
}

#[test]
fn a_row_that_was_sent_under_an_earlier_epoch_is_there_once_and_another_one_is_no_conflict() {
    let mut bench = Bench::new();
    bench.events(0, [1, 2, 5]);
    // The journal was put back: 5 is another row now, and 3 was none of this stream.
    let renewed = batch_with(0, [2, 3, 5, 6], |data| {
        data.epoch = EPOCH + 1;
        data.sent_before_through = 5;
        data.rows[2].data = RawValue::from_string("{\"other\":5}".to_owned()).unwrap();
    });
    let events = || StoreTopic::Batch(Stream::Events);
    assert_eq!(bench.offer([(events(), renewed.clone())]), [Outcome::Committed]);
    assert_eq!(bench.acked(), Some(6));
    assert_eq!(bench.seqs(), [1, 2, 5, 3, 5, 6]);
    assert_eq!(bench.offer([(events(), renewed)]), [Outcome::Committed]);
    assert_eq!(bench.seqs(), [1, 2, 5, 3, 5, 6], "and again");
    assert_eq!(bench.around.counters.value("rows_sent_before"), 2);
    assert_eq!(bench.around.counters.value("rows_conflicting"), 0);
}

#[test]
fn what_a_store_has_lost_is_kept_and_counted_once_and_asked_for_no_more() {
    let mut bench = Bench::new();
    bench.events(0, [1, 2]);
    let rest = batch_with(2, [9], |data| data.lost = Some(SeqRange { first_seq: 4, last_seq: 8 }));
    for _ in 0..2 {
        let outcomes = bench.offer([(StoreTopic::Batch(Stream::Events), rest.clone())]);
        assert_eq!((outcomes, bench.acked()), (vec![Outcome::Committed], Some(9)));
    }
    let bench = bench.restarted();
    let state = bench.state();
    assert_eq!((state.through_seq, state.gaps_open, state.lost_ranges), (9, 0, 1));
}

#[test]
fn bad_publishes_are_refused_and_counted_and_the_rest_of_the_group_is_stored() {
    let mut bench = Bench::new();
    let foreign = String::from_utf8(batch(0, [1])).unwrap().replace("/stores/hz-1", "/stores/sh-1");
    let events = || StoreTopic::Batch(Stream::Events);
    let outcomes = bench.offer([
        (events(), b"{".to_vec()),
        (events(), foreign.into_bytes()),
        (events(), vec![b' '; contract::upstream::BATCH_BYTES_MAX + 1]),
        (events(), batch(0, [1])),
        (StoreTopic::Status, b"[]".to_vec()),
    ]);
    let mut outcomes = outcomes;
    outcomes.sort_by_key(|outcome| *outcome == Outcome::Committed);
    assert_eq!(outcomes[4], Outcome::Committed);
    assert!(outcomes[..4].iter().all(|&outcome| outcome == Outcome::Refused));
    assert_eq!(bench.acked(), Some(1));
    for reason in [
        "batches_refused_json",
        "batches_refused_envelope",
        "batches_refused_too_large",
        "documents_refused_json",
    ] {
        assert_eq!(bench.around.counters.value(reason), 1, "{reason}");
    }
}

#[test]
fn a_full_disk_means_no_acknowledgement_and_a_reason_and_it_recovers() {
    let mut bench = Bench::new();
    assert_eq!(bench.events(0, 1..=10), Outcome::Committed);
    bench.said();
    bench.writer.connection.pragma_update(None, "max_page_count", 10).unwrap();
    let mut prev_seq = 10;
    let refused = loop {
        let seqs = prev_seq + 1..=prev_seq + 200;
        match bench.events(prev_seq, seqs) {
            Outcome::Committed => prev_seq += 200,
            other => break other,
        }
        assert!(prev_seq < 10_000, "the disk never became full");
    };
    assert_eq!(refused, Outcome::NotStored);
    assert_ne!(bench.acked(), Some(prev_seq + 200));
    assert!(bench.around.health.trouble().unwrap().contains("full"));
    assert_eq!(bench.state().through_seq, prev_seq);

    bench.writer.connection.pragma_update(None, "max_page_count", 1_000_000).unwrap();
    assert_eq!(bench.events(prev_seq, prev_seq + 1..=prev_seq + 200), Outcome::Committed);
    assert_eq!(bench.acked(), Some(prev_seq + 200));
    assert_eq!(bench.around.health.trouble(), None);
    assert_eq!(bench.seqs().len() as u64, prev_seq + 200);
}

#[test]
fn a_store_cannot_have_any_number_of_journals() {
    let mut bench = Bench::new();
    let mut refused = 0;
    for epoch in 0..=EPOCHS_PER_STREAM_MAX {
        let text = String::from_utf8(batch(0, [1])).unwrap();
        let text = text.replace("\"epoch\":7", &format!("\"epoch\":{epoch}"));
        let outcomes = bench.offer([(StoreTopic::Batch(Stream::Events), text.into_bytes())]);
        refused += usize::from(outcomes == [Outcome::Refused]);
    }
    assert_eq!(refused, 1);
    assert_eq!(bench.around.counters.value("batches_refused_too_many_epochs"), 1);
}

#[test]
fn a_second_process_on_the_same_file_is_told_so() {
    let bench = Bench::new();
    let error = Writer::open(&bench.dir.path().join("hq.db"), bench.around.clone()).map(drop).unwrap_err();
    assert!(matches!(error, DatabaseError::InUse { .. }), "{error}");
}

#[test]
fn rows_are_read_page_by_page_across_lives_of_the_journal() {
    let mut bench = Bench::new();
    bench.events(0, [1, 2, 3]);
    let newer = String::from_utf8(batch(0, [1, 2])).unwrap().replace("\"epoch\":7", "\"epoch\":9");
    bench.offer([(StoreTopic::Batch(Stream::Events), newer.into_bytes())]);
    let reader = Reader::open(&bench.dir.path().join("hq.db")).unwrap();
    let mut after = After { epoch: None, seq: 0 };
    let mut found = Vec::new();
    loop {
        let rows = reader.rows(&store(), Stream::Events, after, 2).unwrap();
        let Some(last) = rows.last() else { break };
        after = After { epoch: Some(last.epoch), seq: last.seq };
        found.extend(rows.iter().map(|row| (row.epoch, row.seq)));
    }
    assert_eq!(found, [(7, 1), (7, 2), (7, 3), (9, 1), (9, 2)]);
}

/// The same seqs as `batch` makes, with other content.
fn other_batch(prev_seq: u64, seqs: impl IntoIterator<Item = u64>, text: &str) -> Vec<u8> {
    String::from_utf8(batch(prev_seq, seqs)).unwrap().replace("xxxxx", text).into_bytes()
}

impl Bench {
    fn conflicts(&self) -> Vec<(i64, String)> {
        let mut statement =
            self.writer.connection.prepare("SELECT seq, row FROM conflicts ORDER BY seq").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }
}

#[test]
fn rows_that_come_again_with_other_content_are_acknowledged_counted_and_kept_once() {
    let mut bench = Bench::new();
    bench.events(0, [2, 5, 9]);
    let again = || (StoreTopic::Batch(Stream::Events), other_batch(2, [5, 9, 12], "yyyyy"));
    assert_eq!(bench.offer([again()]), [Outcome::Committed]);
    assert_eq!(bench.acked(), Some(12));
    assert_eq!(bench.offer([again(), again()]), [Outcome::Committed, Outcome::Committed]);
    assert_eq!(bench.state().conflicts, 2);
    assert_eq!(bench.around.counters.value("rows_conflicting"), 2);
    assert_eq!(bench.around.counters.value("rows_repeated"), 6);
    let conflicts = bench.conflicts();
    assert_eq!(conflicts.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [5, 9]);
    let kept: Row = serde_json::from_str(&conflicts[0].1).unwrap();
    assert!(kept.seq == 5 && kept.data.get().contains("yyyyy"), "{kept:?}");
    assert_eq!(bench.seqs(), [2, 5, 9, 12]);

    let mut bench = bench.restarted();
    assert_eq!(bench.state().conflicts, 2);
    assert_eq!(bench.offer([again()]), [Outcome::Committed]);
    assert_eq!(
        bench.offer([(StoreTopic::Batch(Stream::Events), other_batch(2, [5], "zzzzz"))]),
        [Outcome::Committed]
    );
    assert_eq!((bench.state().conflicts, bench.conflicts().len()), (3, 3));
}

#[test]
fn each_part_of_a_row_can_conflict_and_the_same_content_written_otherwise_does_not() {
    for (from, to, conflicts) in [
        ("\"kind\":\"shelf.reading\"", "\"kind\":\"shelf.other\"", 1),
        ("\"device\":\"shelf-01\",", "", 1),
        ("\"device\":\"shelf-01\"", "\"device\":\"shelf-02\"", 1),
        ("1970-01-01T00:00:01", "1970-01-01T00:00:02", 1),
        ("{\"seq\":1,\"text\":", "{\"seq\":2,\"text\":", 1),
        ("{\"seq\":1,\"text\":", "{ \"seq\": 1,  \"text\":", 0),
    ] {
        let mut bench = Bench::new();
        bench.events(0, [1]);
        let text = String::from_utf8(batch(0, [1])).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        bench.offer([(StoreTopic::Batch(Stream::Events), text.replace(from, to).into_bytes())]);
        assert_eq!(bench.state().conflicts, conflicts, "{to}");
        assert_eq!(bench.around.counters.value("rows_conflicting"), conflicts, "{to}");
    }
}

#[test]
fn conflicts_that_find_no_room_are_counted_and_the_stream_goes_on() {
    let mut bench = Bench::new();
    bench.events(0, [1, 2]);
    let full = Room { rows: CONFLICTS_PER_STORE_MAX - 1, bytes: 0 };
    bench.writer.conflicts.insert(store(), full);
    let outcomes = bench.offer([(StoreTopic::Batch(Stream::Events), other_batch(0, [1, 2, 3], "yyyyy"))]);
    assert_eq!((outcomes, bench.acked()), (vec![Outcome::Committed], Some(3)));
    assert_eq!((bench.state().conflicts, bench.conflicts().len()), (2, 1));
    assert_eq!(bench.around.counters.value("conflicts_not_kept"), 1);
    assert_eq!(Room { rows: 0, bytes: CONFLICT_BYTES_PER_STORE_MAX }.with(1), None);
    let bench = bench.restarted();
    let bytes = bench.conflicts()[0].1.len() as u64;
    assert_eq!(bench.writer.conflicts[&store()], Room { rows: 1, bytes });
}

#[test]
fn a_file_of_the_first_version_is_brought_up_to_date_with_its_rows() {
    let mut bench = Bench::new();
    bench.events(0, [1, 2]);
    bench
        .writer
        .connection
        .execute_batch(
            "DROP TABLE conflicts; ALTER TABLE progress DROP COLUMN conflicts;
             ALTER TABLE progress DROP COLUMN begins_at; DROP TABLE lost;
             ALTER TABLE progress DROP COLUMN lost_ranges; PRAGMA user_version = 1;",
        )
        .unwrap();
    let mut bench = bench.restarted();
    assert_eq!((bench.state().through_seq, bench.state().conflicts), (2, 0));
    bench.offer([(StoreTopic::Batch(Stream::Events), other_batch(0, [1], "yyyyy"))]);
    assert_eq!((bench.state().conflicts, bench.conflicts().len()), (1, 1));
}

#[test]
fn rows_that_a_store_has_no_more_after_our_file_was_lost_stay_visible_as_missing_without_blocking() {
    let mut bench = Bench::new();
    // The file is new, the store goes on where it was.
    bench.events(900, [901, 902]);
    assert_eq!((bench.state().gaps_open, bench.state().begins_at), (1, Some(901)));
    // Asked for everything, it sends what it still has, which begins at 500.
    bench.events(0, [500, 900]);
    assert_eq!((bench.state().gaps_open, bench.state().through_seq), (0, 902));
    assert_eq!(bench.state().begins_at, Some(500));
    let mut bench = bench.restarted();
    bench.events(902, [903]);
    assert_eq!((bench.state().through_seq, bench.state().begins_at), (903, Some(500)));

    // One that begins at its beginning misses nothing, nor does one that sends everything again.
    let mut bench = Bench::new();
    bench.events(0, [7, 9]);
    bench.events(12, [13]);
    assert_eq!(bench.state().begins_at, None);
    let mut bench = Bench::new();
    bench.events(900, [901]);
    bench.events(0, [1, 900]);
    assert_eq!((bench.state().through_seq, bench.state().begins_at), (901, None));
}

#[test]
fn a_gap_that_is_closed_without_the_row_before_what_was_kept_is_counted() {
    let mut bench = Bench::new();
    bench.events(0, [1, 2]);
    bench.events(8, [9]);
    // The store has lost 3 to 8: the resend goes from 2 to 9.
    bench.events(2, [9, 10]);
    assert_eq!((bench.state().through_seq, bench.state().gaps_open), (10, 0));
    assert_eq!(bench.around.counters.value("gaps_closed_without_their_rows"), 1);
    bench.events(14, [15]);
    bench.events(10, [12, 14]);
    assert_eq!(bench.state().through_seq, 15);
    assert_eq!(bench.around.counters.value("gaps_closed_without_their_rows"), 1);
}
