//! The latest calls of a model: how many failed, how many were slow, how long they took. Time is an argument.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// So many calls are remembered: enough for a rate, and little memory.
const CALLS_KEPT: usize = 256;

/// A call that ended.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    /// How long the answer was waited for; `None` of a failure.
    latency: Option<Duration>,
}

/// The latest calls.
#[derive(Debug, Default)]
pub(super) struct Window(VecDeque<Sample>);

/// What the latest calls were like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) calls: usize,
    pub(super) errors: usize,
    pub(super) slow: usize,
}

impl Window {
    /// Takes in a call.
    pub(super) fn push(&mut self, latency: Option<Duration>, at: Instant) {
        if self.0.len() >= CALLS_KEPT {
            self.0.pop_front();
        }
        self.0.push_back(Sample { at, latency });
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Forgets what is older than that.
    pub(super) fn forget(&mut self, older_than: Duration, now: Instant) {
        while self.0.front().is_some_and(|sample| now.saturating_duration_since(sample.at) > older_than) {
            self.0.pop_front();
        }
    }

    /// How many there were, and of which kind.
    pub(super) fn counts(&self, slow_after: Duration) -> Counts {
        let mut counts = Counts { calls: self.0.len(), ..Counts::default() };
        for sample in &self.0 {
            match sample.latency {
                None => counts.errors += 1,
                Some(latency) if latency >= slow_after => counts.slow += 1,
                Some(_) => {}
            }
        }
        counts
    }

    /// The time within which this share (in percent) of the answered calls was answered.
    pub(super) fn percentile(&self, percent: usize) -> Option<Duration> {
        let mut latencies: Vec<Duration> = self.0.iter().filter_map(|sample| sample.latency).collect();
        latencies.sort_unstable();
        let rank = (latencies.len() * percent).div_ceil(100).max(1);
        latencies.get(rank - 1).copied()
    }

    /// Since when nothing has happened.
    pub(super) fn last_at(&self) -> Option<Instant> {
        self.0.back().map(|sample| sample.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn calls_are_counted_by_their_kind_and_forgotten_with_time() {
        let (mut window, now) = (Window::default(), Instant::now());
        window.push(None, now);
        window.push(Some(millis(500)), now + millis(1_000));
        window.push(Some(millis(20)), now + millis(2_000));
        assert_eq!(window.counts(millis(500)), Counts { calls: 3, errors: 1, slow: 1 });
        window.forget(millis(1_500), now + millis(2_000));
        assert_eq!(window.counts(millis(500)), Counts { calls: 2, errors: 0, slow: 1 });
    }

    #[test]
    fn percentiles_are_of_the_answered_calls() {
        let (mut window, now) = (Window::default(), Instant::now());
        assert_eq!(window.percentile(50), None);
        for latency in 1..=100 {
            window.push(Some(millis(latency)), now);
            window.push(None, now);
        }
        assert_eq!((window.percentile(50), window.percentile(95)), (Some(millis(50)), Some(millis(95))));
    }

    #[test]
    fn a_busy_model_takes_no_more_memory() {
        let (mut window, now) = (Window::default(), Instant::now());
        for _ in 0..10 * CALLS_KEPT {
            window.push(None, now);
        }
        assert_eq!(window.counts(millis(1)).calls, CALLS_KEPT);
    }
}
