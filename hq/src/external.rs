//! Another broker, reached with `rumqttc`: a persistent session under our own name, so that it keeps what comes while we
//! are away, and PUBACKs by hand, after the commit.
//!
//! # Invariants
//!
//! - Three parties never wait for each other in a circle: the poller never waits for the database (a full queue costs the
//!   connection, and the broker brings the rest again), and acknowledgements wait in their own bounded queue.
//! - A PUBACK goes out on the connection that brought the publish, or never.
//! - After any error or silence the client is thrown away; a reused one drops what it had accepted.

use std::{sync::Arc, time::Duration};

use rumqttc::{
    AsyncClient, Event, EventLoop, MqttOptions, NetworkOptions, Packet, Publish, QoS, SubscribeFilter,
};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use contract::upstream::BATCH_BYTES_MAX;

use crate::{
    config::External,
    counters::Counters,
    ingest::{Downlink, Ingest, Outcome, QUEUE_MAX},
};

/// What stores publish. The results of commands are among it.
const FILTERS: [&str; 4] =
    ["stores/+/batch/+", "stores/+/birth", "stores/+/status", "stores/+/command/+/result"];
/// Acknowledgements and commands that wait for the connection.
const DOWNLINK_MAX: usize = 4_096;
/// Requests that wait inside the client.
const REQUESTS_MAX: usize = 64;
/// Room in a packet for what is no payload.
const PACKET_OVERHEAD_BYTES: usize = 1_024;
const KEEP_ALIVE: Duration = Duration::from_secs(20);
const IO_DEADLINE: Duration = Duration::from_secs(10);
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// A running connection.
pub struct Link {
    downlink: Arc<ExternalDownlink>,
    join: JoinHandle<()>,
    stop: CancellationToken,
}

/// The way back through the other broker.
struct ExternalDownlink {
    queue: mpsc::Sender<(String, Vec<u8>)>,
    counters: Counters,
}

impl Downlink for ExternalDownlink {
    fn publish(&self, topic: String, payload: Vec<u8>) {
        if self.queue.try_send((topic, payload)).is_err() {
            self.counters.count("downlink_lost");
        }
    }
}

impl Link {
    /// Connects, and goes on trying.
    #[must_use]
    pub fn start(config: External, ingest: Ingest, counters: Counters) -> Self {
        let (queue, messages) = mpsc::channel(DOWNLINK_MAX);
        let stop = CancellationToken::new();
        let downlink = Arc::new(ExternalDownlink { queue, counters: counters.clone() });
        let join = tokio::spawn(run(config, ingest, counters, messages, stop.clone()));
        Self { downlink, join, stop }
    }

    /// The way back.
    #[must_use]
    pub fn downlink(&self) -> Arc<dyn Downlink> {
        Arc::clone(&self.downlink) as Arc<dyn Downlink>
    }

    /// Closes the connection; the session stays with the broker.
    pub async fn shutdown(self) {
        self.stop.cancel();
        if self.join.await.is_err() {
            tracing::error!("the task of the external broker panicked");
        }
    }
}

async fn run(
    config: External,
    ingest: Ingest,
    counters: Counters,
    mut messages: mpsc::Receiver<(String, Vec<u8>)>,
    stop: CancellationToken,
) {
    let mut pause = RETRY_MIN;
    loop {
        let ended = stop.run_until_cancelled(serve(&config, &ingest, &counters, &mut messages)).await;
        let Some((served, reason)) = ended else { return };
        counters.count("external_disconnects");
        tracing::warn!("broker {}:{}: {reason}", config.host, config.port);
        pause = if served { RETRY_MIN } else { (pause * 2).min(RETRY_MAX) };
        if stop.run_until_cancelled(sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// One connection, to its end: whether the broker accepted it, and why it ended.
async fn serve(
    config: &External,
    ingest: &Ingest,
    counters: &Counters,
    messages: &mut mpsc::Receiver<(String, Vec<u8>)>,
) -> (bool, String) {
    let mut options = MqttOptions::new(&config.client_id, &config.host, config.port);
    let packet_bytes_max = BATCH_BYTES_MAX + PACKET_OVERHEAD_BYTES;
    options
        .set_clean_session(false)
        .set_manual_acks(true)
        .set_keep_alive(KEEP_ALIVE)
        .set_inflight(u16::try_from(4 * REQUESTS_MAX).unwrap_or(u16::MAX))
        .set_max_packet_size(packet_bytes_max, packet_bytes_max);
    if let Some((user, password)) = &config.login {
        options.set_credentials(user, password.reveal());
    }
    let (client, mut event_loop) = AsyncClient::new(options, REQUESTS_MAX);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(IO_DEADLINE.as_secs());
    event_loop.set_network_options(network);
    // Publishes whose commit is known, in the order of the commits, which is the order of receipt.
    let (committed, mut to_acknowledge) = mpsc::channel::<(Publish, Outcome)>(QUEUE_MAX);
    let mut served = false;
    let reason = tokio::select! {
        reason = poll(&client, &mut event_loop, ingest, committed, &mut served) => reason,
        reason = answer(&client, messages, &mut to_acknowledge, counters) => reason,
    };
    (served, reason)
}

/// Drives the client and hands publishes to ingest.
async fn poll(
    client: &AsyncClient,
    event_loop: &mut EventLoop,
    ingest: &Ingest,
    committed: mpsc::Sender<(Publish, Outcome)>,
    served: &mut bool,
) -> String {
    let silence_max = KEEP_ALIVE + 2 * IO_DEADLINE;
    loop {
        match timeout(silence_max, event_loop.poll()).await {
            Err(_) => return format!("the client was silent for {silence_max:?}"),
            Ok(Err(error)) => return error.to_string(),
            Ok(Ok(Event::Incoming(Packet::ConnAck(_)))) => {
                *served = true;
                tracing::info!("connected to the external broker");
                let filters = FILTERS.map(|filter| SubscribeFilter::new(filter.to_owned(), QoS::AtLeastOnce));
                if client.try_subscribe_many(filters).is_err() {
                    return "the client does not take the subscriptions".to_owned();
                }
            }
            Ok(Ok(Event::Incoming(Packet::Publish(publish)))) => {
                let committed = committed.clone();
                let (topic, payload) = (publish.topic.clone(), publish.payload.clone());
                let done = Box::new(move |outcome| {
                    // No room or no connection: not acknowledged, so the broker brings it again.
                    drop(committed.try_send((publish, outcome)));
                });
                ingest.offer(&topic, payload, done);
            }
            Ok(Ok(_)) => {}
        }
    }
}

/// Acknowledges what is committed and sends what goes down.
async fn answer(
    client: &AsyncClient,
    messages: &mut mpsc::Receiver<(String, Vec<u8>)>,
    to_acknowledge: &mut mpsc::Receiver<(Publish, Outcome)>,
    counters: &Counters,
) -> String {
    loop {
        let sent = tokio::select! {
            Some((publish, outcome)) = to_acknowledge.recv() => match outcome {
                Outcome::Committed | Outcome::Refused => client.ack(&publish).await,
                Outcome::NotStored => {
                    counters.count("external_publishes_put_back");
                    return "a publish could not be stored: the broker is asked for it again".to_owned();
                }
            },
            Some((topic, payload)) = messages.recv() => {
                client.publish(topic, QoS::AtLeastOnce, false, payload).await
            }
            else => return "shutting down".to_owned(),
        };
        if sent.is_err() {
            return "the client is gone".to_owned();
        }
    }
}
