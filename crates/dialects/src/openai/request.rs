//! A chat request for a provider of OpenAI's dialect, from a client of another.
//!
//! What chat completions cannot say is refused. What they can say in other words is said so: a picture in a tool's result goes in a
//! message behind the results, since a result holds text alone; that a tool failed stands in front of what it said; a text document
//! is text. Several texts of one instruction or answer are joined, since many servers take a string there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use privet_domain::model::is_openai_reasoning;
use serde_json::{Map, Value, json};

use super::chat_request::MaxTokensField;
use super::message;
use crate::canonical::{ChatRequest, Message, Part, Reasoning, ResponseFormat, Role, Source, Tool, ToolChoice};
use crate::{Dialect, Unsupported};

/// What a request is called in this dialect beside what it means.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wording {
    /// What the limit of output tokens must be called; `None` is `max_tokens`.
    pub max_tokens_field: Option<MaxTokensField>,
    /// The service tier; `None` leaves it out.
    pub service_tier: Option<&'static str>,
}

/// What a client of OpenAI's Responses API says that has the same name here: where, how fast and under what label a model works.
pub(crate) const LABELS: [&str; 5] =
    ["verbosity", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "service_tier"];

/// Writes a request.
///
/// # Errors
/// When the request asks for something that chat completions cannot say.
pub fn encode(request: &ChatRequest, wording: Wording) -> Result<Vec<u8>, Unsupported> {
    let mut fields = Map::new();
    let mut set = |field: &str, value: Option<Value>| {
        if let Some(value) = value {
            fields.insert(field.to_owned(), value);
        }
    };
    set("model", Some(json!(request.model)));
    set("messages", Some(Value::Array(thread(&request.messages)?)));
    set("tools", (!request.tools.is_empty()).then(|| request.tools.iter().map(tool).collect()));
    set("tool_choice", request.tool_choice.as_ref().filter(|_| !request.tools.is_empty()).map(tool_choice));
    set("parallel_tool_calls", request.parallel_tool_calls.filter(|_| !request.tools.is_empty()).map(Value::from));
    let limit = wording.max_tokens_field.unwrap_or(MaxTokensField::MaxTokens).as_str();
    set(limit, request.max_output_tokens.map(|limit| json!(limit)));
    set("temperature", request.temperature.map(|value| json!(value)));
    set("top_p", request.top_p.map(|value| json!(value)));
    set("top_k", request.top_k.map(|value| json!(value)));
    set("frequency_penalty", request.frequency_penalty.map(|value| json!(value)));
    set("presence_penalty", request.presence_penalty.map(|value| json!(value)));
    set("seed", request.seed.map(|value| json!(value)));
    set("stop", (!request.stop.is_empty()).then(|| json!(request.stop)));
    set("n", request.choices.filter(|n| *n > 1).map(|n| json!(n)));
    set("logprobs", request.logprobs.map(|_| Value::Bool(true)));
    set("top_logprobs", request.logprobs.filter(|top| *top > 0).map(|top| json!(top)));
    set("response_format", request.response_format.as_ref().map(response_format));
    set("reasoning_effort", reasoning_effort(request)?.map(Value::from));
    set("user", request.user.as_deref().map(user));
    for label in LABELS {
        set(label, request.extra.get(label).cloned());
    }
    set("service_tier", wording.service_tier.map(Value::from));
    if request.stream {
        set("stream", Some(Value::Bool(true)));
        // Bills come from it.
        set("stream_options", Some(json!({"include_usage": true})));
    }
    Ok(Value::Object(fields).to_string().into_bytes())
}

/// Writes the thread. The model's own reasoning is left out: no server of this dialect takes it back.
fn thread(messages: &[Message]) -> Result<Vec<Value>, Unsupported> {
    let mut written = Vec::with_capacity(messages.len());
    for message in messages {
        let message = expressible(message)?;
        written.extend(message::encode(&message));
    }
    Ok(written)
}

/// A message in parts that this dialect has.
fn expressible(message: &Message) -> Result<Message, Unsupported> {
    let mut parts = Vec::with_capacity(message.parts.len());
    let mut behind = Vec::new();
    for part in &message.parts {
        match part {
            Part::ToolResult { call_id, content, is_error } => {
                parts.push(tool_result(call_id, content, *is_error, &mut behind)?);
            }
            part => parts.push(expressible_part(part)?),
        }
    }
    parts.extend(behind);
    if matches!(message.role, Role::System | Role::Developer | Role::Assistant) {
        join_texts(&mut parts);
    }
    Ok(Message { parts, ..message.clone() })
}

pub(crate) fn expressible_part(part: &Part) -> Result<Part, Unsupported> {
    match part {
        Part::Other { dialect, value } if *dialect != Dialect::OpenAiChat => {
            let kind = value.get("type").and_then(Value::as_str).unwrap_or("unknown");
            Err(refused(&format!("a part of type `{kind}` is known to the provider that made it alone")))
        }
        Part::File { source: Source::Base64 { media_type, data }, filename } if media_type.starts_with("text/") => {
            let text = BASE64.decode(data).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let text = text.ok_or_else(|| refused("a text file must be UTF-8"))?;
            let text = match filename {
                Some(name) => format!("{name}:\n\n{text}"),
                None => text,
            };
            Ok(Part::Text { text })
        }
        Part::File { source: Source::Base64 { media_type, data }, filename: None } => {
            // OpenAI demands a name.
            let source = Source::Base64 { media_type: media_type.clone(), data: data.clone() };
            Ok(Part::File { source, filename: Some("document.pdf".to_owned()) })
        }
        // By its URL it is no document to OpenAI: its bytes take that place before it is sent (`linked_media`).
        part => Ok(part.clone()),
    }
}

