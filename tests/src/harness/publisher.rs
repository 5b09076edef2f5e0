//! A sensor that remembers exactly what was acknowledged.
//!
//! It never repeats a reading: what was in flight when the connection ended is given up, and the next reading has a new
//! number. So an acknowledged number must be at headquarters exactly once, and any other at most once.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    time::Duration,
};

use tokio::time::{Instant, timeout};

use crate::{
    harness::wait::PATIENCE,
    raw::{ANSWER_MAX, RawClient, Version},
};

/// Readings in flight.
const WINDOW: usize = 50;
const BACKOFF: Duration = Duration::from_millis(50);

/// The sensor.
#[derive(Debug)]
pub struct Publisher {
    broker: SocketAddr,
    version: Version,
    id: String,
    secret: Option<String>,
    client: Option<RawClient>,
    packet_id: u16,
    in_flight: HashMap<u16, u64>,
    next_seq: u64,
    acked: BTreeSet<u64>,
}

impl Publisher {
    /// A shelf sensor that will connect when it first speaks.
    #[must_use]
    pub fn new(broker: SocketAddr, version: Version, id: &str, secret: Option<String>) -> Self {
        Self {
            broker,
            version,
            id: id.to_owned(),
            secret,
            client: None,
            packet_id: 0,
            in_flight: HashMap::new(),
            next_seq: 1,
            acked: BTreeSet::new(),
        }
    }

    /// The numbers that were acknowledged.
    #[must_use]
    pub fn acked(&self) -> &BTreeSet<u64> {
        &self.acked
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The hub has moved.
    pub fn moved_to(&mut self, broker: SocketAddr) {
        self.broker = broker;
        self.lose_connection();
    }

    /// Publishes until `total` readings have been acknowledged in all, reconnecting as often as it takes.
    pub async fn publish_until_acked(&mut self, total: usize) {
        while self.acked.len() < total {
            if self.round(total).await.is_err() {
                self.lose_connection();
            }
        }
    }

    /// Publishes until `total` are acknowledged or the connection ends; whether all are.
    pub async fn publish_while_connected(&mut self, total: usize) -> bool {
        while self.acked.len() < total {
            if self.round(total).await.is_err() {
                self.lose_connection();
                return false;
            }
        }
        true
    }

    fn lose_connection(&mut self) {
        self.client = None;
        self.in_flight.clear();
    }

    /// Fills the window and takes one acknowledgement.
    async fn round(&mut self, total: usize) -> std::io::Result<()> {
        if self.client.is_none() {
            self.client = Some(self.connect().await);
        }
        let client = self.client.as_mut().expect("just connected");
        while self.in_flight.len() < WINDOW && self.acked.len() + self.in_flight.len() < total {
            let seq = self.next_seq;
            self.next_seq += 1;
            self.packet_id = self.packet_id % u16::MAX + 1;
            let payload = reading(seq);
            let topic = format!("sensors/shelf/{}/reading", self.id);
            client.publish(&topic, self.packet_id, payload.as_bytes()).await?;
            self.in_flight.insert(self.packet_id, seq);
        }
        let packet = timeout(ANSWER_MAX, client.reader.next()).await??;
        if let Some((packet_id, reason)) = packet.puback()
            && let Some(seq) = self.in_flight.remove(&packet_id)
            && reason < 0x80
        {
            self.acked.insert(seq);
        }
        Ok(())
    }

    async fn connect(&self) -> RawClient {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen =
                match RawClient::log_in(self.broker, self.version, &self.id, self.secret.as_deref()).await {
                    Ok((client, 0)) => return client,
                    Ok((_, code)) => format!("CONNACK {code}"),
                    Err(error) => error.to_string(),
                };
            assert!(
                Instant::now() < deadline,
                "`{}` was not connected to {} within {PATIENCE:?}; last seen: {seen}",
                self.id,
                self.broker
            );
            tokio::time::sleep(BACKOFF).await;
        }
    }
}

/// A shelf reading with this number. The weight differs from reading to reading, so that a mixed-up row would show.
#[must_use]
pub fn reading(seq: u64) -> String {
    format!("{{\"seq\":{seq},\"weight_g\":{}.5,\"battery_pct\":88.0}}", 1_000 + seq % 5_000)
}
