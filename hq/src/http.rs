//! The fleet over HTTP: the API, health, metrics, and one page.
//!
//! Reads the [`Fleet`] picture and rows; what changes something is in [`orders`] alone. Reading has no login: it listens
//! on loopback by default, and a proxy in front of it decides who may see it. [`http_edge`] bounds what slow or many
//! clients can hold.

pub mod orders;

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use axum::{
    Json, Router,
    extract::{Path, RawQuery, State as Shared},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use contract::{
    StoreId, Timestamp,
    upstream::{Epoch, Stream},
};
use http_edge::{Ended, Limits};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    counters::Counters,
    database::{After, Reader, StoredRow, writer::Health},
    desk::Desk,
    embedded::Refused,
    fleet::{Fleet, StoreState, StreamState},
    ingest::Ingest,
};
use orders::Guard;

/// Rows in one answer unless told.
pub const LIMIT_DEFAULT: usize = 1_000;
/// Most rows in one answer.
pub const LIMIT_MAX: usize = 10_000;

const PAGE: &str = include_str!("http/page.html");
const SCRIPT: &str = include_str!("http/page.js");
const STYLE: &str = include_str!("http/page.css");
/// Everything comes from here, nothing from elsewhere, and nobody may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What the handlers read.
#[derive(Clone)]
pub struct State {
    /// The stores.
    pub fleet: Fleet,
    /// Counts.
    pub counters: Counters,
    /// Whether commits succeed.
    pub health: Health,
    /// Reads rows.
    pub reader: Arc<Reader>,
    /// How much waits.
    pub ingest: Ingest,
    /// Commands and orders.
    pub desk: Desk,
    /// Who may place commands.
    pub guard: Guard,
    /// The broker in this process, if there is one.
    pub broker: Option<broker::Handle>,
    /// Who was refused there.
    pub refused: Arc<Refused>,
    /// The wall clock.
    pub clock: fn() -> Timestamp,
}

/// Serves until `stop`.
pub async fn serve(listener: TcpListener, state: State, stop: CancellationToken) {
    let counters = state.counters.clone();
    let router = Router::new()
        .route("/", get(|| asset("text/html; charset=utf-8", PAGE)))
        .route("/page.js", get(|| asset("text/javascript; charset=utf-8", SCRIPT)))
        .route("/page.css", get(|| asset("text/css; charset=utf-8", STYLE)))
        .route("/api/stores", get(stores))
        .route("/api/stores/{id}/rows", get(rows))
        .route("/api/refusals", get(refusals))
        .merge(orders::router())
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "path", "", "there is nothing here") })
        .with_state(state);
    let tell = Arc::new(move |name| counters.count(name));
    match http_edge::serve(listener, router, Limits::default(), tell, stop.cancelled_owned()).await {
        Ok(Ended::Drained) => {}
        Ok(Ended::Cut) => tracing::warn!("HTTP connections did not end in time and were cut"),
        Err(error) => tracing::error!("HTTP stopped: {error}"),
    }
}

async fn asset(kind: &'static str, body: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, body).into_response()
}

/// What is wrong with a request, with the field and its value.
fn problem(status: StatusCode, field: &str, value: &str, reason: &str) -> Response {
    let value: String = value.chars().take(80).collect();
    let body = serde_json::json!({ "error": reason, "field": field, "value": value });
    (status, no_store(), Json(body)).into_response()
}

fn no_store() -> [(HeaderName, HeaderValue); 1] {
    [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))]
}

#[derive(Serialize)]
struct StoreDocument {
    id: StoreId,
    online: bool,
    last_seen: Option<Timestamp>,
    boot: Option<u64>,
    version: Option<String>,
    epoch: Option<Epoch>,
    devices: Option<usize>,
    config_digest: Option<String>,
    waiting_rows: Option<u64>,
    degraded: Vec<String>,
    /// Rows that came again with other content, over all streams and lives of the journal.
    conflicts: u64,
    /// What somebody should look into, in words; empty when all is well.
    problems: Vec<String>,
    streams: BTreeMap<&'static str, StreamDocument>,
    /// Streams of older lives of the journal.
    older: Vec<OlderDocument>,
}

