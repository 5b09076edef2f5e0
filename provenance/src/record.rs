//! An origin record: one EPCIS 2.0 document in JSON, the subset that a kiosk can show, checked while it is read.
//!
//! Everything that the subset knows has its type checked; names without a namespace that EPCIS does not know are
//! refused, names with one (`prefix:name` or a URI) are extensions and pass. Errors name the event and the field.
//!
//! Our extensions, prefix `ot`: `ot:name` (a place's name by language), `ot:customsDeclaration` (18 digits: district
//! 4, year 4, flag 1, sequence 9; its shape is checked, nobody has asked customs) and `ot:supervision` (4 digits,
//! such as 1210 for bonded cross-border trade).
//!
//! Units: temperatures in °C, latitudes and longitudes in degrees.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::trust::Names;

/// Most events in one record.
pub const EVENTS_MAX: usize = 256;

/// What is wrong with a record, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct RecordError {
    /// Which event, counted from 1; absent when the fault lies outside the events.
    pub event: Option<usize>,
    /// The field, as a path.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(event) = self.event {
            write!(f, "event {event}, ")?;
        }
        write!(f, "field `{}`: {}", self.field, self.problem)
    }
}

/// An origin record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its id, where it has one.
    pub id: Option<String>,
    /// When the document was made.
    pub created: Timestamp,
    /// Its events in the order of the document.
    pub events: Vec<Event>,
    /// Places that it describes, by id.
    pub places: BTreeMap<String, Place>,
}

/// What kind of event it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// Something happened to objects.
    Object,
    /// Objects were put into or taken out of a container.
    Aggregation,
    /// Objects were fixed to a parent.
    Association,
    /// Objects were linked to a transaction.
    Transaction,
    /// Inputs became outputs.
    Transformation,
}

/// What an event did to its objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Came into being or was added.
    Add,
    /// Was seen.
    Observe,
    /// Ended or was removed.
    Delete,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// What kind.
    pub kind: EventKind,
    /// What it did; transformations have none.
    pub action: Option<Action>,
    /// When.
    pub at: Timestamp,
    /// The local time's offset there, such as `+02:00`.
    pub offset: String,
    /// Business step.
    pub step: Option<String>,
    /// State of the objects afterwards.
    pub disposition: Option<String>,
    /// Where: the business location, else the read point.
    pub place: Option<String>,
    /// The objects.
    pub items: Vec<Item>,
    /// Temperatures that were measured.
    pub temperatures: Vec<TemperatureReport>,
    /// Certificates, as URIs.
    pub certificates: Vec<String>,
    /// Business documents as type and id.
    pub transactions: Vec<(String, String)>,
    /// Customs declaration number.
    pub customs: Option<String>,
    /// Customs supervision mode.
    pub supervision: Option<String>,
    /// Last day on which the product may be used, `YYYY-MM-DD`.
    pub expires: Option<jiff::civil::Date>,
    /// Whether the event has a proof of its own (checked elsewhere).
    pub is_signed: bool,
}

/// The part that an object plays in its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It was there.
    Subject,
    /// It holds the others.
    Parent,
    /// It was used up.
    Input,
    /// It came out.
    Output,
}

/// One object or class of objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its id as written.
    pub id: String,
    /// What a GS1 Digital Link says about it.
    pub trade_item: Option<TradeItem>,
    /// Its part in the event.
    pub role: Role,
}

/// A GS1 Digital Link of a trade item, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TradeItem {
    /// GTIN-14.
    pub gtin: String,
    /// Lot, from AI 10.
    pub lot: Option<String>,
    /// Serial, from AI 21.
    pub serial: Option<String>,
}

/// Temperatures of one report in °C.
#[derive(Debug, Clone, PartialEq)]
pub struct TemperatureReport {
    /// When, where the report says so.
    pub at: Option<Timestamp>,
    /// Lowest.
    pub min_c: f64,
    /// Highest.
    pub max_c: f64,
    /// Mean, where the report says so.
    pub mean_c: Option<f64>,
    /// Whether the sensor raised an alarm.
    pub is_alarm: bool,
}

