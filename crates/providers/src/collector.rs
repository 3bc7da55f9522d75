//! A collector of traces (OTLP over HTTP, <https://opentelemetry.io/docs/specs/otlp/#otlphttp>).
//!
//! One attempt at a time; when to try again is decided in `privet_engine`.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use reqwest::Url;

use crate::address_guard::AddressPolicy;
use crate::error::innermost;
use crate::http_provider::HttpProvider;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An attempt is over after this time.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// No more of an answer is read.
const REPLY_BYTES_MAX: usize = 64 * 1024;

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// No answer in time.
    #[error("the collector did not answer within {} s", ATTEMPT_TIMEOUT.as_secs())]
    Timeout,
    /// No connection, or it broke.
    #[error("the collector cannot be reached: {0}")]
    Unreachable(String),
    /// It cannot take it now.
    #[error("the collector answered {status}")]
    Busy {
        /// The status.
        status: u16,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// It takes nothing from us: the address or the headers are wrong.
    #[error("the collector answered {0}; look after `traces.export.url` and `traces.export.headers`")]
    Refused(u16),
    /// It will never take this.
    #[error("the collector answered {0} to what was sent")]
    Rejected(u16),
}

/// A collector.
#[derive(Clone, Debug)]
pub struct Collector {
    url: Url,
    headers: HeaderMap,
    client: reqwest::Client,
}

impl Collector {
    /// At this address, with these headers. It follows no redirect, and connects to whatever the operator names but where clouds
    /// keep keys.
    ///
    /// # Errors
    /// When the machine's TLS roots cannot be read.
    pub fn new(url: Url, headers: Vec<(HeaderName, HeaderValue)>) -> Result<Self, reqwest::Error> {
        let mut all = HeaderMap::new();
        all.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        all.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        all.extend(headers);
        let client = HttpProvider::client_builder(CONNECT_TIMEOUT);
        let client = client.dns_resolver(AddressPolicy::operator().resolver()).build()?;
        Ok(Self { url, headers: all, client })
    }

    /// Sends an export once: protobuf, compressed with gzip. Gives the answer's body.
    ///
    /// # Errors
    /// When the collector does not answer 2xx in time.
    pub async fn send(&self, body: Bytes) -> Result<Vec<u8>, CollectorError> {
        AddressPolicy::operator().check(&self.url).map_err(|error| CollectorError::Unreachable(error.to_string()))?;
        let mut request = reqwest::Request::new(Method::POST, self.url.clone());
        *request.headers_mut() = self.headers.clone();
        *request.body_mut() = Some(body.into());
        tokio::time::timeout(ATTEMPT_TIMEOUT, self.attempt(request)).await.map_err(|_| CollectorError::Timeout)?
    }

    async fn attempt(&self, request: reqwest::Request) -> Result<Vec<u8>, CollectorError> {
        let unreachable = |error: reqwest::Error| CollectorError::Unreachable(innermost(&error));
        let response = self.client.execute(request).await.map_err(unreachable)?;
        let status = response.status();
        if !status.is_success() {
            return Err(refusal(status, response.headers()));
        }
        let mut reply = Vec::new();
        let mut body = response.bytes_stream();
        while let Some(chunk) = body.next().await {
            reply.extend_from_slice(&chunk.map_err(unreachable)?);
            if reply.len() > REPLY_BYTES_MAX {
                break;
            }
        }
        Ok(reply)
    }
}

fn refusal(status: StatusCode, headers: &HeaderMap) -> CollectorError {
    let retry_after = || {
        let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds))
    };
    match status.as_u16() {
        // A wrong key is mended some day; until then nothing is lost.
        status @ (300..=399 | 401 | 403 | 404 | 405 | 407) => CollectorError::Refused(status),
        status @ (408 | 429 | 500..=599) => CollectorError::Busy { status, retry_after: retry_after() },
        status => CollectorError::Rejected(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_will_never_be_taken_is_rejected() {
        let kind = |status: u16| refusal(StatusCode::from_u16(status).unwrap(), &HeaderMap::new());
        for status in [429, 500, 502, 503, 504, 408] {
            assert!(matches!(kind(status), CollectorError::Busy { retry_after: None, .. }), "{status}");
        }
        for status in [301, 401, 403, 404] {
            assert!(matches!(kind(status), CollectorError::Refused(_)), "{status}");
        }
        for status in [400, 413, 415, 422] {
            assert!(matches!(kind(status), CollectorError::Rejected(_)), "{status}");
        }
        let headers = HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_static("7"))]);
        let busy = refusal(StatusCode::TOO_MANY_REQUESTS, &headers);
        assert!(matches!(busy, CollectorError::Busy { retry_after: Some(wait), .. } if wait.as_secs() == 7));
    }

    #[tokio::test]
    async fn fault_25_nothing_is_sent_to_the_keys_of_clouds_or_along_a_redirect() {
        use privet_testkit::file_server::FileServer;
        let inside = FileServer::with_file([127, 0, 0, 1], b"").await;
        let redirect = FileServer::leading_to([127, 0, 0, 1], &inside.url("a")).await;
        let send = async |url: &str| {
            Collector::new(url.parse().unwrap(), Vec::new()).unwrap().send(Bytes::from_static(b"x")).await.unwrap_err()
        };
        for url in ["http://169.254.169.254/v1/traces", "http://0xa9fea9fe/", "http://[64:ff9b::a9fe:a9fe]/"] {
            let error = send(url).await;
            assert!(matches!(error, CollectorError::Unreachable(_)), "{url}: {error}");
        }
        assert!(matches!(send(&redirect.url("a")).await, CollectorError::Refused(302)));
        assert_eq!((redirect.connections(), inside.connections()), (1, 0));
    }
}
