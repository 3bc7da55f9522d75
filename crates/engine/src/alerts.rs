//! Budget alerts: when so many percent of a budget are settled, a webhook is told; once for each window and percentage.
//!
//! What was settled is noticed within a second and written as an alert to deliver, which the first of all servers does. From
//! then on nothing is lost: the time of the next attempt stands in the database, and a server that starts looks at all budgets.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use privet_domain::id::AlertId;
use privet_domain::money::Nanos;
use privet_domain::time::Timestamp;
use privet_providers::{Webhook, WebhookMessage};
use privet_store::{Charge, DueAlert, NewAlert, StoreError};
use serde_json::json;

use crate::Engine;
use crate::budget::{SettledWindow, Spender};

const INTERVAL: Duration = Duration::from_secs(1);
/// An attempt whose server died meanwhile is repeated after this time; longer than any attempt lasts.
const ATTEMPT_LEASE: Duration = Duration::from_secs(15);
/// So many attempts are made at once.
const ATTEMPTS_AT_ONCE: u32 = 16;
/// The longest pause after the first attempt; it doubles with each of them.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// After this time nobody tries any more.
const GIVE_UP_AFTER: Duration = Duration::from_secs(86_400);

/// Who is told, and when.
pub struct Alerts {
    /// Who is told.
    pub webhook: Webhook,
    /// At which percentages of a budget, growing.
    pub percents: Vec<u8>,
}

/// What one server knows of the windows.
#[derive(Default)]
struct Watch {
    /// Those to look at.
    unseen: HashMap<Charge, SettledWindow>,
    /// The highest percentage that was told of a window, and the window's end.
    told: HashMap<Charge, (u8, Option<Timestamp>)>,
}

impl Alerts {
    /// Notices and delivers, for ever.
    pub async fn follow(&self, engine: &Engine) {
        tokio::join!(self.notice_all(engine), self.deliver_all(engine));
    }

