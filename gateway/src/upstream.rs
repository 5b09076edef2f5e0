//! The way to headquarters: reads rows from the journal, sends them in batches, and moves a stream's cursor when
//! headquarters has said that it committed them.
//!
//! [`forwarder`] decides and has no IO; [`link`] owns the MQTT client and the timer and carries the decisions out.
//! This file is what the rest of the gateway sees: [`spawn`] takes a [`Start`] and gives an [`UpstreamHandle`].
//! It does not own rows (a [`RowSource`] reads them), cursors (a [`CursorStore`] keeps them) or retention: what is
//! acknowledged may be dropped, by whom and when is decided elsewhere.
//!
//! # Invariants
//!
//! - A cursor moves only to what headquarters has acknowledged; until then every row can be read and sent again.
//! - Nothing here stops the store: an unreachable or refusing headquarters means waiting, with a bounded back-off.
//! - Every wait, queue and retry has a limit: see [`Tuning`].
//!
//! Units: `_ms` are milliseconds, `seq` is a row's place in the journal, 0 stands before the first row.

pub mod forwarder;
pub mod link;
pub mod probe;

use std::{collections::BTreeMap, error::Error, fmt, sync::Arc, time::Duration};

use contract::{
    StoreId, Timestamp,
    upstream::{BATCH_BYTES_MAX, BATCH_ROWS_MAX, BirthDevice, CommandResult, Epoch, Row, SeqRange, Stream},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// What a source or a cursor store answers when it fails; the link counts it, says it in the status, and retries.
pub type SourceError = Box<dyn Error + Send + Sync>;

/// Where rows come from. Called on a blocking thread, never by two at a time.
pub trait RowSource: Send + 'static {
    /// The stream's rows with `after_seq < seq` that are durable and final, rising, none left out between the first and the last.
    ///
    /// Records that are gone lie before the first row only, and are said.
    /// At most `rows_max` rows, and no more than about `bytes_max` bytes of `data`, yet always at least one row
    /// when there is one: an empty answer means that no row after `after_seq` is durable now.
    ///
    /// # Errors
    /// When the rows cannot be read; the same call is made again later.
    fn rows_after(
        &mut self,
        stream: Stream,
        after_seq: u64,
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<Found, SourceError>;

    /// The row with exactly this `seq`, from everything that is durable.
    ///
    /// # Errors
    /// When the journal cannot be read.
    fn row_at(&mut self, stream: Stream, seq: u64) -> Result<RowAt, SourceError>;

    /// Begins a new epoch of the journal, durably: headquarters has rows of the present one, through `seen_seq`, that
    /// are not this journal's.
    ///
    /// # Errors
    /// When the disk refuses; the same call is made again later.
    fn begin_epoch(&mut self, seen_seq: u64) -> Result<EpochBegun, SourceError>;

    /// How many of the stream's rows wait after `after_seq`, where that can be told without reading them all.
    fn rows_waiting(&mut self, stream: Stream, after_seq: u64) -> Option<u64> {
        let _ = (stream, after_seq);
        None
    }
}

/// Rows that were read.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The rows.
    pub rows: Vec<Row>,
    /// Records before the first row that the journal does not have any more; some may have been rows.
    pub lost: Option<SeqRange>,
}

/// What stands at one place of the journal.
#[derive(Debug, Clone)]
pub enum RowAt {
    /// A row of the stream.
    Row(Row),
    /// Something else.
    Other,
    /// The journal has that place no more.
    Gone,
}

/// A new epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochBegun {
    /// Which.
    pub epoch: Epoch,
    /// Rows through this one may have been sent under an earlier epoch; 0 when this is the journal's first.
    pub sent_before_through: u64,
}

/// How far headquarters is in a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The last acknowledged `seq`, 0 when there is none.
    pub acked_seq: u64,
    /// The epoch under which it was acknowledged; 0 when that is not known.
    pub epoch: Epoch,
}

