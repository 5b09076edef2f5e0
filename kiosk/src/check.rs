//! `check`: what would keep the kiosk from starting, and which feature would be missing, found without a screen.
//!
//! Owns: the list of checks. Each says what is wrong and what to do. Nothing is left behind but the folders of data and
//! log files, and the log file.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use contract::KioskId;
use rumqttc::{Client, ConnectionError, Event, MqttOptions, Packet, RecvTimeoutError};
use tracing_subscriber::layer::SubscriberExt as _;
use vision::{Analyser, Calibration, camera::Camera};

use crate::{
    care::slip,
    chain,
    config::{CameraSource, Config, Hub},
    files,
    i18n::I18n,
    logbook::{self, LogFiles, Logbook},
    origin::OriginStore,
    staff::tally::Tally,
    theme::look_at_faces,
};

/// How long the hub may take to let the kiosk in.
const HUB_PATIENCE: Duration = Duration::from_secs(5);
/// Requests of ours that wait for the connection; the goodbye is all there is.
const REQUESTS_MAX: usize = 1;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be.
    Good,
    /// The kiosk runs, and something is missing or was forgotten.
    Warning,
    /// The kiosk does not start.
    Bad,
}

/// What was looked at, and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Table and key of the configuration.
    pub what: &'static str,
    /// How bad it is.
    pub outcome: Outcome,
    /// What is so, and what to do.
    pub words: String,
}

