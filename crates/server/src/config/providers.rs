//! Providers by convention of the environment or by name in the file.

use privet_dialects::openai::chat_request::MaxTokensField;
use privet_providers::{
    ImagesByUrl, OnDisconnect, OpenAiApi, ProviderKind, ProviderSettings, StructuredOutput, Timeouts, offline,
};
use secrecy::{ExposeSecret as _, SecretString};

use super::error::ConfigError;
use super::layers::Layers;
use super::setting::{self, Shown, Value};

/// The fields of a provider in the file.
pub(super) const FIELDS: &[&str] = &[
    "kind",
    "folder",
    "base_url",
    "api_key",
    API_KEYS,
    API_KEY_ENV,
    "max_tokens_field",
    "structured_output",
    "on_disconnect",
    "api",
    "images_by_url",
    "connect_timeout",
    "first_byte_timeout",
    "idle_timeout",
    "total_timeout",
];

/// Those of them that take lists.
pub(super) const LISTS: [&str; 2] = [API_KEYS, API_KEY_ENV];
/// Several keys, which take turns.
const API_KEYS: &str = "api_keys";
/// The variables that hold the keys.
const API_KEY_ENV: &str = "api_key_env";

/// A provider that everybody knows.
struct WellKnown {
    name: &'static str,
    kind: ProviderKind,
    key_variable: &'static str,
    /// Several keys, with commas between them.
    keys_variable: &'static str,
    url_variable: &'static str,
    base_url: &'static str,
    default_model: &'static str,
}

const WELL_KNOWN: [WellKnown; 3] = [
    WellKnown {
        name: "openai",
        kind: ProviderKind::OpenAi,
        key_variable: "OPENAI_API_KEY",
        keys_variable: "OPENAI_API_KEYS",
        url_variable: "OPENAI_BASE_URL",
        base_url: "https://api.openai.com/v1",
        default_model: "gpt-4o",
    },
    WellKnown {
        name: "anthropic",
        kind: ProviderKind::Anthropic,
        key_variable: "ANTHROPIC_API_KEY",
        keys_variable: "ANTHROPIC_API_KEYS",
        url_variable: "ANTHROPIC_BASE_URL",
        base_url: "https://api.anthropic.com",
        default_model: "claude-sonnet-4-5",
    },
    WellKnown {
        name: "gemini",
        kind: ProviderKind::Gemini,
        key_variable: "GEMINI_API_KEY",
        keys_variable: "GEMINI_API_KEYS",
        url_variable: "GEMINI_BASE_URL",
        base_url: "https://generativelanguage.googleapis.com",
        default_model: "gemini-2.5-flash",
    },
];

/// The configured providers; the offline one when there is no other.
pub(super) fn configured(layers: &Layers, shown: &mut Vec<Shown>) -> Result<Vec<ProviderSettings>, ConfigError> {
    let named = layers.names_in("providers");
    let mut providers = Vec::new();
    for known in &WELL_KNOWN {
        let variables = [known.key_variable, known.keys_variable, known.url_variable];
        let by_environment = variables.iter().any(|name| layers.variable(name).is_some());
        if by_environment || named.iter().any(|name| name == known.name) {
            providers.push(provider(layers, known.name, Some(known), shown)?);
        }
    }
    for name in named.iter().filter(|name| WELL_KNOWN.iter().all(|known| known.name != name.as_str())) {
        providers.push(provider(layers, name, None, shown)?);
    }
    if providers.is_empty() {
        providers.push(bare(offline::NAME, ProviderKind::Offline));
    }
    Ok(providers)
}

