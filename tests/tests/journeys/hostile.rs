//! A client that dies, floods, sends garbage, asks for what it may not have, or never reads harms only itself.
//!
//! Method: beside each bad client a good one publishes throughout; its readings must all be acknowledged, and the hub must
//! count what the bad one did.

use e2e::{
    harness::{Hub, HubSetup, Publisher},
    raw::{self, RawClient, Version, kind},
};

/// A hub with a good sensor and a bad one; gives the bad one's secret.
async fn store() -> (Hub, Publisher, String) {
    let folder = HubSetup::new().write();
    let good = folder.add_device("shelf-good", "shelf").await;
    let bad = folder.add_device("shelf-bad", "shelf").await;
    let hub = folder.start().await;
    let good = Publisher::new(hub.mqtt, Version::V5, "shelf-good", Some(good));
    (hub, good, bad)
}

async fn log_in(hub: &Hub, version: Version, secret: &str) -> RawClient {
    let (client, code) = RawClient::log_in(hub.mqtt, version, "shelf-bad", Some(secret))
        .await
        .expect("the hub answers CONNECT");
    assert_eq!(code, 0, "a registered device is let in");
    client
}

#[tokio::test]
async fn garbage_costs_its_sender_the_connection_and_nobody_else() {
    let (hub, mut good, secret) = store().await;
    good.publish_until_acked(10).await;
    let garbage: [&[u8]; 5] = [
        &[0x00, 0x00],
        &[0xf0, 0xff, 0xff, 0xff, 0xff, 0x7f],
        &[0x32, 0x02, 0xff, 0xff],
        &[0x36, 0x05, 0x00, 0x01, b'a', 0x00, 0x01],
        b"GET / HTTP/1.1\r\n\r\n",
    ];
    for (index, bytes) in garbage.into_iter().enumerate() {
        for version in [Version::V311, Version::V5] {
            let mut bad = log_in(&hub, version, &secret).await;
            bad.send(bytes).await.ok();
            bad.until_closed()
                .await
                .unwrap_or_else(|error| panic!("case {index} {version:?} was not closed: {error}"));
            let mut stranger = RawClient::open(hub.mqtt, version).await.expect("the hub listens");
            stranger.send(bytes).await.ok();
            stranger.until_closed().await.expect("a stranger with garbage is closed");
        }
        good.publish_until_acked(20 + 10 * index).await;
    }
    // Five pieces of garbage, each from a device and from a stranger, in both versions.
    hub.counted("mqtt.closed_", 10).await;
    hub.counted("mqtt.connect_refused_", 10).await;
    hub.stop().await;
}

#[tokio::test]
async fn a_forbidden_topic_is_refused_with_its_code_and_the_rest_goes_on() {
    let (hub, mut good, secret) = store().await;
    for topic in ["sensors/shelf/shelf-good/reading", "hub/stock/shelf-good", "commands/shelf-good/1"] {
        let mut bad = log_in(&hub, Version::V5, &secret).await;
        bad.publish(topic, 1, raw_reading(1)).await.expect("the connection is open");
        let answer = bad.answer().await.expect("a refusal has an answer");
        assert_eq!(answer.puback(), Some((1, 0x87)), "{topic}: {answer:?}");
        bad.publish("sensors/shelf/shelf-bad/reading", 2, raw_reading(2))
            .await
            .expect("the connection stays");
        let answer = bad.answer().await.expect("its own topic is acknowledged");
        assert!(answer.puback().is_some_and(|(id, reason)| id == 2 && reason < 0x80), "{answer:?}");

        // Version 3.1.1 has no words for it: the connection closes.
        let mut bad = log_in(&hub, Version::V311, &secret).await;
        bad.publish(topic, 1, raw_reading(1)).await.expect("the connection is open");
        let said = bad.until_closed().await.expect("the connection is closed");
        assert!(said.iter().all(|packet| packet.kind() != kind::PUBACK), "{topic}: {said:?}");
    }
    let mut bad = log_in(&hub, Version::V5, &secret).await;
    bad.send(&raw::subscribe(Version::V5, 9, "sensors/#")).await.expect("the connection is open");
    let answer = bad.answer().await.expect("SUBSCRIBE has an answer");
    assert_eq!((answer.kind(), answer.body.last().copied()), (kind::SUBACK, Some(0x87)), "{answer:?}");
    good.publish_until_acked(100).await;
    hub.counted("mqtt.closed_publish_not_authorized", 3).await;
    hub.stop().await;
}

