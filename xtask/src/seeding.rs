//! A store's and headquarters' folders for a demonstration: configurations, planogram, registered devices.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::places::Places;

/// The store of the demonstration.
pub(crate) const STORE: &str = "hz-xiasha-01";
const KIOSK: &str = "kiosk-01";

/// The folder of a demonstration.
#[derive(Debug)]
pub(crate) struct Seeding<'a> {
    places: &'a Places,
    dir: PathBuf,
}

impl<'a> Seeding<'a> {
    /// Uses a folder, which is made when missing.
    pub(crate) fn in_dir(places: &'a Places, dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("failed to create `{}`", dir.display()))?;
        let dir = dir.canonicalize().with_context(|| format!("failed to find `{}`", dir.display()))?;
        Ok(Self { places, dir })
    }

    /// Where everything of this demonstration is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A program of ours with its place and the folder.
    pub(crate) fn program(&self, name: &str) -> Command {
        let mut command = self.places.command(self.places.program("debug", name));
        command
            .current_dir(&self.dir)
            .env("RUST_LOG", std::env::var("RUST_LOG").unwrap_or_else(|_| "info".into()));
        command
    }

    /// Headquarters' configuration.
    pub(crate) fn headquarters(&self) -> Result<()> {
        let secret = self.secret()?;
        self.write(
            "hq.toml",
            &format!(
                "[mqtt]\nembedded = \"{}\"\n\n[database]\nurl = \"sqlite://hq.db\"\n\n[http]\nlisten = \"{}\"\n\n\
                 [stores.{STORE}]\nsecret = \"{secret}\"\n",
                preferred(1884),
                preferred(8090)
            ),
        )
    }

    /// The hub's configuration and planogram; headquarters listens at `hq_mqtt`.
    pub(crate) fn hub(&self, hq_mqtt: &str) -> Result<()> {
        let secret = self.secret()?;
        let planogram = self.dir.join("planogram.toml");
        finish(self.program("store-sim").arg("--planogram").arg(&planogram))?;
        self.write(
            "gateway.toml",
            &format!(
                "[store]\nid = \"{STORE}\"\ndata_dir = \"data\"\nplanogram = \"planogram.toml\"\n\n\
                 [mqtt]\nlisten = \"{}\"\n\n[http]\nlisten = \"{}\"\n\n\
                 [upstream]\nurl = \"mqtt://{STORE}:{secret}@{hq_mqtt}\"\n\
                 streams = [\"rollups\", \"events\", \"experience\", \"readings\"]\n",
                preferred(1883),
                preferred(8080)
            ),
        )
    }

    /// Registers what is not registered yet; gives the file with the sensors' secrets.
    pub(crate) fn devices(&self) -> Result<PathBuf> {
        let file = self.dir.join("credentials.json");
        let mut secrets: BTreeMap<String, String> = match fs::read_to_string(&file) {
            Ok(text) => serde_json::from_str(&text)
                .with_context(|| format!("`{}` is no JSON object from device to secret", file.display()))?,
            Err(_) => BTreeMap::new(),
        };
        let listed: Value = serde_json::from_str(&finish(self.program("store-sim").arg("--devices"))?)?;
        let mut wanted: Vec<(String, String)> = Vec::new();
        for device in listed.as_array().context("store-sim lists its devices")? {
            let text = |field: &str| {
                device[field].as_str().map(str::to_owned).context("a device has an id and a kind")
            };
            wanted.push((text("id")?, text("kind")?));
        }
        wanted.push((KIOSK.to_owned(), "kiosk".to_owned()));
        for (id, kind) in wanted {
            if secrets.contains_key(&id) {
                continue;
            }
            let mut add = self.program("storehub-gateway");
            add.args(["device", "add", &id, "--kind", &kind, "--config", "gateway.toml", "--json"]);
            let added: Value =
                serde_json::from_str(&finish(&mut add)?).context("`device add --json` answers with JSON")?;
            secrets.insert(id, added["secret"].as_str().context("a new device has a secret")?.to_owned());
        }
        let text = serde_json::to_string_pretty(&secrets)?;
        self.write("credentials.json", &text)?;
        Ok(file)
    }

    /// The kiosk's configuration; the hub listens at `hub_mqtt`.
    pub(crate) fn kiosk(&self, hub_mqtt: &str) -> Result<()> {
        let secrets: Value = serde_json::from_str(&fs::read_to_string(self.dir.join("credentials.json"))?)?;
        let secret = secrets[KIOSK].as_str().context("the kiosk is registered")?;
        let example = self.places.root.join("kiosk/kiosk.example.toml");
        let text = fs::read_to_string(&example)
            .with_context(|| format!("failed to read `{}`", example.display()))?;
        let mut config: toml::Table =
            text.parse().with_context(|| format!("`{}` is no TOML", example.display()))?;
        let absolute = |value: &mut toml::Value, prefix: &str| {
            // Paths of the example are relative to it; this file lies elsewhere.
            if let Some(path) = value
                .as_str()
                .and_then(|text| text.strip_prefix(prefix))
                .filter(|path| path.starts_with(".."))
            {
                let path = self.places.root.join("kiosk").join(path);
                *value = toml::Value::String(format!("{prefix}{}", path.display()));
            }
        };
        for (table, keys) in [
            ("camera", &["source", "product_source"][..]),
            ("models", &["dir"]),
            ("origin", &["catalogue", "records", "trust"]),
        ] {
            let Some(table) = config.get_mut(table).and_then(toml::Value::as_table_mut) else { continue };
            for key in keys {
                if let Some(value) = table.get_mut(*key) {
                    absolute(value, if key.ends_with("source") { "file:" } else { "" });
                }
            }
        }
        let hub = toml::Table::from_iter([
            ("mqtt".to_owned(), toml::Value::from(hub_mqtt)),
            ("username".to_owned(), toml::Value::from(KIOSK)),
            ("password".to_owned(), toml::Value::from(secret)),
        ]);
        config.insert("hub".to_owned(), toml::Value::Table(hub));
        self.write("kiosk.toml", &config.to_string())
    }

    /// The secret between this store and headquarters, made once.
    fn secret(&self) -> Result<String> {
        let path = self.dir.join("uplink.secret");
        if let Ok(secret) = fs::read_to_string(&path) {
            return Ok(secret.trim().to_owned());
        }
        // Good enough between two programs of one demonstration on the loopback.
        let seed = format!("{:?}{}", SystemTime::now().duration_since(UNIX_EPOCH)?, std::process::id());
        let secret: String = Sha256::digest(seed).iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        self.write("uplink.secret", &secret)?;
        Ok(secret)
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.dir.join(file);
        fs::write(&path, text).with_context(|| format!("failed to write `{}`", path.display()))
    }
}

/// The documented port where it is free, any other where it is not.
fn preferred(port: u16) -> String {
    let port = if TcpListener::bind(("127.0.0.1", port)).is_ok() { port } else { 0 };
    format!("127.0.0.1:{port}")
}

/// Runs a program that ends by itself; gives its standard output.
fn finish(command: &mut Command) -> Result<String> {
    let line = crate::steps::shown(command);
    let output = command.output().with_context(|| format!("failed to start `{line}`"))?;
    if !output.status.success() {
        bail!(
            "`{line}` ended with {}:\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    let stdout = String::from_utf8(output.stdout)?;
    ensure!(stdout.len() < 1 << 20, "`{line}` said more than it should");
    Ok(stdout)
}
