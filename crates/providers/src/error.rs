//! How a call to a provider fails.

use std::fmt;
use std::time::Duration;

use http::HeaderMap;
use privet_dialects::UpstreamFault;
use privet_dialects::openai::error::WireError;

/// Which limit of time was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutStage {
    /// Until the connection stands.
    Connect,
    /// Until the answer's head.
    FirstByte,
    /// Between two pieces of the answer.
    Idle,
    /// The whole call.
    Total,
}

impl fmt::Display for TimeoutStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "no connection",
            Self::FirstByte => "no answer",
            Self::Idle => "silence in the middle of the answer",
            Self::Total => "no complete answer",
        })
    }
}

/// How a call to a provider failed. No text holds a key.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// Nobody answered at its address.
    #[error("cannot connect to the provider `{provider}`: {reason}")]
    Connect {
        /// The provider.
        provider: String,
        /// Why.
        reason: String,
    },
    /// A limit of time was passed.
    #[error("{stage} from the provider `{provider}` within {} s", after.as_secs_f64())]
    Timeout {
        /// The provider.
        provider: String,
        /// Which limit.
        stage: TimeoutStage,
        /// The limit.
        after: Duration,
    },
    /// It answered with an error.
    #[error("the provider `{provider}` answered {status}: {}", error.message)]
    Status {
        /// The provider.
        provider: String,
        /// The HTTP status.
        status: u16,
        /// What it said.
        error: Box<WireError>,
        /// Its headers that concern the client, such as `retry-after`.
        headers: Box<HeaderMap>,
    },
    /// It answered 200 and something that is no answer.
    #[error("the provider `{provider}` gave no usable answer: {fault}")]
    Fault {
        /// The provider.
        provider: String,
        /// What was wrong.
        fault: UpstreamFault,
    },
    /// It does not offer this at all.
    #[error("the provider `{provider}` has no {what}")]
    NotOffered {
        /// The provider.
        provider: String,
        /// What it lacks.
        what: &'static str,
    },
}

impl ProviderError {
    pub(crate) fn from_reqwest(provider: &str, error: &reqwest::Error, connect: Duration) -> Self {
        let provider = provider.to_owned();
        if error.is_connect() && error.is_timeout() {
            return Self::Timeout { provider, stage: TimeoutStage::Connect, after: connect };
        }
        if error.is_connect() {
            return Self::Connect { provider, reason: innermost(error) };
        }
        // After the connection stood, whatever breaks is a cut.
        Self::Fault { provider, fault: UpstreamFault::Cut }
    }
}

/// The last cause says what happened; the ones around it repeat the URL, which may hold a secret.
pub(crate) fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
