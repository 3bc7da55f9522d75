//! The queue of what is still to be exported.

use privet_domain::id::ProjectId;
use privet_store::SharedWork;

use crate::bed::{Bed, on_both_databases};
use crate::trace_bed::{open, run, thread};

on_both_databases!(
    what_ended_is_queued_once_and_in_order_until_it_was_sent,
    a_batch_ends_where_its_contents_are_many_bytes,
    one_server_at_a_time_has_the_lease,
);

async fn what_ended_is_queued_once_and_in_order_until_it_was_sent(bed: &Bed) {
    let (store, _clock) = open(bed, true).await;
    let project = ProjectId::new();
    for number in 0..5 {
        let batch = run(&format!("t{number}"), "ada", &thread("x", 3), 0);
        store.write(project, batch.clone()).await.unwrap();
        store.write(project, batch).await.unwrap();
    }
    let mut open_step = run("open", "ada", &thread("x", 3), 0);
    open_step.observations[0].end = None;
    store.write(project, open_step).await.unwrap();
    let backlog = store.export_backlog().await.unwrap();
    assert_eq!((backlog.observations, backlog.since.is_some()), (5, true));
    let first = store.queued_for_export(3, usize::MAX).await.unwrap();
    let (trace, step) = first[0].observation.as_ref().unwrap();
    assert_eq!((trace.id.as_str(), step.id.as_str(), trace.user_id.as_deref()), ("t0", "step of t0", Some("ada")));
    assert!(step.input.as_ref().unwrap().as_str().contains("x 1") && trace.input == step.input);
    assert_eq!(store.queued_for_export(3, usize::MAX).await.unwrap().len(), 3, "reading takes nothing");
    store.exported(first[2].seq).await.unwrap();
    let rest = store.queued_for_export(100, usize::MAX).await.unwrap();
    let ids: Vec<_> = rest.iter().map(|one| one.observation.as_ref().unwrap().1.id.as_str().to_owned()).collect();
    assert_eq!(ids, ["step of t3", "step of t4"]);
    store.exported(rest[1].seq).await.unwrap();
    assert_eq!(store.export_backlog().await.unwrap().observations, 0);
    store.close().await;
}

async fn a_batch_ends_where_its_contents_are_many_bytes(bed: &Bed) {
    let (store, _clock) = open(bed, true).await;
    let project = ProjectId::new();
    for number in 0..5 {
        let words = vec![format!(r#"{{"content":"{}"}}"#, "long ".repeat(2_000)), r#"{"content":"x"}"#.to_owned()];
        store.write(project, run(&format!("t{number}"), "ada", &words, 0)).await.unwrap();
    }
    assert_eq!(store.queued_for_export(512, 1).await.unwrap().len(), 1, "one at least");
    // Each has its input twice: as the trace's and as the step's.
    assert_eq!(store.queued_for_export(512, 30_000).await.unwrap().len(), 2);
    store.close().await;
}

async fn one_server_at_a_time_has_the_lease(bed: &Bed) {
    let (store, _clock) = open(bed, true).await;
    let mut lease = store.lease(SharedWork::Export).await.unwrap().unwrap();
    assert!(lease.is_held().await);
    assert!(store.lease(SharedWork::Retention).await.unwrap().is_some(), "another work is another lease");
    if !bed.is_sqlite() {
        let (other, _clock) = open(bed, true).await;
        assert!(other.lease(SharedWork::Export).await.unwrap().is_none());
        drop(lease);
        // The server notices the end of the connection by itself.
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
        while other.lease(SharedWork::Export).await.unwrap().is_none() {
            assert!(tokio::time::Instant::now() < deadline, "the lease of one that is gone stays");
        }
        other.close().await;
    }
    store.close().await;
}
