//! The mapper: turns one publish into a [`Reading`], or says exactly why not.
//!
//! Pure: the same topic, payload and time of receipt give the same answer at the edge (for the verdict), in the
//! projector (for the state) and in the forwarder (for the raw rows). Strict: a field that is unknown, of another
//! type or out of range refuses the whole payload, and the message names the field and its value.
//!
//! Topics that are no telemetry (`commands/…`, kiosk requests, whatever else a device may publish) map to
//! [`Mapped::Passthrough`]: they are delivered to their subscribers and change nothing here.

use contract::{
    DeviceId, IdError, KioskId, Timestamp,
    native::{
        BinReading, ClimateReading, Door, LockerDoor, Presence, ShelfReading, ShelfTags, TrafficCount,
        TrafficZone,
    },
    topic::{Channel, SensorKind, SensorTopic, TopicError},
    upstream::Stream,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{AHEAD_MS_MAX, DerivedRow, PLAUSIBLE_FROM_MS};

/// What the payload of a refused publish begins with in the journal. A cut payload could be a valid one (a reading
/// followed by blanks, say); NUL is neither JSON nor a status word, so that this one never is.
pub const REFUSED_MARK: &[u8] = b"\0refused\0";

/// Largest telemetry payload in bytes: a full RFID inventory fits.
pub(super) const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// Largest anonymous kiosk event in bytes.
pub(super) const EXPERIENCE_BYTES_MAX: usize = 4 * 1024;
/// Longest text inside a kiosk event in bytes: an id or a label fits, a picture does not.
pub(super) const EXPERIENCE_TEXT_BYTES_MAX: usize = 256;
/// Most tags in one list of one message.
pub(super) const TAGS_PER_MESSAGE_MAX: usize = 1_024;
/// Most dwell times in one message.
pub(super) const DWELLS_PER_MESSAGE_MAX: usize = 256;
/// Longest name of a line or zone in characters.
pub(super) const NAME_CHARS_MAX: usize = 64;
/// Longest counting interval: a day with a clock change.
pub(super) const INTERVAL_MS_MAX: i64 = 25 * 3_600_000;

/// What a publish is to the hub.
#[derive(Debug, Clone, PartialEq)]
pub enum Mapped {
    /// A sensor's reading.
    Reading(Reading),
    /// An anonymous event of a kiosk.
    Experience {
        /// Which kiosk.
        kiosk: KioskId,
        /// When: the event's own `at` where it is plausible.
        at: Timestamp,
        /// Whether it carries a counter (`seq`) or a believed time (`at`), so that the same text means the same event.
        is_telling: bool,
        /// The event as published.
        data: String,
    },
    /// Nothing for the hub to apply.
    Passthrough,
}

/// One thing that one sensor has measured or seen; every value is plausible.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Which sensor, as its topic says.
    pub device: DeviceId,
    /// What the sensor is.
    pub sensor: SensorKind,
    /// Which of its channels spoke.
    pub channel: Channel,
    /// When it happened: the device's time where it is plausible, the hub's otherwise.
    pub at: Timestamp,
    /// The device's own time, believed or not.
    pub device_at: Option<Timestamp>,
    /// Whether the device's own time was not believed.
    pub is_time_replaced: bool,
    /// The device's own counter.
    pub seq: Option<u64>,
    /// What it says.
    pub what: What,
}

/// What a reading says.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A shelf's measurements, at least one.
    Shelf {
        /// Weight in grams.
        weight_g: Option<f64>,
        /// Pieces.
        count: Option<u32>,
        /// Temperature in °C.
        temperature_c: Option<f64>,
        /// Relative humidity in %.
        humidity_pct: Option<f64>,
        /// Battery charge in %.
        battery_pct: Option<f64>,
    },
    /// Every tag on a shelf, upper-case hexadecimal.
    TagsPresent(Vec<String>),
    /// Tags that came to and went from a shelf, upper-case hexadecimal.
    TagsChanged {
        /// Came.
        appeared: Vec<String>,
        /// Went.
        gone: Vec<String>,
    },
    /// A locker's door.
    Door {
        /// The number on the door.
        compartment: u16,
        /// Its position.
        door: Door,
        /// Whether something lies inside.
        occupied: Option<bool>,
        /// Whether force was seen.
        tamper: Option<bool>,
    },
    /// People who crossed a line during an interval.
    Interval {
        /// Which line.
        line: String,
        /// Start as the device has it; with `to` and the line it tells a repeated push.
        from: Timestamp,
        /// End as the device has it.
        to: Timestamp,
        /// In.
        count_in: u32,
        /// Out.
        count_out: u32,
    },
    /// People who crossed a line since the counter was reset.
    Totals {
        /// Which line.
        line: String,
        /// In.
        total_in: u64,
        /// Out.
        total_out: u64,
    },
    /// People in a zone.
    Zone {
        /// Which zone.
        zone: String,
        /// How many are there.
        occupancy: u32,
        /// How long those who left had stayed, in seconds.
        dwell_s: Vec<f64>,
    },
    /// A fridge's or room's measurements, at least one.
    Climate {
        /// Temperature in °C.
        temperature_c: Option<f64>,
        /// Relative humidity in %.
        humidity_pct: Option<f64>,
        /// Battery charge in %.
        battery_pct: Option<f64>,
    },
    /// A return bin's measurements.
    Bin {
        /// Weight in grams.
        weight_g: f64,
        /// Pieces.
        items: Option<u32>,
    },
    /// A device came or went.
    Presence(Presence),
}

