//! The thread in Gemini's form: `systemInstruction` apart, then contents of `user` and `model` that alternate.

use serde_json::{Value, json};

use crate::canonical::{Message, Part, Role, Source};
use crate::{Dialect, Unsupported};

/// Google's word for a call whose signature is not known: it came from another provider, or the client lost it
/// (<https://ai.google.dev/gemini-api/docs/thought-signatures>).
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// The thread as the parts of `systemInstruction` and as `contents`.
#[derive(Debug, Default)]
pub(super) struct Thread {
    /// Instructions, wherever they stood: Gemini knows them only ahead of the thread.
    pub(super) system: Vec<Value>,
    pub(super) contents: Vec<Value>,
}

struct Content {
    role: &'static str,
    /// They must come first, right after the calls.
    results: Vec<Value>,
    rest: Vec<Value>,
}

impl Content {
    fn into_value(self) -> Value {
        let parts: Vec<Value> = self.results.into_iter().chain(self.rest).collect();
        json!({"role": self.role, "parts": parts})
    }
}

/// Writes the thread. Names of speakers and shown reasoning have no place in it and are left out: Gemini reads neither.
///
/// `needs_signatures`: the model refuses a turn whose first call has none.
pub(super) fn encode(messages: &[Message], needs_signatures: bool) -> Result<Thread, Unsupported> {
    let thread = encode_turns(messages, needs_signatures)?;
    if thread.contents.is_empty() {
        let message = "`messages` must hold something besides instructions for Gemini; add a user message.";
        return Err(Unsupported::new("messages", message));
    }
    Ok(thread)
}

/// Writes a part of a thread, which may be instructions alone, or nothing.
pub(super) fn encode_turns(messages: &[Message], needs_signatures: bool) -> Result<Thread, Unsupported> {
    let mut thread = Thread::default();
    let mut contents: Vec<Content> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let role = match message.role {
            Role::System | Role::Developer => {
                for part in &message.parts {
                    thread.system.extend(instruction(part)?);
                }
                continue;
            }
            Role::User | Role::Tool => "user",
            Role::Assistant => "model",
        };
        let mut content = Content { role, results: Vec::new(), rest: Vec::new() };
        let mut is_first_call = needs_signatures;
        for part in &message.parts {
            match part {
                Part::ToolResult { call_id, content: inner, is_error } => {
                    let name = name_of(call_id, messages.get(..index).unwrap_or_default())?;
                    content.results.push(tool_result(call_id, name, inner, *is_error)?);
                }
                Part::ToolCall { id, name, arguments, signature } => {
                    let missing = is_first_call.then_some(NO_SIGNATURE);
                    is_first_call = false;
                    content.rest.push(tool_call(id, name, arguments, signature.as_deref().or(missing))?);
                }
                part => content.rest.extend(encode_part(part)?),
            }
        }
        push(&mut contents, content);
    }
    thread.contents = contents.into_iter().map(Content::into_value).collect();
    Ok(thread)
}

/// Adds to the last content if the same side speaks on; one that says nothing is none.
fn push(contents: &mut Vec<Content>, content: Content) {
    if content.results.is_empty() && content.rest.is_empty() {
        return;
    }
    match contents.last_mut() {
        Some(last) if last.role == content.role => {
            last.results.extend(content.results);
            last.rest.extend(content.rest);
        }
        _ => contents.push(content),
    }
}

fn instruction(part: &Part) -> Result<Option<Value>, Unsupported> {
    match part {
        Part::Text { .. } => encode_part(part),
        _ => Err(refused("instructions can only be text")),
    }
}

/// A part; `None` for what says nothing.
fn encode_part(part: &Part) -> Result<Option<Value>, Unsupported> {
    Ok(Some(match part {
        Part::Text { text } | Part::Refusal { text } if text.is_empty() => return Ok(None),
        Part::Text { text } | Part::Refusal { text } => json!({"text": text}),
        Part::Image { source, .. } | Part::File { source, .. } => media(source)?,
        Part::Audio { data, format } => json!({"inlineData": {"mimeType": format!("audio/{format}"), "data": data}}),
        Part::Thinking { .. } | Part::RedactedThinking { .. } => return Ok(None),
        Part::Other { dialect: Dialect::Gemini, value } => value.clone(),
        Part::Other { value, .. } => {
            let kind = value.get("type").and_then(Value::as_str).unwrap_or("unknown");
            return Err(refused(&format!("a part of type `{kind}` cannot be expressed")));
        }
        Part::ToolCall { .. } | Part::ToolResult { .. } => {
            return Err(refused("a tool result cannot hold calls or results"));
        }
    }))
}

