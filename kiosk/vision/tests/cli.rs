//! The command line as tools outside drive it: lines, error lines, exit statuses.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

fn vision() -> Command {
    Command::new(env!("CARGO_BIN_EXE_storehub-vision"))
}

/// `face` or `skin` with our networks and the fetched runtime, which a machine may lack.
fn analysis(command: &str) -> Option<Command> {
    let Some(runtime) = vision::analyser::find_runtime().filter(|path| path.is_file()) else {
        eprintln!("skipped: no ONNX Runtime library (`cargo xtask setup`)");
        return None;
    };
    let mut vision = vision();
    vision.arg(command).arg("--models").arg(weights()).arg("--runtime").arg(runtime);
    Some(vision)
}

/// A rendered face that the gate lets through.
fn portrait() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo/portrait.png")
}

/// The only line of what a program writes.
fn document(command: &mut Command) -> Value {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{}", errors(&output));
    lines(&output).remove(0)
}

fn weights() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/weights")
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).expect("the output is UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A QR code as a PNG file.
fn qr(folder: &Path, text: &str) -> PathBuf {
    let code = qrcode::QrCode::new(text).expect("it fits");
    let picture = code.render::<image::Luma<u8>>().min_dimensions(200, 200).build();
    let path = folder.join("code.png");
    picture.save(&path).expect("the folder is ours");
    path
}

#[test]
fn each_picture_is_a_line_and_a_bad_one_only_its_own() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let good = qr(folder.path(), "https://id.gs1.org/01/09521234543213/10/A");
    let bad = folder.path().join("bad.png");
    std::fs::write(&bad, "no picture").expect("the folder is ours");
    let none = folder.path().join("none.png");
    let output = vision().args(["codes", "--json"]).args([&none, &bad, &good]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let lines = lines(&output);
    assert_eq!(lines.len(), 3);
    for (line, file) in lines.iter().zip([&none, &bad, &good]) {
        assert_eq!(line["file"].as_str(), file.to_str());
    }
    assert!(lines[0]["error"].as_str().is_some_and(|e| e.contains("No such file")), "{}", lines[0]);
    assert!(lines[1]["error"].as_str().is_some_and(|e| e.contains("not a PNG, JPEG or WebP")));
    let code = &lines[2]["codes"][0];
    assert_eq!(code["format"], "qr");
    assert_eq!(code["text"], "https://id.gs1.org/01/09521234543213/10/A");
    assert_eq!(code["corners"].as_array().map(Vec::len), Some(4));
    assert!(lines[2]["ms"].is_number());

    let output = vision().arg("codes").arg(&good).output().expect("it runs");
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("product 09521234543213, batch A"), "{text}");
}

#[test]
fn a_symbol_seen_straight_on_is_where_its_size_says() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let picture = qr(folder.path(), "https://id.gs1.org/01/09521234543213/10/A");
    let (width, height) = image::image_dimensions(&picture).expect("it was just written");
    let pose = |options: &[&str]| {
        let output = vision().args(["pose", "--json"]).args(options).arg(&picture).output().expect("it runs");
        assert!(output.status.success(), "{}", errors(&output));
        lines(&output).remove(0)
    };
    let line = pose(&[
        "--width-mm",
        "29",
        "--intrinsics",
        &format!("500,500,{}.5,{}.5", width / 2 - 1, height / 2 - 1),
    ]);
    assert_eq!(line["file"].as_str(), picture.to_str());
    assert_eq!(line["camera"]["assumed"], false);
    let found = &line["poses"][0];
    assert_eq!((&found["format"], &found["surface"]["shape"]), (&"qr".into(), &"plane".into()));
    let translation: [f64; 3] =
        serde_json::from_value(found["camera_from_symbol"]["translation_mm"].clone()).expect("three numbers");
    // The picture holds the symbol and four modules of border on each side.
    let corners: [[f64; 2]; 4] = serde_json::from_value(found["corners"].clone()).expect("four corners");
    let side = f64::from(width) * 29.0 / (29.0 + 8.0);
    assert!((corners[1][0] - corners[0][0] - side).abs() < 3.0, "{found}");
    let expected = [0.0, 0.0, 500.0 * 29.0 / side];
    for (found, expected) in translation.iter().zip(expected) {
        assert!((found - expected).abs() < 0.2, "{translation:?} for {expected:?}");
    }
    let rotation: [[f64; 3]; 3] =
        serde_json::from_value(found["camera_from_symbol"]["rotation"].clone()).expect("three rows");
    for (row, line) in rotation.iter().enumerate() {
        for (column, value) in line.iter().enumerate() {
            assert!((value - f64::from(u8::from(row == column))).abs() < 0.01, "{rotation:?}");
        }
    }
    assert!(found["agreement"].as_f64().is_some_and(|agreement| 0.95 < agreement), "{found}");
    assert_eq!(line["without_pose"], serde_json::json!([]));

    // Without a size and a camera it says so instead of naming millimetres.
    let line = pose(&[]);
    assert_eq!(line["camera"]["assumed"], true);
    let pose = &line["poses"][0]["camera_from_symbol"];
    assert!(pose["translation_mm"].is_null() && pose["translation_widths"].is_array(), "{pose}");
}

