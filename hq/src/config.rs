//! Headquarters' configuration: one TOML file, read once at start, never changed afterwards.
//!
//! The operator's words (`*Wire`, unknown keys refused) are parsed into ours, which cannot hold a value that the rest of
//! the receiver would have to doubt. Relative paths are relative to the file.

use std::{
    collections::BTreeMap,
    fmt, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use contract::StoreId;
use serde::Deserialize;

/// The whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where publishes come from.
    pub mqtt: Mqtt,
    /// The SQLite file.
    pub database: PathBuf,
    /// Where the API and the page are served.
    pub http: SocketAddr,
    /// What those must show who place commands.
    pub token: Option<Secret>,
}

/// Where publishes come from.
#[derive(Debug, Clone)]
pub enum Mqtt {
    /// The broker in this process.
    Embedded {
        /// Where it listens.
        listen: SocketAddr,
        /// Who may come in.
        admission: Admission,
    },
    /// Another broker.
    External(External),
}

/// Who may connect to the embedded broker.
#[derive(Debug, Clone)]
pub enum Admission {
    /// Everybody whose user name or client id is a store's id. For demos.
    Anonymous,
    /// The listed stores, each with its secret.
    Listed(BTreeMap<StoreId, Secret>),
}

/// Another broker, over plain TCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// User and password.
    pub login: Option<(String, Secret)>,
    /// Our client id there: its session keeps what comes while we are away.
    pub client_id: String,
}

/// A password; it is not printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether `offered` is this secret, in time that depends on lengths only.
    #[must_use]
    pub fn matches(&self, offered: &[u8]) -> bool {
        let ours = self.0.as_bytes();
        let differing = ours.iter().zip(offered).fold(0, |differing, (a, b)| differing | (a ^ b));
        differing == 0 && ours.len() == offered.len()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"…\"")
    }
}

/// Why a configuration was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("failed to read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No TOML, an unknown key, or a value of another type. The parser's own error is not kept: it holds the text of
    /// the line, which may be a secret.
    #[error("{}:{line}:{column}: {}{reason}", path.display(), within(field))]
    Parse {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// The table and key at that place as far as they are known words; may be empty.
        field: String,
        /// What kind of mistake it is, without the value.
        reason: String,
    },
    /// A value that cannot be used.
    #[error("{}: `{field}` = `{value}`: {reason}", place(path, *line))]
    Value {
        /// The file.
        path: PathBuf,
        /// The line on which the field's key stands, 0 when it is missing.
        line: usize,
        /// The key with its table.
        field: &'static str,
        /// What is configured; never a secret.
        value: String,
        /// What is wrong, and what to do.
        reason: String,
    },
}

/// A file and its line; the file alone where nothing of it is meant, since something is missing.
fn place(path: &Path, line: usize) -> String {
    let path = path.display();
    if line == 0 { path.to_string() } else { format!("{path}:{line}") }
}