impl Mapped {
    /// The row of the stream `readings` that this publish is, its `data` the fields as published; `None` for what
    /// is no reading.
    #[must_use]
    pub fn raw_row(&self, payload: &[u8]) -> Option<DerivedRow> {
        let Self::Reading(reading) = self else { return None };
        let data = match reading.what {
            What::Presence(presence) => format!("{{\"status\":\"{}\"}}", presence.as_str()),
            _ => String::from_utf8_lossy(payload).into_owned(),
        };
        Some(DerivedRow {
            stream: Stream::Readings,
            at: reading.at,
            kind: format!("{}.{}", reading.sensor.as_str(), reading.channel.as_str()),
            device: Some(reading.device.to_string()),
            data,
        })
    }
}

/// Why a publish was refused. The message is complete in itself, since it travels as text to the device's owner;
/// therefore the causes are no `source`.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// Below `sensors/`, but no topic of a native sensor.
    #[error("topic is not one of a native sensor: {cause}")]
    Topic {
        /// The level that is wrong.
        cause: TopicError,
    },
    /// `kiosk/<kiosk>/experience` with a kiosk that is no id.
    #[error("topic `{topic}` names no kiosk: {cause}")]
    Kiosk {
        /// The topic, cut.
        topic: String,
        /// What is wrong with the id.
        cause: IdError,
    },
    /// Larger than any valid payload.
    #[error("payload has {len} bytes, at most {max} are allowed here")]
    TooLarge {
        /// Its size.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// Larger than the operator lets such a payload be; it is journalled whole.
    #[error("payload has {len} bytes, at most {max} are allowed here (`{limit}`)")]
    OverLimit {
        /// Its size.
        len: usize,
        /// The limit.
        max: usize,
        /// Its key in the configuration.
        limit: &'static str,
    },
    /// A topic that is longer than any that means something.
    #[error("topic has {len} bytes, at most {max} are allowed")]
    TopicTooLong {
        /// Its size.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// No JSON at all.
    #[error("payload is not JSON: {cause}")]
    NotJson {
        /// Where and why.
        cause: serde_json::Error,
    },
    /// JSON, but not an object.
    #[error("payload is JSON but no object: it starts with `{shown}`")]
    NotObject {
        /// Its beginning.
        shown: String,
    },
    /// A field that the topic does not know, has twice, or lacks.
    #[error("payload does not fit `{topic}`: {reason}")]
    Fields {
        /// The kind of topic, such as `shelf/reading`.
        topic: String,
        /// What the field is and what is wrong.
        reason: String,
    },
    /// A field of another type, or a number that its type cannot hold.
    #[error("field `{field}` has the value `{value}`: {reason}")]
    Type {
        /// Which field.
        field: String,
        /// Its value, cut.
        value: String,
        /// What was expected.
        reason: String,
    },
    /// A number that no such sensor can mean.
    #[error("field `{field}` has the value {value}, allowed are {min} to {max}")]
    Range {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: f64,
        /// Least allowed.
        min: f64,
        /// Greatest allowed.
        max: f64,
    },
    /// No field that says anything.
    #[error("payload says nothing: it needs at least one of {needed}")]
    Empty {
        /// Which fields would do.
        needed: &'static str,
    },
    /// Fields that exclude each other.
    #[error("payload has `{one}` and `{other}`; it may have only one of them")]
    Both {
        /// One of them.
        one: &'static str,
        /// The other.
        other: &'static str,
    },
    /// Fields that belong together and are not all there.
    #[error("payload lacks `{missing}`, which belongs to {group}")]
    Incomplete {
        /// What is missing.
        missing: &'static str,
        /// What it belongs to.
        group: &'static str,
    },
    /// An interval that does not end after it starts, or lasts longer than a day.
    #[error(
        "field `from` ({from}) and field `to` ({to}) are no interval: `to` must come after `from`, at most 25 hours"
    )]
    Interval {
        /// Start.
        from: Timestamp,
        /// End.
        to: Timestamp,
    },
    /// A name that is empty, too long, or has control characters.
    #[error(
        "field `{field}` has the value `{value}`; a name has 1 to {NAME_CHARS_MAX} characters, none of them a control character"
    )]
    Name {
        /// Which field.
        field: &'static str,
        /// Its value, cut.
        value: String,
    },
    /// A tag that is no EPC.
    #[error(
        "field `{field}` has the tag `{value}`; an EPC is 8 to 64 hexadecimal digits, an even number of them"
    )]
    Epc {
        /// Which field.
        field: &'static str,
        /// The tag, cut.
        value: String,
    },
    /// A list with too many elements.
    #[error("field `{field}` has {len} elements, at most {max} are allowed")]
    TooMany {
        /// Which field.
        field: &'static str,
        /// How many.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A status that is neither of the two words.
    #[error("status is `{value}`; the words are `online` and `offline`")]
    Status {
        /// What was published, cut.
        value: String,
    },
    /// `kiosk/<kiosk>/request/<id>` with something that is no request. Its payload is shown to nobody.
    #[error("{cause}")]
    Request {
        /// What is wrong.
        cause: contract::kiosk::RequestError,
    },
    /// A kiosk event with a text that is too long to be a label.
    #[error(
        "field `{field}` has a text of {len} bytes, at most {EXPERIENCE_TEXT_BYTES_MAX} are allowed in a kiosk event"
    )]
    Text {
        /// Which top-level field.
        field: String,
        /// Its length.
        len: usize,
    },
}

