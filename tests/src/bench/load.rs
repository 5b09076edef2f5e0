//! The load: publishers that send as fast as acknowledgements come back.
//!
//! Written on raw packets, so that what is measured is the broker and not a client library.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{io::AsyncWriteExt as _, task::JoinSet, time::timeout};

use crate::raw::{self, ANSWER_MAX, RawClient, Version};

/// Bytes of each payload.
pub const PAYLOAD_BYTES: usize = 200;
/// Words that stand once in each payload.
pub const PAYLOAD_MARK: &[u8] = b"\"humidity_pct\":41.0,\"battery_pct\":88.0";
/// Connections settle and files are opened before the clock starts.
const WARM_UP: Duration = Duration::from_secs(1);

/// What load to make.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Connections, each a device of its own.
    pub publishers: usize,
    /// Messages that each may have unacknowledged.
    pub in_flight: usize,
    /// How long to measure.
    pub measured: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// Acknowledged messages per second.
    pub per_second: f64,
    /// All acknowledged messages, those outside the measured time too.
    pub acked: u64,
    /// Time from PUBLISH to PUBACK, sorted.
    pub latencies: Vec<Duration>,
}

impl Measured {
    /// The latency that `share` of all messages did not exceed.
    #[must_use]
    pub fn latency(&self, share: f64) -> Duration {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index into a list in memory"
        )]
        let index = (self.latencies.len() as f64 * share) as usize;
        self.latencies.get(index.min(self.latencies.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

/// A native shelf reading of exactly [`PAYLOAD_BYTES`], blank-padded, which JSON allows.
#[must_use]
pub fn payload(seq: u64) -> Vec<u8> {
    let mut payload = format!(
        "{{\"seq\":{seq},\"weight_g\":{}.5,\"count\":{},\"temperature_c\":21.5,\"humidity_pct\":41.0,\"battery_pct\":88.0",
        500 + seq % 4_000,
        seq % 24
    )
    .into_bytes();
    payload.resize(PAYLOAD_BYTES - 1, b' ');
    payload.push(b'}');
    payload
}

/// Drives a broker that lets everybody in.
///
/// # Errors
/// When a publisher cannot connect or loses its connection.
pub async fn drive(broker: SocketAddr, load: Load) -> io::Result<Measured> {
    let stop = Arc::new(AtomicBool::new(false));
    let start = Instant::now() + WARM_UP;
    let mut publishers = JoinSet::new();
    for index in 0..load.publishers {
        publishers.spawn(publish(broker, index, load.in_flight, start, Arc::clone(&stop)));
    }
    tokio::time::sleep(WARM_UP + load.measured).await;
    stop.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    let mut acked = 0;
    while let Some(publisher) = publishers.join_next().await {
        let (of_publisher, acked_by_publisher) = publisher.map_err(io::Error::other)??;
        latencies.extend(of_publisher);
        acked += acked_by_publisher;
    }
    latencies.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "a count of messages, far below 2^52")]
    let per_second = latencies.len() as f64 / load.measured.as_secs_f64();
    Ok(Measured { per_second, acked, latencies })
}

async fn publish(
    broker: SocketAddr,
    index: usize,
    in_flight: usize,
    start: Instant,
    stop: Arc<AtomicBool>,
) -> io::Result<(Vec<Duration>, u64)> {
    let id = format!("bench-{index:03}");
    let topic = format!("sensors/shelf/{id}/reading");
    let (mut client, code) = RawClient::log_in(broker, Version::V311, &id, None).await?;
    if code != 0 {
        return Err(io::Error::other(format!("`{id}` was refused with CONNACK {code}")));
    }
    let mut latencies = Vec::new();
    // Packet ids are the window's slots, so the times need no map.
    let mut sent_at: Vec<Option<Instant>> = vec![None; in_flight];
    let mut seq = 0;
    let mut bytes = Vec::new();
    let mut waiting = 0_usize;
    let mut acked = 0;
    loop {
        if !stop.load(Ordering::Relaxed) {
            bytes.clear();
            for (slot, sent) in (1..).zip(&mut sent_at).filter(|(_, sent)| sent.is_none()) {
                seq += 1;
                waiting += 1;
                bytes.extend(raw::publish(Version::V311, &topic, slot, &payload(seq)));
                *sent = Some(Instant::now());
            }
            timeout(ANSWER_MAX, client.writer.write_all(&bytes)).await??;
        }
        if waiting == 0 {
            return Ok((latencies, acked));
        }
        // All acknowledgements that are there already, then one write for all of them.
        loop {
            let packet = timeout(ANSWER_MAX, client.reader.next()).await??;
            if let Some((slot, _)) = packet.puback()
                && let Some(sent) = sent_at.get_mut(usize::from(slot) - 1).and_then(Option::take)
            {
                waiting -= 1;
                acked += 1;
                let now = Instant::now();
                if start <= sent && !stop.load(Ordering::Relaxed) {
                    latencies.push(now - sent);
                }
            }
            if !client.reader.has_more() {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_payload_has_the_same_size_and_is_a_valid_reading() {
        for seq in [1, 999, u64::from(u32::MAX)] {
            let payload = payload(seq);
            assert_eq!(payload.len(), PAYLOAD_BYTES);
            assert_eq!(
                payload.windows(PAYLOAD_MARK.len()).filter(|window| *window == PAYLOAD_MARK).count(),
                1
            );
            let reading: contract::native::ShelfReading = serde_json::from_slice(&payload).unwrap();
            assert_eq!(reading.seq, Some(seq));
        }
    }

    #[test]
    fn a_percentile_is_taken_from_the_sorted_times() {
        let latencies = (1..=100).map(Duration::from_millis).collect();
        let measured = Measured { latencies, ..Measured::default() };
        assert_eq!(measured.latency(0.5), Duration::from_millis(51));
        assert_eq!(measured.latency(0.99), Duration::from_millis(100));
        assert_eq!(Measured::default().latency(0.5), Duration::ZERO);
    }
}
