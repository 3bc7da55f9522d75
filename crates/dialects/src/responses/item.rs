//! The items of a request's `input`, read into the messages of a thread.
//!
//! What the model said is one message, however many items it came in: its reasoning, its words and its calls stand side by side. An item
//! that only providers of this dialect know is kept as it came and noted: written for another, the request is refused.

use serde_json::{Map, Value, json};

use super::id;
use super::incoming::Referenced;
use super::seal::{self, Meaning};
use crate::canonical::{Message, Part, Role, Source};
use crate::openai::message::source_of;
use crate::{BadRequest, Dialect, Unsupported};

/// Reads items one behind the other.
pub(super) struct ItemReader<'a> {
    referenced: &'a Referenced,
    /// What was read.
    pub(super) messages: Vec<Message>,
    /// Gemini's signature, until its call comes.
    signature: Option<String>,
    /// The first thing that only OpenAI's own servers know.
    pub(super) only_openai: Option<Unsupported>,
}

impl<'a> ItemReader<'a> {
    pub(super) fn new(referenced: &'a Referenced) -> Self {
        Self { referenced, messages: Vec::new(), signature: None, only_openai: None }
    }

    /// Reads an item.
    ///
    /// # Errors
    /// With the path of the field at fault.
    pub(super) fn read(&mut self, item: &Value, path: &str) -> Result<(), BadRequest> {
        let Value::Object(fields) = item else { return Err(wrong(path, "an object")) };
        let kind = fields.get("type").and_then(Value::as_str);
        if let Some((place, what)) = unknown_content(fields) {
            let role = role_of(fields).unwrap_or(Role::Tool);
            self.keep(fields, role, (&format!("{path}.{place}"), &format!("content of type `{what}`")));
            return Ok(());
        }
        match kind {
            // The short form of a message has no type.
            None if fields.contains_key("role") => self.message(fields, path),
            Some("message") => self.message(fields, path),
            Some("function_call") => self.call(fields, path),
            Some("function_call_output") => self.result(fields, path),
            Some("reasoning") => self.reasoning(fields, path),
            Some("item_reference") => self.reference(fields, path),
            None => Err(wrong(&format!("{path}.type"), "the kind of the item, such as `message`")),
            Some(kind) => {
                // What answers a call is no word of the model's.
                let answers = kind.ends_with("_output") || kind == "mcp_approval_response";
                let role = if answers { Role::Tool } else { Role::Assistant };
                self.keep(fields, role, (path, &format!("an item of type `{kind}`")));
                Ok(())
            }
        }
    }

    /// Keeps an item as it came, by the id that its provider has for it.
    fn keep(&mut self, fields: &Map<String, Value>, role: Role, (path, what): (&str, &str)) {
        self.note(path, what);
        let mut fields = fields.clone();
        match fields.get("id").and_then(Value::as_str).and_then(id::unmark) {
            Some(Some(own)) => {
                fields.insert("id".to_owned(), json!(own));
            }
            Some(None) => {
                fields.shift_remove("id");
            }
            None => {}
        }
        let part = Part::Other { dialect: Dialect::OpenAiResponses, value: Value::Object(fields) };
        self.push(role, vec![part]);
    }

    fn message(&mut self, fields: &Map<String, Value>, path: &str) -> Result<(), BadRequest> {
        let Some(role) = role_of(fields) else {
            return Err(wrong(&format!("{path}.role"), "`user`, `assistant`, `system` or `developer`"));
        };
        let parts = Self::content(fields.get("content"), &format!("{path}.content"))?;
        self.push(role, parts);
        Ok(())
    }

    /// A text, or an array of its parts.
    fn content(content: Option<&Value>, path: &str) -> Result<Vec<Part>, BadRequest> {
        match content {
            Some(Value::String(text)) => Ok(vec![Part::Text { text: text.clone() }]),
            Some(Value::Array(items)) => {
                let mut parts = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    parts.push(part(item, &format!("{path}[{index}]"))?);
                }
                Ok(parts)
            }
            _ => Err(wrong(path, "a text or an array of content parts")),
        }
    }

    fn call(&mut self, fields: &Map<String, Value>, path: &str) -> Result<(), BadRequest> {
        let part = Part::ToolCall {
            id: need(fields, "call_id", path)?,
            name: need(fields, "name", path)?,
            arguments: need(fields, "arguments", path)?,
            signature: self.signature.take(),
        };
        self.push(Role::Assistant, vec![part]);
        Ok(())
    }

    fn result(&mut self, fields: &Map<String, Value>, path: &str) -> Result<(), BadRequest> {
        let call_id = need(fields, "call_id", path)?;
        let content = Self::content(fields.get("output"), &format!("{path}.output"))?;
        self.push(Role::Tool, vec![Part::ToolResult { call_id, content, is_error: false }]);
        Ok(())
    }

    fn reasoning(&mut self, fields: &Map<String, Value>, path: &str) -> Result<(), BadRequest> {
        let texts = |field: &str| match fields.get(field) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(parts)) => {
                Ok(parts.iter().filter_map(|part| part.get("text")?.as_str()).collect::<Vec<_>>())
            }
            Some(_) => Err(wrong(&format!("{path}.{field}"), "an array of texts")),
        };
        let (summary, content) = (texts("summary")?, texts("content")?);
        let shown = if summary.is_empty() { content } else { summary };
        match seal::open(shown.join("\n\n"), fields.get("encrypted_content").and_then(Value::as_str)) {
            Meaning::Part(part) => self.push(Role::Assistant, vec![part]),
            Meaning::OfNextCall(signature) => self.signature = Some(signature),
            Meaning::Nothing => {}
        }
        Ok(())
    }

    fn reference(&mut self, fields: &Map<String, Value>, path: &str) -> Result<(), BadRequest> {
        let id = need(fields, "id", path)?;
        let referenced = self.referenced;
        match referenced.get(&id) {
            Some(item) if item.get("type").and_then(Value::as_str) != Some("item_reference") => self.read(item, path),
            _ => {
                let message = format!(
                    "Item with id '{id}' not found. An item can be referred to while the response that it belongs to is kept, by the \
                     key that made it; send the item itself, or `previous_response_id`."
                );
                Err(BadRequest::at(format!("{path}.id"), message))
            }
        }
    }

    /// Adds to the last message if the model speaks on.
    fn push(&mut self, role: Role, parts: Vec<Part>) {
        match self.messages.last_mut() {
            Some(last) if role == Role::Assistant && last.role == role => last.parts.extend(parts),
            _ => self.messages.push(Message { role, name: None, parts, extra: Map::new() }),
        }
    }

    fn note(&mut self, path: &str, what: &str) {
        self.only_openai.get_or_insert_with(|| {
            let message = format!("`{path}`: {what} is known to OpenAI's own servers alone. Leave it out.");
            Unsupported::new(path, message)
        });
    }
}

