//! Traces that expire: what goes, what stays, and that it stays whole.

use privet_domain::id::ProjectId;
use privet_domain::trace::{JsonText, Score, ScoreSource, ScoreTarget, ScoreType};
use privet_store::{Expiry, Removed, StoreError, TraceStore};

use crate::bed::{Bed, on_both_databases};
use crate::trace_bed::{HandClock, at_minute, open, run, said, thread};

on_both_databases!(
    what_was_begun_too_long_ago_goes_with_all_that_is_its_own,
    what_is_added_to_an_old_trace_lives_as_long_as_the_trace,
    what_is_still_to_be_exported_waits_unless_it_must_go,
    sums_of_days_stay_longer_than_their_traces,
);

const DAY: i64 = 24 * 60;

/// Deletes everything that expires, step by step.
async fn expire(store: &TraceStore, before: i64, waits_for_export: bool, now: i64) -> Removed {
    let mut sum = Removed::default();
    loop {
        let expiry = Expiry { before: at_minute(before), waits_for_export };
        let step = store.expire_step(expiry, at_minute(now)).await.unwrap();
        if step.is_nothing() {
            return sum;
        }
        assert!(step.traces + step.observations <= 500 && step.bodies <= 250, "{step:?}");
        sum.traces += step.traces;
        sum.observations += step.observations;
        sum.scores += step.scores;
        sum.bodies += step.bodies;
        sum.metrics += step.metrics;
    }
}

fn score(id: &str, target: ScoreTarget) -> Score {
    Score {
        id: id.parse().unwrap(),
        target,
        name: "taste".to_owned(),
        score_type: ScoreType::Numeric,
        value: 1.0,
        text: None,
        comment: None,
        source: ScoreSource::Api,
        author_user_id: None,
        config_id: None,
        environment: "default".to_owned(),
        metadata: serde_json::Map::new(),
        timestamp: at_minute(0).into(),
    }
}

async fn write_at(
    store: &TraceStore,
    clock: &HandClock,
    minute: i64,
    project: ProjectId,
    batch: privet_domain::trace::TraceBatch,
) {
    clock.set(minute);
    store.write(project, batch).await.unwrap();
}

async fn what_was_begun_too_long_ago_goes_with_all_that_is_its_own(bed: &Bed) {
    let (store, clock) = open(bed, false).await;
    let project = ProjectId::new();
    let (shared, own) = (thread("shared", 40), thread("only of the old one", 30));
    for number in 0..300 {
        let words = [shared.clone(), own.clone(), thread(&format!("turn {number}"), 2)].concat();
        write_at(&store, &clock, 0, project, run(&format!("old {number}"), "ada", &words, 0)).await;
    }
    let mut batch = run("scored", "ada", &own, 0);
    batch.scores.push(score("of trace", ScoreTarget::Trace("scored".parse().unwrap(), None)));
    batch.scores.push(score("of session", ScoreTarget::Session("s".to_owned())));
    batch.scores.push(score("of nothing", ScoreTarget::Trace("never came".parse().unwrap(), None)));
    write_at(&store, &clock, 0, project, batch).await;
    let words = [shared.clone(), thread("new", 3)].concat();
    // Ten minutes later nothing that is used again has to be written again.
    write_at(&store, &clock, 9, project, run("new", "ada", &words, 9)).await;
    let before = said(&store, project, "new").await;

    let removed = expire(&store, 5, false, DAY).await;
    assert_eq!((removed.traces, removed.observations, removed.scores), (301, 301, 3));
    assert_eq!(said(&store, project, "new").await, before, "bodies stay a while behind the oldest trace");
    assert_eq!(bed.trace_number("SELECT COUNT(*) FROM traces").await, 1);
    assert!(matches!(store.trace(project, &"old 7".parse().unwrap()).await, Err(StoreError::NotFound)));
    // A trace of much later lets the bodies of the first go, but not those that it uses itself.
    let words = [shared, thread("newer", 3)].concat();
    write_at(&store, &clock, DAY, project, run("newer", "ada", &words, DAY)).await;
    let removed = expire(&store, 10, false, DAY).await;
    assert_eq!(removed.traces, 1);
    let removed = expire(&store, DAY, false, DAY).await;
    assert_eq!(removed.traces, 0);
    assert!(said(&store, project, "newer").await.contains("shared 39"));
    assert_eq!(bed.trace_number("SELECT COUNT(*) FROM bodies").await, 43, "40 shared and 3 of its own");
    store.close().await;
}

