//! `[models]`: names that stand for a model, or for several that stand in for each other; and which model answers when a request
//! names none.
//!
//! Three forms: `fast = "openai/gpt-5-mini"`; a list, whose members stand in for each other in their order; a table.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use privet_domain::model::ModelName;
use privet_domain::pricing::PriceBook;
use privet_domain::time::Timestamp;
use privet_engine::router::Alias;
use privet_providers::{ProviderKind, ProviderSettings, offline};

use super::error::ConfigError;
use super::layers::{Layers, Origin, Row};
use super::providers;
use super::setting::{self, Shown, Value};

/// The section.
pub(super) const MODELS: &str = "models";
/// The fields of a table.
pub(super) const FIELDS: [&str; 5] = [TARGETS, FALLBACKS, "sticky", "hedge_after", "timeout"];
/// Those of them that take lists.
pub(super) const LISTS: [&str; 2] = [TARGETS, FALLBACKS];
const TARGETS: &str = "targets";
const FALLBACKS: &str = "fallbacks";
/// The fields of a target.
pub(super) const TARGET_FIELDS: [&str; 2] = ["model", "weight"];
/// More targets would make no answer likelier.
const TARGETS_MAX: usize = 16;
/// A weight is a share, not a count.
const WEIGHT_MAX: u32 = 1_000_000;

/// That a model ends is told so long before.
const ENDING_TOLD_BEFORE: Duration = Duration::from_hours(90 * 24);

/// Which model answers when a request names none.
#[derive(Clone, Debug)]
pub(crate) struct DefaultModel {
    /// As it is asked for: an alias or `provider/model`.
    pub(crate) name: String,
    /// The first model that it stands for.
    pub(crate) model: ModelName,
}

/// Takes a key of the section apart: the alias, and the field if it is of a table. An alias may have dots in its name.
pub(super) fn split(key: &str) -> Option<(&str, Option<&str>)> {
    let name = key.strip_prefix(MODELS)?.strip_prefix('.')?;
    match name.rsplit_once('.') {
        Some((alias, field)) if FIELDS.contains(&field) => Some((alias, Some(field))),
        _ => Some((name, None)),
    }
}

/// Whether the rows of this name are the targets of an alias.
pub(super) fn is_targets(key: &str) -> bool {
    matches!(split(key), Some((_, Some(TARGETS))))
}

/// The aliases.
pub(super) fn aliases(
    layers: &Layers,
    known: &[ProviderSettings],
    shown: &mut Vec<Shown>,
) -> Result<BTreeMap<String, Alias>, ConfigError> {
    let mut names: Vec<&str> = layers.keys_in(MODELS).filter_map(split).map(|(alias, _)| alias).collect();
    names.sort_unstable();
    names.dedup();
    let reader = |alias: &str| Reader { layers, known, name: format!("{MODELS}.{alias}") };
    names.into_iter().map(|alias| Ok((alias.to_owned(), reader(alias).alias(shown)?))).collect()
}

/// What to say of models that are named here and that their providers end soon, or have ended.
pub(super) fn ending<'a>(
    aliases: &'a BTreeMap<String, Alias>,
    default: &'a ModelName,
    prices: &PriceBook,
    now: Timestamp,
) -> Vec<String> {
    let of_aliases =
        aliases.values().flat_map(|alias| alias.targets.iter().map(|(model, _)| model).chain(&alias.fallbacks));
    let named: BTreeSet<String> = of_aliases.chain([default]).map(ToString::to_string).collect();
    let warnings = named.iter().filter_map(|name| {
        let (provider, model) = name.split_once('/')?;
        let profile = &prices.find(provider, model, now)?.profile;
        let is_near = profile.shutdown_at.is_some_and(|at| at <= now.after(ENDING_TOLD_BEFORE));
        let ending = profile.ending(now).filter(|_| is_near)?;
        Some(format!("the model `{name}`, which this configuration names, {ending}"))
    });
    warnings.collect()
}

