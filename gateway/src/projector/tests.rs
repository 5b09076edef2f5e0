//! The projector with a real journal, store and domain: restarts, lost databases, refused rows.

use std::{
    path::Path,
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use contract::{Timestamp, upstream::Stream};

use super::{
    Outlet, Pace, Paths, Projector, Start, Status, load, lock,
    retention::{Decision, Sight, decide},
};
use crate::{
    app::rows::Rows,
    clock::{Clock, SystemClock},
    domain::{DomainView, Planogram, Tree},
    journal::{Journal, Options, Publish, Record},
    store::{EntryKey, Ledger, Retained, StoreTree},
    upstream::RowSource as _,
};

const PATIENCE: Duration = Duration::from_secs(60);

struct Screen(mpsc::SyncSender<DomainView>, Arc<Mutex<Vec<String>>>);

impl Outlet for Screen {
    fn publish(&mut self, topic: &str, _: &[u8]) -> bool {
        lock(&self.1).push(topic.to_owned());
        true
    }

    fn act(&mut self, _: &crate::domain::Act) -> bool {
        true
    }

    fn show(&mut self, view: DomainView) {
        self.0.try_send(view).ok();
    }
}

struct Hub {
    journal: Journal,
    projector: Projector,
    ledger: Arc<Ledger>,
    rebuilt: Option<String>,
    told: Arc<Mutex<Vec<String>>>,
    views: mpsc::Receiver<DomainView>,
}

fn paths(dir: &Path) -> Paths {
    Paths { sled: dir.join("sled"), quarantine: dir.join("quarantine"), snapshots: dir.join("snapshots") }
}

impl Hub {
    fn start(dir: &Path) -> Self {
        Self::start_with(dir, Options::default().segment_bytes)
    }

    fn start_with(dir: &Path, segment_bytes: u64) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let loaded = load(&paths(dir), clock.as_ref());
        let options = Options {
            floor: loaded.floor(),
            commit_interval: Duration::ZERO,
            segment_bytes,
            ..Options::default()
        };
        let (journal, _) = Journal::open(&dir.join("journal"), options, 1_795_378_680_000).unwrap();
        let ledger = Arc::<Ledger>::default();
        let ready = loaded.settle(&journal, &Planogram::default(), &ledger);
        let rebuilt = ready.rebuilt().map(str::to_owned);
        let (views, view) = mpsc::sync_channel(1);
        let told = Arc::default();
        let pace = Pace {
            write_every: Duration::from_millis(10),
            show_every: Duration::from_millis(10),
            ..Pace::default()
        };
        let projector = Projector::spawn(Start {
            journal: journal.clone(),
            ready,
            ledger: Arc::clone(&ledger),
            paths: paths(dir),
            pace,
            streams: vec![Stream::Events, Stream::Rollups, Stream::Readings],
            clock,
            boot: 1,
            outlet: Box::new(Screen(views, Arc::clone(&told))),
        })
        .unwrap();
        Self { journal, projector, ledger, rebuilt, told, views: view }
    }

    fn publish(&self, topic: &str, payload: &str, at_ms: i64) {
        let record = Record::Publish(Publish {
            device: "locker-1",
            topic,
            payload: payload.as_bytes(),
            retain: false,
            qos: 1,
            received_at: Timestamp::saturating_from_millis(at_ms),
            mono_ms: 1,
            boot: 1,
        });
        self.journal.append(&record).blocking_recv().unwrap().unwrap();
    }

    fn wait(&self, what: &str, is_so: impl Fn(&Status) -> bool) -> Status {
        let until = Instant::now() + PATIENCE;
        loop {
            let status = self.projector.status().read();
            if is_so(&status) {
                return status;
            }
            assert!(Instant::now() < until, "waited in vain until {what}: {status:?}");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    fn settle(&self) {
        let head = self.journal.head_seq();
        self.wait("everything is written", |status| {
            head <= status.written_through && status.rows_in_flight == 0
        });
    }

    fn rows(&self) -> Vec<(u64, u32, String)> {
        let mut reader = self.journal.reader(1);
        let mut rows = Vec::new();
        while let Some(entry) = reader.next().unwrap() {
            if let Record::Derived(row) = entry.record {
                rows.push((row.cause_seq, row.ordinal, row.kind.to_owned()));
            }
        }
        rows
    }

    fn row_source(&self) -> Rows {
        Rows {
            journal: self.journal.clone(),
            ledger: Arc::clone(&self.ledger),
            tally: self.projector.tally(),
            applied: self.projector.applied(),
            clock: Arc::new(SystemClock::start()),
            lanes: std::collections::BTreeMap::new(),
        }
    }

    /// What headquarters would get, asked anew.
    fn readings(&self) -> Vec<(u64, String)> {
        let rows = self.row_source().rows_after(Stream::Readings, 0, usize::MAX, usize::MAX).unwrap();
        rows.rows.into_iter().map(|row| (row.seq, row.data.get().to_owned())).collect()
    }

    fn readings_waiting(&self) -> u64 {
        self.projector.tally().waiting(Stream::Readings, 0).rows
    }

    fn stop(self) {
        self.projector.stop();
        self.journal.close();
    }

    /// Ends without the last write and without a snapshot, as a crash does.
    fn crash(self, dir: &Path) {
        let kept = dir.join("kept");
        copy(&dir.join("journal"), &kept.join("journal"));
        copy(&dir.join("sled"), &kept.join("sled"));
        self.stop();
        for name in ["journal", "sled"] {
            std::fs::remove_dir_all(dir.join(name)).unwrap();
            std::fs::rename(kept.join(name), dir.join(name)).unwrap();
        }
        std::fs::remove_dir_all(dir.join("snapshots")).ok();
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// A tick after the restart may close a window; nothing that was derived before is derived again.
fn assert_only_later_rows_are_new(before: &[(u64, u32, String)], after: &[(u64, u32, String)]) {
    assert_eq!(&after[..before.len()], before);
    let mut keys: Vec<_> = after.iter().map(|(cause_seq, ordinal, _)| (cause_seq, ordinal)).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), after.len(), "no row is there twice: {after:?}");
}

const DOOR: &str = "sensors/locker/locker-1/door";

fn doors(hub: &Hub, count: u16) {
    for compartment in 1..=count {
        let at = 1_795_378_680_000 + i64::from(compartment);
        hub.publish(DOOR, &format!("{{\"compartment\":{compartment},\"door\":\"open\"}}"), at);
    }
}

#[test]
fn readings_become_rows_hub_messages_and_a_state_that_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(dir.path());
    doors(&hub, 20);
    hub.ledger.retain("a/b", Retained { qos: 1, payload: b"x".to_vec() });
    hub.ledger.ack(Stream::Events, 1, 3);
    hub.settle();
    let rows = hub.rows();
    assert!(20 <= rows.len(), "every door that opens is an event: {rows:?}");
    assert!(lock(&hub.told).iter().any(|topic| topic == "hub/lockers/locker-1"));
    hub.stop();

    let hub = Hub::start(dir.path());
    assert_eq!(hub.rebuilt, None);
    hub.settle();
    assert_only_later_rows_are_new(&rows, &hub.rows());
    assert_eq!(hub.ledger.retained()["a/b"].payload, b"x");
    assert_eq!(hub.ledger.acked(Stream::Events).through_seq, 3);
    assert!(lock(&hub.told).iter().any(|topic| topic == "hub/lockers/locker-1"));
    hub.stop();
}

#[test]
fn a_database_that_is_deleted_or_ruined_is_rebuilt_without_a_row_twice() {
    for ruin in [false, true] {
        for with_snapshot in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let hub = Hub::start(dir.path());
            doors(&hub, 20);
            hub.ledger.retain("a/b", Retained { qos: 1, payload: b"x".to_vec() });
            hub.settle();
            let rows = hub.rows();
            if with_snapshot {
                hub.stop()
            } else {
                hub.crash(dir.path())
            }
            let sled = dir.path().join("sled");
            if ruin {
                let len = std::fs::metadata(sled.join("db")).unwrap().len();
                std::fs::write(sled.join("db"), vec![0xA5; usize::try_from(len).unwrap()]).unwrap();
            } else {
                std::fs::remove_dir_all(&sled).unwrap();
            }

            let hub = Hub::start(dir.path());
            assert!(hub.rebuilt.is_some(), "ruin {ruin}, snapshot {with_snapshot}");
            hub.settle();
            assert_eq!(hub.projector.status().read().store, "rebuilt");
            assert_only_later_rows_are_new(&rows, &hub.rows());
            assert_eq!(hub.ledger.retained().len(), usize::from(with_snapshot));
            doors(&hub, 1);
            hub.stop();

            let hub = Hub::start(dir.path());
            assert_eq!(hub.rebuilt, None, "what was rebuilt stays");
            hub.stop();
        }
    }
}

