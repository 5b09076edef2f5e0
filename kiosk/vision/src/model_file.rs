//! A network as files: a manifest that says everything about it, and the ONNX file that the manifest was written for.
//!
//! Owns the manifest's common part, its limits and the order of the checks: size, form, fields, hash, and only then ONNX
//! Runtime. What a network's outputs mean is its own module's business.

use std::{
    fs::{self, File},
    io::Read as _,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

use crate::{
    crop::Refine,
    face::hex,
    inference::{Network, NetworkError, Tensor},
    wiped::Wiped,
};

const MANIFEST_SCHEMA: &str = "storehub-model/1";
/// Larger manifests are refused unread.
const MANIFEST_BYTES_MAX: u64 = 1024 * 1024;
/// What is taken from a colour of 0 to 1 and what that is divided by: anything else blinds a network.
const MEAN_MAX: f32 = 10.0;
const STD: (f32, f32) = (0.01, 100.0);
/// Larger networks are refused unread; ours have about 1 MB.
const NETWORK_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file cannot be read.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A folder, a pipe or a device.
    #[error("`{}` is not a regular file", path.display())]
    NotAFile {
        /// What it is called.
        path: PathBuf,
    },
    /// A file is too large to be what it should be.
    #[error("`{}` has more than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// The manifest is not JSON of the expected form.
    #[error("failed to parse the manifest `{}`", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The manifest says something that we cannot follow.
    #[error("the manifest `{}` has {field} {found}, expected {expected}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// What it says.
        found: String,
        /// What we need.
        expected: String,
    },
    /// The network's file is not the one that the manifest was written for.
    #[error("`{}` has sha256 {found}, its manifest expects {expected}: the file is damaged or from another release", path.display())]
    Hash {
        /// The file.
        path: PathBuf,
        /// Its hash.
        found: String,
        /// The manifest's.
        expected: String,
    },
    /// ONNX Runtime does not take the network, or it is not as its manifest says.
    #[error("failed to load the network `{}`", path.display())]
    Network {
        /// The file.
        path: PathBuf,
        /// Why.
        source: NetworkError,
    },
}

/// What every manifest says; the rest is for its network or for people.
#[derive(Debug, Deserialize)]
pub(crate) struct Header {
    schema: String,
    pub(crate) name: String,
    file: String,
    sha256: String,
    pub(crate) input: Input,
}

/// A square RGB picture, one plane for each colour.
#[derive(Debug, Deserialize)]
pub(crate) struct Input {
    name: String,
    shape: Vec<usize>,
    layout: String,
    colour: String,
    mean: [f32; 3],
    std: [f32; 3],
}

/// One output's form.
#[derive(Debug, Deserialize)]
pub(crate) struct Output {
    pub(crate) shape: Vec<usize>,
}

/// A manifest whose common part makes sense.
pub(crate) struct ModelFile<M> {
    path: PathBuf,
    folder: PathBuf,
    side: usize,
    pub(crate) manifest: M,
}

impl<M: DeserializeOwned + AsRef<Header>> ModelFile<M> {
    /// Reads the manifest `file` in `folder`.
    pub(crate) fn open(folder: &Path, file: &str) -> Result<Self, ModelError> {
        let path = folder.join(file);
        let text = read(&path, MANIFEST_BYTES_MAX)?;
        let manifest: M = serde_json::from_slice(&text)
            .map_err(|source| ModelError::Manifest { path: path.clone(), source })?;
        let mut opened = Self { path, folder: folder.to_owned(), side: 0, manifest };
        opened.side = opened.check()?;
        Ok(opened)
    }

    /// Side of the input in pixels.
    pub(crate) fn side(&self) -> usize {
        self.side
    }

    /// `sha256:…` of the network.
    pub(crate) fn identity(&self) -> String {
        format!("sha256:{}", self.manifest.as_ref().sha256)
    }

    /// The error that a field is not what it must be.
    pub(crate) fn wrong<T>(
        &self,
        field: &'static str,
        found: String,
        expected: impl Into<String>,
    ) -> Result<T, ModelError> {
        Err(ModelError::Field { path: self.path.clone(), field, found, expected: expected.into() })
    }

