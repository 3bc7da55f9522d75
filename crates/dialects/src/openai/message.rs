//! One message: OpenAI's wire form and the canonical one.

use serde_json::{Map, Value, json};

use crate::canonical::{Message, Part, Role, Source, WIRE_OUTPUT};
use crate::{BadRequest, Dialect};

/// Reads a message of a request. `path` names it in errors, such as `messages[2]`.
///
/// # Errors
/// When a known field is of a wrong type. Unknown fields and kinds of parts are kept.
pub fn decode(value: Value, path: &str) -> Result<Message, BadRequest> {
    let Value::Object(mut fields) = value else {
        return Err(BadRequest::at(path, format!("`{path}` must be an object with `role` and `content`.")));
    };
    let role = role(fields.remove("role"), path)?;
    let name = match fields.remove("name") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => Some(name),
        Some(_) => return Err(wrong(path, "name", "a string")),
    };
    let mut parts = Vec::new();
    thinking(&mut fields, &mut parts);
    let content = fields.remove("content");
    let calls = fields.remove("tool_calls").filter(|calls| !calls.is_null());
    match content {
        Some(Value::String(text)) => parts.push(Part::Text { text }),
        Some(Value::Array(items)) => {
            for (index, item) in items.into_iter().enumerate() {
                parts.push(part(item, &format!("{path}.content[{index}]"))?);
            }
        }
        None | Some(Value::Null) if role == Role::Assistant => {}
        _ => return Err(wrong(path, "content", "a string or an array of parts")),
    }
    if let Some(Value::String(text)) = fields.remove("refusal") {
        parts.push(Part::Refusal { text });
    }
    if let Some(calls) = calls {
        let Value::Array(calls) = calls else { return Err(wrong(path, "tool_calls", "an array")) };
        for (index, call) in calls.into_iter().enumerate() {
            parts.push(tool_call(call, &format!("{path}.tool_calls[{index}]"))?);
        }
    }
    if role == Role::Tool {
        let Some(Value::String(call_id)) = fields.remove("tool_call_id") else {
            return Err(wrong(path, "tool_call_id", "the id of the call that this message answers"));
        };
        parts = vec![Part::ToolResult { call_id, content: parts, is_error: false }];
    }
    // Empty fields say nothing; SDKs send them back all the same.
    fields.retain(|_, value| !(value.is_null() || value.as_array().is_some_and(Vec::is_empty)));
    // Privet's own name for what another API has: nobody else says what a provider wrote.
    fields.shift_remove(WIRE_OUTPUT);
    Ok(Message { role, name, parts, extra: fields })
}

/// Writes a message for a request. Several tool results in one message become several messages, as OpenAI wants them.
///
/// Shown reasoning is left out: no server of this dialect takes it back.
#[must_use]
pub fn encode(message: &Message) -> Vec<Value> {
    let mut out = Vec::with_capacity(1);
    for part in &message.parts {
        if let Part::ToolResult { call_id, content, .. } = part {
            out.push(json!({"role": "tool", "tool_call_id": call_id, "content": content_of(content)}));
        }
    }
    let rest: Vec<Part> =
        message.parts.iter().filter(|part| !matches!(part, Part::ToolResult { .. })).cloned().collect();
    if !rest.is_empty() || out.is_empty() {
        let role = if message.role == Role::Tool { Role::User } else { message.role };
        out.push(Value::Object(body(role, message, &rest)));
    }
    out
}

