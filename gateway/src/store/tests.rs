//! The store and its snapshots on a real disk, with damage made by hand.

use std::fs;

use contract::upstream::Stream;

use super::{
    Acked, Changes, EntryKey, Ledger, Place, Store, StoreError, StoreTree, load_newest, open_sled,
    quarantine, write_snapshot,
};
use crate::domain::Tree;

fn entry(key: &str) -> EntryKey {
    EntryKey { tree: StoreTree::Domain(Tree::Twins), key: key.as_bytes().to_vec() }
}

fn changes(pairs: &[(&str, Option<&str>)]) -> Changes {
    pairs.iter().map(|(key, value)| (entry(key), value.map(|value| value.as_bytes().to_vec()))).collect()
}

#[test]
fn what_was_written_is_there_after_reopening_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sled");
    let mut store = Store::open(&path).unwrap().store;
    store.write(&changes(&[("a", Some("1")), ("b", Some("2"))]), 7, 10).unwrap();
    store.write(&changes(&[("a", None), ("b", Some("3"))]), 7, 11).unwrap();
    store.flush().unwrap();
    drop(store);
    let opened = Store::open(&path).unwrap();
    assert_eq!(opened.entries, [(entry("b"), b"3".to_vec())]);
    let Place { epoch, applied_through, .. } = opened.place;
    assert_eq!((epoch, applied_through), (7, 11));
}

#[test]
fn an_entry_that_vanished_or_changed_silently_is_noticed() {
    for vanish in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sled");
        let mut store = Store::open(&path).unwrap().store;
        store.write(&changes(&[("a", Some("1")), ("b", Some("2"))]), 7, 10).unwrap();
        drop(store);
        {
            let db = open_sled(&path).unwrap();
            let twins = db.open_tree("twins").unwrap();
            if vanish {
                twins.remove("a").unwrap();
            } else {
                twins.insert("a", twins.get("b").unwrap().unwrap()).unwrap();
            }
        }
        let error = Store::open(&path).err().expect("damage is noticed");
        assert!(error.is_damage());
        assert_eq!(vanish, matches!(error, StoreError::Incomplete { .. }));
    }
}

#[test]
fn a_ruined_database_is_an_error_and_never_a_panic_and_quarantine_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sled");
    let mut store = Store::open(&path).unwrap().store;
    let many: Vec<String> = (0..500).map(|n| format!("key {n}")).collect();
    let many: Vec<_> = many.iter().map(|key| (key.as_str(), Some("value"))).collect();
    store.write(&changes(&many), 7, 10).unwrap();
    store.flush().unwrap();
    drop(store);
    for file in [path.join("db"), path.join("conf")] {
        let len = fs::metadata(&file).unwrap().len();
        fs::write(&file, vec![0x5A; usize::try_from(len).unwrap()]).unwrap();
    }
    let error = Store::open(&path).err().expect("nothing of it can be read");
    assert!(error.is_damage(), "{error:?}");
    let moved = quarantine(&path, &dir.path().join("quarantine"), "2026").unwrap();
    assert!(moved.join("db").exists());
    assert_eq!(Store::open(&path).unwrap().entries, []);
}

#[test]
fn a_database_that_sled_takes_for_an_empty_one_is_damaged_and_not_new() {
    for (junk_conf, db_bytes) in [(true, 300_000), (false, 300_000), (false, 0), (true, 0)] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sled");
        let mut store = Store::open(&path).unwrap().store;
        store.write(&changes(&[("a", Some("1"))]), 7, 10).unwrap();
        drop(store);
        if junk_conf {
            fs::write(path.join("conf"), b"this is no configuration of sled").unwrap();
        }
        let noise = (0..db_bytes).map(|n: u32| n.wrapping_mul(2_654_435_761).to_be_bytes()[1]);
        fs::write(path.join("db"), noise.collect::<Vec<u8>>()).unwrap();
        let error = Store::open(&path).err().unwrap_or_else(|| panic!("{junk_conf} {db_bytes} is noticed"));
        assert!(error.is_damage(), "{error:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sled");
    drop(Store::open(&path).unwrap());
    assert_eq!(Store::open(&path).unwrap().place, Place::default(), "a new one is as it was left");
}

