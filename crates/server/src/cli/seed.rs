//! `privet seed`.

use clap::Args;
use privet_domain::time::{Clock as _, SystemClock};
use privet_engine::api_key::DEFAULT_PROJECT;
use privet_engine::seed;

use super::{Common, Exit, FAILURE, load, open_store, print_json};

#[derive(Args)]
pub(super) struct SeedArgs {
    #[command(flatten)]
    common: Common,
    /// The same number gives the same data
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many conversations
    #[arg(long, value_name = "N", default_value_t = 50)]
    conversations: usize,
    /// The project to fill
    #[arg(long, value_name = "NAME", default_value = DEFAULT_PROJECT)]
    project: String,
}

pub(super) async fn run(args: SeedArgs) -> Result<(), Exit> {
    let config = load(&args.common, None)?;
    let store = open_store(&config).await?;
    let project = store.ensure_project(&args.project, SystemClock.now()).await?;
    if !store.conversations(project.id, None, 1).await?.conversations.is_empty() {
        let message = format!(
            "the project `{}` holds conversations already; sample data goes into a fresh one: choose another with --project or --data",
            args.project
        );
        return Err(Exit::new(FAILURE, message));
    }
    let report = seed::fill(&store, project.id, args.seed, args.conversations).await?;
    store.close().await;
    if args.common.json {
        return print_json(&report);
    }
    println!("{} conversations with {} messages.", report.conversations, report.messages);
    Ok(())
}