impl Rejection {
    /// A short word that never changes, for counters and reason codes.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Topic { .. } | Self::Kiosk { .. } | Self::TopicTooLong { .. } => "topic",
            Self::TooLarge { .. } | Self::OverLimit { .. } => "too_large",
            Self::NotJson { .. } => "not_json",
            Self::NotObject { .. } => "not_object",
            Self::Fields { .. } => "fields",
            Self::Type { .. } => "type",
            Self::Range { .. } => "range",
            Self::Empty { .. } => "empty",
            Self::Both { .. } => "both",
            Self::Incomplete { .. } => "incomplete",
            Self::Interval { .. } => "interval",
            Self::Name { .. } => "name",
            Self::Epc { .. } => "epc",
            Self::TooMany { .. } => "too_many",
            Self::Status { .. } => "status",
            Self::Request { .. } => "request",
            Self::Text { .. } => "text",
        }
    }
}

/// Maps one publish.
///
/// # Errors
/// When the topic lies below `sensors/` or is a kiosk's experience, and topic or payload is not valid there.
pub fn map(topic: &str, payload: &[u8], received_at: Timestamp) -> Result<Mapped, Rejection> {
    if topic == "sensors" || topic.starts_with("sensors/") {
        let topic = SensorTopic::parse(topic).map_err(|cause| Rejection::Topic { cause })?;
        return reading(topic, payload, received_at).map(Mapped::Reading);
    }
    match topic.strip_prefix("kiosk/").and_then(|rest| rest.strip_suffix("/experience")) {
        Some(kiosk) => {
            let kiosk =
                KioskId::parse(kiosk).map_err(|cause| Rejection::Kiosk { topic: cut(topic), cause })?;
            experience(kiosk, payload, received_at)
        }
        None => Ok(Mapped::Passthrough),
    }
}

fn reading(topic: SensorTopic, payload: &[u8], received_at: Timestamp) -> Result<Reading, Rejection> {
    if PAYLOAD_BYTES_MAX < payload.len() {
        return Err(Rejection::TooLarge { len: payload.len(), max: PAYLOAD_BYTES_MAX });
    }
    let (claimed, seq, what) = match (topic.kind, topic.channel) {
        (_, Channel::Status) => (None, None, status(payload)?),
        (SensorKind::Shelf, Channel::Tags) => tags(parse(&topic, payload)?)?,
        (SensorKind::Shelf, _) => shelf(&parse(&topic, payload)?)?,
        (SensorKind::Locker, _) => door(&parse(&topic, payload)?),
        (SensorKind::Traffic, Channel::Zone) => zone(parse(&topic, payload)?)?,
        (SensorKind::Traffic, _) => count(parse(&topic, payload)?)?,
        (SensorKind::Climate, _) => climate(&parse(&topic, payload)?)?,
        (SensorKind::Bin, _) => bin(&parse(&topic, payload)?)?,
    };
    // An interval is as plausible as its end: one that lies ahead cannot have been counted yet.
    let latest = if let What::Interval { to, .. } = what { Some(to) } else { claimed };
    let believed =
        claimed.filter(|&at| [Some(at), latest].iter().flatten().all(|&at| is_plausible(at, received_at)));
    let at = believed.unwrap_or(received_at);
    Ok(Reading {
        device: topic.device,
        sensor: topic.kind,
        channel: topic.channel,
        at,
        device_at: claimed,
        is_time_replaced: believed != claimed,
        seq,
        what,
    })
}

