//! The link by itself, and against the real broker through a proxy that cuts.
//!
//! Everything stays on 127.0.0.1 and waits for states with a limit.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use broker::{
    Acceptance, BoxFuture, Broker, ConnectRefusal, ConnectRequest, Handle, Hooks, InboundPublish, Limits,
    MemoryRetained, Principal, Qos, Verdict,
};
use contract::{StoreId, upstream::StoreTopic};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        BrokerUrl, Tuning,
        probe::{Probed, probe},
    },
    *,
};

fn row(seq: u64, data: &str) -> Row {
    Row {
        seq,
        at: Timestamp::UNIX_EPOCH,
        kind: "shelf.reading".to_owned(),
        device: Some("shelf-01".to_owned()),
        data: RawValue::from_string(data.to_owned()).unwrap(),
    }
}

fn found(rows: Vec<Row>) -> Found {
    Found { rows, lost: None }
}

fn batch_bytes(rows: Vec<Row>) -> usize {
    let store = contract::StoreId::parse(&"s".repeat(64)).unwrap();
    let lost = Some(upstream::SeqRange { first_seq: 1, last_seq: u64::MAX });
    let (prev_seq, sent_before_through) = (0, u64::MAX);
    let data =
        BatchData { stream: Stream::Experience, epoch: u64::MAX, prev_seq, sent_before_through, lost, rows };
    encoded(&Batch::new(&store, Timestamp::UNIX_EPOCH, data)).len()
}

#[test]
fn a_batch_ends_before_it_grows_beyond_its_bytes_or_rows() {
    let rows = || (1..=1_000).map(|seq| row(seq, "{\"weight_g\":1.5}")).collect::<Vec<_>>();
    assert_eq!(shape(found(rows()), 500, BATCH_BYTES_MAX).rows.len(), 500);
    let shaped = shape(found(rows()), 500, 10_000);
    assert!(shaped.rows.len() < 500 && 20 < shaped.rows.len());
    assert!(batch_bytes(shaped.rows) <= 10_000);
}

#[test]
fn a_row_that_no_batch_can_hold_goes_without_its_content_and_is_counted() {
    let large = format!("\"{}\"", "x".repeat(BATCH_BYTES_MAX));
    let shaped = shape(found(vec![row(1, "1"), row(2, &large), row(3, "3")]), 500, BATCH_BYTES_MAX);
    assert_eq!(shaped.oversized, 1);
    assert_eq!(shaped.rows.len(), 3);
    assert_eq!(shaped.rows[1].data.get(), format!("{{\"storehub_left_out_bytes\":{}}}", large.len()));
    assert!(batch_bytes(shaped.rows) <= BATCH_BYTES_MAX);
}

// ---- against a real broker, through a proxy that cuts

const EPOCH: u64 = 7;
const LIMIT: Duration = Duration::from_secs(60);

/// What headquarters has of one stream.
#[derive(Default)]
struct Archive {
    through_seq: u64,
    rows: BTreeSet<u64>,
    repeated: usize,
}

/// As little of a headquarters as the contract asks for, behind the real broker.
#[derive(Default)]
struct Headquarters {
    archive: Mutex<BTreeMap<Stream, Archive>>,
    statuses: Mutex<Vec<StoreStatus>>,
    births: Mutex<Vec<Birth>>,
    /// Commands that have a result.
    answered: Mutex<BTreeSet<String>>,
    /// What it takes for the right password.
    password: Mutex<&'static str>,
    handle: OnceLock<Handle>,
}

impl Headquarters {
    fn say(&self, topic: String, payload: Vec<u8>) {
        let handle = self.handle.get().expect("the handle is set before anybody connects");
        handle.publish(&topic, payload.into(), Qos::AtLeastOnce, false).unwrap();
    }
}

