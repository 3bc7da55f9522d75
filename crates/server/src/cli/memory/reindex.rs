//! `privet memory reindex`: the vectors of another embedder, made beside those in use. A running server makes them; where none serves the
//! folder, this process does. Either can be stopped at any time: it goes on where it was.

use std::sync::Arc;
use std::time::Duration;

use clap::{ArgGroup, Args};
use privet_domain::memory::VectorIndex as _;
use privet_domain::money::Nanos;
use privet_domain::time::{Clock as _, SystemClock, Timestamp};
use privet_store::{Embedder, EmbedderState, MissingTexts, NewEmbedder, Store};
use serde_json::json;

use super::asking::{end, tried};
use crate::cli::{Common, Exit, FAILURE, USAGE, load, open_known_store, print_json};
use crate::config::Config;
use crate::config::memory::{known_dimensions, model};
use crate::serve;

/// Texts of European languages have about so many bytes a token; a token is never less than a byte.
const BYTES_PER_TOKEN: u64 = 4;
const POLL: Duration = Duration::from_secs(1);
/// After so many looks without progress it is told where to look.
const STILL_POLLS: u32 = 15;

#[derive(Args)]
#[command(group = ArgGroup::new("what").required(true).args(["embedder", "finish", "cancel"]))]
pub(super) struct ReindexArgs {
    /// Make the vectors of this embedder, and use them when all are there
    #[arg(long, value_name = "PROVIDER/MODEL")]
    embedder: Option<String>,
    /// How many dimensions its vectors have, where the model is not well known
    #[arg(long, value_name = "N", requires = "embedder", value_parser = clap::value_parser!(u16).range(1..))]
    dimensions: Option<u16>,
    /// Do it: the calls cost money
    #[arg(long, requires = "embedder")]
    yes: bool,
    /// Drop the vectors of the embedders that were used before
    #[arg(long)]
    finish: bool,
    /// Give up the embedder whose vectors are being made, and drop them
    #[arg(long)]
    cancel: bool,
}

pub(super) async fn run(common: &Common, args: ReindexArgs) -> Result<(), Exit> {
    let config = load(common, None)?;
    let store = Arc::new(open_known_store(&config).await?);
    if args.finish {
        return finish(common, &config, &store).await;
    }
    if args.cancel {
        return cancel(common, &config, &store).await;
    }
    let name = args.embedder.unwrap_or_default();
    let (embedder, missing) = match planned(&config, &store, &name, args.dimensions.map(usize::from)).await? {
        Plan::Used => {
            return told(common, &json!({"embedder": name, "state": "active"}), "recall uses this embedder already");
        }
        Plan::Building(embedder) => (embedder, None),
        Plan::New { known, new, missing } => {
            let cost = cost(&config, &new, missing);
            if !args.yes {
                return Err(Exit::new(USAGE, format!("{cost}. Do it with --yes")));
            }
            if !common.json {
                println!("{cost}");
            }
            tried(&config, &store, &new).await?;
            (begun(&store, known, &new).await?, Some(missing))
        }
    };
    follow(common, config, &store, &embedder, missing).await
}

/// What is to be done about an embedder.
enum Plan {
    /// Nothing.
    Used,
    /// Its vectors are being made.
    Building(Embedder),
    /// Its vectors are to be made; `known` if it was used before.
    New { known: Option<Embedder>, new: NewEmbedder, missing: MissingTexts },
}

