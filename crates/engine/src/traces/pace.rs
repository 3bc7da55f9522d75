//! How many refused calls leave a trace. A client that is refused and asks on without a pause costs next to nothing, and must
//! not fill the store: beyond so many a second its refusals are counted and not traced.

use std::sync::{Mutex, PoisonError};

use privet_domain::time::Timestamp;

/// So many refused calls leave a trace in one second.
const TRACES_PER_SECOND: u32 = 10;

/// The refused calls traced in the latest second.
#[derive(Debug, Default)]
pub(crate) struct RefusalPace(Mutex<(i64, u32)>);

impl RefusalPace {
    /// Whether one more may leave a trace now.
    pub(crate) fn allows(&self, now: Timestamp) -> bool {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let second = now.as_seconds();
        if latest.0 != second {
            *latest = (second, 0);
        }
        latest.1 = latest.1.saturating_add(1);
        latest.1 <= TRACES_PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_leaves_a_few_traces_in_each_second() {
        let pace = RefusalPace::default();
        let traced = |micros: i64| (0..1_000).filter(|_| pace.allows(Timestamp::from_micros(micros))).count();
        assert_eq!([traced(1), traced(999_999), traced(1_000_000)], [10, 0, 10]);
    }
}
