//! Durable intake: how many QoS 1 messages per second are acknowledged, how fast, and with how much memory.

use std::{fs, io, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::{
    bench::{
        load::{Load, Measured, PAYLOAD_BYTES, PAYLOAD_MARK, drive},
        mosquitto::{Mosquitto, Setting},
        report,
    },
    harness::{Hub, HubSetup, counter},
    raw::{self, RawClient, Version, kind},
};

/// The promise: at least this many per second, and this many times mosquitto's durable setting.
const GOAL_PER_SECOND: f64 = 5_000.0;
const GOAL_RATIO: f64 = 20.0;
const GOAL_P99: Duration = Duration::from_millis(50);
const GOAL_RESIDENT_MIB: f64 = 64.0;
const MEMORY_EVERY: Duration = Duration::from_millis(250);

/// One contender over all rounds.
#[derive(Debug, Default)]
struct Contender {
    name: &'static str,
    per_second: Vec<f64>,
    p50_ms: Vec<f64>,
    p99_ms: Vec<f64>,
    resident_mib: f64,
}

impl Contender {
    fn new(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    fn add(&mut self, measured: &Measured, resident_bytes: u64) {
        self.per_second.push(measured.per_second);
        self.p50_ms.push(measured.latency(0.5).as_secs_f64() * 1e3);
        self.p99_ms.push(measured.latency(0.99).as_secs_f64() * 1e3);
        #[expect(clippy::cast_precision_loss, reason = "bytes of one process")]
        let mib = resident_bytes as f64 / f64::from(1 << 20);
        self.resident_mib = self.resident_mib.max(mib);
    }
}

/// Runs all contenders in turn, `rounds` times.
///
/// # Errors
/// When a contender cannot be started or fails under load.
pub async fn run(load: Load, rounds: u32) -> Result<()> {
    let with_mosquitto = Mosquitto::is_installed();
    let mut ours = Contender::new("storehub-gateway (fsync before PUBACK)");
    let mut away = Contender::new("mosquitto durable, reader away");
    let mut durable = Contender::new("mosquitto durable, reader connected");
    let mut default = Contender::new("mosquitto default, reader connected");
    for round in 1..=rounds {
        println!("round {round} of {rounds}");
        let hub = HubSetup::new().anonymous().start().await;
        let (measured, resident) =
            under_load(load, hub.mqtt, || hub.running.id()).await.context("storehub-gateway")?;
        kept(&hub, &measured).await?;
        ours.add(&measured, resident);
        hub.stop().await;
        if with_mosquitto {
            for (setting, is_reading, contender) in [
                (Setting::Durable, false, &mut away),
                (Setting::Durable, true, &mut durable),
                (Setting::Default, true, &mut default),
            ] {
                let mosquitto = Mosquitto::start(setting, None).await.context("mosquitto")?;
                let reader = reader(mosquitto.addr).await.context("mosquitto's reader")?;
                if !is_reading {
                    reader.abort();
                }
                let (measured, resident) =
                    under_load(load, mosquitto.addr, || mosquitto.id()).await.context(setting.name())?;
                contender.add(&measured, resident);
                reader.abort();
            }
        }
    }
    let contenders: Vec<&Contender> =
        if with_mosquitto { vec![&ours, &away, &durable, &default] } else { vec![&ours] };
    show(load, rounds, &contenders)
}

/// The hub must have in its journal what it acknowledged, and must have taken it for readings.
async fn kept(hub: &Hub, measured: &Measured) -> Result<()> {
    let status = hub.folder.status().await.map_err(anyhow::Error::msg)?;
    let (records, rejected) = (counter(&status, "journal.records"), counter(&status, "publishes_rejected"));
    ensure!(
        measured.acked <= records,
        "{} were acknowledged, the journal has {records} records",
        measured.acked
    );
    ensure!(rejected == 0, "{rejected} readings were rejected: {}", status["rejections"]);
    // Not only by its own word: every payload stands in its files.
    let on_disk =
        payloads_in(&hub.folder.data_dir().join("journal")).context("failed to read the hub's journal")?;
    ensure!(
        measured.acked <= on_disk,
        "{} were acknowledged, the journal's files have {on_disk}",
        measured.acked
    );
    Ok(())
}

/// How often a payload's closing words stand in the files of a folder.
fn payloads_in(folder: &Path) -> io::Result<u64> {
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            let bytes = fs::read(path)?;
            let starts = bytes.windows(PAYLOAD_MARK.len()).filter(|window| *window == PAYLOAD_MARK);
            count += u64::try_from(starts.count()).map_err(io::Error::other)?;
        }
    }
    Ok(count)
}

