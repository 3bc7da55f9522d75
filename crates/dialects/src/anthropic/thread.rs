//! The thread in Anthropic's form: `system` apart, then turns of user and assistant that alternate.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};

use super::block::is_foreign;
use crate::canonical::{Message, Part, Role, Source};
use crate::{Dialect, Unsupported};

/// The thread as the fields `system` and `messages`.
#[derive(Debug, Default)]
pub(super) struct Thread {
    /// Instructions, wherever they stood: Anthropic knows them only ahead of the thread.
    pub(super) system: Vec<Value>,
    pub(super) messages: Vec<Value>,
}

#[derive(Default)]
struct Turn {
    role: &'static str,
    /// They must come first in a user's turn, right after the calls.
    results: Vec<Value>,
    rest: Vec<Value>,
}

impl Turn {
    fn into_value(self) -> Value {
        let content: Vec<Value> = self.results.into_iter().chain(self.rest).collect();
        json!({"role": self.role, "content": content})
    }
}

/// Writes the thread. The names of speakers have no place in it and are left out.
pub(super) fn encode(messages: &[Message]) -> Result<Thread, Unsupported> {
    let thread = encode_turns(messages)?;
    if thread.messages.is_empty() {
        let message = "`messages` must hold something besides instructions for Anthropic; add a user message.";
        return Err(Unsupported::new("messages", message));
    }
    Ok(thread)
}

/// Writes a part of a thread, which may be instructions alone, or nothing.
pub(super) fn encode_turns(messages: &[Message]) -> Result<Thread, Unsupported> {
    let mut thread = Thread::default();
    let mut turns: Vec<Turn> = Vec::new();
    for message in messages {
        let role = match message.role {
            Role::System | Role::Developer => {
                for part in &message.parts {
                    thread.system.extend(instruction(part)?);
                }
                continue;
            }
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
        };
        let mut turn = Turn { role, ..Turn::default() };
        for part in &message.parts {
            match part {
                Part::ToolResult { call_id, content, is_error } => {
                    turn.results.push(tool_result(call_id, content, *is_error)?);
                }
                part => turn.rest.extend(block(part)?),
            }
        }
        push(&mut turns, turn);
    }
    thread.messages = turns.into_iter().map(Turn::into_value).collect();
    Ok(thread)
}

/// Adds to the last turn if the same side speaks on; a turn that says nothing is none.
fn push(turns: &mut Vec<Turn>, turn: Turn) {
    if turn.results.is_empty() && turn.rest.is_empty() {
        return;
    }
    match turns.last_mut() {
        Some(last) if last.role == turn.role => {
            last.results.extend(turn.results);
            last.rest.extend(turn.rest);
        }
        _ => turns.push(turn),
    }
}

fn instruction(part: &Part) -> Result<Option<Value>, Unsupported> {
    match part {
        Part::Text { .. } => block(part),
        _ => Err(refused("instructions can only be text")),
    }
}

/// A block; `None` for what says nothing (Anthropic refuses empty text) or is of no use to Anthropic.
fn block(part: &Part) -> Result<Option<Value>, Unsupported> {
    Ok(Some(match part {
        Part::Text { text } | Part::Refusal { text } if text.is_empty() => return Ok(None),
        Part::Text { text } | Part::Refusal { text } => json!({"type": "text", "text": text}),
        Part::Image { source, .. } => json!({"type": "image", "source": image_source(source)?}),
        Part::File { source, filename } => document(source, filename.as_deref())?,
        Part::ToolCall { id, name, arguments, .. } => {
            json!({"type": "tool_use", "id": tool_id(id), "name": name, "input": input(name, arguments)?})
        }
        Part::Thinking { text, signature: Some(signature) } if !is_foreign(signature) => {
            json!({"type": "thinking", "thinking": text, "signature": signature})
        }
        // It is another provider's reasoning, which Anthropic refuses.
        Part::Thinking { .. } => return Ok(None),
        Part::RedactedThinking { data } => json!({"type": "redacted_thinking", "data": data}),
        Part::ToolResult { call_id, content, is_error } => tool_result(call_id, content, *is_error)?,
        Part::Audio { .. } => return Err(refused("sound is not accepted; send its transcript")),
        Part::Other { dialect: Dialect::AnthropicMessages, value } => value.clone(),
        Part::Other { value, .. } => {
            let kind = value.get("type").and_then(Value::as_str).unwrap_or("unknown");
            return Err(refused(&format!("a part of type `{kind}` cannot be expressed")));
        }
    }))
}

