//! Memory: `[memory]`.

use std::time::Duration;

use privet_domain::memory::Representation;
use privet_domain::memory::fusion::{Recency, Shares, Weights};
use privet_domain::memory::pack::PackBudget;
use privet_domain::rate::{BadRate, Rate};
use privet_domain::time::parse_duration;
use privet_engine::memory::quote::QuoteFormat;
use privet_engine::memory::{DescriberSettings, EmbedderSettings, MemorySettings};
use privet_index::{QdrantSettings, SettingsError};
use privet_store::Location;
use secrecy::SecretString;

use super::error::ConfigError;
use super::layers::Layers;
use super::setting::{Shown, Value, count, duration};

/// Models whose dimensions are known: those of OpenAI, Gemini, and what Ollama's library has most of.
const KNOWN_DIMENSIONS: [(&str, usize); 8] = [
    ("text-embedding-3-large", 3_072),
    ("text-embedding-3-small", 1_536),
    ("text-embedding-ada-002", 1_536),
    ("gemini-embedding-001", 3_072),
    ("nomic-embed-text", 768),
    ("mxbai-embed-large", 1_024),
    ("bge-m3", 1_024),
    ("all-minilm", 384),
];
/// A text in a prompt is never estimated smaller: see `domain/memory/pack.rs`.
const BYTES_PER_TOKEN: usize = 20;

/// `None` where nothing is remembered.
pub(super) fn memory(layers: &Layers, shown: &mut Vec<Shown>) -> Result<Option<MemorySettings>, ConfigError> {
    let mut value = |key: &str| layers.shown(key, shown);
    let enabled = value("memory.enabled").parse(enabled)?;
    let (embedder, dimensions) = (value("memory.embedder"), value("memory.dimensions"));
    let model = embedder.parse(model)?;
    let own = dimensions.parse(|text| if text.is_empty() { Ok(None) } else { count(text).map(Some) })?;
    let reranker = value("memory.reranker").text.clone();
    let question_timeout = value("memory.question_timeout").parse(duration)?;
    let weights = value("memory.weights").parse(weights)?;
    let format = value("memory.format").parse(format)?;
    let tokens = value("memory.tokens").parse(count)?;
    let recency = value("memory.half_life").parse(half_life)?;
    let embedder = match model {
        None => None,
        Some((provider, model)) => {
            let known = known_dimensions(&model);
            let missing = || {
                let remedy = "say how many dimensions its vectors have: memory.dimensions".to_owned();
                ConfigError::value(&embedder.origin, "memory.embedder", &embedder.text, remedy)
            };
            let dimensions = own.or(known).ok_or_else(missing)?;
            Some(EmbedderSettings { name: embedder.text.clone(), provider, model, dimensions })
        }
    };
    let describer = describer(layers, shown)?;
    Ok(enabled.then(|| MemorySettings {
        embedder,
        describer,
        budget: PackBudget {
            tokens_max: tokens,
            bytes_max: tokens.saturating_mul(BYTES_PER_TOKEN),
            ..PackBudget::default()
        },
        weights,
        recency,
        reranker: Some(reranker).filter(|model| !model.is_empty()),
        question_timeout,
        format,
        ..MemorySettings::default()
    }))
}

/// `None` where nobody describes memories, which costs a call for each.
fn describer(layers: &Layers, shown: &mut Vec<Shown>) -> Result<Option<DescriberSettings>, ConfigError> {
    let mut value = |key: &str| layers.shown(key, shown);
    let model = value("memory.describer").text;
    let wanted = value("memory.describe").parse(wanted)?;
    let bytes_min = value("memory.describe_bytes_min").parse(count)?;
    let pace = value("memory.describe_pace").parse(pace)?;
    Ok((!model.is_empty()).then_some(DescriberSettings { model, wanted, bytes_min, pace }))
}

fn wanted(text: &str) -> Result<Vec<Representation>, String> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    let read = |name: &str| Representation::DESCRIPTIONS.into_iter().find(|known| known.as_str() == name);
    let wanted: Option<Vec<Representation>> = names.map(read).collect();
    let remedy = || "write some of \"summary, facts, questions\"".to_owned();
    wanted.filter(|wanted| !wanted.is_empty()).ok_or_else(remedy)
}

