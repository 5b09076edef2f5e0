//! The only place that knows ONNX Runtime: loads the library, loads a network, runs it.
//!
//! The library is opened at run time (`load-dynamic`), so that building needs no network. `ort` panics or
//! waits for ever when it has to look for a library itself; here it is always given a file that was
//! looked at first, once for the process, behind a lock.

use std::{
    env,
    fs::File,
    io::{self, Read as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process,
    sync::Mutex,
};

use ort::{
    environment::Environment,
    session::Session,
    value::{TensorElementType, TensorRef, ValueType},
};

use crate::picture::guarded;

/// The version that `cargo xtask setup` fetches and that we test with.
pub(crate) const RUNTIME_VERSION: &str = "1.31.1";
/// Names the library's file, as `ort` itself would read it.
pub(crate) const RUNTIME_VARIABLE: &str = "ORT_DYLIB_PATH";

/// Why networks cannot run on this machine.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// No file at that place.
    #[error(
        "found no ONNX Runtime library at `{}`: run `cargo xtask setup`, or set {RUNTIME_VARIABLE} to a \
         libonnxruntime.so of version {RUNTIME_VERSION} or later",
        path.display()
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file is not a shared library.
    #[error(
        "`{}` is not a shared library: run `cargo xtask setup`, or set {RUNTIME_VARIABLE} to a libonnxruntime.so \
         of version {RUNTIME_VERSION} or later",
        path.display()
    )]
    NotALibrary {
        /// The file.
        path: PathBuf,
    },
    /// The library does not load, is too old, or is something else.
    #[error(
        "failed to load the ONNX Runtime library `{}` ({reason}): run `cargo xtask setup`, or set \
         {RUNTIME_VARIABLE} to a libonnxruntime.so of version {RUNTIME_VERSION} or later",
        path.display()
    )]
    Load {
        /// The file.
        path: PathBuf,
        /// What the loader says.
        reason: String,
    },
    /// This build of the runtime keeps a record of its use and sends it to its maker unless it is told not to.
    #[error("`{}` is loaded only where {QUIET_VARIABLE} is 1: it would report its use to its maker", path.display())]
    Reporting {
        /// The library.
        path: PathBuf,
    },
    /// A process has one runtime.
    #[error("the ONNX Runtime library `{}` is already loaded; `{}` cannot take its place", loaded.display(), asked.display())]
    AlreadyLoaded {
        /// The one in use.
        loaded: PathBuf,
        /// The one asked for.
        asked: PathBuf,
    },
}

/// Why a network does not run.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// ONNX Runtime does not take the file.
    #[error("ONNX Runtime refused the network: {reason}")]
    Refused {
        /// What it says.
        reason: String,
    },
    /// An input or output is not what the manifest says.
    #[error("the network's {what} is {found}, expected {expected}")]
    Shape {
        /// Which input or output.
        what: String,
        /// What the network has.
        found: String,
        /// What the manifest says.
        expected: String,
    },
    /// A run failed.
    #[error("the network failed to run: {reason}")]
    Run {
        /// What ONNX Runtime says.
        reason: String,
    },
}

/// A named tensor of 32-bit floats.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
}

struct Loaded {
    path: PathBuf,
    environment: Environment,
}

/// Kept until the process ends: ONNX Runtime cannot be loaded twice.
static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);

/// A network ready to run, with one input.
pub(crate) struct Network {
    session: Session,
    input: Tensor,
    outputs: Vec<Tensor>,
}

/// What keeps ONNX Runtime from writing an identity of the machine and a record of each start into the user's cache folder
/// and from sending them to its maker. It reads it when it is loaded; its programming interface is too late.
pub const QUIET_VARIABLE: &str = "ORT_DISABLE_TELEMETRY";

fn is_quiet() -> bool {
    env::var_os(QUIET_VARIABLE).is_some_and(|value| value == "1")
}