/// A place.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Place {
    /// Its name by language.
    pub names: Names,
    /// Degrees north.
    pub latitude: Option<f64>,
    /// Degrees east.
    pub longitude: Option<f64>,
    /// ISO 3166 alpha-2 country.
    pub country: Option<String>,
}

/// CBV 2.0 business steps.
const STEPS: &[&str] = &[
    "accepting",
    "arriving",
    "assembling",
    "collecting",
    "commissioning",
    "consigning",
    "creating_class_instance",
    "cycle_counting",
    "decommissioning",
    "departing",
    "destroying",
    "disassembling",
    "dispensing",
    "encoding",
    "entering_exiting",
    "holding",
    "inspecting",
    "installing",
    "killing",
    "loading",
    "other",
    "packing",
    "picking",
    "receiving",
    "removing",
    "repackaging",
    "repairing",
    "replacing",
    "reserving",
    "retail_selling",
    "sampling",
    "sensor_reporting",
    "shipping",
    "staging_outbound",
    "stock_taking",
    "stocking",
    "storing",
    "transporting",
    "unloading",
    "unpacking",
    "void_shipping",
];

/// CBV 2.0 dispositions.
const DISPOSITIONS: &[&str] = &[
    "active",
    "available",
    "completeness_inferred",
    "completeness_verified",
    "conformant",
    "container_closed",
    "container_open",
    "damaged",
    "destroyed",
    "dispensed",
    "disposed",
    "encoded",
    "expired",
    "in_progress",
    "in_transit",
    "inactive",
    "mismatch_class",
    "mismatch_instance",
    "mismatch_quantity",
    "needs_replacement",
    "no_pedigree_match",
    "non_conformant",
    "non_sellable_other",
    "partially_dispensed",
    "recalled",
    "reserved",
    "retail_sold",
    "returned",
    "sellable_accessible",
    "sellable_not_accessible",
    "stolen",
    "unavailable",
    "unknown",
];

/// CBV 2.0 business transaction types.
const TRANSACTIONS: &[&str] = &[
    "bol",
    "cert",
    "desadv",
    "inv",
    "pedigree",
    "po",
    "poc",
    "prodorder",
    "recadv",
    "rma",
    "testprd",
    "testres",
    "upevt",
];

const SOURCES: &[&str] = &["location", "owning_party", "possessing_party"];

const DOCUMENT_FIELDS: &[&str] = &[
    "@context",
    "creationDate",
    "epcisBody",
    "epcisHeader",
    "id",
    "instanceIdentifier",
    "proof",
    "receiver",
    "schemaVersion",
    "sender",
    "type",
];

const EVENT_FIELDS: &[&str] = &[
    "@context",
    "bizLocation",
    "bizStep",
    "bizTransactionList",
    "certificationInfo",
    "destinationList",
    "disposition",
    "errorDeclaration",
    "eventID",
    "eventTime",
    "eventTimeZoneOffset",
    "persistentDisposition",
    "proof",
    "readPoint",
    "recordTime",
    "sensorElementList",
    "sourceList",
    "type",
];

fn own_fields(kind: EventKind) -> &'static [&'static str] {
    match kind {
        EventKind::Object => &["action", "epcList", "ilmd", "quantityList"],
        EventKind::Aggregation | EventKind::Association => {
            &["action", "childEPCs", "childQuantityList", "parentID"]
        }
        EventKind::Transaction => &["action", "epcList", "parentID", "quantityList"],
        EventKind::Transformation => &[
            "ilmd",
            "inputEPCList",
            "inputQuantityList",
            "outputEPCList",
            "outputQuantityList",
            "transformationID",
        ],
    }
}

/// A value and the way to it.
struct At<'a> {
    event: Option<usize>,
    path: String,
    value: &'a Value,
}

impl<'a> At<'a> {
    fn wrong<T>(&self, problem: impl Into<String>) -> Result<T, RecordError> {
        Err(RecordError { event: self.event, field: self.path.clone(), problem: problem.into() })
    }

    /// "is X, Y is needed"
    fn is_not<T>(&self, wanted: &str) -> Result<T, RecordError> {
        let shown: String = self.value.to_string().chars().take(60).collect();
        self.wrong(format!("is {shown}, {wanted} is needed"))
    }

