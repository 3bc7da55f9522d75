//! One description: asked for as a client asks for a chat, so that limits, budgets and the ledger hold for it. It is in no conversation,
//! is remembered by nobody, and its trace has none of its words: what is remembered is kept in one place, from which it can be erased.

use std::sync::Arc;
use std::time::Duration;

use privet_dialects::canonical::{Message, Part, Role};
use privet_dialects::openai::chat_request::IncomingChat;
use privet_dialects::openai::message;
use privet_dialects::translate::decode_response;
use privet_dialects::{Dialect, Inbound};
use privet_domain::id::{ProjectId, RequestId};
use privet_domain::memory::NewRepresentation;
use privet_domain::memory::embedder::EmbedError;
use privet_domain::prompt::{Selector, Unfilled, Values};
use privet_providers::embedder::failure;
use privet_providers::{PassedHead, ProviderError};
use privet_store::{DescriptionTask, Starter};
use serde_json::{Map, json};
use tokio::time::timeout;

use super::DescriberSettings;
use super::description::{TEXT, read, variables};
use crate::Engine;
use crate::completion::{ChatCommand, CompletionError, PromptWish, ReplyBody};
use crate::keyring::Caller;
use crate::prompt::{DESCRIBE, Form, Prompt};
use crate::traces::RequestTrace;

/// A model that takes longer is left; what it used is charged.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
/// What is asked for when an answer cannot be read, once.
const REPAIR: &str = "That is not the one JSON object that was asked for. Write it again: the object alone, with title, summary, facts \
     and questions.";

/// Why there is no description, by what helps. No reason that is made here holds a word of the text or of the answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The project has no prompt in production that describes: nobody wants it.
    #[error("the prompt `{DESCRIBE}` has no version in production: the project is not described")]
    Unwanted,
    /// Something of the project: its budget is spent, or its prompt cannot be sent.
    #[error("{0}")]
    Project(String),
    /// Something of the describer or the way to it.
    #[error("{reason}")]
    Describer {
        /// Why.
        reason: String,
        /// When to come again, where it says so.
        retry_after: Option<Duration>,
    },
    /// The call broke off. It may work the next time.
    #[error("{0}")]
    Broken(String),
    /// The provider refuses this text, or whatever it is asked like this.
    #[error("{0}")]
    Refused(String),
    /// The model answered, twice, and not with a description.
    #[error("{0}")]
    Unreadable(&'static str),
}

impl Engine {
    /// The project's prompt that describes, as it is in production; the project gets one when it is described first.
    pub(super) async fn describing_prompt(&self, project: ProjectId) -> Result<Arc<Prompt>, Failure> {
        let wrong = |error: crate::prompt::PromptError| Failure::Project(error.to_string());
        self.prompts.ensure_begun(project, Starter::Describing, self.clock.now()).await.map_err(wrong)?;
        let found =
            self.prompts.find(project, DESCRIBE, &Selector::production(), Form::Resolved).await.map_err(wrong)?;
        match found {
            Some(prompt) if !prompt.body.variables().contains(&TEXT) => {
                let version = prompt.head.version;
                let reason =
                    format!("the prompt `{DESCRIBE}` version {version} has no `{{{{{TEXT}}}}}` to put the text into");
                Err(Failure::Project(reason))
            }
            found => found.ok_or(Failure::Unwanted),
        }
    }

    /// How the model describes a memory.
    pub(super) async fn describe(
        self: &Arc<Self>,
        settings: &DescriberSettings,
        caller: &Caller,
        prompt: &Prompt,
        task: &DescriptionTask,
    ) -> Result<Vec<NewRepresentation>, Failure> {
        let variables = variables(task);
        let values = Values { variables: &variables, placeholders: &Map::new() };
        let compiled = prompt.compile(values, Unfilled::Refuse).map_err(|error| Failure::Project(error.to_string()))?;
        let decoded = compiled.into_messages().into_iter().map(|value| message::decode(value, "prompt"));
        let mut thread: Vec<Message> =
            decoded.collect::<Result<_, _>>().map_err(|error| Failure::Project(error.message))?;
        let answer = self.say(settings, caller, prompt, thread.clone()).await?;
        if let Some(read) = read(&answer, &settings.wanted) {
            return Ok(read);
        }
        thread.extend([Message::text(Role::Assistant, answer), Message::text(Role::User, REPAIR)]);
        let answer = self.say(settings, caller, prompt, thread).await?;
        read(&answer, &settings.wanted).ok_or(Failure::Unreadable("its answer is not the object that was asked for"))
    }

    async fn say(
        self: &Arc<Self>,
        settings: &DescriberSettings,
        caller: &Caller,
        prompt: &Prompt,
        thread: Vec<Message>,
    ) -> Result<String, Failure> {
        let limit = ("max_tokens".to_owned(), json!(self.limits.output_tokens));
        let mut incoming = IncomingChat::from_messages(Some(settings.model.clone()), thread, false, vec![limit]);
        // It is kept nowhere: not as a conversation, and not in its trace.
        incoming.store = Some(false);
        let command = ChatCommand {
            caller: caller.clone(),
            request_id: RequestId::new(),
            incoming: incoming.into(),
            passed: PassedHead::default(),
            conversation_id: None,
            conversational: false,
            prompt: Some(PromptWish::Put(prompt.link())),
            cache: None,
            trace: RequestTrace::default(),
        };
        let broken = |reason: &str| Failure::Broken(reason.to_owned());
        let reply = timeout(CALL_TIMEOUT, self.complete(command)).await;
        let reply = reply.map_err(|_| Failure::Broken(format!("it took longer than {CALL_TIMEOUT:?}")))?;
        let reply = reply.map_err(|error| self.what_helps(&error))?;
        let ReplyBody::Whole(body) = reply.body else { return Err(broken("it answered with a stream")) };
        let whole = decode_response(Inbound::OpenAiChat, Dialect::OpenAiChat, body, 0)
            .map_err(|_| broken("it gave no usable answer"))?;
        let message = whole.answer.messages.into_iter().next().ok_or_else(|| broken("it answered nothing"))?;
        match message.parts.iter().any(|part| matches!(part, Part::Refusal { .. })) {
            true => Err(Failure::Unreadable("it refuses to describe the text")),
            false => Ok(message.plain_text()),
        }
    }

    fn what_helps(&self, error: &CompletionError) -> Failure {
        let reason = error.to_string();
        let describer = |reason, retry_after| Failure::Describer { reason, retry_after };
        match error {
            // Money comes back with the next window, places in a moment.
            CompletionError::Refused(_) | CompletionError::BadRequest(_) | CompletionError::Prompt(_) => {
                Failure::Project(reason)
            }
            CompletionError::Provider(ProviderError::Timeout { .. }) => Failure::Broken(reason),
            // What was wrong with an answer may quote it.
            CompletionError::Provider(ProviderError::Fault { provider, .. }) => {
                Failure::Broken(format!("the provider `{provider}` gave no usable answer"))
            }
            // A model that is not there is nobody's text's fault.
            CompletionError::Provider(ProviderError::Status { status: 404, .. }) => describer(reason, None),
            CompletionError::Provider(error) => match failure(error, self.clock.now()) {
                EmbedError::Refused { .. } => Failure::Refused(reason),
                EmbedError::RateLimited { retry_after, .. } => describer(reason, retry_after),
                EmbedError::SetUp { .. } | EmbedError::Transient { .. } => describer(reason, None),
            },
            _ => describer(reason, None),
        }
    }
}
