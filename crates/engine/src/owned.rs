//! A call that outlives whoever waits for it.
//!
//! As long as somebody waits, the call runs in the waiter's own task, which saves two changes of task per call. When the waiter
//! leaves, what remains of the call is told so and goes on as a task that the engine tracks.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::Engine;

type BoxedCall<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A future that is finished by a tracked task if it is dropped before its end.
pub(crate) struct Owned<T: Send + 'static> {
    call: Option<BoxedCall<T>>,
    left: CancellationToken,
    tracker: TaskTracker,
    _under_way: TaskTrackerToken,
}

impl<T: Send + 'static> Owned<T> {
    /// `left` is cancelled when the waiter leaves.
    pub(crate) fn new(
        call: impl Future<Output = T> + Send + 'static,
        left: CancellationToken,
        tracker: TaskTracker,
    ) -> Self {
        Self { call: Some(Box::pin(call)), left, _under_way: tracker.token(), tracker }
    }
}

impl<T: Send + 'static> Future for Owned<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Some(call) = &mut self.call else { return Poll::Pending };
        let polled = call.as_mut().poll(context);
        if polled.is_ready() {
            self.call = None;
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Owned<T> {
    fn drop(&mut self) {
        // After the runtime's end there is nothing to go on with: what is durable is reconciled at the next start.
        if let (Some(call), Ok(runtime)) = (self.call.take(), tokio::runtime::Handle::try_current()) {
            self.left.cancel();
            self.tracker.spawn_on(call, &runtime);
        }
    }
}

impl Engine {
    /// Does work to its end, though whoever waits for it leaves.
    pub async fn see_through<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        Owned::new(work, CancellationToken::new(), self.calls.clone()).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_call_that_nobody_waits_for_is_told_and_goes_on_to_its_end() {
        let (left, tracker, ended) = (CancellationToken::new(), TaskTracker::new(), Arc::new(AtomicBool::new(false)));
        let (token, flag) = (left.clone(), ended.clone());
        let call = async move {
            token.cancelled().await;
            tokio::task::yield_now().await;
            flag.store(true, Ordering::SeqCst);
        };
        let mut owned = Box::pin(Owned::new(call, left, tracker.clone()));
        assert!(futures_util::poll!(owned.as_mut()).is_pending());
        assert_eq!(tracker.len(), 1);
        drop(owned);
        tracker.close();
        tracker.wait().await;
        assert!(ended.load(Ordering::SeqCst));
    }
}
