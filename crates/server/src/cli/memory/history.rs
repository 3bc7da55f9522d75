//! `privet memory remember`: what stands in the history and not in memory.

use clap::Args;
use privet_domain::time::{Clock as _, SystemClock};
use privet_engine::api_key::DEFAULT_PROJECT;
use serde_json::json;

use super::browse::open;
use crate::cli::{Common, Exit, FAILURE, load, print_json};

#[derive(Args)]
pub(super) struct RememberArgs {
    #[arg(long, default_value = DEFAULT_PROJECT)]
    project: String,
}

pub(super) async fn remember(common: &Common, args: RememberArgs) -> Result<(), Exit> {
    if load(common, None)?.memory.is_none() {
        return Err(Exit::new(FAILURE, "nothing is remembered here: memory.enabled is false"));
    }
    let (store, project) = open(common, &args.project).await?;
    let (mut remembered, mut after) = (0, None);
    loop {
        let step = store.remember_history(project, after, SystemClock.now()).await?;
        remembered += step.remembered;
        if step.last.is_none() {
            break;
        }
        after = step.last;
    }
    if common.json {
        return print_json(&json!({"remembered": remembered}));
    }
    println!("{remembered} messages are remembered now that were not. A running server makes their vectors.");
    Ok(())
}