fn provider(
    layers: &Layers,
    name: &str,
    known: Option<&WellKnown>,
    shown: &mut Vec<Shown>,
) -> Result<ProviderSettings, ConfigError> {
    let mut find = |field: &str, variables: &[&str], secret: bool| {
        let key = format!("providers.{name}.{field}");
        let value = layers.find(&key, variables, secret);
        shown.extend(value.as_ref().map(|value| value.shown(&key)));
        value
    };
    let kind = match find("kind", &[], false) {
        Some(value) => value.parse(kind)?,
        None if name == offline::NAME => ProviderKind::Offline,
        None => known.map_or(ProviderKind::OpenAi, |known| known.kind),
    };
    let mut settings = bare(name, kind);
    if kind == ProviderKind::Offline {
        return Ok(settings);
    }
    if kind == ProviderKind::Local {
        let folder = find("folder", &[], false).ok_or_else(|| ConfigError::Syntax {
            place: String::new(),
            problem: format!(
                "`providers.{name}` needs a `folder` with a model: config.json, tokenizer.json, model.safetensors"
            ),
        })?;
        settings.folder = Some(layers.folder().join(&folder.text));
        return Ok(settings);
    }
    let url_variables = known.map(|known| known.url_variable);
    settings.base_url = match (find("base_url", url_variables.as_slice(), false), known) {
        (Some(value), _) => value.parse(base_url)?,
        (None, Some(known)) => known.base_url.to_owned(),
        (None, None) => return Err(missing_base_url(layers, name)),
    };
    let variables = known.map(|known| (known.key_variable, known.keys_variable)).unzip();
    let own = [find("api_key", variables.0.as_slice(), true), find(API_KEYS, variables.1.as_slice(), true)];
    for value in own.iter().flatten() {
        add_keys(value, &mut settings.api_keys)?;
    }
    if let Some(variables) = find(API_KEY_ENV, &[], false).filter(|_| settings.api_keys.is_empty()) {
        for variable in &variables.items {
            add_keys(&named_variable(layers, &variables, variable)?, &mut settings.api_keys)?;
        }
    }
    if let Some(value) = find("max_tokens_field", &[], false) {
        settings.max_tokens_field = Some(value.parse(max_tokens_field)?);
    }
    if let Some(value) = find("structured_output", &[], false) {
        settings.structured_output = Some(value.parse(structured_output)?);
    }
    if let Some(value) = find("on_disconnect", &[], false) {
        settings.on_disconnect = value.parse(on_disconnect)?;
    }
    if let Some(value) = find("api", &[], false) {
        settings.api = value.parse(api)?;
    }
    if let Some(value) = find("images_by_url", &[], false) {
        settings.images_by_url = Some(value.parse(images_by_url)?);
    }
    let timeouts = &mut settings.timeouts;
    for (field, timeout) in [
        ("connect_timeout", &mut timeouts.connect),
        ("first_byte_timeout", &mut timeouts.first_byte),
        ("idle_timeout", &mut timeouts.idle),
        ("total_timeout", &mut timeouts.total),
    ] {
        if let Some(value) = find(field, &[], false) {
            *timeout = value.parse(setting::duration)?;
        }
    }
    Ok(settings)
}

fn bare(name: &str, kind: ProviderKind) -> ProviderSettings {
    ProviderSettings {
        name: name.to_owned(),
        kind,
        folder: None,
        base_url: String::new(),
        api_keys: Vec::new(),
        timeouts: Timeouts::default(),
        model_timeouts: Vec::new(),
        on_disconnect: OnDisconnect::default(),
        max_tokens_field: None,
        structured_output: None,
        api: OpenAiApi::default(),
        images_by_url: None,
    }
}

fn missing_base_url(layers: &Layers, name: &str) -> ConfigError {
    let fields = FIELDS.iter().find_map(|field| layers.find(&format!("providers.{name}.{field}"), &[], false));
    let place = fields.map_or_else(String::new, |value| value.origin.place());
    ConfigError::Syntax {
        place,
        problem: format!("`providers.{name}` needs a `base_url`, for example \"http://localhost:11434/v1\""),
    }
}

