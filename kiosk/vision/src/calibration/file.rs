//! The file of a calibration: JSON, `colour-calibration/1`, a few numbers and no pixel.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Calibration, Curve, CurveError, Date, DateError, DeltaE, MatrixError, Watch, fit};

/// The form of the file.
pub const SCHEMA: &str = "colour-calibration/1";
/// Larger files are refused unread; a calibration has about 600 bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024;

/// Why a text or file is no calibration.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be opened or read.
    #[error("failed to read the calibration `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// More than a calibration has.
    #[error("the calibration has more than {FILE_BYTES_MAX} bytes")]
    TooLarge,
    /// Not the fields of this form, or no JSON.
    #[error("the calibration is not in the form `{SCHEMA}`")]
    Form {
        /// Which field, where.
        source: serde_json::Error,
    },
    /// Written by another release.
    #[error("`schema` is `{0}`, known is `{SCHEMA}`")]
    Schema(String),
    /// No day.
    #[error("`date` is `{text}`")]
    Date {
        /// What stands there.
        text: String,
        /// What is wrong with it.
        source: DateError,
    },
    /// No curve.
    #[error("`curve` {0}")]
    Curve(CurveError),
    /// No matrix.
    #[error("`matrix` {0}")]
    Matrix(MatrixError),
    /// No calibration is that good or that bad.
    #[error("`delta_e.{field}` is {value}, which must be from 0 to {most}")]
    DeltaE {
        /// Which.
        field: &'static str,
        /// What stands there.
        value: f64,
        /// The limit.
        most: f64,
    },
}

/// A calibration that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("failed to write the calibration `{}`", path.display())]
pub struct SaveError {
    /// The file.
    pub path: PathBuf,
    /// What the system says.
    pub source: io::Error,
}

/// As it stands in the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    schema: String,
    date: String,
    curve: [f64; 3],
    matrix: [[f64; 3]; 3],
    delta_e: DeltaEWire,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    strip: Option<Watch>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeltaEWire {
    mean_76: f64,
    max_76: f64,
    mean_2000: f64,
    max_2000: f64,
    left_out_mean_76: f64,
}

/// What every form begins with.
#[derive(Debug, Deserialize)]
struct Head {
    schema: String,
}

impl Calibration {
    /// The calibration as JSON, with a line break at its end.
    #[must_use]
    pub fn to_json(&self) -> String {
        let DeltaE { mean_76, max_76, mean_2000, max_2000, left_out_mean_76 } = self.delta_e();
        let wire = Wire {
            schema: SCHEMA.to_owned(),
            date: self.date().to_string(),
            curve: self.curve().coefficients(),
            matrix: self.matrix(),
            delta_e: DeltaEWire { mean_76, max_76, mean_2000, max_2000, left_out_mean_76 },
            strip: self.watch().copied(),
        };
        serde_json::to_string_pretty(&wire).expect("numbers and texts are JSON") + "\n"
    }

