//! A collector of traces of the operator's: any that takes OTLP over HTTP as protobuf
//! (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>).
//!
//! One attempt at a time; when to try again is decided in `privet_engine`.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use reqwest::Url;

use crate::error::innermost;
use crate::http_provider::HttpProvider;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An attempt is over after this time.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// Where a collector takes traces that is named without a path.
const DEFAULT_PATH: &str = "/v1/traces";
/// What the specification calls retryable.
const TEMPORARY: [u16; 4] = [429, 502, 503, 504];

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// It may be taken later.
    #[error("{reason}")]
    Temporary {
        /// What happened.
        reason: String,
        /// How long the collector asks to wait.
        retry_after: Option<Duration>,
    },
    /// It never will be.
    #[error("the collector refuses with {0}")]
    Refused(u16),
}

/// A collector.
#[derive(Clone)]
pub struct Collector {
    url: Url,
    headers: HeaderMap,
    client: reqwest::Client,
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Headers hold keys.
        f.debug_struct("Collector").field("url", &self.url.host_str()).finish_non_exhaustive()
    }
}

impl Collector {
    /// At this address, with these headers. It follows no redirect.
    ///
    /// # Errors
    /// When the machine's TLS roots cannot be read.
    pub fn new(mut url: Url, mut headers: HeaderMap) -> Result<Self, reqwest::Error> {
        if url.path() == "/" {
            url.set_path(DEFAULT_PATH);
        }
        for value in headers.values_mut() {
            value.set_sensitive(true);
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        Ok(Self { url, headers, client: HttpProvider::client(CONNECT_TIMEOUT)? })
    }

    /// Reads headers as OpenTelemetry writes them: `name=value,name=value`.
    ///
    /// # Errors
    /// With what is wrong; never with a value.
    pub fn headers(text: &str) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        for (index, pair) in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()).enumerate() {
            let wrong = || format!("header {} is not of the form NAME=VALUE", index + 1);
            let (name, value) = pair.split_once('=').ok_or_else(wrong)?;
            let name = HeaderName::try_from(name.trim()).map_err(|_| wrong())?;
            headers.append(name, HeaderValue::try_from(value.trim()).map_err(|_| wrong())?);
        }
        Ok(headers)
    }

    /// Sends an export, packed with gzip, once.
    ///
    /// # Errors
    /// When the collector does not answer 2xx in time.
    pub async fn send(&self, packed: Bytes) -> Result<(), CollectorError> {
        let mut request = reqwest::Request::new(Method::POST, self.url.clone());
        *request.headers_mut() = self.headers.clone();
        *request.body_mut() = Some(packed.into());
        let temporary = |reason: String| CollectorError::Temporary { reason, retry_after: None };
        let sent = tokio::time::timeout(ATTEMPT_TIMEOUT, self.client.execute(request)).await;
        let response = sent
            .map_err(|_| temporary(format!("the collector did not answer within {} s", ATTEMPT_TIMEOUT.as_secs())))?
            .map_err(|error| temporary(format!("the collector cannot be reached: {}", innermost(&error))))?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        if !TEMPORARY.contains(&status.as_u16()) {
            return Err(CollectorError::Refused(status.as_u16()));
        }
        let wait = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let retry_after = wait.map(Duration::from_secs);
        Err(CollectorError::Temporary { reason: format!("the collector answers {}", status.as_u16()), retry_after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_and_their_values_never_told() {
        let headers = Collector::headers("authorization=Basic abc==, x-team=a").unwrap();
        assert_eq!((headers["authorization"].as_bytes(), headers.len()), (&b"Basic abc=="[..], 2));
        for wrong in ["secret", "na me=secret", "a=b\nsecret"] {
            let error = Collector::headers(wrong).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