#[derive(Serialize)]
struct StreamDocument {
    epoch: Epoch,
    through_seq: u64,
    rows: u64,
    gaps_open: u64,
    conflicts: u64,
    missing_before: Option<MissingDocument>,
    /// Ranges of its journal that the store has lost, as it said: some of them may have been rows of this stream.
    lost_ranges: u64,
    last_row_at: Option<Timestamp>,
    committed_at: Option<Timestamp>,
    lag_seconds: Option<f64>,
}

/// Rows after `after_seq` and before `before_seq` that the store sent once, and no more when it was asked again. How many
/// they were, nobody knows: seqs have holes.
#[derive(Serialize)]
struct MissingDocument {
    after_seq: u64,
    before_seq: u64,
}

#[derive(Serialize)]
struct OlderDocument {
    stream: &'static str,
    #[serde(flatten)]
    state: StreamDocument,
}

impl StreamDocument {
    fn new(epoch: Epoch, state: &StreamState, waiting: bool, now: Timestamp) -> Self {
        // While the store says that rows wait, the lag is the age of what we have; when nothing waits, it is how long
        // the newest row was on its way.
        let until = if waiting { Some(now) } else { state.committed_at };
        let lag_seconds = until.zip(state.last_row_at).map(|(until, at)| {
            #[expect(clippy::cast_precision_loss, reason = "a lag in milliseconds is far below 2^52")]
            let millis = until.millis_since(at).max(0) as f64;
            millis / 1_000.0
        });
        Self {
            epoch,
            through_seq: state.through_seq,
            rows: state.rows,
            gaps_open: state.gaps_open,
            conflicts: state.conflicts,
            missing_before: state.begins_at.map(|before_seq| MissingDocument { after_seq: 0, before_seq }),
            lost_ranges: state.lost_ranges,
            last_row_at: state.last_row_at,
            committed_at: state.committed_at,
            lag_seconds,
        }
    }
}

impl StoreDocument {
    fn new(id: &StoreId, store: &StoreState, now: Timestamp) -> Self {
        let epoch = store.epoch();
        let waiting = store.status.as_ref().is_some_and(|status| 0 < status.waiting_rows);
        let (mut streams, mut older) = (BTreeMap::new(), Vec::new());
        for (&(stream, of), state) in &store.streams {
            let document = StreamDocument::new(of, state, waiting, now);
            if Some(of) == epoch {
                streams.insert(stream.as_str(), document);
            } else {
                older.push(OlderDocument { stream: stream.as_str(), state: document });
            }
        }
        let conflicts = store.streams.values().map(|stream| stream.conflicts).sum();
        let mut problems = Vec::new();
        if 0 < conflicts {
            problems.push(format!("conflicts: {conflicts}"));
        }
        for ((stream, _), state) in &store.streams {
            if let Some(seq) = state.begins_at {
                problems.push(format!("missing_before: {stream} {seq}"));
            }
            if 0 < state.lost_ranges {
                problems.push(format!("lost_ranges: {stream} {}", state.lost_ranges));
            }
        }
        let (birth, status) = (store.birth.as_ref(), store.status.as_ref());
        Self {
            id: id.clone(),
            online: store.online,
            last_seen: store.last_seen,
            boot: status.map(|status| status.boot).or(birth.map(|birth| birth.boot)),
            version: birth.map(|birth| birth.version.clone()),
            epoch,
            devices: birth.map(|birth| birth.devices.len()),
            config_digest: birth.map(|birth| birth.config_digest.clone()),
            waiting_rows: status.map(|status| status.waiting_rows),
            degraded: status.map(|status| status.degraded.clone()).unwrap_or_default(),
            conflicts,
            problems,
            streams,
            older,
        }
    }
}

async fn stores(Shared(state): Shared<State>) -> Response {
    let now = (state.clock)();
    let stores: Vec<StoreDocument> =
        state.fleet.lock().iter().map(|(id, store)| StoreDocument::new(id, store, now)).collect();
    (no_store(), Json(serde_json::json!({ "now": now, "stores": stores }))).into_response()
}

/// Who was refused at the door lately, why, and what to do.
async fn refusals(Shared(state): Shared<State>) -> Response {
    let refusals = state.refused.list.list();
    (no_store(), Json(serde_json::json!({ "refusals": refusals }))).into_response()
}