#[test]
fn a_camera_that_cannot_be_is_refused_with_the_option_and_the_value() {
    for (option, value, reason) in [
        ("--intrinsics", "0,500,1,1", "focal length 0 must be from 1 to 1000000 pixels"),
        ("--intrinsics", "-500,500,1,1", "focal length -500 must be from 1 to 1000000 pixels"),
        ("--intrinsics", "500,500", "must be four numbers: FX,FY,CX,CY"),
        ("--width-mm", "-3", "must be a number from 0.1 to 10000"),
        ("--width-mm", "1e308", "must be a number from 0.1 to 10000"),
        ("--hfov-deg", "wide", "must be a number from 0.1 to 170"),
        ("--hfov-deg", "180", "must be a number from 0.1 to 170"),
    ] {
        let output = vision().args(["pose", option, value, "x.png"]).output().expect("it runs");
        let error = errors(&output);
        for part in [option, value, reason] {
            assert!(error.contains(part), "`{part}` in {error}");
        }
    }
}

#[test]
fn a_camera_that_looks_past_its_picture_and_a_name_that_is_no_text_are_lines_of_their_own() {
    use std::os::unix::ffi::OsStringExt as _;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let picture = qr(folder.path(), "x");
    let odd = folder.path().join(std::ffi::OsString::from_vec(b"odd\xff.png".to_vec()));
    std::fs::copy(&picture, &odd).expect("the folder is ours");
    let output = vision().args(["pose", "--json"]).args([&odd, &picture]).output().expect("it runs");
    assert!(output.status.success(), "{}", errors(&output));
    let said = lines(&output);
    assert!(said.len() == 2 && said[0]["file"].as_str().is_some_and(|name| name.contains("odd")), "{said:?}");
    let output = vision()
        .args(["pose", "--json", "--intrinsics", "500,500,9000,1"])
        .arg(&picture)
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let error = lines(&output)[0]["error"].as_str().unwrap_or_default().to_owned();
    assert!(error.contains("--intrinsics") && error.contains("9000, 1 lies outside the picture"), "{error}");
}

#[test]
fn a_photograph_that_is_cut_off_is_not_a_picture_without_codes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let picture = folder.path().join("photo.jpg");
    image::open(qr(folder.path(), "x")).expect("it was just written").to_rgb8().save(&picture).expect("ours");
    let whole = std::fs::read(&picture).expect("it was just written");
    let run = || vision().args(["codes", "--json"]).arg(&picture).output().expect("it runs");
    assert_eq!(lines(&run())[0]["codes"].as_array().map(Vec::len), Some(1));
    // A telephone appends a film, which may hold any bytes.
    std::fs::write(&picture, [&whole[..], b"film \xff\xda"].concat()).expect("the folder is ours");
    assert_eq!(lines(&run())[0]["codes"].as_array().map(Vec::len), Some(1));
    std::fs::write(&picture, &whole[..whole.len() / 2]).expect("the folder is ours");
    let output = run();
    assert_eq!(output.status.code(), Some(1));
    assert!(lines(&output)[0]["error"].as_str().is_some_and(|error| error.contains("cut off")));
}

