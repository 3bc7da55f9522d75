//! Budgets: how much may be spent by whom in which window of time.
//!
//! A window is told by its start. Each window of a budget has a balance of its own, so a clock that is set back or forth
//! leads from one balance to another and never refills one.

use std::fmt;
use std::str::FromStr;

use jiff::ZonedDateTime;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::ApiKeyId;
use crate::money::{MoneyError, Nanos};
use crate::time::Timestamp;

/// Whose spending a budget bounds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BudgetScope {
    /// Everybody's.
    Global,
    /// That of a project's keys, by the project's name.
    Project(String),
    /// That of a user's keys, by the user's id.
    User(String),
    /// That of one key and its successors, by the id of the first of them.
    Key(ApiKeyId),
}

impl fmt::Display for BudgetScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global => f.write_str("global"),
            Self::Project(name) => write!(f, "project/{name}"),
            Self::User(id) => write!(f, "user/{id}"),
            Self::Key(id) => write!(f, "key/{id}"),
        }
    }
}

/// How long a budget lasts until it is full again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Period {
    /// A calendar day.
    Day,
    /// A calendar week, from Monday (ISO 8601).
    Week,
    /// A calendar month.
    Month,
    /// For ever.
    Total,
}

impl Period {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Day, Self::Week, Self::Month, Self::Total];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Total => "total",
        }
    }
}

/// A window of time in which a budget is spent: from its start until its end, if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its first instant; 0 for a budget without a period.
    pub start: Timestamp,
    /// The first instant after it.
    pub end: Option<Timestamp>,
}

impl Window {
    /// Whether it holds an instant.
    #[must_use]
    pub fn contains(&self, instant: Timestamp) -> bool {
        self.start <= instant && self.end.is_none_or(|end| instant < end)
    }
}

/// An amount for each period, in the calendar of a time zone. Written `1.00/day`, or `1.00/day Europe/Warsaw`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// How much.
    pub amount: Nanos,
    /// For how long.
    pub period: Period,
    /// In whose calendar; `None` is the configured one, or UTC.
    pub zone: Option<ZoneName>,
}

/// Why a text is no allowance.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAllowance {
    /// It has another shape.
    #[error("`{0}` is no budget; write `AMOUNT/PERIOD` such as `1.00/day`, with day, week, month or total")]
    Shape(String),
    /// Its amount is none.
    #[error("`{text}`: {reason}")]
    Amount {
        /// The text.
        text: String,
        /// Why.
        reason: MoneyError,
    },
    /// Its time zone is unknown.
    #[error(transparent)]
    Zone(#[from] UnknownZone),
}

impl FromStr for Allowance {
    type Err = BadAllowance;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shape = || BadAllowance::Shape(text.to_owned());
        let (amount, rest) = text.split_once('/').ok_or_else(shape)?;
        let (period, zone) = match rest.split_once(' ') {
            Some((period, zone)) => (period, Some(zone.trim())),
            None => (rest, None),
        };
        let period = Period::ALL.into_iter().find(|known| known.as_str() == period.trim()).ok_or_else(shape)?;
        let amount =
            Nanos::parse_dollars(amount).map_err(|reason| BadAllowance::Amount { text: text.to_owned(), reason })?;
        Ok(Self { amount, period, zone: zone.map(str::parse).transpose()? })
    }
}

impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let amount = self.amount.to_string();
        write!(f, "{}/{}", amount.trim_start_matches('$'), self.period.as_str())?;
        self.zone.as_ref().map_or(Ok(()), |zone| write!(f, " {zone}"))
    }
}

impl Serialize for Allowance {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Allowance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A time zone of the IANA database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneName(TimeZone);

/// No time zone has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the time zone `{0}` is unknown; write a name of the IANA database such as `Europe/Warsaw` or `UTC`")]
pub struct UnknownZone(pub String);

impl ZoneName {
    /// Coordinated universal time.
    #[must_use]
    pub const fn utc() -> Self {
        Self(TimeZone::UTC)
    }
}

impl FromStr for ZoneName {
    type Err = UnknownZone;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.eq_ignore_ascii_case("utc") {
            return Ok(Self::utc());
        }
        TimeZone::get(text).map(Self).map_err(|_| UnknownZone(text.to_owned()))
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("UTC"))
    }
}

