//! `privet traces`: what requests and agents did, straight from the database.

mod tree;

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use privet_domain::id::ProjectId;
use privet_domain::time::{Clock as _, NanoTimestamp, SystemClock, parse_duration};
use privet_domain::trace::TraceId;
use privet_engine::api_key::DEFAULT_PROJECT;
use privet_store::{
    Comparison, Condition, Page, StoreError, Test, TraceColumn, TraceOrder, TraceQuery, TraceStore, TraceWithTotals,
    Unpriced, WriteSettings,
};

use super::{Common, Exit, FAILURE, USAGE, load, open_store, print_json};
use crate::trace_view::{TraceDetail, TraceSummary};

/// So often `tail` looks for new traces.
const TAIL_INTERVAL: Duration = Duration::from_millis(500);
/// So many traces `tail` shows of one look.
const TAIL_PAGE: u32 = 500;
/// A trace that began so long ago may still appear: it is written when its first step ends.
const LATE: Duration = Duration::from_secs(60);

#[derive(Subcommand)]
pub(super) enum TracesCommand {
    /// List traces, newest first
    List {
        #[command(flatten)]
        filter: FilterArgs,
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Show a trace as a tree of its observations
    Show {
        /// The trace: of a request its x-request-id will do
        id: String,
        #[arg(long, default_value = DEFAULT_PROJECT)]
        project: String,
        /// Show inputs and outputs whole
        #[arg(long)]
        full: bool,
    },
    /// Show traces as they come; Ctrl-C ends it
    Tail {
        #[command(flatten)]
        filter: FilterArgs,
    },
}

#[derive(Args)]
pub(super) struct FilterArgs {
    #[arg(long, default_value = DEFAULT_PROJECT)]
    project: String,
    /// Only of this user
    #[arg(long)]
    user: Option<String>,
    /// Only of this session
    #[arg(long)]
    session: Option<String>,
    /// Only of this name
    #[arg(long)]
    name: Option<String>,
    /// Only with this tag; several times: with all of them
    #[arg(long)]
    tag: Vec<String>,
    /// Only of this environment
    #[arg(long)]
    environment: Option<String>,
    /// Only those that began at this instant (RFC 3339) or later, or so long ago (`2h`, `7d`)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only those with a failed observation
    #[arg(long)]
    errors: bool,
}

pub(super) async fn run(common: &Common, command: TracesCommand) -> Result<(), Exit> {
    match command {
        TracesCommand::List { filter, limit } => list(common, &filter, limit).await,
        TracesCommand::Show { id, project, full } => show(common, &id, &project, full).await,
        TracesCommand::Tail { filter } => tail(common, &filter).await,
    }
}

async fn list(common: &Common, filter: &FilterArgs, limit: u32) -> Result<(), Exit> {
    let conditions = filter.conditions()?;
    let (store, project) = open(common, &filter.project).await?;
    let list = store.list_traces(project, &query(conditions, Page::Skip(0, limit.max(1)))).await?;
    if common.json {
        return print_json(&list.traces.iter().map(TraceSummary::from).collect::<Vec<_>>());
    }
    print!("{}", tree::table(&list.traces));
    Ok(())
}

async fn show(common: &Common, id: &str, project: &str, is_full: bool) -> Result<(), Exit> {
    let (store, project) = open(common, project).await?;
    let unknown = || Exit::new(FAILURE, format!("there is no trace `{id}`; `privet traces list` shows what there is"));
    let mut found = Err(StoreError::NotFound);
    // A request's trace has its id without hyphens.
    for id in [id.to_owned(), id.replace('-', "")] {
        let id: TraceId = id.parse().map_err(|_| Exit::new(USAGE, format!("`{id}` is no trace's id")))?;
        found = store.trace(project, &id).await;
        if !matches!(found, Err(StoreError::NotFound)) {
            break;
        }
    }
    let trace = match found {
        Err(StoreError::NotFound) => return Err(unknown()),
        found => found?,
    };
    let observations = store.observations_of(project, &trace.trace.id).await?;
    let scores = store.scores_of(project, &trace.trace.id).await?;
    if common.json {
        return print_json(&TraceDetail::new(trace, observations, scores));
    }
    print!("{}", tree::of_trace(&trace, &observations, &scores, is_full));
    Ok(())
}

async fn tail(common: &Common, filter: &FilterArgs) -> Result<(), Exit> {
    let conditions = filter.conditions()?;
    let (store, project) = open(common, &filter.project).await?;
    let mut seen: Vec<(NanoTimestamp, TraceId)> = Vec::new();
    let mut is_first = true;
    loop {
        let since = NanoTimestamp::from(SystemClock.now().before(LATE));
        let mut conditions = conditions.clone();
        conditions.push(Condition::since(TraceColumn::Timestamp, since));
        let list = store.list_traces(project, &query(conditions, Page::Skip(0, TAIL_PAGE))).await?;
        let new: Vec<TraceWithTotals> =
            list.traces.into_iter().rev().filter(|one| !seen.iter().any(|(_, id)| *id == one.trace.id)).collect();
        seen.retain(|(at, _)| *at >= since);
        seen.extend(new.iter().map(|one| (one.trace.timestamp, one.trace.id.clone())));
        // What was there already is no news.
        if !is_first {
            for trace in &new {
                match common.json {
                    true => println!("{}", serde_json::json!(TraceSummary::from(trace))),
                    false => println!("{}", tree::line(trace)),
                }
            }
        }
        is_first = false;
        tokio::select! {
            () = tokio::time::sleep(TAIL_INTERVAL) => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

fn query(conditions: Vec<Condition<TraceColumn>>, page: Page) -> TraceQuery {
    TraceQuery { conditions, order: TraceOrder::Timestamp, is_descending: true, page, has_contents: false }
}

async fn open(common: &Common, project: &str) -> Result<(TraceStore, ProjectId), Exit> {
    let config = load(common, None)?;
    let store = open_store(&config).await?;
    let found = store.find_project(project).await?;
    let project = found.ok_or_else(|| Exit::new(FAILURE, format!("there is no project `{project}`")))?;
    let settings = WriteSettings::default();
    let traces = TraceStore::open(&config.database, settings, Arc::new(Unpriced), Arc::new(SystemClock)).await?;
    Ok((traces, project.id))
}

impl FilterArgs {
    fn conditions(&self) -> Result<Vec<Condition<TraceColumn>>, Exit> {
        let mut conditions = Vec::new();
        for (column, value) in [
            (TraceColumn::User, &self.user),
            (TraceColumn::Session, &self.session),
            (TraceColumn::Name, &self.name),
            (TraceColumn::Environment, &self.environment),
        ] {
            conditions.extend(value.as_deref().map(|value| Condition::is(column, value)));
        }
        if !self.tag.is_empty() {
            conditions.push(Condition { column: TraceColumn::Tags, test: Test::AllOf(self.tag.clone()) });
        }
        if self.errors {
            let test = Test::Number(Comparison::More, 0.0);
            conditions.push(Condition { column: TraceColumn::Errors, test });
        }
        if let Some(since) = &self.since {
            let ago = parse_duration(since).map(|ago| SystemClock.now().before(ago).into());
            let at = ago.or_else(|| NanoTimestamp::parse(since)).ok_or_else(|| {
                Exit::new(
                    USAGE,
                    format!(
                        "--since `{since}`: write RFC 3339, such as `2026-11-25T00:00:00Z`, or a time ago, such as `2h`"
                    ),
                )
            })?;
            conditions.push(Condition::since(TraceColumn::Timestamp, at));
        }
        Ok(conditions)
    }
}
