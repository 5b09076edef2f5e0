//! The MQTT connection to the hub: one named thread, a current-thread runtime, `rumqttc`, and no opinion.
//!
//! Reconnects for ever with a growing pause. A full queue makes the connection wait, so nothing is lost here; what the
//! hub does with a reader that waits too long is the hub's affair.

use std::{thread, time::Duration};

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::LinkEvent;
use crate::config::Hub;

/// Larger packets end the connection; the hub's largest topic is a locker bank of some 20 kB.
const PACKET_BYTES_MAX: usize = 256 * 1024;
/// Requests of ours that may wait for the connection: one subscription.
const REQUESTS_MAX: usize = 4;
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// First and longest pause before another attempt to connect.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The system gives no runtime.
    #[error("failed to start the runtime for the hub's connection")]
    Runtime {
        /// Why.
        source: std::io::Error,
    },
    /// The system gives no thread.
    #[error("failed to start the thread for the hub's connection")]
    Thread {
        /// Why.
        source: std::io::Error,
    },
}

pub(super) fn start(client_id: &str, hub: &Hub, queue_max: usize) -> Result<Receiver<LinkEvent>, LinkError> {
    let mut options = MqttOptions::new(client_id, hub.mqtt.ip().to_string(), hub.mqtt.port());
    options.set_keep_alive(KEEP_ALIVE);
    options.set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
    if let Some(username) = &hub.username {
        options.set_credentials(username, hub.password.clone().unwrap_or_default());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| LinkError::Runtime { source })?;
    let (events, received) = channel(queue_max);
    thread::Builder::new()
        .name("hub-link".to_owned())
        .spawn(move || runtime.block_on(talk(options, events)))
        .map_err(|source| LinkError::Thread { source })?;
    Ok(received)
}

/// Talks until nobody listens.
async fn talk(options: MqttOptions, events: Sender<LinkEvent>) {
    let (client, mut connection) = AsyncClient::new(options, REQUESTS_MAX);
    let mut pause = PAUSE_MIN;
    loop {
        let step = tokio::select! {
            () = events.closed() => return,
            step = next(&client, &mut connection) => step,
        };
        let (event, is_failure) = match step {
            Ok(Some(event)) => (event, false),
            Ok(None) => continue,
            Err(reason) => (LinkEvent::Offline(reason), true),
        };
        if events.send(event).await.is_err() {
            return;
        }
        if !is_failure {
            pause = PAUSE_MIN;
            continue;
        }
        tokio::select! {
            () = events.closed() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn next(client: &AsyncClient, connection: &mut EventLoop) -> Result<Option<LinkEvent>, String> {
    match connection.poll().await {
        Ok(Event::Incoming(Packet::ConnAck(_))) => {
            // The queue of requests is empty after a connect, so this cannot wait.
            client.try_subscribe("hub/#", QoS::AtLeastOnce).map_err(|error| error.to_string())?;
            Ok(None)
        }
        Ok(Event::Incoming(Packet::SubAck(ack))) => {
            if ack.return_codes.iter().any(|code| matches!(code, rumqttc::SubscribeReasonCode::Failure)) {
                return Err("the hub refuses the subscription to `hub/#`".to_owned());
            }
            Ok(Some(LinkEvent::Online))
        }
        Ok(Event::Incoming(Packet::Publish(publish))) => {
            Ok(Some(LinkEvent::Message { topic: publish.topic, payload: publish.payload.to_vec() }))
        }
        Ok(_) => Ok(None),
        Err(error) => Err(chain(&error)),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
