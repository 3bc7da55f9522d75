//! The trace that a call of a model leaves by itself: one trace with one observation, filled as the call goes on.

use std::collections::BTreeMap;

use privet_dialects::canonical::{Message, Role};
use privet_dialects::openai::chat_request::IncomingChat;
use privet_dialects::openai::embeddings::IncomingEmbeddings;
use privet_dialects::openai::message;
use privet_domain::id::{ConversationId, ProjectId, RequestId};
use privet_domain::money::Nanos;
use privet_domain::time::{NanoTimestamp, Timestamp};
use privet_domain::trace::{
    JsonText, Level, ObservationId, ObservationPatch, ObservationType, PatchKind, PromptLink, TOTAL, TraceBatch,
    TraceId, TraceParent, TracePatch,
};
use privet_store::{Settlement, UsageSource};
use serde_json::{Map, Value};

use crate::keyring::Caller;
use crate::router::Target;

/// A trace is named by so many characters of what was last said, as in the lesson.
const NAME_CHARS: usize = 45;
/// What the generation is called that answers with the prompt `Answer`, or in a conversation of `/api/chat`.
const ANSWER: &str = "Answer";

/// A trace on its way.
#[derive(Debug)]
pub(crate) struct CallTrace {
    project: ProjectId,
    trace: TracePatch,
    observation: ObservationPatch,
    keeps_content: bool,
}

/// What a trace is told of a chat.
pub(crate) struct ChatFacts<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) request_id: RequestId,
    pub(crate) parent: Option<&'a TraceParent>,
    pub(crate) incoming: &'a IncomingChat,
    /// Earlier messages, behind the leading instructions.
    pub(crate) history: &'a [Message],
    pub(crate) target: &'a Target,
    pub(crate) conversation_id: Option<ConversationId>,
    /// Whether it came through an endpoint that always has a conversation.
    pub(crate) conversational: bool,
    pub(crate) prompt: Option<PromptLink>,
    pub(crate) began: Timestamp,
}

