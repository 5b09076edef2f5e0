//! Stores against a running headquarters: real sockets, the real broker, the real file.
//!
//! Method: MQTT clients publish batches as a store's hub does, and what headquarters says back, stores and shows is
//! compared with what was published. Everything stays on 127.0.0.1, on free ports, in temporary directories.

#![expect(clippy::unwrap_used, reason = "a test stops where its world is not as it must be")]

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command as Process, Stdio},
    time::Duration,
};

use contract::{
    StoreId, Timestamp,
    upstream::{self, Ack, Batch, BatchData, Birth, Command, Row, SeqRange, StoreStatus, Stream},
};
use hq::{app::Hq, config::Config};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use serde_json::{Value, value::RawValue};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};

const EPOCH: u64 = 1_700_000_000_000;
const LIMIT: Duration = Duration::from_secs(30);

const OPEN: &str = "anonymous = true";

fn config_text(admission: &str) -> String {
    format!(
        "[database]\nurl = \"sqlite://hq.db\"\n[http]\nlisten = \"127.0.0.1:0\"\n[mqtt]\nembedded = \"127.0.0.1:0\"\n{admission}\n"
    )
}

async fn start(dir: &Path, admission: &str) -> Hq {
    let config = Config::parse(&dir.join("hq.toml"), &config_text(admission)).unwrap();
    Hq::start(config).await.unwrap()
}

fn rows(seqs: impl IntoIterator<Item = u64>) -> Vec<Row> {
    let row = |seq| Row {
        seq,
        at: Timestamp::saturating_from_millis(1_700_000_000_000),
        kind: "shelf.reading".to_owned(),
        device: Some("shelf-01".to_owned()),
        data: RawValue::from_string(format!("{{\"seq\":{seq},\"weight_g\":1.50}}")).unwrap(),
    };
    seqs.into_iter().map(row).collect()
}

/// One MQTT client that speaks for a store.
struct Store {
    id: StoreId,
    client: AsyncClient,
    inbox: mpsc::Receiver<Result<(String, Vec<u8>), String>>,
    poller: JoinHandle<()>,
}

impl Drop for Store {
    fn drop(&mut self) {
        self.poller.abort();
    }
}

impl Store {
    /// Connects and subscribes to its own topics.
    async fn connect(addr: SocketAddr, id: &str, secret: Option<&str>) -> Self {
        let mut store = Self::open(addr, id, secret);
        store.client.subscribe(format!("stores/{id}/#"), QoS::AtLeastOnce).await.unwrap();
        let (topic, _) = timeout(LIMIT, store.inbox.recv()).await.unwrap().unwrap().unwrap();
        assert_eq!(topic, "SUBACK");
        store
    }

    fn open(addr: SocketAddr, id: &str, secret: Option<&str>) -> Self {
        let mut options = MqttOptions::new(id, addr.ip().to_string(), addr.port());
        options.set_max_packet_size(1 << 20, 1 << 20);
        if let Some(secret) = secret {
            options.set_credentials(id, secret);
        }
        let (client, mut event_loop) = AsyncClient::new(options, 64);
        let (sender, inbox) = mpsc::channel(1_024);
        let poller = tokio::spawn(async move {
            loop {
                let told = match event_loop.poll().await {
                    Ok(Event::Incoming(Packet::Publish(publish))) => {
                        Ok((publish.topic, publish.payload.to_vec()))
                    }
                    Ok(Event::Incoming(Packet::SubAck(_))) => Ok(("SUBACK".to_owned(), Vec::new())),
                    Ok(_) => continue,
                    Err(error) => Err(error.to_string()),
                };
                let ended = told.is_err();
                if sender.send(told).await.is_err() || ended {
                    return;
                }
            }
        });
        Self { id: StoreId::parse(id).unwrap(), client, inbox, poller }
    }

    async fn publish(&self, topic: String, payload: Vec<u8>) {
        self.client.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
    }

    async fn batch(&self, prev_seq: u64, seqs: impl IntoIterator<Item = u64>) {
        self.send(data(prev_seq, rows(seqs))).await;
    }

    async fn send(&self, data: BatchData) {
        let payload = serde_json::to_vec(&Batch::new(&self.id, Timestamp::UNIX_EPOCH, data)).unwrap();
        self.publish(upstream::batch_topic(&self.id, Stream::Events), payload).await;
    }

