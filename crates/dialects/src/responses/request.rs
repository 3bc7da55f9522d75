//! A request for a provider that is spoken to in the Responses API.
//!
//! Privet keeps the thread, not the provider: `store` is false, and what the provider encrypted of a model's reasoning is asked for and
//! goes back with the thread. What the API has no word for is refused.

use privet_domain::model::is_openai_reasoning;
use serde_json::{Map, Value, json};

use super::output::{SEALED, input_part, summary_text, whole};
use super::seal;
use crate::canonical::{
    ChatRequest, Message, Part, Reasoning, ResponseFormat, Role, Source, Tool, ToolChoice, WIRE_OUTPUT,
};
use crate::hints::refuse_unknown;
use crate::openai::request::{LABELS, expressible_part, reasoning_effort, user};
use crate::{Dialect, Unsupported};

/// How refusals call it.
const PROVIDER: &str = "a provider that is spoken to in the Responses API";

/// What a client of the Responses API asked to be shown of reasoning, among the fields without canonical meaning.
pub(crate) const SUMMARY: &str = "reasoning_summary";

/// Writes a request. `service_tier` is for one that names none.
///
/// # Errors
/// When the request asks for something that the API cannot say.
pub fn encode(request: &ChatRequest, service_tier: Option<&'static str>) -> Result<Vec<u8>, Unsupported> {
    refuse_unknown(&request.extra, &request.messages, PROVIDER)?;
    refuse_sampling(request)?;
    let mut fields = Map::new();
    let mut set = |field: &str, value: Option<Value>| {
        if let Some(value) = value {
            fields.insert(field.to_owned(), value);
        }
    };
    let has_tools = !request.tools.is_empty();
    let hint = |name: &str| request.extra.get(name).filter(|value| !value.is_null()).cloned();
    set("model", Some(json!(request.model)));
    set("input", Some(Value::Array(thread(&request.messages)?)));
    set("tools", has_tools.then(|| request.tools.iter().map(tool).collect()));
    set("tool_choice", request.tool_choice.as_ref().filter(|_| has_tools).map(tool_choice));
    set("parallel_tool_calls", request.parallel_tool_calls.filter(|_| has_tools).map(Value::from));
    set("max_output_tokens", request.max_output_tokens.map(Value::from));
    set("temperature", request.temperature.map(Value::from));
    set("top_p", request.top_p.map(Value::from));
    set("text", text(request.response_format.as_ref(), hint("verbosity")));
    set("reasoning", reasoning(request, hint(SUMMARY))?);
    set("user", request.user.as_deref().map(user));
    for label in LABELS.iter().filter(|label| **label != "verbosity") {
        set(label, hint(label));
    }
    set("service_tier", service_tier.map(Value::from));
    set("store", Some(Value::Bool(false)));
    // A model that does not reason refuses to encrypt what it has not.
    set("include", is_openai_reasoning(&request.model).then(|| json!([SEALED])));
    set("stream", request.stream.then_some(Value::Bool(true)));
    Ok(Value::Object(fields).to_string().into_bytes())
}

/// What chat completions have and this API has not.
fn refuse_sampling(request: &ChatRequest) -> Result<(), Unsupported> {
    let is_weight = |weight: Option<f64>| weight.is_some_and(|weight| weight != 0.0);
    let asked = [
        ("stop", !request.stop.is_empty()),
        ("n", request.choices.is_some_and(|n| n > 1)),
        ("logprobs", request.logprobs.is_some()),
        ("frequency_penalty", is_weight(request.frequency_penalty)),
        ("presence_penalty", is_weight(request.presence_penalty)),
        ("seed", request.seed.is_some()),
        ("top_k", request.top_k.is_some()),
    ];
    match asked.into_iter().find(|(_, is_asked)| *is_asked) {
        None => Ok(()),
        Some((field, _)) => {
            let message =
                format!("`{field}` cannot be expressed for {PROVIDER}; leave it out, or use `api = \"chat\"`.");
            Err(Unsupported::new(field, message))
        }
    }
}

/// The items of a thread. An answer that a provider of this dialect gave goes back as it came.
pub(super) fn thread(messages: &[Message]) -> Result<Vec<Value>, Unsupported> {
    let mut items = Vec::with_capacity(messages.len());
    for message in messages {
        if let (Role::Assistant, Some(Value::Array(written))) = (message.role, message.extra.get(WIRE_OUTPUT)) {
            items.extend(written.iter().cloned());
            continue;
        }
        // What stands side by side in a message is one item.
        let mut content = Vec::with_capacity(message.parts.len());
        for part in &message.parts {
            let own = match part {
                Part::ToolCall { id, name, arguments, .. } => Some(json!({
                    "type": "function_call", "call_id": id, "name": name, "arguments": whole(arguments),
                })),
                Part::ToolResult { call_id, content, is_error } => {
                    let output = output(content, *is_error)?;
                    Some(json!({"type": "function_call_output", "call_id": call_id, "output": output}))
                }
                Part::Thinking { .. } => match reasoning_item(part) {
                    Some(item) => Some(item),
                    // Another provider's, which is nothing to this one.
                    None => continue,
                },
                Part::RedactedThinking { .. } => continue,
                Part::Other { dialect: Dialect::OpenAiResponses, value } => Some(value.clone()),
                _ => None,
            };
            match own {
                Some(item) => {
                    flush(message.role, &mut content, &mut items);
                    items.push(item);
                }
                None => content.extend(content_part(message.role, part)?),
            }
        }
        flush(message.role, &mut content, &mut items);
    }
    Ok(items)
}

