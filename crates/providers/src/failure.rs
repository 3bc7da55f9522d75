//! What kind of failure a call had: what to do next depends on it, and whether the model's health is to blame.

use std::fmt;
use std::time::Duration;

use http::{HeaderMap, header};
use privet_dialects::UpstreamFault;
use privet_domain::time::Timestamp;

use crate::error::ProviderError;

/// A longer wait that a provider asks for is not believed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);
/// Codes of errors that come as too many requests, and do not pass by waiting.
const OUT_OF_MONEY: [&str; 3] = ["insufficient_quota", "billing_hard_limit_reached", "credits_exhausted"];

/// A kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// Nobody answered at its address.
    Connect,
    /// A limit of time was passed.
    Timeout,
    /// The key has made its requests.
    Limited,
    /// The key is refused, or has no money left.
    KeyRefused,
    /// The client's request is at fault.
    Request,
    /// The server failed, or is overloaded.
    Server,
    /// It reported an error inside a 200.
    Reported,
    /// It was cut in the middle.
    Cut,
    /// It answered what is no answer.
    Malformed,
    /// It does not offer this at all.
    NotOffered,
}

impl FailureKind {
    /// Its name in headers, traces and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Limited => "limited",
            Self::KeyRefused => "key_refused",
            Self::Request => "request",
            Self::Server => "server",
            Self::Reported => "reported",
            Self::Cut => "cut",
            Self::Malformed => "malformed",
            Self::NotOffered => "not_offered",
        }
    }

    /// Whether it speaks against the health of the model. A limit or a refusal of a key does not, and a wrong request neither.
    #[must_use]
    pub const fn is_of_health(self) -> bool {
        match self {
            Self::Connect | Self::Timeout | Self::Server | Self::Reported | Self::Cut | Self::Malformed => true,
            Self::Limited | Self::KeyRefused | Self::Request | Self::NotOffered => false,
        }
    }

    /// Of an HTTP status.
    const fn of_status(status: u16) -> Self {
        match status {
            401..=403 => Self::KeyRefused,
            408 | 500.. => Self::Server,
            429 => Self::Limited,
            400..=499 => Self::Request,
            // A redirect, which would carry the key along, or a success that is none.
            _ => Self::Malformed,
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ProviderError {
    /// What kind of failure it is.
    #[must_use]
    pub fn failure(&self) -> FailureKind {
        match self {
            Self::Connect { .. } => FailureKind::Connect,
            Self::Timeout { .. } => FailureKind::Timeout,
            Self::NotOffered { .. } => FailureKind::NotOffered,
            Self::Status { .. } if self.concerns_key() || self.is_out_of_money() => FailureKind::KeyRefused,
            Self::Status { status, .. } => FailureKind::of_status(*status),
            Self::Fault { fault: UpstreamFault::Reported { status: Some(status), .. }, .. } => {
                match FailureKind::of_status(*status) {
                    FailureKind::Server | FailureKind::Malformed => FailureKind::Reported,
                    kind => kind,
                }
            }
            Self::Fault { fault: UpstreamFault::Reported { status: None, .. }, .. } => FailureKind::Reported,
            Self::Fault { fault: UpstreamFault::Cut, .. } => FailureKind::Cut,
            Self::Fault { fault: UpstreamFault::Malformed(_), .. } => FailureKind::Malformed,
        }
    }

    /// The status, where the provider said one: of its answer, or inside a 200.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            Self::Fault { fault: UpstreamFault::Reported { status, .. }, .. } => *status,
            _ => None,
        }
    }

    /// Whether the provider speaks of this server's key: Gemini does it with a 400.
    #[must_use]
    pub fn concerns_key(&self) -> bool {
        let Self::Status { status, error, .. } = self else { return false };
        matches!(status, 401 | 403) || (*status == 400 && error.message.contains("API key not valid"))
    }

    /// Whether the provider wants money: that comes as too many requests, and does not pass by waiting.
    #[must_use]
    pub fn is_out_of_money(&self) -> bool {
        let Self::Status { error, .. } = self else { return false };
        let mut words = [&error.code, &error.kind].into_iter();
        words.any(|word| word.as_deref().is_some_and(|word| OUT_OF_MONEY.contains(&word)))
    }

    /// Whether the provider says that repeating does not help.
    #[must_use]
    pub fn forbids_repeating(&self) -> bool {
        let Self::Status { headers, .. } = self else { return false };
        headers.get("x-should-retry").is_some_and(|value| value == "false")
    }

    /// How long the provider asks to wait.
    #[must_use]
    pub fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        let Self::Status { headers, .. } = self else { return None };
        retry_after(headers, now)
    }
}

