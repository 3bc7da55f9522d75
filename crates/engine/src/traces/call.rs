//! The trace that a call of a model leaves by itself: one trace with one observation, filled as the call goes on.
//!
//! In a client's trace the observation is one of the client's, and of the trace only what nobody else says is said: its name and
//! what went in and out are the client's to tell.

mod attempt;
mod description;
mod recall;
mod tokens;

use privet_dialects::canonical::{Message, Role};
use privet_dialects::openai::audio::AudioEndpoint;
use privet_dialects::openai::message;
use privet_dialects::openai::passed::Endpoint;
use privet_domain::id::{ConversationId, ProjectId, RequestId};
use privet_domain::time::{NanoTimestamp, Timestamp};
use privet_domain::trace::{
    JsonText, Level, ObservationId, ObservationPatch, ObservationType, PatchKind, PromptLink, TraceBatch, TraceId,
    TraceParent, TracePatch,
};
use privet_store::{Settlement, UsageSource};
use serde_json::Value;

use super::{RequestTrace, WayTold};
use crate::audio::AudioCommand;
use crate::completion::{CacheTold, ChatCommand, CompletionError};
use crate::embedding::EmbeddingsCommand;
use crate::keyring::Caller;
use crate::memory::Recollection;
use crate::passed::PassedCommand;
use crate::prompt::ANSWER;
use crate::rerank::RerankCommand;
use crate::router::Target;
pub(crate) use attempt::FailedAttempt;
use description::Description;
pub(crate) use description::named_user;
pub(crate) use recall::{candidate, place_of_recall};

/// A trace is named by so many characters of what was last said, as in the lesson.
const NAME_CHARS: usize = 45;
/// And so much of it is looked at for what is private.
const NAME_CHARS_SEEN: usize = 400;
/// What any other is called, and a trace that nothing else names.
const CHAT: &str = "chat";
const EMBEDDINGS: &str = "embeddings";
const RERANK: &str = "rerank";
const IMAGES: &str = "images";
const MODERATION: &str = "moderation";
const SPEECH: &str = "speech";
const TRANSCRIPTION: &str = "transcription";
/// So much of an error's text is kept.
const ERROR_CHARS_MAX: usize = 2_000;

/// A trace on its way.
#[derive(Debug)]
pub(crate) struct CallTrace {
    project: ProjectId,
    request_id: RequestId,
    trace: TracePatch,
    /// What the client says of a trace that is its own.
    said: Option<TracePatch>,
    observation: ObservationPatch,
    /// What was done for it before, and the calls that did not answer.
    steps: Vec<ObservationPatch>,
    /// How many calls did not answer.
    failed: usize,
    keeps_content: bool,
    is_root: bool,
}

/// What a trace is told of a chat.
pub(crate) struct ChatFacts<'a> {
    pub(crate) command: &'a ChatCommand,
    /// Earlier messages, behind the leading instructions.
    pub(crate) history: &'a [Message],
    pub(crate) target: &'a Target,
    /// The conversation that the call is part of.
    pub(crate) conversation_id: Option<ConversationId>,
    /// The prompt that stands in front of the thread.
    pub(crate) prompt: Option<PromptLink>,
    /// What was recalled for it.
    pub(crate) recollection: Option<&'a Recollection>,
    /// The limit of output tokens that was set where the request names none.
    pub(crate) output_limit: Option<u64>,
    /// When the request came.
    pub(crate) began: Timestamp,
}

/// What any call tells of itself.
struct CallFacts<'a> {
    caller: &'a Caller,
    request_id: RequestId,
    request: &'a RequestTrace,
    asked_model: Option<&'a str>,
    target: &'a Target,
    began: Timestamp,
}

