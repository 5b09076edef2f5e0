//! An outage: readings acknowledged while headquarters is away, the hub killed and started again, headquarters back. How
//! many arrive, and how many twice.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::{
    bench::{
        mosquitto::{Mosquitto, Setting},
        report,
    },
    harness::{Hq, HubSetup, Link, Publisher, hub::STORE},
    raw::{self, RawClient, Version, kind},
};

/// Readings that are acknowledged while headquarters is away.
const READINGS: usize = 3_000;
const SENSOR: &str = "shelf-01";
/// Nothing more is expected when nothing has come for this long.
const SILENCE_MAX: Duration = Duration::from_secs(8);
const DRAIN_MAX: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);

struct Outcome {
    name: &'static str,
    acked: usize,
    acking: Duration,
    arrived: usize,
    repeated: usize,
}

/// Runs all contenders.
///
/// # Errors
/// When a contender cannot be started.
pub async fn run() -> Result<()> {
    println!("storehub-gateway and storehub-hq");
    let mut outcomes = vec![ours().await?];
    if Mosquitto::is_installed() {
        for setting in [Setting::Durable, Setting::Default] {
            println!("{} with a bridge", setting.name());
            outcomes.push(bridge(setting).await?);
        }
    } else {
        println!("mosquitto is not installed: nothing to compare with (`cargo xtask setup`)");
    }
    let rows: Vec<Vec<String>> = outcomes
        .iter()
        .map(|outcome| {
            vec![
                outcome.name.to_owned(),
                outcome.acked.to_string(),
                format!("{:.1}", outcome.acking.as_secs_f64()),
                outcome.arrived.to_string(),
                (outcome.acked - outcome.arrived).to_string(),
                outcome.repeated.to_string(),
            ]
        })
        .collect();
    println!("\noutage: one sensor, QoS 1, headquarters away, kill -9 of the hub, headquarters back\n");
    println!("{}", report::table(&["", "acked", "in s", "arrived", "lost", "repeated"], &rows));
    let documents: Vec<Value> = outcomes
        .iter()
        .map(|outcome| {
            json!({
                "name": outcome.name,
                "acked": outcome.acked,
                "acking_s": outcome.acking.as_secs_f64(),
                "arrived": outcome.arrived,
                "repeated": outcome.repeated,
            })
        })
        .collect();
    let path = report::write("outage", &json!({ "bench": "outage", "contenders": documents }))
        .context("failed to write the result")?;
    println!("written to {}", path.display());
    ensure!(
        outcomes[0].arrived == outcomes[0].acked && outcomes[0].repeated == 0,
        "storehub lost or repeated acknowledged readings"
    );
    Ok(())
}

/// An address where nobody listens.
fn nobody() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

async fn acknowledge(sensor: &mut Publisher) -> Result<Duration> {
    let start = Instant::now();
    timeout(DRAIN_MAX, sensor.publish_until_acked(READINGS))
        .await
        .context("readings were not acknowledged in time")?;
    Ok(start.elapsed())
}

async fn ours() -> Result<Outcome> {
    let link = Link::to(nobody()?).await;
    let hub = HubSetup::new().anonymous().upstream(link.addr()).start().await;
    let mut sensor = Publisher::new(hub.mqtt, Version::V311, SENSOR, None);
    let acking = acknowledge(&mut sensor).await?;
    let hub = hub.kill().await.start().await;
    let headquarters = Hq::start().await;
    link.retarget(headquarters.mqtt);
    let counts = settled(
        async || headquarters.folder.readings(STORE).unwrap_or_default(),
        |rows| rows.values().map(|count| *count as usize).sum(),
    )
    .await;
    hub.stop().await;
    let counts = counts.into_iter().map(|((_, seq), count)| (seq, count)).collect();
    Ok(outcome("storehub-gateway → storehub-hq", &sensor, acking, &counts))
}

/// Asks until everything is there or nothing has changed for [`SILENCE_MAX`].
async fn settled<T>(mut ask: impl AsyncFnMut() -> T, count: impl Fn(&T) -> usize) -> T {
    let deadline = Instant::now() + DRAIN_MAX;
    let (mut last, mut changed_at) = (0, Instant::now());
    loop {
        let seen = ask().await;
        let now = Instant::now();
        if count(&seen) != last {
            (last, changed_at) = (count(&seen), now);
        }
        if READINGS <= last || SILENCE_MAX < now - changed_at || deadline < now {
            return seen;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn bridge(setting: Setting) -> Result<Outcome> {
    let link = Link::to(nobody()?).await;
    let mut edge = Mosquitto::start(setting, Some(link.addr())).await.context("mosquitto at the edge")?;
    let mut sensor = Publisher::new(edge.addr, Version::V311, SENSOR, None);
    let acking = acknowledge(&mut sensor).await?;
    edge.kill_and_start_again().await.context("mosquitto at the edge")?;
    // The sink only passes on to a subscriber that is there before the bridge is.
    let sink = Mosquitto::start(Setting::Default, None).await.context("mosquitto at headquarters")?;
    let (mut reader, code) = RawClient::log_in(sink.addr, Version::V311, "headquarters", None).await?;
    ensure!(code == 0, "the sink refused its subscriber with CONNACK {code}");
    reader.send(&raw::subscribe(Version::V311, 1, "sensors/#")).await?;
    reader.answer().await?;
    link.retarget(sink.addr);
    let mut counts: BTreeMap<u64, u32> = BTreeMap::new();
    while counts.len() < READINGS {
        let Ok(Ok(packet)) = timeout(SILENCE_MAX, reader.reader.next()).await else { break };
        if packet.kind() != kind::PUBLISH {
            continue;
        }
        let topic_len = usize::from(u16::from_be_bytes([packet.body[0], packet.body[1]]));
        let mut payload = &packet.body[2 + topic_len..];
        if packet.first & 0b0110 != 0 {
            reader.send(&[0x40, 2, payload[0], payload[1]]).await?;
            payload = &payload[2..];
        }
        let payload: Value = serde_json::from_slice(payload).context("a reading is JSON")?;
        *counts.entry(payload["seq"].as_u64().context("a reading has a seq")?).or_default() += 1;
    }
    Ok(outcome(setting.name(), &sensor, acking, &counts))
}

fn outcome(name: &'static str, sensor: &Publisher, acking: Duration, counts: &BTreeMap<u64, u32>) -> Outcome {
    let arrived = sensor.acked().iter().filter(|seq| counts.contains_key(seq)).count();
    let repeated = counts.values().filter(|count| 1 < **count).count();
    Outcome { name, acked: sensor.acked().len(), acking, arrived, repeated }
}
