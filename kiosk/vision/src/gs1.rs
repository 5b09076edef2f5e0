//! What a code says in GS1's language: which product, batch and item it names.
//!
//! Takes GS1 Digital Link URIs, element strings (FNC1 as 0x1D) and retail numbers (EAN-13, EAN-8,
//! UPC-A). Pure: no network is asked, nothing is resolved. Says exactly what is wrong: which
//! identifier, which value, which digit was expected.

mod table;

use std::fmt;

use serde::{Serialize, Serializer};

use crate::codes::{Code, Format};
use table::{Charset, Check, Identifier, KEYS, WORDS, identifier};

/// Longer texts are refused unread; a QR code of the largest version holds 4,296 characters.
pub const TEXT_BYTES_MAX: usize = 8192;
/// A text with more elements than this is refused.
pub const ELEMENTS_MAX: usize = 64;

/// FNC1 as decoders give it.
const SEPARATOR: char = '\u{1d}';

/// Why a code names no item.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Gs1Error {
    /// More than [`TEXT_BYTES_MAX`].
    #[error("the code's text has {bytes} bytes, at most {TEXT_BYTES_MAX} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// More than [`ELEMENTS_MAX`].
    #[error("the code has more than {ELEMENTS_MAX} elements")]
    TooManyElements,
    /// Neither element strings nor a Digital Link URI nor a retail number.
    #[error("the code holds no GS1 identifier")]
    NotGs1,
    /// A URI whose path names no GS1 key.
    #[error("the web address in the code names no GS1 key in its path")]
    NoKey,
    /// A URI that breaks the rules of URIs.
    #[error("the web address in the code is malformed: {what}")]
    MalformedUri {
        /// What is wrong with it.
        what: &'static str,
    },
    /// GS1 data without a product.
    #[error("the code names no product (no GTIN); it has {found}")]
    NoGtin {
        /// The identifiers that it has.
        found: String,
    },
    /// A check digit does not fit.
    #[error("({ai}) `{value}` has check digit {found}, expected {expected}")]
    CheckDigit {
        /// The application identifier.
        ai: String,
        /// Its value.
        value: String,
        /// The digit in the code.
        found: u8,
        /// The digit that fits the others.
        expected: u8,
    },
    /// Too short or too long.
    #[error("({ai}) `{value}` has {found} characters, expected {expected}")]
    Length {
        /// The application identifier.
        ai: String,
        /// Its value.
        value: String,
        /// Its length.
        found: usize,
        /// What is allowed.
        expected: String,
    },
    /// A character outside the set.
    #[error("({ai}) `{value}` has the character {character:?}, expected {expected}")]
    Character {
        /// The application identifier.
        ai: String,
        /// Its value.
        value: String,
        /// The first character that is not allowed.
        character: char,
        /// The set.
        expected: &'static str,
    },
    /// No such day.
    #[error("({ai}) `{value}` is no date (year, month, day)")]
    Date {
        /// The application identifier.
        ai: String,
        /// Its value.
        value: String,
    },
    /// An identifier that nobody has assigned, or that we do not know.
    #[error("`{start}` begins with no known application identifier")]
    UnknownIdentifier {
        /// The first characters of the rest.
        start: String,
    },
    /// An identifier in a place of a URI where it may not be.
    #[error("({ai}) may not stand in the {place} of a Digital Link URI here")]
    Misplaced {
        /// The application identifier.
        ai: String,
        /// Path or query.
        place: &'static str,
    },
    /// The same identifier twice, with different values in an element string or at all in a URI.
    #[error("({ai}) occurs more than once")]
    Repeated {
        /// The application identifier.
        ai: String,
    },
}

/// A GTIN with 14 digits whose check digit fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gtin14([u8; 14]);