#[test]
fn a_segment_goes_only_when_it_may_and_over_budget_it_is_a_sacrifice() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 1100, ..Options::default() };
    let (journal, _) = Journal::open(dir.path(), options, 1).unwrap();
    for _ in 0..6 {
        let tick = Record::Tick { at: Timestamp::UNIX_EPOCH, mono_ms: 1, boot: 1 };
        journal.append(&tick).blocking_recv().unwrap().unwrap();
    }
    let segments = journal.segments();
    let last_seq = segments[1].first_seq - 1;
    let sight = |kept_bytes_max, applied_through, acked_through, snapshot_through| {
        let segments = &segments;
        let is_disk_full = false;
        decide(&Sight {
            segments,
            kept_bytes_max,
            is_disk_full,
            applied_through,
            acked_through,
            snapshot_through,
        })
    };
    let full = |acked_through| {
        decide(&Sight {
            segments: &segments,
            kept_bytes_max: u64::MAX,
            is_disk_full: true,
            applied_through: 9,
            acked_through,
            snapshot_through: 9,
        })
    };
    assert_eq!(full(9), Decision::Drop, "a full disk gets room from what headquarters has");
    assert_eq!(full(0), Decision::Keep, "and nothing is sacrificed for it");
    assert_eq!(sight(u64::MAX, 9, 9, 9), Decision::Keep);
    assert_eq!(sight(0, last_seq - 1, 9, 9), Decision::Keep);
    assert_eq!(sight(0, 9, 9, last_seq - 1), Decision::SnapshotFirst);
    assert_eq!(sight(0, 9, 9, 9), Decision::Drop);
    assert_eq!(sight(0, 9, 0, 9), Decision::Sacrifice { records: last_seq });
    journal.close();
}