fn within(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!("`{field}`: ") }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigWire {
    mqtt: MqttWire,
    database: DatabaseWire,
    http: HttpWire,
    #[serde(default)]
    stores: BTreeMap<String, StoreWire>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MqttWire {
    embedded: Option<String>,
    #[serde(default)]
    anonymous: bool,
    url: Option<String>,
    client_id: Option<String>,
    user: Option<String>,
    password: Option<Secret>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DatabaseWire {
    url: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpWire {
    listen: String,
    token: Option<Secret>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreWire {
    secret: Secret,
}

/// Shorter secrets are guessed.
const SECRET_BYTES_MIN: usize = 8;
/// Shorter tokens are guessed.
const TOKEN_BYTES_MIN: usize = 16;
/// Our name at an external broker unless told.
const CLIENT_ID: &str = "storehub-hq";

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// When it cannot be read, is no TOML, has an unknown key, or a value that cannot be used, such as a database in a
    /// folder that does not exist.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let config = Self::parse(path, &text)?;
        if let Some(folder) = Self::database_folder(&config.database)
            && !folder.is_dir()
        {
            let reason = format!("needs a folder that exists: `{}` does not", folder.display());
            let url = format!("sqlite://{}", config.database.display());
            let file = File { path, text: &text };
            return Err(file.error("database", "url", "database.url", &url, reason));
        }
        Ok(config)
    }

    /// The folder of a database, where it has one in its path.
    #[must_use]
    pub fn database_folder(database: &Path) -> Option<&Path> {
        database.parent().filter(|folder| !folder.as_os_str().is_empty())
    }

    /// Checks the text of a file at `path`.
    ///
    /// # Errors
    /// As [`Config::load`], but for reading.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let file = File { path, text };
        let wire: ConfigWire = toml::from_str(text).map_err(|error| file.unparsable(&error))?;
        Ok(Self {
            mqtt: file.mqtt(&wire)?,
            database: file.database(&wire.database.url)?,
            http: file.addr("http", "listen", "http.listen", &wire.http.listen)?,
            token: file.token(&wire.http)?,
        })
    }
}

/// The file, to say where a bad value stands.
struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

/// The words that may be shown wherever they stand; any other word may be a secret in the wrong place.
const KNOWN_WORDS: [&str; 13] = [
    "mqtt",
    "embedded",
    "anonymous",
    "url",
    "client_id",
    "user",
    "password",
    "database",
    "http",
    "listen",
    "token",
    "stores",
    "secret",
];

impl File<'_> {
    /// The parser's error without anything that was written as a value.
    fn unparsable(&self, error: &toml::de::Error) -> ConfigError {
        let at = error.span().map_or(0, |span| span.start);
        let before = self.text.get(..at).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        ConfigError::Parse {
            path: self.path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            field: self.field_at(line_start),
            reason: without_values(error.message()),
        }
    }

    /// The table and key of the line that starts at `line_start`, as far as they are known words or ids of stores.
    fn field_at(&self, line_start: usize) -> String {
        let line = self.text[line_start..].lines().next().unwrap_or_default().trim();
        let mut tables = self.text[..line_start].lines().chain([line]).map(str::trim);
        let table = tables.rfind(|line| line.starts_with('[')).unwrap_or_default();
        let table = table.split(']').next().unwrap_or_default().trim_start_matches('[');
        let key = match line.split_once('=') {
            Some((key, _)) if !line.starts_with('[') => key,
            _ => "",
        };
        let mut field = String::new();
        for words in [table, key] {
            for word in words.split('.').map(|word| word.trim().trim_matches(['"', '\''])) {
                let store = field == "stores" && StoreId::parse(word).is_ok();
                if !store && !KNOWN_WORDS.contains(&word) {
                    break;
                }
                let dot = if field.is_empty() { "" } else { "." };
                field.push_str(dot);
                field.push_str(word);
            }
        }
        field
    }

    fn error(
        &self,
        table: &str,
        key: &str,
        field: &'static str,
        value: &str,
        reason: impl Into<String>,
    ) -> ConfigError {
        let header = format!("[{table}]");
        let mut inside = false;
        let line = self.text.lines().position(|line| {
            let line = line.trim();
            if line.starts_with('[') {
                inside = line.starts_with(&header);
                return key.is_empty() && inside;
            }
            let named = line.split('=').next().unwrap_or_default().trim().trim_matches('"');
            inside && line.contains('=') && named == key
        });
        ConfigError::Value {
            path: self.path.to_owned(),
            line: line.map_or(0, |line| line + 1),
            field,
            value: value.to_owned(),
            reason: reason.into(),
        }
    }

    fn addr(
        &self,
        table: &str,
        key: &str,
        field: &'static str,
        value: &str,
    ) -> Result<SocketAddr, ConfigError> {
        value.parse().map_err(|_| {
            self.error(table, key, field, value, "needs an IP address and a port, such as `127.0.0.1:8090`")
        })
    }

    fn token(&self, http: &HttpWire) -> Result<Option<Secret>, ConfigError> {
        let short = |token: &&Secret| token.reveal().len() < TOKEN_BYTES_MIN;
        if http.token.as_ref().filter(short).is_some() {
            let reason = format!("needs at least {TOKEN_BYTES_MIN} bytes");
            return Err(self.error("http", "token", "http.token", "…", reason));
        }
        Ok(http.token.clone())
    }

    fn database(&self, url: &str) -> Result<PathBuf, ConfigError> {
        let refuse =
            |reason: &str| Err(self.error("database", "url", "database.url", &without_login(url), reason));
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return refuse("PostgreSQL comes in a later release; use `sqlite://FILE`");
        }
        match url.strip_prefix("sqlite://") {
            Some(file) if !file.is_empty() => {
                Ok(self.path.parent().unwrap_or_else(|| Path::new("")).join(file))
            }
            _ => refuse("needs `sqlite://FILE`"),
        }
    }

    fn mqtt(&self, wire: &ConfigWire) -> Result<Mqtt, ConfigError> {
        let mqtt = &wire.mqtt;
        match (&mqtt.embedded, &mqtt.url) {
            (Some(listen), None) => {
                for (key, field, set) in [
                    ("client_id", "mqtt.client_id", mqtt.client_id.is_some()),
                    ("user", "mqtt.user", mqtt.user.is_some()),
                    ("password", "mqtt.password", mqtt.password.is_some()),
                ] {
                    if set {
                        return Err(self.error(
                            "mqtt",
                            key,
                            field,
                            "…",
                            "belongs to `url`, not to `embedded`",
                        ));
                    }
                }
                let listen = self.addr("mqtt", "embedded", "mqtt.embedded", listen)?;
                Ok(Mqtt::Embedded { listen, admission: self.admission(wire)? })
            }
            (None, Some(url)) => {
                if mqtt.anonymous || !wire.stores.is_empty() {
                    let reason =
                        "an external broker admits stores itself: leave out `anonymous` and `[stores]`";
                    return Err(self.error("mqtt", "url", "mqtt.url", &without_login(url), reason));
                }
                self.external(mqtt, url).map(Mqtt::External)
            }
            (Some(_), Some(url)) => {
                let reason = "either `embedded` or `url`, not both";
                Err(self.error("mqtt", "url", "mqtt.url", &without_login(url), reason))
            }
            (None, None) => {
                let reason = "needs `embedded = \"127.0.0.1:1884\"` or `url = \"mqtt://HOST:PORT\"`";
                Err(self.error("mqtt", "", "mqtt", "", reason))
            }
        }
    }

    fn admission(&self, wire: &ConfigWire) -> Result<Admission, ConfigError> {
        if wire.mqtt.anonymous {
            if !wire.stores.is_empty() {
                let reason = "leave it out when `[stores]` are listed: it would let everybody in";
                return Err(self.error("mqtt", "anonymous", "mqtt.anonymous", "true", reason));
            }
            return Ok(Admission::Anonymous);
        }
        if wire.stores.is_empty() {
            let reason = "nobody could connect: list `[stores.ID]` with a `secret`, or set `mqtt.anonymous = true` for a demo";
            return Err(self.error("stores", "", "stores", "", reason));
        }
        let mut listed = BTreeMap::new();
        for (id, store) in &wire.stores {
            let table = format!("stores.{id}");
            let store_id = StoreId::parse(id)
                .map_err(|error| self.error(&table, "", "stores", id, error.to_string()))?;
            if store.secret.reveal().len() < SECRET_BYTES_MIN {
                let reason = format!("the secret of `{id}` needs at least {SECRET_BYTES_MIN} bytes");
                return Err(self.error(&table, "secret", "stores.secret", "…", reason));
            }
            listed.insert(store_id, store.secret.clone());
        }
        Ok(Admission::Listed(listed))
    }

    fn external(&self, mqtt: &MqttWire, url: &str) -> Result<External, ConfigError> {
        let refuse = |reason: &str| self.error("mqtt", "url", "mqtt.url", &without_login(url), reason);
        let place = match url.split_once("://") {
            Some(("mqtt" | "tcp", place)) => place.strip_suffix('/').unwrap_or(place),
            Some(("mqtts" | "ssl" | "ws" | "wss", _)) => {
                return Err(refuse("only plain `mqtt://HOST:PORT` in this release (use a tunnel for TLS)"));
            }
            _ => return Err(refuse("needs `mqtt://HOST:PORT`")),
        };
        if place.contains('@') {
            return Err(refuse("put the login into `mqtt.user` and `mqtt.password`"));
        }
        let (host, port) = place.rsplit_once(':').unwrap_or((place, "1883"));
        let port = match port.parse() {
            Ok(port) if port != 0 => port,
            _ => return Err(refuse("the port is not a number from 1 to 65535")),
        };
        if host.is_empty() || host.contains('/') {
            return Err(refuse("needs `mqtt://HOST:PORT`"));
        }
        let login = match (&mqtt.user, &mqtt.password) {
            (Some(user), password) => {
                Some((user.clone(), password.clone().unwrap_or_else(|| Secret(String::new()))))
            }
            (None, None) => None,
            (None, Some(_)) => {
                return Err(self.error("mqtt", "password", "mqtt.password", "…", "needs `mqtt.user` too"));
            }
        };
        let client_id = mqtt.client_id.clone().unwrap_or_else(|| CLIENT_ID.to_owned());
        if StoreId::parse(&client_id).is_err() {
            let reason = "needs 1 to 64 of `a-z`, `0-9` and `-`";
            return Err(self.error("mqtt", "client_id", "mqtt.client_id", &client_id, reason));
        }
        Ok(External { host: host.trim_matches(['[', ']']).to_owned(), port, login, client_id })
    }
}