async fn planned(config: &Config, store: &Store, name: &str, dimensions: Option<usize>) -> Result<Plan, Exit> {
    let named = model(name).map_err(|error| Exit::new(USAGE, error))?;
    let (provider, model) = named.ok_or_else(|| Exit::new(USAGE, "write PROVIDER/MODEL"))?;
    if !config.providers.iter().any(|known| known.name == provider) {
        return Err(Exit::new(FAILURE, format!("no provider `{provider}` is configured")));
    }
    if config.memory.as_ref().is_none_or(|memory| memory.embedder.is_none()) {
        let message =
            "memory.embedder names none, and nothing makes vectors without: name the embedder that is used there";
        return Err(Exit::new(FAILURE, message));
    }
    let known = store.embedders().await?;
    if !known.iter().any(|embedder| embedder.state == EmbedderState::Active) {
        let message = "no embedder is used yet: name one in memory.embedder and start the server; it makes all vectors";
        return Err(Exit::new(FAILURE, message));
    }
    // One embedder is a model with so many dimensions.
    let is_same = |embedder: &&Embedder| {
        embedder.provider == provider
            && embedder.model == model
            && dimensions.is_none_or(|dimensions| dimensions == embedder.dimensions)
    };
    let same = known.iter().filter(is_same).max_by_key(|embedder| embedder.state != EmbedderState::Old).cloned();
    let other = known.iter().find(|embedder| embedder.state == EmbedderState::Building && !is_same(embedder));
    match (&same, other) {
        (Some(same), _) if same.state == EmbedderState::Active => return Ok(Plan::Used),
        (_, Some(other)) => {
            let message = format!("the vectors of `{}` are being made: give it up first with --cancel", other.name);
            return Err(Exit::new(FAILURE, message));
        }
        (Some(same), None) if same.state == EmbedderState::Building => return Ok(Plan::Building(same.clone())),
        _ => {}
    }
    let of_config = config.memory.as_ref().and_then(|memory| memory.embedder.as_ref());
    let of_config = of_config.filter(|settings| settings.name == name).map(|settings| settings.dimensions);
    let dimensions =
        dimensions.or(same.as_ref().map(|same| same.dimensions)).or(of_config).or(known_dimensions(&model));
    let dimensions = dimensions.ok_or_else(|| {
        Exit::new(USAGE, format!("say how many dimensions the vectors of `{name}` have: --dimensions"))
    })?;
    let missing = store.missing_texts(same.as_ref().map(|same| same.id)).await?;
    let is_taken = same.is_none() && known.iter().any(|embedder| embedder.name == name);
    let name = if is_taken { format!("{name} ({dimensions} dimensions)") } else { name.to_owned() };
    let new = NewEmbedder { name, provider, model, dimensions, state: EmbedderState::Building };
    Ok(Plan::New { known: same, new, missing })
}

/// What the calls are expected to cost.
fn cost(config: &Config, new: &NewEmbedder, missing: MissingTexts) -> String {
    let MissingTexts { texts, bytes } = missing;
    let tokens = bytes.div_ceil(BYTES_PER_TOKEN);
    let price = config.prices.find(&new.provider, &new.model, SystemClock.now());
    let of_tokens = |tokens: u64| {
        let rate = i128::from(price?.standard.input.as_i64());
        i64::try_from((rate * i128::from(tokens)).div_euclid(1_000_000) + 1).ok().map(Nanos::new)
    };
    let money = match (of_tokens(tokens), of_tokens(bytes)) {
        (Some(likely), Some(most)) => format!("about {likely}, never more than {most}"),
        _ => "at an unknown price: the price book has none for it".to_owned(),
    };
    format!(
        "{texts} texts, about {tokens} tokens, are to be embedded by {} ({} dimensions): {money}",
        new.name, new.dimensions
    )
}

async fn begun(store: &Store, known: Option<Embedder>, new: &NewEmbedder) -> Result<Embedder, Exit> {
    let Some(known) = known else { return Ok(store.create_embedder(new, SystemClock.now()).await?) };
    store.rebuild_embedder(known.id, SystemClock.now()).await?;
    Ok(known)
}

