//! What sees says what it lacks: a missing picture, no ONNX Runtime, a damaged network; and the kiosk goes on without.

use std::{
    fs,
    path::{Path, PathBuf},
};

use e2e::harness::{Finished, run_to_end};
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
    let models = dir.path().join("weights");
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
    let seen = vision(&dir, &["skin", "grey.png", "--json", "--models", "weights"]).await;
    assert!(!seen.status.success());
    assert!(seen.said().contains("landmark96"), "{}", seen.said());
}

#[tokio::test]
async fn a_kiosk_without_hub_camera_and_runtime_still_shows_its_home() {
    let dir = TempDir::new().expect("the folder for temporary files is writable");
    let config = "[kiosk]\nid = \"kiosk-01\"\n\n[camera]\nsource = \"file:absent.png\"\n\n\
                  [models]\nonnxruntime = \"absent/libonnxruntime.so\"\n";
    fs::write(dir.path().join("kiosk.toml"), config).expect("our own folder is writable");
    for screen in ["home", "skin"] {
        let file = format!("{screen}.png");
        let args = ["--config", "kiosk.toml", "--screen", screen, "--shot", &file];
        let shown = run_to_end(KIOSK, dir.path(), args).await;
        assert!(shown.status.success(), "{screen}: {}", shown.said());
        let shot = image::open(dir.path().join(file)).expect("a picture was written").to_rgb8();
        let first = shot.get_pixel(0, 0);
        assert!(shot.pixels().any(|pixel| pixel != first), "{screen} shows something");
    }
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
