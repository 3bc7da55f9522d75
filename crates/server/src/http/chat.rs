//! A chat in any dialect on its way to the engine: what its headers say besides its body.

use axum::http::HeaderMap;
use privet_dialects::incoming::Incoming;
use privet_domain::id::{ConversationId, RequestId};
use privet_engine::completion::{CacheWish, ChatCommand, PromptWish};
use privet_engine::keyring::Caller;
use privet_providers::PassedHead;

use super::error::{ApiError, shortened};
use super::prompt_wish;
use super::reply::CONVERSATION_HEADER;
use super::trace_context::{CACHE_HEADER, request_trace};

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
    Ok(ChatCommand {
        caller,
        request_id,
        incoming,
        passed,
        conversation_id,
        conversational: false,
        prompt,
        cache: cache_wish(headers)?,
        trace: request_trace(headers),
    })
}

/// What the request says of answers that are kept for the same question: the header `x-privet-cache`.
pub(crate) fn cache_wish(headers: &HeaderMap) -> Result<Option<CacheWish>, ApiError> {
    let Some(value) = headers.get(CACHE_HEADER) else { return Ok(None) };
    let wish = value.to_str().unwrap_or("(not text)").parse();
    let wrong = |remedy: String| ApiError::bad_request(format!("`{CACHE_HEADER}`: {remedy}.")).at(CACHE_HEADER);
    wish.map(Some).map_err(wrong)
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