/// Looks at this machine as a kiosk with the configuration `config` of `file` would.
#[must_use]
pub fn findings(file: &Path, config: &Config) -> Vec<Finding> {
    let mut findings = vec![good("config", format!("`{}` is valid", file.display()))];
    findings.extend(fonts(config));
    findings.push(match Analyser::load(config.models.dir.as_deref(), config.models.onnxruntime.as_deref()) {
        Ok(_) => good("models", "the networks and ONNX Runtime fit together"),
        Err(error) => warning("models", format!("skin and try-on are away: {}", chain(&error))),
    });
    findings.push(calibration(config));
    findings.push(swap(std::fs::read_to_string(SWAPS).ok().as_deref()));
    findings.extend(origin(config));
    findings.extend(camera(config, "camera.source", config.camera.as_ref()));
    if config.product_camera.is_some() {
        findings.extend(camera(config, "camera.product_source", config.product_camera.as_ref()));
    }
    findings.push(match &config.hub {
        None => {
            warning("hub", "the kiosk stands alone: no store facts and no pick-up; `[hub]` names the hub")
        }
        Some(hub) => self::hub(&config.id, hub),
    });
    findings.push(match (&config.staff_pin, &config.data_dir) {
        (None, _) => warning("staff", "nobody can enter: `storehub-kiosk staff-pin` makes a PIN"),
        (Some(_), None) => {
            warning("staff", "a restart forgets wrong PINs: `kiosk.data_dir` names a folder to keep them")
        }
        (Some(_), Some(_)) => good("staff", "a PIN is set"),
    });
    findings.extend(config.data_dir.as_deref().map(data));
    findings.push(slips(config.data_dir.as_deref()));
    findings.extend(config.log.as_ref().map(log));
    findings
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

/// What a part warns of while it is read; it logs and goes on, since a kiosk does.
fn warnings_of<T>(read: impl FnOnce() -> T) -> (T, Vec<String>) {
    let logbook = Logbook::default();
    let listener = tracing_subscriber::registry().with(logbook.clone());
    let result = tracing::subscriber::with_default(listener, read);
    let mut warnings: Vec<String> = logbook.lines().into_iter().rev().map(|line| line.text).collect();
    let more = logbook.count().saturating_sub(warnings.len() as u64);
    if 0 < more {
        warnings.insert(0, format!("{more} more, which are not shown"));
    }
    (result, warnings)
}

fn fonts(config: &Config) -> Vec<Finding> {
    let (read, warnings) = warnings_of(|| {
        look_at_faces(&config.display).map(|repertoire| I18n::default().draw_with(repertoire))
    });
    match read {
        Err(error) => vec![bad("display.font", chain(&error))],
        Ok(()) if warnings.is_empty() => vec![good("display.font", "both faces are there")],
        Ok(()) => warnings.into_iter().map(|words| warning("display.font", words)).collect(),
    }
}

fn calibration(config: &Config) -> Finding {
    let what = "models.calibration";
    match config.models.calibration_file().map(|file| (file, Calibration::from_file(file))) {
        None => warning(
            what,
            "colours are not calibrated, so tone and redness are uncertain: staff calibrate with a chart at the kiosk, or \
             `storehub-vision calibrate` makes the file",
        ),
        Some((file, Err(error))) => {
            warning(what, format!("colours are not calibrated: `{}`: {}", file.display(), chain(&error)))
        }
        Some((_, Ok(calibration))) => {
            let mean = calibration.delta_e().mean_76;
            good(what, format!("of {}, \u{394}E {mean:.1} in the mean", calibration.date()))
        }
    }
}

/// The kernel's list of swap areas: a line of names, and one for each.
const SWAPS: &str = "/proc/swaps";

fn swap(list: Option<&str>) -> Finding {
    let what = "machine.swap";
    match list.map(|list| list.lines().skip(1).count()) {
        Some(0) => good(what, "there is none, so that no picture can be written to a disk"),
        Some(_) => warning(
            what,
            "the machine swaps memory to a disk, where pictures could stay: the services in `kiosk/packaging` keep the \
             kiosk out of it (`MemorySwapMax=0`), a kiosk that is started otherwise needs `swapoff -a`",
        ),
        None => {
            warning(what, format!("`{SWAPS}` cannot be read: whether memory is swapped to a disk is unknown"))
        }
    }
}

fn origin(config: &Config) -> Vec<Finding> {
    let Some(origin) = &config.origin else {
        return vec![warning(
            "origin",
            "no origins are told: `[origin]` names catalogue, records and trust list",
        )];
    };
    let (store, warnings) = warnings_of(|| OriginStore::load(origin));
    if warnings.is_empty() {
        return vec![good("origin", format!("{} products", store.products().count()))];
    }
    warnings.into_iter().map(|words| warning("origin", words)).collect()
}

fn camera(config: &Config, what: &'static str, source: Option<&CameraSource>) -> Vec<Finding> {
    let Some(source) = source else {
        return vec![warning(what, "no camera: skin and origin show a notice")];
    };
    // It is opened for a moment; no picture is taken.
    match Camera::new(source.clone(), config.camera_settings.clone()).open() {
        Err(error) => vec![warning(what, chain(&error))],
        Ok((about, _)) if about.differences.is_empty() => {
            vec![good(what, format!("{}, {}", about.name, about.mode))]
        }
        Ok((about, _)) => {
            about.differences.iter().map(|difference| warning(what, difference.to_string())).collect()
        }
    }
}

/// The kiosk works without its hub, so nothing here keeps it from starting.
fn hub(kiosk: &KioskId, hub: &Hub) -> Finding {
    let what = "hub.mqtt";
    let address = hub.mqtt;
    // The hub lets a device in under its own name alone; a kiosk that runs connects anew a moment later.
    let mut options = MqttOptions::new(kiosk.as_str(), address.ip().to_string(), address.port());
    if let Some(username) = &hub.username {
        options.set_credentials(username, hub.password.clone().unwrap_or_default());
    }
    let (client, mut connection) = Client::new(options, REQUESTS_MAX);
    let until = Instant::now() + HUB_PATIENCE;
    let refused = loop {
        if until <= Instant::now() {
            break Some(format!("{address} has not let this kiosk in within {} s", HUB_PATIENCE.as_secs()));
        }
        match connection.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Ok(Event::Incoming(Packet::ConnAck(_)))) => break None,
            Ok(Ok(_)) => {}
            Ok(Err(ConnectionError::ConnectionRefused(code))) => {
                break Some(format!(
                    "{address} refuses the login ({code:?}): `hub.username` is the id and `hub.password` the secret \
                     of `storehub-gateway device add ID --kind kiosk`"
                ));
            }
            Ok(Err(error)) => {
                break Some(format!("{address} is not reachable ({error}); the kiosk keeps trying"));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break Some(format!("{address} ended the connection")),
        }
    };
    if let Some(words) = refused {
        return warning(what, words);
    }
    // It is the hub's affair whether it hears the goodbye.
    if client.try_disconnect().is_ok() {
        while Instant::now() < until
            && let Ok(Ok(_)) = connection.recv_timeout(until.saturating_duration_since(Instant::now()))
        {
        }
    }
    good(what, format!("{address} lets this kiosk in"))
}

