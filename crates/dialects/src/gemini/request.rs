//! A request to `generateContent` or `streamGenerateContent`; the path says which (see [`super::chat_path`]).
//!
//! What Gemini cannot do is refused with the name that the field has in OpenAI's dialect, which is what clients send.

use serde_json::{Map, Value, json};

use super::thread;
use crate::Unsupported;
use crate::canonical::{ChatRequest, Reasoning, ResponseFormat, Tool, ToolChoice};
use crate::hints;

/// Writes a request.
///
/// Left out are `user`, which is a label, and `parallel_tool_calls`: Gemini cannot be held to one call at a time, and clients
/// that ask for it get calls which they can still answer one after the other.
///
/// # Errors
/// When the request asks for something that Gemini cannot do.
pub fn encode(request: &ChatRequest) -> Result<Vec<u8>, Unsupported> {
    hints::refuse_unknown(&request.extra, &request.messages, "Gemini")?;
    if request.stream && request.logprobs.is_some() {
        let message = "Log-probabilities of Gemini cannot be streamed; set `stream` to false or leave `logprobs` out.";
        return Err(Unsupported::new("logprobs", message));
    }
    let version = version(&request.model);
    let thread = thread::encode(&request.messages, needs_signatures(&request.model))?;
    let mut body = Map::new();
    body.insert("contents".to_owned(), Value::Array(thread.contents));
    if !thread.system.is_empty() {
        body.insert("systemInstruction".to_owned(), json!({"parts": thread.system}));
    }
    if !request.tools.is_empty() {
        let declarations: Vec<Value> = request.tools.iter().map(declaration).collect();
        body.insert("tools".to_owned(), json!([{"functionDeclarations": declarations}]));
        if let Some(config) = calling_config(request) {
            body.insert("toolConfig".to_owned(), json!({"functionCallingConfig": config}));
        }
    }
    let config = generation_config(request, version)?;
    if !config.is_empty() {
        body.insert("generationConfig".to_owned(), Value::Object(config));
    }
    Ok(Value::Object(body).to_string().into_bytes())
}

/// Whether the model refuses calls that have no signature.
pub(super) fn needs_signatures(model: &str) -> bool {
    version(model) >= (3, 0)
}

fn declaration(tool: &Tool) -> Value {
    let mut fields = Map::new();
    fields.insert("name".to_owned(), json!(tool.name));
    if let Some(description) = &tool.description {
        fields.insert("description".to_owned(), json!(description));
    }
    // `parameters` would be a subset of OpenAPI, in which JSON Schema would be refused.
    if let Some(schema) = tool.parameters.as_ref().filter(|schema| **schema != json!({})) {
        fields.insert("parametersJsonSchema".to_owned(), schema.clone());
    }
    Value::Object(fields)
}

fn calling_config(request: &ChatRequest) -> Option<Value> {
    let is_strict = request.tools.iter().any(|tool| tool.strict == Some(true));
    match &request.tool_choice {
        // The mode in which arguments must match the schema.
        None | Some(ToolChoice::Auto) if is_strict => Some(json!({"mode": "VALIDATED"})),
        None => None,
        Some(ToolChoice::Auto) => Some(json!({"mode": "AUTO"})),
        Some(ToolChoice::None) => Some(json!({"mode": "NONE"})),
        Some(ToolChoice::Required) => Some(json!({"mode": "ANY"})),
        Some(ToolChoice::Named(name)) => Some(json!({"mode": "ANY", "allowedFunctionNames": [name]})),
    }
}

fn generation_config(request: &ChatRequest, version: (u32, u32)) -> Result<Map<String, Value>, Unsupported> {
    let mut config = Map::new();
    let mut set = |field: &str, value: Option<Value>| {
        if let Some(value) = value {
            config.insert(field.to_owned(), value);
        }
    };
    set("temperature", request.temperature.map(|value| json!(value)));
    set("topP", request.top_p.map(|value| json!(value)));
    set("topK", request.top_k.map(|value| json!(value)));
    set("maxOutputTokens", request.max_output_tokens.map(|value| json!(value)));
    set("stopSequences", (!request.stop.is_empty()).then(|| json!(request.stop)));
    set("seed", request.seed.map(|value| json!(value)));
    // Some models refuse penalties; 0 is none.
    set("presencePenalty", request.presence_penalty.filter(|value| *value != 0.0).map(|value| json!(value)));
    set("frequencyPenalty", request.frequency_penalty.filter(|value| *value != 0.0).map(|value| json!(value)));
    set("candidateCount", request.choices.filter(|n| *n > 1).map(|value| json!(value)));
    set("responseLogprobs", request.logprobs.map(|_| Value::Bool(true)));
    set("logprobs", request.logprobs.filter(|top| *top > 0).map(|value| json!(value)));
    match &request.response_format {
        None | Some(ResponseFormat::Text) => {}
        Some(ResponseFormat::JsonObject) => set("responseMimeType", Some(json!("application/json"))),
        Some(ResponseFormat::JsonSchema { schema, .. }) => {
            set("responseMimeType", Some(json!("application/json")));
            set("responseJsonSchema", Some(schema.clone()));
        }
    }
    set("thinkingConfig", thinking_config(request, version)?);
    Ok(config)
}