/// Adds the keys of a value that are not there yet. In a variable several stand with commas between them.
fn add_keys(value: &Value, keys: &mut Vec<SecretString>) -> Result<(), ConfigError> {
    let written = value.items.iter().flat_map(|item| item.split(',')).map(str::trim).filter(|key| !key.is_empty());
    for key in written {
        let alone = Value { text: key.to_owned(), items: vec![key.to_owned()], ..value.clone() };
        let key = alone.parse(setting::header_value)?;
        if keys.iter().all(|known| known.expose_secret() != key) {
            keys.push(SecretString::from(key));
        }
    }
    Ok(())
}

fn named_variable(layers: &Layers, named_in: &Value, variable: &str) -> Result<Value, ConfigError> {
    match layers.variable(variable) {
        Some((text, origin)) => {
            Ok(Value { key: variable.to_owned(), items: vec![text.clone()], text, origin, secret: true })
        }
        None => Err(ConfigError::value(
            &named_in.origin,
            &named_in.key,
            variable,
            "this variable is not set; set it in the environment or in .env",
        )),
    }
}

/// The best known model of the best known of these providers.
pub(super) fn best_known_model(providers: &[ProviderSettings]) -> Option<String> {
    let known = WELL_KNOWN.iter().find(|known| providers.iter().any(|provider| provider.name == known.name))?;
    Some(format!("{}/{}", known.name, known.default_model))
}

/// The best known model of a provider that everybody knows.
pub(crate) fn best_known_model_of(provider: &str) -> Option<&'static str> {
    WELL_KNOWN.iter().find(|known| known.name == provider).map(|known| known.default_model)
}

fn kind(text: &str) -> Result<ProviderKind, String> {
    [ProviderKind::OpenAi, ProviderKind::Anthropic, ProviderKind::Gemini, ProviderKind::Offline, ProviderKind::Local]
        .into_iter()
        .find(|kind| kind.as_str() == text)
        .ok_or_else(|| {
            "write \"openai\" (also for compatible servers), \"anthropic\", \"gemini\", \"offline\" or \"local\""
                .to_owned()
        })
}

fn base_url(text: &str) -> Result<String, String> {
    let remedy = || "write an http:// or https:// address".to_owned();
    let url = reqwest::Url::parse(text).map_err(|_| remedy())?;
    let usable = matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty();
    usable.then(|| text.trim_end_matches('/').to_owned()).ok_or_else(remedy)
}

fn on_disconnect(text: &str) -> Result<OnDisconnect, String> {
    match text {
        "cancel" => Ok(OnDisconnect::Cancel),
        "drain" => Ok(OnDisconnect::Drain),
        _ => Err("write \"cancel\", or \"drain\" for a provider that bills the whole answer anyway".to_owned()),
    }
}

fn structured_output(text: &str) -> Result<StructuredOutput, String> {
    match text {
        "native" => Ok(StructuredOutput::Native),
        "emulated" => Ok(StructuredOutput::Emulated),
        _ => Err("write \"native\", or \"emulated\" for a provider that keeps to no JSON Schema by itself".to_owned()),
    }
}

fn api(text: &str) -> Result<OpenAiApi, String> {
    match text {
        "chat" => Ok(OpenAiApi::Chat),
        "responses" => Ok(OpenAiApi::Responses),
        _ => Err("write \"chat\" (chat completions, which every compatible server has) or \"responses\"".to_owned()),
    }
}

fn images_by_url(text: &str) -> Result<ImagesByUrl, String> {
    match text {
        "pass" => Ok(ImagesByUrl::Pass),
        "fetch" => Ok(ImagesByUrl::Fetch),
        _ => {
            Err("write \"pass\" for a provider that fetches images itself, or \"fetch\" for one that takes bytes alone"
                .to_owned())
        }
    }
}

fn max_tokens_field(text: &str) -> Result<MaxTokensField, String> {
    match text {
        "max_tokens" => Ok(MaxTokensField::MaxTokens),
        "max_completion_tokens" => Ok(MaxTokensField::MaxCompletionTokens),
        _ => Err("write \"max_tokens\" or \"max_completion_tokens\"".to_owned()),
    }
}