fn media(source: &Source) -> Result<Value, Unsupported> {
    match source {
        Source::Base64 { media_type, data } => Ok(json!({"inlineData": {"mimeType": media_type, "data": data}})),
        Source::Url { url } if url.starts_with("https://") || url.starts_with("http://") => {
            Ok(match media_type_of(url) {
                Some(media_type) => json!({"fileData": {"mimeType": media_type, "fileUri": url}}),
                None => json!({"fileData": {"fileUri": url}}),
            })
        }
        Source::Url { .. } => Err(refused("a URL must begin with `https://`, or with `data:` and hold base64")),
        Source::FileId { .. } => Err(refused("files uploaded elsewhere are unknown there; send the data itself")),
    }
}

/// Whether an address is that of a picture, by the ending of its path.
pub(super) fn is_image(source: &Source) -> bool {
    matches!(source, Source::Url { url } if media_type_of(url).is_some_and(|kind| kind.starts_with("image/")))
}

/// By the ending of the path; Gemini looks for itself where it is not plain.
fn media_type_of(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next()?;
    let (_, ending) = path.rsplit_once('/')?.1.rsplit_once('.')?;
    Some(match ending.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "heic" => "image/heic",
        "pdf" => "application/pdf",
        _ => return None,
    })
}

/// Arguments must be an object.
fn tool_call(id: &str, name: &str, arguments: &str, signature: Option<&str>) -> Result<Value, Unsupported> {
    let args = if arguments.trim().is_empty() { "{}" } else { arguments };
    let Ok(args @ Value::Object(_)) = serde_json::from_str(args) else {
        return Err(refused(&format!("the arguments of the call of `{name}` are no JSON object")));
    };
    let mut part = json!({"functionCall": {"id": id, "name": name, "args": args}});
    if let (Some(signature), Some(fields)) = (signature, part.as_object_mut()) {
        fields.insert("thoughtSignature".to_owned(), json!(signature));
    }
    Ok(part)
}

/// The name of the called function, by which Gemini knows a result. Ids may repeat over turns: the last call counts.
fn name_of<'a>(call_id: &str, before: &'a [Message]) -> Result<&'a str, Unsupported> {
    let mut calls = before.iter().rev().flat_map(|message| message.parts.iter().rev());
    let found = calls.find_map(|part| match part {
        Part::ToolCall { id, name, .. } if id == call_id => Some(name.as_str()),
        _ => None,
    });
    let missing = || refused(&format!("the tool result `{call_id}` answers no call in it; send the call before it"));
    found.ok_or_else(missing)
}

/// An object goes as it is; any other text as `output`, or `error` if the tool failed, which are Google's names for them.
fn tool_result(call_id: &str, name: &str, content: &[Part], is_error: bool) -> Result<Value, Unsupported> {
    let mut texts: Vec<&str> = Vec::new();
    let mut media = Vec::new();
    for part in content {
        match part {
            Part::Text { text } | Part::Refusal { text } => texts.push(text),
            part => media.extend(encode_part(part)?),
        }
    }
    let text = texts.join("\n");
    let response = match serde_json::from_str(&text) {
        _ if is_error => json!({"error": text}),
        Ok(object @ Value::Object(_)) => object,
        _ => json!({"output": text}),
    };
    let mut result = json!({"id": call_id, "name": name, "response": response});
    if let (false, Some(fields)) = (media.is_empty(), result.as_object_mut()) {
        fields.insert("parts".to_owned(), Value::Array(media));
    }
    Ok(json!({"functionResponse": result}))
}

fn refused(what: &str) -> Unsupported {
    Unsupported::new("messages", format!("The thread cannot be sent to Gemini: {what}."))
}
