//! `store-sim`: a simulated store whose sensors are real MQTT clients.
//!
//! Prints one JSON line per second (`{"sent":…,"acked":…,…}`) and a last one with `"done":true`. Whatever happened is in
//! the `--truth` file, to compare with what the hub and headquarters believe.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use contract::{DeviceId, KioskId, StoreId, Timestamp};
use e2e::{
    sim::{
        bank::{self, BankFaults, BankOptions, Change},
        device::{self, Counters, DeviceOptions},
        faults::{Dice, Faults, Order},
        kiosk::SimKiosk,
        plan::Plan,
        shop::{self, ShopOptions},
        truth::{Line, TruthFile},
    },
    world::{Message, World},
};
use serde_json::json;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::{Instant, MissedTickBehavior},
};

/// Orders that wait for one device before the world waits for it.
const ORDERS_WAITING_MAX: usize = 256;
const SPEED_MAX: f64 = 10_000.0;
/// The bank that obeys the hub; the world's own lockers are used by people with keys. The hub fills banks in the order of
/// their names, so this one comes first.
const PICK_UP_BANK: &str = "collect-a";
const PICK_UP_COMPARTMENTS: u16 = 8;
/// Where the courier and the simulated customers type.
const PICK_UP_KIOSK: &str = "kiosk-sim";

