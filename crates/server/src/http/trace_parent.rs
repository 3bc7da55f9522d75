//! The header `traceparent`: where a request stands in its client's trace.

use axum::http::HeaderMap;
use privet_domain::trace::TraceParent;

/// The client's trace. A header that is none is as if there were none.
pub(crate) fn trace_parent(headers: &HeaderMap) -> Option<TraceParent> {
    TraceParent::parse(headers.get("traceparent")?.to_str().ok()?)
}
