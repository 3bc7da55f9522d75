//! Response heads: content types, request ids, rate-limit headers, scripted headers.

use std::sync::LazyLock;

use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::behaviour::{Behaviour, StaleHeaders};
use super::body::MockBody;
use super::request::Dialect;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");

pub(super) fn request_id(serial: u64) -> String {
    format!("req_mock_{serial}")
}

/// A JSON answer with the dialect's usual headers.
pub(super) fn json(dialect: Dialect, serial: u64, body: MockBody) -> Response<MockBody> {
    let mut response = Response::new(body);
    *response.headers_mut() = usual(dialect).clone();
    identify(&mut response, dialect, serial);
    response
}

/// A JSON answer of the mock's own routes.
pub(super) fn control(status: StatusCode, body: String) -> Response<MockBody> {
    let mut response = Response::new(MockBody::whole(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// An answer as scripted.
pub(super) fn scripted(
    dialect: Dialect,
    serial: u64,
    behaviour: &Behaviour,
    streamed: bool,
    body: MockBody,
) -> Response<MockBody> {
    let mut response = json(dialect, serial, body);
    if let Some(status) = behaviour.status.and_then(|status| StatusCode::from_u16(status).ok()) {
        *response.status_mut() = status;
    }
    let headers = response.headers_mut();
    if behaviour.no_rate_limit_headers {
        headers.clear();
        headers.insert(CONTENT_TYPE, JSON);
    }
    if streamed {
        headers.insert(CONTENT_TYPE, EVENT_STREAM);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    match behaviour.stale_headers {
        Some(StaleHeaders::Gzip | StaleHeaders::FalseGzip) => {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        None => {}
    }
    for (name, value) in &behaviour.headers {
        // Checked when the script was taken.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    if behaviour.no_rate_limit_headers {
        identify(&mut response, dialect, serial);
    }
    response
}

fn identify(response: &mut Response<MockBody>, dialect: Dialect, serial: u64) {
    let name = match dialect {
        Dialect::OpenAi | Dialect::Responses => "x-request-id",
        Dialect::Anthropic => "request-id",
        Dialect::Gemini => return,
    };
    if let Ok(value) = HeaderValue::try_from(request_id(serial)) {
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
}

fn usual(dialect: Dialect) -> &'static HeaderMap {
    static OPENAI: LazyLock<HeaderMap> = LazyLock::new(|| {
        headers(&[
            ("openai-processing-ms", "1"),
            ("openai-version", "2020-10-01"),
            ("x-ratelimit-limit-requests", "10000"),
            ("x-ratelimit-limit-tokens", "2000000"),
            ("x-ratelimit-remaining-requests", "9999"),
            ("x-ratelimit-remaining-tokens", "1999990"),
            ("x-ratelimit-reset-requests", "6ms"),
            ("x-ratelimit-reset-tokens", "0s"),
        ])
    });
    static ANTHROPIC: LazyLock<HeaderMap> = LazyLock::new(|| {
        headers(&[
            ("anthropic-ratelimit-requests-limit", "4000"),
            ("anthropic-ratelimit-requests-remaining", "3999"),
            ("anthropic-ratelimit-requests-reset", "2026-01-01T00:00:01Z"),
            ("anthropic-ratelimit-tokens-limit", "2400000"),
            ("anthropic-ratelimit-tokens-remaining", "2399000"),
            ("anthropic-ratelimit-tokens-reset", "2026-01-01T00:00:01Z"),
        ])
    });
    static GEMINI: LazyLock<HeaderMap> = LazyLock::new(|| headers(&[("server-timing", "gfet4t7; dur=1")]));
    match dialect {
        Dialect::OpenAi | Dialect::Responses => &OPENAI,
        Dialect::Anthropic => &ANTHROPIC,
        Dialect::Gemini => &GEMINI,
    }
}

fn headers(own: &[(&'static str, &'static str)]) -> HeaderMap {
    let own = own.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    std::iter::once((CONTENT_TYPE, JSON)).chain(own).collect()
}
