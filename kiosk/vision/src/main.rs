//! `storehub-vision`: what the kiosk sees, on the command line.
//!
//! One line for each picture on stdout, JSON or readable. What keeps the program from looking at any picture is one
//! line too: with `--json` a document with `error` on stdout, else text on stderr.
//! Writes no file but the calibration that `--out` asks for. The exit status is 1 when any picture could not be read or analysed.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use serde_json::{Value, json};
use vision::{
    Analyser, Picture,
    calibration::{self, Calibrated, Date, DeltaE, Patch, Reading},
    camera::{self, Identity, Node, Sizes},
    codes::{self, Code, ReadError, Zxing},
    gs1,
    picture::Grey,
    pose::{self, ASSUMED_FOV_DEG, Axis, FOV_DEG, Fit, Intrinsics, Surface, SymbolPose},
    skin::{Overlay, ToneColour},
};

/// Codes, faces and skin in pictures, as the kiosk sees them.
#[derive(Debug, Parser)]
#[command(name = "storehub-vision", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read QR, EAN-13, EAN-8, UPC-A and DataMatrix codes, at most 64 in a picture.
    Codes {
        #[command(flatten)]
        pictures: Pictures,
        #[command(flatten)]
        effort: Thorough,
    },
    /// Say where QR codes and DataMatrix symbols are in space, on paper or around a bottle.
    ///
    /// `camera_from_symbol` takes points of the symbol (origin in its centre, x along its top edge, y down, z into the
    /// paper) to the camera's frame (x to the right, y down, z forward). `surface` is a plane, or a cylinder that touches
    /// the symbol's own plane along its middle, with its radius; its axis runs down the symbol (`upright`) or along its top
    /// edge (`lying`). `agreement` says how well the symbol in that pose matches the picture, 1 at most. `other` is the
    /// second pose that looks much alike, where there is one, and `ambiguous` says that the picture does not tell the two
    /// apart. Codes that have no pose stand in `without_pose`
    /// with the reason. A photograph is turned first as its EXIF data say; the camera is that of the turned picture.
    Pose {
        #[command(flatten)]
        pictures: Pictures,
        #[command(flatten)]
        effort: Thorough,
        /// How wide the symbols are printed, in millimetres, without their light borders; without it lengths are in
        /// widths of the symbol.
        #[arg(long, value_name = "MM", value_parser = width_mm, allow_negative_numbers = true)]
        width_mm: Option<f64>,
        /// The calibrated camera: focal lengths and principal point in pixels.
        #[arg(long, value_name = "FX,FY,CX,CY", value_parser = four, conflicts_with = "hfov_deg")]
        #[arg(allow_hyphen_values = true)]
        intrinsics: Option<[f64; 4]>,
        /// The camera's field of view from left to right, in degrees [default: 64.4 along the longer side, a common
        /// webcam's, and `camera.assumed` says so].
        #[arg(long, value_name = "DEGREES", value_parser = hfov_deg, allow_negative_numbers = true)]
        hfov_deg: Option<f64>,
    },
    /// Find faces, their eyes, noses and mouths.
    Face {
        #[command(flatten)]
        pictures: Pictures,
        #[command(flatten)]
        models: Models,
    },
    /// Describe how the skin looks in a picture: cosmetic, not medical.
    ///
    /// With `--masks` the document has maps as well. Each of `masks` is `w` x `h` cells of nought or one: `skin` is bare skin of
    /// the face, and a metric whose `mask_ref` names a map has what was measured there (lines and spots; where redness and
    /// shine are at least half of what the kiosk draws in full). `data` of the encoding `rle` has lengths of runs, row by row,
    /// alternately of noughts and of ones and beginning with noughts, with a space between two of them. `picture_from_mask` takes
    /// (column, row, 1) of a cell to the cell's middle in the picture. A picture that is refused has no maps.
    Skin {
        #[command(flatten)]
        pictures: Pictures,
        #[command(flatten)]
        models: Models,
        /// The calibration of the camera and light that the pictures come from, as `calibrate` wrote it.
        #[arg(long, value_name = "FILE")]
        calibration: Option<PathBuf>,
        /// Add maps of the face to the document: they come from the picture, and whoever keeps them keeps a part of it.
        #[arg(long, requires = "json")]
        masks: bool,
    },
    /// Calibrate a camera's colours with a picture of a 24-patch colour chart.
    ///
    /// The chart lies flat where faces will be, in the kiosk's own light, with nothing shining on it, and fills at least
    /// a sixth of the picture's width; it may be turned. Exposure, gain and white balance of the camera are locked
    /// before, and stay so. A chart that cannot be measured or does not fit well enough is refused with the reason.
    Calibrate {
        /// A PNG, JPEG or WebP file.
        #[arg(value_name = "IMAGE")]
        file: PathBuf,
        /// The day on which the picture was taken [default: today, by Greenwich].
        #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
        date: Option<Date>,
        /// Where to write the calibration; a file that is there is replaced.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// JSON, one document.
        #[arg(long)]
        json: bool,
    },
    /// Say which cameras are plugged in, or what one of them offers. Takes no picture.
    #[command(group = clap::ArgGroup::new("what").required(true))]
    Camera {
        /// One line for each camera.
        #[arg(long, group = "what")]
        list: bool,
        /// Formats, sizes, rates and controls of a camera, such as `/dev/video0`.
        #[arg(long, value_name = "DEVICE", group = "what")]
        probe: Option<PathBuf>,
        /// JSON, one document a line.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct Pictures {
    /// PNG, JPEG or WebP files.
    #[arg(required = true, value_name = "IMAGE")]
    files: Vec<PathBuf>,
    /// One JSON document a line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, Args)]
struct Thorough {
    /// Look for more codes where a fast pass has found some: about ten times slower.
    #[arg(long)]
    thorough: bool,
}

#[derive(Debug, Args)]
struct Models {
    /// The folder with the networks [default: $STOREHUB_MODELS, else models/weights beside or above the
    /// program or the current folder].
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// The ONNX Runtime library [default: $ORT_DYLIB_PATH, else the one that `cargo xtask setup` fetched].
    #[arg(long, value_name = "FILE")]
    runtime: Option<PathBuf>,
}

fn main() -> ExitCode {
    // A decoder that panics is caught and reported as an error of its picture; without this hook the
    // panic's own message would be printed as well.
    std::panic::set_hook(Box::new(|_| {}));
    if let Err(error) = vision::start_quietly() {
        eprintln!("storehub-vision: failed to start without reports of ONNX Runtime: {error}");
        return ExitCode::FAILURE;
    }
    let command = Cli::parse().command;
    let is_json = command.is_json();
    let error = match std::panic::catch_unwind(|| run(command)) {
        Ok(Ok(code)) => return code,
        Ok(Err(error)) => format!("{error:#}"),
        Err(panic) => {
            let what = panic.downcast_ref::<String>().map(String::as_str);
            let what = what.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            format!("internal error: {what}")
        }
    };
    if is_json {
        // Nobody is left to tell when this cannot be written.
        _ = writeln!(io::stdout(), "{}", json!({ "error": error }));
    } else {
        eprintln!("storehub-vision: {}", plain(&error));
    }
    ExitCode::FAILURE
}

/// On one line and with nothing in it that moves a cursor: names of files come from anywhere.
fn plain(text: &str) -> String {
    text.replace(|letter: char| letter.is_control() || vision::is_bidi_control(letter), "\u{fffd}")
}

impl Command {
    fn is_json(&self) -> bool {
        match self {
            Self::Codes { pictures, .. }
            | Self::Pose { pictures, .. }
            | Self::Face { pictures, .. }
            | Self::Skin { pictures, .. } => pictures.json,
            Self::Calibrate { json, .. } | Self::Camera { json, .. } => *json,
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Codes { pictures, effort } => {
            let find = |picture: &Picture| -> anyhow::Result<CodesFound> {
                Ok(CodesFound { codes: read_codes(&picture.to_grey(), effort)? })
            };
            each(&pictures, find, shown_codes)
        }
        Command::Pose { pictures, effort, width_mm, intrinsics, hfov_deg } => {
            let find = |picture: &Picture| find_poses(picture, effort, width_mm, intrinsics, hfov_deg);
            each(&pictures, find, shown_poses)
        }
        Command::Face { pictures, models } => {
            let analyser = load(&models)?;
            let find = |picture: &Picture| -> anyhow::Result<Value> {
                Ok(json!({ "faces": analyser.faces(picture)? }))
            };
            each(&pictures, find, shown_faces)
        }
        Command::Skin { pictures, models, calibration, masks } => {
            let mut analyser = load(&models)?;
            if let Some(file) = calibration {
                let read = vision::Calibration::from_file(&file);
                analyser = analyser.calibrated(read.with_context(|| format!("`{}`", file.display()))?);
            }
            if masks {
                return each(&pictures, |picture| with_masks(&analyser.skin(picture)?), Value::to_string);
            }
            let analyse =
                |picture: &Picture| -> anyhow::Result<vision::SkinReport> { Ok(analyser.skin(picture)?) };
            each(&pictures, analyse, shown_skin)
        }
        Command::Calibrate { file, date, out, json } => {
            let date = date.map_or_else(today, Ok)?;
            let calibrate = |picture: &Picture| calibrate(picture, date, out.as_deref());
            each(&Pictures { files: vec![file], json }, calibrate, shown_calibration)
        }
        Command::Camera { probe: Some(device), json, .. } => probe_camera(&device, json),
        Command::Camera { probe: None, json, .. } => Ok(list_cameras(json)),
    }
}

/// The exit status says whether there is one.
fn list_cameras(json: bool) -> ExitCode {
    let cameras = camera::list();
    for Node { path, identity } in &cameras {
        if json {
            println!("{}", json!({ "device": path, "name": identity.card, "port": identity.bus }));
        } else {
            println!("{}  {} ({})", path.display(), identity.card, identity.bus);
        }
    }
    if cameras.is_empty() {
        eprintln!("no camera is plugged in, or this user may not open it (group `video`)");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn probe_camera(device: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let found = camera::describe(device)
        .with_context(|| format!("failed to ask `{}` what it offers", device.display()))?;
    let fourcc = |code: [u8; 4]| String::from_utf8_lossy(&code).into_owned();
    if json {
        let offers: Vec<Value> = found
            .offers
            .iter()
            .map(|offer| match &offer.sizes {
                Sizes::Listed(sizes) => json!({ "format": fourcc(offer.fourcc), "sizes": sizes }),
                Sizes::Between(least, most) => {
                    json!({ "format": fourcc(offer.fourcc), "least": least, "most": most })
                }
            })
            .collect();
        let controls: Vec<Value> = found
            .controls
            .iter()
            .map(|control| {
                let (min, max) = control.range;
                json!({ "name": control.name, "min": min, "max": max, "default": control.default,
                    "value": control.value })
            })
            .collect();
        let Identity { card, bus } = &found.identity;
        println!(
            "{}",
            json!({ "device": device, "name": card, "port": bus, "formats": offers, "controls": controls })
        );
        return Ok(ExitCode::SUCCESS);
    }
    println!("{} ({})", found.identity.card, found.identity.bus);
    for offer in &found.offers {
        println!("  {}", fourcc(offer.fourcc));
        match &offer.sizes {
            Sizes::Listed(sizes) => {
                for (width, height, rate) in sizes {
                    println!("    {width}x{height} up to {}/s", f64::from(*rate) / 1e3);
                }
            }
            Sizes::Between(least, most) => println!("    {}x{} to {}x{}", least.0, least.1, most.0, most.1),
        }
    }
    for control in &found.controls {
        let (min, max) = control.range;
        let now = control.value.map_or_else(|| "?".to_owned(), |value| value.to_string());
        println!("  {}: {now} ({min} to {max}, default {})", control.name, control.default);
    }
    println!("  now: {}", found.format);
    Ok(ExitCode::SUCCESS)
}

fn load(models: &Models) -> anyhow::Result<Analyser> {
    Analyser::load(models.models.as_deref(), models.runtime.as_deref()).context("failed to load the models")
}

/// Analyses each picture and prints its line; a failure is the line of its picture and the exit status.
fn each<T: Serialize>(
    pictures: &Pictures,
    analyse: impl Fn(&Picture) -> anyhow::Result<T>,
    show: impl Fn(&T) -> String,
) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    let mut out = io::stdout().lock();
    for file in &pictures.files {
        let found = read_and(file, &analyse);
        // A name that is no UTF-8 is no reason to say nothing about the file.
        let name = file.to_string_lossy();
        if found.is_err() {
            code = ExitCode::FAILURE;
        }
        let line = match (&found, pictures.json) {
            (Ok((found, ms)), true) => serde_json::to_string(&Line { file: &name, found, ms: *ms })?,
            (Err(error), true) => json!({ "file": name, "error": format!("{error:#}") }).to_string(),
            (Ok((found, ms)), false) => format!("{} ({ms} ms)\n{}", plain(&name), show(found)),
            (Err(error), false) => format!("{}\n  error: {}", plain(&name), plain(&format!("{error:#}"))),
        };
        if let Err(error) = writeln!(out, "{}", line.trim_end()) {
            // Whoever read our output has seen enough.
            return if error.kind() == io::ErrorKind::BrokenPipe { Ok(code) } else { Err(error.into()) };
        }
    }
    Ok(code)
}

/// Milliseconds are counted from the decoded picture on.
fn read_and<T>(file: &Path, analyse: impl Fn(&Picture) -> anyhow::Result<T>) -> anyhow::Result<(T, f64)> {
    let picture = Picture::from_file(file)?;
    let start = Instant::now();
    let found = analyse(&picture)?;
    Ok((found, (start.elapsed().as_secs_f64() * 1e5).round() / 100.0))
}

#[derive(Serialize)]
struct Line<'a, T> {
    file: &'a str,
    #[serde(flatten)]
    found: &'a T,
    ms: f64,
}

fn read_codes(grey: &Grey, Thorough { thorough }: Thorough) -> Result<Vec<Code>, ReadError> {
    if thorough { codes::read_all(&Zxing, grey) } else { codes::read_with(&Zxing, grey, &codes::SCHEDULE) }
}

#[derive(Debug, Serialize)]
struct CodesFound {
    codes: Vec<Code>,
}

fn shown_codes(found: &CodesFound) -> String {
    let mut text = String::new();
    for code in &found.codes {
        let [corner, ..] = code.corners;
        _ = writeln!(
            text,
            "  {} at ({:.0}, {:.0}): {}",
            code.format.name(),
            corner.x,
            corner.y,
            code.text.escape_debug()
        );
        match gs1::parse(code) {
            Ok(item) => {
                _ = write!(text, "    product {}", item.gtin);
                for (name, value) in [("batch", &item.lot), ("item", &item.serial)] {
                    if let Some(value) = value {
                        _ = write!(text, ", {name} {value}");
                    }
                }
                if let Some(expiry) = item.expiry {
                    _ = write!(text, ", use by {expiry}");
                }
                text.push('\n');
            }
            Err(gs1::Gs1Error::NotGs1 | gs1::Gs1Error::NoKey) => {}
            Err(error) => _ = writeln!(text, "    {error}"),
        }
    }
    if text.is_empty() { "  no code".to_owned() } else { text }
}

/// A number within bounds.
fn within(text: &str, (least, most): (f64, f64)) -> Result<f64, String> {
    let number = text.parse().ok().filter(|value| (least..=most).contains(value));
    number.ok_or_else(|| format!("must be a number from {least} to {most}"))
}

fn width_mm(text: &str) -> Result<f64, String> {
    within(text, (0.1, 10_000.0))
}

fn hfov_deg(text: &str) -> Result<f64, String> {
    within(text, FOV_DEG)
}

fn four(text: &str) -> Result<[f64; 4], String> {
    let numbers: Result<Vec<f64>, _> = text.split(',').map(|number| number.trim().parse()).collect();
    let four = numbers.ok().and_then(|numbers| <[f64; 4]>::try_from(numbers).ok());
    let four = four.ok_or("must be four numbers: FX,FY,CX,CY")?;
    // The focal lengths can be judged without the picture.
    match Intrinsics::new([four[0], four[1], 0.0, 0.0], 1, 1) {
        Ok(_) => Ok(four),
        Err(error) => Err(error.to_string()),
    }
}

fn find_poses(
    picture: &Picture,
    effort: Thorough,
    width_mm: Option<f64>,
    intrinsics: Option<[f64; 4]>,
    hfov_deg: Option<f64>,
) -> anyhow::Result<PosesFound> {
    let (width, height) = (picture.width(), picture.height());
    let camera = match (intrinsics, hfov_deg) {
        (Some(numbers), _) => Intrinsics::new(numbers, width, height).context("--intrinsics")?,
        (None, Some(degrees)) => {
            Intrinsics::from_horizontal_fov(width, height, degrees).context("--hfov-deg")?
        }
        (None, None) => Intrinsics::assumed(width, height),
    };
    let grey = picture.to_grey();
    let is_assumed = intrinsics.is_none() && hfov_deg.is_none();
    let mut found = PosesFound { camera, is_assumed, width_mm, poses: Vec::new(), without_pose: Vec::new() };
    for code in read_codes(&grey, effort)? {
        match pose::estimate(&code, &grey, &camera, width_mm.unwrap_or(1.0)) {
            Ok(pose) => found.poses.push((code, pose)),
            Err(reason) => found.without_pose.push((code, reason.to_string())),
        }
    }
    Ok(found)
}

struct PosesFound {
    camera: Intrinsics,
    is_assumed: bool,
    width_mm: Option<f64>,
    poses: Vec<(Code, SymbolPose)>,
    without_pose: Vec<(Code, String)>,
}

impl Serialize for PosesFound {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let [fx, fy, cx, cy] = self.camera.to_array().map(thousandths);
        let fit = |fit: &Fit| {
            let pose = &fit.camera_from_symbol;
            let rows = pose.rotation.transpose().to_cols_array_2d().map(|row| row.map(millionths));
            let unit = if self.width_mm.is_some() { "mm" } else { "widths" };
            let translation = pose.translation.to_array().map(thousandths);
            let surface = match fit.surface {
                Surface::Flat => json!({ "shape": "plane" }),
                Surface::Bent { axis, radius } => {
                    let axis = match axis {
                        Axis::Upright => "upright",
                        Axis::Lying => "lying",
                    };
                    json!({ "shape": "cylinder", "axis": axis, format!("radius_{unit}"): thousandths(radius) })
                }
            };
            json!({ "camera_from_symbol": { "rotation": rows, format!("translation_{unit}"): translation },
                "surface": surface, "agreement": thousandths(fit.agreement) })
        };
        let poses: Vec<Value> = self
            .poses
            .iter()
            .map(|(code, pose)| {
                let mut line = json!(code);
                let mut best = fit(&pose.best);
                for field in ["surface", "camera_from_symbol", "agreement"] {
                    line[field] = best[field].take();
                }
                line["ambiguous"] = json!(pose.ambiguous);
                line["other"] = json!(pose.other.as_ref().map(fit));
                line
            })
            .collect();
        let without: Vec<Value> = self
            .without_pose
            .iter()
            .map(|(code, reason)| {
                let mut line = json!(code);
                line["reason"] = json!(reason);
                line
            })
            .collect();
        json!({
            "camera": { "fx": fx, "fy": fy, "cx": cx, "cy": cy, "assumed": self.is_assumed },
            "poses": poses,
            "without_pose": without,
        })
        .serialize(serializer)
    }
}

fn date(text: &str) -> Result<Date, String> {
    Date::parse(text).map_err(|error| error.to_string())
}

fn today() -> anyhow::Result<Date> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Date::from_unix_secs(now).context("this machine's clock is wrong, name the day with --date")
}

