//! The planogram: which product belongs on which shelf, and what a piece of it weighs.
//!
//! TOML text in, checked values out; reading the file is the caller's.
//!
//! ```toml
//! utc_offset_minutes = 480        # when the store's day begins; China Standard Time when left out
//!
//! [shelf.shelf-01]
//! gtin = "04902430698429"         # 8, 12, 13 or 14 digits with a valid check digit
//! name = { zh = "精华液", en = "Serum" }
//! unit_weight_g = 182.5           # one piece
//! tare_g = 350.0                  # the empty shelf's insert, 0 when left out
//! capacity = 24                   # pieces when full
//! ```

use std::{collections::BTreeMap, str::FromStr};

use contract::DeviceId;
use serde::Deserialize;

/// Most shelves in one planogram.
pub(super) const SHELVES_MAX: usize = 4_096;
const NAME_CHARS_MAX: usize = 120;
const UNIT_WEIGHT_G_MAX: f64 = 100_000.0;
const TARE_G_MAX: f64 = 100_000.0;
const CAPACITY_MAX: u32 = 100_000;
/// China Standard Time, which has no summer time.
const DEFAULT_UTC_OFFSET_MINUTES: i32 = 480;

/// Which product belongs where. Every value in it is valid.
#[derive(Debug, Clone, PartialEq)]
pub struct Planogram {
    shelves: BTreeMap<String, Shelf>,
    utc_offset_minutes: i32,
}

/// One shelf of the planogram.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shelf {
    /// GTIN-14 of the product.
    pub gtin: Option<String>,
    /// The product's names by language tag.
    pub name: BTreeMap<String, String>,
    /// What one piece weighs in grams, more than 0.
    pub unit_weight_g: Option<f64>,
    /// What the scale shows when nothing is on the shelf, in grams.
    pub tare_g: f64,
    /// Pieces when full, more than 0.
    pub capacity: Option<u32>,
}