/// A chart seen straight on by a camera that is sRGB, as a PNG file.
#[expect(clippy::cast_possible_truncation, reason = "six columns, and light that was clamped")]
fn chart(folder: &Path) -> PathBuf {
    let encoded = |linear: f64| {
        let linear = linear.clamp(0.0, 1.0);
        if linear <= 0.003_130_8 { 12.92 * linear } else { 1.055 * linear.powf(1.0 / 2.4) - 0.055 }
    };
    let mut picture = image::RgbImage::from_pixel(700, 500, image::Rgb([40; 3]));
    for patch in vision::calibration::Patch::all() {
        // At nine tenths of the light, so that white is not clipped.
        let rgb = patch.linear_srgb().map(|linear| (255.0 * encoded(0.9 * linear)).round() as u8);
        let (left, top) = (54 + 100 * (patch.column() as u32 - 1), 54 + 100 * (patch.row() as u32 - 1));
        for (x, y) in (top..top + 86).flat_map(|y| (left..left + 86).map(move |x| (x, y))) {
            picture.put_pixel(x, y, image::Rgb(rgb));
        }
    }
    let path = folder.join("chart.png");
    picture.save(&path).expect("the folder is ours");
    path
}

#[test]
fn a_chart_gives_a_calibration_file_and_a_picture_without_one_leaves_the_old_file_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (chart, none) = (chart(folder.path()), qr(folder.path(), "x"));
    let out = folder.path().join("colour.json");
    let run = |options: &[&str], picture: &Path| {
        let mut command = vision();
        command.arg("calibrate").args(options).arg("--out").arg(&out).arg(picture);
        command.output().expect("it runs")
    };
    let output = run(&["--json", "--date", "2026-11-23"], &chart);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let line = &lines(&output)[0];
    assert_eq!(line["file"].as_str(), chart.to_str());
    assert_eq!(line["patches"].as_array().map(Vec::len), Some(24));
    assert!(line["calibration"]["delta_e"]["mean_76"].as_f64().is_some_and(|mean| mean < 1.0), "{line}");
    let written = vision::Calibration::from_file(&out).expect("it was just written");
    assert_eq!(written.date().to_string(), "2026-11-23");

    let output = run(&[], &chart);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("ΔE*ab") && text.contains("colour.json"), "{text}");

    let before = std::fs::read(&out).expect("it is still there");
    let output = run(&["--json"], &none);
    assert_eq!(output.status.code(), Some(1));
    assert!(lines(&output)[0]["error"].as_str().is_some_and(|error| error.contains("found no colour chart")));
    assert_eq!(std::fs::read(&out).expect("it is still there"), before);
}

#[test]
fn a_calibration_that_cannot_be_read_written_or_dated_says_why() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let chart = chart(folder.path());
    let error = |options: &[&str], picture: &Path| {
        let output =
            vision().args(["calibrate", "--json"]).args(options).arg(picture).output().expect("it runs");
        assert_eq!(output.status.code(), Some(1));
        lines(&output)[0]["error"].as_str().unwrap_or_default().to_owned()
    };
    assert!(error(&[], &folder.path().join("none.png")).contains("No such file"));
    let missing = folder.path().join("missing/colour.json");
    let unwritten = error(&["--out", missing.to_str().expect("it is text")], &chart);
    assert!(
        unwritten.contains("failed to write the calibration") && unwritten.contains("missing/colour.json")
    );
    let output = vision().args(["calibrate", "--date", "2026-02-30", "x.png"]).output().expect("it runs");
    assert!(errors(&output).contains("must be a day of the years 2000 to 2199"), "{}", errors(&output));
}

