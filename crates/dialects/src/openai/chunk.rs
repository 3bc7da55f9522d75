//! A stream of chunks, read lightly: what a chunk says goes to a [`Sink`], and what of it an official client would stumble over is
//! noted.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::error;
use super::stream_encoder::finish_of;
use super::usage::WireUsage;
use crate::UpstreamFault;
use crate::canonical::{ChatEvent, FinishReason, Usage};
use crate::collect::Collector;
use crate::sse::SseEvent;

/// Where the pieces of an answer go: gathered at once, or made into events for another dialect.
pub(super) trait Sink {
    fn start(&mut self, id: &str, model: &str);
    fn text(&mut self, choice: u32, delta: &str);
    fn refusal(&mut self, choice: u32, delta: &str);
    fn thinking(&mut self, choice: u32, delta: &str);
    fn tool_call(&mut self, choice: u32, index: u32, id: &str, name: &str);
    fn tool_arguments(&mut self, choice: u32, index: u32, delta: &str);
    fn finish(&mut self, choice: u32, reason: FinishReason);
    fn usage(&mut self, usage: Usage);
    fn tier(&mut self, tier: &str);
}

impl Sink for Collector {
    fn start(&mut self, id: &str, model: &str) {
        self.start(id, model);
    }

    fn text(&mut self, choice: u32, delta: &str) {
        self.text(choice, delta);
    }

    fn refusal(&mut self, choice: u32, delta: &str) {
        self.refusal(choice, delta);
    }

    fn thinking(&mut self, choice: u32, delta: &str) {
        self.thinking(choice, delta);
    }

    fn tool_call(&mut self, choice: u32, _: u32, id: &str, name: &str) {
        self.tool_call(choice, id, name, None);
    }

    fn tool_arguments(&mut self, choice: u32, index: u32, delta: &str) {
        self.tool_arguments(choice, index, delta);
    }

    fn finish(&mut self, choice: u32, reason: FinishReason) {
        self.finish(choice, reason);
    }

    fn usage(&mut self, usage: Usage) {
        self.usage(usage);
    }

    fn tier(&mut self, tier: &str) {
        self.tier(tier);
    }
}

/// Events for another dialect.
impl Sink for Vec<ChatEvent> {
    fn start(&mut self, id: &str, model: &str) {
        self.push(ChatEvent::Start { id: id.to_owned(), model: model.to_owned() });
    }

    fn text(&mut self, choice: u32, delta: &str) {
        if !delta.is_empty() {
            self.push(ChatEvent::Text { choice, delta: delta.to_owned() });
        }
    }

    fn refusal(&mut self, choice: u32, delta: &str) {
        self.push(ChatEvent::Refusal { choice, delta: delta.to_owned() });
    }

    fn thinking(&mut self, choice: u32, delta: &str) {
        self.push(ChatEvent::Thinking { choice, delta: delta.to_owned() });
    }

    fn tool_call(&mut self, choice: u32, index: u32, id: &str, name: &str) {
        let (id, name) = (id.to_owned(), name.to_owned());
        self.push(ChatEvent::ToolCall { choice, index, id, name, signature: None });
    }

    fn tool_arguments(&mut self, choice: u32, index: u32, delta: &str) {
        self.push(ChatEvent::ToolArguments { choice, index, delta: delta.to_owned() });
    }

    fn finish(&mut self, choice: u32, reason: FinishReason) {
        self.push(ChatEvent::Finish { choice, reason });
    }

    fn usage(&mut self, usage: Usage) {
        self.push(ChatEvent::Usage(usage));
    }

    fn tier(&mut self, tier: &str) {
        self.push(ChatEvent::Tier(tier.to_owned()));
    }
}

/// Reads the chunks of one stream.
#[derive(Debug, Default)]
pub(super) struct ChunkReader {
    done: bool,
    choices: Vec<ChoiceState>,
}

/// What a chunk was.
pub(super) enum Read {
    /// None, or the end.
    Nothing,
    /// Tokens alone.
    Usage,
    /// A piece of an answer.
    Piece(Repair),
}

#[derive(Clone, Debug, Default)]
struct ChoiceState {
    has_role: bool,
    calls: Vec<CallState>,
}

#[derive(Clone, Debug)]
struct CallState {
    upstream_index: Option<u32>,
    id: Option<String>,
    has_arguments: bool,
}

