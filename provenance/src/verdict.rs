//! The verdict: how far a record can be believed for the one item that stands before the camera.
//!
//! [`verify`] gathers reasons; each [`Reason`] has a ceiling ([`Reason::ceiling`]), and the verdict is the lowest of
//! them ([`judge`]). So no reason can ever make a verdict better, whatever the order in which it was found.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::{
    json,
    proof::{self, ProofError, Signed},
    record::{Action, Event, EventKind, Place, Record, Role, TemperatureReport, TradeItem},
    trust::{Names, Signer, TrustList},
};

/// Clocks of honest parties differ by no more than this.
const CLOCK_SKEW_MAX: SignedDuration = SignedDuration::from_mins(10);

/// How far an item can be believed. Ordered: the later, the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The record is signed by a trusted party and is about this very item.
    Genuine,
    /// So it was when the trust list was last fresh.
    GenuineStale,
    /// The record holds, but something on the way, or its reach, asks for a closer look.
    Caution,
    /// Nothing speaks against it, and nothing that we can check speaks for it.
    Unverified,
    /// The evidence contradicts itself or the claim.
    Invalid,
}

/// Why a verdict is not better than it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The store has no record for the code.
    NoRecord,
    /// The record cannot be read.
    Unreadable(String),
    /// The record has no signature.
    Unsigned,
    /// The signature does not fit the record.
    SignatureBroken(String),
    /// The signature has ended.
    SignatureExpired,
    /// The record says that it was signed after now.
    SignedInFuture,
    /// A good signature by nobody we know.
    SignerUnknown(String),
    /// The signer's key was withdrawn.
    SignerRevoked(String),
    /// Signed before or after the time of the signer's key.
    SignerOutOfTime(String),
    /// The signer may not vouch for this product.
    SignerNotForProduct(String),
    /// The signer may not sign this step.
    SignerNotForStep {
        /// Who signed.
        signer: String,
        /// The step.
        step: String,
        /// The event, counted from 1.
        event: usize,
    },
    /// An event's own signature does not hold.
    EventProof {
        /// The event, counted from 1.
        event: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// The record is about another product.
    OtherProduct,
    /// The product or its lot is recalled.
    Recalled,
    /// The item was reported stolen.
    Stolen,
    /// The record is about the product, but not about this lot or serial.
    ItemNotInRecord,
    /// The code names only the product, so any copy of it reads the same.
    ProductOnly,
    /// The record vouches for the lot; this item is not named.
    LotOnly,
    /// A sensor raised an alarm on the way.
    ColdChainAlarm,
    /// The item was reported damaged or not conformant.
    Damaged,
    /// The record says that this item was sold before.
    AlreadySold,
    /// The product's last day of use has passed.
    ProductExpired,
    /// An event is dated after its signature.
    DatedAfterSignature {
        /// The event, counted from 1.
        event: usize,
    },
    /// The trust list's time has passed, or the kiosk's clock stands before it.
    TrustStale,
}

impl Reason {
    /// The best verdict that this reason still allows.
    #[must_use]
    pub fn ceiling(&self) -> Verdict {
        match self {
            Self::TrustStale => Verdict::GenuineStale,
            Self::LotOnly
            | Self::ColdChainAlarm
            | Self::Damaged
            | Self::AlreadySold
            | Self::ProductExpired
            | Self::DatedAfterSignature { .. } => Verdict::Caution,
            Self::NoRecord | Self::Unsigned | Self::ItemNotInRecord | Self::ProductOnly => {
                Verdict::Unverified
            }
            Self::Unreadable(_)
            | Self::SignatureBroken(_)
            | Self::SignatureExpired
            | Self::SignedInFuture
            | Self::SignerUnknown(_)
            | Self::SignerRevoked(_)
            | Self::SignerOutOfTime(_)
            | Self::SignerNotForProduct(_)
            | Self::SignerNotForStep { .. }
            | Self::EventProof { .. }
            | Self::OtherProduct
            | Self::Recalled
            | Self::Stolen => Verdict::Invalid,
        }
    }

