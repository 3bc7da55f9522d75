//! A whole answer of the Messages API.
//!
//! Blocks of kinds that were not asked for (server tools) have no canonical meaning and are left out.

use serde::Deserialize;
use serde_json::Map;

use super::wire::{Block, WireUsage, fault, finish};
use crate::UpstreamFault;
use crate::canonical::{ChatResponse, Choice, Message, Part, Role};

/// Reads an answer.
///
/// # Errors
/// When the body is no message, or reports an error.
pub fn decode(body: &[u8]) -> Result<ChatResponse, UpstreamFault> {
    let wire: Wire = serde_json::from_slice(body).map_err(|error| UpstreamFault::Malformed(error.to_string()))?;
    if wire.kind == "error" || wire.error.is_some() {
        return Err(fault(body));
    }
    let (Some(id), Some(content)) = (wire.id, wire.content) else {
        return Err(UpstreamFault::Malformed("the message has no `id` or no `content`".to_owned()));
    };
    let message = Message {
        role: Role::Assistant,
        name: None,
        parts: content.into_iter().filter_map(part).collect(),
        extra: Map::new(),
    };
    let finish = wire.stop_reason.as_deref().map(finish);
    Ok(ChatResponse {
        id,
        model: wire.model.unwrap_or_default(),
        created: None,
        choices: vec![Choice { message, finish, logprobs: None }],
        usage: wire.usage.as_ref().map(WireUsage::canonical),
        tier: wire.usage.and_then(|usage| usage.service_tier),
    })
}

#[derive(Deserialize)]
struct Wire {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    error: Option<serde::de::IgnoredAny>,
    id: Option<String>,
    model: Option<String>,
    content: Option<Vec<Block>>,
    stop_reason: Option<String>,
    usage: Option<WireUsage>,
}

fn part(block: Block) -> Option<Part> {
    match block.kind.as_str() {
        "text" => block.text.filter(|text| !text.is_empty()).map(|text| Part::Text { text }),
        "thinking" => Some(Part::Thinking { text: block.thinking.unwrap_or_default(), signature: block.signature }),
        "redacted_thinking" => block.data.map(|data| Part::RedactedThinking { data }),
        "tool_use" => {
            let arguments = block.arguments().unwrap_or("{}").to_owned();
            Some(Part::ToolCall { id: block.id?, name: block.name?, arguments, signature: None })
        }
        _ => None,
    }
}