/// The model of requests that name none: the configured one, or the first provider's best known.
pub(super) fn default_model(
    value: &Value,
    known: &[ProviderSettings],
    aliases: &BTreeMap<String, Alias>,
) -> Result<DefaultModel, ConfigError> {
    if let Some((model, _)) = aliases.get(&value.text).and_then(|alias| alias.targets.first()) {
        return Ok(DefaultModel { name: value.text.clone(), model: model.clone() });
    }
    let model = if value.text.is_empty() {
        best_known(value, known)?
    } else {
        let model = value.parse(|text| {
            ModelName::parse(text).ok_or_else(|| "write \"provider/model\" or a name of [models]".to_owned())
        })?;
        refuse_missing_provider(value, &value.text, &model, known)?;
        model
    };
    Ok(DefaultModel { name: model.to_string(), model })
}

fn best_known(value: &Value, known: &[ProviderSettings]) -> Result<ModelName, ConfigError> {
    let model = match providers::best_known_model(known) {
        Some(model) => model,
        None => match known.iter().find(|provider| provider.kind != ProviderKind::Offline) {
            // Which model such a server has, only it knows: a request without a model will be told so by it.
            Some(provider) => format!("{}/default", provider.name),
            None => format!("{}/{}", offline::NAME, offline::CHAT_MODEL),
        },
    };
    ModelName::parse(&model)
        .ok_or_else(|| ConfigError::value(&value.origin, &value.key, &model, "write \"provider/model\""))
}

/// Reads one alias.
struct Reader<'a> {
    layers: &'a Layers,
    known: &'a [ProviderSettings],
    /// Its key.
    name: String,
}

impl Reader<'_> {
    fn alias(&self, shown: &mut Vec<Shown>) -> Result<Alias, ConfigError> {
        let plain = self.layers.find(&self.name, &[], false);
        let fields = FIELDS.map(|field| self.layers.find(&format!("{}.{field}", self.name), &[], false));
        let rows = self.layers.rows(&format!("{}.{TARGETS}", self.name));
        let is_table = fields.iter().any(Option::is_some) || !rows.is_empty();
        match plain {
            Some(value) if is_table => Err(ConfigError::Syntax {
                place: value.origin.place(),
                problem: format!("`{0}` stands here by itself and as a table; keep one of them", self.name),
            }),
            Some(value) => {
                shown.push(value.shown(&self.name));
                self.short(&value)
            }
            None => {
                shown.extend(fields.iter().flatten().map(|value| value.shown(&value.key)));
                self.table(fields, &rows, shown)
            }
        }
    }

    /// A model, or a list of models that stand in for each other.
    fn short(&self, value: &Value) -> Result<Alias, ConfigError> {
        let mut models = self.models(value)?.into_iter();
        let first = models.next().ok_or_else(|| empty(&value.origin, &self.name))?;
        Ok(Alias { fallbacks: models.collect(), ..Alias::of(first) })
    }

    fn table(
        &self,
        [targets, fallbacks, sticky, hedge_after, timeout]: [Option<Value>; FIELDS.len()],
        rows: &[Row],
        shown: &mut Vec<Shown>,
    ) -> Result<Alias, ConfigError> {
        let targets = match (&targets, rows) {
            (Some(value), _) => self.models(value)?.into_iter().map(|model| (model, 1)).collect(),
            (None, rows) => rows.iter().map(|row| self.target(row, shown)).collect::<Result<Vec<_>, _>>()?,
        };
        let given = [&fallbacks, &sticky, &hedge_after, &timeout].into_iter().flatten().next();
        if targets.is_empty() {
            let origin = given.map_or(Origin::Default, |value| value.origin.clone());
            return Err(empty(&origin, &self.name));
        }
        let fallbacks = fallbacks.as_ref().map(|value| self.models(value)).transpose()?.unwrap_or_default();
        if targets.len() + fallbacks.len() > TARGETS_MAX {
            let place = rows.first().map(|row| &row.origin).or(given.map(|value| &value.origin));
            return Err(ConfigError::Syntax {
                place: place.map(Origin::place).unwrap_or_default(),
                problem: format!("`{}` has more than {TARGETS_MAX} models; keep the best of them", self.name),
            });
        }
        Ok(Alias {
            targets,
            fallbacks,
            sticky: sticky.map_or(Ok(true), |value| value.parse(setting::truth))?,
            hedge_after: hedge_after.map(|value| value.parse(setting::duration)).transpose()?,
            timeout: timeout.map(|value| value.parse(setting::duration)).transpose()?,
        })
    }

    /// `{ model = "provider/model", weight = 3 }`.
    fn target(&self, row: &Row, shown: &mut Vec<Shown>) -> Result<(ModelName, u32), ConfigError> {
        shown.extend(row.fields.values().map(|value| value.shown(&value.key)));
        let model = row.fields.get("model").ok_or_else(|| ConfigError::Syntax {
            place: row.origin.place(),
            problem: format!("a target of `{}` needs its model, for example model = \"openai/gpt-5-mini\"", self.name),
        })?;
        let weight = row.fields.get("weight").map_or(Ok(1), |value| value.parse(weight))?;
        Ok((self.model(model, &model.text)?, weight))
    }

    fn models(&self, value: &Value) -> Result<Vec<ModelName>, ConfigError> {
        let models: Vec<ModelName> =
            value.items.iter().map(|text| self.model(value, text)).collect::<Result<_, ConfigError>>()?;
        if models.len() > TARGETS_MAX {
            let remedy = format!("{} models are too many; write at most {TARGETS_MAX}", models.len());
            return Err(ConfigError::value(&value.origin, &value.key, &value.text, remedy));
        }
        Ok(models)
    }

    fn model(&self, value: &Value, text: &str) -> Result<ModelName, ConfigError> {
        let model = ModelName::parse(text).ok_or_else(|| {
            let remedy = "write \"provider/model\", a list of them, or a table with `targets`";
            ConfigError::value(&value.origin, &value.key, text, remedy)
        })?;
        refuse_missing_provider(value, text, &model, self.known)?;
        Ok(model)
    }
}