/// Content that has a meaning for every provider.
const KNOWN_CONTENT: [&str; 7] =
    ["input_text", "output_text", "text", "refusal", "input_image", "input_file", "input_audio"];

/// The first content of a message, or of a result, that only providers of this dialect know: where it stands, and its type.
fn unknown_content(fields: &Map<String, Value>) -> Option<(String, &str)> {
    let name = match fields.get("type").and_then(Value::as_str) {
        None | Some("message") => "content",
        Some("function_call_output") => "output",
        Some(_) => return None,
    };
    let parts = fields.get(name)?.as_array()?;
    parts.iter().enumerate().find_map(|(index, part)| {
        let kind = part.get("type")?.as_str().filter(|kind| !KNOWN_CONTENT.contains(kind))?;
        Some((format!("{name}[{index}]"), kind))
    })
}

fn role_of(fields: &Map<String, Value>) -> Option<Role> {
    match fields.get("role").and_then(Value::as_str) {
        Some("user") => Some(Role::User),
        Some("assistant") => Some(Role::Assistant),
        Some("system") => Some(Role::System),
        Some("developer") => Some(Role::Developer),
        _ => None,
    }
}

fn part(item: &Value, path: &str) -> Result<Part, BadRequest> {
    let text = |field: &str| item.get(field).and_then(Value::as_str).map(str::to_owned);
    let need = |field: &str| text(field).ok_or_else(|| wrong(&format!("{path}.{field}"), "a text"));
    Ok(match item.get("type").and_then(Value::as_str) {
        Some("input_text" | "output_text" | "text") => Part::Text { text: need("text")? },
        Some("refusal") => Part::Refusal { text: need("refusal")? },
        Some("input_image") => {
            let source = match (text("image_url"), text("file_id")) {
                (Some(url), _) => source_of(url),
                (None, Some(id)) => Source::FileId { id },
                (None, None) => return Err(wrong(path, "an image with `image_url` or `file_id`")),
            };
            Part::Image { source, detail: text("detail").filter(|detail| detail != "auto") }
        }
        Some("input_file") => Part::File { source: file_source(item, path)?, filename: text("filename") },
        Some("input_audio") => {
            let member = |field: &str| item.pointer(&format!("/input_audio/{field}")).and_then(Value::as_str);
            let (Some(data), Some(format)) = (member("data"), member("format")) else {
                return Err(wrong(&format!("{path}.input_audio"), "an object with `data` and `format`"));
            };
            Part::Audio { data: data.to_owned(), format: format.to_owned() }
        }
        _ => return Err(wrong(&format!("{path}.type"), "the kind of the part, such as `input_text`")),
    })
}

/// The ids that a request's items refer to.
#[must_use]
pub(super) fn references(input: &Value) -> Vec<String> {
    let is_reference = |item: &&Value| item.get("type").and_then(Value::as_str) == Some("item_reference");
    let id = |item: &Value| item.get("id").and_then(Value::as_str).map(str::to_owned);
    input.as_array().into_iter().flatten().filter(is_reference).filter_map(id).collect()
}

fn file_source(item: &Value, path: &str) -> Result<Source, BadRequest> {
    let text = |field: &str| item.get(field).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    if let Some(data) = text("file_data") {
        return match source_of(data) {
            source @ Source::Base64 { .. } => Ok(source),
            _ => Err(wrong(&format!("{path}.file_data"), "a `data:` URL that holds base64")),
        };
    }
    let by_url = || text("file_url").map(|url| Source::Url { url });
    let source = text("file_id").map(|id| Source::FileId { id }).or_else(by_url);
    source.ok_or_else(|| wrong(path, "a file with `file_data`, `file_url` or `file_id`"))
}

fn need(fields: &Map<String, Value>, field: &str, path: &str) -> Result<String, BadRequest> {
    let text = fields.get(field).and_then(Value::as_str).map(str::to_owned);
    text.ok_or_else(|| wrong(&format!("{path}.{field}"), "a text"))
}

pub(super) fn wrong(path: &str, expected: &str) -> BadRequest {
    BadRequest::at(path, format!("`{path}` must be {expected}."))
}