/// How long a provider asks to wait: `retry-after-ms`, or `retry-after` in seconds or as a date.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let millis = || text("retry-after-ms")?.parse::<f64>().ok().map(|millis| millis / 1_000.0);
    let seconds = || text(header::RETRY_AFTER.as_str())?.parse::<f64>().ok();
    let date = || {
        let at = jiff::fmt::rfc2822::parse(text(header::RETRY_AFTER.as_str())?).ok()?.timestamp();
        Some(Timestamp::from_micros(at.as_microsecond()).since(now))
    };
    let wait = millis().or_else(seconds).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).or_else(date)?;
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use privet_dialects::openai::error::WireError;

    use super::*;
    use crate::error::TimeoutStage;

    fn status(status: u16, code: &str, message: &str) -> ProviderError {
        let error = WireError { message: message.to_owned(), code: Some(code.to_owned()), ..WireError::default() };
        ProviderError::Status { provider: "p".to_owned(), status, error: Box::new(error), headers: Box::default() }
    }

    fn reported(status: Option<u16>) -> ProviderError {
        let fault = UpstreamFault::Reported { status, kind: String::new(), message: String::new() };
        ProviderError::Fault { provider: "p".to_owned(), fault }
    }

    #[test]
    fn failures_are_told_apart_by_what_they_speak_against() {
        for (error, kind) in [
            (status(500, "", ""), FailureKind::Server),
            (status(529, "", ""), FailureKind::Server),
            (status(408, "", ""), FailureKind::Server),
            (status(429, "rate_limit_exceeded", ""), FailureKind::Limited),
            (status(429, "insufficient_quota", ""), FailureKind::KeyRefused),
            (status(401, "", ""), FailureKind::KeyRefused),
            (status(402, "", ""), FailureKind::KeyRefused),
            (status(403, "", ""), FailureKind::KeyRefused),
            (status(400, "", "API key not valid. Please pass a valid API key."), FailureKind::KeyRefused),
            (status(400, "", "your request is wrong"), FailureKind::Request),
            (status(404, "", ""), FailureKind::Request),
            (status(307, "", ""), FailureKind::Malformed),
            (reported(None), FailureKind::Reported),
            (reported(Some(503)), FailureKind::Reported),
            (reported(Some(429)), FailureKind::Limited),
            (reported(Some(400)), FailureKind::Request),
        ] {
            assert_eq!(error.failure(), kind, "{error}");
        }
        let timeout = ProviderError::Timeout {
            provider: "p".to_owned(),
            stage: TimeoutStage::FirstByte,
            after: Duration::from_secs(1),
        };
        assert!(timeout.failure().is_of_health() && !FailureKind::Limited.is_of_health());
    }

    #[test]
    fn a_provider_can_forbid_repeating() {
        let refused = |value: &'static str| {
            let headers = HeaderMap::from_iter([(
                http::HeaderName::from_static("x-should-retry"),
                HeaderValue::from_static(value),
            )]);
            let error = Box::<WireError>::default();
            ProviderError::Status { provider: "p".to_owned(), status: 500, error, headers: Box::new(headers) }
        };
        assert!(refused("false").forbids_repeating() && !refused("true").forbids_repeating());
    }

    #[test]
    fn waits_are_read_in_every_form_and_not_believed_for_days() {
        let now = Timestamp::parse("2026-11-25T12:00:00Z").unwrap();
        let of = |name: &'static str, value: &'static str| {
            retry_after(
                &HeaderMap::from_iter([(http::HeaderName::from_static(name), HeaderValue::from_static(value))]),
                now,
            )
        };
        assert_eq!(of("retry-after", "3"), Some(Duration::from_secs(3)));
        assert_eq!(of("retry-after", "0.25"), Some(Duration::from_millis(250)));
        assert_eq!(of("retry-after-ms", "1500"), Some(Duration::from_millis(1_500)));
        assert_eq!(of("retry-after", "Wed, 25 Nov 2026 12:00:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(of("retry-after", "Wed, 25 Nov 2026 11:00:30 GMT"), Some(Duration::ZERO));
        assert_eq!(of("retry-after", "999999999"), Some(RETRY_AFTER_MAX));
        for nonsense in ["-3", "NaN", "soon", ""] {
            assert_eq!(of("retry-after", nonsense), None, "{nonsense}");
        }
    }
}
