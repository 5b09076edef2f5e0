//! The command line: `run`, `check`, `device add|list|remove`, `status`, `locker open|resolve`, `help-done`.
//!
//! Owns: arguments, what is printed, exit codes. Machine-readable output goes to stdout, words for people to stderr.

mod check;

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use contract::{
    DeviceId, KioskId,
    order::Place,
    upstream::{CommandResult, CommandState},
};
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    app::{DataDir, Gateway, Question},
    clock::{Clock as _, SystemClock},
    config::{Config, ConfigError},
    control::{self, ControlError},
    devices::{Kind, Registry},
    domain::StaffAction,
};

/// Something is wrong that none of the others names.
const EX_FAILURE: u8 = 1;
/// The hub is not running (BSD `EX_UNAVAILABLE`).
const EX_UNAVAILABLE: u8 = 69;
/// A part of the running hub died (BSD `EX_SOFTWARE`).
const EX_SOFTWARE: u8 = 70;
/// The hub is there, and this user may not speak to it (BSD `EX_NOPERM`).
const EX_NOPERM: u8 = 77;
/// The configuration is wrong (BSD `EX_CONFIG`).
const EX_CONFIG: u8 = 78;

/// Worker threads: the hub's machine has two cores, and the journal and the projector have threads of their own.
const WORKER_THREADS: usize = 2;
/// How long a bank has to say what became of its door, and how often the hub is asked whether it has.
const DOOR_ANSWERS_WITHIN: Duration = Duration::from_secs(10);
const DOOR_ASKED_EVERY: Duration = Duration::from_millis(200);

/// The store hub.
#[derive(Debug, Parser)]
#[command(name = "storehub-gateway", version, about, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong arguments, 69 no hub is running, 70 a part of the hub \
died, 77 this user may not, 78 the configuration is wrong.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the hub until SIGTERM, SIGINT or SIGHUP.
    Run(ConfigArg),
    /// Say what would keep the hub from running, without starting it.
    Check(ConfigArg),
    /// Manage devices, also while the hub runs.
    #[command(subcommand)]
    Device(DeviceCommand),
    /// Say how the running hub is.
    Status(StatusArgs),
    /// Do what staff do at the lockers of the running hub.
    #[command(subcommand)]
    Locker(LockerCommand),
    /// A kiosk that has called for help was helped.
    HelpDone {
        /// Which kiosk.
        kiosk: KioskId,
        #[command(flatten)]
        config: ConfigArg,
    },
}

#[derive(Debug, Subcommand)]
enum LockerCommand {
    /// Open a door, or try again at one that is stuck, and wait for what its bank says. Whatever the door then does
    /// counts for the order behind it.
    Open {
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// A stuck door works again: its order is ready.
    Resolve {
        #[command(flatten)]
        place: PlaceArgs,
    },
}

#[derive(Debug, Args)]
struct PlaceArgs {
    /// The bank's controller.
    bank: DeviceId,
    /// The number on the door.
    compartment: u16,
    #[command(flatten)]
    config: ConfigArg,
}

#[derive(Debug, Args)]
struct ConfigArg {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "gateway.toml")]
    config: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct StatusArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Also print who was refused lately and why: logins, topics, payloads, each with what to do.
    #[arg(long)]
    rejections: bool,
}

#[derive(Debug, Subcommand)]
enum DeviceCommand {
    /// Admit a device and print its secret, which is shown this once. User name and client id are its id.
    Add {
        /// `[a-z0-9-]{1,64}`
        id: String,
        /// What it is; decides what it may touch.
        #[arg(long)]
        kind: Kind,
        #[command(flatten)]
        config: ConfigArg,
    },
    /// Print every device.
    List(ConfigArg),
    /// Remove a device; a running hub closes its connections and forgets what it has retained about it.
    Remove {
        /// Its id.
        id: String,
        /// Also a bank of lockers that holds open orders.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        config: ConfigArg,
    },
}

