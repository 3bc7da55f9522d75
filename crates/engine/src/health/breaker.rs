//! The breaker of a model: closed while calls succeed, open after too many failed or were slow, half open once it may be tried
//! again. Pure: time and randomness are arguments.

use std::time::Duration;

use tokio::time::Instant;

use super::window::Window;

/// After so many openings in a row the pause grows no more.
const DOUBLINGS_MAX: u32 = 4;

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Calls of this time are looked at.
    pub window: Duration,
    /// Fewer calls than that open no breaker.
    pub calls_min: usize,
    /// It opens when this part of them failed, in percent; `None` never.
    pub errors_percent: Option<u8>,
    /// It opens when this part of them was slow, in percent; `None` never.
    pub slow_percent: Option<u8>,
    /// An answer that begins so late is slow.
    pub slow_after: Duration,
    /// So long it stays open, about; longer each time that it opens again.
    pub pause: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(60),
            calls_min: 10,
            errors_percent: Some(50),
            slow_percent: Some(80),
            slow_after: Duration::from_secs(120),
            pause: Duration::from_secs(15),
        }
    }
}

/// Whether a model may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// It may.
    Closed,
    /// It may not, for a while.
    Open,
    /// One call may try it.
    HalfOpen,
}

impl BreakerState {
    /// Its name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// How a call ended, for the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Answered, after so long.
    Answered(Duration),
    /// Failed by the model's fault.
    Failed,
    /// In a way that says nothing of the model: the client left, the key was limited.
    Silent,
}

/// The breaker of a model.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    pub(super) window: Window,
    /// Until when it is open; half open after that.
    open_until: Option<Instant>,
    /// Whether a call tries it.
    is_probed: bool,
    /// How often it opened since it was last closed.
    openings: u32,
}

impl Breaker {
    pub(super) fn state(&self, now: Instant) -> BreakerState {
        match self.open_until {
            None => BreakerState::Closed,
            Some(until) if now < until => BreakerState::Open,
            Some(_) => BreakerState::HalfOpen,
        }
    }

    /// Whether a call may begin: always while it is closed, one at a time while it is half open.
    pub(super) fn lets_in(&self, now: Instant) -> bool {
        match self.state(now) {
            BreakerState::Closed => true,
            BreakerState::HalfOpen => !self.is_probed,
            BreakerState::Open => false,
        }
    }

