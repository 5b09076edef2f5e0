//! What sees says what it lacks: a missing picture, no ONNX Runtime, a damaged network; and the kiosk goes on without.

use std::{
    fs,
    path::{Path, PathBuf},
};

use e2e::harness::{Finished, run_to_end};
use serde_json::Value;
use tempfile::TempDir;

const VISION: &str = "storehub-vision";
const KIOSK: &str = "storehub-kiosk";

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the workspace").to_owned()
}

/// A grey picture without a face.
fn picture(dir: &Path) -> PathBuf {
    let path = dir.join("grey.png");
    image::RgbImage::from_pixel(320, 240, image::Rgb([128, 128, 128]))
        .save(&path)
        .expect("our own folder is writable");
    path
}

/// Our networks under `weights`, one with a flipped byte.
fn damaged_networks(dir: &Path) {
    let models = dir.join("weights");
    fs::create_dir(&models).expect("our own folder is writable");
    for entry in fs::read_dir(workspace().join("models/weights")).expect("the networks are there").flatten() {
        if entry.path().is_file() {
            fs::copy(entry.path(), models.join(entry.file_name())).expect("our own folder is writable");
        }
    }
    let network = models.join("landmark96.onnx");
    let mut bytes = fs::read(&network).expect("the network is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(&network, bytes).expect("our own folder is writable");
}

async fn vision(dir: &TempDir, args: &[&str]) -> Finished {
    run_to_end(VISION, dir.path(), args).await
}

#[tokio::test]
async fn a_picture_that_cannot_be_read_is_named_and_the_next_is_read() {
    let dir = TempDir::new().expect("the folder for temporary files is writable");
    picture(dir.path());
    fs::write(dir.path().join("broken.png"), b"\x89PNG\r\n\x1a\nnothing")
        .expect("our own folder is writable");
    let seen = vision(&dir, &["codes", "absent.png", "broken.png", "grey.png", "--json"]).await;
    assert!(!seen.status.success(), "one that failed shows in the exit status");
    let lines: Vec<serde_json::Value> =
        seen.stdout.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    assert_eq!(lines.len(), 3, "{}", seen.said());
    assert!(lines[0]["error"].is_string() && lines[1]["error"].is_string(), "{}", seen.stdout);
    assert!(lines[2]["codes"].as_array().is_some_and(Vec::is_empty), "{}", seen.stdout);
}

#[tokio::test]
async fn a_missing_runtime_is_named_with_what_to_do() {
    let dir = TempDir::new().expect("the folder for temporary files is writable");
    picture(dir.path());
    let models = workspace().join("models/weights");
    let models = models.to_str().expect("the checkout has a plain path");
    let args = ["skin", "grey.png", "--json", "--models", models, "--runtime", "absent/libonnxruntime.so"];
    let seen = vision(&dir, &args).await;
    assert!(!seen.status.success());
    for part in ["absent/libonnxruntime.so", "setup"] {
        assert!(seen.said().contains(part), "names `{part}`: {}", seen.said());
    }
}

#[tokio::test]
async fn a_damaged_network_is_named() {
    let dir = TempDir::new().expect("the folder for temporary files is writable");
    picture(dir.path());
    damaged_networks(dir.path());
    let seen = vision(&dir, &["skin", "grey.png", "--json", "--models", "weights"]).await;
    assert!(!seen.status.success());
    assert!(seen.said().contains("landmark96"), "{}", seen.said());
}

/// What the kiosk says on one screen, after `config` beyond its name.
async fn kiosk_says(dir: &Path, config: &str, screen: &str) -> serde_json::Value {
    fs::write(dir.join("kiosk.toml"), format!("[kiosk]\nid = \"kiosk-01\"\n\n{config}"))
        .expect("our own folder is writable");
    let args = ["--config", "kiosk.toml", "--screen", screen, "--shot", "shot.png"];
    let shown = run_to_end(KIOSK, dir, args).await;
    assert!(shown.status.success(), "{screen}: {}", shown.said());
    let shot = image::open(dir.join("shot.png")).expect("a picture was written").to_rgb8();
    let first = shot.get_pixel(0, 0);
    assert!(shot.pixels().any(|pixel| pixel != first), "{screen} shows something");
    let line = shown.stdout.lines().last().unwrap_or_default();
    let said: serde_json::Value = serde_json::from_str(line).expect("it says what it shows as JSON");
    assert_eq!(said["screen"], screen, "{line}");
    said
}

/// The demonstration's records, with another picture before the camera.
fn demonstration(picture: &str) -> String {
    let assets = workspace().join("assets");
    let assets = assets.display();
    let example = fs::read_to_string(workspace().join("kiosk/kiosk.example.toml")).expect("it is there");
    let root =
        example.lines().find(|line| line.starts_with("trust_root")).expect("the example names its root");
    format!(
        "[camera]\nsource = \"file:{assets}/demo/codes/{picture}\"\n\n[origin]\n\
         catalogue = \"{assets}/catalogue.json\"\nrecords = \"{assets}/demo/records\"\n\
         trust = \"{assets}/demo/trust.json\"\n{root}\n"
    )
}

#[tokio::test]
async fn a_kiosk_tells_a_genuine_a_forged_and_an_unknown_product_apart() {
    let dir = TempDir::new().expect("the folder for temporary files is writable");
    for (picture, verdict, reason, hops) in [
        ("wine.png", "genuine", None, 6),
        ("wine-forged.png", "invalid", Some("signer-unknown"), 0),
        ("serum-unknown.png", "unverified", Some("no-record"), 0),
    ] {
        let said = kiosk_says(dir.path(), &demonstration(picture), "origin").await;
        let origin = &said["origin"];
        assert_eq!(origin["verdict"], verdict, "{picture}: {said}");
        assert_eq!(origin["reasons"].get(0).and_then(|reason| reason.as_str()), reason, "{picture}: {said}");
        assert_eq!(origin["hops"], hops, "{picture}: a record that is not believed tells nothing: {said}");
    }
}

#[tokio::test]
async fn a_kiosk_without_hub_and_camera_says_so_and_still_shows_its_home() {
    let dir = TempDir::new().expect("the folder for temporary files is writable");
    let home = kiosk_says(dir.path(), "", "home").await;
    assert_eq!(home["hub"], "alone", "{home}");
    let unavailable = serde_json::json!({"state": "unavailable", "trouble": "camera"});
    for screen in ["skin", "origin"] {
        let said = kiosk_says(dir.path(), "", screen).await;
        assert_eq!(said[screen], unavailable, "{said}");
    }
    let said = kiosk_says(dir.path(), "[camera]\nsource = \"file:absent.png\"\n", "origin").await;
    assert_eq!(
        said["origin"], unavailable,
        "a picture that is not there is a camera that gives none: {said}"
    );
}

#[tokio::test]
async fn a_kiosk_without_runtime_or_with_a_damaged_network_says_so_and_goes_on() {
    let dir = TempDir::new().expect("the folder for temporary files is writable");
    picture(dir.path());
    damaged_networks(dir.path());
    let camera = "[camera]\nsource = \"file:grey.png\"\n\n";
    let whole = workspace().join("models/weights");
    let no_runtime =
        format!("[models]\ndir = \"{}\"\nonnxruntime = \"absent/libonnxruntime.so\"\n", whole.display());
    let damaged = "[models]\ndir = \"weights\"\n".to_owned();
    for models in [no_runtime, damaged] {
        let config = format!("{camera}{models}");
        let said = kiosk_says(dir.path(), &config, "skin").await;
        assert_eq!(
            said["skin"],
            serde_json::json!({"state": "unavailable", "trouble": "models"}),
            "{models}: {said}"
        );
        let said = kiosk_says(dir.path(), &config, "origin").await;
        assert_eq!(said["origin"]["state"], "no_code", "the rest goes on: {said}");
    }
}

#[tokio::test]
async fn a_kiosk_measures_a_face_and_says_what_it_does_not_measure() {
    let dir = TempDir::new().expect("the folder for temporary files is writable");
    let root = workspace();
    let config = format!(
        "[camera]\nsource = \"file:{root}/assets/demo/portrait.png\"\n\n[models]\ndir = \"{root}/models/weights\"\n",
        root = root.display()
    );
    let said = kiosk_says(dir.path(), &config, "skin").await;
    let skin = &said["skin"];
    assert_eq!(skin["fit_to_measure"], true, "{said}");
    assert_eq!(skin["metrics"]["tone"], "low_confidence", "nothing is calibrated: {said}");
    assert_eq!(skin["metrics"]["redness"], "low_confidence", "{said}");
    assert_eq!(skin["metrics"]["pores"], "not_measurable", "{said}");
}

#[tokio::test]
async fn a_typo_in_the_kiosks_configuration_is_named() {
    let dir = TempDir::new().expect("the folder for temporary files is writable");
    fs::write(dir.path().join("kiosk.toml"), "[kiosk]\nid = \"kiosk-01\"\nlanguag = \"zh\"\n")
        .expect("our own folder is writable");
    let args = ["--config", "kiosk.toml", "--screen", "home", "--shot", "home.png"];
    let refused = run_to_end(KIOSK, dir.path(), args).await;
    assert!(!refused.status.success());
    assert!(
        refused.said().contains("languag") && refused.said().contains("kiosk.toml"),
        "{}",
        refused.said()
    );
}

#[tokio::test]
async fn what_a_kiosk_lacks_is_said_before_it_starts() {
    let dir = TempDir::new().expect("the folder for temporary files is writable");
    let check = async |config: &str| {
        fs::write(dir.path().join("kiosk.toml"), config).expect("our own folder is writable");
        let checked = run_to_end(KIOSK, dir.path(), ["check", "--config", "kiosk.toml", "--json"]).await;
        let findings: Vec<Value> = checked
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).expect("each line is JSON"))
            .collect();
        (checked.status.success(), findings)
    };
    let about = |findings: &[Value], what: &str| {
        let found = findings.iter().find(|finding| finding["check"] == what);
        let found = found.unwrap_or_else(|| panic!("nothing about `{what}`: {findings:?}")).clone();
        (found["outcome"].as_str().unwrap().to_owned(), found["message"].as_str().unwrap().to_owned())
    };

    // Everything that can be away is away; the kiosk would start all the same, without its fonts it would not.
    let (_, findings) = check(
        "[kiosk]\nid = \"kiosk-01\"\ndata_dir = \"/proc/kiosk\"\n[hub]\nmqtt = \"127.0.0.1:9\"\n\
         [camera]\nsource = \"file:nobody.png\"\n[models]\ndir = \"nowhere\"\n\
         [origin]\ncatalogue = \"none.json\"\nrecords = \"none\"\ntrust = \"none.json\"\ntrust_root = \"z6MkonfyjBfEwoHaN8ndw9g3G6ij9SpzJ6moFLzRi2DUPaZD\"",
    )
    .await;
    for (what, named) in [
        ("models", "nowhere"),
        ("origin", "none.json"),
        ("camera.source", "nobody.png"),
        ("hub.mqtt", "127.0.0.1:9 is not reachable"),
        ("kiosk.data_dir", "/proc/kiosk"),
        ("staff", "storehub-kiosk staff-pin"),
    ] {
        let (outcome, message) = about(&findings, what);
        assert!(outcome == "warning" && message.contains(named), "{what}: {outcome}, {message}");
    }

    let (starts, findings) = check("[kiosk]\nid = \"kiosk-01\"\n[display]\nfont = \"none.otf\"").await;
    assert_eq!((starts, about(&findings, "display.font").0.as_str()), (false, "bad"));
    let (starts, findings) = check("[kiosk]\nid = \"kiosk-01\"\nlanguag = \"zh\"").await;
    let (outcome, message) = about(&findings, "config");
    assert!(!starts && outcome == "bad" && message.contains("languag"), "{message}");
}
