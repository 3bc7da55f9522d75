//! What a Messages request means, for a provider of another dialect. What only Anthropic can do is refused by its name.
//!
//! Hints are left out: they change where, how fast or at what price Anthropic works, never what the answer may say.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::block::wrong;
use super::incoming::IncomingMessages;
use crate::canonical::{ChatRequest, Message, Reasoning, ResponseFormat, Role, Tool, ToolChoice};
use crate::translate::RequestError;
use crate::{BadRequest, Unsupported};

/// Top-level members that are read.
const READ: [&str; 15] = [
    "model",
    "messages",
    "system",
    "max_tokens",
    "metadata",
    "stop_sequences",
    "stream",
    "temperature",
    "top_p",
    "top_k",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "output_format",
];

/// Hints, and what is Privet's own.
const HINTS: [&str; 6] = ["cache_control", "service_tier", "speed", "diagnostics", "user_profile_id", "store"];

impl IncomingMessages {
    /// The whole request in the canonical form, earlier messages put behind its leading instructions.
    ///
    /// # Errors
    /// With the field that is of a wrong type, or that no other dialect can express.
    pub fn to_canonical(&self, model: &str, history: &[Message]) -> Result<ChatRequest, RequestError> {
        self.refuse_what_is_anthropics()?;
        let object = &self.object;
        let leading = self.messages.iter().take_while(|message| message.role == Role::System).count();
        let (instructions, said) = self.messages.split_at(leading);
        let choice: WireChoice = object.decode("tool_choice")?.unwrap_or_default();
        let (effort, format) = self.output_config()?;
        Ok(ChatRequest {
            model: model.to_owned(),
            messages: [&self.lead, instructions, history, said].concat(),
            tools: self.tools()?,
            tool_choice: choice.meaning()?,
            parallel_tool_calls: choice.disable_parallel_tool_use.filter(|disabled| *disabled).map(|_| false),
            max_output_tokens: object.decode("max_tokens")?,
            temperature: object.decode("temperature")?,
            top_p: object.decode("top_p")?,
            top_k: object.decode("top_k")?,
            stop: object.decode("stop_sequences")?.unwrap_or_default(),
            response_format: format,
            reasoning: self.reasoning(effort)?,
            user: self.user(),
            stream: self.stream,
            ..ChatRequest::default()
        })
    }

    fn refuse_what_is_anthropics(&self) -> Result<(), Unsupported> {
        let object = &self.object;
        let is_set = |key: &&str| object.get(key).is_some_and(|json| !matches!(json, b"null" | b"[]" | b"{}"));
        let mut unknown = object.keys().filter(|key| !READ.contains(key) && !HINTS.contains(key));
        let unknown =
            unknown.find(|key| is_set(key) && !(*key == "context_management" && self.clears_thinking_alone()));
        if let Some(name) = unknown {
            return Err(only_anthropic(name));
        }
        if let Some(refusal) = &self.only_anthropic {
            return Err(refusal.clone());
        }
        if self.messages.last().is_some_and(|message| message.role == Role::Assistant) {
            let message = "The last message of `messages` is the assistant's, for the model to go on with: only Anthropic's models do that. \
                           End with a message of the user's.";
            return Err(Unsupported::new("messages", message));
        }
        Ok(())
    }

    /// Thinking is not sent to others anyway.
    fn clears_thinking_alone(&self) -> bool {
        let management: Option<Value> = self.object.decode("context_management").ok().flatten();
        let edits = management.as_ref().and_then(|management| management.get("edits")?.as_array());
        let is_of_thinking = |edit: &Value| {
            edit.get("type").and_then(Value::as_str).is_some_and(|kind| kind.starts_with("clear_thinking_"))
        };
        edits.is_some_and(|edits| edits.iter().all(is_of_thinking))
    }

    fn tools(&self) -> Result<Vec<Tool>, RequestError> {
        let tools = self.object.decode::<Vec<Map<String, Value>>>("tools")?.unwrap_or_default();
        tools.iter().enumerate().map(|(index, tool)| read_tool(tool, &format!("tools[{index}]"))).collect()
    }