/// To be called first of all in a program that loads the runtime: puts the very same program, with [`QUIET_VARIABLE`]
/// set, in this one's place, unless it is set already. A variable of its own process cannot be set safely.
///
/// # Errors
/// When the program cannot be started again.
pub fn start_quietly() -> io::Result<()> {
    if is_quiet() {
        return Ok(());
    }
    let mut arguments = env::args_os();
    let mut again = process::Command::new(env::current_exe()?);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    Err(again.args(arguments).env(QUIET_VARIABLE, "1").exec())
}

/// Loads the library at `path`, once for the process.
pub(crate) fn load_runtime(path: &Path) -> Result<(), RuntimeError> {
    if !is_quiet() {
        return Err(RuntimeError::Reporting { path: path.to_owned() });
    }
    let mut loaded = LOADED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(loaded) = &*loaded {
        if loaded.path == path {
            return Ok(());
        }
        return Err(RuntimeError::AlreadyLoaded { loaded: loaded.path.clone(), asked: path.to_owned() });
    }
    if !path.is_file() {
        return Err(RuntimeError::Missing { path: path.to_owned() });
    }
    let mut magic = [0_u8; 4];
    let readable = File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    if cfg!(target_os = "linux") && (readable.is_err() || &magic != b"\x7fELF") {
        return Err(RuntimeError::NotALibrary { path: path.to_owned() });
    }
    let fail = |reason| RuntimeError::Load { path: path.to_owned(), reason };
    let environment = guarded(|| {
        let builder = ort::init_from(path).map_err(|error| error.to_string())?;
        builder.with_name("storehub").with_telemetry(false).build().map_err(|error| error.to_string())
    })
    .unwrap_or_else(Err)
    .map_err(fail)?;
    *loaded = Some(Loaded { path: path.to_owned(), environment });
    Ok(())
}

impl Network {
    /// A network from the bytes of an ONNX file; its input and outputs must be exactly these.
    ///
    /// The runtime must be loaded.
    pub(crate) fn from_bytes(
        bytes: &[u8],
        input: Tensor,
        outputs: Vec<Tensor>,
    ) -> Result<Self, NetworkError> {
        let session = guarded(|| new_session(bytes))
            .unwrap_or_else(Err)
            .map_err(|reason| NetworkError::Refused { reason })?;
        let inputs: Vec<_> = session.inputs().iter().collect();
        if inputs.len() != 1 {
            return Err(NetworkError::Shape {
                what: "number of inputs".to_owned(),
                found: inputs.len().to_string(),
                expected: "1".to_owned(),
            });
        }
        check_tensor("input", &input, Some(inputs[0]))?;
        for output in &outputs {
            let found = session.outputs().iter().find(|found| found.name() == output.name);
            check_tensor("output", output, found)?;
        }
        Ok(Self { session, input, outputs })
    }

    /// Runs the network; the outputs come in the order in which they were asked for.
    pub(crate) fn run(&mut self, input: &[f32]) -> Result<Vec<Vec<f32>>, NetworkError> {
        let Self { session, input: shape, outputs } = self;
        guarded(|| run(session, shape, outputs, input))
            .unwrap_or_else(Err)
            .map_err(|reason| NetworkError::Run { reason })
    }

    /// Overwrites what the runtime's own buffers still hold of the last picture: it keeps them for the next run.
    pub(crate) fn forget(&mut self) -> Result<(), NetworkError> {
        let nothing = vec![0.0; self.input.shape.iter().product()];
        self.run(&nothing).map(drop)
    }
}

fn new_session(bytes: &[u8]) -> Result<Session, String> {
    let loaded = LOADED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some(loaded) = &*loaded else {
        return Err("the runtime is not loaded".to_owned());
    };
    // One thread: the kiosk runs one job at a time, and a network this small gains nothing from more.
    let mut builder = Session::builder(&loaded.environment)
        .map_err(|error| error.to_string())?
        .with_intra_threads(1)
        .map_err(|error| error.to_string())?;
    builder.commit_from_memory(bytes).map_err(|error| error.to_string())
}

