//! Deleting traces that are too old, and the oldest when there are too many bytes; in small steps with pauses between them, so
//! that nobody who writes waits long.

use std::time::Duration;

use privet_domain::time::{Clock, Timestamp};
use privet_store::{Expiry, Removed, SharedWork, StoreError, TraceStore};

/// Between two rounds.
const INTERVAL: Duration = Duration::from_secs(60);
/// Between two steps: twice as long as a step takes, or longer.
const PAUSE: Duration = Duration::from_millis(20);
/// What was written so shortly ago does not go, however much it is.
const YOUNGEST: Duration = Duration::from_secs(120);
const MINUTE: Duration = Duration::from_secs(60);
/// Of what is younger, contents are looked for and deleted with their traces.
const YOUNG: Duration = Duration::from_secs(3_600);
/// So much of the part of the traces that is the part of the bytes which is too much goes before it is looked again: traces differ.
const DISCARDED_SHARE: f64 = 0.5;
const DISCARDED_MIN: f64 = 20.0;

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
    pub async fn follow(&self, store: &TraceStore, clock: &dyn Clock) {
        let mut memory = Memory::default();
        loop {
            if let Err(error) = self.round(store, clock, &mut memory).await {
                tracing::error!(%error, "traces that expired stay until the database answers");
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    async fn round(&self, store: &TraceStore, clock: &dyn Clock, memory: &mut Memory) -> Result<(), StoreError> {
        let Some(mut lease) = store.lease(SharedWork::Retention).await? else { return Ok(()) };
        // What an erasure left undone when its process died.
        store.finish_erasures(clock.now()).await?;
        let now = clock.now();
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
        removed |= self.keep_within(store, now, memory).await?;
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
    async fn keep_within(&self, store: &TraceStore, now: Timestamp, memory: &mut Memory) -> Result<bool, StoreError> {
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
            if store.frees_at_once() && before > now.before(YOUNG) {
                // Contents expire only some time after their traces: what is younger takes them along.
                let surplus = used.saturating_sub(self.bytes_max) as f64 / used.max(1) as f64;
                let count = (store.count_all().await? as f64 * surplus * DISCARDED_SHARE).ceil().max(DISCARDED_MIN);
                let discarded = store.discard_oldest(now.before(YOUNGEST), count as u64, now).await?;
                if discarded == 0 {
                    break;
                }
                removed_any = true;
                metrics::counter!("privet_traces_expired_total", "what" => "traces", "reason" => "disk_max")
                    .increment(discarded);
                store.truncate_log().await?;
                used = store.used_bytes().await?;
                continue;
            }
            // The contents go after the rows that refer to them, so this minute is finished before the next.
            while used > self.bytes_max {
                let step = store.expire_step(Expiry { before, waits_for_export: false }, now).await?;
                if step.is_nothing() {
                    break;
                }
                removed_any = true;
                count(&step, "disk_max");
                tokio::time::sleep(PAUSE).await;
                if store.frees_at_once() {
                    // Deleting writes to the log, which counts too.
                    store.truncate_log().await?;
                    used = store.used_bytes().await?;
                }
            }
            if !store.frees_at_once() && is_enough(first, before, now, whole, self.bytes_max) {
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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use privet_domain::id::ProjectId;
    use privet_domain::time::NanoTimestamp;
    use privet_domain::trace::{JsonText, TraceBatch, TraceId, TracePatch};
    use privet_store::{Location, Unpriced, WriteSettings};
    use privet_testkit::postgres::fresh_database;

    use super::*;

    /// A clock in minutes.
    struct Minutes(AtomicI64);

    impl Clock for Minutes {
        fn now(&self) -> Timestamp {
            Timestamp::from_micros((29_000_000 + self.0.load(Ordering::SeqCst)) * 60_000_000)
        }
    }

    fn id(minute: i64, number: i64) -> TraceId {
        format!("trace {number} of minute {minute}").parse().unwrap()
    }

    /// Forty traces of 5 KiB a minute.
    async fn fill(store: &TraceStore, clock: &Minutes, project: ProjectId, minutes: std::ops::Range<i64>) {
        for minute in minutes {
            clock.0.store(minute, Ordering::SeqCst);
            let traces = (0..40).map(|number| {
                let mut patch = TracePatch::new(id(minute, number), NanoTimestamp::from(clock.now()));
                // What does not compress to nothing.
                let words = (0..160).map(|word| blake3::hash(format!("{minute} {number} {word}").as_bytes()).to_hex());
                patch.input = Some(JsonText::string(&words.map(|word| word[..32].to_owned()).collect::<String>()));
                patch
            });
            let batch = TraceBatch { traces: traces.collect(), ..TraceBatch::default() };
            store.write(project, batch).await.unwrap();
        }
    }

    async fn open(location: &Location) -> (TraceStore, Arc<Minutes>) {
        let clock = Arc::new(Minutes(0.into()));
        let settings = WriteSettings::default();
        (TraceStore::open(location, settings, Arc::new(Unpriced), clock.clone()).await.unwrap(), clock)
    }

    fn within(bytes_max: u64) -> Retention {
        Retention { keep: None, bytes_max, exports: false }
    }

    #[tokio::test]
    async fn the_oldest_go_until_there_are_no_more_bytes_than_allowed() {
        let folder = tempfile::tempdir().unwrap();
        let (store, clock) = open(&Location::Folder(folder.path().to_owned())).await;
        let project = ProjectId::new();
        fill(&store, &clock, project, 0..80).await;
        assert!(store.truncate_log().await.unwrap());
        let (whole, mut memory) = (store.used_bytes().await.unwrap(), Memory::default());
        within(whole).round(&store, &*clock, &mut memory).await.unwrap();
        store.trace(project, &id(0, 0)).await.unwrap();

        clock.0.store(100, Ordering::SeqCst);
        within(whole / 2).round(&store, &*clock, &mut memory).await.unwrap();
        let left = store.used_bytes().await.unwrap();
        assert!(left <= whole / 2 && left > whole / 8, "{left} of {whole}");
        assert!(matches!(store.trace(project, &id(0, 0)).await, Err(StoreError::NotFound)));
        let newest = store.trace(project, &id(79, 39)).await.unwrap();
        assert!(newest.trace.input.is_some());
        store.close().await;
    }

    #[tokio::test]
    async fn of_what_came_within_minutes_the_oldest_part_goes_with_its_contents() {
        let folder = tempfile::tempdir().unwrap();
        let (store, clock) = open(&Location::Folder(folder.path().to_owned())).await;
        let project = ProjectId::new();
        fill(&store, &clock, project, 0..8).await;
        assert!(store.truncate_log().await.unwrap());
        let (whole, mut memory) = (store.used_bytes().await.unwrap(), Memory::default());
        clock.0.store(10, Ordering::SeqCst);
        within(whole / 2).round(&store, &*clock, &mut memory).await.unwrap();
        let left = store.used_bytes().await.unwrap();
        assert!(left <= whole / 2 && left > whole / 5, "{left} of {whole}");
        assert!(matches!(store.trace(project, &id(0, 0)).await, Err(StoreError::NotFound)));
        assert!(store.trace(project, &id(7, 39)).await.unwrap().trace.input.is_some());
        store.close().await;
    }

    #[tokio::test]
    async fn where_deleting_does_not_show_a_surplus_is_deleted_once() {
        let database = fresh_database().await;
        let (store, clock) = open(&Location::postgres(database.url.clone())).await;
        let project = ProjectId::new();
        fill(&store, &clock, project, 0..80).await;
        clock.0.store(100, Ordering::SeqCst);
        let (whole, mut memory) = (store.used_bytes().await.unwrap(), Memory::default());
        let retention = within(whole * 9 / 10);
        retention.round(&store, &*clock, &mut memory).await.unwrap();
        let oldest = store.oldest().await.unwrap();
        assert!(matches!(store.trace(project, &id(0, 0)).await, Err(StoreError::NotFound)));
        store.trace(project, &id(40, 0)).await.unwrap();
        retention.round(&store, &*clock, &mut memory).await.unwrap();
        assert_eq!(store.oldest().await.unwrap(), oldest);
        store.close().await;
    }

    #[test]
    fn where_deleting_does_not_show_the_oldest_part_goes() {
        let at = |minutes: i64| Timestamp::from_micros(minutes * 60_000_000);
        let enough = |before| is_enough(Some(at(0)), at(before), at(1_000), 120, 100);
        assert!(!enough(200) && enough(217));
        assert!(is_enough(None, at(1), at(2), 120, 100));
    }
}
