//! Deleting traces that are too old, and the oldest when there are too many bytes; in small steps with pauses between them, so
//! that nobody who writes waits long.

use std::time::Duration;

use privet_domain::time::Timestamp;
use privet_store::{Expiry, Removed, SharedWork, StoreError};

use crate::Engine;

/// Between two rounds.
const INTERVAL: Duration = Duration::from_secs(60);
/// Between two steps: twice as long as a step takes, or longer.
const PAUSE: Duration = Duration::from_millis(20);
/// What was written so shortly ago does not go, however much it is.
const YOUNGEST: Duration = Duration::from_secs(120);
const MINUTE: Duration = Duration::from_secs(60);

/// How long traces stay.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// What was begun longer ago goes; `None` keeps it.
    pub keep: Option<Duration>,
    /// Above so many bytes the oldest go first.
    pub bytes_max: u64,
    /// Whether traces wait for their export before they go for their age.
    pub exports: bool,
}

/// What is remembered between rounds.
#[derive(Default)]
struct Memory {
    /// The size at which something was deleted that does not show in it: it is too much only when it grows on.
    accepted_bytes: u64,
}

impl Retention {
    /// Deletes, for ever.
    pub async fn follow(&self, engine: &Engine) {
        let mut memory = Memory::default();
        loop {
            if let Err(error) = self.round(engine, &mut memory).await {
                tracing::error!(%error, "traces that expired stay until the database answers");
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    async fn round(&self, engine: &Engine, memory: &mut Memory) -> Result<(), StoreError> {
        let store = &engine.traces.store;
        let Some(mut lease) = store.lease(SharedWork::Retention).await? else { return Ok(()) };
        // What an erasure left undone when its process died.
        store.finish_erasures(engine.clock.now()).await?;
        let now = engine.clock.now();
        let before = self.keep.map_or(Timestamp::from_micros(0), |keep| now.before(keep));
        let aged = Expiry { before, waits_for_export: self.exports };
        let mut removed = false;
        while lease.is_held().await {
            let step = store.expire_step(aged, now).await?;
            if step.is_nothing() {
                break;
            }
            removed = true;
            count(&step, "age");
            tokio::time::sleep(PAUSE).await;
        }
        removed |= self.keep_within(engine, memory).await?;
        while store.reclaim_step().await? {
            tokio::time::sleep(PAUSE).await;
        }
        if removed {
            store.truncate_log().await?;
        }
        metrics::gauge!("privet_trace_store_bytes").set(store.used_bytes().await? as f64);
        Ok(())
    }

    /// Deletes the oldest until there are no more bytes than allowed. Whether it deleted anything.
    async fn keep_within(&self, engine: &Engine, memory: &mut Memory) -> Result<bool, StoreError> {
        let store = &engine.traces.store;
        let mut used = store.used_bytes().await?;
        if used > self.bytes_max && store.truncate_log().await? {
            used = store.used_bytes().await?;
        }
        if used <= self.bytes_max {
            memory.accepted_bytes = 0;
            return Ok(false);
        }
        if used <= memory.accepted_bytes {
            return Ok(false);
        }
        let whole = used;
        let now = engine.clock.now();
        let first = store.oldest().await?;
        let mut removed_any = false;
        while used > self.bytes_max {
            let oldest = store.oldest().await?;
            let Some(before) =
                oldest.map(|oldest| oldest.after(MINUTE)).filter(|before| *before <= now.before(YOUNGEST))
            else {
                tracing::warn!(used, max = self.bytes_max, "the newest traces alone are more than `traces.disk_max`");
                break;
            };
            let waits_for_export = false;
            let step = store.expire_step(Expiry { before, waits_for_export }, now).await?;
            count(&step, "disk_max");
            removed_any |= !step.is_nothing();
            tokio::time::sleep(PAUSE).await;
            if store.frees_at_once() {
                // Deleting writes to the log, which counts too.
                store.truncate_log().await?;
                used = store.used_bytes().await?;
            } else if is_enough(first, before, now, whole, self.bytes_max) {
                memory.accepted_bytes = whole;
                break;
            }
        }
        if removed_any {
            tracing::warn!(
                used = whole,
                max = self.bytes_max,
                exports = self.exports,
                "the oldest traces were deleted: there are more than `traces.disk_max` allows"
            );
        }
        Ok(removed_any)
    }
}

/// Where deleting does not show in the size: whether the part of the time is gone that is the part of the bytes that is too much,
/// and a twentieth.
fn is_enough(first: Option<Timestamp>, before: Timestamp, now: Timestamp, used: u64, max: u64) -> bool {
    let Some(first) = first else { return true };
    let surplus = used.saturating_sub(max) as f64 / used.max(1) as f64 + 0.05;
    before.since(first).as_secs_f64() >= now.since(first).as_secs_f64() * surplus
}

fn count(removed: &Removed, reason: &'static str) {
    for (what, rows) in [
        ("traces", removed.traces),
        ("observations", removed.observations),
        ("scores", removed.scores),
        ("bodies", removed.bodies),
        ("metrics", removed.metrics),
    ] {
        if rows > 0 {
            metrics::counter!("privet_traces_expired_total", "what" => what, "reason" => reason).increment(rows);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_deleting_does_not_show_the_oldest_part_goes() {
        let at = |minutes: i64| Timestamp::from_micros(minutes * 60_000_000);
        let enough = |before| is_enough(Some(at(0)), at(before), at(1_000), 120, 100);
        assert!(!enough(200) && enough(217));
        assert!(is_enough(None, at(1), at(2), 120, 100));
    }
}
