//! A client that dies, floods, sends garbage, asks for what it may not have, or never reads harms only itself.
//!
//! Method: beside each bad client a good one publishes throughout; its readings must all be acknowledged, and the hub must
//! count what the bad one did.

use std::{fs, io, process::Stdio};

use e2e::{
    harness::{Hub, HubSetup, PATIENCE, Publisher, program, wait_for},
    raw::{self, RawClient, Version, kind},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{process::Command, time::timeout};

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

/// Its log has a line about the devices' file that was damaged, and one about its end: nobody reads either.
#[tokio::test]
async fn a_hub_whose_output_nobody_reads_any_more_goes_on_acknowledging() {
    let folder = HubSetup::new().write();
    let secret = folder.add_device("shelf-good", "shelf").await;
    let (stdout, stderr) = (io::pipe().expect("a pipe"), io::pipe().expect("a pipe"));
    let mut hub = Command::new(program("storehub-gateway"))
        .args(["run", "--config", "gateway.toml"])
        .current_dir(folder.dir())
        .stdin(Stdio::null())
        .stdout(stdout.1)
        .stderr(stderr.1)
        .kill_on_drop(true)
        .spawn()
        .expect("the hub can be started");
    drop((stdout.0, stderr.0));
    let mqtt = wait_for("the hub says where it listens", PATIENCE, async || {
        let status = folder.status().await?;
        let addr = status["addresses"]["mqtt"].as_str().and_then(|addr| addr.parse().ok());
        addr.ok_or(status.to_string())
    })
    .await;
    let mut sensor = Publisher::new(mqtt, Version::V5, "shelf-good", Some(secret));
    sensor.publish_until_acked(10).await;
    fs::write(folder.data_dir().join("devices.json"), "no JSON").expect("our own folder is writable");
    wait_for("the hub has seen the damaged file", PATIENCE, async || {
        let status = folder.status().await?;
        let degraded = status["health"]["degraded"].to_string();
        if degraded.contains("devices.json") { Ok(()) } else { Err(degraded) }
    })
    .await;
    sensor.publish_until_acked(20).await;
    let id = hub.id().expect("the hub still runs");
    let id = Pid::from_raw(id.cast_signed()).expect("a process id is not 0");
    kill_process(id, Signal::TERM).expect("our own child can be told to end");
    let ended = timeout(PATIENCE, hub.wait()).await.expect("the hub ends").expect("our own child");
    assert!(ended.success(), "it drained and ended with {ended}");
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

#[tokio::test]
async fn whoever_looks_after_the_store_finds_every_refusal_with_who_where_why_and_what_to_do() {
    let (hub, mut good, secret) = store().await;
    let log_in_as = async |client_id: &str, login: Option<(&str, &str)>| {
        let mut client = RawClient::open(hub.mqtt, Version::V311).await.expect("the hub listens");
        client.send(&raw::connect(Version::V311, client_id, login, 0)).await.expect("the connection is open");
        let answer = client.answer().await.expect("a refusal is a CONNACK");
        assert_ne!(answer.body.last(), Some(&0), "{client_id} {login:?} is refused");
    };
    log_in_as("shelf-new", Some(("shelf-new", "x"))).await;
    log_in_as("shelf-bad", Some(("shelf-bad", "wrong"))).await;
    log_in_as("shelf-bad", Some(("shelf-bad", "wrong again"))).await;
    log_in_as("pipe-7", Some(("shelf-bad", secret.as_str()))).await;
    log_in_as("", None).await;
    log_in_as("\u{1b}[2J", Some(("\u{1b}[2J\nadmit", "x"))).await;

    let mut bad = log_in(&hub, Version::V5, &secret).await;
    for (packet_id, topic, payload) in [
        (1, "sensors/shelf/shelf-good/reading", &b"{\"weight_g\":1}"[..]),
        (2, "sensors/+/shelf-bad/reading", b"{\"weight_g\":1}"),
        (3, "sensors/shelf/shelf-bad/reading", b"{\"wait_g\":1}"),
    ] {
        bad.publish(topic, packet_id, payload).await.expect("the connection is open");
        let answer = bad.answer().await.expect("a refusal has an answer");
        assert!(answer.puback().is_some_and(|(id, code)| id == packet_id && 0x80 <= code), "{answer:?}");
    }
    for (packet_id, filter) in [(4, "hub/#"), (5, "sensors/#x")] {
        bad.send(&raw::subscribe(Version::V5, packet_id, filter)).await.expect("the connection is open");
        assert_eq!(bad.answer().await.expect("SUBSCRIBE has an answer").kind(), kind::SUBACK);
    }
    // The same id a second time: the first connection has to go.
    log_in(&hub, Version::V5, &secret).await;

    let listed = hub.folder.status().await.expect("the hub answers")["rejections"].clone();
    for (code, device, topic, hint) in [
        ("unknown_device", "shelf-new", None, "storehub-gateway device add shelf-new --kind KIND --config "),
        ("wrong_secret", "shelf-bad", None, "device remove shelf-bad --config "),
        ("client_id_is_not_the_device", "shelf-bad", None, "set the client id to `shelf-bad`"),
        ("no_user_name", "(no user name)", None, "set client id and user name to the device's id"),
        (
            "publish_not_allowed",
            "shelf-bad",
            Some("sensors/shelf/shelf-good/reading"),
            "`sensors/shelf/shelf-bad/+`",
        ),
        ("topic_invalid", "shelf-bad", Some("sensors/+/shelf-bad/reading"), "`sensors/shelf/shelf-bad/+`"),
        ("fields", "shelf-bad", Some("sensors/shelf/shelf-bad/reading"), "README"),
        ("subscribe_not_allowed", "shelf-bad", Some("hub/#"), "`commands/shelf-bad/#`"),
        ("filter_invalid", "shelf-bad", Some("sensors/#x"), "`commands/shelf-bad/#`"),
        ("session_taken_over", "shelf-bad", None, "two clients share this id"),
    ] {
        let mut refusals = listed.as_array().expect("a list").iter();
        let found = refusals.find(|refusal| refusal["code"] == code && refusal["device"] == device);
        let refusal = found.unwrap_or_else(|| panic!("{code} of {device} is in {listed}"));
        assert_eq!(refusal["topic"].as_str(), topic, "{refusal}");
        assert!(refusal["hint"].as_str().is_some_and(|said| said.contains(hint)), "{refusal}");
        assert!(refusal["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{refusal}");
        assert!(refusal["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{refusal}");
        assert_eq!(refusal["times"], if code == "wrong_secret" { 2 } else { 1 }, "{refusal}");
    }
    let shown = hub.folder.command(&["status", "--rejections"]).await.said();
    assert!(shown.contains("\\u{1b}[2J\\u{a}admit") && !shown.contains('\u{1b}'), "{shown}");

    // Somebody makes up names for as long as he likes: what an honest device needs to hear is still there.
    for n in 0..300 {
        log_in_as("made-up", Some((format!("made-up-{n}").as_str(), "x"))).await;
    }
    let listed = hub.folder.status().await.expect("the hub answers")["rejections"].clone();
    assert!(listed.as_array().is_some_and(|list| list.len() <= 64), "{listed}");
    assert!(listed.to_string().contains("publish_not_allowed"), "{listed}");
    good.publish_until_acked(10).await;
    hub.stop().await;
}

#[tokio::test]
async fn a_device_is_let_in_at_once_shown_while_it_is_heard_and_gone_from_the_page_when_removed() {
    let hub = HubSetup::new().start().await;
    // Right behind `device add`, again and again: the very first login is let in.
    for n in 1..=5 {
        let id = format!("shelf-{n}");
        let secret = hub.folder.add_device(&id, "shelf").await;
        let logged_in = RawClient::log_in(hub.mqtt, Version::V5, &id, Some(&secret)).await;
        let (mut client, code) = logged_in.expect("the hub answers CONNECT");
        assert_eq!(code, 0, "{id} is let in");
        client.publish(&format!("sensors/shelf/{id}/status"), 1, b"online").await.expect("it is connected");
        assert_eq!(client.answer().await.expect("it is acknowledged").puback(), Some((1, 0)));
    }
    let shown = async |hub: &Hub, wanted: &[(&str, Option<bool>)]| {
        wait_for(&format!("the page shows {wanted:?}"), PATIENCE, async || {
            let sensors = hub.store().await?["sensors"].clone();
            let sensor = |sensor: &Value| (sensor["device"].clone(), sensor["online"].as_bool());
            let found: Vec<_> = sensors.as_array().into_iter().flatten().map(sensor).collect();
            let is_so = found.len() == wanted.len()
                && found.iter().zip(wanted).all(|(found, wanted)| found.0 == wanted.0 && found.1 == wanted.1);
            if is_so { Ok(()) } else { Err(sensors.to_string()) }
        })
        .await;
    };
    let online = Some(true);
    shown(
        &hub,
        &[
            ("shelf-1", online),
            ("shelf-2", online),
            ("shelf-3", online),
            ("shelf-4", online),
            ("shelf-5", online),
        ],
    )
    .await;
    let removed = hub.folder.command(&["device", "remove", "shelf-2"]).await;
    assert!(removed.status.success(), "{}", removed.said());
    shown(&hub, &[("shelf-1", online), ("shelf-3", online), ("shelf-4", online), ("shelf-5", online)]).await;

    // After a start nobody knows who is still there, and a rebuilt database remembers no more than that.
    let folder = hub.kill().await;
    let unknown = [("shelf-1", None), ("shelf-3", None), ("shelf-4", None), ("shelf-5", None)];
    let hub = folder.start().await;
    shown(&hub, &unknown).await;
    let folder = hub.kill().await;
    std::fs::remove_dir_all(folder.data_dir().join("sled")).expect("the database has a folder");
    // There may be none yet.
    std::fs::remove_dir_all(folder.data_dir().join("snapshots")).ok();
    let hub = folder.start().await;
    shown(&hub, &unknown).await;
    hub.stop().await;
}

fn raw_reading(seq: u64) -> &'static [u8] {
    match seq {
        1 => b"{\"seq\":1,\"weight_g\":1.5}",
        _ => b"{\"seq\":2,\"weight_g\":1.5}",
    }
}