impl Gtin14 {
    /// Parses 8, 12, 13 or 14 digits and fills with zeros from the left.
    ///
    /// # Errors
    /// When the text has another length, another character, or its check digit does not fit.
    pub fn parse(text: &str) -> Result<Self, Gs1Error> {
        if !matches!(text.len(), 8 | 12 | 13 | 14) {
            return Err(Gs1Error::Length {
                ai: "01".to_owned(),
                value: shortened(text),
                found: text.chars().count(),
                expected: "8, 12, 13 or 14".to_owned(),
            });
        }
        let padded = format!("{text:0>14}");
        check_value("01", &padded)?;
        let digits = padded.as_bytes().try_into().expect("14 digits were checked");
        Ok(Self(digits))
    }

    /// The 14 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("digits are ASCII")
    }
}

impl fmt::Display for Gtin14 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Gtin14 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A date on a package; some name a month only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackageDate {
    /// The year, all four digits.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31; `None` means the whole month.
    pub day: Option<u8>,
}

/// As `2026-11-22` or `2026-11`.
impl fmt::Display for PackageDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)?;
        self.day.map_or(Ok(()), |day| write!(f, "-{day:02}"))
    }
}

impl Serialize for PackageDate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How a code said what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A GS1 Digital Link URI.
    DigitalLink,
    /// Element strings with application identifiers.
    ElementString,
    /// A retail number: it names the product, never the item.
    RetailNumber,
}

/// One application identifier with its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Element {
    /// The application identifier, such as `10`.
    pub ai: String,
    /// Its value.
    pub value: String,
}

/// The product, and where the code says more, the batch and the very item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScannedItem {
    /// The product (01).
    pub gtin: Gtin14,
    /// The batch (10).
    pub lot: Option<String>,
    /// The item (21).
    pub serial: Option<String>,
    /// The variant (22).
    pub variant: Option<String>,
    /// Use by (17).
    pub expiry: Option<PackageDate>,
    /// Best before (15).
    pub best_before: Option<PackageDate>,
    /// Made on (11).
    pub produced: Option<PackageDate>,
    /// Country of origin (422), the number of ISO 3166.
    pub origin_country: Option<u16>,
    /// How the code said it.
    pub source: Source,
    /// Everything that the code says, in its order.
    pub elements: Vec<Element>,
}

/// What a code names. Two-digit years are read around the present year, as GS1 prescribes.
///
/// # Errors
/// When the code holds no GS1 data, breaks their rules, or names no product.
pub fn parse(code: &Code) -> Result<ScannedItem, Gs1Error> {
    parse_in_year(code, present_year())
}

/// [`parse`], with the present year given by the caller.
///
/// # Errors
/// As [`parse`].
pub fn parse_in_year(code: &Code, present_year: u16) -> Result<ScannedItem, Gs1Error> {
    let (source, elements) = elements(code)?;
    let value = |ai: &str| elements.iter().find(|e| e.ai == ai).map(|e| e.value.clone());
    let Some(gtin) = value("01") else {
        let found: Vec<String> = elements.iter().map(|e| format!("({})", e.ai)).collect();
        return Err(Gs1Error::NoGtin { found: found.join(" ") });
    };
    let date = |ai: &str| value(ai).and_then(|text| package_date(&text, present_year));
    Ok(ScannedItem {
        gtin: Gtin14::parse(&gtin)?,
        lot: value("10"),
        serial: value("21"),
        variant: value("22"),
        expiry: date("17"),
        best_before: date("15"),
        produced: date("11"),
        origin_country: value("422").and_then(|text| text.parse().ok()),
        source,
        elements,
    })
}