    fn inside(&self, path: &str, value: &'a Value) -> Self {
        let path = if self.path.is_empty() { path.to_owned() } else { format!("{}.{path}", self.path) };
        Self { event: self.event, path, value }
    }

    fn object(&self) -> Result<&'a Map<String, Value>, RecordError> {
        match self.value {
            Value::Object(members) => Ok(members),
            _ => self.is_not("an object"),
        }
    }

    fn get(&self, name: &str) -> Result<Option<At<'a>>, RecordError> {
        Ok(self.object()?.get(name).map(|value| self.inside(name, value)))
    }

    fn need(&self, name: &str) -> Result<At<'a>, RecordError> {
        match self.get(name)? {
            Some(at) => Ok(at),
            None => self.inside(name, &Value::Null).wrong("is missing"),
        }
    }

    fn items(&self) -> Result<Vec<At<'a>>, RecordError> {
        let Value::Array(items) = self.value else { return self.is_not("a list") };
        let at = |(index, value)| Self { event: self.event, path: format!("{}[{index}]", self.path), value };
        Ok(items.iter().enumerate().map(at).collect())
    }

    fn items_of(&self, name: &str) -> Result<Vec<At<'a>>, RecordError> {
        self.get(name)?.map_or_else(|| Ok(Vec::new()), |list| list.items())
    }

    fn text(&self) -> Result<&'a str, RecordError> {
        match self.value.as_str() {
            Some(text) if !text.is_empty() => Ok(text),
            _ => self.is_not("a text"),
        }
    }

    fn number(&self) -> Result<f64, RecordError> {
        self.value.as_f64().map_or_else(|| self.is_not("a number"), Ok)
    }

    fn number_of(&self, name: &str) -> Result<Option<f64>, RecordError> {
        self.get(name)?.map(|at| at.number()).transpose()
    }

    fn text_of(&self, name: &str) -> Result<Option<&'a str>, RecordError> {
        self.get(name)?.map(|at| at.text()).transpose()
    }

    fn time(&self) -> Result<Timestamp, RecordError> {
        self.text()?.parse().or_else(|_| self.is_not("an RFC 3339 time with an offset"))
    }

    fn time_of(&self, name: &str) -> Result<Option<Timestamp>, RecordError> {
        self.get(name)?.map(|at| at.time()).transpose()
    }

    fn uri(&self) -> Result<&'a str, RecordError> {
        let text = self.text()?;
        if text.contains(':') { Ok(text) } else { self.is_not("a URI") }
    }

    /// A bare word of a closed vocabulary, or a URI or `prefix:name` of somebody else's.
    fn word(&self, known: &[&str]) -> Result<String, RecordError> {
        let text = self.text()?;
        if known.contains(&text) || text.contains(':') {
            return Ok(text.rsplit_once("cbv/BizStep-").map_or(text, |(_, step)| step).to_owned());
        }
        self.wrong(format!("`{text}` is no word of the core business vocabulary and has no namespace"))
    }

    /// Refuses names that neither EPCIS nor a namespace explains.
    fn known_only(&self, known: &[&[&str]]) -> Result<(), RecordError> {
        for name in self.object()?.keys() {
            if !name.contains(':') && !known.iter().any(|names| names.contains(&name.as_str())) {
                return self.inside(name, &Value::Null).wrong("is not known here and has no namespace");
            }
        }
        Ok(())
    }
}

impl Record {
    /// Reads a record.
    ///
    /// # Errors
    /// Names the event and the field that is missing, unknown or wrong.
    pub fn read(document: &Value) -> Result<Self, RecordError> {
        let root = At { event: None, path: String::new(), value: document };
        let kind = root.need("type")?;
        if kind.text()? != "EPCISDocument" {
            return kind.is_not("`EPCISDocument`");
        }
        root.known_only(&[DOCUMENT_FIELDS])?;
        root.need("@context")?;
        let version = root.need("schemaVersion")?;
        if !matches!(version.text()?, "2.0" | "2.0.0" | "2.0.1") {
            return version.is_not("`2.0`");
        }
        let created = root.need("creationDate")?.time()?;
        let id = root.text_of("id")?.map(ToOwned::to_owned);
        let list = root.need("epcisBody")?.need("eventList")?;
        let items = list.items()?;
        if items.is_empty() || EVENTS_MAX < items.len() {
            return list.wrong(format!("has {} events, 1 to {EVENTS_MAX} are allowed", items.len()));
        }
        let events = items
            .iter()
            .enumerate()
            .map(|(index, at)| event(&At { event: Some(index + 1), path: String::new(), value: at.value }))
            .collect::<Result<_, _>>()?;
        Ok(Self { id, created, events, places: places(&root)? })
    }
}