impl Hooks for Headquarters {
    fn authenticate<'a>(
        &'a self,
        request: &'a ConnectRequest,
    ) -> BoxFuture<'a, Result<Principal, ConnectRefusal>> {
        Box::pin(async move {
            let right = *self.password.lock().unwrap();
            match request.password.as_deref() {
                Some(given) if given == right.as_bytes() => {
                    Ok(Principal { name: "hz-1".into(), kind: "store".into() })
                }
                _ => Err(ConnectRefusal::BadCredentials),
            }
        })
    }

    fn may_publish(&self, _: &Principal, topic: &str) -> bool {
        StoreTopic::parse(topic).is_some()
    }

    fn may_subscribe(&self, _: &Principal, filter: &str) -> bool {
        filter.starts_with("stores/hz-1/")
    }

    fn accept(&self, publish: InboundPublish) -> Acceptance {
        let (store, topic) = StoreTopic::parse(&publish.topic).unwrap();
        let ack = |stream, through_seq| {
            let ack = Ack { stream, epoch: EPOCH, through_seq, row_digest: None };
            self.say(upstream::ack_topic(&store), encoded(&ack));
        };
        match topic {
            StoreTopic::Batch(stream) => {
                let data = Batch::parse(&store, &publish.payload).unwrap().data;
                let mut archives = self.archive.lock().unwrap();
                let archive = archives.entry(stream).or_default();
                if data.prev_seq <= archive.through_seq {
                    archive.through_seq = archive.through_seq.max(data.rows.last().unwrap().seq);
                    archive.repeated += data.rows.iter().filter(|row| !archive.rows.insert(row.seq)).count();
                    ack(stream, archive.through_seq);
                } else {
                    let after_seq = archive.through_seq;
                    let command = Command::Resend { stream, epoch: EPOCH, after_seq };
                    self.say(upstream::command_topic(&store, "c1"), encoded(&command));
                }
            }
            StoreTopic::Birth => {
                let birth: Birth = serde_json::from_slice(&publish.payload).unwrap();
                let archives = self.archive.lock().unwrap();
                self.births.lock().unwrap().push(birth.clone());
                for stream in birth.streams {
                    ack(stream, archives.get(&stream).map_or(0, |archive| archive.through_seq));
                }
            }
            StoreTopic::Status => {
                self.statuses.lock().unwrap().push(serde_json::from_slice(&publish.payload).unwrap());
            }
            StoreTopic::CommandResult(id) => drop(self.answered.lock().unwrap().insert(id)),
        }
        Acceptance::Done(Verdict::Accepted)
    }
}

async fn headquarters() -> (Arc<Headquarters>, Broker, SocketAddr) {
    let hooks = Arc::new(Headquarters { password: Mutex::new("right"), ..Headquarters::default() });
    let limits = Limits { packet_bytes_max: 2 * BATCH_BYTES_MAX, ..Limits::default() };
    let config = broker::Config { tcp: Some("127.0.0.1:0".parse().unwrap()), limits };
    let broker =
        Broker::start(config, Arc::clone(&hooks) as _, Arc::new(MemoryRetained::default())).await.unwrap();
    assert!(hooks.handle.set(broker.handle()).is_ok());
    let addr = broker.tcp_addr().unwrap();
    (hooks, broker, addr)
}

/// Forwards to `target` and cuts each connection after its share of bytes; the last share has no end.
async fn proxy(target: SocketAddr, shares: &'static [usize], cuts: Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for place in 0.. {
            let (near, _) = listener.accept().await.unwrap();
            let far = TcpStream::connect(target).await.unwrap();
            let share = shares.get(place).copied().unwrap_or(usize::MAX);
            let cuts = Arc::clone(&cuts);
            tokio::spawn(async move {
                let (mut near_read, mut near_write) = near.into_split();
                let (mut far_read, mut far_write) = far.into_split();
                let up = async {
                    let (mut left, mut buffer) = (share, vec![0; 4_096]);
                    while 0 < left {
                        let bytes = near_read.read(&mut buffer).await.unwrap_or(0).min(left);
                        if bytes == 0 || far_write.write_all(&buffer[..bytes]).await.is_err() {
                            return;
                        }
                        left -= bytes;
                    }
                    cuts.fetch_add(1, Ordering::Relaxed);
                };
                tokio::select! {
                    () = up => {}
                    _ = tokio::io::copy(&mut far_read, &mut near_write) => {}
                }
            });
        }
    });
    addr
}

/// Rows in memory: the place in the list plus one is the `seq`.
struct Rows(Vec<Stream>);