/// The process: parses arguments, does what they say, and gives the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Run(args) => run(&args.config),
        Command::Check(args) => check::check(&args.config, args.json),
        Command::Device(command) => device(command),
        Command::Status(args) => status(&args),
        Command::Locker(LockerCommand::Open { place }) => open(&place),
        Command::Locker(LockerCommand::Resolve { place }) => {
            act(&place.config, &StaffAction::Resolve(place.place()))
        }
        Command::HelpDone { kiosk, config } => act(&config, &StaffAction::HelpDone { kiosk }),
    };
    done.unwrap_or_else(|error| {
        complain(&format!("error: {error:#}"));
        let may_not = |cause: &(dyn std::error::Error + 'static)| {
            matches!(cause.downcast_ref(), Some(ControlError::NotPermitted { .. }))
        };
        let no_hub = |cause: &(dyn std::error::Error + 'static)| {
            matches!(cause.downcast_ref(), Some(ControlError::NotRunning { .. }))
        };
        let code = match &error {
            error if error.chain().any(|cause| cause.is::<ConfigError>()) => EX_CONFIG,
            error if error.chain().any(may_not) => EX_NOPERM,
            error if error.chain().any(no_hub) => EX_UNAVAILABLE,
            _ => EX_FAILURE,
        };
        ExitCode::from(code)
    })
}

/// Writes a line for people. A closed stderr is nobody's problem.
fn complain(text: &str) {
    writeln!(io::stderr(), "{text}").ok();
}

/// Writes a line to stdout.
fn say(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).context("failed to write to stdout")
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .thread_name("gateway-worker")
        .enable_all()
        .build()
        .context("failed to start the runtime")
}

fn run(config_file: &Path) -> anyhow::Result<ExitCode> {
    let config = Config::from_file(config_file)?;
    let filter = tracing_subscriber::EnvFilter::try_from_env("STOREHUB_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,sled=warn,rumqttd=warn,rumqttc=warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        // Said on stderr, and by a panic where nobody reads it any more: the hub outlives whoever reads its log.
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal())
        .init();
    runtime()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
        let mut hangup = match is_hangup_ignored() {
            true => None,
            false => Some(signal(SignalKind::hangup()).context("failed to listen for SIGHUP")?),
        };
        let clock = Arc::new(SystemClock::start());
        let store = config.store.clone();
        let mut gateway =
            Gateway::start(config, config_file, clock).await.context("the hub did not start")?;
        let addrs = gateway.addrs();
        for (name, addr) in [("mqtt", addrs.mqtt), ("http", addrs.http)] {
            if let Some(addr) = addr {
                // For whoever waits for it; the hub does not depend on being heard.
                say(&format!("{{\"listening\":\"{name}\",\"addr\":\"{addr}\"}}")).ok();
            }
        }
        tracing::info!(%store, mqtt = ?addrs.mqtt, http = ?addrs.http, "the hub runs");
        let failed = tokio::select! {
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
            () = hung_up(hangup.as_mut()) => None,
            part = gateway.failure() => Some(part),
        };
        if let Some(part) = failed {
            tracing::error!(part, "a part of the hub died; ending, so that it is started anew");
        }
        gateway.shutdown().await;
        tracing::info!("the hub has ended");
        Ok(if failed.is_some() { ExitCode::from(EX_SOFTWARE) } else { ExitCode::SUCCESS })
    })
}

/// Whether whoever started this process had SIGHUP ignored, as `nohup` does: then it stays so.
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // SIGHUP is signal 1, which is bit 0.
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 != 0)
}

/// A terminal that closes ends the hub as SIGTERM does: drained.
async fn hung_up(hangup: Option<&mut Signal>) {
    match hangup {
        Some(hangup) => drop(hangup.recv().await),
        None => std::future::pending().await,
    }
}