fn empty(origin: &Origin, name: &str) -> ConfigError {
    let problem = format!(
        "`{name}` has no target; write for example targets = [\"openai/gpt-5-mini\", \"anthropic/claude-haiku-4-5\"]"
    );
    ConfigError::Syntax { place: origin.place(), problem }
}

fn weight(text: &str) -> Result<u32, String> {
    let weight = text.parse().ok().filter(|weight| (1..=WEIGHT_MAX).contains(weight));
    weight.ok_or_else(|| {
        "write a whole number above 0: a target of weight 2 is drawn twice as often as one of 1".to_owned()
    })
}

fn refuse_missing_provider(
    value: &Value,
    text: &str,
    model: &ModelName,
    known: &[ProviderSettings],
) -> Result<(), ConfigError> {
    if known.iter().any(|provider| provider.name == model.provider()) {
        return Ok(());
    }
    let names: Vec<&str> = known.iter().map(|provider| provider.name.as_str()).collect();
    let remedy = format!("no provider is called `{}`; configured: {}", model.provider(), names.join(", "));
    Err(ConfigError::value(&value.origin, &value.key, text, remedy))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::load;
    use super::*;

    const KEYS: [(&str, &str); 2] = [("OPENAI_API_KEY", "sk-1"), ("ANTHROPIC_API_KEY", "sk-2")];

    fn alias(toml: &str) -> Alias {
        let config = load(toml, &KEYS).unwrap();
        config.aliases.into_values().next().unwrap()
    }

    fn model(name: &str) -> ModelName {
        ModelName::parse(name).unwrap()
    }

    #[test]
    fn a_name_stands_for_a_model_or_for_several_in_their_order() {
        assert_eq!(alias("[models]\nfast = \"openai/a\"\n"), Alias::of(model("openai/a")));
        let list = alias("[models]\nfast = [\"openai/a\", \"anthropic/b\", \"openai/c\"]\n");
        assert_eq!(
            list,
            Alias { fallbacks: vec![model("anthropic/b"), model("openai/c")], ..Alias::of(model("openai/a")) }
        );
    }

    #[test]
    fn a_table_has_weights_fallbacks_and_times() {
        let expected = Alias {
            targets: vec![(model("openai/a"), 3), (model("anthropic/b"), 1)],
            fallbacks: vec![model("openai/c")],
            sticky: false,
            hedge_after: Some(Duration::from_millis(800)),
            timeout: Some(Duration::from_secs(30)),
        };
        let section = "[models.fast]\ntargets = [{ model = \"openai/a\", weight = 3 }, { model = \"anthropic/b\" }]\n\
                       fallbacks = [\"openai/c\"]\nsticky = false\nhedge_after = \"800ms\"\ntimeout = \"30s\"\n";
        assert_eq!(alias(section), expected);
        let inline = "[models]\nfast = { targets = [{ model = \"openai/a\", weight = 3 }, { model = \"anthropic/b\" }], \
                      fallbacks = [\"openai/c\"], sticky = false, hedge_after = \"800ms\", timeout = \"30s\" }\n";
        assert_eq!(alias(inline), expected);
        let equal = alias("[models.fast]\ntargets = [\"openai/a\", \"anthropic/b\"]\n");
        assert_eq!(equal.targets, [(model("openai/a"), 1), (model("anthropic/b"), 1)]);
    }

    #[test]
    fn a_named_model_that_ends_soon_or_has_ended_is_told_and_others_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let row =
            |model: &str, more: &str| format!("[[price]]\nmodel = \"openai/{model}\"\ninput = 0\noutput = 0\n{more}\n");
        let rows = [
            row("gone", "shutdown = 2026-11-01\nreplacement = \"openai/new\""),
            row("soon", "shutdown = 2026-12-24"),
            row("later", "shutdown = 2027-12-24"),
            row("unnamed", "shutdown = 2026-12-24"),
        ];
        let file = dir.path().join("prices.toml");
        std::fs::write(&file, rows.concat()).unwrap();
        let toml = format!(
            "prices = \"{}\"\n[models]\na = [\"openai/later\", \"openai/gone\"]\nb = \"openai/soon\"\n",
            file.display()
        );
        let config = load(&toml, &KEYS).unwrap();
        let now = Timestamp::parse("2026-11-25T00:00:00Z").unwrap();
        assert_eq!(
            ending(&config.aliases, &config.default_model.model, &config.prices, now),
            [
                "the model `openai/gone`, which this configuration names, is shut down since 2026-11-01, use openai/new",
                "the model `openai/soon`, which this configuration names, will be shut down on 2026-12-24",
            ]
        );
    }

    #[test]
    fn names_may_have_dots() {
        let config =
            load("[models]\n\"gpt-4.1\" = \"openai/gpt-4.1\"\n\"a.b\" = { targets = [\"openai/a\"] }\n", &KEYS);
        assert_eq!(config.unwrap().aliases.into_keys().collect::<Vec<_>>(), ["a.b", "gpt-4.1"]);
    }

    #[test]
    fn a_default_may_be_a_name_of_several() {
        let toml = "default_model = \"fast\"\n[models]\nfast = [\"openai/a\", \"anthropic/b\"]\n";
        let default = load(toml, &KEYS).unwrap().default_model;
        assert_eq!((default.name.as_str(), default.model), ("fast", model("openai/a")));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_its_remedy() {
        for (toml, line, says) in [
            ("[models]\nfast = \"gpt-4o\"\n", 2, "write \"provider/model\""),
            ("[models]\nfast = [\"openai/a\", \"groq/b\"]\n", 2, "no provider is called `groq`"),
            ("[models]\nfast = []\n", 2, "has no target"),
            ("[models.fast]\nfallbacks = [\"openai/a\"]\n", 2, "has no target"),
            ("[models.fast]\ntargets = [{ weight = 3 }]\n", 2, "needs its model"),
            ("[models.fast]\ntargets = [{ model = \"openai/a\", weight = 0 }]\n", 2, "above 0"),
            (
                "[models.fast]\ntargets = [{ model = \"openai/a\", wieght = 1 }]\n",
                2,
                "did you mean `models.fast.targets.weight`",
            ),
            ("[models.fast]\ntargets = [\"openai/a\"]\ntimeuot = \"3s\"\n", 3, "did you mean `models.fast.timeout`"),
            ("[models.fast]\ntargets = [\"openai/a\"]\nhedge_after = \"soon\"\n", 3, "write a time"),
            ("[models.fast]\ntargets = [\"openai/a\"]\nsticky = \"yes\"\n", 3, "true or false"),
            ("[models.fast]\ntargets = [\"openai/a\"]\nsticky = [\"true\"]\n", 3, "not a list"),
        ] {
            let error = load(toml, &KEYS).unwrap_err();
            assert!(error.contains(&format!("privet.toml:{line}")) && error.contains(says), "{toml}: {error}");
        }
        let many: Vec<String> = (0..17).map(|n| format!("\"openai/m{n}\"")).collect();
        assert!(load(&format!("[models]\nfast = [{}]\n", many.join(",")), &KEYS).unwrap_err().contains("too many"));
    }
}
