//! The application identifiers that we know: number, shape of the value, place in a GS1 Digital Link URI.
//!
//! Facts from the GS1 Barcode Syntax Dictionary (GS1 AISBL, Apache-2.0), written down in our own form.
//! Relations between identifiers ("requires", "excludes") are not part of it, and of the content checks
//! only those that catch misread or forged codes: digits, character sets, check digits, dates.

/// What a part of a value may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charset {
    /// Digits.
    N,
    /// The 82 characters of GS1 for texts.
    X,
    /// The 39 characters of GS1 for component numbers.
    Y,
    /// Base 64 for URLs.
    Z,
}

/// What a part of a value must satisfy besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    /// Nothing.
    Any,
    /// The last digit is a check digit.
    Digit,
    /// Year, month, day; day 00 means the whole month.
    DateOrMonth,
    /// Year, month, day.
    Date,
    /// A three-digit country of ISO 3166; only its shape is known here.
    Country,
}

/// One part of a value. A part of variable length is the last one; optional parts follow all others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub(crate) charset: Charset,
    pub(crate) min: usize,
    pub(crate) max: usize,
    pub(crate) check: Check,
    pub(crate) optional: bool,
}

/// One application identifier, or a run of them with the same shape.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identifier {
    pub(crate) first: &'static str,
    pub(crate) last: &'static str,
    /// Its length is known from its first two digits, so that no separator follows.
    pub(crate) predefined: bool,
    /// May stand in the query of a Digital Link URI.
    pub(crate) attribute: bool,
    pub(crate) parts: &'static [Part],
}

const fn part(charset: Charset, min: usize, max: usize, check: Check) -> Part {
    Part { charset, min, max, check, optional: false }
}

const fn optional(charset: Charset, min: usize, max: usize, check: Check) -> Part {
    Part { charset, min, max, check, optional: true }
}

const fn ai(first: &'static str, last: &'static str, flags: &str, parts: &'static [Part]) -> Identifier {
    let flags = flags.as_bytes();
    let mut predefined = false;
    let mut attribute = false;
    let mut at = 0;
    while at < flags.len() {
        match flags[at] {
            b'*' => predefined = true,
            b'?' => attribute = true,
            _ => panic!("flags are `*` and `?`"),
        }
        at += 1;
    }
    Identifier { first, last, predefined, attribute, parts }
}

use Charset::{N, X, Y, Z};
use Check::{Any, Country, Date, DateOrMonth, Digit};

const GTIN: &[Part] = &[part(N, 14, 14, Digit)];
const GLN: &[Part] = &[part(N, 13, 13, Digit)];
const DATE: &[Part] = &[part(N, 6, 6, DateOrMonth)];
const N6: &[Part] = &[part(N, 6, 6, Any)];
const N_TO_8: &[Part] = &[part(N, 1, 8, Any)];
const N_TO_15: &[Part] = &[part(N, 1, 15, Any)];
const X_TO_20: &[Part] = &[part(X, 1, 20, Any)];
const X_TO_30: &[Part] = &[part(X, 1, 30, Any)];
const X_TO_35: &[Part] = &[part(X, 1, 35, Any)];
const X_TO_70: &[Part] = &[part(X, 1, 70, Any)];
const X_TO_90: &[Part] = &[part(X, 1, 90, Any)];
const COUNTRY: &[Part] = &[part(N, 3, 3, Country)];
const COUNTRIES: &[Part] = &[
    part(N, 3, 3, Country),
    optional(N, 3, 3, Country),
    optional(N, 3, 3, Country),
    optional(N, 3, 3, Country),
    optional(N, 3, 3, Country),
];
const TEMPERATURE: &[Part] = &[part(N, 6, 6, Any), optional(X, 1, 1, Any)];
const DATE_AND_TIME: &[Part] = &[part(N, 6, 6, DateOrMonth), part(N, 4, 4, Any)];

