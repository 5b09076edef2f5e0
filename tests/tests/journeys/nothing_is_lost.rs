//! An acknowledged reading is at headquarters exactly once, whatever happens on the way.
//!
//! Method: a sensor remembers which of its numbered readings were acknowledged and never repeats one. Something is cut or
//! killed meanwhile. In the end headquarters' database, opened behind its back, must have each of them in one row.
//! One journey's sensor does repeat: what it said before its connection was cut, without having read an answer.

use e2e::{
    harness::{
        Hq, Hub, HubSetup, Link, PATIENCE, Publisher, hq::HqFolder, hub::STORE, publisher::reading, wait_for,
    },
    raw::{RawClient, Version},
};
use tokio::task::JoinHandle;

const READINGS: usize = 3_000;
const SENSOR: &str = "shelf-01";

/// A hub behind a cable that can be pulled, and a sensor registered at it.
async fn store(headquarters: &Link) -> (Hub, Publisher) {
    let folder = HubSetup::new().upstream(headquarters.addr()).write();
    let secret = folder.add_device(SENSOR, "shelf").await;
    let hub = folder.start().await;
    let sensor = Publisher::new(hub.mqtt, Version::V311, SENSOR, Some(secret));
    (hub, sensor)
}

async fn each_acked_reading_is_there_once(headquarters: &HqFolder, sensor: &Publisher) {
    assert_eq!(sensor.acked().len(), READINGS, "the journey acknowledged what it set out to");
    let missing = |rows: &std::collections::BTreeMap<(String, u64), u32>| {
        let is_missing = |seq: &&u64| !rows.contains_key(&(SENSOR.to_owned(), **seq));
        sensor.acked().iter().filter(is_missing).copied().collect::<Vec<u64>>()
    };
    let rows = wait_for("every acknowledged reading is in the database", PATIENCE, async || {
        let rows = headquarters.readings(STORE)?;
        match missing(&rows)[..] {
            [] => Ok(rows),
            [first, ..] => Err(format!(
                "{} rows; {} are missing, the first is {first}",
                rows.len(),
                missing(&rows).len()
            )),
        }
    })
    .await;
    let repeated: Vec<_> = rows.iter().filter(|(_, count)| **count != 1).collect();
    assert!(repeated.is_empty(), "each is there once; repeated: {repeated:?}");
}

