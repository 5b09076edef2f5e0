//! `storehub-hq`: the command line of headquarters' receiver.

use std::{
    io::{IsTerminal as _, Write as _},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use hq::{
    app::Hq,
    config::{Config, ConfigError, Mqtt},
};
use tokio::signal::unix::{SignalKind, signal};

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
    /// Run until SIGTERM or Ctrl-C.
    Serve {
        /// The configuration file; see `hq.example.toml`.
        #[arg(long)]
        config: PathBuf,
    },
    /// Read the configuration, say what is wrong with it, and change nothing.
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
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let result = match cli.command {
        Command::Serve { config } => load(&config).and_then(serve),
        Command::Check { config } => load(&config).and_then(|config| check(&config)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("storehub-hq: {error:#}");
            if error.chain().any(|cause| cause.is::<ConfigError>()) {
                ExitCode::from(EX_CONFIG)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn load(path: &std::path::Path) -> anyhow::Result<Config> {
    Ok(Config::load(path)?)
}

fn check(config: &Config) -> anyhow::Result<()> {
    let dir = config.database.parent().filter(|dir| !dir.as_os_str().is_empty());
    if let Some(dir) = dir {
        let found = std::fs::metadata(dir)
            .with_context(|| format!("`database.url`: the directory `{}` cannot be used", dir.display()))?;
        anyhow::ensure!(found.is_dir(), "`database.url`: `{}` is no directory", dir.display());
    }
    let mqtt = match &config.mqtt {
        Mqtt::Embedded { listen, .. } => format!("embedded broker on {listen}"),
        Mqtt::External(external) => format!("broker {}:{}", external.host, external.port),
    };
    println!("ok: {mqtt}, database `{}`, HTTP on {}", config.database.display(), config.http);
    Ok(())
}

fn serve(config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("hq-worker")
        .build()
        .context("failed to start the runtime")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("failed to watch for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("failed to watch for SIGINT")?;
        let mut hq = Hq::start(config).await?;
        if let Some(addr) = hq.mqtt_addr() {
            listening("mqtt", addr)?;
        }
        listening("http", hq.http_addr())?;
        let failure = tokio::select! {
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
            reason = hq.failure() => Some(reason),
        };
        tracing::info!("draining");
        hq.shutdown().await;
        match failure {
            Some(reason) => Err(anyhow::anyhow!("{reason}; start headquarters anew")),
            None => Ok(()),
        }
    })
}

/// One line for whoever started us: tests and supervisors read the address from it.
fn listening(what: &str, addr: SocketAddr) -> anyhow::Result<()> {
    let line = serde_json::json!({ "listening": what, "addr": addr.to_string() });
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).context("failed to write to stdout")
}
