//! Which provider answers for a model name.

use std::collections::BTreeMap;
use std::sync::Arc;

use privet_domain::model::ModelName;
use privet_providers::Provider;

/// Families of models whose home everybody knows, so that an unchanged client works: `gpt-4o` is `openai/gpt-4o`.
const FAMILIES: [(&str, &str); 9] = [
    ("gpt-", "openai"),
    ("chatgpt-", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4", "openai"),
    ("text-embedding-", "openai"),
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
    aliases: BTreeMap<String, ModelName>,
    default_model: ModelName,
}

impl Router {
    /// From the configuration.
    #[must_use]
    pub fn new(providers: Vec<Provider>, aliases: BTreeMap<String, ModelName>, default_model: ModelName) -> Self {
        let providers =
            providers.into_iter().map(|provider| (provider.name().to_owned(), Arc::new(provider))).collect();
        Self { providers, aliases, default_model }
    }

    /// The target for a name: an alias, `provider/model`, or a bare name of a known family. Without a name, the default.
    ///
    /// # Errors
    /// When no provider answers for it.
    pub fn resolve(&self, name: Option<&str>) -> Result<Target, UnknownModel> {
        let Some(name) = name else { return self.target(&self.default_model) };
        if let Some(model) = self.aliases.get(name) {
            return self.target(model);
        }
        if let Some(model) = ModelName::parse(name)
            && self.providers.contains_key(model.provider())
        {
            return self.target(&model);
        }
        let family = FAMILIES.iter().find(|(prefix, _)| name.starts_with(prefix));
        match family.and_then(|(_, provider)| ModelName::parse(&format!("{provider}/{name}"))) {
            Some(model) => self.target(&model),
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
    pub const fn default_model(&self) -> &ModelName {
        &self.default_model
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
        let shown: String = name.chars().take(NAME_CHARS_SHOWN).collect();
        let name = if shown.len() < name.len() { format!("{shown}…") } else { shown };
        UnknownModel { name, remedy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router() -> Router {
        let aliases = BTreeMap::from([("fast".to_owned(), ModelName::parse("offline/echo").unwrap())]);
        Router::new(vec![Provider::Offline], aliases, ModelName::parse("offline/echo").unwrap())
    }

    #[test]
    fn an_alias_a_full_name_and_no_name_lead_to_the_model() {
        for name in [Some("fast"), Some("offline/echo"), None] {
            assert_eq!(router().resolve(name).unwrap().model, "echo");
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