/// Where the acknowledged place of each stream is kept.
pub trait CursorStore: Send + 'static {
    /// How far headquarters is.
    ///
    /// A place that is older than the truth costs repetition only: headquarters says at connection what it has.
    ///
    /// # Errors
    /// When it cannot be read.
    fn load(&mut self, stream: Stream) -> Result<Cursor, SourceError>;

    /// Remembers how far headquarters is. It never goes back.
    ///
    /// # Errors
    /// When it cannot be written; counted, and the next acknowledgement saves again.
    fn save(&mut self, stream: Stream, cursor: Cursor) -> Result<(), SourceError>;
}

/// Everything that the link needs. All fields are plain values or handles; there is nothing hidden in globals.
pub struct Start {
    /// Where headquarters' broker is and what flows there.
    pub config: Config,
    /// Who this hub is.
    pub identity: Identity,
    /// Reads rows.
    pub source: Box<dyn RowSource>,
    /// Keeps cursors.
    pub cursors: Box<dyn CursorStore>,
    /// The last `seq` that the source may answer with; a change means that there may be new rows. Its value at start
    /// counts too.
    pub new_rows: watch::Receiver<u64>,
    /// The journal's last durable `seq` at start: headquarters may have rows up to here.
    pub durable_seq: u64,
    /// Reduced modes in words, for the status document; a sender that is gone leaves the last value.
    pub degraded: watch::Receiver<Vec<String>>,
    /// The wall clock, for the `time` of batches and statuses.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// The registered devices, asked at each birth.
    pub devices: Arc<dyn Fn() -> Vec<BirthDevice> + Send + Sync>,
    /// Spreads reconnects: gives numbers in `0.0..1.0`. See [`random_jitter`]; tests pass a constant.
    pub jitter: Box<dyn FnMut() -> f64 + Send>,
    /// What headquarters says about orders, and what it hears.
    pub orders: OrderLine,
    /// Ends the link: `online: false` is said and the connection closed.
    pub shutdown: CancellationToken,
}

/// Carries headquarters' order commands to the rest of the hub, and their results back. What finds no room or no line is
/// dropped and counted: headquarters repeats a command until it has heard how it went.
pub struct OrderLine {
    /// Command id and payload, unread.
    pub commands: mpsc::Sender<(String, Vec<u8>)>,
    /// Command id and result.
    pub results: mpsc::Receiver<(String, CommandResult)>,
}

/// Where headquarters' broker is and what flows there.
#[derive(Debug, Clone)]
pub struct Config {
    /// The broker.
    pub broker: BrokerUrl,
    /// The streams to forward; the order has no meaning.
    pub streams: Vec<Stream>,
    /// Limits and deadlines.
    pub tuning: Tuning,
}

/// Who this hub is: what its birth document and its last will say.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The store.
    pub store: StoreId,
    /// Which life of the journal, at start.
    pub epoch: EpochBegun,
    /// Counts the hub's starts.
    pub boot: u64,
    /// The hub's version.
    pub version: String,
    /// When the hub started.
    pub started_at: Timestamp,
    /// Digest of the configuration, in hexadecimal.
    pub config_digest: String,
}

/// Limits and deadlines of the link. `Tuning::default()` suits a store on a DSL line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuning {
    /// Most batches on their way, over all streams (W).
    pub window: usize,
    /// Most rows in a batch.
    pub batch_rows_max: usize,
    /// Most bytes of an encoded batch.
    pub batch_bytes_max: usize,
    /// How long a stream that was idle gathers rows before it sends them.
    pub linger: Duration,
    /// A batch that is neither acknowledged nor moved on for this long costs the connection.
    pub ack_deadline: Duration,
    /// First pause before a reconnect; doubles with each failure.
    pub retry_min: Duration,
    /// Longest pause before a reconnect.
    pub retry_max: Duration,
    /// MQTT keep-alive.
    pub keep_alive: Duration,
    /// Limit for a TCP and MQTT connect, and for writing one packet.
    pub io_deadline: Duration,
    /// How often the status document is said again while connected.
    pub status_every: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            window: 16,
            batch_rows_max: BATCH_ROWS_MAX,
            // Half of what headquarters takes: a 128 KiB packet crosses a 64 kbit/s line within `io_deadline`.
            batch_bytes_max: BATCH_BYTES_MAX / 2,
            linger: Duration::from_millis(200),
            ack_deadline: Duration::from_secs(45),
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_secs(60),
            keep_alive: Duration::from_secs(20),
            io_deadline: Duration::from_secs(30),
            status_every: Duration::from_secs(60),
        }
    }
}

