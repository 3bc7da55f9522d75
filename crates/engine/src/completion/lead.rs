//! The prompt that leads a thread: fetched, filled and put in front, before the call is admitted. It is no part of the
//! conversation and is not stored with it.

use privet_dialects::BadRequest;
use privet_dialects::openai::message;
use privet_domain::prompt::{Selector, Unfilled, Values};
use privet_domain::trace::PromptLink;
use serde_json::{Map, Value, json};

use super::{ChatCommand, CompletionError};
use crate::Engine;
use crate::keyring::Caller;
use crate::prompt::{ANSWER, Form};

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

/// Puts the prompt in front of the thread; which version it was.
pub(super) async fn put(engine: &Engine, command: &mut ChatCommand) -> Result<Option<PromptLink>, CompletionError> {
    let (prompt, named) = match command.prompt.take() {
        None => return Ok(None),
        Some(PromptWish::Put(link)) => return Ok(Some(link)),
        Some(PromptWish::Named(named)) => {
            let prompt = engine.prompts.fetch(command.caller.project_id, &named.name, &named.selector).await?;
            (prompt, named)
        }
        Some(PromptWish::Answer) => {
            let named = answer(&command.caller);
            let project = command.caller.project_id;
            engine.prompts.ensure_begun(project, engine.clock.now()).await?;
            let found = engine.prompts.find(project, ANSWER, &named.selector, Form::Resolved).await?;
            let Some(prompt) = found else { return Ok(None) };
            (prompt, named)
        }
    };
    let link = prompt.link();
    let values = Values { variables: &named.variables, placeholders: &named.placeholders };
    let messages = prompt.compile(values, Unfilled::Refuse)?.into_messages();
    let decoded = messages.into_iter().map(|value| message::decode(value, "prompt")).collect::<Result<_, _>>();
    command.incoming.lead = decoded.map_err(|error: BadRequest| {
        let reason = error.message;
        BadRequest::at(
            "prompt",
            format!("The prompt `{}` version {} cannot be sent: {reason}", link.name, link.version),
        )
    })?;
    Ok(Some(link))
}

/// What `/api/chat` fills `Answer` with. There is no memory yet, which is what `context` is for.
fn answer(caller: &Caller) -> NamedPrompt {
    let mut variables = Map::new();
    variables.insert("context".to_owned(), json!(""));
    variables.insert("user".to_owned(), json!(&*caller.user_id));
    NamedPrompt { name: ANSWER.to_owned(), selector: Selector::production(), variables, placeholders: Map::new() }
}
