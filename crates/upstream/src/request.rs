//! Reading a model call: whose dialect it is, what it asks for, how many tokens it brings.
//! It validates no more than a mock needs: a body that is not JSON is refused, unknown fields are not looked at.

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// The wire format of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    OpenAi = 0,
    Anthropic = 1,
    Gemini = 2,
    /// OpenAI's other API: errors and lists are the same.
    Responses = 3,
}

impl Dialect {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Responses => "responses",
        }
    }
}

/// What a path stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    Chat(Dialect),
    /// Gemini names the model and the way of answering in the path.
    GeminiChat {
        model: String,
        stream: bool,
    },
    Embeddings,
    GeminiEmbeddings {
        model: String,
        batch: bool,
    },
    Rerank,
    Images,
    Moderations,
    Speech,
    /// A recording that is written down.
    Recording,
    CountTokens(Dialect),
    Models(Dialect),
    Model(Dialect, String),
    Unknown(Dialect),
}

impl Route {
    pub(super) fn find(method: &Method, path: &str, headers: &HeaderMap) -> Self {
        let post = method == Method::POST;
        if post && path.ends_with("/chat/completions") {
            return Self::Chat(Dialect::OpenAi);
        }
        if post && path.ends_with("/responses") {
            return Self::Chat(Dialect::Responses);
        }
        if post && path.ends_with("/responses/input_tokens") {
            return Self::CountTokens(Dialect::Responses);
        }
        if post && path.ends_with("/embeddings") {
            return Self::Embeddings;
        }
        if post && path.ends_with("/rerank") {
            return Self::Rerank;
        }
        if post && path.ends_with("/images/generations") {
            return Self::Images;
        }
        if post && path.ends_with("/moderations") {
            return Self::Moderations;
        }
        if post && path.ends_with("/audio/speech") {
            return Self::Speech;
        }
        if post && (path.ends_with("/audio/transcriptions") || path.ends_with("/audio/translations")) {
            return Self::Recording;
        }
        if post && path.ends_with("/messages") {
            return Self::Chat(Dialect::Anthropic);
        }
        if post && path.ends_with("/messages/count_tokens") {
            return Self::CountTokens(Dialect::Anthropic);
        }
        let gemini = path.starts_with("/v1beta/") || headers.contains_key("x-goog-api-key");
        let dialect = match (gemini, headers.contains_key("anthropic-version")) {
            (true, _) => Dialect::Gemini,
            (false, true) => Dialect::Anthropic,
            (false, false) => Dialect::OpenAi,
        };
        let Some((_, rest)) = path.split_once("/models") else { return Self::Unknown(dialect) };
        let rest = rest.trim_start_matches('/');
        if post {
            return rest.split_once(':').map_or(Self::Unknown(dialect), |(model, verb)| Self::gemini(model, verb));
        }
        if rest.is_empty() { Self::Models(dialect) } else { Self::Model(dialect, rest.to_owned()) }
    }

    fn gemini(model: &str, verb: &str) -> Self {
        let model = model.to_owned();
        match verb {
            "generateContent" => Self::GeminiChat { model, stream: false },
            "streamGenerateContent" => Self::GeminiChat { model, stream: true },
            "embedContent" => Self::GeminiEmbeddings { model, batch: false },
            "batchEmbedContents" => Self::GeminiEmbeddings { model, batch: true },
            "countTokens" => Self::CountTokens(Dialect::Gemini),
            _ => Self::Unknown(Dialect::Gemini),
        }
    }
}

/// The part of a body that every call needs, read without building a tree.
#[derive(Debug, Deserialize)]
pub(super) struct Head {
    #[serde(default)]
    pub(super) model: Option<String>,
    #[serde(default)]
    pub(super) stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    max_tokens: Option<u64>,
    #[serde(default)]
    max_completion_tokens: Option<u64>,
    #[serde(default)]
    max_output_tokens: Option<u64>,
    #[serde(default, rename = "generationConfig")]
    generation_config: Option<GenerationConfig>,
    #[serde(default)]
    tool_choice: Option<IgnoredAny>,
    #[serde(default)]
    response_format: Option<IgnoredAny>,
    #[serde(default)]
    n: Option<IgnoredAny>,
    #[serde(default)]
    messages: Words,
    #[serde(default)]
    system: Words,
    #[serde(default)]
    input: Words,
    #[serde(default)]
    contents: Words,
    #[serde(default)]
    content: Words,
    #[serde(default, rename = "systemInstruction", alias = "system_instruction")]
    system_instruction: Words,
    #[serde(default)]
    requests: Words,
    #[serde(default, rename = "generateContentRequest")]
    generate_content_request: Words,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct GenerationConfig {
    #[serde(default, rename = "maxOutputTokens", alias = "max_output_tokens")]
    max_output_tokens: Option<u64>,
}

impl Head {
    pub(super) fn parse(body: &Bytes) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }

    /// One token per word of the texts: never more than a real tokenizer counts, so an estimate made before the call
    /// covers it.
    pub(super) fn input_tokens(&self) -> u64 {
        let parts = [
            &self.messages,
            &self.system,
            &self.input,
            &self.contents,
            &self.content,
            &self.system_instruction,
            &self.requests,
            &self.generate_content_request,
        ];
        parts.iter().map(|words| words.0).sum::<u64>().max(1)
    }

    pub(super) fn output_tokens_max(&self) -> Option<u64> {
        let gemini = self.generation_config.as_ref().and_then(|config| config.max_output_tokens);
        self.max_completion_tokens.or(self.max_tokens).or(self.max_output_tokens).or(gemini)
    }

    pub(super) fn include_usage(&self) -> bool {
        self.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or(false)
    }

    /// Whether the answer depends on nothing but the model and the number of tokens.
    pub(super) fn is_plain(&self) -> bool {
        self.stream != Some(true) && self.tool_choice.is_none() && self.response_format.is_none() && self.n.is_none()
    }
}

/// A model call as the answer needs it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) dialect: Dialect,
    pub(super) model: String,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) input_tokens: u64,
    pub(super) output_tokens_max: Option<u64>,
    pub(super) body: Value,
}

/// Words in all strings of a JSON value, keys excepted.
#[derive(Debug, Default)]
struct Words(u64);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordsVisitor).map(Words)
    }
}

pub(super) fn words(text: &str) -> u64 {
    text.split_ascii_whitespace().count() as u64
}

struct WordsVisitor;

impl<'de> Visitor<'de> for WordsVisitor {
    type Value = u64;

    fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_str<E>(self, text: &str) -> Result<u64, E> {
        Ok(words(text))
    }

    fn visit_bool<E>(self, _: bool) -> Result<u64, E> {
        Ok(0)
    }

    /// A number is a token id in the input of embeddings.
    fn visit_u64<E>(self, _: u64) -> Result<u64, E> {
        Ok(1)
    }

    fn visit_i64<E>(self, _: i64) -> Result<u64, E> {
        Ok(1)
    }

    fn visit_f64<E>(self, _: f64) -> Result<u64, E> {
        Ok(1)
    }

    fn visit_unit<E>(self) -> Result<u64, E> {
        Ok(0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<u64, A::Error> {
        let mut sum = 0;
        while let Some(Words(count)) = seq.next_element()? {
            sum += count;
        }
        Ok(sum)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<u64, A::Error> {
        let mut sum = 0;
        while let Some((IgnoredAny, Words(count))) = map.next_entry()? {
            sum += count;
        }
        Ok(sum)
    }
}
