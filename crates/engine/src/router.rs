//! Which providers answer for a model name, and how they stand in for each other.

pub(crate) mod order;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use privet_domain::model::ModelName;
use privet_providers::Provider;

/// Families of models whose home everybody knows, so that an unchanged client works: `gpt-4o` is `openai/gpt-4o`.
const FAMILIES: [(&str, &str); 14] = [
    ("gpt-", "openai"),
    ("chatgpt-", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4", "openai"),
    ("text-embedding-", "openai"),
    ("dall-e-", "openai"),
    ("omni-moderation-", "openai"),
    ("text-moderation-", "openai"),
    ("tts-", "openai"),
    ("whisper-", "openai"),
    ("claude-", "anthropic"),
    ("gemini-", "gemini"),
    ("gemma-", "gemini"),
];

/// Of an unknown name so much is repeated.
const NAME_CHARS_SHOWN: usize = 100;

/// A provider and its model.
#[derive(Clone, Debug)]
pub struct Target {
    /// The provider.
    pub provider: Arc<Provider>,
    /// The provider's own name of the model.
    pub model: String,
}

impl Target {
    /// Whether it is the same model of the same provider.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.model == other.model && self.provider.name() == other.provider.name()
    }

    /// `provider/model`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.provider.name(), self.model)
    }
}

/// A target that is drawn by its weight.
#[derive(Clone, Debug)]
pub struct Weighted {
    /// The target.
    pub target: Target,
    /// Twice as much is drawn twice as often; above 0.
    pub weight: u32,
}

/// What a name leads to.
#[derive(Clone, Debug)]
pub struct Route {
    /// Of this and those beside it one is drawn; the others stand in for it.
    first: Weighted,
    beside: Vec<Weighted>,
    /// They stand in when none of those answers, in this order.
    fallbacks: Vec<Target>,
    /// Whether a conversation stays with the target that was drawn for it.
    pub sticky: bool,
    /// A second call is made when the first has not answered for so long.
    pub hedge_after: Option<Duration>,
    /// All calls of a request together may take so long.
    pub timeout: Option<Duration>,
}

impl Route {
    /// To one target, and to no other.
    #[must_use]
    pub fn to(target: Target) -> Self {
        let first = Weighted { target, weight: 1 };
        Self { first, beside: Vec::new(), fallbacks: Vec::new(), sticky: true, hedge_after: None, timeout: None }
    }

    /// The first target, as it is configured.
    #[must_use]
    pub const fn first(&self) -> &Target {
        &self.first.target
    }

    /// All targets, as they are configured.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.weighted().map(|weighted| &weighted.target).chain(&self.fallbacks)
    }

    fn weighted(&self) -> impl Iterator<Item = &Weighted> {
        std::iter::once(&self.first).chain(&self.beside)
    }
}

/// What an alias of the configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// Of these one is drawn by its weight.
    pub targets: Vec<(ModelName, u32)>,
    /// They stand in, in this order.
    pub fallbacks: Vec<ModelName>,
    /// Whether a conversation stays with the target that was drawn for it.
    pub sticky: bool,
    /// A second call is made when the first has not answered for so long.
    pub hedge_after: Option<Duration>,
    /// All calls of a request together may take so long.
    pub timeout: Option<Duration>,
}

impl Alias {
    /// Of one model.
    #[must_use]
    pub fn of(model: ModelName) -> Self {
        Self { targets: vec![(model, 1)], fallbacks: Vec::new(), sticky: true, hedge_after: None, timeout: None }
    }
}

/// No provider answers for the name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("The model `{name}` does not exist here. {remedy}")]
pub struct UnknownModel {
    /// The name.
    pub name: String,
    /// What to do.
    pub remedy: String,
}

/// The providers, and the names that lead to them.
pub struct Router {
    providers: BTreeMap<String, Arc<Provider>>,
    aliases: BTreeMap<String, Alias>,
    default_model: String,
}

impl Router {
    /// From the configuration. The default is the name of an alias or `provider/model`.
    #[must_use]
    pub fn new(providers: Vec<Provider>, aliases: BTreeMap<String, Alias>, default_model: String) -> Self {
        let providers =
            providers.into_iter().map(|provider| (provider.name().to_owned(), Arc::new(provider))).collect();
        Self { providers, aliases, default_model }
    }