    async fn birth(&self) {
        let birth = Birth {
            version: "0.1.0".to_owned(),
            epoch: EPOCH,
            boot: 3,
            started_at: Timestamp::UNIX_EPOCH,
            config_digest: "ab".to_owned(),
            streams: vec![Stream::Events],
            devices: Vec::new(),
        };
        self.publish(upstream::birth_topic(&self.id), serde_json::to_vec(&birth).unwrap()).await;
        let status = StoreStatus { online: true, boot: 3, at: None, degraded: Vec::new(), waiting_rows: 0 };
        self.publish(upstream::status_topic(&self.id), serde_json::to_vec(&status).unwrap()).await;
    }

    /// What headquarters says next; the store's own documents, which come back by its wide subscription, are skipped.
    async fn hears(&mut self) -> (String, Vec<u8>) {
        loop {
            let told = timeout(LIMIT, self.inbox.recv()).await.expect("headquarters said nothing in time");
            let (topic, payload) = told.expect("the client ended").expect("the connection holds");
            if topic.ends_with("/ack") || (topic.contains("/command/") && !topic.ends_with("/result")) {
                return (topic, payload);
            }
        }
    }

    async fn acked_through(&mut self, seq: u64) {
        loop {
            let (topic, payload) = self.hears().await;
            if topic.ends_with("/ack") {
                let ack: Ack = serde_json::from_slice(&payload).unwrap();
                assert_eq!((ack.stream, ack.epoch), (Stream::Events, EPOCH));
                if ack.through_seq == seq {
                    return;
                }
            }
        }
    }
}

fn data(prev_seq: u64, rows: Vec<Row>) -> BatchData {
    BatchData { stream: Stream::Events, epoch: EPOCH, prev_seq, sent_before_through: 0, lost: None, rows }
}

/// Looks again and again until it is so, within [`LIMIT`].
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let looking = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(LIMIT, looking).await.is_ok(), "not in time: {what}");
}