/// A result as text. What is none goes behind it.
fn tool_result(call_id: &str, content: &[Part], is_error: bool, behind: &mut Vec<Part>) -> Result<Part, Unsupported> {
    let mut texts = Vec::with_capacity(content.len());
    let mut others = Vec::new();
    for part in content {
        match expressible_part(part)? {
            Part::Text { text } | Part::Refusal { text } => texts.push(text),
            other => others.push(other),
        }
    }
    if !others.is_empty() {
        texts.push("(What else belongs to this result follows in the next message.)".to_owned());
        behind.push(Part::Text { text: format!("Of the result of the call `{call_id}`:") });
        behind.append(&mut others);
    }
    let text = texts.join("\n");
    let text = if is_error { format!("Error: {text}") } else { text };
    Ok(Part::ToolResult { call_id: call_id.to_owned(), content: vec![Part::Text { text }], is_error: false })
}

/// Makes one text of texts that stand side by side.
fn join_texts(parts: &mut Vec<Part>) {
    let mut joined: Vec<Part> = Vec::with_capacity(parts.len());
    for part in parts.drain(..).filter(|part| !matches!(part, Part::Thinking { .. } | Part::RedactedThinking { .. })) {
        match (joined.last_mut(), part) {
            (Some(Part::Text { text }), Part::Text { text: more }) => {
                text.push_str("\n\n");
                text.push_str(&more);
            }
            (_, part) => joined.push(part),
        }
    }
    *parts = joined;
}

fn tool(tool: &Tool) -> Value {
    let mut function = Map::new();
    function.insert("name".to_owned(), json!(tool.name));
    if let Some(description) = &tool.description {
        function.insert("description".to_owned(), json!(description));
    }
    if let Some(parameters) = &tool.parameters {
        function.insert("parameters".to_owned(), parameters.clone());
    }
    if let Some(strict) = tool.strict {
        function.insert("strict".to_owned(), Value::Bool(strict));
    }
    json!({"type": "function", "function": function})
}

fn tool_choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => json!("auto"),
        ToolChoice::None => json!("none"),
        ToolChoice::Required => json!("required"),
        ToolChoice::Named(name) => json!({"type": "function", "function": {"name": name}}),
    }
}

fn response_format(format: &ResponseFormat) -> Value {
    match format {
        ResponseFormat::Text => json!({"type": "text"}),
        ResponseFormat::JsonObject => json!({"type": "json_object"}),
        ResponseFormat::JsonSchema { name, description, schema, strict } => {
            let mut named = json!({"name": name, "schema": schema});
            if let Some(fields) = named.as_object_mut() {
                fields.extend(description.as_ref().map(|description| ("description".to_owned(), json!(description))));
                fields.extend(strict.map(|strict| ("strict".to_owned(), json!(strict))));
            }
            json!({"type": "json_schema", "json_schema": named})
        }
    }
}

/// How much the model thinks. A budget becomes the word whose usual budget it is; a model that decides itself does so unasked.
pub(crate) fn reasoning_effort(request: &ChatRequest) -> Result<Option<String>, Unsupported> {
    Ok(match &request.reasoning {
        None | Some(Reasoning::Adaptive) => None,
        Some(Reasoning::Effort(word)) => Some(if word == "max" { "xhigh" } else { word }.to_owned()),
        Some(Reasoning::Budget(tokens)) => Some(effort_of(*tokens).to_owned()),
        // What does not think needs no order not to.
        Some(Reasoning::Off) if !is_openai_reasoning(&request.model) => None,
        Some(Reasoning::Off) if knows_none(&request.model) => Some("none".to_owned()),
        Some(Reasoning::Off) => {
            let message =
                format!("`{}` always reasons; leave `reasoning_effort` out, or take another model.", request.model);
            return Err(Unsupported::new("reasoning_effort", message));
        }
    })
}

/// The word whose usual budget it is.
pub(crate) fn effort_of(tokens: u64) -> &'static str {
    match tokens {
        0..=4_095 => "low",
        4_096..=12_287 => "medium",
        _ => "high",
    }
}

/// From GPT-5.1 on models can be told not to think (<https://platform.openai.com/docs/guides/reasoning>).
fn knows_none(model: &str) -> bool {
    let version = model.strip_prefix("gpt-5.").and_then(|rest| rest.chars().next());
    version.is_some_and(|minor| minor.is_ascii_digit() && minor != '0')
}

/// OpenAI takes no more characters; a longer name of the user becomes its hash, which is as good a label.
const USER_CHARS_MAX: usize = 64;

pub(crate) fn user(name: &str) -> Value {
    if name.chars().count() <= USER_CHARS_MAX {
        return json!(name);
    }
    json!(blake3::hash(name.as_bytes()).to_hex().as_str())
}

fn refused(what: &str) -> Unsupported {
    Unsupported::new("messages", format!("The thread cannot be sent to a provider of OpenAI's dialect: {what}."))
}
