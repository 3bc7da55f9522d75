//! A whole answer of the Messages API.
//!
//! Blocks without canonical meaning (the provider's own tools, which only a client of this dialect can ask for) are kept as they came.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Map;
use serde_json::value::RawValue;

use super::block::is_plain_call;
use super::wire::{Block, WireUsage, fault, finish};
use crate::canonical::{ChatResponse, Choice, Message, Part, Role};
use crate::translate::{Answer, WholeAnswer};
use crate::{Dialect, UpstreamFault};

/// Reads an answer and passes its bytes on.
///
/// # Errors
/// When the body is no message, or reports an error.
pub fn pass(body: Bytes) -> Result<WholeAnswer, UpstreamFault> {
    let answer = Answer::from(decode(&body)?);
    Ok(WholeAnswer { body, answer })
}

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
        parts: content.iter().filter_map(|block| part(block)).collect(),
        extra: Map::new(),
    };
    let finish = wire.stop_reason.as_deref().map(finish);
    Ok(ChatResponse {
        id,
        model: wire.model.unwrap_or_default(),
        created: None,
        choices: vec![Choice { message, finish, logprobs: None }],
        usage: wire.usage.as_ref().map(WireUsage::canonical),
        tier: wire.usage.and_then(|usage| usage.tier()),
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
    content: Option<Vec<Box<RawValue>>>,
    stop_reason: Option<String>,
    usage: Option<WireUsage>,
}

fn part(raw: &RawValue) -> Option<Part> {
    let known = match serde_json::from_str::<Block>(raw.get()) {
        Ok(block) => known_part(block),
        Err(_) => None,
    };
    known.unwrap_or_else(|| {
        let value = serde_json::from_str(raw.get()).ok()?;
        Some(Part::Other { dialect: Dialect::AnthropicMessages, value })
    })
}

/// The part of a block that has a canonical meaning, if it says anything.
#[expect(clippy::option_option, reason = "of a block that is known, nothing may be there")]
fn known_part(block: Block) -> Option<Option<Part>> {
    Some(match block.kind.as_str() {
        "text" => block.text.filter(|text| !text.is_empty()).map(|text| Part::Text { text }),
        "thinking" => Some(Part::Thinking { text: block.thinking.unwrap_or_default(), signature: block.signature }),
        "redacted_thinking" => block.data.map(|data| Part::RedactedThinking { data }),
        "tool_use" if is_plain_call(block.caller.as_ref(), block.toolset_name.as_ref()) => {
            let arguments = block.arguments().unwrap_or("{}").to_owned();
            block.id.zip(block.name).map(|(id, name)| Part::ToolCall { id, name, arguments, signature: None })
        }
        _ => return None,
    })
}