    /// A stable word for translation tables.
    #[must_use]
    pub fn key(&self) -> &'static str {
        match self {
            Self::NoRecord => "no-record",
            Self::Unreadable(_) => "unreadable",
            Self::Unsigned => "unsigned",
            Self::SignatureBroken(_) => "signature-broken",
            Self::SignatureExpired => "signature-expired",
            Self::SignedInFuture => "signed-in-future",
            Self::SignerUnknown(_) => "signer-unknown",
            Self::SignerRevoked(_) => "signer-revoked",
            Self::SignerOutOfTime(_) => "signer-out-of-time",
            Self::SignerNotForProduct(_) => "signer-not-for-product",
            Self::SignerNotForStep { .. } => "signer-not-for-step",
            Self::EventProof { .. } => "event-proof",
            Self::OtherProduct => "other-product",
            Self::Recalled => "recalled",
            Self::Stolen => "stolen",
            Self::ItemNotInRecord => "item-not-in-record",
            Self::ProductOnly => "product-only",
            Self::LotOnly => "lot-only",
            Self::ColdChainAlarm => "cold-chain-alarm",
            Self::Damaged => "damaged",
            Self::AlreadySold => "already-sold",
            Self::ProductExpired => "product-expired",
            Self::DatedAfterSignature { .. } => "dated-after-signature",
            Self::TrustStale => "trust-stale",
        }
    }

    /// Every key, for tests of translation tables.
    pub const KEYS: [&'static str; 24] = [
        "already-sold",
        "cold-chain-alarm",
        "damaged",
        "dated-after-signature",
        "event-proof",
        "item-not-in-record",
        "lot-only",
        "no-record",
        "other-product",
        "product-expired",
        "product-only",
        "recalled",
        "signature-broken",
        "signature-expired",
        "signed-in-future",
        "signer-not-for-product",
        "signer-not-for-step",
        "signer-out-of-time",
        "signer-revoked",
        "signer-unknown",
        "stolen",
        "trust-stale",
        "unreadable",
        "unsigned",
    ];
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRecord => f.write_str("there is no record for this code"),
            Self::Unreadable(problem) => write!(f, "the record cannot be read: {problem}"),
            Self::Unsigned => f.write_str("the record is not signed"),
            Self::SignatureBroken(problem) => write!(f, "the signature does not hold: {problem}"),
            Self::SignatureExpired => f.write_str("the signature has expired"),
            Self::SignedInFuture => f.write_str("the signature is dated in the future"),
            Self::SignerUnknown(key) => write!(f, "the signer {key} is not on the trust list"),
            Self::SignerRevoked(id) => write!(f, "the key of `{id}` was withdrawn"),
            Self::SignerOutOfTime(id) => {
                write!(f, "the key of `{id}` was not valid when the record was signed")
            }
            Self::SignerNotForProduct(id) => write!(f, "`{id}` may not vouch for this product"),
            Self::SignerNotForStep { signer, step, event } => {
                write!(f, "`{signer}` may not sign the step `{step}` of event {event}")
            }
            Self::EventProof { event, problem } => {
                write!(f, "the signature of event {event} does not hold: {problem}")
            }
            Self::OtherProduct => f.write_str("the record is about another product"),
            Self::Recalled => f.write_str("the product is recalled"),
            Self::Stolen => f.write_str("the item was reported stolen"),
            Self::ItemNotInRecord => f.write_str("the record does not name this lot or serial"),
            Self::ProductOnly => f.write_str("the code names the product only"),
            Self::LotOnly => f.write_str("the record vouches for the lot, not for this item"),
            Self::ColdChainAlarm => f.write_str("a sensor raised an alarm on the way"),
            Self::Damaged => f.write_str("the item was reported damaged or not conformant"),
            Self::AlreadySold => f.write_str("the record says that the item was sold before"),
            Self::ProductExpired => f.write_str("the product's last day of use has passed"),
            Self::DatedAfterSignature { event } => write!(f, "event {event} is dated after its signature"),
            Self::TrustStale => f.write_str("the trust list is out of date"),
        }
    }
}

