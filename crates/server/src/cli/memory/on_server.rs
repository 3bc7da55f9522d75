//! `privet memory check` and `rebuild` where the index is on a Qdrant server: what it has is compared with the database.

use privet_domain::time::{Clock as _, SystemClock};
use privet_engine::memory::check::{IndexDrift, Mending, compare};
use privet_index::{QdrantIndex, QdrantSettings};
use privet_store::{EmbedderState, MemoryCheck, Store};
use serde_json::json;

use super::super::{CONFIGURATION, Common, Exit, FAILURE, print_json};

/// Compares, after mending what is to be mended. What has to be written anew goes into the outbox, which a running server follows.
pub(super) async fn check(
    common: &Common,
    store: &Store,
    settings: &QdrantSettings,
    mending: Mending,
) -> Result<(), Exit> {
    let index = QdrantIndex::new(settings).map_err(|error| Exit::new(CONFIGURATION, error.to_string()))?;
    let active = store.embedders().await?.into_iter().find(|embedder| embedder.state == EmbedderState::Active);
    let embedder = active.map(|embedder| embedder.id);
    if let Some(embedder) = embedder.filter(|_| mending == Mending::Everything) {
        store.forget_refusals(embedder).await?;
    }
    if mending != Mending::Count {
        while store.repair_memory(None, SystemClock.now()).await? > 0 {}
        compared(store, &index, mending).await?;
    }
    let drift = compared(store, &index, Mending::Count).await?;
    let check = store.check_memory(embedder).await?;
    tell(common, &check, drift)?;
    match check.drift.total() + drift.total() {
        0 => Ok(()),
        drift => Err(Exit::new(FAILURE, format!("drift {drift}: run privet memory check --repair"))),
    }
}

async fn compared(store: &Store, index: &QdrantIndex, mending: Mending) -> Result<IndexDrift, Exit> {
    let compared = compare(store, index, mending, SystemClock.now()).await;
    compared.map_err(|error| Exit::new(FAILURE, error.to_string()))
}

fn tell(common: &Common, check: &MemoryCheck, drift: IndexDrift) -> Result<(), Exit> {
    let total = check.drift.total() + drift.total();
    if common.json {
        return print_json(&json!({
            "memories": check.memories, "representations": check.representations, "drift": check.drift,
            "index": drift, "drift_total": total, "refused": check.refused, "outbox": check.outbox.tasks,
        }));
    }
    println!("memories         {}", check.memories);
    println!("representations  {}", check.representations);
    println!("in the outbox    {}", check.outbox.tasks);
    if check.refused > 0 {
        println!("refused          {} by the embedder: their words alone find them", check.refused);
    }
    println!("drift            {total}");
    for (name, count) in [
        ("without text", check.drift.without_text),
        ("missing in the index", drift.missing),
        ("outdated in the index", drift.outdated),
        ("orphans of the index", drift.orphans),
    ] {
        if count > 0 {
            println!("  {name}: {count}");
        }
    }
    Ok(())
}
