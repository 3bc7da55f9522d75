//! `privet memory`: what is remembered, searched, shown, forgotten, carried and evaluated; whether it and its index agree, and making
//! the index again.

mod asking;
mod browse;
mod check;
mod descriptions;
mod eval;
mod exchange;
mod history;
mod line;
mod make;
mod on_server;
mod reindex;
mod search;

use clap::{Args, Subcommand};
use privet_engine::memory::check::Mending;

use super::{Common, Exit};

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
    /// List the documents that are remembered, the latest added first
    Documents(browse::DocumentsArgs),
    /// Show a memory with its descriptions and the texts that it had before
    Show(browse::ShowArgs),
    /// Delete a memory, or all of a user, a conversation or a document
    Delete(browse::DeleteArgs),
    /// Write what is remembered as JSON lines
    Export(exchange::ExportArgs),
    /// Remember what was exported; what is there already stays as it is
    Import(exchange::ImportArgs),
    /// Remember the conversations of which nothing is remembered: from before memory was there, or imported
    Remember(history::RememberArgs),
    /// Judge what is found: recall@k, nDCG@k and MRR by legs and languages, with intervals of 95 %
    Eval(eval::EvalArgs),
    /// Compare what is remembered with its index, both ways; drift is exit code 1
    Check {
        /// Mend what differs; vectors that are missing are made by the server
        #[arg(long)]
        repair: bool,
    },
    /// Show how far the descriptions by a model are, and have them made again
    Descriptions(descriptions::DescriptionsArgs),
    /// Make the index of words again from what is remembered, and what is missing of the vectors; on a Qdrant server everything
    Rebuild,
    /// Make the vectors of all that is remembered by another embedder, while recall goes on with the one before
    Reindex(reindex::ReindexArgs),
}

pub(super) async fn run(args: MemoryArgs) -> Result<(), Exit> {
    let common = &args.common;
    match args.command {
        MemoryCommand::Search(args) => Box::pin(search::run(common, args)).await,
        MemoryCommand::List(args) => browse::list(common, args).await,
        MemoryCommand::Documents(args) => browse::documents(common, args).await,
        MemoryCommand::Show(args) => browse::show(common, args).await,
        MemoryCommand::Delete(args) => browse::delete(common, args).await,
        MemoryCommand::Export(args) => exchange::export(common, args).await,
        MemoryCommand::Import(args) => exchange::import(common, args).await,
        MemoryCommand::Remember(args) => history::remember(common, args).await,
        MemoryCommand::Eval(args) => Box::pin(eval::run(common, args)).await,
        MemoryCommand::Check { repair: false } => check::run(common, Mending::Count).await,
        MemoryCommand::Check { repair: true } => check::run(common, Mending::Differing).await,
        MemoryCommand::Descriptions(args) => descriptions::run(common, args).await,
        MemoryCommand::Rebuild => check::run(common, Mending::Everything).await,
        MemoryCommand::Reindex(args) => Box::pin(reindex::run(common, args)).await,
    }
}