/// Adds messages to a JSON array that is open (it begins with `[`), each as [`encode`] writes it. Texts, which most are, are
/// written at once.
pub fn write(messages: &[Message], array: &mut Vec<u8>) {
    let comma = |array: &mut Vec<u8>| {
        if array.last() != Some(&b'[') {
            array.push(b',');
        }
    };
    for message in messages {
        match message.parts.as_slice() {
            [Part::Text { text }] if message.extra.is_empty() && message.role != Role::Tool => {
                comma(array);
                array.extend_from_slice(br#"{"role":""#);
                array.extend_from_slice(message.role.as_str().as_bytes());
                array.push(b'"');
                if let Some(name) = &message.name {
                    array.extend_from_slice(br#","name":"#);
                    write_text(name, array);
                }
                array.extend_from_slice(br#","content":"#);
                write_text(text, array);
                array.push(b'}');
            }
            _ => {
                for value in encode(message) {
                    comma(array);
                    array.extend_from_slice(value.to_string().as_bytes());
                }
            }
        }
    }
}

fn write_text(text: &str, json: &mut Vec<u8>) {
    // Neither a text nor the memory can refuse.
    let _ = serde_json::to_writer(json, text);
}

/// The message of an answer: `reasoning_content` and, where they must go back, signed `thinking_blocks` included.
#[must_use]
pub fn encode_answer(message: &Message) -> Value {
    let mut fields = body(Role::Assistant, message, &message.parts);
    fields.entry("content").or_insert(Value::Null);
    fields.entry("refusal").or_insert(Value::Null);
    let mut shown = String::new();
    let mut blocks = Vec::new();
    for part in &message.parts {
        match part {
            Part::Thinking { text, signature } => {
                shown.push_str(text);
                if let Some(signature) = signature {
                    blocks.push(json!({"type": "thinking", "thinking": text, "signature": signature}));
                }
            }
            Part::RedactedThinking { data } => blocks.push(json!({"type": "redacted_thinking", "data": data})),
            _ => {}
        }
    }
    sign_calls(&mut fields, &message.parts);
    if !shown.is_empty() {
        fields.insert("reasoning_content".to_owned(), Value::String(shown));
    }
    if !blocks.is_empty() {
        fields.insert("thinking_blocks".to_owned(), Value::Array(blocks));
    }
    Value::Object(fields)
}

/// Puts Gemini's signatures on the calls of an answer, where Google's own OpenAI surface has them, so that a client that sends
/// the call back sends its signature too. A request to another provider of this dialect goes without: it may refuse the field.
fn sign_calls(fields: &mut Map<String, Value>, parts: &[Part]) {
    let calls = fields.get_mut("tool_calls").and_then(Value::as_array_mut);
    for call in calls.into_iter().flatten().filter_map(Value::as_object_mut) {
        let signature = parts.iter().find_map(|part| match part {
            Part::ToolCall { id, signature: Some(signature), .. } if call.get("id") == Some(&json!(id)) => {
                Some(signature)
            }
            _ => None,
        });
        if let Some(signature) = signature {
            call.insert("extra_content".to_owned(), signature_field(signature));
        }
    }
}

/// The `extra_content` of a signed call.
pub(super) fn signature_field(signature: &str) -> Value {
    json!({"google": {"thought_signature": signature}})
}

fn body(role: Role, message: &Message, parts: &[Part]) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("role".to_owned(), json!(role.as_str()));
    if let Some(name) = &message.name {
        fields.insert("name".to_owned(), json!(name));
    }
    let (mut content, mut calls, mut refusal) = (Vec::new(), Vec::new(), None);
    for part in parts {
        match part {
            Part::ToolCall { id, name, arguments, .. } => {
                calls.push(json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}));
            }
            // A custom tool's call stands among the calls, anything else unknown in the content.
            Part::Other { dialect: Dialect::OpenAiChat, value }
                if role == Role::Assistant && value.get("type") == Some(&json!("custom")) =>
            {
                calls.push(value.clone());
            }
            Part::Refusal { text } => refusal = Some(text.clone()),
            // Of another dialect: in an answer nobody asked for it, in a request it is refused before.
            Part::Other { dialect, .. } if *dialect != Dialect::OpenAiChat => {}
            Part::Thinking { .. } | Part::RedactedThinking { .. } => {}
            part => content.push(part.clone()),
        }
    }
    if !content.is_empty() {
        fields.insert("content".to_owned(), content_of(&content));
    } else if role != Role::Assistant || (calls.is_empty() && refusal.is_none()) {
        fields.insert("content".to_owned(), json!(""));
    }
    if let Some(refusal) = refusal {
        fields.insert("refusal".to_owned(), json!(refusal));
    }
    if !calls.is_empty() {
        fields.insert("tool_calls".to_owned(), Value::Array(calls));
    }
    for (key, value) in message.extra.iter().filter(|(key, _)| *key != WIRE_OUTPUT) {
        fields.entry(key.clone()).or_insert_with(|| value.clone());
    }
    fields
}

/// One text is a plain string, as most servers prefer.
fn content_of(parts: &[Part]) -> Value {
    if let [Part::Text { text }] = parts {
        return json!(text);
    }
    Value::Array(parts.iter().map(encode_part).collect())
}

