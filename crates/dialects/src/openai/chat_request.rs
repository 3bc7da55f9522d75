//! A chat request from a client: read lightly, passed on to a provider of the same dialect as its own bytes.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::message;
use crate::BadRequest;
use crate::canonical::{ChatRequest, Message, Reasoning, ResponseFormat, Role, Tool, ToolChoice};
use crate::raw_object::{Edits, RawObject};
use crate::translate::RequestError;

/// How the limit of output tokens is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxTokensField {
    /// `max_tokens`: older, and what most compatible servers know.
    MaxTokens,
    /// `max_completion_tokens`: what OpenAI's reasoning models demand.
    MaxCompletionTokens,
}

impl MaxTokensField {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::MaxTokens => Self::MaxCompletionTokens,
            Self::MaxCompletionTokens => Self::MaxTokens,
        }
    }
}

/// A chat request as it came.
#[derive(Clone, Debug)]
pub struct IncomingChat {
    pub(super) object: RawObject,
    /// The model, if one is named.
    pub model: Option<String>,
    /// The thread; at least one message.
    pub messages: Vec<Message>,
    /// What is put in front of the thread on the way to the provider, and is not part of it.
    pub lead: Vec<Message>,
    /// Whether a stream is asked for.
    pub stream: bool,
    /// Whether the stream should end with the usage.
    pub include_usage: bool,
    /// The conversation that it continues, by `metadata.conversation_id` or `conversation_id`.
    pub conversation_id: Option<String>,
    /// OpenAI's `store`.
    pub store: Option<bool>,
    /// How many answers are asked for; at least 1.
    pub choices: u32,
}

/// What must change on the way to a provider of the same dialect.
#[derive(Clone, Copy, Debug, Default)]
pub struct Forward<'a> {
    /// The provider's own name of the model.
    pub model: &'a str,
    /// Earlier messages, put behind the request's leading instructions.
    pub history: &'a [Message],
    /// What the limit of output tokens must be called; `None` leaves it.
    pub max_tokens_field: Option<MaxTokensField>,
    /// The limit of output tokens for a request that names none; `None` leaves it without.
    pub output_limit: Option<u64>,
    /// The service tier for a request that names none; `None` leaves it without.
    pub service_tier: Option<&'static str>,
}

impl IncomingChat {
    /// Reads a request. Only what Privet acts on is checked; the rest is the provider's to judge.
    ///
    /// # Errors
    /// With the field at fault.
    pub fn parse(body: Bytes) -> Result<Self, BadRequest> {
        let object = RawObject::parse(body)?;
        let Some(values) = object.decode::<Vec<Value>>("messages")?.filter(|messages| !messages.is_empty()) else {
            return Err(BadRequest::at("messages", "`messages` must be an array with at least one message."));
        };
        let messages: Result<Vec<Message>, BadRequest> = values
            .into_iter()
            .enumerate()
            .map(|(index, value)| message::decode(value, &format!("messages[{index}]")))
            .collect();
        let options: Option<StreamOptions> = object.decode("stream_options")?;
        let by_metadata = object.decode::<Map<String, Value>>("metadata")?;
        let by_metadata = by_metadata.as_ref().and_then(|metadata| metadata.get("conversation_id")).map(text_of);
        let choices = object.decode::<u32>("n")?.unwrap_or(1);
        if choices == 0 {
            return Err(BadRequest::at("n", "`n` must be at least 1."));
        }
        Ok(Self {
            model: object.decode("model")?,
            messages: messages?,
            lead: Vec::new(),
            stream: object.decode("stream")?.unwrap_or(false),
            include_usage: options.and_then(|options| options.include_usage).unwrap_or(false),
            conversation_id: by_metadata.or(object.decode("conversation_id")?),
            store: object.decode("store")?,
            choices,
            object,
        })
    }

