//! `privet memory`: what is remembered, searched, shown, forgotten, carried and evaluated; whether it and its index agree, and making
//! the index again.

mod asking;
mod browse;
mod eval;
mod exchange;
mod line;
mod make;
mod search;

use clap::{Args, Subcommand};
use privet_domain::id::EmbedderId;
use privet_domain::time::{Clock as _, SystemClock};
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
    /// Find what fits a question
    Search(search::SearchArgs),
    /// List what is remembered, newest first
    List(browse::ListArgs),
    /// Show a memory with the texts that it had before
    Show(browse::ShowArgs),
    /// Delete a memory, or all of a user or of a conversation
    Delete(browse::DeleteArgs),
    /// Write what is remembered as JSON lines
    Export(exchange::ExportArgs),
    /// Remember what was exported; what is there already stays as it is
    Import(exchange::ImportArgs),
    /// Judge what is found: recall@k, nDCG@k and MRR by legs and languages, with intervals of 95 %
    Eval(eval::EvalArgs),
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
    let common = &args.common;
    match args.command {
        MemoryCommand::Search(args) => Box::pin(search::run(common, args)).await,
        MemoryCommand::List(args) => browse::list(common, args).await,
        MemoryCommand::Show(args) => browse::show(common, args).await,
        MemoryCommand::Delete(args) => browse::delete(common, args).await,
        MemoryCommand::Export(args) => exchange::export(common, args).await,
        MemoryCommand::Import(args) => exchange::import(common, args).await,
        MemoryCommand::Eval(args) => Box::pin(eval::run(common, args)).await,
        MemoryCommand::Check { repair } => check(common, repair, false).await,
        MemoryCommand::Rebuild => check(common, true, true).await,
    }
}

async fn check(common: &Common, repair: bool, words_anew: bool) -> Result<(), Exit> {
    let config = load(common, None)?;
    let store = open_known_store(&config).await?;
    let embedders = store.embedders().await?;
    let active = embedders.into_iter().find(|embedder| embedder.state == EmbedderState::Active);
    // Without an embedder in the configuration no vector is missed.
    let has_embedder = config.memory.as_ref().is_some_and(|memory| memory.embedder.is_some());
    let embedder = active.filter(|_| has_embedder).map(|embedder| embedder.id);
    if words_anew {
        store.empty_keyword_index().await?;
    }
    if repair {
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