    /// Parses what [`Calibration::to_json`] wrote.
    ///
    /// # Errors
    /// When the form is another one, or a value is none that a calibration has: the field and the value are named.
    pub fn parse(json: &str) -> Result<Self, FileError> {
        if FILE_BYTES_MAX < json.len() as u64 {
            return Err(FileError::TooLarge);
        }
        let form = |source| FileError::Form { source };
        let Head { schema } = serde_json::from_str(json).map_err(form)?;
        if schema != SCHEMA {
            return Err(FileError::Schema(schema.chars().take(40).collect()));
        }
        let wire: Wire = serde_json::from_str(json).map_err(form)?;
        let date = Date::parse(&wire.date)
            .map_err(|source| FileError::Date { text: wire.date.chars().take(40).collect(), source })?;
        let curve = Curve::try_new(wire.curve).map_err(FileError::Curve)?;
        let calibration =
            Self::try_new(date, curve, wire.matrix, delta_e(&wire.delta_e)?).map_err(FileError::Matrix)?;
        Ok(match wire.strip {
            Some(watch) => calibration.watched(watch),
            None => calibration,
        })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or holds no calibration.
    pub fn from_file(path: &Path) -> Result<Self, FileError> {
        let fail = |source| FileError::Read { path: path.to_owned(), source };
        // Asked before opening: to open a pipe would wait for its writer.
        if !fs::metadata(path).map_err(fail)?.is_file() {
            return Err(fail(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
        }
        let mut json = String::new();
        File::open(path).map_err(fail)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut json).map_err(fail)?;
        Self::parse(&json)
    }

    /// Writes a file, whole or not at all, also when the power fails; a file that is there is replaced.
    ///
    /// # Errors
    /// When the folder does not exist or cannot be written.
    pub fn to_file(&self, path: &Path) -> Result<(), SaveError> {
        write(path, self.to_json().as_bytes()).map_err(|source| SaveError { path: path.to_owned(), source })
    }
}

fn delta_e(wire: &DeltaEWire) -> Result<DeltaE, FileError> {
    // CIEDE2000 is never far above the distance in CIELAB.
    let bounded = [
        ("mean_76", wire.mean_76, fit::MEAN_76_MAX),
        ("max_76", wire.max_76, fit::MAX_76_MAX),
        ("mean_2000", wire.mean_2000, fit::MAX_76_MAX),
        ("max_2000", wire.max_2000, fit::MAX_76_MAX),
        ("left_out_mean_76", wire.left_out_mean_76, fit::LEFT_OUT_MEAN_76_MAX),
    ];
    if let Some((field, value, most)) =
        bounded.into_iter().find(|(_, value, most)| !(0.0..=*most).contains(value))
    {
        return Err(FileError::DeltaE { field, value, most });
    }
    let [mean_76, max_76, mean_2000, max_2000, left_out_mean_76] = bounded.map(|(_, value, _)| value);
    Ok(DeltaE { mean_76, max_76, mean_2000, max_2000, left_out_mean_76 })
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut new: OsString = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    new.push(".new");
    let new = folder.join(new);
    // A device or a folder is never replaced.
    match fs::symlink_metadata(path) {
        Ok(there) if !there.is_file() => {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is there and no regular file"));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // What lies there is of a process that was killed, or not ours at all: to open a pipe would wait for its reader.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::options().write(true).create_new(true).open(&new)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // What failed is told; that its remains stay as well would be no news.
        _ = fs::remove_file(&new);
    }
    written?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Calibration {
        let delta_e =
            DeltaE { mean_76: 1.5, max_76: 4.0, mean_2000: 1.0, max_2000: 2.0, left_out_mean_76: 2.0 };
        let matrix = [[1.6, -0.5, -0.1], [-0.2, 1.5, -0.3], [0.0, -0.6, 1.6]];
        let curve = Curve::try_new([0.8, 0.3, -0.1]).unwrap();
        Calibration::try_new(Date::parse("2026-11-23").unwrap(), curve, matrix, delta_e).unwrap()
    }

    #[test]
    fn a_calibration_is_the_same_after_it_was_written_and_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("colour.json");
        for _ in 0..2 {
            example().to_file(&path).unwrap();
            assert_eq!(Calibration::from_file(&path).unwrap(), example());
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left behind");
        let error = example().to_file(&folder.path().join("missing/colour.json")).unwrap_err();
        assert!(error.to_string().contains("missing/colour.json"), "{error}");
        assert!(matches!(Calibration::from_file(folder.path()), Err(FileError::Read { .. })));
    }

    /// The text of the first release: what a kiosk in a store has on its disk.
    #[test]
    fn the_form_of_the_file_stays_as_it_is() {
        let text = r#"{
  "schema": "colour-calibration/1",
  "date": "2026-11-23",
  "curve": [0.8, 0.3, -0.1],
  "matrix": [[1.6, -0.5, -0.1], [-0.2, 1.5, -0.3], [0.0, -0.6, 1.6]],
  "delta_e": {
    "mean_76": 1.5, "max_76": 4.0, "mean_2000": 1.0, "max_2000": 2.0, "left_out_mean_76": 2.0
  }
}"#;
        assert_eq!(Calibration::parse(text).unwrap(), example());
    }

    #[test]
    fn what_no_calibration_has_is_refused_with_its_field_and_value() {
        let good = example().to_json();
        let cases = [
            ("colour-calibration/1", "colour-calibration/2", "`schema` is `colour-calibration/2`"),
            ("2026-11-23", "2026-02-30", "`date` is `2026-02-30`"),
            ("0.8,", "-0.8,", "`curve` is"),
            ("0.8,", "1e999,", "form"),
            ("0.8,", "80.0,", "`curve` has the coefficient 80"),
            ("0.3,", "-0.7,", "`curve` is"),
            ("1.6,", "1600.0,", "`matrix` has the entry 1600"),
            ("\"max_76\": 4.0", "\"max_76\": -4.0", "`delta_e.max_76` is -4"),
            ("\"mean_76\": 1.5", "\"mean_76\": 7.5", "`delta_e.mean_76` is 7.5, which must be from 0 to 6"),
            ("\"date\"", "\"day\"", "form"),
            ("\"schema\"", "\"more\": 1, \"schema\"", "form"),
        ];
        for (from, to, expected) in cases {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from} is in the file");
            let error = Calibration::parse(&bad).unwrap_err().to_string();
            assert!(error.contains(expected), "{from} → {to}: {error}");
        }
        let flat = Calibration { matrix: [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], ..example() };
        let falling = Calibration { curve: Curve([4.5, -7.0, 3.5]), ..example() };
        let swapped =
            Calibration { matrix: [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], ..example() };
        let black =
            Calibration { matrix: [[1.0, -0.99, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], ..example() };
        for (bad, expected) in [
            (flat, "`matrix` has the determinant 0"),
            (swapped, "`matrix` has the determinant -1"),
            (black, "`matrix` takes white to ["),
            (falling, "`curve` does not rise everywhere"),
        ] {
            let error = Calibration::parse(&bad.to_json()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(matches!(Calibration::parse(&" ".repeat(20_000)), Err(FileError::TooLarge)));
        for text in ["", "7", "[]", "{}", "{\"schema\": 1}", "\u{feff}{}"] {
            assert!(matches!(Calibration::parse(text), Err(FileError::Form { .. })), "{text}");
        }
    }
}
