//! What is wrong is named, with what to do: a typo in the configuration, a port in use, a full disk.

use std::{fs, net::TcpListener, process::Command, time::Duration};

use e2e::{
    harness::{HubSetup, PATIENCE, Publisher, counter, run_to_end, wait_for},
    raw::{RawClient, Version},
};
use tempfile::TempDir;

/// A file system of this size fills within seconds.
const SMALL_DISK: &str = "size=24m";
/// Small segments and a small reserve, so that a small disk can be filled to its end.
const FILL_READINGS: usize = 400_000;
const FILL_MAX: Duration = Duration::from_secs(90);

#[tokio::test]
async fn a_typo_in_the_configuration_is_named_with_its_place() {
    let folder = HubSetup::new().extra("[journal]\nsegment_byts = 1\n").write();
    for args in [&["check"][..], &["run"][..]] {
        let refused = folder.command(args).await;
        assert!(!refused.status.success(), "{args:?} refuses an unknown key");
        for part in ["segment_byts", "gateway.toml:14", "segment_bytes"] {
            assert!(refused.said().contains(part), "{args:?} names {part}: {}", refused.said());
        }
    }
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port on the loopback");
    let addr = taken.local_addr().expect("a bound listener has an address").to_string();
    let folder = HubSetup::new().write();
    let path = folder.dir().join("gateway.toml");
    let config = fs::read_to_string(&path).expect("just written");
    fs::write(&path, config.replacen("listen = \"127.0.0.1:0\"", &format!("listen = \"{addr}\""), 1))
        .expect("our own folder is writable");
    let refused = folder.command(&["run"]).await;
    assert!(!refused.status.success());
    assert!(refused.said().contains(&addr), "{}", refused.said());
}

#[tokio::test]
async fn headquarters_names_a_missing_file_and_a_typo() {
    let dir = TempDir::new().expect("the folder for temporary files is writable");
    let refused = run_to_end("storehub-hq", dir.path(), ["serve", "--config", "absent.toml"]).await;
    assert!(!refused.status.success() && refused.said().contains("absent.toml"), "{}", refused.said());
    fs::write(dir.path().join("hq.toml"), "[mqtt]\nembeded = \"127.0.0.1:0\"\n")
        .expect("our own folder is writable");
    let refused = run_to_end("storehub-hq", dir.path(), ["serve", "--config", "hq.toml"]).await;
    assert!(!refused.status.success() && refused.said().contains("embeded"), "{}", refused.said());
}

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
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazy: a process that is still ending may hold a file.
        Command::new("umount").arg("--lazy").arg(self.0.path()).status().ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_new_readings_and_keeps_the_old() {
    let Some(disk) = SmallDisk::mount() else {
        println!("skipped: a small file system cannot be mounted here (it needs an administrator)");
        return;
    };
    let folder = HubSetup::new().data_dir(disk.0.path().join("data")).write();
    let secret = folder.add_device("shelf-01", "shelf").await;
    let hub = folder.start().await;
    let mut sensor = Publisher::new(hub.mqtt, Version::V311, "shelf-01", Some(secret.clone()));
    // Ends when the hub closes the connection because it cannot keep a reading, or stops answering.
    let filled = tokio::time::timeout(FILL_MAX, sensor.publish_while_connected(FILL_READINGS)).await;
    assert_ne!(filled, Ok(true), "the disk is smaller than the readings");
    let acked = sensor.acked().len();
    assert!(0 < acked, "something was kept before the disk was full");

    let status = wait_for("the hub says that the disk is full", PATIENCE, async || {
        let status = hub.folder.status().await?;
        let said = status.to_string().to_lowercase();
        if said.contains("disk") || said.contains("space") { Ok(status) } else { Err(said) }
    })
    .await;
    println!("with a full disk, after {acked} readings: {status}");
    assert!(hub.store().await.is_ok(), "the staff page goes on");

    // Version 5 hears why: quota exceeded. A lone small reading may still find room; then it is kept and acknowledged.
    if let Ok((mut client, 0)) = RawClient::log_in(hub.mqtt, Version::V5, "shelf-01", Some(&secret)).await {
        client.publish("sensors/shelf/shelf-01/reading", 1, b"{\"seq\":1,\"weight_g\":1}").await.ok();
        if let Ok(answer) = client.answer().await {
            assert!(answer.puback().is_none_or(|(_, reason)| matches!(reason, 0 | 0x97)), "{answer:?}");
        }
    }
    assert!(0 < counter(&status, "refused"), "what was not kept is counted: {status}");
    hub.kill().await;
}

#[test]
fn the_example_configurations_of_a_store_and_of_headquarters_fit_each_other() {
    let root =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the workspace");
    let read = |file: &str| -> toml::Table {
        fs::read_to_string(root.join(file)).expect("the example is there").parse().expect("it is TOML")
    };
    let (hub, headquarters) = (read("gateway/gateway.example.toml"), read("hq/hq.example.toml"));
    let store = hub["store"]["id"].as_str().expect("the store has an id");
    let secret = headquarters["stores"][store]["secret"].as_str().expect("headquarters knows that store");
    let broker = headquarters["mqtt"]["embedded"].as_str().expect("headquarters has a broker");
    assert_eq!(hub["upstream"]["url"].as_str(), Some(format!("mqtt://{store}:{secret}@{broker}").as_str()));
}
