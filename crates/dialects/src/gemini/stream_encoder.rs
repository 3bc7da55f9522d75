//! Canonical events as the events of `streamGenerateContent?alt=sse`.
//!
//! A call is one part, with all of its arguments: what comes while they are on their way waits behind it. The last event has the
//! reasons why the answers ended, and the tokens.

use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::answer::{call, set_finish, thought, usage_metadata};
use super::signature::{encrypted, signed};
use crate::canonical::{ChatEvent, FinishReason, Usage};
use crate::sse::write_event;

/// What says that a stream lives: a line of nothing. Official clients take a comment for an event that is broken.
pub const KEEP_ALIVE: Bytes = Bytes::from_static(b"\n");

/// Writes the events of one stream.
#[derive(Debug, Default)]
pub struct StreamEncoder {
    id: String,
    model: String,
    usage: Option<Usage>,
    candidates: Vec<Candidate>,
}

#[derive(Debug)]
struct Candidate {
    index: u32,
    /// What is not written yet. The first of them is a call whose arguments are on their way.
    waiting: VecDeque<Piece>,
    /// What another provider signs the thought before with, as far as it came.
    signature: String,
    refuses: bool,
    finish: Option<FinishReason>,
}

#[derive(Debug)]
enum Piece {
    Whole(Value),
    Call { call: u32, id: String, name: String, arguments: String, signature: Option<String> },
}

impl Piece {
    /// Whether nothing more belongs to it.
    fn is_whole(&self) -> bool {
        match self {
            Self::Whole(_) => true,
            Self::Call { arguments, .. } => {
                arguments.trim_end().ends_with('}') && serde_json::from_str::<serde::de::IgnoredAny>(arguments).is_ok()
            }
        }
    }

    fn into_part(self) -> Value {
        match self {
            Self::Whole(part) => part,
            Self::Call { id, name, arguments, signature, .. } => call(&id, &name, &arguments, signature.as_deref()),
        }
    }
}

impl StreamEncoder {
    /// Writes an event.
    pub fn event(&mut self, event: &ChatEvent, out: &mut Vec<u8>) {
        match event {
            ChatEvent::Start { id, model } => {
                self.id.clone_from(id);
                self.model.clone_from(model);
            }
            ChatEvent::Text { delta, .. } | ChatEvent::Refusal { delta, .. } | ChatEvent::Thinking { delta, .. }
                if delta.is_empty() => {}
            ChatEvent::Text { choice, delta } => self.part(*choice, json!({"text": delta}), out),
            ChatEvent::Refusal { choice, delta } => {
                self.candidate(*choice).refuses = true;
                self.part(*choice, json!({"text": delta}), out);
            }
            ChatEvent::Thinking { choice, delta } => self.part(*choice, thought(delta, None), out),
            ChatEvent::ThinkingSignature { choice, signature } => {
                self.candidate(*choice).signature.push_str(signature);
            }
            ChatEvent::RedactedThinking { choice, data } => {
                self.part(*choice, thought("", Some(encrypted(data))), out);
            }
            ChatEvent::Other { choice, value, .. } => self.part(*choice, value.clone(), out),
            ChatEvent::ToolCall { choice, index, id, name, signature } => {
                let (id, name, signature) = (id.clone(), name.clone(), signature.clone());
                let piece = Piece::Call { call: *index, id, name, arguments: String::new(), signature };
                self.add(*choice, piece, out);
            }
            ChatEvent::ToolArguments { choice, index, delta } => self.arguments((*choice, *index), delta, out),
            ChatEvent::Finish { choice, reason } => {
                self.candidate(*choice).finish = Some(reason.clone());
                self.flush(*choice, out);
            }
            ChatEvent::Usage(usage) => self.usage = Some(*usage),
            ChatEvent::Tier(_) => {}
            ChatEvent::Ping => out.extend_from_slice(&KEEP_ALIVE),
        }
    }

