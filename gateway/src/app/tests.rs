//! The whole hub in one process, spoken to in raw MQTT 3.1.1.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{Gateway, StartError, only_in};
use crate::{
    clock::{Clock as _, SystemClock},
    config::Config,
    control,
    devices::{Kind, Registry},
};

const PATIENCE: Duration = Duration::from_secs(60);

struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    fn new(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text =
            format!("[store]\nid = \"s-1\"\ndata_dir = \"data\"\n[mqtt]\nlisten = \"127.0.0.1:0\"\n{more}");
        std::fs::write(dir.path().join("gateway.toml"), text).unwrap();
        Self { dir }
    }

    fn config_file(&self) -> PathBuf {
        self.dir.path().join("gateway.toml")
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    async fn start(&self) -> Gateway {
        self.try_start().await.unwrap()
    }

    async fn try_start(&self) -> Result<Gateway, StartError> {
        let config = Config::from_file(&self.config_file()).unwrap();
        Gateway::start(config, &self.config_file(), Arc::new(SystemClock::start())).await
    }
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let len = u8::try_from(body.len()).unwrap();
    assert!(len < 128, "one length byte is enough here");
    let mut bytes = vec![first, len];
    bytes.extend_from_slice(body);
    bytes
}

async fn read(stream: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    timeout(PATIENCE, stream.read_exact(&mut bytes)).await.expect("an answer in time").unwrap();
    bytes
}

/// Connects and returns the CONNACK's code.
async fn connect(gateway: &Gateway, id: &str, password: Option<&str>) -> (TcpStream, u8) {
    let mut stream = TcpStream::connect(gateway.addrs().mqtt.unwrap()).await.unwrap();
    let flags = if password.is_some() { 0xC2 } else { 0x02 };
    let mut body = [text("MQTT"), vec![4, flags, 0, 60], text(id)].concat();
    if let Some(password) = password {
        body.extend([text(id), text(password)].concat());
    }
    stream.write_all(&packet(0x10, &body)).await.unwrap();
    let answer = read(&mut stream, 4).await;
    (stream, answer[3])
}

/// Publishes with QoS 1 and waits for the PUBACK.
async fn publish(stream: &mut TcpStream, packet_id: u8, topic: &str, payload: &str) {
    let body = [text(topic), vec![0, packet_id], payload.as_bytes().to_vec()].concat();
    stream.write_all(&packet(0x32, &body)).await.unwrap();
    assert_eq!(read(stream, 4).await, [0x40, 2, 0, packet_id]);
}