/// A hub that does not know the time itself cannot call a device's clock fast.
fn is_plausible(at: Timestamp, received_at: Timestamp) -> bool {
    let hub_knows = PLAUSIBLE_FROM_MS <= received_at.as_millis();
    PLAUSIBLE_FROM_MS <= at.as_millis() && (!hub_knows || at.millis_since(received_at) <= AHEAD_MS_MAX)
}

type Said = (Option<Timestamp>, Option<u64>, What);

fn shelf(wire: &ShelfReading) -> Result<Said, Rejection> {
    let &ShelfReading { at, seq, weight_g, count, temperature_c, humidity_pct, battery_pct } = wire;
    if [weight_g, temperature_c, humidity_pct, battery_pct].iter().all(Option::is_none) && count.is_none() {
        return Err(Rejection::Empty { needed: "weight_g, count, temperature_c, humidity_pct, battery_pct" });
    }
    weight(weight_g)?;
    in_range("count", count.map(f64::from), 0.0, 1_000_000.0)?;
    air(temperature_c, humidity_pct, battery_pct)?;
    Ok((at, seq, What::Shelf { weight_g, count, temperature_c, humidity_pct, battery_pct }))
}

fn tags(wire: ShelfTags) -> Result<Said, Rejection> {
    let ShelfTags { at, seq, present, appeared, gone } = wire;
    let what = match (present, appeared, gone) {
        (Some(_), Some(_), _) => return Err(Rejection::Both { one: "present", other: "appeared" }),
        (Some(_), None, Some(_)) => return Err(Rejection::Both { one: "present", other: "gone" }),
        (Some(present), None, None) => What::TagsPresent(epcs("present", present)?),
        (None, None, None) => return Err(Rejection::Empty { needed: "present, appeared, gone" }),
        (None, appeared, gone) => What::TagsChanged {
            appeared: epcs("appeared", appeared.unwrap_or_default())?,
            gone: epcs("gone", gone.unwrap_or_default())?,
        },
    };
    Ok((at, seq, what))
}

fn epcs(field: &'static str, tags: Vec<String>) -> Result<Vec<String>, Rejection> {
    if TAGS_PER_MESSAGE_MAX < tags.len() {
        return Err(Rejection::TooMany { field, len: tags.len(), max: TAGS_PER_MESSAGE_MAX });
    }
    let check = |mut tag: String| {
        let is_epc = (8..=64).contains(&tag.len())
            && tag.len().is_multiple_of(2)
            && tag.bytes().all(|b| b.is_ascii_hexdigit());
        tag.make_ascii_uppercase();
        if is_epc { Ok(tag) } else { Err(Rejection::Epc { field, value: cut(&tag) }) }
    };
    tags.into_iter().map(check).collect()
}

fn door(wire: &LockerDoor) -> Said {
    let &LockerDoor { at, seq, compartment, door, occupied, tamper } = wire;
    (at, seq, What::Door { compartment, door, occupied, tamper })
}

fn count(wire: TrafficCount) -> Result<Said, Rejection> {
    let TrafficCount { at, seq, from, to, line, count_in, count_out, total_in, total_out } = wire;
    let line = name("line", line)?;
    let has_interval = from.is_some() || to.is_some() || count_in.is_some() || count_out.is_some();
    let has_totals = total_in.is_some() || total_out.is_some();
    match (has_interval, has_totals) {
        (true, true) => Err(Rejection::Both {
            one: "an interval (from, to, in, out)",
            other: "totals (total_in, total_out)",
        }),
        (false, false) => {
            Err(Rejection::Empty { needed: "an interval (from, to, in, out), totals (total_in, total_out)" })
        }
        (true, false) => {
            let group = "an interval (from, to, in, out)";
            let lacks = |missing| Rejection::Incomplete { missing, group };
            let from = from.ok_or_else(|| lacks("from"))?;
            let to = to.ok_or_else(|| lacks("to"))?;
            let count_in = count_in.ok_or_else(|| lacks("in"))?;
            let count_out = count_out.ok_or_else(|| lacks("out"))?;
            in_range("in", Some(f64::from(count_in)), 0.0, 100_000.0)?;
            in_range("out", Some(f64::from(count_out)), 0.0, 100_000.0)?;
            if to <= from || INTERVAL_MS_MAX < to.millis_since(from) {
                return Err(Rejection::Interval { from, to });
            }
            Ok((Some(from), seq, What::Interval { line, from, to, count_in, count_out }))
        }
        (false, true) => {
            let group = "totals (total_in, total_out)";
            let total_in = total_in.ok_or(Rejection::Incomplete { missing: "total_in", group })?;
            let total_out = total_out.ok_or(Rejection::Incomplete { missing: "total_out", group })?;
            Ok((at, seq, What::Totals { line, total_in, total_out }))
        }
    }
}

