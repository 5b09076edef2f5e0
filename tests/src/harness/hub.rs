//! The store hub as a process, with a store's folder around it.

use std::{fs, net::SocketAddr, path::Path, path::PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    harness::{
        page,
        process::{Finished, Program, Running, run_to_end},
        wait::{PATIENCE, wait_for},
    },
    sim::plan::Plan,
};

/// The store of the journeys.
pub const STORE: &str = "hz-xiasha-01";
const PROGRAM: &str = "storehub-gateway";
const CONFIG: &str = "gateway.toml";

/// What a hub is started with.
#[derive(Debug)]
pub struct HubSetup {
    dir: TempDir,
    data_dir: Option<PathBuf>,
    upstream: Option<SocketAddr>,
    anonymous: bool,
    extra: String,
}

impl HubSetup {
    /// A store without headquarters that admits registered devices only.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it makes a folder, which is more than a default")]
    pub fn new() -> Self {
        let dir = TempDir::new().expect("the folder for temporary files is writable");
        Self { dir, data_dir: None, upstream: None, anonymous: false, extra: String::new() }
    }

    /// Sends everything, raw readings too, to headquarters at this address.
    #[must_use]
    pub fn upstream(mut self, addr: SocketAddr) -> Self {
        self.upstream = Some(addr);
        self
    }

    /// Admits every client as the device of its client id.
    #[must_use]
    pub fn anonymous(mut self) -> Self {
        self.anonymous = true;
        self
    }

    /// Keeps the data elsewhere.
    #[must_use]
    pub fn data_dir(mut self, dir: PathBuf) -> Self {
        self.data_dir = Some(dir);
        self
    }

    /// Adds lines to the configuration, with their own table headers.
    #[must_use]
    pub fn extra(mut self, toml: &str) -> Self {
        self.extra.push_str(toml);
        self
    }

    /// The store's folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Writes configuration and planogram.
    ///
    /// # Panics
    /// When the folder is not writable.
    #[must_use]
    pub fn write(self) -> HubFolder {
        let data_dir = self.data_dir.unwrap_or_else(|| PathBuf::from("data"));
        let mut config = format!(
            "[store]\nid = \"{STORE}\"\ndata_dir = \"{}\"\nplanogram = \"planogram.toml\"\n\n\
             [mqtt]\nlisten = \"127.0.0.1:0\"\nanonymous = {}\n\n[http]\nlisten = \"127.0.0.1:0\"\n",
            data_dir.display(),
            self.anonymous
        );
        if let Some(addr) = self.upstream {
            config.push_str(&format!(
                "\n[upstream]\nurl = \"mqtt://{addr}\"\nstreams = [\"rollups\", \"events\", \"experience\", \"readings\"]\n"
            ));
        }
        config.push('\n');
        config.push_str(&self.extra);
        fs::write(self.dir.path().join(CONFIG), config).expect("the journey's folder is writable");
        fs::write(self.dir.path().join("planogram.toml"), Plan::demo().planogram_toml())
            .expect("the journey's folder is writable");
        HubFolder { data_dir: self.dir.path().join(data_dir), dir: self.dir }
    }

    /// Writes the configuration and starts the hub.
    pub async fn start(self) -> Hub {
        self.write().start().await
    }
}

/// A store's folder, with no hub running on it.
#[derive(Debug)]
pub struct HubFolder {
    dir: TempDir,
    data_dir: PathBuf,
}

impl HubFolder {
    /// The folder with the configuration.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The hub's data.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Runs a command of the gateway to its end.
    pub async fn command(&self, args: &[&str]) -> Finished {
        let args = args.iter().copied().chain(["--config", CONFIG]);
        run_to_end(PROGRAM, self.dir.path(), args).await
    }

    /// Registers a device; gives its secret.
    ///
    /// # Panics
    /// When the gateway refuses.
    pub async fn add_device(&self, id: &str, kind: &str) -> String {
        let added = self.command(&["device", "add", id, "--kind", kind, "--json"]).await;
        assert!(added.status.success(), "device add {id}: {}", added.said());
        added.json()["secret"].as_str().expect("a new device has a secret").to_owned()
    }

    /// Registers every device of the simulated store and writes their secrets for it; gives the file.
    ///
    /// # Panics
    /// When the gateway refuses.
    pub async fn add_simulated_devices(&self) -> PathBuf {
        let mut secrets = serde_json::Map::new();
        for (id, kind) in Plan::demo().devices() {
            let secret = self.add_device(&id, kind.as_str()).await;
            secrets.insert(id, Value::String(secret));
        }
        let path = self.dir.path().join("credentials.json");
        let text = serde_json::to_string(&secrets).expect("a map of texts is JSON");
        fs::write(&path, text).expect("the journey's folder is writable");
        path
    }

    /// What `status --json` says.
    ///
    /// # Errors
    /// When the command fails; the text is for `wait_for`.
    pub async fn status(&self) -> Result<Value, String> {
        let status = self.command(&["status", "--json"]).await;
        if status.status.success() { Ok(status.json()) } else { Err(status.said()) }
    }

    /// Starts the hub and waits until it listens.
    pub async fn start(self) -> Hub {
        let running = Program::new(PROGRAM, self.dir.path()).args(["run", "--config", CONFIG]).start();
        let mqtt = running.listening("mqtt").await;
        let http = running.listening("http").await;
        Hub { folder: self, running, mqtt, http }
    }
}

/// A running hub.
#[derive(Debug)]
pub struct Hub {
    /// Its folder and commands.
    pub folder: HubFolder,
    /// Its process.
    pub running: Running,
    /// Where sensors connect.
    pub mqtt: SocketAddr,
    /// Where the staff page is.
    pub http: SocketAddr,
}

impl Hub {
    /// `kill -9`.
    pub async fn kill(self) -> HubFolder {
        self.running.kill().await;
        self.folder
    }

    /// SIGTERM, and a clean end.
    ///
    /// # Panics
    /// When it ends with an error or not at all.
    pub async fn stop(self) -> HubFolder {
        let status = self.running.stop().await;
        assert!(status.success(), "the hub drained and ended with {status}");
        self.folder
    }

    /// `GET /api/store`.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn store(&self) -> Result<Value, String> {
        page::get_json(self.http, "/api/store").await
    }

    /// Waits until the counters whose names contain `part` add up to at least `least`.
    pub async fn counted(&self, part: &str, least: u64) {
        wait_for(&format!("the counters `…{part}…` say at least {least}"), PATIENCE, async || {
            let status = self.folder.status().await?;
            if least <= counter(&status, part) { Ok(()) } else { Err(status["counters"].to_string()) }
        })
        .await;
    }
}

/// The sum of the counters in `status --json` whose names contain `part`.
#[must_use]
pub fn counter(status: &Value, part: &str) -> u64 {
    let counters = status["counters"].as_object().into_iter().flatten();
    counters.filter(|(name, _)| name.contains(part)).filter_map(|(_, value)| value.as_u64()).sum()
}
