//! Items as clients get them: of an answer, and of what a response was asked, when it is listed.
//!
//! Text and refusals that stand side by side are one message; each thought is a reasoning item, each call an item of its own. What must go
//! back to the provider unchanged is told only where the client asks for it (`include: ["reasoning.encrypted_content"]`): an item that
//! holds nothing else is then left out, and keeps its place in the count by which ids are made.

use privet_domain::id::ResponseId;
use serde_json::{Map, Value, json};

use super::id::{ItemPlace, Side};
use super::seal;
use crate::Dialect;
use crate::canonical::{Message, Part, Role, Source, WIRE_OUTPUT};
use crate::openai::message::url_of;

/// What stands in `include` to be told what must go back.
pub const SEALED: &str = "reasoning.encrypted_content";

/// Where a reasoning item has that.
pub(super) const SEALED_MEMBER: &str = "encrypted_content";

/// The status of an item of which more follows.
pub(super) const IN_PROGRESS: &str = "in_progress";

/// How items are written.
#[derive(Clone, Copy, Debug)]
pub struct ItemStyle {
    /// The response that they belong to.
    pub response: ResponseId,
    /// Whether what must go back to the provider is told.
    pub seals: bool,
    /// Whether the last of them was cut.
    pub is_cut: bool,
}

/// An item before it has an id.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Draft {
    /// What the model says.
    Message(Vec<Said>),
    /// What it thinks, as far as it is shown.
    Reasoning { text: String, sealed: Option<String> },
    /// What it calls.
    Call { call_id: String, name: String, arguments: String },
    /// What only providers of this dialect know, as it came.
    Other(Map<String, Value>),
}

/// A piece of a message.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Said {
    pub(super) text: String,
    pub(super) refuses: bool,
}

impl Said {
    pub(super) fn value(&self) -> Value {
        if self.refuses {
            return json!({"type": "refusal", "refusal": self.text});
        }
        json!({"type": "output_text", "annotations": [], "logprobs": [], "text": self.text})
    }
}

impl Draft {
    /// Whether there is anything for a client that is not told what must go back.
    pub(super) fn is_shown(&self, seals: bool) -> bool {
        seals || !matches!(self, Self::Reasoning { text, .. } if text.is_empty())
    }

    /// What its id begins with.
    pub(super) const fn prefix(&self) -> &'static str {
        match self {
            Self::Message(_) => "msg",
            Self::Reasoning { .. } => "rs",
            Self::Call { .. } => "fc",
            Self::Other(_) => "item",
        }
    }

    /// The id of the item at a place.
    pub(super) fn id(&self, place: ItemPlace) -> String {
        match self {
            Self::Other(fields) => match fields.get("id").and_then(Value::as_str) {
                Some(own) => place.mark(own),
                None => place.id(self.prefix()),
            },
            _ => place.id(self.prefix()),
        }
    }

    /// The item.
    pub(super) fn value(&self, id: &str, status: &str, seals: bool) -> Value {
        match self {
            Self::Other(fields) => {
                let mut fields = fields.clone();
                fields.insert("id".to_owned(), json!(id));
                Value::Object(fields)
            }
            Self::Message(said) => {
                let content: Vec<Value> = said.iter().map(Said::value).collect();
                json!({"id": id, "type": "message", "status": status, "role": "assistant", "content": content})
            }
            Self::Reasoning { text, sealed } => {
                let summary: Vec<Value> =
                    Some(text).filter(|text| !text.is_empty()).map(summary_text).into_iter().collect();
                let mut item = json!({"id": id, "type": "reasoning", "summary": summary});
                if let (true, Some(fields)) = (seals, item.as_object_mut()) {
                    fields.insert("encrypted_content".to_owned(), json!(sealed));
                }
                item
            }
            Self::Call { call_id, name, arguments } => {
                // Pieces are added to what it begins with.
                let arguments = if status == IN_PROGRESS { arguments } else { whole(arguments) };
                json!({
                    "id": id, "type": "function_call", "status": status, "arguments": arguments, "call_id": call_id, "name": name,
                })
            }
        }
    }
}

/// A summary of reasoning.
pub(super) fn summary_text(text: &String) -> Value {
    json!({"type": "summary_text", "text": text})
}

/// The arguments of a call without any are an object all the same.
pub(super) fn whole(arguments: &str) -> &str {
    if arguments.trim().is_empty() { "{}" } else { arguments }
}

/// The items of an answer that is kept: as its provider wrote them, if that spoke this dialect.
#[must_use]
pub fn kept_items(messages: &[Message], style: ItemStyle) -> Vec<Value> {
    if let [Message { extra, .. }] = messages
        && let Some(written) = extra.get(WIRE_OUTPUT).and_then(Value::as_array)
    {
        let marked = written.iter().enumerate().map(|(index, item)| {
            let mut item = item.clone();
            if let Some(fields) = item.as_object_mut() {
                let place = ItemPlace { response: style.response, side: Side::Output, index };
                if let Some(own) = fields.get("id").and_then(Value::as_str) {
                    let id = place.mark(own);
                    fields.insert("id".to_owned(), json!(id));
                }
                if fields.get("type").and_then(Value::as_str) == Some("function_call") {
                    let arguments = fields.get("arguments").and_then(Value::as_str).unwrap_or_default();
                    let arguments = json!(whole(arguments));
                    fields.insert("arguments".to_owned(), arguments);
                }
                if !style.seals && fields.get("type").and_then(Value::as_str) == Some("reasoning") {
                    fields.shift_remove(SEALED_MEMBER);
                }
            }
            item
        });
        return marked.collect();
    }
    let parts: Vec<Part> = messages.iter().flat_map(|message| message.parts.iter().cloned()).collect();
    items(&parts, style)
}

