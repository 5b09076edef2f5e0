//! MQTT topics of the store's own broker, as types.
//!
//! A [`SensorTopic`] is what a native sensor publishes to; the functions build the topics that the hub writes.

use crate::id::{DeviceId, IdError, KioskId, RequestId};

/// What a native sensor is. Its name is the second level of its topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SensorKind {
    /// Weight or count sensing shelf, or an RFID shelf.
    Shelf,
    /// A bank of lockers.
    Locker,
    /// A line counter or zone sensor.
    Traffic,
    /// Fridge or room climate.
    Climate,
    /// Packaging-return bin.
    Bin,
}

impl SensorKind {
    /// All kinds, in the order of the documentation.
    pub const ALL: [Self; 5] = [Self::Shelf, Self::Locker, Self::Traffic, Self::Climate, Self::Bin];

    /// The topic level of this kind.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shelf => "shelf",
            Self::Locker => "locker",
            Self::Traffic => "traffic",
            Self::Climate => "climate",
            Self::Bin => "bin",
        }
    }

    /// The kind that a topic level names.
    #[must_use]
    pub fn parse(level: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == level)
    }
}

/// What a native sensor says; with the kind it decides the payload's shape (see [`crate::native`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// `sensors/{shelf,climate,bin}/<device>/reading`
    Reading,
    /// `sensors/shelf/<device>/tags`
    Tags,
    /// `sensors/locker/<bank>/door`
    Door,
    /// `sensors/traffic/<device>/count`
    Count,
    /// `sensors/traffic/<device>/zone`
    Zone,
    /// `sensors/<kind>/<device>/status`: `online` or `offline`, retained, also the last will.
    Status,
}

impl Channel {
    /// The last topic level of this channel.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::Tags => "tags",
            Self::Door => "door",
            Self::Count => "count",
            Self::Zone => "zone",
            Self::Status => "status",
        }
    }

    /// The channels that a kind of sensor may publish.
    #[must_use]
    pub fn of(kind: SensorKind) -> &'static [Self] {
        match kind {
            SensorKind::Shelf => &[Self::Reading, Self::Tags, Self::Status],
            SensorKind::Locker => &[Self::Door, Self::Status],
            SensorKind::Traffic => &[Self::Count, Self::Zone, Self::Status],
            SensorKind::Climate | SensorKind::Bin => &[Self::Reading, Self::Status],
        }
    }
}

/// `sensors/<kind>/<device>/<channel>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SensorTopic {
    /// What the sensor is.
    pub kind: SensorKind,
    /// Which sensor.
    pub device: DeviceId,
    /// What it says.
    pub channel: Channel,
}

/// Why a topic is no native sensor topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// Not `sensors/…` with four levels.
    #[error("topic `{topic}` is not `sensors/<kind>/<device>/<channel>`")]
    Shape {
        /// The topic, cut to 128 characters.
        topic: String,
    },
    /// The second level names no kind.
    #[error("topic `{topic}` names the kind `{kind}`; known are shelf, locker, traffic, climate, bin")]
    Kind {
        /// The topic.
        topic: String,
        /// Its second level.
        kind: String,
    },
    /// The third level is no id.
    #[error("topic `{topic}` names no device")]
    Device {
        /// The topic.
        topic: String,
        /// What is wrong with the id.
        source: IdError,
    },
    /// The fourth level is no channel of this kind.
    #[error("topic `{topic}` names the channel `{channel}`; a {kind} sensor has {known}")]
    Channel {
        /// The topic.
        topic: String,
        /// Its fourth level.
        channel: String,
        /// The kind it was asked of.
        kind: &'static str,
        /// The channels of that kind, comma-separated.
        known: String,
    },
}

impl SensorTopic {
    /// Parses a native sensor topic.
    ///
    /// # Errors
    /// When a level is missing, unknown, or no id; the message names the level.
    pub fn parse(topic: &str) -> Result<Self, TopicError> {
        let shown = || topic.chars().take(128).collect::<String>();
        let mut levels = topic.split('/');
        let (Some("sensors"), Some(kind), Some(device), Some(channel), None) =
            (levels.next(), levels.next(), levels.next(), levels.next(), levels.next())
        else {
            return Err(TopicError::Shape { topic: shown() });
        };
        let kind = SensorKind::parse(kind)
            .ok_or_else(|| TopicError::Kind { topic: shown(), kind: kind.chars().take(64).collect() })?;
        let device =
            DeviceId::parse(device).map_err(|source| TopicError::Device { topic: shown(), source })?;
        let known = Channel::of(kind);
        let channel = known.iter().copied().find(|known| known.as_str() == channel).ok_or_else(|| {
            TopicError::Channel {
                topic: shown(),
                channel: channel.chars().take(64).collect(),
                kind: kind.as_str(),
                known: known.iter().map(|c| c.as_str()).collect::<Vec<_>>().join(", "),
            }
        })?;
        Ok(Self { kind, device, channel })
    }
}

