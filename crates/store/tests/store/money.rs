//! Short ways to spend in a test.

use std::sync::Arc;

use privet_domain::id::{ApiKeyId, ProjectId, ReplicaId, RequestId};
use privet_domain::money::Nanos;
use privet_domain::time::Timestamp;
use privet_domain::usage::Usage;
use privet_store::{CallKind, Charge, GrantRequest, Hold, Outcome, Settlement, Store, UsageSource};

use crate::bed::at;

/// A replica that is alive until second 100.
pub(crate) async fn replica(store: &Store) -> ReplicaId {
    let id = ReplicaId::new();
    store.register_replica(id, at(100), at(0)).await.unwrap();
    id
}

/// A window of a budget.
pub(crate) fn window(budget: &str) -> Charge {
    Charge { budget: budget.into(), window_start: at(0) }
}

/// Asks for exactly so much of a window with this limit; gives what was granted.
pub(crate) async fn grant(store: &Store, replica_id: ReplicaId, charge: &Charge, limit: i64, need: i64) -> i64 {
    store.grant(&ask(replica_id, charge, limit, need)).await.unwrap().granted.as_i64()
}

pub(crate) fn ask(replica_id: ReplicaId, charge: &Charge, limit: i64, need: i64) -> GrantRequest {
    GrantRequest {
        replica_id,
        charge: charge.clone(),
        limit: Nanos::new(limit),
        need: Nanos::new(need),
        share: i64::MAX,
        at: at(1),
    }
}

/// A hold of so much, charged to these windows.
pub(crate) fn hold(replica_id: ReplicaId, amount: i64, charges: &[Charge]) -> Arc<Hold> {
    Arc::new(Hold {
        id: RequestId::new(),
        replica_id,
        project_id: ProjectId::new(),
        key_id: ApiKeyId::new(),
        user_id: "ola".into(),
        kind: CallKind::Chat,
        provider: "openai".to_owned(),
        model: "gpt-4o".to_owned(),
        amount: Nanos::new(amount),
        price: Some("gpt-4o of 2024-10-02".into()),
        charges: charges.to_vec(),
        at: at(1),
    })
}

/// What a hold's call did cost.
pub(crate) fn settlement(hold: &Arc<Hold>, cost: i64, at: Timestamp) -> Settlement {
    Settlement {
        hold: hold.clone(),
        outcome: Outcome::Complete,
        cost: Nanos::new(cost),
        usage: Usage { input: 10, cached_input: 4, output: 5, reasoning: 2, ..Usage::default() },
        source: UsageSource::Reported,
        tier: Some("default".to_owned()),
        bill: Some("[]".to_owned()),
        at,
    }
}
