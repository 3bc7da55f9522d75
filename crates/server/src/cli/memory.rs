//! `privet memory`: whether what is remembered and its index agree, and making the index again.

mod on_server;

use clap::{Args, Subcommand};
use privet_domain::id::EmbedderId;
use privet_domain::time::{Clock as _, SystemClock};
use privet_engine::memory::check::Mending;
use privet_store::{EmbedderState, MemoryCheck, Store};
use serde_json::json;

use super::{Common, Exit, FAILURE, load, open_known_store, print_json};

#[derive(Args)]
pub(super) struct MemoryArgs {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: MemoryCommand,
}

#[derive(Subcommand)]
enum MemoryCommand {
    /// Compare what is remembered with its index, both ways; drift is exit code 1
    Check {
        /// Mend what differs; vectors that are missing are made by the server
        #[arg(long)]
        repair: bool,
    },
    /// Make the index of words again from what is remembered, and what is missing of the vectors
    Rebuild,
}

pub(super) async fn run(args: MemoryArgs) -> Result<(), Exit> {
    let config = load(&args.common, None)?;
    let store = open_known_store(&config).await?;
    if let Some(qdrant) = &config.qdrant {
        let mending = match args.command {
            MemoryCommand::Check { repair: false } => Mending::Count,
            MemoryCommand::Check { repair: true } => Mending::Differing,
            MemoryCommand::Rebuild => Mending::Everything,
        };
        return Box::pin(on_server::check(&args.common, &store, qdrant, mending)).await;
    }
    let embedders = store.embedders().await?;
    let active = embedders.into_iter().find(|embedder| embedder.state == EmbedderState::Active);
    // Without an embedder in the configuration no vector is missed.
    let has_embedder = config.memory.as_ref().is_some_and(|memory| memory.embedder.is_some());
    let embedder = active.filter(|_| has_embedder).map(|embedder| embedder.id);
    match args.command {
        MemoryCommand::Check { repair: false } => {}
        MemoryCommand::Check { repair: true } => mend(&store, embedder).await?,
        MemoryCommand::Rebuild => {
            store.empty_keyword_index().await?;
            mend(&store, embedder).await?;
        }
    }
    let check = store.check_memory(embedder).await?;
    tell(&args.common, &check)?;
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
            "drift_total": check.drift.total(), "outbox": check.outbox.tasks,
        }));
    }
    println!("memories         {}", check.memories);
    println!("representations  {}", check.representations);
    println!("in the outbox    {}", check.outbox.tasks);
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
