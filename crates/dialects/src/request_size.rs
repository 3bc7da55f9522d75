//! How large a request is at most, counted before anybody is paid for it. An upper bound, not an estimate: what is held for a
//! call must be enough for whatever the provider will count.
//!
//! Text is one token a byte: every tokenizer in use falls back to bytes, so that a token covers at least one. What cannot be
//! told from the request (documents, films, what a provider searches for itself) is counted as parts of unknown size.
//!
//! Here stands what requests of all dialects have: a thread. What else there is in one is counted beside its reader.

use serde_json::Value;

use crate::Dialect;
use crate::canonical::{Message, Part, Source, WIRE_OUTPUT};

/// The most that a request can be counted as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestSize {
    /// Tokens of text, the provider's own additions included.
    pub text_tokens: u64,
    /// Pictures, whose size the model's price knows.
    pub images: u64,
    /// Tokens of sound.
    pub audio_tokens: u64,
    /// Parts whose size only the provider knows: they may fill the model's context.
    pub unknown_parts: u64,
    /// Output tokens that come on top of the output limit: a `prediction` that the model did not follow is paid as output.
    pub predicted_tokens: u64,
    /// Whether something asks for a write to the provider's cache.
    pub writes_cache: bool,
    /// Whether the answer may be sound.
    pub speaks: bool,
    /// Whether the answer may hold pictures.
    pub draws: bool,
}

/// What a provider puts around a thread: beginning of text, the turn of the assistant. One that adds more is noticed by its counts.
pub(crate) const TOKENS_PER_REQUEST: u64 = 8;
/// Role and separators; OpenAI documents 3, or 4 with a name
/// (<https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken_openai>).
pub(crate) const TOKENS_PER_MESSAGE: u64 = 6;
/// What stands around a call or a result.
const TOKENS_PER_CALL: u64 = 16;
/// What stands around a tool's declaration, besides its own JSON.
pub(crate) const TOKENS_PER_TOOL: u64 = 32;
/// The prompt that comes with tools: Anthropic's have up to 804 tokens
/// (<https://platform.claude.com/docs/en/agents-and-tools/tool-use/overview#pricing>).
pub(crate) const TOKENS_OF_TOOL_PROMPT: u64 = 1_000;
/// The prompt that comes with a demanded shape of the answer; Anthropic says that there is one, and that it is short
/// (<https://platform.claude.com/docs/en/build-with-claude/structured-outputs>).
pub(crate) const TOKENS_OF_FORMAT_PROMPT: u64 = 500;

/// Bytes of sound in a token, at least. The densest documented rate is 32 tokens a second
/// (<https://ai.google.dev/gemini-api/docs/audio>; OpenAI counts 10), the thinnest MP3 has 1,000 bytes a second, and the
/// thinnest WAV that anybody plays 4,000: 31 bytes or more.
const AUDIO_BYTES_PER_TOKEN: u64 = 16;
/// Tokens of a byte in formats that shrink silence to nearly nothing: half a second in twelve bytes of FLAC.
const AUDIO_TOKENS_PER_BYTE: u64 = 2;

impl RequestSize {
    /// Of a request whose thread is this, in its order: what leads it, earlier messages, and its own.
    pub(crate) fn of_thread(lead: &[Message], history: &[Message], own: &[Message]) -> Self {
        let mut size = Self { text_tokens: TOKENS_PER_REQUEST, ..Self::default() };
        let thread = || lead.iter().chain(history).chain(own);
        let names = thread().flat_map(|message| &message.parts).map(|part| match part {
            Part::ToolCall { name, .. } => name.len(),
            _ => 0,
        });
        let longest_name = names.max().unwrap_or(0);
        for message in thread() {
            size.message(message, longest_name);
        }
        // Only what has no canonical meaning can hold it, and that is rarely there.
        size.writes_cache = lead.iter().chain(history).any(|message| {
            let others = message.parts.iter().filter_map(|part| match part {
                Part::Other { value, .. } => Some(value.to_string()),
                _ => None,
            });
            let extra = message.extra.iter().map(|(key, value)| format!("{key}{value}"));
            extra.chain(others).any(|text| text.contains(CACHE_CONTROL))
        });
        size
    }

    /// Adds tokens.
    pub(crate) fn add(&mut self, tokens: u64) {
        self.text_tokens = self.text_tokens.saturating_add(tokens);
    }

    /// Adds so many bytes of text.
    pub(crate) fn text(&mut self, bytes: usize) {
        self.add(bytes as u64);
    }

