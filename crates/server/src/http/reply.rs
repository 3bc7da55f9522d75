//! A completion as an HTTP response.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use http_body::Frame;
use privet_engine::completion::{Piece, Reply, ReplyBody};
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
        ReplyBody::Replayed(bytes) => (Body::from(bytes), EVENT_STREAM),
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
pub(crate) fn event_stream(pieces: mpsc::Receiver<Piece>) -> Body {
    Body::new(EventStream { pieces, is_complete: false, tells_cut: false })
}

/// The same of sound, which has no last word of its own: one that is cut ends in an error, so that nobody takes it for whole.
pub(crate) fn sound_stream(pieces: mpsc::Receiver<Piece>) -> Body {
    Body::new(EventStream { pieces, is_complete: false, tells_cut: true })
}

/// A stream stopped before its end.
#[derive(Debug, thiserror::Error)]
#[error("the answer was cut before its end")]
struct Cut;

/// A stream as a body. It is at its end as soon as the last piece of a complete answer is out: whoever passes it on can tell that
/// from one that merely stops.
struct EventStream {
    pieces: mpsc::Receiver<Piece>,
    is_complete: bool,
    /// Whether an end before the last piece is an error.
    tells_cut: bool,
}

impl HttpBody for EventStream {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if self.is_complete {
            return Poll::Ready(None);
        }
        let piece = match ready!(self.pieces.poll_recv(context)) {
            None => return Poll::Ready(self.tells_cut.then_some(Err(Cut))),
            Some(Piece::More(bytes)) => bytes,
            Some(Piece::Last(bytes)) => {
                self.is_complete = true;
                bytes
            }
        };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_complete
    }
}

/// A success carries the provider's rate limits, but no order to retry.
pub(crate) fn without_stale(mut headers: HeaderMap) -> HeaderMap {
    headers.remove("retry-after");
    headers.remove("retry-after-ms");
    headers.remove("x-should-retry");
    headers
}
