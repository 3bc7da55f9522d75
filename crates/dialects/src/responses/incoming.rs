//! A Responses request from a client.
//!
//! Read whole. A provider of the same API gets its bytes (`forward.rs`); what it means for another is in `meaning.rs`.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use privet_domain::id::ResponseId;
use serde_json::{Map, Value, json};

use super::echo::Echo;
use super::id;
use super::item::{self, ItemReader, wrong};
use super::output::SEALED;
use crate::canonical::{Message, Role};
use crate::raw_object::{RawObject, names_each_once};
use crate::{BadRequest, Unsupported};

/// A Responses request as it came.
#[derive(Clone, Debug)]
pub struct IncomingResponses {
    pub(super) object: RawObject,
    /// The model, if one is named.
    pub model: Option<String>,
    /// What it adds to the thread; at least one message.
    pub messages: Vec<Message>,
    /// What is put in front of the thread on the way to the provider, and is not part of it: its `instructions`, behind a prompt.
    pub lead: Vec<Message>,
    /// Whether a stream is asked for.
    pub stream: bool,
    /// The conversation that it continues, by `conversation` or `metadata.conversation_id`.
    pub conversation_id: Option<String>,
    /// OpenAI's `store`.
    pub store: Option<bool>,
    /// The response that it goes on from.
    pub previous: Option<Previous>,
    /// What of it a response repeats.
    pub echo: Arc<Echo>,
    /// The kept items that it refers to.
    pub(super) referenced: Referenced,
    /// The first thing in its items that only providers of this dialect know.
    pub(super) only_openai: Option<Unsupported>,
}

/// Items that are referred to by their ids, as they were kept.
pub type Referenced = HashMap<String, Value>;

/// The response that a request goes on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Previous {
    /// As the request names it.
    pub name: String,
    /// Its id; `None` if it is none of ours.
    pub id: Option<ResponseId>,
}

/// What a request is told of itself.
#[derive(Clone, Copy, Debug)]
pub struct Birth {
    /// The id of its response.
    pub id: ResponseId,
    /// When it came, in seconds since 1970.
    pub at: i64,
}

/// What a response repeats of its request, as it came.
const ECHOED: [&str; 18] = [
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "model",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt_cache_key",
    "safety_identifier",
    "service_tier",
    "temperature",
    "tool_choice",
    "tools",
    "top_p",
    "user",
    "metadata",
    "text",
    "top_logprobs",
    "truncation",
];

/// Parameters that change what a model answers.
const PARAMETERS: [&str; 8] = [
    "temperature",
    "max_output_tokens",
    "top_p",
    "reasoning",
    "text",
    "tool_choice",
    "parallel_tool_calls",
    "truncation",
];

impl IncomingResponses {
    /// The ids of kept items that a request refers to, for [`Self::parse`] to put in their place.
    ///
    /// # Errors
    /// When the body is no JSON object.
    pub fn references(body: &Bytes) -> Result<Vec<String>, BadRequest> {
        if memchr::memmem::find(body, b"item_reference").is_none() {
            return Ok(Vec::new());
        }
        let input: Option<Value> = RawObject::parse(body.clone())?.decode("input")?;
        Ok(input.as_ref().map(item::references).unwrap_or_default())
    }

    /// Reads a request.
    ///
    /// # Errors
    /// With the field at fault.
    pub fn parse(body: Bytes, birth: Birth, referenced: &Referenced) -> Result<Self, BadRequest> {
        let object = RawObject::parse(body)?;
        let mut items = ItemReader::new(referenced);
        match object.decode::<Value>("input")? {
            Some(Value::String(text)) => items.messages.push(Message::text(Role::User, text)),
            Some(Value::Array(input)) => {
                for (index, item) in input.iter().enumerate() {
                    items.read(item, &format!("input[{index}]"))?;
                }
            }
            _ => return Err(no_input()),
        }
        if items.messages.is_empty() {
            return Err(no_input());
        }
        // A provider of the same API gets the bytes: what it reads is what is counted.
        if !object.get("input").is_some_and(names_each_once) {
            return Err(wrong("input", "of objects that name each member once"));
        }
        let instructions: Option<String> = object.decode("instructions")?;
        let metadata = object.decode::<Map<String, Value>>("metadata")?.unwrap_or_default();
        let mut request = Self {
            model: object.decode("model")?,
            messages: items.messages,
            lead: instructions.map(|text| Message::text(Role::System, text)).into_iter().collect(),
            stream: object.decode("stream")?.unwrap_or(false),
            conversation_id: conversation(&object, &metadata)?,
            store: object.decode("store")?,
            previous: object.decode::<String>("previous_response_id")?.map(Previous::named),
            echo: Arc::default(),
            referenced: referenced.clone(),
            only_openai: items.only_openai,
            object,
        };
        if request.previous.is_some() && request.conversation_id.is_some() {
            let message = "`previous_response_id` and a conversation cannot be named together: the response belongs to one already. \
                           Leave one of them out.";
            return Err(BadRequest::at("previous_response_id", message));
        }
        request.refuse_background()?;
        request.echo = Arc::new(request.make_echo(birth)?);
        Ok(request)
    }

