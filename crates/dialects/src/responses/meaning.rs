//! What a Responses request means for a provider. What only OpenAI's own servers can do is refused by its name.

use serde_json::{Map, Value};

use super::incoming::IncomingResponses;
use super::item::wrong;
use super::request::SUMMARY;
use crate::canonical::{ChatRequest, Message, Reasoning, ResponseFormat, Tool, ToolChoice};
use crate::translate::RequestError;
use crate::{BadRequest, Unsupported};

/// Top-level members that are read, and Privet's own.
const READ: [&str; 18] = [
    "model",
    "input",
    "instructions",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "max_output_tokens",
    "temperature",
    "top_p",
    "text",
    "reasoning",
    "include",
    "truncation",
    "user",
    "stream",
    "store",
    "previous_response_id",
    "conversation",
];

/// Members that change where, how fast or under what label a model works. Chat completions have them too, under the same names: a
/// provider of OpenAI's dialect is told of those that stand in [`crate::openai::request::LABELS`].
const HINTS: [&str; 8] = [
    "metadata",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "service_tier",
    "stream_options",
    // A limit for tools that OpenAI runs: there are none.
    "max_tool_calls",
    "background",
];

/// What may stand in `include`. All but the first tell more of tools that OpenAI runs, or of what was asked, which is told anyway.
const INCLUDED: [&str; 7] = [
    super::output::SEALED,
    "message.input_image.image_url",
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
];

impl IncomingResponses {
    /// The whole request in the canonical form, earlier messages put behind its instructions.
    ///
    /// # Errors
    /// With the field that is of a wrong type, or that no provider can be told.
    pub fn to_canonical(&self, model: &str, history: &[Message]) -> Result<ChatRequest, RequestError> {
        self.refuse_what_is_openais()?;
        let object = &self.object;
        let (response_format, verbosity) = self.text()?;
        let mut extra = Map::new();
        for name in HINTS {
            if let Some(value) = object.decode::<Value>(name)? {
                extra.insert(name.to_owned(), value);
            }
        }
        // Privet keeps the response itself, and asks for what a stream needs; it does not work in the background.
        for name in ["metadata", "stream_options", "max_tool_calls", "background"] {
            extra.shift_remove(name);
        }
        extra.extend(verbosity.map(|verbosity| ("verbosity".to_owned(), verbosity)));
        extra.extend(self.summary()?.map(|summary| (SUMMARY.to_owned(), summary)));
        Ok(ChatRequest {
            model: model.to_owned(),
            messages: [&self.lead, history, &self.messages[..]].concat(),
            tools: self.tools()?,
            tool_choice: object.decode::<Value>("tool_choice")?.map(|choice| tool_choice(&choice)).transpose()?,
            parallel_tool_calls: object.decode("parallel_tool_calls")?,
            max_output_tokens: object.decode("max_output_tokens")?,
            temperature: object.decode("temperature")?,
            top_p: object.decode("top_p")?,
            response_format,
            reasoning: self.reasoning()?,
            user: object.decode("user")?,
            stream: self.stream,
            extra,
            ..ChatRequest::default()
        })
    }

    fn refuse_what_is_openais(&self) -> Result<(), RequestError> {
        let object = &self.object;
        let is_set =
            |key: &&str| object.get(key).is_some_and(|json| !matches!(json, b"null" | b"[]" | b"{}" | b"false"));
        if object.get("prompt").is_some_and(|json| json != b"null") {
            let message = "`prompt` names a prompt that OpenAI keeps. Name one of Privet's by `metadata.prompt` or the header \
                           `x-privet-prompt`.";
            return Err(Unsupported::new("prompt", message).into());
        }
        if let Some(name) = object.keys().find(|key| !READ.contains(key) && !HINTS.contains(key) && is_set(key)) {
            let is_logprobs = name == "top_logprobs" && object.get(name) == Some(b"0");
            if !is_logprobs {
                return Err(only_openai(name).into());
            }
        }
        if let Some(refusal) = &self.only_openai {
            return Err(refusal.clone().into());
        }
        match object.decode::<String>("truncation")?.as_deref() {
            None | Some("disabled") => {}
            Some("auto") => {
                let message = "`truncation: \"auto\"` is not done here: nothing of a thread is dropped unseen. Leave it out, and send less \
                               when the model refuses the thread as too long.";
                return Err(Unsupported::new("truncation", message).into());
            }
            Some(_) => return Err(wrong("truncation", "`disabled`").into()),
        }
        if let Some(unknown) = self.include()?.into_iter().find(|name| !INCLUDED.contains(&name.as_str())) {
            return Err(only_openai(&format!("include: {unknown}")).into());
        }
        Ok(())
    }

    fn tools(&self) -> Result<Vec<Tool>, RequestError> {
        let tools = self.object.decode::<Vec<Map<String, Value>>>("tools")?.unwrap_or_default();
        tools.iter().enumerate().map(|(index, tool)| read_tool(tool, &format!("tools[{index}]"))).collect()
    }

