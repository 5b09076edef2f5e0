//! `check`: what would keep the hub from running, found without starting it.
//!
//! Owns: the list of checks. Each says what is wrong and what to do. Nothing is left behind but the data folder.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use serde_json::json;

use super::{EX_CONFIG, EX_FAILURE, runtime, say};
use crate::{
    app::{DataDir, DataDirError},
    clock::{Clock as _, SystemClock},
    config::Config,
    devices::Registry,
    projector::chain,
    room,
    upstream::{
        BrokerUrl,
        probe::{Probed, probe},
    },
};

/// 2026-01-01T00:00:00Z: an earlier clock has not been set.
const CLOCK_MS_MIN: i64 = 1_767_225_600_000;
/// 2100-01-01T00:00:00Z.
const CLOCK_MS_MAX: i64 = 4_102_444_800_000;
/// How long headquarters' broker may take to let the store in.
const UPLINK_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Good,
    /// The hub runs, but something is not as it should be.
    Warning,
    Bad,
}

struct Finding {
    what: &'static str,
    outcome: Outcome,
    words: String,
}

pub(super) fn check(config_file: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let config = match Config::from_file(config_file) {
        Ok(config) => config,
        Err(error) => {
            let finding = Finding { what: "config", outcome: Outcome::Bad, words: chain(&error) };
            print(&[finding], json)?;
            return Ok(ExitCode::from(EX_CONFIG));
        }
    };
    let mut findings = vec![good("config", format!("`{}` is valid", config_file.display()))];
    findings.push(planogram(&config, config_file));
    let is_running = data_dir(&config, &mut findings);
    findings.push(disk(&config));
    findings.push(clock());
    findings.push(match Registry::in_dir(&config.data_dir).read() {
        Ok(devices) if devices.is_empty() && !config.anonymous => warning(
            "devices",
            "no device is registered: add one with `storehub-gateway device add ID --kind KIND`",
        ),
        Ok(devices) => good("devices", format!("{} registered", devices.len())),
        Err(error) => bad("devices", chain(&error)),
    });
    if !is_running {
        findings.extend(port("mqtt.listen", config.mqtt_listen));
        findings.extend(port("http.listen", config.http_listen));
    }
    if config.anonymous {
        findings.push(warning("mqtt.anonymous", "every client is let in; use this for demos only"));
    }
    if let Some(upstream) = &config.upstream {
        let probed = probe(&upstream.broker, &config.store, UPLINK_PATIENCE);
        findings.push(uplink(runtime()?.block_on(probed), &upstream.broker));
    }
    print(&findings, json)?;
    let is_bad = findings.iter().any(|finding| finding.outcome == Outcome::Bad);
    Ok(if is_bad { ExitCode::from(EX_FAILURE) } else { ExitCode::SUCCESS })
}

fn good(what: &'static str, words: impl Into<String>) -> Finding {
    Finding { what, outcome: Outcome::Good, words: words.into() }
}

fn warning(what: &'static str, words: impl Into<String>) -> Finding {
    Finding { what, outcome: Outcome::Warning, words: words.into() }
}

fn bad(what: &'static str, words: impl Into<String>) -> Finding {
    Finding { what, outcome: Outcome::Bad, words: words.into() }
}

fn planogram(config: &Config, config_file: &Path) -> Finding {
    let beside = config_file.with_file_name("planogram.toml");
    match config.planogram.shelves().count() {
        0 if beside.is_file() => warning(
            "planogram",
            format!(
                "`{}` is not used: name it with `planogram = \"planogram.toml\"` under [store]",
                beside.display()
            ),
        ),
        0 => good("planogram", "no shelf is counted: `planogram` under [store] names those that are"),
        shelves => good("planogram", format!("{shelves} shelves")),
    }
}

/// Whether a hub runs there already, so that its ports are its own.
fn data_dir(config: &Config, findings: &mut Vec<Finding>) -> bool {
    let what = "store.data_dir";
    match DataDir::new(&config.data_dir).lock() {
        Ok(_lock) => {
            // A name of our own, so that nothing that lies there is written over or removed.
            let probe = config.data_dir.join(format!(".check-{}", std::process::id()));
            let attempt = || {
                let mut file = OpenOptions::new().create_new(true).write(true).open(&probe)?;
                let written = file.write_all(b"check").and_then(|()| file.sync_all());
                fs::remove_file(&probe)?;
                written
            };
            let result = attempt();
            findings.push(match result {
                Ok(()) => good(what, format!("`{}` is writable", config.data_dir.display())),
                Err(error) => {
                    bad(what, format!("`{}` cannot be written: {error}", config.data_dir.display()))
                }
            });
            false
        }
        Err(DataDirError::Locked { .. }) => {
            let words = format!("a hub runs in `{}`; its ports are not checked", config.data_dir.display());
            findings.push(good(what, words));
            true
        }
        Err(error) => {
            findings.push(bad(what, chain(&error)));
            false
        }
    }
}

fn disk(config: &Config) -> Finding {
    let what = "disk";
    let free_bytes = match room::free_bytes(&config.data_dir) {
        Ok(free_bytes) => free_bytes,
        Err(error) => return bad(what, format!("`{}`: {error}", config.data_dir.display())),
    };
    let (free_mib, kept_mib) = (free_bytes >> 20, config.pace.kept_bytes >> 20);
    if free_bytes < 2 * config.journal.segment_bytes {
        return bad(what, format!("{free_mib} MiB free, less than two journal segments: free some space"));
    }
    if free_bytes < config.pace.kept_bytes {
        let words = format!(
            "{free_mib} MiB free, `journal.kept_bytes` may use {kept_mib} MiB: free some space or lower it"
        );
        return warning(what, words);
    }
    good(what, format!("{free_mib} MiB free, the journal keeps up to {kept_mib} MiB"))
}

fn clock() -> Finding {
    let now = SystemClock::start().now();
    if (CLOCK_MS_MIN..CLOCK_MS_MAX).contains(&now.as_millis()) {
        good("clock", now.to_string())
    } else {
        bad("clock", format!("{now} cannot be right: set the clock or start a time service"))
    }
}

fn port(field: &'static str, addr: Option<SocketAddr>) -> Option<Finding> {
    let addr = addr?;
    Some(match TcpListener::bind(addr) {
        Ok(_) => good(field, format!("{addr} is free")),
        Err(error) => {
            let words = format!(
                "{addr} cannot be listened on ({error}): stop what listens there or change `{field}`"
            );
            bad(field, words)
        }
    })
}

/// The store works without headquarters, so nothing here keeps the hub from running.
fn uplink(probed: Probed, broker: &BrokerUrl) -> Finding {
    let what = "upstream.url";
    match probed {
        Probed::In => good(what, format!("{broker} lets this store in")),
        Probed::Refused(words) => warning(what, format!("{broker}: {words}; rows wait until then")),
        Probed::Unreachable(why) => warning(
            what,
            format!(
                "{broker} is not reachable ({why}); the store works without it, and the hub keeps trying"
            ),
        ),
    }
}

fn print(findings: &[Finding], json: bool) -> anyhow::Result<()> {
    for Finding { what, outcome, words } in findings {
        let outcome = match outcome {
            Outcome::Good => "ok",
            Outcome::Warning => "warning",
            Outcome::Bad => "bad",
        };
        say(&if json {
            json!({ "check": what, "outcome": outcome, "message": words }).to_string()
        } else {
            format!("{outcome:<8} {what}: {words}")
        })?;
    }
    Ok(())
}
