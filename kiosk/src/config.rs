//! Kiosk configuration: one TOML file, read once at start, never changed afterwards.
//!
//! The operator's words are parsed into ours (unknown keys refused); errors name the file, the line, the field and
//! the value. Relative paths are relative to the file. `~/.cache/storehub` below is `STOREHUB_CACHE` where it is set.

use std::{
    fmt, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use contract::KioskId;
use provenance::PublicKey;
use serde::Deserialize;
use vision::{
    calibration::{Area, Strip},
    camera::{Controls, Settings},
    frame::{Encoding, FRAME_SIDE_MAX, Layout},
};

use crate::{files, i18n::Locale, logbook::LogFiles, staff::pin::PinHash};

pub use vision::camera::Source as CameraSource;

/// Larger files are no configuration.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Larger files hold no secret of the hub.
const SECRET_BYTES_MAX: u64 = 1024;
/// Shortest and longest time without a touch after which a visitor's session ends, in seconds.
const IDLE_SECS: std::ops::RangeInclusive<u64> = 10..=3600;
/// Ages from which the laws of our markets let somebody consent to a camera by himself.
const AGES: std::ops::RangeInclusive<u8> = 13..=18;
/// Size of a log file in MiB, and how many there may be.
const LOG_FILE_MIB: std::ops::RangeInclusive<usize> = 1..=1024;
const LOG_FILES: std::ops::RangeInclusive<usize> = 1..=100;

/// Sides of a camera's frames in pixels.
const CAMERA_SIDE: std::ops::RangeInclusive<u32> = 16..=FRAME_SIDE_MAX;
/// Frames a second.
const CAMERA_RATE: std::ops::RangeInclusive<u32> = 1..=120;
/// Exposure times in microseconds: drivers count in 100, and a second is a very dark store.
const EXPOSURE_US: std::ops::RangeInclusive<u32> = 100..=1_000_000;

/// Everything that the operator decides.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// This kiosk.
    pub id: KioskId,
    /// Where the hub is; nobody to talk to when absent.
    pub hub: Option<Hub>,
    /// What the screen is like.
    pub display: Display,
    /// From this age on a visitor may say whether a camera may look.
    pub age_min: u8,
    /// What sees; nothing when absent.
    pub camera: Option<CameraSource>,
    /// What sees products, where it is another one.
    pub product_camera: Option<CameraSource>,
    /// What is asked of a camera.
    pub camera_settings: Settings,
    /// Where the strip on the bezel is in the visitors' camera's picture, where there is one.
    pub camera_strip: Option<Strip>,
    /// Where the networks are.
    pub models: Models,
    /// What the origin screen rests on.
    pub origin: Option<Origin>,
    /// Where the kiosk keeps what must outlive it; nowhere when absent.
    pub data_dir: Option<PathBuf>,
    /// Who is let in to the staff's screen; nobody when absent.
    pub staff_pin: Option<PinHash>,
    /// Where log files go; to standard error alone when absent.
    pub log: Option<LogFiles>,
}

/// The store hub's MQTT broker.
#[derive(Clone, PartialEq, Eq)]
pub struct Hub {
    /// Address of its MQTT listener.
    pub mqtt: SocketAddr,
    /// The kiosk's device id at the hub.
    pub username: Option<String>,
    /// The secret that `device add` printed.
    pub password: Option<String>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("mqtt", &self.mqtt)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// The screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Display {
    /// How it hangs.
    pub orientation: Orientation,
    /// The language at start and for every new visitor.
    pub locale: Locale,
    /// The face for text.
    pub font: PathBuf,
    /// The face for headings and figures.
    pub font_bold: PathBuf,
    /// A visitor's session ends after this long without a touch.
    pub idle: Duration,
    /// The zone before the screen, as a sensor of the store names it.
    pub zone: Option<String>,
}

/// How the screen hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Orientation {
    /// 1080 × 1920.
    Portrait,
    /// 1920 × 1080.
    Landscape,
}

impl Orientation {
    /// Width and height of the design in logical pixels.
    #[must_use]
    pub fn size(self) -> (u32, u32) {
        match self {
            Self::Portrait => (1080, 1920),
            Self::Landscape => (1920, 1080),
        }
    }
}