fn encode_part(part: &Part) -> Value {
    match part {
        Part::Text { text } => json!({"type": "text", "text": text}),
        Part::Refusal { text } => json!({"type": "refusal", "refusal": text}),
        Part::Image { source: Source::FileId { id }, .. } => json!({"type": "file", "file": {"file_id": id}}),
        Part::Image { source, detail } => {
            let mut image = json!({"url": url_of(source)});
            if let (Some(detail), Some(fields)) = (detail, image.as_object_mut()) {
                fields.insert("detail".to_owned(), json!(detail));
            }
            json!({"type": "image_url", "image_url": image})
        }
        Part::Audio { data, format } => json!({"type": "input_audio", "input_audio": {"data": data, "format": format}}),
        Part::File { source, filename } => {
            let mut file = match source {
                Source::FileId { id } => json!({"file_id": id}),
                source => json!({"file_data": url_of(source)}),
            };
            if let (Some(filename), Some(fields)) = (filename, file.as_object_mut()) {
                fields.insert("filename".to_owned(), json!(filename));
            }
            json!({"type": "file", "file": file})
        }
        Part::Other { value, .. } => value.clone(),
        Part::ToolCall { .. } | Part::ToolResult { .. } | Part::Thinking { .. } | Part::RedactedThinking { .. } => {
            json!({"type": "text", "text": ""})
        }
    }
}

pub(crate) fn url_of(source: &Source) -> String {
    match source {
        Source::Url { url } => url.clone(),
        Source::Base64 { media_type, data } => format!("data:{media_type};base64,{data}"),
        Source::FileId { id } => id.clone(),
    }
}

fn role(value: Option<Value>, path: &str) -> Result<Role, BadRequest> {
    match value.as_ref().and_then(Value::as_str) {
        Some("system") => Ok(Role::System),
        Some("developer") => Ok(Role::Developer),
        Some("user") => Ok(Role::User),
        Some("assistant") => Ok(Role::Assistant),
        Some("tool") => Ok(Role::Tool),
        _ => Err(wrong(path, "role", "one of system, developer, user, assistant, tool")),
    }
}

fn thinking(fields: &mut Map<String, Value>, parts: &mut Vec<Part>) {
    let shown = fields.remove("reasoning_content");
    let Some(Value::Array(blocks)) = fields.remove("thinking_blocks") else {
        if let Some(Value::String(text)) = shown.filter(|shown| shown != "") {
            parts.push(Part::Thinking { text, signature: None });
        }
        return;
    };
    for block in blocks {
        let text = |field: &str| block.get(field).and_then(Value::as_str).map(str::to_owned);
        match (text("thinking"), text("data")) {
            (Some(thinking), _) => parts.push(Part::Thinking { text: thinking, signature: text("signature") }),
            (None, Some(data)) => parts.push(Part::RedactedThinking { data }),
            (None, None) => {}
        }
    }
}

fn part(value: Value, path: &str) -> Result<Part, BadRequest> {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let need = |field: &str, found: Option<String>| found.ok_or_else(|| wrong(path, field, "a string"));
    match value.get("type").and_then(Value::as_str) {
        None => Err(wrong(path, "type", "the kind of the part, such as `text`")),
        Some("text") => Ok(Part::Text { text: need("text", text("/text"))? }),
        Some("refusal") => Ok(Part::Refusal { text: need("refusal", text("/refusal"))? }),
        Some("image_url") => {
            let url = need("image_url.url", text("/image_url/url"))?;
            Ok(Part::Image { source: source_of(url), detail: text("/image_url/detail") })
        }
        Some("input_audio") => Ok(Part::Audio {
            data: need("input_audio.data", text("/input_audio/data"))?,
            format: need("input_audio.format", text("/input_audio/format"))?,
        }),
        Some("file") => {
            let source = match (text("/file/file_id"), text("/file/file_data")) {
                (Some(id), _) => Source::FileId { id },
                (None, Some(data)) => source_of(data),
                (None, None) => return Err(wrong(path, "file", "an object with `file_id` or `file_data`")),
            };
            Ok(Part::File { source, filename: text("/file/filename") })
        }
        Some(_) => Ok(Part::Other { dialect: Dialect::OpenAiChat, value }),
    }
}

/// A `data:` URL holds its bytes (RFC 2397, base64 form); any other is fetched by the provider.
pub(crate) fn source_of(url: String) -> Source {
    let inline = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
    match inline {
        Some((media_type, data)) => Source::Base64 { media_type: media_type.to_owned(), data: data.to_owned() },
        None => Source::Url { url },
    }
}

fn tool_call(value: Value, path: &str) -> Result<Part, BadRequest> {
    if value.get("type").and_then(Value::as_str).is_some_and(|kind| kind != "function") {
        return Ok(Part::Other { dialect: Dialect::OpenAiChat, value });
    }
    let text = |pointer: &str, field: &str| {
        let found = value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        found.ok_or_else(|| wrong(path, field, "a string"))
    };
    Ok(Part::ToolCall {
        id: text("/id", "id")?,
        name: text("/function/name", "function.name")?,
        arguments: text("/function/arguments", "function.arguments")?,
        signature: value.pointer("/extra_content/google/thought_signature").and_then(Value::as_str).map(str::to_owned),
    })
}