    /// A request that Privet makes, with further top-level fields.
    #[must_use]
    pub fn from_messages(
        model: Option<String>,
        messages: Vec<Message>,
        stream: bool,
        more: Vec<(String, Value)>,
    ) -> Self {
        let mut fields = Map::new();
        fields.insert("model".to_owned(), json!(model));
        fields.insert("messages".to_owned(), Value::Array(messages.iter().flat_map(message::encode).collect()));
        fields.extend(more);
        if stream {
            fields.insert("stream".to_owned(), Value::Bool(true));
        }
        let body = Bytes::from(Value::Object(fields).to_string());
        #[expect(clippy::expect_used, reason = "the text of a JSON object was serialised a line above")]
        let object = RawObject::parse(body).expect("an object that was just serialised is one");
        Self {
            object,
            model,
            messages,
            lead: Vec::new(),
            stream,
            include_usage: false,
            conversation_id: None,
            store: None,
            choices: 1,
        }
    }

    /// The body for a provider of the same dialect: its own bytes, but for what must change.
    ///
    /// Usage is always asked for in a stream, because bills come from it; the relay strips it again.
    #[must_use]
    pub fn forward(&self, forward: &Forward<'_>) -> Bytes {
        let mut edits = Edits::default();
        if self.model.as_deref() != Some(forward.model) {
            edits.set("model", json_bytes(&json!(forward.model)));
        }
        if !forward.history.is_empty() || !self.lead.is_empty() {
            edits.set("messages", self.messages_after(forward.history));
        }
        if self.stream && !self.include_usage {
            edits.set("stream_options", json_bytes(&self.stream_options()));
        }
        self.remove_own(&mut edits);
        self.limit_output(forward, &mut edits);
        if let Some(tier) = forward.service_tier {
            edits.set("service_tier", json_bytes(&json!(tier)));
        }
        self.object.render(&edits)
    }

    /// The whole request in the canonical form, earlier messages put behind its leading instructions.
    ///
    /// # Errors
    /// With the field that is of a wrong type.
    pub fn to_canonical(&self, model: &str, history: &[Message]) -> Result<ChatRequest, RequestError> {
        let object = &self.object;
        let lead = self.leading_instructions();
        let (instructions, said) = self.messages.split_at(lead);
        let limit = object.decode("max_completion_tokens")?.or(object.decode("max_tokens")?);
        let logprobs = object.decode::<bool>("logprobs")?.unwrap_or(false);
        let top_logprobs = object.decode::<u32>("top_logprobs")?.unwrap_or(0);
        let mut extra = Map::new();
        for key in object.keys().filter(|key| !KNOWN.contains(key)) {
            if let Some(value) = object.decode::<Value>(key)? {
                extra.insert(key.to_owned(), value);
            }
        }
        Ok(ChatRequest {
            model: model.to_owned(),
            messages: [&self.lead, instructions, history, said].concat(),
            tools: tools(object)?,
            tool_choice: object.decode::<Value>("tool_choice")?.map(|choice| tool_choice(&choice)).transpose()?,
            parallel_tool_calls: object.decode("parallel_tool_calls")?,
            max_output_tokens: limit,
            temperature: object.decode("temperature")?,
            top_p: object.decode("top_p")?,
            top_k: object.decode("top_k")?,
            frequency_penalty: object.decode("frequency_penalty")?,
            presence_penalty: object.decode("presence_penalty")?,
            seed: object.decode("seed")?,
            stop: stop(object)?,
            choices: object.decode("n")?,
            logprobs: logprobs.then_some(top_logprobs),
            response_format: object
                .decode::<Value>("response_format")?
                .map(|format| response_format(&format))
                .transpose()?,
            reasoning: object.decode::<String>("reasoning_effort")?.map(|effort| match effort.as_str() {
                "none" => Reasoning::Off,
                _ => Reasoning::Effort(effort),
            }),
            user: object.decode("user")?,
            stream: self.stream,
            extra,
        })
    }

