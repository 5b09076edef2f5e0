//! The journal against a disk in memory that fails, tears and forgets on request.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use contract::Timestamp;
use proptest::prelude::*;

use super::{
    AppendError, Disk, DiskFile, Journal, OpenReport, Options, OsDisk, Publish, Record,
    frame::{FRAME_HEADER_BYTES, FRAMES_START},
    lock,
};
use crate::room::INTAKE_ROOM_BYTES_MIN;

const DIR: &str = "journal";
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Default)]
struct MemFile {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    entry_durable: bool,
}

#[derive(Default)]
struct MemState {
    files: BTreeMap<PathBuf, Arc<Mutex<MemFile>>>,
    /// Bytes that may still be written; the write that exceeds it is torn and fails.
    write_budget: Option<usize>,
    failing_syncs: usize,
    failing_cuts: bool,
    /// Changes of the disk until the process is killed: all later ones fail.
    life: Option<usize>,
    /// What the disk says that it has left.
    free_bytes: Option<u64>,
    /// Removed files whose folder was not synced since.
    removed: Vec<(PathBuf, Arc<Mutex<MemFile>>)>,
}

impl MemState {
    fn live(&mut self) -> io::Result<()> {
        match &mut self.life {
            Some(0) => Err(io::Error::other("killed")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Default)]
struct MemDisk(Arc<Mutex<MemState>>);

struct MemHandle {
    disk: MemDisk,
    file: Arc<Mutex<MemFile>>,
}

impl MemDisk {
    /// The power fails: of what was not synced, each file keeps its first `kept` bytes.
    fn cut_power(&self, kept: usize) {
        let mut state = lock(&self.0);
        for (path, file) in std::mem::take(&mut state.removed) {
            state.files.entry(path).or_insert(file);
        }
        state.files.retain(|_, file| lock(file).entry_durable);
        for file in state.files.values() {
            let mut file = lock(file);
            let mut bytes = file.durable.clone();
            let written = file.bytes.iter().zip(&mut bytes).filter(|(new, old)| *new != *old);
            written.take(kept).for_each(|(new, old)| *old = *new);
            let end = file.bytes.len().min(file.durable.len() + kept);
            bytes.extend_from_slice(file.bytes.get(file.durable.len()..end).unwrap_or_default());
            file.bytes = bytes;
        }
    }

    fn last_segment(&self) -> Arc<Mutex<MemFile>> {
        let state = lock(&self.0);
        let segment = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "seg");
        let path = state.files.keys().rfind(segment).expect("a journal has a segment");
        Arc::clone(&state.files[path])
    }

    fn copy(&self) -> Self {
        let state = lock(&self.0);
        let copy = |file: &Arc<Mutex<MemFile>>| {
            let file = lock(file);
            let (bytes, durable) = (file.bytes.clone(), file.durable.clone());
            Arc::new(Mutex::new(MemFile { bytes, durable, entry_durable: file.entry_durable }))
        };
        let files = state.files.iter().map(|(path, file)| (path.clone(), copy(file))).collect();
        Self(Arc::new(Mutex::new(MemState { files, ..MemState::default() })))
    }
}

impl Disk for MemDisk {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(lock(&self.0).files.keys().cloned().collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = lock(&self.0);
        state.live()?;
        if state.files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = Arc::<Mutex<MemFile>>::default();
        state.files.insert(path.to_owned(), Arc::clone(&file));
        Ok(Box::new(MemHandle { disk: self.clone(), file }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = lock(&self.0).files.get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(MemHandle { disk: self.clone(), file }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = lock(&self.0);
        state.live()?;
        let file = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = lock(&self.0);
        state.live()?;
        let file = state.files.remove(path).ok_or(io::ErrorKind::NotFound)?;
        if lock(&file).entry_durable {
            state.removed.push((path.to_owned(), file));
        }
        Ok(())
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(lock(&self.0).free_bytes.unwrap_or(u64::MAX))
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let mut state = lock(&self.0);
        state.live()?;
        state.removed.clear();
        state.files.values().for_each(|file| lock(file).entry_durable = true);
        Ok(())
    }
}

impl DiskFile for MemHandle {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let file = lock(&self.file);
        let rest = file.bytes.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = lock(&self.disk.0);
        state.live()?;
        let allowed = state.write_budget.map_or(bytes.len(), |budget| budget.min(bytes.len()));
        if let Some(budget) = &mut state.write_budget {
            *budget -= allowed;
        }
        let offset = usize::try_from(offset).unwrap();
        let mut file = lock(&self.file);
        let end = (offset + allowed).max(file.bytes.len());
        file.bytes.resize(end, 0);
        file.bytes[offset..offset + allowed].copy_from_slice(&bytes[..allowed]);
        if allowed < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let mut state = lock(&self.disk.0);
        state.live()?;
        if 0 < state.failing_syncs {
            state.failing_syncs -= 1;
            return Err(io::Error::other("sync failed"));
        }
        let mut file = lock(&self.file);
        file.durable = file.bytes.clone();
        Ok(())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        lock(&self.disk.0).live()?;
        if lock(&self.disk.0).failing_cuts {
            return Err(io::Error::other("cut failed"));
        }
        lock(&self.file).bytes.resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn len_bytes(&self) -> io::Result<u64> {
        Ok(lock(&self.file).bytes.len() as u64)
    }
}

fn options() -> Options {
    Options { commit_interval: Duration::ZERO, ..Options::default() }
}

fn open(disk: &MemDisk) -> (Journal, OpenReport) {
    open_with(disk, options())
}

fn open_with(disk: &MemDisk, options: Options) -> (Journal, OpenReport) {
    Journal::open_on(Arc::new(disk.clone()), Path::new(DIR), options, 1_795_378_680_000).unwrap()
}

fn publish(payload: &[u8]) -> Record<'_> {
    Record::Publish(Publish {
        device: "shelf-01",
        topic: "sensors/shelf/shelf-01/reading",
        payload,
        retain: false,
        qos: 1,
        received_at: Timestamp::UNIX_EPOCH,
        mono_ms: 7,
        boot: 3,
    })
}

fn append(journal: &Journal, payload: &[u8]) -> Result<u64, AppendError> {
    journal.append(&publish(payload)).blocking_recv().expect("the writer answers everybody")
}

/// All that can be read: numbers and payloads.
fn read_all(journal: &Journal) -> Vec<(u64, Vec<u8>)> {
    let mut reader = journal.reader(1);
    let mut read = Vec::new();
    while let Some(entry) = reader.next().unwrap() {
        let Record::Publish(publish) = entry.record else { panic!("only publishes were written") };
        read.push((entry.seq, publish.payload.to_vec()));
    }
    read
}

fn payloads(range: std::ops::Range<u64>) -> Vec<(u64, Vec<u8>)> {
    range.map(|n| (n, format!("payload {n}").into_bytes())).collect()
}

fn fill(journal: &Journal, range: std::ops::Range<u64>) {
    for (seq, payload) in payloads(range) {
        assert_eq!(append(journal, &payload).unwrap(), seq);
    }
}

/// Bytes of one frame as `fill` writes them (numbers of one digit).
fn frame_bytes() -> usize {
    let mut body = Vec::new();
    publish(b"payload 1").encode(&mut body).unwrap();
    FRAME_HEADER_BYTES + body.len()
}

#[test]
fn what_was_acknowledged_is_read_back_in_order_across_segments_and_restarts() {
    let disk = MemDisk::default();
    let small = Options { segment_bytes: FRAMES_START + 300, ..options() };
    let (journal, report) = open_with(&disk, small.clone());
    assert!(report.created);
    fill(&journal, 1..20);
    assert!(4 < journal.stats().segments);
    assert_eq!(read_all(&journal), payloads(1..20));
    let epoch = journal.epoch();
    journal.close();

    let (journal, report) = open_with(&disk, small);
    assert_eq!((report.created, report.torn_bytes, journal.epoch()), (false, 0, epoch));
    fill(&journal, 20..40);
    assert_eq!(read_all(&journal), payloads(1..40));
    journal.close();
}

#[test]
fn a_record_of_every_kind_reads_back_as_written() {
    let (journal, _) = open(&MemDisk::default());
    let tick = Record::Tick { at: Timestamp::UNIX_EPOCH, mono_ms: 1, boot: 2 };
    let derived = Record::Derived(super::Derived {
        cause_seq: 1,
        ordinal: 2,
        stream: contract::upstream::Stream::Rollups,
        at: Timestamp::UNIX_EPOCH,
        kind: "rollup.1m",
        device: None,
        data: "{}",
    });
    for record in [publish(b"\x00\xff"), tick, derived] {
        journal.append(&record).blocking_recv().unwrap().unwrap();
    }
    let mut reader = journal.reader(1);
    for record in [publish(b"\x00\xff"), tick, derived] {
        assert_eq!(reader.next().unwrap().map(|entry| entry.record), Some(record));
    }
    journal.close();
}

#[test]
fn a_write_that_fails_at_any_byte_refuses_the_record_and_harms_no_other() {
    for failing_cuts in [false, true] {
        for budget in 0..frame_bytes() {
            let disk = MemDisk::default();
            let (journal, _) = open(&disk);
            fill(&journal, 1..3);
            {
                let mut state = lock(&disk.0);
                (state.write_budget, state.failing_cuts) = (Some(budget), failing_cuts);
            }
            let error = append(&journal, b"payload x").unwrap_err();
            assert_eq!(error.reason(), "disk_full", "at byte {budget}");
            assert!(journal.stats().fault.is_some());
            assert_eq!(read_all(&journal), payloads(1..3), "at byte {budget}");

            // Space returns: the next record takes the number, and a restart agrees.
            {
                let mut state = lock(&disk.0);
                (state.write_budget, state.failing_cuts) = (None, false);
            }
            fill(&journal, 3..5);
            assert_eq!(journal.stats().fault, None);
            assert_eq!(read_all(&journal), payloads(1..5), "at byte {budget}");
            journal.close();
            let (journal, _) = open(&disk);
            assert_eq!(read_all(&journal), payloads(1..5), "at byte {budget}, reopened");
            assert_eq!(journal.stats().damaged_places, 0);
            journal.close();
        }
    }
}

#[test]
fn a_last_record_torn_at_any_byte_is_cut_and_the_rest_is_there() {
    let disk = MemDisk::default();
    let (journal, _) = open(&disk);
    fill(&journal, 1..4);
    journal.close();
    let whole = lock(&disk.last_segment()).bytes.len();
    for torn in 1..=frame_bytes() {
        let disk = disk.copy();
        lock(&disk.last_segment()).bytes.truncate(whole - torn);
        let (journal, report) = open(&disk);
        assert_eq!(report.torn_bytes, (frame_bytes() - torn) as u64);
        assert_eq!(read_all(&journal), payloads(1..3), "torn by {torn}");
        fill(&journal, 3..6);
        assert_eq!(read_all(&journal), payloads(1..6), "torn by {torn}");
        journal.close();
    }
}

#[test]
fn a_flipped_bit_costs_the_record_that_it_is_in_and_is_counted() {
    let disk = MemDisk::default();
    let small = Options { segment_bytes: FRAMES_START + 4 * frame_bytes() as u64, ..options() };
    let (journal, _) = open_with(&disk, small.clone());
    fill(&journal, 1..10);
    journal.close();
    let first = lock(&disk.0).files.values().next().cloned().unwrap();
    let len = lock(&first).bytes.len();
    for flipped in 0..len {
        let disk = disk.copy();
        let first = lock(&disk.0).files.values().next().cloned().unwrap();
        lock(&first).bytes[flipped] ^= 1 << (flipped % 8);
        let (journal, report) = open_with(&disk, small.clone());
        assert_eq!(report.set_aside, Vec::<PathBuf>::new());
        let frames_start = usize::try_from(FRAMES_START).unwrap();
        let lost = flipped.checked_sub(frames_start).map(|offset| (offset / frame_bytes()) as u64 + 1);
        let expected: Vec<_> = payloads(1..10).into_iter().filter(|(seq, _)| Some(*seq) != lost).collect();
        assert_eq!(read_all(&journal), expected, "bit in byte {flipped}");
        assert_eq!(journal.stats().damaged_places, u64::from(lost.is_some()), "bit in byte {flipped}");
        journal.close();
    }
}

#[test]
fn bytes_in_a_payload_cannot_pass_for_a_frame_after_damage() {
    let disk = MemDisk::default();
    let (journal, _) = open(&disk);
    // A whole frame as another journal would write it, inside a payload.
    let mut forged = Vec::new();
    let start = super::frame::open_frame(&mut forged);
    publish(b"forged").encode(&mut forged).unwrap();
    super::frame::close_frame(&mut forged, start);
    super::frame::seal(&mut forged, 1, 0);
    append(&journal, &forged).unwrap();
    append(&journal, b"payload 2").unwrap();
    journal.close();
    lock(&disk.last_segment()).bytes[usize::try_from(FRAMES_START).unwrap() + 6] ^= 1;
    let (journal, _) = open(&disk);
    assert_eq!(read_all(&journal), payloads(2..3));
    journal.close();
}

#[test]
fn a_failed_sync_refuses_the_record_and_moves_to_a_new_segment() {
    let disk = MemDisk::default();
    let (journal, _) = open(&disk);
    fill(&journal, 1..3);
    lock(&disk.0).failing_syncs = 1;
    assert_eq!(append(&journal, b"payload x").unwrap_err().reason(), "disk_error");
    fill(&journal, 3..5);
    assert_eq!(journal.stats().segments, 2);
    assert_eq!(read_all(&journal), payloads(1..5));
    disk.cut_power(0);
    journal.close();
    let (journal, _) = open(&disk);
    assert_eq!(read_all(&journal), payloads(1..5));
    journal.close();
}

#[test]
fn an_idle_journal_commits_at_once_whatever_the_interval() {
    let slow = Options { commit_interval: Duration::from_secs(3600), ..Options::default() };
    let (journal, _) = open_with(&MemDisk::default(), slow);
    assert_eq!(append(&journal, b"payload 1").unwrap(), 1);
    journal.close();
}

#[test]
fn enough_waiting_records_do_not_wait_for_the_interval() {
    let slow =
        Options { commit_interval: Duration::from_secs(3600), commit_records_max: 8, ..Options::default() };
    let (journal, _) = open_with(&MemDisk::default(), slow);
    fill(&journal, 1..2);
    let waiting: Vec<_> = (0..8).map(|_| journal.append(&publish(b"x"))).collect();
    for done in waiting {
        done.blocking_recv().unwrap().unwrap();
    }
    journal.close();
}

#[test]
fn records_beyond_the_pending_limit_and_oversized_ones_are_refused_by_name() {
    let slow =
        Options { commit_interval: Duration::from_secs(3600), pending_bytes_max: 100, ..Options::default() };
    let (journal, _) = open_with(&MemDisk::default(), slow);
    fill(&journal, 1..2);
    let waiting = journal.append(&publish(&[b'x'; 200]));
    assert!(matches!(append(&journal, b"y"), Err(AppendError::Busy { max_bytes: 100, .. })));
    journal.close();
    assert_eq!(waiting.blocking_recv().unwrap().unwrap(), 2);
    assert!(matches!(append(&journal, b"y"), Err(AppendError::Closed)));

    let (journal, _) = open(&MemDisk::default());
    assert_eq!(append(&journal, &vec![0; 2 << 20]).unwrap_err().reason(), "too_large");
    assert_eq!(append(&journal, b"payload 1").unwrap(), 1);
    journal.close();
}

#[test]
fn a_reader_behind_a_dropped_segment_goes_on_with_what_is_left_and_says_what_it_missed() {
    let disk = MemDisk::default();
    let small = Options { segment_bytes: FRAMES_START + 2 * frame_bytes() as u64, ..options() };
    let (journal, _) = open_with(&disk, small);
    fill(&journal, 1..8);
    let mut reader = journal.reader(1);
    assert_eq!(reader.next().unwrap().map(|entry| entry.seq), Some(1));
    assert_eq!(journal.drop_oldest(b"").unwrap(), Some((1, 2)));
    assert_eq!(journal.drop_oldest(b"").unwrap(), Some((3, 4)));
    assert_eq!(reader.next().unwrap().map(|entry| entry.seq), Some(5));
    assert_eq!(reader.missed(), 3);
    assert_eq!(journal.stats().first_seq, 5);
    journal.close();
}

#[test]
fn the_active_segment_is_never_dropped() {
    let (journal, _) = open(&MemDisk::default());
    fill(&journal, 1..3);
    assert_eq!(journal.drop_oldest(b"").unwrap(), None);
    journal.close();
}

#[test]
fn a_newer_format_is_refused_by_its_number_and_left_alone() {
    let disk = MemDisk::default();
    let (journal, _) = open(&disk);
    journal.close();
    {
        let segment = disk.last_segment();
        let mut segment = lock(&segment);
        for start in [0, 512] {
            segment.bytes[start + 8] = 9;
            let crc = crc32c::crc32c(&segment.bytes[start..start + 44]);
            segment.bytes[start + 44..start + 48].copy_from_slice(&crc.to_le_bytes());
        }
    }
    let opened = Journal::open_on(Arc::new(disk), Path::new(DIR), options(), 1);
    let error = opened.err().expect("another format").to_string();
    assert!(error.contains("has format 9, this release reads 3"), "{error}");
}

#[test]
fn a_waiter_for_the_head_wakes_and_an_impatient_one_returns() {
    let (journal, _) = open(&MemDisk::default());
    assert_eq!(journal.wait_beyond(0, Duration::ZERO), 0);
    let waiting = {
        let journal = journal.clone();
        std::thread::Builder::new().name("waiter".to_owned()).spawn(move || journal.wait_beyond(0, PATIENCE))
    };
    fill(&journal, 1..2);
    assert_eq!(waiting.unwrap().join().unwrap(), 1);
    journal.close();
    assert_eq!(journal.wait_beyond(1, PATIENCE), 1, "a closed journal keeps nobody waiting");
}

#[test]
fn a_real_disk_keeps_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    for round in 0..3_u64 {
        let (journal, _) = Journal::open_on(Arc::new(OsDisk), &path, options(), 1_795_378_680_000).unwrap();
        fill(&journal, round * 10 + 1..round * 10 + 11);
        assert_eq!(read_all(&journal), payloads(1..round * 10 + 11));
        journal.close();
    }
}

#[test]
fn numbers_that_others_have_seen_are_not_given_again_when_their_records_are_gone() {
    let disk = MemDisk::default();
    let (journal, _) = open(&disk);
    fill(&journal, 1..4);
    let epoch = journal.epoch();
    journal.close();
    let (journal, report) = open_with(&disk, Options { floor: Some((epoch, 9)), ..options() });
    assert_eq!(report.vanished_records, 6);
    let renewal = journal.epochs().renewal().expect("a new epoch began");
    assert_eq!((renewal.previous_epoch, renewal.previous_seq, renewal.first_seq), (epoch, 9, 10));
    assert!(epoch < journal.epoch() && journal.epochs().knows(epoch));
    assert_eq!(append(&journal, b"payload 10").unwrap(), 10);
    let mut expected = payloads(1..4);
    expected.extend(payloads(10..11));
    assert_eq!(read_all(&journal), expected);
    journal.close();
    let (journal, _) = open_with(&disk, Options { floor: Some((epoch + 9, 99)), ..options() });
    assert_eq!(append(&journal, b"payload 11").unwrap(), 11, "another epoch's floor is none");
    journal.close();
}

#[test]
fn a_missing_middle_segment_is_noticed_with_what_it_held() {
    let disk = MemDisk::default();
    let small = Options { segment_bytes: FRAMES_START + 3 * frame_bytes() as u64, ..options() };
    let (journal, _) = open_with(&disk, small.clone());
    fill(&journal, 1..10);
    let segments = journal.segments();
    assert_eq!(segments.len(), 3);
    journal.close();
    disk.remove(&segments[1].path).unwrap();
    let (journal, report) = open_with(&disk, small.clone());
    assert_eq!(report.holes, [(4, 6)]);
    let mut reader = journal.reader(1);
    let mut seqs = Vec::new();
    while let Some(entry) = reader.next().unwrap() {
        seqs.push(entry.seq);
    }
    assert_eq!((seqs, reader.take_gap()), (vec![1, 2, 3, 7, 8, 9], Some((4, 6))));
    assert_eq!(journal.drop_oldest(b"").unwrap(), Some((1, 6)));
    journal.close();
    assert_eq!(open_with(&disk, small).1.holes, [], "dropped on purpose");
}

#[test]
fn a_file_with_a_number_that_no_segment_has_is_left_alone() {
    for first_seq in [0, u64::MAX] {
        let disk = MemDisk::default();
        let (journal, _) = open(&disk);
        fill(&journal, 1..4);
        drop(journal);
        let stray = super::open::segment_path(Path::new(DIR), first_seq);
        disk.create(&stray).unwrap().write_at(&[b'x'; 3_000], 0).unwrap();
        let (journal, report) = open(&disk);
        assert_nothing_is_missed(&report);
        fill(&journal, 4..6);
        assert_eq!(read_all(&journal), payloads(1..6), "beside {}", stray.display());
        assert!(disk.open(&stray).is_ok());
    }
}

#[test]
fn a_journal_that_is_gone_as_a_whole_begins_a_new_epoch_above_what_others_have_seen() {
    let disk = MemDisk::default();
    let future = 1_795_378_680_000 * 2;
    let (journal, report) = open_with(&disk, Options { floor: Some((future, 99)), ..options() });
    assert_eq!((report.created, report.vanished_records), (true, 99));
    assert_eq!(journal.epoch(), future + 1, "whatever the clock says");
    assert!(journal.epochs().knows(future));
    assert_eq!(append(&journal, b"x").unwrap(), 100);
    let mut reader = journal.reader(1);
    assert_eq!(reader.next().unwrap().map(|entry| entry.seq), Some(100));
    assert_eq!(reader.missed(), 99);
    journal.close();
}

#[test]
fn a_new_epoch_is_durable_before_it_is_told_and_numbers_rise_through_it() {
    let disk = MemDisk::default();
    let (journal, _) = open(&disk);
    let first = journal.epoch();
    fill(&journal, 1..4);
    assert_eq!(journal.epochs().sent_before_through(), 0);
    let renewed = journal.begin_epoch(7, 1_795_378_690_000).unwrap();
    fill(&journal, 4..6);
    let again = journal.begin_epoch(5, 0).unwrap();
    assert_eq!(again.epoch(), renewed.epoch() + 1, "a clock that was put back gives no epoch again");
    journal.close();
    disk.cut_power(0);
    let (journal, report) = open(&disk);
    assert_eq!((report.set_aside.len(), journal.epochs()), (0, again));
    assert!([first, renewed.epoch()].into_iter().all(|epoch| journal.epochs().knows(epoch)));
    assert_eq!(journal.epochs().sent_before_through(), 5);
    fill(&journal, 6..7);
    assert_eq!(read_all(&journal), payloads(1..7));
    lock(&disk.0).write_budget = Some(0);
    let error = journal.begin_epoch(9, 1).unwrap_err();
    assert_eq!(error.reason(), "disk_full");
    lock(&disk.0).write_budget = None;
    fill(&journal, 7..8);
    assert_eq!(journal.epochs().renewal().unwrap().previous_seq, 5, "the present epoch goes on");
    journal.close();
}

/// A journal of five segments with three records each, numbers 1 to 15, of which the first segment was dropped.
fn five_segments() -> (MemDisk, Options) {
    let disk = MemDisk::default();
    let small = Options { segment_bytes: FRAMES_START + 3 * frame_bytes() as u64 + 8, ..options() };
    let (journal, _) = open_with(&disk, small.clone());
    fill(&journal, 1..16);
    assert_eq!(journal.segments().len(), 5);
    assert_eq!(journal.drop_oldest(b"first").unwrap(), Some((1, 3)));
    journal.close();
    (disk, small)
}

fn assert_nothing_is_missed(report: &OpenReport) {
    let missed = (&report.holes[..], report.vanished_records, report.mark_is_lost);
    assert_eq!(missed, (&[][..], 0, false), "nothing was lost");
}

#[test]
fn a_drop_that_is_killed_at_any_step_is_no_loss_and_what_it_noted_is_known_once_the_segment_is_gone() {
    let (disk, small) = five_segments();
    let drop_until = |limit: &dyn Fn(&mut MemState)| {
        let disk = disk.copy();
        let (journal, _) = open_with(&disk, small.clone());
        limit(&mut lock(&disk.0));
        let outcome = journal.drop_oldest(b"second");
        journal.close();
        let mut state = lock(&disk.0);
        (state.life, state.write_budget) = (None, None);
        drop(state);
        (disk, outcome)
    };
    let check = |disk: &MemDisk, what: &str| {
        let (journal, report) = open_with(disk, small.clone());
        assert_nothing_is_missed(&report);
        let first_seq = journal.stats().first_seq;
        assert!([4, 7].contains(&first_seq), "{what}: {first_seq}");
        let is_known = journal.note() == b"second";
        assert!(is_known || (journal.note() == b"first" && first_seq == 4), "{what}");
        let read: Vec<_> = read_all(&journal).into_iter().map(|(seq, _)| seq).collect();
        assert_eq!(read, (first_seq..16).collect::<Vec<_>>(), "{what}");
        journal.close();
    };
    for steps in 0..8 {
        let (killed, outcome) = drop_until(&|state| state.life = Some(steps));
        for kept in [0, 1, 40, usize::MAX / 2] {
            let cut = killed.copy();
            lock(&cut.0).removed = std::mem::take(&mut lock(&killed.0).removed);
            cut.cut_power(kept);
            check(&cut, &format!("{steps} steps, then no power, {kept} bytes kept"));
        }
        check(&killed, &format!("killed after {steps} steps"));
        // A write and a sync for each slot of the mark, the removal; the folder's sync may fail.
        assert_eq!(outcome.is_ok(), 5 <= steps, "{steps}");
    }
    for budget in 0..160 {
        let (torn, _) = drop_until(&|state| state.write_budget = Some(budget));
        check(&torn, &format!("the mark torn at byte {budget}"));
    }
}

#[test]
fn any_one_segment_that_is_gone_is_reported_with_what_it_held_and_a_reader_says_so_too() {
    let (disk, small) = five_segments();
    let held = [(4, 6), (7, 9), (10, 12), (13, 15)];
    for (n, (first, last)) in held.into_iter().enumerate() {
        let disk = disk.copy();
        disk.remove(&super::open::segment_path(Path::new(DIR), first)).unwrap();
        let (journal, report) = open_with(&disk, small.clone());
        let is_newest = n == held.len() - 1;
        let holes = if is_newest { vec![] } else { vec![(first, last)] };
        assert_eq!((report.holes, report.mark_is_lost), (holes, false), "{first}");
        // Where the newest one ended is known from when the mark was written.
        assert_eq!(report.vanished_records, if is_newest { 3 } else { 0 }, "{first}");
        assert_eq!(journal.epochs().renewal().is_some(), is_newest, "{first}");
        fill(&journal, 16..17);
        let mut reader = journal.reader(4);
        let mut seqs = Vec::new();
        while let Some(entry) = reader.next().unwrap() {
            seqs.push(entry.seq);
        }
        let expected = (4..17).filter(|seq| !(first..=last).contains(seq));
        assert_eq!((seqs, reader.take_gap()), (expected.collect(), Some((first, last))), "{first}");
        journal.close();
        assert_eq!(open_with(&disk, small.clone()).1.vanished_records, 0, "a new epoch has begun");
    }
}

#[test]
fn records_that_were_durable_and_are_gone_from_the_end_of_the_newest_segment_are_missed() {
    let (disk, small) = five_segments();
    open_with(&disk, small.clone()).0.close();
    {
        let newest = disk.last_segment();
        let mut newest = lock(&newest);
        let shorter = newest.bytes.len() - 1;
        newest.bytes.truncate(shorter);
    }
    let (journal, report) = open_with(&disk, small);
    assert_eq!(
        (report.vanished_records, journal.epochs().renewal().map(|renewal| renewal.previous_seq)),
        (1, Some(15))
    );
    fill(&journal, 16..17);
    journal.close();
}

#[test]
fn segments_without_their_mark_are_read_and_the_missing_mark_is_reported_once() {
    let (disk, small) = five_segments();
    let mark = super::mark::MarkFile::path_in(Path::new(DIR));
    let slots: [&[usize]; 3] = [&[20], &[4096 + 20], &[20, 4096 + 20]];
    for (flipped, is_lost) in slots.into_iter().zip([false, false, true]) {
        let disk = disk.copy();
        let file = lock(&disk.0).files[&mark].clone();
        flipped.iter().for_each(|&at| lock(&file).bytes[at] ^= 1);
        let (journal, report) = open_with(&disk, small.clone());
        assert_eq!(report.mark_is_lost, is_lost, "{flipped:?}");
        assert_eq!(read_all(&journal).len(), 12);
        journal.close();
        assert_nothing_is_missed(&open_with(&disk, small.clone()).1);
    }
    disk.remove(&mark).unwrap();
    assert!(open_with(&disk, small.clone()).1.mark_is_lost);
    assert_nothing_is_missed(&open_with(&disk, small).1);
}

#[test]
fn a_journal_of_format_2_has_no_mark_and_gets_one() {
    let (disk, small) = five_segments();
    disk.remove(&super::mark::MarkFile::path_in(Path::new(DIR))).unwrap();
    for file in lock(&disk.0).files.values() {
        let mut file = lock(file);
        for start in [0, 512] {
            let header = &mut file.bytes[start..start + 76];
            header[8] = 2;
            let crc = crc32c::crc32c(&header[..44]);
            header[44..48].copy_from_slice(&crc.to_le_bytes());
            let crc = crc32c::crc32c(&header[..72]);
            header[72..].copy_from_slice(&crc.to_le_bytes());
        }
    }
    let (journal, report) = open_with(&disk, small.clone());
    assert_nothing_is_missed(&report);
    assert_eq!(read_all(&journal).len(), 12);
    fill(&journal, 16..18);
    journal.close();
    disk.remove(&super::open::segment_path(Path::new(DIR), 4)).unwrap();
    assert_eq!(open_with(&disk, small).1.holes, [(4, 6)]);
}

#[test]
fn publishes_are_refused_before_they_take_the_last_room_and_what_follows_from_earlier_ones_is_not() {
    let disk = MemDisk::default();
    let (journal, _) = open(&disk);
    let tick = Record::Tick { at: Timestamp::UNIX_EPOCH, mono_ms: 1, boot: 2 };
    let write_tick = || journal.append(&tick).blocking_recv().unwrap().unwrap();
    fill(&journal, 1..3);
    lock(&disk.0).free_bytes = Some(INTAKE_ROOM_BYTES_MIN - 1);
    assert_eq!(write_tick(), 3);
    let error = append(&journal, b"payload").unwrap_err();
    assert_eq!(error.reason(), "disk_full");
    assert_eq!(write_tick(), 4);
    let stats = journal.stats();
    assert!(stats.is_disk_full && stats.fault.is_some_and(|fault| fault.contains("2097151 bytes are free")));
    journal.close();

    let (journal, _) = open(&disk);
    assert!(append(&journal, b"payload").is_err(), "refused from the first one on");
    lock(&disk.0).free_bytes = Some(INTAKE_ROOM_BYTES_MIN);
    journal.append(&tick).blocking_recv().unwrap().unwrap();
    assert_eq!(append(&journal, b"payload").unwrap(), 6);
    assert_eq!((journal.stats().is_disk_full, journal.stats().fault), (false, None));
    journal.close();
}

#[test]
fn a_full_disk_can_be_relieved_by_dropping_a_segment() {
    for has_mark in [true, false] {
        let (disk, small) = five_segments();
        if !has_mark {
            disk.remove(&super::mark::MarkFile::path_in(Path::new(DIR))).unwrap();
            lock(&disk.0).write_budget = Some(0);
        }
        let (journal, _) = open_with(&disk, small.clone());
        // Where there is a mark its blocks are its own: only what is new finds no room.
        lock(&disk.0).write_budget = if has_mark { None } else { Some(0) };
        assert_eq!(journal.drop_oldest(b"n").unwrap(), Some((4, 6)));
        lock(&disk.0).write_budget = None;
        assert_eq!(journal.drop_oldest(b"n").unwrap(), Some((7, 9)));
        journal.close();
        let (journal, report) = open_with(&disk, small);
        assert_nothing_is_missed(&report);
        assert_eq!((journal.stats().first_seq, journal.note()), (10, b"n".to_vec()));
        journal.close();
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append { records: usize, payload_bytes: usize },
    FailWrite { budget: usize },
    FailSync,
    CutPower { kept: usize },
    Restart,
    DropOldest,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1_usize..6, 0_usize..400).prop_map(|(records, payload_bytes)| Step::Append { records, payload_bytes }),
        2 => (0_usize..1200).prop_map(|budget| Step::FailWrite { budget }),
        1 => Just(Step::FailSync),
        1 => (0_usize..600).prop_map(|kept| Step::CutPower { kept }),
        1 => Just(Step::Restart),
        1 => Just(Step::DropOldest),
    ]
}

/// What the promise says: every acknowledged record that nobody dropped, in order, exactly.
#[derive(Default)]
struct Model {
    acked: Vec<(u64, Vec<u8>)>,
    refused_in_this_life: Vec<Vec<u8>>,
    dropped_through: u64,
    appended: u64,
}

impl Model {
    fn check(&self, journal: &Journal) {
        let read = read_all(journal);
        assert!(read.windows(2).all(|pair| pair[0].0 < pair[1].0), "numbers rise");
        for refused in &self.refused_in_this_life {
            assert!(read.iter().all(|(_, payload)| payload != refused), "a refused record was read");
        }
        let expected: Vec<_> = self.acked.iter().filter(|(seq, _)| self.dropped_through < *seq).collect();
        let found: Vec<_> = read.iter().filter(|record| expected.contains(record)).collect();
        assert_eq!(found, expected);
    }