/// A GET without a client library: status and body.
async fn get(addr: SocketAddr, path: &str) -> (u16, String) {
    let fetch = async {
        let mut socket = TcpStream::connect(addr).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: hq\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = timeout(LIMIT, fetch).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

async fn get_json(addr: SocketAddr, path: &str) -> Value {
    let (status, body) = get(addr, path).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

fn stored_seqs(dir: &Path, store: &str) -> Vec<u64> {
    let connection = rusqlite::Connection::open(dir.join("hq.db")).unwrap();
    let mut statement =
        connection.prepare("SELECT seq FROM rows WHERE store = ?1 ORDER BY epoch, seq").unwrap();
    let seqs = statement.query_map([store], |row| row.get::<_, i64>(0)).unwrap();
    seqs.map(|seq| u64::try_from(seq.unwrap()).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_stored_once_acknowledged_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let hq = start(dir.path(), OPEN).await;
    let mut store = Store::connect(hq.mqtt_addr().unwrap(), "hz-1", None).await;
    store.birth().await;
    store.acked_through(0).await;
    store.batch(0, 1..=200).await;
    store.acked_through(200).await;
    store.batch(0, 1..=200).await;
    store.batch(200, [210, 220]).await;
    store.acked_through(220).await;
    assert_eq!(stored_seqs(dir.path(), "hz-1").len(), 202);

    let fleet = get_json(hq.http_addr(), "/api/stores").await;
    let shown = &fleet["stores"][0];
    assert_eq!((&shown["id"], &shown["online"], &shown["boot"]), (&"hz-1".into(), &true.into(), &3.into()));
    let stream = &shown["streams"]["events"];
    assert_eq!(
        (&stream["through_seq"], &stream["rows"], &stream["gaps_open"]),
        (&220.into(), &202.into(), &0.into())
    );

    let page = get_json(hq.http_addr(), "/api/stores/hz-1/rows?stream=events&after=199&limit=2").await;
    assert_eq!(page["rows"][0]["seq"], 200);
    assert_eq!(page["rows"][0]["data"]["weight_g"], 1.5);
    assert_eq!(page["next"], format!("{EPOCH}:210"));
    let page =
        get_json(hq.http_addr(), &format!("/api/stores/hz-1/rows?stream=events&after={EPOCH}:210")).await;
    assert_eq!((page["rows"].as_array().unwrap().len(), &page["next"]), (1, &Value::Null));

    let (status, body) = get(hq.http_addr(), "/api/stores/hz-1/rows?stream=sales").await;
    assert_eq!(status, 400);
    assert!(body.contains("\"field\":\"stream\"") && body.contains("\"value\":\"sales\""), "{body}");
    assert_eq!(get(hq.http_addr(), "/api/stores/nobody/rows?stream=events").await.0, 404);
    assert_eq!(get(hq.http_addr(), "/healthz").await.0, 200);
    let (_, metrics) = get(hq.http_addr(), "/metrics").await;
    assert!(metrics.contains("storehub_hq_rows_repeated_total 200"), "{metrics}");
    assert!(get(hq.http_addr(), "/").await.1.contains("门店总览"));
    drop(store);
    hq.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_data_was_put_back_is_shown_with_its_conflicts_and_slow_http_does_not_disturb_it() {
    let dir = tempfile::tempdir().unwrap();
    let hq = start(dir.path(), OPEN).await;
    let mut slow = Vec::new();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(hq.http_addr()).await.unwrap();
        // Beyond the limit it is closed already, which is what is wanted.
        let _ = stream.write_all(b"GET / HTTP/1.1\r\n").await;
        slow.push(stream);
    }
    let mut store = Store::connect(hq.mqtt_addr().unwrap(), "hz-1", None).await;
    store.batch(0, 1..=20).await;
    store.acked_through(20).await;
    let mut other = rows(11..=30);
    for row in &mut other {
        row.kind = "shelf.other".to_owned();
    }
    store.send(data(10, other)).await;
    store.acked_through(30).await;
    assert!(150 < hq.counters().value("http_connections_evicted"));
    drop(slow);

    // The slow ones' places are free a moment after they have gone.
    let fleet = timeout(LIMIT, async {
        loop {
            let mut stream = TcpStream::connect(hq.http_addr()).await.unwrap();
            let request = b"GET /api/stores HTTP/1.1\r\nhost: hq\r\nconnection: close\r\n\r\n";
            let mut answer = String::new();
            if stream.write_all(request).await.is_ok()
                && stream.read_to_string(&mut answer).await.is_ok()
                && let Some((_, body)) = answer.split_once("\r\n\r\n")
            {
                break serde_json::from_str::<Value>(body).unwrap();
            }
        }
    })
    .await
    .unwrap();
    let shown = &fleet["stores"][0];
    assert_eq!((&shown["conflicts"], &shown["problems"][0]), (&10.into(), &"conflicts: 10".into()));
    assert_eq!(shown["streams"]["events"]["rows"], 30);
    let (_, metrics) = get(hq.http_addr(), "/metrics").await;
    assert!(metrics.contains("storehub_hq_rows_conflicting_total 10"), "{metrics}");
    drop(store);
    hq.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_its_journal_that_a_store_says_it_lost_is_shown_once_and_is_no_gap() {
    let dir = tempfile::tempdir().unwrap();
    let hq = start(dir.path(), OPEN).await;
    let mut store = Store::connect(hq.mqtt_addr().unwrap(), "hz-1", None).await;
    store.batch(0, 1..=5).await;
    store.acked_through(5).await;
    let after_loss =
        BatchData { lost: Some(SeqRange { first_seq: 6, last_seq: 40 }), ..data(5, rows(41..=45)) };
    for _ in 0..2 {
        store.send(after_loss.clone()).await;
        store.acked_through(45).await;
    }
    let fleet = get_json(hq.http_addr(), "/api/stores").await;
    let shown = &fleet["stores"][0];
    assert_eq!(shown["problems"], serde_json::json!(["lost_ranges: events 1"]));
    let events = &shown["streams"]["events"];
    assert_eq!(
        (&events["lost_ranges"], &events["gaps_open"], &events["rows"]),
        (&1.into(), &0.into(), &10.into())
    );
    drop(store);
    hq.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_asked_for_and_what_comes_again_after_a_new_birth_is_there_once() {
    let dir = tempfile::tempdir().unwrap();
    let hq = start(dir.path(), OPEN).await;
    let mut store = Store::connect(hq.mqtt_addr().unwrap(), "hz-1", None).await;
    store.batch(0, [1, 2]).await;
    store.acked_through(2).await;
    store.batch(5, [6, 7]).await;
    let command: Command = loop {
        let (topic, payload) = store.hears().await;
        if topic.contains("/command/") {
            break serde_json::from_slice(&payload).unwrap();
        }
    };
    assert_eq!(command, Command::Resend { stream: Stream::Events, epoch: EPOCH, after_seq: 2 });
    drop(store);
    hq.shutdown().await;

    let hq = start(dir.path(), OPEN).await;
    let mut store = Store::connect(hq.mqtt_addr().unwrap(), "hz-1", None).await;
    store.birth().await;
    store.acked_through(2).await;
    // A store that was born anew sends everything after the prefix again: what was kept closes no gap.
    store.batch(2, [4, 5]).await;
    store.acked_through(5).await;
    store.batch(5, [6, 7]).await;
    store.acked_through(7).await;
    assert_eq!(stored_seqs(dir.path(), "hz-1"), [1, 2, 4, 5, 6, 7]);
    drop(store);
    hq.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_gets_in_with_its_secret_and_touches_no_other_store() {
    let dir = tempfile::tempdir().unwrap();
    let admission = "[stores.hz-1]\nsecret = \"secret-of-hz\"\n[stores.sh-1]\nsecret = \"secret-of-sh\"";
    let hq = start(dir.path(), admission).await;
    let addr = hq.mqtt_addr().unwrap();

    let mut intruder = Store::open(addr, "hz-1", Some("secret-of-sh"));
    let refused = timeout(LIMIT, intruder.inbox.recv()).await.unwrap().unwrap().unwrap_err();
    assert!(refused.contains("refused") || refused.contains("BadUserNamePassword"), "{refused}");

    let mut store = Store::connect(addr, "sh-1", Some("secret-of-sh")).await;
    let mut foreign = Store::connect(addr, "hz-1", Some("secret-of-hz")).await;
    let other = StoreId::parse("sh-1").unwrap();
    let payload = Batch::new(&other, Timestamp::UNIX_EPOCH, data(0, rows([1])));
    let payload = serde_json::to_vec(&payload).unwrap();
    // On the other store's topic it is not let through; on its own topic it is no batch of its own.
    foreign.publish(upstream::batch_topic(&foreign.id, Stream::Events), payload.clone()).await;
    foreign.batch(0, [1]).await;
    foreign.acked_through(1).await;
    foreign.publish(upstream::batch_topic(&other, Stream::Events), payload).await;
    store.batch(0, [5]).await;
    store.acked_through(5).await;
    assert_eq!(stored_seqs(dir.path(), "sh-1"), [5]);
    assert_eq!(stored_seqs(dir.path(), "hz-1"), [1]);
    assert_eq!(hq.counters().value("batches_refused_envelope"), 1);
    drop((store, foreign, intruder));
    hq.shutdown().await;
}

/// A POST of JSON: the status.
async fn post(addr: SocketAddr, path: &str, body: &Value) -> (u16, Value) {
    let body = body.to_string();
    let fetch = async {
        let mut socket = TcpStream::connect(addr).await.unwrap();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = timeout(LIMIT, fetch).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap())
}

fn order(id: &str, code: &str) -> Value {
    serde_json::json!({
        "id": id, "command": "order.place", "order": id, "pick_up_code": code, "deposit_code": "955555",
        "goods": [{ "gtin": "2000000000015", "name": { "en": "Serum" }, "quantity": 1 }],
        "expires_at": "2099-01-01T00:00:00Z",
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_with_a_mistake_is_refused_with_the_field_that_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let hq = start(dir.path(), OPEN).await;
    let mut store = Store::connect(hq.mqtt_addr().unwrap(), "hz-1", None).await;
    store.batch(0, [1]).await;
    store.acked_through(1).await;
    let good = serde_json::json!({ "gtin": "2000000000016", "quantity": 1 });
    for (key, value, field) in [
        ("pick_up_code", "42".into(), "pick_up_code"),
        ("expires_at", "2020-01-01T00:00:00Z".into(), "expires_at"),
        ("goods", serde_json::json!([good]), "goods[0].gtin"),
        ("command", "order.move".into(), "command"),
        ("deposit_code", Value::Null, "deposit_code"),
    ] {
        let mut command = order("o-1", "942137");
        command[key] = value;
        let (status, answer) = post(hq.http_addr(), "/api/stores/hz-1/commands", &command).await;
        assert_eq!((status, &answer["field"]), (400, &field.into()), "{answer}");
        assert!(answer["error"].as_str().unwrap().contains(&format!("`{field}`")), "{answer}");
    }
    drop(store);
    hq.shutdown().await;
}

const DATABASE_FILES: [&str; 3] = ["hq.db", "hq.db-wal", "hq.db-shm"];

#[tokio::test(flavor = "multi_thread")]
async fn when_a_store_has_done_its_orders_their_codes_are_in_none_of_the_files_while_headquarters_runs() {
    let dir = tempfile::tempdir().unwrap();
    let hq = start(dir.path(), OPEN).await;
    let mut store = Store::connect(hq.mqtt_addr().unwrap(), "hz-1", None).await;
    store.birth().await;
    store.batch(0, [1]).await;
    store.acked_through(1).await;
    // More than one page of them, so that pages are split and freed while the codes are there.
    let codes: Vec<String> = (0..60).map(|n| format!("9421{n:02}")).chain(["955555".to_owned()]).collect();
    let found = || {
        let files = DATABASE_FILES.map(|file| std::fs::read(dir.path().join(file)).unwrap());
        let has = |code: &&String| files.iter().any(|file| file.windows(6).any(|six| six == code.as_bytes()));
        codes.iter().filter(has).count()
    };
    for (n, code) in codes[..60].iter().enumerate() {
        let (status, answer) =
            post(hq.http_addr(), "/api/stores/hz-1/commands", &order(&format!("o-{n}"), code)).await;
        assert_eq!(status, 202, "{answer}");
    }
    assert_eq!(found(), codes.len(), "until then they must survive a power cut");
    let mut answered = std::collections::BTreeSet::new();
    while answered.len() < 60 {
        let (topic, _) = store.hears().await;
        if topic.contains("/command/") && answered.insert(topic.clone()) {
            store.publish(format!("{topic}/result"), br#"{"state":"done"}"#.to_vec()).await;
        }
    }
    until("no code is left in any file", || found() == 0).await;
    drop(store);
    hq.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_files_are_its_owners_alone_also_those_that_an_earlier_release_made() {
    let dir = tempfile::tempdir().unwrap();
    let mode = |file: &str| std::fs::metadata(dir.path().join(file)).unwrap().permissions().mode() & 0o777;
    for _ in 0..2 {
        let hq = start(dir.path(), OPEN).await;
        for file in DATABASE_FILES.into_iter().chain(["hq.db.lock"]) {
            assert_eq!(mode(file), 0o600, "{file}");
        }
        hq.shutdown().await;
        for file in ["hq.db", "hq.db.lock"] {
            std::fs::set_permissions(dir.path().join(file), PermissionsExt::from_mode(0o644)).unwrap();
        }
    }
}

/// The program itself, killed when dropped.
struct Program {
    child: Child,
    mqtt: SocketAddr,
    http: SocketAddr,
}

impl Drop for Program {
    fn drop(&mut self) {
        // SIGKILL; it may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    fn start(dir: &Path) -> Self {
        Self::start_with(dir, OPEN, Stdio::null())
    }

    fn start_with(dir: &Path, admission: &str, stderr: Stdio) -> Self {
        let config = dir.join("hq.toml");
        std::fs::write(&config, config_text(admission)).unwrap();
        let mut child = Process::new(env!("CARGO_BIN_EXE_storehub-hq"))
            .args(["serve", "--config"])
            .arg(&config)
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let said: Vec<Value> =
            stdout.lines().take(2).map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
        let addr = |what| {
            let line = said.iter().find(|line| line["listening"] == what).expect("it says where it listens");
            line["addr"].as_str().unwrap().parse().unwrap()
        };
        Self { mqtt: addr("mqtt"), http: addr("http"), child }
    }

    fn signal(&self, name: &str) {
        let sent = Process::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Its end; `LIMIT` is far more than it may take to drain.
    async fn ended(&mut self) -> Option<i32> {
        let mut status = None;
        until("the program ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.and_then(|status| status.code())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_its_log_may_go_and_refusals_still_reach_who_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let listed = "[stores.hz-1]\nsecret = \"secret-of-hz\"";
    let mut program = Program::start_with(dir.path(), listed, Stdio::piped());
    // The reader of stdout has gone with `start_with`; now that of stderr goes.
    drop(program.child.stderr.take().unwrap());
    for _ in 0..3 {
        let mut wrong = Store::open(program.mqtt, "hz-1", Some("another-secret"));
        let refused = timeout(LIMIT, wrong.inbox.recv()).await.unwrap().unwrap().unwrap_err();
        assert!(refused.contains("refused") || refused.contains("BadUserNamePassword"), "{refused}");
    }
    let mut store = Store::connect(program.mqtt, "hz-1", Some("secret-of-hz")).await;
    store.batch(0, [1]).await;
    store.acked_through(1).await;
    let refusals = get_json(program.http, "/api/refusals").await;
    assert_eq!(refusals["refusals"][0]["times"], 3, "{refusals}");
    program.signal("TERM");
    assert_eq!(program.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_closes_ends_it_drained_and_its_log_says_who_came() {
    let dir = tempfile::tempdir().unwrap();
    let mut program = Program::start_with(dir.path(), OPEN, Stdio::piped());
    let mut store = Store::connect(program.mqtt, "hz-1", None).await;
    store.birth().await;
    store.batch(0, [1]).await;
    store.acked_through(1).await;
    program.signal("HUP");
    assert_eq!(program.ended().await, Some(0));
    let mut log = String::new();
    program.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    for said in ["headquarters serves", "a store has come store=hz-1", "draining", "headquarters has ended"] {
        assert!(log.contains(said), "{said}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_kill_9_in_the_middle_of_commits() {
    let dir = tempfile::tempdir().unwrap();
    let mut through = 0;
    for kill_after in [3, 40, 90] {
        let mut program = Program::start(dir.path());
        let mut store = Store::connect(program.mqtt, "hz-1", None).await;
        let mut next = through;
        let mut acks = 0;
        while acks < kill_after {
            // A window of batches is always on its way, so that the kill meets an open transaction.
            while next < through + 20 * 50 {
                store.batch(next, next + 1..=next + 50).await;
                next += 50;
            }
            let (topic, payload) = store.hears().await;
            if topic.ends_with("/ack") {
                let ack: Ack = serde_json::from_slice(&payload).unwrap();
                through = through.max(ack.through_seq);
                acks += 1;
            }
        }
        program.child.kill().unwrap();
        program.child.wait().unwrap();
        let stored = stored_seqs(dir.path(), "hz-1");
        assert!(through <= stored.len() as u64, "acknowledged through {through}, stored {}", stored.len());
        let expected: Vec<u64> = (1..=stored.len() as u64).collect();
        assert_eq!(stored, expected, "no row is missing and none is there twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_login_is_not_its_id_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let listed = "[stores.hz-1]\nsecret = \"first-secret\"\n[stores.hz-2]\nsecret = \"second-secret\"";
    let hq = start(dir.path(), listed).await;
    let addr = hq.mqtt_addr().unwrap();
    let mut wrong = Store::open(addr, "hz-2", Some("first-secret"));
    assert!(timeout(LIMIT, wrong.inbox.recv()).await.unwrap().unwrap().is_err(), "a wrong secret is refused");
    let mut confused = Store::open(addr, "hz-1", Some("first-secret"));
    confused.client.subscribe("stores/hz-2/ack", QoS::AtLeastOnce).await.unwrap();
    timeout(LIMIT, confused.inbox.recv()).await.unwrap().unwrap().unwrap();

    let refusals = get_json(hq.http_addr(), "/api/refusals").await;
    let [mismatch, secret] = &refusals["refusals"].as_array().unwrap()[..] else { panic!("{refusals}") };
    assert_eq!((&mismatch["code"], &mismatch["device"]), (&"login_is_not_the_store".into(), &"hz-1".into()));
    assert!(mismatch["reason"].as_str().unwrap().contains("\"hz-2\""), "{mismatch}");
    assert!(mismatch["hint"].as_str().unwrap().contains("`upstream.url`"), "{mismatch}");
    assert_eq!((&secret["code"], &secret["device"]), (&"wrong_secret".into(), &"hz-2".into()));
    let (_, metrics) = get(hq.http_addr(), "/metrics").await;
    assert!(metrics.contains("login_is_not_the_store"), "{metrics}");
    hq.shutdown().await;
}

/// `check` on a configuration: its exit code, and what it said.
fn check(dir: &Path, text: &str) -> (Option<i32>, String) {
    let config = dir.join("hq.toml");
    std::fs::write(&config, text).unwrap();
    let program = Process::new(env!("CARGO_BIN_EXE_storehub-hq"))
        .args(["check", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    let said = String::from_utf8([program.stdout, program.stderr].concat()).unwrap();
    (program.status.code(), said)
}

#[test]
fn check_says_what_would_stop_a_start_and_what_is_open_to_others_and_makes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let secrets = "[stores.hz-1]\nsecret = \"secret-of-hz\"";
    let (code, said) = check(dir.path(), &config_text(secrets).replace("hq.db", "none/hq.db"));
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("hq.toml:2: `database.url` = ") && said.contains("none` does not"), "{said}");
    let (code, said) = check(dir.path(), &config_text(""));
    assert!(code == Some(78) && said.contains("hq.toml: `stores`"), "{said}");

    std::fs::set_permissions(dir.path().join("hq.toml"), PermissionsExt::from_mode(0o644)).unwrap();
    let open = config_text(secrets).replacen("127.0.0.1", "0.0.0.0", 1);
    let (code, said) = check(dir.path(), &open);
    assert!(code == Some(0) && said.starts_with("ok: "), "{said}");
    assert!(said.contains("`http.listen` = `0.0.0.0:0` is beyond loopback"), "{said}");
    assert!(said.contains("hq.toml` holds secrets, and everybody can read it: chmod 600"), "{said}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "it has made nothing");

    let program = Program::start(dir.path());
    let running = config_text(OPEN).replacen("127.0.0.1:0", &program.http.to_string(), 1).replacen(
        "127.0.0.1:0",
        &program.mqtt.to_string(),
        1,
    );
    let (code, said) = check(dir.path(), &running);
    assert_eq!(code, Some(1), "{said}");
    for problem in ["hq.db` is in use by another storehub-hq", "`http.listen` = ", "`mqtt.embedded` = "] {
        assert!(said.contains(problem), "{problem}: {said}");
    }
    assert_eq!(said.matches("problem: ").count(), 3, "{said}");

    std::fs::create_dir(dir.path().join("folder")).unwrap();
    let (code, said) = check(dir.path(), &config_text(OPEN).replace("hq.db", "folder"));
    assert!(code == Some(1) && said.contains("folder` cannot be written by this user"), "{said}");
}

/// A broker that lets everybody do everything, in the place of a fleet's own.
struct Anybody;

impl broker::Hooks for Anybody {
    fn authenticate<'a>(
        &'a self,
        request: &'a broker::ConnectRequest,
    ) -> broker::BoxFuture<'a, Result<broker::Principal, broker::ConnectRefusal>> {
        let name = request.client_id.as_str().into();
        Box::pin(async { Ok(broker::Principal { name, kind: "any".into() }) })
    }

    fn may_publish(&self, _: &broker::Principal, _: &str) -> bool {
        true
    }

    fn may_subscribe(&self, _: &broker::Principal, _: &str) -> bool {
        true
    }

    fn accept(&self, _: broker::InboundPublish) -> broker::Acceptance {
        broker::Acceptance::Done(broker::Verdict::Accepted)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_external_broker_keeps_what_comes_while_headquarters_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let limits = broker::Limits { packet_bytes_max: 1 << 20, ..broker::Limits::default() };
    let listen = broker::Config { tcp: Some("127.0.0.1:0".parse().unwrap()), limits };
    let retained = std::sync::Arc::new(broker::MemoryRetained::default());
    let outside = broker::Broker::start(listen, std::sync::Arc::new(Anybody), retained).await.unwrap();
    let addr = outside.tcp_addr().unwrap();
    let text = format!(
        "[database]\nurl = \"sqlite://hq.db\"\n[http]\nlisten = \"127.0.0.1:0\"\n[mqtt]\nurl = \"mqtt://{addr}\"\n"
    );
    let config = Config::parse(&dir.path().join("hq.toml"), &text).unwrap();

    let hq = Hq::start(config.clone()).await.unwrap();
    let mut store = Store::connect(addr, "hz-1", None).await;
    // Until headquarters has subscribed nobody takes the birth: it is said until it is answered.
    let answered = async {
        loop {
            store.birth().await;
            if let Ok(Some(Ok((topic, _)))) = timeout(Duration::from_millis(200), store.inbox.recv()).await
                && topic.ends_with("/ack")
            {
                return;
            }
        }
    };
    timeout(LIMIT, answered).await.expect("headquarters answers a birth");
    store.batch(0, 1..=20).await;
    store.acked_through(20).await;
    hq.shutdown().await;

    store.batch(20, 21..=40).await;
    store.batch(40, 41..=60).await;
    let hq = Hq::start(config).await.unwrap();
    store.acked_through(60).await;
    assert_eq!(stored_seqs(dir.path(), "hz-1"), (1..=60).collect::<Vec<_>>());
    hq.shutdown().await;
    drop(store);
    outside.shutdown(Duration::from_secs(1)).await;
}
