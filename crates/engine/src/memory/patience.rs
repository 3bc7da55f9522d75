//! How long questions wait for an embedder: not at all for a while, when it did not answer the last ones in time. Otherwise a slow
//! embedder would hold up each chat by the time limit of its question.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// After so many questions in a row without an answer in time, it is not asked for a while.
const LATE_MAX: u32 = 2;
const PAUSE: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What became of the last questions.
#[derive(Debug, Default)]
pub(super) struct Patience(Mutex<Late>);

#[derive(Debug, Default)]
struct Late {
    in_a_row: u32,
    until: Option<Instant>,
}

impl Patience {
    /// How long the embedder is not to be asked; `None` if it may be asked now.
    pub(super) fn pause(&self, now: Instant) -> Option<Duration> {
        let late = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        late.until.and_then(|until| until.checked_duration_since(now)).filter(|pause| !pause.is_zero())
    }

    /// It answered, be it with an error.
    pub(super) fn answered(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Late::default();
    }

    /// It did not answer in time. The pause is twice as long each time; after it one question is enough to begin the next.
    pub(super) fn was_late(&self, now: Instant) {
        let mut late = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        late.in_a_row = late.in_a_row.saturating_add(1);
        if let Some(beyond) = late.in_a_row.checked_sub(LATE_MAX) {
            let pause = PAUSE.saturating_mul(1 << beyond.min(16)).min(PAUSE_MAX);
            late.until = now.checked_add(pause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_embedder_is_left_alone_for_longer_each_time_and_an_answer_ends_it() {
        let (patience, now) = (Patience::default(), Instant::now());
        assert_eq!(patience.pause(now), None);
        patience.was_late(now);
        assert_eq!(patience.pause(now), None, "one late answer is no rule");
        patience.was_late(now);
        assert_eq!(patience.pause(now), Some(PAUSE));
        let later = now + PAUSE;
        assert_eq!(patience.pause(later), None, "it is tried again");
        patience.was_late(later);
        assert_eq!(patience.pause(later), Some(PAUSE * 2));
        for _ in 0..40 {
            patience.was_late(later);
        }
        assert_eq!(patience.pause(later), Some(PAUSE_MAX));
        patience.answered();
        assert_eq!(patience.pause(later), None);
        patience.was_late(later);
        assert_eq!(patience.pause(later), None);
    }
}