    /// The most output tokens of one answer, as the request names it. Of two limits the larger counts: which of them a server
    /// heeds is not known.
    ///
    /// # Errors
    /// When it is no whole number above 0.
    pub fn output_limit(&self) -> Result<Option<u64>, BadRequest> {
        let read = |field: MaxTokensField| match self.object.decode::<u64>(field.as_str()) {
            Ok(Some(0)) | Err(_) => {
                let name = field.as_str();
                Err(BadRequest::at(name, format!("`{name}` must be a whole number above 0.")))
            }
            Ok(limit) => Ok(limit),
        };
        Ok(read(MaxTokensField::MaxCompletionTokens)?.max(read(MaxTokensField::MaxTokens)?))
    }

    /// The service tier that the request names.
    ///
    /// # Errors
    /// When it is no text.
    pub fn service_tier(&self) -> Result<Option<String>, BadRequest> {
        self.object
            .decode("service_tier")
            .map_err(|_| BadRequest::at("service_tier", "`service_tier` must be a text such as `default`."))
    }

    /// The request's `metadata`, which also describes its trace ([`TRACE_METADATA`]); empty where there is none.
    #[must_use]
    pub fn metadata(&self) -> Map<String, Value> {
        self.object.decode("metadata").ok().flatten().unwrap_or_default()
    }

    /// The end user, as the application names them.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        self.object.decode("user").ok().flatten()
    }

    /// The parameters of the model, as the request names them.
    #[must_use]
    pub fn parameters(&self) -> Map<String, Value> {
        let mut parameters = Map::new();
        for name in PARAMETERS {
            if let Ok(Some(value)) = self.object.decode::<Value>(name) {
                parameters.insert(name.to_owned(), value);
            }
        }
        parameters
    }

    /// The tools, as their JSON.
    #[must_use]
    pub fn tools_json(&self) -> Option<&str> {
        std::str::from_utf8(self.object.get("tools")?).ok().filter(|tools| *tools != "null")
    }

    /// The body, member by member.
    pub(crate) const fn object(&self) -> &RawObject {
        &self.object
    }

    /// Whether the model shall think before it answers.
    #[must_use]
    pub fn asks_for_thinking(&self) -> bool {
        let effort: Option<String> = self.object.decode("reasoning_effort").ok().flatten();
        effort.is_some_and(|effort| effort != "none")
    }

    /// The JSON Schema that the answer must keep to, if there is one.
    #[must_use]
    pub fn answer_schema(&self) -> Option<Value> {
        let mut format: Value = self.object.decode("response_format").ok()??;
        let is_schema = format.get("type").and_then(Value::as_str) == Some("json_schema");
        format.pointer_mut("/json_schema/schema").filter(|_| is_schema).map(Value::take)
    }

    fn leading_instructions(&self) -> usize {
        self.messages.iter().take_while(|message| matches!(message.role, Role::System | Role::Developer)).count()
    }

    /// The array of messages with earlier ones put in; the request's own keep their bytes.
    fn messages_after(&self, history: &[Message]) -> Vec<u8> {
        let own: Vec<&serde_json::value::RawValue> =
            self.object.get("messages").and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default();
        let (instructions, said) = own.split_at(self.leading_instructions().min(own.len()));
        let mut items: Vec<String> =
            self.lead.iter().flat_map(message::encode).map(|value| value.to_string()).collect();
        items.extend(instructions.iter().map(|raw| raw.get().to_owned()));
        items.extend(history.iter().flat_map(message::encode).map(|value| value.to_string()));
        items.extend(said.iter().map(|raw| raw.get().to_owned()));
        format!("[{}]", items.join(",")).into_bytes()
    }

    fn stream_options(&self) -> Value {
        let mut options: Map<String, Value> = self.object.decode("stream_options").ok().flatten().unwrap_or_default();
        options.insert("include_usage".to_owned(), Value::Bool(true));
        Value::Object(options)
    }

    /// Conversation and prompt are ours to know, and so is what describes the trace: a provider would refuse the fields or keep
    /// them. With `store: true` the client wants the provider to keep its words of the trace.
    fn remove_own(&self, edits: &mut Edits) {
        if self.object.get("conversation_id").is_some() {
            edits.remove("conversation_id");
        }
        let mut metadata = self.metadata();
        let before = metadata.len();
        let passes =
            |name: &str| !OWN_METADATA.contains(&name) && (self.store == Some(true) || !TRACE_METADATA.contains(&name));
        metadata.retain(|name, _| passes(name));
        if metadata.len() < before {
            if metadata.is_empty() {
                edits.remove("metadata");
            } else {
                edits.set("metadata", json_bytes(&Value::Object(metadata)));
            }
        }
    }

    /// Sets a limit where there is none, or gives the one there is its right name.
    fn limit_output(&self, forward: &Forward<'_>, edits: &mut Edits) {
        let names = |field: MaxTokensField| self.object.get(field.as_str()).is_some_and(|json| json != b"null");
        let is_limited = names(MaxTokensField::MaxTokens) || names(MaxTokensField::MaxCompletionTokens);
        match (forward.output_limit, forward.max_tokens_field) {
            (Some(limit), wanted) if !is_limited => {
                let wanted = wanted.unwrap_or(MaxTokensField::MaxTokens);
                edits.set(wanted.as_str(), json_bytes(&json!(limit)));
                if self.object.get(wanted.other().as_str()).is_some() {
                    edits.remove(wanted.other().as_str());
                }
            }
            (_, Some(wanted)) => self.rename_limit(wanted, edits),
            (_, None) => {}
        }
    }

    fn rename_limit(&self, wanted: MaxTokensField, edits: &mut Edits) {
        let (wanted, other) = (wanted.as_str(), wanted.other().as_str());
        if let Some(limit) = self.object.get(other) {
            if self.object.get(wanted).is_none() {
                edits.set(wanted, limit.to_vec());
            }
            edits.remove(other);
        }
    }
}

