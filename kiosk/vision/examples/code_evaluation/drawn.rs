//! Frames of labels on paper, tins, bottles and lipsticks, as a customer holds them before a camera of 1280 x 720.

use std::{f64::consts::TAU, time::Instant};

use anyhow::Result;
use glam::{DMat3, DQuat, DVec2, DVec3};
use serde_json::{Map, Value, json};
use vision::{
    codes::{self, CodeReader as _, Effort, Modules, Zxing},
    pose::{self, Axis, Intrinsics, Rigid, Surface},
    synthetic::Scene,
};

use crate::{quantile, rounded};

const WIDTH: u32 = 1280;
const HEIGHT: u32 = 720;
const FOCAL_PX: f64 = 1016.6;
/// A QR code of version 4 that is printed 22 mm wide.
const SYMBOL_MM: f64 = 22.0;

struct Set {
    name: &'static str,
    /// In millimetres; `None` is flat.
    radius: Option<f64>,
    frames: u32,
}

const SETS: [Set; 4] = [
    Set { name: "flat", radius: None, frames: 160 },
    Set { name: "tin", radius: Some(63.5), frames: 120 },
    Set { name: "bottle", radius: Some(37.5), frames: 160 },
    Set { name: "lipstick", radius: Some(12.5), frames: 80 },
];
/// A symbol turned by more than this against the truth is one that has flipped, in degrees.
const FLIP_DEG: f64 = 15.0;

/// The digits of `index` in this base, behind the point (Halton's sequence).
fn halton(mut index: u32, base: u32) -> f64 {
    let (mut value, mut digit) = (0.0, 1.0);
    while 0 < index {
        digit /= f64::from(base);
        value += digit * f64::from(index % base);
        index /= base;
    }
    value
}

fn camera() -> Intrinsics {
    Intrinsics::new([FOCAL_PX, FOCAL_PX, 639.5, 359.5], WIDTH, HEIGHT).expect("a camera")
}

fn text(index: u32) -> String {
    format!("https://id.gs1.org/01/09521234543213/10/LOT{index:03}/21/SN{}", 100_000 + index)
}

fn symbol(text: &str) -> Modules {
    let code = qrcode::QrCode::with_error_correction_level(text, qrcode::EcLevel::M).expect("it is short");
    let dark = code.to_colors().iter().map(|colour| *colour == qrcode::Color::Dark).collect();
    Modules::new(u32::try_from(code.width()).expect("at most 177"), dark).expect("it is square")
}

/// A label at 0.1 to 0.32 m, tilted by up to 50° about any axis; flat ones are turned in their plane by any angle, others by
/// 25° either way, as bottles are held.
fn scene(set: &Set, index: u32) -> Scene {
    let [distance, tilt, about, turn, x, y, shake, light] =
        [2, 3, 5, 7, 11, 13, 17, 19].map(|base| halton(index, base));
    let distance = 100.0 + 220.0 * distance;
    let about = TAU * about;
    let tilt = DQuat::from_axis_angle(DVec3::new(about.cos(), about.sin(), 0.0), (50.0 * tilt).to_radians());
    let turn = match set.radius {
        None => TAU * turn,
        Some(_) => (50.0 * turn - 25.0).to_radians(),
    };
    let reach = DVec2::new(f64::from(WIDTH), f64::from(HEIGHT)) / FOCAL_PX * 0.7 * distance;
    // Three of five hold it still.
    let shake_px = if shake < 0.6 {
        0.0
    } else if shake < 0.8 {
        2.0
    } else {
        4.0
    };
    Scene {
        width: WIDTH,
        height: HEIGHT,
        camera: camera(),
        symbol: symbol(&text(index)),
        symbol_width: SYMBOL_MM,
        surface: set.radius.map_or(Surface::Flat, |radius| Surface::Bent { axis: Axis::Upright, radius }),
        camera_from_symbol: Rigid {
            rotation: DMat3::from_quat(tilt * DQuat::from_rotation_z(turn)),
            translation: DVec3::new((x - 0.5) * reach.x, (y - 0.5) * reach.y, distance),
        },
        light_slope: 0.35 * (TAU * light).cos(),
        blur_px: 0.7,
        shake_px: DVec2::from_angle(TAU * light) * shake_px,
        noise: 3.0,
        seed: u64::from(index),
    }
}

