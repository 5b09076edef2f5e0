//! Headquarters as a process, and a look into its database behind its back.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::PathBuf};

use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use crate::harness::process::{Program, Running};

const PROGRAM: &str = "storehub-hq";
const CONFIG: &str = "hq.toml";
const DATABASE: &str = "hq.db";

/// A folder of headquarters, with nothing running on it.
#[derive(Debug)]
pub struct HqFolder {
    dir: TempDir,
}

/// Running headquarters.
#[derive(Debug)]
pub struct Hq {
    /// Its folder.
    pub folder: HqFolder,
    /// Its process.
    pub running: Running,
    /// Where stores connect.
    pub mqtt: SocketAddr,
    /// Where its API is.
    pub http: SocketAddr,
}

impl HqFolder {
    /// A new headquarters that admits every store.
    ///
    /// # Panics
    /// When no folder can be made.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it makes a folder, which is more than a default")]
    pub fn new() -> Self {
        Self::with_admission("anonymous = true\n")
    }

    /// A new headquarters that admits one store with its secret.
    #[must_use]
    pub fn listing(store: &str, secret: &str) -> Self {
        Self::with_admission(&format!("\n[stores.{store}]\nsecret = \"{secret}\"\n"))
    }

    fn with_admission(admission: &str) -> Self {
        let dir = TempDir::new().expect("the folder for temporary files is writable");
        let config = format!(
            "[database]\nurl = \"sqlite://{DATABASE}\"\n\n[http]\nlisten = \"127.0.0.1:0\"\n\n\
             [mqtt]\nembedded = \"127.0.0.1:0\"\n{admission}"
        );
        fs::write(dir.path().join(CONFIG), config).expect("the journey's folder is writable");
        Self { dir }
    }

    /// Starts headquarters and waits until it listens.
    pub async fn start(self) -> Hq {
        let running = Program::new(PROGRAM, self.dir.path()).args(["serve", "--config", CONFIG]).start();
        let mqtt = running.listening("mqtt").await;
        let http = running.listening("http").await;
        Hq { folder: self, running, mqtt, http }
    }

    /// The database file.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.dir.path().join(DATABASE)
    }

    /// How often each device's own `seq` is among the raw readings in the database: device, seq → rows.
    ///
    /// # Errors
    /// While the database is not there or busy; the text is for `wait_for`.
    pub fn readings(&self, store: &str) -> Result<BTreeMap<(String, u64), u32>, String> {
        let read = || -> rusqlite::Result<BTreeMap<(String, u64), u32>> {
            let database = Connection::open_with_flags(self.database(), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            let mut rows = database.prepare(
                "SELECT device, json_extract(data, '$.seq'), count(*) FROM rows \
                 WHERE store = ?1 AND stream = 'readings' AND json_extract(data, '$.seq') IS NOT NULL GROUP BY 1, 2",
            )?;
            let rows = rows.query_map([store], |row| {
                let seq: i64 = row.get(1)?;
                Ok(((row.get(0)?, seq.cast_unsigned()), row.get(2)?))
            })?;
            rows.collect()
        };
        read().map_err(|error| format!("{}: {error}", self.database().display()))
    }

    /// The journal's records that a store has said to be lost, of its readings: first and last.
    ///
    /// # Errors
    /// While the database is not there or busy; the text is for `wait_for`.
    pub fn lost(&self, store: &str) -> Result<Vec<(u64, u64)>, String> {
        let read = || -> rusqlite::Result<Vec<(u64, u64)>> {
            let database = Connection::open_with_flags(self.database(), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            let mut ranges = database.prepare(
                "SELECT first_seq, last_seq FROM lost WHERE store = ?1 AND stream = 'readings' ORDER BY 1",
            )?;
            let ranges = ranges.query_map([store], |row| {
                let (first, last): (i64, i64) = (row.get(0)?, row.get(1)?);
                Ok((first.cast_unsigned(), last.cast_unsigned()))
            })?;
            ranges.collect()
        };
        read().map_err(|error| format!("{}: {error}", self.database().display()))
    }
}

impl Hq {
    /// New headquarters.
    pub async fn start() -> Self {
        HqFolder::new().start().await
    }

    /// `kill -9`.
    pub async fn kill(self) -> HqFolder {
        self.running.kill().await;
        self.folder
    }
}
