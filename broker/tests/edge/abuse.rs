//! The seven inputs that end an unguarded rumqttd 0.20, and other ill treatment. Each time: the
//! abuse happens, its sender bears it, and others are served.

use std::time::Duration;

use broker::Limits;
use tokio::io::AsyncWriteExt;

use crate::support::{Edge, connect, credentials, frame, publish, publish2, subscribe, will};

#[tokio::test(flavor = "multi_thread")]
async fn k1_a_topic_that_starts_outside_ascii_is_delivered_like_any_other() {
    let edge = Edge::start().await;
    let mut subscriber = edge.v4("s").await;
    subscriber.subscribe(4, 1, "#", 0).await;
    let mut publisher = edge.v4("p").await;
    publisher.send(&publish(4, "été/temp", Some(1), b"21", true, false)).await;
    assert_eq!(publisher.packet().await, (0x40, vec![0, 1]));
    let (_, body) = subscriber.packet().await;
    assert_eq!(&body[2..], "été/temp21".as_bytes());
    // Retained before, then any subscription: the second way to the same fault.
    let mut late = edge.v5("late").await;
    late.subscribe(5, 1, "+/temp", 0).await;
    assert!(late.packet().await.1.ends_with(b"21"));
    // And as a will.
    let mut dying = edge.open().await;
    dying.send(&connect(4, "dying", 0x06, 0, &[], &will(4, "éteint", b"bye", &[]))).await;
    dying.packet().await;
    drop(dying);
    assert!(subscriber.packet().await.1.ends_with(b"bye"));
    edge.serves_others().await;
    assert_eq!(edge.count("router_restarts"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn k2_subscribers_that_leave_with_a_backlog_harm_nobody() {
    let edge = Edge::start().await;
    let mut publisher = edge.v4("p").await;
    for round in 0..20 {
        let mut leaver = edge.v4(&format!("leaver-{round}")).await;
        leaver.subscribe(4, 1, "flood/#", 0).await;
        let mut flood = Vec::new();
        for _ in 0..600 {
            flood.extend_from_slice(&publish(4, "flood/1", None, &[7; 50], false, false));
        }
        publisher.send(&flood).await;
        leaver.packet().await;
        // Even a clean goodbye did it.
        leaver.send(&[0xe0, 0]).await;
    }
    assert!(publisher.is_silent().await);
    edge.serves_others().await;
    assert_eq!(edge.count("router_restarts"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn k3_shared_subscriptions_are_refused_by_name() {
    let edge = Edge::start().await;
    let mut v5 = edge.v5("five").await;
    v5.send(&subscribe(5, 1, "$share/g/t", 1)).await;
    assert_eq!(v5.packet().await, (0x90, vec![0, 1, 0, 0x9e]));
    let mut v4 = edge.open().await;
    v4.send(&connect(4, "four", 0, 0, &[], &[])).await;
    v4.packet().await;
    v4.send(&subscribe(4, 1, "$share/g/t", 1)).await;
    assert_eq!(v4.packet().await, (0x90, vec![0, 1, 0x80]));
    drop(v4);
    assert_eq!(edge.count("subscribes_refused_shared"), 2);
    edge.serves_others().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k4_a_client_id_with_separators_may_come_back_as_often_as_it_likes() {
    let edge = Edge::start().await;
    for _ in 0..3 {
        let mut first = edge.v4("store/7/+#$sensor-1").await;
        let mut second = edge.v5("store/7/+#$sensor-1").await;
        assert_eq!(first.packet_or_end().await, None);
        assert!(second.is_silent().await);
    }
    edge.serves_others().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k5_a_full_house_refuses_and_serves_again_when_somebody_leaves() {
    let edge = Edge::with(Limits { connections: 3, connections_per_address: 3, ..Limits::default() }).await;
    let one = edge.v4("one").await;
    let two = edge.v4("two").await;
    let mut three = edge.v4("three").await;
    for _ in 0..3 {
        let mut refused = edge.open().await;
        drop(refused.stream.write_all(&connect(4, "four", 2, 0, &[], &[])).await);
        assert_eq!(refused.packet_or_end().await, None);
    }
    assert_eq!(edge.count("connections_refused_limit_total"), 3);
    assert!(three.is_silent().await);
    drop((one, two));
    edge.until("two have left", || edge.broker.handle().clients() == 1).await;
    edge.serves_others().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_sockets_of_one_address_leave_room_for_those_who_say_who_they_are() {
    let edge = Edge::with(Limits { connections: 8, ..Limits::default() }).await;
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(edge.open().await);
    }
    edge.until_count("handshakes_open", 4).await;
    let mut refused = edge.open().await;
    assert_eq!(refused.packet_or_end().await, None, "half of all places is the most for silence");
    assert_eq!(edge.count("connections_refused_limit_handshakes_of_address"), 1);
    // Each that goes, or says who it is, makes room for another.
    silent.pop();
    edge.until("one has left", || edge.count("handshakes_open") == 3).await;
    let mut clients = Vec::new();
    for n in 0..4 {
        clients.push(edge.v4(&format!("c{n}")).await);
        edge.until("it is let in", || edge.count("handshakes_open") == 3).await;
    }
    assert_eq!((edge.count("connections_open"), edge.broker.handle().clients()), (7, 4));
    drop(silent);
    edge.until("the silent ones are gone", || edge.count("connections_open") == 4).await;
    assert_eq!(edge.count("handshakes_open"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn k6_packets_that_only_a_server_may_send_cost_their_sender_the_connection() {
    let edge = Edge::start().await;
    for first in [0x20, 0x90, 0xb0, 0xd0, 0x00] {
        for _ in 0..2 {
            let mut client = edge.v5("same-id").await;
            client.send(&frame(first, &[0, 1, 0])).await;
            assert_eq!(client.until_closed().await, Some((0xe0, vec![0x82, 0])));
        }
    }
    assert_eq!(edge.count("closed_wrong_packet_type"), 10);
    edge.serves_others().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k7_properties_of_a_v5_publish_do_not_reach_a_v4_subscriber() {
    let edge = Edge::start().await;
    let mut v4 = edge.v4("four").await;
    v4.subscribe(4, 1, "t/#", 1).await;
    let mut v5 = edge.v5("five").await;
    v5.subscribe(5, 1, "t/#", 1).await;
    let mut publisher = edge.v5("p").await;
    // Content type "x" and a user property, retained.
    let properties = [0x03, 0, 1, b'x', 0x26, 0, 1, b'a', 0, 1, b'b'];
    let mut body = vec![0, 3, b't', b'/', b'1', 0, 9, u8::try_from(properties.len()).unwrap()];
    body.extend_from_slice(&properties);
    body.extend_from_slice(b"payload");
    publisher.send(&frame(0x33, &body)).await;
    assert_eq!(publisher.packet().await, (0x40, vec![0, 9]));
    assert_eq!(v4.packet().await, (0x32, b"\x00\x03t/1\x00\x01payload".to_vec()));
    let (first, received) = v5.packet().await;
    assert_eq!(first, 0x32);
    assert_eq!(&received[8..8 + properties.len()], properties);
    // It was retained: a v4 client that comes back is served too.
    let mut late = edge.v4("late").await;
    late.subscribe(4, 1, "t/1", 0).await;
    assert_eq!(late.packet().await, (0x31, b"\x00\x03t/1payload".to_vec()));
    edge.serves_others().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_told_by_reason_code_to_v5_and_by_a_closed_connection_to_v4() {
    let limits = Limits { packet_bytes_max: 2_000, ..Limits::default() };
    let edge = Edge::with(limits).await;
    let alias = frame(0x30, &[0, 1, b'a', 3, 0x23, 0, 1]);
    let subscription_id = frame(0x82, &[0, 1, 2, 0x0b, 1, 0, 1, b'a', 0]);
    let cases: Vec<(&str, u8, Vec<u8>, &str)> = vec![
        ("a second CONNECT", 0x82, connect(5, "x", 2, 0, &[], &[]), "closed_second_connect"),
        ("an oversize packet", 0x95, vec![0x30, 0xff, 0xff, 0x7f], "closed_packet_too_large"),
        ("reserved flags", 0x81, vec![0xc1, 0], "closed_malformed"),
        ("QoS 3", 0x81, vec![0x36, 0], "closed_malformed"),
        ("packet id 0", 0x82, publish(5, "a", Some(0), b"", false, false), "closed_protocol_error"),
        ("a topic alias", 0x94, alias, "closed_topic_alias"),
        ("a subscription id", 0xa1, subscription_id, "closed_subscription_identifier"),
        ("a wildcard topic", 0x90, publish(5, "a/#", None, b"", false, false), "closed_topic_invalid"),
        ("an empty topic", 0x90, publish(5, "", None, b"", false, false), "closed_topic_invalid"),
        ("a $ topic", 0x90, publish(5, "$SYS/a", None, b"", false, false), "closed_topic_invalid"),
        ("a NUL", 0x81, publish(5, "a\0", None, b"", false, false), "closed_malformed"),
        (
            "a forbidden topic",
            0x87,
            publish(5, "denied/a", None, b"", false, false),
            "closed_publish_not_authorized",
        ),
        ("a stray PUBREC", 0x82, vec![0x50, 2, 0, 1], "closed_protocol_error"),
        ("AUTH", 0x82, vec![0xf0, 0], "closed_protocol_error"),
    ];
    for (what, code, bytes, counter) in cases {
        let before = edge.count(counter);
        let mut client = edge.v5("sinner").await;
        client.send(&bytes).await;
        assert_eq!(client.until_closed().await, Some((0xe0, vec![code, 0])), "{what}");
        assert_eq!(edge.count(counter), before + 1, "{what}");
    }
    for bytes in [
        publish(4, "denied/a", Some(1), b"", false, false),
        publish(4, "a/+", Some(1), b"", false, false),
        connect(4, "x", 2, 0, &[], &[]),
        vec![0x30, 0xff, 0xff, 0x7f],
    ] {
        let mut client = edge.v4("sinner").await;
        client.send(&bytes).await;
        assert_eq!(client.until_closed().await, None);
    }
    edge.serves_others().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_that_have_an_acknowledgement_leave_the_connection_up() {
    let edge = Edge::start().await;
    let mut v5 = edge.v5("five").await;
    for (topic, payload, code) in
        [("denied/a", &b""[..], 0x87), ("a/#", b"", 0x90), ("a", b"refuse", 0x99), ("a", b"lose", 0x97)]
    {
        v5.send(&publish(5, topic, Some(3), payload, false, false)).await;
        assert_eq!(v5.packet().await, (0x40, vec![0, 3, code]), "{topic}");
    }
    for (filter, code) in [("denied/#", 0x87), ("a#", 0x8f), ("$SYS/#", 0x87), ("$share/g/a", 0x9e)] {
        v5.send(&subscribe(5, 4, filter, 1)).await;
        assert_eq!(v5.packet().await, (0x90, vec![0, 4, 0, code]), "{filter}");
    }
    let mut v4 = edge.v4("four").await;
    for filter in ["denied/#", "a#", "$SYS/#"] {
        v4.send(&subscribe(4, 4, filter, 1)).await;
        assert_eq!(v4.packet().await, (0x90, vec![0, 4, 0x80]), "{filter}");
    }
    // A wrong payload is acknowledged, or a 3.1.1 device would send it for ever.
    v4.send(&publish(4, "a", Some(5), b"refuse", false, false)).await;
    assert_eq!(v4.packet().await, (0x40, vec![0, 5]));
    // What is not stored is never acknowledged.
    v4.send(&publish(4, "a", Some(6), b"lose", false, false)).await;
    assert_eq!(v4.until_closed().await, None);
    assert_eq!(edge.count("closed_not_stored"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connect_is_refused_with_the_code_of_its_protocol() {
    let edge = Edge::start().await;
    let long_id = "x".repeat(300);
    let cases: Vec<(u8, Vec<u8>, Vec<u8>)> = vec![
        (4, connect(4, "c", 0xc2, 0, &[], &credentials("u", b"wrong")), vec![0, 4]),
        (5, connect(5, "c", 0xc2, 0, &[], &credentials("u", b"wrong")), vec![0, 0x86, 0]),
        (4, connect(4, "c", 0xc2, 0, &[], &credentials("u", b"banned")), vec![0, 5]),
        (5, connect(5, "c", 0xc2, 0, &[], &credentials("u", b"banned")), vec![0, 0x87, 0]),
        (4, connect(4, "", 0, 0, &[], &[]), vec![0, 2]),
        (4, connect(4, &long_id, 2, 0, &[], &[]), vec![0, 2]),
        (5, connect(5, &long_id, 2, 0, &[], &[]), vec![0, 0x85, 0]),
        (4, connect(4, "c", 6, 0, &[], &will(4, "denied/w", b"", &[])), vec![0, 5]),
        (5, connect(5, "c", 6, 0, &[], &will(5, "denied/w", b"", &[])), vec![0, 0x87, 0]),
        (5, connect(5, "c", 6, 0, &[], &will(5, "a/#", b"", &[])), vec![0, 0x90, 0]),
        (3, connect(3, "c", 2, 0, &[], &[]), vec![0, 1]),
        (5, connect(5, "c", 2, 0, &[0x15, 0, 1, b'x'], &[]), vec![0, 0x8c, 0]),
    ];
    for (level, bytes, expected) in cases {
        let mut client = edge.open().await;
        client.send(&bytes).await;
        assert_eq!(client.packet().await, (0x20, expected.clone()), "level {level}");
        assert_eq!(client.packet_or_end().await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_id_of_another_principal_can_neither_be_taken_nor_blocked() {
    let edge = Edge::start().await;
    for flags in [0xc0, 0xc2] {
        let mut owner = edge.open().await;
        owner.send(&connect(4, "shared", flags, 0, &[], &credentials("alice", b"ok"))).await;
        assert_eq!(owner.packet().await, (0x20, vec![0, 0]));
        owner.subscribe(4, 1, "alice/#", 1).await;
        let mut other = edge.open().await;
        other.send(&connect(4, "shared", flags, 0, &[], &credentials("bob", b"ok"))).await;
        assert_eq!(other.packet().await, (0x20, vec![0, 0]), "a session of its own");
        let handle = edge.broker.handle();
        handle.publish("alice/1", bytes::Bytes::from_static(b"x"), broker::Qos::AtMostOnce, false).unwrap();
        assert_eq!(owner.packet().await, (0x30, b"\x00\x07alice/1x".to_vec()));
        assert!(other.is_silent().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_principal_cannot_use_up_the_sessions() {
    let limits = Limits { sessions_per_principal_max: 2, sessions_max: 4, ..Limits::default() };
    let edge = Edge::with(limits).await;
    // Without a connection, the oldest session gives way.
    for n in 0..5 {
        let mut client = edge.open().await;
        client.send(&connect(4, &format!("c{n}"), 0xc0, 0, &[], &credentials("one", b"ok"))).await;
        assert_eq!(client.packet().await, (0x20, vec![0, 0]));
        client.send(&[0xe0, 0]).await;
        assert_eq!(client.packet_or_end().await, None);
        edge.until("it is gone", || edge.broker.handle().clients() == 0).await;
    }
    edge.until_count("sessions_gave_way_to_newer_of_principal", 3).await;
    assert_eq!(edge.count("sessions"), 2);
    // With one, it does not.
    let mut connected = Vec::new();
    for n in [3, 4] {
        let mut client = edge.open().await;
        client.send(&connect(4, &format!("c{n}"), 0xc0, 0, &[], &credentials("one", b"ok"))).await;
        assert_eq!(client.packet().await, (0x20, vec![1, 0]), "the session is present");
        connected.push(client);
    }
    for (level, refused) in [(4, vec![0, 3]), (5, vec![0, 0x97, 0])] {
        let mut client = edge.open().await;
        client.send(&connect(level, "c9", 0xc2, 0, &[], &credentials("one", b"ok"))).await;
        assert_eq!(client.packet().await, (0x20, refused));
    }
    assert_eq!(edge.count("connect_refused_sessions_of_principal"), 2);
    edge.serves_others().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connect_of_a_stranger_may_not_be_large() {
    let edge = Edge::start().await;
    let mut large = edge.open().await;
    large.send(&connect(4, "c", 6, 0, &[], &will(4, "w", &[0; 20_000], &[]))[..100]).await;
    assert_eq!(large.packet_or_end().await, None);
    assert_eq!(edge.count("connect_refused_packet_too_large"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn pubrel_before_pubrec_is_a_protocol_error_and_acknowledges_nothing() {
    let edge = Edge::start().await;
    let mut client = edge.v5("c").await;
    client.send(&publish2(5, "held/1", 7, b"x", false)).await;
    client.send(&[0x62, 2, 0, 7]).await;
    assert_eq!(client.packet_or_end().await, Some((0xe0, vec![0x82, 0])), "no PUBCOMP");
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_publishes_are_bounded_in_bytes() {
    let edge = Edge::start().await;
    let mut client = edge.v4("c").await;
    let payload = vec![0; 200_000];
    let sending = tokio::spawn(async move {
        for id in 1..=12 {
            client.send(&publish(4, "held/x", Some(id), &payload, false, false)).await;
        }
        client
    });
    edge.until("some are pending", || edge.hooks.held.lock().unwrap().len() == 6).await;
    edge.serves_others().await;
    assert_eq!(edge.hooks.held.lock().unwrap().len(), 6, "a mebibyte and what crossed it");
    for _ in 1..=12 {
        edge.until("one is pending", || !edge.hooks.held.lock().unwrap().is_empty()).await;
        edge.hooks.held.lock().unwrap().remove(0).send(broker::Verdict::Accepted).unwrap();
    }
    let mut client = sending.await.unwrap();
    for id in 1..=12 {
        assert_eq!(client.packet().await, (0x40, vec![0, id]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_panics_costs_one_connection_and_leaves_no_ghost() {
    let edge = Edge::start().await;
    let mut client = edge.open().await;
    client.send(&connect(4, "c", 2, 0, &[], &[])).await;
    client.packet().await;
    client.send(&publish(4, "panic/1", Some(1), b"", false, false)).await;
    assert_eq!(client.packet_or_end().await, None);
    edge.until("nothing of it is left", || edge.count("clients") + edge.count("sessions") == 0).await;
    edge.serves_others().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_says_connect_is_closed_at_the_deadline() {
    let limits = Limits { connect_deadline: Duration::from_millis(100), ..Limits::default() };
    let edge = Edge::with(limits).await;
    let mut silent = edge.open().await;
    let mut slow = edge.open().await;
    slow.send(&connect(4, "slow", 2, 0, &[], &[])[..5]).await;
    assert_eq!(silent.packet_or_end().await, None);
    assert_eq!(slow.packet_or_end().await, None);
    assert_eq!(edge.count("connect_refused_deadline"), 2);
    // This one has time, so that it is its packet that is refused.
    let edge = Edge::start().await;
    let mut rude = edge.open().await;
    rude.send(b"GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(rude.packet_or_end().await, None);
    assert_eq!(edge.count("connect_refused_other_packet_first"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_read_more_slowly_and_others_are_served() {
    let limits = Limits { publishes_per_second_max: 50, ..Limits::default() };
    let edge = Edge::with(limits).await;
    let mut flooder = edge.v4("flooder").await;
    let mut flood = Vec::new();
    for _ in 0..60 {
        flood.extend_from_slice(&publish(4, "f", Some(1), b"x", false, false));
    }
    let began = std::time::Instant::now();
    flooder.send(&flood).await;
    edge.serves_others().await;
    for _ in 0..60 {
        assert_eq!(flooder.packet().await.0, 0x40);
    }
    assert!(Duration::from_millis(150) < began.elapsed(), "60 publishes at 50 per second");
    assert!(0 < edge.count("publishes_rate_limited_pauses"));
}
