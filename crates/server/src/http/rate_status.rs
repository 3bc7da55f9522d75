//! How a request stands with its rate limit, and the headers that say it.
//!
//! The headers are those of draft-ietf-httpapi-ratelimit-headers-06, as the lesson's application sends them, and OpenAI's; to clients of
//! Anthropic's also theirs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use privet_domain::rate::Rate;
use privet_domain::time::Timestamp;
use privet_engine::gates::RateStanding;

static LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
static REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
static RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
static POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What a rate limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counts {
    /// Requests.
    Requests,
    /// Tokens.
    Tokens,
}

impl Counts {
    /// How OpenAI's headers for it end.
    const fn ending(self) -> &'static str {
        match self {
            Self::Requests => "-requests",
            Self::Tokens => "-tokens",
        }
    }

    /// What Anthropic's headers for it begin with.
    const fn beginning(self) -> &'static str {
        match self {
            Self::Requests => "anthropic-ratelimit-requests",
            Self::Tokens => "anthropic-ratelimit-tokens",
        }
    }

    /// Whether a provider's header tells a limit of it, `x-ratelimit-limit-requests-day` and `anthropic-ratelimit-input-tokens-reset` too.
    fn is_told_by(self, name: &HeaderName) -> bool {
        let of = |kind: &str| name.as_str().strip_prefix(kind).is_some_and(|rest| rest.contains(self.ending()));
        of("x-ratelimit-") || of("anthropic-ratelimit")
    }
}

/// In which form a client is told of its limits, besides the one that has no owner.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RateForm {
    /// OpenAI's.
    OpenAi,
    /// OpenAI's and Anthropic's, which tells instants: at this one.
    Anthropic(Timestamp),
}

/// A rate limit after a request was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateStatus {
    /// What it counts.
    pub(crate) counts: Counts,
    /// The limit.
    pub(crate) policy: Rate,
    /// How many would be served now.
    pub(crate) remaining: u32,
    /// Until all of them are there again; where a key has none left, until one is.
    pub(crate) reset: Duration,
}

impl RateStatus {
    /// How a key stands with a rate of requests.
    pub(crate) const fn of_requests(standing: &RateStanding) -> Self {
        Self::of(Counts::Requests, standing)
    }

    /// How a key stands with a rate of tokens.
    pub(crate) const fn of_tokens(standing: &RateStanding) -> Self {
        Self::of(Counts::Tokens, standing)
    }

    const fn of(counts: Counts, standing: &RateStanding) -> Self {
        let RateStanding { rate: policy, remaining, resets_in, retry_in } = *standing;
        // Who waits for the reset where nothing is left waits for one more, not for all.
        let reset = if remaining == 0 { retry_in } else { resets_in };
        Self { counts, policy, remaining, reset }
    }

    /// Writes the headers.
    fn write(&self, form: RateForm, headers: &mut HeaderMap) {
        let (limit, window) = (self.policy.count.get(), whole_seconds(self.policy.per));
        headers.insert(LIMIT.clone(), limit.into());
        headers.insert(REMAINING.clone(), self.remaining.into());
        headers.insert(RESET.clone(), whole_seconds(self.reset).into());
        if let Ok(policy) = HeaderValue::try_from(format!("{limit};w={window}")) {
            headers.insert(POLICY.clone(), policy);
        }
        self.write_as_providers(form, headers);
    }

    /// Writes OpenAI's headers and Anthropic's alone. What a provider said of its own limit on the same gives way, all of it: two
    /// limits mixed would be none.
    fn write_as_providers(&self, form: RateForm, headers: &mut HeaderMap) {
        let of_provider: Vec<HeaderName> =
            headers.keys().filter(|name| self.counts.is_told_by(name)).cloned().collect();
        for name in of_provider {
            headers.remove(name);
        }
        let reset = format!("{}s", whole_seconds(self.reset));
        let told =
            [("limit", self.policy.count.to_string()), ("remaining", self.remaining.to_string()), ("reset", reset)];
        for (what, value) in told {
            let name = HeaderName::try_from(format!("x-ratelimit-{what}{}", self.counts.ending()));
            if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
                headers.insert(name, value);
            }
        }
        if let RateForm::Anthropic(now) = form {
            self.write_as_anthropic(now, headers);
        }
    }

    fn write_as_anthropic(&self, now: Timestamp, headers: &mut HeaderMap) {
        let told = [
            ("limit", self.policy.count.to_string()),
            ("remaining", self.remaining.to_string()),
            ("reset", now.after(self.reset).to_string()),
        ];
        for (what, value) in told {
            let name = HeaderName::try_from(format!("{}-{what}", self.counts.beginning()));
            if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
                headers.insert(name, value);
            }
        }
    }

    /// Whether it leaves less than another one.
    fn is_tighter_than(&self, other: &Self) -> bool {
        (self.remaining, other.reset) < (other.remaining, self.reset)
    }
}

/// Seconds as a header tells them: who waits so long has waited long enough.
pub(crate) fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

/// The place on a request where its limits say how it stands with them, until its answer goes out.
#[derive(Clone, Default)]
pub(crate) struct RateSlot(Arc<Mutex<Noted>>);

#[derive(Default)]
struct Noted {
    requests: Option<RateStatus>,
    tokens: Option<TokenStatus>,
}

/// How a key stands with its tokens when the answer goes out.
pub(crate) type TokenStatus = Box<dyn Fn() -> Option<RateStatus> + Send>;

