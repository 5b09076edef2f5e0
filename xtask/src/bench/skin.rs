//! `cargo xtask bench skin`: the skin analysis on pictures, beside what one would pick instead, and the page about it.
//!
//! Owns the order and the environments of the peers. What is measured stands in `kiosk/vision/examples/skin_evaluation` and
//! in `models/storehub_models/{closeups, compare, turned, peer_mediapipe}.py`; whether a goal is met is computed in `report`.

mod report;

use std::{
    env, fs,
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{models, places::Places, setup, steps};

use report::Measured;

const PAGE: &str = "docs/skin-report.md";
/// Names the folder of evaluation pictures; default `shared/eval` beside the checkout.
const PICTURES_VARIABLE: &str = "STOREHUB_EVAL";

/// Measures everything and writes the page.
///
/// `--work DIR`: where the models' rendered scenes are, default `models/.work`.
pub(super) fn run(places: &Places, rest: &[String]) -> Result<()> {
    let work = models::work_folder(places, "bench skin", rest)?;
    setup::run(places, setup::Extent::NETWORKS)?;
    let mut build = places.cargo();
    build.args(["build", "--release", "--locked", "-p", "storehub-vision", "--bins"]);
    build.args(["--example", "skin_evaluation"]);
    steps::call(&mut build)?;
    let program = places.program("release", "examples/skin_evaluation");
    let evaluation = document(places, "skin", |out| steps::call(places.command(&program).stdout(out)))?;
    if evaluation["skipped"].is_string() {
        println!("    nothing to measure on: `{PAGE}` stays as it is");
        return Ok(());
    }
    // Peers are no part of the product: without one the page says why.
    let mediapipe = mediapipe(places).map_err(|error| format!("{error:#}"));
    let masks = masks(places, &work).map_err(|error| format!("{error:#}"));
    let turned = turned(places).map_err(|error| format!("{error:#}"));
    let pores = pores(places, &work, &program).map_err(|error| format!("{error:#}"));
    for error in
        [&mediapipe, &masks, &turned, &pores].into_iter().filter_map(|measured| measured.as_ref().err())
    {
        println!("    not measured: {error}");
    }
    let measured = Measured { evaluation, mediapipe, masks, turned, pores };
    print!("\n{}", report::summary(&measured));
    let page = places.root.join(PAGE);
    fs::write(&page, report::page(&measured))
        .with_context(|| format!("failed to write `{}`", page.display()))?;
    println!("\n    {PAGE}");
    Ok(())
}

/// What a program writes to its standard output, kept beside the build outputs.
fn document(places: &Places, name: &str, run: impl FnOnce(File) -> Result<()>) -> Result<Value> {
    let folder = places.target.join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("failed to create `{}`", folder.display()))?;
    let path = folder.join(format!("{name}.json"));
    run(File::create(&path).with_context(|| format!("failed to create `{}`", path.display()))?)?;
    let bytes = fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("`{}` is no JSON", path.display()))
}

fn mediapipe(places: &Places) -> Result<Value> {
    let python = peers(places)?;
    let pictures =
        env::var_os(PICTURES_VARIABLE).map_or_else(|| places.root.join("../shared/eval"), PathBuf::from);
    let mut peer = places.command(python);
    peer.arg(places.root.join("models/storehub_models/peer_mediapipe.py"));
    peer.arg("--pictures").arg(pictures.join("skin"));
    document(places, "skin-mediapipe", |out| steps::call(peer.stdout(out)))
}

/// An environment with the packages of `models/peers.txt`, made once.
fn peers(places: &Places) -> Result<PathBuf> {
    let wanted = places.root.join("models/peers.txt");
    let list = fs::read(&wanted).with_context(|| format!("failed to read `{}`", wanted.display()))?;
    let digest: String = Sha256::digest(&list).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let folder = places.cache.join(format!("skin-peers-{digest}"));
    let python = folder.join("bin/python");
    let whole = folder.join("whole");
    if whole.is_file() {
        return Ok(python);
    }
    steps::call(places.command("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    let mut pip = places.command(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"]);
    steps::call(pip.arg("--requirement").arg(&wanted))
        .context("failed to install what `models/peers.txt` names")?;
    fs::write(&whole, "").with_context(|| format!("failed to write `{}`", whole.display()))?;
    Ok(python)
}

fn masks(places: &Places, work: &Path) -> Result<Value> {
    let mut compare = models::package(places, &models::python(places)?);
    compare.args(["-m", "storehub_models", "compare", "--work"]).arg(work);
    let found = document(places, "skin-masks", |out| steps::call(compare.stdout(out)))?;
    match found["skipped"].as_str() {
        Some(reason) => bail!("{reason}"),
        None => Ok(found),
    }
}

fn turned(places: &Places) -> Result<Value> {
    let mut judge = models::package(places, &models::python(places)?);
    judge.args(["-m", "storehub_models", "turned", "--vision"]);
    judge.arg(places.program("release", "storehub-vision"));
    document(places, "skin-turned", |out| steps::call(judge.stdout(out)))
}

fn pores(places: &Places, work: &Path, evaluation: &Path) -> Result<Value> {
    let mut render = models::package(places, &models::python(places)?);
    render.args(["-m", "storehub_models", "closeups", "--work"]).arg(work);
    let rendered = document(places, "skin-closeups", |out| steps::call(render.stdout(out)))?;
    let folder = rendered["folder"].as_str().context("`closeups` named no `folder`")?;
    let mut count = places.command(evaluation);
    document(places, "skin-pores", |out| steps::call(count.args(["--pores", folder]).stdout(out)))
}