/// What the code on an item claims it to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemClaim {
    gtin: String,
    lot: Option<String>,
    serial: Option<String>,
}

/// Why a claim is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// Not 14 digits.
    #[error("`{gtin}` is no GTIN of 14 digits")]
    Digits {
        /// What was given.
        gtin: String,
    },
    /// The last digit does not fit the others.
    #[error("the GTIN `{gtin}` ends in {found}, its check digit is {expected}")]
    CheckDigit {
        /// What was given.
        gtin: String,
        /// Its last digit.
        found: u8,
        /// The digit that fits.
        expected: u8,
    },
}

impl ItemClaim {
    /// A claim with a GTIN-14 whose check digit fits.
    ///
    /// # Errors
    /// When the GTIN has another length, another character, or a wrong check digit.
    pub fn try_new(gtin: &str, lot: Option<&str>, serial: Option<&str>) -> Result<Self, ClaimError> {
        if gtin.len() != 14 || !gtin.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(ClaimError::Digits { gtin: gtin.chars().take(20).collect() });
        }
        let digits: Vec<u8> = gtin.bytes().map(|digit| digit - b'0').collect();
        let sum: u8 =
            digits[..13].iter().enumerate().map(|(i, digit)| digit * if i % 2 == 0 { 3 } else { 1 }).sum();
        let expected = (10 - sum % 10) % 10;
        if digits[13] != expected {
            return Err(ClaimError::CheckDigit { gtin: gtin.to_owned(), found: digits[13], expected });
        }
        Ok(Self {
            gtin: gtin.to_owned(),
            lot: lot.map(ToOwned::to_owned),
            serial: serial.map(ToOwned::to_owned),
        })
    }

    /// GTIN-14.
    #[must_use]
    pub fn gtin(&self) -> &str {
        &self.gtin
    }
    /// Lot, where the code names one.
    #[must_use]
    pub fn lot(&self) -> Option<&str> {
        self.lot.as_deref()
    }
    /// Serial, where the code names one.
    #[must_use]
    pub fn serial(&self) -> Option<&str> {
        self.serial.as_deref()
    }
}

/// How closely a record speaks of the claimed item. Ordered: the later, the closer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Coverage {
    /// Not at all.
    None,
    /// Of the product.
    Product,
    /// Of its lot.
    Lot,
    /// Of this very item.
    Item,
}

/// Temperatures of one hop in °C.
#[derive(Debug, Clone, PartialEq)]
pub struct Temperature {
    /// Lowest.
    pub min_c: f64,
    /// Highest.
    pub max_c: f64,
    /// Whether a sensor raised an alarm.
    pub is_alarm: bool,
    /// Single readings in order of time, for a curve.
    pub readings: Vec<(Timestamp, f64)>,
}

/// One station of the item's way.
#[derive(Debug, Clone, PartialEq)]
pub struct Hop {
    /// When it happened.
    pub at: Timestamp,
    /// The local time's offset there, such as `+02:00`.
    pub offset: String,
    /// Business step, such as `commissioning`.
    pub step: Option<String>,
    /// State afterwards, such as `in_transit`.
    pub disposition: Option<String>,
    /// Where, when the record describes the place.
    pub place: Option<Place>,
    /// Who answers for it: the one who signed this step, else the one who signed the record.
    pub signer: Names,
    /// Whether the step has a signature of its own; otherwise the record's signer tells it.
    pub is_signed: bool,
    /// What sensors measured.
    pub temperature: Option<Temperature>,
    /// Certificates, as URIs.
    pub certificates: Vec<String>,
    /// Customs declaration number; only its shape is checked.
    pub customs: Option<String>,
    /// Customs supervision mode.
    pub supervision: Option<String>,
}