/// Members of `metadata` that describe the request's trace.
pub const TRACE_METADATA: [&str; 7] =
    ["trace_name", "trace_user_id", "session_id", "tags", "environment", "release", "version"];

/// Parameters that change what a model answers.
const PARAMETERS: [&str; 15] = [
    "temperature",
    "max_tokens",
    "max_completion_tokens",
    "top_p",
    "top_k",
    "n",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "reasoning_effort",
    "verbosity",
    "response_format",
    "tool_choice",
    "parallel_tool_calls",
];

/// The top-level fields that the canonical form expresses, or that Privet itself acts on.
const KNOWN: [&str; 24] = [
    "model",
    "messages",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "max_completion_tokens",
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "stop",
    "n",
    "logprobs",
    "top_logprobs",
    "response_format",
    "reasoning_effort",
    "user",
    "stream",
    "stream_options",
    "conversation_id",
    "store",
];

/// Members of `metadata` that Privet acts on.
pub const OWN_METADATA: [&str; 2] = ["conversation_id", "prompt"];

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn json_bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn tools(object: &RawObject) -> Result<Vec<Tool>, BadRequest> {
    let values = object.decode::<Vec<Value>>("tools")?.unwrap_or_default();
    let tools = values.iter().enumerate().map(|(index, value)| {
        let path = format!("tools[{index}]");
        if value.get("type").and_then(Value::as_str) != Some("function") {
            let message =
                format!("`{path}.type` must be `function`: the model's provider knows no other tools of this dialect.");
            return Err(BadRequest::at(format!("{path}.type"), message));
        }
        let function = value.get("function").unwrap_or(&Value::Null);
        let Some(name) = function.get("name").and_then(Value::as_str) else {
            return Err(BadRequest::at(
                format!("{path}.function.name"),
                format!("`{path}.function.name` must be a string."),
            ));
        };
        Ok(Tool {
            name: name.to_owned(),
            description: function.get("description").and_then(Value::as_str).map(str::to_owned),
            parameters: function.get("parameters").filter(|schema| !schema.is_null()).cloned(),
            strict: function.get("strict").and_then(Value::as_bool),
        })
    });
    tools.collect()
}

