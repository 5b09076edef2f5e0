//! The gateway's configuration: one TOML file, read once at start, never changed afterwards.
//!
//! Owns: the operator's words (`*Wire`, unknown keys refused), the defaults, and the check that turns them into
//! values which the rest of the hub need not doubt. Does not own: whether addresses are free or folders writable.
//!
//! Units stand in key names. Relative paths are relative to the file. Every error names file, line and column.

use std::{
    fs, io,
    net::SocketAddr,
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use contract::{StoreId, upstream::Stream};
use serde::Deserialize;
use toml::Spanned;

use crate::{domain::Planogram, journal, projector::Pace, upstream::BrokerUrl};

/// Everything that an operator decides.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which store this is.
    pub store: StoreId,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// What belongs on which shelf.
    pub planogram: Planogram,
    /// Where MQTT clients are accepted; `None` accepts none.
    pub mqtt_listen: Option<SocketAddr>,
    /// Whether every client is a device of its own client id.
    pub anonymous: bool,
    /// Where the staff page is; `None` serves none.
    pub http_listen: Option<SocketAddr>,
    /// Headquarters; `None` keeps everything here.
    pub upstream: Option<Upstream>,
    /// How the journal writes.
    pub journal: journal::Options,
    /// How often the projector does things, and what is kept.
    pub pace: Pace,
    /// Bounds of the MQTT edge.
    pub limits: broker::Limits,
    /// Bounds of what is kept without being understood.
    pub passthrough: PassthroughLimits,
    /// FNV-1a of the file's bytes in hexadecimal, to see which stores differ.
    pub digest: String,
}

/// Largest payloads, by kind, that pass through the hub and are journalled whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassthroughLimits {
    /// A device's answer to a command.
    pub command_result_bytes_max: usize,
    /// What a kiosk publishes beside requests and events.
    pub kiosk_bytes_max: usize,
}

impl Default for PassthroughLimits {
    fn default() -> Self {
        Self { command_result_bytes_max: 4_096, kiosk_bytes_max: 4_096 }
    }
}

impl PassthroughLimits {
    /// The limit of a topic and its key in the configuration.
    #[must_use]
    pub fn of(&self, topic: &str) -> (usize, &'static str) {
        if topic.starts_with("commands/") {
            (self.command_result_bytes_max, "limits.command_result_bytes_max")
        } else {
            (self.kiosk_bytes_max, "limits.kiosk_bytes_max")
        }
    }
}

/// Where headquarters is and what it gets.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Its broker.
    pub broker: BrokerUrl,
    /// What flows there.
    pub streams: Vec<Stream>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("failed to read the configuration `{}`; give its place with --config FILE", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not TOML, or not these keys.
    #[error("{}:{line}:{column}: {reason}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong, in the parser's words.
        reason: String,
    },
    /// A value that cannot be right.
    #[error("{}:{line}:{column}: `{field}` = {value}: {reason}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// The key with its table.
        field: String,
        /// The value as written.
        value: String,
        /// What is wrong.
        reason: String,
    },
    /// The planogram cannot be read.
    #[error("failed to read the planogram `{}` that `store.planogram` names", path.display())]
    PlanogramFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The planogram is wrong.
    #[error("the planogram `{}` is wrong", path.display())]
    Planogram {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: crate::domain::PlanogramError,
    },
}

