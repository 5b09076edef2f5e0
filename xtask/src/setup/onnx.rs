//! ONNX Runtime's shared library, taken from its wheel on PyPI, whose hash is pinned here.

use std::{env, fs, path::Path};

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::{places::Places, steps};

const REQUIREMENT: &str = "onnxruntime==1.31.1";
/// Of `onnxruntime-1.31.1-cp311-cp311-manylinux_2_28_x86_64.whl`.
const WHEEL_SHA256: &str = "5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f";
const LIBRARY_IN_WHEEL: &str = "onnxruntime/capi/libonnxruntime.so.1.31.1";

/// Puts the library into the cache folder, unless it or one that the user names is there.
pub(super) fn install(places: &Places) -> Result<()> {
    let library = places.ort_library();
    if library.is_file() {
        println!("    ONNX Runtime: {}", library.display());
        return Ok(());
    }
    if env::var_os("ORT_DYLIB_PATH").is_some_and(|path| !path.is_empty()) {
        bail!(
            "ORT_DYLIB_PATH names `{}`, which is no file: unset it, or point it to libonnxruntime.so",
            library.display()
        );
    }
    if cfg!(not(all(target_arch = "x86_64", target_os = "linux"))) {
        bail!(
            "no pinned ONNX Runtime for this kind of machine: set ORT_DYLIB_PATH to libonnxruntime.so 1.31"
        );
    }
    let folder = library.parent().context("the library lies in a folder")?;
    let work = folder.join(format!("download-{}", std::process::id()));
    fs::create_dir_all(&work).with_context(|| format!("failed to create `{}`", work.display()))?;
    let fetched = fetch(places, &work, &library);
    fs::remove_dir_all(&work).with_context(|| format!("failed to remove `{}`", work.display()))?;
    fetched?;
    println!("    ONNX Runtime: {} (new)", library.display());
    Ok(())
}

fn fetch(places: &Places, work: &Path, library: &Path) -> Result<()> {
    let mut pip = places.command("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]);
    pip.args(["--python-version", "311", "--implementation", "cp", "--abi", "cp311"]);
    pip.args(["--platform", "manylinux_2_28_x86_64", REQUIREMENT, "--dest"]).arg(work);
    steps::call(&mut pip).context("failed to download ONNX Runtime's wheel")?;

    let wheel = fs::read_dir(work)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .context("pip downloaded no wheel")?;
    let bytes = fs::read(&wheel).with_context(|| format!("failed to read `{}`", wheel.display()))?;
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if digest != WHEEL_SHA256 {
        bail!(
            "`{}` has SHA-256 {digest}, expected {WHEEL_SHA256}: it is not the wheel that we know",
            wheel.display()
        );
    }
    let mut unpack = places.command("python3");
    unpack.args(["-m", "zipfile", "--extract"]).arg(&wheel).arg(work);
    steps::call(&mut unpack).context("failed to unpack ONNX Runtime's wheel")?;
    let unpacked = work.join(LIBRARY_IN_WHEEL);
    // Same folder, so that the library is either whole or not there.
    fs::rename(&unpacked, library).with_context(|| format!("the wheel has no `{LIBRARY_IN_WHEEL}`"))
}