fn tool_choice(value: &Value) -> Result<ToolChoice, BadRequest> {
    match (value.as_str(), value.pointer("/function/name").and_then(Value::as_str)) {
        (Some("auto"), _) => Ok(ToolChoice::Auto),
        (Some("none"), _) => Ok(ToolChoice::None),
        (Some("required"), _) => Ok(ToolChoice::Required),
        (_, Some(name)) => Ok(ToolChoice::Named(name.to_owned())),
        _ => Err(BadRequest::at("tool_choice", "`tool_choice` must be `auto`, `none`, `required` or a function.")),
    }
}

fn stop(object: &RawObject) -> Result<Vec<String>, BadRequest> {
    match object.decode::<Value>("stop")? {
        None => Ok(Vec::new()),
        Some(Value::String(stop)) => Ok(vec![stop]),
        Some(Value::Array(stops)) if stops.iter().all(Value::is_string) => Ok(stops.iter().map(text_of).collect()),
        Some(_) => Err(BadRequest::at("stop", "`stop` must be a string or an array of strings.")),
    }
}

fn response_format(value: &Value) -> Result<ResponseFormat, BadRequest> {
    match value.get("type").and_then(Value::as_str) {
        Some("text") => Ok(ResponseFormat::Text),
        Some("json_object") => Ok(ResponseFormat::JsonObject),
        Some("json_schema") => {
            let field = |name: &str| value.pointer(&format!("/json_schema/{name}"));
            let Some(schema) = field("schema") else {
                let param = "response_format.json_schema.schema";
                return Err(BadRequest::at(param, format!("`{param}` must be a JSON Schema.")));
            };
            Ok(ResponseFormat::JsonSchema {
                name: field("name").and_then(Value::as_str).unwrap_or("answer").to_owned(),
                description: field("description").and_then(Value::as_str).map(str::to_owned),
                schema: schema.clone(),
                strict: field("strict").and_then(Value::as_bool),
            })
        }
        _ => Err(BadRequest::at(
            "response_format.type",
            "`response_format.type` must be `text`, `json_object` or `json_schema`.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> IncomingChat {
        IncomingChat::parse(Bytes::from(body.to_owned())).unwrap()
    }

    #[test]
    fn a_request_that_needs_no_change_passes_as_its_own_bytes() {
        let body = "{ \"model\":\"m\", \"messages\":[{\"role\":\"user\",\"content\":\"\\u0041\"}],\"future\":1.50 }";
        assert_eq!(parse(body).forward(&Forward { model: "m", ..Forward::default() }), body);
    }

    #[test]
    fn wire_09_usage_is_always_asked_upstream() {
        let forward = |options: &str| {
            let body = format!("{{\"messages\":[{{\"role\":\"user\",\"content\":\"x\"}}],\"stream\":true{options}}}");
            let request = parse(&body);
            let sent: Value =
                serde_json::from_slice(&request.forward(&Forward { model: "m", ..Forward::default() })).unwrap();
            (request.include_usage, sent["stream_options"].clone())
        };
        assert_eq!(forward(""), (false, json!({"include_usage": true})));
        let refused = ",\"stream_options\":{\"include_usage\":false,\"include_obfuscation\":false}";
        assert_eq!(forward(refused), (false, json!({"include_usage": true, "include_obfuscation": false})));
        assert_eq!(forward(",\"stream_options\":{\"include_usage\":true}"), (true, json!({"include_usage": true})));
    }

    #[test]
    fn wire_27_the_limit_goes_by_the_name_the_model_wants_and_unknown_fields_stay() {
        let request = parse(
            "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"max_tokens\":5,\"future\":{\"a\":1.0}}",
        );
        let forward = |field| request.forward(&Forward { model: "m", max_tokens_field: field, ..Forward::default() });
        assert!(forward(None).windows(14).any(|window| window == b"\"max_tokens\":5"));
        let renamed = String::from_utf8(forward(Some(MaxTokensField::MaxCompletionTokens)).to_vec()).unwrap();
        assert!(renamed.contains("\"max_completion_tokens\":5") && !renamed.contains("\"max_tokens\""), "{renamed}");
        assert!(renamed.contains("\"future\":{\"a\":1.0}"), "{renamed}");
    }

    #[test]
    fn history_stands_behind_the_instructions_and_the_conversation_is_not_told() {
        let request = parse(
            "{\"model\":\"m\",\"metadata\":{\"conversation_id\":\"c\"},\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\", \"content\":\"new\"}]}",
        );
        assert_eq!(request.conversation_id.as_deref(), Some("c"));
        let history = [Message::text(Role::User, "old"), Message::text(Role::Assistant, "answer")];
        let sent = request.forward(&Forward { model: "m", history: &history, ..Forward::default() });
        assert_eq!(
            sent,
            "{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"old\"},\
             {\"role\":\"assistant\",\"content\":\"answer\"},{\"role\":\"user\", \"content\":\"new\"}]}"
        );
    }

    #[test]
    fn what_leads_the_thread_is_sent_and_counted_and_the_prompt_is_not_told() {
        let mut request = parse(
            "{\"model\":\"m\",\"metadata\":{\"prompt\":\"p\",\"a\":\"b\"},\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\", \"content\":\"new\"}]}",
        );
        let before = request.size(&[]).text_tokens;
        request.lead = vec![Message::text(Role::System, "lead")];
        assert!(request.size(&[]).text_tokens >= before + 4);
        let history = [Message::text(Role::User, "old")];
        let sent = request.forward(&Forward { model: "m", history: &history, ..Forward::default() });
        assert_eq!(
            sent,
            "{\"model\":\"m\",\"metadata\":{\"a\":\"b\"},\"messages\":[{\"role\":\"system\",\"content\":\"lead\"},\
             {\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"old\"},\
             {\"role\":\"user\", \"content\":\"new\"}]}"
        );
        let canonical = request.to_canonical("m", &history).unwrap();
        let said: Vec<String> = canonical.messages.iter().map(Message::plain_text).collect();
        assert_eq!(said, ["lead", "s", "old", "new"]);
    }

    #[test]
    fn a_wrong_field_is_named() {
        for (body, param) in [
            ("{}", Some("messages")),
            ("{\"messages\":[]}", Some("messages")),
            ("{\"messages\":\"x\"}", Some("messages")),
            ("{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"stream\":\"yes\"}", Some("stream")),
            ("{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"n\":0}", Some("n")),
            ("{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"model\":4}", Some("model")),
            ("[]", None),
            ("{\"messages\":[{\"role\":\"user\",\"content\":\"\\ud800\"}]}", Some("messages")),
        ] {
            let error = IncomingChat::parse(Bytes::from(body.to_owned())).unwrap_err();
            assert_eq!(error.param.as_deref(), param, "{body}: {error}");
        }
    }

    #[test]
    fn everything_canonical_is_decoded_and_the_rest_is_kept() {
        let request = parse(
            r#"{"model":"m","messages":[{"role":"user","content":"x"}],"max_completion_tokens":9,"temperature":0.5,"stop":"s","seed":7,
            "tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"},"strict":true}}],"tool_choice":{"type":"function","function":{"name":"f"}},
            "response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"},"strict":true}},"reasoning_effort":"low","logit_bias":{"1":2}}"#,
        );
        let canonical = request.to_canonical("own", &[]).unwrap();
        assert_eq!((canonical.model.as_str(), canonical.max_output_tokens, canonical.seed), ("own", Some(9), Some(7)));
        assert_eq!(canonical.tool_choice, Some(ToolChoice::Named("f".into())));
        assert_eq!(canonical.stop, ["s"]);
        assert_eq!(canonical.reasoning, Some(Reasoning::Effort("low".into())));
        assert!(matches!(canonical.response_format, Some(ResponseFormat::JsonSchema { strict: Some(true), .. })));
        assert_eq!(canonical.extra.keys().collect::<Vec<_>>(), ["logit_bias"]);
    }
}