const SEGMENT_BYTES_RANGE: Range<u64> = 64 * 1024..1024 * 1024 * 1024;
/// Two segments must fit.
const KEPT_SEGMENTS_MIN: u64 = 2;
const COMMIT_INTERVAL_MS_MAX: u64 = 1_000;
/// Longest deadline that a connection may be given, in seconds.
const DEADLINE_S_MAX: u64 = 600;
/// A packet must fit into one journal record with its names.
const PACKET_BYTES_MAX: u64 = 1024 * 1024 - 4096;
/// From any honest answer to the largest telemetry payload.
const PASSTHROUGH_BYTES_RANGE: Range<u64> = 256..64 * 1024 + 1;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigWire {
    store: StoreWire,
    #[serde(default)]
    mqtt: MqttWire,
    http: Option<HttpWire>,
    upstream: Option<UpstreamWire>,
    #[serde(default)]
    journal: JournalWire,
    #[serde(default)]
    retention: RetentionWire,
    #[serde(default)]
    limits: LimitsWire,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreWire {
    id: Spanned<String>,
    data_dir: Spanned<PathBuf>,
    planogram: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct MqttWire {
    listen: Option<Spanned<String>>,
    #[serde(default)]
    anonymous: bool,
    /// Only to say that it comes later.
    tls: Option<Spanned<toml::Value>>,
    /// Only to say that it comes later.
    websocket: Option<Spanned<toml::Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpWire {
    listen: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpstreamWire {
    url: Spanned<String>,
    streams: Option<Spanned<Vec<Spanned<String>>>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct JournalWire {
    segment_bytes: Option<Spanned<u64>>,
    commit_interval_ms: Option<Spanned<u64>>,
    commit_records_max: Option<Spanned<u64>>,
    kept_bytes: Option<Spanned<u64>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RetentionWire {
    snapshot_every_s: Option<Spanned<u64>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsWire {
    connections: Option<Spanned<u64>>,
    connections_per_address: Option<Spanned<u64>>,
    handshakes_per_address_max: Option<Spanned<u64>>,
    connect_deadline_s: Option<Spanned<u64>>,
    write_deadline_s: Option<Spanned<u64>>,
    packet_bytes_max: Option<Spanned<u64>>,
    command_result_bytes_max: Option<Spanned<u64>>,
    kiosk_bytes_max: Option<Spanned<u64>>,
    publishes_per_second_max: Option<Spanned<u64>>,
    sessions_max: Option<Spanned<u64>>,
    sessions_per_principal_max: Option<Spanned<u64>>,
    session_expiry_s_max: Option<Spanned<u64>>,
    session_queue_messages_max: Option<Spanned<u64>>,
    session_queue_bytes_max: Option<Spanned<u64>>,
    subscriptions_per_session_max: Option<Spanned<u64>>,
    retained_messages_max: Option<Spanned<u64>>,
    retained_bytes_max: Option<Spanned<u64>>,
}

struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Config {
    /// Reads and checks the file and the planogram that it names.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text =
            fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let source = Source { path, text: &text };
        let wire: ConfigWire = toml::from_str(&text).map_err(|error| source.toml(&error))?;
        let dir = path.parent().unwrap_or(Path::new(""));
        source.check(wire, dir)
    }
}

impl Source<'_> {
    fn place(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    fn toml(&self, error: &toml::de::Error) -> ConfigError {
        let (line, column) = self.place(error.span().map_or(0, |span| span.start));
        let reason = error.message().trim_end().replace('\n', "; ");
        ConfigError::Toml { path: self.path.to_owned(), line, column, reason }
    }

    fn wrong(&self, field: &str, span: Range<usize>, reason: impl ToString) -> ConfigError {
        let (line, column) = self.place(span.start);
        let value = self.text.get(span).unwrap_or_default().chars().take(80).collect();
        let (path, field, reason) = (self.path.to_owned(), field.to_owned(), reason.to_string());
        ConfigError::Value { path, line, column, field, value, reason }
    }

    fn check(&self, wire: ConfigWire, dir: &Path) -> Result<Config, ConfigError> {
        let ConfigWire { store, mqtt, http, upstream, journal, retention, limits } = wire;
        for (field, table) in [("mqtt.tls", &mqtt.tls), ("mqtt.websocket", &mqtt.websocket)] {
            if let Some(table) = table {
                let reason =
                    "is not in this release; remove it and use a plain `mqtt.listen` on a trusted network";
                return Err(self.wrong(field, table.span(), reason));
            }
        }
        let id = StoreId::parse(store.id.get_ref())
            .map_err(|error| self.wrong("store.id", store.id.span(), error))?;
        if store.data_dir.get_ref().as_os_str().is_empty() {
            let reason = "is empty; name the folder for the hub's data, such as \"data\"";
            return Err(self.wrong("store.data_dir", store.data_dir.span(), reason));
        }
        let planogram = match store.planogram {
            Some(path) => read_planogram(&dir.join(path))?,
            None => Planogram::default(),
        };
        let mqtt_listen = self.address("mqtt.listen", mqtt.listen.as_ref())?;
        let http_listen = self.address("http.listen", http.as_ref().map(|http| &http.listen))?;
        if let (Some(mqtt), Some(http_addr), Some(http)) = (mqtt_listen, http_listen, &http)
            && overlap(mqtt, http_addr)
        {
            let reason = format!(
                "is taken by `mqtt.listen` = \"{mqtt}\"; give each a port of its own (0 takes a free one)"
            );
            return Err(self.wrong("http.listen", http.listen.span(), reason));
        }
        let (journal, kept_bytes) = self.journal(&journal)?;
        let default = Pace::default();
        let snapshot_every = self
            .number("retention.snapshot_every_s", retention.snapshot_every_s.as_ref(), 10..86_401)?
            .map_or(default.snapshot_every, Duration::from_secs);
        Ok(Config {
            store: id,
            data_dir: dir.join(store.data_dir.get_ref()),
            planogram,
            mqtt_listen,
            anonymous: mqtt.anonymous,
            http_listen,
            upstream: upstream.map(|upstream| self.upstream(&upstream)).transpose()?,
            journal,
            pace: Pace { snapshot_every, kept_bytes, ..default },
            limits: self.limits(&limits)?,
            passthrough: self.passthrough(&limits)?,
            digest: digest(self.text.as_bytes()),
        })
    }

    fn upstream(&self, wire: &UpstreamWire) -> Result<Upstream, ConfigError> {
        let broker = BrokerUrl::parse(wire.url.get_ref()).map_err(|error| {
            // The value may hold a password, so it is not shown.
            let (line, column) = self.place(wire.url.span().start);
            ConfigError::Value {
                path: self.path.to_owned(),
                line,
                column,
                field: "upstream.url".to_owned(),
                value: "…".to_owned(),
                reason: error.to_string(),
            }
        })?;
        let Some(names) = &wire.streams else {
            return Ok(Upstream {
                broker,
                streams: vec![Stream::Rollups, Stream::Events, Stream::Experience],
            });
        };
        if names.get_ref().is_empty() {
            let reason = "is empty; leave `[upstream]` out when nothing is to be forwarded";
            return Err(self.wrong("upstream.streams", names.span(), reason));
        }
        let mut streams = Vec::new();
        for name in names.get_ref() {
            let wrong = |reason: &str| self.wrong("upstream.streams", name.span(), reason);
            let stream = Stream::parse(name.get_ref())
                .ok_or_else(|| wrong("is no stream; known are rollups, events, experience, readings"))?;
            if streams.contains(&stream) {
                return Err(wrong("is there twice"));
            }
            streams.push(stream);
        }
        Ok(Upstream { broker, streams })
    }

    fn journal(&self, wire: &JournalWire) -> Result<(journal::Options, u64), ConfigError> {
        let default = journal::Options::default();
        let segment_bytes = self
            .number("journal.segment_bytes", wire.segment_bytes.as_ref(), SEGMENT_BYTES_RANGE)?
            .unwrap_or(default.segment_bytes);
        let interval = self.number(
            "journal.commit_interval_ms",
            wire.commit_interval_ms.as_ref(),
            0..COMMIT_INTERVAL_MS_MAX + 1,
        )?;
        let records =
            self.count("journal.commit_records_max", wire.commit_records_max.as_ref(), 1..100_001)?;
        let kept = KEPT_SEGMENTS_MIN * segment_bytes..1 << 50;
        let kept_bytes = self
            .number("journal.kept_bytes", wire.kept_bytes.as_ref(), kept)?
            .unwrap_or(Pace::default().kept_bytes.max(KEPT_SEGMENTS_MIN * segment_bytes));
        let options = journal::Options {
            segment_bytes,
            commit_interval: interval.map_or(default.commit_interval, Duration::from_millis),
            commit_records_max: records.unwrap_or(default.commit_records_max),
            ..default
        };
        Ok((options, kept_bytes))
    }

    fn passthrough(&self, wire: &LimitsWire) -> Result<PassthroughLimits, ConfigError> {
        let default = PassthroughLimits::default();
        let bytes = |field: &str, value: &Option<Spanned<u64>>, default| {
            self.count(&format!("limits.{field}"), value.as_ref(), PASSTHROUGH_BYTES_RANGE)
                .map(|value| value.unwrap_or(default))
        };
        Ok(PassthroughLimits {
            command_result_bytes_max: bytes(
                "command_result_bytes_max",
                &wire.command_result_bytes_max,
                default.command_result_bytes_max,
            )?,
            kiosk_bytes_max: bytes("kiosk_bytes_max", &wire.kiosk_bytes_max, default.kiosk_bytes_max)?,
        })
    }

    fn limits(&self, wire: &LimitsWire) -> Result<broker::Limits, ConfigError> {
        let default = broker::Limits::default();
        let count = |field: &str, value: &Option<Spanned<u64>>, range, default| {
            self.count(&format!("limits.{field}"), value.as_ref(), range)
                .map(|value| value.unwrap_or(default))
        };
        let expiry =
            self.number("limits.session_expiry_s_max", wire.session_expiry_s_max.as_ref(), 0..31_536_001)?;
        let rate = self.number(
            "limits.publishes_per_second_max",
            wire.publishes_per_second_max.as_ref(),
            0..1_000_001,
        )?;
        let deadline = |field: &str, value: &Option<Spanned<u64>>, default| {
            self.number(&format!("limits.{field}"), value.as_ref(), 1..DEADLINE_S_MAX + 1)
                .map(|secs| secs.map_or(default, Duration::from_secs))
        };
        Ok(broker::Limits {
            connections: count("connections", &wire.connections, 1..100_001, default.connections)?,
            connections_per_address: count(
                "connections_per_address",
                &wire.connections_per_address,
                1..100_001,
                default.connections_per_address,
            )?,
            handshakes_per_address_max: self.count(
                "limits.handshakes_per_address_max",
                wire.handshakes_per_address_max.as_ref(),
                1..100_001,
            )?,
            connect_deadline: deadline(
                "connect_deadline_s",
                &wire.connect_deadline_s,
                default.connect_deadline,
            )?,
            write_deadline: deadline("write_deadline_s", &wire.write_deadline_s, default.write_deadline)?,
            packet_bytes_max: count(
                "packet_bytes_max",
                &wire.packet_bytes_max,
                1024..PACKET_BYTES_MAX + 1,
                default.packet_bytes_max,
            )?,
            publishes_per_second_max: rate
                .map_or(default.publishes_per_second_max, |rate| u32::try_from(rate).expect("checked above")),
            sessions_max: count("sessions_max", &wire.sessions_max, 1..1_000_001, default.sessions_max)?,
            sessions_per_principal_max: count(
                "sessions_per_principal_max",
                &wire.sessions_per_principal_max,
                1..1_000_001,
                default.sessions_per_principal_max,
            )?,
            session_expiry_max: expiry.map_or(default.session_expiry_max, Duration::from_secs),
            session_queue_messages_max: count(
                "session_queue_messages_max",
                &wire.session_queue_messages_max,
                1..1_000_001,
                default.session_queue_messages_max,
            )?,
            session_queue_bytes_max: count(
                "session_queue_bytes_max",
                &wire.session_queue_bytes_max,
                1024..1 << 32,
                default.session_queue_bytes_max,
            )?,
            subscriptions_per_session_max: count(
                "subscriptions_per_session_max",
                &wire.subscriptions_per_session_max,
                1..10_001,
                default.subscriptions_per_session_max,
            )?,
            retained_messages_max: count(
                "retained_messages_max",
                &wire.retained_messages_max,
                1..1_000_001,
                default.retained_messages_max,
            )?,
            retained_bytes_max: count(
                "retained_bytes_max",
                &wire.retained_bytes_max,
                1024..1 << 32,
                default.retained_bytes_max,
            )?,
            ..default
        })
    }

    fn address(
        &self,
        field: &str,
        value: Option<&Spanned<String>>,
    ) -> Result<Option<SocketAddr>, ConfigError> {
        let Some(value) = value else { return Ok(None) };
        let reason = "is no address and port, such as 127.0.0.1:1883 or [::1]:1883";
        value.get_ref().parse().map(Some).map_err(|_| self.wrong(field, value.span(), reason))
    }

    fn number(
        &self,
        field: &str,
        value: Option<&Spanned<u64>>,
        range: Range<u64>,
    ) -> Result<Option<u64>, ConfigError> {
        let Some(value) = value else { return Ok(None) };
        if range.contains(value.get_ref()) {
            return Ok(Some(*value.get_ref()));
        }
        let reason = format!("must be from {} to {}", range.start, range.end - 1);
        Err(self.wrong(field, value.span(), reason))
    }

    fn count(
        &self,
        field: &str,
        value: Option<&Spanned<u64>>,
        range: Range<u64>,
    ) -> Result<Option<usize>, ConfigError> {
        let number = self.number(field, value, range)?;
        Ok(number.map(|number| usize::try_from(number).expect("the range fits in memory")))
    }
}

fn read_planogram(path: &Path) -> Result<Planogram, ConfigError> {
    let text = fs::read_to_string(path)
        .map_err(|source| ConfigError::PlanogramFile { path: path.to_owned(), source })?;
    Planogram::parse(&text).map_err(|source| ConfigError::Planogram { path: path.to_owned(), source })
}

/// FNV-1a, 64 bits: tells files apart, protects nothing.
fn digest(bytes: &[u8]) -> String {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    format!("{:016x}", bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix))
}

/// Whether two listeners cannot both have their address: an unspecified one takes the port of all.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let is_unspecified = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (is_unspecified || one.ip() == other.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway.toml");
        fs::write(&path, text).unwrap();
        Config::from_file(&path)
            .map_err(|error| error.to_string().replace(&format!("{}/", dir.path().display()), ""))
    }

    #[test]
    fn the_example_is_complete_and_valid() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("gateway.example.toml");
        let config = Config::from_file(&path).unwrap();
        assert_eq!(config.store.as_str(), "hz-xiasha-01");
        assert_eq!(config.data_dir, path.with_file_name("data"));
        let default = broker::Limits::default();
        assert_eq!(format!("{:?}", config.limits), format!("{default:?}"), "the example shows the defaults");
        assert_eq!(config.passthrough, PassthroughLimits::default());
        assert_eq!(config.journal, journal::Options::default());
        // What stands there as a comment is right too.
        let text = fs::read_to_string(&path).unwrap().replace("# handshakes_per", "handshakes_per");
        let limits = read(&text).unwrap().limits;
        assert_eq!(limits.handshakes_per_address_max, Some(limits.connections / 2));
    }

    #[test]
    fn a_short_file_is_enough() {
        let config = read("[store]\nid = \"s-1\"\ndata_dir = \"d\"\n").unwrap();
        assert_eq!((config.mqtt_listen, config.anonymous, config.upstream.is_none()), (None, false, true));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place_field_and_value() {
        let store = "[store]\nid = \"s-1\"\ndata_dir = \"d\"\n";
        let cases = [
            (
                "[store]\nid = \"S 1\"\ndata_dir = \"d\"\n",
                "gateway.toml:2:6: `store.id` = \"S 1\": id `S 1` has",
            ),
            ("[store]\nid = \"s\"\ndta_dir = \"d\"\n", "gateway.toml:3:1: unknown field `dta_dir`"),
            ("[store\n", "gateway.toml:1:7: "),
            ("[mqtt]\nlisten = \"here\"\n", "gateway.toml:5:10: `mqtt.listen` = \"here\": is no address"),
            (
                "[mqtt]\nlisten = \"0.0.0.0:1883\"\n[http]\nlisten = \"127.0.0.1:1883\"\n",
                "gateway.toml:7:10: `http.listen` = \"127.0.0.1:1883\": is taken by `mqtt.listen` = \"0.0.0.0:1883\"",
            ),
            (
                "[upstream]\nurl = \"mqtt://h\"\nstreams = []\n",
                "gateway.toml:6:11: `upstream.streams` = []: is empty",
            ),
            (
                "[store]\nid = \"s\"\ndata_dir = \"\"\n",
                "gateway.toml:3:12: `store.data_dir` = \"\": is empty",
            ),
            ("[mqtt]\nlisten = 5\n", "gateway.toml:5:10: invalid type: integer `5`"),
            ("[mqtt.tls]\nlisten = \"0.0.0.0:8883\"\n", "`mqtt.tls` = "),
            ("[upstream]\nurl = \"mqtts://u:secret@h\"\n", "`upstream.url` = …: `mqtts://` is not supported"),
            (
                "[upstream]\nurl = \"mqtt://h\"\nstreams = [\"event\"]\n",
                "gateway.toml:6:12: `upstream.streams` = \"event\": is no stream",
            ),
            (
                "[journal]\ncommit_interval_ms = 5000\n",
                "`journal.commit_interval_ms` = 5000: must be from 0 to 1000",
            ),
            ("[journal]\nkept_bytes = 1\n", "`journal.kept_bytes` = 1: must be from 33554432"),
            ("[limits]\nconnections = 0\n", "`limits.connections` = 0: must be from 1"),
            (
                "[limits]\nkiosk_bytes_max = 100\n",
                "gateway.toml:5:19: `limits.kiosk_bytes_max` = 100: must be from 256 to 65536",
            ),
            (
                "[limits]\ncommand_result_bytes_max = 70000\n",
                "`limits.command_result_bytes_max` = 70000: must be",
            ),
            ("[limits]\nwrite_deadline_s = 0\n", "`limits.write_deadline_s` = 0: must be from 1 to 600"),
        ];
        for (text, reason) in cases {
            let text = if text.starts_with("[store") { text.to_owned() } else { format!("{store}{text}") };
            let error = read(&text).unwrap_err();
            assert!(error.contains(reason), "{text}\n→ {error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let error = Config::from_file(Path::new("/nowhere/gateway.toml")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/gateway.toml") && error.contains("--config"), "{error}");
    }
}
