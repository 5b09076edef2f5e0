//! The broker as rumqttc, a client of others' making, sees it; and how fast.

use std::time::{Duration, Instant};

use broker::Limits;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS, v5};

use crate::support::{Edge, PATIENCE};

fn options(edge: &Edge, id: &str) -> MqttOptions {
    let mut options = MqttOptions::new(id, "127.0.0.1", edge.port);
    options.set_keep_alive(Duration::from_secs(30));
    options
}

#[tokio::test(flavor = "multi_thread")]
async fn a_v4_and_a_v5_client_talk_to_each_other() {
    let edge = Edge::start().await;
    let (four, mut four_loop) = AsyncClient::new(options(&edge, "four"), 50);
    let mut five_options = v5::MqttOptions::new("five", "127.0.0.1", edge.port);
    five_options.set_keep_alive(Duration::from_secs(30));
    let (five, mut five_loop) = v5::AsyncClient::new(five_options, 50);

    four.subscribe("to/four", QoS::AtLeastOnce).await.unwrap();
    five.subscribe("to/five", v5::mqttbytes::QoS::ExactlyOnce).await.unwrap();
    let four_hears = async {
        let mut said = false;
        loop {
            match four_loop.poll().await.unwrap() {
                Event::Incoming(Packet::SubAck(_)) if !said => {
                    said = true;
                    four.publish("to/five", QoS::ExactlyOnce, true, "hello five").await.unwrap();
                }
                Event::Incoming(Packet::Publish(publish)) => return publish,
                _ => {}
            }
        }
    };
    let five_hears = async {
        loop {
            let event = five_loop.poll().await.unwrap();
            if let v5::Event::Incoming(v5::mqttbytes::v5::Packet::Publish(publish)) = event {
                let qos = v5::mqttbytes::QoS::AtLeastOnce;
                five.publish("to/four", qos, false, "hello four").await.unwrap();
                // The loop has to go on to send it.
                while five_loop.poll().await.is_ok() {}
                drop(publish);
            }
        }
    };
    let both = async {
        tokio::select! {
            publish = four_hears => publish,
            never = five_hears => never,
        }
    };
    let publish = tokio::time::timeout(PATIENCE, both).await.expect("in time");
    assert_eq!((&publish.topic[..], &publish.payload[..]), ("to/four", &b"hello four"[..]));
}

/// 50 publishers with QoS 1 and 200 B: the goal of the hub is 5 000 per second with its journal.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_publishers_are_acknowledged_and_one_subscriber_gets_everything() {
    const PUBLISHERS: usize = 50;
    const EACH: usize = 400;
    // Room for all, so that a subscriber that this machine starves loses nothing.
    let limits = Limits {
        session_queue_messages_max: PUBLISHERS * EACH,
        session_queue_bytes_max: PUBLISHERS * EACH * 300,
        ..Limits::default()
    };
    let edge = Edge::with(limits).await;
    let (subscriber, mut subscriber_loop) = AsyncClient::new(options(&edge, "s"), 50);
    subscriber.subscribe("load/#", QoS::AtMostOnce).await.unwrap();
    while !matches!(subscriber_loop.poll().await.unwrap(), Event::Incoming(Packet::SubAck(_))) {}
    let began = Instant::now();
    let receiving = tokio::spawn(async move {
        let mut received = 0;
        while received < PUBLISHERS * EACH {
            if let Event::Incoming(Packet::Publish(_)) = subscriber_loop.poll().await.unwrap() {
                received += 1;
            }
        }
    });
    let mut publishing = Vec::new();
    for n in 0..PUBLISHERS {
        let (client, mut events) = AsyncClient::new(options(&edge, &format!("p{n}")), 20);
        publishing.push(tokio::spawn(async move {
            let sending = tokio::spawn(async move {
                for _ in 0..EACH {
                    let topic = format!("load/{n}");
                    client.publish(topic, QoS::AtLeastOnce, false, [b'x'; 200]).await.unwrap();
                }
                client
            });
            let mut acked = 0;
            while acked < EACH {
                if let Event::Incoming(Packet::PubAck(_)) = events.poll().await.unwrap() {
                    acked += 1;
                }
            }
            sending.await.unwrap();
        }));
    }
    let all = async {
        for publisher in publishing {
            publisher.await.unwrap();
        }
        let acked = began.elapsed();
        receiving.await.unwrap();
        (acked, began.elapsed())
    };
    let (acked, received) = tokio::time::timeout(4 * PATIENCE, all).await.unwrap_or_else(|_| {
        panic!("not within {:?}; counters: {:?}", 4 * PATIENCE, edge.broker.handle().counters())
    });
    let count = u32::try_from(PUBLISHERS * EACH).unwrap();
    let (ack_rate, rate) =
        (f64::from(count) / acked.as_secs_f64(), f64::from(count) / received.as_secs_f64());
    println!("{count} acknowledged in {acked:?} ({ack_rate:.0}/s), received in {received:?} ({rate:.0}/s)");
    assert_eq!(edge.count("fanout_lost_router_log"), 0);
    let lost = edge.count("lost_session_queue_messages_max") + edge.count("lost_session_queue_bytes_max");
    assert_eq!(lost, 0);
}
