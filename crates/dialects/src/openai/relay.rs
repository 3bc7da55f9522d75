//! A stream of chunks passed on as its own bytes: read lightly to collect the answer, changed only where it is broken.
//!
//! What is mended: a first delta without its role, indices of tool calls that are missing, repeated or have gaps, and a tool
//! call without arguments. What is left out: the usage when the client did not ask for it.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::error;
use super::stream_encoder::finish_of;
use super::usage::WireUsage;
use crate::UpstreamFault;
use crate::collect::Collector;
use crate::sse::{SseEvent, write_event};

/// A stream being relayed.
#[derive(Debug)]
pub struct Relay {
    include_usage: bool,
    done: bool,
    choices: Vec<ChoiceState>,
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
struct Repair {
    /// Answers whose first delta lacks the role, by position in the chunk.
    roles: Vec<usize>,
    /// Indices of tool calls: position of the answer, position of the call, the right index.
    indices: Vec<(usize, usize, u32)>,
    /// Tool calls that end in this chunk without arguments: position of the answer, position of the call.
    arguments: Vec<(usize, usize)>,
}

impl Relay {
    /// For one stream.
    #[must_use]
    pub const fn new(include_usage: bool) -> Self {
        Self { include_usage, done: false, choices: Vec::new() }
    }

    /// Whether `[DONE]` came.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.done
    }

    /// Takes in an event: collects it, and writes it to the end of `out` for the client. Gives where in `out` the event itself
    /// begins: what it wrote before are pieces that were missing.
    ///
    /// # Errors
    /// When it reports an error. An event that cannot be read is skipped.
    pub fn event(
        &mut self,
        event: &SseEvent,
        collector: &mut Collector,
        out: &mut Vec<u8>,
    ) -> Result<usize, UpstreamFault> {
        self.done |= event.data.trim_ascii() == b"[DONE]";
        if self.done {
            return Ok(out.len());
        }
        let Ok(chunk) = serde_json::from_slice::<Chunk<'_>>(&event.data) else {
            return unreadable(event).map(|()| out.len());
        };
        if chunk.error.is_some() || str_of(chunk.object.as_ref()) == "error" || event.event.as_deref() == Some("error")
        {
            return Err(reported(event));
        }
        collector.start(str_of(chunk.id.as_ref()), str_of(chunk.model.as_ref()));
        if let Some(tier) = &chunk.service_tier {
            collector.tier(&tier.0);
        }
        let choices = chunk.choices.unwrap_or_default();
        let mut repair = Repair::default();
        for (position, choice) in choices.iter().enumerate() {
            self.choice(position, choice, collector, &mut repair);
        }
        if let Some(usage) = chunk.usage.and_then(WireUsage::count) {
            collector.usage(usage);
        }
        if choices.is_empty() && chunk.usage.is_some() && !self.include_usage {
            return Ok(out.len());
        }
        for choice in choices.iter().filter(|choice| choice.finish_reason.is_some()) {
            self.complete_arguments(choice.index, event, collector, out);
        }
        let begins = out.len();
        match repair.apply(event) {
            Some(mended) => write_event(out, None, &mended),
            None => write_event(out, event.event.as_deref(), &event.data),
        }
        Ok(begins)
    }

    fn choice(&mut self, position: usize, choice: &ChunkChoice<'_>, collector: &mut Collector, repair: &mut Repair) {
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
                    collector.thinking(index, &text.0);
                }
            }
            if let Some(text) = &delta.content {
                collector.text(index, &text.0);
            }
            if let Some(text) = &delta.refusal {
                collector.refusal(index, &text.0);
            }
            for (call_position, call) in delta.tool_calls.iter().flatten().enumerate() {
                let assigned = state.call(index, call, collector);
                if call.index != Some(assigned) {
                    repair.indices.push((position, call_position, assigned));
                }
                if choice.finish_reason.is_some() && state.lacks_arguments(assigned) {
                    collector.tool_arguments(index, assigned, "{}");
                    repair.arguments.push((position, call_position));
                }
            }
        }
        if let Some(reason) = &choice.finish_reason {
            collector.finish(index, finish_of(&reason.0));
        }
    }

    /// A call without arguments has `{}`, never nothing: a piece before the finish says so.
    fn complete_arguments(&mut self, choice: u32, event: &SseEvent, collector: &mut Collector, out: &mut Vec<u8>) {
        let state = self.state(choice);
        for (index, call) in state.calls.iter_mut().enumerate() {
            if call.has_arguments {
                continue;
            }
            call.has_arguments = true;
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            collector.tool_arguments(choice, index, "{}");
            let Ok(mut piece) = serde_json::from_slice::<Value>(&event.data) else { continue };
            piece["choices"] = serde_json::json!([{
                "index": choice, "finish_reason": null,
                "delta": {"tool_calls": [{"index": index, "function": {"arguments": "{}"}}]},
            }]);
            if let Some(fields) = piece.as_object_mut() {
                fields.shift_remove("usage");
            }
            write_event(out, None, piece.to_string().as_bytes());
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
    fn call(&mut self, choice: u32, delta: &CallDelta<'_>, collector: &mut Collector) -> u32 {
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
            collector.tool_call(choice, id.unwrap_or_default(), name, None);
            self.calls.push(CallState { upstream_index: delta.index, id: id.map(str::to_owned), has_arguments: false });
            self.calls.len() - 1
        });
        let assigned = u32::try_from(position).unwrap_or(u32::MAX);
        let arguments = str_of(function.and_then(|function| function.arguments.as_ref()));
        if !arguments.is_empty() {
            if let Some(call) = self.calls.get_mut(position) {
                call.has_arguments = true;
            }
            collector.tool_arguments(choice, assigned, arguments);
        }
        assigned
    }
}

impl ChoiceState {
    /// Whether nothing was said of a call's arguments yet; from now on something is.
    fn lacks_arguments(&mut self, call: u32) -> bool {
        let call = self.calls.get_mut(call as usize);
        call.is_some_and(|call| !std::mem::replace(&mut call.has_arguments, true))
    }
}

impl Repair {
    /// The event's data, mended; `None` when nothing is broken.
    fn apply(&self, event: &SseEvent) -> Option<Vec<u8>> {
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
