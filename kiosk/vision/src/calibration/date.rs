//! A day of the calendar.

use std::fmt;

/// A day from 2000 to 2199, as `YYYY-MM-DD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

/// No day of the years 2000 to 2199 in the form `YYYY-MM-DD`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a day of the years 2000 to 2199 as YYYY-MM-DD")]
pub struct DateError;

impl Date {
    /// Parses `YYYY-MM-DD`.
    ///
    /// # Errors
    /// When the text has another form, or there is no such day.
    pub fn parse(text: &str) -> Result<Self, DateError> {
        let bytes = text.as_bytes();
        let has_form = bytes.len() == 10
            && bytes.iter().enumerate().all(|(at, byte)| match at {
                4 | 7 => *byte == b'-',
                _ => byte.is_ascii_digit(),
            });
        if !has_form {
            return Err(DateError);
        }
        let number = |range: std::ops::Range<usize>| text[range].parse::<u16>().map_err(|_| DateError);
        let small = |range| number(range).and_then(|value| u8::try_from(value).map_err(|_| DateError));
        let (year, month, day) = (number(0..4)?, small(5..7)?, small(8..10)?);
        let is_day = (2000..=2199).contains(&year) && (1..=days(year, month)).contains(&day);
        is_day.then_some(Self { year, month, day }).ok_or(DateError)
    }

    /// The day, by Greenwich, of a second since 1970.
    ///
    /// # Errors
    /// When it lies outside the years 2000 to 2199.
    pub fn from_unix_secs(secs: u64) -> Result<Self, DateError> {
        const DAYS_FROM_1970_TO_2000: u64 = 10_957;
        let mut left = (secs / 86_400).checked_sub(DAYS_FROM_1970_TO_2000).ok_or(DateError)?;
        for year in 2000..=2199 {
            for month in 1..=12 {
                let days = u64::from(days(year, month));
                if left < days {
                    let day = u8::try_from(left + 1).map_err(|_| DateError)?;
                    return Ok(Self { year, month, day });
                }
                left -= days;
            }
        }
        Err(DateError)
    }
}

/// Days of a month; none of a month that does not exist.
fn days(year: u16, month: u8) -> u8 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u8::from(is_leap),
        _ => 0,
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_days_that_exist_are_dates() {
        for text in ["2026-11-23", "2000-02-29", "2024-02-29", "2199-12-31"] {
            assert_eq!(Date::parse(text).map(|date| date.to_string()).as_deref(), Ok(text));
        }
        for text in [
            "2026-02-29",
            "2100-02-29",
            "2026-13-01",
            "2026-00-01",
            "2026-04-31",
            "2026-01-00",
            "1999-01-01",
            "2026-1-1",
            "26-01-01",
            "2026/01/01",
            "2026-01-011",
            "",
            "２０２６-01",
            "+026-01-01",
        ] {
            assert_eq!(Date::parse(text), Err(DateError), "{text}");
        }
    }

    #[test]
    fn seconds_are_days_by_greenwich() {
        let day = |secs| Date::from_unix_secs(secs).map(|date| date.to_string());
        assert_eq!(day(946_684_800).as_deref(), Ok("2000-01-01"));
        assert_eq!(day(1_709_251_199).as_deref(), Ok("2024-02-29"));
        assert_eq!(day(1_709_251_200).as_deref(), Ok("2024-03-01"));
        assert_eq!(day(946_684_799), Err(DateError));
        assert_eq!(day(u64::MAX), Err(DateError));
    }
}
