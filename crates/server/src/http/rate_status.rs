//! How a request stands with its rate limit, and the headers that say it.
//!
//! The headers are those of draft-ietf-httpapi-ratelimit-headers-06, as the lesson's application sends them, and OpenAI's.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use privet_domain::rate::Rate;
use privet_engine::gates::RateStanding;

static LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
static REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
static RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
static POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
static X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit-requests");
static X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining-requests");
static X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset-requests");

/// A rate limit after a request was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateStatus {
    /// The limit.
    pub(crate) policy: Rate,
    /// How many requests would be served now.
    pub(crate) remaining: u32,
    /// Until all of them are there again.
    pub(crate) reset: Duration,
}

impl RateStatus {
    /// Writes the headers; what a provider said of its own limit on requests gives way.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let (limit, window) = (self.policy.count.get(), whole_seconds(self.policy.per));
        let reset = whole_seconds(self.reset);
        headers.insert(LIMIT.clone(), limit.into());
        headers.insert(X_LIMIT.clone(), limit.into());
        headers.insert(REMAINING.clone(), self.remaining.into());
        headers.insert(X_REMAINING.clone(), self.remaining.into());
        headers.insert(RESET.clone(), reset.into());
        for (name, text) in [(&POLICY, format!("{limit};w={window}")), (&X_RESET, format!("{reset}s"))] {
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(name.clone(), value);
            }
        }
    }

    /// Whether it leaves less than another one.
    fn is_tighter_than(&self, other: &Self) -> bool {
        (self.remaining, other.reset) < (other.remaining, self.reset)
    }
}

impl From<RateStanding> for RateStatus {
    fn from(standing: RateStanding) -> Self {
        Self { policy: standing.rate, remaining: standing.remaining, reset: standing.resets_in }
    }
}

/// Seconds as a header tells them: who waits so long has waited long enough.
pub(crate) fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

/// The place on a request where its limits say how it stands with them, until its answer goes out.
#[derive(Clone, Default)]
pub(crate) struct RateSlot(Arc<Mutex<Option<RateStatus>>>);

impl RateSlot {
    /// Notes a status; the tighter of several is told.
    pub(crate) fn note(&self, status: RateStatus) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.is_none_or(|noted| status.is_tighter_than(&noted)) {
            *noted = Some(status);
        }
    }

    /// Writes what was noted, unless the answer is a refusal, which has told its own limit.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let noted = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(status) = noted.filter(|_| !headers.contains_key(&LIMIT)) {
            status.write(headers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(rate: &str, remaining: u32, reset_ms: u64) -> RateStatus {
        RateStatus { policy: rate.parse().unwrap(), remaining, reset: Duration::from_millis(reset_ms) }
    }

    fn told(slot: &RateSlot) -> Vec<(String, String)> {
        let mut headers = HeaderMap::new();
        slot.write(&mut headers);
        headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
    }

    #[test]
    fn the_tighter_limit_is_told_in_both_forms_and_seconds_are_rounded_up() {
        let slot = RateSlot::default();
        assert_eq!(told(&slot), []);
        for status in [status("60/1m", 59, 1000), status("5/1m", 2, 30_001), status("100/1m", 3, 900)] {
            slot.note(status);
        }
        let expected = [
            ("ratelimit-limit", "5"),
            ("x-ratelimit-limit-requests", "5"),
            ("ratelimit-remaining", "2"),
            ("x-ratelimit-remaining-requests", "2"),
            ("ratelimit-reset", "31"),
            ("ratelimit-policy", "5;w=60"),
            ("x-ratelimit-reset-requests", "31s"),
        ];
        let mut told = told(&slot);
        told.sort();
        let mut expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        expected.sort();
        assert_eq!(told, expected);
    }

    #[test]
    fn of_two_that_leave_nothing_the_longer_wait_is_told() {
        let slot = RateSlot::default();
        for status in [status("1/10s", 0, 10_000), status("1/1h", 0, 3_600_000), status("1/20s", 0, 20_000)] {
            slot.note(status);
        }
        assert!(told(&slot).contains(&("ratelimit-policy".to_owned(), "1;w=3600".to_owned())));
    }

    #[test]
    fn a_refusal_keeps_the_limit_that_it_told() {
        let slot = RateSlot::default();
        slot.note(status("1/10s", 0, 10_000));
        let mut headers = HeaderMap::new();
        status("5/1m", 0, 60_000).write(&mut headers);
        slot.write(&mut headers);
        assert_eq!(headers["ratelimit-policy"], "5;w=60");
    }
}