#[test]
fn a_snapshot_reads_back_and_a_damaged_one_gives_way_to_the_older() {
    let dir = tempfile::tempdir().unwrap();
    let entries: Vec<_> = (0..3).map(|n| (entry(&n.to_string()), vec![n; 100])).collect();
    let write = |place: u64, count: usize| {
        let entries = entries.iter().take(count).map(|(entry, value)| (entry, value.as_slice()));
        write_snapshot(dir.path(), 7, place, entries).unwrap()
    };
    let oldest = write(5, 1);
    write(6, 2);
    let newest = write(7, 3);
    assert!(!oldest.exists(), "two are kept");
    let mut damaged = Vec::new();
    let read = load_newest(dir.path(), Some(7), &mut damaged).unwrap();
    assert_eq!((read.applied_through, read.entries), (7, entries.clone()));
    assert!(damaged.is_empty());
    assert_eq!(load_newest(dir.path(), Some(8), &mut damaged), None);

    let mut bytes = fs::read(&newest).unwrap();
    bytes[40] ^= 1;
    fs::write(&newest, bytes).unwrap();
    let read = load_newest(dir.path(), Some(7), &mut damaged).unwrap();
    assert_eq!((read.applied_through, damaged), (6, vec![newest]));
}

#[test]
fn repetitions_survive_in_the_store_until_the_journal_drops_them() {
    let ledger = Ledger::default();
    let seqs = [1, 64, 1_023, 1_024, 5_000, u64::MAX];
    seqs.iter().for_each(|seq| ledger.note_repeat(*seq));
    ledger.note_repeat(5_000);
    let restored = Ledger::default();
    for (entry, value) in ledger.entries() {
        assert!(restored.restore(&entry, &value));
    }
    for seq in seqs {
        assert!(restored.is_repeat(seq), "{seq}");
        assert!(!restored.is_repeat(seq ^ 2), "{seq}");
    }
    let mut changes = Changes::new();
    restored.forget_repeats_before(2_047);
    restored.take_unwritten(&mut changes);
    let gone = EntryKey { tree: StoreTree::Repeats, key: 0_u64.to_be_bytes().to_vec() };
    assert_eq!(changes, Changes::from([(gone.clone(), None)]), "the bucket that lies before goes");
    assert!(restored.is_repeat(1_024) && !restored.is_repeat(64));
    assert!(!restored.restore(&gone, b"?"), "of another form");
    restored.reset_journal();
    assert!(restored.entries().is_empty());
}

#[test]
fn what_is_noted_of_headquarters_counts_where_it_says_more_than_the_database() {
    let noted = Ledger::default();
    noted.ack(Stream::Events, 7, 40);
    noted.empty(Stream::Events, 40, 60);
    noted.ack(Stream::Rollups, 7, 5);
    let note = noted.uplink_note();
    assert!(note.len() * Stream::ALL.len() <= 1024, "the journal takes a note of this size");

    let older = Ledger::default();
    older.ack(Stream::Events, 6, 30);
    older.ack(Stream::Rollups, 7, 50);
    older.restore_uplink_note(&note);
    assert_eq!(older.acked(Stream::Events), Acked { through_seq: 40, empty_through_seq: 60, epoch: 7 });
    assert_eq!(older.acked(Stream::Rollups), Acked { through_seq: 50, empty_through_seq: 50, epoch: 7 });
    for cut in 0..note.len() {
        Ledger::default().restore_uplink_note(&note[..cut]);
    }
    Ledger::default().restore_uplink_note(b"\x03new");
}

#[test]
fn what_fails_for_want_of_room_is_no_damage_and_everything_else_stays_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let panicked =
        |message: &str| StoreError::Panicked { path: dir.path().to_owned(), message: message.to_owned() };
    let no_room = || std::io::Error::from(std::io::ErrorKind::StorageFull);
    let sled = |error| StoreError::Sled { operation: "write to", path: dir.path().to_owned(), source: error };
    let full = [
        panicked(
            "called `Result::unwrap()` on an `Err` value: Io(Os { code: 28, kind: StorageFull, message: \"x\" })",
        ),
        panicked("No space left on device (os error 28)"),
        sled(sled::Error::Io(no_room())),
    ];
    for error in full {
        let error = error.unless_full(dir.path());
        assert!(matches!(error, StoreError::Full { .. }) && !error.is_damage(), "{error:?}");
        let words = error.to_string();
        assert!(words.contains(&dir.path().display().to_string()) && words.contains("bytes free"), "{words}");
    }
    let damaged = [
        panicked("tree had no minimum node"),
        sled(sled::Error::ReportableBug("x".to_owned())),
        StoreError::Incomplete { path: dir.path().to_owned() },
    ];
    for error in damaged {
        assert!(error.unless_full(dir.path()).is_damage(), "there is room, so it is the database");
    }
}
