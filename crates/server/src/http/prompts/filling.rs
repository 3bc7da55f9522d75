//! Filling a prompt's holes, and trying what a model makes of it.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::{Extension, Json};
use privet_dialects::canonical::{Message, Role};
use privet_dialects::openai::chat_request::IncomingChat;
use privet_dialects::openai::message;
use privet_domain::id::RequestId;
use privet_domain::prompt::{Compiled, Selector, Unfilled, Values};
use privet_engine::completion::{ChatCommand, PromptWish};
use privet_engine::prompt::{Prompt, PromptError};
use privet_providers::PassedHead;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::super::authenticate::{Authenticated, ForChat, ForRead, Spending};
use super::super::body::JsonBody;
use super::super::conversations::decode;
use super::super::docs::{ChatCompletion, NativeError};
use super::super::error::ApiError;
use super::super::idempotency::{RepeatableBody, once};
use super::super::reply::respond;
use super::super::router::Http;
use super::super::surface::{Failure, Native};
use super::super::trace_context::{request_trace, told};
use super::PathName;

/// The members of a configuration that a test-run heeds besides the model.
const PARAMETERS: [&str; 14] = [
    "temperature",
    "top_p",
    "top_k",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "reasoning_effort",
    "response_format",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
];

/// What to put into which version.
#[derive(Deserialize, ToSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Filling {
    /// The version; the one in production when neither this nor a label is given.
    version: Option<u32>,
    /// A label that points to the version.
    label: Option<String>,
    /// For the variables: strings as they are, null as nothing, all else as JSON.
    #[schema(value_type = Object)]
    variables: Map<String, Value>,
    /// For the placeholders: arrays of messages.
    #[schema(value_type = Object)]
    placeholders: Map<String, Value>,
    /// `true` leaves holes that nothing is given for; they are an error otherwise.
    keep_missing: bool,
}

/// A version with its holes filled.
#[derive(Serialize, ToSchema)]
pub(crate) struct FilledPrompt {
    /// The prompt's name.
    name: String,
    /// The version.
    version: u32,
    /// A text, or an array of messages.
    #[schema(value_type = Value)]
    prompt: Value,
    /// Whatever goes along with it.
    #[schema(value_type = Object)]
    config: Value,
}

/// A test-run.
#[derive(Deserialize, ToSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TestRun {
    /// The version; the one in production when neither this nor a label is given.
    version: Option<u32>,
    /// A label that points to the version.
    label: Option<String>,
    /// For the variables.
    #[schema(value_type = Object)]
    variables: Map<String, Value>,
    /// For the placeholders: arrays of messages.
    #[schema(value_type = Object)]
    placeholders: Map<String, Value>,
    /// What is said behind the prompt. A text prompt is the user's words without it, and the system's with it.
    #[schema(value_type = Vec<Object>)]
    messages: Vec<Value>,
    /// `provider/model` or an alias; `config.model` when absent, or else the configured default.
    model: Option<String>,
    /// Parameters such as `temperature`, in place of those in the prompt's configuration.
    #[schema(value_type = Object)]
    parameters: Map<String, Value>,
    /// Answer as server-sent events.
    stream: bool,
    /// `true` keeps it as a conversation and its texts in the trace, as any other chat.
    store: Option<bool>,
}

