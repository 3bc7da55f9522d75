//! How many there were in the last so long a time, from two numbers: those of the present stretch of time, and those of the
//! one before, which count the less the longer it is over (the sliding window counter,
//! <https://blog.cloudflare.com/counting-things-a-lot-of-different-things/>).
//!
//! A token bucket would let a full burst and its refill through in one period; here a period's count is the rate's.

use std::time::Duration;

use privet_domain::rate::Rate;
use tokio::time::Instant;

use super::RateStanding;

#[derive(Debug)]
pub(super) struct SlidingCount {
    begins: Instant,
    present: u64,
    before: u64,
}

impl SlidingCount {
    pub(super) const fn new(now: Instant) -> Self {
        Self { begins: now, present: 0, before: 0 }
    }

    pub(super) fn add(&mut self, rate: Rate, amount: u64, now: Instant) {
        self.turn(rate.per, now);
        self.present = self.present.saturating_add(amount);
    }

    pub(super) fn standing(&mut self, rate: Rate, now: Instant) -> RateStanding {
        self.turn(rate.per, now);
        let elapsed = now.duration_since(self.begins);
        let most = u64::from(rate.count.get());
        let remaining = most.saturating_sub(self.counted(rate.per, elapsed));
        let remaining = u32::try_from(remaining).unwrap_or(u32::MAX);
        let rest = rate.per.saturating_sub(elapsed);
        let retry_in = if remaining > 0 { Duration::ZERO } else { self.until_one(rate, elapsed) };
        let resets_in = if self.present > 0 { rest + rate.per } else { rest };
        RateStanding { rate, remaining, resets_in, retry_in }
    }

    /// Of those before, the part that is within the last period, rounded up.
    fn counted(&self, per: Duration, elapsed: Duration) -> u64 {
        let rest = per.saturating_sub(elapsed).as_nanos();
        let before = (u128::from(self.before) * rest).div_ceil(per.as_nanos().max(1));
        self.present.saturating_add(u64::try_from(before).unwrap_or(u64::MAX))
    }

    /// Until one more fits.
    fn until_one(&self, rate: Rate, elapsed: Duration) -> Duration {
        let (per, most) = (rate.per, u64::from(rate.count.get()));
        let rest = per.saturating_sub(elapsed);
        // Those before count for nothing more at the end of the present stretch; from then on those of the present fade.
        let (fading, room, from) = match most.checked_sub(self.present.saturating_add(1)) {
            Some(room) => (self.before, room, Duration::ZERO),
            None => (self.present, most - 1, rest),
        };
        let faded = |fading: u64, room: u64| {
            // The first instant at which `fading` x what is left of the period, rounded up, is at most `room`.
            let left = u128::from(room) * per.as_nanos() / u128::from(fading.max(1));
            per.saturating_sub(Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX)))
        };
        match from {
            Duration::ZERO => faded(fading, room).saturating_sub(elapsed),
            rest => rest + faded(fading, room),
        }
    }

    /// Moves on to the stretch that holds `now`.
    fn turn(&mut self, per: Duration, now: Instant) {
        let elapsed = now.duration_since(self.begins);
        if elapsed < per {
            return;
        }
        let is_next = elapsed < per * 2;
        self.before = if is_next { self.present } else { 0 };
        self.present = 0;
        self.begins = if is_next { self.begins + per } else { now };
    }
}
