//! A Messages request from a client: read lightly, passed on to an Anthropic provider as its own bytes.

use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::block::{BlockReader, is_foreign, wrong};
use super::thread;
use crate::canonical::{Message, Part, Role};
use crate::openai::chat_request::{OWN_METADATA, TRACE_METADATA};
use crate::raw_object::{Edits, RawObject};
use crate::{BadRequest, Unsupported};

/// A Messages request as it came.
#[derive(Clone, Debug)]
pub struct IncomingMessages {
    pub(super) object: RawObject,
    /// The model, if one is named.
    pub model: Option<String>,
    /// The thread, its instructions in front; at least one message besides them.
    pub messages: Vec<Message>,
    /// What is put in front of the thread on the way to the provider, and is not part of it.
    pub lead: Vec<Message>,
    /// Whether a stream is asked for.
    pub stream: bool,
    /// The conversation that it continues, by `metadata.conversation_id`.
    pub conversation_id: Option<String>,
    /// `store`, which is Privet's own here: `false` keeps the chat out of the history.
    pub store: Option<bool>,
    /// The first thing in the thread that no other dialect can express.
    pub(super) only_anthropic: Option<Unsupported>,
    /// Whether another provider's reasoning stands in the thread, which Anthropic would refuse.
    has_foreign_thinking: bool,
}