    fn message(&mut self, message: &Message, longest_name: usize) {
        let before = self.text_tokens;
        self.add(TOKENS_PER_MESSAGE);
        self.text(message.name.as_ref().map_or(0, String::len));
        for part in &message.parts {
            self.part(part, longest_name);
        }
        for (key, value) in &message.extra {
            // What it says in its provider's words its parts say too: the larger counts.
            if key == WIRE_OUTPUT {
                let told = self.text_tokens.saturating_sub(before);
                self.add((value.to_string().len() as u64).saturating_sub(told));
                let items = value.as_array().into_iter().flatten();
                self.unknown_parts += items.filter(|item| !is_plain_item(item)).count() as u64;
                continue;
            }
            self.text(key.len() + value.to_string().len());
            // `{"id": …}`: an answer that was spoken before, which only the provider has.
            self.unknown_parts += u64::from(key == "audio");
        }
    }

    fn part(&mut self, part: &Part, longest_name: usize) {
        match part {
            Part::Text { text } | Part::Refusal { text } => self.text(text.len()),
            Part::Image { source, .. } if is_picture(source) => self.images += 1,
            Part::Image { .. } | Part::File { .. } => self.unknown_parts += 1,
            Part::Audio { data, format } => self.sound(data, format),
            Part::ToolCall { id, name, arguments, signature } => {
                self.add(TOKENS_PER_CALL);
                self.text(id.len() + name.len() + arguments.len() + signature.as_ref().map_or(0, String::len));
            }
            Part::ToolResult { call_id, content, .. } => {
                self.add(TOKENS_PER_CALL);
                // Gemini is told the name of the tool with its result.
                self.text(call_id.len() + longest_name);
                for part in content {
                    self.part(part, longest_name);
                }
            }
            // The signature is the encrypted reasoning itself, of which the text may be a summary.
            Part::Thinking { text, signature } => self.text(text.len() + signature.as_ref().map_or(0, String::len)),
            Part::RedactedThinking { data } => self.text(data.len()),
            Part::Other { dialect, value } if is_text(*dialect, value) => {
                self.add(TOKENS_PER_CALL);
                self.text(value.to_string().len());
            }
            Part::Other { .. } => self.unknown_parts += 1,
        }
    }

    fn sound(&mut self, base64: &str, format: &str) {
        let bytes = (base64.len() as u64).div_ceil(4).saturating_mul(3);
        let tokens = match format {
            "mp3" | "wav" => bytes.div_ceil(AUDIO_BYTES_PER_TOKEN),
            _ => bytes.saturating_mul(AUDIO_TOKENS_PER_BYTE),
        };
        self.audio_tokens = self.audio_tokens.saturating_add(tokens);
    }
}

/// Whether a part that has no canonical meaning is as large as what it says.
fn is_text(dialect: Dialect, value: &Value) -> bool {
    if dialect == Dialect::OpenAiResponses {
        return is_plain_item(value);
    }
    let kinds: &[&str] = match dialect {
        Dialect::OpenAiChat => &["custom"],
        Dialect::AnthropicMessages => &["tool_use", "server_tool_use", "tool_reference", "fallback"],
        Dialect::Gemini | Dialect::OpenAiResponses => &[],
    };
    value.get("type").and_then(Value::as_str).is_some_and(|kind| kinds.contains(&kind))
}

/// Whether an item of the Responses API is as large as what it says: neither files nor what the server has beside it.
fn is_plain_item(item: &Value) -> bool {
    let is_text = |part: &Value| {
        let kind = part.get("type").and_then(Value::as_str);
        kind.is_some_and(|kind| matches!(kind, "output_text" | "refusal"))
    };
    match item.get("type").and_then(Value::as_str) {
        Some("reasoning" | "function_call" | "custom_tool_call") => true,
        Some("custom_tool_call_output") => item.get("output").is_some_and(Value::is_string),
        Some("message") => item.get("content").and_then(Value::as_array).is_some_and(|parts| parts.iter().all(is_text)),
        _ => false,
    }
}

/// Whether an image can only be a picture. Gemini takes documents and films in its place, at any address.
fn is_picture(source: &Source) -> bool {
    match source {
        Source::Base64 { media_type, .. } => media_type.starts_with("image/"),
        Source::Url { url } => {
            let path = url.split(['?', '#']).next().unwrap_or_default();
            let ending = path.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
            ending.is_some_and(|ending| ["png", "jpg", "jpeg", "webp", "gif", "heic"].contains(&ending.as_str()))
        }
        Source::FileId { .. } => false,
    }
}

const CACHE_CONTROL: &str = "cache_control";

/// Whether `cache_control` stands in a body, by whatever way of writing: letters need no escapes, so that one who escapes them
/// may be hiding it.
pub(crate) fn asks_for_cache(body: &[u8]) -> bool {
    let found = |what: &str| memchr::memmem::find(body, what.as_bytes()).is_some();
    found(CACHE_CONTROL) || ["\\u005", "\\u006", "\\u007"].into_iter().any(found)
}
