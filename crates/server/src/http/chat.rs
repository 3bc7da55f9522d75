//! A chat in any dialect on its way to the engine: what its headers say besides its body.

use axum::http::HeaderMap;
use privet_dialects::incoming::Incoming;
use privet_domain::id::{ConversationId, RequestId};
use privet_engine::completion::{ChatCommand, PromptWish};
use privet_engine::keyring::Caller;
use privet_providers::PassedHead;

use super::error::{ApiError, shortened};
use super::prompt_wish;
use super::reply::CONVERSATION_HEADER;
use super::trace_context::request_trace;

/// A chat as its client asked for it: the conversation is named by the header `x-conversation-id` or by the body, the prompt by
/// `x-privet-prompt` or by the body.
pub(crate) fn command(
    incoming: Incoming,
    headers: &HeaderMap,
    passed: PassedHead,
    caller: Caller,
    request_id: RequestId,
) -> Result<ChatCommand, ApiError> {
    let conversation_id = conversation_id(headers, &incoming)?;
    let prompt = prompt_wish::read(headers, &incoming)?.map(PromptWish::Named);
    let trace = request_trace(headers);
    Ok(ChatCommand { caller, request_id, incoming, passed, conversation_id, conversational: false, prompt, trace })
}

/// The conversation by the header, or else by the body.
fn conversation_id(headers: &HeaderMap, incoming: &Incoming) -> Result<Option<ConversationId>, ApiError> {
    let by_header = headers.get(CONVERSATION_HEADER).map(|value| value.to_str().unwrap_or("(not text)"));
    by_header.or(incoming.conversation_id()).map(parse_conversation_id).transpose()
}

/// Reads a conversation's id.
pub(crate) fn parse_conversation_id(text: &str) -> Result<ConversationId, ApiError> {
    text.parse().map_err(|_| {
        ApiError::bad_request(format!(
            "The conversation id `{}` is not a UUID. Leave it out to begin a conversation; the answer names its id.",
            shortened(text)
        ))
        .at("conversation_id")
    })
}