fn event(at: &At<'_>) -> Result<Event, RecordError> {
    let kind_at = at.need("type")?;
    let kind = match kind_at.text()? {
        "ObjectEvent" => EventKind::Object,
        "AggregationEvent" => EventKind::Aggregation,
        "AssociationEvent" => EventKind::Association,
        "TransactionEvent" => EventKind::Transaction,
        "TransformationEvent" => EventKind::Transformation,
        _ => return kind_at.is_not("one of the five event types of EPCIS 2.0"),
    };
    at.known_only(&[EVENT_FIELDS, own_fields(kind)])?;
    let time = at.need("eventTime")?.time()?;
    let offset = offset(&at.need("eventTimeZoneOffset")?)?;
    at.time_of("recordTime")?;
    let action = action(at, kind)?;
    let items = items(at, kind)?;
    let sensors = at.items_of("sensorElementList")?;
    if items.is_empty() && sensors.is_empty() {
        return at.wrong("the event names no object and no measurement");
    }
    let mut temperatures = Vec::new();
    for element in &sensors {
        sensor_element(element, &mut temperatures)?;
    }
    for (list, member) in [("sourceList", "source"), ("destinationList", "destination")] {
        for entry in at.items_of(list)? {
            entry.need("type")?.word(SOURCES)?;
            entry.need(member)?.uri()?;
        }
    }
    if let Some(persistent) = at.get("persistentDisposition")? {
        for list in ["set", "unset"] {
            for word in persistent.items_of(list)? {
                word.word(DISPOSITIONS)?;
            }
        }
    }
    let expires = match at.get("ilmd")? {
        None => None,
        Some(ilmd) => {
            ilmd.known_only(&[])?;
            ilmd.get("cbvmda:itemExpirationDate")?.map(|at| date(&at)).transpose()?
        }
    };
    Ok(Event {
        kind,
        action,
        at: time,
        offset,
        step: at.get("bizStep")?.map(|step| step.word(STEPS)).transpose()?,
        disposition: at.get("disposition")?.map(|word| word.word(DISPOSITIONS)).transpose()?,
        place: place_of(at)?,
        items,
        temperatures,
        certificates: certificates(at)?,
        transactions: transactions(at)?,
        customs: at.get("ot:customsDeclaration")?.map(|at| customs_declaration(&at)).transpose()?,
        supervision: at.get("ot:supervision")?.map(|at| digits(&at, 4)).transpose()?,
        expires,
        is_signed: at.get("proof")?.is_some(),
    })
}

fn action(at: &At<'_>, kind: EventKind) -> Result<Option<Action>, RecordError> {
    if kind == EventKind::Transformation {
        return Ok(None);
    }
    let action = at.need("action")?;
    match action.text()? {
        "ADD" => Ok(Some(Action::Add)),
        "OBSERVE" => Ok(Some(Action::Observe)),
        "DELETE" => Ok(Some(Action::Delete)),
        _ => action.is_not("ADD, OBSERVE or DELETE"),
    }
}

fn offset(at: &At<'_>) -> Result<String, RecordError> {
    let text = at.text()?;
    let is_offset = matches!(text.as_bytes(), [b'+' | b'-', h1, h2, b':', m1, m2]
        if [h1, h2, m1, m2].iter().all(|digit| digit.is_ascii_digit()));
    if is_offset { Ok(text.to_owned()) } else { at.is_not("an offset such as +02:00") }
}

fn date(at: &At<'_>) -> Result<jiff::civil::Date, RecordError> {
    at.text()?.parse().or_else(|_| at.is_not("a date such as 2027-03-31"))
}

