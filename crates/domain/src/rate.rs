//! Rates: so many in so long a time, written `60/1m`.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::time::parse_duration;

/// At most `count` in each `per`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// How many.
    pub count: NonZeroU32,
    /// In how long a time.
    pub per: Duration,
}

/// A text is no rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no rate; write `N/PERIOD` such as `60/1m`, `1/10s` or `1000/day`")]
pub struct BadRate(pub String);

impl FromStr for Rate {
    type Err = BadRate;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (count, period) = text.split_once('/')?;
            Some(Self { count: count.trim().parse().ok()?, per: period_of(period.trim())? })
        };
        read().ok_or_else(|| BadRate(text.to_owned()))
    }
}

fn period_of(text: &str) -> Option<Duration> {
    let seconds = match text {
        "second" => 1,
        "minute" => 60,
        "hour" => 3600,
        "day" => 86_400,
        _ => return parse_duration(text),
    };
    Some(Duration::from_secs(seconds))
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.per.as_millis();
        let (number, unit) = match millis {
            _ if millis.is_multiple_of(86_400_000) => (millis / 86_400_000, "d"),
            _ if millis.is_multiple_of(3_600_000) => (millis / 3_600_000, "h"),
            _ if millis.is_multiple_of(60_000) => (millis / 60_000, "m"),
            _ if millis.is_multiple_of(1_000) => (millis / 1_000, "s"),
            _ => (millis, "ms"),
        };
        write!(f, "{}/{number}{unit}", self.count)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_read_back() {
        for (text, shown) in [("60/1m", "60/1m"), ("1/10s", "1/10s"), ("5/day", "5/1d"), ("20/minute", "20/1m")] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), shown);
        }
        for wrong in ["", "60", "0/1m", "-1/1m", "60/0s", "60/soon", "x/1m"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