/// The items of an answer.
#[must_use]
pub fn items(parts: &[Part], style: ItemStyle) -> Vec<Value> {
    let drafts = drafts(parts);
    let last = drafts.len().saturating_sub(1);
    let item = |(index, draft): (usize, &Draft)| {
        let id = draft.id(ItemPlace { response: style.response, side: Side::Output, index });
        let status = if style.is_cut && index == last { "incomplete" } else { "completed" };
        draft.is_shown(style.seals).then(|| draft.value(&id, status, style.seals))
    };
    drafts.iter().enumerate().filter_map(item).collect()
}

/// The items that a response was asked, with their messages as they are kept.
#[must_use]
pub fn input_items(messages: &[Message], style: ItemStyle) -> Vec<Value> {
    let mut items = Vec::with_capacity(messages.len());
    let mut count = 0..;
    let mut place = || {
        let index = count.next().unwrap_or_default();
        ItemPlace { response: style.response, side: Side::Input, index }
    };
    for message in messages {
        if message.role == Role::Assistant {
            for draft in drafts(&message.parts) {
                let id = draft.id(place());
                items.extend(draft.is_shown(style.seals).then(|| draft.value(&id, "completed", style.seals)));
            }
            continue;
        }
        let mut content = Vec::with_capacity(message.parts.len());
        for part in &message.parts {
            match part {
                Part::ToolResult { call_id, content, .. } => items.push(json!({
                    "id": place().id("fco"), "type": "function_call_output", "status": "completed", "call_id": call_id, "output": output(content),
                })),
                Part::Other { dialect: Dialect::OpenAiResponses, value: Value::Object(fields) } => {
                    let draft = Draft::Other(fields.clone());
                    items.push(draft.value(&draft.id(place()), "completed", style.seals));
                }
                part => content.push(input_part(part)),
            }
        }
        if !content.is_empty() {
            let role = if message.role == Role::Tool { Role::User } else { message.role };
            items.push(json!({
                "id": place().id("msg"), "type": "message", "status": "completed", "role": role.as_str(), "content": content,
            }));
        }
    }
    items
}

/// The parts of an answer as items.
pub(super) fn drafts(parts: &[Part]) -> Vec<Draft> {
    let mut drafts: Vec<Draft> = Vec::with_capacity(parts.len());
    let say = |drafts: &mut Vec<Draft>, text: &str, refuses: bool| {
        if text.is_empty() {
            return;
        }
        let said = Said { text: text.to_owned(), refuses };
        match drafts.last_mut() {
            Some(Draft::Message(before)) => before.push(said),
            _ => drafts.push(Draft::Message(vec![said])),
        }
    };
    for part in parts {
        match part {
            Part::Text { text } => say(&mut drafts, text, false),
            Part::Refusal { text } => say(&mut drafts, text, true),
            Part::Thinking { text, .. } => {
                drafts.push(Draft::Reasoning { text: text.clone(), sealed: seal::of_part(part) });
            }
            Part::RedactedThinking { .. } => {
                drafts.push(Draft::Reasoning { text: String::new(), sealed: seal::of_part(part) });
            }
            Part::ToolCall { id, name, arguments, signature } => {
                if let Some(signature) = signature {
                    drafts.push(Draft::Reasoning { text: String::new(), sealed: Some(seal::of_call(signature)) });
                }
                let (call_id, name, arguments) = (id.clone(), name.clone(), arguments.clone());
                drafts.push(Draft::Call { call_id, name, arguments });
            }
            Part::Other { dialect: Dialect::OpenAiResponses, value: Value::Object(fields) } => {
                drafts.push(Draft::Other(fields.clone()));
            }
            // No answer holds these: nothing in a request of this dialect asks for them.
            Part::Image { .. }
            | Part::Audio { .. }
            | Part::File { .. }
            | Part::ToolResult { .. }
            | Part::Other { .. } => {}
        }
    }
    drafts
}

fn output(content: &[Part]) -> Value {
    match content {
        [Part::Text { text }] => json!(text),
        content => content.iter().map(input_part).collect(),
    }
}

pub(super) fn input_part(part: &Part) -> Value {
    match part {
        Part::Text { text } => json!({"type": "input_text", "text": text}),
        Part::Refusal { text } => json!({"type": "refusal", "refusal": text}),
        Part::Image { source, detail } => {
            let detail = detail.as_deref().unwrap_or("auto");
            match source {
                Source::FileId { id } => json!({"type": "input_image", "detail": detail, "file_id": id}),
                source => json!({"type": "input_image", "detail": detail, "image_url": url_of(source)}),
            }
        }
        Part::File { source, filename } => {
            let mut file = match source {
                Source::FileId { id } => json!({"type": "input_file", "file_id": id}),
                Source::Url { url } => json!({"type": "input_file", "file_url": url}),
                source => json!({"type": "input_file", "file_data": url_of(source)}),
            };
            if let (Some(filename), Some(fields)) = (filename, file.as_object_mut()) {
                fields.insert("filename".to_owned(), json!(filename));
            }
            file
        }
        Part::Audio { data, format } => json!({"type": "input_audio", "input_audio": {"data": data, "format": format}}),
        Part::Other { value, .. } => value.clone(),
        Part::Thinking { text, .. } => json!({"type": "input_text", "text": text}),
        Part::ToolCall { .. } | Part::ToolResult { .. } | Part::RedactedThinking { .. } => {
            json!({"type": "input_text", "text": ""})
        }
    }
}
