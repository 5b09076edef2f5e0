//! The ground-truth file: one JSON line for every message handed to a client, every acknowledgement, and the world's end.

use std::{io, path::PathBuf};

use serde::{Deserialize, Serialize};
use tokio::{
    fs::File,
    io::{AsyncWriteExt as _, BufWriter},
    sync::mpsc,
    task::JoinHandle,
};

use crate::world::Truth;

/// Lines that may wait for the disk.
const LINES_WAITING_MAX: usize = 4_096;

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Line {
    /// Handed to the MQTT client for the first time.
    Sent {
        /// Which device.
        device: String,
        /// Where to.
        topic: String,
        /// The device's own number.
        seq: u64,
        /// The payload as sent.
        payload: serde_json::Value,
    },
    /// PUBACK seen.
    Acked {
        /// Which device.
        device: String,
        /// The device's own number.
        seq: u64,
        /// Reason code: 0 from every 3.1.1 broker.
        reason: u8,
    },
    /// A payload that must be refused was handed to the client.
    Garbage {
        /// Which device.
        device: String,
        /// Where to.
        topic: String,
    },
    /// The last line: what is true.
    World(Truth),
}

/// Takes lines from many devices.
#[derive(Debug, Clone)]
pub struct TruthSender(Option<mpsc::Sender<Line>>);

impl TruthSender {
    /// Writes a line; waits while too many wait for the disk.
    pub async fn write(&self, line: Line) {
        if let Some(sender) = &self.0 {
            // The writer ends only after every sender is gone, or with an error that `TruthFile::close` reports.
            sender.send(line).await.ok();
        }
    }
}

/// The file being written.
#[derive(Debug)]
pub struct TruthFile {
    sender: TruthSender,
    writer: Option<JoinHandle<io::Result<()>>>,
}

impl TruthFile {
    /// Creates the file; without a path lines are dropped.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub async fn create(path: Option<PathBuf>) -> io::Result<Self> {
        let Some(path) = path else {
            return Ok(Self { sender: TruthSender(None), writer: None });
        };
        let file = File::create(path).await?;
        let (sender, receiver) = mpsc::channel(LINES_WAITING_MAX);
        let writer = tokio::spawn(write_all(file, receiver));
        Ok(Self { sender: TruthSender(Some(sender)), writer: Some(writer) })
    }

    /// A handle for a device.
    #[must_use]
    pub fn sender(&self) -> TruthSender {
        self.sender.clone()
    }

    /// Writes what waits; every other sender must be gone.
    ///
    /// # Errors
    /// When a line could not be written.
    pub async fn close(self) -> io::Result<()> {
        drop(self.sender);
        match self.writer {
            Some(writer) => writer.await.map_err(io::Error::other)?,
            None => Ok(()),
        }
    }
}

async fn write_all(file: File, mut lines: mpsc::Receiver<Line>) -> io::Result<()> {
    let mut file = BufWriter::new(file);
    while let Some(line) = lines.recv().await {
        let mut text = serde_json::to_vec(&line).map_err(io::Error::other)?;
        text.push(b'\n');
        file.write_all(&text).await?;
        if lines.is_empty() {
            file.flush().await?;
        }
    }
    file.flush().await?;
    file.get_ref().sync_all().await
}
