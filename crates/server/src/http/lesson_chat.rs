//! `POST /api/chat`: the lesson's endpoint, to the byte, with its flaws mended; besides, `model` and `stream`.

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use privet_dialects::canonical::{Message, Role};
use privet_dialects::openai::chat_request::IncomingChat;
use privet_dialects::raw_object::RawObject;
use privet_domain::id::{ConversationId, RequestId};
use privet_domain::model::is_openai_reasoning;
use privet_engine::completion::{ChatCommand, CompletionError, PromptWish};
use privet_engine::router::Route;
use privet_providers::PassedHead;
use serde_json::{Map, Value, json};

use super::authenticate::{ForChat, Spending};
use super::chat::{cache_wish, parse_conversation_id};
use super::docs::{LessonChatRequest, LessonError, LessonReply};
use super::error::ApiError;
use super::idempotency::{RepeatableBody, once};
use super::prompt_wish;
use super::reply::respond;
use super::router::Http;
use super::surface::{Failure, Lesson};
use super::trace_context::{request_trace, told};

const NO_MESSAGES: &str = "Invalid request: messages must be a non-empty array";
const BAD_MESSAGE: &str =
    "Invalid request: each message must have a non-empty content and a role of either \"user\" or \"assistant\"";

/// Chat, as the lesson's applications do.
///
/// The answer is the provider's chat completion with `conversation_id` added. Send that id with the next message, and the
/// conversation goes on: the server remembers what was said. The prompt `Answer` of the project stands in front of the thread;
/// system messages of the client are dropped. With `stream: true` the answer comes as server-sent events and
/// the id in the header `x-conversation-id`.
#[utoipa::path(
    post, path = "/api/chat", tag = "Chat",
    request_body = LessonChatRequest,
    params(("idempotency-key" = Option<String>, Header, description = "Names the request: sent again within 24 h, it is answered as before and costs nothing")),
    responses(
        (status = 200, description = "The provider's chat completion, with `conversation_id`", body = LessonReply),
        (status = 400, description = "The request is wrong", body = LessonError),
        (status = 401, description = "No valid key", body = LessonError),
        (status = 403, description = "The key has not the scope `chat`, or may not use the model", body = LessonError),
        (status = 404, description = "Unknown model or conversation", body = LessonError),
        (status = 408, description = "The body came too slowly", body = LessonError),
        (status = 409, description = "The Idempotency-Key is in use, or was used for another request", body = LessonError),
        (status = 413, description = "The body is too large", body = LessonError),
        (status = 429, description = "Too many requests; `retry-after` says how long to wait", body = LessonError),
        (status = 500, description = "The provider failed", body = LessonError),
        (status = 503, description = "The server is shutting down", body = LessonError),
        (status = 507, description = "The disk is full", body = LessonError),
    ),
    security(("key" = ["chat"])),
)]
pub(crate) async fn create(
    State(http): State<Http>,
    Extension(request_id): Extension<RequestId>,
    Spending { caller, .. }: Spending<Lesson, ForChat>,
    headers: HeaderMap,
    RepeatableBody { bytes, repeatable, .. }: RepeatableBody<Lesson>,
) -> Result<Response, Failure<Lesson>> {
    let trace = request_trace(&headers);
    let (engine, family_id) = (http.engine.clone(), caller.family_id);
    let work = async move {
        let request = LessonRequest::parse(&bytes)?;
        let named = prompt_wish::read_named(&headers, || request.prompt.clone())?;
        let conversation_id = request.conversation_id;
        let route = engine.router.resolve(request.model.as_deref()).map_err(CompletionError::from)?;
        let incoming = request.into_incoming(&route).into();
        let command = ChatCommand {
            caller,
            request_id,
            incoming,
            passed: PassedHead::default(),
            conversation_id,
            conversational: true,
            prompt: Some(named.map_or(PromptWish::Answer, PromptWish::Named)),
            cache: cache_wish(&headers)?,
            trace: trace.clone(),
        };
        let replied = engine.complete(command).await.map_err(|error| ApiError::from(error).for_lesson());
        let answered = replied.map(|reply| {
            let id = reply.conversation_id;
            respond(reply, |bytes| with_conversation_id(bytes, id))
        });
        told(&trace, answered)
    };
    Ok(once(&http, family_id, repeatable, work).await?)
}

