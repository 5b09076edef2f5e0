//! `storehub-hq`: the command line of headquarters' receiver.

use std::{
    io::{self, IsTerminal as _, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use hq::{
    app::Hq,
    check::{self, Findings},
    config::{Config, ConfigError, Mqtt},
};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The configuration is wrong (BSD `EX_CONFIG`).
const EX_CONFIG: u8 = 78;

/// Takes every store's batches into a database and shows the fleet.
#[derive(Parser)]
#[command(
    name = "storehub-hq",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong arguments, 78 the configuration is wrong."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run until SIGTERM, SIGINT or SIGHUP.
    Serve {
        /// The configuration file; see `hq.example.toml`.
        #[arg(long)]
        config: PathBuf,
    },
    /// Say what is wrong with the configuration and what would stop a start here and now; change nothing.
    Check {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,rumqttd=warn,rumqttc=warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        // Whoever read our log may have gone. To complain about that to the same stderr would be a panic.
        .log_internal_errors(false)
        .init();
    let result = match cli.command {
        Command::Serve { config } => serve(&config),
        Command::Check { config } => check(&config),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("storehub-hq: {error:#}"));
            if error.chain().any(|cause| cause.is::<ConfigError>()) {
                ExitCode::from(EX_CONFIG)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

/// Writes a line for people. A closed stderr is nobody's problem.
fn complain(text: &str) {
    writeln!(io::stderr(), "{text}").ok();
}

/// Writes a line to stdout.
fn say(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush())
}

fn check(path: &Path) -> anyhow::Result<()> {
    let config = Config::load(path)?;
    let Findings { problems, warnings } = check::findings(path, &config);
    for warning in warnings {
        complain(&format!("warning: {warning}"));
    }
    for problem in &problems {
        complain(&format!("problem: {problem}"));
    }
    anyhow::ensure!(problems.is_empty(), "headquarters would not start here and now");
    let mqtt = match &config.mqtt {
        Mqtt::Embedded { listen, .. } => format!("embedded broker on {listen}"),
        Mqtt::External(external) => format!("broker {}:{}", external.host, external.port),
    };
    say(&format!("ok: {mqtt}, database `{}`, HTTP on {}", config.database.display(), config.http))
        .context("failed to write to stdout")
}

fn serve(path: &Path) -> anyhow::Result<()> {
    let config = Config::load(path)?;
    for warning in check::warnings(path, &config) {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("hq-worker")
        .build()
        .context("failed to start the runtime")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("failed to watch for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("failed to watch for SIGINT")?;
        let mut hangup = match is_hangup_ignored() {
            true => None,
            false => Some(signal(SignalKind::hangup()).context("failed to watch for SIGHUP")?),
        };
        let mut hq = Hq::start(config).await?;
        let (mqtt, http) = (hq.mqtt_addr(), hq.http_addr());
        if let Some(addr) = mqtt {
            listening("mqtt", addr);
        }
        listening("http", http);
        tracing::info!(?mqtt, %http, version = env!("CARGO_PKG_VERSION"), "headquarters serves");
        let failure = tokio::select! {
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
            () = hung_up(hangup.as_mut()) => None,
            reason = hq.failure() => Some(reason),
        };
        tracing::info!("draining");
        hq.shutdown().await;
        tracing::info!("headquarters has ended");
        match failure {
            Some(reason) => Err(anyhow::anyhow!("{reason}; start headquarters anew")),
            None => Ok(()),
        }
    })
}

/// One line for whoever started us: tests and supervisors read the address from it. Stores are served without a reader
/// too.
fn listening(what: &str, addr: SocketAddr) {
    let line = serde_json::json!({ "listening": what, "addr": addr.to_string() });
    if let Err(error) = say(&line.to_string()) {
        tracing::warn!(what, %addr, %error, "nobody reads stdout, where the address is said");
    }
}

/// Whether whoever started this process had SIGHUP ignored, as `nohup` does: then it stays so.
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // SIGHUP is signal 1, which is bit 0.
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 != 0)
}

/// A terminal that closes ends headquarters as SIGTERM does: drained.
async fn hung_up(hangup: Option<&mut Signal>) {
    match hangup {
        Some(hangup) => drop(hangup.recv().await),
        None => std::future::pending().await,
    }
}