/// The verdict and what it rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct Assessment {
    /// How far the item can be believed.
    pub verdict: Verdict,
    /// Why it is not better, worst first; empty when it is [`Verdict::Genuine`].
    pub reasons: Vec<Reason>,
    /// How closely the record speaks of the item.
    pub coverage: Coverage,
    /// The item's way in order of time; empty unless the record can be trusted.
    pub journey: Vec<Hop>,
    /// Who signed the record, when we know them.
    pub signer: Option<Names>,
    /// When it was signed.
    pub signed_at: Option<Timestamp>,
    /// Whether the trust list trusts demonstration keys.
    pub is_demo: bool,
}

impl Assessment {
    /// What can be said of a code for which the store has no record.
    #[must_use]
    pub fn no_record() -> Self {
        Self::of(vec![Reason::NoRecord], Coverage::None, false)
    }

    fn of(mut reasons: Vec<Reason>, coverage: Coverage, is_demo: bool) -> Self {
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.ceiling()));
        let verdict = judge(&reasons);
        Self { verdict, reasons, coverage, journey: Vec::new(), signer: None, signed_at: None, is_demo }
    }
}

/// The lowest ceiling of all reasons; [`Verdict::Genuine`] when there is none.
#[must_use]
pub fn judge(reasons: &[Reason]) -> Verdict {
    reasons.iter().map(Reason::ceiling).max().unwrap_or(Verdict::Genuine)
}

/// Says how far `document` proves that the item is what it claims to be, seen at `now`.
#[must_use]
pub fn verify(document: &[u8], trust: &TrustList, item: &ItemClaim, now: Timestamp) -> Assessment {
    let is_demo = trust.is_demo();
    let fail = |reason| Assessment::of(vec![reason], Coverage::None, is_demo);
    let document = match json::read(document) {
        Ok(document) => document,
        Err(error) => return fail(Reason::Unreadable(chain(&error))),
    };
    let signed = match proof::check(&document) {
        Ok(signed) => signed,
        // Without a proof it may still be a record that nobody vouches for; anything else is no record at all.
        Err(ProofError::Missing) => {
            return fail(match Record::read(&document) {
                Ok(_) => Reason::Unsigned,
                Err(error) => Reason::Unreadable(error.to_string()),
            });
        }
        Err(error) => return fail(Reason::SignatureBroken(chain(&error))),
    };
    let record = match Record::read(&document) {
        Ok(record) => record,
        Err(error) => return fail(Reason::Unreadable(error.to_string())),
    };
    let signer = match trusted(&signed, trust, now) {
        Ok(signer) => signer,
        Err(reason) => return fail(reason),
    };

    let mut reasons = Vec::new();
    if !signer.may_vouch_for(item.gtin()) {
        reasons.push(Reason::SignerNotForProduct(signer.id.clone()));
    }
    let signers = event_signers(&document, &record, &signed, signer, trust, now, &mut reasons);
    let coverage = coverage(&record, item);
    match coverage {
        Coverage::None => reasons.push(Reason::OtherProduct),
        Coverage::Product if item.lot.is_none() && item.serial.is_none() => reasons.push(Reason::ProductOnly),
        Coverage::Product => reasons.push(Reason::ItemNotInRecord),
        Coverage::Lot => reasons.push(Reason::LotOnly),
        Coverage::Item => {}
    }
    // Whoever may not speak for this item is not quoted either.
    let is_quotable = judge(&reasons) <= Verdict::Caution;

    let way = way_of(&record, item);
    state_reasons(&way, item, trust, now, &mut reasons);
    if !trust.is_fresh_at(now) {
        reasons.push(Reason::TrustStale);
    }
    let mut assessment = Assessment::of(reasons, coverage, is_demo);
    assessment.signer = Some(signer.names.clone());
    assessment.signed_at = Some(signed.created);
    if is_quotable {
        assessment.journey =
            way.iter().map(|&(index, event)| hop(event, &record.places, signers[index])).collect();
    }
    assessment
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The party behind a signature, when it counts.
fn trusted<'a>(signed: &Signed, trust: &'a TrustList, now: Timestamp) -> Result<&'a Signer, Reason> {
    let signer = trust.signer(&signed.key).ok_or_else(|| Reason::SignerUnknown(signed.key.to_string()))?;
    if signer.revoked {
        return Err(Reason::SignerRevoked(signer.id.clone()));
    }
    if !signer.is_valid_at(signed.created) {
        return Err(Reason::SignerOutOfTime(signer.id.clone()));
    }
    if signed.expires.is_some_and(|expires| expires < now) {
        return Err(Reason::SignatureExpired);
    }
    if now.saturating_add(CLOCK_SKEW_MAX).is_ok_and(|latest| latest < signed.created) {
        return Err(Reason::SignedInFuture);
    }
    Ok(signer)
}

