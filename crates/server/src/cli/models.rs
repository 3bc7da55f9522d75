//! `privet models`: what the price book says of the models of the configured providers.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Args;
use privet_domain::pricing::Price;
use privet_domain::time::{Clock as _, SystemClock, Timestamp};
use serde_json::{Value, json};

use super::{Common, Exit, load, print_json};

#[derive(Args)]
pub(super) struct ModelsArgs {
    #[command(flatten)]
    common: Common,
    /// Only of this provider
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Only those whose name contains this
    #[arg(value_name = "TEXT")]
    text: Option<String>,
}

pub(super) fn run(args: &ModelsArgs) -> Result<(), Exit> {
    let config = load(&args.common, None)?;
    let now = SystemClock.now();
    let mut rows: BTreeMap<&str, &Arc<Price>> = BTreeMap::new();
    for row in config.prices.rows() {
        let Some((provider, model)) = row.model.split_once('/') else { continue };
        let is_configured = config.providers.iter().any(|known| known.name == provider);
        let is_asked = args.provider.as_deref().is_none_or(|name| name == provider)
            && args.text.as_deref().is_none_or(|text| row.model.contains(text));
        // Of several dates the one that holds today.
        let holds = config.prices.find(provider, model, now).is_some_and(|found| found.from == row.from);
        if is_configured && is_asked && holds {
            rows.insert(&row.model, row);
        }
    }
    if args.common.json {
        return print_json(&rows.values().map(|row| shown(row)).collect::<Vec<_>>());
    }
    for row in rows.values() {
        println!("{}", line(row, now));
    }
    if rows.is_empty() {
        eprintln!(
            "The price book has no such model of a configured provider. GET /v1/models lists what the providers offer."
        );
    }
    Ok(())
}

fn line(row: &Price, now: Timestamp) -> String {
    let tokens = |count: Option<u64>| count.map_or_else(|| "?".to_owned(), |count| count.to_string());
    let abilities = match &row.profile.abilities {
        Some(abilities) => abilities.iter().map(|ability| ability.as_str()).collect::<Vec<_>>().join(" "),
        None => "(nothing said)".to_owned(),
    };
    let ending = row.profile.ending(now).map(|ending| format!("  ! {ending}"));
    format!(
        "{}  context {}, output {}  {} in, {} out a million  {abilities}{}",
        row.model,
        tokens(row.context_tokens),
        tokens(row.output_tokens_max),
        row.standard.input,
        row.standard.output,
        ending.unwrap_or_default(),
    )
}

fn shown(row: &Price) -> Value {
    let abilities = row.profile.abilities.as_ref();
    json!({
        "model": row.model,
        "context_tokens": row.context_tokens,
        "output_tokens_max": row.output_tokens_max,
        "input_nanos_per_million": row.standard.input.as_i64(),
        "cached_input_nanos_per_million": row.standard.cached_input.as_i64(),
        "output_nanos_per_million": row.standard.output.as_i64(),
        "abilities": abilities.map(|abilities| abilities.iter().map(|ability| ability.as_str()).collect::<Vec<_>>()),
        "shutdown": row.profile.shutdown_at.map(Timestamp::day),
        "replacement": row.profile.replacement,
        "priced_since": row.from.day(),
        "source": row.source,
    })
}
