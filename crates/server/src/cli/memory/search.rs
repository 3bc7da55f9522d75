//! `privet memory search`.

use std::collections::HashMap;

use clap::Args;
use privet_domain::memory::fusion::{Candidate, fuse, rank_by_age};
use privet_domain::memory::{Memory, MemoryId, MemoryScope, Representation};
use privet_domain::time::{Clock as _, SystemClock};
use privet_engine::api_key::{DEFAULT_PROJECT, DEFAULT_USER};
use serde_json::{Value, json};

use super::asking::Asking;
use super::browse::{FilterArgs, find_project, row};
use super::line::MemoryLine;
use crate::cli::{Common, Exit, FAILURE, print_json};

#[derive(Args)]
pub(super) struct SearchArgs {
    /// A question, or words
    query: String,
    #[arg(long, default_value = DEFAULT_PROJECT)]
    project: String,
    /// Whose memories
    #[arg(long, default_value = DEFAULT_USER)]
    user: String,
    #[command(flatten)]
    filter: FilterArgs,
    /// At most so many
    #[arg(long, default_value_t = 10)]
    limit: usize,
    /// Show what each leg said
    #[arg(long)]
    explain: bool,
    /// Search the words alone, without a call of the embedder
    #[arg(long)]
    words: bool,
}

type Scored = Candidate<MemoryId, Representation>;

pub(super) async fn run(common: &Common, args: SearchArgs) -> Result<(), Exit> {
    let filter = args.filter.filter()?;
    let asking = Asking::begin(common, !args.words).await?;
    let project = find_project(&asking.store, &args.project).await?;
    let scope = MemoryScope::new(project, args.user);
    let vector = asking.vectors(project, &[&args.query]).await?.pop().flatten();
    let found = asking.legs(&args.query, vector, &scope, &filter).await?;
    let mut candidates = fuse(&found, &asking.settings.weights);
    let ids: Vec<MemoryId> = candidates.iter().map(|candidate| candidate.id).collect();
    let now = SystemClock.now();
    let memories = asking.store.memories_of(&scope, &ids, now).await?;
    let mut memories: HashMap<MemoryId, Memory> = memories.into_iter().map(|memory| (memory.id, memory)).collect();
    if let Some(recency) = &asking.settings.recency {
        rank_by_age(&mut candidates, recency, now, |id| memories.get(id).map(|memory| memory.created_at));
    }
    let found = candidates.into_iter().filter_map(|candidate| Some((memories.remove(&candidate.id)?, candidate)));
    let found: Vec<(Memory, Scored)> = found.take(args.limit.max(1)).collect();
    tell(common, found, args.explain, asking.words_alone())
}

fn tell(common: &Common, found: Vec<(Memory, Scored)>, explain: bool, words_alone: Option<&str>) -> Result<(), Exit> {
    if common.json {
        let mut items = Vec::with_capacity(found.len());
        for (memory, scored) in found {
            let mut item = serde_json::to_value(MemoryLine::from(memory))
                .map_err(|error| Exit::new(FAILURE, error.to_string()))?;
            item["score"] = json!(scored.score);
            if explain {
                item["explain"] = explained(&scored);
            }
            items.push(item);
        }
        return print_json(&json!({"items": items, "words_alone": words_alone}));
    }
    if let Some(reason) = words_alone {
        eprintln!("The words alone were searched: {reason}.");
    }
    for (memory, scored) in &found {
        println!("{:.3}  {}", scored.score, row(memory));
        if explain {
            for leg in &scored.legs {
                let counts = if leg.counts { "counts" } else { "" };
                println!(
                    "       {:<6} {:<9} place {:>2}  {:>8.3}  adds {:.3}  {counts}",
                    leg.leg.method.as_str(),
                    leg.leg.representation.as_str(),
                    leg.rank,
                    leg.raw,
                    leg.weighted
                );
            }
        }
    }
    Ok(())
}

fn explained(scored: &Scored) -> Value {
    let legs: Vec<Value> = scored
        .legs
        .iter()
        .map(|leg| {
            json!({
                "method": leg.leg.method.as_str(), "representation": leg.leg.representation.as_str(), "rank": leg.rank,
                "raw": leg.raw, "normalised": leg.normalised, "weighted": leg.weighted, "counts": leg.counts,
            })
        })
        .collect();
    json!({"fused": scored.fused, "dense": scored.dense, "sparse": scored.sparse, "recency": scored.recency, "legs": legs})
}