/// Everything that a code says, in its order.
///
/// # Errors
/// When the code holds no GS1 data or breaks their rules.
pub fn elements(code: &Code) -> Result<(Source, Vec<Element>), Gs1Error> {
    let text = code.text.as_str();
    if TEXT_BYTES_MAX < text.len() {
        return Err(Gs1Error::TooLong { bytes: text.len() });
    }
    match code.format {
        Format::Ean13 | Format::Ean8 | Format::UpcA => {
            let gtin = Gtin14::parse(text)?;
            let element = Element { ai: "01".to_owned(), value: gtin.as_str().to_owned() };
            Ok((Source::RetailNumber, vec![element]))
        }
        Format::Qr | Format::DataMatrix => {
            if code.is_gs1 || matches!(code.symbology.as_str(), "]d2" | "]Q3") {
                return Ok((Source::ElementString, parse_elements(text)?));
            }
            if let Some(rest) = text.strip_prefix("]d2").or_else(|| text.strip_prefix("]Q3")) {
                return Ok((Source::ElementString, parse_elements(rest)?));
            }
            if text.starts_with(SEPARATOR) {
                return Ok((Source::ElementString, parse_elements(text)?));
            }
            if uri_rest(text).is_some() {
                return Ok((Source::DigitalLink, parse_uri(text, UriRules::default())?));
            }
            Err(Gs1Error::NotGs1)
        }
    }
}

/// Parses element strings: `01…10…␝21…`, FNC1 as 0x1D, with or without one in front.
///
/// # Errors
/// When an identifier is unknown or a value does not fit it.
pub fn parse_elements(text: &str) -> Result<Vec<Element>, Gs1Error> {
    let mut rest = text.strip_prefix(SEPARATOR).unwrap_or(text);
    let mut elements: Vec<Element> = Vec::new();
    while !rest.is_empty() {
        let (number, ai) = leading_identifier(rest)?;
        let after = &rest[number.len()..];
        let end = after.find(SEPARATOR).unwrap_or(after.len());
        let length = if ai.predefined {
            let fixed: usize = ai.parts.iter().map(|part| part.max).sum();
            // A shorter rest is left to the check, which names the length.
            let cut = after.char_indices().nth(fixed).map_or(after.len(), |(at, _)| at);
            cut.min(end)
        } else {
            end
        };
        let value = &after[..length];
        check_value(number, value)?;
        match elements.iter().find(|e| e.ai == number) {
            Some(earlier) if earlier.value != value => {
                return Err(Gs1Error::Repeated { ai: number.to_owned() });
            }
            Some(_) => {}
            None => elements.push(Element { ai: number.to_owned(), value: value.to_owned() }),
        }
        if ELEMENTS_MAX < elements.len() {
            return Err(Gs1Error::TooManyElements);
        }
        rest = &after[length..];
        rest = rest.strip_prefix(SEPARATOR).unwrap_or(rest);
    }
    if elements.is_empty() { Err(Gs1Error::NotGs1) } else { Ok(elements) }
}

/// Element strings in GS1's way of writing, `^` for FNC1: in front, and after every value whose
/// length is not known from its identifier, unless it is the last.
#[must_use]
pub fn element_string(elements: &[Element]) -> String {
    let mut text = String::from("^");
    let mut open = false;
    for element in elements {
        if open {
            text.push('^');
        }
        text.push_str(&element.ai);
        text.push_str(&element.value);
        open = identifier(&element.ai).is_none_or(|ai| !ai.predefined);
    }
    text
}

/// How strictly URIs are read.
#[derive(Debug, Clone, Copy)]
pub struct UriRules {
    /// GTINs may have 8, 12 or 13 digits.
    pub short_gtins: bool,
    /// Numbers in the query that are no known identifier are kept with their values unchecked.
    pub unknown_identifiers: bool,
}

impl Default for UriRules {
    fn default() -> Self {
        Self { short_gtins: true, unknown_identifiers: false }
    }
}

