//! A request to `generateContent` from a client: read lightly, passed on to Gemini as its own bytes. Which model it asks, and whether
//! for a stream, stands in its path.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::content::{ContentReader, resolve, without_foreign_thinking};
use super::fields::{Fields, wrong};
use super::{bare_name, count_question, meaning, thread};
use crate::canonical::{Message, Reasoning, ResponseFormat, Role};
use crate::openai::chat_request::{OWN_METADATA, TRACE_METADATA};
use crate::raw_object::{Edits, RawObject};
use crate::{BadRequest, Unsupported};

/// What a request's path says.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The model.
    pub model: String,
    /// Whether a stream is asked for.
    pub stream: bool,
}

/// A request to `generateContent` as it came.
#[derive(Clone, Debug)]
pub struct IncomingGenerate {
    pub(super) fields: Fields,
    /// The model that the path names.
    pub model: Option<String>,
    /// The thread, its instructions in front; at least one message besides them.
    pub messages: Vec<Message>,
    /// What is put in front of the thread on the way to the provider, and is not part of it.
    pub lead: Vec<Message>,
    /// Whether a stream is asked for.
    pub stream: bool,
    /// The conversation that it continues, by `metadata.conversation_id`.
    pub conversation_id: Option<String>,
    /// `store`: `false` keeps the chat out of the history here, and out of Google's logs.
    pub store: Option<bool>,
    /// How many answers are asked for; at least 1.
    pub choices: u32,
    /// The first thing in the thread that no other dialect can express.
    pub(super) only_gemini: Option<Unsupported>,
    /// Whether thoughts stand in the thread that another provider signed.
    has_foreign_thinking: bool,
    /// Whether the body to be counted is the request alone, as `countTokens` takes it for short.
    is_counted_alone: bool,
}

