//! What a connected client's packets do.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Awaited, Close, Connection, Pending, WillFate, copied};
use crate::{
    codec::{
        Packet, Publish, Subscribe, Unsubscribe, decode,
        encode::{self, AckType},
        reason,
    },
    counters::Counter,
    hooks::{Acceptance, InboundPublish, Incident, Protocol, Qos, Trouble, Verdict},
    message::Message,
    session::{Pubrel, Qos2Arrival, RetainedScan, Subscription},
    topic::{filter_fault, topic_fault},
};

impl<S> Connection<S>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    /// Reads packets while there is room for what they cause.
    pub(super) async fn read_packets(&mut self) -> Result<(), Close> {
        let bytes_max = self.shared.limits.packet_bytes_max;
        while self.may_read() {
            let Some(frame) = decode::frame(&self.input, bytes_max)? else {
                // The rest of a large packet is read in one go.
                if READ_AHEAD_FROM < self.input.len() {
                    self.input.reserve(self.read_bytes);
                }
                return Ok(());
            };
            let mut bytes = self.input.split_to(frame.bytes);
            let first = bytes[0];
            bytes.advance(frame.header_bytes);
            let packet = decode::packet(first, &bytes, self.client.protocol)?;
            self.take(packet).await?;
        }
        Ok(())
    }

    async fn take(&mut self, packet: Packet<'_>) -> Result<(), Close> {
        match packet {
            Packet::Connect(_) => Err(Close::because(Counter::ClosedSecondConnect, reason::PROTOCOL_ERROR)),
            Packet::Publish(publish) => self.publish(publish).await,
            Packet::PubAck { packet_id } => {
                self.attached.session.state().acknowledge(self.attached.connection, packet_id);
                self.outbound_ready = true;
                Ok(())
            }
            Packet::PubRel { packet_id } => {
                let pubrel = self.attached.session.state().qos2_pubrel(packet_id);
                let code = match pubrel {
                    Pubrel::Released => reason::SUCCESS,
                    Pubrel::Unknown => reason::PACKET_ID_NOT_FOUND,
                    // A PUBCOMP would end the exchange before the host has decided about it.
                    Pubrel::TooEarly => {
                        return Err(Close::because(Counter::ClosedProtocol, reason::PROTOCOL_ERROR));
                    }
                };
                encode::acknowledgement(
                    &mut self.output,
                    AckType::PubComp,
                    packet_id,
                    code,
                    self.client.protocol,
                );
                Ok(())
            }
            // No subscriber is ever granted QoS 2, so these answer nothing of ours.
            Packet::PubRec { .. } | Packet::PubComp { .. } => {
                Err(Close::because(Counter::ClosedProtocol, reason::PROTOCOL_ERROR))
            }
            Packet::Subscribe(subscribe) => {
                self.subscribe(&subscribe);
                Ok(())
            }
            Packet::Unsubscribe(unsubscribe) => {
                self.unsubscribe(&unsubscribe);
                Ok(())
            }
            Packet::PingReq => {
                encode::pingresp(&mut self.output);
                Ok(())
            }
            Packet::Disconnect { reason, session_expiry_secs } => {
                Err(self.goodbye(reason, session_expiry_secs))
            }
        }
    }

    fn goodbye(&mut self, code: u8, session_expiry_secs: Option<u32>) -> Close {
        if let Some(secs) = session_expiry_secs {
            let mut state = self.attached.session.state();
            if state.expiry.is_zero() && secs != 0 {
                drop(state);
                return Close::because(Counter::ClosedProtocol, reason::PROTOCOL_ERROR);
            }
            if state.is_owned_by(self.attached.connection) {
                state.expiry = Duration::from_secs(secs.into()).min(self.shared.limits.session_expiry_max);
            }
        }
        // Only "normal" takes the will back; whoever names another reason did not end well.
        let will = if code == reason::SUCCESS { WillFate::Discard } else { WillFate::Publish };
        debug_assert!(code != reason::DISCONNECT_WITH_WILL || will == WillFate::Publish);
        Close { counter: Counter::ClosedClean, reason: None, will }
    }

    async fn publish(&mut self, publish: Publish<'_>) -> Result<(), Close> {
        let shared = Arc::clone(&self.shared);
        shared.counters.one(Counter::PublishesReceived);
        self.allowance.spend();
        if self.allowance.paused_until().is_some() {
            shared.counters.one(Counter::RateLimited);
        }
        let qos = match publish.qos {
            0 => Qos::AtMostOnce,
            1 => Qos::AtLeastOnce,
            _ => Qos::ExactlyOnce,
        };
        if let Some(fault) = topic_fault(publish.topic, shared.limits.topic_bytes_max) {
            self.note(Trouble::Topic(fault), publish.topic);
            shared.counters.one(Counter::PublishRefusedTopic);
            return self.refuse(&publish, qos, reason::TOPIC_INVALID, Counter::ClosedTopicInvalid);
        }
        if !shared.hooks.may_publish(&self.principal, publish.topic) {
            self.note(Trouble::PublishDenied, publish.topic);
            shared.counters.one(Counter::PublishRefusedAcl);
            return self.refuse(&publish, qos, reason::NOT_AUTHORIZED, Counter::ClosedNotAuthorized);
        }
        if qos == Qos::ExactlyOnce {
            let arrival =
                self.attached.session.state().qos2_arrival(publish.packet_id, shared.limits.inbound_qos2_max);
            let verdict = match arrival {
                Qos2Arrival::New => None,
                Qos2Arrival::DuplicateUndecided => Some(Awaited::EarlierConnection),
                Qos2Arrival::DuplicateReceived => Some(Awaited::Known(Verdict::Accepted)),
                Qos2Arrival::TooMany => {
                    return Err(Close::because(Counter::Qos2Overflow, reason::RECEIVE_MAXIMUM_EXCEEDED));
                }
            };
            if let Some(verdict) = verdict {
                shared.counters.one(Counter::PublishQos2Duplicates);
                self.pending.push_back(Pending { packet_id: publish.packet_id, qos, message: None, verdict });
                return self.settle().await;
            }
        }
        let message = Arc::new(Message {
            topic: Arc::from(publish.topic),
            payload: copied(publish.payload),
            qos,
            retain: shared.is_retained(publish.retain, &self.principal, publish.topic),
            forwarded: Bytes::from(publish.properties.forwarded),
            expires_at: publish
                .properties
                .expiry_secs
                .and_then(|secs| Instant::now().checked_add(Duration::from_secs(secs.into()))),
            publisher: self.attached.session.number,
        });
        let acceptance = shared.hooks.accept(InboundPublish {
            principal: self.principal.clone(),
            topic: Arc::clone(&message.topic),
            payload: message.payload.clone(),
            qos,
            retain: message.retain,
            peer: Some(self.peer),
        });
        let verdict = match acceptance {
            Acceptance::Done(verdict) => Awaited::Known(verdict),
            Acceptance::Pending(verdict) => Awaited::Host(verdict),
        };
        self.pending_bytes += message.bytes();
        self.pending.push_back(Pending {
            packet_id: publish.packet_id,
            qos,
            message: Some(message),
            verdict,
        });
        if self.pending.len() == 1 { self.settle().await } else { Ok(()) }
    }

    fn note(&self, trouble: Trouble, topic: &str) {
        self.shared.hooks.note(Incident {
            trouble,
            principal: &self.principal,
            client_id: &self.attached.session.client_id,
            peer: self.peer,
            topic: Some(topic),
        });
    }

    /// Refuses a publish: by its acknowledgement where the protocol has one for that.
    fn refuse(&mut self, publish: &Publish<'_>, qos: Qos, code: u8, counter: Counter) -> Result<(), Close> {
        if self.client.protocol == Protocol::V311 || qos == Qos::AtMostOnce {
            return Err(Close::because(counter, code));
        }
        // The acknowledgement must not overtake those before it.
        let ack = if qos == Qos::AtLeastOnce { AckType::PubAck } else { AckType::PubRec };
        if self.pending.is_empty() {
            encode::acknowledgement(&mut self.output, ack, publish.packet_id, code, self.client.protocol);
        } else {
            let verdict = Awaited::Refused(code);
            self.pending.push_back(Pending { packet_id: publish.packet_id, qos, message: None, verdict });
        }
        Ok(())
    }

    fn subscribe(&mut self, subscribe: &Subscribe<'_>) {
        let mut codes = Vec::with_capacity(subscribe.filters.len());
        for wanted in &subscribe.filters {
            self.allowance.spend();
            let refusal = self.subscribe_refusal(wanted.filter);
            if let Some((code, counter, trouble)) = refusal {
                self.shared.counters.one(counter);
                self.note(trouble, wanted.filter);
                codes.push(if self.client.protocol == Protocol::V5 {
                    code
                } else {
                    reason::SUBACK_FAILURE_V311
                });
                continue;
            }
            let filter: Arc<str> = Arc::from(wanted.filter);
            let qos = wanted.qos.min(1);
            let session = Arc::clone(&self.attached.session);
            let subscription = Subscription {
                filter: Arc::clone(&filter),
                qos,
                no_local: wanted.no_local,
                retain_as_published: wanted.retain_as_published,
            };
            let is_new = self.shared.subscribe(&session, subscription);
            if wanted.retain_handling == 0 || (wanted.retain_handling == 1 && is_new) {
                let mut state = session.state();
                state.retained_scans.retain(|scan| scan.filter != filter);
                state.retained_scans.push_back(RetainedScan {
                    filter,
                    qos,
                    no_local: wanted.no_local,
                    after: None,
                    found: VecDeque::new(),
                    is_done: false,
                });
                self.outbound_ready = true;
            }
            self.shared.counters.one(Counter::SubscribeGranted);
            codes.push(qos);
        }
        encode::suback(&mut self.output, subscribe.packet_id, &codes, self.client.protocol);
    }

    fn subscribe_refusal(&self, filter: &str) -> Option<(u8, Counter, Trouble)> {
        let limits = &self.shared.limits;
        if let Some(fault) = filter_fault(filter, limits.topic_bytes_max) {
            return Some((reason::FILTER_INVALID, Counter::SubscribeRefusedFilter, Trouble::Filter(fault)));
        }
        if filter == "$share" || filter.starts_with("$share/") {
            let trouble = Trouble::Filter("shared subscriptions are not offered");
            return Some((reason::SHARED_UNSUPPORTED, Counter::SubscribeRefusedShared, trouble));
        }
        if filter.starts_with('$') {
            let trouble = Trouble::Filter("filters that start with `$` are the broker's own");
            return Some((reason::NOT_AUTHORIZED, Counter::SubscribeRefusedDollar, trouble));
        }
        if !self.shared.hooks.may_subscribe(&self.principal, filter) {
            return Some((reason::NOT_AUTHORIZED, Counter::SubscribeRefusedAcl, Trouble::SubscribeDenied));
        }
        let state = self.attached.session.state();
        let is_full = limits.subscriptions_per_session_max <= state.subscriptions.len()
            && state.subscriptions.iter().all(|existing| &*existing.filter != filter);
        is_full.then_some((
            reason::QUOTA_EXCEEDED,
            Counter::SubscribeRefusedLimit,
            Trouble::SubscriptionsFull,
        ))
    }

    fn unsubscribe(&mut self, unsubscribe: &Unsubscribe<'_>) {
        let codes: Vec<u8> = unsubscribe
            .filters
            .iter()
            .map(|filter| {
                self.allowance.spend();
                if self.shared.unsubscribe(&self.attached.session, filter) {
                    reason::SUCCESS
                } else {
                    reason::NO_SUBSCRIPTION_EXISTED
                }
            })
            .collect();
        encode::unsuback(&mut self.output, unsubscribe.packet_id, &codes, self.client.protocol);
    }
}

/// An incomplete packet beyond this size gets a larger buffer at once.
const READ_AHEAD_FROM: usize = 1024;