/// All identifiers, by number.
pub(crate) const IDENTIFIERS: &[Identifier] = &[
    ai("00", "00", "*?", &[part(N, 18, 18, Digit)]),
    ai("01", "01", "*?", GTIN),
    ai("02", "02", "*?", GTIN),
    ai("03", "03", "*", GTIN),
    ai("10", "10", "?", X_TO_20),
    ai("11", "13", "*?", DATE),
    ai("15", "17", "*?", DATE),
    ai("20", "20", "*?", &[part(N, 2, 2, Any)]),
    ai("21", "22", "", X_TO_20),
    ai("235", "235", "", &[part(X, 1, 28, Any)]),
    ai("240", "241", "?", X_TO_30),
    ai("242", "242", "?", &[part(N, 1, 6, Any)]),
    ai("243", "243", "?", X_TO_20),
    ai("250", "251", "?", X_TO_30),
    ai("253", "253", "?", &[part(N, 13, 13, Digit), optional(X, 1, 17, Any)]),
    ai("254", "254", "", X_TO_20),
    ai("255", "255", "?", &[part(N, 13, 13, Digit), optional(N, 1, 12, Any)]),
    ai("30", "30", "?", N_TO_8),
    ai("3100", "3105", "*?", N6),
    ai("3110", "3115", "*?", N6),
    ai("3120", "3125", "*?", N6),
    ai("3130", "3135", "*?", N6),
    ai("3140", "3145", "*?", N6),
    ai("3150", "3155", "*?", N6),
    ai("3160", "3165", "*?", N6),
    ai("3200", "3205", "*?", N6),
    ai("3210", "3215", "*?", N6),
    ai("3220", "3225", "*?", N6),
    ai("3230", "3235", "*?", N6),
    ai("3240", "3245", "*?", N6),
    ai("3250", "3255", "*?", N6),
    ai("3260", "3265", "*?", N6),
    ai("3270", "3275", "*?", N6),
    ai("3280", "3285", "*?", N6),
    ai("3290", "3295", "*?", N6),
    ai("3300", "3305", "*?", N6),
    ai("3310", "3315", "*?", N6),
    ai("3320", "3325", "*?", N6),
    ai("3330", "3335", "*?", N6),
    ai("3340", "3345", "*?", N6),
    ai("3350", "3355", "*?", N6),
    ai("3360", "3365", "*?", N6),
    ai("3370", "3375", "*?", N6),
    ai("3400", "3405", "*?", N6),
    ai("3410", "3415", "*?", N6),
    ai("3420", "3425", "*?", N6),
    ai("3430", "3435", "*?", N6),
    ai("3440", "3445", "*?", N6),
    ai("3450", "3455", "*?", N6),
    ai("3460", "3465", "*?", N6),
    ai("3470", "3475", "*?", N6),
    ai("3480", "3485", "*?", N6),
    ai("3490", "3495", "*?", N6),
    ai("3500", "3505", "*?", N6),
    ai("3510", "3515", "*?", N6),
    ai("3520", "3525", "*?", N6),
    ai("3530", "3535", "*?", N6),
    ai("3540", "3545", "*?", N6),
    ai("3550", "3555", "*?", N6),
    ai("3560", "3565", "*?", N6),
    ai("3570", "3575", "*?", N6),
    ai("3600", "3605", "*?", N6),
    ai("3610", "3615", "*?", N6),
    ai("3620", "3625", "*?", N6),
    ai("3630", "3635", "*?", N6),
    ai("3640", "3645", "*?", N6),
    ai("3650", "3655", "*?", N6),
    ai("3660", "3665", "*?", N6),
    ai("3670", "3675", "*?", N6),
    ai("3680", "3685", "*?", N6),
    ai("3690", "3695", "*?", N6),
    ai("37", "37", "?", N_TO_8),
    ai("3900", "3909", "?", N_TO_15),
    ai("3910", "3919", "?", &[part(N, 3, 3, Any), part(N, 1, 15, Any)]),
    ai("3920", "3929", "?", N_TO_15),
    ai("3930", "3939", "?", &[part(N, 3, 3, Any), part(N, 1, 15, Any)]),
    ai("3940", "3943", "?", &[part(N, 4, 4, Any)]),
    ai("3950", "3955", "?", N6),
    ai("400", "401", "?", X_TO_30),
    ai("402", "402", "?", &[part(N, 17, 17, Digit)]),
    ai("403", "403", "?", X_TO_30),
    ai("410", "417", "*?", GLN),
    ai("420", "420", "?", X_TO_20),
    ai("421", "421", "?", &[part(N, 3, 3, Country), part(X, 1, 9, Any)]),
    ai("422", "422", "?", COUNTRY),
    ai("423", "423", "?", COUNTRIES),
    ai("424", "424", "?", COUNTRY),
    ai("425", "425", "?", COUNTRIES),
    ai("426", "426", "?", COUNTRY),
    ai("427", "427", "?", &[part(X, 1, 3, Any)]),
    ai("4300", "4301", "?", X_TO_35),
    ai("4302", "4306", "?", X_TO_70),
    ai("4307", "4307", "?", &[part(X, 2, 2, Any)]),
    ai("4308", "4308", "?", X_TO_30),
    ai("4309", "4309", "?", &[part(N, 20, 20, Any)]),
    ai("4310", "4311", "?", X_TO_35),
    ai("4312", "4316", "?", X_TO_70),
    ai("4317", "4317", "?", &[part(X, 2, 2, Any)]),
    ai("4318", "4318", "?", X_TO_20),
    ai("4319", "4319", "?", X_TO_30),
    ai("4320", "4320", "?", X_TO_35),
    ai("4321", "4323", "?", &[part(N, 1, 1, Any)]),
    ai("4324", "4325", "?", DATE_AND_TIME),
    ai("4326", "4326", "?", &[part(N, 6, 6, Date)]),
    ai("4330", "4333", "?", TEMPERATURE),
    ai("7001", "7001", "?", &[part(N, 13, 13, Any)]),
    ai("7002", "7002", "?", X_TO_30),
    ai("7003", "7003", "?", &[part(N, 6, 6, Date), part(N, 4, 4, Any)]),
    ai("7004", "7004", "?", &[part(N, 1, 4, Any)]),
    ai("7005", "7005", "?", &[part(X, 1, 12, Any)]),
    ai("7006", "7006", "?", &[part(N, 6, 6, Date)]),
    ai("7007", "7007", "?", &[part(N, 6, 6, Date), optional(N, 6, 6, Date)]),
    ai("7008", "7008", "?", &[part(X, 1, 3, Any)]),
    ai("7009", "7009", "?", &[part(X, 1, 10, Any)]),
    ai("7010", "7010", "?", &[part(X, 1, 2, Any)]),
    ai("7011", "7011", "?", &[part(N, 6, 6, Date), optional(N, 4, 4, Any)]),
    ai("7020", "7022", "?", X_TO_20),
    ai("7023", "7023", "?", X_TO_30),
    ai("7030", "7039", "?", &[part(N, 3, 3, Country), part(X, 1, 27, Any)]),
    ai("7040", "7040", "", &[part(N, 1, 1, Any), part(X, 3, 3, Any)]),
    ai("7041", "7041", "", &[part(X, 1, 4, Any)]),
    ai("710", "717", "?", X_TO_20),
    ai("7230", "7239", "?", &[part(X, 2, 2, Any), part(X, 1, 28, Any)]),
    ai("7240", "7240", "?", X_TO_20),
    ai("7241", "7241", "?", &[part(N, 2, 2, Any)]),
    ai("7242", "7242", "?", &[part(X, 1, 25, Any)]),
    ai("8001", "8001", "?", &[part(N, 14, 14, Any)]),
    ai("8002", "8002", "?", X_TO_20),
    ai("8003", "8003", "?", &[part(N, 14, 14, Digit), optional(X, 1, 16, Any)]),
    ai("8004", "8004", "?", X_TO_30),
    ai("8005", "8005", "?", N6),
    ai("8006", "8006", "?", &[part(N, 14, 14, Digit), part(N, 4, 4, Any)]),
    ai("8007", "8007", "?", &[part(X, 1, 34, Any)]),
    ai(
        "8008",
        "8008",
        "?",
        &[part(N, 6, 6, Date), part(N, 2, 2, Any), optional(N, 2, 2, Any), optional(N, 2, 2, Any)],
    ),
    ai("8009", "8009", "?", &[part(X, 1, 50, Any)]),
    ai("8010", "8010", "?", &[part(Y, 1, 30, Any)]),
    ai("8011", "8011", "", &[part(N, 1, 12, Any)]),
    ai("8012", "8012", "?", X_TO_20),
    ai("8013", "8013", "?", &[part(X, 1, 25, Any)]),
    ai("8014", "8014", "", &[part(X, 1, 25, Any)]),
    ai("8017", "8018", "?", &[part(N, 18, 18, Digit)]),
    ai("8019", "8019", "", &[part(N, 1, 10, Any)]),
    ai("8020", "8020", "", &[part(X, 1, 25, Any)]),
    ai("8026", "8026", "?", &[part(N, 14, 14, Digit), part(N, 4, 4, Any)]),
    ai("8030", "8030", "?", &[part(Z, 1, 90, Any)]),
    ai("8110", "8110", "?", X_TO_70),
    ai("8111", "8111", "?", &[part(N, 4, 4, Any)]),
    ai("8112", "8112", "?", X_TO_70),
    ai("8200", "8200", "", X_TO_70),
    ai("90", "90", "?", X_TO_30),
    ai("91", "99", "?", X_TO_90),
];