/// How a call ended.
pub(crate) enum Ended<'a> {
    /// With an answer.
    Whole(&'a [Message]),
    /// With part of one.
    Cut(&'a [Message], String),
    /// With none.
    Failed(String),
    /// With an answer that is not kept here: vectors.
    Unseen,
}

impl CallTrace {
    /// Of a chat that is about to be sent.
    pub(crate) fn of_chat(facts: &ChatFacts<'_>) -> Self {
        let ChatFacts { caller, request_id, parent, incoming, target, began, .. } = *facts;
        let mut call = Self::begin(caller, request_id, parent, target, began);
        call.keeps_content = incoming.store != Some(false);
        let last = incoming.messages.last().map(Message::plain_text).unwrap_or_default();
        let metadata = incoming.metadata();
        let (trace, observation) = (&mut call.trace, &mut call.observation);
        trace.name = call.keeps_content.then(|| last.chars().take(NAME_CHARS).collect());
        trace.session_id = facts.conversation_id.map(|id| id.to_string());
        describe(trace, metadata);
        let is_answer = facts.conversational || facts.prompt.as_ref().is_some_and(|prompt| prompt.name == ANSWER);
        observation.observation_type = Some(ObservationType::Generation);
        observation.name = Some(if is_answer { ANSWER } else { "chat" }.to_owned());
        observation.model_parameters = Some(incoming.parameters()).filter(|parameters| !parameters.is_empty());
        observation.prompt.clone_from(&facts.prompt);
        if call.keeps_content {
            observation.input = Some(thread(incoming, facts.history));
            trace.input.clone_from(&observation.input);
        }
        call
    }

    /// Of texts that are about to be embedded.
    pub(crate) fn of_embeddings(
        caller: &Caller,
        request_id: RequestId,
        parent: Option<&TraceParent>,
        incoming: &IncomingEmbeddings,
        target: &Target,
        began: Timestamp,
    ) -> Self {
        let mut call = Self::begin(caller, request_id, parent, target, began);
        call.trace.name = Some("embeddings".to_owned());
        call.observation.observation_type = Some(ObservationType::Embedding);
        call.observation.name = Some("embeddings".to_owned());
        let texts = incoming.texts.as_ref().map(|texts| Value::from(texts.clone()));
        call.observation.input = texts.map(|texts| JsonText::of(&texts));
        call
    }

    fn begin(
        caller: &Caller,
        request_id: RequestId,
        parent: Option<&TraceParent>,
        target: &Target,
        began: Timestamp,
    ) -> Self {
        let bytes = *request_id.as_uuid().as_bytes();
        let id = parent.map_or_else(|| TraceId::from_bytes(bytes), |parent| parent.trace_id.clone());
        let (_, random) = bytes.split_at(size_of::<u64>());
        let observation_id = ObservationId::from_bytes(random.try_into().unwrap_or_default());
        let at = NanoTimestamp::from(began);
        let mut trace = TracePatch::new(id.clone(), at);
        trace.timestamp = Some(at);
        trace.user_id = Some(caller.user_id.to_string());
        let mut observation = ObservationPatch::new(id, observation_id, PatchKind::Create, at);
        observation.start = Some(at);
        observation.model = Some(target.model.clone());
        observation.parent_id = parent.map(|parent| parent.span_id.clone());
        observation.metadata.insert("provider".to_owned(), Value::from(target.provider.name()));
        if parent.is_some() {
            observation.metadata.insert("request_id".to_owned(), Value::from(request_id.to_string()));
        }
        Self { project: caller.project_id, trace, observation, keeps_content: true }
    }

    /// The header by which the provider can go on with the trace.
    pub(crate) fn for_provider(&self, parent: &TraceParent) -> String {
        TraceParent { span_id: self.observation.id.clone(), ..parent.clone() }.to_string()
    }

    /// The first output came.
    pub(crate) fn first_output(&mut self, at: Timestamp) {
        self.observation.completion_start.get_or_insert_with(|| at.into());
    }

    /// The whole of it, once the call is settled.
    pub(crate) fn end(self, ended: &Ended<'_>, settlement: &Settlement) -> (ProjectId, TraceBatch) {
        let Self { project, mut trace, mut observation, keeps_content } = self;
        observation.end = Some(settlement.at.into());
        let (output, level, message) = match ended {
            Ended::Whole(messages) => (output(messages), Level::Default, None),
            Ended::Cut(messages, reason) => (output(messages), Level::Warning, Some(reason)),
            Ended::Failed(reason) => (Some(JsonText::string(reason)), Level::Error, Some(reason)),
            Ended::Unseen => (None, Level::Default, None),
        };
        observation.level = Some(level);
        observation.status_message = message.cloned();
        observation.output = output.filter(|_| keeps_content || level == Level::Error);
        trace.output.clone_from(&observation.output);
        if settlement.source != UsageSource::Nothing {
            observation.usage = Some(usage(settlement));
            observation.cost = cost(settlement);
        }
        if settlement.source == UsageSource::Bounded {
            // Nobody counted: the tokens are the most that there can have been.
            observation.metadata.insert("usage_source".to_owned(), Value::from("bounded"));
        }
        (project, TraceBatch { traces: vec![trace], observations: vec![observation], scores: Vec::new() })
    }
}

/// What the client says of the trace in its request's `metadata`: `trace_name`, `trace_user_id`, `session_id`, `tags` (with commas
/// between them), `environment`, `release`, `version`. The rest is the trace's metadata.
fn describe(trace: &mut TracePatch, mut metadata: Map<String, Value>) {
    let mut take = |name: &str| match metadata.shift_remove(name) {
        Some(Value::String(text)) if !text.is_empty() => Some(text),
        _ => None,
    };
    trace.name = take("trace_name").or(trace.name.take());
    trace.user_id = take("trace_user_id").or(trace.user_id.take());
    trace.session_id = take("session_id").or(trace.session_id.take());
    trace.environment = take("environment");
    trace.release = take("release");
    trace.version = take("version");
    let tags = take("tags").unwrap_or_default();
    trace.tags = tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
    // Privet's own.
    for own in ["conversation_id", "prompt"] {
        metadata.shift_remove(own);
    }
    trace.metadata = metadata;
}

/// The thread as it is sent, each message in its canonical form: so that the next turn, which repeats it, is seen to. With tools
/// it stands beside them.
fn thread(incoming: &IncomingChat, history: &[Message]) -> JsonText {
    let leads = |message: &&Message| matches!(message.role, Role::System | Role::Developer);
    let lead = incoming.messages.iter().take_while(leads).count();
    let (instructions, said) = incoming.messages.split_at(lead);
    let messages = incoming.lead.iter().chain(instructions).chain(history).chain(said).flat_map(message::encode);
    let mut text = String::from("[");
    for (index, message) in messages.enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(&message.to_string());
    }
    text.push(']');
    match incoming.tools_json() {
        None => JsonText::from_stored(text),
        Some(tools) => JsonText::from_stored(format!(r#"{{"messages":{text},"tools":{tools}}}"#)),
    }
}

/// The answer in the form in which the next turn repeats it; of several, all.
fn output(messages: &[Message]) -> Option<JsonText> {
    let mut said = messages.iter().filter(|message| !message.parts.is_empty()).flat_map(message::encode);
    let first = said.next()?;
    let more: Vec<Value> = said.collect();
    if more.is_empty() {
        return Some(JsonText::of(&first));
    }
    Some(JsonText::of(&Value::Array([vec![first], more].concat())))
}

/// Tokens by kind; no kind counts what another does.
fn usage(settlement: &Settlement) -> BTreeMap<String, u64> {
    let usage = &settlement.usage;
    let apart = usage.cached_input.saturating_add(usage.cache_write_5m).saturating_add(usage.cache_write_1h);
    let kinds = [
        ("input", usage.input.saturating_sub(apart)),
        ("input_cached_tokens", usage.cached_input),
        ("input_cache_creation_5m", usage.cache_write_5m),
        ("input_cache_creation_1h", usage.cache_write_1h),
        ("output", usage.output.saturating_sub(usage.reasoning)),
        ("output_reasoning_tokens", usage.reasoning),
        (TOTAL, usage.input.saturating_add(usage.output)),
    ];
    let counted = kinds.into_iter().filter(|(kind, tokens)| *tokens > 0 || matches!(*kind, "input" | "output" | TOTAL));
    counted.map(|(kind, tokens)| (kind.to_owned(), tokens)).collect()
}

/// What the ledger says that it cost: in all, and by the lines of the bill.
fn cost(settlement: &Settlement) -> Option<BTreeMap<String, Nanos>> {
    let lines: Vec<(String, u64, i64)> = serde_json::from_str(settlement.bill.as_deref()?).ok()?;
    let lines = lines.into_iter().filter_map(|(kind, tokens, nanos_per_million)| {
        let nanos = i128::from(tokens) * i128::from(nanos_per_million) / 1_000_000;
        Some((kind, Nanos::new(i64::try_from(nanos).ok()?)))
    });
    Some(lines.chain([(TOTAL.to_owned(), settlement.cost)]).collect())
}
