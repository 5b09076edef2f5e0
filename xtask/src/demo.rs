//! `cargo xtask demo`: headquarters, a hub, a simulated store and a kiosk on one machine, until Ctrl-C.

use std::{
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    children::{Children, StopSign, get_json},
    display,
    places::Places,
    seeding::{STORE, Seeding},
    setup, steps,
};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// On a terminal the line renews itself; in a file a line now and then is enough.
const LINE_IN_FILE_EVERY: u32 = 5;

/// What the user asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Options {
    /// No kiosk, no display.
    pub(crate) headless: bool,
    /// Ends by itself.
    pub(crate) seconds: Option<u64>,
    /// Where to keep the data; a folder that is removed at the end when absent.
    pub(crate) dir: Option<PathBuf>,
    /// Simulated seconds per second.
    pub(crate) speed: u32,
    /// What happens in the store.
    pub(crate) seed: u64,
}

impl Options {
    /// Reads the arguments.
    pub(crate) fn parse(args: &[String]) -> Result<Self> {
        let mut options = Self { headless: false, seconds: None, dir: None, speed: 4, seed: 1 };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("`{arg}` needs a value"));
            match arg.as_str() {
                "--headless" => options.headless = true,
                "--seconds" => options.seconds = Some(number(arg, value()?)?),
                "--dir" => options.dir = Some(PathBuf::from(value()?)),
                "--speed" => options.speed = number(arg, value()?)?,
                "--seed" => options.seed = number(arg, value()?)?,
                other => bail!(
                    "`demo` does not know `{other}`; it has --headless, --seconds N, --dir DIR, --speed N, --seed N"
                ),
            }
        }
        Ok(options)
    }
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T> {
    value.parse().ok().with_context(|| format!("`{name} {value}`: a whole number is needed"))
}

/// Where the parts of a running demonstration are.
#[derive(Debug, Clone)]
pub(crate) struct Addresses {
    /// Headquarters' page and API.
    pub(crate) hq_http: String,
    /// The hub's MQTT listener.
    pub(crate) hub_mqtt: String,
    /// The staff page and the hub's API.
    pub(crate) hub_http: String,
}

/// Runs the demonstration.
pub(crate) fn run(places: &Places, options: &Options) -> Result<()> {
    let extent = if options.headless {
        setup::Extent { screen: false, ..setup::Extent::DEMO }
    } else {
        setup::Extent::DEMO
    };
    println!("==> setup");
    setup::run(places, extent)?;
    println!("==> build");
    let places = &build(places, !options.headless)?;

    let sign = StopSign::of_user()?;
    let (dir, is_temporary) = folder(options);
    let result = live(places, options, &dir, &sign);
    if is_temporary && result.is_ok() {
        std::fs::remove_dir_all(&dir).ok();
    } else {
        println!("    data and logs: {}", dir.display());
    }
    result
}

/// Builds what a demonstration needs, in the profile that compiles fast; gives the places where it lies.
///
/// Cargo joins the features of all that it builds at once, so another selection is another Bevy. With the kiosk the
/// selection is the one of `cargo xtask test`; without it the outputs get a folder of their own.
pub(crate) fn build(places: &Places, kiosk: bool) -> Result<Places> {
    let mut places = places.clone();
    if !kiosk {
        places.target = places.target.join("headless");
    }
    let mut build = places.cargo();
    build.args(["build", "--locked"]);
    if kiosk {
        build.args(["--workspace", "--all-targets"]);
    } else {
        build.args(["--bins", "-p", "storehub-gateway", "-p", "storehub-hq", "-p", "e2e"]);
    }
    steps::call(&mut build)?;
    Ok(places)
}

fn folder(options: &Options) -> (PathBuf, bool) {
    match &options.dir {
        Some(dir) => (dir.clone(), false),
        None => (std::env::temp_dir().join(format!("storehub-demo-{}", std::process::id())), true),
    }
}

fn live(places: &Places, options: &Options, dir: &Path, sign: &StopSign) -> Result<()> {
    println!("==> start");
    let seeding = Seeding::in_dir(places, dir)?;
    let mut children = Children::new(seeding.dir(), sign.clone());
    let addresses = start(&seeding, &mut children, options.speed, options.seed)?;
    if !options.headless {
        start_kiosk(places, &seeding, &mut children, &addresses)?;
    }
    println!("\n    staff page     http://{}/", addresses.hub_http);
    println!("    headquarters   http://{}/", addresses.hq_http);
    println!("    the hub's MQTT {}", addresses.hub_mqtt);
    println!("    stop with Ctrl-C\n");
    let result = watch(&mut children, &addresses, options.seconds, sign);
    println!("\n==> stop");
    children.stop();
    result
}

