//! A stream without `alt=sse`: one JSON array, whose elements come as they are made.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use http_body::Frame;
use privet_dialects::gemini::json_array::JsonArray;

/// The same stream as an array.
pub(super) fn as_array(response: Response) -> Response {
    let mut response = response
        .map(|inner| Body::new(ArrayBody { inner, array: JsonArray::default(), has_ended: false, is_complete: false }));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// It is at its end as soon as the last piece of a complete answer is out, as the stream in it is. The array of one that broke is
/// closed too: its last element is the error.
struct ArrayBody {
    inner: Body,
    array: JsonArray,
    has_ended: bool,
    is_complete: bool,
}

impl HttpBody for ArrayBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        let mut out = Vec::new();
        match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            Some(Ok(frame)) => {
                self.array.piece(frame.data_ref().map_or(&[][..], |piece| piece), &mut out);
                self.is_complete = self.inner.is_end_stream();
                self.has_ended = self.is_complete;
            }
            None => self.has_ended = true,
        }
        if self.has_ended {
            self.array.end(&mut out);
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(out)))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_complete
    }
}
