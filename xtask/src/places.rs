//! Where things are: the checkout, the cache folder, build outputs; and the environment that our programs need.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

/// ONNX Runtime's library inside the cache folder.
pub(crate) const ORT_LIBRARY: &str = "onnxruntime/libonnxruntime.so.1.31.1";

/// Mesa's software renderer as its Debian package installs it: pictures come out the same on every machine.
const LAVAPIPE: [&str; 2] =
    ["/usr/share/vulkan/icd.d/lvp_icd.x86_64.json", "/usr/share/vulkan/icd.d/lvp_icd.aarch64.json"];

/// The folders that every command works with.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// The checkout.
    pub(crate) root: PathBuf,
    /// Downloads and tools that outlive a build: `$STOREHUB_CACHE`, or `~/.cache/storehub`.
    pub(crate) cache: PathBuf,
    /// Cargo's build outputs: `$CARGO_TARGET_DIR`, or `target` in the checkout.
    pub(crate) target: PathBuf,
}

impl Places {
    /// Reads the environment; creates the cache folder.
    pub(crate) fn find() -> Result<Self> {
        let manifest = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.parent().context("xtask lies directly in the workspace")?.to_owned();
        let cache = match env::var_os("STOREHUB_CACHE") {
            Some(dir) => PathBuf::from(dir),
            None => {
                let base = env::var_os("XDG_CACHE_HOME")
                    .map(PathBuf::from)
                    .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
                    .context("neither STOREHUB_CACHE nor HOME is set: set STOREHUB_CACHE to a folder to keep downloads in")?;
                base.join("storehub")
            }
        };
        fs::create_dir_all(&cache).with_context(|| {
            format!(
                "failed to create the cache folder `{}`; set STOREHUB_CACHE to a writable one",
                cache.display()
            )
        })?;
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let target = if target.is_absolute() { target } else { root.join(target) };
        Ok(Self { root, cache, target })
    }

    /// ONNX Runtime's library: the one that the user names, or ours.
    pub(crate) fn ort_library(&self) -> PathBuf {
        env::var_os("ORT_DYLIB_PATH")
            .filter(|path| !path.is_empty())
            .map_or_else(|| self.cache.join(ORT_LIBRARY), PathBuf::from)
    }

    /// A program of ours as cargo builds it in `profile` (`debug` or `release`).
    pub(crate) fn program(&self, profile: &str, name: &str) -> PathBuf {
        self.target.join(profile).join(name)
    }

    /// `PATH` with our own tools first.
    pub(crate) fn search_path(&self) -> OsString {
        let mut folders = vec![self.cache.join("tools/bin")];
        if let Some(path) = env::var_os("PATH") {
            folders.extend(env::split_paths(&path));
        }
        // Mosquitto's package puts its broker where only an administrator looks.
        folders.push(PathBuf::from("/usr/sbin"));
        env::join_paths(folders).unwrap_or_else(|_| env::var_os("PATH").unwrap_or_default())
    }

    /// A command with the environment that our programs and tests need.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.root)
            .env("PATH", self.search_path())
            .env("STOREHUB_CACHE", &self.cache)
            .env("ORT_DYLIB_PATH", self.ort_library())
            .env("CARGO_TARGET_DIR", &self.target);
        if env::var_os("XDG_RUNTIME_DIR").is_none()
            && let Ok(dir) = self.runtime_dir()
        {
            command.env("XDG_RUNTIME_DIR", dir);
        }
        if env::var_os("VK_ICD_FILENAMES").is_none()
            && env::var_os("VK_DRIVER_FILES").is_none()
            && let Some(icd) = LAVAPIPE.iter().find(|path| Path::new(path).exists())
        {
            command.env("VK_ICD_FILENAMES", icd).env("VK_DRIVER_FILES", icd);
        }
        command
    }

    /// A folder that only its owner may enter, as the XDG specification demands of `XDG_RUNTIME_DIR`.
    fn runtime_dir(&self) -> Result<PathBuf> {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = self.cache.join("runtime");
        fs::create_dir_all(&dir)?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
        Ok(dir)
    }

    /// `cargo`, the one that runs us.
    pub(crate) fn cargo(&self) -> Command {
        self.command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }

    /// Whether a program is on the search path, and where.
    pub(crate) fn which(&self, program: &str) -> Option<PathBuf> {
        env::split_paths(&self.search_path()).map(|dir| dir.join(program)).find(|path| path.is_file())
    }
}