/// A text of the chunk, borrowed unless it has escapes: a stream has thousands of chunks.
#[derive(Default, Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn str_of<'a>(text: Option<&'a Text<'_>>) -> &'a str {
    text.map_or("", |text| &text.0)
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(default, borrow)]
    id: Option<Text<'a>>,
    #[serde(default, borrow)]
    model: Option<Text<'a>>,
    #[serde(default, borrow)]
    choices: Option<Vec<ChunkChoice<'a>>>,
    #[serde(default)]
    usage: Option<WireUsage>,
    #[serde(default, borrow)]
    service_tier: Option<Text<'a>>,
    #[serde(default)]
    error: Option<Value>,
    #[serde(default, borrow)]
    object: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct ChunkChoice<'a> {
    #[serde(default)]
    index: u32,
    #[serde(default, borrow)]
    delta: Option<Delta<'a>>,
    #[serde(default, borrow)]
    finish_reason: Option<Text<'a>>,
}

#[derive(Default, Deserialize)]
struct Delta<'a> {
    #[serde(default, borrow)]
    role: Option<Text<'a>>,
    #[serde(default, borrow)]
    content: Option<Text<'a>>,
    #[serde(default, borrow)]
    refusal: Option<Text<'a>>,
    #[serde(default, borrow)]
    reasoning_content: Option<Text<'a>>,
    #[serde(default, borrow)]
    reasoning: Option<Text<'a>>,
    #[serde(default, borrow)]
    tool_calls: Option<Vec<CallDelta<'a>>>,
}

#[derive(Deserialize)]
struct CallDelta<'a> {
    #[serde(default)]
    index: Option<u32>,
    #[serde(default, borrow)]
    id: Option<Text<'a>>,
    #[serde(default, borrow)]
    function: Option<FunctionDelta<'a>>,
}

#[derive(Default, Deserialize)]
struct FunctionDelta<'a> {
    #[serde(default, borrow)]
    name: Option<Text<'a>>,
    #[serde(default, borrow)]
    arguments: Option<Text<'a>>,
}

/// What of a chunk must be mended.
#[derive(Default)]
pub(super) struct Repair {
    /// Answers whose first delta lacks the role, by position in the chunk.
    roles: Vec<usize>,
    /// Indices of tool calls: position of the answer, position of the call, the right index.
    indices: Vec<(usize, usize, u32)>,
    /// Tool calls that end in this chunk without arguments: position of the answer, position of the call.
    arguments: Vec<(usize, usize)>,
    /// Tool calls that began before and end here without arguments: which answer, which call of it.
    pub(super) ended: Vec<(u32, u32)>,
}

impl ChunkReader {
    /// Whether `[DONE]` came.
    pub(super) const fn is_done(&self) -> bool {
        self.done
    }

    /// Takes in an event.
    ///
    /// # Errors
    /// When it reports an error. An event that cannot be read is nothing.
    pub(super) fn read(&mut self, event: &SseEvent, sink: &mut impl Sink) -> Result<Read, UpstreamFault> {
        self.done |= event.data.trim_ascii() == b"[DONE]";
        if self.done {
            return Ok(Read::Nothing);
        }
        let Ok(chunk) = serde_json::from_slice::<Chunk<'_>>(&event.data) else {
            return unreadable(event).map(|()| Read::Nothing);
        };
        if chunk.error.is_some() || str_of(chunk.object.as_ref()) == "error" || event.event.as_deref() == Some("error")
        {
            return Err(reported(event));
        }
        sink.start(str_of(chunk.id.as_ref()), str_of(chunk.model.as_ref()));
        if let Some(tier) = &chunk.service_tier {
            sink.tier(&tier.0);
        }
        let choices = chunk.choices.unwrap_or_default();
        let mut repair = Repair::default();
        for (position, choice) in choices.iter().enumerate() {
            self.choice(position, choice, sink, &mut repair);
        }
        if let Some(usage) = chunk.usage.and_then(WireUsage::count) {
            sink.usage(usage);
        }
        Ok(if choices.is_empty() && chunk.usage.is_some() { Read::Usage } else { Read::Piece(repair) })
    }

    fn choice(&mut self, position: usize, choice: &ChunkChoice<'_>, sink: &mut impl Sink, repair: &mut Repair) {
        let index = choice.index;
        let state = self.state(index);
        if let Some(delta) = &choice.delta {
            if !state.has_role {
                state.has_role = true;
                if delta.role.is_none() {
                    repair.roles.push(position);
                }
            }
            for text in [&delta.reasoning_content, &delta.reasoning].into_iter().flatten().take(1) {
                if !text.0.is_empty() {
                    sink.thinking(index, &text.0);
                }
            }
            if let Some(text) = &delta.content {
                sink.text(index, &text.0);
            }
            if let Some(text) = &delta.refusal {
                sink.refusal(index, &text.0);
            }
            for (call_position, call) in delta.tool_calls.iter().flatten().enumerate() {
                let assigned = state.call(index, call, sink);
                if call.index != Some(assigned) {
                    repair.indices.push((position, call_position, assigned));
                }
                if choice.finish_reason.is_some() && state.lacks_arguments(assigned) {
                    sink.tool_arguments(index, assigned, "{}");
                    repair.arguments.push((position, call_position));
                }
            }
        }
        if let Some(reason) = &choice.finish_reason {
            state.complete_arguments(index, sink, repair);
            sink.finish(index, finish_of(&reason.0));
        }
    }

    fn state(&mut self, choice: u32) -> &mut ChoiceState {
        let index = (choice as usize).min(127);
        if self.choices.len() <= index {
            self.choices.resize(index + 1, ChoiceState::default());
        }
        #[expect(clippy::indexing_slicing, reason = "the list was just made long enough")]
        &mut self.choices[index]
    }
}