/// How a call ended.
pub(crate) enum Ended<'a> {
    /// With an answer.
    Whole(&'a [Message]),
    /// With part of one.
    Cut(&'a [Message], String),
    /// With none: it failed.
    Failed(String),
    /// With none, because nobody waited for it any more.
    Stopped(String),
    /// With an answer that is not kept here: vectors.
    Unseen,
}

impl Ended<'_> {
    /// Of a call that got no answer.
    pub(crate) fn without_answer(error: &CompletionError) -> Self {
        match error {
            CompletionError::ClientLeft | CompletionError::Stopped | CompletionError::ShuttingDown => {
                Self::Stopped(error.to_string())
            }
            error => Self::Failed(error.to_string()),
        }
    }
}

impl CallTrace {
    /// Of a chat that is about to be sent.
    pub(crate) fn of_chat(facts: &ChatFacts<'_>) -> Self {
        let command = facts.command;
        let incoming = &command.incoming;
        let mut call = Self::begin(&CallFacts {
            caller: &command.caller,
            request_id: command.request_id,
            request: &command.trace,
            asked_model: incoming.model(),
            target: facts.target,
            began: facts.began,
        });
        call.keeps_content = incoming.store() != Some(false);
        if call.is_root {
            let name = Some(name(incoming.messages())).filter(|name| call.keeps_content && !name.is_empty());
            call.trace.name = Some(name.unwrap_or_else(|| CHAT.to_owned()));
            call.trace.name_chars_max = Some(NAME_CHARS);
        }
        call.trace.session_id = facts.conversation_id.map(|id| id.to_string());
        call.describe(Description { metadata: incoming.metadata(), user: incoming.user() }, &command.caller);
        // What answers in a conversation of `/api/chat` is called so also where the prompt was deleted.
        let is_answer = command.conversational || facts.prompt.as_ref().is_some_and(|prompt| prompt.name == ANSWER);
        call.observation.observation_type = Some(ObservationType::Generation);
        call.observation.name = Some(if is_answer { ANSWER } else { CHAT }.to_owned());
        let mut parameters = incoming.parameters();
        let is_limited = ["max_tokens", "max_completion_tokens", "maxOutputTokens"]
            .iter()
            .any(|name| parameters.contains_key(*name));
        if let Some(limit) = facts.output_limit.filter(|_| !is_limited) {
            parameters.insert("max_tokens".to_owned(), limit.into());
        }
        call.observation.model_parameters = Some(parameters).filter(|parameters| !parameters.is_empty());
        call.observation.prompt.clone_from(&facts.prompt);
        if call.keeps_content {
            call.observation.input = Some(thread(facts));
        }
        let step = |recollection| recall::step(command, &call.trace.id, recollection, call.keeps_content);
        call.steps = facts.recollection.map(step).into_iter().collect();
        call
    }

    /// Of texts that are about to be embedded.
    pub(crate) fn of_embeddings(command: &EmbeddingsCommand, target: &Target, began: Timestamp) -> Self {
        let incoming = &command.incoming;
        let mut call = Self::begin(&CallFacts {
            caller: &command.caller,
            request_id: command.request_id,
            request: &command.trace,
            asked_model: Some(&incoming.model),
            target,
            began,
        });
        if call.is_root {
            call.trace.name = Some(EMBEDDINGS.to_owned());
        }
        call.describe(Description { user: incoming.user(), ..Description::default() }, &command.caller);
        call.observation.observation_type = Some(ObservationType::Embedding);
        call.observation.name = Some(EMBEDDINGS.to_owned());
        let input = incoming.input_json().filter(|_| command.traces_texts);
        call.observation.input = input.map(|json| JsonText::from_stored(json.to_owned()));
        call
    }

