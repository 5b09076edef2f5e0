//! The hub's database deleted or damaged: it is rebuilt from the journal, the operator is told, nothing acknowledged is
//! missing. A segment of the journal deleted: what it held is said as lost, by its numbers, here and at headquarters.

use std::{fs, path::Path};

use e2e::{
    harness::{Hq, HubSetup, PATIENCE, Publisher, counter, hub::STORE, wait_for},
    raw::Version,
};

const READINGS: usize = 400;
const SENSOR: &str = "shelf-01";

/// Overwrites the middle of every file that is not tiny.
fn scribble(folder: &Path) -> usize {
    let mut scribbled = 0;
    for entry in fs::read_dir(folder).expect("the database has a folder").filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            scribbled += scribble(&path);
        } else if let Ok(mut bytes) = fs::read(&path)
            && 64 < bytes.len()
        {
            let (start, end) = (bytes.len() / 4, bytes.len() * 3 / 4);
            bytes[start..end].fill(0xa5);
            fs::write(&path, bytes).expect("our own folder is writable");
            scribbled += 1;
        }
    }
    scribbled
}

async fn survives(damage: impl FnOnce(&Path)) {
    let headquarters = Hq::start().await;
    let folder = HubSetup::new().upstream(headquarters.mqtt).write();
    let secret = folder.add_device(SENSOR, "shelf").await;
    let hub = folder.start().await;
    let mut sensor = Publisher::new(hub.mqtt, Version::V5, SENSOR, Some(secret));
    sensor.publish_until_acked(READINGS).await;
    let before = wait_for("the shelf is seen", PATIENCE, async || {
        let store = hub.store().await?;
        if store["stock"].as_array().is_some_and(|stock| !stock.is_empty()) {
            Ok(store)
        } else {
            Err(store.to_string())
        }
    })
    .await;
    let folder = hub.kill().await;
    damage(&folder.data_dir().join("sled"));

    let hub = folder.start().await;
    let status = wait_for("the hub says that it rebuilt its database", PATIENCE, async || {
        let status = hub.folder.status().await?;
        if status.to_string().contains("rebuilt") { Ok(status) } else { Err(status.to_string()) }
    })
    .await;
    println!("after the damage: {status}");
    sensor.moved_to(hub.mqtt);
    sensor.publish_until_acked(READINGS + 50).await;
    wait_for("the shelf is seen again", PATIENCE, async || {
        let store = hub.store().await?;
        let same = store["stock"][0]["shelf"] == before["stock"][0]["shelf"];
        if same { Ok(()) } else { Err(store.to_string()) }
    })
    .await;
    wait_for("headquarters has every acknowledged reading once", PATIENCE, async || {
        let rows = headquarters.folder.readings(STORE)?;
        let is_once = |seq: &u64| rows.get(&(SENSOR.to_owned(), *seq)) == Some(&1);
        match sensor.acked().iter().find(|seq| !is_once(seq)) {
            None => Ok(()),
            Some(seq) => Err(format!("reading {seq} has {:?} rows", rows.get(&(SENSOR.to_owned(), *seq)))),
        }
    })
    .await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_database_is_rebuilt_from_the_journal() {
    survives(|store| fs::remove_dir_all(store).expect("the database has a folder")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_database_is_rebuilt_from_the_journal() {
    survives(|store| assert!(0 < scribble(store), "something was there to damage")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journals_first_segment_deleted_is_missed_and_headquarters_hears_which_records_it_held() {
    let headquarters = Hq::start().await;
    // The hub does not know of headquarters yet: nothing has been acknowledged when the segment goes.
    let folder = HubSetup::new().extra("[journal]\nsegment_bytes = 65536\n").write();
    let config = folder.dir().join("gateway.toml");
    let alone = fs::read_to_string(&config).expect("just written");
    let secret = folder.add_device(SENSOR, "shelf").await;
    let hub = folder.start().await;
    let mut sensor = Publisher::new(hub.mqtt, Version::V5, SENSOR, Some(secret));
    sensor.publish_until_acked(4 * READINGS).await;
    let folder = hub.kill().await;
    let mut segments: Vec<_> = fs::read_dir(folder.data_dir().join("journal"))
        .expect("the journal has a folder")
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    segments.sort();
    assert!(2 < segments.len(), "{segments:?}");
    fs::remove_file(&segments[0]).expect("it is there");
    let second =
        segments[1].file_stem().and_then(|name| name.to_str()).and_then(|name| name.parse::<u64>().ok());
    let last_seq = second.expect("a segment's name is its first number") - 1;
    let upstream =
        format!("\n[upstream]\nurl = \"mqtt://{}\"\nstreams = [\"readings\"]\n", headquarters.mqtt);
    fs::write(&config, alone + &upstream).expect("our own folder is writable");

    let hub = folder.start().await;
    let missing = format!("records 1 to {last_seq} are missing from the journal");
    let status = wait_for("the hub misses the segment", PATIENCE, async || {
        let status = hub.folder.status().await?;
        if status["health"]["degraded"].to_string().contains(&missing) {
            Ok(status)
        } else {
            Err(status.to_string())
        }
    })
    .await;
    assert_eq!(counter(&status, "journal.missing_records"), last_seq);
    wait_for("headquarters knows what is lost", PATIENCE, async || {
        match headquarters.folder.lost(STORE)? {
            ranges if ranges == [(1, last_seq)] => Ok(()),
            ranges => Err(format!("{ranges:?} and not 1 to {last_seq}")),
        }
    })
    .await;
    hub.stop().await;
}