fn digits(at: &At<'_>, count: usize) -> Result<String, RecordError> {
    let text = at.text()?;
    if text.len() == count && text.bytes().all(|digit| digit.is_ascii_digit()) {
        return Ok(text.to_owned());
    }
    at.is_not(&format!("a text of {count} digits"))
}

fn customs_declaration(at: &At<'_>) -> Result<String, RecordError> {
    let text = digits(at, 18)?;
    if matches!(text.as_bytes()[8], b'0' | b'1') {
        return Ok(text);
    }
    at.is_not("a declaration whose ninth digit is 1 (import) or 0 (export)")
}

fn place_of(at: &At<'_>) -> Result<Option<String>, RecordError> {
    let mut place = None;
    for field in ["readPoint", "bizLocation"] {
        if let Some(location) = at.get(field)? {
            place = Some(location.need("id")?.uri()?.to_owned());
        }
    }
    Ok(place)
}

fn certificates(at: &At<'_>) -> Result<Vec<String>, RecordError> {
    let Some(info) = at.get("certificationInfo")? else { return Ok(Vec::new()) };
    if info.value.is_string() {
        return Ok(vec![info.uri()?.to_owned()]);
    }
    info.items()?.iter().map(|item| item.uri().map(ToOwned::to_owned)).collect()
}

fn transactions(at: &At<'_>) -> Result<Vec<(String, String)>, RecordError> {
    let mut transactions = Vec::new();
    for entry in at.items_of("bizTransactionList")? {
        let kind = entry.get("type")?.map(|kind| kind.word(TRANSACTIONS)).transpose()?;
        let id = entry.need("bizTransaction")?.uri()?;
        transactions.push((kind.unwrap_or_default(), id.to_owned()));
    }
    Ok(transactions)
}

fn items(at: &At<'_>, kind: EventKind) -> Result<Vec<Item>, RecordError> {
    let lists: &[(&str, &str, Role)] = match kind {
        EventKind::Object | EventKind::Transaction => &[("epcList", "quantityList", Role::Subject)],
        EventKind::Aggregation | EventKind::Association => {
            &[("childEPCs", "childQuantityList", Role::Subject)]
        }
        EventKind::Transformation => &[
            ("inputEPCList", "inputQuantityList", Role::Input),
            ("outputEPCList", "outputQuantityList", Role::Output),
        ],
    };
    let mut items = Vec::new();
    if let Some(parent) = at.get("parentID")? {
        items.push(item(parent.uri()?, Role::Parent));
    }
    for &(epcs, quantities, role) in lists {
        for epc in at.items_of(epcs)? {
            items.push(item(epc.uri()?, role));
        }
        for quantity in at.items_of(quantities)? {
            quantity.known_only(&[&["epcClass", "quantity", "uom"]])?;
            quantity.number_of("quantity")?;
            quantity.text_of("uom")?;
            items.push(item(quantity.need("epcClass")?.uri()?, role));
        }
    }
    Ok(items)
}

fn item(id: &str, role: Role) -> Item {
    Item { id: id.to_owned(), trade_item: TradeItem::parse(id), role }
}