#[tokio::test]
async fn a_wrong_payload_is_refused_visibly_and_acknowledged() {
    let (hub, mut good, secret) = store().await;
    let mut bad = log_in(&hub, Version::V5, &secret).await;
    let payloads: [&[u8]; 4] = [b"", b"{\"weight\":1}", b"{\"weight_g\":\"heavy\"}", b"\xff\xff"];
    for (packet_id, payload) in (1..).zip(payloads) {
        bad.publish("sensors/shelf/shelf-bad/reading", packet_id, payload)
            .await
            .expect("the connection is open");
        let answer = bad.answer().await.expect("a refused payload is acknowledged");
        assert_eq!(answer.puback(), Some((packet_id, 0x99)), "{payload:?}");
    }
    let mut old = log_in(&hub, Version::V311, &secret).await;
    old.publish("sensors/shelf/shelf-bad/reading", 1, b"nonsense").await.expect("the connection is open");
    let answer = old.answer().await.expect("3.1.1 is acknowledged too, or it would repeat for ever");
    assert_eq!(answer.puback(), Some((1, 0)));
    hub.counted("publishes_rejected.", 5).await;
    good.publish_until_acked(20).await;
    hub.stop().await;
}

#[tokio::test]
async fn a_flood_and_a_client_that_never_reads_do_not_hold_up_the_others() {
    let (hub, mut good, secret) = store().await;
    let mut flood = log_in(&hub, Version::V311, &secret).await;
    let flooding = tokio::spawn(async move {
        // Publishes as fast as the hub takes it and never reads one acknowledgement.
        for packet_id in (1..=u16::MAX).cycle().take(200_000) {
            if flood.publish("sensors/shelf/shelf-bad/reading", packet_id, raw_reading(1)).await.is_err() {
                return;
            }
        }
    });
    good.publish_until_acked(500).await;
    flooding.abort();
    flooding.await.ok();
    good.publish_until_acked(600).await;
    let resident = hub.running.resident_bytes().expect("the hub is running");
    assert!(resident <= 96 << 20, "the flood did not fill the hub's memory: {resident} bytes");
    hub.stop().await;
}

#[tokio::test]
async fn a_client_that_dies_or_says_nothing_is_forgotten() {
    let (hub, mut good, secret) = store().await;
    for _ in 0..50 {
        let bad = log_in(&hub, Version::V311, &secret).await;
        drop(bad);
        // Connects and never says CONNECT; the hub has a deadline for that.
        let silent = RawClient::open(hub.mqtt, Version::V5).await.expect("the hub listens");
        drop(silent);
    }
    let mut silent = RawClient::open(hub.mqtt, Version::V5).await.expect("the hub listens");
    good.publish_until_acked(50).await;
    silent.until_closed().await.expect("a connection without CONNECT is closed after the deadline");
    hub.counted("mqtt.connect_refused_deadline", 1).await;
    hub.stop().await;
}

#[tokio::test]
async fn an_unknown_device_and_a_wrong_secret_are_refused_with_their_codes() {
    let (hub, mut good, _) = store().await;
    let cases = [("nobody-01", "secret"), ("shelf-bad", "wrong")];
    for (id, secret) in cases {
        for (version, codes) in [(Version::V311, &[4, 5][..]), (Version::V5, &[0x86, 0x87][..])] {
            let (_, code) =
                RawClient::log_in(hub.mqtt, version, id, Some(secret)).await.expect("a refusal is a CONNACK");
            assert!(codes.contains(&code), "{id} {version:?}: CONNACK {code:#x}");
        }
    }
    let status = hub.folder.status().await.expect("the hub answers");
    assert!(status.to_string().contains("nobody-01"), "the operator sees who knocked: {status}");
    hub.counted("mqtt.connect_refused_bad_credentials", 1).await;
    good.publish_until_acked(10).await;
    hub.stop().await;
}

fn raw_reading(seq: u64) -> &'static [u8] {
    match seq {
        1 => b"{\"seq\":1,\"weight_g\":1.5}",
        _ => b"{\"seq\":2,\"weight_g\":1.5}",
    }
}
