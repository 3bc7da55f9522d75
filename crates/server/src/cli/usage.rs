//! `privet usage`, `privet explain` and `privet reconcile`: what was spent, why, and what of it nobody settled.

use clap::{Args, Subcommand};
use privet_domain::id::RequestId;
use privet_domain::money::Nanos;
use privet_domain::time::{Clock as _, SystemClock, Timestamp};
use privet_engine::api_key;
use privet_engine::budget::{BudgetRules, LEASE, Spender};
use privet_engine::usage::{self, Explanation, Reconciliation, Totals, UsageReport};
use privet_store::{ApiKey, OpenCall, Store, UsageFilter};
use serde_json::json;

use super::{Common, Exit, FAILURE, USAGE, load, open_known_store, print_json};
use crate::config::Config;
use crate::usage_view::{ExplanationView, UsageView};

/// What stands for a key in calls that Privet makes by itself.
const NO_KEY: &str = "00000000-0000-0000-0000-000000000000";

#[derive(Args)]
pub(super) struct UsageArgs {
    #[command(flatten)]
    common: Common,
    /// Only the calls of this key, by its id
    #[arg(long, value_name = "ID")]
    key: Option<String>,
    /// Only the calls of this user
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Only the calls of this project
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// Only calls made at this instant or later, RFC 3339
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only calls made before this instant, RFC 3339
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

#[derive(Args)]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    common: Common,
    /// The request, as its answer's x-request-id names it
    #[arg(value_name = "REQUEST_ID")]
    id: String,
}

#[derive(Args)]
pub(super) struct ReconcileArgs {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Option<ReconcileCommand>,
}

#[derive(Subcommand)]
enum ReconcileCommand {
    /// They did cost what was held: their providers may have answered
    Charge {
        /// Only this call
        #[arg(value_name = "REQUEST_ID")]
        id: Option<String>,
    },
    /// They cost nothing, as the provider's own bill says
    Release {
        /// Only this call
        #[arg(value_name = "REQUEST_ID")]
        id: Option<String>,
    },
}

pub(super) async fn run(args: UsageArgs) -> Result<(), Exit> {
    let config = load(&args.common, None)?;
    let store = open_known_store(&config).await?;
    let mut filter = UsageFilter {
        user_id: args.user.clone(),
        since: args.since.as_deref().map(|text| instant("--since", text)).transpose()?,
        until: args.until.as_deref().map(|text| instant("--until", text)).transpose()?,
        ..UsageFilter::default()
    };
    if let Some(name) = &args.project {
        let project = store.find_project(name).await?;
        let project = project.ok_or_else(|| Exit::new(FAILURE, format!("there is no project `{name}`")))?;
        filter.project_id = Some(project.id);
    }
    let key = match &args.key {
        Some(id) => Some(api_key::find(&store, id).await?),
        None => None,
    };
    filter.key_id = key.as_ref().map(|key| key.id);
    let report = usage::report(&store, &filter).await?;
    let budgets = budgets(&config, key.as_ref())?;
    let standings = usage::standings(&store, &budgets, SystemClock.now()).await?;
    if args.common.json {
        return print_json(&UsageView::new(&report, standings));
    }
    print_report(&store, &report).await?;
    for standing in standings {
        let resets = standing.resets_at.map_or_else(String::new, |at| format!(", full again at {at}"));
        println!(
            "budget {}: {} settled and {} held of {}{resets}",
            standing.budget, standing.settled, standing.held, standing.limit
        );
    }
    Ok(())
}

pub(super) async fn explain(args: ExplainArgs) -> Result<(), Exit> {
    let id: RequestId = read_id(&args.id)?;
    let store = open_known_store(&load(&args.common, None)?).await?;
    let Some(explanation) = usage::explain(&store, id).await? else {
        let message = format!(
            "nothing is known of the request `{id}`: it reached no provider and met no limit of a key. Refusals are kept a \
             moment after they happen, the latest hundred thousand of them."
        );
        return Err(Exit::new(FAILURE, message));
    };
    let key_id = match &explanation {
        Explanation::Calls(calls) => calls.first().map(|call| call.key_id),
        Explanation::Refused(refusal) => Some(refusal.key_id),
    };
    let key_id = key_id.map(|id| id.to_string()).unwrap_or_default();
    let view = ExplanationView::new(&explanation, &name_of(&keys(&store).await?, &key_id));
    if args.common.json {
        return print_json(&view);
    }
    println!("{}", view.text());
    Ok(())
}