impl RowSource for Rows {
    fn rows_after(
        &mut self,
        stream: Stream,
        after_seq: u64,
        rows_max: usize,
        _: usize,
    ) -> Result<Found, SourceError> {
        let seqs = (1..).zip(&self.0).filter(|&(seq, &of)| after_seq < seq && of == stream);
        Ok(found(seqs.take(rows_max).map(|(seq, _)| row(seq, "{\"weight_g\":1.5}")).collect()))
    }

    fn row_at(&mut self, _: Stream, _: u64) -> Result<RowAt, SourceError> {
        Ok(RowAt::Gone)
    }

    fn begin_epoch(&mut self, _: u64) -> Result<EpochBegun, SourceError> {
        Err("this journal goes on".into())
    }
}

#[derive(Clone, Default)]
struct Cursors(Arc<Mutex<BTreeMap<Stream, u64>>>);

impl CursorStore for Cursors {
    fn load(&mut self, stream: Stream) -> Result<Cursor, SourceError> {
        let acked_seq = self.0.lock().unwrap().get(&stream).copied().unwrap_or_default();
        Ok(Cursor { acked_seq, epoch: EPOCH })
    }

    fn save(&mut self, stream: Stream, cursor: Cursor) -> Result<(), SourceError> {
        self.0.lock().unwrap().insert(stream, cursor.acked_seq);
        Ok(())
    }
}

/// Orders are another test's.
fn no_orders() -> OrderLine {
    OrderLine { commands: mpsc::channel(1).0, results: mpsc::channel(1).1 }
}

/// The one device of these hubs: its id counts how often it was asked for.
fn registered() -> BirthDevice {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    BirthDevice { id: format!("shelf-{}", ASKED.fetch_add(1, Ordering::Relaxed)), kind: "shelf".to_owned() }
}

struct Hub {
    uplink: UpstreamHandle,
    shutdown: CancellationToken,
    cursors: Cursors,
    _new_rows: watch::Sender<u64>,
}

fn hub(broker: SocketAddr, password: &str, journal: Vec<Stream>, tuning: Tuning) -> Hub {
    hub_with(broker, password, journal, tuning, no_orders())
}

fn hub_with(
    broker: SocketAddr,
    password: &str,
    journal: Vec<Stream>,
    tuning: Tuning,
    orders: OrderLine,
) -> Hub {
    let shutdown = CancellationToken::new();
    let cursors = Cursors::default();
    let durable_seq = journal.len() as u64;
    let (new_rows_sender, new_rows) = watch::channel(durable_seq);
    let uplink = spawn(Start {
        config: Config {
            broker: BrokerUrl::parse(&format!("mqtt://hz-1:{password}@{broker}")).unwrap(),
            streams: vec![Stream::Events, Stream::Readings],
            tuning,
        },
        identity: Identity {
            store: StoreId::parse("hz-1").unwrap(),
            epoch: EpochBegun { epoch: EPOCH, sent_before_through: 0 },
            boot: 3,
            version: "0.1.0".to_owned(),
            started_at: Timestamp::UNIX_EPOCH,
            config_digest: String::new(),
        },
        source: Box::new(Rows(journal)),
        cursors: Box::new(cursors.clone()),
        durable_seq,
        new_rows,
        degraded: watch::channel(vec!["a reduced mode".to_owned()]).1,
        clock: Arc::new(|| Timestamp::UNIX_EPOCH),
        devices: Arc::new(|| vec![registered()]),
        jitter: Box::new(|| 0.0),
        orders,
        shutdown: shutdown.clone(),
    });
    Hub { uplink, shutdown, cursors, _new_rows: new_rows_sender }
}

fn quick() -> Tuning {
    Tuning {
        window: 4,
        batch_rows_max: 20,
        linger: Duration::from_millis(1),
        retry_min: Duration::from_millis(5),
        retry_max: Duration::from_millis(20),
        ..Tuning::default()
    }
}

/// Looks again and again until it is so, within [`LIMIT`].
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let looking = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(LIMIT, looking).await.is_ok(), "not in time: {what}");
}

