//! The HTTP surface over real sockets, with a client that sees every byte.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use contract::{
    StoreId, Timestamp,
    hub::{Health, StoreView, Uplink},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{oneshot, watch},
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::{EVENT_CLIENTS_PER_ADDRESS_MAX, Judged, Limits, PICTURE_AGE_MAX, serve_within};

const PATIENCE: Duration = Duration::from_secs(20);

struct Page {
    addr: SocketAddr,
    view: watch::Sender<Arc<StoreView>>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<()>>,
}

fn view(waiting_rows: u64) -> StoreView {
    let at: Timestamp = "2026-11-22T20:18:00Z".parse().unwrap();
    StoreView {
        store: StoreId::parse("hz-1").unwrap(),
        at,
        stock: Vec::new(),
        lockers: Vec::new(),
        orders: Vec::new(),
        help: contract::kiosk::HelpCalls::default(),
        traffic: None,
        zones: Vec::new(),
        climate: Vec::new(),
        sensors: Vec::new(),
        uplink: Uplink { waiting_rows, oldest_waiting_at: Some(at.plus_millis(-1_500)), ..Uplink::default() },
        health: Health { degraded: Vec::new(), notices: Vec::new(), uplink_online: false, waiting_rows, at },
        counters: [("readings.refused.range".to_owned(), 3), ("odd\"name".to_owned(), 1)].into(),
    }
}

impl Page {
    async fn start() -> Self {
        Self::start_within(Limits::default()).await
    }

    async fn start_within(limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (view, seen) = watch::channel(Arc::new(view(7)));
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move {
            let _ = stopped.await;
        };
        let served = tokio::spawn(serve_within(listener, seen, super::Counts::default(), shutdown, limits));
        Self { addr, view, stop, served }
    }

    async fn connect(&self, path: &str) -> TcpStream {
        self.connect_from(1, path).await
    }

    /// From another address of this machine, of which it has many.
    async fn connect_from(&self, last: u8, path: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, last], 0).into()).unwrap();
        let mut stream = socket.connect(self.addr).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.addr);
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn get(&self, path: &str) -> String {
        let mut answer = String::new();
        let mut stream = self.connect(path).await;
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("an answer in time").unwrap();
        answer
    }
}

/// Reads until `wanted` has come; gives everything read so far.
async fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut read = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if text.contains(wanted) {
            return text;
        }
        let bytes = timeout(PATIENCE, stream.read(&mut chunk)).await.expect("more bytes in time").unwrap();
        assert!(bytes != 0, "`{wanted}` never came, only: {text}");
        read.extend_from_slice(&chunk[..bytes]);
    }
}