#[test]
fn a_projector_that_says_nothing_or_gets_no_further_stands_still() {
    let now = Instant::now();
    let long = super::STANDSTILL + Duration::from_secs(1);
    let (past, later) = (Some(now), now + long);
    let status = Status { applied_through: 7, said_at: past, moved_at: past, ..Status::default() };
    assert_eq!(status.stands_still(9, now), None);
    assert_eq!(status.stands_still(7, later), Some(long), "a thread that hangs is seen without new records");
    let status = Status { said_at: Some(later), ..status };
    assert_eq!(status.stands_still(7, later), None, "nothing to do is no standstill");
    assert_eq!(status.stands_still(9, later), Some(long));
    assert_eq!(Status::default().stands_still(9, later), None, "before the first word nothing is known");
}

#[test]
fn numbers_that_a_stream_is_known_to_lack_are_not_given_again_when_the_journal_lost_its_tail() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::default();
    ledger.ack(Stream::Events, 1, 3);
    // The uplink has looked further than the projector has written.
    ledger.empty(Stream::Events, 3, 50);
    let entries = ledger.entries();
    let entries = entries.iter().map(|(entry, value)| (entry, value.as_slice()));
    crate::store::write_snapshot(&paths(dir.path()).snapshots, 7, 10, entries).unwrap();
    let loaded = load(&paths(dir.path()), &SystemClock::start());
    assert_eq!(
        loaded.floor(),
        Some((7, 50)),
        "the forwarder would pass over a row that is given a number below"
    );
}