impl TradeItem {
    /// Takes a GS1 Digital Link `http(s)://host[/stem]/01/GTIN[/22/…][/10/LOT][/21/SERIAL]` apart.
    #[must_use]
    pub fn parse(uri: &str) -> Option<Self> {
        let rest = uri.strip_prefix("https://").or_else(|| uri.strip_prefix("http://"))?;
        let path = rest.split(['?', '#']).next()?;
        let levels: Vec<&str> = path.split('/').skip(1).collect();
        // The rightmost primary key wins.
        let key = levels.windows(2).rposition(|pair| {
            pair[0] == "01" && pair[1].len() == 14 && pair[1].bytes().all(|digit| digit.is_ascii_digit())
        })?;
        let mut item = Self { gtin: levels[key + 1].to_owned(), lot: None, serial: None };
        for pair in levels[key + 2..].chunks_exact(2) {
            match pair[0] {
                "10" => item.lot = Some(percent_decoded(pair[1])?),
                "21" => item.serial = Some(percent_decoded(pair[1])?),
                _ => {}
            }
        }
        Some(item)
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, tail @ ..] = rest else { return None };
        let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        bytes.push(digit(high)? * 16 + digit(low)?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

fn sensor_element(at: &At<'_>, temperatures: &mut Vec<TemperatureReport>) -> Result<(), RecordError> {
    let mut metadata_time = None;
    if let Some(metadata) = at.get("sensorMetadata")? {
        metadata_time = metadata.time_of("time")?;
        metadata.time_of("startTime")?;
        metadata.time_of("endTime")?;
    }
    let reports = at.need("sensorReport")?;
    for report in reports.items()? {
        let value = report.number_of("value")?;
        let (low, high) = (report.number_of("minValue")?, report.number_of("maxValue")?);
        let mean = report.number_of("meanValue")?;
        let time = report.time_of("time")?.or(metadata_time);
        let is_temperature = report
            .get("type")?
            .map(|kind| kind.text())
            .transpose()?
            .is_some_and(|kind| matches!(kind, "Temperature" | "gs1:Temperature"));
        let exception = report.text_of("exception")?;
        let unit = report.text_of("uom")?;
        let (Some(min), Some(max)) = (low.or(value).or(mean), high.or(value).or(mean)) else { continue };
        if !is_temperature {
            continue;
        }
        let celsius: fn(f64) -> f64 = match unit {
            Some("CEL") => |degrees| degrees,
            Some("KEL") => |kelvin| kelvin - 273.15,
            Some("FAH") => |fahrenheit| (fahrenheit - 32.0) / 1.8,
            _ => return report.inside("uom", &Value::Null).wrong("a temperature needs CEL, KEL or FAH"),
        };
        temperatures.push(TemperatureReport {
            at: time,
            min_c: celsius(min),
            max_c: celsius(max),
            mean_c: mean.map(celsius),
            is_alarm: exception == Some("ALARM_CONDITION"),
        });
    }
    Ok(())
}

fn places(root: &At<'_>) -> Result<BTreeMap<String, Place>, RecordError> {
    let mut places = BTreeMap::new();
    let Some(header) = root.get("epcisHeader")? else { return Ok(places) };
    let Some(master) = header.get("epcisMasterData")? else { return Ok(places) };
    for vocabulary in master.items_of("vocabularyList")? {
        if vocabulary.need("type")?.text()? != "urn:epcglobal:epcis:vtype:Location" {
            continue;
        }
        for element in vocabulary.items_of("vocabularyElementList")? {
            let id = element.need("id")?.uri()?.to_owned();
            let mut place = Place::default();
            for attribute in element.items_of("attributes")? {
                place_attribute(&mut place, &attribute)?;
            }
            places.insert(id, place);
        }
    }
    Ok(places)
}

fn place_attribute(place: &mut Place, at: &At<'_>) -> Result<(), RecordError> {
    let value = at.need("attribute")?;
    let degrees = |limit: f64| -> Result<Option<f64>, RecordError> {
        match value.text()?.parse::<f64>() {
            Ok(degrees) if degrees.abs() <= limit => Ok(Some(degrees)),
            _ => value.is_not("a text with degrees"),
        }
    };
    match at.need("id")?.text()? {
        "cbvmda:latitude" => place.latitude = degrees(90.0)?,
        "cbvmda:longitude" => place.longitude = degrees(180.0)?,
        "cbvmda:countryCode" => place.country = Some(value.text()?.to_owned()),
        "ot:name" => {
            for (language, name) in value.object()? {
                place.names.insert(language.clone(), value.inside(language, name).text()?.to_owned());
            }
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digital_link_is_taken_apart_at_its_rightmost_key() {
        let item =
            TradeItem::parse("https://example.org/a/01/01/09521234543213/22/A/10/L%2F1/21/S1?17=271231")
                .unwrap();
        assert_eq!(
            (item.gtin.as_str(), item.lot.as_deref(), item.serial.as_deref()),
            ("09521234543213", Some("L/1"), Some("S1"))
        );
        for uri in
            ["urn:epc:id:sgtin:4012345.011111.9876", "https://id.gs1.org/00/1", "https://id.gs1.org/01/1"]
        {
            assert_eq!(TradeItem::parse(uri), None, "{uri}");
        }
    }
}
