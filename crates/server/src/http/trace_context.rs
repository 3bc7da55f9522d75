//! Where a request stands in its client's trace (the headers `traceparent` and `tracestate`), which trace it leaves
//! (`x-privet-trace-id`), who answered it (`x-privet-provider`, `x-privet-model`) after which attempts (`x-privet-attempts`), and what was done
//! for it here (`x-privet-cache`, `x-privet-structured-output`).

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use privet_domain::trace::TraceParent;
use privet_engine::completion::CacheTold;
use privet_engine::traces::{RequestTrace, WayTold};

use super::error::ApiError;

/// Names the trace that a request left.
pub(crate) const TRACE_HEADER: &str = "x-privet-trace-id";

/// The provider that answered.
pub(crate) const PROVIDER_HEADER: &str = "x-privet-provider";
/// The provider's own name of the model that answered.
pub(crate) const MODEL_HEADER: &str = "x-privet-model";
/// All calls that the request made, and what came of them.
pub(crate) const ATTEMPTS_HEADER: &str = "x-privet-attempts";
/// What the cache shall do, and what it did.
pub(crate) const CACHE_HEADER: &str = "x-privet-cache";
/// How the answer came to keep to its schema, where its model does not by itself.
pub(crate) const STRUCTURED_OUTPUT_HEADER: &str = "x-privet-structured-output";

/// The place of a request in its client's trace. Headers that are none are as if there were none.
pub(crate) fn request_trace(headers: &HeaderMap) -> RequestTrace {
    RequestTrace::new(parent(headers))
}

fn parent(headers: &HeaderMap) -> Option<TraceParent> {
    let mut parents = headers.get_all("traceparent").iter();
    let parent = TraceParent::parse(parents.next()?.to_str().ok()?)?;
    // Of two nobody knows which is right.
    if parents.next().is_some() {
        return None;
    }
    Some(parent.with_state(headers.get_all("tracestate").iter().filter_map(|state| state.to_str().ok())))
}

/// Tells the trace and the way, however the request ended.
pub(crate) fn told(trace: &RequestTrace, mut answered: Result<Response, ApiError>) -> Result<Response, ApiError> {
    let headers = match &mut answered {
        Ok(response) => response.headers_mut(),
        Err(error) => &mut error.headers,
    };
    let mut tell = |name: &'static str, text: &str| {
        // A name of a model that no header takes is not told.
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    if let Some(id) = trace.id() {
        tell(TRACE_HEADER, id.as_str());
    }
    if let Some(WayTold { answered_by, attempts, cache, structured }) = trace.way() {
        if let Some((provider, model)) = answered_by {
            tell(PROVIDER_HEADER, provider);
            tell(MODEL_HEADER, model);
        }
        if let Some(attempts) = attempts {
            tell(ATTEMPTS_HEADER, attempts);
        }
        if let Some(cache) = cache {
            tell(CACHE_HEADER, cache.as_str());
        }
        if let Some(CacheTold::Hit { age }) = cache {
            tell("age", &age.as_secs().to_string());
        }
        if let Some(structured) = structured {
            tell(STRUCTURED_OUTPUT_HEADER, structured.as_str());
        }
    }
    answered
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(headers: &[(&'static str, &'static str)]) -> Option<(String, Option<String>)> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        parent(&map).map(|parent| (parent.to_string(), parent.state))
    }

    #[test]
    fn two_parents_are_none_and_a_state_without_one_is_dropped() {
        assert_eq!(read(&[("traceparent", PARENT)]), Some((PARENT.to_owned(), None)));
        let with_state = read(&[("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")]);
        assert_eq!(with_state, Some((PARENT.to_owned(), Some("a=1,b=2".to_owned()))));
        assert_eq!(read(&[("traceparent", PARENT), ("traceparent", PARENT)]), None);
        assert_eq!(read(&[("tracestate", "a=1")]), None);
        assert_eq!(read(&[("traceparent", "00-1-2-3"), ("tracestate", "a=1")]), None);
    }
}
