//! A completion as an HTTP response.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use privet_engine::completion::{Reply, ReplyBody};
use tokio::sync::mpsc;

/// The header that names the conversation, both ways.
pub(crate) const CONVERSATION_HEADER: &str = "x-conversation-id";

/// The content type of server-sent events.
pub(crate) const EVENT_STREAM: &str = "text/event-stream";

/// The response of a reply, its whole body changed by `whole`.
pub(crate) fn respond(reply: Reply, whole: impl FnOnce(Bytes) -> Bytes) -> Response {
    let (body, content_type) = match reply.body {
        ReplyBody::Whole(bytes) => (Body::from(whole(bytes)), "application/json"),
        ReplyBody::Stream(pieces) => (event_stream(pieces), EVENT_STREAM),
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    *headers = without_stale(reply.headers);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if content_type == EVENT_STREAM {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        // nginx holds a stream back unless told not to.
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    }
    if let Some(id) = reply.conversation_id
        && let Ok(value) = HeaderValue::try_from(id.to_string())
    {
        headers.insert(CONVERSATION_HEADER, value);
    }
    response
}

/// A body whose pieces come as they are made.
pub(crate) fn event_stream(mut pieces: mpsc::Receiver<Bytes>) -> Body {
    Body::from_stream(stream::poll_fn(move |context| {
        pieces.poll_recv(context).map(|piece| piece.map(Ok::<_, Infallible>))
    }))
}

/// A success carries the provider's rate limits, but no order to retry.
fn without_stale(mut headers: HeaderMap) -> HeaderMap {
    headers.remove("retry-after");
    headers.remove("retry-after-ms");
    headers.remove("x-should-retry");
    headers
}