/// Parses a GS1 Digital Link URI: `https://host/stem/01/{gtin}/10/{lot}/21/{serial}?17={yymmdd}`.
///
/// # Errors
/// When the text is no URI, its path has no GS1 key, or an identifier does not fit its place or value.
pub fn parse_uri(uri: &str, rules: UriRules) -> Result<Vec<Element>, Gs1Error> {
    let rest = uri_rest(uri)
        .ok_or(Gs1Error::MalformedUri { what: "it starts with neither http:// nor https://" })?;
    if !rest.bytes().all(is_uri_byte) {
        return Err(Gs1Error::MalformedUri { what: "a character may not stand in a web address" });
    }
    let rest = rest.split_once('#').map_or(rest, |(before, _fragment)| before);
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (host, path) = address.split_once('/').ok_or(Gs1Error::NoKey)?;
    if host.is_empty() || !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:[]_".contains(&b)) {
        return Err(Gs1Error::MalformedUri { what: "its host is not a host" });
    }
    let mut elements = path_elements(path, rules)?;
    let in_path = elements.len();
    for pair in query.split('&') {
        let Some((name, value)) = pair.split_once('=') else { continue };
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        let ai = identifier(name);
        if ai.is_none() && !rules.unknown_identifiers {
            return Err(Gs1Error::UnknownIdentifier { start: shortened(name) });
        }
        let value = percent_decoded(value, true)?;
        let value = if name == "01" && rules.short_gtins { padded_gtin(value) } else { value };
        if let Some(ai) = ai {
            let qualifies = qualifies_after(&elements[..in_path], name);
            if !ai.attribute || qualifies {
                return Err(Gs1Error::Misplaced { ai: name.to_owned(), place: "query" });
            }
            check_value(name, &value)?;
        }
        if elements.iter().any(|e| e.ai == name) {
            return Err(Gs1Error::Repeated { ai: name.to_owned() });
        }
        elements.push(Element { ai: name.to_owned(), value });
        if ELEMENTS_MAX < elements.len() {
            return Err(Gs1Error::TooManyElements);
        }
    }
    Ok(elements)
}

/// The key and its qualifiers out of a path. The rightmost key wins: what is before it is the host's own.
fn path_elements(path: &str, rules: UriRules) -> Result<Vec<Element>, Gs1Error> {
    let segments: Vec<&str> = path.split('/').collect();
    let numbers = |segment: &str| -> Option<&'static str> {
        KEYS.iter()
            .map(|(key, _)| *key)
            .find(|key| *key == segment)
            .or_else(|| WORDS.iter().find(|(word, _)| *word == segment).map(|(_, ai)| *ai))
    };
    // Pairs are counted from the end, because the stem may have any number of segments.
    let start = (0..segments.len().saturating_sub(1))
        .rev()
        .filter(|at| (segments.len() - at).is_multiple_of(2))
        .find(|at| numbers(segments[*at]).is_some_and(|ai| KEYS.iter().any(|(key, _)| *key == ai)))
        .ok_or(Gs1Error::NoKey)?;
    let mut elements: Vec<Element> = Vec::new();
    for pair in segments[start..].chunks_exact(2) {
        let word = WORDS.iter().find(|(word, _)| *word == pair[0]).map(|(_, ai)| *ai);
        let number = word.unwrap_or(pair[0]);
        if identifier(number).is_none() {
            return Err(Gs1Error::UnknownIdentifier { start: shortened(number) });
        }
        if !elements.is_empty() && !follows(&elements, number) {
            return Err(Gs1Error::Misplaced { ai: number.to_owned(), place: "path" });
        }
        let value = percent_decoded(pair[1], false)?;
        let value = if number == "01" && rules.short_gtins { padded_gtin(value) } else { value };
        check_value(number, &value)?;
        elements.push(Element { ai: number.to_owned(), value });
    }
    Ok(elements)
}

/// Whether `number` may be the next qualifier after these elements of a path.
fn follows(path: &[Element], number: &str) -> bool {
    let mut longer: Vec<&str> = path.iter().map(|e| e.ai.as_str()).collect();
    longer.push(number);
    is_key_path(&longer)
}

/// Whether `number` could stand in this path somewhere, so that it may not stand in the query.
fn qualifies_after(path: &[Element], number: &str) -> bool {
    (1..=path.len()).any(|at| {
        let mut longer: Vec<&str> = path.iter().map(|e| e.ai.as_str()).collect();
        longer.insert(at, number);
        is_key_path(&longer)
    })
}

/// Whether a key is followed by some of its qualifiers in their order.
fn is_key_path(numbers: &[&str]) -> bool {
    KEYS.iter().filter(|(key, _)| *key == numbers[0]).any(|(_, qualifiers)| {
        let mut left = qualifiers.iter();
        numbers[1..].iter().all(|number| left.any(|qualifier| qualifier == number))
    })
}

