//! What the store knows about origins: its catalogue, its suppliers' records, and whom it trusts.
//!
//! Read once at start, and bounded. A part that cannot be read is logged and left out; the rest goes on, and every
//! verdict is then only as good as what is left.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use bevy::log::{info, warn};
use jiff::Timestamp;
use provenance::{Assessment, ItemClaim, Names, PublicKey, Record, TrustError, TrustList, json, verify};
use serde::Deserialize;
use vision::gs1::Gtin14;

use crate::{
    care::rules::{Care, Efficacy},
    config::Origin,
    files,
};

/// Most records in the folder.
const RECORDS_MAX: usize = 10_000;
/// Records that are left out and named in the log.
const LEFT_OUT_NAMED_MAX: usize = 10;
/// Most products in the catalogue.
const PRODUCTS_MAX: usize = 100_000;
/// Letters of a wrong GTIN in the log.
const GTIN_CHARS_NAMED: usize = 20;
/// Largest catalogue and trust list in bytes.
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Why a part of what the store knows cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or folder cannot be read.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The catalogue is none.
    #[error("`{}` is no catalogue", path.display())]
    Catalogue {
        /// The file.
        path: PathBuf,
        /// Which member is wrong.
        source: serde_json::Error,
    },
    /// There is too much of something.
    #[error("`{}` has more than {max} {what}", path.display())]
    TooMany {
        /// The file or folder.
        path: PathBuf,
        /// What there is too much of.
        what: &'static str,
        /// The most that is allowed.
        max: usize,
    },
    /// The trust list cannot be used.
    #[error("`{}` cannot be trusted", path.display())]
    Trust {
        /// The file.
        path: PathBuf,
        /// Why.
        source: TrustError,
    },
}

/// A product of the catalogue.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Product {
    /// GTIN-14.
    pub gtin: String,
    /// Its names by language.
    pub name: Names,
    /// Who makes it, by language.
    pub maker: Names,
    /// Where it comes from, by language.
    pub origin: Names,
    /// Content, such as `750 ml`.
    #[serde(default)]
    pub content: String,
    /// What it looks like from afar.
    #[serde(default)]
    pub form: Form,
    /// The colour that it gives lips, when that is what it is for.
    #[serde(default)]
    pub lip: Option<LipColour>,
    /// What it is registered to do for skin, when that is what it is for.
    #[serde(default)]
    pub care: Option<Care>,
}

/// What a product looks like from afar, for the drawing that stands for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// A tall bottle: wine, oil, juice.
    Bottle,
    /// A small bottle with a dropper.
    Dropper,
    /// A tin with a lid.
    Tin,
    /// A tube that stands on its cap.
    Tube,
    /// A lipstick.
    Lipstick,
    /// A tray with something fresh.
    Tray,
    /// Anything else.
    #[default]
    Parcel,
}

/// A lip colour, as the catalogue says it: `{"colour": "#A3182A", "cover": 0.78}`.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "LipColourWire")]
pub struct LipColour {
    rgb: [u8; 3],
    cover: f64,
}

impl LipColour {
    /// The colour in daylight, as sRGB.
    #[must_use]
    pub fn rgb(&self) -> [u8; 3] {
        self.rgb
    }