fn calibrate(picture: &Picture, date: Date, out: Option<&Path>) -> anyhow::Result<CalibrationFound> {
    let found = calibration::calibrate(picture, date)?;
    if let Some(path) = out {
        found.calibration.to_file(path)?;
    }
    Ok(CalibrationFound { found, out: out.map(Path::to_owned) })
}

struct CalibrationFound {
    found: Calibrated,
    out: Option<PathBuf>,
}

impl Serialize for CalibrationFound {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Calibrated { detected, fit, calibration } = &self.found;
        let patches: Vec<Value> = Patch::all()
            .map(|patch| {
                let Reading { rgb, spread } = detected.readings[patch.index()];
                json!({ "name": patch.name(), "row": patch.row(), "column": patch.column(),
                    "rgb": rgb.map(millionths), "spread": spread.map(millionths),
                    "delta_e_76": thousandths(fit.patches_76[patch.index()]) })
            })
            .collect();
        let calibration: Value =
            serde_json::from_str(&calibration.to_json()).map_err(serde::ser::Error::custom)?;
        json!({
            "corners": detected.corners,
            "agreement": thousandths(detected.agreement),
            "light_ratio": thousandths(fit.light_ratio),
            "patches": patches,
            "calibration": calibration,
            // A name that is no UTF-8 is no reason to say nothing about the file.
            "out": self.out.as_ref().map(|path| path.to_string_lossy()),
        })
        .serialize(serializer)
    }
}