fn padded_gtin(value: String) -> String {
    if matches!(value.len(), 8 | 12 | 13) { format!("{value:0>14}") } else { value }
}

/// What follows `http://` or `https://`; mixed case is not allowed.
fn uri_rest(text: &str) -> Option<&str> {
    ["https://", "http://", "HTTPS://", "HTTP://"].iter().find_map(|scheme| text.strip_prefix(scheme))
}

/// The characters of RFC 3986.
fn is_uri_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte)
}

fn percent_decoded(text: &str, plus_is_space: bool) -> Result<String, Gs1Error> {
    let malformed =
        Gs1Error::MalformedUri { what: "a percent sign is not followed by two hexadecimal digits" };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => {
                let (Some(high), Some(low)) = (rest.next(), rest.next()) else { return Err(malformed) };
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (Some(high), Some(low)) = (digit(high), digit(low)) else { return Err(malformed) };
                u8::try_from(high * 16 + low).expect("two hexadecimal digits are a byte")
            }
            b'+' if plus_is_space => b' ',
            byte => byte,
        };
        bytes.push(byte);
    }
    String::from_utf8(bytes).map_err(|_| Gs1Error::MalformedUri { what: "an escaped character is not UTF-8" })
}

fn leading_identifier(text: &str) -> Result<(&str, &'static Identifier), Gs1Error> {
    (2..=4)
        .filter_map(|length| text.get(..length))
        .find_map(|number| Some((number, identifier(number)?)))
        .ok_or_else(|| Gs1Error::UnknownIdentifier { start: text.chars().take(4).collect() })
}

/// Checks a value against its identifier's shape.
fn check_value(number: &str, value: &str) -> Result<(), Gs1Error> {
    let Some(ai) = identifier(number) else {
        return Err(Gs1Error::UnknownIdentifier { start: shortened(number) });
    };
    let characters = value.chars().count();
    let minimum: usize = ai.parts.iter().filter(|part| !part.optional).map(|part| part.min).sum();
    let maximum: usize = ai.parts.iter().map(|part| part.max).sum();
    let wrong_length = || Gs1Error::Length {
        ai: number.to_owned(),
        value: shortened(value),
        found: characters,
        expected: if minimum == maximum { minimum.to_string() } else { format!("{minimum} to {maximum}") },
    };
    if characters < minimum || maximum < characters {
        return Err(wrong_length());
    }
    let mut rest = value;
    for part in ai.parts {
        if rest.is_empty() && part.optional {
            break;
        }
        let cut = rest.char_indices().nth(part.max).map_or(rest.len(), |(at, _)| at);
        let (own, after) = rest.split_at(cut);
        if own.chars().count() < part.min {
            return Err(wrong_length());
        }
        let (allowed, expected) = charset(part.charset);
        if let Some(character) = own.chars().find(|c| !allowed(*c)) {
            return Err(Gs1Error::Character {
                ai: number.to_owned(),
                value: shortened(value),
                character,
                expected,
            });
        }
        check_content(number, value, own, part.check)?;
        rest = after;
    }
    Ok(())
}

fn check_content(number: &str, value: &str, own: &str, check: Check) -> Result<(), Gs1Error> {
    match check {
        Check::Any | Check::Country => Ok(()),
        Check::Digit => {
            let (body, last) = own.split_at(own.len() - 1);
            let (found, expected) = (last.as_bytes()[0] - b'0', check_digit(body));
            if found == expected {
                return Ok(());
            }
            Err(Gs1Error::CheckDigit { ai: number.to_owned(), value: shortened(value), found, expected })
        }
        Check::Date | Check::DateOrMonth => {
            let whole_month = check == Check::DateOrMonth;
            // Any year will do: 29 February is checked against the two digits as 20yy.
            match package_date(own, 2000 + own[..2].parse::<u16>().unwrap_or(0)) {
                Some(date) if whole_month || date.day.is_some() => Ok(()),
                _ => Err(Gs1Error::Date { ai: number.to_owned(), value: shortened(value) }),
            }
        }
    }
}

