//! Where the receiver's parts meet: starts them in order, stops them in the opposite one.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use broker::Broker;
use contract::Timestamp;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, Mqtt},
    counters::Counters,
    database::{
        DatabaseError, Reader,
        writer::{self, Health, Surroundings, WriterThread},
    },
    desk::{self, Desk, DeskError, DeskThread},
    embedded::{self, EmbeddedDownlink, Refused},
    external::Link,
    fleet::Fleet,
    http,
    ingest::{DownlinkSlot, Ingest},
};

/// Why headquarters did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database cannot be used.
    #[error("failed to start the database")]
    Database {
        /// Why.
        source: DatabaseError,
    },
    /// The order desk cannot work.
    #[error("failed to start the order desk")]
    Desk {
        /// Why.
        source: DeskError,
    },
    /// The address for HTTP cannot be bound.
    #[error("failed to listen for HTTP on {addr} (`http.listen`)")]
    Http {
        /// The configured address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The embedded broker did not start.
    #[error("failed to start the embedded broker (`mqtt.embedded`)")]
    Broker {
        /// Why.
        source: broker::StartError,
    },
}

enum Uplink {
    Embedded(Broker),
    External(Link),
}

/// A running headquarters.
pub struct Hq {
    uplink: Uplink,
    writer: WriterThread,
    desk: Desk,
    desk_thread: DeskThread,
    ingest: Ingest,
    http_addr: SocketAddr,
    /// `None` once its end was seen.
    http: Option<JoinHandle<()>>,
    stop: CancellationToken,
    counters: Counters,
}

/// The wall clock.
#[must_use]
pub fn wall_clock() -> Timestamp {
    let millis = match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis),
    };
    Timestamp::saturating_from_millis(millis)
}

impl Hq {
    /// Starts everything on the present runtime.
    ///
    /// # Errors
    /// When the database, an address or the broker cannot be had; nothing is left running then.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let listener = TcpListener::bind(config.http)
            .await
            .map_err(|source| StartError::Http { addr: config.http, source })?;
        let http_addr =
            listener.local_addr().map_err(|source| StartError::Http { addr: config.http, source })?;

        let (counters, fleet, health) = (Counters::default(), Fleet::default(), Health::default());
        let downlink: DownlinkSlot = Arc::new(OnceLock::new());
        let (ingest, jobs) = Ingest::new(counters.clone());
        let surroundings = Surroundings {
            fleet: fleet.clone(),
            counters: counters.clone(),
            downlink: Arc::clone(&downlink),
            health: health.clone(),
            clock: wall_clock,
        };
        let database = |source| StartError::Database { source };
        let writer = writer::start(&config.database, surroundings, jobs).map_err(database)?;
        let reader = Reader::open(&config.database).map_err(database)?;
        let around = desk::Surroundings {
            fleet: fleet.clone(),
            counters: counters.clone(),
            downlink: Arc::clone(&downlink),
            clock: wall_clock,
        };
        let (desk, desk_thread) =
            desk::start(&config.database, around).map_err(|source| StartError::Desk { source })?;
        ingest.show_results(desk.results());

        let refused = Arc::new(Refused::new(wall_clock));
        let uplink = match config.mqtt {
            Mqtt::Embedded { listen, admission } => {
                let door = embedded::Door {
                    admission,
                    ingest: ingest.clone(),
                    counters: counters.clone(),
                    refused: Arc::clone(&refused),
                };
                let started = embedded::start(listen, door).await;
                let broker = started.map_err(|source| StartError::Broker { source })?;
                let back = EmbeddedDownlink { handle: broker.handle(), counters: counters.clone() };
                // A publish that came before this line is acknowledged by the next one.
                drop(downlink.set(Arc::new(back)));
                Uplink::Embedded(broker)
            }
            Mqtt::External(external) => {
                let link = Link::start(external, ingest.clone(), counters.clone());
                drop(downlink.set(link.downlink()));
                Uplink::External(link)
            }
        };
        let broker = match &uplink {
            Uplink::Embedded(broker) => Some(broker.handle()),
            Uplink::External(_) => None,
        };
        let state = http::State {
            fleet,
            counters: counters.clone(),
            health,
            reader: Arc::new(reader),
            ingest: ingest.clone(),
            desk: desk.clone(),
            guard: http::orders::Guard { token: config.token, is_loopback: http_addr.ip().is_loopback() },
            broker,
            refused,
            clock: wall_clock,
        };
        let stop = CancellationToken::new();
        let http = tokio::spawn(http::serve(listener, state, stop.clone()));
        Ok(Self { uplink, writer, desk, desk_thread, ingest, http_addr, http: Some(http), stop, counters })
    }

    /// Where stores connect, when the broker is in this process.
    #[must_use]
    pub fn mqtt_addr(&self) -> Option<SocketAddr> {
        match &self.uplink {
            Uplink::Embedded(broker) => broker.tcp_addr(),
            Uplink::External(_) => None,
        }
    }

    /// Where the API is served.
    #[must_use]
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// How often each thing happened.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Resolves with what has broken that headquarters cannot mend while it runs; the process should end then, so
    /// that it is started anew.
    pub async fn failure(&mut self) -> String {
        let broker = async {
            match &self.uplink {
                Uplink::Embedded(broker) => broker.handle().failed().await.to_string(),
                Uplink::External(_) => std::future::pending().await,
            }
        };
        let http = async {
            match &mut self.http {
                Some(http) => {
                    // Whether it returned or panicked, it is over.
                    let _ = http.await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            reason = broker => reason,
            () = self.writer.ended() => "the database's thread has ended".to_owned(),
            () = http => {
                self.http = None;
                "HTTP is served no more".to_owned()
            }
        }
    }

    /// Takes no more, commits what waits, acknowledges it, and closes the file.
    pub async fn shutdown(self) {
        match self.uplink {
            Uplink::Embedded(broker) => broker.shutdown(embedded::DRAIN).await,
            Uplink::External(link) => link.shutdown().await,
        }
        self.stop.cancel();
        if let Some(http) = self.http
            && http.await.is_err()
        {
            tracing::error!("the HTTP task panicked");
        }
        self.desk.stop().await;
        self.ingest.stop().await;
        let (writer, desk) = (self.writer, self.desk_thread);
        let ended = tokio::task::spawn_blocking(move || {
            desk.join();
            writer.join();
        });
        if ended.await.is_err() {
            tracing::error!("waiting for the database's threads failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_headquarters_cannot_mend_is_a_failure_with_its_reason_and_it_still_closes_well() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hq.toml");
        let text = "[mqtt]\nembedded = \"127.0.0.1:0\"\nanonymous = true\n[database]\nurl = \"sqlite://hq.db\"\n\
                    [http]\nlisten = \"127.0.0.1:0\"\n";
        std::fs::write(&file, text).unwrap();
        let start = async || Hq::start(Config::load(&file).unwrap()).await.unwrap();

        let mut hq = start().await;
        let Uplink::Embedded(broker) = &hq.uplink else { panic!("the broker is in this process") };
        // One death is mended; so many in a row are not.
        for _ in 0..40 {
            broker.handle().kill_feeder_for_tests();
        }
        let reason = timeout(Duration::from_secs(60), hq.failure()).await.expect("it notices");
        assert!(reason.contains("MQTT broker"), "{reason}");
        hq.shutdown().await;

        let mut hq = start().await;
        hq.ingest.stop().await;
        let reason = timeout(Duration::from_secs(60), hq.failure()).await.expect("it notices");
        assert!(reason.contains("database"), "{reason}");
        hq.shutdown().await;
        start().await.shutdown().await;
    }
}