/// Which pass reads the text, and how long all passes take.
pub(crate) fn read() -> Result<Value> {
    let mut document = Map::new();
    for set in &SETS {
        let (mut flat, mut with_bent, mut wrong) = (0, 0, 0);
        let (mut fast_ms, mut all_ms) = (Vec::new(), Vec::new());
        for index in 1..=set.frames {
            let grey = scene(set, index).frame();
            let expected = text(index);
            let start = Instant::now();
            for effort in codes::SCHEDULE {
                let found = Zxing.read(&grey, effort)?;
                if effort == Effort::Fast {
                    fast_ms.push(start.elapsed().as_secs_f64() * 1e3);
                }
                wrong += found.iter().filter(|code| code.text != expected).count();
                if found.iter().any(|code| code.text == expected) {
                    flat += u32::from(effort != Effort::Rescue);
                    with_bent += 1;
                    break;
                }
            }
            all_ms.push(start.elapsed().as_secs_f64() * 1e3);
        }
        let share = |count: u32| rounded(f64::from(count) / f64::from(set.frames));
        document.insert(
            set.name.to_owned(),
            json!({ "frames": set.frames, "zxing_cpp": share(flat), "storehub": share(with_bent), "misreads": wrong,
                "fast_ms_p50": quantile(&fast_ms, 0.5), "ms_p50": quantile(&all_ms, 0.5), "ms_max": quantile(&all_ms, 1.0) }),
        );
        eprintln!("{}: {}", set.name, document[set.name]);
    }
    Ok(Value::Object(document))
}

/// How far poses are from the truth.
pub(crate) fn poses() -> Result<Value> {
    let mut document = Map::new();
    for set in &SETS {
        let (mut turns, mut shifts, mut radii, mut times) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut followed, mut follow_times) = (Vec::new(), Vec::new());
        let (mut none, mut other_surface, mut lost) = (0, 0, 0);
        let mut others = Vec::new();
        for index in 1..=set.frames {
            let scene = scene(set, index);
            let grey = scene.frame();
            let found = codes::read_with(&Zxing, &grey, &codes::SCHEDULE)?;
            let Some(code) = found.iter().find(|code| code.text == text(index)) else { continue };
            let start = Instant::now();
            let Ok(pose) = pose::estimate(code, &grey, &scene.camera, SYMBOL_MM) else {
                none += 1;
                continue;
            };
            times.push(start.elapsed().as_secs_f64() * 1e3);
            // The next frame, a little further on.
            let mut next = scene.clone();
            next.camera_from_symbol.translation += DVec3::new(2.0, -1.0, 1.5);
            next.camera_from_symbol.rotation =
                DMat3::from_axis_angle(DVec3::new(0.6, 0.8, 0.0), 0.03) * next.camera_from_symbol.rotation;
            next.seed += 1_000;
            let grey = next.frame();
            if let Some(code) = Zxing.read(&grey, Effort::Fast)?.iter().find(|code| code.text == text(index))
            {
                let start = Instant::now();
                match pose::follow(&pose.best, code, &grey, &next.camera, SYMBOL_MM) {
                    Ok(found) => {
                        follow_times.push(start.elapsed().as_secs_f64() * 1e3);
                        followed.push(next.camera_from_symbol.degrees_to(&found.camera_from_symbol));
                    }
                    Err(_) => lost += 1,
                }
            }
            let (truth, own) = (&scene.camera_from_symbol, &pose.best.camera_from_symbol);
            turns.push(truth.degrees_to(own));
            shifts.push(truth.translation.distance(own.translation));
            match (scene.surface, pose.best.surface) {
                (Surface::Bent { radius, .. }, Surface::Bent { radius: own, axis: Axis::Upright }) => {
                    radii.push((own / radius - 1.0).abs());
                }
                (Surface::Flat, Surface::Flat) => {}
                _ => {
                    other_surface += 1;
                    others.push(json!({ "frame": index, "surface": format!("{:?}", pose.best.surface),
                        "agreement": rounded(pose.best.agreement), "turned_deg": rounded(truth.degrees_to(own)),
                        "distance_mm": rounded(truth.translation.z), "tilt_deg": rounded(truth.tilt_deg()),
                        "shake_px": rounded(scene.shake_px.length()) }));
                }
            }
        }
        let pair = |values: &[f64]| json!({ "p50": quantile(values, 0.5), "p95": quantile(values, 0.95), "max": quantile(values, 1.0) });
        document.insert(
            set.name.to_owned(),
            json!({ "poses": turns.len(), "none": none, "other_surface": other_surface, "others": others,
                "flips": turns.iter().filter(|turn| FLIP_DEG < **turn).count(),
                "turned_deg": pair(&turns), "off_mm": pair(&shifts), "radius_off": pair(&radii), "ms": pair(&times),
                "followed": { "frames": followed.len(), "lost": lost, "turned_deg": pair(&followed), "ms": pair(&follow_times) } }),
        );
        eprintln!("{}: {}", set.name, document[set.name]);
    }
    Ok(Value::Object(document))
}