/// Who answers for each event: the one who signed it, else the one who signed the record.
fn event_signers<'a>(
    document: &Value,
    record: &Record,
    signed: &Signed,
    signer: &'a Signer,
    trust: &'a TrustList,
    now: Timestamp,
    reasons: &mut Vec<Reason>,
) -> Vec<&'a Signer> {
    let mut signers = Vec::with_capacity(record.events.len());
    for (index, event) in record.events.iter().enumerate() {
        let number = index + 1;
        let (mut answers, mut created) = (signer, signed.created);
        if event.is_signed {
            let own = proof::check(&document["epcisBody"]["eventList"][index]);
            match own.map_err(|error| chain(&error)) {
                Ok(own) => match trusted(&own, trust, now) {
                    Ok(party) => (answers, created) = (party, own.created),
                    Err(reason) => reasons.push(reason),
                },
                Err(problem) => reasons.push(Reason::EventProof { event: number, problem }),
            }
        }
        if let Some(step) = &event.step
            && !answers.may_sign_step(step)
        {
            reasons.push(Reason::SignerNotForStep {
                signer: answers.id.clone(),
                step: step.clone(),
                event: number,
            });
        }
        if created.saturating_add(CLOCK_SKEW_MAX).is_ok_and(|latest| latest < event.at) {
            reasons.push(Reason::DatedAfterSignature { event: number });
        }
        signers.push(answers);
    }
    signers
}

/// How closely one object of the record speaks of the item.
fn covers(found: &TradeItem, item: &ItemClaim) -> Coverage {
    if found.gtin != item.gtin {
        return Coverage::None;
    }
    let is_same_lot = match (&item.lot, &found.lot) {
        (Some(claimed), Some(found)) => claimed == found,
        _ => true,
    };
    match (&item.serial, &found.serial) {
        (Some(claimed), Some(found)) if claimed == found && is_same_lot => Coverage::Item,
        (Some(_), Some(_)) => Coverage::Product,
        // The record names a lot or one item of it, and the code names the same lot.
        _ if item.lot.is_some() && item.lot == found.lot => Coverage::Lot,
        _ => Coverage::Product,
    }
}

fn coverage(record: &Record, item: &ItemClaim) -> Coverage {
    let items = record.events.iter().flat_map(|event| &event.items);
    let closest = items
        .filter_map(|found| found.trade_item.as_ref())
        .map(|found| covers(found, item))
        .max()
        .unwrap_or(Coverage::None);
    // A record that lists the lot's serials one by one says that no others exist.
    if closest == Coverage::Lot && item.serial.is_some() && lists_serials(record, item) {
        return Coverage::Product;
    }
    closest
}

fn lists_serials(record: &Record, item: &ItemClaim) -> bool {
    record.events.iter().flat_map(|event| &event.items).filter_map(|found| found.trade_item.as_ref()).any(
        |found| {
            found.gtin == item.gtin
                && found.serial.is_some()
                && (found.lot.is_none() || found.lot == item.lot)
        },
    )
}