fn pace(text: &str) -> Result<Rate, String> {
    text.parse().map_err(|error: BadRate| error.to_string())
}

/// Where the index is, if it is a Qdrant server.
pub(super) fn qdrant(
    layers: &Layers,
    database: &Location,
    shown: &mut Vec<Shown>,
) -> Result<Option<QdrantSettings>, ConfigError> {
    let mut value = |key: &str| layers.shown(key, shown);
    let (url, api_key) = (value("memory.qdrant_url"), value("memory.qdrant_api_key"));
    let collection = value("memory.qdrant_collection");
    if url.text.is_empty() {
        return Ok(None);
    }
    let wrong =
        |value: &Value, shown: &str, remedy: String| Err(ConfigError::value(&value.origin, &value.key, shown, remedy));
    let settings = QdrantSettings {
        url: url.text.clone(),
        api_key: (!api_key.text.is_empty()).then(|| SecretString::from(api_key.text.as_str())),
        collection: collection.text.clone(),
    };
    match settings.check() {
        Ok(()) => {}
        // The address may hold a password by mistake.
        Err(error @ SettingsError::Url(_)) => return wrong(&url, "", error.to_string()),
        Err(error @ SettingsError::Collection(_)) => return wrong(&collection, &collection.text, error.to_string()),
        Err(error @ SettingsError::Key) => return wrong(&api_key, "(secret)", error.to_string()),
    }
    if database.sqlite_file().is_some() {
        let remedy = "a Qdrant server goes with PostgreSQL (database_url); with SQLite the index is in privet.db: leave \
                      memory.qdrant_url out";
        return wrong(&url, &url.text, remedy.to_owned());
    }
    Ok(Some(settings))
}

fn enabled(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "write true or false".to_owned())
}

/// The dimensions of a model that is well known.
pub(crate) fn known_dimensions(model: &str) -> Option<usize> {
    KNOWN_DIMENSIONS.iter().find(|(name, _)| *name == model).map(|(_, dimensions)| *dimensions)
}

/// `None` where nothing is named.
pub(crate) fn model(text: &str) -> Result<Option<(String, String)>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let parts = text.split_once('/').filter(|(provider, model)| !provider.is_empty() && !model.is_empty());
    let (provider, model) =
        parts.ok_or_else(|| "write PROVIDER/MODEL, for example \"openai/text-embedding-3-large\"".to_owned())?;
    Ok(Some((provider.to_owned(), model.to_owned())))
}

fn weights(text: &str) -> Result<Weights<Representation>, String> {
    let remedy = || "write how much each may say, such as \"dense=0.2, text=0.5, window=0.3\"".to_owned();
    let mut shares = Shares { dense: 0.0, text: 0.0, window: 0.0 };
    for share in text.split(',') {
        let (name, number) = share.split_once('=').ok_or_else(remedy)?;
        let number: f64 = number.trim().parse().map_err(|_| remedy())?;
        match name.trim() {
            "dense" => shares.dense = number,
            "text" => shares.text = number,
            "window" => shares.window = number,
            _ => return Err(remedy()),
        }
    }
    Weights::of_shares(Representation::Text, Representation::Window, Representation::DESCRIPTIONS, shares)
        .map_err(|error| error.to_string())
}

fn format(text: &str) -> Result<QuoteFormat<'static>, String> {
    match text {
        "entries" => Ok(QuoteFormat::Entries),
        "lesson" => Ok(QuoteFormat::LESSON),
        _ => Err("write \"entries\", or \"lesson\" for lines of Adam and Alice".to_owned()),
    }
}

/// How much of the score age can take: half.
const RECENCY_SHARE: f64 = 0.5;