#[test]
fn a_device_that_is_no_camera_is_named() {
    let output = vision().args(["camera", "--probe", "/dev/null"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(errors(&output).contains("failed to ask `/dev/null`"), "{}", errors(&output));
    let neither = vision().arg("camera").output().expect("it runs");
    assert!(errors(&neither).contains("--list"), "{}", errors(&neither));
}

#[test]
fn what_keeps_it_from_looking_at_all_is_one_line_of_json_where_json_is_asked_for() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let picture = qr(folder.path(), "x");
    for command in ["face", "skin"] {
        let runtime = folder.path().join("libonnxruntime.so");
        let output = vision()
            .args([command, "--json"])
            .args([&picture, &picture])
            .arg("--runtime")
            .arg(&runtime)
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(1));
        let lines = lines(&output);
        let error = lines[0]["error"].as_str().expect("an error in words");
        assert!(error.contains("failed to load the models: found no ONNX Runtime library"), "{error}");
        assert_eq!((lines.len(), errors(&output).as_str()), (1, ""));
    }
    let output = vision().args(["camera", "--json", "--probe", "/dev/null"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(lines(&output)[0]["error"].as_str().is_some_and(|error| error.contains("`/dev/null`")));
}

#[test]
fn the_runtime_leaves_no_record_of_its_use_behind() {
    let Some(mut skin) = analysis("skin") else { return };
    let home = tempfile::tempdir().expect("a temporary folder");
    skin.env_remove(vision::QUIET_VARIABLE).env("HOME", home.path()).env_remove("XDG_CACHE_HOME");
    assert_eq!(document(skin.arg("--json").arg(portrait()))["schema"], "skin-report/1");
    let left: Vec<_> = std::fs::read_dir(home.path()).expect("it is ours").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_is_missing_for_faces_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let picture = qr(folder.path(), "x");
    let run = |models: &Path, runtime: &Path| {
        let output = vision()
            .arg("face")
            .arg(&picture)
            .arg("--models")
            .arg(models)
            .arg("--runtime")
            .arg(runtime)
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(1));
        errors(&output)
    };
    let missing = run(&weights(), &folder.path().join("libonnxruntime.so"));
    assert!(
        missing.contains("found no ONNX Runtime library") && missing.contains("cargo xtask setup"),
        "{missing}"
    );

    let Some(runtime) = vision::analyser::find_runtime().filter(|path| path.is_file()) else {
        eprintln!("skipped the rest: no ONNX Runtime library (`cargo xtask setup`)");
        return;
    };
    let models = folder.path().join("models");
    std::fs::create_dir(&models).expect("the folder is ours");
    let none = run(&models, &runtime);
    assert!(none.contains("failed to read") && none.contains("landmark96.json"), "{none}");
    for file in
        ["landmark96.json", "landmark96.onnx", "cover96.json", "cover96.onnx", "skinmap.json", "skinmap.onnx"]
    {
        std::fs::copy(weights().join(file), models.join(file)).expect("models are part of the repository");
    }
    let path = models.join("landmark96.onnx");
    let mut bytes = std::fs::read(&path).expect("it was just copied");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).expect("the folder is ours");
    let damaged = run(&models, &runtime);
    assert!(damaged.contains("landmark96.onnx` has sha256") && damaged.contains("expects"), "{damaged}");
}

#[test]
fn a_rendered_face_is_found_and_its_report_holds_no_landmarks() {
    let scene = std::fs::read_dir(weights().join("goldens"))
        .ok()
        .and_then(|files| files.flatten().map(|f| f.path()).find(|f| f.to_string_lossy().contains("scene-")));
    let scene = scene.expect("goldens are part of the repository");
    for command in ["face", "skin"] {
        let Some(mut looks) = analysis(command) else { return };
        let line = document(looks.arg("--json").arg(&scene));
        if command == "face" {
            for face in line["faces"].as_array().expect("a list") {
                assert_eq!(face["landmarks"].as_object().map(serde_json::Map::len), Some(5));
                assert_eq!(face["box"].as_array().map(Vec::len), Some(4));
            }
        } else {
            assert_eq!(line["schema"], "skin-report/1");
            assert_eq!(line["capture"]["calibration"], "uncalibrated");
            assert!(line.get("outlines").is_none() && line.get("landmarks").is_none());
        }
    }
}

