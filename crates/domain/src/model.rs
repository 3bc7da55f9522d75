//! Names of models: `provider/model`.

use std::fmt;

/// Whether OpenAI's model of this name thinks before it answers: such models want `max_completion_tokens` and take no
/// temperature (<https://platform.openai.com/docs/guides/reasoning>).
#[must_use]
pub fn is_openai_reasoning(model: &str) -> bool {
    ["o1", "o3", "o4", "gpt-5"].iter().any(|family| model.starts_with(family))
}

/// A model of a named provider, written `provider/model`. The model's own name may contain slashes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelName {
    provider: String,
    model: String,
}

impl ModelName {
    /// Reads `provider/model`; `None` if a half is missing, or something in it is no printed character: it would move the cursor of whoever
    /// reads the name in a terminal.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (provider, model) = text.split_once('/')?;
        let is_printed = !text.chars().any(char::is_control);
        (is_printed && !provider.is_empty() && !model.is_empty())
            .then(|| Self { provider: provider.to_owned(), model: model.to_owned() })
    }

    /// The provider's name in the configuration.
    #[must_use]
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// The provider's own name of the model.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_slash_divides() {
        let name = ModelName::parse("openrouter/meta-llama/llama-4").unwrap();
        assert_eq!((name.provider(), name.model()), ("openrouter", "meta-llama/llama-4"));
        assert_eq!(ModelName::parse("gpt-4o"), None);
        assert_eq!(ModelName::parse("/gpt-4o"), None);
        assert_eq!(ModelName::parse("openai/"), None);
        assert_eq!(ModelName::parse("openai/\u{1b}[31mred"), None);
        assert_eq!(ModelName::parse("openai/a\nb"), None);
    }
}
