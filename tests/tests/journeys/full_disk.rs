//! A full disk: readings are refused and none is lost, a hub that is started on it says what is wrong, and everything goes
//! on when there is room again. The database is left alone meanwhile: nothing is set aside as damaged.

use std::{
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
    process::Command,
    time::Duration,
};

use e2e::{
    harness::{Hq, Hub, HubSetup, PATIENCE, Publisher, counter, hub::STORE, wait_for},
    raw::{RawClient, Version},
};
use serde_json::Value;
use tempfile::TempDir;

/// A file system of this size fills within seconds.
const SMALL_DISK: &str = "size=16m";
/// What somebody else keeps there.
const OTHERS_BYTES: usize = 8 << 20;
/// More readings than find room.
const FILL_READINGS: usize = 400_000;
const FILL_MAX: Duration = Duration::from_secs(90);
const SENSOR: &str = "shelf-01";

/// A small file system, unmounted at the end.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// None where mounting is not possible.
    fn mount() -> Option<Self> {
        let dir = TempDir::new().expect("the folder for temporary files is writable");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", SMALL_DISK, "tmpfs"])
            .arg(dir.path())
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then_some(Self(dir))
    }

    /// What is not the hub's.
    fn others(&self) -> PathBuf {
        self.0.path().join("others")
    }

    /// Somebody else takes all the room that is left.
    fn fill(&self) {
        let mut file = File::options().append(true).open(self.others()).expect("it is there");
        while file.write_all(&[1; 4096]).is_ok() {}
    }

    /// There is room again.
    fn clear(&self) {
        fs::remove_file(self.others()).expect("it is there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazy: a process that is still ending may hold a file.
        Command::new("umount").arg("--lazy").arg(self.0.path()).status().ok();
    }
}

/// Waits until the hub's health is as wanted; gives the status.
async fn status_until(hub: &Hub, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    wait_for(what, PATIENCE, async || {
        let status = hub.folder.status().await?;
        if is_so(&status) { Ok(status) } else { Err(format!("{} {}", status["health"], status["store"])) }
    })
    .await
}

/// Whether the reduced modes name the full disk with its folder and what is free.
fn says_full(hub: &Hub, status: &Value) -> bool {
    let folder = hub.folder.data_dir().display().to_string();
    let words = status["health"]["degraded"].to_string();
    ["is full", "bytes free", &folder].iter().all(|part| words.contains(part))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_readings_keeps_the_acknowledged_ones_and_is_left_behind_when_there_is_room() {
    let Some(disk) = SmallDisk::mount() else {
        println!("skipped: a small file system cannot be mounted here (it needs an administrator)");
        return;
    };
    fs::write(disk.others(), vec![1; OTHERS_BYTES]).expect("the disk is empty");
    let headquarters = Hq::start().await;
    let folder = HubSetup::new().upstream(headquarters.mqtt).data_dir(disk.0.path().join("data")).write();
    let secret = folder.add_device(SENSOR, "shelf").await;
    let hub = folder.start().await;
    let mut sensor = Publisher::new(hub.mqtt, Version::V311, SENSOR, Some(secret.clone()));
    // Ends when the hub closes the connection because it cannot keep a reading, or stops answering.
    let filled = tokio::time::timeout(FILL_MAX, sensor.publish_while_connected(FILL_READINGS)).await;
    assert_ne!(filled, Ok(true), "the disk is smaller than the readings");
    let kept = sensor.acked().len();
    assert!(0 < kept, "something was kept before the disk was full");
    let status =
        status_until(&hub, "the hub says that the disk is full", |status| says_full(&hub, status)).await;
    println!("with a full disk, after {kept} readings: {status}");
    assert!(hub.store().await.is_ok(), "the staff page goes on");
    assert!(0 < counter(&status, "refused"), "what was not kept is counted: {status}");
    // Version 5 hears why: quota exceeded. A lone small reading may still find room; then it is acknowledged.
    if let Ok((mut client, 0)) = RawClient::log_in(hub.mqtt, Version::V5, SENSOR, Some(&secret)).await {
        client.publish("sensors/shelf/shelf-01/reading", 1, b"{\"weight_g\":1}").await.ok();
        if let Ok(answer) = client.answer().await {
            assert!(answer.puback().is_none_or(|(_, reason)| matches!(reason, 0 | 0x97)), "{answer:?}");
        }
    }

    // The hub leaves some room to its database; somebody else takes that too.
    let folder = hub.kill().await;
    disk.fill();
    let hub = folder.start().await;
    status_until(&hub, "a hub started on a full disk says so", |status| says_full(&hub, status)).await;
    assert!(hub.running.log_tail().contains("bytes free"), "its log does too:\n{}", hub.running.log_tail());

    disk.clear();
    let status = status_until(&hub, "the hub goes on when there is room", |status| {
        status["health"]["degraded"] == serde_json::json!([])
            && ["ok", "rebuilt"].contains(&status["store"]["state"].as_str().unwrap_or_default())
    })
    .await;
    println!("with room again: {status}");
    sensor.moved_to(hub.mqtt);
    sensor.publish_until_acked(kept + 50).await;
    wait_for("headquarters has every acknowledged reading once", PATIENCE, async || {
        let rows = headquarters.folder.readings(STORE)?;
        let is_once = |seq: &u64| rows.get(&(SENSOR.to_owned(), *seq)) == Some(&1);
        match sensor.acked().iter().find(|seq| !is_once(seq)) {
            None => Ok(()),
            Some(seq) => Err(format!("reading {seq} has {:?} rows", rows.get(&(SENSOR.to_owned(), *seq)))),
        }
    })
    .await;
    let set_aside = hub.folder.data_dir().join("quarantine");
    assert!(!set_aside.exists(), "a database on a full disk is not damaged");
    hub.stop().await;
}