    /// Of a request that passes as it is. No picture is kept.
    pub(crate) fn of_passed(command: &PassedCommand, target: &Target, began: Timestamp) -> Self {
        let incoming = &command.incoming;
        let mut call = Self::begin(&CallFacts {
            caller: &command.caller,
            request_id: command.request_id,
            request: &command.trace,
            asked_model: Some(&incoming.model),
            target,
            began,
        });
        let (name, kind) = match incoming.endpoint {
            Endpoint::Images => (IMAGES, ObservationType::Generation),
            Endpoint::Moderations => (MODERATION, ObservationType::Guardrail),
        };
        if call.is_root {
            call.trace.name = Some(name.to_owned());
        }
        call.describe(Description { user: incoming.user(), ..Description::default() }, &command.caller);
        call.observation.observation_type = Some(kind);
        call.observation.name = Some(name.to_owned());
        call.observation.input = incoming.input_json().map(|json| JsonText::from_stored(json.to_owned()));
        call
    }

    /// Of a text that is spoken, or a recording that is written down. No sound is kept.
    pub(crate) fn of_audio(command: &AudioCommand, target: &Target, began: Timestamp) -> Self {
        let incoming = &command.incoming;
        let mut call = Self::begin(&CallFacts {
            caller: &command.caller,
            request_id: command.request_id,
            request: &command.trace,
            asked_model: Some(&incoming.model),
            target,
            began,
        });
        let name = match incoming.endpoint {
            AudioEndpoint::Speech => SPEECH,
            AudioEndpoint::Transcription | AudioEndpoint::Translation => TRANSCRIPTION,
        };
        if call.is_root {
            call.trace.name = Some(name.to_owned());
        }
        call.describe(Description::default(), &command.caller);
        call.observation.observation_type = Some(ObservationType::Generation);
        call.observation.name = Some(name.to_owned());
        call.observation.input = incoming.input_json().map(JsonText::from_stored);
        if let Some(characters) = incoming.characters() {
            call.note("characters", characters);
        }
        call
    }

    /// Adds a number to what is said of the call.
    pub(crate) fn note(&mut self, name: &str, count: u64) {
        self.observation.metadata.insert(name.to_owned(), count.into());
    }

    /// Of texts that are about to be judged. What they say stands where they are kept.
    pub(crate) fn of_rerank(command: &RerankCommand, target: &Target, began: Timestamp) -> Self {
        let mut call = Self::begin(&CallFacts {
            caller: &command.caller,
            request_id: command.request_id,
            request: &command.trace,
            asked_model: Some(&command.model),
            target,
            began,
        });
        if call.is_root {
            call.trace.name = Some(RERANK.to_owned());
        }
        call.describe(Description::default(), &command.caller);
        call.observation.observation_type = Some(ObservationType::Generation);
        call.observation.name = Some(RERANK.to_owned());
        call
    }

    fn begin(facts: &CallFacts<'_>) -> Self {
        let CallFacts { caller, request_id, request, asked_model, target, began } = *facts;
        let parent = request.parent();
        let id = parent.map_or_else(|| trace_id_of(request_id), |parent| parent.trace_id.clone());
        request.tell(&id);
        let at = NanoTimestamp::from(began);
        // In a client's trace whatever anybody else says holds, and of several calls what the first said.
        let in_order = if parent.is_none() { at } else { NanoTimestamp::from_nanos(at.as_nanos().saturating_neg()) };
        let mut trace = TracePatch::new(id.clone(), in_order);
        trace.timestamp = Some(at);
        trace.user_id = Some(caller.user_id.to_string());
        let mut observation = ObservationPatch::new(id, observation_id_of(request_id), PatchKind::Create, at);
        observation.start = Some(at);
        observation.model = Some(target.model.clone());
        observation.parent_id = parent.map(|parent| parent.span_id.clone());
        let provider = target.provider.name();
        let mut note = |name: &str, value: String| drop(observation.metadata.insert(name.to_owned(), value.into()));
        note("provider", provider.to_owned());
        if let Some(asked) = asked_model.filter(|asked| *asked != target.model && *asked != target.name()) {
            note("requested_model", asked.chars().take(NOTE_CHARS_MAX).collect());
        }
        if parent.is_some() {
            note("request_id", request_id.to_string());
        }
        let is_root = parent.is_none();
        let steps = Vec::new();
        let project = caller.project_id;
        Self { project, request_id, trace, said: None, observation, steps, failed: 0, keeps_content: true, is_root }
    }