fn zone(wire: TrafficZone) -> Result<Said, Rejection> {
    let TrafficZone { at, seq, zone, occupancy, dwell_s } = wire;
    let zone = name("zone", zone)?;
    let dwell_s = dwell_s.unwrap_or_default();
    in_range("occupancy", Some(f64::from(occupancy)), 0.0, 10_000.0)?;
    if DWELLS_PER_MESSAGE_MAX < dwell_s.len() {
        return Err(Rejection::TooMany { field: "dwell_s", len: dwell_s.len(), max: DWELLS_PER_MESSAGE_MAX });
    }
    for &dwell in &dwell_s {
        in_range("dwell_s", Some(dwell), 0.0, 86_400.0)?;
    }
    Ok((at, seq, What::Zone { zone, occupancy, dwell_s }))
}

fn climate(wire: &ClimateReading) -> Result<Said, Rejection> {
    let &ClimateReading { at, seq, temperature_c, humidity_pct, battery_pct } = wire;
    if temperature_c.is_none() && humidity_pct.is_none() {
        return Err(Rejection::Empty { needed: "temperature_c, humidity_pct" });
    }
    air(temperature_c, humidity_pct, battery_pct)?;
    Ok((at, seq, What::Climate { temperature_c, humidity_pct, battery_pct }))
}

fn bin(wire: &BinReading) -> Result<Said, Rejection> {
    let &BinReading { at, seq, weight_g, items } = wire;
    weight(Some(weight_g))?;
    in_range("items", items.map(f64::from), 0.0, 1_000_000.0)?;
    Ok((at, seq, What::Bin { weight_g, items }))
}

fn status(payload: &[u8]) -> Result<What, Rejection> {
    Presence::parse(payload)
        .map(What::Presence)
        .ok_or_else(|| Rejection::Status { value: cut(&String::from_utf8_lossy(payload)) })
}

fn experience(kiosk: KioskId, payload: &[u8], received_at: Timestamp) -> Result<Mapped, Rejection> {
    if EXPERIENCE_BYTES_MAX < payload.len() {
        return Err(Rejection::TooLarge { len: payload.len(), max: EXPERIENCE_BYTES_MAX });
    }
    require_object(payload)?;
    let event: Map<String, Value> =
        serde_json::from_slice(payload).map_err(|cause| Rejection::NotJson { cause })?;
    for (field, value) in &event {
        let len = field.len().max(longest_text(value));
        if EXPERIENCE_TEXT_BYTES_MAX < len {
            return Err(Rejection::Text { field: cut(field), len });
        }
    }
    let claimed = event.get("at").and_then(Value::as_str).and_then(|at| at.parse().ok());
    let believed = claimed.filter(|&at| is_plausible(at, received_at));
    let is_telling = believed.is_some() || event.get("seq").is_some_and(Value::is_u64);
    let at = believed.unwrap_or(received_at);
    let data = serde_json::to_string(&event).map_err(|cause| Rejection::NotJson { cause })?;
    Ok(Mapped::Experience { kiosk, at, is_telling, data })
}