/// Waits until recall uses the embedder; makes its vectors where no server does.
async fn follow(
    common: &Common,
    config: Config,
    store: &Arc<Store>,
    embedder: &Embedder,
    missing: Option<MissingTexts>,
) -> Result<(), Exit> {
    let done = match serve::claim_folder(&config) {
        Ok(_held) => {
            let traces = serve::open_traces(&config).await?;
            let engine = serve::engine(store.clone(), traces, &config).await?;
            let memory = engine.memory.as_ref().ok_or_else(|| Exit::new(FAILURE, "nothing is remembered here"))?;
            let done = tokio::select! {
                done = watch(common, store, embedder) => done,
                () = memory.follow(&engine) => Ok(()),
                () = interrupted() => Err(Exit::new(FAILURE, "stopped; the same command goes on where it was")),
            };
            end(&engine).await?;
            done
        }
        Err(_) => tokio::select! {
            done = watch(common, store, embedder) => done,
            () = interrupted() => Err(Exit::new(FAILURE, "the server goes on with it; the same command watches it again")),
        },
    };
    done?;
    let state = json!({"embedder": embedder.name, "state": "active", "texts": missing.map(|missing| missing.texts)});
    let text = format!(
        "recall uses {0} now. Set memory.embedder = \"{0}\" in the configuration; \
         privet memory reindex --finish drops the vectors of the one before",
        embedder.name
    );
    told(common, &state, &text)
}

async fn interrupted() {
    // Where signals cannot be heard, the process ends by them.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn watch(common: &Common, store: &Store, embedder: &Embedder) -> Result<(), Exit> {
    let (mut shown, mut still) = (None, 0);
    loop {
        let known = store.embedders().await?;
        let coverage = store.coverage(embedder.id).await?;
        match known.iter().find(|known| known.id == embedder.id).map(|embedder| embedder.state) {
            Some(EmbedderState::Active) => return Ok(()),
            Some(EmbedderState::Building) => {}
            Some(EmbedderState::Old) | None => {
                let message = "the embedder refused too many texts, or was given up: recall stays with the one before. The \
                               server's log says why; the same command tries again";
                return Err(Exit::new(FAILURE, message));
            }
        }
        if coverage != shown && !common.json {
            if let Some(coverage) = &coverage {
                eprintln!("{} of {} texts have their vector", coverage.with_vector, coverage.representations);
            }
            shown = coverage;
            still = 0;
        }
        still += 1;
        if still == STILL_POLLS && !common.json {
            eprintln!("nothing comes of the embedder: the server's log says why; --cancel gives it up");
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn finish(common: &Common, config: &Config, store: &Store) -> Result<(), Exit> {
    let known = store.embedders().await?;
    let old: Vec<Embedder> = known.into_iter().filter(|embedder| embedder.state == EmbedderState::Old).collect();
    for embedder in &old {
        drop_embedder(config, store, embedder).await?;
    }
    let names: Vec<&str> = old.iter().map(|embedder| embedder.name.as_str()).collect();
    let text =
        if names.is_empty() { "there are no old vectors".to_owned() } else { format!("dropped: {}", names.join(", ")) };
    told(common, &json!({"dropped": names}), &text)
}

async fn cancel(common: &Common, config: &Config, store: &Store) -> Result<(), Exit> {
    let known = store.embedders().await?;
    let Some(building) = known.into_iter().find(|embedder| embedder.state == EmbedderState::Building) else {
        return Err(Exit::new(FAILURE, "no embedder's vectors are being made"));
    };
    let now: Timestamp = SystemClock.now();
    store.retire_embedder(building.id, now).await?;
    drop_embedder(config, store, &building).await?;
    told(common, &json!({"dropped": [building.name]}), &format!("given up: {}", building.name))
}

/// The vectors first: an embedder whose vectors are left is not forgotten.
async fn drop_embedder(config: &Config, store: &Store, embedder: &Embedder) -> Result<(), Exit> {
    let index = serve::memory_index(store, config)?;
    index.drop_embedder(embedder.id).await.map_err(|error| Exit::new(FAILURE, error.to_string()))?;
    store.delete_embedder(embedder.id).await?;
    Ok(())
}

fn told(common: &Common, data: &serde_json::Value, text: &str) -> Result<(), Exit> {
    if common.json {
        return print_json(data);
    }
    println!("{text}");
    Ok(())
}
