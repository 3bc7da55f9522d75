//! What must be known of a provider to call it.

use std::time::Duration;

use privet_dialects::Dialect;
use privet_dialects::linked_media::Follow;
use privet_dialects::openai::chat_request::MaxTokensField;
use privet_domain::key_limits::ModelPattern;
use privet_domain::model::is_openai_reasoning;
use secrecy::SecretString;

/// What a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderKind {
    /// OpenAI, and every server that speaks its dialect.
    OpenAi,
    /// Anthropic.
    Anthropic,
    /// Google Gemini.
    Gemini,
    /// The built-in provider that needs no network.
    Offline,
    /// A model of embeddings in this process.
    Local,
}

/// In which of OpenAI's two APIs a provider of that kind is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OpenAiApi {
    /// Chat completions, which every compatible server has.
    #[default]
    Chat,
    /// Responses.
    Responses,
}

impl ProviderKind {
    /// Its name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Offline => "offline",
            Self::Local => "local",
        }
    }
}

/// How long a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the connection stands.
    pub connect: Duration,
    /// From the request until the answer's head.
    pub first_byte: Duration,
    /// Between two pieces of the answer.
    pub idle: Duration,
    /// The whole call.
    pub total: Duration,
}

impl Default for Timeouts {
    /// Generous: a reasoning model that is not streamed sends its first byte with its last thought.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(300),
            idle: Duration::from_secs(120),
            total: Duration::from_secs(900),
        }
    }
}

/// How long calls of some models may take; what is left out is as for the others of their provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelTimeouts {
    /// Which models, as `provider/model`.
    pub models: ModelPattern,
    /// Until the connection stands.
    pub connect: Option<Duration>,
    /// From the request until the answer's head.
    pub first_byte: Option<Duration>,
    /// Between two pieces of the answer.
    pub idle: Option<Duration>,
    /// The whole call.
    pub total: Option<Duration>,
}

/// What to do with a call whose client left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDisconnect {
    /// Cancel it: the provider stops, and bills what it wrote until then.
    #[default]
    Cancel,
    /// Read the answer to its end: the provider writes and bills all of it anyway, and so the bill is known.
    Drain,
}

/// Who fetches the images and documents that a request names by URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImagesByUrl {
    /// The provider: it gets the URL.
    Pass,
    /// This server: the provider gets the bytes.
    Fetch,
}

/// A provider as configured.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    /// Its name, the first half of `provider/model`.
    pub name: String,
    /// What it speaks.
    pub kind: ProviderKind,
    /// The folder of a model in this process.
    pub folder: Option<std::path::PathBuf>,
    /// Where it is, without a trailing slash. OpenAI's ends in `/v1`; Anthropic's and Gemini's are bare.
    pub base_url: String,
    /// Its keys, which take turns; none where it wants none.
    pub api_keys: Vec<SecretString>,
    /// How long a call may take.
    pub timeouts: Timeouts,
    /// How long it may take for some models. Of several that name a limit of a model, the first holds.
    pub model_timeouts: Vec<ModelTimeouts>,
    /// What to do with a call whose client left.
    pub on_disconnect: OnDisconnect,
    /// The name that the output limit goes by; `None` decides by model.
    pub max_tokens_field: Option<MaxTokensField>,
    /// Whether its models keep to a JSON Schema by themselves; `None` decides by model, as the price book says.
    pub structured_output: Option<StructuredOutput>,
    /// In which API it is spoken to, if it is of OpenAI's kind.
    pub api: OpenAiApi,
    /// Who fetches what a request names by URL; `None` decides by dialect and model.
    pub images_by_url: Option<ImagesByUrl>,
}

/// Who keeps an answer to its JSON Schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StructuredOutput {
    /// The provider.
    Native,
    /// Privet: it puts the schema in words, and checks the answer.
    Emulated,
}