/// A running link.
pub struct UpstreamHandle {
    /// How the link is doing, renewed with every change, at most a few times a second.
    pub status: watch::Receiver<UplinkStatus>,
    /// Ends after [`Start::shutdown`] is cancelled.
    pub join: JoinHandle<()>,
}

/// How the link is doing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UplinkStatus {
    /// Whether the broker has accepted the present connection.
    pub connected: bool,
    /// When headquarters last acknowledged rows.
    pub last_ack_at: Option<Timestamp>,
    /// Why the last connection ended or could not be made; `None` once connected.
    pub last_error: Option<String>,
    /// Each configured stream.
    pub streams: BTreeMap<Stream, StreamStatus>,
    /// What happened, by reason: connects, link errors, refused acknowledgements, resends, …
    pub counters: BTreeMap<&'static str, u64>,
    /// What needs a person, in words; empty when all is well.
    pub degraded: Vec<String>,
}

/// One stream's place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamStatus {
    /// Headquarters has every row through this one.
    pub acked_seq: u64,
    /// The last row sent on the present connection.
    pub sent_seq: u64,
    /// Batches on their way.
    pub batches_in_flight: usize,
    /// Rows that wait, where the source can tell.
    pub rows_waiting: Option<u64>,
}

/// `mqtt://[user[:password]@]host[:port]`, user and password with `%XX` escapes.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    /// Host name or address.
    pub host: String,
    /// TCP port, 1883 unless told.
    pub port: u16,
    /// User name and password.
    pub login: Option<(String, String)>,
}

/// The password is not shown.
impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Without the login.
impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "mqtt://[{}]:{}", self.host, self.port),
            false => write!(f, "mqtt://{}:{}", self.host, self.port),
        }
    }
}

/// Why a text names no broker that this release can reach.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerUrlError {
    /// TLS comes in a later release.
    #[error(
        "`{scheme}://` is not supported by this release; only plain `mqtt://host:port` is (use a tunnel for TLS)"
    )]
    Encrypted {
        /// `mqtts`, `ssl`, `wss`, …
        scheme: String,
    },
    /// Another scheme, or none.
    #[error("`{shown}` does not start with `mqtt://`")]
    Scheme {
        /// The text before the host, never the login.
        shown: String,
    },
    /// Nothing where the host should be, or more than host and port.
    #[error("`{shown}` is no `host` or `host:port`")]
    Host {
        /// What stands there.
        shown: String,
    },
    /// A `%` in the login that is no escape.
    #[error("the login has a `%` that is not followed by two hexadecimal digits; write `%25` for `%` itself")]
    Escape,
    /// A port out of range.
    #[error("port `{shown}` is not a number from 1 to 65535")]
    Port {
        /// What stands there.
        shown: String,
    },
}

/// 1883, the registered port of MQTT.
const MQTT_PORT: u16 = 1883;