#[tokio::test]
async fn the_page_and_its_parts_are_served_with_a_strict_policy() {
    let page = Page::start().await;
    for (path, content_type) in [
        ("/", "text/html"),
        ("/app.js", "text/javascript"),
        ("/style.css", "text/css"),
        ("/api/store", "application/json"),
    ] {
        let answer = page.get(path).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        assert!(answer.contains(&format!("content-type: {content_type}")), "{path}");
        assert!(answer.contains("content-security-policy: default-src 'none'; script-src 'self'"), "{path}");
        assert!(answer.contains("x-content-type-options: nosniff"), "{path}");
    }
    let answer = page.get("/").await;
    for id in [
        "shelves",
        "lockers",
        "traffic-in",
        "traffic-out",
        "zones",
        "climate",
        "sensors",
        "uplink",
        "waiting-rows",
        "health",
        "lang",
    ] {
        assert!(answer.contains(&format!("id=\"{id}\"")), "{id}");
    }
    assert!(!answer.contains("http://") && !answer.contains("https://"), "nothing comes from elsewhere");
    assert!(page.get("/nothing").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn the_store_is_told_as_json() {
    let page = Page::start().await;
    let answer = page.get("/api/store").await;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(serde_json::from_str::<StoreView>(body).unwrap(), view(7));
}

#[tokio::test]
async fn health_says_what_is_degraded() {
    let page = Page::start().await;
    assert!(page.get("/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(page.get("/readyz").await.starts_with("HTTP/1.1 200"));
    let mut degraded = view(7);
    degraded.health.degraded.push("store: rebuilt".to_owned());
    page.view.send_replace(Arc::new(degraded.clone()));
    let answer = page.get("/healthz").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("store: rebuilt"), "{answer}");
    degraded.at = Timestamp::UNIX_EPOCH;
    page.view.send_replace(Arc::new(degraded));
    assert!(page.get("/readyz").await.starts_with("HTTP/1.1 503"));
}

#[tokio::test]
async fn a_notice_is_told_and_is_no_illness() {
    let page = Page::start().await;
    let mut noted = view(7);
    noted.health.notices.push("every client is let in".to_owned());
    page.view.send_replace(Arc::new(noted));
    let answer = page.get("/healthz").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("every client is let in"), "{answer}");
}

#[tokio::test]
async fn a_picture_that_nobody_makes_anew_is_no_health() {
    let mut page = Page::start().await;
    // Whoever made the pictures is gone.
    page.view = watch::channel(Arc::new(view(7))).0;
    let answer = page.get("/healthz").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("up to date"), "{answer}");
}

#[test]
fn a_picture_that_stays_the_same_one_is_stuck() {
    let now = Instant::now();
    let (first, second) = (Arc::new(view(1)), Arc::new(view(1)));
    let mut judged = Judged { view: Arc::clone(&first), since: now };
    let long = PICTURE_AGE_MAX + Duration::from_secs(1);
    assert_eq!(judged.stuck(&first, now + PICTURE_AGE_MAX), None);
    assert_eq!(judged.stuck(&first, now + long), Some(long));
    assert_eq!(judged.stuck(&second, now + long), None, "an equal picture that is a new one is well");
    assert_eq!(judged.stuck(&second, now + 3 * long), Some(2 * long));
}

#[tokio::test]
async fn metrics_have_counters_by_name() {
    let page = Page::start().await;
    let answer = page.get("/metrics").await;
    for line in [
        "storehub_events_total{name=\"readings.refused.range\"} 3\n",
        "storehub_events_total{name=\"odd\\\"name\"} 1\n",
        "storehub_uplink_waiting_rows 7\n",
        "storehub_uplink_lag_seconds 1.5\n",
        "storehub_sensors{state=\"offline\"} 0\n",
    ] {
        assert!(answer.contains(line), "{line}: {answer}");
    }
}

#[tokio::test]
async fn a_live_client_gets_the_picture_at_once_and_then_the_newest() {
    let page = Page::start().await;
    let mut stream = page.connect("/api/events").await;
    let first = read_until(&mut stream, "\"waiting_rows\":7").await;
    assert!(first.contains("content-type: text/event-stream") && first.contains("event: store"), "{first}");
    for waiting_rows in 8..=500 {
        page.view.send_replace(Arc::new(view(waiting_rows)));
    }
    let rest = read_until(&mut stream, "\"waiting_rows\":500").await;
    assert!(rest.matches("event: store").count() <= 2, "older pictures are left out: {rest}");
}

#[tokio::test]
async fn one_live_client_too_many_is_told_to_come_back_and_a_place_becomes_free_again() {
    let page = Page::start().await;
    let mut clients = Vec::new();
    for _ in 0..EVENT_CLIENTS_PER_ADDRESS_MAX {
        let mut stream = page.connect("/api/events").await;
        read_until(&mut stream, "event: store").await;
        clients.push(stream);
    }
    let refused = page.get("/api/events").await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after: 10"), "{refused}");
    let metrics = page.get("/metrics").await;
    assert!(metrics.contains("storehub_events_total{name=\"http_live_clients_refused\"} 1\n"), "{metrics}");
    let mut elsewhere = page.connect_from(2, "/api/events").await;
    read_until(&mut elsewhere, "event: store").await;
    clients.pop();
    let freed = async {
        loop {
            let mut stream = page.connect("/api/events").await;
            if read_until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 200") {
                break;
            }
        }
    };
    timeout(PATIENCE, freed).await.expect("the place of a client that left becomes free");
}

#[tokio::test]
async fn live_streams_and_half_open_requests_do_not_lock_the_page() {
    let page = Page::start().await;
    let mut held = Vec::new();
    for _ in 0..EVENT_CLIENTS_PER_ADDRESS_MAX {
        held.push(page.connect("/api/events").await);
    }
    for _ in 0..300 {
        let mut stream = TcpStream::connect(page.addr).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
        held.push(stream);
    }
    assert!(page.get("/").await.starts_with("HTTP/1.1 200"), "from the same address");
    let mut elsewhere = page.connect_from(2, "/api/events").await;
    read_until(&mut elsewhere, "event: store").await;
    let metrics = page.get("/metrics").await;
    assert!(metrics.contains("storehub_events_total{name=\"http_connections_evicted\"}"), "{metrics}");
}

#[tokio::test]
async fn shutdown_ends_live_streams_too() {
    let page = Page::start().await;
    let mut stream = page.connect("/api/events").await;
    read_until(&mut stream, "event: store").await;
    page.stop.send(()).unwrap();
    timeout(PATIENCE, page.served).await.expect("serving ends in time").unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_never_finishes_asking_is_cut_off() {
    let page = Page::start_within(Limits { head_max: Duration::from_millis(100), ..Limits::default() }).await;
    let mut stream = TcpStream::connect(page.addr).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
    let mut rest = Vec::new();
    let ended = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection is still open");
}

#[tokio::test]
async fn a_live_client_that_never_reads_is_cut_off() {
    let page =
        Page::start_within(Limits { silence_max: Duration::from_millis(1_500), ..Limits::default() }).await;
    let mut large = view(1);
    let names = (0..40_000).map(|number| (format!("counter.with.a.long.name.{number}"), number));
    large.counters = names.collect();
    // One stream more than before is this client's; its connection holds further clones. Before, the page must be up.
    assert!(page.get("/readyz").await.starts_with("HTTP/1.1 200"));
    let without = page.view.receiver_count();
    let _stream = page.connect("/api/events").await;
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    let mut pictures = async |until: &dyn Fn(usize) -> bool| {
        while !until(page.view.receiver_count()) {
            pace.tick().await;
            large.uplink.waiting_rows += 1;
            page.view.send_replace(Arc::new(large.clone()));
        }
    };
    timeout(PATIENCE, pictures(&|now| without < now)).await.expect("the client is served");
    timeout(PATIENCE, pictures(&|now| now <= without)).await.expect("a client that never reads is dropped");
}
