//! A kiosk without a screen: asks the hub, and hears what it is told.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use contract::{
    KioskId, RequestId, Timestamp,
    kiosk::{Ask, Reply, Request},
    topic,
};
use rumqttc::{AsyncClient, Event, Incoming, MqttOptions, QoS};
use tokio::{sync::watch, task::JoinHandle};

const KEEP_ALIVE: Duration = Duration::from_secs(20);
const BACKOFF: Duration = Duration::from_millis(200);
/// Requests that wait for the connection.
const QUEUE_MAX: usize = 32;

/// What was heard, by request.
pub type Heard = BTreeMap<String, Vec<Reply>>;

/// The kiosk.
#[derive(Debug)]
pub struct SimKiosk {
    id: KioskId,
    client: AsyncClient,
    heard: watch::Receiver<Heard>,
    subscribed: watch::Receiver<bool>,
    poller: JoinHandle<()>,
}

impl Drop for SimKiosk {
    fn drop(&mut self) {
        self.poller.abort();
    }
}

impl SimKiosk {
    /// Connects, again and again.
    #[must_use]
    pub fn connect(id: KioskId, broker: SocketAddr, secret: Option<&str>) -> Self {
        let mut mqtt = MqttOptions::new(id.as_str(), broker.ip().to_string(), broker.port());
        mqtt.set_keep_alive(KEEP_ALIVE).set_clean_session(true);
        if let Some(secret) = secret {
            mqtt.set_credentials(id.as_str(), secret);
        }
        let (client, mut events) = AsyncClient::new(mqtt, QUEUE_MAX);
        let (said, heard) = watch::channel(Heard::new());
        let (ready, subscribed) = watch::channel(false);
        let (own, filter) = (client.clone(), topic::kiosk_replies(&id));
        let poller = tokio::spawn(async move {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Incoming::ConnAck(_))) => {
                        own.try_subscribe(&filter, QoS::AtLeastOnce).ok();
                    }
                    Ok(Event::Incoming(Incoming::SubAck(_))) => drop(ready.send_replace(true)),
                    Ok(Event::Incoming(Incoming::Publish(publish))) => {
                        let reply = serde_json::from_slice::<Reply>(&publish.payload);
                        if let (Some((_, id)), Ok(reply)) = (topic::parse_kiosk_reply(&publish.topic), reply)
                        {
                            said.send_modify(|heard| heard.entry(id.into()).or_default().push(reply));
                        }
                    }
                    Ok(_) => {}
                    Err(_) => {
                        ready.send_replace(false);
                        tokio::time::sleep(BACKOFF).await;
                    }
                }
            }
        });
        Self { id, client, heard, subscribed, poller }
    }

    /// Waits until replies can be heard.
    pub async fn is_ready(&self) {
        // The sender lives in the poller, which lives as long as this.
        self.subscribed.clone().wait_for(|ready| *ready).await.ok();
    }

    /// Publishes a request; false when too many wait.
    pub fn ask(&self, request: &RequestId, ask: Ask) -> bool {
        let at = Timestamp::saturating_from_millis(jiff::Timestamp::now().as_millisecond());
        let text = serde_json::to_vec(&Request { at, ask }).expect("a request is JSON");
        self.client
            .try_publish(topic::kiosk_request(&self.id, request), QoS::AtLeastOnce, false, text)
            .is_ok()
    }

    /// What was heard so far.
    #[must_use]
    pub fn heard(&self) -> watch::Receiver<Heard> {
        self.heard.clone()
    }
}