/// Starts headquarters, the hub and the simulated store.
pub(crate) fn start(
    seeding: &Seeding<'_>,
    children: &mut Children,
    speed: u32,
    seed: u64,
) -> Result<Addresses> {
    seeding.headquarters()?;
    children.start("storehub-hq", seeding.program("storehub-hq").args(["serve", "--config", "hq.toml"]))?;
    let hq_mqtt = children.address("storehub-hq", "mqtt")?;
    let hq_http = children.address("storehub-hq", "http")?;
    seeding.hub(&hq_mqtt)?;
    let credentials = seeding.devices()?;
    children.start(
        "storehub-gateway",
        seeding.program("storehub-gateway").args(["run", "--config", "gateway.toml"]),
    )?;
    let hub_mqtt = children.address("storehub-gateway", "mqtt")?;
    let hub_http = children.address("storehub-gateway", "http")?;
    let mut sim = seeding.program("store-sim");
    sim.args(["--broker", &hub_mqtt, "--speed", &speed.to_string(), "--seed", &seed.to_string()]);
    sim.arg("--credentials").arg(credentials).arg("--truth").arg(seeding.dir().join("truth.jsonl"));
    sim.args(["--orders", &hq_http, "--store", STORE]);
    children.start("store-sim", &mut sim)?;
    Ok(Addresses { hq_http, hub_mqtt, hub_http })
}

fn start_kiosk(
    places: &Places,
    seeding: &Seeding<'_>,
    children: &mut Children,
    addresses: &Addresses,
) -> Result<()> {
    seeding.kiosk(&addresses.hub_mqtt)?;
    let shown = match display::of_user() {
        Some(display) => display,
        None => {
            let display = display::start_virtual(places, children)?;
            println!("    no display here: the kiosk draws on the virtual one, {display}");
            display
        }
    };
    let mut kiosk = seeding.program("storehub-kiosk");
    kiosk.args(["--config", "kiosk.toml", "--windowed"]).env("DISPLAY", shown);
    children.start("storehub-kiosk", &mut kiosk)
}

fn watch(
    children: &mut Children,
    addresses: &Addresses,
    seconds: Option<u64>,
    sign: &StopSign,
) -> Result<()> {
    let start = Instant::now();
    let is_terminal = std::io::stdout().is_terminal();
    let mut looks = 0_u32;
    loop {
        if sign.wait(LOOK_EVERY) || seconds.is_some_and(|seconds| seconds <= start.elapsed().as_secs()) {
            return Ok(());
        }
        children.check()?;
        looks += 1;
        if is_terminal {
            print!("\r    {}\x1b[K", progress(children, addresses));
            std::io::stdout().flush()?;
        } else if looks.is_multiple_of(LINE_IN_FILE_EVERY) {
            println!("    {}", progress(children, addresses));
        }
    }
}

fn progress(children: &Children, addresses: &Addresses) -> String {
    let said = children.last_line("store-sim").and_then(|line| serde_json::from_str::<Value>(&line).ok());
    let acked = said.as_ref().and_then(|line| line["acked"].as_u64()).unwrap_or(0);
    let code = said.as_ref().and_then(|line| line["pick_up_code"].as_str()).unwrap_or("……");
    let rows = get_json(&addresses.hq_http, "/api/stores").map_or(0, |stores| rows_at_headquarters(&stores));
    let store = get_json(&addresses.hub_http, "/api/store").unwrap_or_default();
    let waiting = store["uplink"]["waiting_rows"].as_u64();
    let uplink = if store["uplink"]["online"] == true { "online" } else { "away" };
    let waiting = waiting.map_or_else(|| "?".to_owned(), |rows| rows.to_string());
    format!(
        "{acked} readings acknowledged · {rows} rows at headquarters · {waiting} waiting · headquarters {uplink} · \
         pick-up code {code}"
    )
}

/// All rows of our store over all streams.
fn rows_at_headquarters(stores: &Value) -> u64 {
    let stores = stores.get("stores").unwrap_or(stores).as_array().cloned().unwrap_or_default();
    let ours = stores.iter().find(|store| store["id"] == STORE || store["store"] == STORE);
    let streams = ours.map(|store| store["streams"].clone()).unwrap_or_default();
    let values: Vec<Value> = match streams {
        Value::Array(streams) => streams,
        Value::Object(streams) => streams.into_iter().map(|(_, stream)| stream).collect(),
        _ => Vec::new(),
    };
    values.iter().filter_map(|stream| stream["rows"].as_u64()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_a_wrong_one_is_named() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let options = Options::parse(&words("--headless --seconds 30 --speed 9")).unwrap();
        assert_eq!((options.headless, options.seconds, options.speed), (true, Some(30), 9));
        assert!(Options::parse(&words("--headles")).unwrap_err().to_string().contains("--headles"));
        assert!(Options::parse(&words("--seconds soon")).unwrap_err().to_string().contains("soon"));
    }
}