fn wrong(path: &str, field: &str, expected: &str) -> BadRequest {
    let param = format!("{path}.{field}");
    let message = format!("`{param}` must be {expected}.");
    BadRequest::at(param, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(value: &Value) -> Vec<Value> {
        encode(&decode(value.clone(), "messages[0]").unwrap())
    }

    #[test]
    fn messages_come_back_as_they_were() {
        for value in [
            json!({"role": "user", "name": "ada", "content": "hi"}),
            json!({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
                   {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}, {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
                   {"type": "file", "file": {"file_id": "file-1"}}, {"type": "brand_new", "x": 1}]}),
            json!({"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1.0}"}},
                   {"id": "c2", "type": "custom", "custom": {"name": "g", "input": "x"}}]}),
            json!({"role": "tool", "tool_call_id": "c1", "content": "42"}),
            json!({"role": "developer", "content": "be brief", "future_field": {"a": [1]}}),
            json!({"role": "assistant", "refusal": "no"}),
        ] {
            assert_eq!(round_trip(&value), vec![value]);
        }
    }

    #[test]
    fn signed_thinking_of_an_answer_can_be_sent_back() {
        let parts = vec![
            Part::Thinking { text: "hm".into(), signature: Some("sig==".into()) },
            Part::RedactedThinking { data: "xx".into() },
            Part::Text { text: "42".into() },
        ];
        let message = Message { role: Role::Assistant, name: None, parts, extra: Map::new() };
        let answer = encode_answer(&message);
        assert_eq!(answer["reasoning_content"], "hm");
        assert_eq!(decode(answer, "messages[1]").unwrap(), message);
    }

    #[test]
    fn wire_21_a_signed_call_of_an_answer_can_be_sent_back() {
        let call = |id: &str, signature: Option<&str>| Part::ToolCall {
            id: id.into(),
            name: "f".into(),
            arguments: "{}".into(),
            signature: signature.map(Into::into),
        };
        let parts = vec![call("a", Some("c2ln+/==")), call("b", None)];
        let message = Message { role: Role::Assistant, name: None, parts, extra: Map::new() };
        assert_eq!(decode(encode_answer(&message), "messages[1]").unwrap(), message);
        assert_eq!(encode(&message)[0].pointer("/tool_calls/0/extra_content"), None);
    }

    #[test]
    fn a_wrong_field_is_named() {
        for (value, param) in [
            (json!("hi"), "messages[0]"),
            (json!({"role": "robot", "content": "x"}), "messages[0].role"),
            (json!({"role": "user"}), "messages[0].content"),
            (json!({"role": "user", "content": 5}), "messages[0].content"),
            (json!({"role": "user", "content": [{"type": "text"}]}), "messages[0].content[0].text"),
            (json!({"role": "tool", "content": "x"}), "messages[0].tool_call_id"),
            (json!({"role": "assistant", "tool_calls": [{"id": "c"}]}), "messages[0].tool_calls[0].function.name"),
        ] {
            assert_eq!(decode(value, "messages[0]").unwrap_err().param.as_deref(), Some(param));
        }
    }

    #[test]
    fn written_at_once_a_message_is_the_same_as_encoded() {
        let named = Message { name: Some("a\"da".into()), ..Message::text(Role::User, "hi\n\u{1}é") };
        let call = Part::ToolCall { id: "c".into(), name: "f".into(), arguments: "{}".into(), signature: None };
        let result =
            Part::ToolResult { call_id: "c".into(), content: vec![Part::Text { text: "42".into() }], is_error: false };
        let mut extra = Message::text(Role::Developer, "x");
        extra.extra.insert("future".into(), json!([1]));
        let messages = [
            Message::text(Role::System, "be brief"),
            named,
            Message { parts: vec![call], ..Message::text(Role::Assistant, "") },
            Message { parts: vec![result], ..Message::text(Role::Tool, "") },
            Message::text(Role::Tool, "a result of nothing"),
            Message::text(Role::Assistant, ""),
            extra,
        ];
        let mut array = b"[".to_vec();
        write(&messages[..2], &mut array);
        write(&messages[2..], &mut array);
        let encoded = Value::Array(messages.iter().flat_map(encode).collect());
        assert_eq!(format!("{}]", String::from_utf8(array).unwrap()), encoded.to_string());
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in ".*", name in proptest::option::of("[a-z]{1,8}")) {
            let mut value = json!({"role": "user", "content": text});
            if let Some(name) = name {
                value = json!({"role": "user", "name": name, "content": text});
            }
            prop_assert_eq!(round_trip(&value), vec![value]);
        }
    }
}