fn image_source(source: &Source) -> Result<Value, Unsupported> {
    match source {
        Source::Base64 { media_type, data } => {
            let media_type = if media_type == "image/jpg" { "image/jpeg" } else { media_type };
            Ok(json!({"type": "base64", "media_type": media_type, "data": data}))
        }
        Source::Url { url } => url_source(url),
        Source::FileId { .. } => Err(refused("files uploaded elsewhere are unknown there; send the image itself")),
    }
}

fn url_source(url: &str) -> Result<Value, Unsupported> {
    if url.starts_with("https://") || url.starts_with("http://") {
        return Ok(json!({"type": "url", "url": url}));
    }
    Err(refused("a URL must begin with `https://`, or with `data:` and hold base64"))
}

fn document(source: &Source, filename: Option<&str>) -> Result<Value, Unsupported> {
    let source = match source {
        Source::Url { url } => url_source(url)?,
        Source::Base64 { media_type, data } if media_type == "application/pdf" => {
            json!({"type": "base64", "media_type": media_type, "data": data})
        }
        Source::Base64 { media_type, data } if media_type.starts_with("text/") => {
            let text = BASE64.decode(data).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let text = text.ok_or_else(|| refused("a text file must be base64 of UTF-8"))?;
            json!({"type": "text", "media_type": "text/plain", "data": text})
        }
        Source::Base64 { media_type, .. } => {
            return Err(refused(&format!("a file of type `{media_type}` is not accepted; send a PDF or text")));
        }
        Source::FileId { .. } => return Err(refused("files uploaded elsewhere are unknown there; send `file_data`")),
    };
    let mut document = json!({"type": "document", "source": source});
    if let (Some(title), Some(fields)) = (filename, document.as_object_mut()) {
        fields.insert("title".to_owned(), json!(title));
    }
    Ok(document)
}

fn tool_result(call_id: &str, content: &[Part], is_error: bool) -> Result<Value, Unsupported> {
    let mut blocks = Vec::with_capacity(content.len());
    for part in content {
        match part {
            Part::Text { .. } | Part::Refusal { .. } | Part::Image { .. } | Part::File { .. } => {
                blocks.extend(block(part)?)
            }
            _ => return Err(refused("a tool result can only hold text, images and documents")),
        }
    }
    let mut fields = Map::new();
    fields.insert("type".to_owned(), json!("tool_result"));
    fields.insert("tool_use_id".to_owned(), json!(tool_id(call_id)));
    if !blocks.is_empty() {
        fields.insert("content".to_owned(), Value::Array(blocks));
    }
    if is_error {
        fields.insert("is_error".to_owned(), Value::Bool(true));
    }
    Ok(Value::Object(fields))
}

/// Anthropic allows only these characters; ids of other providers may have more, such as `functions.weather:0`.
fn tool_id(id: &str) -> String {
    id.chars().map(|char| if char.is_ascii_alphanumeric() || matches!(char, '_' | '-') { char } else { '_' }).collect()
}

/// The arguments as an object, which Anthropic demands.
fn input(name: &str, arguments: &str) -> Result<Value, Unsupported> {
    if arguments.trim().is_empty() {
        return Ok(json!({}));
    }
    match serde_json::from_str(arguments) {
        Ok(Value::Object(input)) => Ok(Value::Object(input)),
        _ => Err(refused(&format!("the arguments of the call of `{name}` are no JSON object"))),
    }
}

fn refused(what: &str) -> Unsupported {
    Unsupported::new("messages", format!("The thread cannot be sent to Anthropic: {what}."))
}
