//! Whether headquarters' broker lets this store in: asked once, beside a hub that may be running.
//!
//! Owns: the words for a login that is refused. Publishes nothing, and leaves the hub's session alone: it comes under a
//! client id of its own, with a clean session.

use std::time::Duration;

use contract::{StoreId, upstream};
use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, MqttOptions, Packet, QoS, SubscribeReasonCode,
};
use tokio::time::timeout;

use super::BrokerUrl;

/// Requests of the one who asks that wait for the client.
const REQUESTS_MAX: usize = 4;
/// How long the goodbye may take.
const GOODBYE: Duration = Duration::from_millis(500);

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probed {
    /// The store is let in.
    In,
    /// It is not, and somebody has to change something: why, and what.
    Refused(String),
    /// Nobody answered, or not as a broker does: why.
    Unreachable(String),
}

/// Connects as the store does, and asks for what it will be told, within `patience`.
pub async fn probe(broker: &BrokerUrl, store: &StoreId, patience: Duration) -> Probed {
    let client_id = format!("check-{}", std::process::id());
    let mut options = MqttOptions::new(client_id, &broker.host, broker.port);
    options.set_clean_session(true);
    if let Some((user, password)) = &broker.login {
        options.set_credentials(user, password);
    }
    let (client, mut event_loop) = AsyncClient::new(options, REQUESTS_MAX);
    let asked = async {
        loop {
            match event_loop.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    // Without a login the client id is the name, and ours is not the store's.
                    let topic = upstream::ack_topic(store);
                    if broker.login.is_none() || client.try_subscribe(topic, QoS::AtLeastOnce).is_err() {
                        return Probed::In;
                    }
                }
                Ok(Event::Incoming(Packet::SubAck(granted))) => {
                    return match granted.return_codes.contains(&SubscribeReasonCode::Failure) {
                        true => Probed::Refused(not_this_store(broker, store)),
                        false => Probed::In,
                    };
                }
                Ok(_) => {}
                Err(ConnectionError::ConnectionRefused(code)) => {
                    return refused_login(code, broker, store).map_or_else(
                        || Probed::Unreachable(format!("it answers {code:?}")),
                        Probed::Refused,
                    );
                }
                Err(error) => return Probed::Unreachable(error.to_string()),
            }
        }
    };
    let probed = match timeout(patience, asked).await {
        Ok(probed) => probed,
        Err(_) => {
            return Probed::Unreachable(format!(
                "it has not let this store in within {} s",
                patience.as_secs()
            ));
        }
    };
    if client.try_disconnect().is_ok() {
        let goodbye = async { while event_loop.poll().await.is_ok() {} };
        // It is the broker's affair whether it hears it.
        timeout(GOODBYE, goodbye).await.ok();
    }
    probed
}

/// Why headquarters' broker does not let anybody in with this login, and what to do; `None` where waiting may help.
pub(super) fn refused_login(code: ConnectReturnCode, broker: &BrokerUrl, store: &StoreId) -> Option<String> {
    let is_other = broker.login.as_ref().is_some_and(|(user, _)| user != store.as_str());
    if code == ConnectReturnCode::NotAuthorized && is_other {
        // The login is right, the last will is another store's.
        return Some(not_this_store(broker, store));
    }
    let is_login = matches!(
        code,
        ConnectReturnCode::BadUserNamePassword
            | ConnectReturnCode::NotAuthorized
            | ConnectReturnCode::BadClientId
    );
    let what = match &broker.login {
        Some((user, _)) => format!("user `{user}` or its password in `upstream.url` is wrong"),
        None => "`upstream.url` has no user and password".to_owned(),
    };
    is_login.then(|| {
        format!(
            "headquarters refuses the login ({code:?}): {what}; they are the store's id and the secret that \
             headquarters has for it"
        )
    })
}

/// What it means that a store is let in and may not hear what it is told.
pub(super) fn not_this_store(broker: &BrokerUrl, store: &StoreId) -> String {
    let user = broker.login.as_ref().map_or("", |(user, _)| user.as_str());
    format!(
        "headquarters lets `{user}` in, but not as the store `{store}`: the user in `upstream.url` and `store.id` must \
         be the same"
    )
}