/// Why a text is no planogram.
#[derive(Debug, thiserror::Error)]
pub enum PlanogramError {
    /// Not TOML, or a key that does not exist, or a value of another type.
    #[error("failed to read the planogram")]
    Toml {
        /// Where and why, with line and column.
        source: toml::de::Error,
    },
    /// A value that cannot be right.
    #[error("planogram field `{field}` has the value `{value}`: {reason}")]
    Value {
        /// The full path of the field.
        field: String,
        /// Its value.
        value: String,
        /// What is allowed.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanogramWire {
    utc_offset_minutes: Option<i32>,
    #[serde(default)]
    shelf: BTreeMap<String, ShelfWire>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShelfWire {
    gtin: Option<String>,
    #[serde(default)]
    name: NameWire,
    unit_weight_g: Option<f64>,
    tare_g: Option<f64>,
    capacity: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct NameWire {
    zh: Option<String>,
    en: Option<String>,
}

impl Default for Planogram {
    fn default() -> Self {
        Self { shelves: BTreeMap::new(), utc_offset_minutes: DEFAULT_UTC_OFFSET_MINUTES }
    }
}

impl FromStr for Planogram {
    type Err = PlanogramError;
    fn from_str(text: &str) -> Result<Self, PlanogramError> {
        Self::parse(text)
    }
}

impl Planogram {
    /// Reads and checks a planogram.
    ///
    /// # Errors
    /// When the text is no TOML of a planogram or a value cannot be right; the message names the field.
    pub fn parse(text: &str) -> Result<Self, PlanogramError> {
        let wire: PlanogramWire = toml::from_str(text).map_err(|source| PlanogramError::Toml { source })?;
        let utc_offset_minutes = wire.utc_offset_minutes.unwrap_or(DEFAULT_UTC_OFFSET_MINUTES);
        if !(-14 * 60..=14 * 60).contains(&utc_offset_minutes) {
            return Err(wrong("utc_offset_minutes", utc_offset_minutes, "allowed are -840 to 840"));
        }
        if SHELVES_MAX < wire.shelf.len() {
            return Err(wrong(
                "shelf",
                wire.shelf.len(),
                &format!("at most {SHELVES_MAX} shelves are allowed"),
            ));
        }
        let shelf = |(id, wire): (String, ShelfWire)| {
            DeviceId::parse(&id).map_err(|error| wrong(&format!("shelf.{id}"), &id, &error.to_string()))?;
            let shelf = Shelf::check(&format!("shelf.{id}"), wire)?;
            Ok((id, shelf))
        };
        let shelves = wire.shelf.into_iter().map(shelf).collect::<Result<_, _>>()?;
        Ok(Self { shelves, utc_offset_minutes })
    }

    /// What belongs on a shelf.
    #[must_use]
    pub fn shelf(&self, id: &str) -> Option<&Shelf> {
        self.shelves.get(id)
    }

    /// All shelves by id.
    pub fn shelves(&self) -> impl Iterator<Item = (&str, &Shelf)> {
        self.shelves.iter().map(|(id, shelf)| (id.as_str(), shelf))
    }

    /// Minutes by which the store's clock is ahead of UTC.
    #[must_use]
    pub fn utc_offset_minutes(&self) -> i32 {
        self.utc_offset_minutes
    }
}

impl Shelf {
    fn check(path: &str, wire: ShelfWire) -> Result<Self, PlanogramError> {
        let field = |name: &str| format!("{path}.{name}");
        let gtin = wire.gtin.map(|gtin| gtin14(&field("gtin"), &gtin)).transpose()?;
        let mut name = BTreeMap::new();
        for (tag, text) in [("zh", wire.name.zh), ("en", wire.name.en)] {
            let Some(text) = text else { continue };
            if !(1..=NAME_CHARS_MAX).contains(&text.chars().count()) || text.chars().any(char::is_control) {
                let reason =
                    format!("a name has 1 to {NAME_CHARS_MAX} characters, none of them a control character");
                return Err(wrong(&field(&format!("name.{tag}")), text, &reason));
            }
            name.insert(tag.to_owned(), text);
        }
        let number = |name: &str, value: Option<f64>, least_excluded: bool, max: f64| match value {
            Some(value) if !(0.0..=max).contains(&value) || (least_excluded && value == 0.0) => {
                let least = if least_excluded { "more than 0" } else { "0" };
                Err(wrong(&field(name), value, &format!("allowed are {least} to {max}")))
            }
            value => Ok(value),
        };
        let unit_weight_g = number("unit_weight_g", wire.unit_weight_g, true, UNIT_WEIGHT_G_MAX)?;
        let tare_g = number("tare_g", wire.tare_g, false, TARE_G_MAX)?.unwrap_or(0.0);
        if let Some(capacity) = wire.capacity
            && !(1..=CAPACITY_MAX).contains(&capacity)
        {
            return Err(wrong(&field("capacity"), capacity, &format!("allowed are 1 to {CAPACITY_MAX}")));
        }
        Ok(Self { gtin, name, unit_weight_g, tare_g, capacity: wire.capacity })
    }
}

fn wrong(field: &str, value: impl std::fmt::Display, reason: &str) -> PlanogramError {
    PlanogramError::Value { field: field.to_owned(), value: value.to_string(), reason: reason.to_owned() }
}

/// Pads a GTIN to 14 digits after checking its last one (GS1 General Specifications, section 7.9).
fn gtin14(field: &str, gtin: &str) -> Result<String, PlanogramError> {
    if !matches!(gtin.len(), 8 | 12 | 13 | 14) || !gtin.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong(field, gtin, "a GTIN has 8, 12, 13 or 14 digits"));
    }
    let padded = format!("{gtin:0>14}");
    let weighted: u32 = padded
        .bytes()
        .enumerate()
        .map(|(i, b)| u32::from(b - b'0') * if i.is_multiple_of(2) { 3 } else { 1 })
        .sum();
    if weighted.is_multiple_of(10) {
        Ok(padded)
    } else {
        Err(wrong(field, gtin, "the last digit of the GTIN does not check"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_a_planogram() {
        let planogram: Planogram = include_str!("../../planogram.example.toml").parse().unwrap();
        assert_eq!(planogram.shelves().count(), 2);
    }

    #[test]
    fn a_planogram_gives_its_shelves() {
        let text = r#"
            [shelf.shelf-01]
            gtin = "4006381333931"
            name = { zh = "精华液", en = "Serum" }
            unit_weight_g = 182.5
            tare_g = 350
            capacity = 24
            [shelf.shelf-02]
        "#;
        let planogram = Planogram::parse(text).unwrap();
        let shelf = planogram.shelf("shelf-01").unwrap();
        assert_eq!(shelf.gtin.as_deref(), Some("04006381333931"));
        assert_eq!((shelf.name["zh"].as_str(), shelf.tare_g, shelf.capacity), ("精华液", 350.0, Some(24)));
        assert_eq!(planogram.shelf("shelf-02"), Some(&Shelf::default()));
        assert_eq!(planogram.utc_offset_minutes(), 480);
    }

    fn chain(error: &dyn std::error::Error) -> String {
        std::iter::successors(Some(error), |error| error.source()).map(|error| error.to_string()).collect()
    }

    #[test]
    fn what_is_wrong_is_named_by_field_and_value() {
        let cases = [
            ("[shelf.s1]\nunit_weight_g = 0", "`shelf.s1.unit_weight_g` has the value `0`"),
            ("[shelf.s1]\nunit_weight_g = nan", "`shelf.s1.unit_weight_g` has the value `NaN`"),
            ("[shelf.s1]\ntare_g = -1", "`shelf.s1.tare_g` has the value `-1`"),
            ("[shelf.s1]\ncapacity = 0", "`shelf.s1.capacity` has the value `0`"),
            ("[shelf.s1]\ngtin = \"4006381333932\"", "does not check"),
            ("[shelf.s1]\ngtin = \"40\"", "8, 12, 13 or 14 digits"),
            ("[shelf.s1]\nname = { zh = \"\" }", "`shelf.s1.name.zh`"),
            ("[shelf.S1]", "`shelf.S1`"),
            ("[shelf.s1]\nweight = 1", "unknown field `weight`"),
            ("utc_offset_minutes = 900", "`utc_offset_minutes` has the value `900`"),
        ];
        for (text, reason) in cases {
            let error = chain(&Planogram::parse(text).unwrap_err());
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