    /// `output_config`, and its older form `output_format`: how much effort, and the shape of the answer.
    fn output_config(&self) -> Result<(Option<String>, Option<ResponseFormat>), RequestError> {
        let config: Map<String, Value> = self.object.decode("output_config")?.unwrap_or_default();
        let odd = config.iter().find(|(name, value)| !matches!(name.as_str(), "effort" | "format") && !value.is_null());
        if let Some((name, _)) = odd {
            return Err(only_anthropic(&format!("output_config.{name}")).into());
        }
        let old: Option<Value> = self.object.decode("output_format")?;
        let format = config.get("format").filter(|format| !format.is_null()).or(old.as_ref());
        let format = match format {
            None => None,
            Some(format) => match (format.get("type").and_then(Value::as_str), format.get("schema")) {
                (Some("json_schema"), Some(schema)) => Some(ResponseFormat::JsonSchema {
                    name: "answer".to_owned(),
                    description: None,
                    schema: schema.clone(),
                    strict: Some(true),
                }),
                _ => return Err(wrong("output_config.format", "of type `json_schema`, with a `schema`").into()),
            },
        };
        let effort = match config.get("effort") {
            None | Some(Value::Null) => None,
            Some(Value::String(word)) => Some(word.clone()),
            Some(_) => return Err(wrong("output_config.effort", "a word such as `high`").into()),
        };
        Ok((effort, format))
    }

    /// A budget, or none at all, says more than a word does.
    fn reasoning(&self, effort: Option<String>) -> Result<Option<Reasoning>, RequestError> {
        let by_word = effort.map(Reasoning::Effort);
        let Some(thinking) = self.object.decode::<Value>("thinking")? else { return Ok(by_word) };
        match thinking.get("type").and_then(Value::as_str) {
            Some("disabled") => Ok(Some(Reasoning::Off)),
            Some("adaptive") => Ok(by_word.or(Some(Reasoning::Adaptive))),
            Some("enabled") => match thinking.get("budget_tokens").and_then(Value::as_u64) {
                Some(budget) if self.object.decode::<u64>("max_tokens")?.is_some_and(|max| budget >= max) => {
                    Err(wrong("thinking.budget_tokens", "less than `max_tokens`").into())
                }
                Some(budget) => Ok(Some(Reasoning::Budget(budget))),
                None => Err(wrong("thinking.budget_tokens", "a whole number of tokens").into()),
            },
            Some(_) => Err(only_anthropic("thinking.type").into()),
            None => Err(wrong("thinking.type", "`enabled`, `adaptive` or `disabled`").into()),
        }
    }
}

#[derive(Default, Deserialize)]
struct WireChoice {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    disable_parallel_tool_use: Option<bool>,
}

impl WireChoice {
    fn meaning(&self) -> Result<Option<ToolChoice>, BadRequest> {
        Ok(Some(match (self.kind.as_deref(), &self.name) {
            (None, None) => return Ok(None),
            (Some("auto"), _) => ToolChoice::Auto,
            (Some("any"), _) => ToolChoice::Required,
            (Some("none"), _) => ToolChoice::None,
            (Some("tool"), Some(name)) => ToolChoice::Named(name.clone()),
            (Some("tool"), None) => return Err(wrong("tool_choice.name", "the name of a tool")),
            _ => return Err(wrong("tool_choice.type", "`auto`, `any`, `tool` or `none`")),
        }))
    }
}

/// A tool that the client describes. `cache_control` and `eager_input_streaming` say nothing of it to the model.
fn read_tool(tool: &Map<String, Value>, path: &str) -> Result<Tool, RequestError> {
    let kind = tool.get("type").and_then(Value::as_str);
    if kind.is_some_and(|kind| kind != "custom") {
        return Err(only_anthropic(&format!("{path}.type")).into());
    }
    for (name, value) in tool {
        let says_nothing = match name.as_str() {
            "name" | "description" | "input_schema" | "strict" | "type" | "cache_control" | "eager_input_streaming" => {
                true
            }
            "defer_loading" => *value == Value::Bool(false),
            "allowed_callers" => {
                value.as_array().is_some_and(|callers| callers.iter().all(|caller| caller == "direct"))
            }
            _ => false,
        };
        if !says_nothing && !value.is_null() {
            return Err(only_anthropic(&format!("{path}.{name}")).into());
        }
    }
    let Some(name) = tool.get("name").and_then(Value::as_str) else {
        return Err(wrong(&format!("{path}.name"), "a text").into());
    };
    Ok(Tool {
        name: name.to_owned(),
        description: tool.get("description").and_then(Value::as_str).map(str::to_owned),
        parameters: tool.get("input_schema").filter(|schema| !schema.is_null()).cloned(),
        strict: tool.get("strict").and_then(Value::as_bool),
    })
}

fn only_anthropic(field: &str) -> Unsupported {
    let message =
        format!("`{field}` as it stands here can only go to a model of Anthropic's. Leave it out, or use one.");
    Unsupported::new(field, message)
}