#[test]
fn colours_are_calibrated_only_as_long_as_the_strip_looks_as_it_did() {
    use vision::calibration::{Area, Date, Strip, Watch, calibrate};
    let portrait = portrait();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let chart = vision::Picture::from_file(chart(folder.path())).expect("it was just written");
    let calibration = calibrate(&chart, Date::parse("2026-11-23").expect("a day")).expect("it is a chart");
    let calibration = calibration.calibration;
    // The wall behind the face stands for the strip.
    let wall = [[0.02, 0.02, 0.05, 0.05]; 5].map(|area| Area::try_from(area).expect("it is inside"));
    let strip = Strip { areas: wall };
    let picture = vision::Picture::from_file(&portrait).expect("it is part of the repository");
    let reference = strip.capture(&picture, &calibration).expect("the wall is seen");
    let file = folder.path().join("colour.json");
    calibration.watched(Watch { strip, reference }).to_file(&file).expect("the folder is ours");

    let mut dimmer = image::open(&portrait).expect("it is a picture").to_rgb8();
    dimmer.pixels_mut().for_each(|pixel| pixel.0 = pixel.0.map(|byte| byte / 4 * 3));
    let dimmed = folder.path().join("dimmed.png");
    dimmer.save(&dimmed).expect("the folder is ours");

    if analysis("skin").is_none() {
        return;
    }
    let capture = |picture: &Path| {
        let mut skin = analysis("skin").expect("it was there a moment ago");
        document(skin.args(["--json", "--calibration"]).arg(&file).arg(picture))["capture"].take()
    };
    let same = capture(&portrait);
    assert_eq!((&same["calibration"], &same["strip"]["ok"]), (&"chart-2026-11-23".into(), &true.into()));
    let changed = capture(&dimmed);
    assert_eq!((&changed["calibration"], &changed["strip"]["ok"]), (&"uncalibrated".into(), &false.into()));
    assert!(changed["strip"]["stops"].as_f64().is_some_and(|stops| stops < -0.3), "{changed}");
    assert_eq!(changed["ok"], true, "{changed}");

    dimmer.pixels_mut().for_each(|pixel| pixel.0 = pixel.0.map(|byte| byte / 2));
    dimmer.save(&dimmed).expect("the folder is ours");
    let dark = capture(&dimmed);
    assert!(dark["strip"]["stops"].as_f64().is_some_and(|stops| stops < -1.0), "{dark}");
    let problems = dark["problems"].as_array().expect("a list");
    assert!(problems.iter().any(|problem| problem["id"] == "too_dark" && problem["limit"] == -1.0), "{dark}");
    assert_eq!(dark["ok"], false, "{dark}");
}

#[test]
fn maps_are_part_of_the_document_for_who_asks_and_of_no_other() {
    let (Some(mut plain), Some(mut asked)) = (analysis("skin"), analysis("skin")) else { return };
    let plain = document(plain.arg("--json").arg(portrait()));
    let asked = document(asked.args(["--json", "--masks"]).arg(portrait()));
    assert!(plain.get("masks").is_none() && !plain.to_string().contains("mask"), "{plain}");
    let masks = asked["masks"].as_array().expect("a list");
    let ones = |id: &str| -> usize {
        let mask = masks.iter().find(|mask| mask["id"] == id).expect("it is there");
        let runs: Vec<usize> = mask["data"]
            .as_str()
            .expect("text")
            .split(' ')
            .map(|length| length.parse().expect("a length"))
            .collect();
        let cells = mask["w"].as_u64().zip(mask["h"].as_u64()).map(|(w, h)| w * h);
        assert_eq!(u64::try_from(runs.iter().sum::<usize>()).ok(), cells, "{id}");
        runs.iter().skip(1).step_by(2).sum()
    };
    let skin = ones("skin");
    assert!((5_000..60_000).contains(&skin), "{skin} cells of skin");
    for metric in asked["metrics"].as_array().expect("a list") {
        let id = metric["id"].as_str().expect("a name");
        let is_mapped = ["lines", "spots", "redness", "shine"].contains(&id);
        assert_eq!(metric.get("mask_ref").is_some(), is_mapped && metric.get("value").is_some(), "{metric}");
        if let Some(mask) = metric.get("mask_ref").and_then(|name| name.as_str()) {
            assert!(ones(mask) < skin, "{mask}");
        }
    }
    assert_eq!(asked["picture_from_mask"].as_array().map(Vec::len), Some(2));
}