/// Fill the holes of a prompt.
///
/// The rule is that of Langfuse's Python SDK: `{{name}}`, blanks around the name or not, is replaced by the value's text, and
/// there are no sections, conditions or escapes. What is put in is not read again.
#[utoipa::path(
    post, path = "/api/prompts/{name}/compile", tag = "Prompts", request_body(content = Option<Filling>),
    params(("name" = String, Path, description = "The prompt; its slashes are written `%2F`")),
    responses(
        (status = 200, description = "The filled prompt", body = FilledPrompt),
        (status = 400, description = "A field is wrong, or nothing is given for a hole: the error names all of them", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `read`", body = NativeError),
        (status = 404, description = "There is no such prompt, version or label", body = NativeError),
        (status = 409, description = "It cannot be put together: a prompt that stands in it is missing", body = NativeError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn compile(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForRead>,
    PathName(name): PathName,
    body: JsonBody<Native>,
) -> Result<Json<FilledPrompt>, Failure<Native>> {
    let filling: Filling = if body.bytes.trim_ascii().is_empty() { Filling::default() } else { decode(&body.bytes)? };
    let selector = Selector::read(filling.version, filling.label.as_deref()).map_err(PromptError::from)?;
    let prompt = http.engine.prompts.fetch(caller.project_id, &name, &selector).await?;
    let values = Values { variables: &filling.variables, placeholders: &filling.placeholders };
    let unfilled = if filling.keep_missing { Unfilled::Keep } else { Unfilled::Refuse };
    let filled = prompt.compile(values, unfilled)?.into_json();
    let (name, version, config) = (prompt.head.name.clone(), prompt.head.version, prompt.config.clone());
    Ok(Json(FilledPrompt { name, version, prompt: filled, config }))
}

/// Try a prompt: its holes are filled, and a model answers.
///
/// It is a chat as any other: it costs, it is limited and it leaves a trace that names the version. Unless `store` is `true` it
/// is not kept as a conversation.
#[utoipa::path(
    post, path = "/api/prompts/{name}/run", tag = "Prompts", request_body(content = Option<TestRun>),
    params(("name" = String, Path, description = "The prompt; its slashes are written `%2F`")),
    responses(
        (status = 200, description = "The answer, in OpenAI's shape", body = ChatCompletion),
        (status = 400, description = "A field is wrong, or nothing is given for a hole", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 402, description = "A budget is used up", body = NativeError),
        (status = 403, description = "The key has not the scope `chat`, or may not use the model", body = NativeError),
        (status = 404, description = "There is no such prompt, version, label or model", body = NativeError),
        (status = 409, description = "It cannot be put together: a prompt that stands in it is missing", body = NativeError),
        (status = 429, description = "Too many requests; `retry-after` says how long to wait", body = NativeError),
        (status = 502, description = "The provider failed", body = NativeError),
    ),
    security(("key" = ["chat"])),
)]
pub(crate) async fn run(
    State(http): State<Http>,
    Extension(request_id): Extension<RequestId>,
    Spending { caller, .. }: Spending<Native, ForChat>,
    PathName(name): PathName,
    headers: HeaderMap,
    RepeatableBody { bytes, repeatable, .. }: RepeatableBody<Native>,
) -> Result<Response, Failure<Native>> {
    let (engine, family_id) = (http.engine.clone(), caller.family_id);
    let work = async move {
        let test: TestRun = if bytes.trim_ascii().is_empty() { TestRun::default() } else { decode(&bytes)? };
        let selector = Selector::read(test.version, test.label.as_deref()).map_err(PromptError::from)?;
        let prompt = engine.prompts.fetch(caller.project_id, &name, &selector).await?;
        let incoming = incoming(&prompt, test)?.into();
        let trace = request_trace(&headers);
        let command = ChatCommand {
            caller,
            request_id,
            incoming,
            passed: PassedHead::default(),
            conversation_id: None,
            conversational: false,
            prompt: Some(PromptWish::Put(prompt.link())),
            cache: None,
            trace: trace.clone(),
        };
        let replied = engine.complete(command).await.map_err(ApiError::from);
        told(&trace, replied.map(|reply| respond(reply, |bytes| bytes)))
    };
    Ok(once(&http, family_id, repeatable, work).await?)
}

/// The chat of a test-run.
fn incoming(prompt: &Prompt, test: TestRun) -> Result<IncomingChat, ApiError> {
    let values = Values { variables: &test.variables, placeholders: &test.placeholders };
    let decoded = |values: Vec<Value>, place: &str| {
        values.into_iter().map(|value| message::decode(value, place)).collect::<Result<Vec<Message>, _>>()
    };
    let said = decoded(test.messages, "messages")?;
    let mut messages = match prompt.compile(values, Unfilled::Refuse)? {
        Compiled::Text(text) if said.is_empty() => vec![Message::text(Role::User, text)],
        compiled => decoded(compiled.into_messages(), "prompt")?,
    };
    messages.extend(said);
    if messages.is_empty() {
        let message = "The prompt is empty with these placeholders; give `messages`.";
        return Err(ApiError::bad_request(message).at("messages"));
    }
    if let Some(name) = test.parameters.keys().find(|name| !PARAMETERS.contains(&name.as_str())) {
        let message = format!("`parameters.{name}` is none of {}.", PARAMETERS.join(", "));
        return Err(ApiError::bad_request(message).at("parameters"));
    }
    let configured = |name: &str| prompt.config.get(name).filter(|value| !value.is_null());
    let model = test.model.or_else(|| configured("model")?.as_str().map(str::to_owned));
    let parameter = |name: &&str| test.parameters.get(*name).or_else(|| configured(name)).cloned();
    let parameters = PARAMETERS.iter().filter_map(|name| Some(((*name).to_owned(), parameter(name)?))).collect();
    let mut incoming = IncomingChat::from_messages(model, messages, test.stream, parameters);
    incoming.store = Some(test.store == Some(true));
    Ok(incoming)
}
