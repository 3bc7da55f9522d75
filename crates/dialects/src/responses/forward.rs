//! A Responses request for a provider of the same API: the client's own bytes, but for what must change.

use bytes::Bytes;
use privet_domain::model::is_openai_reasoning;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::id;
use super::incoming::IncomingResponses;
use super::output::SEALED;
use super::request::thread;
use super::seal;
use crate::Unsupported;
use crate::canonical::Message;
use crate::openai::chat_request::{OWN_METADATA, TRACE_METADATA};
use crate::raw_object::{Edits, RawObject};

/// How a request is passed on.
#[derive(Clone, Copy, Debug)]
pub struct Forward<'a> {
    /// The provider's own name of the model.
    pub model: &'a str,
    /// Earlier messages.
    pub history: &'a [Message],
    /// The limit of output tokens of a request that names none.
    pub output_limit: Option<u64>,
    /// The service tier of a request that names none.
    pub service_tier: Option<&'static str>,
}

impl IncomingResponses {
    /// The body for a provider of the Responses API.
    ///
    /// What must change: the model; what the request goes on from, which Privet keeps and the provider does not, is put in front of its
    /// input; `store` is false, because a response is kept where its money, its deletion and its key are, and a second one elsewhere would
    /// outlive them. So that what a model thought goes round all the same, it is asked for encrypted where the response is kept here.
    ///
    /// # Errors
    /// When what leads the thread, or earlier messages, hold what the API cannot express.
    pub fn forward(&self, forward: &Forward<'_>) -> Result<Bytes, Unsupported> {
        let mut edits = Edits::default();
        if self.model.as_deref() != Some(forward.model) {
            edits.set("model", json!(forward.model).to_string().into_bytes());
        }
        if self.store != Some(false) {
            edits.set("store", b"false".to_vec());
        }
        for own in ["previous_response_id", "conversation"] {
            if self.object.get(own).is_some() {
                edits.remove(own);
            }
        }
        self.put_before(forward.history, &mut edits)?;
        self.ask_for_reasoning(forward.model, &mut edits);
        self.remove_own_metadata(&mut edits);
        let is_limited = self.object.get("max_output_tokens").is_some_and(|json| json != b"null");
        if let Some(limit) = forward.output_limit.filter(|_| !is_limited) {
            edits.set("max_output_tokens", json!(limit).to_string().into_bytes());
        }
        if let Some(tier) = forward.service_tier {
            edits.set("service_tier", json!(tier).to_string().into_bytes());
        }
        Ok(self.object.render(&edits))
    }

    /// The input with what leads it and earlier messages in front. The client's own items keep their bytes.
    fn put_before(&self, history: &[Message], edits: &mut Edits) -> Result<(), Unsupported> {
        let own_lead = usize::from(self.object.get("instructions").is_some_and(|json| json != b"null"));
        let is_led = self.lead.len() != own_lead;
        let mut input: Vec<String> = Vec::new();
        if is_led {
            // A prompt stands in front of them.
            input.extend(thread(&self.lead)?.iter().map(Value::to_string));
            edits.remove("instructions");
        }
        input.extend(thread(history)?.iter().map(Value::to_string));
        let (own, has_changed) = self.own_items();
        if is_led || !history.is_empty() || has_changed {
            input.extend(own);
            edits.set("input", format!("[{}]", input.join(",")).into_bytes());
        }
        Ok(())
    }

    /// The items of the request itself, and whether one of them is not as it came.
    fn own_items(&self) -> (Vec<String>, bool) {
        let input = self.object.get("input").unwrap_or_default();
        let Ok(items) = serde_json::from_slice::<Vec<&RawValue>>(input) else {
            let text = String::from_utf8_lossy(input);
            return (vec![format!("{{\"type\":\"message\",\"role\":\"user\",\"content\":{text}}}")], false);
        };
        let mut has_changed = false;
        let mut own = Vec::with_capacity(items.len());
        for raw in items {
            match self.own_item(raw.get()) {
                Own::AsItCame => own.push(raw.get().to_owned()),
                Own::Changed(json) => {
                    has_changed = true;
                    own.push(json);
                }
                Own::Foreign => has_changed = true,
            }
        }
        (own, has_changed)
    }

    fn own_item(&self, raw: &str) -> Own {
        let Ok(object) = RawObject::parse(Bytes::copy_from_slice(raw.as_bytes())) else { return Own::AsItCame };
        let text = |name: &str| object.decode::<String>(name).ok().flatten();
        let (kind, id) = (text("type"), text("id"));
        if kind.as_deref() == Some("item_reference") {
            let referenced = id.and_then(|id| self.referenced.get(&id)).map(Value::to_string);
            // It was found when the request was read.
            return referenced.map_or(Own::AsItCame, |item| match self.own_item(&item) {
                Own::AsItCame => Own::Changed(item),
                own => own,
            });
        }
        let is_foreign = text("encrypted_content").is_some_and(|sealed| seal::is_foreign(&sealed));
        if kind.as_deref() == Some("reasoning") && is_foreign {
            return Own::Foreign;
        }
        let mut edits = Edits::default();
        match id.as_deref().and_then(id::unmark) {
            None => return Own::AsItCame,
            Some(Some(own)) => edits.set("id", json!(own).to_string().into_bytes()),
            Some(None) => edits.remove("id"),
        }
        Own::Changed(String::from_utf8_lossy(&object.render(&edits)).into_owned())
    }

    /// A model that does not reason refuses to encrypt what it has not.
    fn ask_for_reasoning(&self, model: &str, edits: &mut Edits) {
        let mut include = self.include().unwrap_or_default();
        if self.echo.is_kept && is_openai_reasoning(model) && !include.iter().any(|name| name == SEALED) {
            include.push(SEALED.to_owned());
            edits.set("include", json!(include).to_string().into_bytes());
        }
    }

    /// Conversation, prompt and what describes the trace are Privet's to know.
    fn remove_own_metadata(&self, edits: &mut Edits) {
        let mut metadata: Map<String, Value> = self.metadata();
        let before = metadata.len();
        metadata.retain(|name, _| !OWN_METADATA.contains(&name.as_str()) && !TRACE_METADATA.contains(&name.as_str()));
        if metadata.len() == before {
            return;
        }
        if metadata.is_empty() {
            edits.remove("metadata");
        } else {
            edits.set("metadata", Value::Object(metadata).to_string().into_bytes());
        }
    }
}

/// An item of the request.
enum Own {
    /// The provider gets its bytes.
    AsItCame,
    /// It gets these.
    Changed(String),
    /// What another provider's model thought, which this one would refuse.
    Foreign,
}