fn longest_text(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(longest_text).max().unwrap_or(0),
        Value::Object(members) => {
            members.iter().map(|(key, value)| key.len().max(longest_text(value))).max().unwrap_or(0)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// 500 kg: more than any shelf or bin carries.
const WEIGHT_G_MAX: f64 = 500_000.0;

fn weight(weight_g: Option<f64>) -> Result<(), Rejection> {
    in_range("weight_g", weight_g, 0.0, WEIGHT_G_MAX)
}

/// The range of common silicon sensors (-40 to 125 °C), with room for a deep freezer's probe.
fn air(
    temperature_c: Option<f64>,
    humidity_pct: Option<f64>,
    battery_pct: Option<f64>,
) -> Result<(), Rejection> {
    in_range("temperature_c", temperature_c, -100.0, 125.0)?;
    in_range("humidity_pct", humidity_pct, 0.0, 100.0)?;
    in_range("battery_pct", battery_pct, 0.0, 100.0)
}

fn in_range(field: &'static str, value: Option<f64>, min: f64, max: f64) -> Result<(), Rejection> {
    match value {
        Some(value) if !(min..=max).contains(&value) => Err(Rejection::Range { field, value, min, max }),
        _ => Ok(()),
    }
}

fn name(field: &'static str, value: String) -> Result<String, Rejection> {
    let chars = value.chars().count();
    if (1..=NAME_CHARS_MAX).contains(&chars) && !value.chars().any(char::is_control) {
        Ok(value)
    } else {
        Err(Rejection::Name { field, value: cut(&value) })
    }
}

fn parse<T: DeserializeOwned>(topic: &SensorTopic, payload: &[u8]) -> Result<T, Rejection> {
    // serde would take an array for a struct, field by field.
    require_object(payload)?;
    serde_json::from_slice(payload).map_err(|cause| diagnose::<T>(topic, payload, cause))
}

fn require_object(payload: &[u8]) -> Result<(), Rejection> {
    let text = payload.trim_ascii_start();
    if text.first() == Some(&b'{') {
        return Ok(());
    }
    match serde_json::from_slice::<serde::de::IgnoredAny>(payload) {
        Ok(_) => {
            let shown = &text[..text.len().min(16)];
            Err(Rejection::NotObject { shown: cut(&String::from_utf8_lossy(shown)) })
        }
        Err(cause) => Err(Rejection::NotJson { cause }),
    }
}

/// serde says what was wrong, but not always in which field: every field is tried alone until one fails.
fn diagnose<T: DeserializeOwned>(topic: &SensorTopic, payload: &[u8], cause: serde_json::Error) -> Rejection {
    if !cause.is_data() {
        return Rejection::NotJson { cause };
    }
    let reason = cause.to_string();
    let is_about_names =
        ["unknown field", "missing field", "duplicate field"].iter().any(|what| reason.starts_with(what));
    let fields = || serde_json::from_slice::<Map<String, Value>>(payload).unwrap_or_default();
    if !is_about_names {
        for (field, value) in fields() {
            let alone = Value::Object(Map::from_iter([(field.clone(), value.clone())]));
            match serde_json::from_value::<T>(alone) {
                Err(error) if !error.to_string().starts_with("missing field") => {
                    let reason = error.to_string();
                    return Rejection::Type { field: cut(&field), value: cut(&value.to_string()), reason };
                }
                _ => {}
            }
        }
    }
    Rejection::Fields {
        topic: format!("{}/{}", topic.kind.as_str(), topic.channel.as_str()),
        reason: cut_long(&reason),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

fn cut_long(text: &str) -> String {
    text.chars().take(240).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub_now() -> Timestamp {
        "2026-11-22T20:18:00Z".parse().unwrap()
    }

    fn mapped(topic: &str, payload: &str) -> Result<Mapped, Rejection> {
        map(topic, payload.as_bytes(), hub_now())
    }

    fn read(topic: &str, payload: &str) -> Reading {
        match mapped(topic, payload).unwrap() {
            Mapped::Reading(reading) => reading,
            other => panic!("{topic}: {other:?}"),
        }
    }

    #[test]
    fn every_native_topic_gives_its_reading() {
        let cases = [
            ("sensors/shelf/s1/reading", r#"{"weight_g":1250.5,"battery_pct":80}"#),
            ("sensors/shelf/s1/tags", r#"{"present":["e28011700000020a"]}"#),
            ("sensors/shelf/s1/tags", r#"{"appeared":["E28011700000020A"],"seq":4}"#),
            ("sensors/locker/b1/door", r#"{"compartment":7,"door":"open","occupied":true}"#),
            (
                "sensors/traffic/t1/count",
                r#"{"line":"门口","from":"2026-11-22T20:16:00Z","to":"2026-11-22T20:17:00Z","in":3,"out":1}"#,
            ),
            ("sensors/traffic/t1/count", r#"{"line":"a","total_in":30,"total_out":10}"#),
            ("sensors/traffic/t1/zone", r#"{"zone":"护肤","occupancy":4,"dwell_s":[12.5,80]}"#),
            ("sensors/climate/f1/reading", r#"{"temperature_c":4.2}"#),
            ("sensors/bin/b1/reading", r#"{"weight_g":0,"items":0}"#),
            ("sensors/bin/b1/status", "offline"),
        ];
        for (topic, payload) in cases {
            assert_eq!(read(topic, payload).device.as_str(), topic.split('/').nth(2).unwrap());
        }
    }

    #[test]
    fn what_is_wrong_is_named_by_field_and_value() {
        let shelf = "sensors/shelf/s1/reading";
        let count = "sensors/traffic/t1/count";
        let cases = [
            (shelf, r#"{"weight_g":-1}"#, "range", "`weight_g` has the value -1"),
            (shelf, r#"{"weight_g":"heavy"}"#, "type", "`weight_g` has the value `\"heavy\"`"),
            (shelf, r#"{"weight_g":1,"count":-3}"#, "type", "`count` has the value `-3`"),
            (shelf, r#"{"weight_g":1,"at":"yesterday"}"#, "type", "`at` has the value `\"yesterday\"`"),
            (shelf, r#"{"weight_g":NaN}"#, "not_json", "not JSON"),
            (shelf, r#"{"weight_g":1e999}"#, "not_json", "out of range"),
            (shelf, r#"{"weight":1}"#, "fields", "unknown field `weight`"),
            (shelf, r#"{"weight_g":1,"weight_g":2}"#, "fields", "duplicate field `weight_g`"),
            (shelf, r#"{"at":"2026-11-22T20:18:00Z","seq":1}"#, "empty", "at least one of weight_g"),
            (shelf, "{}", "empty", "weight_g"),
            (shelf, "[null,null,5]", "not_object", "no object"),
            (shelf, "", "not_json", "EOF"),
            (shelf, r#"{"temperature_c":300}"#, "range", "`temperature_c` has the value 300"),
            (shelf, r#"{"humidity_pct":101}"#, "range", "`humidity_pct`"),
            ("sensors/shelf/s1/tags", "{}", "empty", "present"),
            ("sensors/shelf/s1/tags", r#"{"present":[],"gone":[]}"#, "both", "`present` and `gone`"),
            ("sensors/shelf/s1/tags", r#"{"present":["xyz"]}"#, "epc", "`XYZ`"),
            ("sensors/locker/b1/door", r#"{"door":"open"}"#, "fields", "missing field `compartment`"),
            (
                "sensors/locker/b1/door",
                r#"{"compartment":70000,"door":"open"}"#,
                "type",
                "`compartment` has the value `70000`",
            ),
            (
                "sensors/locker/b1/door",
                r#"{"compartment":1,"door":"ajar"}"#,
                "type",
                "`door` has the value `\"ajar\"`",
            ),
            (count, r#"{"line":"a"}"#, "empty", "totals"),
            (count, r#"{"line":"a","in":1,"total_in":1}"#, "both", "interval"),
            (
                count,
                r#"{"line":"a","in":1,"out":1,"from":"2026-11-22T20:16:00Z"}"#,
                "incomplete",
                "lacks `to`",
            ),
            (count, r#"{"line":"a","total_in":1}"#, "incomplete", "lacks `total_out`"),
            (
                count,
                r#"{"line":"a","in":1,"out":1,"from":"2026-11-22T20:16:00Z","to":"2026-11-22T20:16:00Z"}"#,
                "interval",
                "2026-11-22T20:16:00.000Z",
            ),
            (count, r#"{"line":"","total_in":1,"total_out":1}"#, "name", "`line`"),
            (
                "sensors/traffic/t1/zone",
                r#"{"zone":"a","occupancy":1,"dwell_s":[-2]}"#,
                "range",
                "`dwell_s` has the value -2",
            ),
            ("sensors/climate/c1/reading", r#"{"battery_pct":5}"#, "empty", "temperature_c"),
            ("sensors/bin/b1/reading", "{}", "fields", "missing field `weight_g`"),
            ("sensors/bin/b1/status", "gone", "status", "`gone`"),
            ("sensors/lamp/l1/reading", "{}", "topic", "kind `lamp`"),
            ("kiosk/K/experience", "{}", "topic", "names no kiosk"),
            ("kiosk/k1/experience", "[1]", "not_object", "no object"),
        ];
        for (topic, payload, code, reason) in cases {
            let rejection = mapped(topic, payload).unwrap_err();
            assert_eq!(rejection.code(), code, "{topic} {payload}: {rejection}");
            assert!(rejection.to_string().contains(reason), "{topic} {payload}: {rejection}");
        }
    }

    #[test]
    fn limits_hold_at_the_limit() {
        let tags = |n: usize| format!("{{\"present\":[{}]}}", vec!["\"E2801170\""; n].join(","));
        assert!(mapped("sensors/shelf/s1/tags", &tags(TAGS_PER_MESSAGE_MAX)).is_ok());
        assert_eq!(
            mapped("sensors/shelf/s1/tags", &tags(TAGS_PER_MESSAGE_MAX + 1)).unwrap_err().code(),
            "too_many"
        );
        let padded = |n: usize| format!("{{\"weight_g\":1{}}}", " ".repeat(n - 14));
        assert!(mapped("sensors/shelf/s1/reading", &padded(PAYLOAD_BYTES_MAX)).is_ok());
        let rejection = mapped("sensors/shelf/s1/reading", &padded(PAYLOAD_BYTES_MAX + 1)).unwrap_err();
        assert_eq!(rejection.code(), "too_large");
        let event = |n: usize| format!("{{\"feature\":\"{}\"}}", "x".repeat(n));
        assert!(mapped("kiosk/k1/experience", &event(EXPERIENCE_TEXT_BYTES_MAX)).is_ok());
        assert_eq!(
            mapped("kiosk/k1/experience", &event(EXPERIENCE_TEXT_BYTES_MAX + 1)).unwrap_err().code(),
            "text"
        );
    }

    #[test]
    fn an_implausible_device_time_is_replaced_and_flagged() {
        let at = |time: &str| read("sensors/shelf/s1/reading", &format!(r#"{{"weight_g":1,"at":"{time}"}}"#));
        let kept = at("2026-11-22T20:28:00Z");
        assert_eq!((kept.at.millis_since(hub_now()), kept.is_time_replaced), (600_000, false));
        for wrong in ["2026-11-22T20:28:00.001Z", "1970-01-01T00:00:07Z", "2019-12-31T23:59:59Z"] {
            let reading = at(wrong);
            assert_eq!((reading.at, reading.is_time_replaced), (hub_now(), true), "{wrong}");
            assert_eq!(reading.device_at, Some(wrong.parse().unwrap()));
        }
    }

    #[test]
    fn a_hub_without_the_time_believes_the_device() {
        let hub_at = "1970-01-01T00:01:00Z".parse().unwrap();
        let mapped =
            map("sensors/bin/b/reading", br#"{"weight_g":1,"at":"2026-11-22T20:18:00Z"}"#, hub_at).unwrap();
        let Mapped::Reading(reading) = mapped else { panic!("a reading") };
        assert_eq!((reading.at, reading.is_time_replaced), (hub_now(), false));
    }

    #[test]
    fn an_interval_happens_at_its_start_unless_it_ends_in_the_future() {
        let count = |from: &str, to: &str| {
            read(
                "sensors/traffic/t1/count",
                &format!(r#"{{"line":"a","from":"{from}","to":"{to}","in":1,"out":0}}"#),
            )
        };
        let past = count("2026-11-22T20:00:00Z", "2026-11-22T20:15:00Z");
        assert_eq!(past.at.to_string(), "2026-11-22T20:00:00.000Z");
        let ahead = count("2026-11-22T20:10:00Z", "2026-11-22T21:10:00Z");
        assert_eq!((ahead.at, ahead.is_time_replaced), (hub_now(), true));
    }

    #[test]
    fn what_is_no_telemetry_passes_through() {
        for topic in ["commands/b1/7/result", "kiosk/k1/request/9", "sensorsish", "hub/stock/s1"] {
            assert_eq!(mapped(topic, "anything").unwrap(), Mapped::Passthrough, "{topic}");
        }
    }

    #[test]
    fn a_raw_row_has_the_fields_as_published() {
        let payload = r#"{"weight_g":12.50,"seq":9}"#;
        let row = mapped("sensors/shelf/s1/reading", payload).unwrap().raw_row(payload.as_bytes()).unwrap();
        assert_eq!(
            (row.kind.as_str(), row.device.as_deref(), row.data.as_str()),
            ("shelf.reading", Some("s1"), payload)
        );
        let row = mapped("sensors/shelf/s1/status", "online").unwrap().raw_row(b"online").unwrap();
        assert_eq!((row.kind.as_str(), row.data.as_str()), ("shelf.status", r#"{"status":"online"}"#));
        assert_eq!(mapped("commands/a/1", "x").unwrap().raw_row(b"x"), None);
    }

    #[test]
    fn a_kiosk_event_keeps_its_members_and_its_plausible_time() {
        let mapped =
            mapped("kiosk/k1/experience", r#"{"feature":"skin","ms":900,"at":"2026-11-22T20:17:00Z"}"#);
        let Mapped::Experience { kiosk, at, data, .. } = mapped.unwrap() else { panic!("an event") };
        assert_eq!((kiosk.as_str(), at.to_string().as_str()), ("k1", "2026-11-22T20:17:00.000Z"));
        assert!(data.contains("\"feature\":\"skin\""), "{data}");
    }
}