    /// A call begins. Gives whether it is the one that tries a half open breaker.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        let probes = self.state(now) == BreakerState::HalfOpen && !self.is_probed;
        self.is_probed |= probes;
        probes
    }

    /// A call ended. `chance` is between 0 and 1.
    pub(super) fn end(
        &mut self,
        probed: bool,
        ended: Ended,
        settings: &BreakerSettings,
        now: Instant,
        chance: f64,
    ) -> Option<BreakerState> {
        if probed {
            self.is_probed = false;
        }
        let latency = match ended {
            Ended::Silent => return None,
            Ended::Answered(latency) => Some(latency),
            Ended::Failed => None,
        };
        self.window.forget(settings.window, now);
        self.window.push(latency, now);
        let is_good = latency.is_some_and(|latency| settings.slow_percent.is_none() || latency < settings.slow_after);
        match (self.state(now), is_good) {
            (BreakerState::Closed, _) if self.is_over(settings) => self.open(settings, now, chance),
            // Whoever had no other choice tries it too.
            (BreakerState::HalfOpen | BreakerState::Open, true) => {
                *self = Self::default();
                self.window.push(latency, now);
                Some(BreakerState::Closed)
            }
            (BreakerState::HalfOpen, false) => self.open(settings, now, chance),
            (BreakerState::Closed, _) | (BreakerState::Open, false) => None,
        }
    }

    fn is_over(&self, settings: &BreakerSettings) -> bool {
        let counts = self.window.counts(settings.slow_after);
        let reaches = |part: usize, percent: Option<u8>| {
            percent.is_some_and(|percent| part * 100 >= counts.calls * usize::from(percent))
        };
        counts.calls >= settings.calls_min.max(1)
            && (reaches(counts.errors, settings.errors_percent)
                || reaches(counts.errors + counts.slow, settings.slow_percent))
    }

    /// Between half of the pause and one and a half of it, so that servers do not come back at the same moment.
    fn open(&mut self, settings: &BreakerSettings, now: Instant, chance: f64) -> Option<BreakerState> {
        let pause = settings.pause.saturating_mul(1 << self.openings.min(DOUBLINGS_MAX));
        self.openings = self.openings.saturating_add(1);
        self.open_until = Some(now + pause.mul_f64(0.5 + chance.clamp(0.0, 1.0)));
        self.window.clear();
        Some(BreakerState::Open)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETTINGS: BreakerSettings = BreakerSettings {
        window: Duration::from_secs(60),
        calls_min: 4,
        errors_percent: Some(50),
        slow_percent: Some(75),
        slow_after: Duration::from_secs(10),
        pause: Duration::from_secs(8),
    };
    const GOOD: Ended = Ended::Answered(Duration::from_millis(20));
    const SLOW: Ended = Ended::Answered(Duration::from_secs(10));
    /// The pause as it is.
    const NO_JITTER: f64 = 0.5;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn call(breaker: &mut Breaker, ended: Ended, now: Instant) {
        let probed = breaker.begin(now);
        breaker.end(probed, ended, &SETTINGS, now, NO_JITTER);
    }

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        (0..4).for_each(|_| call(&mut breaker, Ended::Failed, now));
        assert_eq!(breaker.state(now), BreakerState::Open);
        breaker
    }

    #[test]
    fn it_opens_when_too_many_of_enough_calls_failed() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for ended in [Ended::Failed, Ended::Failed, Ended::Failed] {
            call(&mut breaker, ended, now);
            assert_eq!(breaker.state(now), BreakerState::Closed, "three calls are too few");
        }
        call(&mut breaker, GOOD, now);
        assert_eq!(breaker.state(now), BreakerState::Open, "three of four failed");
    }

    #[test]
    fn it_opens_when_too_many_calls_are_slow() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for ended in [GOOD, SLOW, SLOW] {
            call(&mut breaker, ended, now);
        }
        assert!(breaker.lets_in(now));
        call(&mut breaker, SLOW, now);
        assert!(!breaker.lets_in(now));
    }

    #[test]
    fn what_says_nothing_of_the_model_is_not_counted() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        (0..100).for_each(|_| call(&mut breaker, Ended::Silent, now));
        assert_eq!((breaker.state(now), breaker.window.counts(seconds(1)).calls), (BreakerState::Closed, 0));
    }

    #[test]
    fn failures_of_long_ago_do_not_count() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        (0..3).for_each(|_| call(&mut breaker, Ended::Failed, now));
        call(&mut breaker, Ended::Failed, now + seconds(61));
        assert_eq!(breaker.state(now + seconds(61)), BreakerState::Closed);
    }

    #[test]
    fn after_its_pause_one_call_at_a_time_tries_it_and_a_good_one_closes_it() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert!(!breaker.lets_in(now + seconds(7)));
        let later = now + seconds(8);
        assert_eq!((breaker.state(later), breaker.lets_in(later)), (BreakerState::HalfOpen, true));
        assert!(breaker.begin(later));
        assert!(!breaker.lets_in(later), "the second must wait");
        assert!(!breaker.begin(later));
        assert_eq!(breaker.end(true, GOOD, &SETTINGS, later, NO_JITTER), Some(BreakerState::Closed));
        assert!(breaker.lets_in(later));
    }

    #[test]
    fn a_bad_try_opens_it_for_longer() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let mut at = now + seconds(8);
        for pause in [16, 32, 64, 128, 128] {
            assert_eq!(breaker.state(at), BreakerState::HalfOpen);
            call(&mut breaker, Ended::Failed, at);
            assert_eq!(breaker.state(at + seconds(pause - 1)), BreakerState::Open);
            at += seconds(pause);
        }
        call(&mut breaker, GOOD, at);
        assert_eq!(breaker.state(at), BreakerState::Closed);
    }

    #[test]
    fn a_try_that_says_nothing_leaves_its_place_to_the_next() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let later = now + seconds(8);
        call(&mut breaker, Ended::Silent, later);
        assert!(breaker.lets_in(later));
    }

    #[test]
    fn whoever_had_no_other_choice_closes_it_too() {
        let now = Instant::now();
        let mut breaker = opened(now);
        call(&mut breaker, GOOD, now);
        assert_eq!(breaker.state(now), BreakerState::Closed);
    }

    proptest! {
        /// Whatever happens: at most one call tries it at a time, it is open no longer than its longest pause, and good calls
        /// alone never open it.
        #[test]
        fn it_never_stays_shut(events in prop::collection::vec((0_u8..4, 0_u64..40, 0.0_f64..1.0), 0..200)) {
            let (mut breaker, mut now) = (Breaker::default(), Instant::now());
            let mut probes = 0;
            let mut failures = 0;
            for (kind, pass, chance) in events {
                now += seconds(pass);
                if kind == 3 {
                    // It begins and does not end.
                    let probed = breaker.begin(now);
                    prop_assert!(!(probed && probes > 0));
                    probes += usize::from(probed);
                    continue;
                }
                let ended = [GOOD, Ended::Failed, Ended::Silent][usize::from(kind)];
                failures += usize::from(ended == Ended::Failed);
                breaker.end(probes > 0, ended, &SETTINGS, now, chance);
                probes = 0;
                prop_assert!(failures > 0 || breaker.state(now) == BreakerState::Closed);
            }
            let longest = SETTINGS.pause * (1 << DOUBLINGS_MAX) * 2;
            prop_assert!(breaker.state(now + longest) != BreakerState::Open);
        }
    }
}