    /// The shape of the answer, and how wordy it should be.
    fn text(&self) -> Result<(Option<ResponseFormat>, Option<Value>), RequestError> {
        let text: Map<String, Value> = self.object.decode("text")?.unwrap_or_default();
        let odd =
            text.iter().find(|(name, value)| !matches!(name.as_str(), "format" | "verbosity") && !value.is_null());
        if let Some((name, _)) = odd {
            return Err(only_openai(&format!("text.{name}")).into());
        }
        let format = text.get("format").filter(|format| !format.is_null()).map(response_format).transpose()?;
        Ok((format, text.get("verbosity").filter(|verbosity| !verbosity.is_null()).cloned()))
    }

    /// What is to be shown of reasoning, by its newer name or its older one.
    fn summary(&self) -> Result<Option<Value>, RequestError> {
        let reasoning: Map<String, Value> = self.object.decode("reasoning")?.unwrap_or_default();
        let named = |name: &str| reasoning.get(name).filter(|summary| !summary.is_null()).cloned();
        Ok(named("summary").or_else(|| named("generate_summary")))
    }

    /// How much the model thinks. A summary is shown wherever the provider shows one.
    fn reasoning(&self) -> Result<Option<Reasoning>, RequestError> {
        let reasoning: Map<String, Value> = self.object.decode("reasoning")?.unwrap_or_default();
        let is_known = |name: &str| matches!(name, "effort" | "summary" | "generate_summary");
        if let Some((name, _)) = reasoning.iter().find(|(name, value)| !is_known(name) && !value.is_null()) {
            return Err(only_openai(&format!("reasoning.{name}")).into());
        }
        match reasoning.get("effort") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(word)) if word == "none" => Ok(Some(Reasoning::Off)),
            Some(Value::String(word)) => Ok(Some(Reasoning::Effort(word.clone()))),
            Some(_) => Err(wrong("reasoning.effort", "a word such as `high`").into()),
        }
    }
}

/// A tool that the client runs. A label of it says nothing to the model.
fn read_tool(tool: &Map<String, Value>, path: &str) -> Result<Tool, RequestError> {
    match tool.get("type").and_then(Value::as_str) {
        Some("function") => {}
        Some(kind) => {
            let message = format!(
                "`{path}`: a tool of type `{kind}` is run or understood by OpenAI's own servers alone. Use `function`, and run the tool \
                 yourself."
            );
            return Err(Unsupported::new(format!("{path}.type"), message).into());
        }
        None => return Err(wrong(&format!("{path}.type"), "the kind of the tool, such as `function`").into()),
    }
    let is_known = |name: &str| matches!(name, "type" | "name" | "description" | "parameters" | "strict");
    let says_nothing = |value: &Value| value.is_null() || *value == Value::Bool(false);
    if let Some((name, _)) = tool.iter().find(|(name, value)| !is_known(name) && !says_nothing(value)) {
        return Err(only_openai(&format!("{path}.{name}")).into());
    }
    let Some(name) = tool.get("name").and_then(Value::as_str) else {
        return Err(wrong(&format!("{path}.name"), "a text").into());
    };
    Ok(Tool {
        name: name.to_owned(),
        description: tool.get("description").and_then(Value::as_str).map(str::to_owned),
        parameters: tool.get("parameters").filter(|schema| !schema.is_null()).cloned(),
        strict: tool.get("strict").and_then(Value::as_bool),
    })
}

fn tool_choice(choice: &Value) -> Result<ToolChoice, RequestError> {
    match (choice.as_str(), choice.get("type").and_then(Value::as_str)) {
        (Some("auto"), _) => Ok(ToolChoice::Auto),
        (Some("none"), _) => Ok(ToolChoice::None),
        (Some("required"), _) => Ok(ToolChoice::Required),
        (_, Some("function")) => match choice.get("name").and_then(Value::as_str) {
            Some(name) => Ok(ToolChoice::Named(name.to_owned())),
            None => Err(wrong("tool_choice.name", "the name of a tool").into()),
        },
        (_, Some(kind)) => Err(only_openai(&format!("tool_choice.type: {kind}")).into()),
        _ => Err(wrong(
            "tool_choice",
            "`auto`, `none`, `required`, or an object with the `type` `function` and a `name`",
        )
        .into()),
    }
}

fn response_format(format: &Value) -> Result<ResponseFormat, BadRequest> {
    let text = |field: &str| format.get(field).and_then(Value::as_str).map(str::to_owned);
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(ResponseFormat::Text),
        Some("json_object") => Ok(ResponseFormat::JsonObject),
        Some("json_schema") => {
            let (Some(name), Some(schema)) = (text("name"), format.get("schema").filter(|schema| schema.is_object()))
            else {
                return Err(wrong("text.format", "given a `name` and a `schema`"));
            };
            let (description, strict) = (text("description"), format.get("strict").and_then(Value::as_bool));
            Ok(ResponseFormat::JsonSchema { name, description, schema: schema.clone(), strict })
        }
        _ => Err(wrong("text.format.type", "`text`, `json_object` or `json_schema`")),
    }
}

fn only_openai(field: &str) -> Unsupported {
    let message =
        format!("`{field}` is known to OpenAI's own servers alone, and to none that is spoken to here. Leave it out.");
    let param = field.split(": ").next().unwrap_or(field);
    Unsupported::new(param, message)
}
