//! Time: a UTC instant in microseconds, and the clock it is read from.

use std::fmt;

use serde::{Serialize, Serializer};

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
}