#[derive(Debug, PartialEq)]
struct RowsQuery {
    stream: Stream,
    after: After,
    limit: usize,
}

/// A parameter that cannot be used.
#[derive(Debug, PartialEq)]
struct BadParameter {
    field: String,
    value: String,
    reason: String,
}

fn rows_query(query: &str) -> Result<RowsQuery, BadParameter> {
    let bad = |field: &str, value: &str, reason: String| BadParameter {
        field: field.to_owned(),
        value: value.to_owned(),
        reason,
    };
    let (mut stream, mut after, mut limit) = (None, After { epoch: None, seq: 0 }, LIMIT_DEFAULT);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (field, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = &value.replace("%3A", ":").replace("%3a", ":");
        match field {
            "stream" => {
                let names = Stream::ALL.map(Stream::as_str).join("`, `");
                let found = Stream::parse(value);
                stream =
                    Some(found.ok_or_else(|| bad(field, value, format!("`stream` is one of `{names}`")))?);
            }
            "after" => {
                let (epoch, seq) = match value.split_once(':') {
                    Some((epoch, seq)) => (epoch.parse().map(Some), seq.parse()),
                    None => (Ok(None), value.parse()),
                };
                let (Ok(epoch), Ok(seq)) = (epoch, seq) else {
                    return Err(bad(
                        field,
                        value,
                        "`after` is a seq or `epoch:seq`, such as `1700000000000:42`".to_owned(),
                    ));
                };
                after = After { epoch, seq };
            }
            "limit" => match value.parse() {
                Ok(rows @ 1..=LIMIT_MAX) => limit = rows,
                _ => return Err(bad(field, value, format!("`limit` is a number from 1 to {LIMIT_MAX}"))),
            },
            _ => {
                let reason = format!("`{field}` is not known; there are `stream`, `after` and `limit`");
                return Err(bad(field, value, reason));
            }
        }
    }
    let Some(stream) = stream else {
        let names = Stream::ALL.map(Stream::as_str).join("`, `");
        return Err(bad("stream", "", format!("`stream` is missing; it is one of `{names}`")));
    };
    Ok(RowsQuery { stream, after, limit })
}

#[derive(Serialize)]
struct RowsDocument {
    rows: Vec<StoredRow>,
    /// `after` of the next page; `None` when these were the last rows.
    next: Option<String>,
}

async fn rows(Shared(state): Shared<State>, Path(id): Path<String>, RawQuery(query): RawQuery) -> Response {
    let store = match StoreId::parse(&id) {
        Ok(store) => store,
        Err(error) => return problem(StatusCode::BAD_REQUEST, "id", &id, &error.to_string()),
    };
    let RowsQuery { stream, after, limit } = match rows_query(query.as_deref().unwrap_or_default()) {
        Ok(query) => query,
        Err(bad) => return problem(StatusCode::BAD_REQUEST, &bad.field, &bad.value, &bad.reason),
    };
    if !state.fleet.lock().contains_key(&store) {
        return problem(StatusCode::NOT_FOUND, "id", &id, "nothing ever came from this store");
    }
    let reader = Arc::clone(&state.reader);
    let read = tokio::task::spawn_blocking(move || reader.rows(&store, stream, after, limit)).await;
    match read {
        Ok(Ok(rows)) => {
            let last = rows.last().filter(|_| rows.len() == limit);
            let next = last.map(|row| format!("{}:{}", row.epoch, row.seq));
            (no_store(), Json(RowsDocument { rows, next })).into_response()
        }
        Ok(Err(error)) => {
            tracing::error!("{error}");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "id", &id, "the rows cannot be read now")
        }
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "id", &id, "reading the rows failed"),
    }
}

async fn health(Shared(state): Shared<State>) -> Response {
    let trouble = state.health.trouble();
    let (status, word) = match trouble {
        None => (StatusCode::OK, "ok"),
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "degraded"),
    };
    let body = serde_json::json!({
        "status": word,
        "reason": trouble,
        "waiting_publishes": state.ingest.waiting(),
        "counters": state.counters.all(),
    });
    (status, no_store(), Json(body)).into_response()
}

