//! A streamed answer of `streamGenerateContent?alt=sse`, event by event.
//!
//! Images in an answer have no event in the canonical form: they are parts that only a client of this dialect is told of. A whole answer
//! keeps them for all.

use super::wire::{self, Candidate, RawPart, Read, WireUsage};
use crate::canonical::{ChatEvent, FinishReason};
use crate::sse::SseEvent;
use crate::{Dialect, UpstreamFault};

/// Reads the events of one stream.
#[derive(Debug, Default)]
pub struct StreamDecoder {
    /// What tells this answer from others, once it has begun.
    seed: Option<u64>,
    usage: WireUsage,
    choices: Vec<ChoiceState>,
}

#[derive(Debug)]
struct ChoiceState {
    choice: u32,
    calls: u32,
    finished: bool,
}

impl StreamDecoder {
    /// Reads an event. One that cannot be read is skipped: it does not end the stream.
    ///
    /// # Errors
    /// When the event reports an error.
    pub fn event(&mut self, event: &SseEvent, out: &mut Vec<ChatEvent>) -> Result<(), UpstreamFault> {
        self.read(event, out).map(drop)
    }

    /// Does the same, and says whether the event could be read.
    pub(super) fn read(&mut self, event: &SseEvent, out: &mut Vec<ChatEvent>) -> Result<bool, UpstreamFault> {
        let wire = match wire::parse(&event.data) {
            Ok(wire) => wire,
            Err(UpstreamFault::Malformed(_)) => return Ok(false),
            Err(fault) => return Err(fault),
        };
        let counts = wire.usage_metadata.is_some();
        if let Some(usage) = &wire.usage_metadata {
            self.usage.update(usage.clone());
        }
        if self.seed.is_none() && !wire.is_answer() {
            return Ok(true);
        }
        let seed = *self.seed.get_or_insert_with(|| {
            let seed = wire::seed(&wire, &event.data);
            out.push(ChatEvent::Start {
                id: wire.response_id.clone().unwrap_or_else(|| format!("gemini-{seed:016x}")),
                model: wire.model_version.clone().unwrap_or_default(),
            });
            // A client that is told of the input at the beginning is told what is known of it.
            if counts {
                out.push(ChatEvent::Usage(self.usage.canonical()));
            }
            seed
        });
        for candidate in wire.candidates.into_iter().flatten() {
            self.candidate(candidate, seed, out);
        }
        if wire.prompt_feedback.is_some_and(|feedback| feedback.block_reason.is_some()) {
            self.end(0, |_| FinishReason::ContentFilter, out);
        }
        if counts {
            out.push(ChatEvent::Usage(self.usage.canonical()));
            out.extend(self.usage.tier().map(ChatEvent::Tier));
        }
        Ok(true)
    }

    /// Whether every answer that began has ended.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.choices.is_empty() && self.choices.iter().all(|state| state.finished)
    }

    fn candidate(&mut self, candidate: Candidate, seed: u64, out: &mut Vec<ChatEvent>) {
        let choice = candidate.index;
        let state = state(&mut self.choices, choice);
        for part in candidate.content.into_iter().flat_map(|content| content.parts) {
            state.part(&part, seed, out);
        }
        if let Some(reason) = candidate.finish_reason {
            self.end(choice, |has_calls| wire::finish(&reason, has_calls), out);
        }
    }

    fn end(&mut self, choice: u32, reason: impl FnOnce(bool) -> FinishReason, out: &mut Vec<ChatEvent>) {
        let state = state(&mut self.choices, choice);
        if !state.finished {
            state.finished = true;
            out.push(ChatEvent::Finish { choice, reason: reason(state.calls > 0) });
        }
    }
}

/// The state of an answer, which begins with its first mention.
fn state(choices: &mut Vec<ChoiceState>, choice: u32) -> &mut ChoiceState {
    let at = choices.iter().position(|state| state.choice == choice).unwrap_or(choices.len());
    if at == choices.len() {
        choices.push(ChoiceState { choice, calls: 0, finished: false });
    }
    #[expect(clippy::indexing_slicing, reason = "the place was found, or pushed a line above")]
    &mut choices[at]
}

impl ChoiceState {
    fn part(&mut self, raw: &RawPart, seed: u64, out: &mut Vec<ChatEvent>) {
        let choice = self.choice;
        let other = |value| ChatEvent::Other { choice, dialect: Dialect::Gemini, value };
        let part = match raw.read() {
            Some(Read::Known(part)) => part,
            Some(Read::Other(value)) => return out.push(other(value)),
            None => return,
        };
        if let Some(call) = part.function_call {
            let index = self.calls;
            self.calls += 1;
            let delta = call.arguments().to_owned();
            let id = call.id.filter(|id| !id.is_empty());
            let id = id.unwrap_or_else(|| wire::mint_id(seed, choice, index, &call.name));
            out.push(ChatEvent::ToolCall { choice, index, id, name: call.name, signature: part.thought_signature });
            out.push(ChatEvent::ToolArguments { choice, index, delta });
        } else if part.inline_data.is_some() {
            out.extend(raw.value().map(other));
        } else if let Some(delta) = part.text {
            out.push(if part.thought {
                ChatEvent::Thinking { choice, delta }
            } else {
                ChatEvent::Text { choice, delta }
            });
        }
    }
}