pub(super) async fn reconcile(args: ReconcileArgs) -> Result<(), Exit> {
    let store = open_known_store(&load(&args.common, None)?).await?;
    let mut calls = store.abandoned_calls().await?;
    tell_of_open(&store, &calls).await?;
    let (how, id) = match args.command {
        None => {
            if args.common.json {
                let rows: Vec<_> = calls
                    .iter()
                    .map(|call| {
                        json!({"id": call.id, "hold_nanos": call.hold.as_i64(), "created_at": call.created_at,
                                       "provider": call.provider, "model": call.model, "key_id": call.key_id})
                    })
                    .collect();
                return print_json(&rows);
            }
            for call in &calls {
                println!("{}  {}  {}/{}  holds {}", call.id, call.created_at, call.provider, call.model, call.hold);
            }
            let held: Nanos = calls.iter().map(|call| call.hold).sum();
            println!("{} calls whose process died hold {held}.", calls.len());
            if !calls.is_empty() {
                println!("`privet reconcile charge` settles them at that, `privet reconcile release` at nothing.");
            }
            return Ok(());
        }
        Some(ReconcileCommand::Charge { id }) => (Reconciliation::Charge, id),
        Some(ReconcileCommand::Release { id }) => (Reconciliation::Release, id),
    };
    if let Some(id) = id {
        let id = read_id(&id)?;
        calls.retain(|call| call.id == id);
        if calls.is_empty() {
            return Err(Exit::new(
                FAILURE,
                format!("`{id}` is no call whose process died; `privet reconcile` lists them"),
            ));
        }
    }
    let now = SystemClock.now();
    for call in &calls {
        usage::reconcile(&store, call, how, now).await?;
    }
    let held: Nanos = calls.iter().map(|call| call.hold).sum();
    if args.common.json {
        return print_json(&json!({"settled": calls.len(), "held_nanos": held.as_i64()}));
    }
    println!("{} calls settled, which held {held}.", calls.len());
    Ok(())
}

/// Says of how many calls it is too early to tell whether their process died.
async fn tell_of_open(store: &Store, abandoned: &[OpenCall]) -> Result<(), Exit> {
    let mut open = store.open_calls(None).await?;
    open.retain(|call| !abandoned.iter().any(|other| other.id == call.id));
    if open.is_empty() {
        return Ok(());
    }
    let held: Nanos = open.iter().map(|call| call.hold).sum();
    let seconds = LEASE.as_secs();
    let when = if store.is_shared() {
        format!("another server takes it for dead after {seconds} s without a sign of life: repeat in {seconds} s")
    } else {
        "the next `privet serve` on this folder takes it for dead at its start: repeat then".to_owned()
    };
    eprintln!(
        "{} calls have not ended and hold {held}; it is too early to tell. Should their process have died, {when}.",
        open.len()
    );
    Ok(())
}

/// The budgets to show: those of a key, or all of the configuration.
fn budgets(config: &Config, key: Option<&ApiKey>) -> Result<Vec<privet_domain::budget::Budget>, Exit> {
    let Some(key) = key else { return Ok(config.budgets.clone()) };
    let (_, limits) = api_key::rights(key)?;
    let rules = BudgetRules::new(config.budgets.clone(), config.limits.time_zone.clone());
    let spender =
        Spender { family_id: key.family_id, user_id: &key.user_id, project: &key.project, allowances: &limits.budgets };
    Ok(rules.of(&spender).iter().map(|rule| rule.budget.clone()).collect())
}

async fn print_report(store: &Store, report: &UsageReport) -> Result<(), Exit> {
    println!("{}", line("total", &report.totals));
    let keys = keys(store).await?;
    for (id, totals) in &report.by_key {
        println!("{}", line(&name_of(&keys, id), totals));
    }
    for (title, parts) in [("user", &report.by_user), ("model", &report.by_model), ("day", &report.by_day)] {
        for (name, totals) in parts {
            println!("{}", line(&format!("{title} {name}"), totals));
        }
    }
    Ok(())
}

fn line(name: &str, totals: &Totals) -> String {
    let (settled, held) = (Nanos::new(totals.settled_nanos), Nanos::new(totals.held_nanos));
    format!(
        "{name}: {settled} settled, {held} held, {} calls, {} tokens in, {} out",
        totals.calls, totals.input_tokens, totals.output_tokens
    )
}

async fn keys(store: &Store) -> Result<Vec<ApiKey>, Exit> {
    Ok(api_key::list(store).await?)
}

/// A key as people know it.
fn name_of(keys: &[ApiKey], id: &str) -> String {
    match keys.iter().find(|key| key.id.to_string() == id) {
        Some(key) => format!("key {} ({})", key.public_id, key.name),
        None if id == NO_KEY => "no key (the memory's worker)".to_owned(),
        None => format!("key {id}"),
    }
}

fn read_id(text: &str) -> Result<RequestId, Exit> {
    text.parse()
        .map_err(|_| Exit::new(USAGE, format!("`{text}` is no request's id: those are UUIDs, as in x-request-id")))
}

fn instant(flag: &str, text: &str) -> Result<Timestamp, Exit> {
    Timestamp::parse(text)
        .ok_or_else(|| Exit::new(USAGE, format!("{flag} `{text}`: write RFC 3339, such as `2026-11-25T00:00:00Z`")))
}