fn shown_calibration(CalibrationFound { found, out }: &CalibrationFound) -> String {
    let mut text = String::new();
    let corners =
        found.detected.corners.map(|corner| format!("({:.0}, {:.0})", corner.x, corner.y)).join(" ");
    _ = writeln!(text, "  chart at {corners}, agreement {:.3}", found.detected.agreement);
    let DeltaE { mean_76, max_76, mean_2000, max_2000, left_out_mean_76 } = found.fit.delta_e;
    _ = writeln!(
        text,
        "  ΔE*ab {mean_76:.2} in the mean, {max_76:.2} at most; {left_out_mean_76:.2} left out"
    );
    _ = writeln!(text, "  CIEDE2000 {mean_2000:.2} in the mean, {max_2000:.2} at most");
    _ = writeln!(
        text,
        "  light {:.2} times as much at its brightest place on the chart",
        found.fit.light_ratio
    );
    _ = match out {
        Some(path) => {
            writeln!(text, "  calibration of {} written to {}", found.calibration.date(), path.display())
        }
        None => writeln!(text, "  calibration of {} not written (--out)", found.calibration.date()),
    };
    text
}

fn thousandths(value: f64) -> f64 {
    // No negative zero.
    (value * 1e3).round() / 1e3 + 0.0
}

