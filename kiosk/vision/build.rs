//! Brings the face model of the crate `rustface` into this one.
//!
//! rustface ships `model/seeta_fd_frontal_v1.0.bin` in its package but gives no access to its bytes, and
//! `include_bytes!` cannot name another package's folder. So the package's folder is found here and the
//! file copied to `OUT_DIR`. Its hash is checked when the detector is made (`src/face.rs`).

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const MODEL_FILE: &str = "model/seeta_fd_frontal_v1.0.bin";
/// The size of the file in rustface 0.1.7: enough to pass over something else of the same name.
const MODEL_BYTES: u64 = 1_209_904;
/// Names the file where neither the registry's folder nor `cargo metadata` leads to it.
const OVERRIDE: &str = "STOREHUB_RUSTFACE_MODEL";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={OVERRIDE}");
    let Some(model) = from_override().or_else(from_registry).or_else(from_metadata) else {
        println!(
            "cargo::error=found no `{MODEL_FILE}` of {MODEL_BYTES} bytes: neither under \
             $CARGO_HOME/registry/src/*/rustface-* nor beside the packages that `cargo metadata` names. Set \
             {OVERRIDE} to that file of the crate rustface 0.1.7"
        );
        return;
    };
    println!("cargo::rerun-if-changed={}", model.display());
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("face-model.bin");
    if let Err(error) = fs::copy(&model, &out) {
        println!("cargo::error=failed to copy `{}` to `{}`: {error}", model.display(), out.display());
    }
}

fn is_model(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == MODEL_BYTES)
}

fn from_override() -> Option<PathBuf> {
    let path = PathBuf::from(env::var_os(OVERRIDE)?);
    if is_model(&path) {
        return Some(path);
    }
    println!("cargo::error={OVERRIDE} names `{}`, which is no file of {MODEL_BYTES} bytes", path.display());
    None
}

/// Where cargo unpacks packages of a registry: no process to start, and true for nearly everybody.
fn from_registry() -> Option<PathBuf> {
    let cargo_home = env::var_os("CARGO_HOME")
        .map_or_else(|| env::home_dir().map(|home| home.join(".cargo")), |home| Some(PathBuf::from(home)))?;
    let registries = fs::read_dir(cargo_home.join("registry/src")).ok()?;
    let mut found: Vec<PathBuf> = registries
        .flatten()
        .filter_map(|registry| fs::read_dir(registry.path()).ok())
        .flat_map(Iterator::flatten)
        .filter(|package| package.file_name().to_string_lossy().starts_with("rustface-0.1."))
        .map(|package| package.path().join(MODEL_FILE))
        .filter(|model| is_model(model))
        .collect();
    found.sort();
    found.pop()
}

/// A vendored, patched or git package: cargo knows where it lies.
fn from_metadata() -> Option<PathBuf> {
    let cargo = env::var_os("CARGO")?;
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR")?).join("Cargo.toml");
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version=1", "--manifest-path"]).arg(manifest);
    if let Ok(target) = env::var("TARGET") {
        command.args(["--filter-platform", &target]);
    }
    let output = command.output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    // The one field that is needed is searched for as text: a JSON parser would be a dependency more.
    text.split("\"manifest_path\":\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .filter_map(|manifest| Some(Path::new(manifest).parent()?.join(MODEL_FILE)))
        .find(|model| is_model(model))
}