impl RateSlot {
    /// Notes a status of a rate of requests; the tighter of several is told.
    pub(crate) fn note(&self, status: RateStatus) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.requests.is_none_or(|noted| status.is_tighter_than(&noted)) {
            noted.requests = Some(status);
        }
    }

    /// Notes who knows how the key stands with its tokens.
    pub(crate) fn note_tokens(&self, status: TokenStatus) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).tokens = Some(status);
    }

    /// Writes what was noted; of an answer that a limit refused, that limit alone.
    pub(crate) fn write(&self, refused_by: Option<RateStatus>, form: RateForm, headers: &mut HeaderMap) {
        if let Some(status) = refused_by {
            return status.write(form, headers);
        }
        let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(status) = noted.requests {
            status.write(form, headers);
        }
        if let Some(status) = noted.tokens.as_ref().and_then(|status| status()) {
            status.write_as_providers(form, headers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(rate: &str, remaining: u32, reset_ms: u64) -> RateStatus {
        let (counts, reset) = (Counts::Requests, Duration::from_millis(reset_ms));
        RateStatus { counts, policy: rate.parse().unwrap(), remaining, reset }
    }

    fn told(slot: &RateSlot) -> Vec<(String, String)> {
        let mut headers = HeaderMap::new();
        slot.write(None, RateForm::OpenAi, &mut headers);
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
    fn a_limit_of_ones_own_takes_the_place_of_all_that_the_provider_said_of_the_same() {
        let of_provider = |headers: &mut HeaderMap| {
            for name in ["limit-requests", "reset-requests-day", "limit-tokens", "remaining-tokens"] {
                let name = HeaderName::try_from(format!("x-ratelimit-{name}")).unwrap();
                headers.insert(name, HeaderValue::from_static("9999"));
            }
        };
        let told = |slot: &RateSlot| {
            let mut headers = HeaderMap::new();
            of_provider(&mut headers);
            slot.write(None, RateForm::OpenAi, &mut headers);
            let told = headers.iter().filter(|(name, _)| name.as_str().starts_with("x-"));
            let mut told: Vec<_> =
                told.map(|(name, value)| format!("{}={}", &name.as_str()[12..], value.to_str().unwrap())).collect();
            told.sort();
            told.join(" ")
        };
        let slot = RateSlot::default();
        let untouched = "limit-requests=9999 limit-tokens=9999 remaining-tokens=9999 reset-requests-day=9999";
        assert_eq!(told(&slot), untouched);
        slot.note(status("5/1m", 2, 30_000));
        let requests = "remaining-requests=2";
        assert_eq!(
            told(&slot),
            format!("limit-requests=5 limit-tokens=9999 {requests} remaining-tokens=9999 reset-requests=30s")
        );
        slot.note_tokens(Box::new(|| Some(RateStatus { counts: Counts::Tokens, ..status("700/1m", 40, 9_000) })));
        assert_eq!(
            told(&slot),
            format!(
                "limit-requests=5 limit-tokens=700 {requests} remaining-tokens=40 reset-requests=30s reset-tokens=9s"
            )
        );
    }

    #[test]
    fn where_nothing_is_left_the_reset_is_when_one_is_there_again() {
        let standing = |remaining| RateStanding {
            rate: "20/1m".parse().unwrap(),
            remaining,
            resets_in: Duration::from_secs(120),
            retry_in: Duration::from_secs(63),
        };
        assert_eq!(RateStatus::of_requests(&standing(0)).reset, Duration::from_secs(63));
        assert_eq!(RateStatus::of_tokens(&standing(1)).reset, Duration::from_secs(120));
    }

    #[test]
    fn a_refusal_keeps_the_limit_that_it_told() {
        let slot = RateSlot::default();
        slot.note(status("1/10s", 0, 10_000));
        let mut headers = HeaderMap::new();
        slot.write(Some(status("5/1m", 0, 60_000)), RateForm::OpenAi, &mut headers);
        assert_eq!(headers["ratelimit-policy"], "5;w=60");
    }

    #[test]
    fn clients_of_anthropic_are_told_of_instants_and_of_no_limit_of_the_provider_beside_their_own() {
        let slot = RateSlot::default();
        slot.note(status("5/1m", 2, 30_000));
        let mut headers = HeaderMap::new();
        for name in ["anthropic-ratelimit-requests-limit", "anthropic-ratelimit-input-tokens-limit"] {
            headers.insert(name, HeaderValue::from_static("9999"));
        }
        let now = Timestamp::parse("2026-11-23T10:00:00Z").unwrap();
        slot.write(None, RateForm::Anthropic(now), &mut headers);
        assert_eq!(headers["anthropic-ratelimit-requests-limit"], "5");
        assert_eq!(headers["anthropic-ratelimit-requests-remaining"], "2");
        assert_eq!(headers["anthropic-ratelimit-requests-reset"], "2026-11-23T10:00:30.000000Z");
        assert_eq!(headers["anthropic-ratelimit-input-tokens-limit"], "9999");
        slot.note_tokens(Box::new(|| Some(RateStatus { counts: Counts::Tokens, ..status("700/1m", 40, 9_000) })));
        slot.write(None, RateForm::Anthropic(now), &mut headers);
        assert!(!headers.contains_key("anthropic-ratelimit-input-tokens-limit"));
        assert_eq!(headers["anthropic-ratelimit-tokens-remaining"], "40");
    }
}