impl IncomingMessages {
    /// Reads a request. Only what Privet acts on is checked; the rest is the provider's to judge.
    ///
    /// # Errors
    /// With the field at fault.
    pub fn parse(body: Bytes) -> Result<Self, BadRequest> {
        let object = RawObject::parse(body)?;
        let mut blocks = BlockReader::default();
        let mut messages = Vec::new();
        if let Some(system) = object.get_bytes("system").filter(|system| &system[..] != b"null") {
            let parts = blocks.content(&system, "system")?;
            messages.extend((!parts.is_empty()).then(|| message(Role::System, parts)));
        }
        let said: Vec<&RawValue> = match object.get("messages").map(serde_json::from_slice) {
            Some(Ok(said)) => said,
            _ => Vec::new(),
        };
        if said.is_empty() {
            return Err(wrong("messages", "an array with at least one message"));
        }
        let array = object.get_bytes("messages").unwrap_or_default();
        for (index, raw) in said.into_iter().enumerate() {
            let json = array.slice_ref(raw.get().as_bytes());
            messages.extend(read_message(json, &format!("messages[{index}]"), &mut blocks)?);
        }
        let metadata = object.decode::<Map<String, Value>>("metadata")?.unwrap_or_default();
        let conversation_id = metadata.get("conversation_id").filter(|id| !id.is_null());
        Ok(Self {
            model: object.decode("model")?,
            has_foreign_thinking: blocks.has_foreign_thinking,
            messages,
            lead: Vec::new(),
            stream: object.decode("stream")?.unwrap_or(false),
            conversation_id: conversation_id.map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned)),
            store: object.decode("store")?,
            only_anthropic: blocks.only_anthropic,
            object,
        })
    }

    /// The body for an Anthropic provider: its own bytes, but for what must change.
    ///
    /// # Errors
    /// When what leads the thread, or earlier messages, hold what Anthropic cannot express.
    pub fn forward(&self, model: &str, history: &[Message]) -> Result<Bytes, Unsupported> {
        let mut edits = Edits::default();
        if self.model.as_deref() != Some(model) {
            edits.set("model", json_bytes(&json!(model)));
        }
        if self.has_foreign_thinking || !history.is_empty() || !self.lead.is_empty() {
            self.put_before(history, &mut edits)?;
        }
        self.remove_own(&mut edits);
        Ok(self.object.render(&edits))
    }

    /// The most output tokens, as the request names it. A budget of thinking may be larger where the model thinks between its
    /// calls: the larger counts.
    ///
    /// # Errors
    /// When it is missing, or no whole number.
    pub fn output_limit(&self) -> Result<Option<u64>, BadRequest> {
        let Ok(Some(limit)) = self.object.decode::<u64>("max_tokens") else {
            return Err(wrong("max_tokens", "a whole number, the most tokens of the answer"));
        };
        let thinking: Value = self.object.decode("thinking")?.unwrap_or_default();
        let budget = thinking.get("budget_tokens").and_then(Value::as_u64);
        Ok(Some(limit.max(budget.unwrap_or(0))))
    }

    /// What the client pays dearer tokens for: `speed`, which Anthropic bills as it does a tier.
    ///
    /// # Errors
    /// When it is no text.
    pub fn service_tier(&self) -> Result<Option<String>, BadRequest> {
        let speed: Option<String> =
            self.object.decode("speed").map_err(|_| wrong("speed", "a text such as `standard`"))?;
        Ok(speed.filter(|speed| speed != "standard"))
    }

    /// The request's `metadata` but for the user. Besides Anthropic's `user_id`, it may describe the trace and name conversation and
    /// prompt as in OpenAI's dialect: none of that goes to a provider.
    #[must_use]
    pub fn metadata(&self) -> Map<String, Value> {
        let mut metadata: Map<String, Value> = self.object.decode("metadata").ok().flatten().unwrap_or_default();
        metadata.shift_remove("user_id");
        metadata
    }

    /// The end user, as the application names them.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        let metadata: Map<String, Value> = self.object.decode("metadata").ok()??;
        metadata.get("user_id").and_then(Value::as_str).map(str::to_owned)
    }

    /// The parameters of the model, as the request names them.
    #[must_use]
    pub fn parameters(&self) -> Map<String, Value> {
        let value = |name: &str| self.object.decode::<Value>(name).ok().flatten();
        PARAMETERS.iter().filter_map(|name| Some(((*name).to_owned(), value(name)?))).collect()
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
        let thinking: Value = self.object.decode("thinking").ok().flatten().unwrap_or_default();
        thinking.get("type").and_then(Value::as_str).is_some_and(|kind| kind != "disabled")
    }

    /// The JSON Schema that the answer must keep to, if there is one: in `output_config`, or in the older `output_format`.
    #[must_use]
    pub fn answer_schema(&self) -> Option<Value> {
        let value = |name: &str| self.object.decode::<Value>(name).ok().flatten();
        let format = value("output_config").and_then(|mut config| config.get_mut("format").map(Value::take));
        let mut format = format.or_else(|| value("output_format"))?;
        format.get_mut("schema").map(Value::take)
    }

    /// The thread with what leads it and earlier messages in front, as Anthropic has them: instructions apart. The request's own keep
    /// their bytes.
    fn put_before(&self, history: &[Message], edits: &mut Edits) -> Result<(), Unsupported> {
        let lead = thread::encode_turns(&self.lead)?;
        let history = thread::encode_turns(history)?;
        if !lead.system.is_empty() || !history.system.is_empty() {
            let mut system = texts(&lead.system);
            system.extend(self.own_system());
            system.extend(texts(&history.system));
            edits.set("system", array(&system));
        }
        let own: Vec<&RawValue> =
            self.object.get("messages").and_then(|json| serde_json::from_slice(json).ok()).unwrap_or_default();
        let is_instruction = |raw: &&&RawValue| matches!(serde_json::from_str::<Value>(raw.get()), Ok(message) if message.get("role") == Some(&json!("system")));
        let instructions = own.iter().take_while(is_instruction).count();
        let (instructions, said) = own.split_at(instructions);
        let mut messages = texts(&lead.messages);
        messages.extend(instructions.iter().map(|raw| raw.get().to_owned()));
        messages.extend(texts(&history.messages));
        messages.extend(said.iter().filter_map(|raw| without_foreign_thinking(raw)));
        edits.set("messages", array(&messages));
        Ok(())
    }

    /// The blocks of the request's own instructions, each as its bytes.
    fn own_system(&self) -> Vec<String> {
        let Some(system) = self.object.get("system").filter(|system| *system != b"null") else { return Vec::new() };
        if let Ok(blocks) = serde_json::from_slice::<Vec<&RawValue>>(system) {
            return blocks.into_iter().map(|block| block.get().to_owned()).collect();
        }
        vec![format!("{{\"type\":\"text\",\"text\":{}}}", String::from_utf8_lossy(system))]
    }

    /// Conversation, prompt and what describes the trace are ours to know; Anthropic refuses members that it does not know.
    fn remove_own(&self, edits: &mut Edits) {
        if self.object.get("store").is_some() {
            edits.remove("store");
        }
        let mut metadata: Map<String, Value> = self.object.decode("metadata").ok().flatten().unwrap_or_default();
        let before = metadata.len();
        metadata.retain(|name, _| !OWN_METADATA.contains(&name.as_str()) && !TRACE_METADATA.contains(&name.as_str()));
        if metadata.len() == before {
            return;
        }
        if metadata.is_empty() {
            edits.remove("metadata");
        } else {
            edits.set("metadata", json_bytes(&Value::Object(metadata)));
        }
    }
}