/// A budget: whose, how much, for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Whose spending it bounds.
    pub scope: BudgetScope,
    /// How much in each period.
    pub amount: Nanos,
    /// The period.
    pub period: Period,
    /// In whose calendar the period is.
    pub zone: ZoneName,
}

impl Budget {
    /// A budget with its allowance; `zone` where that names none.
    #[must_use]
    pub fn new(scope: BudgetScope, allowance: &Allowance, zone: &ZoneName) -> Self {
        let zone = allowance.zone.as_ref().unwrap_or(zone).clone();
        Self { scope, amount: allowance.amount, period: allowance.period, zone }
    }

    /// Its name in the database, in errors and in the console: `user/ola/month`. There is one budget for a scope and a period.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}", self.scope, self.period.as_str())
    }

    /// The window that holds an instant.
    #[must_use]
    pub fn window(&self, now: Timestamp) -> Window {
        if self.period == Period::Total {
            return Window { start: Timestamp::from_micros(0), end: None };
        }
        // The calendar ends in the year 9999; an instant beyond it has no period to speak of.
        let bounds = now.in_zone(&self.zone.0).and_then(|now| self.bounds(&now));
        let (start, end) = bounds.unwrap_or((now, now));
        Window { start, end: Some(end) }
    }

    fn bounds(&self, now: &ZonedDateTime) -> Option<(Timestamp, Timestamp)> {
        let day = now.date();
        let (first, next) = match self.period {
            Period::Day => (day, day.tomorrow().ok()?),
            Period::Week => {
                let back = i64::from(day.weekday().since(Weekday::Monday));
                let monday = day.checked_sub(jiff::Span::new().days(back)).ok()?;
                (monday, monday.checked_add(jiff::Span::new().days(7)).ok()?)
            }
            Period::Month => (day.first_of_month(), day.last_of_month().tomorrow().ok()?),
            Period::Total => return None,
        };
        let instant = |date: jiff::civil::Date| {
            let zoned = date.to_zoned_datetime(self.zone.0.clone()).ok()?;
            Some(Timestamp::from_micros(zoned.timestamp().as_microsecond()))
        };
        Some((instant(first)?, instant(next)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(allowance: &str, now: &str) -> (String, String) {
        let budget = Budget::new(BudgetScope::Global, &allowance.parse().unwrap(), &ZoneName::utc());
        let now = Timestamp::parse(now).unwrap();
        let window = budget.window(now);
        assert!(window.contains(now));
        (window.start.to_string(), window.end.map(|end| end.to_string()).unwrap_or_default())
    }

    #[test]
    fn windows_follow_the_calendar_of_the_zone() {
        for (allowance, now, start, end) in [
            ("1/day", "2026-11-25T13:00:00Z", "2026-11-25T00:00:00", "2026-11-26T00:00:00"),
            ("1/week", "2026-11-25T13:00:00Z", "2026-11-23T00:00:00", "2026-11-30T00:00:00"),
            ("1/month", "2026-02-25T13:00:00Z", "2026-02-01T00:00:00", "2026-03-01T00:00:00"),
            ("1/day Europe/Warsaw", "2026-11-25T23:30:00Z", "2026-11-25T23:00:00", "2026-11-26T23:00:00"),
            // The clock goes back that night: the day has 25 hours.
            ("1/day Europe/Warsaw", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00", "2026-10-25T23:00:00"),
            // And forward that one: 23 hours.
            ("1/day Europe/Warsaw", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00", "2026-03-29T22:00:00"),
        ] {
            assert_eq!(window(allowance, now), (format!("{start}.000000Z"), format!("{end}.000000Z")), "{allowance}");
        }
        assert_eq!(window("1/total", "2026-11-25T13:00:00Z").1, "");
    }

    #[test]
    fn a_wrong_budget_says_what_is_right() {
        for (text, hint) in [
            ("1.00", "AMOUNT/PERIOD"),
            ("1.00/year", "day, week, month or total"),
            ("-1/day", "negative"),
            ("one/day", "decimal"),
            ("1/day Mars/Olympus", "`Mars/Olympus` is unknown"),
        ] {
            let error = text.parse::<Allowance>().unwrap_err().to_string();
            assert!(error.contains(hint), "{error}");
        }
        assert_eq!("0.5/week Europe/Warsaw".parse::<Allowance>().unwrap().to_string(), "0.50/week Europe/Warsaw");
    }
}
