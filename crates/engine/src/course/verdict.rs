//! What to do after a call failed. Pure: time and randomness are arguments.
//!
//! What is repeated is spread by full jitter, and never sooner than the provider asks for. Whoever has another target waits but a
//! moment for this one.

use std::time::Duration;

use privet_providers::FailureKind;

/// The first pause is drawn from nothing to this, each further one from nothing to twice as much.
const PAUSE: Duration = Duration::from_millis(300);
/// No pause is drawn from more than this.
const PAUSE_MAX: Duration = Duration::from_secs(3);
/// Where there is another target, nobody waits longer than this because a provider asks for it.
const PATIENCE_WITH_OTHERS: Duration = Duration::from_secs(1);
/// Doubling goes no further: the pause is at its most long before.
const DOUBLINGS_MAX: u32 = 16;

/// How often a target is called again, and how long a wait that a provider asks for may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetrySettings {
    /// So often a target is called again after it failed.
    pub retries: u32,
    /// A longer wait is not made: the next target is called, or the client is told.
    pub wait_max: Duration,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self { retries: 2, wait_max: Duration::from_secs(5) }
    }
}

/// How a call stands that has failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation {
    pub(crate) failure: FailureKind,
    /// Whether the provider says that repeating does not help.
    pub(crate) forbids_repeating: bool,
    /// How long it asks to wait.
    pub(crate) retry_after: Option<Duration>,
    /// How often the target was called again already.
    pub(crate) repeated: u32,
    /// Whether another key of the provider is free.
    pub(crate) has_other_key: bool,
    /// Whether there is a target that was not called yet.
    pub(crate) has_other_target: bool,
    /// Whether the target was called only because there was no better one.
    pub(crate) is_last_resort: bool,
    /// What is left until the request must have ended.
    pub(crate) remaining: Duration,
}

/// What is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The same target with another key, at once.
    OtherKey,
    /// The same target, after so long.
    Again(Duration),
    /// The next target.
    Target,
    /// Nothing: the client is told.
    End,
}

impl Next {
    /// Its name in the header and in the trace.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::OtherKey => "other-key",
            Self::Again(_) => "again",
            Self::Target => "next-target",
            Self::End => "end",
        }
    }
}