/// The check digit of GTIN, GLN and SSCC: weights 3, 1, 3, 1 … from the right.
fn check_digit(body: &str) -> u8 {
    let sum: u32 = body
        .bytes()
        .rev()
        .zip([3, 1].into_iter().cycle())
        .map(|(digit, weight)| u32::from(digit - b'0') * weight)
        .sum();
    u8::try_from((10 - sum % 10) % 10).expect("a digit")
}

fn charset(charset: Charset) -> (fn(char) -> bool, &'static str) {
    match charset {
        Charset::N => (|c| c.is_ascii_digit(), "digits"),
        Charset::X => (
            |c| c.is_ascii_alphanumeric() || "!\"%&'()*+,-./:;<=>?_".contains(c),
            "the 82 characters that GS1 allows in texts",
        ),
        Charset::Y => (
            |c| c.is_ascii_uppercase() || c.is_ascii_digit() || "#-/".contains(c),
            "the 39 characters that GS1 allows in component numbers",
        ),
        Charset::Z => {
            (|c| c.is_ascii_alphanumeric() || "-_=".contains(c), "the characters of base 64 for URLs")
        }
    }
}

/// `YYMMDD` → a date. The century is the one that puts the year within 49 years back and 50 ahead.
fn package_date(text: &str, present_year: u16) -> Option<PackageDate> {
    let digits = |at: usize| text.get(at..at + 2)?.parse::<u8>().ok();
    if text.len() != 6 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (yy, month, day) = (u16::from(digits(0)?), digits(2)?, digits(4)?);
    let difference = i32::from(yy) - i32::from(present_year % 100);
    let century = present_year / 100 * 100;
    let year = match difference {
        51.. => century.checked_sub(100)? + yy,
        ..=-50 => century + 100 + yy,
        _ => century + yy,
    };
    let leap = (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u8::from(leap),
        _ => return None,
    };
    match day {
        0 => Some(PackageDate { year, month, day: None }),
        day if day <= days => Some(PackageDate { year, month, day: Some(day) }),
        _ => None,
    }
}

fn present_year() -> u16 {
    let seconds =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    // The mean length of a Gregorian year; a day's error at New Year moves a 100-year window by one.
    u16::try_from(1970 + seconds / 31_556_952).unwrap_or(u16::MAX)
}