/// The events that touched the item, in order of time, with their place in the record.
///
/// Followed are its own id, its lot and product class, what it was made of, and what it was packed into.
fn way_of<'a>(record: &'a Record, item: &ItemClaim) -> Vec<(usize, &'a Event)> {
    let mut followed: BTreeSet<&str> = BTreeSet::new();
    for found in record.events.iter().flat_map(|event| &event.items) {
        let Some(trade_item) = &found.trade_item else { continue };
        let is_ours = match (&trade_item.serial, &trade_item.lot) {
            _ if trade_item.gtin != item.gtin => false,
            (Some(_), lot) if item.serial.is_none() => item.lot.is_none() || *lot == item.lot,
            (Some(_), _) => covers(trade_item, item) == Coverage::Item,
            (None, Some(lot)) => item.lot.as_ref().is_none_or(|claimed| claimed == lot),
            (None, None) => true,
        };
        if is_ours {
            followed.insert(&found.id);
        }
    }
    // Each round adds at least one id or ends; a record has few.
    loop {
        let before = followed.len();
        for event in &record.events {
            let touches = |role| {
                event.items.iter().any(|found| found.role == role && followed.contains(found.id.as_str()))
            };
            let grows = match event.kind {
                EventKind::Transformation => touches(Role::Output).then_some(Role::Input),
                EventKind::Aggregation | EventKind::Association if event.action != Some(Action::Delete) => {
                    touches(Role::Subject).then_some(Role::Parent)
                }
                _ => None,
            };
            let Some(role) = grows else { continue };
            followed
                .extend(event.items.iter().filter(|found| found.role == role).map(|found| found.id.as_str()));
        }
        if followed.len() == before {
            break;
        }
    }
    let mut way: Vec<_> = record
        .events
        .iter()
        .enumerate()
        .filter(|(_, event)| event.items.iter().any(|found| followed.contains(found.id.as_str())))
        .collect();
    way.sort_by_key(|(_, event)| event.at);
    way
}

/// What the record and the trust list say about the item's state.
fn state_reasons(
    way: &[(usize, &Event)],
    item: &ItemClaim,
    trust: &TrustList,
    now: Timestamp,
    reasons: &mut Vec<Reason>,
) {
    let is = |word: &str| way.iter().any(|(_, event)| event.disposition.as_deref() == Some(word));
    if trust.is_recalled(item.gtin(), item.lot()) || is("recalled") {
        reasons.push(Reason::Recalled);
    }
    if is("stolen") {
        reasons.push(Reason::Stolen);
    }
    if is("damaged") || is("non_conformant") {
        reasons.push(Reason::Damaged);
    }
    if is("retail_sold") {
        reasons.push(Reason::AlreadySold);
    }
    if way.iter().any(|(_, event)| event.temperatures.iter().any(|report| report.is_alarm)) {
        reasons.push(Reason::ColdChainAlarm);
    }
    let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    if way.iter().any(|(_, event)| event.expires.is_some_and(|last_day| last_day < today)) {
        reasons.push(Reason::ProductExpired);
    }
}

fn hop(event: &Event, places: &BTreeMap<String, Place>, signer: &Signer) -> Hop {
    Hop {
        at: event.at,
        offset: event.offset.clone(),
        step: event.step.clone(),
        disposition: event.disposition.clone(),
        place: event.place.as_ref().and_then(|id| places.get(id)).cloned(),
        signer: signer.names.clone(),
        is_signed: event.is_signed,
        temperature: temperature(&event.temperatures),
        certificates: event.certificates.clone(),
        customs: event.customs.clone(),
        supervision: event.supervision.clone(),
    }
}

fn temperature(reports: &[TemperatureReport]) -> Option<Temperature> {
    if reports.is_empty() {
        return None;
    }
    let mut readings: Vec<(Timestamp, f64)> = reports
        .iter()
        .filter_map(|report| {
            Some((report.at?, report.mean_c.unwrap_or(f64::midpoint(report.min_c, report.max_c))))
        })
        .collect();
    readings.sort_by_key(|(at, _)| *at);
    Some(Temperature {
        min_c: reports.iter().map(|report| report.min_c).fold(f64::INFINITY, f64::min),
        max_c: reports.iter().map(|report| report.max_c).fold(f64::NEG_INFINITY, f64::max),
        is_alarm: reports.iter().any(|report| report.is_alarm),
        readings,
    })
}
