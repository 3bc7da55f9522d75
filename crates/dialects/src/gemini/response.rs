//! A whole answer of `generateContent`.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::wire::{self, Candidate, Logprob, LogprobsResult, Read, WirePart, WireUsage};
use crate::canonical::{ChatResponse, Choice, FinishReason, Message, Part, Role, Source};
use crate::translate::{Answer, WholeAnswer};
use crate::{Dialect, UpstreamFault};

/// Reads an answer and passes its bytes on.
///
/// # Errors
/// When the body is no answer, or reports an error.
pub fn pass(body: Bytes) -> Result<WholeAnswer, UpstreamFault> {
    let answer = Answer::from(decode(&body)?);
    Ok(WholeAnswer { body, answer })
}

/// Reads an answer. A prompt that was blocked is an empty answer that a filter ended.
///
/// # Errors
/// When the body is no answer, or reports an error.
pub fn decode(body: &[u8]) -> Result<ChatResponse, UpstreamFault> {
    let wire = wire::parse(body)?;
    let seed = wire::seed(&wire, body);
    let is_blocked = wire.prompt_feedback.is_some_and(|feedback| feedback.block_reason.is_some());
    let choices: Vec<Choice> = match wire.candidates {
        Some(candidates) if !candidates.is_empty() => {
            candidates.into_iter().map(|candidate| choice(candidate, seed)).collect()
        }
        _ if is_blocked => vec![answer(Vec::new(), Some(FinishReason::ContentFilter), None)],
        _ => return Err(UpstreamFault::Malformed("the answer has no `candidates`".to_owned())),
    };
    Ok(ChatResponse {
        id: wire.response_id.unwrap_or_else(|| format!("gemini-{seed:016x}")),
        model: wire.model_version.unwrap_or_default(),
        created: None,
        choices,
        usage: wire.usage_metadata.as_ref().map(WireUsage::canonical),
        tier: wire.usage_metadata.as_ref().and_then(WireUsage::tier),
    })
}

fn answer(parts: Vec<Part>, finish: Option<FinishReason>, logprobs: Option<Value>) -> Choice {
    let message = Message { role: Role::Assistant, name: None, parts, extra: Map::new() };
    Choice { message, finish, logprobs }
}

fn choice(candidate: Candidate, seed: u64) -> Choice {
    let mut parts: Vec<Part> = Vec::new();
    let mut calls = 0;
    for part in candidate.content.into_iter().flat_map(|content| content.parts) {
        match part.read() {
            Some(Read::Known(part)) => push(&mut parts, part, |name| {
                let id = wire::mint_id(seed, candidate.index, calls, name);
                calls += 1;
                id
            }),
            Some(Read::Other(value)) => parts.push(Part::Other { dialect: Dialect::Gemini, value }),
            None => {}
        }
    }
    let has_calls = parts.iter().any(|part| matches!(part, Part::ToolCall { .. }));
    let finish = candidate.finish_reason.as_deref().map(|reason| wire::finish(reason, has_calls));
    answer(parts, finish, candidate.logprobs_result.as_ref().map(logprobs))
}

/// Adds a part. Text that came in pieces is one text, as it is in a stream.
///
/// A signature of text is not kept: Gemini recommends it back but does not demand it, and no other provider may see it.
fn push(parts: &mut Vec<Part>, part: WirePart, mint: impl FnOnce(&str) -> String) {
    if let Some(call) = part.function_call {
        let arguments = call.arguments().to_owned();
        let minted = mint(&call.name);
        let id = call.id.filter(|id| !id.is_empty()).unwrap_or(minted);
        parts.push(Part::ToolCall { id, name: call.name, arguments, signature: part.thought_signature });
    } else if let Some(data) = part.inline_data {
        let source = Source::Base64 { media_type: data.mime_type, data: data.data };
        parts.push(Part::Image { source, detail: None });
    } else if let Some(more) = part.text.filter(|text| !text.is_empty()) {
        match parts.last_mut() {
            Some(Part::Thinking { text, .. }) if part.thought => text.push_str(&more),
            Some(Part::Text { text }) if !part.thought => text.push_str(&more),
            _ if part.thought => parts.push(Part::Thinking { text: more, signature: None }),
            _ => parts.push(Part::Text { text: more }),
        }
    }
}

/// The log-probabilities in OpenAI's form, which is the canonical one.
fn logprobs(result: &LogprobsResult) -> Value {
    let entry = |logprob: &Logprob| json!({"token": logprob.token, "logprob": logprob.log_probability, "bytes": logprob.token.as_bytes()});
    let content = result.chosen_candidates.iter().enumerate().map(|(index, chosen)| {
        let alternatives = result.top_candidates.get(index).map_or(&[][..], |top| &top.candidates);
        let mut chosen = entry(chosen);
        if let Some(fields) = chosen.as_object_mut() {
            fields.insert("top_logprobs".to_owned(), alternatives.iter().map(entry).collect());
        }
        chosen
    });
    json!({"content": content.collect::<Vec<_>>(), "refusal": null})
}