impl BrokerUrl {
    /// Reads `mqtt://[user[:password]@]host[:port]`.
    ///
    /// # Errors
    /// Another scheme, no host, a path, a bad escape, or a port out of range. A password never appears in the message.
    pub fn parse(url: &str) -> Result<Self, BrokerUrlError> {
        let Some((scheme, rest)) = url.split_once("://") else {
            let shown = url.rsplit('@').next().unwrap_or_default().to_owned();
            return Err(BrokerUrlError::Scheme { shown });
        };
        match scheme {
            "mqtt" | "tcp" => {}
            "mqtts" | "ssl" | "tls" | "ws" | "wss" => {
                return Err(BrokerUrlError::Encrypted { scheme: scheme.to_owned() });
            }
            _ => return Err(BrokerUrlError::Scheme { shown: scheme.to_owned() }),
        }
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                let login = unescaped(user).zip(unescaped(password));
                (Some(login.ok_or(BrokerUrlError::Escape)?), place)
            }
            None => (None, rest),
        };
        let place = place.strip_suffix('/').unwrap_or(place);
        let (host, port) = match place.strip_prefix('[').and_then(|place| place.split_once(']')) {
            Some((host, rest)) => (host, rest.strip_prefix(':')),
            None => match place.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        if host.is_empty() || host.contains(['/', '?', '#', ' ']) {
            return Err(BrokerUrlError::Host { shown: place.to_owned() });
        }
        let port = match port {
            None => MQTT_PORT,
            Some(shown) => match shown.parse::<u16>() {
                Ok(port) if port != 0 => port,
                _ => return Err(BrokerUrlError::Port { shown: shown.to_owned() }),
            },
        };
        Ok(Self { host: host.to_owned(), port, login })
    }
}

/// Resolves `%XX`, by which a login may hold any character; `None` when something else follows a `%`.
fn unescaped(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

/// Jitter for production.
#[must_use]
pub fn random_jitter() -> Box<dyn FnMut() -> f64 + Send> {
    Box::new(|| {
        let mut bytes = [0; 4];
        // Without randomness the reconnects of many stores are less spread, which is no reason to stop.
        if getrandom::fill(&mut bytes).is_err() {
            return 0.5;
        }
        f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
    })
}

/// Starts the link on the present tokio runtime. It reconnects by itself until [`Start::shutdown`] is cancelled.
#[must_use]
pub fn spawn(start: Start) -> UpstreamHandle {
    link::spawn(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_named_by_host_port_and_login() {
        let url = BrokerUrl::parse("mqtt://hz-1:s:e@cret@hq.example:1884").unwrap();
        assert_eq!((url.host.as_str(), url.port), ("hq.example", 1884));
        assert_eq!(url.login, Some(("hz-1".to_owned(), "s:e@cret".to_owned())));
        assert_eq!(BrokerUrl::parse("mqtt://127.0.0.1").unwrap().port, 1883);
        assert_eq!(BrokerUrl::parse("mqtt://[::1]:9/").unwrap().to_string(), "mqtt://[::1]:9");
        assert!(!format!("{url:?}").contains("cret"));
        let url = BrokerUrl::parse("mqtt://hz-1:50%25%20%e5%ba%97@hq").unwrap();
        assert_eq!(url.login.unwrap().1, "50% 店");
    }

    #[test]
    fn what_this_release_cannot_reach_is_refused_with_its_reason() {
        let cases = [
            ("mqtts://hq:8883", "`mqtts://` is not supported"),
            ("http://hq", "`http` does not start with"),
            ("user:secret@hq:1883", "`hq:1883` does not start with"),
            ("mqtt://", "no `host`"),
            ("mqtt://hq/path", "no `host`"),
            ("mqtt://u:secret%2@hq", "`%25`"),
            ("mqtt://u:secret%+1@hq", "`%25`"),
            ("mqtt://u:secret%ff@hq", "`%25`"),
            ("mqtt://hq:0", "port `0`"),
            ("mqtt://hq:99999", "port `99999`"),
        ];
        for (url, reason) in cases {
            let error = BrokerUrl::parse(url).unwrap_err().to_string();
            assert!(error.contains(reason), "{url}: {error}");
            assert!(!error.contains("secret"), "{url}: {error}");
        }
    }
}