/// Keys of a Digital Link URI with the qualifiers that may follow them in the path. A key may have
/// several such lists; within one, each may be left out, but the order holds.
pub(crate) const KEYS: &[(&str, &[&str])] = &[
    ("00", &[]),
    ("01", &["22", "10", "21"]),
    ("01", &["235"]),
    ("253", &[]),
    ("255", &[]),
    ("401", &[]),
    ("402", &[]),
    ("414", &["254"]),
    ("414", &["7040"]),
    ("415", &["8020"]),
    ("417", &["7040"]),
    ("8003", &[]),
    ("8004", &["7040"]),
    ("8006", &["22", "10", "21"]),
    ("8010", &["8011"]),
    ("8013", &[]),
    ("8017", &["8019"]),
    ("8018", &["8019"]),
];

/// Words that early Digital Link URIs used in place of numbers.
pub(crate) const WORDS: &[(&str, &str)] = &[
    ("sscc", "00"),
    ("gtin", "01"),
    ("cpv", "22"),
    ("lot", "10"),
    ("ser", "21"),
    ("gdti", "253"),
    ("gcn", "255"),
    ("ginc", "401"),
    ("gsin", "402"),
    ("gln", "414"),
    ("glnx", "254"),
    ("payto", "415"),
    ("refno", "8020"),
    ("party", "417"),
    ("grai", "8003"),
    ("giai", "8004"),
    ("itip", "8006"),
    ("cpid", "8010"),
    ("cpsn", "8011"),
    ("gmn", "8013"),
    ("gsrnp", "8017"),
    ("gsrn", "8018"),
    ("srin", "8019"),
];