/// Asks for the status until it is as wanted.
async fn status_until(data_dir: &Path, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let asking = async {
        loop {
            let status = control::ask(data_dir).await.unwrap();
            if is_so(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("waited in vain until {what}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_reading_is_in_the_journal_and_on_the_screens_and_is_there_after_a_restart() {
    let site = Site::new("anonymous = true\n");
    let gateway = site.start().await;
    let (mut shelf, code) = connect(&gateway, "shelf-01", None).await;
    assert_eq!(code, 0);
    publish(&mut shelf, 1, "sensors/shelf/shelf-01/reading", "{\"count\":7}").await;
    publish(&mut shelf, 2, "sensors/shelf/shelf-01/reading", "{\"kount\":7}").await;
    assert!(2 <= gateway.journal.head_seq(), "acknowledged means durable");
    let status = status_until(&site.data_dir(), "the reading is applied", |status| {
        status["counters"]["publishes_stored"] == 2 && status["store"]["lag_records"] == 0
    })
    .await;
    assert_eq!(status["store"]["state"], "ok");
    assert_eq!(status["health"]["degraded"], serde_json::json!([]), "an open hub is well");
    assert!(status["health"]["notices"][0].as_str().unwrap().contains("mqtt.anonymous"), "and says so");
    let rejection = &status["rejections"][0];
    assert_eq!(rejection["device"], "shelf-01");
    assert!(rejection["reason"].as_str().unwrap().contains("kount"), "{rejection}");
    gateway.shutdown().await;

    let gateway = site.start().await;
    let status = status_until(&site.data_dir(), "the state is there", |status| {
        2 <= status["journal"]["head_seq"].as_u64().unwrap()
    })
    .await;
    assert_eq!((&status["boot"], &status["store"]["state"]), (&2.into(), &"ok".into()));
    gateway.shutdown().await;
    assert!(control::ask(&site.data_dir()).await.is_err(), "a hub that has ended does not answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_gets_in_while_the_hub_runs_and_is_cut_off_when_it_is_removed() {
    let site = Site::new("");
    let gateway = site.start().await;
    let (_, code) = connect(&gateway, "shelf-01", Some("nonsense")).await;
    assert_eq!(code, 4, "unknown user name or bad password");
    let status = status_until(&site.data_dir(), "the stranger is listed", |status| {
        status["rejections"][0]["device"] == "shelf-01"
    })
    .await;
    assert_eq!(status["rejections"][0]["code"], "unknown_device");
    let hint = status["rejections"][0]["hint"].as_str().unwrap();
    assert!(hint.contains(": storehub-gateway device add shelf-01 --kind KIND --config "), "{hint}");
    let evil = "x$(reboot)";
    let (_, code) = connect(&gateway, evil, Some("nonsense")).await;
    assert_eq!(code, 4);
    let status = status_until(&site.data_dir(), "the other stranger is listed", |status| {
        status["rejections"][0]["device"] == evil
    })
    .await;
    let hint = status["rejections"][0]["hint"].as_str().unwrap();
    assert!(!hint.contains(evil), "a name that is no id is no part of a command: {hint}");

    let registry = Registry::in_dir(&site.data_dir());
    let secret = registry.add("shelf-01", Kind::Shelf, SystemClock::start().now()).unwrap();
    status_until(&site.data_dir(), "the device is known", |status| status["devices"] == 1).await;
    let (mut shelf, code) = connect(&gateway, "shelf-01", Some(&secret)).await;
    assert_eq!(code, 0);
    publish(&mut shelf, 1, "sensors/shelf/shelf-01/reading", "{\"count\":7}").await;
    let body = [text("sensors/shelf/shelf-01/status"), vec![0, 2], b"online".to_vec()].concat();
    shelf.write_all(&packet(0x33, &body)).await.unwrap();
    assert_eq!(read(&mut shelf, 4).await, [0x40, 2, 0, 2]);
    let file = site.data_dir().join("devices.json");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, "{").unwrap();
    status_until(&site.data_dir(), "the broken file is named", |status| {
        status["health"]["degraded"].to_string().contains("devices.json")
    })
    .await;
    std::fs::write(&file, whole).unwrap();
    registry.remove("shelf-01").unwrap();
    let mut end = Vec::new();
    timeout(PATIENCE, shelf.read_to_end(&mut end)).await.expect("the connection ends").ok();
    let (_, code) = connect(&gateway, "shelf-01", Some(&secret)).await;
    assert_eq!(code, 4);
    status_until(&site.data_dir(), "what it and the hub have retained about it is gone", |status| {
        status["counters"]["mqtt.retained_removed_by_host"] == 2
            && status["health"]["degraded"] == serde_json::json!([])
    })
    .await;
    gateway.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_hub_in_the_same_folder_or_on_a_taken_port_is_refused_by_name() {
    let site = Site::new("anonymous = true\n");
    let gateway = site.start().await;
    let error = site.try_start().await.err().expect("one hub per folder");
    assert!(crate::projector::chain(&error).contains("another hub uses"), "{error}");

    let taken = gateway.addrs().mqtt.unwrap();
    let other = Site::new("anonymous = true\n");
    let config = std::fs::read_to_string(other.config_file()).unwrap();
    std::fs::write(other.config_file(), config.replace("127.0.0.1:0", &taken.to_string())).unwrap();
    let error = other.try_start().await.err().expect("the port is taken");
    let words = crate::projector::chain(&error);
    assert!(words.contains("mqtt.listen") && words.contains(&taken.to_string()), "{words}");
    gateway.shutdown().await;
}

#[tokio::test]
async fn a_task_that_ends_or_panics_unasked_is_reported_by_name_and_one_that_was_asked_is_not() {
    let stop = CancellationToken::new();
    let (failed, mut failures) = mpsc::channel(8);
    let ended = tokio::spawn(async {});
    super::supervise("ended", ended, stop.clone(), failed.clone()).await.unwrap();
    assert_eq!(failures.recv().await, Some("ended"));
    let panicked = tokio::spawn(async { panic!("a bug") });
    super::supervise("panicked", panicked, stop.clone(), failed.clone()).await.unwrap();
    assert_eq!(failures.recv().await, Some("panicked"));
    stop.cancel();
    super::supervise("asked", tokio::spawn(async {}), stop, failed).await.unwrap();
    assert_eq!(failures.recv().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_cannot_go_on_ends_the_hub_by_name() {
    let site = Site::new("anonymous = true\n");
    let mut gateway = site.start().await;
    // One death is mended; so many in a row are not.
    for _ in 0..40 {
        gateway.broker.handle().kill_feeder_for_tests();
    }
    let part = timeout(PATIENCE, gateway.failure()).await.expect("the hub notices");
    assert_eq!(part, "mqtt");
    gateway.shutdown().await;
    site.start().await.shutdown().await;
}

#[test]
fn a_reduced_mode_begins_and_ends_once_however_its_numbers_change() {
    let reasons = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let before = reasons(&["the screens lag 20100 records behind", "the disk is full"]);
    let now = reasons(&["the screens lag 31 records behind", "records 1 to 9 are missing"]);
    assert_eq!(only_in(&now, &before), ["records 1 to 9 are missing"]);
    assert_eq!(only_in(&before, &now), ["the disk is full"]);
}
