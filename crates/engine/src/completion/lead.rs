//! The prompt that leads a thread: fetched, filled and put in front, before the call is admitted. It is no part of the
//! conversation and is not stored with it.

use std::sync::Arc;

use privet_dialects::BadRequest;
use privet_dialects::canonical::{Message, Role};
use privet_dialects::openai::message;
use privet_domain::memory::MemoryFilter;
use privet_domain::prompt::{Selector, Unfilled, Values};
use privet_domain::trace::PromptLink;
use privet_store::Starter;
use serde_json::{Map, Value, json};

use super::{ChatCommand, CompletionError};
use crate::Engine;
use crate::keyring::Caller;
use crate::memory::{RecallRequest, Recollection};
use crate::prompt::{ANSWER, Form};
use crate::traces::place_of_recall;

/// The variable that what is recalled is put into.
const CONTEXT: &str = "context";

/// Which prompt leads a thread.
#[derive(Clone, Debug)]
pub enum PromptWish {
    /// The version of `Answer` that is in production, if there is one.
    Answer,
    /// This one.
    Named(NamedPrompt),
    /// The thread was made with it already.
    Put(PromptLink),
}

/// A prompt by its name, and what to put into its holes.
#[derive(Clone, Debug)]
pub struct NamedPrompt {
    /// The name.
    pub name: String,
    /// Which version.
    pub selector: Selector,
    /// For its variables.
    pub variables: Map<String, Value>,
    /// For its placeholders.
    pub placeholders: Map<String, Value>,
}

/// What leads a thread.
#[derive(Default)]
pub(super) struct Led {
    /// Which version of which prompt.
    pub(super) prompt: Option<PromptLink>,
    /// What was recalled for it.
    pub(super) recollection: Option<Recollection>,
}

/// Puts the prompt in front of the thread.
pub(super) async fn put(engine: &Arc<Engine>, command: &mut ChatCommand) -> Result<Led, CompletionError> {
    let project = command.caller.project_id;
    let (prompt, mut named) = match command.prompt.take() {
        None => return Ok(Led::default()),
        Some(PromptWish::Put(link)) => return Ok(Led { prompt: Some(link), recollection: None }),
        Some(PromptWish::Named(named)) => {
            let prompt = engine.prompts.fetch(project, &named.name, &named.selector).await?;
            (prompt, named)
        }
        Some(PromptWish::Answer) => {
            let named = answer(&command.caller);
            engine.prompts.ensure_begun(project, Starter::Chat, engine.clock.now()).await?;
            let found = engine.prompts.find(project, ANSWER, &named.selector, Form::Resolved).await?;
            let Some(prompt) = found else { return Ok(Led::default()) };
            (prompt, named)
        }
    };
    let link = prompt.link();
    let is_open = prompt.body.variables().contains(&CONTEXT) && !named.variables.contains_key(CONTEXT);
    let recollection = if is_open { recall(engine, command).await } else { None };
    let block = match (&engine.memory, &recollection) {
        (Some(memory), Some(recollection)) => Some(recollection.quoted(memory.settings.format)),
        // What is remembered comes to a prompt that has room for it; without a memory there is nothing to put there.
        (None, _) if link.name != ANSWER => None,
        _ => Some(String::new()),
    };
    if let Some(block) = block.as_ref().filter(|_| is_open) {
        named.variables.insert(CONTEXT.to_owned(), block.as_str().into());
    }
    let values = Values { variables: &named.variables, placeholders: &named.placeholders };
    let messages = prompt.compile(values, Unfilled::Refuse)?.into_messages();
    let messages = match block.filter(|_| is_open) {
        Some(block) => without_orders(messages, &block),
        None => messages,
    };
    let decoded = messages.into_iter().map(|value| message::decode(value, "prompt")).collect::<Result<_, _>>();
    let lead = decoded.map_err(|error: BadRequest| {
        let reason = error.message;
        BadRequest::at(
            "prompt",
            format!("The prompt `{}` version {} cannot be sent: {reason}", link.name, link.version),
        )
    })?;
    command.incoming.set_lead(lead);
    Ok(Led { prompt: Some(link), recollection })
}

/// What fits what was said last. A memory that fails is told in the log and fails no chat.
async fn recall(engine: &Arc<Engine>, command: &ChatCommand) -> Option<Recollection> {
    let memory = engine.memory.as_ref()?;
    let messages = command.incoming.messages();
    let texts: Vec<String> = messages.iter().map(Message::plain_text).collect();
    let last = messages.iter().rposition(|message| message.role == Role::User)?;
    let question = texts.get(last)?;
    let thread: Vec<&str> = texts.iter().map(String::as_str).collect();
    let request = RecallRequest {
        caller: &command.caller,
        scope: command.memory_scope(),
        question,
        // The thread holds all of its own conversation.
        filter: MemoryFilter { exclude_conversation: command.conversation_id, ..MemoryFilter::default() },
        thread: &thread,
        budget: memory.settings.budget,
        parent: Some(place_of_recall(command)),
    };
    match engine.recall(memory, request).await {
        Ok(recollection) => Some(recollection),
        Err(error) => {
            tracing::warn!(%error, request_id = %command.request_id, "nothing could be recalled");
            None
        }
    }
}

/// Recalled texts are data: where a prompt has them among its instructions they become a message of their own behind those, in the
/// user's role. A message that nothing was recalled for says nothing and is left out.
fn without_orders(messages: Vec<Value>, block: &str) -> Vec<Value> {
    let mut kept = Vec::with_capacity(messages.len() + 1);
    let mut moved = false;
    for mut message in messages {
        let orders = matches!(message.get("role").and_then(Value::as_str), Some("system" | "developer"));
        let Some(text) = message.get("content").and_then(Value::as_str) else {
            kept.push(message);
            continue;
        };
        if orders && !block.is_empty() && text.contains(block) {
            let rest = text.replace(block, "").trim().to_owned();
            moved = true;
            if !rest.is_empty() {
                message["content"] = rest.into();
                kept.push(message);
            }
        } else if !text.trim().is_empty() {
            kept.push(message);
        }
    }
    if moved {
        let leads = |message: &Value| matches!(message["role"].as_str(), Some("system" | "developer"));
        let place = kept.iter().take_while(|message| leads(message)).count();
        kept.insert(place, json!({"role": "user", "content": block}));
    }
    kept
}

/// What `/api/chat` fills `Answer` with, beside what is recalled.
fn answer(caller: &Caller) -> NamedPrompt {
    let mut variables = Map::new();
    variables.insert("user".to_owned(), json!(&*caller.user_id));
    NamedPrompt { name: ANSWER.to_owned(), selector: Selector::production(), variables, placeholders: Map::new() }
}