/// What to do next. `chance` is between 0 and 1.
pub(crate) fn verdict(situation: &Situation, settings: &RetrySettings, chance: f64) -> Next {
    let Situation { failure, remaining, .. } = *situation;
    if failure == FailureKind::Request || remaining.is_zero() {
        return Next::End;
    }
    let elsewhere = if situation.has_other_target { Next::Target } else { Next::End };
    let is_of_key = matches!(failure, FailureKind::Limited | FailureKind::KeyRefused);
    if is_of_key && situation.has_other_key {
        return Next::OtherKey;
    }
    let may_pass = match failure {
        FailureKind::Connect
        | FailureKind::Limited
        | FailureKind::Server
        | FailureKind::Reported
        | FailureKind::Cut => true,
        // It took its time already; it has no such thing; or it speaks another language.
        FailureKind::Timeout
        | FailureKind::KeyRefused
        | FailureKind::Request
        | FailureKind::Malformed
        | FailureKind::NotOffered => false,
    };
    let is_over = situation.repeated >= settings.retries || situation.is_last_resort;
    if !may_pass || situation.forbids_repeating || is_over {
        return elsewhere;
    }
    let asked = situation.retry_after.unwrap_or_default();
    let patience = if situation.has_other_target { PATIENCE_WITH_OTHERS } else { Duration::MAX };
    if asked > patience.min(settings.wait_max) {
        return elsewhere;
    }
    let most = PAUSE.saturating_mul(1 << situation.repeated.min(DOUBLINGS_MAX)).min(PAUSE_MAX);
    let wait = most.mul_f64(chance.clamp(0.0, 1.0)).max(asked);
    if wait < remaining { Next::Again(wait) } else { elsewhere }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETTINGS: RetrySettings = RetrySettings { retries: 2, wait_max: Duration::from_secs(10) };
    const ALL: [FailureKind; 10] = [
        FailureKind::Connect,
        FailureKind::Timeout,
        FailureKind::Limited,
        FailureKind::KeyRefused,
        FailureKind::Request,
        FailureKind::Server,
        FailureKind::Reported,
        FailureKind::Cut,
        FailureKind::Malformed,
        FailureKind::NotOffered,
    ];

    fn situation(failure: FailureKind) -> Situation {
        Situation {
            failure,
            forbids_repeating: false,
            retry_after: None,
            repeated: 0,
            has_other_key: false,
            has_other_target: true,
            is_last_resort: false,
            remaining: Duration::from_secs(60),
        }
    }

    fn of(situation: &Situation) -> Next {
        verdict(situation, &SETTINGS, 0.5)
    }

    #[test]
    fn each_failure_has_its_remedy() {
        let pause = Next::Again(Duration::from_millis(150));
        for (failure, next) in [
            (FailureKind::Connect, pause),
            (FailureKind::Limited, pause),
            (FailureKind::Server, pause),
            (FailureKind::Reported, pause),
            (FailureKind::Cut, pause),
            (FailureKind::Timeout, Next::Target),
            (FailureKind::KeyRefused, Next::Target),
            (FailureKind::Malformed, Next::Target),
            (FailureKind::NotOffered, Next::Target),
            (FailureKind::Request, Next::End),
        ] {
            assert_eq!(of(&situation(failure)), next, "{failure}");
        }
    }

    #[test]
    fn another_key_is_taken_at_once_and_only_where_the_key_is_at_fault() {
        for failure in ALL {
            let next = of(&Situation { has_other_key: true, ..situation(failure) });
            let is_of_key = matches!(failure, FailureKind::Limited | FailureKind::KeyRefused);
            assert_eq!(next == Next::OtherKey, is_of_key, "{failure}");
        }
    }

    #[test]
    fn a_wait_that_is_asked_for_is_made_if_there_is_time_and_no_other_target() {
        let asks = |seconds| Situation {
            retry_after: Some(Duration::from_secs(seconds)),
            has_other_target: false,
            ..situation(FailureKind::Limited)
        };
        assert_eq!(of(&asks(7)), Next::Again(Duration::from_secs(7)));
        assert_eq!(of(&asks(11)), Next::End, "longer than anybody waits here");
        assert_eq!(of(&Situation { remaining: Duration::from_secs(5), ..asks(7) }), Next::End);
        assert_eq!(of(&Situation { has_other_target: true, ..asks(7) }), Next::Target);
        assert_eq!(of(&Situation { has_other_target: true, ..asks(1) }), Next::Again(Duration::from_secs(1)));
    }

    #[test]
    fn pauses_grow_and_are_spread() {
        let pause = |repeated, chance| {
            let situation = Situation { repeated, ..situation(FailureKind::Server) };
            verdict(&situation, &RetrySettings { retries: 9, ..SETTINGS }, chance)
        };
        assert_eq!(pause(0, 0.0), Next::Again(Duration::ZERO));
        assert_eq!(pause(0, 1.0), Next::Again(PAUSE));
        assert_eq!(pause(1, 1.0), Next::Again(2 * PAUSE));
        assert_eq!(pause(8, 1.0), Next::Again(PAUSE_MAX));
    }

    prop_compose! {
        fn any_situation()(
            failure in 0_usize..ALL.len(), flags in any::<[bool; 4]>(), retry_after in prop::option::of(0_u64..100_000),
            repeated in 0_u32..5, remaining in 0_u64..100_000,
        ) -> Situation {
            Situation {
                failure: ALL[failure],
                forbids_repeating: flags[0],
                retry_after: retry_after.map(Duration::from_millis),
                repeated,
                has_other_key: flags[1],
                has_other_target: flags[2],
                is_last_resort: flags[3],
                remaining: Duration::from_millis(remaining),
            }
        }
    }

    proptest! {
        /// Nothing is repeated more often than allowed, sooner than asked for, or beyond the end; no target is named that is not
        /// there; and a client's own mistake is told at once.
        #[test]
        fn no_verdict_goes_beyond_its_bounds(situation in any_situation(), chance in 0.0_f64..1.0) {
            let next = verdict(&situation, &SETTINGS, chance);
            if let Next::Again(wait) = next {
                prop_assert!(situation.repeated < SETTINGS.retries && !situation.forbids_repeating);
                prop_assert!(wait >= situation.retry_after.unwrap_or_default());
                prop_assert!(wait <= SETTINGS.wait_max && wait < situation.remaining);
            }
            prop_assert!(next != Next::Target || situation.has_other_target);
            prop_assert!(next != Next::OtherKey || situation.has_other_key);
            prop_assert!(situation.failure != FailureKind::Request || next == Next::End);
            prop_assert!(!situation.remaining.is_zero() || next == Next::End);
        }
    }
}