impl ChoiceState {
    /// The right index of the call that a delta belongs to.
    fn call(&mut self, choice: u32, delta: &CallDelta<'_>, sink: &mut impl Sink) -> u32 {
        let id = Some(str_of(delta.id.as_ref())).filter(|id| !id.is_empty());
        let known = match (id, delta.index) {
            (Some(id), index) => self
                .calls
                .iter()
                .rposition(|call| call.id.as_deref() == Some(id))
                // Some servers tell the id late; none tells two ids for one call.
                .or_else(|| self.calls.iter().rposition(|call| call.id.is_none() && call.upstream_index == index)),
            (None, Some(index)) => self.calls.iter().rposition(|call| call.upstream_index == Some(index)),
            (None, None) => self.calls.len().checked_sub(1),
        };
        let function = delta.function.as_ref();
        let position = known.unwrap_or_else(|| {
            let name = str_of(function.and_then(|function| function.name.as_ref()));
            let index = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
            sink.tool_call(choice, index, id.unwrap_or_default(), name);
            self.calls.push(CallState { upstream_index: delta.index, id: id.map(str::to_owned), has_arguments: false });
            self.calls.len() - 1
        });
        let assigned = u32::try_from(position).unwrap_or(u32::MAX);
        let arguments = str_of(function.and_then(|function| function.arguments.as_ref()));
        if !arguments.is_empty() {
            if let Some(call) = self.calls.get_mut(position) {
                call.has_arguments = true;
            }
            sink.tool_arguments(choice, assigned, arguments);
        }
        assigned
    }
}

impl ChoiceState {
    /// A call without arguments has `{}`, never nothing.
    fn complete_arguments(&mut self, choice: u32, sink: &mut impl Sink, repair: &mut Repair) {
        for (index, call) in self.calls.iter_mut().enumerate().filter(|(_, call)| !call.has_arguments) {
            call.has_arguments = true;
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            sink.tool_arguments(choice, index, "{}");
            repair.ended.push((choice, index));
        }
    }

    /// Whether nothing was said of a call's arguments yet; from now on something is.
    fn lacks_arguments(&mut self, call: u32) -> bool {
        let call = self.calls.get_mut(call as usize);
        call.is_some_and(|call| !std::mem::replace(&mut call.has_arguments, true))
    }
}

impl Repair {
    /// The event's data, mended; `None` when nothing is broken.
    pub(super) fn apply(&self, event: &SseEvent) -> Option<Vec<u8>> {
        if self.roles.is_empty() && self.indices.is_empty() && self.arguments.is_empty() {
            return None;
        }
        let mut chunk: Value = serde_json::from_slice(&event.data).ok()?;
        for position in &self.roles {
            let delta = chunk.pointer_mut(&format!("/choices/{position}/delta"))?.as_object_mut()?;
            delta.insert("role".to_owned(), Value::from("assistant"));
        }
        for (position, call, index) in &self.indices {
            let call = chunk.pointer_mut(&format!("/choices/{position}/delta/tool_calls/{call}"))?.as_object_mut()?;
            call.insert("index".to_owned(), Value::from(*index));
        }
        for (position, call) in &self.arguments {
            let call = chunk.pointer_mut(&format!("/choices/{position}/delta/tool_calls/{call}/function"))?;
            call.as_object_mut()?.insert("arguments".to_owned(), Value::from("{}"));
        }
        serde_json::to_vec(&chunk).ok()
    }
}

/// An event that is no chunk: an error in another shape is one, anything else is skipped.
fn unreadable(event: &SseEvent) -> Result<(), UpstreamFault> {
    if event.event.as_deref() == Some("error") {
        return Err(reported(event));
    }
    match serde_json::from_slice::<Value>(&event.data) {
        Ok(value) if error::reported(&value).is_some() => Err(reported(event)),
        _ => Ok(()),
    }
}

fn reported(event: &SseEvent) -> UpstreamFault {
    let value: Value = serde_json::from_slice(&event.data).unwrap_or_default();
    let (status, error) = error::reported(&value).unwrap_or_else(|| (None, error::decode(&event.data)));
    UpstreamFault::Reported { status, kind: error.kind.unwrap_or_default(), message: error.message }
}