/// The kiosk works without its folder; a restart forgets wrong PINs then.
fn data(dir: &Path) -> Finding {
    let what = "kiosk.data_dir";
    let (result, warnings) =
        warnings_of(|| files::try_folder(dir).map(|()| Tally::in_folder(Some(dir)).wrong()));
    match (result, warnings.first()) {
        (Err(error), _) => warning(what, format!("`{}` cannot be written: {error}", dir.display())),
        (Ok(_), Some(words)) => warning(what, words),
        (Ok(_), None) => good(what, format!("`{}` is writable", dir.display())),
    }
}

/// Without a key that lasts there are no slips, or they end with the process.
fn slips(folder: Option<&Path>) -> Finding {
    let what = "slip.key";
    match folder.map(slip::has_key) {
        None => warning(what, "slips end with a restart: `kiosk.data_dir` names a folder to keep their key"),
        Some(Err(error)) => warning(what, format!("no slips to take along: {}", chain(&error))),
        Some(Ok(true)) => good(what, "it signs slips"),
        Some(Ok(false)) => good(what, "the first start makes it"),
    }
}

/// A kiosk that cannot begin its log does not start; one whose disk is full does.
fn log(log: &LogFiles) -> Finding {
    let what = "log.dir";
    if let Err(error) = logbook::try_files(log) {
        return bad(what, chain(&error));
    }
    match files::try_folder(&log.dir) {
        Ok(()) => good(what, format!("`{}` is writable", log.dir.display())),
        Err(error) => warning(what, format!("`{}` takes no lines: {error}", log.dir.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_key_of_slips_is_told_and_a_missing_one_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(slips(Some(folder.path())).outcome, Outcome::Good);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "looking makes nothing");
        std::fs::write(folder.path().join("slip.key"), "nothing").unwrap();
        let found = slips(Some(folder.path()));
        assert_eq!(found.outcome, Outcome::Warning);
        assert!(found.words.contains("slip.key"), "{}", found.words);
        std::fs::remove_file(folder.path().join("slip.key")).unwrap();
        std::os::unix::fs::symlink("/nonexistent/key", folder.path().join("slip.key")).unwrap();
        assert_eq!(
            slips(Some(folder.path())).outcome,
            Outcome::Warning,
            "a link to nowhere is no free place"
        );
        assert_eq!(slips(None).outcome, Outcome::Warning);
    }

    #[test]
    fn a_catalogue_with_faults_is_told_product_by_product() {
        let folder = tempfile::tempdir().unwrap();
        let product = |gtin: &str| {
            serde_json::json!({"gtin": gtin, "name": {"en": "n"}, "maker": {"en": "m"}, "origin": {"en": "o"},
                "care": {"efficacy": ["soothing", "glow"], "claim": {"en": "c"}}})
        };
        let gtins = ["09521234543213", "9521234543213", "09521234543214", "09521234543213", "00000000000000"];
        let mut products = gtins.map(product).to_vec();
        products.push(serde_json::json!({"gtin": "09521234543220\n", "name": 7}));
        let catalogue = serde_json::json!({ "products": products });
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("kiosk.example.toml");
        let mut config = Config::load(&example).unwrap();
        let origin_of = config.origin.as_mut().unwrap();
        origin_of.catalogue = folder.path().join("catalogue.json");
        std::fs::write(&origin_of.catalogue, catalogue.to_string()).unwrap();
        let words: Vec<String> = origin(&config).into_iter().map(|finding| finding.words).collect();
        for (at, expected) in [
            "has a class in `care.efficacy`",
            "expected 14 digits",
            "09521234543214",
            "an earlier product has it",
            "noughts are no number of a product",
            "`gtin` \"09521234543220\\n\", is left out: invalid type: integer `7`",
        ]
        .into_iter()
        .enumerate()
        {
            let named =
                |line: &&String| line.contains(&format!("product {at} of")) && line.contains(expected);
            assert!(words.iter().find(named).is_some(), "{expected}: {words:?}");
        }
    }

    #[test]
    fn swap_is_told() {
        let names = "Filename\tType\tSize\tUsed\tPriority\n";
        let area = format!("{names}/dev/sda2 partition 8388604 0 -2\n");
        assert_eq!(swap(Some(names)).outcome, Outcome::Good);
        assert_eq!(swap(Some(&area)).outcome, Outcome::Warning);
        assert_eq!(swap(None).outcome, Outcome::Warning);
    }
}
