//! What a Messages request holds besides its thread, counted as [`RequestSize`] counts; and the members that nobody can bound.

use serde::Deserialize;
use serde_json::Value;

use super::incoming::IncomingMessages;
use crate::canonical::Message;
use crate::raw_object::RawObject;
use crate::request_size::{
    RequestSize, TOKENS_OF_FORMAT_PROMPT, TOKENS_OF_TOOL_PROMPT, TOKENS_PER_TOOL, asks_for_cache,
};
use crate::unbounded_field::{Escape, Suspects, UnboundedField};

/// Members that no model sees, or that are counted in another way. All others count by their bytes.
const NOT_TEXT: [&str; 6] = ["messages", "system", "metadata", "model", "cache_control", "diagnostics"];

/// Members by which the provider reads more than the request says.
const READS_MORE: [&str; 2] = ["mcp_servers", "container"];

/// Tools that the client runs, of types that Anthropic knows and has a prompt for: below 1,000 tokens each
/// (<https://platform.claude.com/docs/en/agents-and-tools/tool-use/overview#pricing>).
const KNOWN_CLIENT_TOOLS: [&str; 4] = ["bash_", "text_editor_", "memory_", "computer_2"];
/// Sets of them, whose prompts are larger than anybody has written down.
const TOOLSETS: [&str; 2] = ["computer_toolset_", "browser_toolset_"];

/// The `fallbacks` name other models.
const MODELS: [&str; 1] = ["fallbacks"];
/// Threads that only the provider has; tools of others' servers, whose results it reads; summaries that it writes on the way.
const SIZES: [&str; 4] = ["mcp_servers", "thread", "compaction", "previous_response_id"];
/// Paid by the time.
const FEES: [&str; 1] = ["container"];
const COUNTED: [&str; 8] =
    ["max_tokens", "messages", "system", "tools", "thinking", "output_config", "speed", "stream"];
const FREE: [&str; 6] = ["messages", "system", "tools", "output_config", "output_format", "metadata"];
const SUSPECTS: Suspects = Suspects { models: &MODELS, sizes: &SIZES, fees: &FEES, counted: &COUNTED, free: &FREE };

impl IncomingMessages {
    /// The most that the request can be counted as, with what leads it and earlier messages.
    #[must_use]
    pub fn size(&self, history: &[Message]) -> RequestSize {
        let mut size = RequestSize::of_thread(&self.lead, history, &self.messages);
        let object = &self.object;
        for key in object.keys().filter(|key| !NOT_TEXT.contains(key)) {
            let json = object.get(key).unwrap_or_default();
            if matches!(json.first(), Some(b'"' | b'[' | b'{')) {
                size.text(json.len());
                size.unknown_parts += u64::from(READS_MORE.contains(&key));
            }
        }
        let has_format = |key: &str| object.get(key).is_some_and(|json| json.starts_with(b"{"));
        if has_format("output_config") || has_format("output_format") {
            size.add(TOKENS_OF_FORMAT_PROMPT);
        }
        tools(object, &mut size);
        size.writes_cache |= asks_for_cache(object.body());
        size
    }

    /// The first member that nobody can bound, if there is one.
    #[must_use]
    pub fn unbounded_field(&self) -> Option<UnboundedField> {
        SUSPECTS.find(&self.object).or_else(|| self.paid_tool()).or_else(|| self.rewrites()).or_else(|| self.place())
    }

    /// A tool that the provider runs itself: it is paid for, or reads what nobody counted.
    fn paid_tool(&self) -> Option<UnboundedField> {
        let paid = |name: String| UnboundedField { name, escapes: Escape::Fee };
        // What cannot be read may be anything.
        let Ok(tools) = self.object.decode::<Vec<ToolKind>>("tools") else { return Some(paid("tools".to_owned())) };
        let mut tools = tools.into_iter().flatten().enumerate();
        tools.find_map(|(index, tool)| (tool.is_providers()).then(|| paid(format!("tools[{index}]"))))
    }

    /// Edits of the thread for which the provider has a model write.
    fn rewrites(&self) -> Option<UnboundedField> {
        let management: Value = self.object.decode("context_management").ok()??;
        let edits = management.get("edits").and_then(Value::as_array)?;
        let kind =
            |edit: &Value| edit.get("type").and_then(Value::as_str).is_some_and(|kind| kind.starts_with("clear_"));
        let field = UnboundedField { name: "context_management".to_owned(), escapes: Escape::Size };
        (!edits.iter().all(kind)).then_some(field)
    }

    /// Where the model works, for which some places cost more
    /// (<https://platform.claude.com/docs/en/build-with-claude/data-residency>).
    fn place(&self) -> Option<UnboundedField> {
        let place: Value = self.object.decode("inference_geo").ok()??;
        let field = UnboundedField { name: "inference_geo".to_owned(), escapes: Escape::Fee };
        (place != "global").then_some(field)
    }
}

#[derive(Deserialize)]
struct ToolKind {
    #[serde(rename = "type", default)]
    kind: Option<String>,
}

impl ToolKind {
    fn is_one_of(&self, families: &[&str]) -> bool {
        self.kind.as_deref().is_some_and(|kind| families.iter().any(|family| kind.starts_with(family)))
    }

    fn is_clients_own(&self) -> bool {
        matches!(self.kind.as_deref(), None | Some("custom"))
    }

    fn is_providers(&self) -> bool {
        !(self.is_clients_own() || self.is_one_of(&KNOWN_CLIENT_TOOLS) || self.is_one_of(&TOOLSETS))
    }
}

fn tools(object: &RawObject, size: &mut RequestSize) {
    if object.get("tools").is_none_or(|json| json == b"null") {
        return;
    }
    size.add(TOKENS_OF_TOOL_PROMPT);
    let Ok(tools) = object.decode::<Vec<ToolKind>>("tools") else {
        size.unknown_parts += 1;
        return;
    };
    for tool in tools.unwrap_or_default() {
        size.add(TOKENS_PER_TOOL);
        if tool.is_one_of(&KNOWN_CLIENT_TOOLS) {
            size.add(TOKENS_OF_TOOL_PROMPT);
        } else if !tool.is_clients_own() {
            size.unknown_parts += 1;
        }
    }
}