    /// How much of the lip it covers, 0 to 1.
    #[must_use]
    pub fn cover(&self) -> f64 {
        self.cover
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LipColourWire {
    colour: String,
    cover: f64,
}

impl TryFrom<LipColourWire> for LipColour {
    type Error = String;

    fn try_from(LipColourWire { colour, cover }: LipColourWire) -> Result<Self, String> {
        let digits = colour.strip_prefix('#').filter(|digits| digits.len() == 6);
        let value = digits
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .ok_or_else(|| format!("`lip.colour` is `{colour}`, a colour such as `#A3182A` is needed"))?;
        if !(0.0..=1.0).contains(&cover) {
            return Err(format!("`lip.cover` is {cover}, 0 to 1 is allowed"));
        }
        let [_, red, green, blue] = value.to_be_bytes();
        Ok(Self { rgb: [red, green, blue], cover })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CatalogueWire {
    products: Vec<serde_json::Value>,
}

/// The store's products by GTIN-14, for every screen.
#[derive(bevy::prelude::Resource, Debug, Clone, Default)]
pub struct Catalogue(std::sync::Arc<BTreeMap<String, Product>>);

impl Catalogue {
    /// The product with a GTIN-14.
    #[must_use]
    pub fn product(&self, gtin: &str) -> Option<&Product> {
        self.0.get(gtin)
    }
}

impl FromIterator<Product> for Catalogue {
    fn from_iter<I: IntoIterator<Item = Product>>(products: I) -> Self {
        let by_gtin = products.into_iter().map(|product| (product.gtin.clone(), product));
        Self(std::sync::Arc::new(by_gtin.collect()))
    }
}

/// What the store knows.
#[derive(Debug, Default)]
pub struct OriginStore {
    products: BTreeMap<String, Product>,
    /// Records by the GTINs that they name.
    records: BTreeMap<String, Vec<std::sync::Arc<[u8]>>>,
    trust: Option<TrustList>,
}

impl OriginStore {
    /// Reads everything that a configuration names; what cannot be read is logged and left out.
    #[must_use]
    pub fn load(config: &Origin) -> Self {
        let mut store = Self::default();
        match products(&config.catalogue) {
            Ok(products) => store.products = products,
            Err(error) => warn!("the catalogue is left out: {}", crate::chain(&error)),
        }
        match trust(&config.trust, &config.trust_root) {
            Ok(trust) => store.trust = Some(trust),
            Err(error) => {
                warn!("without a trust list no record can be verified: {}", crate::chain(&error));
            }
        }
        if let Err(error) = store.read_records(&config.records) {
            warn!("records are left out: {}", crate::chain(&error));
        }
        info!(
            "origin: {} products, records of {} products, trust list {}",
            store.products.len(),
            store.records.len(),
            store
                .trust
                .as_ref()
                .map_or_else(|| "missing".to_owned(), |trust| format!("version {}", trust.version())),
        );
        store
    }

    /// All products, by GTIN-14.
    pub fn products(&self) -> impl Iterator<Item = &Product> {
        self.products.values()
    }

    /// The product with a GTIN-14.
    #[must_use]
    pub fn product(&self, gtin: &str) -> Option<&Product> {
        self.products.get(gtin)
    }

    /// All products, for those who only look them up.
    #[must_use]
    pub fn catalogue(&self) -> Catalogue {
        self.products.values().cloned().collect()
    }

    /// How far a claim can be believed at `now`.
    ///
    /// Of several records the closest to the item counts; of equally close ones the worst, because evidence that
    /// contradicts itself is none.
    #[must_use]
    pub fn assess(&self, claim: &ItemClaim, now: Timestamp) -> Assessment {
        let (Some(records), Some(trust)) = (self.records.get(claim.gtin()), &self.trust) else {
            return Assessment::no_record();
        };
        records
            .iter()
            .map(|record| (names_closely(record, claim), verify(record, trust, claim, now)))
            .max_by_key(|(closeness, assessment)| (*closeness, assessment.verdict))
            .map_or_else(Assessment::no_record, |(_, assessment)| assessment)
    }

    fn read_records(&mut self, dir: &Path) -> Result<(), StoreError> {
        let read = |source| StoreError::Read { path: dir.to_owned(), source };
        let mut paths: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(dir).map_err(read)? {
            let path = entry.map_err(read)?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                paths.push(path);
            }
            if RECORDS_MAX < paths.len() {
                return Err(StoreError::TooMany { path: dir.to_owned(), what: "records", max: RECORDS_MAX });
            }
        }
        paths.sort();
        let mut left_out = 0;
        for path in &paths {
            let added = file(path)
                .map_err(|error| crate::chain(&error))
                .and_then(|bytes| self.add_record(path, bytes.into()));
            if let Err(error) = added {
                left_out += 1;
                if left_out <= LEFT_OUT_NAMED_MAX {
                    warn!("a record is left out: {error}");
                }
            }
        }
        if LEFT_OUT_NAMED_MAX < left_out {
            warn!("{left_out} of {} records in `{}` are left out", paths.len(), dir.display());
        }
        Ok(())
    }

    /// Files a record under the products that it names. Whether it can be believed is asked later.
    fn add_record(&mut self, path: &Path, bytes: std::sync::Arc<[u8]>) -> Result<(), String> {
        let record = json::read(&bytes)
            .map_err(|error| crate::chain(&error))
            .and_then(|document| Record::read(&document).map_err(|error| error.to_string()))
            .map_err(|error| format!("`{}`: {error}", path.display()))?;
        let mut gtins: Vec<&str> = record
            .events
            .iter()
            .flat_map(|event| &event.items)
            .filter_map(|item| Some(item.trade_item.as_ref()?.gtin.as_str()))
            .collect();
        gtins.sort_unstable();
        gtins.dedup();
        for gtin in gtins {
            self.records.entry(gtin.to_owned()).or_default().push(bytes.clone());
        }
        Ok(())
    }
}

/// How closely a record names the item, believed or not: 2 its serial, 1 its lot, 0 its product.
fn names_closely(record: &[u8], claim: &ItemClaim) -> u8 {
    let Ok(Ok(record)) = json::read(record).map(|document| Record::read(&document)) else { return 0 };
    let items =
        record.events.iter().flat_map(|event| &event.items).filter_map(|item| item.trade_item.as_ref());
    items
        .filter(|item| item.gtin == claim.gtin())
        .map(|item| {
            let is_lot = claim.lot().is_none() || item.lot.is_none() || item.lot.as_deref() == claim.lot();
            match (claim.serial(), item.serial.as_deref()) {
                (Some(claimed), Some(found)) if claimed == found && is_lot => 2,
                _ if item.lot.is_some() && item.lot.as_deref() == claim.lot() => 1,
                _ => 0,
            }
        })
        .max()
        .unwrap_or(0)
}

fn file(path: &Path) -> Result<Vec<u8>, StoreError> {
    files::read(path, FILE_BYTES_MAX).map_err(|source| StoreError::Read { path: path.to_owned(), source })
}

fn products(path: &Path) -> Result<BTreeMap<String, Product>, StoreError> {
    let wire: CatalogueWire = serde_json::from_slice(&file(path)?)
        .map_err(|source| StoreError::Catalogue { path: path.to_owned(), source })?;
    if PRODUCTS_MAX < wire.products.len() {
        return Err(StoreError::TooMany { path: path.to_owned(), what: "products", max: PRODUCTS_MAX });
    }
    let mut products = BTreeMap::new();
    let mut faults = 0;
    for (at, product) in wire.products.into_iter().enumerate() {
        // One that cannot be read, or that no code and no shelf can name, costs itself alone.
        let gtin = product["gtin"].as_str().unwrap_or_default();
        let gtin: String = gtin.chars().take(GTIN_CHARS_NAMED).collect();
        let (kept, fault) = match serde_json::from_value::<Product>(product) {
            Err(error) => (None, Some(format!("is left out: {error}"))),
            Ok(product) => match unusable(&product, &products) {
                Some(reason) => (None, Some(format!("is left out: {reason}"))),
                None if has_unknown_efficacy(&product) => {
                    (Some(product), Some("has a class in `care.efficacy` that no rule asks for".to_owned()))
                }
                None => (Some(product), None),
            },
        };
        if let Some(fault) = fault {
            faults += 1;
            if faults <= LEFT_OUT_NAMED_MAX {
                warn!("product {at} of `{}`, `gtin` {gtin:?}, {fault}", path.display());
            }
        }
        if let Some(product) = kept {
            products.insert(product.gtin.clone(), product);
        }
    }
    if LEFT_OUT_NAMED_MAX < faults {
        warn!("{faults} products of `{}` have such faults; the first ones are named", path.display());
    }
    Ok(products)
}

fn unusable(product: &Product, known: &BTreeMap<String, Product>) -> Option<String> {
    match Gtin14::parse(&product.gtin) {
        Err(error) => return Some(error.to_string()),
        Ok(gtin) if gtin.as_str() != product.gtin => {
            return Some(format!("expected 14 digits, `{}`", gtin.as_str()));
        }
        Ok(gtin) if gtin.as_str().bytes().all(|digit| digit == b'0') => {
            return Some("noughts are no number of a product".to_owned());
        }
        Ok(_) => {}
    }
    known.contains_key(&product.gtin).then(|| "an earlier product has it".to_owned())
}

fn has_unknown_efficacy(product: &Product) -> bool {
    product.care.as_ref().is_some_and(|care| care.efficacy.contains(&Efficacy::Other))
}

fn trust(path: &Path, root: &PublicKey) -> Result<TrustList, StoreError> {
    TrustList::read(&file(path)?, root).map_err(|source| StoreError::Trust { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use provenance::{Reason, Verdict};

    use super::*;
    use crate::config::Config;

    fn example() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("kiosk.example.toml")
    }

    /// The demonstration store as the example configuration names it.
    fn demo() -> OriginStore {
        OriginStore::load(&Config::load(&example()).unwrap().origin.unwrap())
    }

    fn assess(lot: Option<&str>, serial: Option<&str>, gtin: &str) -> Assessment {
        let now = "2026-11-22T20:00:00Z".parse().unwrap();
        demo().assess(&ItemClaim::try_new(gtin, lot, serial).unwrap(), now)
    }

    #[test]
    fn the_demonstration_store_shows_every_verdict() {
        let wine = assess(Some("L2022-07"), Some("RD000147"), "09521234543213");
        assert_eq!((wine.verdict, wine.is_demo), (Verdict::Genuine, true), "{:?}", wine.reasons);
        assert!(5 <= wine.journey.len());
        assert!(
            wine.journey.iter().all(|hop| hop.place.as_ref().is_some_and(|place| place.names.len() == 2))
        );

        let formula = assess(Some("TM2605"), Some("00458812"), "09521235000012");
        assert_eq!(formula.verdict, Verdict::Genuine, "{:?}", formula.reasons);

        let salmon = assess(Some("NF2647"), Some("5501"), "09521237000010");
        assert_eq!((salmon.verdict, &salmon.reasons[..]), (Verdict::Caution, &[Reason::ColdChainAlarm][..]));

        let forged = assess(Some("L2022-99"), Some("RD900001"), "09521234543213");
        assert_eq!((forged.verdict, forged.journey.len()), (Verdict::Invalid, 0));
        assert_eq!(forged.reasons[0].key(), "signer-unknown");

        let unknown = assess(Some("A1"), Some("1"), "09521236000011");
        assert_eq!((unknown.verdict, &unknown.reasons[..]), (Verdict::Unverified, &[Reason::NoRecord][..]));
    }

    #[test]
    fn a_lip_colour_that_is_none_is_named() {
        let read = |lip: &str| serde_json::from_str::<LipColour>(lip).map_err(|error| error.to_string());
        let red = read(r##"{"colour": "#a3182A", "cover": 0.5}"##).unwrap();
        assert_eq!((red.rgb(), red.cover()), ([0xA3, 0x18, 0x2A], 0.5));
        for (lip, reason) in [
            (r#"{"colour": "red", "cover": 0.5}"#, "`lip.colour` is `red`"),
            (r##"{"colour": "#+3182A", "cover": 0.5}"##, "`lip.colour` is `#+3182A`"),
            (r##"{"colour": "#a3182A", "cover": 1.5}"##, "`lip.cover` is 1.5"),
        ] {
            assert!(read(lip).unwrap_err().contains(reason), "{lip}");
        }
        assert!(4 <= demo().products().filter(|product| product.lip.is_some()).count());
    }

    #[test]
    fn every_product_has_its_names_in_both_languages() {
        let store = demo();
        assert!(3 <= store.products.len());
        for product in store.products.values() {
            for names in [&product.name, &product.maker, &product.origin] {
                assert!(names.contains_key("zh") && names.contains_key("en"), "{}", product.gtin);
            }
            assert!(ItemClaim::try_new(&product.gtin, None, None).is_ok(), "{}", product.gtin);
        }
    }

    #[test]
    fn what_is_missing_is_left_out_and_nothing_is_believed_without_a_trust_list() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("bad.json"), "{").unwrap();
        let store = OriginStore::load(&Origin {
            catalogue: dir.path().join("none.json"),
            records: dir.path().to_owned(),
            trust: dir.path().join("none.json"),
            trust_root: Config::load(&example()).unwrap().origin.unwrap().trust_root,
        });
        let claim = ItemClaim::try_new("09521234543213", None, None).unwrap();
        assert_eq!(store.assess(&claim, Timestamp::UNIX_EPOCH).verdict, Verdict::Unverified);
    }
}
