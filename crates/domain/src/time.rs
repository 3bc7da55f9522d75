//! Time: a UTC instant in microseconds, and the clock it is read from.

mod nano_timestamp;

use std::fmt;
use std::time::Duration;

use jiff::ZonedDateTime;
use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};

pub use nano_timestamp::NanoTimestamp;

/// A UTC instant in microseconds since 1970, as the database keeps it. Printed and serialised as RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since 1970.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From RFC 3339 (`2026-11-23T10:00:00Z`), or SQLite's `CURRENT_TIMESTAMP` (`2026-11-23 10:00:00`, UTC).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let instant = text.parse::<jiff::Timestamp>().ok().or_else(|| {
            let civil = text.parse::<jiff::civil::DateTime>().ok()?;
            jiff::tz::TimeZone::UTC.to_timestamp(civil).ok()
        })?;
        Some(Self(instant.as_microsecond()))
    }

    /// Microseconds since 1970.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// In the calendar of a time zone; `None` beyond the year 9999.
    pub(crate) fn in_zone(self, zone: &TimeZone) -> Option<ZonedDateTime> {
        jiff::Timestamp::from_microsecond(self.0).ok().map(|instant| instant.to_zoned_datetime(zone.clone()))
    }

    /// Its day (UTC), as people write it: `2026-11-23`.
    #[must_use]
    pub fn day(self) -> String {
        self.to_string().chars().take("2026-11-23".len()).collect()
    }

    /// So much later; the last instant there is if that is too late.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// So much earlier; the first instant there is if that is too early.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The time from an earlier instant until this one; nothing if that one is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Whole seconds since 1970, as OpenAI's `created` counts.
    #[must_use]
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(instant) => write!(f, "{instant:.6}"),
            Err(_) => write!(f, "{} us", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads `500ms`, `10s`, `2m`, `24h` or `7d`; more than nothing.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok());
    let duration = match days {
        Some(days) => Duration::from_secs(days.checked_mul(86_400)?),
        None => text.parse::<jiff::SignedDuration>().ok()?.try_into().ok()?,
    };
    (!duration.is_zero()).then_some(duration)
}

/// Where the time is read from, so that tests can set it.
pub trait Clock: Send + Sync + 'static {
    /// The present instant.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp(jiff::Timestamp::now().as_microsecond())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_written_forms_are_the_same_instant() {
        let rfc = Timestamp::parse("2024-11-05T10:20:30Z").unwrap();
        assert_eq!(Timestamp::parse("2024-11-05 10:20:30").unwrap(), rfc);
        assert_eq!(rfc.to_string(), "2024-11-05T10:20:30.000000Z");
        assert_eq!(Timestamp::parse("yesterday"), None);
    }

    #[test]
    fn durations_are_read_with_their_units() {
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("2m"), Some(Duration::from_secs(120)));
        assert_eq!(parse_duration("7d"), Some(Duration::from_secs(604_800)));
        for wrong in ["", "10", "0s", "-5s", "soon"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }
}
