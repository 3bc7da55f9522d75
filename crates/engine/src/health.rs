//! The health of the models that are called: who failed lately, who is slow, and whom to pass over for a while.
//!
//! It is known to one server alone, in memory. A breaker chooses between targets; it refuses nobody who has no other.

mod breaker;
mod window;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use privet_domain::time::Timestamp;
use privet_providers::{FailureKind, ProviderError};
use tokio::time::Instant;

use crate::router::Target;
use crate::traces::Masks;
use breaker::Breaker;
pub(crate) use breaker::Ended;
pub use breaker::{BreakerSettings, BreakerState};

/// Of so many models the health is known; clients choose names. Beyond that the one that was not called for the longest goes.
const MODELS_MAX: usize = 1_000;
/// So much of an error's text is kept.
const ERROR_CHARS_MAX: usize = 200;

/// The health of all models.
#[derive(Debug)]
pub struct Health {
    settings: BreakerSettings,
    models: Mutex<HashMap<(String, String), Record>>,
    masks: Masks,
}

#[derive(Debug, Default)]
struct Record {
    breaker: Breaker,
    last_error: Option<LastError>,
    last_begin: Option<Instant>,
}

/// The last failure of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    /// Of which kind.
    pub kind: FailureKind,
    /// The status, where the provider said one.
    pub status: Option<u16>,
    /// What happened, without what is private.
    pub text: String,
    /// When.
    pub at: Timestamp,
}

/// The health of a model, to be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelHealth {
    /// The provider's name.
    pub provider: String,
    /// Its own name of the model.
    pub model: String,
    /// Whether it may be called.
    pub state: BreakerState,
    /// How many calls ended lately.
    pub calls: usize,
    /// How many of them failed.
    pub errors: usize,
    /// Half of the answers began within this time.
    pub p50: Option<Duration>,
    /// Of a hundred answers, 95 began within this time.
    pub p95: Option<Duration>,
    /// The last failure, if there was one.
    pub last_error: Option<LastError>,
}

/// A call that was let in. Its end must be told; one that is dropped says nothing of the model.
pub(crate) struct Pass {
    health: Arc<Health>,
    target: Target,
    began: Instant,
    probes: bool,
    is_told: bool,
}

impl Health {
    /// Of models that nobody has called yet.
    #[must_use]
    pub fn new(settings: BreakerSettings, masks: Masks) -> Self {
        Self { settings, models: Mutex::default(), masks }
    }

    /// Whether a call may begin, as long as there are others.
    pub(crate) fn lets_in(&self, target: &Target, now: Instant) -> bool {
        let models = self.lock();
        models.get(&key(target)).is_none_or(|record| record.breaker.lets_in(now))
    }

    /// A call begins.
    pub(crate) fn begin(self: &Arc<Self>, target: &Target, now: Instant) -> Pass {
        let mut models = self.lock();
        make_room(&mut models, target, now);
        let record = models.entry(key(target)).or_default();
        record.last_begin = Some(now);
        let probes = record.breaker.begin(now);
        Pass { health: self.clone(), target: target.clone(), began: now, probes, is_told: false }
    }

    /// An answer that had begun was cut.
    pub(crate) fn cut(&self, target: &Target, error: &ProviderError, at: Timestamp) {
        if error.failure().is_of_health() {
            self.end(target, false, Ended::Failed, Instant::now());
        }
        self.note(target, error, at);
    }

    /// What is known of all models, by name.
    #[must_use]
    pub fn list(&self, now: Instant) -> Vec<ModelHealth> {
        let mut models = self.lock();
        let show = |((provider, model), record): (&(String, String), &mut Record)| {
            record.breaker.window.forget(self.settings.window, now);
            let counts = record.breaker.window.counts(self.settings.slow_after);
            ModelHealth {
                provider: provider.clone(),
                model: model.clone(),
                state: record.breaker.state(now),
                calls: counts.calls,
                errors: counts.errors,
                p50: record.breaker.window.percentile(50),
                p95: record.breaker.window.percentile(95),
                last_error: record.last_error.clone(),
            }
        };
        let mut list: Vec<ModelHealth> = models.iter_mut().map(show).collect();
        list.sort_by(|one, other| (&one.provider, &one.model).cmp(&(&other.provider, &other.model)));
        list
    }

    /// Remembers the last failure. A wrong request is the client's own.
    fn note(&self, target: &Target, error: &ProviderError, at: Timestamp) {
        let kind = error.failure();
        if matches!(kind, FailureKind::Request | FailureKind::NotOffered) {
            return;
        }
        let text = error.to_string();
        let text = self.masks.text(&text).unwrap_or(text).chars().take(ERROR_CHARS_MAX).collect();
        if let Some(record) = self.lock().get_mut(&key(target)) {
            record.last_error = Some(LastError { kind, status: error.status(), text, at });
        }
    }