fn millionths(value: f64) -> f64 {
    (value * 1e6).round() / 1e6 + 0.0
}

fn shown_poses(found: &PosesFound) -> String {
    let mut text = String::new();
    let unit = if found.width_mm.is_some() { "mm" } else { "widths" };
    for (code, pose) in &found.poses {
        let place = &pose.best.camera_from_symbol;
        let [x, y, z] = place.translation.to_array().map(thousandths);
        _ = writeln!(
            text,
            "  {} {}\n    at ({x}, {y}, {z}) {unit}, seen {:.1}° from straight on, agreement {:.2}{}",
            code.format.name(),
            code.text.escape_debug(),
            place.tilt_deg(),
            pose.best.agreement,
            if pose.ambiguous { ", or tilted the other way" } else { "" }
        );
    }
    for (code, reason) in &found.without_pose {
        _ = writeln!(text, "  {} {}\n    {reason}", code.format.name(), code.text.escape_debug());
    }
    if text.is_empty() {
        return "  no code".to_owned();
    }
    if found.is_assumed && !found.poses.is_empty() {
        _ = writeln!(
            text,
            "  the camera is assumed to see {ASSUMED_FOV_DEG}° along the longer side (--hfov-deg, --intrinsics)"
        );
    }
    text
}

fn shown_faces(found: &Value) -> String {
    let faces = found["faces"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut text = String::new();
    for face in faces {
        _ = writeln!(text, "  box {}, landmarks {}", face["box"], face["landmarks"]);
    }
    if text.is_empty() { "  no face".to_owned() } else { text }
}

/// The report with its maps, and with the names of the maps at their metrics.
fn with_masks(report: &vision::SkinReport) -> anyhow::Result<Value> {
    let mut document = serde_json::to_value(report)?;
    let masks = report.overlay.as_ref().map(Overlay::masks).unwrap_or_default();
    for metric in document["metrics"].as_array_mut().into_iter().flatten() {
        let mapped = masks.iter().find(|mask| metric["id"] == mask.id && metric.get("value").is_some());
        if let Some(mask) = mapped {
            metric["mask_ref"] = mask.id.into();
        }
    }
    if let Some(overlay) = &report.overlay {
        document["picture_from_mask"] = json!(overlay.picture_from_mask());
    }
    document["masks"] = serde_json::to_value(masks)?;
    Ok(document)
}

fn shown_skin(report: &vision::SkinReport) -> String {
    let mut text = String::new();
    for problem in &report.capture.problems {
        _ = writeln!(
            text,
            "  {:?}: {} ({} against {}), advice: {}",
            problem.severity, problem.id, problem.value, problem.limit, problem.advice
        );
    }
    match &report.tone.values {
        Some(tone) => {
            let colour = tone.colour.map_or_else(String::new, |colour| {
                let ToneColour { a, b, hue, hue_repeat_deg } = colour;
                format!(", a* {a}, b* {b}, hue {hue}° ± {hue_repeat_deg}°")
            });
            _ = writeln!(
                text,
                "  tone: L* {} ± {}{colour}, ITA {}° ({}° to {}°), {}",
                tone.lightness,
                tone.lightness_repeat,
                tone.ita_deg,
                tone.ita_ci[0],
                tone.ita_ci[1],
                report.tone.calibration
            );
        }
        None => _ = writeln!(text, "  tone: not measurable ({})", report.tone.reason.unwrap_or("unknown")),
    }
    for metric in &report.metrics {
        let name = metric.id.name();
        _ = match &metric.measured {
            Some(found) => writeln!(
                text,
                "  {name}: {} ({} to {}) {}, {}",
                found.value,
                found.ci[0],
                found.ci[1],
                found.unit,
                metric.reason.unwrap_or("ok")
            ),
            None => writeln!(text, "  {name}: not measurable ({})", metric.reason.unwrap_or("unknown")),
        };
    }
    text
}
