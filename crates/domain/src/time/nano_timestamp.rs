//! Instants as fine as OpenTelemetry's: the order of spans shows below the microsecond.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::Timestamp;

/// A UTC instant in nanoseconds since 1970, from the year 1677 to 2262. Printed and serialised as RFC 3339 with milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NanoTimestamp(i64);

impl NanoTimestamp {
    /// The first instant there is.
    pub const MIN: Self = Self(i64::MIN);

    /// From nanoseconds since 1970.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since 1970.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// From RFC 3339, with or without an offset (UTC then). `None` for what is none, or beyond 2262.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let instant = text.parse::<jiff::Timestamp>().ok().or_else(|| {
            let civil = text.parse::<jiff::civil::DateTime>().ok()?;
            jiff::tz::TimeZone::UTC.to_timestamp(civil).ok()
        })?;
        i64::try_from(instant.as_nanosecond()).ok().map(Self)
    }

    /// The time from an earlier instant until this one; nothing if that one is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Whole days since 1970, UTC.
    #[must_use]
    pub const fn day(self) -> i64 {
        self.0.div_euclid(86_400_000_000_000)
    }
}

impl From<Timestamp> for NanoTimestamp {
    fn from(at: Timestamp) -> Self {
        Self(at.as_micros().saturating_mul(1_000))
    }
}

impl From<NanoTimestamp> for Timestamp {
    fn from(at: NanoTimestamp) -> Self {
        Self::from_micros(at.0.div_euclid(1_000))
    }
}

impl fmt::Display for NanoTimestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(instant) => write!(f, "{instant:.3}"),
            Err(_) => write!(f, "{} ns", self.0),
        }
    }
}

impl Serialize for NanoTimestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_keeps_its_nanoseconds_and_shows_milliseconds() {
        let at = NanoTimestamp::parse("2026-11-25T10:00:00.123456789+01:00").unwrap();
        assert_eq!(at.as_nanos() % 1_000_000_000, 123_456_789);
        assert_eq!(at.to_string(), "2026-11-25T09:00:00.123Z");
        assert_eq!(NanoTimestamp::parse("2026-11-25T09:00:00.123456789"), Some(at));
        assert_eq!(NanoTimestamp::parse("0001-01-01T00:00:00Z"), None);
        assert_eq!(NanoTimestamp::parse("soon"), None);
    }
}