    /// That a number lies within bounds.
    pub(crate) fn within(
        &self,
        field: &'static str,
        value: f64,
        bounds: RangeInclusive<f64>,
    ) -> Result<(), ModelError> {
        if bounds.contains(&value) {
            return Ok(());
        }
        self.wrong(field, format!("{value:e}"), format!("{} to {}", bounds.start(), bounds.end()))
    }

    /// That a crop is laid over the face: another one would see nothing of it, and nothing would be said.
    pub(crate) fn check_refine(&self, refine: &Refine) -> Result<(), ModelError> {
        let Refine { side_per_eyes_mouth_distance, centre_from_eyes } = *refine;
        self.within("`refine.side_per_eyes_mouth_distance`", side_per_eyes_mouth_distance, 1.0..=6.0)?;
        self.within("`refine.centre_from_eyes`", centre_from_eyes, -1.0..=2.0)
    }

    /// The network with these outputs, if its file is the one that the manifest was written for. The runtime must be
    /// loaded.
    pub(crate) fn network(&self, outputs: &[(&str, &Output)]) -> Result<Network, ModelError> {
        let header = self.manifest.as_ref();
        let path = self.folder.join(&header.file);
        let bytes = read(&path, NETWORK_BYTES_MAX)?;
        let found = hex(&Sha256::digest(&bytes));
        if found != header.sha256 {
            return Err(ModelError::Hash { path, found, expected: header.sha256.clone() });
        }
        let tensor = |name: &str, shape: &[usize]| Tensor { name: name.to_owned(), shape: shape.to_vec() };
        let outputs = outputs.iter().map(|(name, output)| tensor(name, &output.shape)).collect();
        Network::from_bytes(&bytes, tensor(&header.input.name, &header.input.shape), outputs)
            .map_err(|source| ModelError::Network { path, source })
    }

    /// What we rely on: the schema, a plain file name, one square RGB input. Gives the input's side.
    fn check(&self) -> Result<usize, ModelError> {
        let Header { schema, file, input, .. } = self.manifest.as_ref();
        if schema != MANIFEST_SCHEMA {
            return self.wrong("`schema`", format!("`{schema}`"), format!("`{MANIFEST_SCHEMA}`"));
        }
        if Path::new(file).file_name().is_none_or(|name| name != file.as_str()) {
            return self.wrong("`file`", format!("`{file}`"), "a plain file name");
        }
        let side = match input.shape.as_slice() {
            [1, 3, height, width] if height == width && (16..=1024).contains(width) => *width,
            shape => return self.wrong("`input.shape`", format!("{shape:?}"), "[1, 3, side, side]"),
        };
        if input.layout != "NCHW" || input.colour != "RGB" {
            let found = format!("`{}` `{}`", input.layout, input.colour);
            return self.wrong("`input.layout` and `input.colour`", found, "`NCHW` `RGB`");
        }
        let (mean, std) = (-MEAN_MAX..=MEAN_MAX, STD.0..=STD.1);
        if !input.std.iter().all(|at| std.contains(at)) || !input.mean.iter().all(|at| mean.contains(at)) {
            let found = format!("{:?} {:?}", input.mean, input.std);
            let expected = format!("{mean:?} and {std:?}");
            return self.wrong("`input.mean` and `input.std`", found, expected);
        }
        Ok(side)
    }
}

impl Input {
    /// Interleaved 8-bit RGB → the network's input, one plane for each colour.
    pub(crate) fn normalised(&self, rgb: &[u8]) -> Wiped<f32> {
        let planes = (0..3).flat_map(|channel| {
            let (mean, std) = (self.mean[channel], self.std[channel]);
            rgb.iter().skip(channel).step_by(3).map(move |value| (f32::from(*value) / 255.0 - mean) / std)
        });
        let mut values = Vec::with_capacity(rgb.len());
        values.extend(planes);
        Wiped::new(values)
    }
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, ModelError> {
    let fail = |source| ModelError::Read { path: path.to_owned(), source };
    // Asked before opening: to open a pipe would wait for its writer.
    if !fs::metadata(path).map_err(fail)?.is_file() {
        return Err(ModelError::NotAFile { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(fail)?.take(limit + 1).read_to_end(&mut bytes).map_err(fail)?;
    if limit < bytes.len() as u64 {
        return Err(ModelError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(bytes)
}