#[test]
fn a_database_older_than_the_journals_beginning_gives_way_to_the_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let (sled, kept) = (dir.path().join("sled"), dir.path().join("kept"));
    let hub = Hub::start_with(dir.path(), 1_500);
    doors(&hub, 3);
    hub.settle();
    hub.stop();
    copy(&sled, &kept);

    let hub = Hub::start_with(dir.path(), 1_500);
    doors(&hub, 40);
    hub.settle();
    let journal = hub.journal.clone();
    // The last snapshot covers everything, so these may go.
    hub.projector.stop();
    while journal.drop_oldest(b"").unwrap().is_some() {}
    journal.close();
    std::fs::remove_dir_all(&sled).unwrap();
    std::fs::rename(&kept, &sled).unwrap();

    let hub = Hub::start_with(dir.path(), 1_500);
    assert!(hub.rebuilt.as_ref().unwrap().contains("older than the journal"), "{:?}", hub.rebuilt);
    hub.settle();
    assert_eq!(hub.projector.status().read().missed_records, 0);
    let mut lockers = hub.views.recv_timeout(PATIENCE).unwrap().lockers;
    assert_eq!(lockers.pop().unwrap().compartments.len(), 40, "every compartment is known");
    hub.stop();

    let hub = Hub::start_with(dir.path(), 1_500);
    assert_eq!(hub.rebuilt, None, "what was rebuilt stays");
    hub.stop();
}

#[test]
fn a_database_that_is_older_than_a_drop_does_not_make_lost_what_headquarters_has() {
    let dir = tempfile::tempdir().unwrap();
    let (sled, kept) = (dir.path().join("sled"), dir.path().join("kept"));
    let hub = Hub::start_with(dir.path(), 1_500);
    doors(&hub, 40);
    hub.settle();
    hub.stop();
    // The snapshot covers everything and the database has it; neither knows what headquarters says next.
    copy(&sled, &kept);
    let hub = Hub::start_with(dir.path(), 1_500);
    let (epoch, head) = (hub.journal.epoch(), hub.journal.head_seq());
    let streams = [Stream::Events, Stream::Rollups, Stream::Readings];
    streams.iter().for_each(|stream| hub.ledger.ack(*stream, epoch, head));
    let (journal, note) = (hub.journal.clone(), hub.ledger.uplink_note());
    let (_, last_seq) = journal.drop_oldest(&note).unwrap().expect("there are several segments");
    hub.stop();
    std::fs::remove_dir_all(&sled).unwrap();
    std::fs::rename(&kept, &sled).unwrap();

    let hub = Hub::start_with(dir.path(), 1_500);
    for stream in streams {
        assert_eq!(hub.ledger.acked(stream).through_seq, head, "{stream:?}");
    }
    hub.settle();
    let mut rows = hub.row_source();
    assert_eq!(rows.rows_after(Stream::Readings, head, 10, usize::MAX).unwrap().lost, None);
    let lost = rows.rows_after(Stream::Readings, 0, 1, usize::MAX).unwrap().lost;
    assert_eq!(
        lost.map(|lost| (lost.first_seq, lost.last_seq)),
        Some((1, last_seq)),
        "a place that is gone is one"
    );
    hub.stop();
}

#[test]
fn an_entry_that_this_release_cannot_read_is_rebuilt_once_and_does_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(dir.path());
    doors(&hub, 5);
    hub.settle();
    hub.stop();
    let mut opened = crate::store::Store::open(&dir.path().join("sled")).unwrap();
    let key = EntryKey { tree: StoreTree::Domain(Tree::Lockers), key: b"locker-9".to_vec() };
    let (epoch, through) = (opened.place.epoch, opened.place.applied_through);
    opened.store.write(&[(key, Some(b"no JSON".to_vec()))].into(), epoch, through).unwrap();
    drop(opened);

    let hub = Hub::start(dir.path());
    assert!(hub.rebuilt.is_some());
    hub.settle();
    hub.stop();
    let hub = Hub::start(dir.path());
    assert_eq!(hub.rebuilt, None, "the unreadable entry is gone");
    hub.stop();
}