    fn append(&mut self, journal: &Journal, records: usize, payload_bytes: usize) {
        let mut waiting = Vec::new();
        for _ in 0..records {
            self.appended += 1;
            let mut payload = self.appended.to_le_bytes().to_vec();
            payload.resize(8 + payload_bytes, b'.');
            waiting.push((journal.append(&publish(&payload)), payload));
        }
        for (done, payload) in waiting {
            match done.blocking_recv().expect("the writer answers everybody") {
                Ok(seq) => self.acked.push((seq, payload)),
                Err(_) => self.refused_in_this_life.push(payload),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_disk_does_the_acknowledged_records_are_read_back(steps in prop::collection::vec(step(), 1..40)) {
        let disk = MemDisk::default();
        let small = Options { segment_bytes: FRAMES_START + 1500, ..options() };
        let mut journal = open_with(&disk, small.clone()).0;
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Append { records, payload_bytes } => {
                    model.append(&journal, records, payload_bytes);
                    lock(&disk.0).write_budget = None;
                    lock(&disk.0).failing_syncs = 0;
                }
                Step::FailWrite { budget } => lock(&disk.0).write_budget = Some(budget),
                Step::FailSync => lock(&disk.0).failing_syncs = 1,
                Step::CutPower { .. } | Step::Restart => {
                    journal.close();
                    let files = std::mem::take(&mut lock(&disk.0).files);
                    *lock(&disk.0) = MemState { files, ..MemState::default() };
                    if let Step::CutPower { kept } = step {
                        disk.cut_power(kept);
                    }
                    let (opened, report) = open_with(&disk, small.clone());
                    journal = opened;
                    assert_nothing_is_missed(&report);
                    model.refused_in_this_life.clear();
                }
                Step::DropOldest => {
                    // A disk that refuses the mark keeps the segment.
                    if let Ok(Some((_, last))) = journal.drop_oldest(b"") {
                        model.dropped_through = last;
                    }
                }
            }
            model.check(&journal);
        }
        journal.close();
    }
}