/// Where the networks and the library that runs them are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Models {
    /// Directory with the manifest and the networks; looked for when absent.
    pub dir: Option<PathBuf>,
    /// ONNX Runtime's shared library; the one that `cargo xtask setup` brings when absent.
    pub onnxruntime: Option<PathBuf>,
    /// The colour calibration of the visitors' camera in this kiosk's light, as the operator names it.
    pub calibration: Option<PathBuf>,
    /// Where staff keep one that they have made at the kiosk, when none is named.
    pub kept_calibration: Option<PathBuf>,
}

impl Models {
    /// Where a calibration would be kept: where one is named, otherwise beside the kiosk's data.
    #[must_use]
    pub fn calibration_place(&self) -> Option<&Path> {
        self.calibration.as_deref().or(self.kept_calibration.as_deref())
    }

    /// The calibration to use: the named one, there or not, otherwise the one that staff have kept. Without one, tone and
    /// redness are uncertain.
    #[must_use]
    pub fn calibration_file(&self) -> Option<&Path> {
        let kept = self.kept_calibration.as_deref().filter(|file| file.exists());
        self.calibration.as_deref().or(kept)
    }
}

/// What staff keep is called so in the kiosk's data folder.
const CALIBRATION_FILE: &str = "calibration.json";

/// What the origin screen rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The store's products.
    pub catalogue: PathBuf,
    /// Directory of signed records.
    pub records: PathBuf,
    /// The trust list.
    pub trust: PathBuf,
    /// The key that must have signed the trust list, as a Multikey.
    pub trust_root: PublicKey,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("failed to read the configuration `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A key is unknown, missing or of another type; the source shows the line.
    #[error("failed to parse `{}`", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, column and key.
        source: Box<toml::de::Error>,
    },
    /// A value of the right type that cannot be used.
    #[error("`{}`: `{field}` is `{value}`, {wanted}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Table and key.
        field: &'static str,
        /// The value.
        value: String,
        /// What is needed.
        wanted: String,
    },
    /// The secret's file cannot be read.
    #[error("`{}`: failed to read `hub.password_file` at `{}`", path.display(), file.display())]
    Password {
        /// The configuration.
        path: PathBuf,
        /// The secret's file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Folders of the machine that stand behind a configuration.
#[derive(Debug, Clone, Copy)]
pub struct Folders<'a> {
    /// Stands for `~/.cache/storehub`.
    pub cache: &'a Path,
    /// Where data goes that no `kiosk.data_dir` sends elsewhere.
    pub state: Option<&'a Path>,
}

/// The folder that systemd gives a service for its data.
fn state_dir() -> Option<PathBuf> {
    let folders = std::env::var_os("STATE_DIRECTORY")?;
    std::env::split_paths(&folders).next().filter(|folder| !folder.as_os_str().is_empty())
}

/// The directory where `cargo xtask setup` puts fonts and libraries.
#[must_use]
pub fn cache_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("STOREHUB_CACHE") {
        return dir.into();
    }
    std::env::home_dir().unwrap_or_else(|| PathBuf::from("/root")).join(".cache/storehub")
}

impl Config {
    /// Reads and checks a configuration file.
    ///
    /// # Errors
    /// Names the file, and where it helps the line, the field and the value.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = files::read_text(path, FILE_BYTES_MAX)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path, Folders { cache: &cache_dir(), state: state_dir().as_deref() })
    }

    /// Checks a configuration's text; `path` is where it came from.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn parse(text: &str, path: &Path, folders: Folders) -> Result<Self, ConfigError> {
        let wire: Wire = toml::from_str(text)
            .map_err(|source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) })?;
        Checker { path, cache: folders.cache, state: folders.state }.check(wire)
    }
}

struct Checker<'a> {
    path: &'a Path,
    cache: &'a Path,
    state: Option<&'a Path>,
}