/// What OpenAI's fields are called here.
pub(crate) const NAMES: [(&str, &str); 5] = [
    ("reasoning_effort", "thinking"),
    ("response_format", "output_config.format"),
    ("max_completion_tokens", "max_tokens"),
    ("stop", "stop_sequences"),
    ("user", "metadata.user_id"),
];

/// Parameters that change what a model answers.
const PARAMETERS: [&str; 9] = [
    "temperature",
    "max_tokens",
    "top_p",
    "top_k",
    "stop_sequences",
    "thinking",
    "output_config",
    "output_format",
    "tool_choice",
];

/// Reads a message. Results of tools become a message of their own, as they are in a thread of any other dialect.
fn read_message(json: Bytes, path: &str, blocks: &mut BlockReader) -> Result<Vec<Message>, BadRequest> {
    let object = RawObject::parse(json).map_err(|_| wrong(path, "an object with `role` and `content`, each once"))?;
    let role = match object.decode::<String>("role").ok().flatten().as_deref() {
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("system") => Role::System,
        _ => return Err(wrong(&format!("{path}.role"), "`user`, `assistant` or `system`")),
    };
    let path_of_content = format!("{path}.content");
    let content = object.get_bytes("content").ok_or_else(|| wrong(&path_of_content, "given"))?;
    let parts = blocks.content(&content, &path_of_content)?;
    if let Some(name) = object.keys().find(|key| !matches!(*key, "role" | "content")) {
        blocks.note(&format!("{path}.{name}"), "what it says of the message");
    }
    let (results, rest): (Vec<Part>, Vec<Part>) =
        parts.into_iter().partition(|part| matches!(part, Part::ToolResult { .. }));
    let mut messages = Vec::with_capacity(1);
    let has_results = !results.is_empty();
    messages.extend(has_results.then(|| message(Role::Tool, results)));
    messages.extend((!rest.is_empty() || !has_results).then(|| message(role, rest)));
    Ok(messages)
}

fn message(role: Role, parts: Vec<Part>) -> Message {
    Message { role, name: None, parts, extra: Map::new() }
}

/// A message as its own bytes, but for blocks of another provider's reasoning; `None` where nothing else is in it.
fn without_foreign_thinking(raw: &RawValue) -> Option<String> {
    let own = || raw.get().to_owned();
    let Ok(object) = RawObject::parse(Bytes::copy_from_slice(raw.get().as_bytes())) else { return Some(own()) };
    let Ok(Some(blocks)) = object.decode::<Vec<Box<RawValue>>>("content") else { return Some(own()) };
    let is_kept = |block: &RawValue| match serde_json::from_str::<Value>(block.get()) {
        Ok(block) if block.get("type") == Some(&json!("thinking")) => {
            !is_foreign(block.get("signature").and_then(Value::as_str).unwrap_or_default())
        }
        _ => true,
    };
    let kept: Vec<String> = blocks.iter().filter(|block| is_kept(block)).map(|block| block.get().to_owned()).collect();
    if kept.len() == blocks.len() {
        return Some(own());
    }
    if kept.is_empty() {
        return None;
    }
    let mut edits = Edits::default();
    edits.set("content", array(&kept));
    String::from_utf8(object.render(&edits).to_vec()).ok()
}

fn texts(values: &[Value]) -> Vec<String> {
    values.iter().map(Value::to_string).collect()
}

fn array(items: &[String]) -> Vec<u8> {
    format!("[{}]", items.join(",")).into_bytes()
}

fn json_bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}
