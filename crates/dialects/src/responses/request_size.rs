//! What a Responses request holds besides its thread, counted as [`RequestSize`] counts; and the members that nobody can bound.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::incoming::IncomingResponses;
use crate::canonical::Message;
use crate::openai::unbounded_field::{FEES, OF_MESSAGES};
use crate::request_size::{
    RequestSize, TOKENS_OF_FORMAT_PROMPT, TOKENS_OF_TOOL_PROMPT, TOKENS_PER_TOOL, asks_for_cache,
};
use crate::unbounded_field::{Escape, Suspects, UnboundedField, is_one_of};

/// Members that no model sees, or that are counted in another way. All others count by their bytes.
const NOT_TEXT: [&str; 9] = [
    "input",
    "instructions",
    "metadata",
    "model",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "previous_response_id",
    "conversation",
];

/// The members that are counted, or checked.
const COUNTED: [&str; 6] = ["max_output_tokens", "input", "instructions", "tools", "service_tier", "stream"];
const FREE: [&str; 4] = ["input", "tools", "text", "metadata"];
/// Prompts that OpenAI keeps name a model of their own, and are as long as they are.
const MODELS: [&str; 6] = ["prompt", "models", "route", "preset", "fallbacks", "extra_body"];
/// What is read or written beside what is counted: threads that the server shortens by writing a summary
/// (<https://platform.openai.com/docs/guides/compaction>), several answers, and files.
const SIZES: [&str; 9] = [
    "context_management",
    "n",
    "prediction",
    "modalities",
    "best_of",
    "use_beam_search",
    "cached_content",
    "cachedcontent",
    "file_ids",
];
/// Servers of this API have the members of their own that they have in chat completions.
const SUSPECTS: Suspects = Suspects { models: &MODELS, sizes: &SIZES, fees: &FEES, counted: &COUNTED, free: &FREE };

impl IncomingResponses {
    /// The most that the request can be counted as, with what leads it and earlier messages.
    #[must_use]
    pub fn size(&self, history: &[Message]) -> RequestSize {
        let mut size = RequestSize::of_thread(&self.lead, history, &self.messages);
        let object = &self.object;
        for key in object.keys().filter(|key| !NOT_TEXT.contains(key)) {
            let json = object.get(key).unwrap_or_default();
            if matches!(json.first(), Some(b'"' | b'[' | b'{')) {
                size.text(json.len());
            }
        }
        if object.get("text").is_some_and(|json| json.starts_with(b"{")) {
            size.add(TOKENS_OF_FORMAT_PROMPT);
        }
        if object.get("tools").is_some_and(|json| json != b"null") {
            size.add(TOKENS_OF_TOOL_PROMPT);
            match self.tool_kinds() {
                Some(tools) => {
                    size.add(TOKENS_PER_TOOL.saturating_mul(tools.len() as u64));
                    size.unknown_parts += tools.iter().filter(|tool| !tool.is_clients()).count() as u64;
                }
                None => size.unknown_parts += 1,
            }
        }
        let items: Vec<Map<String, Value>> = object.decode("input").ok().flatten().unwrap_or_default();
        for item in &items {
            let parts = ["content", "output"].into_iter().filter_map(|name| item.get(name)?.as_array()).flatten();
            let parts = parts.filter_map(Value::as_object);
            let unread = unread(item, &OF_ITEMS).chain(parts.flat_map(|part| unread(part, &OF_CONTENT)));
            unread.for_each(|(name, value)| size.text(name.len() + value.to_string().len()));
        }
        size.writes_cache |= asks_for_cache(object.body());
        size
    }

    /// The first member that nobody can bound, if there is one.
    #[must_use]
    pub fn unbounded_field(&self) -> Option<UnboundedField> {
        SUSPECTS.find(&self.object).or_else(|| self.paid_tool()).or_else(|| self.unbounded_item())
    }

    /// A member of an item that holds what was not counted.
    fn unbounded_item(&self) -> Option<UnboundedField> {
        let items: Vec<Map<String, Value>> = self.object.decode("input").ok()??;
        items.iter().enumerate().find_map(|(index, item)| {
            let name = item.keys().find(|name| is_one_of(&OF_MESSAGES, name))?;
            Some(UnboundedField { name: format!("input[{index}].{name}"), escapes: Escape::Size })
        })
    }

    /// A tool that the provider runs itself, and is paid for.
    fn paid_tool(&self) -> Option<UnboundedField> {
        let paid = |name: String| UnboundedField { name, escapes: Escape::Fee };
        // What cannot be read may be anything.
        let Some(tools) = self.tool_kinds() else { return Some(paid("tools".to_owned())) };
        tools.iter().position(|tool| !tool.is_clients()).map(|index| paid(format!("tools[{index}]")))
    }

    /// The kinds of its tools; `None` if they cannot be read.
    fn tool_kinds(&self) -> Option<Vec<ToolKind>> {
        self.object.decode::<Vec<ToolKind>>("tools").ok().map(Option::unwrap_or_default)
    }
}

/// The members of items that are counted by what they mean.
const OF_ITEMS: [&str; 10] =
    ["type", "role", "content", "output", "id", "status", "call_id", "name", "arguments", "encrypted_content"];
/// The same of their content.
const OF_CONTENT: [&str; 10] =
    ["type", "text", "refusal", "image_url", "detail", "file_id", "file_data", "file_url", "filename", "input_audio"];

/// What a provider of the same API is told besides.
fn unread<'a>(fields: &'a Map<String, Value>, read: &'a [&str]) -> impl Iterator<Item = (&'a String, &'a Value)> {
    fields.iter().filter(|(name, _)| !read.contains(&name.as_str()))
}

#[derive(Deserialize)]
struct ToolKind {
    #[serde(rename = "type", default)]
    kind: Option<String>,
}

impl ToolKind {
    fn is_clients(&self) -> bool {
        matches!(self.kind.as_deref(), Some("function" | "custom"))
    }
}
