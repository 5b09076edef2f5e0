//! The reference: how a metric is distributed over computer-made faces, and where a value stands among them.
//!
//! A score is the share of the reference that shows more, in percent. No person is part of the reference, and none is
//! compared with another one.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::MetricId;

/// The file's name in the folder of models.
pub(crate) const REFERENCE_FILE: &str = "skin-reference.json";
const SCHEMA: &str = "skin-reference/1";
/// Larger files are refused unread; ours has some kilobytes.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Quantiles of each metric: from the least to the most in hundredths.
const QUANTILES: usize = 101;
/// A reference of fewer faces says nothing about hundredths.
const FACES_MIN: u32 = 100;

/// Why there is no reference.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// The file cannot be read.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is too large to be a reference.
    #[error("`{}` has {found} bytes, at most {FILE_BYTES_MAX} are expected", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        found: u64,
    },
    /// Not JSON of the expected form.
    #[error("failed to parse the reference `{}`", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A field that we cannot follow.
    #[error("the reference `{}` has {field} {found}, expected {expected}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// What it says.
        found: String,
        /// What we need.
        expected: String,
    },
}

#[derive(Debug, Deserialize)]
struct Wire {
    schema: String,
    skinmap: String,
    faces: u32,
    metrics: BTreeMap<String, Vec<f64>>,
}

/// Quantiles of each metric over the reference faces.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reference {
    quantiles: BTreeMap<MetricId, Vec<f64>>,
}

impl Reference {
    /// Reads the reference in `models_dir` that was made with the network `skinmap`; without a file there are no scores.
    pub(crate) fn load(models_dir: &Path, skinmap: &str) -> Result<Self, ReferenceError> {
        let path = models_dir.join(REFERENCE_FILE);
        let fail = |source| ReferenceError::Read { path: path.clone(), source };
        let found = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            other => other.map_err(fail)?.len(),
        };
        if FILE_BYTES_MAX < found {
            return Err(ReferenceError::TooLarge { path, found });
        }
        let wire: Wire = serde_json::from_slice(&fs::read(&path).map_err(fail)?)
            .map_err(|source| ReferenceError::Form { path: path.clone(), source })?;
        let wrong = |field: &str, found: String, expected: &str| {
            let (field, expected) = (field.to_owned(), expected.to_owned());
            Err(ReferenceError::Field { path: path.clone(), field, found, expected })
        };
        if wire.schema != SCHEMA {
            return wrong("`schema`", format!("`{}`", wire.schema), SCHEMA);
        }
        if wire.skinmap != skinmap {
            // Another network measures something else.
            return wrong("`skinmap`", format!("`{}`", wire.skinmap), skinmap);
        }
        if wire.faces < FACES_MIN {
            return wrong("`faces`", wire.faces.to_string(), "100 or more");
        }
        let mut quantiles = BTreeMap::new();
        for (name, values) in wire.metrics {
            let field = format!("`metrics.{name}`");
            let Some(id) = MetricId::ALL.into_iter().find(|id| id.name() == name) else {
                return wrong(&field, "an unknown metric".to_owned(), "a metric of the report");
            };
            if values.len() != QUANTILES {
                return wrong(&field, format!("{} quantiles", values.len()), "101");
            }
            if !values.iter().all(|value| value.is_finite()) || !values.is_sorted() {
                return wrong(&field, "values out of order".to_owned(), "numbers that never fall");
            }
            quantiles.insert(id, values);
        }
        Ok(Self { quantiles })
    }

    /// The share of the reference that shows more than `value`, in percent; `None` for a metric without a reference.
    pub(crate) fn score(&self, id: MetricId, value: f64) -> Option<u8> {
        let values = self.quantiles.get(&id)?;
        // Between two quantiles in proportion; of equal ones the middle, so that a face with nothing at all is not told
        // that it has less than others with nothing at all.
        let below = values.partition_point(|quantile| *quantile < value);
        let up_to = values.partition_point(|quantile| *quantile <= value);
        let rank = if below < up_to {
            (below + up_to - 1) as f64 / 2.0
        } else if below == 0 || below == values.len() {
            below.min(values.len() - 1) as f64
        } else {
            let (low, high) = (values[below - 1], values[below]);
            (below - 1) as f64 + (value - low) / (high - low)
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 100")]
        let score = (100.0 - rank).round() as u8;
        Some(score)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(change: impl Fn(&mut serde_json::Value)) -> tempfile::TempDir {
        let mut quantiles: Vec<f64> = (0..101).map(f64::from).collect();
        quantiles[..21].fill(0.0);
        let mut reference = serde_json::json!({
            "schema": "skin-reference/1", "skinmap": "sha256:x", "faces": 200,
            "metrics": {"spots": quantiles},
        });
        change(&mut reference);
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(REFERENCE_FILE), reference.to_string()).unwrap();
        folder
    }

    #[test]
    fn a_score_is_the_share_of_the_reference_that_shows_more() {
        let reference = Reference::load(file(|_| ()).path(), "sha256:x").unwrap();
        let score = |value| reference.score(MetricId::Spots, value).unwrap();
        assert_eq!([score(-1.0), score(30.0), score(50.5), score(100.0), score(1e9)], [100, 70, 50, 0, 0]);
        // A fifth of the reference has nothing at all: half of them, in a manner of speaking, have more.
        assert_eq!(score(0.0), 90);
        assert_eq!(reference.score(MetricId::Lines, 1.0), None);
        let none = tempfile::tempdir().unwrap();
        assert_eq!(Reference::load(none.path(), "sha256:x").unwrap().score(MetricId::Spots, 1.0), None);
    }

    #[test]
    fn a_reference_of_another_network_or_with_nonsense_is_refused_with_field_and_value() {
        type Change = fn(&mut serde_json::Value);
        let cases: [(Change, &str); 6] = [
            (|r| r["schema"] = "x/2".into(), "`schema` `x/2`"),
            (|r| r["skinmap"] = "sha256:y".into(), "`skinmap` `sha256:y`, expected sha256:x"),
            (|r| r["faces"] = 20.into(), "`faces` 20, expected 100 or more"),
            (|r| r["metrics"]["charm"] = serde_json::json!([1]), "`metrics.charm` an unknown metric"),
            (|r| r["metrics"]["spots"] = serde_json::json!([1]), "`metrics.spots` 1 quantiles, expected 101"),
            (|r| r["metrics"]["spots"][3] = 7.into(), "`metrics.spots` values out of order"),
        ];
        for (change, expected) in cases {
            let error = Reference::load(file(change).path(), "sha256:x").unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}
