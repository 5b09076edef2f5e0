//! One instant of the wall clock, in milliseconds since 1970-01-01T00:00:00Z.
//!
//! Written as RFC 3339 UTC with exactly three decimals (`2026-11-22T20:18:00.000Z`), read as any RFC 3339
//! time with an offset.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Milliseconds since the Unix epoch. Range: years 0000 to 9999, so that writing cannot fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// 0000-01-01T00:00:00.000Z.
const MILLIS_MIN: i64 = -62_167_219_200_000;
/// 9999-12-29T23:59:59.999Z, a day inside what `jiff` can write in every zone.
const MILLIS_MAX: i64 = 253_402_127_999_999;

/// Why a text or number is no time that we can keep.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Outside the years 0000 to 9999.
    #[error("time {millis} ms since 1970 is outside the years 0000 to 9999")]
    Range {
        /// What was asked for.
        millis: i64,
    },
    /// Not RFC 3339 with an offset.
    #[error("`{text}` is no RFC 3339 time with an offset, such as 2026-11-22T20:18:00.000Z")]
    Format {
        /// What was read, cut to 40 characters.
        text: String,
    },
}

impl Timestamp {
    /// 1970-01-01T00:00:00.000Z.
    pub const UNIX_EPOCH: Self = Self(0);

    /// Milliseconds since the Unix epoch as a time.
    ///
    /// # Errors
    /// Outside the years 0000 to 9999.
    pub fn try_from_millis(millis: i64) -> Result<Self, TimeError> {
        if (MILLIS_MIN..=MILLIS_MAX).contains(&millis) {
            Ok(Self(millis))
        } else {
            Err(TimeError::Range { millis })
        }
    }

    /// Milliseconds since the Unix epoch as a time, moved to the nearest representable one.
    #[must_use]
    pub fn saturating_from_millis(millis: i64) -> Self {
        Self(millis.clamp(MILLIS_MIN, MILLIS_MAX))
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// Milliseconds from `earlier` to `self`; negative when `self` comes first.
    #[must_use]
    pub fn millis_since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }

    /// This time moved by `millis`, kept in range.
    #[must_use]
    pub fn plus_millis(self, millis: i64) -> Self {
        Self::saturating_from_millis(self.0.saturating_add(millis))
    }

    /// The start of the window of `width_ms` (> 0) that holds this time; windows are aligned to the Unix epoch.
    #[must_use]
    pub fn window_start(self, width_ms: i64) -> Self {
        assert!(0 < width_ms, "a window has a positive width");
        Self::saturating_from_millis(self.0.div_euclid(width_ms) * width_ms)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = jiff::Timestamp::from_millisecond(self.0).map_err(|_| fmt::Error)?;
        write!(f, "{at:.3}")
    }
}

impl FromStr for Timestamp {
    type Err = TimeError;
    fn from_str(text: &str) -> Result<Self, TimeError> {
        let at: jiff::Timestamp =
            text.parse().map_err(|_| TimeError::Format { text: text.chars().take(40).collect() })?;
        Self::try_from_millis(at.as_millisecond())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_in_utc_with_milliseconds() {
        let at = Timestamp::try_from_millis(1_795_378_680_000).unwrap();
        assert_eq!(at.to_string(), "2026-11-22T20:18:00.000Z");
        assert_eq!(at.to_string().parse::<Timestamp>().unwrap(), at);
    }

    #[test]
    fn an_offset_is_understood_and_a_missing_one_refused() {
        let at: Timestamp = "2026-11-23T04:18:00.5+08:00".parse().unwrap();
        assert_eq!(at.to_string(), "2026-11-22T20:18:00.500Z");
        assert!("2026-11-23T04:18:00".parse::<Timestamp>().is_err());
        assert!("yesterday".parse::<Timestamp>().is_err());
    }

    #[test]
    fn the_whole_range_can_be_written_and_read() {
        for millis in [MILLIS_MIN, -1, 0, MILLIS_MAX] {
            let at = Timestamp::try_from_millis(millis).unwrap();
            assert_eq!(at.to_string().parse::<Timestamp>(), Ok(at), "{millis}");
        }
        assert!(Timestamp::try_from_millis(MILLIS_MAX + 1).is_err());
    }

    #[test]
    fn windows_before_1970_start_before_their_times() {
        let at = Timestamp::try_from_millis(-1).unwrap();
        assert_eq!(at.window_start(60_000).as_millis(), -60_000);
    }
}
