//! Erasing a user: nothing of it is left, and everything of the others is.

use std::sync::Arc;

use privet_domain::id::ProjectId;

use crate::bed::{Bed, on_both_databases};
use crate::trace_bed::{at_minute, open, run, said, thread};

on_both_databases!(
    what_a_user_left_is_gone_and_what_others_share_is_not,
    who_writes_meanwhile_keeps_all_that_it_shares,
    an_erasure_whose_process_died_is_finished,
);

const CANARY: &str = "canary-7f3a";

async fn what_a_user_left_is_gone_and_what_others_share_is_not(bed: &Bed) {
    let (store, _clock) = open(bed, true).await;
    let (project, other_project) = (ProjectId::new(), ProjectId::new());
    let shared = thread("shared", 10);
    for number in 0..50 {
        let words = [shared.clone(), thread(&format!("{CANARY} {number}"), 5)].concat();
        store.write(project, run(&format!("a{number}"), CANARY, &words, 0)).await.unwrap();
    }
    let words = [shared, thread("of bob", 5)].concat();
    store.write(project, run("b", "bob", &words, 0)).await.unwrap();
    store.write(other_project, run("c", CANARY, &words, 0)).await.unwrap();
    let before = (said(&store, project, "b").await, said(&store, other_project, "c").await);

    let erased = store.erase_user(project, CANARY, at_minute(1)).await.unwrap();
    assert_eq!((erased.traces, erased.observations, erased.bodies), (50, 50, 250));
    assert_eq!((erased.export_queue, erased.daily_metrics), (50, 1));
    assert_eq!((said(&store, project, "b").await, said(&store, other_project, "c").await), before);
    let again = store.erase_user(project, CANARY, at_minute(1)).await.unwrap();
    assert_eq!(again, privet_store::ErasedTraces::default());
    assert_eq!(bed.trace_number("SELECT COUNT(*) FROM bodies WHERE touched_minute = -1").await, 0);

    store.erase_user(other_project, CANARY, at_minute(1)).await.unwrap();
    assert!(store.truncate_log().await.unwrap());
    if bed.is_sqlite() {
        for file in ["traces.db", "traces.db-wal"] {
            let bytes = std::fs::read(bed.folder.path().join(file)).unwrap();
            assert!(!bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes()), "{file}");
        }
    } else {
        // What a row holds is short enough to stand in it as it is.
        let left = bed.number("SELECT COUNT(*) FROM bodies WHERE position('canary-7f3a'::bytea IN content) > 0").await;
        assert_eq!(left, 0);
    }
    assert_eq!(said(&store, project, "b").await, before.0);
    store.close().await;
}

async fn who_writes_meanwhile_keeps_all_that_it_shares(bed: &Bed) {
    let (store, _clock) = open(bed, false).await;
    let store = Arc::new(store);
    let project = ProjectId::new();
    let shared = thread("shared", 30);
    for number in 0..100 {
        let words = [shared.clone(), thread(&format!("ada {number}"), 3)].concat();
        store.write(project, run(&format!("a{number}"), "ada", &words, 0)).await.unwrap();
    }
    let writing = tokio::spawn({
        let (store, shared) = (store.clone(), shared.clone());
        async move {
            for number in 0..150 {
                // What ada said is said again by bob, word for word.
                let words = [shared.clone(), thread(&format!("ada {}", number % 100), 3)].concat();
                store.write(project, run(&format!("b{number}"), "bob", &words, 0)).await.unwrap();
            }
        }
    });
    store.erase_user(project, "ada", at_minute(1)).await.unwrap();
    writing.await.unwrap();
    store.finish_erasures(at_minute(2)).await.unwrap();
    for number in 0..150 {
        assert!(said(&store, project, &format!("b{number}")).await.contains(&format!("ada {} 2", number % 100)));
    }
    assert_eq!(bed.trace_number("SELECT COUNT(*) FROM traces").await, 150);
    store.close().await;
}

async fn an_erasure_whose_process_died_is_finished(bed: &Bed) {
    let (store, _clock) = open(bed, false).await;
    let project = ProjectId::new();
    store.write(project, run("a", "ada", &thread("x", 20), 0)).await.unwrap();
    let before = said(&store, project, "a").await;
    let marked = bed
        .trace_number("UPDATE bodies SET touched_minute = -1 WHERE parent IS NULL RETURNING CAST(1 AS BIGINT)")
        .await;
    assert_eq!(marked, 1);
    assert_eq!(store.finish_erasures(at_minute(1)).await.unwrap(), 0);
    assert_eq!(said(&store, project, "a").await, before, "it was in use");
    assert_eq!(bed.trace_number("SELECT COUNT(*) FROM bodies WHERE touched_minute = -1").await, 0);
    store.close().await;
}
