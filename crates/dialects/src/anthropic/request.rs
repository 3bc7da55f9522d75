//! A request to the Messages API.
//!
//! What Anthropic cannot do is refused with the name that the field has in OpenAI's dialect, which is what clients send.

use serde_json::{Map, Value, json};

use super::{thinking, thread};
use crate::Unsupported;
use crate::canonical::{ChatRequest, ResponseFormat, Tool, ToolChoice};
use crate::hints;

/// Writes a request. Anthropic demands a limit of output tokens: `default_max_tokens` where the request names none.
///
/// # Errors
/// When the request asks for something that Anthropic cannot do.
pub fn encode(request: &ChatRequest, default_max_tokens: u64) -> Result<Vec<u8>, Unsupported> {
    refuse_unsupported(request)?;
    hints::refuse_unknown(&request.extra, &request.messages, "Anthropic")?;
    let max_tokens = request.max_output_tokens.unwrap_or(default_max_tokens);
    let thinking = thinking::decide(request, max_tokens)?;
    if thinking.is_on() {
        refuse_beside_thinking(request)?;
    }
    let thread = thread::encode(&request.messages)?;

    let mut body = Body::default();
    body.set("model", json!(request.model));
    body.set("max_tokens", json!(max_tokens));
    if !thread.system.is_empty() {
        body.set("system", Value::Array(thread.system));
    }
    body.set("messages", Value::Array(thread.messages));
    if !request.tools.is_empty() {
        body.set("tools", request.tools.iter().map(tool).collect());
    }
    body.set_some("tool_choice", tool_choice(request));
    body.set_some("temperature", request.temperature.map(|temperature| json!(temperature)));
    body.set_some("top_p", request.top_p.map(|top_p| json!(top_p)));
    body.set_some("top_k", request.top_k.map(|top_k| json!(top_k)));
    if !request.stop.is_empty() {
        body.set("stop_sequences", json!(request.stop));
    }
    body.set_some("thinking", thinking.field);
    body.set_some("output_config", output_config(request, thinking.effort));
    body.set_some("metadata", request.user.as_ref().map(|user| json!({"user_id": user})));
    if request.stream {
        body.set("stream", Value::Bool(true));
    }
    Ok(Value::Object(body.fields).to_string().into_bytes())
}

#[derive(Default)]
struct Body {
    fields: Map<String, Value>,
}

impl Body {
    fn set(&mut self, field: &str, value: Value) {
        self.fields.insert(field.to_owned(), value);
    }

    fn set_some(&mut self, field: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.set(field, value);
        }
    }
}

fn refuse_unsupported(request: &ChatRequest) -> Result<(), Unsupported> {
    let is_set = |penalty: Option<f64>| penalty.is_some_and(|penalty| penalty != 0.0);
    let refusals = [
        (
            request.temperature.is_some_and(|temperature| temperature > 1.0),
            "temperature",
            "Anthropic's temperature ends at 1; lower it.",
        ),
        (
            request.choices.is_some_and(|n| n > 1),
            "n",
            "Anthropic gives one answer; set `n` to 1 and ask several times.",
        ),
        (request.logprobs.is_some(), "logprobs", "Anthropic gives no log-probabilities; leave `logprobs` out."),
        (is_set(request.frequency_penalty), "frequency_penalty", "Anthropic has no penalties; leave it out."),
        (is_set(request.presence_penalty), "presence_penalty", "Anthropic has no penalties; leave it out."),
        (request.seed.is_some(), "seed", "Anthropic's sampling takes no seed; leave it out."),
        (
            request.response_format == Some(ResponseFormat::JsonObject),
            "response_format",
            "Anthropic has no JSON mode without a schema; use `response_format` of type `json_schema`.",
        ),
    ];
    refuse_first(&refusals)
}

/// Anthropic refuses these while the model thinks; its own message would name fields that the client did not send.
fn refuse_beside_thinking(request: &ChatRequest) -> Result<(), Unsupported> {
    let refusals = [
        (
            request.temperature.is_some_and(|temperature| temperature < 1.0),
            "temperature",
            "Anthropic cannot change the temperature while the model reasons; leave out `temperature` or `reasoning_effort`.",
        ),
        (
            request.top_k.is_some(),
            "top_k",
            "Anthropic takes no `top_k` while the model reasons; leave out `top_k` or `reasoning_effort`.",
        ),
        (
            request.top_p.is_some_and(|top_p| top_p < 0.95),
            "top_p",
            "Anthropic takes a `top_p` from 0.95 to 1 while the model reasons; raise it or leave out `reasoning_effort`.",
        ),
        (
            matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_))),
            "tool_choice",
            "Anthropic cannot force a tool while the model reasons; set `tool_choice` to `auto` or leave out `reasoning_effort`.",
        ),
    ];
    refuse_first(&refusals)
}

fn refuse_first(refusals: &[(bool, &str, &str)]) -> Result<(), Unsupported> {
    match refusals.iter().find(|(is_asked, ..)| *is_asked) {
        Some((_, param, message)) => Err(Unsupported::new(*param, *message)),
        None => Ok(()),
    }
}

fn tool(tool: &Tool) -> Value {
    let mut fields = Map::new();
    fields.insert("name".to_owned(), json!(tool.name));
    if let Some(description) = &tool.description {
        fields.insert("description".to_owned(), json!(description));
    }
    let mut schema = match &tool.parameters {
        Some(Value::Object(schema)) => schema.clone(),
        _ => Map::from_iter([("type".to_owned(), json!("object")), ("properties".to_owned(), json!({}))]),
    };
    // OpenAI takes `{}` for any arguments; Anthropic wants the word.
    schema.entry("type").or_insert_with(|| json!("object"));
    fields.insert("input_schema".to_owned(), Value::Object(schema));
    if tool.strict == Some(true) {
        fields.insert("strict".to_owned(), Value::Bool(true));
    }
    Value::Object(fields)
}

fn tool_choice(request: &ChatRequest) -> Option<Value> {
    if request.tools.is_empty() {
        return None;
    }
    let one_at_a_time = request.parallel_tool_calls == Some(false);
    let mut choice = match &request.tool_choice {
        None if !one_at_a_time => return None,
        None | Some(ToolChoice::Auto) => json!({"type": "auto"}),
        Some(ToolChoice::None) => return Some(json!({"type": "none"})),
        Some(ToolChoice::Required) => json!({"type": "any"}),
        Some(ToolChoice::Named(name)) => json!({"type": "tool", "name": name}),
    };
    if one_at_a_time && let Some(fields) = choice.as_object_mut() {
        fields.insert("disable_parallel_tool_use".to_owned(), Value::Bool(true));
    }
    Some(choice)
}

/// `output_config`: the effort, and the answer's schema (Anthropic always holds to it, and has no name for it).
fn output_config(request: &ChatRequest, effort: Option<&str>) -> Option<Value> {
    let mut config = Map::new();
    if let Some(effort) = effort {
        config.insert("effort".to_owned(), json!(effort));
    }
    if let Some(ResponseFormat::JsonSchema { schema, .. }) = &request.response_format {
        config.insert("format".to_owned(), json!({"type": "json_schema", "schema": schema}));
    }
    if config.is_empty() { None } else { Some(Value::Object(config)) }
}