impl std::fmt::Display for SensorTopic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sensors/{}/{}/{}", self.kind.as_str(), self.device, self.channel.as_str())
    }
}

/// `kiosk/<kiosk>/request/<id>`: what a kiosk asks the hub, see [`crate::kiosk`].
#[must_use]
pub fn kiosk_request(kiosk: &KioskId, id: &RequestId) -> String {
    format!("kiosk/{kiosk}/request/{id}")
}

/// `kiosk/<kiosk>/reply/<id>`: the hub's answers, see [`crate::kiosk`].
#[must_use]
pub fn kiosk_reply(kiosk: &KioskId, id: &RequestId) -> String {
    format!("kiosk/{kiosk}/reply/{id}")
}

/// `kiosk/<kiosk>/reply/+`: what a kiosk subscribes to before it asks.
#[must_use]
pub fn kiosk_replies(kiosk: &KioskId) -> String {
    format!("kiosk/{kiosk}/reply/+")
}

/// The request of a reply topic; `None` for any other topic.
#[must_use]
pub fn parse_kiosk_reply(topic: &str) -> Option<(KioskId, RequestId)> {
    parse_kiosk(topic, "reply")
}

/// The request of a request topic; `None` for any other topic.
#[must_use]
pub fn parse_kiosk_request(topic: &str) -> Option<(KioskId, RequestId)> {
    parse_kiosk(topic, "request")
}

fn parse_kiosk(topic: &str, word: &str) -> Option<(KioskId, RequestId)> {
    match topic.split('/').collect::<Vec<_>>()[..] {
        ["kiosk", kiosk, found, id] if found == word => {
            Some((KioskId::parse(kiosk).ok()?, RequestId::parse(id).ok()?))
        }
        _ => None,
    }
}

/// `commands/<device>/<id>`: what the hub tells a device, see [`crate::locker`].
#[must_use]
pub fn device_command(device: &DeviceId, id: &str) -> String {
    format!("commands/{device}/{id}")
}

/// `commands/<device>/<id>/result`: how it went.
#[must_use]
pub fn device_result(device: &DeviceId, id: &str) -> String {
    format!("commands/{device}/{id}/result")
}

/// Device and command of a result topic; `None` for any other topic.
#[must_use]
pub fn parse_device_result(topic: &str) -> Option<(DeviceId, String)> {
    match topic.split('/').collect::<Vec<_>>()[..] {
        ["commands", device, id, "result"] if !id.is_empty() => {
            Some((DeviceId::parse(device).ok()?, id.to_owned()))
        }
        _ => None,
    }
}

/// `kiosk/<kiosk>/experience`: anonymous events of a kiosk.
#[must_use]
pub fn kiosk_experience(kiosk: &KioskId) -> String {
    format!("kiosk/{kiosk}/experience")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_channel_of_every_kind_reads_back_as_written() {
        for kind in SensorKind::ALL {
            for &channel in Channel::of(kind) {
                let topic = SensorTopic { kind, device: DeviceId::parse("d-1").unwrap(), channel };
                assert_eq!(SensorTopic::parse(&topic.to_string()), Ok(topic));
            }
        }
    }

    #[test]
    fn requests_replies_and_results_read_back_as_written() {
        let (kiosk, id) = (KioskId::parse("k-1").unwrap(), RequestId::parse("r-9").unwrap());
        let pair = Some((kiosk.clone(), id.clone()));
        assert_eq!(parse_kiosk_request(&kiosk_request(&kiosk, &id)), pair);
        assert_eq!(parse_kiosk_reply(&kiosk_reply(&kiosk, &id)), pair);
        assert_eq!(parse_kiosk_request(&kiosk_reply(&kiosk, &id)), None);
        assert_eq!(parse_kiosk_request("kiosk/k-1/request/r-9/x"), None);
        assert_eq!(parse_kiosk_request("kiosk/k-1/request/R"), None);
        let bank = DeviceId::parse("b-1").unwrap();
        assert_eq!(
            parse_device_result(&device_result(&bank, "o1-2")),
            Some((bank.clone(), "o1-2".to_owned()))
        );
        assert_eq!(parse_device_result(&device_command(&bank, "o1-2")), None);
    }

    #[test]
    fn a_wrong_topic_is_refused_by_the_level_that_is_wrong() {
        let cases = [
            ("sensors/shelf/s1", "is not `sensors/"),
            ("sensors/shelf/s1/reading/x", "is not `sensors/"),
            ("sensors/lamp/s1/reading", "kind `lamp`"),
            ("sensors/shelf/S1/reading", "names no device"),
            ("sensors/climate/c1/tags", "a climate sensor has reading, status"),
        ];
        for (topic, reason) in cases {
            let error = SensorTopic::parse(topic).unwrap_err().to_string();
            assert!(error.contains(reason), "{topic}: {error}");
        }
    }
}
