//! Durable intake: how many QoS 1 messages per second are acknowledged, how fast, and with how much memory.

use std::{io, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::{
    bench::{
        load::{Load, Measured, PAYLOAD_BYTES, drive},
        mosquitto::{Mosquitto, Setting},
        report,
    },
    harness::{Hub, HubSetup},
};

/// Issue of the promise: at least this many per second, and this many times mosquitto's durable setting.
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
    let mut durable = Contender::new(Setting::Durable.name());
    let mut default = Contender::new(Setting::Default.name());
    for round in 1..=rounds {
        println!("round {round} of {rounds}");
        let hub = HubSetup::new().anonymous().start().await;
        let (measured, resident) =
            under_load(load, hub.mqtt, || hub.running.id()).await.context("storehub-gateway")?;
        ours.add(&measured, resident);
        end(hub).await;
        if with_mosquitto {
            for (setting, contender) in [(Setting::Durable, &mut durable), (Setting::Default, &mut default)] {
                let mosquitto = Mosquitto::start(setting, None).await.context("mosquitto")?;
                let (measured, resident) =
                    under_load(load, mosquitto.addr, || mosquitto.id()).await.context(setting.name())?;
                contender.add(&measured, resident);
            }
        }
    }
    let contenders: Vec<&Contender> =
        if with_mosquitto { vec![&ours, &durable, &default] } else { vec![&ours] };
    show(load, rounds, &contenders)
}

async fn end(hub: Hub) {
    hub.stop().await;
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
    println!("{}", report::table(&["", "msg/s", "p50 PUBACK ms", "p99 PUBACK ms", "RSS MiB (max)"], &rows));

    let ours = contenders[0];
    let per_second = report::median(ours.per_second.clone());
    let p99_ms = report::median(ours.p99_ms.clone());
    let ratio = contenders.get(1).map(|durable| per_second / report::median(durable.per_second.clone()));
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
        "ratio_to_durable": ratio,
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
