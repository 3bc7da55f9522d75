//! The response body: a plain one for the fast path, or one that follows a schedule and keeps the bill meanwhile.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use super::call::Call;
use super::ledger::Outcome;
use super::schedule::{Schedule, Step};

pub(super) enum MockBody {
    Whole(Option<Bytes>),
    Timed(Box<TimedBody>),
}

pub(super) struct TimedBody {
    steps: VecDeque<Step>,
    length: Option<u64>,
    drip: Option<Duration>,
    sleep: Option<Pin<Box<Sleep>>>,
    call: Option<Call>,
    outcome: Outcome,
}

impl MockBody {
    pub(super) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Some(bytes.into()))
    }

    pub(super) fn timed(schedule: Schedule, drip: Option<Duration>, call: Option<Call>, outcome: Outcome) -> Self {
        let Schedule { steps, length } = schedule;
        Self::Timed(Box::new(TimedBody { steps, length, drip, sleep: None, call, outcome }))
    }
}

impl Body for MockBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Timed(body) => body.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Timed(body) => body.steps.is_empty() && body.sleep.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Timed(body) => body.length.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

impl TimedBody {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            if let Some(sleep) = &mut self.sleep {
                ready!(sleep.as_mut().poll(context));
                self.sleep = None;
            }
            match self.steps.pop_front() {
                None => {
                    self.end(self.outcome);
                    return Poll::Ready(None);
                }
                Some(Step::Wait(delay)) => self.sleep = Some(Box::pin(tokio::time::sleep(delay))),
                Some(Step::Send { bytes, produced }) => {
                    let bytes = self.next_bytes(bytes, produced);
                    // A body of known length is not polled again after its last byte.
                    if self.steps.is_empty() {
                        self.end(self.outcome);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Step::Flush) => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(Step::Fail) => self.outcome = Outcome::Failed,
                // The connection itself notices when the client leaves, and drops this body.
                Some(Step::Hang) => {
                    self.steps.push_front(Step::Hang);
                    return Poll::Pending;
                }
                Some(Step::Cut) => {
                    self.end(Outcome::Failed);
                    return Poll::Ready(Some(Err(io::Error::other("cut as scripted"))));
                }
            }
        }
    }

    /// What goes out now: all of it, or one byte when dripping, the rest being put back.
    fn next_bytes(&mut self, mut bytes: Bytes, produced: Option<u64>) -> Bytes {
        let now = match self.drip {
            Some(interval) if bytes.len() > 1 => {
                let first = bytes.split_to(1);
                self.steps.push_front(Step::Send { bytes, produced });
                self.steps.push_front(Step::Wait(interval));
                return first;
            }
            _ => bytes,
        };
        if let (Some(call), Some(tokens)) = (&mut self.call, produced) {
            call.produce(tokens);
        }
        now
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(call) = &mut self.call {
            call.end(outcome);
        }
    }
}
