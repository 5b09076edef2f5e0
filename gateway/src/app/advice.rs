//! What whoever looks after a refused client is told: what is wrong, and what to do.
//!
//! Owns: the words. A name that anybody may choose becomes part of a command only when it is an id; elsewhere it is
//! quoted, and whoever prints it spells out what would steer a terminal.

use broker::{ConnectRequest, Incident, Trouble};
use contract::DeviceId;

use crate::devices::{Stranger, publishes, subscribes};

/// A connection was closed for another of the same device.
pub(super) const TOOK_OVER: &str = "session_taken_over";

/// Why, and what now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Advice {
    /// One word, also the counter's.
    pub(super) code: &'static str,
    /// What is wrong.
    pub(super) reason: String,
    /// What to do.
    pub(super) hint: String,
}

/// About a login.
pub(super) fn on_login(stranger: Stranger, request: &ConnectRequest, config_file: &str) -> Advice {
    let Some(name) = request.username.as_deref() else {
        return Advice {
            code: "no_user_name",
            reason: "it gave no user name".to_owned(),
            hint: "set client id and user name to the device's id, and the password to its secret".to_owned(),
        };
    };
    let add = format!("storehub-gateway device add {name} --kind KIND --config {config_file}");
    let (code, reason, hint) = match stranger {
        Stranger::Unknown if DeviceId::parse(name).is_err() => (
            "unknown_device",
            format!("no device is called `{name}`, and none can be"),
            "set client id and user name to the device's id, which has small letters, digits and `-` alone"
                .to_owned(),
        ),
        Stranger::Unknown if request.client_id != name => (
            "unknown_device",
            format!("no device is called `{name}`"),
            format!("set the client id to `{name}` too, and let it in: {add}"),
        ),
        Stranger::Unknown => (
            "unknown_device",
            format!("no device is called `{name}`"),
            format!("let it in, or set client id and user name to a registered device's id: {add}"),
        ),
        Stranger::WrongSecret => (
            "wrong_secret",
            format!("the password is not the secret of `{name}`"),
            format!(
                "set the password to the secret that `device add` has printed; if it is lost: storehub-gateway device \
                 remove {name} --config {config_file} && {add}"
            ),
        ),
        Stranger::OtherClientId => (
            "client_id_is_not_the_device",
            format!("the client id `{}` is not the user name `{name}`", request.client_id),
            format!("set the client id to `{name}`, the device's id"),
        ),
        Stranger::Busy => (
            "busy",
            "too many logins wait to be checked".to_owned(),
            "it tries again by itself; if this goes on, look for whoever logs in all the time".to_owned(),
        ),
        Stranger::BackingOff => (
            "backing_off",
            format!("its address gave wrong secrets for `{name}` and has to wait half a minute at most"),
            "set the password to the device's secret".to_owned(),
        ),
    };
    Advice { code, reason, hint }
}

/// About what befell a client that is logged in.
pub(super) fn on_incident(incident: &Incident<'_>) -> Advice {
    let (id, kind) = (&*incident.principal.name, &*incident.principal.kind);
    let listed = |topics: Vec<String>| format!("`{}`", topics.join("`, `"));
    let (code, reason, hint) = match incident.trouble {
        Trouble::PublishDenied | Trouble::WillDenied => {
            let (code, what) = match incident.trouble {
                Trouble::WillDenied => ("will_not_allowed", "leave its last will"),
                _ => ("publish_not_allowed", "publish"),
            };
            let may = listed(publishes(id, kind));
            (
                code,
                format!("`{id}` is of the kind `{kind}` and may not {what} there"),
                format!("it may publish to {may}; if it is of another kind, remove it and add it anew"),
            )
        }
        Trouble::SubscribeDenied => (
            "subscribe_not_allowed",
            format!("`{id}` is of the kind `{kind}` and may not subscribe to that"),
            format!(
                "it may subscribe to {}; if it is of another kind, remove it and add it anew",
                listed(subscribes(id, kind))
            ),
        ),
        Trouble::Topic(fault) => (
            "topic_invalid",
            format!("this is no topic to publish to: {fault}"),
            format!("publish to {}", listed(publishes(id, kind))),
        ),
        Trouble::Filter(fault) => (
            "filter_invalid",
            format!("this is nothing to subscribe to: {fault}"),
            format!("subscribe to {}", listed(subscribes(id, kind))),
        ),
        Trouble::SubscriptionsFull => (
            "subscriptions_full",
            format!("`{id}` has as many subscriptions as it may"),
            "subscribe to fewer filters, with wildcards".to_owned(),
        ),
        Trouble::SessionsFull => (
            "sessions_full",
            "there are as many sessions as may be".to_owned(),
            "close other connections of this device, or raise `limits.sessions_per_principal_max`".to_owned(),
        ),
        Trouble::TookOver => (
            TOOK_OVER,
            format!("another connection of `{id}` was open and was closed for this one (`{}`)", incident.client_id),
            "now and then this is a device that reconnects; if it goes on, two clients share this id: look at their \
             addresses here, and give each an id of its own with `device add`"
                .to_owned(),
        ),
    };
    Advice { code, reason, hint }
}

/// About a payload that says nothing the hub understands.
pub(super) fn on_payload(code: &'static str, reason: String) -> Advice {
    let hint =
        "correct what the device sends; the README lists topics and payloads under \"Connect a sensor\"";
    Advice { code, reason, hint: hint.to_owned() }
}