async fn what_is_added_to_an_old_trace_lives_as_long_as_the_trace(bed: &Bed) {
    let (store, clock) = open(bed, false).await;
    let project = ProjectId::new();
    let words = thread("at the beginning", 5);
    write_at(&store, &clock, 0, project, run("long", "ada", &words, 0)).await;
    // A step a day; no body of the first is used again.
    let mut later = run("long", "ada", &thread("much later", 5), 0);
    later.traces[0].input = None;
    later.observations[0].id = "late step".parse().unwrap();
    later.observations[0].input = Some(JsonText::string(&"x".repeat(3_000)));
    write_at(&store, &clock, 10 * DAY, project, later).await;
    let removed = expire(&store, 0, false, 10 * DAY).await;
    assert_eq!(removed, Removed::default(), "nothing is older than the trace");
    assert!(said(&store, project, "long").await.contains("at the beginning 0"));
    store.observation(project, &"late step".parse().unwrap()).await.unwrap();
    let removed = expire(&store, 1, false, 11 * DAY).await;
    assert_eq!((removed.traces, removed.observations), (1, 2));
    expire(&store, 12 * DAY, false, 12 * DAY).await;
    assert_eq!(bed.trace_number("SELECT COUNT(*) FROM bodies").await, 0);
    store.close().await;
}

async fn what_is_still_to_be_exported_waits_unless_it_must_go(bed: &Bed) {
    let (store, clock) = open(bed, true).await;
    let project = ProjectId::new();
    for id in ["first", "second"] {
        write_at(&store, &clock, 0, project, run(id, "ada", &thread(id, 4), 0)).await;
    }
    let queued = store.queued_for_export(1, usize::MAX).await.unwrap();
    store.exported(queued[0].seq).await.unwrap();
    let removed = expire(&store, DAY, true, DAY).await;
    assert_eq!(removed.traces, 1);
    assert!(said(&store, project, "second").await.contains("second 3"));
    assert_eq!(expire(&store, DAY, false, DAY).await.traces, 1);
    let left = store.queued_for_export(10, usize::MAX).await.unwrap();
    assert_eq!((left.len(), left[0].observation.is_none()), (1, true), "it is known to be missing");
    store.close().await;
}

async fn sums_of_days_stay_longer_than_their_traces(bed: &Bed) {
    let (store, clock) = open(bed, false).await;
    let project = ProjectId::new();
    write_at(&store, &clock, 0, project, run("old", "ada", &thread("x", 2), 0)).await;
    write_at(&store, &clock, 30 * DAY, project, run("new", "ada", &thread("x", 2), 30 * DAY)).await;
    let all = "SELECT COUNT(*) FROM daily_metrics WHERE dimension = 'all'";
    expire(&store, 20 * DAY, false, 31 * DAY).await;
    assert_eq!(bed.trace_number(all).await, 2);
    expire(&store, 20 * DAY, false, 402 * DAY).await;
    assert_eq!(bed.trace_number(all).await, 1);
    store.close().await;
}

#[tokio::test]
async fn what_expired_goes_back_to_the_disk() {
    let bed = Bed::sqlite();
    let (store, clock) = open(&bed, false).await;
    let project = ProjectId::new();
    // Hashes do not compress.
    let words = |number: usize| {
        let content: String = (0..400).map(|n| format!("{:x}", u64::MAX / (number * 400 + n + 7) as u64)).collect();
        vec![format!(r#"{{"role":"user","content":"{content}"}}"#), r#"{"role":"user","content":"x"}"#.to_owned()]
    };
    for number in 0..2_000 {
        write_at(&store, &clock, 0, project, run(&format!("t{number}"), "ada", &words(number), 0)).await;
    }
    let file = || std::fs::metadata(bed.folder.path().join("traces.db")).unwrap().len();
    store.truncate_log().await.unwrap();
    let (full, used) = (file(), store.used_bytes().await.unwrap());
    assert!(full > 6_000_000 && used <= full, "{full} {used}");
    expire(&store, DAY, false, DAY).await;
    assert!(store.truncate_log().await.unwrap());
    let used = store.used_bytes().await.unwrap();
    while store.reclaim_step().await.unwrap() {}
    assert!(store.truncate_log().await.unwrap());
    assert!(used < 1_000_000, "{used} of {full}");
    assert!(file() < 5_500_000, "{} of {full}", file());
    store.close().await;
}
