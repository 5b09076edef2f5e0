//! The store's own HTTP surface: the staff page, the picture of the store as JSON and as a live stream, health and
//! metrics.
//!
//! Owns: routes, headers, the limits on live clients. Does not own: any of the facts; it shows the [`StoreView`] that it
//! is given and knows nothing else. Connections are [`http_edge`]'s.
//!
//! # Invariants
//!
//! - Read-only: every route answers GET, none changes anything.
//! - The page loads nothing from elsewhere, and the browser is told not to (content security policy).
//! - A client that stalls, dies or never reads costs one connection for a time, and nobody else anything; live clients
//!   get the newest picture, never a queue of old ones, and one address never has every place.
//!
//! | route | what |
//! | --- | --- |
//! | `/`, `/app.js`, `/style.css` | the staff page |
//! | `/api/store` | the whole store as JSON |
//! | `/api/events` | the same as server-sent events, at most one per [`EVENT_INTERVAL`] |
//! | `/healthz` | 200 when the hub is well, 503 with the reasons when it runs in a reduced mode |
//! | `/readyz` | 200 once there is a picture of the store |
//! | `/metrics` | Prometheus text |

mod metrics;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{ConnectInfo, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
    routing::get,
};
use contract::{Timestamp, hub::StoreView};
use futures_util::{Stream, stream};
use http_edge::{Limits, Peer, Place, Places};
use tokio::{net::TcpListener, sync::watch, time::Instant};

/// Most clients of the live stream; further ones are told to come back.
pub const EVENT_CLIENTS_MAX: usize = 64;
/// Most of them from one address, which may be a proxy's.
pub const EVENT_CLIENTS_PER_ADDRESS_MAX: usize = 16;
/// Shortest time between two pictures on one live stream.
pub const EVENT_INTERVAL: Duration = Duration::from_millis(500);
/// How often a quiet live stream says that it is there; less than the silence after which a connection is closed.
pub const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// A picture that stays the same one for this long is stuck: whoever makes it makes one every second at least.
pub const PICTURE_AGE_MAX: Duration = Duration::from_secs(10);
/// After how many seconds a turned-away live client shall come back.
const RETRY_AFTER_SECS: &str = "10";

const PAGE: &str = include_str!("http/page.html");
const SCRIPT: &str = include_str!("http/app.js");
const STYLE: &str = include_str!("http/style.css");

const SECURITY_HEADERS: [(HeaderName, HeaderValue); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

#[derive(Clone)]
struct Shared {
    view: watch::Receiver<Arc<StoreView>>,
    event_clients: Places,
    counts: Counts,
    /// The last picture as JSON, so that many clients cost one serialisation.
    rendered: Arc<Mutex<Option<Rendered>>>,
    /// The picture that health was asked about last.
    judged: Arc<Mutex<Judged>>,
}

/// What happened at this surface, by name.
pub type Counts = Arc<Mutex<BTreeMap<&'static str, u64>>>;

fn count(counts: &Counts, name: &'static str) {
    *counts.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
}

/// Tells a picture that is kept up to date from one that is stuck, by the steady clock of whoever asks for health.
struct Judged {
    view: Arc<StoreView>,
    since: Instant,
}

impl Judged {
    /// For how long `view` has been the newest one, as far as was asked; `None` while that is no reason to worry.
    fn stuck(&mut self, view: &Arc<StoreView>, now: Instant) -> Option<Duration> {
        if !Arc::ptr_eq(&self.view, view) {
            *self = Self { view: Arc::clone(view), since: now };
        }
        Some(now.saturating_duration_since(self.since)).filter(|age| PICTURE_AGE_MAX < *age)
    }
}

struct Rendered {
    view: Arc<StoreView>,
    json: Arc<str>,
}

impl Shared {
    fn json(&self, view: &Arc<StoreView>) -> Arc<str> {
        let mut rendered = self.rendered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*rendered
            && Arc::ptr_eq(&known.view, view)
        {
            return Arc::clone(&known.json);
        }
        let json = serde_json::to_string(&**view).expect("a picture of the store is always JSON");
        let json: Arc<str> = json.into();
        *rendered = Some(Rendered { view: Arc::clone(view), json: Arc::clone(&json) });
        json
    }

    fn now(&self) -> Arc<StoreView> {
        Arc::clone(&self.view.borrow())
    }
}

fn router(view: watch::Receiver<Arc<StoreView>>, counts: Counts) -> Router {
    let judged = Judged { view: Arc::clone(&view.borrow()), since: Instant::now() };
    let shared = Shared {
        view,
        judged: Arc::new(Mutex::new(judged)),
        event_clients: Places::new(EVENT_CLIENTS_MAX, EVENT_CLIENTS_PER_ADDRESS_MAX),
        counts,
        rendered: Arc::new(Mutex::new(None)),
    };
    Router::new()
        .route("/", get(|| async { text("text/html; charset=utf-8", PAGE) }))
        .route("/app.js", get(|| async { text("text/javascript; charset=utf-8", SCRIPT) }))
        .route("/style.css", get(|| async { text("text/css; charset=utf-8", STYLE) }))
        .route("/api/store", get(store))
        .route("/api/events", get(events))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(prometheus))
        .layer(middleware::map_response(secured))
        .with_state(shared)
}