fn half_life(text: &str) -> Result<Option<Recency>, String> {
    if text == "off" {
        return Ok(None);
    }
    let half_life = parse_duration(text).filter(|time| *time >= Duration::from_secs(60));
    let recency = half_life.map(|half_life| Some(Recency { half_life, share: RECENCY_SHARE }));
    recency.ok_or_else(|| "write a time such as \"30d\", or \"off\"".to_owned())
}

#[cfg(test)]
mod tests {
    use privet_domain::memory::Representation;

    use crate::config::tests::load;

    const POSTGRES: &str = "database_url = \"postgres://me:canary@db/x\"\n";

    #[test]
    fn memory_is_on_and_its_index_is_a_server_only_where_one_is_named() {
        let config = load("", &[]).unwrap();
        assert!(config.memory.is_some() && config.qdrant.is_none());
        let config = load("[memory]\nenabled = \"false\"\n", &[]).unwrap();
        assert!(config.memory.is_none());
        let url = ("PRIVET_MEMORY_QDRANT_URL", "http://127.0.0.1:6334");
        let config = load(POSTGRES, &[url, ("PRIVET_MEMORY_QDRANT_API_KEY", "canary-key")]).unwrap();
        let qdrant = config.qdrant.as_ref().unwrap();
        assert_eq!((qdrant.url.as_str(), qdrant.collection.as_str()), ("http://127.0.0.1:6334", "privet"));
        let shown = format!("{config:?}");
        assert!(qdrant.api_key.is_some() && !shown.contains("canary"), "{shown}");
    }

    #[test]
    fn nothing_is_described_unless_a_describer_is_named() {
        assert!(load("", &[]).unwrap().memory.unwrap().describer.is_none());
        let toml = "[memory]\ndescribe = [\"facts\", \"questions\"]\ndescribe_bytes_min = \"80\"\n";
        let config = load(toml, &[("PRIVET_MEMORY_DESCRIBER", "openai/gpt-4o-mini")]).unwrap();
        let describer = config.memory.unwrap().describer.unwrap();
        assert_eq!((describer.model.as_str(), describer.bytes_min), ("openai/gpt-4o-mini", 80));
        assert_eq!(describer.wanted, [Representation::Facts, Representation::Questions]);
        assert_eq!(describer.pace.to_string(), "60/1m");
        for (key, wrong) in
            [("DESCRIBE", "text"), ("DESCRIBE", ","), ("DESCRIBE_BYTES_MIN", "0"), ("DESCRIBE_PACE", "fast")]
        {
            let error = load("", &[(&format!("PRIVET_MEMORY_{key}"), wrong)]).unwrap_err();
            assert!(error.contains(&format!("memory.{}", key.to_lowercase())), "{error}");
        }
    }

    #[test]
    fn weights_are_read_and_what_is_none_is_refused_with_what_is_right() {
        let weight = |toml: &str| {
            let memory = load(toml, &[]).unwrap().memory.unwrap();
            let sparse = memory.weights.legs().iter().map(|leg| leg.weight).sum::<f64>();
            (sparse * 10.0).round()
        };
        // Five dense legs, four over texts and descriptions, one over windows.
        assert_eq!(weight(""), 10.0 + 20.0 + 3.0);
        assert_eq!(weight("[memory]\nweights = \"text=1\"\n"), 40.0);
        for wrong in ["", "text", "text=-1", "text=0", "words=1", "dense=nan"] {
            let error = load(&format!("[memory]\nweights = \"{wrong}\"\n"), &[]).unwrap_err();
            assert!(error.contains("memory.weights"), "{wrong}: {error}");
        }
    }

    #[test]
    fn what_cannot_be_a_qdrant_server_is_refused_with_what_is_right() {
        let error = load(POSTGRES, &[("PRIVET_MEMORY_QDRANT_URL", "http://me:canary@host")]).unwrap_err();
        assert!(error.contains("memory.qdrant_url") && error.contains("gRPC port"), "{error}");
        assert!(!error.contains("canary"), "{error}");
        let error = load("", &[("PRIVET_MEMORY_QDRANT_URL", "http://127.0.0.1:6334")]).unwrap_err();
        assert!(error.contains("goes with PostgreSQL"), "{error}");
    }
}