    /// Says whether the response can be read later.
    pub fn set_kept(&mut self, is_kept: bool) {
        Arc::make_mut(&mut self.echo).is_kept = is_kept;
    }

    /// The most output tokens, as the request names it.
    ///
    /// # Errors
    /// When it is no whole number above 0.
    pub fn output_limit(&self) -> Result<Option<u64>, BadRequest> {
        match self.object.decode::<u64>("max_output_tokens") {
            Ok(Some(0)) | Err(_) => Err(wrong("max_output_tokens", "a whole number above 0")),
            Ok(limit) => Ok(limit),
        }
    }

    /// The service tier that the request names.
    ///
    /// # Errors
    /// When it is no text.
    pub fn service_tier(&self) -> Result<Option<String>, BadRequest> {
        self.object.decode("service_tier").map_err(|_| wrong("service_tier", "a text such as `default`"))
    }

    /// The request's `metadata`, which also describes its trace; empty where there is none.
    #[must_use]
    pub fn metadata(&self) -> Map<String, Value> {
        self.object.decode("metadata").ok().flatten().unwrap_or_default()
    }

    /// The end user, as the application names them: by `user`, or by its newer name `safety_identifier`.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        let named = |name: &str| self.object.decode::<String>(name).ok().flatten();
        named("user").or_else(|| named("safety_identifier"))
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
        let reasoning: Value = self.object.decode("reasoning").ok().flatten().unwrap_or_default();
        reasoning.get("effort").and_then(Value::as_str).is_some_and(|effort| effort != "none")
    }

    /// The JSON Schema that the answer must keep to, if there is one.
    #[must_use]
    pub fn answer_schema(&self) -> Option<Value> {
        let mut text: Value = self.object.decode("text").ok()??;
        let is_schema = text.pointer("/format/type").and_then(Value::as_str) == Some("json_schema");
        text.pointer_mut("/format/schema").filter(|_| is_schema).map(Value::take)
    }

    /// What is asked to be told besides the answer.
    pub(super) fn include(&self) -> Result<Vec<String>, BadRequest> {
        let include = self.object.decode("include").map_err(|_| wrong("include", "an array of texts"))?;
        Ok(include.unwrap_or_default())
    }

    fn refuse_background(&self) -> Result<(), BadRequest> {
        if self.object.decode::<bool>("background")?.unwrap_or(false) {
            let message = "`background` is not done here: a response is made while its client waits. Leave it out, and read the answer or \
                           its stream.";
            return Err(BadRequest::at("background", message));
        }
        Ok(())
    }

    fn make_echo(&self, birth: Birth) -> Result<Echo, BadRequest> {
        let mut said = Map::new();
        for name in ECHOED {
            if let Some(value) = self.object.decode::<Value>(name)? {
                said.insert(name.to_owned(), value);
            }
        }
        if let Some(text) = said.get_mut("text").and_then(Value::as_object_mut) {
            text.entry("format").or_insert_with(|| json!({"type": "text"}));
        }
        if let Some(reasoning) = self.object.decode::<Map<String, Value>>("reasoning")? {
            let member = |name: &str| reasoning.get(name).cloned().unwrap_or_default();
            said.insert("reasoning".to_owned(), json!({"effort": member("effort"), "summary": member("summary")}));
        }
        if self.object.get("conversation").is_some_and(|json| json != b"null") {
            said.insert("conversation".to_owned(), json!({"id": named_conversation(&self.object)?}));
        }
        let seals = self.include()?.iter().any(|name| name == SEALED);
        Ok(Echo { id: birth.id, created_at: birth.at, is_kept: false, seals, said })
    }
}

impl Previous {
    fn named(name: String) -> Self {
        Self { id: id::decode(&name), name }
    }
}

/// The conversation that a request continues, in the form that the rest of the API has.
fn conversation(object: &RawObject, metadata: &Map<String, Value>) -> Result<Option<String>, BadRequest> {
    if let Some(named) = named_conversation(object)? {
        return Ok(Some(id::conversation(&named)));
    }
    let by_metadata = metadata.get("conversation_id").filter(|id| !id.is_null());
    Ok(by_metadata.map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned)))
}

/// `conversation`: an id, or an object with one.
fn named_conversation(object: &RawObject) -> Result<Option<String>, BadRequest> {
    match object.decode::<Value>("conversation")? {
        None => Ok(None),
        Some(Value::String(id)) => Ok(Some(id)),
        Some(value) => match value.get("id").and_then(Value::as_str) {
            Some(id) => Ok(Some(id.to_owned())),
            None => Err(wrong("conversation", "an id, or an object with an `id`")),
        },
    }
}

fn no_input() -> BadRequest {
    wrong("input", "a text, or an array with at least one item that says something")
}

/// What OpenAI's fields of chat completions are called here.
pub(crate) const NAMES: [(&str, &str); 5] = [
    ("reasoning_effort", "reasoning.effort"),
    ("response_format", "text.format"),
    ("max_completion_tokens", "max_output_tokens"),
    ("max_tokens", "max_output_tokens"),
    ("messages", "input"),
];