    /// Another target than the first is called.
    pub(crate) fn turn_to(&mut self, target: &Target, asked_model: Option<&str>) {
        self.observation.model = Some(target.model.clone());
        let metadata = &mut self.observation.metadata;
        metadata.insert("provider".to_owned(), target.provider.name().into());
        if let Some(asked) = asked_model.filter(|asked| *asked != target.model && *asked != target.name()) {
            metadata
                .insert("requested_model".to_owned(), asked.chars().take(NOTE_CHARS_MAX).collect::<String>().into());
        }
    }

    /// The way that the request took, in the words of the headers.
    pub(crate) fn tell_way(&mut self, way: &WayTold) {
        let WayTold { answered_by: _, attempts, cache, structured } = way;
        let notes = [
            ("attempts", attempts.clone()),
            ("cache", cache.map(|cache| cache.as_str().to_owned())),
            ("structured_output", structured.map(|structured| structured.as_str().to_owned())),
        ];
        for (name, note) in notes {
            self.observation.metadata.extend(note.map(|note| (name.to_owned(), note.into())));
        }
        if matches!(cache, Some(CacheTold::Hit { .. })) {
            self.observation.cost = Some(tokens::no_cost());
        }
    }

    /// A call did not answer, and others are made.
    pub(crate) fn failed(&mut self, failed: &FailedAttempt<'_>) {
        self.steps.push(attempt::step(&self.trace.id, self.request_id, self.failed, failed));
        self.failed += 1;
    }

    fn describe(&mut self, description: Description, caller: &Caller) {
        if description.is_empty() {
            return;
        }
        if self.is_root {
            return description.write(&mut self.trace, &caller.user_id);
        }
        // It holds against what the call says by itself, and against nothing that anybody else does.
        let at = NanoTimestamp::from_nanos(self.trace.at.as_nanos().saturating_add(1));
        let mut said = TracePatch::new(self.trace.id.clone(), at);
        description.write(&mut said, &caller.user_id);
        self.said = Some(said);
    }

    /// Where the client's trace goes on at the provider: below this call, which is no step of it where it leaves no trace.
    pub(crate) fn parent_of_call(trace: Option<&Self>, request: &RequestTrace) -> Option<TraceParent> {
        let parent = request.parent()?;
        Some(trace.map_or_else(|| parent.clone(), |trace| parent.at(trace.observation.id.clone())))
    }

    /// The first output came.
    pub(crate) fn first_output(&mut self, at: Timestamp) {
        self.observation.completion_start = Some(at.into());
    }

    /// The whole of it, once the call is settled.
    pub(crate) fn end(mut self, ended: &Ended<'_>, settlement: &Settlement) -> (ProjectId, TraceBatch) {
        if settlement.source != UsageSource::Nothing {
            self.observation.usage = Some(tokens::usage(&settlement.usage));
            self.observation.cost = tokens::cost(settlement);
        }
        if settlement.source == UsageSource::Bounded {
            // Nobody counted: the tokens are the most that there can have been.
            self.observation.metadata.insert("usage_source".to_owned(), Value::from("bounded"));
        }
        self.close(ended, settlement.at)
    }

    /// The whole of it, where a limit refused the call. The thread was sent nowhere and is not kept.
    pub(crate) fn refused(mut self, reason: String, at: Timestamp) -> (ProjectId, TraceBatch) {
        self.observation.input = None;
        self.close(&Ended::Failed(reason), at)
    }

    /// The whole of it, where the last call was settled before and none follows.
    pub(crate) fn end_unsettled(self, ended: &Ended<'_>, at: Timestamp) -> (ProjectId, TraceBatch) {
        self.close(ended, at)
    }