struct LessonRequest {
    messages: Vec<Message>,
    conversation_id: Option<ConversationId>,
    model: Option<String>,
    stream: bool,
    /// `metadata.prompt`: another prompt than `Answer`.
    prompt: Option<Value>,
    /// Whose conversation and memory it is: `metadata.trace_user_id`, or `user`.
    user: Option<String>,
}

impl LessonRequest {
    fn parse(bytes: &Bytes) -> Result<Self, ApiError> {
        let body: Value = serde_json::from_slice(bytes)
            .map_err(|error| ApiError::bad_request(format!("Invalid request: the body is not valid JSON: {error}")))?;
        if body.is_object() {
            // A member named twice could mean one thing here and another to whoever checked the request before.
            RawObject::parse(bytes.clone())?;
        }
        let messages = body.get("messages").and_then(Value::as_array).filter(|messages| !messages.is_empty());
        let messages = messages.ok_or_else(|| ApiError::bad_request(NO_MESSAGES))?;
        let messages: Option<Vec<Message>> = messages.iter().filter(|value| !is_system(value)).map(message).collect();
        let messages = messages.filter(|messages| !messages.is_empty());
        let messages = messages.ok_or_else(|| ApiError::bad_request(BAD_MESSAGE))?;
        let fields = body.as_object();
        let conversation_id = text(fields, "conversation_id")?.map(parse_conversation_id).transpose()?;
        let model = text(fields, "model")?.map(str::to_owned);
        let stream = match fields.and_then(|fields| fields.get("stream")) {
            None | Some(Value::Null) => false,
            Some(Value::Bool(stream)) => *stream,
            Some(_) => return Err(ApiError::bad_request("Invalid request: stream must be true or false")),
        };
        let prompt = body.pointer("/metadata/prompt").cloned();
        let metadata = fields.and_then(|fields| fields.get("metadata")).and_then(Value::as_object);
        let user = text(metadata, "trace_user_id")?.or(text(fields, "user")?).map(str::to_owned);
        Ok(Self { messages, conversation_id, model, stream, prompt, user })
    }

    /// The parameters are the lesson's: temperature 0 (where every model that may answer takes one), text, and at most 4096 tokens, which the
    /// engine sets.
    fn into_incoming(self, route: &Route) -> IncomingChat {
        let mut parameters = Vec::with_capacity(3);
        if !route.targets().any(|target| is_openai_reasoning(&target.model)) {
            parameters.push(("temperature".to_owned(), json!(0)));
        }
        parameters.push(("response_format".to_owned(), json!({"type": "text"})));
        // As in `/v1`: whose conversation and memory it is, unless the key speaks for one user alone.
        parameters.extend(self.user.map(|user| ("user".to_owned(), json!(user))));
        IncomingChat::from_messages(self.model, self.messages, self.stream, parameters)
    }
}

/// The instructions are the prompt's; a client's own are dropped.
fn is_system(message: &Value) -> bool {
    message.get("role").and_then(Value::as_str) == Some("system")
}

fn message(value: &Value) -> Option<Message> {
    let content = value.get("content")?.as_str().filter(|content| !content.trim().is_empty())?;
    let role = match value.get("role")?.as_str()? {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        _ => return None,
    };
    Some(Message::text(role, content))
}

fn text<'a>(fields: Option<&'a Map<String, Value>>, name: &str) -> Result<Option<&'a str>, ApiError> {
    match fields.and_then(|fields| fields.get(name)) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(ApiError::bad_request(format!("Invalid request: {name} must be a string"))),
    }
}

/// Adds the id at the top level of the provider's object and leaves every other byte as it is.
fn with_conversation_id(body: Bytes, id: Option<ConversationId>) -> Bytes {
    let (Some(id), Some(end)) = (id, body.iter().rposition(|&byte| byte == b'}')) else { return body };
    let head = body.get(..end).unwrap_or_default().trim_ascii_end();
    let comma = if head.ends_with(b"{") { "" } else { "," };
    let mut out = Vec::with_capacity(body.len() + 64);
    out.extend_from_slice(head);
    out.extend_from_slice(format!("{comma}\"conversation_id\":\"{id}\"}}").as_bytes());
    Bytes::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_added_and_nothing_else_changes() {
        let id = ConversationId::new();
        let added = |body: &'static str| with_conversation_id(Bytes::from_static(body.as_bytes()), Some(id));
        assert_eq!(added("{\"a\": 1.0}\n"), format!("{{\"a\": 1.0,\"conversation_id\":\"{id}\"}}"));
        assert_eq!(added("{}"), format!("{{\"conversation_id\":\"{id}\"}}"));
    }
}