    fn end(&self, target: &Target, probed: bool, ended: Ended, now: Instant) {
        let chance = crate::chance::fraction();
        let changed = self
            .lock()
            .get_mut(&key(target))
            .and_then(|record| record.breaker.end(probed, ended, &self.settings, now, chance));
        let (provider, model) = (target.provider.name(), &target.model);
        match changed {
            Some(BreakerState::Open) => {
                metrics::counter!("privet_breaker_openings_total", "provider" => provider.to_owned()).increment(1);
                tracing::warn!(provider, model, "the model fails too often: it is passed over for a while");
            }
            Some(BreakerState::Closed) => tracing::info!(provider, model, "the model answers again"),
            Some(BreakerState::HalfOpen) | None => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), Record>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// An answer begins.
    pub(crate) fn answered(mut self, now: Instant) {
        self.tell(Ended::Answered(now.saturating_duration_since(self.began)), now);
    }

    /// There is none.
    pub(crate) fn failed(mut self, error: &ProviderError, now: Instant, at: Timestamp) {
        let ended = if error.failure().is_of_health() { Ended::Failed } else { Ended::Silent };
        self.health.note(&self.target, error, at);
        self.tell(ended, now);
    }

    fn tell(&mut self, ended: Ended, now: Instant) {
        if !std::mem::replace(&mut self.is_told, true) {
            self.health.end(&self.target, self.probes, ended, now);
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.tell(Ended::Silent, Instant::now());
    }
}

fn key(target: &Target) -> (String, String) {
    (target.provider.name().to_owned(), target.model.clone())
}

fn make_room(models: &mut HashMap<(String, String), Record>, target: &Target, now: Instant) {
    if models.len() < MODELS_MAX || models.contains_key(&key(target)) {
        return;
    }
    let last = |record: &Record| record.breaker.window.last_at().max(record.last_begin).unwrap_or(now);
    let oldest = models.iter().min_by_key(|(_, record)| last(record)).map(|(name, _)| name.clone());
    if let Some(oldest) = oldest {
        models.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use privet_dialects::UpstreamFault;
    use privet_providers::Provider;

    use super::*;
    use crate::traces::MaskKind;

    fn health() -> Arc<Health> {
        let settings = BreakerSettings { calls_min: 2, ..BreakerSettings::default() };
        Arc::new(Health::new(settings, Masks::new(&MaskKind::ALL, &[]).unwrap()))
    }

    fn target(model: &str) -> Target {
        Target { provider: Arc::new(Provider::Offline), model: model.to_owned() }
    }

    fn broken(message: &str) -> ProviderError {
        let fault = UpstreamFault::Reported { status: Some(503), kind: String::new(), message: message.to_owned() };
        ProviderError::Fault { provider: "offline".to_owned(), fault }
    }

    #[test]
    fn a_model_that_fails_is_passed_over_and_others_are_not() {
        let (health, now, at) = (health(), Instant::now(), Timestamp::from_micros(7));
        let (bad, good) = (target("bad"), target("good"));
        for _ in 0..2 {
            health.begin(&bad, now).failed(&broken("call ann@example.org"), now, at);
            health.begin(&good, now).answered(now + Duration::from_millis(40));
        }
        assert!(!health.lets_in(&bad, now) && health.lets_in(&good, now));
        let shown = health.list(now);
        assert_eq!(
            shown.iter().map(|model| model.state).collect::<Vec<_>>(),
            [BreakerState::Open, BreakerState::Closed]
        );
        let error = shown[0].last_error.clone().unwrap();
        assert_eq!((error.kind, error.status, error.at), (FailureKind::Reported, Some(503), at));
        assert!(error.text.contains("[email]") && !error.text.contains("ann@"), "{}", error.text);
        assert_eq!((shown[1].p50, shown[1].errors), (Some(Duration::from_millis(40)), 0));
    }

    #[test]
    fn a_call_that_is_given_up_says_nothing() {
        let (health, now) = (health(), Instant::now());
        (0..10).for_each(|_| drop(health.begin(&target("m"), now)));
        assert_eq!(health.list(now)[0].calls, 0);
    }

    #[test]
    fn names_that_clients_invent_fill_no_memory() {
        let (health, now) = (health(), Instant::now());
        for n in 0..MODELS_MAX + 10 {
            health.begin(&target(&format!("m{n}")), now).answered(now);
        }
        assert_eq!(health.list(now).len(), MODELS_MAX);
    }
}