    fn close(self, ended: &Ended<'_>, at: Timestamp) -> (ProjectId, TraceBatch) {
        let Self { project, mut trace, said, mut observation, steps, keeps_content, is_root, .. } = self;
        observation.end = Some(at.into());
        let kept = |messages| if keeps_content { output(messages) } else { None };
        let (output, level, message) = match ended {
            Ended::Whole(messages) => (kept(messages), Level::Default, None),
            Ended::Cut(messages, reason) => (kept(messages), Level::Warning, Some(shortened(reason))),
            Ended::Failed(reason) => {
                let reason = shortened(reason);
                (Some(JsonText::string(&reason)), Level::Error, Some(reason))
            }
            Ended::Stopped(reason) => (None, Level::Warning, Some(shortened(reason))),
            Ended::Unseen => (None, Level::Default, None),
        };
        observation.level = Some(level);
        observation.status_message = message;
        observation.output = output;
        if is_root {
            trace.input.clone_from(&observation.input);
            trace.output.clone_from(&observation.output);
        }
        let traces = [Some(trace), said].into_iter().flatten().collect();
        let observations = steps.into_iter().chain([observation]).collect();
        (project, TraceBatch { traces, observations, scores: Vec::new() })
    }
}

/// So much of a name that a client gives is kept.
const NOTE_CHARS_MAX: usize = 200;

/// The trace that a request leaves which is part of no other: the request's id as 32 hexadecimal digits.
pub(crate) fn trace_id_of(request: RequestId) -> TraceId {
    TraceId::from_bytes(*request.as_uuid().as_bytes())
}

/// The observation that a request leaves: the random half of its id.
pub(crate) fn observation_id_of(request: RequestId) -> ObservationId {
    let (_, random) = request.as_uuid().as_u64_pair();
    ObservationId::from_bytes(random.to_be_bytes())
}

/// The beginning of what the user said last.
fn name(messages: &[Message]) -> String {
    let said = messages.iter().rfind(|message| message.role == Role::User).or(messages.last());
    said.map(Message::plain_text).unwrap_or_default().trim().chars().take(NAME_CHARS_SEEN).collect()
}

/// The thread as it is sent, each message in its canonical form: so that the next turn, which repeats it, is seen to. With tools
/// it stands beside them.
fn thread(facts: &ChatFacts<'_>) -> JsonText {
    let incoming = &facts.command.incoming;
    let leads = |message: &&Message| matches!(message.role, Role::System | Role::Developer);
    let lead = incoming.messages().iter().take_while(leads).count();
    let (instructions, said) = incoming.messages().split_at(lead);
    let tools = incoming.tools_json();
    let mut json = Vec::from(if tools.is_some() { r#"{"messages":["# } else { "[" });
    for messages in [incoming.lead(), instructions, facts.history, said] {
        message::write(messages, &mut json);
    }
    json.push(b']');
    if let Some(tools) = tools {
        json.extend_from_slice(br#","tools":"#);
        json.extend_from_slice(tools.as_bytes());
        json.push(b'}');
    }
    from_utf8(json)
}

/// The answer in the form in which the next turn repeats it; of several, all.
fn output(messages: &[Message]) -> Option<JsonText> {
    let mut said = messages.iter().filter(|message| !message.parts.is_empty());
    let (first, second) = (said.next()?, said.next());
    let mut json = vec![b'['];
    if second.is_some() {
        message::write(messages, &mut json);
        json.push(b']');
        return Some(from_utf8(json));
    }
    message::write(std::slice::from_ref(first), &mut json);
    json.remove(0);
    Some(from_utf8(json))
}

/// What was written of texts is one.
fn from_utf8(json: Vec<u8>) -> JsonText {
    JsonText::from_stored(String::from_utf8(json).unwrap_or_default())
}

fn shortened(reason: &str) -> String {
    reason.chars().take(ERROR_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests;