/// A simulated store: shelves, lockers, counters and fridges that publish over MQTT.
#[derive(Debug, Parser)]
#[command(name = "store-sim")]
struct Arguments {
    /// Prints the devices as JSON (`[{"id":…,"kind":…},…]`) and ends.
    #[arg(long)]
    devices: bool,
    /// Writes the planogram as the gateway reads it, and ends.
    #[arg(long, value_name = "FILE")]
    planogram: Option<PathBuf>,
    /// What happens in the store follows from this number alone.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Simulated seconds per second.
    #[arg(long, default_value_t = 1.0)]
    speed: f64,
    /// The hub's MQTT address.
    #[arg(long, default_value = "127.0.0.1:1883")]
    broker: SocketAddr,
    /// Ends after this many seconds; without it, on SIGTERM or Ctrl-C.
    #[arg(long)]
    seconds: Option<u64>,
    /// Ends after about this many messages.
    #[arg(long)]
    messages: Option<u64>,
    /// JSON object from device id to secret.
    #[arg(long, value_name = "FILE")]
    credentials: Option<PathBuf>,
    /// Connects without passwords.
    #[arg(long)]
    anonymous: bool,
    /// Writes every message sent and acknowledged, one JSON line each.
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,
    /// Comma-separated: duplicates, clock, garbage, reconnect.
    #[arg(long, default_value = "")]
    faults: Faults,
    /// Messages per second at most, whatever the speed.
    #[arg(long)]
    rate: Option<f64>,
    /// Headquarters' HTTP address: orders are placed there, brought by a courier and picked up. A valid code stands in the
    /// progress lines as `pick_up_code`.
    #[arg(long, value_name = "ADDRESS")]
    orders: Option<SocketAddr>,
    /// The store at headquarters.
    #[arg(long, default_value = "hz-xiasha-01")]
    store: StoreId,
    /// Comma-separated: stuck, never-closes, untouched, lost-result, duplicate-result.
    #[arg(long, default_value = "")]
    locker_faults: BankFaults,
    /// Seconds to wait at the end for acknowledgements.
    #[arg(long, default_value_t = 20)]
    drain_seconds: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("store-sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    let plan = Plan::demo();
    if arguments.devices {
        let mut devices: Vec<_> =
            plan.devices().iter().map(|(id, kind)| json!({"id": id, "kind": kind.as_str()})).collect();
        devices.push(json!({"id": PICK_UP_BANK, "kind": "locker"}));
        devices.push(json!({"id": PICK_UP_KIOSK, "kind": "kiosk"}));
        println!("{}", json!(devices));
        return Ok(());
    }
    if let Some(path) = &arguments.planogram {
        return std::fs::write(path, plan.planogram_toml())
            .with_context(|| format!("failed to write the planogram `{}`", path.display()));
    }
    ensure!(
        0.0 < arguments.speed && arguments.speed <= SPEED_MAX,
        "--speed {} is not within 0 and {SPEED_MAX}",
        arguments.speed
    );
    ensure!(arguments.rate.is_none_or(|rate| 0.0 < rate), "--rate must be more than 0");
    let secrets = secrets(&arguments, &plan)?;
    let truth = TruthFile::create(arguments.truth.clone()).await.with_context(|| {
        format!(
            "failed to create the truth file `{}`",
            arguments.truth.as_deref().unwrap_or("".as_ref()).display()
        )
    })?;
    let counters = Arc::new(Counters::default());
    let mut devices = JoinSet::new();
    let mut inboxes = BTreeMap::new();
    for (index, (id, kind)) in plan.devices().into_iter().enumerate() {
        let (inbox, orders) = mpsc::channel(ORDERS_WAITING_MAX);
        let options = DeviceOptions {
            secret: secrets.get(&id).cloned(),
            kind,
            broker: arguments.broker,
            // Half of a real store's sensors still speak 3.1.1.
            v5: index % 2 == 1,
            drain: Duration::from_secs(arguments.drain_seconds),
            id: id.clone(),
        };
        devices.spawn(device::run(options, orders, truth.sender(), Arc::clone(&counters)));
        inboxes.insert(id, inbox);
    }

    let (shown, code) = watch::channel(None);
    let _shop = match arguments.orders {
        Some(headquarters) => Some(Shop::open(&arguments, headquarters, &secrets, shown)?),
        None => None,
    };
    let mut world = World::new(arguments.seed, plan);
    let mut dice = Dice::new(arguments.seed, arguments.faults);
    live(&arguments, &mut world, &mut dice, &inboxes, &counters, &code).await?;
    for message in world.finish(now()) {
        say(&inboxes, Order::Say(message)).await;
    }
    // Devices end when their orders do and everything is acknowledged.
    drop(inboxes);
    while devices.join_next().await.is_some() {}
    truth.sender().write(Line::World(world.truth())).await;
    truth.close().await.context("failed to write the truth file")?;
    print_progress(&counters, None, true);
    let abandoned = counters.abandoned.load(Ordering::Relaxed);
    if 0 < abandoned {
        bail!("{abandoned} messages were not acknowledged within {} s", arguments.drain_seconds);
    }
    Ok(())
}

/// The lockers, the courier and the customers of orders.
struct Shop {
    _changes: mpsc::Sender<Change>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Shop {
    fn open(
        arguments: &Arguments,
        headquarters: SocketAddr,
        secrets: &BTreeMap<String, String>,
        code: watch::Sender<Option<String>>,
    ) -> Result<Self> {
        for id in [PICK_UP_BANK, PICK_UP_KIOSK] {
            ensure!(
                arguments.anonymous || secrets.contains_key(id),
                "the credentials have no secret for `{id}`"
            );
        }
        let bank = BankOptions {
            id: DeviceId::parse(PICK_UP_BANK).context("the bank's name")?,
            secret: secrets.get(PICK_UP_BANK).cloned(),
            broker: arguments.broker,
            compartments: PICK_UP_COMPARTMENTS,
            opens_after: Duration::from_millis(600),
            closes_after: Duration::from_secs(6),
            faults: arguments.locker_faults,
        };
        let kiosk = KioskId::parse(PICK_UP_KIOSK).context("the kiosk's name")?;
        let secret = secrets.get(PICK_UP_KIOSK).map(String::as_str);
        let kiosk = SimKiosk::connect(kiosk, arguments.broker, secret);
        let options = ShopOptions { headquarters, store: arguments.store.clone(), seed: arguments.seed };
        let (changes, changed) = mpsc::channel(1);
        let tasks = [tokio::spawn(bank::run(bank, changed)), tokio::spawn(shop::run(options, kiosk, code))];
        Ok(Self { _changes: changes, tasks })
    }
}

fn secrets(arguments: &Arguments, plan: &Plan) -> Result<BTreeMap<String, String>> {
    let Some(path) = &arguments.credentials else {
        ensure!(
            arguments.anonymous,
            "give --credentials FILE, or --anonymous where the hub lets everybody in"
        );
        return Ok(BTreeMap::new());
    };
    ensure!(!arguments.anonymous, "--credentials and --anonymous exclude each other");
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("failed to read the credentials `{}`", path.display()))?;
    let secrets: BTreeMap<String, String> = serde_json::from_str(&text)
        .with_context(|| format!("`{}` is no JSON object from device id to secret", path.display()))?;
    for (id, _) in plan.devices() {
        ensure!(secrets.contains_key(&id), "`{}` has no secret for the device `{id}`", path.display());
    }
    Ok(secrets)
}

/// Lets time pass until it is over.
async fn live(
    arguments: &Arguments,
    world: &mut World,
    dice: &mut Dice,
    inboxes: &BTreeMap<String, mpsc::Sender<Order>>,
    counters: &Counters,
    code: &watch::Receiver<Option<String>>,
) -> Result<()> {
    let start = Instant::now();
    let ends_at = arguments.seconds.map(|seconds| start + Duration::from_secs(seconds));
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    let mut second = tokio::time::interval(Duration::from_secs_f64(1.0 / arguments.speed));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut progress = tokio::time::interval(Duration::from_secs(1));
    let mut said = 0_u64;
    loop {
        tokio::select! {
            _ = second.tick() => {}
            _ = progress.tick() => {
                print_progress(counters, code.borrow().as_deref(), false);
                continue;
            }
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
        if ends_at.is_some_and(|at| at <= Instant::now()) {
            return Ok(());
        }
        for message in world.step(now()) {
            for order in dice.roll(message) {
                say(inboxes, order).await;
                said += 1;
            }
            if let Some(rate) = arguments.rate {
                #[expect(clippy::cast_precision_loss, reason = "a count of messages, far below 2^52")]
                let due = start + Duration::from_secs_f64(said as f64 / rate);
                tokio::time::sleep_until(due).await;
            }
        }
        if arguments.messages.is_some_and(|most| most <= said) {
            return Ok(());
        }
    }
}

async fn say(inboxes: &BTreeMap<String, mpsc::Sender<Order>>, order: Order) {
    match order {
        Order::Say(Message { ref device, .. }) | Order::SayGarbage(Message { ref device, .. }) => {
            // A device outlives its inbox.
            inboxes[device].send(order).await.ok();
        }
        // A power cut in the ceiling takes everybody with it: that is what makes a storm.
        Order::Cut => {
            for inbox in inboxes.values() {
                inbox.try_send(Order::Cut).ok();
            }
        }
    }
}

fn print_progress(counters: &Counters, code: Option<&str>, done: bool) {
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{}",
        json!({
            "sent": count(&counters.sent),
            "acked": count(&counters.acked),
            "garbage": count(&counters.garbage),
            "refused": count(&counters.refused),
            "reconnects": count(&counters.reconnects),
            "abandoned": count(&counters.abandoned),
            "pick_up_code": code,
            "done": done,
        })
    );
}

fn now() -> Timestamp {
    Timestamp::saturating_from_millis(jiff::Timestamp::now().as_millisecond())
}
