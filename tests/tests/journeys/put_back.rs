//! Older copies are put back: of the hub's data, of headquarters' database. Both notice, heal, and say so; nothing
//! acknowledged is missing at headquarters, nothing is there twice.

use std::{fs, path::Path};

use e2e::{
    harness::{Hq, Hub, HubSetup, Link, PATIENCE, Publisher, counter, hq::HqFolder, hub::STORE, wait_for},
    raw::Version,
};
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

const READINGS: usize = 200;
const SENSOR: &str = "shelf-01";

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("our own folder is writable");
    for entry in fs::read_dir(from).expect("there is something to copy").filter_map(Result::ok) {
        let to = to.join(entry.file_name());
        let kind = entry.file_type().expect("the entry was just listed");
        if kind.is_dir() {
            copy(&entry.path(), &to);
        } else if kind.is_file() {
            fs::copy(entry.path(), to).expect("our own folder is writable");
        }
    }
}

fn put_back(copy_of: &Path, place: &Path) {
    fs::remove_dir_all(place).expect("what is replaced was there");
    copy(copy_of, place);
}

async fn store(headquarters: &Link) -> (Hub, Publisher) {
    let folder = HubSetup::new().upstream(headquarters.addr()).write();
    let secret = folder.add_device(SENSOR, "shelf").await;
    let hub = folder.start().await;
    let sensor = Publisher::new(hub.mqtt, Version::V311, SENSOR, Some(secret));
    (hub, sensor)
}

async fn all_are_there_once(headquarters: &HqFolder, sensor: &Publisher) {
    wait_for("headquarters has every acknowledged reading once", PATIENCE, async || {
        let rows = headquarters.readings(STORE)?;
        if let Some((row, count)) = rows.iter().find(|(_, count)| **count != 1) {
            return Err(format!("{row:?} is there {count} times"));
        }
        match sensor.acked().iter().find(|seq| !rows.contains_key(&(SENSOR.to_owned(), **seq))) {
            None => Ok(()),
            Some(seq) => Err(format!("reading {seq} is missing among {} rows", rows.len())),
        }
    })
    .await;
}

fn number(headquarters: &HqFolder, query: &str) -> i64 {
    let database = Connection::open_with_flags(headquarters.database(), OpenFlags::SQLITE_OPEN_READ_ONLY);
    let database = database.expect("headquarters has a database");
    database.query_row(query, [], |row| row.get(0)).expect("the query fits the database")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_of_the_hubs_data_goes_on_in_a_new_epoch_and_nothing_is_missing_or_doubled() {
    let headquarters = Hq::start().await;
    let link = Link::to(headquarters.mqtt).await;
    let (hub, mut sensor) = store(&link).await;
    sensor.publish_until_acked(READINGS).await;
    all_are_there_once(&headquarters.folder, &sensor).await;
    // Some that headquarters gets only from the original: the copy does not know that.
    link.cut();
    sensor.publish_until_acked(READINGS + 50).await;
    let folder = hub.stop().await;
    let safe = TempDir::new().expect("the folder for temporary files is writable");
    copy(folder.data_dir(), safe.path());

    link.restore();
    let hub = folder.start().await;
    sensor.moved_to(hub.mqtt);
    sensor.publish_until_acked(2 * READINGS).await;
    all_are_there_once(&headquarters.folder, &sensor).await;
    let folder = hub.stop().await;

    put_back(safe.path(), folder.data_dir());
    // The store opens without a line: so many readings that their numbers reach beyond what headquarters has.
    link.cut();
    let hub = folder.start().await;
    sensor.moved_to(hub.mqtt);
    sensor.publish_until_acked(4 * READINGS).await;
    let hub = hub.kill().await.start().await;
    sensor.moved_to(hub.mqtt);
    sensor.publish_until_acked(4 * READINGS + 10).await;
    link.restore();
    all_are_there_once(&headquarters.folder, &sensor).await;

    let status = hub.folder.status().await.expect("the hub answers");
    assert_eq!(counter(&status, "journal_older_than_headquarters"), 1, "{status}");
    assert_eq!(status["counters"]["journal.epochs_renewed"], 1, "{status}");
    assert!(status["journal"]["renewal"]["previous_seq"].as_u64().is_some(), "{status}");
    assert!(status["health"]["degraded"].to_string().contains("put back"), "{status}");
    sensor.publish_until_acked(5 * READINGS).await;
    all_are_there_once(&headquarters.folder, &sensor).await;
    let hub = hub.stop().await.start().await;
    let status = hub.folder.status().await.expect("the hub answers");
    assert!(status["health"]["notices"].to_string().contains("put back"), "{status}");
    assert_eq!(number(&headquarters.folder, "SELECT count(*) FROM conflicts"), 0);
    let epochs = "SELECT count(DISTINCT epoch) FROM rows WHERE stream = 'readings'";
    assert_eq!(number(&headquarters.folder, epochs), 2);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_of_headquarters_database_gets_again_what_it_had_acknowledged() {
    let headquarters = Hq::start().await;
    let link = Link::to(headquarters.mqtt).await;
    let (hub, mut sensor) = store(&link).await;
    sensor.publish_until_acked(READINGS).await;
    all_are_there_once(&headquarters.folder, &sensor).await;
    let folder = headquarters.kill().await;
    let safe = TempDir::new().expect("the folder for temporary files is writable");
    let database = folder.database();
    let place = database.parent().expect("a file is in a folder");
    copy(place, safe.path());

    let headquarters = folder.start().await;
    link.retarget(headquarters.mqtt);
    sensor.publish_until_acked(2 * READINGS).await;
    all_are_there_once(&headquarters.folder, &sensor).await;
    hub.counted("uplink.rows_sent", 2 * READINGS as u64).await;
    let folder = headquarters.kill().await;
    for entry in fs::read_dir(place).expect("headquarters has a folder").filter_map(Result::ok) {
        if entry.file_name().to_string_lossy().starts_with("hq.db") {
            fs::remove_file(entry.path()).expect("our own folder is writable");
        }
    }
    copy(safe.path(), place);

    let headquarters = folder.start().await;
    link.retarget(headquarters.mqtt);
    // Nothing new happens in the store: headquarters is told by what it says itself.
    all_are_there_once(&headquarters.folder, &sensor).await;
    hub.counted("headquarters_went_back", 1).await;
    assert_eq!(number(&headquarters.folder, "SELECT count(*) FROM conflicts"), 0);
    hub.stop().await;
}