    /// Where a name leads: an alias, `provider/model`, or a bare name of a known family. Without a name, the default.
    ///
    /// # Errors
    /// When no provider answers for it.
    pub fn resolve(&self, name: Option<&str>) -> Result<Route, UnknownModel> {
        let name = name.unwrap_or(&self.default_model);
        if let Some(alias) = self.aliases.get(name) {
            return self.route(name, alias);
        }
        if let Some(model) = ModelName::parse(name)
            && self.providers.contains_key(model.provider())
        {
            return self.target(&model).map(Route::to);
        }
        let family = FAMILIES.iter().find(|(prefix, _)| name.starts_with(prefix));
        match family.and_then(|(_, provider)| ModelName::parse(&format!("{provider}/{name}"))) {
            Some(model) => self.target(&model).map(Route::to),
            None => Err(self.unknown(name)),
        }
    }

    /// The configured names that stand for a model.
    pub fn aliases(&self) -> impl Iterator<Item = &str> {
        self.aliases.keys().map(String::as_str)
    }

    /// The providers, by name.
    pub fn providers(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.providers.values()
    }

    /// The model that answers when a request names none.
    #[must_use]
    pub fn default_model(&self) -> &str {
        &self.default_model
    }

    fn route(&self, name: &str, alias: &Alias) -> Result<Route, UnknownModel> {
        let weighted =
            |(model, weight): &(ModelName, u32)| Ok(Weighted { target: self.target(model)?, weight: *weight });
        let (first, beside) = alias.targets.split_first().ok_or_else(|| self.unknown(name))?;
        Ok(Route {
            first: weighted(first)?,
            beside: beside.iter().map(weighted).collect::<Result<_, _>>()?,
            fallbacks: alias.fallbacks.iter().map(|model| self.target(model)).collect::<Result<_, _>>()?,
            sticky: alias.sticky,
            hedge_after: alias.hedge_after,
            timeout: alias.timeout,
        })
    }

    fn target(&self, model: &ModelName) -> Result<Target, UnknownModel> {
        let provider = self.providers.get(model.provider()).ok_or_else(|| self.unknown(&model.to_string()))?;
        Ok(Target { provider: provider.clone(), model: model.model().to_owned() })
    }

    fn unknown(&self, name: &str) -> UnknownModel {
        let providers: Vec<&str> = self.providers.keys().map(String::as_str).collect();
        let remedy = format!(
            "Write `provider/model` with one of the configured providers ({}), or use `{}`; GET /v1/models lists what there is.",
            providers.join(", "),
            self.default_model,
        );
        // Enough to know it again: a client may send a megabyte for a name.
        let shown = name.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter });
        let shown: String = shown.take(NAME_CHARS_SHOWN).collect();
        let name = if shown.len() < name.len() { format!("{shown}…") } else { shown };
        UnknownModel { name, remedy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(name: &str) -> ModelName {
        ModelName::parse(name).unwrap()
    }

    fn router() -> Router {
        let fast = Alias { fallbacks: vec![model("offline/other")], ..Alias::of(model("offline/echo")) };
        let aliases = BTreeMap::from([("fast".to_owned(), fast)]);
        Router::new(vec![Provider::Offline], aliases, "fast".to_owned())
    }

    #[test]
    fn an_alias_a_full_name_and_no_name_lead_to_their_targets() {
        for (name, models) in
            [(Some("fast"), vec!["echo", "other"]), (Some("offline/echo"), vec!["echo"]), (None, vec!["echo", "other"])]
        {
            let route = router().resolve(name).unwrap();
            assert_eq!(route.targets().map(|target| target.model.as_str()).collect::<Vec<_>>(), models);
        }
    }

    #[test]
    fn an_unknown_model_is_refused_with_what_there_is() {
        for name in ["gpt-4o", "nonsense", "nobody/model"] {
            let error = router().resolve(Some(name)).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("offline"), "{error}");
        }
    }
}