const SHELF: &str = "sensors/shelf/s1/reading";

/// A sensor that lost acknowledgements: every third message comes again, some much later.
fn retransmit(hub: &Hub, seqs: std::ops::Range<u32>) {
    for seq in seqs {
        let at_ms = 1_795_378_680_000 + i64::from(seq);
        let message = |seq: u32| format!("{{\"count\":{},\"seq\":{seq}}}", seq % 7);
        hub.publish(SHELF, &message(seq), at_ms);
        if seq.is_multiple_of(3) {
            hub.publish(SHELF, &message(seq), at_ms + 5);
            hub.publish(SHELF, &message(seq.saturating_sub(30)), at_ms + 6);
        }
    }
}

fn assert_each_is_there_once(readings: &[(u64, String)], count: u32) {
    let seqs: Vec<_> = readings
        .iter()
        .map(|(_, data)| serde_json::from_str::<serde_json::Value>(data).unwrap()["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seqs, (0..u64::from(count)).collect::<Vec<_>>());
}

#[test]
fn a_retransmission_is_no_second_row_also_when_the_hub_starts_anew_in_between() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(dir.path());
    retransmit(&hub, 0..40);
    hub.settle();
    let first = hub.readings();
    assert_each_is_there_once(&first, 40);
    assert_eq!(hub.readings_waiting(), 40, "repetitions do not wait either");
    hub.crash(dir.path());

    let hub = Hub::start(dir.path());
    // The acknowledgement of the last one was lost in the crash.
    hub.publish(SHELF, "{\"count\":4,\"seq\":39}", 1_795_378_690_000);
    retransmit(&hub, 40..60);
    hub.settle();
    let second = hub.readings();
    assert_each_is_there_once(&second, 60);
    assert_eq!(second[..40], first, "what was answered once is answered again");
    assert_eq!(hub.readings_waiting(), 60);
    hub.stop();
    let opened = crate::store::Store::open(&dir.path().join("sled")).unwrap();
    let counter = EntryKey { tree: StoreTree::Domain(Tree::Counters), key: b"readings.repeated".to_vec() };
    assert!(opened.entries.contains(&(counter, b"41".to_vec())), "each repetition is counted once");
}

#[test]
fn a_rebuilt_database_gives_the_same_rows() {
    for (with_snapshot, unreadable) in [(false, false), (true, false), (true, true)] {
        let dir = tempfile::tempdir().unwrap();
        let hub = Hub::start_with(dir.path(), 3_000);
        retransmit(&hub, 0..40);
        hub.settle();
        let rows = hub.readings();
        if with_snapshot {
            hub.stop()
        } else {
            hub.crash(dir.path())
        }
        let sled = dir.path().join("sled");
        if unreadable {
            let mut opened = crate::store::Store::open(&sled).unwrap();
            let key = EntryKey { tree: StoreTree::Domain(Tree::Recent), key: b"s1/0".to_vec() };
            let (epoch, through) = (opened.place.epoch, opened.place.applied_through);
            opened.store.write(&[(key, Some(b"?".to_vec()))].into(), epoch, through).unwrap();
        } else {
            std::fs::remove_dir_all(&sled).unwrap();
        }

        let hub = Hub::start_with(dir.path(), 3_000);
        assert!(hub.rebuilt.is_some());
        hub.settle();
        assert_eq!(hub.readings(), rows, "snapshot {with_snapshot}, unreadable {unreadable}");
        assert_eq!(hub.readings_waiting(), 40);
        hub.stop();
        let hub = Hub::start_with(dir.path(), 3_000);
        assert_eq!(hub.rebuilt, None);
        assert_eq!(hub.readings(), rows);
        hub.stop();
    }
}