fn run(
    session: &mut Session,
    shape: &Tensor,
    wanted: &[Tensor],
    input: &[f32],
) -> Result<Vec<Vec<f32>>, String> {
    let tensor =
        TensorRef::from_array_view((shape.shape.clone(), input)).map_err(|error| error.to_string())?;
    let outputs =
        session.run(ort::inputs![shape.name.as_str() => tensor]).map_err(|error| error.to_string())?;
    wanted
        .iter()
        .map(|wanted| {
            let output =
                outputs.get(&wanted.name).ok_or_else(|| format!("output `{}` is missing", wanted.name))?;
            let (_, values) = output.try_extract_tensor::<f32>().map_err(|error| error.to_string())?;
            let expected: usize = wanted.shape.iter().product();
            if values.len() != expected {
                return Err(format!(
                    "output `{}` has {} values, expected {expected}",
                    wanted.name,
                    values.len()
                ));
            }
            if !values.iter().all(|value| value.is_finite()) {
                return Err(format!("output `{}` has values that are no numbers", wanted.name));
            }
            Ok(values.to_vec())
        })
        .collect()
}

fn check_tensor(
    kind: &str,
    expected: &Tensor,
    found: Option<&ort::value::Outlet>,
) -> Result<(), NetworkError> {
    let described = match found.map(|found| (found.name(), found.dtype())) {
        None => "missing".to_owned(),
        Some((name, ValueType::Tensor { ty: TensorElementType::Float32, shape, .. })) => {
            let fits = name == expected.name
                && shape
                    .iter()
                    .map(|side| usize::try_from(*side).ok())
                    .eq(expected.shape.iter().map(|side| Some(*side)));
            if fits {
                return Ok(());
            }
            format!("`{name}` {:?}", &shape[..])
        }
        Some((name, other)) => format!("`{name}` of another type ({other})"),
    };
    Err(NetworkError::Shape {
        what: format!("{kind} `{}`", expected.name),
        found: described,
        expected: format!("`{}` {:?} of 32-bit floats", expected.name, expected.shape),
    })
}

#[cfg(test)]
pub(crate) mod testing {
    use std::path::PathBuf;

    /// The folder of the trained networks and what they gave where they were exported, with the runtime loaded; `None`, and
    /// why, where the library is missing. `file`: of `models/weights/goldens`.
    pub(crate) fn goldens(file: &str) -> Option<(PathBuf, serde_json::Value)> {
        let Some(runtime) = crate::analyser::find_runtime().filter(|path| path.is_file()) else {
            eprintln!("skipped: no ONNX Runtime library (`cargo xtask setup`)");
            return None;
        };
        super::load_runtime(&runtime).unwrap();
        let weights = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../models/weights");
        let bytes = std::fs::read(weights.join("goldens").join(file)).unwrap();
        Some((weights, serde_json::from_slice(&bytes).unwrap()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_or_wrong_library_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("text.so");
        std::fs::write(&text, "not a library").unwrap();
        let broken = folder.path().join("broken.so");
        std::fs::write(&broken, b"\x7fELF and then nothing that makes sense").unwrap();
        let cases = [
            (folder.path().join("none.so"), "found no ONNX Runtime library"),
            (folder.path().to_owned(), "found no ONNX Runtime library"),
            (text, "is not a shared library"),
            (broken, "failed to load the ONNX Runtime library"),
        ];
        for (path, expected) in cases {
            // Twice: a failure must not poison the next attempt.
            for _ in 0..2 {
                let error = load_runtime(&path).unwrap_err().to_string();
                assert!(error.contains(expected), "{error}");
                assert!(error.contains(&*path.to_string_lossy()), "{error}");
                assert!(error.contains("cargo xtask setup") && error.contains(RUNTIME_VARIABLE), "{error}");
            }
        }
    }
}