fn flush(role: Role, content: &mut Vec<Value>, items: &mut Vec<Value>) {
    if !content.is_empty() {
        let role = if role == Role::Tool { Role::User } else { role };
        items.push(json!({"type": "message", "role": role.as_str(), "content": std::mem::take(content)}));
    }
}

/// What a model of OpenAI's thought, if that can go back.
fn reasoning_item(part: &Part) -> Option<Value> {
    let Part::Thinking { text, signature: Some(signature) } = part else { return None };
    let sealed = seal::of_openai(signature)?;
    let summary: Vec<Value> = Some(text).filter(|text| !text.is_empty()).map(summary_text).into_iter().collect();
    Some(json!({"type": "reasoning", "summary": summary, "encrypted_content": sealed}))
}

fn content_part(role: Role, part: &Part) -> Result<Option<Value>, Unsupported> {
    Ok(match (role, part) {
        (_, Part::Text { text } | Part::Refusal { text }) if text.is_empty() => None,
        (Role::Assistant, Part::Text { text }) => Some(json!({"type": "output_text", "text": text})),
        (_, Part::Refusal { text }) => Some(json!({"type": "refusal", "refusal": text})),
        // By its URL a document is read here.
        (_, Part::File { source: Source::Url { .. }, .. }) => Some(input_part(part)),
        (_, Part::Other { value, dialect: Dialect::OpenAiChat }) => {
            let kind = value.get("type").and_then(Value::as_str).unwrap_or("unknown");
            let message = format!("A part of type `{kind}` cannot be expressed for {PROVIDER}.");
            return Err(Unsupported::new("messages", message));
        }
        (_, part) => Some(input_part(&expressible_part(part)?)),
    })
}

/// A result: a text alone as such. That the tool failed stands in front of what it said.
fn output(content: &[Part], is_error: bool) -> Result<Value, Unsupported> {
    if let ([Part::Text { text }], false) = (content, is_error) {
        return Ok(json!(text));
    }
    let mut parts = Vec::with_capacity(content.len() + 1);
    parts.extend(is_error.then(|| json!({"type": "input_text", "text": "Error:"})));
    for part in content {
        parts.extend(content_part(Role::User, part)?);
    }
    Ok(if parts.is_empty() { json!("") } else { Value::Array(parts) })
}

/// `strict` is said: without it OpenAI would make it true.
fn tool(tool: &Tool) -> Value {
    let parameters = tool.parameters.clone().unwrap_or_else(|| json!({"type": "object", "properties": {}}));
    let mut fields = json!({"type": "function", "name": tool.name, "parameters": parameters, "strict": tool.strict.unwrap_or(false)});
    if let (Some(description), Some(fields)) = (&tool.description, fields.as_object_mut()) {
        fields.insert("description".to_owned(), json!(description));
    }
    fields
}

fn tool_choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => json!("auto"),
        ToolChoice::None => json!("none"),
        ToolChoice::Required => json!("required"),
        ToolChoice::Named(name) => json!({"type": "function", "name": name}),
    }
}

fn text(format: Option<&ResponseFormat>, verbosity: Option<Value>) -> Option<Value> {
    let format = format.map(|format| match format {
        ResponseFormat::Text => json!({"type": "text"}),
        ResponseFormat::JsonObject => json!({"type": "json_object"}),
        ResponseFormat::JsonSchema { name, description, schema, strict } => {
            let mut named = json!({"type": "json_schema", "name": name, "schema": schema});
            if let Some(fields) = named.as_object_mut() {
                fields.extend(description.as_ref().map(|description| ("description".to_owned(), json!(description))));
                fields.extend(strict.map(|strict| ("strict".to_owned(), json!(strict))));
            }
            named
        }
    });
    let mut text = Map::new();
    text.extend(format.map(|format| ("format".to_owned(), format)));
    text.extend(verbosity.map(|verbosity| ("verbosity".to_owned(), verbosity)));
    (!text.is_empty()).then_some(Value::Object(text))
}

fn reasoning(request: &ChatRequest, summary: Option<Value>) -> Result<Option<Value>, Unsupported> {
    let mut reasoning = Map::new();
    let is_asked = !matches!(request.reasoning, None | Some(Reasoning::Adaptive));
    let effort = if is_asked { reasoning_effort(request)? } else { None };
    reasoning.extend(effort.map(|effort| ("effort".to_owned(), json!(effort))));
    reasoning.extend(summary.map(|summary| ("summary".to_owned(), summary)));
    Ok((!reasoning.is_empty()).then_some(Value::Object(reasoning)))
}