    async fn notice_all(&self, engine: &Engine) {
        let mut watch = Watch::default();
        let mut failing = false;
        loop {
            match self.notice(engine, &mut watch).await {
                Ok(()) => failing = false,
                Err(error) if !failing => {
                    failing = true;
                    tracing::error!(%error, "budget alerts wait until the database answers");
                }
                Err(_) => {}
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    async fn deliver_all(&self, engine: &Engine) {
        loop {
            if let Err(error) = self.deliver_due(engine).await {
                tracing::error!(%error, "budget alerts are not delivered until the database answers");
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Writes an alert for each percentage that was reached since the last time.
    async fn notice(&self, engine: &Engine, watch: &mut Watch) -> Result<(), StoreError> {
        let now = engine.clock.now();
        let settled = engine.budgets.take_settled();
        let others = if settled.are_others { all_windows(engine, now) } else { Vec::new() };
        watch.unseen.extend(settled.windows.into_iter().chain(others).map(|window| (window.charge.clone(), window)));
        watch.told.retain(|_, (_, end)| end.is_none_or(|end| now < end));
        // A window leaves the list when it has been looked at: what fails now is looked at again.
        while let Some(window) = watch.unseen.values().next().cloned() {
            let settled = engine.store.settled(&window.charge).await?;
            let told = watch.told.get(&window.charge).map_or(0, |(percent, _)| *percent);
            let reached = self.percents.iter().copied();
            let reached = reached.filter(|percent| *percent > told && is_reached(settled, window.limit, *percent));
            let alerts: Vec<NewAlert> = reached.map(|percent| alert(&window, percent, settled, now)).collect();
            if let Some(highest) = alerts.last() {
                engine.store.add_alerts(&alerts).await?;
                watch.told.insert(window.charge.clone(), (highest.percent, window.resets_at));
            }
            watch.unseen.remove(&window.charge);
        }
        Ok(())
    }

    async fn deliver_due(&self, engine: &Engine) -> Result<(), StoreError> {
        let now = engine.clock.now();
        let due = engine.store.take_due_alerts(now, now.after(ATTEMPT_LEASE), ATTEMPTS_AT_ONCE).await?;
        join_all(due.iter().map(|alert| self.deliver(engine, alert))).await.into_iter().collect()
    }

    /// One attempt. If its outcome cannot be written, the alert is delivered again, under the same id.
    async fn deliver(&self, engine: &Engine, alert: &DueAlert) -> Result<(), StoreError> {
        let message = WebhookMessage {
            id: alert.id.to_string(),
            timestamp: engine.clock.now().as_seconds(),
            body: alert.body.clone().into(),
        };
        let sent = self.webhook.send(&message).await;
        let now = engine.clock.now();
        let Err(error) = sent else {
            tracing::info!(id = %alert.id, budget = alert.budget, percent = alert.percent, "delivered a budget alert");
            return engine.store.alert_delivered(alert.id, now).await;
        };
        if now.since(alert.created_at) >= GIVE_UP_AFTER {
            tracing::error!(id = %alert.id, budget = alert.budget, percent = alert.percent, %error, "a budget alert is given up; look after `alerts.webhook`");
            return engine.store.alert_given_up(alert.id, now).await;
        }
        tracing::warn!(id = %alert.id, budget = alert.budget, percent = alert.percent, attempt = alert.attempt, %error, "a budget alert is not delivered yet");
        // Without randomness all servers would try at once, which is no harm.
        let pause = pause_after(alert.attempt, getrandom::u64().unwrap_or(u64::MAX));
        engine.store.alert_failed(alert.id, now.after(pause)).await
    }
}

/// The present windows of all budgets: those of the configuration, and those of all keys.
fn all_windows(engine: &Engine, now: Timestamp) -> Vec<SettledWindow> {
    let callers = engine.keyring.callers();
    let of_keys = callers.iter().flat_map(|caller| {
        let allowances = &caller.limits.budgets;
        let spender =
            Spender { family_id: caller.family_id, user_id: &caller.user_id, project: &caller.project, allowances };
        engine.budgets.rules_for(&spender).to_vec()
    });
    let rules = engine.budgets.configured().cloned().chain(of_keys);
    let windows = rules.map(|rule| {
        let window = rule.budget.window(now);
        let charge = Charge { budget: rule.id.clone(), window_start: window.start };
        SettledWindow { charge, limit: rule.budget.amount, resets_at: window.end }
    });
    windows.collect()
}

fn is_reached(settled: Nanos, limit: Nanos, percent: u8) -> bool {
    let (settled, limit) = (i128::from(settled.as_i64()), i128::from(limit.as_i64()));
    settled > 0 && settled.saturating_mul(100) >= limit.saturating_mul(i128::from(percent))
}

fn alert(window: &SettledWindow, percent: u8, settled: Nanos, now: Timestamp) -> NewAlert {
    let body = json!({
        "type": "budget.threshold",
        "timestamp": now,
        "data": {
            "budget": &*window.charge.budget,
            "percent": percent,
            "limit_nanos": window.limit.as_i64(),
            "settled_nanos": settled.as_i64(),
            "window_start": window.charge.window_start,
            "resets_at": window.resets_at,
        },
    });
    NewAlert { id: AlertId::new(), charge: window.charge.clone(), percent, body: body.to_string(), at: now }
}

/// Exponential, with full jitter: any time between nothing and the whole pause.
fn pause_after(attempt: i64, random: u64) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(0).min(20);
    let longest = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST_PAUSE);
    let millis = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(random % millis.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_reached_exactly_and_never_by_nothing() {
        let reached = |settled, limit, percent| is_reached(Nanos::new(settled), Nanos::new(limit), percent);
        assert!(!reached(799_999, 1_000_000, 80) && reached(800_000, 1_000_000, 80));
        assert!(!reached(0, 0, 1) && reached(1, 1, 100));
        assert!(!reached(i64::MAX - 1, i64::MAX, 100) && reached(i64::MAX, i64::MAX, 100));
    }

    #[test]
    fn pauses_double_up_to_an_hour() {
        let longest = |attempt| (0..2_000).map(|n| pause_after(attempt, n * 7_919_777)).max().unwrap();
        for attempt in 1..40 {
            let bound = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(attempt - 1)).min(LONGEST_PAUSE);
            let longest = longest(i64::from(attempt));
            assert!(longest <= bound && longest >= bound * 9 / 10, "{attempt}: {longest:?} of {bound:?}");
        }
    }
}
