//! What the broker promises, seen byte by byte.

use std::time::Duration;

use broker::{Limits, Qos, Verdict};
use bytes::Bytes;

use crate::support::{Edge, connect, publish, publish2, subscribe, unsubscribe, will};

const CLEAN: u8 = 2;
const KEEP: u8 = 0;

fn session_expiry(secs: u32) -> Vec<u8> {
    let mut properties = vec![0x11];
    properties.extend_from_slice(&secs.to_be_bytes());
    properties
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_wait_for_verdicts_and_keep_the_order_of_receipt() {
    let edge = Edge::start().await;
    let mut client = edge.v5("c").await;
    client.send(&publish(5, "held/1", Some(1), b"a", false, false)).await;
    client.send(&publish(5, "now", Some(2), b"b", false, false)).await;
    client.send(&publish(5, "denied/x", Some(3), b"c", false, false)).await;
    client.send(&publish2(5, "held/2", 4, b"d", false)).await;
    client.send(&publish(5, "held/3", Some(5), b"e", false, false)).await;
    edge.until("all were handed over", || edge.hooks.held.lock().unwrap().len() == 3).await;
    assert!(client.is_silent().await, "no acknowledgement before its verdict");
    let mut held: Vec<_> = edge.hooks.held.lock().unwrap().drain(..).collect();
    // The last verdict first: its acknowledgement still comes last.
    drop(held.pop());
    held.pop().unwrap().send(Verdict::Accepted).unwrap();
    assert!(client.is_silent().await);
    held.pop().unwrap().send(Verdict::Accepted).unwrap();
    assert_eq!(client.packet().await, (0x40, vec![0, 1]));
    assert_eq!(client.packet().await, (0x40, vec![0, 2]));
    assert_eq!(client.packet().await, (0x40, vec![0, 3, 0x87]));
    assert_eq!(client.packet().await, (0x50, vec![0, 4]));
    assert_eq!(client.packet().await, (0x40, vec![0, 5, 0x97]), "a dropped verdict is not stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_verdicts_are_bounded_and_hold_the_client_up() {
    let edge = Edge::with(Limits { receive_maximum: 4, ..Limits::default() }).await;
    let mut client = edge.v4("c").await;
    for id in 1..=10 {
        client.send(&publish(4, "held/x", Some(id), b"", false, false)).await;
    }
    edge.until("four are pending", || edge.hooks.held.lock().unwrap().len() == 4).await;
    edge.serves_others().await;
    assert_eq!(edge.hooks.held.lock().unwrap().len(), 4, "the fifth is not even read");
    for id in 1..=10_u8 {
        edge.until("one is pending", || !edge.hooks.held.lock().unwrap().is_empty()).await;
        let verdict = edge.hooks.held.lock().unwrap().remove(0);
        verdict.send(Verdict::Accepted).unwrap();
        assert_eq!(client.packet().await, (0x40, vec![0, id]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_handed_over_is_fanned_out_even_if_its_client_is_gone() {
    let edge = Edge::start().await;
    let mut subscriber = edge.v4("s").await;
    subscriber.subscribe(4, 1, "held/#", 0).await;
    let mut client = edge.v4("c").await;
    client.send(&publish(4, "held/1", Some(1), b"late", false, false)).await;
    edge.until("it was handed over", || edge.hooks.held.lock().unwrap().len() == 1).await;
    drop(client);
    edge.until("it is gone", || edge.broker.handle().clients() == 1).await;
    let verdict = edge.hooks.held.lock().unwrap().remove(0);
    verdict.send(Verdict::Accepted).unwrap();
    assert!(subscriber.packet().await.1.ends_with(b"late"));
}

#[tokio::test(flavor = "multi_thread")]
async fn qos2_is_taken_once_over_duplicates_and_reconnects() {
    let edge = Edge::start().await;
    let mut subscriber = edge.v4("s").await;
    subscriber.subscribe(4, 1, "q/#", 2).await;
    let mut client = edge.open().await;
    client.send(&connect(4, "c", KEEP, 0, &[], &[])).await;
    assert_eq!(client.packet().await, (0x20, vec![0, 0]));
    client.send(&publish2(4, "q/1", 1, b"one", false)).await;
    client.send(&publish2(4, "q/1", 1, b"one", true)).await;
    client.send(&publish2(4, "q/1", 2, b"two", false)).await;
    for id in [1, 1, 2] {
        assert_eq!(client.packet().await, (0x50, vec![0, id]));
    }
    drop(client);
    let mut client = edge.open().await;
    client.send(&connect(4, "c", KEEP, 0, &[], &[])).await;
    assert_eq!(client.packet().await, (0x20, vec![1, 0]), "the session is present");
    client.send(&publish2(4, "q/1", 2, b"two", true)).await;
    assert_eq!(client.packet().await, (0x50, vec![0, 2]));
    // Released in whatever order, each by its own id.
    for id in [2, 1, 1] {
        client.send(&[0x62, 2, 0, id]).await;
        assert_eq!(client.packet().await, (0x70, vec![0, id]));
    }
    // The id is free again.
    client.send(&publish2(4, "q/1", 2, b"three", false)).await;
    assert_eq!(client.packet().await, (0x50, vec![0, 2]));
    assert_eq!(edge.hooks.accepted_on("q/1"), ["one", "two", "three"]);
    for payload in ["one", "two", "three"] {
        let (first, body) = subscriber.packet().await;
        assert_eq!(first, 0x32, "granted QoS 1 at most");
        assert!(body.ends_with(payload.as_bytes()));
    }
    assert_eq!(edge.count("publishes_qos2_duplicates"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn qos2_ids_are_bounded() {
    let edge = Edge::with(Limits { inbound_qos2_max: 3, ..Limits::default() }).await;
    let mut client = edge.v5("c").await;
    for id in 1..=4 {
        client.send(&publish2(5, "q", id, b"", false)).await;
    }
    assert_eq!(client.until_closed().await, Some((0xe0, vec![0x93, 0])));
    assert_eq!(edge.count("closed_qos2_limit"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn retained_messages_are_replaced_removed_and_all_of_them_sent() {
    let edge = Edge::with(Limits { retained_messages_max: 2_000, ..Limits::default() }).await;
    let mut publisher = edge.v4("p").await;
    for n in 0..1_500_u16 {
        publisher.send(&publish(4, &format!("r/{n}"), None, b"x", true, false)).await;
    }
    publisher.send(&publish(4, "r/7", Some(1), b"new", true, false)).await;
    // An empty payload that is not retained removes nothing, one that is does.
    publisher.send(&publish(4, "r/8", Some(2), b"", false, false)).await;
    publisher.send(&publish(4, "r/9", Some(3), b"", true, false)).await;
    for id in 1..=3 {
        assert_eq!(publisher.packet().await, (0x40, vec![0, id]));
    }
    assert_eq!(edge.count("retained_messages"), 1_499);
    let mut subscriber = edge.v4("s").await;
    for packet_id in 1..=2 {
        // Subscribing again sends them again.
        subscriber.subscribe(4, packet_id, "r/+", 0).await;
        let mut topics = std::collections::BTreeSet::new();
        for _ in 0..1_499 {
            let (first, body) = subscriber.packet().await;
            assert_eq!(first, 0x31, "marked as retained");
            let topic = String::from_utf8(body[2..2 + usize::from(body[1])].to_vec()).unwrap();
            assert_eq!(body.ends_with(b"new"), topic == "r/7");
            assert!(topics.insert(topic));
        }
        assert!(topics.contains("r/8") && !topics.contains("r/9"));
        assert!(subscriber.is_silent().await);
    }
    // One of many is found as well.
    let mut picky = edge.v4("picky").await;
    picky.subscribe(4, 1, "+/1499", 0).await;
    assert_eq!(picky.packet().await, (0x31, b"\x00\x06r/1499x".to_vec()));
    // Live messages are not marked.
    publisher.send(&publish(4, "r/7", None, b"live", true, false)).await;
    assert_eq!(subscriber.packet().await, (0x30, b"\x00\x03r/7live".to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn retained_messages_are_bounded_and_v5_retain_options_are_kept() {
    let edge = Edge::with(Limits { retained_messages_max: 2, ..Limits::default() }).await;
    let handle = edge.broker.handle();
    let mut publisher = edge.v4("p").await;
    for topic in ["a", "b", "a", "c"] {
        publisher.retain(topic, b"x").await;
    }
    assert_eq!(edge.count("retained_refused_full"), 1);
    let mut client = edge.v5("c").await;
    // Retain handling 2: none. 1: only if new. Retain as published: 8.
    client.subscribe(5, 1, "a", 0x20).await;
    assert!(client.is_silent().await);
    client.subscribe(5, 2, "a", 0x10 | 8).await;
    assert!(client.is_silent().await);
    client.subscribe(5, 3, "b", 0x10).await;
    assert_eq!(client.packet().await, (0x31, b"\x00\x01b\x00x".to_vec()));
    handle.publish("a", Bytes::from_static(b"y"), Qos::AtMostOnce, true).unwrap();
    assert_eq!(client.packet().await, (0x31, b"\x00\x01a\x00y".to_vec()), "as published");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_take_over_fires_the_old_will_and_tells_the_old_client() {
    let edge = Edge::start().await;
    let mut watcher = edge.v4("w").await;
    watcher.subscribe(4, 1, "will/#", 0).await;
    let mut old = edge.open().await;
    old.send(&connect(5, "c", 0x06, 0, &[], &will(5, "will/old", b"gone", &[]))).await;
    old.packet().await;
    let mut new = edge.open().await;
    new.send(&connect(5, "c", 0x06, 0, &[], &will(5, "will/new", b"gone", &[]))).await;
    new.packet().await;
    assert_eq!(old.until_closed().await, Some((0xe0, vec![0x8e, 0])));
    assert_eq!(watcher.packet().await.1, b"\x00\x08will/oldgone");
    // The new will is the new connection's: it fires when that one is lost.
    drop(new);
    assert_eq!(watcher.packet().await.1, b"\x00\x08will/newgone");
    assert_eq!(
        edge.hooks.accepted_on("will/old"),
        ["gone"],
        "a will is accepted by the host like any publish"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_disconnect_takes_the_will_back_in_all_its_forms() {
    let edge = Edge::start().await;
    let mut watcher = edge.v4("w").await;
    watcher.subscribe(4, 1, "will/#", 0).await;
    for (level, goodbye) in [(4, &[0xe0, 0][..]), (5, &[0xe0, 0]), (5, &[0xe0, 1, 0]), (5, &[0xe0, 2, 0, 0])]
    {
        let mut client = edge.open().await;
        client.send(&connect(level, "c", 0x06, 0, &[], &will(level, "will/c", b"gone", &[]))).await;
        client.packet().await;
        client.send(goodbye).await;
        assert_eq!(client.packet_or_end().await, None);
    }
    edge.until_count("wills_discarded", 4).await;
    assert!(watcher.is_silent().await);
    // "Disconnect with will" is what it says.
    let mut client = edge.open().await;
    client.send(&connect(5, "c", 0x06, 0, &[], &will(5, "will/c", b"gone", &[]))).await;
    client.packet().await;
    client.send(&[0xe0, 1, 4]).await;
    assert!(watcher.packet().await.1.ends_with(b"gone"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_will_is_dropped_if_its_client_comes_back_in_time() {
    let edge = Edge::start().await;
    let mut watcher = edge.v4("w").await;
    watcher.subscribe(4, 1, "will/#", 0).await;
    for comes_back in [true, false] {
        // In time means within a minute, whatever else the machine has to do.
        let delay = [0x18, 0, 0, 0, if comes_back { 60 } else { 1 }];
        let mut client = edge.open().await;
        let packet = connect(5, "c", 0x04, 0, &session_expiry(60), &will(5, "will/c", b"gone", &delay));
        client.send(&packet).await;
        client.packet().await;
        drop(client);
        edge.until("it is gone", || edge.broker.handle().clients() == 1).await;
        if comes_back {
            let mut again = edge.open().await;
            again.send(&connect(5, "c", KEEP, 0, &session_expiry(60), &[])).await;
            assert_eq!(again.packet().await.1[0], 1);
            again.send(&[0xe0, 0]).await;
            assert_eq!(again.packet_or_end().await, None);
            assert_eq!(edge.count("wills_discarded"), 1);
            assert!(watcher.is_silent().await);
        }
    }
    assert!(watcher.packet().await.1.ends_with(b"gone"));
    assert_eq!(edge.count("wills_published"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offline_session_keeps_its_messages_and_sends_them_again_until_acknowledged() {
    let edge = Edge::start().await;
    for (level, properties) in [(4, vec![]), (5, session_expiry(60))] {
        let id = format!("c{level}");
        // 5.0 may ask for a clean start and an expiry at once.
        let flags = if level == 5 { CLEAN } else { KEEP };
        let mut client = edge.open().await;
        client.send(&connect(level, &id, flags, 0, &properties, &[])).await;
        client.packet().await;
        client.subscribe(level, 1, "o/#", 1).await;
        drop(client);
        edge.until("it is gone", || edge.broker.handle().clients() == 0).await;
        let handle = edge.broker.handle();
        handle.publish("o/0", Bytes::from_static(b"qos0"), Qos::AtMostOnce, false).unwrap();
        handle.publish("o/1", Bytes::from_static(b"one"), Qos::AtLeastOnce, false).unwrap();
        handle.publish("o/2", Bytes::from_static(b"two"), Qos::ExactlyOnce, false).unwrap();
        // The order is kept, so the others are there when the last one is.
        handle.publish("o/0", Bytes::from_static(b"qos0"), Qos::AtMostOnce, false).unwrap();
        edge.until_count("skipped_offline_qos0", if level == 4 { 2 } else { 4 }).await;
        for dup in [0, 8] {
            let mut client = edge.open().await;
            client.send(&connect(level, &id, KEEP, 0, &properties, &[])).await;
            assert_eq!(client.packet().await.1[0], 1, "the session is present");
            for (packet_id, payload) in [(1, "one"), (2, "two")] {
                let (first, body) = client.packet().await;
                assert_eq!(first, 0x32 | dup, "DUP only when it is sent again");
                assert_eq!(body[5..7], [0, packet_id]);
                assert!(body.ends_with(payload.as_bytes()));
            }
            if dup == 8 {
                // In any order.
                client.send(&[0x40, 2, 0, 2, 0x40, 2, 0, 1]).await;
                assert!(client.is_silent().await);
            }
        }
        let mut client = edge.open().await;
        client.send(&connect(level, &id, KEEP, 0, &properties, &[])).await;
        client.packet().await;
        assert!(client.is_silent().await, "acknowledged is done");
        // A clean start forgets everything.
        let mut client = edge.open().await;
        client.send(&connect(level, &id, CLEAN, 0, &[], &[])).await;
        assert_eq!(client.packet().await.1[0], 0);
        drop(client);
        edge.until("it is gone", || edge.count("sessions") == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_expire_as_asked_and_at_the_brokers_limit() {
    let limits = Limits { session_expiry_max: Duration::from_secs(1), ..Limits::default() };
    let edge = Edge::with(limits).await;
    let mut five = edge.open().await;
    five.send(&connect(5, "five", CLEAN, 0, &session_expiry(3_600), &[])).await;
    let (_, body) = five.packet().await;
    assert!(body.windows(5).any(|w| w == [0x11, 0, 0, 0, 1]), "the shortened expiry is announced");
    let mut four = edge.open().await;
    four.send(&connect(4, "four", KEEP, 0, &[], &[])).await;
    four.packet().await;
    drop((five, four));
    edge.until_count("sessions_expired", 2).await;
    assert_eq!(edge.count("sessions"), 0);
    // Expiry 0 ends with the connection; a goodbye may change it.
    let mut zero = edge.open().await;
    zero.send(&connect(5, "zero", CLEAN, 0, &session_expiry(1), &[])).await;
    zero.packet().await;
    zero.send(&[0xe0, 7, 0, 5, 0x11, 0, 0, 0, 0]).await;
    assert_eq!(zero.packet_or_end().await, None);
    edge.until("it is gone", || edge.count("sessions") == 0).await;
    assert_eq!(edge.count("sessions_expired"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offline_queue_is_bounded_by_count_and_by_bytes_and_loss_is_counted() {
    let limits =
        Limits { session_queue_messages_max: 5, session_queue_bytes_max: 1_000, ..Limits::default() };
    let edge = Edge::with(limits).await;
    let mut client = edge.open().await;
    client.send(&connect(4, "c", KEEP, 0, &[], &[])).await;
    client.packet().await;
    client.subscribe(4, 1, "#", 1).await;
    drop(client);
    edge.until("it is gone", || edge.broker.handle().clients() == 0).await;
    let handle = edge.broker.handle();
    handle.publish("big", Bytes::from(vec![0; 1_001]), Qos::AtLeastOnce, false).unwrap();
    for n in 0..8 {
        handle.publish(&format!("s/{n}"), Bytes::new(), Qos::AtLeastOnce, false).unwrap();
    }
    edge.until_count("lost_session_queue_messages_max", 3).await;
    assert_eq!(edge.count("lost_session_queue_bytes_max"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_never_reads_harms_only_itself() {
    let limits = Limits {
        write_deadline: Duration::from_millis(300),
        session_queue_messages_max: 100,
        ..Limits::default()
    };
    let edge = Edge::with(limits).await;
    let mut deaf = edge.v4("deaf").await;
    deaf.subscribe(4, 1, "big/#", 0).await;
    let mut listener = edge.v4("listener").await;
    listener.subscribe(4, 1, "big/#", 1).await;
    let mut publisher = edge.v4("p").await;
    let payload = vec![1; 100_000];
    let publishing = async {
        for id in 1..=200 {
            publisher.send(&publish(4, "big/1", Some(id), &payload, false, false)).await;
            assert_eq!(publisher.packet().await.0, 0x40);
            let (_, body) = listener.packet().await;
            listener.send(&[0x40, 2, body[7], body[8]]).await;
        }
    };
    publishing.await;
    edge.until_count("closed_write_deadline", 1).await;
    assert!(0 < edge.count("lost_session_queue_messages_max") + edge.count("lost_session_queue_bytes_max"));
    edge.serves_others().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keep_alive_is_enforced_and_zero_means_never() {
    let edge = Edge::start().await;
    let mut for_ever = edge.v4("zero").await;
    for_ever.subscribe(4, 1, "will", 0).await;
    let mut watched = edge.open().await;
    watched.send(&connect(5, "one", 0x06, 1, &[], &will(5, "will", b"gone", &[]))).await;
    watched.packet().await;
    let began = std::time::Instant::now();
    assert_eq!(watched.until_closed().await, Some((0xe0, vec![0x8d, 0])));
    assert!(Duration::from_millis(1_400) < began.elapsed());
    assert_eq!(edge.count("closed_keep_alive"), 1);
    assert!(for_ever.packet().await.1.ends_with(b"gone"), "its will is due");
    assert!(for_ever.is_silent().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_client_that_spoke_in_time_is_not_closed_because_the_host_was_slow() {
    let edge = Edge::start().await;
    let (gate, closed) = std::sync::mpsc::sync_channel(0);
    *edge.hooks.gate.lock().unwrap() = Some(closed);
    let mut client = edge.open().await;
    client.send(&connect(5, "c", CLEAN, 1, &[], &[])).await;
    client.packet().await;
    client.send(&publish(5, "gate/1", Some(1), b"", false, false)).await;
    edge.until("the host blocks", || edge.hooks.gate.lock().unwrap().is_none()).await;
    client.send(&[0xc0, 0]).await;
    // A client with the same keep-alive tells when the time is over.
    let mut clock = edge.open().await;
    clock.send(&connect(5, "clock", CLEAN, 1, &[], &[])).await;
    clock.packet().await;
    assert_eq!(clock.until_closed().await, Some((0xe0, vec![0x8d, 0])));
    drop(gate);
    assert_eq!(client.packet().await, (0x40, vec![0, 1]));
    assert_eq!(client.packet().await, (0xd0, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn overlapping_filters_deliver_once_with_the_highest_qos() {
    let edge = Edge::start().await;
    let mut client = edge.v4("c").await;
    for (id, filter, qos) in [(1, "#", 0), (2, "a/+", 1), (3, "a/b", 0)] {
        client.subscribe(4, id, filter, qos).await;
    }
    let handle = edge.broker.handle();
    for n in 0..50_u8 {
        handle.publish("a/b", Bytes::copy_from_slice(&[n]), Qos::AtLeastOnce, false).unwrap();
        handle.publish("other", Bytes::copy_from_slice(&[n]), Qos::AtLeastOnce, false).unwrap();
    }
    for n in 0..50_u8 {
        let (first, body) = client.packet().await;
        assert_eq!((first, body.len()), (0x32, 8));
        assert_eq!(body[7], n);
        client.send(&[0x40, 2, body[5], body[6]]).await;
        let (first, body) = client.packet().await;
        assert_eq!((first, *body.last().unwrap()), (0x30, n));
    }
    assert!(client.is_silent().await);
    // min(publish, subscription): a QoS 0 publish stays one.
    handle.publish("a/b", Bytes::from_static(b"0"), Qos::AtMostOnce, false).unwrap();
    assert_eq!(client.packet().await.0, 0x30);
    assert_eq!(edge.count("fanout_lost_router_log"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_unsubscribe_is_answered_once_with_a_code_per_filter() {
    let edge = Edge::start().await;
    let mut v5 = edge.v5("five").await;
    v5.subscribe(5, 1, "a", 0).await;
    v5.send(&unsubscribe(5, 2, &["a", "b"])).await;
    assert_eq!(v5.packet().await, (0xb0, vec![0, 2, 0, 0, 0x11]));
    let mut v4 = edge.v4("four").await;
    v4.send(&unsubscribe(4, 3, &["x", "y"])).await;
    assert_eq!(v4.packet().await, (0xb0, vec![0, 3]));
    edge.broker.handle().publish("a", Bytes::from_static(b"x"), Qos::AtMostOnce, false).unwrap();
    assert!(v5.is_silent().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_receive_maximum_and_packet_size_are_honoured() {
    let edge = Edge::start().await;
    let mut client = edge.open().await;
    let properties = [0x21, 0, 2, 0x27, 0, 0, 0, 60];
    client.send(&connect(5, "c", CLEAN, 0, &properties, &[])).await;
    client.packet().await;
    client.subscribe(5, 1, "#", 1).await;
    let handle = edge.broker.handle();
    handle.publish("big", Bytes::from(vec![0; 60]), Qos::AtLeastOnce, false).unwrap();
    for n in 0..4 {
        handle.publish(&format!("m/{n}"), Bytes::from_static(b"x"), Qos::AtLeastOnce, false).unwrap();
    }
    assert!(client.packet().await.1.starts_with(b"\x00\x03m/0"));
    let (_, second) = client.packet().await;
    assert!(client.is_silent().await, "two are in flight");
    client.send(&[0x40, 2, second[5], second[6]]).await;
    assert!(client.packet().await.1.starts_with(b"\x00\x03m/2"));
    assert_eq!(edge.count("lost_client_maximum_packet_size"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_local_and_message_expiry_are_kept() {
    let edge = Edge::start().await;
    let mut client = edge.open().await;
    client.send(&connect(5, "c", CLEAN, 0, &session_expiry(60), &[])).await;
    client.packet().await;
    client.subscribe(5, 1, "n/#", 1 | 4).await;
    client.send(&publish(5, "n/1", Some(1), b"own", false, false)).await;
    assert_eq!(client.packet().await, (0x40, vec![0, 1]));
    assert!(client.is_silent().await);
    drop(client);
    edge.until("it is gone", || edge.broker.handle().clients() == 0).await;
    let mut other = edge.v5("o").await;
    for (id, secs) in [(2, 1), (3, 100)] {
        let mut body = b"\x00\x03n/2\x00".to_vec();
        body.extend_from_slice(&[id, 5, 2, 0, 0, 0, secs, b'x']);
        other.send(&crate::support::frame(0x32, &body)).await;
        assert_eq!(other.packet().await, (0x40, vec![0, id]));
    }
    edge.until_count("lost_message_expired", 1).await;
    let mut client = edge.open().await;
    client.send(&connect(5, "c", KEEP, 0, &session_expiry(60), &[])).await;
    client.packet().await;
    let (_, body) = client.packet().await;
    assert_eq!(body[7..12], [5, 2, 0, 0, 0]);
    assert!((10..=99).contains(&body[12]), "what is left of 100 s: {}", body[12]);
    assert_eq!(edge.count("lost_message_expired"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_router_may_die_while_connections_stay_up_and_nothing_is_lost() {
    let edge = Edge::start().await;
    let mut subscriber = edge.v4("s").await;
    subscriber.subscribe(4, 1, "r/#", 1).await;
    let handle = edge.broker.handle();
    let mut expected = 0_u32;
    for round in 1..=3 {
        for n in 0..300_u32 {
            if n == 150 {
                handle.kill_router_for_tests();
            }
            let payload = Bytes::copy_from_slice(&(expected + n).to_be_bytes());
            handle.publish("r/1", payload, Qos::AtLeastOnce, false).unwrap();
        }
        for _ in 0..300 {
            let (_, body) = subscriber.packet().await;
            assert_eq!(body[7..], expected.to_be_bytes());
            expected += 1;
            subscriber.send(&[0x40, 2, body[5], body[6]]).await;
        }
        edge.until_count("router_restarts", round).await;
    }
    assert!(subscriber.is_silent().await);
    assert_eq!(edge.count("fanout_lost_router_restart") + edge.count("fanout_lost_router_log"), 0);
    edge.serves_others().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_has_seen_too_many_topics_is_replaced_without_loss() {
    let edge = Edge::with(Limits { topics_max: 100, ..Limits::default() }).await;
    let mut subscriber = edge.v4("s").await;
    subscriber.subscribe(4, 1, "r/#", 0).await;
    let handle = edge.broker.handle();
    for n in 0..450 {
        handle.publish(&format!("r/{n}"), Bytes::new(), Qos::AtMostOnce, false).unwrap();
    }
    for n in 0..450 {
        assert_eq!(&subscriber.packet().await.1[2..], format!("r/{n}").as_bytes());
    }
    assert!(2 <= edge.count("router_recycles"));
    assert_eq!(edge.count("router_restarts"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_drains_verdicts_says_goodbye_and_leaves_nothing_behind() {
    let edge = Edge::start().await;
    let (mut five, mut four) = (edge.v5("five").await, edge.v4("four").await);
    let mut watcher = edge.v5("w").await;
    watcher.subscribe(5, 1, "will", 0).await;
    let mut willing = edge.open().await;
    willing.send(&connect(4, "willing", 6, 0, &[], &will(4, "will", b"x", &[]))).await;
    willing.packet().await;
    five.send(&publish(5, "held/1", Some(1), b"", false, false)).await;
    four.send(&publish(4, "held/2", Some(2), b"", false, false)).await;
    edge.until("both are pending", || edge.hooks.held.lock().unwrap().len() == 2).await;
    let Edge { broker, hooks, port } = edge;
    let handle = broker.handle();
    let stopping = tokio::spawn(broker.shutdown(Duration::from_secs(20)));
    assert_eq!(watcher.until_closed().await, Some((0xe0, vec![0x8b, 0])), "a hub that goes fires no wills");
    for verdict in hooks.held.lock().unwrap().drain(..) {
        verdict.send(Verdict::Accepted).unwrap();
    }
    assert_eq!(five.packet().await, (0x40, vec![0, 1]));
    assert_eq!(five.until_closed().await, Some((0xe0, vec![0x8b, 0])));
    assert_eq!(four.until_closed().await, Some((0x40, vec![0, 2])));
    stopping.await.unwrap();
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err());
    let error = handle.publish("t", Bytes::new(), Qos::AtMostOnce, false).unwrap_err();
    assert_eq!(error.to_string(), "message for `t` dropped: the broker is shutting down");
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_does_not_wait_for_a_verdict_that_never_comes() {
    let edge = Edge::start().await;
    let mut client = edge.v4("c").await;
    client.send(&publish(4, "held/1", Some(1), b"", false, false)).await;
    edge.until("it is pending", || edge.hooks.held.lock().unwrap().len() == 1).await;
    let began = std::time::Instant::now();
    edge.broker.shutdown(Duration::from_millis(200)).await;
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(client.until_closed().await, None, "never acknowledged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_principal_can_be_put_out() {
    let edge = Edge::start().await;
    let mut client = edge.v5("device-1").await;
    edge.broker.handle().disconnect_principal("device-1");
    assert_eq!(client.until_closed().await, Some((0xe0, vec![0x98, 0])));
    edge.until("its session is forgotten", || edge.count("sessions") == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_is_named() {
    let edge = Edge::start().await;
    let addr = edge.broker.tcp_addr().unwrap();
    let config = broker::Config { tcp: Some(addr), limits: Limits::default() };
    let store = std::sync::Arc::new(broker::MemoryRetained::default());
    let error =
        broker::Broker::start(config, std::sync::Arc::clone(&edge.hooks) as _, store).await.unwrap_err();
    assert_eq!(error.to_string(), format!("failed to listen for MQTT on {addr}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_filters_share_a_bounded_number_of_router_links() {
    let edge = Edge::start().await;
    let mut clients = Vec::new();
    for n in 0..300 {
        let mut client = edge.v4(&format!("c{n}")).await;
        client.subscribe(4, 1, &format!("commands/{n}/#"), 1).await;
        clients.push(client);
    }
    let handle = edge.broker.handle();
    for n in 0..300 {
        handle
            .publish(&format!("commands/{n}/go"), Bytes::from_static(b"x"), Qos::AtMostOnce, false)
            .unwrap();
    }
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(&client.packet().await.1[2..], format!("commands/{n}/gox").as_bytes());
    }
    assert_eq!(edge.count("subscribed_filters"), 300);
    assert!(edge.count("router_lanes") <= 65);
    let mut client = edge.v4("s").await;
    client.send(&subscribe(4, 1, "a", 0)).await;
    assert_eq!(client.packet().await.0, 0x90);
}

#[tokio::test(flavor = "multi_thread")]
async fn retained_messages_are_bounded_in_bytes_also_when_they_are_loaded() {
    let store = std::sync::Arc::new(broker::MemoryRetained::default());
    let edge = Edge::with_store(Limits::default(), std::sync::Arc::clone(&store)).await;
    let mut publisher = edge.v4("p").await;
    for topic in ["a", "b", "c"] {
        publisher.retain(topic, &[0; 40]).await;
    }
    edge.broker.shutdown(Duration::from_secs(5)).await;
    let edge = Edge::with_store(Limits { retained_bytes_max: 100, ..Limits::default() }, store).await;
    assert_eq!((edge.count("retained_messages"), edge.count("retained_refused_full")), (2, 1));
    let mut publisher = edge.v4("p").await;
    publisher.retain("a", &[0; 60]).await;
    assert_eq!((edge.count("retained_refused_full"), edge.count("retained_full")), (2, 1));
    publisher.retain("a", &[0; 20]).await;
    assert_eq!(edge.count("retained_full"), 0, "there is room again");
    publisher.retain("a", &[0; 50]).await;
    publisher.retain("d", b"more").await;
    assert_eq!((edge.count("retained_messages"), edge.count("retained_refused_full")), (3, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_clients_have_filled_takes_the_hosts_own_messages_also_after_a_restart() {
    let store = std::sync::Arc::new(broker::MemoryRetained::default());
    let limits = Limits { retained_messages_max: 2, retained_bytes_max: 100, ..Limits::default() };
    let edge = Edge::with_store(limits.clone(), std::sync::Arc::clone(&store)).await;
    let mut publisher = edge.v4("p").await;
    for topic in ["a", "b", "c"] {
        publisher.retain(topic, b"x").await;
    }
    assert_eq!((edge.count("retained_messages"), edge.count("retained_full")), (2, 1));
    for n in 0..5 {
        let topic = format!("host/{n}");
        edge.broker.handle().publish(&topic, Bytes::from(vec![0; 90]), Qos::AtLeastOnce, true).unwrap();
    }
    assert_eq!(edge.count("retained_messages"), 7);
    // What an earlier release let through.
    let stray = broker::RetainedMessage {
        topic: "fleeting/1".into(),
        payload: Bytes::from_static(b"x"),
        qos: Qos::AtLeastOnce,
    };
    broker::RetainedStore::put(&*store, &stray);
    edge.broker.shutdown(Duration::from_secs(5)).await;

    let edge = Edge::with_store(limits, std::sync::Arc::clone(&store)).await;
    assert_eq!((edge.count("retained_messages"), edge.count("retained_refused_full")), (7, 0));
    assert_eq!(edge.count("retained_dropped_at_start"), 1);
    assert_eq!(broker::RetainedStore::load(&*store).len(), 7, "the store has forgotten it too");
    // A device is removed: what it has retained goes, and there is room again.
    assert_eq!(edge.broker.handle().remove_retained(|topic| topic == "a"), 1);
    assert_eq!(broker::RetainedStore::load(&*store).len(), 6);
    let mut publisher = edge.v4("p").await;
    publisher.retain("c", b"x").await;
    assert_eq!((edge.count("retained_messages"), edge.count("retained_refused_full")), (7, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_or_will_that_may_not_be_retained_is_delivered_all_the_same() {
    let edge = Edge::start().await;
    let mut subscriber = edge.v5("s").await;
    subscriber.subscribe(5, 1, "fleeting/+", 8).await;
    let mut publisher = edge.v4("p").await;
    publisher.retain("fleeting/1", b"live").await;
    assert_eq!(subscriber.packet().await, (0x30, b"\x00\x0afleeting/1\x00live".to_vec()));
    let mut dying = edge.open().await;
    dying.send(&connect(4, "dying", 0x26, 0, &[], &will(4, "fleeting/2", b"bye", &[]))).await;
    dying.packet().await;
    drop(dying);
    assert_eq!(subscriber.packet().await, (0x30, b"\x00\x0afleeting/2\x00bye".to_vec()));
    assert_eq!((edge.count("retained_messages"), edge.count("retained_refused_not_allowed")), (0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn large_retained_messages_all_arrive_though_a_session_may_queue_few() {
    let limits = Limits { session_queue_bytes_max: 250_000, ..Limits::default() };
    let edge = Edge::with(limits).await;
    let handle = edge.broker.handle();
    for n in 0..40 {
        handle.publish(&format!("r/{n}"), Bytes::from(vec![0; 100_000]), Qos::AtLeastOnce, true).unwrap();
    }
    let mut client = edge.v4("c").await;
    client.subscribe(4, 1, "r/#", 1).await;
    for _ in 0..40 {
        let (first, body) = client.packet().await;
        assert_eq!(first, 0x33);
        let id = 2 + usize::from(body[1]);
        client.send(&[0x40, 2, body[id], body[id + 1]]).await;
    }
    assert!(client.is_silent().await);
    assert_eq!(edge.count("lost_session_queue_bytes_max"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retained_message_that_expires_is_forgotten_and_never_put_in_the_store() {
    let store = std::sync::Arc::new(broker::MemoryRetained::default());
    let edge = Edge::with_store(Limits::default(), std::sync::Arc::clone(&store)).await;
    let mut client = edge.v5("c").await;
    client.send(&publish(5, "x", Some(1), b"stays", true, false)).await;
    assert_eq!(client.packet().await, (0x40, vec![0, 1]));
    assert_eq!(broker::RetainedStore::load(&*store).len(), 1);
    client.send(&crate::support::frame(0x33, b"\x00\x01x\x00\x02\x05\x02\x00\x00\x00\x01goes")).await;
    assert_eq!(client.packet().await, (0x40, vec![0, 2]));
    assert!(broker::RetainedStore::load(&*store).is_empty());
    edge.until_count("retained_expired", 1).await;
    assert_eq!(edge.count("retained_messages"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_local_holds_for_retained_messages_too() {
    let edge = Edge::start().await;
    let mut client = edge.v5("c").await;
    client.send(&publish(5, "n/own", Some(1), b"x", true, false)).await;
    assert_eq!(client.packet().await, (0x40, vec![0, 1]));
    edge.broker.handle().publish("n/other", Bytes::from_static(b"y"), Qos::AtMostOnce, true).unwrap();
    client.subscribe(5, 2, "n/#", 4).await;
    assert_eq!(client.packet().await, (0x31, b"\x00\x07n/other\x00y".to_vec()));
    assert!(client.is_silent().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_with_its_connection_is_not_resumed_by_a_take_over() {
    let edge = Edge::start().await;
    for level in [4, 5] {
        let mut old = if level == 4 { edge.v4("c").await } else { edge.v5("c").await };
        old.subscribe(level, 1, "t/#", 1).await;
        let mut new = edge.open().await;
        new.send(&connect(level, "c", KEEP, 0, &[], &[])).await;
        assert_eq!(new.packet().await.1[..2], [0, 0], "no session is present");
        edge.broker.handle().publish("t/1", Bytes::new(), Qos::AtLeastOnce, false).unwrap();
        assert!(new.is_silent().await, "and it has no subscriptions");
        old.until_closed().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_again_keeps_within_the_receive_maximum_of_the_new_connection() {
    let edge = Edge::start().await;
    let mut client = edge.open().await;
    client.send(&connect(5, "c", CLEAN, 0, &session_expiry(60), &[])).await;
    client.packet().await;
    client.subscribe(5, 1, "#", 1).await;
    for n in 0..5 {
        edge.broker.handle().publish(&format!("m/{n}"), Bytes::new(), Qos::AtLeastOnce, false).unwrap();
        assert_eq!(client.packet().await.0, 0x32);
    }
    drop(client);
    let mut client = edge.open().await;
    let mut properties = session_expiry(60);
    properties.extend_from_slice(&[0x21, 0, 2]);
    client.send(&connect(5, "c", KEEP, 0, &properties, &[])).await;
    client.packet().await;
    for n in 0..5_u8 {
        let (first, body) = client.packet().await;
        assert_eq!((first, body[4]), (0x3a, b'0' + n));
        if n == 1 {
            assert!(client.is_silent().await, "two are in flight");
        }
        if 0 < n {
            let earlier = body[6] - 1;
            client.send(&[0x40, 2, 0, earlier]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_will_is_due_at_once_when_its_session_is_put_out() {
    let edge = Edge::start().await;
    let mut watcher = edge.v4("w").await;
    watcher.subscribe(4, 1, "will", 0).await;
    let mut client = edge.open().await;
    let delay = [0x18, 0, 0, 0, 60];
    client.send(&connect(5, "c", 0x06, 0, &session_expiry(60), &will(5, "will", b"gone", &delay))).await;
    client.packet().await;
    edge.broker.handle().disconnect_principal("c");
    assert!(watcher.packet().await.1.ends_with(b"gone"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bursts_of_large_messages_do_not_overrun_the_routers_log() {
    let limits = Limits { session_queue_bytes_max: 64 * 1024 * 1024, ..Limits::default() };
    let edge = Edge::with(limits).await;
    let mut subscriber = edge.v4("s").await;
    subscriber.subscribe(4, 1, "big/#", 0).await;
    let handle = edge.broker.handle();
    let sizes = [100_000, 10, 200_000, 70_000, 70_000, 1];
    for n in 0..60_usize {
        handle
            .publish(&format!("big/{n}"), Bytes::from(vec![7; sizes[n % 6]]), Qos::AtMostOnce, false)
            .unwrap();
    }
    for n in 0..60_usize {
        let (_, body) = subscriber.packet().await;
        assert_eq!(body.len(), 2 + format!("big/{n}").len() + sizes[n % 6]);
    }
    assert_eq!(edge.count("fanout_lost_router_log"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_routers_queue_is_bounded_in_bytes_and_what_it_refuses_is_counted() {
    let edge = Edge::with(Limits { router_queue_bytes_max: 10, ..Limits::default() }).await;
    let mut subscriber = edge.v4("s").await;
    subscriber.subscribe(4, 1, "q/#", 0).await;
    let handle = edge.broker.handle();
    let mut dropped = 0;
    for _ in 0..500 {
        if handle.publish("q/1", Bytes::from_static(b"xxxxxx"), Qos::AtMostOnce, false).is_err() {
            dropped += 1;
        }
    }
    assert!(0 < dropped, "one at a time fits");
    assert_eq!(edge.count("fanout_dropped_router_queue_full"), dropped);
    for _ in 0..500 - dropped {
        assert_eq!(subscriber.packet().await.0, 0x30);
    }
    // A client is held up instead, and nothing is lost.
    edge.serves_others().await;
    assert!(subscriber.is_silent().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_thread_that_feeds_the_router_may_panic_and_nothing_is_lost() {
    let edge = Edge::start().await;
    let mut subscriber = edge.v4("s").await;
    subscriber.subscribe(4, 1, "r/#", 0).await;
    let handle = edge.broker.handle();
    for n in 0..200_u8 {
        if n == 100 {
            handle.kill_feeder_for_tests();
        }
        handle.publish("r/1", Bytes::copy_from_slice(&[n]), Qos::AtLeastOnce, false).unwrap();
    }
    for n in 0..200_u8 {
        assert_eq!(subscriber.packet().await.1.last(), Some(&n));
    }
    assert_eq!((edge.count("router_restarts"), edge.count("failed")), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_never_works_again_is_told_to_the_host() {
    let edge = Edge::start().await;
    let handle = edge.broker.handle();
    for _ in 0..40 {
        handle.kill_feeder_for_tests();
    }
    let failure = tokio::time::timeout(crate::support::PATIENCE, handle.failed()).await.expect("in time");
    let text = failure.to_string();
    assert!(text.starts_with("the MQTT broker has failed: the message router ended 8 times"), "{text}");
    assert_eq!(edge.count("failed"), 1);
    // Publishes are still accepted and acknowledged; that they go nowhere is counted.
    let mut client = edge.v4("c").await;
    client.subscribe(4, 1, "t", 0).await;
    client.send(&publish(4, "t", Some(1), b"x", false, false)).await;
    assert_eq!(client.packet().await, (0x40, vec![0, 1]));
    edge.until_count("fanout_lost_router_restart", 1).await;
    edge.broker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_what_subscribers_saw_last_however_publishers_race() {
    const ROUNDS: u16 = 200;
    let edge = Edge::start().await;
    let mut watcher = edge.v4("w").await;
    watcher.subscribe(4, 1, "race", 0).await;
    let racer = async |id: &str| {
        let mut client = edge.v4(id).await;
        for round in 1..=ROUNDS {
            let payload = format!("{id} {round}");
            client.send(&publish(4, "race", Some(round), payload.as_bytes(), true, false)).await;
        }
        for _ in 1..=ROUNDS {
            assert_eq!(client.packet().await.0, 0x40);
        }
    };
    tokio::join!(racer("a"), racer("b"), racer("c"));
    let mut last = Vec::new();
    for _ in 0..3 * ROUNDS {
        last = watcher.packet().await.1;
    }
    let mut late = edge.v4("late").await;
    late.subscribe(4, 1, "race", 0).await;
    assert_eq!(late.packet().await, (0x31, last));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_subscribers_lost_messages_are_counted_exactly() {
    let edge = Edge::with(Limits { session_queue_messages_max: 10, ..Limits::default() }).await;
    let mut slow = edge.v4("slow").await;
    slow.subscribe(4, 1, "s/#", 1).await;
    let mut quick = edge.v4("quick").await;
    quick.subscribe(4, 1, "s/#", 0).await;
    let handle = edge.broker.handle();
    for n in 0_u8..50 {
        handle.publish("s/1", Bytes::from(vec![n]), Qos::AtLeastOnce, false).unwrap();
        assert!(quick.packet().await.1.ends_with(&[n]));
    }
    // It acknowledges nothing, so that what it was sent still takes its room.
    edge.until_count("lost_session_queue_messages_max", 40).await;
    for n in 0_u8..10 {
        assert!(slow.packet().await.1.ends_with(&[n]), "the first ten, in order");
    }
    assert!(slow.is_silent().await);
    assert_eq!(edge.count("lost_session_queue_messages_max"), 40, "and nobody else's are among them");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_while_keeping_house_is_survived() {
    let edge = Edge::start().await;
    for id in ["a", "b"] {
        let mut client = edge.open().await;
        // Its will is due a second after its connection, by the hand of the housekeeper, and the host panics on it.
        let due = [0x18, 0, 0, 0, 1];
        let connecting =
            connect(5, id, 0x06, 0, &session_expiry(60), &will(5, &format!("fault/{id}"), b"x", &due));
        client.send(&connecting).await;
        assert_eq!(client.packet().await.0, 0x20);
    }
    edge.until_count("tasks_panicked", 2).await;
    let mut willing = edge.open().await;
    let due = [0x18, 0, 0, 0, 1];
    willing
        .send(&connect(5, "c", 0x06, 0, &session_expiry(60), &will(5, "will/c", b"still kept", &due)))
        .await;
    willing.packet().await;
    drop(willing);
    edge.until("a later will is published", || edge.hooks.accepted_on("will/c") == ["still kept"]).await;
    assert_eq!(edge.count("failed"), 0);
    edge.serves_others().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_that_gets_no_verdict_is_given_up_at_the_deadline() {
    let edge = Edge::with(Limits { verdict_deadline: Duration::from_millis(200), ..Limits::default() }).await;
    let mut watcher = edge.v4("w").await;
    watcher.subscribe(4, 1, "held/#", 0).await;
    let mut client = edge.open().await;
    client.send(&connect(4, "c", 0x06, 0, &[], &will(4, "held/will", b"x", &[]))).await;
    client.packet().await;
    drop(client);
    edge.until_count("wills_refused", 1).await;
    let verdict = edge.hooks.held.lock().unwrap().pop().expect("it was asked for");
    assert!(verdict.send(Verdict::Accepted).is_err(), "nobody waits for it any more");
    assert!(watcher.is_silent().await);
    assert_eq!(Limits::default().verdict_deadline, Duration::from_secs(30));
}
