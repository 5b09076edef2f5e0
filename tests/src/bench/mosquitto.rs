//! Debian's mosquitto as a contender, in the settings that a user would choose.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    process::Stdio,
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use crate::harness::wait_for;

const START_MAX: Duration = Duration::from_secs(10);

/// How it is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// As it comes: everything in memory.
    Default,
    /// Written to disk at each change: `persistence true`, `autosave_on_changes true`, `autosave_interval 1`.
    Durable,
}

impl Setting {
    /// The name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "mosquitto default",
            Self::Durable => "mosquitto durable",
        }
    }
}

/// A mosquitto process.
#[derive(Debug)]
pub struct Mosquitto {
    dir: TempDir,
    child: Child,
    /// Where it listens.
    pub addr: SocketAddr,
}

impl Mosquitto {
    /// Whether the machine has one.
    #[must_use]
    pub fn is_installed() -> bool {
        std::process::Command::new("mosquitto")
            .arg("-h")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok()
    }

    /// Starts one in a folder of its own.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn start(setting: Setting, bridge_to: Option<SocketAddr>) -> io::Result<Self> {
        let dir = TempDir::new()?;
        let addr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut config =
            format!("listener {} 127.0.0.1\nallow_anonymous true\nlog_type error\n", addr.port());
        // With its default of 1 000 waiting messages it would drop most of what it acknowledges; that is no contest.
        config.push_str("max_queued_messages 0\n");
        if rustix::process::geteuid().is_root() {
            // It would become another user who may not write into our folder.
            config.push_str("user root\n");
        }
        if setting == Setting::Durable {
            config.push_str(&format!(
                "persistence true\npersistence_location {}/\nautosave_on_changes true\nautosave_interval 1\n",
                dir.path().display()
            ));
        }
        if let Some(target) = bridge_to {
            config.push_str(&format!(
                "connection up\naddress {target}\ntopic sensors/# out 1\n\
                 cleansession false\nrestart_timeout 1\nbridge_protocol_version mqttv311\n"
            ));
        }
        fs::write(dir.path().join("mosquitto.conf"), config)?;
        let child = spawn(&dir)?;
        let mosquitto = Self { dir, child, addr };
        mosquitto.until_listening().await;
        Ok(mosquitto)
    }

    /// `kill -9` and a new start on the same files.
    ///
    /// # Errors
    /// When it cannot be started again.
    pub async fn kill_and_start_again(&mut self) -> io::Result<()> {
        self.child.kill().await?;
        self.child = spawn(&self.dir)?;
        self.until_listening().await;
        Ok(())
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    async fn until_listening(&self) {
        wait_for("mosquitto listens", START_MAX, async || {
            TcpStream::connect(self.addr).await.map(drop).map_err(|error| error.to_string())
        })
        .await;
    }
}

fn spawn(dir: &TempDir) -> io::Result<Child> {
    let log = fs::File::options().create(true).append(true).open(dir.path().join("mosquitto.log"))?;
    Command::new("mosquitto")
        .arg("-c")
        .arg(dir.path().join("mosquitto.conf"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
}
