//! `privet erase`: erase everything of a user, with a receipt.

use std::sync::Arc;

use clap::Args;
use privet_domain::time::SystemClock;
use privet_engine::api_key::DEFAULT_PROJECT;
use privet_engine::erasure::{Erasure, ErasureReceipt};
use privet_store::{TraceStore, Unpriced, WriteSettings};

use super::{Common, Exit, FAILURE, USAGE, load, open_store, print_json, until_servers_know};

const RECEIPTS_MAX: u32 = 1_000;

#[derive(Args)]
pub(super) struct EraseArgs {
    #[command(flatten)]
    common: Common,
    /// The user, as its keys and traces name it
    #[arg(long, value_name = "NAME", required_unless_present = "receipts", conflicts_with = "receipts")]
    user: Option<String>,
    /// The project whose data it is
    #[arg(long, value_name = "NAME", default_value = DEFAULT_PROJECT)]
    project: String,
    /// Do it: nothing of it can be brought back
    #[arg(long)]
    yes: bool,
    /// List the receipts of what was erased before
    #[arg(long)]
    receipts: bool,
}

pub(super) async fn run(args: EraseArgs) -> Result<(), Exit> {
    let config = load(&args.common, None)?;
    let store = Arc::new(open_store(&config).await?);
    let Some(project) = store.find_project(&args.project).await? else {
        return Err(Exit::new(FAILURE, format!("there is no project `{}`", args.project)));
    };
    let clock = Arc::new(SystemClock);
    let settings = WriteSettings { exports: config.traces.export.is_some() };
    let traces = TraceStore::open(&config.database, settings, Arc::new(Unpriced), clock.clone()).await?;
    let erasure = Erasure { store, traces: Arc::new(traces), clock };
    let Some(user) = args.user else {
        let receipts = erasure.receipts(project.id, RECEIPTS_MAX).await?;
        if args.common.json {
            return print_json(&receipts);
        }
        for receipt in &receipts {
            println!("{}  {}  {}", receipt.id, receipt.at, receipt.pseudonym);
        }
        return Ok(());
    };
    if !args.yes {
        let message = format!(
            "this erases the conversations and traces of `{user}` in the project `{}` and revokes its keys, for ever; \
             repeat it with --yes",
            args.project
        );
        return Err(Exit::new(USAGE, message));
    }
    let revoked = erasure.revoke_keys(project.id, &user).await?;
    if revoked > 0 {
        until_servers_know().await;
    }
    let receipt = erasure.erase(project.id, &project.name, &user).await?;
    if args.common.json {
        return print_json(&receipt);
    }
    tell(&receipt);
    Ok(())
}

fn tell(receipt: &ErasureReceipt) {
    println!("Receipt {} of {}", receipt.id, receipt.at);
    println!("The ledger keeps the amounts as {}.", receipt.pseudonym);
    for (database, tables) in receipt.deleted.as_object().into_iter().flatten() {
        for (table, rows) in tables.as_object().into_iter().flatten() {
            println!("  {database} {table}: {rows}");
        }
    }
    if !receipt.logs_emptied {
        println!("Readers kept the database's log from being emptied; erase again when it is quieter.");
    }
    println!("Not covered:");
    for what in &receipt.not_covered {
        println!("  {what}");
    }
}