/// Models before Gemini 3 take a budget of tokens, later ones a level; a request with both is refused there.
fn thinking_config(request: &ChatRequest, version: (u32, u32)) -> Result<Option<Value>, Unsupported> {
    let by_level = version >= (3, 0);
    let config = match &request.reasoning {
        None => return Ok(None),
        Some(Reasoning::Effort(word)) if word == "none" => off(request, version)?,
        Some(Reasoning::Off) => off(request, version)?,
        // How much is the model's to decide by default; only the showing is asked for.
        Some(Reasoning::Adaptive) if version < (2, 5) => None,
        Some(Reasoning::Adaptive) => Some(json!({"includeThoughts": true})),
        Some(Reasoning::Budget(tokens)) => Some(json!({"thinkingBudget": tokens, "includeThoughts": true})),
        Some(Reasoning::Effort(word)) => {
            let (level, budget) = match word.as_str() {
                "minimal" => ("minimal", 1024),
                "low" => ("low", 1024),
                "medium" => ("medium", 8192),
                "high" | "xhigh" | "max" => ("high", 24_576),
                _ => {
                    let message = format!(
                        "`reasoning_effort` `{word}` is unknown; use `none`, `minimal`, `low`, `medium` or `high`."
                    );
                    return Err(Unsupported::new("reasoning_effort", message));
                }
            };
            Some(match by_level {
                true => json!({"thinkingLevel": level, "includeThoughts": true}),
                false => json!({"thinkingBudget": budget, "includeThoughts": true}),
            })
        }
    };
    Ok(config)
}

fn off(request: &ChatRequest, version: (u32, u32)) -> Result<Option<Value>, Unsupported> {
    if version >= (3, 0) {
        let message = format!("`{}` always reasons; set `reasoning_effort` to `minimal` or `low`.", request.model);
        return Err(Unsupported::new("reasoning_effort", message));
    }
    // Before 2.5 no model reasons, and none knows the field.
    Ok((version >= (2, 5)).then(|| json!({"thinkingBudget": 0})))
}

/// `gemini-2.5-flash` is 2.5. A name without a number is taken for a new model.
fn version(model: &str) -> (u32, u32) {
    let mut tokens = model.split(|char: char| !char.is_ascii_alphanumeric());
    let number = |token: &str| if token.len() <= 2 { token.parse::<u32>().ok() } else { None };
    match tokens.by_ref().find_map(number) {
        Some(major) => (major, tokens.next().and_then(number).unwrap_or(0)),
        None => (u32::MAX, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(model: &str, effort: &str) -> Result<Option<Value>, Unsupported> {
        let reasoning = Some(Reasoning::Effort(effort.into()));
        let request = ChatRequest { model: model.into(), reasoning, ..ChatRequest::default() };
        thinking_config(&request, version(model))
    }

    #[test]
    fn effort_is_a_budget_before_gemini_3_and_a_level_since() {
        assert_eq!(
            config("gemini-2.5-flash", "high").unwrap().unwrap(),
            json!({"thinkingBudget": 24_576, "includeThoughts": true})
        );
        for model in ["gemini-3-pro-preview", "gemini-3.1-flash-lite", "gemini-flash-latest"] {
            let expected = json!({"thinkingLevel": "low", "includeThoughts": true});
            assert_eq!(config(model, "low").unwrap().unwrap(), expected, "{model}");
        }
    }

    #[test]
    fn none_is_off_where_the_model_can() {
        assert_eq!(config("gemini-2.5-flash", "none").unwrap(), Some(json!({"thinkingBudget": 0})));
        assert_eq!(config("gemini-2.0-flash", "none").unwrap(), None);
        assert_eq!(config("gemini-3-flash", "none").unwrap_err().param, "reasoning_effort");
        assert!(config("gemini-2.5-flash", "enormous").is_err());
    }
}
