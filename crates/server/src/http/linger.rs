//! What is left of a body when its request was answered early: read and thrown away for a moment.
//!
//! Without it the connection would be reset under a client that still sends, which would then never read why it was refused.
//! It bounds time and bytes; whoever sends more than that is cut.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio_util::task::TaskTracker;

const BYTES_MAX: usize = 64 * 1024 * 1024;
const TIME_MAX: Duration = Duration::from_secs(5);
/// A client that still sends does not pause so long; one that waits for more than the answer has read it.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Wraps the request's body so that its rest is read when it is dropped too early.
pub(crate) async fn linger(State(tracker): State<TaskTracker>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    next.run(request.map(|body| Body::new(Lingering { body, tracker, ended: false }))).await
}

struct Lingering {
    body: Body,
    tracker: TaskTracker,
    ended: bool,
}

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.ended = true;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if self.ended || self.body.is_end_stream() {
            return;
        }
        let body = std::mem::take(&mut self.body);
        // A body that comes too slowly or never ends is dropped here, and its connection with it.
        self.tracker.spawn(async move {
            let _cut = tokio::time::timeout(TIME_MAX, discard(body)).await;
        });
    }
}

async fn discard(mut body: Body) {
    let mut bytes = 0_usize;
    while let Ok(Some(Ok(frame))) = tokio::time::timeout(PAUSE_MAX, body.frame()).await {
        bytes = bytes.saturating_add(frame.data_ref().map_or(0, Bytes::len));
        if bytes > BYTES_MAX {
            return;
        }
    }
}