/// Shows a picture of the store that others keep up to date, and counts what happens here, until `shutdown` resolves, then lets answers under way
/// finish for a moment and ends live streams.
///
/// # Errors
/// When the listener cannot be served any longer.
pub async fn serve(
    listener: TcpListener,
    view: watch::Receiver<Arc<StoreView>>,
    counts: Counts,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    serve_within(listener, view, counts, shutdown, Limits::default()).await
}

async fn serve_within(
    listener: TcpListener,
    view: watch::Receiver<Arc<StoreView>>,
    counts: Counts,
    shutdown: impl Future<Output = ()> + Send + 'static,
    limits: Limits,
) -> io::Result<()> {
    let router = router(view, Arc::clone(&counts));
    let tell = Arc::new(move |name| count(&counts, name));
    // Live streams never end by themselves, so that being cut is their usual end.
    http_edge::serve(listener, router, limits, tell, shutdown).await.map(drop)
}

async fn secured(mut response: Response) -> Response {
    response.headers_mut().extend(SECURITY_HEADERS);
    response
}

fn text(content_type: &'static str, body: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, content_type)], body)
}

async fn store(State(shared): State<Shared>) -> impl IntoResponse {
    let json = shared.json(&shared.now());
    ([(header::CONTENT_TYPE, "application/json")], json.to_string())
}

#[derive(serde::Serialize)]
struct HealthBody {
    status: &'static str,
    degraded: Vec<String>,
    notices: Vec<String>,
}

async fn healthz(State(shared): State<Shared>) -> impl IntoResponse {
    let view = shared.now();
    let mut degraded = view.health.degraded.clone();
    let stuck = shared.judged.lock().unwrap_or_else(PoisonError::into_inner).stuck(&view, Instant::now());
    if let Some(age) = stuck {
        degraded.push(format!(
            "the picture of the store has not changed for {} s; restart the hub",
            age.as_secs()
        ));
    } else if shared.view.has_changed().is_err() {
        degraded.push("nothing keeps the picture of the store up to date; restart the hub".to_owned());
    }
    let (code, status) = if degraded.is_empty() {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "degraded")
    };
    (code, Json(HealthBody { status, degraded, notices: view.health.notices.clone() }))
}

async fn readyz(State(shared): State<Shared>) -> impl IntoResponse {
    if shared.now().at == Timestamp::UNIX_EPOCH {
        (StatusCode::SERVICE_UNAVAILABLE, "no picture of the store yet\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

async fn prometheus(State(shared): State<Shared>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], {
        let counts = shared.counts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        metrics::text(&shared.now(), &counts)
    })
}

async fn events(State(shared): State<Shared>, ConnectInfo(Peer(peer)): ConnectInfo<Peer>) -> Response {
    let Some(place) = shared.event_clients.take(peer.ip()) else {
        count(&shared.counts, "http_live_clients_refused");
        let reason = format!(
            "there are {EVENT_CLIENTS_MAX} live clients already, or {EVENT_CLIENTS_PER_ADDRESS_MAX} from your address\n"
        );
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, RETRY_AFTER_SECS)], reason)
            .into_response();
    };
    Sse::new(pictures(shared, place)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

/// The picture at once, then the newest one whenever it has changed, and never more than one per interval.
fn pictures(shared: Shared, place: Place) -> impl Stream<Item = Result<Event, Infallible>> {
    let first = (shared, place, None::<Instant>);
    stream::unfold(first, |(mut shared, place, last)| async move {
        if let Some(last) = last {
            shared.view.changed().await.ok()?;
            tokio::time::sleep_until(last + EVENT_INTERVAL).await;
        }
        let view = Arc::clone(&shared.view.borrow_and_update());
        let event = Event::default().event("store").data(&*shared.json(&view));
        Some((Ok(event), (shared, place, Some(Instant::now()))))
    })
}