/// The parser's words in one line. It quotes a value of the wrong type, which may be a secret: that is cut out.
fn without_values(message: &str) -> String {
    let message = message.trim_end().replace('\n', "; ");
    let wrong_value = ["invalid type: ", "invalid value: ", "invalid length: "];
    if !wrong_value.iter().any(|kind| message.starts_with(kind)) {
        return message;
    }
    let kind = message.split(['`', '"', ',']).next().unwrap_or_default().trim_end();
    // From the right: a value can contain these words.
    match message.rsplit_once(", expected ") {
        Some((_, expected)) => format!("{kind}, expected {}", expected_words(expected)),
        None => kind.to_owned(),
    }
}

/// What was expected, in an operator's words where ours would show.
fn expected_words(expected: &str) -> &str {
    if expected.starts_with("struct ") { "a table" } else { expected }
}

/// The part of a URL that may be shown: no login, also none whose `@` and host were forgotten, and no parameters.
fn without_login(url: &str) -> String {
    let url = url.rsplit('@').next().unwrap_or_default();
    let url = url.split('?').next().unwrap_or_default();
    let (scheme, place) =
        url.split_once("://").map_or(("", url), |(scheme, _)| url.split_at(scheme.len() + 3));
    match place.split_once(':') {
        Some((host, port))
            if !place.starts_with('[')
                && port.split('/').next().is_none_or(|port| port.parse::<u16>().is_err()) =>
        {
            format!("{scheme}{host}:…")
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(Path::new("/etc/storehub/hq.toml"), text)
    }

    /// The error with its causes and as `Debug`, which is more than `main` prints.
    fn refusal(text: &str) -> String {
        let error = anyhow::Error::from(parse(text).unwrap_err());
        format!("{error:#}\n{error:?}")
    }

    #[test]
    fn a_mistake_in_a_line_with_a_secret_is_named_with_its_place_but_without_the_secret() {
        let head = "[http]\nlisten = \"127.0.0.1:0\"\n[database]\nurl = \"sqlite://x\"\n[mqtt]\nembedded = \"127.0.0.1:0\"\n";
        let cases = [
            (
                "[stores.s1]\nsecrt = \"hunter2hunter2\"\n",
                "hq.toml:8:1: `stores.s1`: unknown field `secrt`, expected `secret`",
            ),
            ("[stores.s1]\nsecret = \"hunter2hunter2\n", "hq.toml:8:"),
            ("[stores.s1]\nsecret = \"hunter2hunter2\n", "`stores.s1.secret`: invalid basic string"),
            ("[stores.s1]\nsecret = hunter2hunter2\n", "hq.toml:8:10: `stores.s1.secret`: "),
            (
                "[stores.s1]\nsecret = 12345678\n",
                "hq.toml:8:10: `stores.s1.secret`: invalid type: integer, expected a string",
            ),
            ("[stores.s1]\nsecret = 12345678.5\n", "invalid type: floating point, expected a string"),
            ("[stores.s1]\nsecret = [\"hunter2hunter2\"]\n", "invalid type: sequence, expected a string"),
            (
                "[stores]\ns1 = \"hunter2, expected x hunter2\"\n",
                "`stores.s1`: invalid type: string, expected a table",
            ),
            (
                "[stores]\nsecret = \"hunter2hunter2\"\n",
                "hq.toml:8:10: `stores.secret`: invalid type: string",
            ),
            ("stores = \"hunter2hunter2\"\n", "hq.toml:7:1"),
            (
                "[stores.s1]\nsecret = \"hunter2hunter2\"\nsecret = \"hunter2hunter2\"\n",
                "hq.toml:9:1: `stores.s1.secret`: duplicate key",
            ),
            ("[stores.s1]\nsecret = \"\"\"\nhunter2=hunter2\n", "hq.toml:"),
            (
                "password = 12345678\n",
                "hq.toml:7:12: `mqtt.password`: invalid type: integer, expected a string",
            ),
            ("[stores.s1]\nsecret \"hunter2hunter2\"\n", "hq.toml:8:"),
        ];
        for (text, reason) in cases {
            let refusal = refusal(&format!("{head}{text}"));
            assert!(refusal.contains(reason), "{text}\n{reason}\n{refusal}");
            assert!(!refusal.contains("hunter2") && !refusal.contains("12345678"), "{text}\n{refusal}");
        }
    }

    #[test]
    fn the_example_is_complete_and_valid() {
        let text = include_str!("../hq.example.toml");
        let config = parse(text).unwrap();
        assert_eq!(config.database, Path::new("/etc/storehub/hq.db"));
        assert!(matches!(config.mqtt, Mqtt::Embedded { admission: Admission::Listed(_), .. }));
        for key in ["embedded", "anonymous", "url", "client_id", "user", "password", "listen", "secret"] {
            assert!(text.contains(&format!("{key} = ")), "the example does not show `{key}`");
        }
    }

    #[test]
    fn a_wrong_value_is_named_with_its_line() {
        let head = "[http]\nlisten = \"127.0.0.1:0\"\n";
        let cases = [
            (
                "[database]\nurl = \"postgres://u:secret@db/x\"\n[mqtt]\nembedded = \"127.0.0.1:0\"\nanonymous = true\n",
                "hq.toml:4: `database.url` = `db/x`: PostgreSQL comes in a later release",
            ),
            (
                "[database]\nurl = \"sqlite://x\"\n[mqtt]\nembedded = \"localhost\"\nanonymous = true\n",
                "hq.toml:6: `mqtt.embedded` = `localhost`: needs an IP",
            ),
            ("[database]\nurl = \"sqlite://x\"\n[mqtt]\nurl = \"mqtts://h:1\"\n", "hq.toml:6: `mqtt.url`"),
            (
                "[database]\nurl = \"sqlite://x\"\n[mqtt]\nurl = \"mqtt://user:hunter2\"\n",
                "hq.toml:6: `mqtt.url` = `mqtt://user:…`: the port is not a number",
            ),
            (
                "[database]\nurl = \"postgres://user:hunter2@db:x\"\n[mqtt]\nembedded = \"127.0.0.1:0\"\nanonymous = true\n",
                "`database.url` = `db:…`: PostgreSQL comes",
            ),
            (
                "[database]\nurl = \"postgres://db:5432/x?password=hunter2\"\n[mqtt]\nembedded = \"127.0.0.1:0\"\nanonymous = true\n",
                "`database.url` = `postgres://db:5432/x`: PostgreSQL comes",
            ),
            (
                "[database]\nurl = \"sqlite://x\"\n[mqtt]\nembedded = \"127.0.0.1:0\"\n",
                "/etc/storehub/hq.toml: `stores` = ``: nobody could connect",
            ),
            ("[database]\nurl = \"sqlite://x\"\n[mqtt]\n", "hq.toml:5: `mqtt` = ``: needs `embedded"),
            (
                "[database]\nurl = \"sqlite://x\"\n[mqtt]\nembedded = \"127.0.0.1:0\"\n[stores.hz-1]\nsecret = \"short\"\n",
                "hq.toml:8: `stores.secret`",
            ),
            (
                "[database]\nurl = \"sqlite://x\"\n[mqtt]\nembedded = \"127.0.0.1:0\"\n[stores.HZ]\nsecret = \"long-enough\"\n",
                "character `H`",
            ),
            (
                "[database]\nurl = \"sqlite://x\"\nfile = 1\n[mqtt]\nembedded = \"127.0.0.1:0\"\n",
                "unknown field `file`",
            ),
        ];
        for (text, reason) in cases {
            let refusal = refusal(&format!("{head}{text}"));
            assert!(refusal.contains(reason), "{reason}\n{refusal}");
            assert!(!refusal.contains("secret@") && !refusal.contains("hunter2"), "{refusal}");
        }
    }

    #[test]
    fn an_external_broker_has_a_session_of_our_name() {
        let config = parse("[mqtt]\nurl = \"mqtt://nats:1885\"\nuser = \"hq\"\npassword = \"horse\"\n[database]\nurl = \"sqlite:///var/hq.db\"\n[http]\nlisten = \"[::1]:80\"\n").unwrap();
        let Mqtt::External(external) = config.mqtt else { panic!() };
        assert_eq!(
            (external.host.as_str(), external.port, external.client_id.as_str()),
            ("nats", 1885, CLIENT_ID)
        );
        assert_eq!(config.database, Path::new("/var/hq.db"));
        assert!(!format!("{external:?}").contains("horse"));
    }

    #[test]
    fn a_secret_matches_itself_alone() {
        let secret = Secret("correct horse".to_owned());
        assert!(secret.matches(b"correct horse"));
        for wrong in [&b""[..], b"correct", b"correct horsf", b"correct horse battery"] {
            assert!(!secret.matches(wrong));
        }
    }
}
