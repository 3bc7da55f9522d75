//! Memory: `[memory]`.

use std::time::Duration;

use privet_domain::memory::Representation;
use privet_domain::memory::fusion::{Recency, Weights};
use privet_domain::memory::pack::PackBudget;
use privet_domain::time::parse_duration;
use privet_engine::memory::quote::QuoteFormat;
use privet_engine::memory::{EmbedderSettings, MemorySettings};
use privet_store::Location;

use super::error::ConfigError;
use super::layers::Layers;
use super::setting::{Shown, count};

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
pub(super) fn memory(
    layers: &Layers,
    database: &Location,
    shown: &mut Vec<Shown>,
    warnings: &mut Vec<String>,
) -> Result<Option<MemorySettings>, ConfigError> {
    let mut value = |key: &str| layers.shown(key, shown);
    let enabled = value("memory.enabled").parse(enabled)?;
    let (embedder, dimensions) = (value("memory.embedder"), value("memory.dimensions"));
    let model = embedder.parse(model)?;
    let own = dimensions.parse(|text| if text.is_empty() { Ok(None) } else { count(text).map(Some) })?;
    let format = value("memory.format").parse(format)?;
    let tokens = value("memory.tokens").parse(count)?;
    let recency = value("memory.half_life").parse(half_life)?;
    let embedder = match model {
        None => None,
        Some((provider, model)) => {
            let known = KNOWN_DIMENSIONS.iter().find(|(name, _)| *name == model).map(|(_, dimensions)| *dimensions);
            let missing = || {
                let remedy = "say how many dimensions its vectors have: memory.dimensions".to_owned();
                ConfigError::value(&embedder.origin, "memory.embedder", &embedder.text, remedy)
            };
            let dimensions = own.or(known).ok_or_else(missing)?;
            Some(EmbedderSettings { name: embedder.text.clone(), provider, model, dimensions })
        }
    };
    let is_sqlite = database.sqlite_file().is_some();
    if !is_sqlite && enabled != Some(false) {
        if enabled == Some(true) {
            let remedy = "memory is kept in SQLite; with PostgreSQL set memory.enabled = \"false\"".to_owned();
            return Err(ConfigError::value(
                &layers.shown("memory.enabled", &mut Vec::new()).origin,
                "memory.enabled",
                "true",
                remedy,
            ));
        }
        warnings.push("nothing is remembered: memory is kept in SQLite, and the database is PostgreSQL".to_owned());
    }
    let remembers = enabled.unwrap_or(is_sqlite);
    Ok(remembers.then(|| MemorySettings {
        embedder,
        budget: PackBudget {
            tokens_max: tokens,
            bytes_max: tokens.saturating_mul(BYTES_PER_TOKEN),
            ..PackBudget::default()
        },
        recency,
        format,
        weights: Weights::measured(Representation::Text, Representation::Window, []),
        ..MemorySettings::default()
    }))
}

fn enabled(text: &str) -> Result<Option<bool>, String> {
    match text {
        "auto" => Ok(None),
        text => text.parse().map(Some).map_err(|_| "write \"auto\", true or false".to_owned()),
    }
}

fn model(text: &str) -> Result<Option<(String, String)>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let parts = text.split_once('/').filter(|(provider, model)| !provider.is_empty() && !model.is_empty());
    let (provider, model) =
        parts.ok_or_else(|| "write PROVIDER/MODEL, for example \"openai/text-embedding-3-large\"".to_owned())?;
    Ok(Some((provider.to_owned(), model.to_owned())))
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
