//! The edge over real sockets. Every address of `127.0.0.0/8` is this machine, so that several can come.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::{Router, extract::ConnectInfo, routing::get};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
    time::timeout,
};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than any test.
const NEVER: Duration = Duration::from_secs(300);
const LARGE_BYTES: usize = 64 * 1024 * 1024;

type Counts = Arc<Mutex<BTreeMap<&'static str, u64>>>;

struct Server {
    addr: SocketAddr,
    counts: Counts,
    stop: CancellationToken,
    served: JoinHandle<io::Result<Ended>>,
}

impl Server {
    async fn start(limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let router = Router::new()
            .route(
                "/",
                get(|ConnectInfo(Peer(peer)): ConnectInfo<Peer>| async move { peer.ip().to_string() }),
            )
            .route("/large", get(|| async { vec![b'x'; LARGE_BYTES] }));
        let (counts, stop) = (Counts::default(), CancellationToken::new());
        let told = Arc::clone(&counts);
        let tell: Tell = Arc::new(move |name| {
            *told.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
        });
        let served = tokio::spawn(serve(listener, router, limits, tell, stop.clone().cancelled_owned()));
        Self { addr, counts, stop, served }
    }

    async fn connect(&self, from: u8) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::new(127, 0, 0, from), 0).into()).unwrap();
        socket.connect(self.addr).await.unwrap()
    }

    async fn half_open(&self, from: u8) -> TcpStream {
        let mut stream = self.connect(from).await;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nx: ").await.unwrap();
        stream
    }

    async fn get(&self, from: u8) -> String {
        let mut stream = self.connect(from).await;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        String::from_utf8(until_closed(&mut stream).await).unwrap()
    }

    fn count(&self, name: &str) -> u64 {
        self.counts.lock().unwrap().get(name).copied().unwrap_or(0)
    }

    async fn until_count(&self, name: &str, least: u64) {
        let waiting = async {
            while self.count(name) < least {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("`{name}`: {:?}", self.counts));
    }
}

/// Everything until the other side closes.
async fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    // A reset is a close too.
    timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("it is closed in time").ok();
    all
}

fn patient() -> Limits {
    Limits { head_max: NEVER, silence_max: NEVER, ..Limits::default() }
}

#[tokio::test]
async fn half_open_requests_never_lock_the_page_not_even_for_their_own_address() {
    let server = Server::start(patient()).await;
    let mut slow = Vec::new();
    for _ in 0..400 {
        slow.push(server.half_open(1).await);
    }
    for from in [1, 2] {
        let answer = server.get(from).await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with(&format!("127.0.0.{from}")),
            "{answer}"
        );
    }
    assert_eq!(server.count(REFUSED), 0);
    let kept = u64::try_from(Limits::default().heads_per_address).unwrap();
    assert!(400 - kept <= server.count(EVICTED), "{:?}", server.counts);
    assert!(until_closed(&mut slow[0]).await.is_empty(), "the oldest had to go");
    // The newest may still finish asking.
    let newest = slow.last_mut().unwrap();
    newest.write_all(b"\r\n\r\n").await.unwrap();
    assert!(until_closed(newest).await.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn a_full_house_sends_the_oldest_half_open_away_whoever_it_is() {
    let server = Server::start(Limits { connections: 3, ..patient() }).await;
    let mut slow = Vec::new();
    for from in 1..=3 {
        slow.push(server.half_open(from).await);
    }
    assert!(server.get(4).await.starts_with("HTTP/1.1 200"));
    assert!(until_closed(&mut slow[0]).await.is_empty());
    assert_eq!((server.count(EVICTED), server.count(REFUSED)), (1, 0));
}

#[tokio::test]
async fn one_too_many_is_told_to_come_back_and_other_addresses_have_room() {
    let server = Server::start(Limits { connections_per_address: 2, ..patient() }).await;
    let mut stuck = Vec::new();
    for _ in 0..2 {
        let mut stream = server.connect(1).await;
        stream.write_all(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        // The answer has begun, and the rest of it is not taken.
        let mut first = [0; 15];
        timeout(PATIENCE, stream.read_exact(&mut first)).await.unwrap().unwrap();
        assert_eq!(&first, b"HTTP/1.1 200 OK");
        stuck.push(stream);
    }
    let refused = server.get(1).await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after: 5"), "{refused}");
    let (head, body) = refused.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("content-length: {}", body.len())), "{refused}");
    assert_eq!(server.count(REFUSED), 1);
    assert!(server.get(2).await.starts_with("HTTP/1.1 200"));
    drop(stuck);
    let freed = async { while !server.get(1).await.starts_with("HTTP/1.1 200") {} };
    timeout(PATIENCE, freed).await.expect("the places of those that left are free");
}

#[tokio::test]
async fn a_head_that_drips_and_a_reader_that_takes_nothing_are_cut_in_time() {
    let short = Duration::from_millis(300);
    let server = Server::start(Limits { head_max: short, silence_max: short, ..Limits::default() }).await;
    let mut stuck = server.connect(1).await;
    stuck.write_all(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut slow = server.half_open(1).await;
    let (mut read, mut write) = slow.split();
    // Bytes that keep coming do not put the deadline off.
    let dripping = async {
        let mut drops = tokio::time::interval(Duration::from_millis(20));
        while write.write_all(b"x").await.is_ok() {
            drops.tick().await;
        }
    };
    let mut nothing = Vec::new();
    let closed = async {
        read.read_to_end(&mut nothing).await.ok();
    };
    timeout(PATIENCE, async {
        tokio::select! { () = dripping => (), () = closed => () }
    })
    .await
    .unwrap();
    assert!(nothing.is_empty(), "{nothing:?}");
    server.until_count(SLOW_HEAD, 1).await;
    server.until_count(SILENT, 1).await;
    assert!(until_closed(&mut stuck).await.len() < LARGE_BYTES);
}

#[tokio::test]
async fn the_stop_waits_for_nobody_for_long() {
    let drain_max = Duration::from_millis(100);
    let server = Server::start(Limits { drain_max, ..patient() }).await;
    let mut slow = server.half_open(1).await;
    assert!(server.get(1).await.starts_with("HTTP/1.1 200"));
    server.stop.cancel();
    // A half-open request has nothing to drain, so that either end is right.
    timeout(PATIENCE, server.served).await.unwrap().unwrap().unwrap();
    assert!(until_closed(&mut slow).await.is_empty());
}
