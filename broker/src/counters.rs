//! Counters by reason: nothing is refused, dropped, lost or closed without one of them moving.
//!
//! Owns the names. All of them only ever grow; what can shrink (clients, sessions) is a gauge that
//! [`Handle::counters`](crate::Handle::counters) adds under its own name.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

macro_rules! counters {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)+) => {
        /// One countable thing.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Counter { $($(#[$doc])* $variant,)+ }

        const NAMES: &[&str] = &[$($name,)+];
    };
}

counters! {
    ConnectionsAccepted => "connections_accepted",
    ConnectionsRefusedTotal => "connections_refused_limit_total",
    ConnectionsRefusedAddress => "connections_refused_limit_address",
    ConnectionsRefusedHandshakes => "connections_refused_limit_handshakes_of_address",
    AcceptErrors => "accept_errors",
    Connected => "connects",
    ConnectTimeout => "connect_refused_deadline",
    ConnectMalformed => "connect_refused_malformed",
    ConnectNotFirst => "connect_refused_other_packet_first",
    ConnectProtocol => "connect_refused_protocol_version",
    ConnectClientId => "connect_refused_client_id",
    ConnectCredentials => "connect_refused_bad_credentials",
    ConnectNotAuthorized => "connect_refused_not_authorized",
    ConnectBusy => "connect_refused_busy",
    ConnectUnavailable => "connect_refused_unavailable",
    ConnectWillAcl => "connect_refused_will_not_authorized",
    ConnectWillTopic => "connect_refused_will_topic_invalid",
    ConnectAuthMethod => "connect_refused_auth_method",
    ConnectSessionsFull => "connect_refused_sessions_full",
    ConnectPrincipalFull => "connect_refused_sessions_of_principal",
    ConnectOversize => "connect_refused_packet_too_large",
    ConnectEof => "connect_closed_before_connect",
    PublishesReceived => "publishes_received",
    PublishesAccepted => "publishes_accepted",
    PublishRefusedPayload => "publishes_refused_payload",
    PublishNotStored => "publishes_not_stored",
    PublishRefusedAcl => "publishes_refused_not_authorized",
    PublishRefusedTopic => "publishes_refused_topic_invalid",
    PublishQos2Duplicates => "publishes_qos2_duplicates",
    Qos2Overflow => "closed_qos2_limit",
    RateLimited => "publishes_rate_limited_pauses",
    VerdictsAbandoned => "verdicts_abandoned",
    SubscribeGranted => "subscribes_granted",
    SubscribeRefusedAcl => "subscribes_refused_not_authorized",
    SubscribeRefusedFilter => "subscribes_refused_filter_invalid",
    SubscribeRefusedDollar => "subscribes_refused_dollar_topic",
    SubscribeRefusedShared => "subscribes_refused_shared",
    SubscribeRefusedLimit => "subscribes_refused_limit",
    ClosedMalformed => "closed_malformed",
    ClosedOversize => "closed_packet_too_large",
    ClosedWrongType => "closed_wrong_packet_type",
    ClosedProtocol => "closed_protocol_error",
    ClosedTopicAlias => "closed_topic_alias",
    ClosedSubscriptionId => "closed_subscription_identifier",
    ClosedSecondConnect => "closed_second_connect",
    ClosedNotAuthorized => "closed_publish_not_authorized",
    ClosedTopicInvalid => "closed_topic_invalid",
    ClosedNotStored => "closed_not_stored",
    ClosedKeepAlive => "closed_keep_alive",
    ClosedWriteDeadline => "closed_write_deadline",
    ClosedTakenOver => "closed_taken_over",
    ClosedAdministrative => "closed_administrative",
    ClosedShutdown => "closed_shutdown",
    ClosedIo => "closed_connection_lost",
    ClosedClean => "closed_by_client",
    WillsPublished => "wills_published",
    WillsDiscarded => "wills_discarded",
    WillsRefused => "wills_refused",
    SessionsResumed => "sessions_resumed",
    SessionsExpired => "sessions_expired",
    SessionsGaveWay => "sessions_gave_way_to_newer_of_principal",
    RetainedRefusedFull => "retained_refused_full",
    RetainedNotAllowed => "retained_refused_not_allowed",
    RetainedDropped => "retained_dropped_at_start",
    RetainedForgotten => "retained_removed_by_host",
    RetainedExpired => "retained_expired",
    DeliveredQos0 => "delivered_qos0",
    DeliveredQos1 => "delivered_qos1",
    Redelivered => "redelivered_qos1",
    LostQueueMessages => "lost_session_queue_messages_max",
    LostQueueBytes => "lost_session_queue_bytes_max",
    LostOfflineQos0 => "skipped_offline_qos0",
    LostExpired => "lost_message_expired",
    LostClientPacketSize => "lost_client_maximum_packet_size",
    LostSessionEnded => "lost_session_ended",
    FanoutNoSubscriber => "fanout_no_subscriber",
    FanoutRouted => "fanout_routed",
    VitalPanics => "tasks_panicked",
    FanoutQueueFull => "fanout_dropped_router_queue_full",
    FanoutLostLog => "fanout_lost_router_log",
    FanoutLostRestart => "fanout_lost_router_restart",
    RouterRestarts => "router_restarts",
    RouterRecycles => "router_recycles",
    Canaries => "router_canaries",
}

/// All counters of one broker.
#[derive(Debug)]
pub(crate) struct Counters {
    values: Box<[AtomicU64]>,
}

impl Default for Counters {
    fn default() -> Self {
        Self { values: NAMES.iter().map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Counters {
    pub(crate) fn add(&self, counter: Counter, amount: u64) {
        self.values[counter as usize].fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn one(&self, counter: Counter) {
        self.add(counter, 1);
    }

    pub(crate) fn snapshot(&self) -> BTreeMap<String, u64> {
        NAMES
            .iter()
            .zip(&self.values)
            .map(|(name, value)| ((*name).to_owned(), value.load(Ordering::Relaxed)))
            .collect()
    }
}