    /// Writes the last event.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        let all: Vec<u32> = self.candidates.iter().map(|candidate| candidate.index).collect();
        all.into_iter().for_each(|choice| self.flush(choice, out));
        if self.candidates.is_empty() {
            self.candidate(0);
        }
        let candidates = self.candidates.iter().map(|candidate| {
            let mut fields = Map::new();
            // Clients keep no answer whose last piece has no content.
            fields.insert("content".to_owned(), json!({"parts": [{"text": ""}], "role": "model"}));
            // Some servers do not say why they end.
            let finish = candidate.finish.as_ref().unwrap_or(&FinishReason::Stop);
            set_finish(&mut fields, finish, candidate.refuses);
            fields.insert("index".to_owned(), json!(candidate.index));
            Value::Object(fields)
        });
        self.send(candidates.collect(), self.usage.as_ref(), out);
    }

    fn part(&mut self, choice: u32, part: Value, out: &mut Vec<u8>) {
        self.add(choice, Piece::Whole(part), out);
    }

    fn add(&mut self, choice: u32, piece: Piece, out: &mut Vec<u8>) {
        self.sign(choice);
        self.candidate(choice).waiting.push_back(piece);
        self.write(choice, out);
    }

    /// Signs the thought that was shown last, if there is a signature.
    fn sign(&mut self, choice: u32) {
        let candidate = self.candidate(choice);
        if !candidate.signature.is_empty() {
            let signature = signed(&std::mem::take(&mut candidate.signature));
            candidate.waiting.push_back(Piece::Whole(thought("", Some(signature))));
        }
    }

    fn arguments(&mut self, (choice, index): (u32, u32), delta: &str, out: &mut Vec<u8>) {
        let mut calls = self.candidate(choice).waiting.iter_mut();
        let arguments = calls.find_map(|piece| match piece {
            Piece::Call { call, arguments, .. } if *call == index => Some(arguments),
            _ => None,
        });
        if let Some(arguments) = arguments {
            arguments.push_str(delta);
            self.write(choice, out);
        }
    }

    /// Writes everything, since nothing more comes.
    fn flush(&mut self, choice: u32, out: &mut Vec<u8>) {
        self.sign(choice);
        let waiting = std::mem::take(&mut self.candidate(choice).waiting);
        self.parts(choice, waiting.into_iter().map(Piece::into_part).collect(), out);
    }

    /// Writes what is whole.
    fn write(&mut self, choice: u32, out: &mut Vec<u8>) {
        let candidate = self.candidate(choice);
        let mut parts = Vec::new();
        while candidate.waiting.front().is_some_and(Piece::is_whole) {
            parts.extend(candidate.waiting.pop_front().map(Piece::into_part));
        }
        self.parts(choice, parts, out);
    }

    fn parts(&self, choice: u32, parts: Vec<Value>, out: &mut Vec<u8>) {
        if !parts.is_empty() {
            let candidate = json!({"content": {"parts": parts, "role": "model"}, "index": choice});
            self.send(json!([candidate]), None, out);
        }
    }

    fn send(&self, candidates: Value, usage: Option<&Usage>, out: &mut Vec<u8>) {
        let mut event = Map::new();
        event.insert("candidates".to_owned(), candidates);
        event.extend(usage.map(|usage| ("usageMetadata".to_owned(), usage_metadata(usage))));
        event.insert("modelVersion".to_owned(), json!(self.model));
        event.insert("responseId".to_owned(), json!(self.id));
        write_event(out, None, Value::Object(event).to_string().as_bytes());
    }

    /// The state of an answer, which begins with its first mention.
    fn candidate(&mut self, index: u32) -> &mut Candidate {
        let at = self.candidates.iter().position(|candidate| candidate.index == index).unwrap_or(self.candidates.len());
        if at == self.candidates.len() {
            let (waiting, signature) = (VecDeque::new(), String::new());
            self.candidates.push(Candidate { index, waiting, signature, refuses: false, finish: None });
        }
        #[expect(clippy::indexing_slicing, reason = "the place was found, or pushed a line above")]
        &mut self.candidates[at]
    }
}