/// The identifier with exactly this number.
pub(crate) fn identifier(number: &str) -> Option<&'static Identifier> {
    // Runs have ends of equal length, so the order of texts is the order of numbers.
    IDENTIFIERS.iter().find(|ai| ai.first.len() == number.len() && ai.first <= number && number <= ai.last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_one_meaning_and_none_is_the_beginning_of_another() {
        let numbers: Vec<String> = IDENTIFIERS
            .iter()
            .flat_map(|ai| {
                let width = ai.first.len();
                let (first, last): (u32, u32) = (ai.first.parse().unwrap(), ai.last.parse().unwrap());
                (first..=last).map(move |number| format!("{number:0width$}"))
            })
            .collect();
        for (at, one) in numbers.iter().enumerate() {
            for other in &numbers[at + 1..] {
                assert!(
                    !one.starts_with(other.as_str()) && !other.starts_with(one.as_str()),
                    "{one} {other}"
                );
            }
        }
    }

    #[test]
    fn keys_and_words_name_known_identifiers() {
        for (key, qualifiers) in KEYS {
            assert!(identifier(key).is_some_and(|ai| ai.attribute), "{key}");
            assert!(qualifiers.iter().all(|ai| identifier(ai).is_some()), "{qualifiers:?}");
        }
        assert!(WORDS.iter().all(|(_, ai)| identifier(ai).is_some()));
    }
}