async fn wait_for(hub: &mut Hub, what: impl FnMut(&UplinkStatus) -> bool) -> UplinkStatus {
    let status = timeout(LIMIT, hub.uplink.status.wait_for(what)).await;
    status.unwrap_or_else(|_| panic!("not within {LIMIT:?}")).unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_arrives_once_in_effect_through_a_link_that_is_cut_again_and_again() {
    let (hooks, broker, addr) = headquarters().await;
    let cuts = Arc::new(AtomicUsize::new(0));
    let shares = &[10, 300, 2_000, 9_000, 30_000, 1_000, 50_000, 20_000, 70_000, 5_000];
    let proxy = proxy(addr, shares, Arc::clone(&cuts)).await;
    let journal: Vec<Stream> =
        (0..2_000).map(|n| if n % 10 == 0 { Stream::Events } else { Stream::Readings }).collect();
    let rows = |stream| (1..).zip(&journal).filter(move |&(_, &of)| of == stream).map(|(seq, _)| seq);
    let (events, readings): (BTreeSet<u64>, BTreeSet<u64>) =
        (rows(Stream::Events).collect(), rows(Stream::Readings).collect());
    let mut hub = hub(proxy, "right", journal.clone(), quick());
    let (last_event, last_reading) = (*events.last().unwrap(), *readings.last().unwrap());
    let status = wait_for(&mut hub, |status| {
        let through = |stream| status.streams.get(&stream).map_or(0, |stream| stream.acked_seq);
        through(Stream::Events) == last_event && through(Stream::Readings) == last_reading
    })
    .await;
    assert_eq!(cuts.load(Ordering::Relaxed), shares.len());
    assert!(status.connected);
    {
        let archives = hooks.archive.lock().unwrap();
        assert_eq!(archives[&Stream::Events].rows, events);
        assert_eq!(archives[&Stream::Readings].rows, readings);
    }
    hub.shutdown.cancel();
    timeout(LIMIT, hub.uplink.join).await.unwrap().unwrap();
    assert_eq!(hub.cursors.0.lock().unwrap()[&Stream::Readings], last_reading);
    let last_words = hooks.statuses.lock().unwrap().last().cloned().unwrap();
    assert_eq!((last_words.online, last_words.boot), (false, 3));
    assert_eq!(last_words.degraded, ["a reduced mode"]);
    broker.shutdown(Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_is_a_reduced_mode_with_what_to_do_until_it_is_let_in() {
    let (hooks, broker, addr) = headquarters().await;
    let mut hub = hub(addr, "wrong", vec![Stream::Events], quick());
    let status =
        wait_for(&mut hub, |status| 2 <= status.counters.get("link_errors").copied().unwrap_or_default())
            .await;
    assert!(!status.connected);
    assert!(status.last_error.unwrap().contains("refused"));
    assert!(status.degraded[0].contains("`upstream.url`"), "{:?}", status.degraded);
    *hooks.password.lock().unwrap() = "wrong";
    let status = wait_for(&mut hub, |status| status.connected).await;
    assert_eq!(status.degraded, Vec::<String>::new(), "it is well again");
    hub.shutdown.cancel();
    timeout(LIMIT, hub.uplink.join).await.unwrap().unwrap();
    broker.shutdown(Duration::from_secs(2)).await;
}

#[test]
fn the_login_of_another_store_is_told_from_a_wrong_password() {
    let broker = BrokerUrl::parse("mqtt://hz-2:right@127.0.0.1").unwrap();
    let said =
        |store, code| refused_login(code, &broker, &StoreId::parse(store).unwrap()).unwrap_or_default();
    let words = said("hz-1", ConnectReturnCode::NotAuthorized);
    assert!(words.contains("lets `hz-2` in, but not as the store `hz-1`"), "{words}");
    for words in
        [said("hz-1", ConnectReturnCode::BadUserNamePassword), said("hz-2", ConnectReturnCode::NotAuthorized)]
    {
        assert!(words.contains("user `hz-2` or its password"), "{words}");
    }
    assert_eq!(said("hz-1", ConnectReturnCode::ServiceUnavailable), "", "waiting may help");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_never_answers_costs_one_deadline_and_does_not_hold_up_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tuning = Tuning { io_deadline: Duration::from_secs(1), ..quick() };
    let mut hub = hub(listener.local_addr().unwrap(), "right", vec![Stream::Events], tuning);
    let _first = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
    let status = wait_for(&mut hub, |status| status.last_error.is_some()).await;
    assert!(!status.connected);
    let _second = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
    hub.shutdown.cancel();
    timeout(LIMIT, hub.uplink.join).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_results_at_once_is_told_over_one_connection_and_rows_go_on() {
    const COMMANDS: usize = 10 * CONTROL_REQUESTS_MAX;
    let (hooks, broker, addr) = headquarters().await;
    let (results_sender, results) = mpsc::channel(COMMANDS);
    let orders = OrderLine { commands: mpsc::channel(1).0, results };
    let mut hub = hub_with(addr, "right", vec![Stream::Events; 500], quick(), orders);
    wait_for(&mut hub, |status| status.connected).await;
    for n in 0..COMMANDS {
        let done = CommandResult { state: CommandState::Done, reason: None };
        results_sender.try_send((format!("c-{n}"), done)).unwrap();
    }
    until("every result is told", || COMMANDS <= hooks.answered.lock().unwrap().len()).await;
    let through = |status: &UplinkStatus| status.streams.get(&Stream::Events).map(|stream| stream.acked_seq);
    let status = wait_for(&mut hub, |status| through(status) == Some(500)).await;
    assert!(status.connected && !status.counters.contains_key("link_errors"), "{status:?}");
    hub.shutdown.cancel();
    timeout(LIMIT, hub.uplink.join).await.unwrap().unwrap();
    broker.shutdown(Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_birth_lists_the_devices_of_its_moment() {
    let (hooks, broker, addr) = headquarters().await;
    let mut hub = hub(addr, "right", vec![Stream::Events], quick());
    wait_for(&mut hub, |status| {
        status.streams.get(&Stream::Events).is_some_and(|stream| stream.acked_seq == 1)
    })
    .await;
    broker.handle().disconnect_principal("hz-1");
    wait_for(&mut hub, |status| 1 <= status.counters.get("link_errors").copied().unwrap_or_default()).await;
    wait_for(&mut hub, |status| status.connected).await;
    until("a second birth", || 2 <= hooks.births.lock().unwrap().len()).await;
    let births = hooks.births.lock().unwrap().clone();
    assert_ne!(births[0].devices, births[1].devices);
    hub.shutdown.cancel();
    timeout(LIMIT, hub.uplink.join).await.unwrap().unwrap();
    broker.shutdown(Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_tells_a_refused_login_and_another_store_and_leaves_the_hub_connected() {
    let (hooks, broker, addr) = headquarters().await;
    let mut hub = hub(addr, "right", vec![Stream::Events], quick());
    wait_for(&mut hub, |status| status.connected).await;
    let ask = async |login: &str, store: &str| {
        let url = BrokerUrl::parse(&format!("mqtt://{login}@{addr}")).unwrap();
        probe(&url, &StoreId::parse(store).unwrap(), LIMIT).await
    };
    assert_eq!(ask("hz-1:right", "hz-1").await, Probed::In);
    let Probed::Refused(words) = ask("hz-1:wrong", "hz-1").await else { panic!("it is refused") };
    assert!(words.contains("user `hz-1` or its password in `upstream.url`"), "{words}");
    let Probed::Refused(words) = ask("hz-1:right", "hz-2").await else {
        panic!("it is another store's login")
    };
    assert!(words.contains("not as the store `hz-2`"), "{words}");
    let status = hub.uplink.status.borrow().clone();
    assert!(status.connected && !status.counters.contains_key("link_errors"), "{status:?}");
    assert_eq!(hooks.births.lock().unwrap().len(), 1, "the hub was never thrown out");
    hub.shutdown.cancel();
    timeout(LIMIT, hub.uplink.join).await.unwrap().unwrap();
    broker.shutdown(Duration::from_secs(2)).await;

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = BrokerUrl::parse(&format!("mqtt://{}", silent.local_addr().unwrap())).unwrap();
    let store = StoreId::parse("hz-1").unwrap();
    let probed = probe(&url, &store, Duration::from_millis(200)).await;
    assert!(matches!(probed, Probed::Unreachable(_)), "{probed:?}");
    drop(silent);
    let probed = probe(&url, &store, LIMIT).await;
    assert!(matches!(probed, Probed::Unreachable(_)), "{probed:?}");
}
