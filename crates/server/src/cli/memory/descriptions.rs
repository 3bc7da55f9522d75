//! `privet memory descriptions`: how far they are, and describing again.

use clap::Args;
use privet_domain::time::{Clock as _, SystemClock};
use privet_engine::api_key::DEFAULT_PROJECT;
use privet_store::Again;
use serde_json::json;

use super::browse::open;
use crate::cli::{Common, Exit, print_json};

#[derive(Args)]
pub(super) struct DescriptionsArgs {
    #[arg(long, default_value = DEFAULT_PROJECT)]
    project: String,
    /// Let those be tried again that the model could not describe
    #[arg(long, conflicts_with = "anew")]
    retry: bool,
    /// Let all be described again, as after a change of the prompt or the model: each costs a call
    #[arg(long)]
    anew: bool,
}

pub(super) async fn run(common: &Common, args: DescriptionsArgs) -> Result<(), Exit> {
    let (store, project) = open(common, &args.project).await?;
    let which = match (args.retry, args.anew) {
        (false, false) => None,
        (_, true) => Some(Again::All),
        (true, false) => Some(Again::GivenUp),
    };
    let again = match which {
        Some(which) => store.describe_again(project, which, SystemClock.now()).await?,
        None => 0,
    };
    let counts = store.description_counts(Some(project)).await?;
    if common.json {
        return print_json(&json!({
            "waiting": counts.waiting, "made": counts.made, "given_up": counts.given_up, "again": again,
        }));
    }
    println!("waiting   {}", counts.waiting);
    println!("made      {}", counts.made);
    println!("given up  {}", counts.given_up);
    if which.is_some() {
        println!("{again} are described again by a running server with memory.describer.");
    }
    Ok(())
}
