//! Idempotency-Keys: who is first, what is kept, and whose rows are taken over.

use privet_domain::id::{ApiKeyId, ReplicaId, RequestId};
use privet_store::{Claimed, IdempotencyClaim, KeptAnswer, Store, StoreError};

use crate::bed::{Bed, at, on_both_databases};

on_both_databases!(
    of_many_at_once_one_is_first,
    a_kept_answer_is_found_again_and_another_request_is_told_apart,
    a_forgotten_attempt_makes_room_for_the_next,
    the_row_of_a_dead_server_is_taken_over_by_one_and_its_late_answer_is_ignored,
    a_fenced_server_claims_nothing,
    old_rows_are_claimed_anew_and_purged_in_batches,
);

async fn replica(store: &Store) -> ReplicaId {
    let id = ReplicaId::new();
    store.register_replica(id, at(1_000_000), at(0)).await.unwrap();
    id
}

fn claim(replica_id: ReplicaId, family_id: ApiKeyId, second: i64) -> IdempotencyClaim {
    IdempotencyClaim {
        family_id,
        key: "order-1".to_owned(),
        request_hash: [7; 32],
        request_id: RequestId::new(),
        replica_id,
        at: at(second),
        expired_at: at(second - 86_400),
    }
}

fn answer(body: &str) -> KeptAnswer {
    KeptAnswer {
        status: 200,
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: Some(body.as_bytes().to_vec()),
    }
}

async fn of_many_at_once_one_is_first(bed: &Bed) {
    let store = std::sync::Arc::new(bed.open().await);
    let (replica, family) = (replica(&store).await, ApiKeyId::new());
    let mut claims = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let store = store.clone();
        claims.spawn(async move { store.claim_idempotency_key(&claim(replica, family, 1)).await.unwrap() });
    }
    let claimed = claims.join_all().await;
    assert_eq!(claimed.iter().filter(|claimed| **claimed == Claimed::First).count(), 1);
    assert_eq!(claimed.iter().filter(|claimed| **claimed == Claimed::InFlight).count(), 49);
}

async fn a_kept_answer_is_found_again_and_another_request_is_told_apart(bed: &Bed) {
    let store = bed.open().await;
    let (replica, family) = (replica(&store).await, ApiKeyId::new());
    let first = claim(replica, family, 1);
    assert_eq!(store.claim_idempotency_key(&first).await.unwrap(), Claimed::First);
    let other = IdempotencyClaim { request_hash: [8; 32], ..claim(replica, family, 2) };
    assert_eq!(store.claim_idempotency_key(&other).await.unwrap(), Claimed::Mismatch);

    store.keep_answer(&first, &answer("kept")).await.unwrap();
    let again = store.claim_idempotency_key(&claim(replica, family, 2)).await.unwrap();
    assert_eq!(again, Claimed::Answered { by: first.request_id, answer: answer("kept") });
    assert_eq!(store.claim_idempotency_key(&other).await.unwrap(), Claimed::Mismatch);
    let of_another_key = claim(replica, ApiKeyId::new(), 2);
    assert_eq!(store.claim_idempotency_key(&of_another_key).await.unwrap(), Claimed::First);
    let too_large = KeptAnswer { body: None, ..answer("") };
    store.keep_answer(&of_another_key, &too_large).await.unwrap();
    let again = store.claim_idempotency_key(&of_another_key).await.unwrap();
    assert_eq!(again, Claimed::Answered { by: of_another_key.request_id, answer: too_large });
}

async fn a_forgotten_attempt_makes_room_for_the_next(bed: &Bed) {
    let store = bed.open().await;
    let (replica, family) = (replica(&store).await, ApiKeyId::new());
    let failed = claim(replica, family, 1);
    assert_eq!(store.claim_idempotency_key(&failed).await.unwrap(), Claimed::First);
    store.forget_claim(&failed).await.unwrap();
    let next = IdempotencyClaim { request_hash: [8; 32], ..claim(replica, family, 2) };
    assert_eq!(store.claim_idempotency_key(&next).await.unwrap(), Claimed::First);
    store.forget_claim(&failed).await.unwrap();
    assert_eq!(store.claim_idempotency_key(&next).await.unwrap(), Claimed::InFlight, "it is not the failed one's row");
}

async fn the_row_of_a_dead_server_is_taken_over_by_one_and_its_late_answer_is_ignored(bed: &Bed) {
    let store = bed.open().await;
    let (dead, alive, family) = (replica(&store).await, replica(&store).await, ApiKeyId::new());
    let (lost, answered) = (claim(dead, family, 1), claim(dead, ApiKeyId::new(), 1));
    for attempt in [&lost, &answered] {
        assert_eq!(store.claim_idempotency_key(attempt).await.unwrap(), Claimed::First);
    }
    store.keep_answer(&answered, &answer("of the dead")).await.unwrap();
    let next = IdempotencyClaim { request_hash: [8; 32], ..claim(alive, family, 2) };
    assert_eq!(store.claim_idempotency_key(&next).await.unwrap(), Claimed::Mismatch, "nobody has fenced it yet");

    assert_eq!(store.fence_replicas(alive, at(2_000_000), at(3)).await.unwrap(), 1);
    assert_eq!(store.claim_idempotency_key(&next).await.unwrap(), Claimed::First);
    assert_eq!(store.claim_idempotency_key(&claim(alive, family, 3)).await.unwrap(), Claimed::Mismatch);
    store.keep_answer(&lost, &answer("too late")).await.unwrap();
    store.forget_claim(&lost).await.unwrap();
    assert_eq!(store.claim_idempotency_key(&next).await.unwrap(), Claimed::InFlight);
    let kept = IdempotencyClaim { replica_id: alive, ..answered.clone() };
    let kept = store.claim_idempotency_key(&kept).await.unwrap();
    assert_eq!(kept, Claimed::Answered { by: answered.request_id, answer: answer("of the dead") });
}

async fn a_fenced_server_claims_nothing(bed: &Bed) {
    let store = bed.open().await;
    let (dead, alive) = (replica(&store).await, replica(&store).await);
    assert_eq!(store.fence_replicas(alive, at(2_000_000), at(1)).await.unwrap(), 1);
    let refused = store.claim_idempotency_key(&claim(dead, ApiKeyId::new(), 1)).await;
    assert!(matches!(refused, Err(StoreError::Fenced)), "{refused:?}");
}

async fn old_rows_are_claimed_anew_and_purged_in_batches(bed: &Bed) {
    let store = bed.open().await;
    let replica = replica(&store).await;
    let families: Vec<ApiKeyId> = (0..5).map(|_| ApiKeyId::new()).collect();
    for (second, family) in (0..).zip(&families) {
        let kept = claim(replica, *family, second);
        assert_eq!(store.claim_idempotency_key(&kept).await.unwrap(), Claimed::First);
        store.keep_answer(&kept, &answer("kept")).await.unwrap();
    }
    let a_day_later = claim(replica, families[0], 86_400);
    assert_eq!(store.claim_idempotency_key(&a_day_later).await.unwrap(), Claimed::First);
    let expired_at = at(3);
    assert_eq!(store.purge_idempotency(expired_at, 2).await.unwrap(), 2);
    assert_eq!(store.purge_idempotency(expired_at, 2).await.unwrap(), 1);
    assert_eq!(store.purge_idempotency(expired_at, 2).await.unwrap(), 0);
    assert_eq!(bed.number("SELECT count(*) FROM idempotency").await, 2);
}