/// At most 40 characters, and none that moves a cursor: a message is no place for a whole QR code.
fn shortened(text: &str) -> String {
    let text = text.escape_debug().collect::<String>();
    if text.chars().count() <= 40 {
        return text;
    }
    text.chars().take(39).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::geometry::Point;

    fn code(format: Format, text: &str, symbology: &str) -> Code {
        Code {
            format,
            text: text.to_owned(),
            corners: [Point::new(0.0, 0.0); 4],
            symbol_origin: 0,
            mirrored: false,
            symbology: symbology.to_owned(),
            is_gs1: matches!(symbology, "]d2" | "]Q3"),
            modules: None,
            surface: None,
        }
    }

    #[test]
    fn a_digital_link_names_product_batch_item_and_expiry() {
        let uri = "https://id.gs1.org/01/09521234543213/10/LOT001/21/SN100001?17=270300&422=250&utm=x";
        let item = parse_in_year(&code(Format::Qr, uri, "]Q1"), 2026).unwrap();
        assert_eq!(item.gtin.as_str(), "09521234543213");
        assert_eq!((item.lot.as_deref(), item.serial.as_deref()), (Some("LOT001"), Some("SN100001")));
        assert_eq!(item.expiry.unwrap().to_string(), "2027-03");
        assert_eq!((item.origin_country, item.source), (Some(250), Source::DigitalLink));
        let elements = element_string(&item.elements);
        assert_eq!(elements, "^010952123454321310LOT001^21SN100001^17270300422250");
    }

    #[test]
    fn element_strings_are_read_with_and_without_a_leading_separator() {
        for text in ["0109521234543213 17261231 10AB", "\u{1d}0109521234543213 17261231 10AB"] {
            let text = text.replace(' ', "") + "\u{1d}21X9";
            let item = parse_in_year(&code(Format::DataMatrix, &text, "]d2"), 2026).unwrap();
            assert_eq!(item.gtin.as_str(), "09521234543213");
            assert_eq!((item.lot.as_deref(), item.serial.as_deref()), (Some("AB"), Some("X9")));
            assert_eq!(item.expiry.unwrap().to_string(), "2026-12-31");
            assert_eq!(item.source, Source::ElementString);
        }
    }

    #[test]
    fn retail_numbers_become_gtins_of_14_digits() {
        let cases = [
            (Format::Ean13, "4006381333931", "04006381333931"),
            (Format::Ean8, "96385074", "00000096385074"),
            (Format::UpcA, "036000291452", "00036000291452"),
        ];
        for (format, text, gtin) in cases {
            let item = parse(&code(format, text, "]E0")).unwrap();
            assert_eq!((item.gtin.as_str(), item.source), (gtin, Source::RetailNumber));
            assert_eq!(item.lot, None);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            (Format::Ean13, "]E0", "4006381333932", "(01) `04006381333932` has check digit 2, expected 1"),
            (Format::Qr, "]Q1", "hello", "no GS1 identifier"),
            (Format::Qr, "]Q1", "https://example.com/shop", "names no GS1 key"),
            (
                Format::Qr,
                "]Q1",
                "https://a/01/09521234543213/10/",
                "(10) `` has 0 characters, expected 1 to 20",
            ),
            (Format::Qr, "]Q1", "https://a/01/0952123454321X", "character 'X', expected digits"),
            (Format::Qr, "]Q1", "https://a/00/006141411234567890", "names no product (no GTIN); it has (00)"),
            (Format::Qr, "]Q1", "https://a/01/09521234543213?17=261332", "(17) `261332` is no date"),
            (Format::Qr, "]Q1", "https://a/01/09521234543213?10=A", "(10) may not stand in the query"),
            (Format::Qr, "]Q1", "https://a/01/09521234543213/21/A/10/B", "(10) may not stand in the path"),
            (Format::Qr, "]Q3", "0109521234543213\u{1d}0109521234543220", "(01) occurs more than once"),
            (Format::DataMatrix, "]d2", "8901", "`8901` begins with no known application identifier"),
            (Format::DataMatrix, "]d2", "01095212345", "(01) `095212345` has 9 characters, expected 14"),
        ];
        for (format, symbology, text, expected) in cases {
            let error = parse(&code(format, text, symbology)).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let long = "9".repeat(TEXT_BYTES_MAX + 1);
        assert!(matches!(parse(&code(Format::Qr, &long, "]Q1")), Err(Gs1Error::TooLong { .. })));
    }

    #[test]
    fn two_digit_years_lie_around_the_present_one() {
        let cases = [("760101", 2076), ("770101", 1977), ("261231", 2026), ("990101", 1999)];
        for (text, year) in cases {
            assert_eq!(package_date(text, 2026).unwrap().year, year, "{text}");
        }
        assert_eq!(package_date("010101", 2098).unwrap().year, 2101);
        assert_eq!(package_date("260229", 2026), None);
        assert_eq!(package_date("280229", 2026).unwrap().day, Some(29));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in "\\PC{0,60}", uri in "[0-9a-z/%?=&#.]{0,60}") {
            for symbology in ["]Q1", "]Q3"] {
                let _ = parse(&code(Format::Qr, &text, symbology));
                let _ = parse(&code(Format::Qr, &format!("https://a/{uri}"), symbology));
                let _ = parse(&code(Format::Qr, &format!("01{uri}\u{1d}{text}"), symbology));
            }
            let _ = parse(&code(Format::Ean13, &text, "]E0"));
        }
    }
}
