//! Whether what is remembered and its index agree, and making the index again.

use privet_domain::id::EmbedderId;
use privet_domain::time::{Clock as _, SystemClock};
use privet_engine::memory::check::Mending;
use privet_store::{EmbedderState, MemoryCheck, Store};
use serde_json::json;

use super::on_server;
use crate::cli::{Common, Exit, FAILURE, load, open_known_store, print_json};

pub(super) async fn run(common: &Common, mending: Mending) -> Result<(), Exit> {
    let config = load(common, None)?;
    let store = open_known_store(&config).await?;
    if let Some(qdrant) = &config.qdrant {
        return Box::pin(on_server::check(common, &store, qdrant, mending)).await;
    }
    let embedders = store.embedders().await?;
    let active = embedders.into_iter().find(|embedder| embedder.state == EmbedderState::Active);
    // Without an embedder in the configuration no vector is missed.
    let has_embedder = config.memory.as_ref().is_some_and(|memory| memory.embedder.is_some());
    let embedder = active.filter(|_| has_embedder).map(|embedder| embedder.id);
    if mending == Mending::Everything {
        store.empty_keyword_index().await?;
        if let Some(embedder) = embedder {
            store.forget_refusals(embedder).await?;
        }
    }
    if mending != Mending::Count {
        mend(&store, embedder).await?;
    }
    let check = store.check_memory(embedder).await?;
    tell(common, &check)?;
    match check.drift.total() {
        0 => Ok(()),
        drift => Err(Exit::new(FAILURE, format!("drift {drift}: run privet memory check --repair"))),
    }
}

async fn mend(store: &Store, embedder: Option<EmbedderId>) -> Result<(), Exit> {
    while store.repair_memory(embedder, SystemClock.now()).await? > 0 {}
    Ok(())
}

fn tell(common: &Common, check: &MemoryCheck) -> Result<(), Exit> {
    if common.json {
        return print_json(&json!({
            "memories": check.memories, "representations": check.representations, "drift": check.drift,
            "drift_total": check.drift.total(), "refused": check.refused, "outbox": check.outbox.tasks,
        }));
    }
    println!("memories         {}", check.memories);
    println!("representations  {}", check.representations);
    println!("in the outbox    {}", check.outbox.tasks);
    if check.refused > 0 {
        println!("refused          {} by the embedder: their words alone find them", check.refused);
    }
    println!("drift            {}", check.drift.total());
    let drift = &check.drift;
    for (name, count) in [
        ("without text", drift.without_text),
        ("without words", drift.without_words),
        ("words of nothing", drift.words_of_nothing),
        ("without a vector", drift.without_vector),
        ("vectors of nothing", drift.vectors_of_nothing),
    ] {
        if count > 0 {
            println!("  {name}: {count}");
        }
    }
    Ok(())
}