async fn metrics(Shared(state): Shared<State>) -> Response {
    let mut text = String::new();
    let mut line = |name: &str, kind: &str, help: &str, value: u64| {
        writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}")
            .expect("a string takes everything");
    };
    for (name, value) in state.counters.all() {
        line(&format!("storehub_hq_{name}_total"), "counter", "How often this happened.", value);
    }
    let (mut online, mut known, mut gaps) = (0, 0, 0);
    for store in state.fleet.lock().values() {
        known += 1;
        online += u64::from(store.online);
        gaps += store.streams.values().map(|stream| stream.gaps_open).sum::<u64>();
    }
    line("storehub_hq_stores", "gauge", "Stores that are known.", known);
    line("storehub_hq_stores_online", "gauge", "Stores whose hub is connected.", online);
    line("storehub_hq_gaps_open", "gauge", "Gaps that a resend must close.", gaps);
    line(
        "storehub_hq_waiting_publishes",
        "gauge",
        "Publishes that wait for the database.",
        state.ingest.waiting() as u64,
    );
    line(
        "storehub_hq_degraded",
        "gauge",
        "1 while commits fail.",
        u64::from(state.health.trouble().is_some()),
    );
    if let Some(broker) = &state.broker {
        line("storehub_hq_broker_clients", "gauge", "Connected clients.", broker.clients() as u64);
        for (name, value) in broker.counters() {
            line(&format!("storehub_hq_broker_{name}_total"), "counter", "As the broker counts it.", value);
        }
    }
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_asked_for_by_stream_place_and_limit() {
        let query = rows_query("stream=events&after=7%3A42&limit=5").unwrap();
        assert_eq!(
            query,
            RowsQuery { stream: Stream::Events, after: After { epoch: Some(7), seq: 42 }, limit: 5 }
        );
        let query = rows_query("stream=events&after=42").unwrap();
        assert_eq!((query.after, query.limit), (After { epoch: None, seq: 42 }, LIMIT_DEFAULT));
    }

    #[test]
    fn a_bad_parameter_is_named_with_its_value() {
        for (query, field, value) in [
            ("", "stream", ""),
            ("stream=sales", "stream", "sales"),
            ("stream=events&after=-1", "after", "-1"),
            ("stream=events&after=1:x", "after", "1:x"),
            ("stream=events&limit=0", "limit", "0"),
            ("stream=events&limit=10001", "limit", "10001"),
            ("stream=events&from=1", "from", "1"),
        ] {
            let bad = rows_query(query).unwrap_err();
            assert_eq!((bad.field.as_str(), bad.value.as_str()), (field, value), "{query}");
        }
    }

    #[test]
    fn what_somebody_should_look_into_is_a_problem_of_the_store_with_its_range() {
        let mut store = StoreState::default();
        let state = StreamState { conflicts: 2, begins_at: Some(500), ..StreamState::default() };
        store.streams.insert((Stream::Events, 7), state);
        store.streams.insert((Stream::Events, 6), StreamState { conflicts: 1, ..StreamState::default() });
        let id = StoreId::parse("hz-1").unwrap();
        let shown = serde_json::to_value(StoreDocument::new(&id, &store, Timestamp::UNIX_EPOCH)).unwrap();
        assert_eq!(shown["conflicts"], 3);
        assert_eq!(shown["problems"], serde_json::json!(["conflicts: 3", "missing_before: events 500"]));
        let range = serde_json::json!({ "after_seq": 0, "before_seq": 500 });
        assert_eq!(shown["streams"]["events"]["missing_before"], range);
        assert_eq!(
            (&shown["streams"]["events"]["conflicts"], &shown["older"][0]["conflicts"]),
            (&2.into(), &1.into())
        );
        let fine =
            serde_json::to_value(StoreDocument::new(&id, &StoreState::default(), Timestamp::UNIX_EPOCH));
        assert_eq!(fine.unwrap()["problems"], serde_json::json!([]));
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        for (name, text) in [("page.html", PAGE), ("page.js", SCRIPT), ("page.css", STYLE)] {
            for foreign in ["http://", "https://", "style=\"", "onclick", "<script>", "innerHTML"] {
                assert!(!text.contains(foreign), "{name} has `{foreign}`");
            }
        }
    }
}