impl Checker<'_> {
    fn wrong(&self, field: &'static str, value: impl fmt::Display, wanted: impl Into<String>) -> ConfigError {
        ConfigError::Value {
            path: self.path.to_owned(),
            field,
            value: value.to_string(),
            wanted: wanted.into(),
        }
    }

    /// A path of the file, relative to it; `~/.cache/storehub` stands for the cache directory.
    fn file(&self, path: &Path) -> PathBuf {
        if let Ok(rest) = path.strip_prefix("~/.cache/storehub") {
            return self.cache.join(rest);
        }
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    fn check(&self, wire: Wire) -> Result<Config, ConfigError> {
        let id = KioskId::parse(&wire.kiosk.id)
            .map_err(|error| self.wrong("kiosk.id", &wire.kiosk.id, error.to_string()))?;
        let data_dir =
            wire.kiosk.data_dir.map(|dir| self.file(&dir)).or_else(|| self.state.map(Path::to_owned));
        Ok(Config {
            id,
            display: self.display(wire.display, wire.hub.is_some())?,
            age_min: self.age(wire.consent.age_min)?,
            hub: wire.hub.map(|hub| self.hub(hub)).transpose()?,
            product_camera: wire
                .camera
                .as_ref()
                .and_then(|camera| camera.product_source.as_ref())
                .map(|source| self.camera("camera.product_source", source))
                .transpose()?,
            camera_settings: wire
                .camera
                .as_ref()
                .map(|camera| self.camera_settings(camera))
                .transpose()?
                .unwrap_or_default(),
            camera_strip: wire
                .camera
                .as_ref()
                .and_then(|camera| camera.strip)
                .map(|strip| self.strip(strip))
                .transpose()?,
            camera: wire.camera.map(|camera| self.camera("camera.source", &camera.source)).transpose()?,
            models: Models {
                dir: wire.models.dir.map(|dir| self.file(&dir)),
                onnxruntime: wire.models.onnxruntime.map(|library| self.file(&library)),
                calibration: wire.models.calibration.map(|file| self.file(&file)),
                kept_calibration: data_dir.as_ref().map(|dir| dir.join(CALIBRATION_FILE)),
            },
            origin: wire.origin.map(|origin| self.origin(origin)).transpose()?,
            data_dir,
            staff_pin: wire
                .staff
                .pin_hash
                .map(|hash| {
                    // What stands there is not shown: it may be the PIN itself.
                    PinHash::parse(&hash)
                        .map_err(|error| self.wrong("staff.pin_hash", "…", error.to_string()))
                })
                .transpose()?,
            log: wire.log.map(|log| self.log(log)).transpose()?,
        })
    }

    fn age(&self, age: u8) -> Result<u8, ConfigError> {
        if AGES.contains(&age) {
            return Ok(age);
        }
        let wanted = format!("{} to {} are allowed", AGES.start(), AGES.end());
        Err(self.wrong("consent.age_min", age, wanted))
    }

    fn origin(&self, origin: OriginWire) -> Result<Origin, ConfigError> {
        let trust_root = PublicKey::parse(&origin.trust_root)
            .map_err(|error| self.wrong("origin.trust_root", &origin.trust_root, error.to_string()))?;
        Ok(Origin {
            catalogue: self.file(&origin.catalogue),
            records: self.file(&origin.records),
            trust: self.file(&origin.trust),
            trust_root,
        })
    }

    fn log(&self, log: LogWire) -> Result<LogFiles, ConfigError> {
        for (field, value, range) in [
            ("log.file_mib_max", log.file_mib_max, LOG_FILE_MIB),
            ("log.files_max", log.files_max, LOG_FILES),
        ] {
            if !range.contains(&value) {
                let wanted = format!("{} to {} are allowed", range.start(), range.end());
                return Err(self.wrong(field, value, wanted));
            }
        }
        Ok(LogFiles {
            dir: self.file(&log.dir),
            file_bytes_max: log.file_mib_max * 1024 * 1024,
            files_max: log.files_max,
        })
    }

    fn hub(&self, hub: HubWire) -> Result<Hub, ConfigError> {
        let mqtt =
            hub.mqtt.parse().ok().filter(|address: &SocketAddr| address.port() != 0).ok_or_else(|| {
                self.wrong("hub.mqtt", &hub.mqtt, "an address such as `127.0.0.1:1883` is needed")
            })?;
        let password = match (hub.password, hub.password_file) {
            (Some(_), Some(file)) => {
                return Err(self.wrong(
                    "hub.password_file",
                    file.display(),
                    "`hub.password` stands there too",
                ));
            }
            (Some(password), None) if password.is_empty() => {
                return Err(self.wrong("hub.password", "", "the secret that `device add` printed is needed"));
            }
            (Some(password), None) => Some(password),
            (None, Some(file)) => Some(self.secret(self.file(&file))?),
            (None, None) => None,
        };
        match (&hub.username, &password) {
            (None, Some(_)) => {
                Err(self.wrong("hub.username", "", "a password needs the name that it belongs to"))
            }
            (Some(name), _) if name.is_empty() => {
                Err(self.wrong("hub.username", "", "the id that `device add` was given is needed"))
            }
            (Some(name), None) => {
                let wanted = "a name needs its `hub.password` or `hub.password_file`";
                Err(self.wrong("hub.username", name, wanted))
            }
            _ => Ok(Hub { mqtt, username: hub.username, password }),
        }
    }

    fn secret(&self, file: PathBuf) -> Result<String, ConfigError> {
        let unreadable =
            |source| ConfigError::Password { path: self.path.to_owned(), file: file.clone(), source };
        let text = files::read_text(&file, SECRET_BYTES_MAX).map_err(unreadable)?;
        let secret = text.trim_end();
        if secret.is_empty() || secret.contains(['\n', '\r']) {
            let wanted = "a file with the secret that `device add` printed, and nothing else, is needed";
            return Err(self.wrong("hub.password_file", file.display(), wanted));
        }
        Ok(secret.to_owned())
    }

    fn display(&self, display: DisplayWire, has_hub: bool) -> Result<Display, ConfigError> {
        let locale = Locale::parse(&display.locale).ok_or_else(|| {
            let known: Vec<_> = Locale::ALL.iter().map(|locale| locale.tag()).collect();
            self.wrong("display.locale", &display.locale, format!("known are {}", known.join(", ")))
        })?;
        if !IDLE_SECS.contains(&display.idle_secs) {
            let wanted = format!("{} to {} are allowed", IDLE_SECS.start(), IDLE_SECS.end());
            return Err(self.wrong("display.idle_secs", display.idle_secs, wanted));
        }
        if display.zone.as_ref().is_some_and(|zone| zone.trim().is_empty()) {
            return Err(self.wrong("display.zone", "", "the id of the zone's sensor is needed"));
        }
        if display.zone.is_some() && !has_hub {
            let zone = display.zone.unwrap_or_default();
            return Err(self.wrong(
                "display.zone",
                zone,
                "the zone's sensor speaks through `[hub]`, which is missing",
            ));
        }
        Ok(Display {
            orientation: display.orientation,
            locale,
            font: self.file(&display.font),
            font_bold: self.file(&display.font_bold),
            idle: Duration::from_secs(display.idle_secs),
            zone: display.zone,
        })
    }

    fn camera(&self, field: &'static str, source: &str) -> Result<CameraSource, ConfigError> {
        match CameraSource::parse(source) {
            Some(CameraSource::File(path)) => Ok(CameraSource::File(self.file(&path))),
            Some(CameraSource::Folder(path)) => Ok(CameraSource::Folder(self.file(&path))),
            Some(source @ (CameraSource::V4l2(_) | CameraSource::Synthetic)) => Ok(source),
            None => Err(self.wrong(field, source, CameraSource::WANTED)),
        }
    }

    fn strip(&self, areas: [[f64; 4]; 5]) -> Result<Strip, ConfigError> {
        let mut parsed = areas.into_iter().map(|area| {
            Area::try_from(area).map_err(|error| {
                let wanted = format!("{error}, from 0 to 1");
                self.wrong("camera.strip", format!("{area:?}"), wanted)
            })
        });
        let mut next = || parsed.next().expect("there are five");
        Ok(Strip { areas: [next()?, next()?, next()?, next()?, next()?] })
    }

    fn camera_settings(&self, camera: &CameraWire) -> Result<Settings, ConfigError> {
        let size = camera
            .size
            .split_once('x')
            .and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)))
            .filter(|(width, height)| {
                [width, height].into_iter().all(|side| CAMERA_SIDE.contains(side) && side % 2 == 0)
            })
            .ok_or_else(|| {
                let wanted = format!(
                    "a size such as `1280x720` is needed, even numbers from {} to {}",
                    CAMERA_SIDE.start(),
                    CAMERA_SIDE.end()
                );
                self.wrong("camera.size", &camera.size, wanted)
            })?;
        if !CAMERA_RATE.contains(&camera.rate) {
            let wanted = format!("{} to {} are allowed", CAMERA_RATE.start(), CAMERA_RATE.end());
            return Err(self.wrong("camera.rate", camera.rate, wanted));
        }
        let layout = match camera.format.as_str() {
            "auto" => None,
            name => Some(
                Layout::parse(name)
                    .ok_or_else(|| self.wrong("camera.format", name, "known are auto, MJPG, YUYV, NV12"))?,
            ),
        };
        let encoding = Encoding::parse(&camera.colours).ok_or_else(|| {
            let known: Vec<_> = Encoding::ALL.iter().map(|encoding| encoding.name()).collect();
            self.wrong("camera.colours", &camera.colours, format!("known are {}", known.join(", ")))
        })?;
        Ok(Settings { size, rate: camera.rate, layout, encoding, controls: self.controls(&camera.controls)? })
    }

    fn controls(&self, controls: &ControlsWire) -> Result<Controls, ConfigError> {
        let ControlsWire { exposure_us, gain, white_balance_k, focus, power_line_hz } = *controls;
        if ![0, 50, 60].contains(&power_line_hz) {
            return Err(self.wrong("camera.controls.power_line_hz", power_line_hz, "known are 0, 50, 60"));
        }
        if let Some(us) = exposure_us.filter(|us| !EXPOSURE_US.contains(us)) {
            let wanted = format!("{} to {} are allowed", EXPOSURE_US.start(), EXPOSURE_US.end());
            return Err(self.wrong("camera.controls.exposure_us", us, wanted));
        }
        Ok(Controls { exposure_us, gain, white_balance_k, focus, power_line_hz: Some(power_line_hz) })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    kiosk: KioskWire,
    #[serde(default)]
    hub: Option<HubWire>,
    #[serde(default)]
    display: DisplayWire,
    #[serde(default)]
    consent: ConsentWire,
    #[serde(default)]
    camera: Option<CameraWire>,
    #[serde(default)]
    models: ModelsWire,
    #[serde(default)]
    origin: Option<OriginWire>,
    #[serde(default)]
    staff: StaffWire,
    #[serde(default)]
    log: Option<LogWire>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ConsentWire {
    age_min: u8,
}

impl Default for ConsentWire {
    fn default() -> Self {
        Self { age_min: crate::session::AGE_MIN }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct StaffWire {
    pin_hash: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogWire {
    dir: PathBuf,
    #[serde(default = "LogWire::default_file_mib_max")]
    file_mib_max: usize,
    #[serde(default = "LogWire::default_files_max")]
    files_max: usize,
}

impl LogWire {
    fn default_file_mib_max() -> usize {
        10
    }

    fn default_files_max() -> usize {
        5
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KioskWire {
    id: String,
    #[serde(default)]
    data_dir: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HubWire {
    mqtt: String,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    password_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DisplayWire {
    orientation: Orientation,
    locale: String,
    font: PathBuf,
    font_bold: PathBuf,
    idle_secs: u64,
    zone: Option<String>,
}

impl Default for DisplayWire {
    fn default() -> Self {
        Self {
            orientation: Orientation::Portrait,
            locale: Locale::default().tag().to_owned(),
            font: PathBuf::from("~/.cache/storehub/fonts/NotoSansCJKsc-Regular.otf"),
            font_bold: PathBuf::from("~/.cache/storehub/fonts/NotoSansCJKsc-Bold.otf"),
            idle_secs: 60,
            zone: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CameraWire {
    source: String,
    #[serde(default)]
    product_source: Option<String>,
    #[serde(default = "CameraWire::default_size")]
    size: String,
    #[serde(default = "CameraWire::default_rate")]
    rate: u32,
    #[serde(default = "CameraWire::default_format")]
    format: String,
    #[serde(default = "CameraWire::default_colours")]
    colours: String,
    #[serde(default)]
    strip: Option<[[f64; 4]; 5]>,
    #[serde(default)]
    controls: ControlsWire,
}

impl CameraWire {
    fn default_size() -> String {
        "1280x720".to_owned()
    }

    fn default_rate() -> u32 {
        30
    }

    fn default_format() -> String {
        "auto".to_owned()
    }

    fn default_colours() -> String {
        Encoding::default().name().to_owned()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ControlsWire {
    exposure_us: Option<u32>,
    gain: Option<u32>,
    white_balance_k: Option<u32>,
    focus: Option<u32>,
    power_line_hz: u32,
}

impl Default for ControlsWire {
    fn default() -> Self {
        Self { exposure_us: None, gain: None, white_balance_k: None, focus: None, power_line_hz: 50 }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct ModelsWire {
    dir: Option<PathBuf>,
    onnxruntime: Option<PathBuf>,
    calibration: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OriginWire {
    catalogue: PathBuf,
    records: PathBuf,
    trust: PathBuf,
    trust_root: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        let folders = Folders { cache: Path::new("/cache"), state: Some(Path::new("/state")) };
        Config::parse(text, Path::new("/etc/storehub/kiosk.toml"), folders)
    }

    fn refusal(text: &str) -> String {
        let error = parse(text).unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        format!("{error}: {source}")
    }

    #[test]
    fn the_example_is_complete_and_valid() {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/kiosk.example.toml"));
        let config = Config::load(path).unwrap();
        assert_eq!(config.id.as_str(), "kiosk-01");
        assert_eq!(config.hub.unwrap().mqtt.to_string(), "127.0.0.1:1883");
        assert!(matches!(config.camera, Some(CameraSource::File(_))));
        assert!(config.origin.unwrap().catalogue.ends_with("assets/catalogue.json"));
    }

    #[test]
    fn paths_are_relative_to_the_file_and_the_cache_can_move() {
        let config = parse("[kiosk]\nid = \"k\"\n[camera]\nsource = \"file:face.png\"").unwrap();
        assert_eq!(config.camera, Some(CameraSource::File(PathBuf::from("/etc/storehub/face.png"))));
        assert_eq!(config.display.font, PathBuf::from("/cache/fonts/NotoSansCJKsc-Regular.otf"));
        assert_eq!(config.display.locale, Locale::ZhCn);
    }

    #[test]
    fn data_goes_where_it_is_sent_and_otherwise_where_the_service_keeps_its_own() {
        let folder = |text| parse(text).unwrap().data_dir.unwrap();
        assert_eq!(folder("[kiosk]\nid = \"k\""), Path::new("/state"));
        assert_eq!(folder("[kiosk]\nid = \"k\"\ndata_dir = \"data\""), Path::new("/etc/storehub/data"));
    }

    #[test]
    fn a_wrong_value_is_named_with_its_file_its_field_and_what_is_needed() {
        let cases = [
            ("[kiosk]\nid = \"Kiosk 1\"", "`kiosk.id` is `Kiosk 1`"),
            ("[kiosk]\nid = \"k\"\n[hub]\nmqtt = \"hub\"", "`hub.mqtt` is `hub`"),
            (
                "[kiosk]\nid = \"k\"\n[origin]\ncatalogue = \"c\"\nrecords = \"r\"\ntrust = \"t\"\ntrust_root = \"me\"",
                "`origin.trust_root` is `me`",
            ),
            (
                "[kiosk]\nid = \"k\"\n[hub]\nmqtt = \"127.0.0.1:1\"\n[display]\nzone = \" \"",
                "`display.zone` is ``",
            ),
            ("[kiosk]\nid = \"k\"\n[hub]\nmqtt = \"127.0.0.1:0\"", "`hub.mqtt` is `127.0.0.1:0`"),
            (
                "[kiosk]\nid = \"k\"\n[hub]\nmqtt = \"127.0.0.1:1\"\nusername = \"k\"",
                "`hub.username` is `k`, a name needs its",
            ),
            (
                "[kiosk]\nid = \"k\"\n[hub]\nmqtt = \"127.0.0.1:1\"\nusername = \"k\"\npassword = \"\"",
                "`hub.password` is ``",
            ),
            (
                "[kiosk]\nid = \"k\"\n[hub]\nmqtt = \"127.0.0.1:1\"\nusername = \"k\"\n\
                 password_file = \"/dev/null\"",
                "`hub.password_file` at `/dev/null`: it is not a regular file",
            ),
            (
                "[kiosk]\nid = \"k\"\n[staff]\npin_hash = \"$argon2id$v=19$m=4194304,t=2,p=1$\
                 c2FsdHNhbHRzYWx0$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"",
                "`staff.pin_hash` is `…`, an argon2id hash of at most 64 MiB",
            ),
            (
                "[kiosk]\nid = \"k\"\n[display]\nlocale = \"fr\"",
                "`display.locale` is `fr`, known are zh-CN, en",
            ),
            ("[kiosk]\nid = \"k\"\n[display]\nidle_secs = 1", "`display.idle_secs` is `1`, 10 to 3600"),
            ("[kiosk]\nid = \"k\"\n[display]\nzone = \"front\"", "`display.zone` is `front`"),
            ("[kiosk]\nid = \"k\"\n[display]\nidle_sec = 60", "line 4"),
            ("[kiosk]\nid = \"k\"\n[display]\norientation = \"sideways\"", "unknown variant `sideways`"),
            ("[kiosk]\nid = \"k\"\n[camera]\nsource = \"webcam\"", "`camera.source` is `webcam`"),
            ("[kiosk]\nid = \"k\"\n[camera]\nsource = \"v4l2:\"", "`camera.source` is `v4l2:`"),
            (
                "[kiosk]\nid = \"k\"\n[camera]\nsource = \"synthetic\"\nsize = \"1281x720\"",
                "`camera.size` is `1281x720`",
            ),
            (
                "[kiosk]\nid = \"k\"\n[camera]\nsource = \"synthetic\"\nsize = \"big\"",
                "`camera.size` is `big`",
            ),
            (
                "[kiosk]\nid = \"k\"\n[camera]\nsource = \"synthetic\"\nrate = 0",
                "`camera.rate` is `0`, 1 to 120",
            ),
            (
                "[kiosk]\nid = \"k\"\n[camera]\nsource = \"synthetic\"\nformat = \"H264\"",
                "`camera.format` is `H264`",
            ),
            (
                "[kiosk]\nid = \"k\"\n[camera]\nsource = \"synthetic\"\ncolours = \"srgb\"",
                "`camera.colours` is `srgb`",
            ),
            (
                "[kiosk]\nid = \"k\"\n[camera]\nsource = \"synthetic\"\n[camera.controls]\npower_line_hz = 55",
                "`camera.controls.power_line_hz` is `55`",
            ),
            (
                "[kiosk]\nid = \"k\"\n[camera]\nsource = \"synthetic\"\n[camera.controls]\nexposure_us = 3",
                "`camera.controls.exposure_us` is `3`",
            ),
            (
                "[kiosk]\nid = \"k\"\n[camera]\nsource = \"file:a\"\nproduct_source = \"b\"",
                "`camera.product_source` is `b`",
            ),
            ("[kiosk]\nid = \"k\"\n[hub]\nmqtt = \"127.0.0.1:1\"\npassword = \"x\"", "`hub.username`"),
            ("[kiosk]\nname = \"k\"", "unknown field `name`"),
            (
                "[kiosk]\nid = \"k\"\n[staff]\npin_hash = \"4711\"",
                "`staff.pin_hash` is `…`, an argon2id hash",
            ),
            ("[kiosk]\nid = \"k\"\n[log]\ndir = \"log\"\nfiles_max = 0", "`log.files_max` is `0`, 1 to 100"),
        ];
        for (text, said) in cases {
            let refusal = refusal(text);
            assert!(
                refusal.contains(said) && refusal.contains("/etc/storehub/kiosk.toml"),
                "{text}: {refusal}"
            );
        }
    }

    #[test]
    fn every_kind_of_camera_can_be_named_and_asked_for_what_it_should_give() {
        let camera = |text: &str| parse(&format!("[kiosk]\nid = \"k\"\n[camera]\n{text}")).unwrap();
        for (text, expected) in [
            ("v4l2:/dev/video0", CameraSource::V4l2("/dev/video0".into())),
            ("folder:frames", CameraSource::Folder("/etc/storehub/frames".into())),
            ("synthetic", CameraSource::Synthetic),
        ] {
            let config = camera(&format!("source = \"{text}\""));
            assert_eq!(config.camera, Some(expected));
            assert_eq!(config.camera_settings.controls.power_line_hz, Some(50));
        }
        let settings = camera(
            "source = \"synthetic\"\nsize = \"1920x1080\"\nrate = 15\nformat = \"YUYV\"\n\
             colours = \"bt709-full\"\n[camera.controls]\nexposure_us = 10000\nwhite_balance_k = 5000\n\
             focus = 30\ngain = 4\npower_line_hz = 60",
        )
        .camera_settings;
        assert_eq!((settings.size, settings.rate, settings.layout), ((1920, 1080), 15, Some(Layout::Yuyv)));
        assert_eq!(settings.encoding.name(), "bt709-full");
        assert_eq!(settings.controls.exposure_us, Some(10_000));
    }

    #[test]
    fn a_secret_is_not_printed() {
        let config = parse(
            "[kiosk]\nid = \"k\"\n[hub]\nmqtt = \"127.0.0.1:1\"\nusername = \"u\"\npassword = \"hush\"",
        )
        .unwrap();
        assert!(!format!("{config:?}").contains("hush"));
    }
}