impl IncomingGenerate {
    /// Reads a request. Only what Privet acts on is checked; the rest is the provider's to judge.
    ///
    /// # Errors
    /// With the field at fault.
    pub fn parse(body: Bytes, asked: Asked) -> Result<Self, BadRequest> {
        let fields = Fields::of(RawObject::parse(body)?, String::new())?;
        let mut reader = ContentReader::default();
        let mut messages = Vec::new();
        if let Some(system) = fields.child("systemInstruction")? {
            messages.extend(reader.instructions(&system)?);
        }
        let instructions = messages.len();
        for content in fields.children("contents")? {
            reader.content(&content, &mut messages)?;
        }
        if messages.len() == instructions {
            return Err(wrong("contents", "an array with at least one content that says something"));
        }
        let metadata: Map<String, Value> = fields.take("metadata")?.unwrap_or_default();
        let conversation_id = metadata.get("conversation_id").filter(|id| !id.is_null());
        let config = fields.child("generationConfig")?;
        let choices = config.map(|config| config.take::<u32>("candidateCount")).transpose()?.flatten().unwrap_or(1);
        if choices == 0 {
            return Err(wrong("generationConfig.candidateCount", "at least 1"));
        }
        Ok(Self {
            model: Some(asked.model),
            messages,
            lead: Vec::new(),
            stream: asked.stream,
            conversation_id: conversation_id.map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned)),
            store: fields.take("store")?,
            choices,
            only_gemini: reader.only_gemini,
            has_foreign_thinking: reader.has_foreign_thinking,
            is_counted_alone: true,
            fields,
        })
    }

    /// Reads a request to be counted: contents alone, or a whole request in `generateContentRequest`.
    ///
    /// # Errors
    /// With the field at fault.
    pub fn parse_counted(body: Bytes, model: String) -> Result<Self, BadRequest> {
        let asked = Asked { model, stream: false };
        let question = Fields::of(RawObject::parse(body.clone())?, String::new())?;
        let key = question.key_of("generateContentRequest");
        let Some(request) = question.object.get_bytes(key).filter(|json| &json[..] != b"null") else {
            return Self::parse(body, asked);
        };
        if question.get("contents").is_some() {
            let message = "`contents` and `generateContentRequest` cannot both be counted; leave one of them out.";
            return Err(BadRequest::at("contents", message));
        }
        Ok(Self { is_counted_alone: false, ..Self::parse(request, asked)? })
    }

    /// The body for Gemini: its own bytes, but for what must change. `output_limit` is set where the request names none.
    ///
    /// # Errors
    /// When what leads the thread, or earlier messages, hold what Gemini cannot express.
    pub fn forward(&self, model: &str, history: &[Message], output_limit: Option<u64>) -> Result<Bytes, Unsupported> {
        let mut edits = Edits::default();
        if self.fields.get("model").is_some() {
            edits.set(self.fields.key_of("model"), json_bytes(&json!(format!("models/{}", bare_name(model)))));
        }
        if self.has_foreign_thinking || !history.is_empty() || !self.lead.is_empty() {
            self.put_before(model, history, &mut edits)?;
        }
        if let Some(limit) = output_limit {
            self.limit_output(limit, &mut edits);
        }
        if self.fields.get("metadata").is_some() {
            edits.remove(self.fields.key_of("metadata"));
        }
        Ok(self.fields.object.render(&edits))
    }

    /// The question for Gemini how many tokens it has.
    pub(crate) fn count_question(&self, model: &str) -> Result<Bytes, Unsupported> {
        let request = self.forward(model, &[], None)?;
        if self.is_counted_alone && self.fields.names().all(|name| matches!(&*name, "contents" | "metadata")) {
            return Ok(request);
        }
        let mut edits = Edits::default();
        edits.remove(self.fields.key_of("model"));
        // What was just written is an object.
        let bare = RawObject::parse(request.clone()).map_or(request, |object| object.render(&edits));
        Ok(Bytes::from(count_question(model, &bare)))
    }

    /// The most output tokens of one answer, as the request names it. A budget of thinking may be larger: the larger counts.
    ///
    /// # Errors
    /// When it is no whole number above 0.
    pub fn output_limit(&self) -> Result<Option<u64>, BadRequest> {
        let Some(config) = self.fields.child("generationConfig")? else { return Ok(None) };
        let limit = match config.take::<u64>("maxOutputTokens") {
            Ok(None) => return Ok(None),
            Ok(Some(limit)) if limit > 0 => limit,
            _ => return Err(wrong(&config.at("maxOutputTokens"), "a whole number above 0")),
        };
        let thinking = config.child("thinkingConfig")?;
        let budget = thinking.and_then(|thinking| thinking.take::<i64>("thinkingBudget").ok().flatten());
        Ok(Some(limit.max(budget.and_then(|budget| u64::try_from(budget).ok()).unwrap_or(0))))
    }

    /// The service tier that the request names.
    ///
    /// # Errors
    /// When it is no text.
    pub fn service_tier(&self) -> Result<Option<String>, BadRequest> {
        let tier = self.fields.word("serviceTier")?;
        Ok(tier.map(|tier| tier.trim_start_matches("SERVICE_TIER_").to_ascii_lowercase()))
    }

    /// The request's `metadata` but for the user, and its `labels`. `metadata` is Privet's own and goes to no provider.
    #[must_use]
    pub fn metadata(&self) -> Map<String, Value> {
        let read = |name| self.fields.take::<Map<String, Value>>(name).ok().flatten().unwrap_or_default();
        let is_label = |name: &str| !OWN_METADATA.contains(&name) && !TRACE_METADATA.contains(&name);
        let mut metadata = read("labels");
        // What is said to Google steers nothing here.
        metadata.retain(|name, _| is_label(name));
        metadata.extend(read("metadata"));
        metadata.shift_remove("user_id");
        metadata
    }

    /// The end user, by `metadata.user_id`.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        let metadata: Map<String, Value> = self.fields.take("metadata").ok()??;
        metadata.get("user_id").and_then(Value::as_str).map(str::to_owned)
    }

    /// The parameters of the model, as the request names them.
    #[must_use]
    pub fn parameters(&self) -> Map<String, Value> {
        let mut parameters: Map<String, Value> =
            self.fields.take("generationConfig").ok().flatten().unwrap_or_default();
        for name in ["toolConfig", "serviceTier"] {
            if let Ok(Some(value)) = self.fields.take::<Value>(name) {
                parameters.insert(name.to_owned(), value);
            }
        }
        parameters
    }

    /// The body, member by member.
    pub(crate) const fn object(&self) -> &RawObject {
        self.fields.object()
    }

    /// Whether the model shall think before it answers.
    #[must_use]
    pub fn asks_for_thinking(&self) -> bool {
        let Ok(Some(config)) = self.fields.child("generationConfig") else { return false };
        match meaning::reasoning(&config) {
            Ok(Some(Reasoning::Off) | None) | Err(_) => false,
            Ok(Some(Reasoning::Effort(_) | Reasoning::Budget(_) | Reasoning::Adaptive)) => true,
        }
    }

    /// The JSON Schema that the answer must keep to, if there is one.
    #[must_use]
    pub fn answer_schema(&self) -> Option<Value> {
        let config = self.fields.child("generationConfig").ok()??;
        match meaning::response_format(&config) {
            Ok(Some(ResponseFormat::JsonSchema { schema, .. })) => Some(schema),
            _ => None,
        }
    }

    /// The tools, as their JSON.
    #[must_use]
    pub fn tools_json(&self) -> Option<&str> {
        std::str::from_utf8(self.fields.get("tools")?).ok()
    }

    /// The thread with what leads it and earlier messages in front. The request's own keep their bytes.
    fn put_before(&self, model: &str, history: &[Message], edits: &mut Edits) -> Result<(), Unsupported> {
        let mut before = [&self.lead, history].concat();
        resolve(&mut before);
        let (lead, history) = before.split_at(self.lead.len());
        let needs_signatures = super::request::needs_signatures(model);
        let lead = thread::encode_turns(lead, needs_signatures)?;
        let history = thread::encode_turns(history, needs_signatures)?;
        if !lead.system.is_empty() || !history.system.is_empty() {
            let own = self.fields.child("systemInstruction").ok().flatten();
            let own = own.and_then(|own| own.items("parts").ok()).unwrap_or_default();
            let mut system = texts(&lead.system);
            system.extend(own.iter().map(|part| String::from_utf8_lossy(part).into_owned()));
            system.extend(texts(&history.system));
            let system = format!("{{\"parts\":{}}}", array(&system));
            edits.set(self.fields.key_of("systemInstruction"), system.into_bytes());
        }
        let own = self.fields.items("contents").unwrap_or_default();
        let mut contents = texts(&lead.contents);
        contents.extend(texts(&history.contents));
        contents.extend(own.iter().filter_map(without_foreign_thinking));
        edits.set(self.fields.key_of("contents"), array(&contents).into_bytes());
        Ok(())
    }

    fn limit_output(&self, limit: u64, edits: &mut Edits) {
        let key = self.fields.key_of("generationConfig");
        let Ok(Some(config)) = self.fields.child("generationConfig") else {
            edits.set(key, json_bytes(&json!({"maxOutputTokens": limit})));
            return;
        };
        if config.get("maxOutputTokens").is_some() {
            return;
        }
        let mut inside = Edits::default();
        inside.set(config.key_of("maxOutputTokens"), limit.to_string().into_bytes());
        edits.set(key, config.object.render(&inside).to_vec());
    }

    /// The instructions in front of the thread, and what was said.
    pub(super) fn split(&self) -> (&[Message], &[Message]) {
        let leading = self.messages.iter().take_while(|message| message.role == Role::System).count();
        self.messages.split_at(leading)
    }
}

/// What OpenAI's fields are called here.
pub(crate) const NAMES: [(&str, &str); 16] = [
    ("reasoning_effort", "generationConfig.thinkingConfig"),
    ("response_format", "generationConfig.responseSchema"),
    ("max_completion_tokens", "generationConfig.maxOutputTokens"),
    ("stop", "generationConfig.stopSequences"),
    ("temperature", "generationConfig.temperature"),
    ("top_p", "generationConfig.topP"),
    ("top_k", "generationConfig.topK"),
    ("n", "generationConfig.candidateCount"),
    ("seed", "generationConfig.seed"),
    ("logprobs", "generationConfig.responseLogprobs"),
    ("frequency_penalty", "generationConfig.frequencyPenalty"),
    ("presence_penalty", "generationConfig.presencePenalty"),
    ("tool_choice", "toolConfig.functionCallingConfig"),
    ("messages", "contents"),
    ("max_tokens", "generationConfig.maxOutputTokens"),
    ("user", "metadata.user_id"),
];

fn texts(values: &[Value]) -> Vec<String> {
    values.iter().map(Value::to_string).collect()
}

fn array(items: &[String]) -> String {
    format!("[{}]", items.join(","))
}

fn json_bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}