/// Headquarters' reader at mosquitto: a session that is kept, with QoS 1, that takes and acknowledges everything.
///
/// Without one, mosquitto keeps no message at all and acknowledges what it has thrown away, in any setting. With one that
/// is away it keeps every message, which is what the hub does.
async fn reader(broker: std::net::SocketAddr) -> io::Result<tokio::task::JoinHandle<()>> {
    let mut client = RawClient::open(broker, Version::V311).await?;
    client.send(&raw::connect_to_keep("headquarters")).await?;
    client.answer().await?;
    client.send(&raw::subscribe(Version::V311, 1, "sensors/#")).await?;
    client.answer().await?;
    Ok(tokio::spawn(async move {
        let mut acks = Vec::new();
        while let Ok(packet) = client.reader.next().await {
            if packet.kind() == kind::PUBLISH && packet.first & 0b0110 != 0 {
                let at = 2 + usize::from(u16::from_be_bytes([packet.body[0], packet.body[1]]));
                acks.extend([0x40, 2, packet.body[at], packet.body[at + 1]]);
            }
            if !client.reader.has_more() && !acks.is_empty() {
                if client.send(&acks).await.is_err() {
                    return;
                }
                acks.clear();
            }
        }
    }))
}

async fn under_load(
    load: Load,
    broker: std::net::SocketAddr,
    id: impl Fn() -> Option<u32>,
) -> io::Result<(Measured, u64)> {
    let driving = drive(broker, load);
    tokio::pin!(driving);
    let mut resident = 0;
    let mut look = tokio::time::interval(MEMORY_EVERY);
    loop {
        tokio::select! {
            measured = &mut driving => return Ok((measured?, resident)),
            _ = look.tick() => resident = resident.max(id().map_or(0, resident_bytes)),
        }
    }
}

fn resident_bytes(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}

fn show(load: Load, rounds: u32, contenders: &[&Contender]) -> Result<()> {
    let rows: Vec<Vec<String>> = contenders
        .iter()
        .map(|contender| {
            let median = |values: &[f64]| report::median(values.to_vec());
            vec![
                contender.name.to_owned(),
                format!("{:.0}", median(&contender.per_second)),
                format!("{:.1}", median(&contender.p50_ms)),
                format!("{:.1}", median(&contender.p99_ms)),
                format!("{:.1}", contender.resident_mib),
            ]
        })
        .collect();
    println!(
        "\nintake: {} publishers, QoS 1, {PAYLOAD_BYTES} B, {} in flight each, {} s measured, median of {rounds} rounds\n",
        load.publishers,
        load.in_flight,
        load.measured.as_secs()
    );
    println!(
        "mosquitto's reader has a kept QoS 1 session; without any reader mosquitto throws away what it acknowledges\n"
    );
    println!("{}", report::table(&["", "msg/s", "p50 PUBACK ms", "p99 PUBACK ms", "RSS MiB (max)"], &rows));

    let ours = contenders[0];
    let per_second = report::median(ours.per_second.clone());
    let p99_ms = report::median(ours.p99_ms.clone());
    let over = |contender: &&Contender| per_second / report::median(contender.per_second.clone());
    let ratio = contenders.get(1).map(over);
    let ratio_reading = contenders.get(2).map(over);
    let verdict = |reached: bool| if reached { "reached" } else { "MISSED" };
    println!("at least {GOAL_PER_SECOND:.0} msg/s: {}", verdict(GOAL_PER_SECOND <= per_second));
    match ratio {
        Some(ratio) => println!(
            "at least {GOAL_RATIO:.0}x mosquitto durable: {} ({ratio:.1}x)",
            verdict(GOAL_RATIO <= ratio)
        ),
        None => println!("mosquitto is not installed: nothing to compare with (`cargo xtask setup`)"),
    }
    println!("p99 PUBACK at most {GOAL_P99:?}: {}", verdict(p99_ms <= GOAL_P99.as_secs_f64() * 1e3));
    println!(
        "hub's memory at most {GOAL_RESIDENT_MIB} MiB: {}",
        verdict(ours.resident_mib <= GOAL_RESIDENT_MIB)
    );

    let result = json!({
        "bench": "intake",
        "publishers": load.publishers,
        "in_flight": load.in_flight,
        "payload_bytes": PAYLOAD_BYTES,
        "seconds": load.measured.as_secs(),
        "rounds": rounds,
        "ratio_to_durable_reader_away": ratio,
        "ratio_to_durable_reader_connected": ratio_reading,
        "contenders": contenders.iter().map(|contender| json!({
            "name": contender.name,
            "per_second": contender.per_second,
            "p50_ms": contender.p50_ms,
            "p99_ms": contender.p99_ms,
            "resident_mib_max": contender.resident_mib,
        })).collect::<Vec<_>>(),
    });
    let path = report::write("intake", &result).context("failed to write the result")?;
    println!("written to {}", path.display());
    Ok(())
}
