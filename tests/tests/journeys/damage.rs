//! The hub's database deleted or damaged: it is rebuilt from the journal, the operator is told, nothing acknowledged is
//! missing.

use std::{fs, path::Path};

use e2e::{
    harness::{Hq, HubSetup, PATIENCE, Publisher, hub::STORE, wait_for},
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