impl ProviderSettings {
    /// The dialect on its wire. The offline provider speaks OpenAI's.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        match (self.kind, self.api) {
            (ProviderKind::OpenAi, OpenAiApi::Responses) => Dialect::OpenAiResponses,
            (ProviderKind::OpenAi | ProviderKind::Offline | ProviderKind::Local, _) => Dialect::OpenAiChat,
            (ProviderKind::Anthropic, _) => Dialect::AnthropicMessages,
            (ProviderKind::Gemini, _) => Dialect::Gemini,
        }
    }

    /// Which links of a request this server must follow, because the provider does not. A request in the provider's own dialect is its
    /// own to judge unless the configuration says otherwise.
    #[must_use]
    pub fn follow(&self, model: &str, inbound: Dialect) -> Option<Follow> {
        match self.images_by_url {
            Some(ImagesByUrl::Pass) => None,
            Some(ImagesByUrl::Fetch) => Some(Follow::All),
            None if inbound == self.dialect() => None,
            None if self.kind == ProviderKind::Gemini && !gemini_follows_links(model) => Some(Follow::All),
            None => Some(Follow::Inexpressible),
        }
    }

    /// How long a call of this model may take.
    #[must_use]
    pub fn timeouts_for(&self, model: &str) -> Timeouts {
        if self.model_timeouts.is_empty() {
            return self.timeouts;
        }
        let name = format!("{}/{model}", self.name);
        let own: Vec<&ModelTimeouts> = self.model_timeouts.iter().filter(|own| own.models.matches(&name)).collect();
        let first = |of: fn(&ModelTimeouts) -> Option<Duration>| own.iter().find_map(|own| of(own));
        let Timeouts { connect, first_byte, idle, total } = self.timeouts;
        Timeouts {
            connect: first(|own| own.connect).unwrap_or(connect),
            first_byte: first(|own| own.first_byte).unwrap_or(first_byte),
            idle: first(|own| own.idle).unwrap_or(idle),
            total: first(|own| own.total).unwrap_or(total),
        }
    }

    /// The name of the output limit for this model: OpenAI's own servers want `max_completion_tokens` for reasoning models
    /// and accept it for all; most compatible servers know only `max_tokens`. `None` leaves what the client sent.
    #[must_use]
    pub fn max_tokens_field_for(&self, model: &str) -> Option<MaxTokensField> {
        if self.max_tokens_field.is_some() {
            return self.max_tokens_field;
        }
        let thinks = self.kind == ProviderKind::OpenAi && is_openai_reasoning(model);
        thinks.then_some(MaxTokensField::MaxCompletionTokens)
    }
}

/// Gemini's models after 2.0 fetch public addresses themselves (<https://ai.google.dev/gemini-api/docs/file-input-methods>).
fn gemini_follows_links(model: &str) -> bool {
    let model = model.strip_prefix("models/").unwrap_or(model);
    !["gemini-1.", "gemini-2.0", "gemini-pro", "gemma"].iter().any(|old| model.starts_with(old))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_own_timeouts_stand_over_its_providers() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let own = |models: &str, first_byte, total| ModelTimeouts {
            models: models.parse().unwrap(),
            connect: None,
            first_byte,
            idle: None,
            total,
        };
        let settings = ProviderSettings {
            name: "openai".to_owned(),
            kind: ProviderKind::OpenAi,
            folder: None,
            base_url: String::new(),
            api_keys: Vec::new(),
            timeouts: Timeouts::default(),
            model_timeouts: vec![
                own("openai/gpt-5-pro", seconds(600), None),
                own("openai/gpt-5*", seconds(60), seconds(90)),
                own("other/*", seconds(1), seconds(1)),
            ],
            on_disconnect: OnDisconnect::Cancel,
            max_tokens_field: None,
            structured_output: None,
            api: OpenAiApi::Chat,
            images_by_url: None,
        };
        let of = |model: &str| {
            let timeouts = settings.timeouts_for(model);
            (timeouts.first_byte.as_secs(), timeouts.total.as_secs(), timeouts.idle)
        };
        let idle = Timeouts::default().idle;
        assert_eq!(of("gpt-5-pro"), (600, 90, idle));
        assert_eq!(of("gpt-5-mini"), (60, 90, idle));
        assert_eq!(of("gpt-4o"), (300, 900, idle));
    }
    #[test]
    fn links_are_left_to_providers_that_follow_them() {
        use Dialect::{AnthropicMessages, Gemini, OpenAiChat};
        let settings = |kind, images_by_url| ProviderSettings {
            name: "p".to_owned(),
            kind,
            folder: None,
            base_url: String::new(),
            api_keys: Vec::new(),
            timeouts: Timeouts::default(),
            model_timeouts: Vec::new(),
            on_disconnect: OnDisconnect::Cancel,
            max_tokens_field: None,
            structured_output: None,
            api: OpenAiApi::Chat,
            images_by_url,
        };
        for (kind, inbound, model, expected) in [
            (ProviderKind::OpenAi, OpenAiChat, "gpt-4o", None),
            (ProviderKind::OpenAi, AnthropicMessages, "gpt-4o", Some(Follow::Inexpressible)),
            (ProviderKind::Anthropic, OpenAiChat, "claude", Some(Follow::Inexpressible)),
            (ProviderKind::Gemini, OpenAiChat, "gemini-2.5-flash", Some(Follow::Inexpressible)),
            (ProviderKind::Gemini, OpenAiChat, "models/gemini-2.0-flash", Some(Follow::All)),
            (ProviderKind::Gemini, Gemini, "gemini-2.0-flash", None),
        ] {
            assert_eq!(settings(kind, None).follow(model, inbound), expected, "{kind:?} {model}");
            assert_eq!(settings(kind, Some(ImagesByUrl::Pass)).follow(model, inbound), None);
            assert_eq!(settings(kind, Some(ImagesByUrl::Fetch)).follow(model, inbound), Some(Follow::All));
        }
    }
}