fn in_background(mut sensor: Publisher, total: usize) -> JoinHandle<Publisher> {
    tokio::spawn(async move {
        sensor.publish_while_connected(total).await;
        sensor
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readings_survive_an_outage_of_headquarters_and_a_kill_of_the_hub() {
    let headquarters = Hq::start().await;
    let link = Link::to(headquarters.mqtt).await;
    let down = headquarters.kill().await;
    let (hub, mut sensor) = store(&link).await;
    sensor.publish_until_acked(READINGS / 2).await;

    // Killed while readings are in flight: the sensor goes on until its connection breaks.
    let publishing = in_background(sensor, READINGS);
    let seen = hub.store().await.expect("the hub serves without headquarters");
    assert_eq!(seen["uplink"]["online"], false, "{seen}");
    let folder = hub.kill().await;
    let mut sensor = publishing.await.expect("the sensor does not panic");
    let hub = folder.start().await;
    sensor.moved_to(hub.mqtt);
    sensor.publish_until_acked(READINGS).await;

    let headquarters = down.start().await;
    link.retarget(headquarters.mqtt);
    each_acked_reading_is_there_once(&headquarters.folder, &sensor).await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readings_survive_kills_of_headquarters_while_it_commits() {
    let headquarters = Hq::start().await;
    let link = Link::to(headquarters.mqtt).await;
    let (hub, sensor) = store(&link).await;
    let publishing = in_background(sensor, READINGS);

    let mut headquarters = Some(headquarters);
    for share in 1..=4 {
        let running = headquarters.take().expect("started again below");
        let least = share * READINGS / 8;
        wait_for(&format!("{least} rows are committed"), PATIENCE, async || {
            let rows = running.folder.readings(STORE)?.len();
            if least <= rows { Ok(()) } else { Err(format!("{rows} rows")) }
        })
        .await;
        let again = running.kill().await.start().await;
        link.retarget(again.mqtt);
        headquarters = Some(again);
    }
    let sensor = publishing.await.expect("the sensor does not panic");
    let headquarters = headquarters.expect("started again above");
    each_acked_reading_is_there_once(&headquarters.folder, &sensor).await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readings_survive_a_link_that_is_cut_without_a_word() {
    let headquarters = Hq::start().await;
    let link = Link::to(headquarters.mqtt).await;
    let (hub, sensor) = store(&link).await;
    let publishing = in_background(sensor, READINGS);
    wait_for("the first rows are through", PATIENCE, async || {
        let rows = headquarters.folder.readings(STORE)?.len();
        if 0 < rows { Ok(()) } else { Err(format!("{rows} rows")) }
    })
    .await;

    link.cut();
    let sensor = publishing.await.expect("the sensor does not panic");
    assert_eq!(sensor.acked().len(), READINGS, "the store works without the line");
    link.restore();

    each_acked_reading_is_there_once(&headquarters.folder, &sensor).await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_sensor_repeats_because_its_acknowledgement_was_lost_is_at_headquarters_once() {
    /// As many as a busy client has in flight.
    const REPEATED: u16 = 100;
    let headquarters = Hq::start().await;
    let folder = HubSetup::new().upstream(headquarters.mqtt).write();
    let secret = folder.add_device(SENSOR, "shelf").await;
    let mut hub = folder.start().await;
    let topic = format!("sensors/shelf/{SENSOR}/reading");
    let log_in = async |hub: &Hub| {
        let client = RawClient::log_in(hub.mqtt, Version::V311, SENSOR, Some(&secret)).await;
        let (client, code) = client.expect("the hub listens");
        assert_eq!(code, 0, "the sensor is registered");
        client
    };
    let publish_all = async |client: &mut RawClient| {
        for seq in 1..=REPEATED {
            let payload = reading(u64::from(seq));
            client.publish(&topic, seq, payload.as_bytes()).await.expect("the hub takes it");
        }
    };

    // Cut without an acknowledgement read; the hub may be killed, too, after it has them.
    let mut least = 0;
    for is_killed in [false, true] {
        let mut client = log_in(&hub).await;
        publish_all(&mut client).await;
        least += u64::from(REPEATED);
        wait_for("the hub has the readings", PATIENCE, async || {
            let records = hub.folder.status().await?["counters"]["journal.records"].as_u64();
            if least <= records.unwrap_or(0) { Ok(()) } else { Err(format!("{records:?} records")) }
        })
        .await;
        drop(client);
        if is_killed {
            hub = hub.kill().await.start().await;
        }
    }
    let mut client = log_in(&hub).await;
    publish_all(&mut client).await;
    let last = u64::from(REPEATED) + 1;
    client.publish(&topic, REPEATED + 1, reading(last).as_bytes()).await.expect("the hub takes it");
    for packet_id in 1..=REPEATED + 1 {
        let packet = client.answer().await.expect("the hub acknowledges");
        assert_eq!(packet.puback(), Some((packet_id, 0)));
    }

    let key = (SENSOR.to_owned(), last);
    let rows = wait_for("the last reading is in the database", PATIENCE, async || {
        let rows = headquarters.folder.readings(STORE)?;
        if rows.contains_key(&key) { Ok(rows) } else { Err(format!("{} rows", rows.len())) }
    })
    .await;
    let expected = (1..=last).map(|seq| ((SENSOR.to_owned(), seq), 1));
    assert_eq!(rows, expected.collect(), "each is there once");
    hub.counted("readings.repeated", u64::from(REPEATED)).await;
    hub.stop().await;
}