fn device(command: DeviceCommand) -> anyhow::Result<ExitCode> {
    match command {
        DeviceCommand::Add { id, kind, config: ConfigArg { config, json } } => {
            let registry = Registry::in_dir(&Config::from_file(&config)?.data_dir);
            let secret = registry.add(&id, kind, SystemClock::start().now())?;
            if json {
                say(&json!({ "id": id, "kind": kind.as_str(), "secret": secret }).to_string())?;
            } else {
                say(&format!("user name and client id: {id}\nsecret: {secret}"))?;
                complain("The secret is the MQTT password. It is shown this once.");
            }
        }
        DeviceCommand::List(ConfigArg { config, json }) => {
            let devices = Registry::in_dir(&Config::from_file(&config)?.data_dir).read()?;
            if json {
                let devices: Vec<_> = devices
                    .values()
                    .map(|device| {
                        json!({ "id": device.id, "kind": device.kind.as_str(), "added_at": device.added_at })
                    })
                    .collect();
                say(&Value::from(devices).to_string())?;
            } else {
                for device in devices.values() {
                    say(&format!(
                        "{:<24} {:<8} {}",
                        device.id.as_str(),
                        device.kind.as_str(),
                        device.added_at
                    ))?;
                }
            }
        }
        DeviceCommand::Remove { id, force, config: ConfigArg { config, json } } => {
            let data_dir = Config::from_file(&config)?.data_dir;
            let registry = Registry::in_dir(&data_dir);
            if !force && registry.read()?.get(&id).is_some_and(|device| device.kind == Kind::Locker) {
                holds_no_order(&data_dir, &id)?;
            }
            registry.remove(&id)?;
            if json {
                say(&json!({ "id": id, "removed": true }).to_string())?;
            } else {
                say(&format!("{id} is removed"))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn status(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let config = Config::from_file(&args.config.config)?;
    let answer = runtime()?.block_on(control::ask(&config.data_dir));
    match answer {
        Ok(status) if args.config.json => {
            say(&status.to_string())?;
            Ok(ExitCode::SUCCESS)
        }
        Ok(status) => {
            say(&for_people(&status, args.rejections))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error @ ControlError::NotRunning { .. }) => {
            complain(&format!("{error}"));
            let disk = from_disk(&config);
            say(&if args.config.json { disk.to_string() } else { for_people(&disk, false) })?;
            Ok(ExitCode::from(EX_UNAVAILABLE))
        }
        Err(error) => Err(error.into()),
    }
}

impl PlaceArgs {
    fn place(&self) -> Place {
        Place { bank: self.bank.clone(), compartment: self.compartment }
    }
}

/// Tells the running hub what staff do.
fn act(args: &ConfigArg, action: &StaffAction) -> anyhow::Result<ExitCode> {
    let config = Config::from_file(&args.config)?;
    runtime()?.block_on(tell(&config.data_dir, action))?;
    say(if args.json { "{\"done\":true}" } else { "done" })?;
    Ok(ExitCode::SUCCESS)
}

/// Has a door opened, and waits for what its bank says.
fn open(args: &PlaceArgs) -> anyhow::Result<ExitCode> {
    let config = Config::from_file(&args.config.config)?;
    let place = args.place();
    let Place { bank, compartment } = &place;
    let result = runtime()?.block_on(async {
        let answer = tell(&config.data_dir, &StaffAction::Open(place.clone())).await?;
        if answer["is_open"] == true {
            complain(&format!("compartment {compartment} of `{bank}` is open already"));
            return Ok(Some(CommandResult { state: CommandState::Done, reason: None }));
        }
        let command = answer["command"].as_str().context("the hub did not say which command it gave")?;
        door_result(&config.data_dir, bank, command).await
    })?;
    let seconds = DOOR_ANSWERS_WITHIN.as_secs();
    match result {
        Some(CommandResult { state: CommandState::Done, .. }) => {
            say(if args.config.json { "{\"done\":true}" } else { "done" })?;
            Ok(ExitCode::SUCCESS)
        }
        Some(CommandResult { state: CommandState::Accepted, .. }) => anyhow::bail!(
            "bank `{bank}` has accepted the command and did not say within {seconds} s whether compartment \
             {compartment} has opened"
        ),
        Some(CommandResult { state: CommandState::Failed, reason }) => anyhow::bail!(
            "bank `{bank}` did not open compartment {compartment}: {}",
            printable(reason.as_deref().unwrap_or("it did not say why"))
        ),
        None => anyhow::bail!(
            "bank `{bank}` did not answer within {seconds} s: look whether compartment {compartment} has opened"
        ),
    }
}

/// How a door command went, or how far it was when the time was over.
async fn door_result(
    data_dir: &Path,
    bank: &DeviceId,
    command: &str,
) -> anyhow::Result<Option<CommandResult>> {
    let question = Question::DoorResult { bank: bank.clone(), command: command.to_owned() };
    let question = serde_json::to_value(question).context("failed to write the question as JSON")?;
    let until = tokio::time::Instant::now() + DOOR_ANSWERS_WITHIN;
    loop {
        let mut answer = control::tell(data_dir, &question).await?;
        let result = serde_json::from_value::<Option<CommandResult>>(answer["result"].take())
            .context("the hub did not answer as expected")?;
        let is_final = result.as_ref().is_some_and(|result| result.state != CommandState::Accepted);
        if is_final || until <= tokio::time::Instant::now() {
            return Ok(result);
        }
        tokio::time::sleep(DOOR_ASKED_EVERY).await;
    }
}

/// Gives the hub an action; what it refuses is an error.
async fn tell(data_dir: &Path, action: &StaffAction) -> anyhow::Result<Value> {
    let question = serde_json::to_value(action).context("failed to write the action as JSON")?;
    let answer = control::tell(data_dir, &question).await?;
    match answer["error"].as_str() {
        Some(error) => anyhow::bail!("{error}"),
        None => Ok(answer),
    }
}

/// Refuses a bank that holds open orders, as far as a running hub can tell.
fn holds_no_order(data_dir: &Path, id: &str) -> anyhow::Result<()> {
    let bank = DeviceId::parse(id).with_context(|| format!("`{id}` is no device's id"))?;
    let question = serde_json::to_value(Question::OrdersAt { bank }).context("failed to write JSON")?;
    match runtime()?.block_on(control::tell(data_dir, &question)) {
        Ok(answer) => {
            let orders: Vec<&str> =
                answer["orders"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            anyhow::ensure!(
                orders.is_empty(),
                "`{id}` holds {} open orders: {}; --force removes it all the same",
                orders.len(),
                orders.join(", ")
            );
            Ok(())
        }
        Err(ControlError::NotRunning { .. }) => {
            complain(&format!("no hub runs: whether `{id}` holds open orders was not checked"));
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// What the disk says about a hub that does not run.
fn from_disk(config: &Config) -> Value {
    let dir = DataDir::new(&config.data_dir);
    let files = |path: &Path, extension: &str| {
        let entries = std::fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
        let named = entries.filter(|entry| entry.path().extension().is_some_and(|found| found == extension));
        named
            .filter_map(|entry| entry.metadata().ok())
            .fold((0_u64, 0_u64), |(count, bytes), metadata| (count + 1, bytes + metadata.len()))
    };
    let (segments, bytes) = files(&dir.journal(), "seg");
    let (snapshots, _) = files(&dir.projector().snapshots, "snapshot");
    json!({
        "store_id": config.store.as_str(),
        "running": false,
        "data_dir": config.data_dir.display().to_string(),
        "journal": { "segments": segments, "bytes": bytes },
        "store": { "exists": dir.projector().sled.exists(), "snapshots": snapshots },
        "devices": Registry::in_dir(&config.data_dir).read().map(|devices| devices.len()).ok(),
    })
}

/// The document as indented lines, longest lists left to `--rejections`.
fn for_people(status: &Value, with_rejections: bool) -> String {
    let mut lines = Vec::new();
    let Value::Object(fields) = status else { return status.to_string() };
    for (name, value) in fields {
        if name == "rejections" && !with_rejections {
            let count = value.as_array().map_or(0, Vec::len);
            if 0 < count {
                lines.push(format!("{name}: {count} (shown by --rejections)"));
            }
            continue;
        }
        push_lines(&mut lines, 0, name, value);
    }
    lines.join("\n")
}

/// Text that others have chosen, as a line for a terminal: what would steer it, break the line or reorder it is spelt
/// out.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        let is_hidden = matches!(
            c,
            '\u{61C}'
                | '\u{200B}'..='\u{200F}'
                | '\u{2028}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}'
                | '\u{FEFF}'
                | '\u{FFF9}'..='\u{FFFB}'
                | '\u{E0000}'..='\u{E007F}'
        );
        if c.is_control() || is_hidden {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

fn push_lines(lines: &mut Vec<String>, depth: usize, name: &str, value: &Value) {
    let indent = "  ".repeat(depth);
    let shown = printable(name);
    let name = shown.as_str();
    match value {
        Value::Object(fields) => {
            lines.push(format!("{indent}{name}:"));
            for (name, value) in fields {
                // A counter that has not moved says nothing.
                if value != &json!(0) {
                    push_lines(lines, depth + 1, name, value);
                }
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for item in items {
                push_lines(lines, depth, name, item);
            }
        }
        Value::String(text) => lines.push(format!("{indent}{name}: {}", printable(text))),
        Value::Null => {}
        other => lines.push(format!("{indent}{name}: {}", printable(&other.to_string()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_have_chosen_cannot_steer_the_terminal_or_fake_a_line() {
        let evil = "a\u{1b}[2J\r\nadmit: rm\u{202e}\u{9b}31m\u{2066}é";
        let status = json!({
            "rejections": [{ "device": evil, "topic": evil, "payload": evil, evil: [evil] }],
        });
        let shown = for_people(&status, true);
        assert!(
            shown.contains("device: a\\u{1b}[2J\\u{d}\\u{a}admit: rm\\u{202e}\\u{9b}31m\\u{2066}é"),
            "{shown}"
        );
        assert!(
            shown.chars().all(|c| c == '\n' || !(c.is_control() || ('\u{2028}'..='\u{2069}').contains(&c)))
        );
        assert_eq!(shown.lines().filter(|line| line.trim_start().starts_with("admit")).count(), 0);
    }
}
