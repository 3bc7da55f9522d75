//! The description of the API: `/openapi.json`, made from the code, and `/docs`, which renders it.
//!
//! The shapes here describe what passes through; the ones that Privet itself reads or writes stand beside their handlers.

mod audio;

pub(crate) use audio::{RecordingRequest, SpeechRequest, Transcript};

use serde::Serialize;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi, ToSchema};

use super::gemini;

/// The document without its paths; the router adds those.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Privet",
        description = "Your private LLM API. Each request carries `Authorization: Bearer KEY` (or `x-api-key: KEY`).",
        license(name = "MIT OR Apache-2.0"),
    ),
    modifiers(&KeyScheme),
    components(schemas(AnthropicModelList, AnthropicModel)),
    // The router has one route for all methods of a model.
    paths(gemini::methods::generate, gemini::methods::stream, gemini::methods::count, gemini::models::read),
    tags(
        (name = "Chat", description = "The lesson's endpoint."),
        (name = "OpenAI", description = "For every client that speaks to OpenAI: set its base URL to `/v1` of this server."),
        (name = "Anthropic", description = "For every client that speaks to Anthropic: set its base URL to this server."),
        (name = "Gemini", description = "For every client that speaks to Gemini: set its base URL to this server."),
        (name = "Conversations", description = "What was said, kept."),
        (name = "Prompts", description = "What models are told: versions, labels, variables. A name's slashes are written `%2F` in paths."),
        (name = "Keys", description = "Who may call, and how much. For keys with the scope `admin`."),
        (name = "Money", description = "What was spent and why, and the switch that stops it."),
        (name = "Langfuse", description = "For Langfuse's SDKs: set their base URL to this server. A key is also a pair: \
            `Authorization: Basic` with PUBLIC_KEY:KEY."),
        (name = "Traces", description = "What requests and agents did, step by step."),
        (name = "Operations", description = "For those who run the server."),
    ),
)]
pub(crate) struct ApiDoc;

struct KeyScheme;

impl Modify for KeyScheme {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        document.components.get_or_insert_default().add_security_scheme("key", bearer);
    }
}

/// An error of `/v1`, in OpenAI's envelope.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what the dialect writes")]
pub(crate) struct OpenAiError {
    error: OpenAiErrorBody,
}

/// What went wrong.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what the dialect writes")]
pub(crate) struct OpenAiErrorBody {
    /// For people: what happened and how to mend it.
    message: String,
    /// The family of the error.
    r#type: String,
    /// Which field of the request is wrong.
    param: Option<String>,
    /// Stable, for programs.
    code: Option<String>,
}

/// An error of `/v1/messages`, in Anthropic's envelope.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what the dialect writes")]
pub(crate) struct AnthropicError {
    /// `error`.
    r#type: String,
    error: AnthropicErrorBody,
    /// The request's id, as in the header `request-id`.
    request_id: Option<String>,
}

/// What went wrong.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what the dialect writes")]
pub(crate) struct AnthropicErrorBody {
    /// The family of the error.
    r#type: String,
    /// For people: what happened and how to mend it.
    message: String,
    details: AnthropicErrorDetails,
}

/// For programs.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what the dialect writes")]
pub(crate) struct AnthropicErrorDetails {
    /// Stable, for programs.
    error_code: String,
    /// Which field of the request is wrong.
    param: Option<String>,
}

/// A Messages request. Fields that are not listed pass through to Anthropic.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what the dialect reads")]
pub(crate) struct MessagesRequest {
    /// `provider/model` or an alias; the configured default when absent.
    model: Option<String>,
    /// The most tokens of the answer.
    max_tokens: u64,
    /// Instructions: a text, or blocks of text.
    #[schema(value_type = Option<Value>)]
    system: Option<serde_json::Value>,
    /// The thread, or what is new in it.
    #[schema(min_items = 1)]
    messages: Vec<AnthropicTurn>,
    /// Answer as server-sent events.
    stream: Option<bool>,
    /// `user_id` is the end user; the other members are Privet's own, as in `/v1/chat/completions`.
    metadata: Option<std::collections::BTreeMap<String, String>>,
    /// Privet's own: `false` keeps this chat out of the history.
    store: Option<bool>,
}

/// A Messages request to be counted.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what the dialect reads")]
pub(crate) struct CountTokensRequest {
    /// `provider/model` or an alias; the configured default when absent.
    model: Option<String>,
    /// Instructions: a text, or blocks of text.
    #[schema(value_type = Option<Value>)]
    system: Option<serde_json::Value>,
    /// The whole thread.
    #[schema(min_items = 1)]
    messages: Vec<AnthropicTurn>,
}

/// How many tokens a request has.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what passes through")]
pub(crate) struct TokenCount {
    input_tokens: u64,
}

/// A message, as Anthropic writes it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what the dialect reads")]
pub(crate) struct AnthropicTurn {
    /// `user`, `assistant` or `system`.
    role: String,
    /// A text, or content blocks.
    #[schema(value_type = Value)]
    content: serde_json::Value,
}

/// A message of a model.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what passes through")]
pub(crate) struct AnthropicMessage {
    id: String,
    r#type: String,
    role: String,
    model: String,
    #[schema(value_type = Vec<Object>)]
    content: Vec<serde_json::Value>,
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
    #[schema(value_type = Object)]
    usage: serde_json::Value,
}

/// An error of `/v1beta`, in Google's envelope.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what the dialect writes")]
pub(crate) struct GeminiError {
    error: GeminiErrorBody,
}

/// What went wrong.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what the dialect writes")]
pub(crate) struct GeminiErrorBody {
    /// The HTTP status.
    code: u16,
    /// For people: what happened and how to mend it.
    message: String,
    /// Google's word for the status.
    status: String,
    /// `ErrorInfo` with the stable code and the field at fault, `RequestInfo`, `RetryInfo`.
    #[schema(value_type = Vec<Object>)]
    details: Vec<serde_json::Value>,
}

/// A request to `generateContent`. Fields that are not listed pass through to Gemini.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what the dialect reads")]
#[schema(rename_all = "camelCase")]
pub(crate) struct GenerateContentRequest {
    /// The thread, or what is new in it.
    #[schema(min_items = 1, value_type = Vec<Object>)]
    contents: Vec<serde_json::Value>,
    /// Instructions: a content with texts.
    #[schema(value_type = Option<Object>)]
    system_instruction: Option<serde_json::Value>,
    /// `maxOutputTokens`, `temperature`, `responseSchema`, `thinkingConfig` …
    #[schema(value_type = Option<Object>)]
    generation_config: Option<serde_json::Value>,
    /// Functions that the model may call; tools that Google runs go to models of Gemini's alone.
    #[schema(value_type = Option<Vec<Object>>)]
    tools: Option<Vec<serde_json::Value>>,
    /// Privet's own: `user_id` is the end user; the other members are as in `/v1/chat/completions`.
    metadata: Option<std::collections::BTreeMap<String, String>>,
    /// `false` keeps this chat out of the history.
    store: Option<bool>,
}

/// An answer, or a piece of one.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what passes through")]
#[schema(rename_all = "camelCase")]
pub(crate) struct GeminiAnswer {
    #[schema(value_type = Vec<Object>)]
    candidates: Vec<serde_json::Value>,
    #[schema(value_type = Option<Object>)]
    usage_metadata: Option<serde_json::Value>,
    model_version: Option<String>,
    response_id: Option<String>,
}

/// How many tokens a request has.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what passes through")]
#[schema(rename_all = "camelCase")]
pub(crate) struct GeminiTokenCount {
    total_tokens: u64,
}

/// Models, in Gemini's shape.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GeminiModelList {
    /// The models.
    pub(crate) models: Vec<GeminiModel>,
    /// The `pageToken` of the next page, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_page_token: Option<String>,
}

/// A model, in Gemini's shape.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GeminiModel {
    /// `models/` and `provider/model`, or an alias.
    pub(crate) name: String,
    /// Nothing: providers differ in what they say.
    pub(crate) version: &'static str,
    /// The name without `models/`.
    pub(crate) display_name: String,
    /// Who answers.
    pub(crate) description: String,
    /// `generateContent` and `countTokens`.
    pub(crate) supported_generation_methods: [&'static str; 2],
}

/// An error of `/api/chat`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what the surface writes")]
pub(crate) struct LessonError {
    error: String,
}

/// An error of `/api`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what the surface writes")]
pub(crate) struct NativeError {
    /// For people: what happened and how to mend it.
    error: String,
    /// Stable, for programs.
    code: String,
}

/// An error of `/api/public`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what the surface writes")]
pub(crate) struct LangfuseError {
    /// For people: what happened and how to mend it.
    message: String,
    /// The class of the error, or a list of what is wrong with the request's fields.
    #[schema(value_type = Value)]
    error: serde_json::Value,
}

/// A chat request. Fields that are not listed pass through.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what the dialect reads")]
pub(crate) struct ChatCompletionRequest {
    /// `provider/model` or an alias; the configured default when absent.
    model: Option<String>,
    /// The thread, or what is new in it.
    #[schema(min_items = 1)]
    messages: Vec<ChatMessage>,
    /// Answer as server-sent events.
    stream: Option<bool>,
    /// `conversation_id` continues a conversation; `prompt` puts a prompt in front; `trace_name`, `trace_user_id`, `session_id`, `tags`,
    /// `environment`, `release` and `version` describe the trace.
    metadata: Option<std::collections::BTreeMap<String, String>>,
    /// `false` keeps this chat out of the history.
    store: Option<bool>,
}

/// A message, as OpenAI writes it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what the dialect reads")]
pub(crate) struct ChatMessage {
    /// `system`, `developer`, `user`, `assistant` or `tool`.
    role: String,
    /// A text, or parts.
    #[schema(value_type = Value)]
    content: serde_json::Value,
}

/// A chat completion, as the provider wrote it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what passes through")]
pub(crate) struct ChatCompletion {
    id: String,
    object: String,
    created: i64,
    model: String,
    #[schema(value_type = Vec<Object>)]
    choices: Vec<serde_json::Value>,
    #[schema(value_type = Option<Object>)]
    usage: Option<serde_json::Value>,
}

/// A Responses request.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what the dialect reads")]
pub(crate) struct ResponseRequest {
    /// `provider/model` or an alias; the configured default when absent.
    model: Option<String>,
    /// A text, or items: messages, calls and their outputs, reasoning, references to items that are kept.
    #[schema(value_type = Value)]
    input: serde_json::Value,
    /// What the model is told in front of the thread. It holds for this response alone.
    instructions: Option<String>,
    /// The response that this one goes on from.
    previous_response_id: Option<String>,
    /// The conversation to continue, an id or an object with one.
    #[schema(value_type = Option<Value>)]
    conversation: Option<serde_json::Value>,
    /// Functions that the model may call.
    #[schema(value_type = Option<Vec<Object>>)]
    tools: Option<Vec<serde_json::Value>>,
    /// The shape of the answer, and how wordy it is.
    #[schema(value_type = Option<Object>)]
    text: Option<serde_json::Value>,
    /// How much the model thinks.
    #[schema(value_type = Option<Object>)]
    reasoning: Option<serde_json::Value>,
    /// The most tokens of the answer.
    max_output_tokens: Option<u64>,
    /// Answer as server-sent events.
    stream: Option<bool>,
    /// `false` keeps the response out of the history: it cannot be read later, nor gone on from.
    store: Option<bool>,
    /// As in `/v1/chat/completions`.
    metadata: Option<std::collections::BTreeMap<String, String>>,
}

/// A response.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what the dialect writes")]
pub(crate) struct ResponseObject {
    /// `resp_…`.
    id: String,
    /// `response`.
    object: String,
    created_at: i64,
    /// `in_progress`, `completed`, `incomplete` or `failed`.
    status: String,
    model: String,
    #[schema(value_type = Vec<Object>)]
    output: Vec<serde_json::Value>,
    #[schema(value_type = Option<Object>)]
    usage: Option<serde_json::Value>,
}

/// A response that was deleted.
#[derive(Serialize, ToSchema)]
pub(crate) struct ResponseDeleted {
    /// The id.
    pub(crate) id: String,
    /// `response`.
    pub(crate) object: &'static str,
    /// `true`.
    pub(crate) deleted: bool,
}

/// A page of items.
#[derive(Serialize, ToSchema)]
pub(crate) struct ItemList {
    /// `list`.
    pub(crate) object: &'static str,
    /// The items.
    #[schema(value_type = Vec<Object>)]
    pub(crate) data: Vec<serde_json::Value>,
    /// The first of them.
    pub(crate) first_id: Option<String>,
    /// The last of them: give it as `after` to get the next page.
    pub(crate) last_id: Option<String>,
    /// Whether there are more.
    pub(crate) has_more: bool,
}

/// A chat of the lesson.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what the handler reads by hand, to answer with the lesson's words")]
pub(crate) struct LessonChatRequest {
    /// At least one message; content is a text that is not blank, role is `user` or `assistant`.
    #[schema(min_items = 1)]
    messages: Vec<LessonMessage>,
    /// The conversation to continue.
    conversation_id: Option<String>,
    /// `provider/model` or an alias; the configured default when absent.
    model: Option<String>,
    /// Answer as server-sent events.
    stream: Option<bool>,
}

/// A message of the lesson.
#[derive(ToSchema)]
#[expect(dead_code, reason = "see LessonChatRequest")]
pub(crate) struct LessonMessage {
    role: String,
    content: String,
}

/// The provider's chat completion with the conversation's id.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what passes through")]
pub(crate) struct LessonReply {
    #[schema(value_type = String)]
    conversation_id: String,
    id: String,
    object: String,
    created: i64,
    model: String,
    #[schema(value_type = Vec<Object>)]
    choices: Vec<serde_json::Value>,
    #[schema(value_type = Option<Object>)]
    usage: Option<serde_json::Value>,
}

/// Texts to embed.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what the dialect reads")]
pub(crate) struct EmbeddingsRequest {
    /// `provider/model` or an alias.
    model: String,
    /// A text or several.
    #[schema(value_type = Value)]
    input: serde_json::Value,
    /// `float` or `base64`.
    encoding_format: Option<String>,
    /// Fewer dimensions, where the model can.
    dimensions: Option<u32>,
}

/// Vectors.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what passes through")]
pub(crate) struct EmbeddingList {
    object: String,
    #[schema(value_type = Vec<Object>)]
    data: Vec<serde_json::Value>,
    model: String,
    #[schema(value_type = Object)]
    usage: serde_json::Value,
}

/// Pictures to make. Fields that are not listed pass through.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what the dialect reads")]
pub(crate) struct ImagesRequest {
    /// `provider/model` or an alias.
    model: String,
    /// What is to be seen.
    prompt: String,
    /// How many; 1 when absent.
    n: Option<u32>,
    /// Such as `1024x1024`.
    size: Option<String>,
    /// Such as `high`.
    quality: Option<String>,
}

/// Pictures, as the provider wrote them.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what passes through")]
pub(crate) struct ImageList {
    created: i64,
    #[schema(value_type = Vec<Object>)]
    data: Vec<serde_json::Value>,
    #[schema(value_type = Option<Object>)]
    usage: Option<serde_json::Value>,
}

/// What is to be judged. Fields that are not listed pass through.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what the dialect reads")]
pub(crate) struct ModerationsRequest {
    /// `provider/model` or an alias; OpenAI's `omni-moderation-latest` when absent.
    model: Option<String>,
    /// A text, texts, or parts of texts and pictures.
    #[schema(value_type = Value)]
    input: serde_json::Value,
}

/// Verdicts, as the provider wrote them.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what passes through")]
pub(crate) struct Moderation {
    id: String,
    model: String,
    #[schema(value_type = Vec<Object>)]
    results: Vec<serde_json::Value>,
}

/// Models, in Anthropic's shape.
#[derive(Serialize, ToSchema)]
pub(crate) struct AnthropicModelList {
    /// The models.
    pub(crate) data: Vec<AnthropicModel>,
    /// Whether there are more.
    pub(crate) has_more: bool,
    /// The first of them.
    pub(crate) first_id: Option<String>,
    /// The last of them.
    pub(crate) last_id: Option<String>,
}

/// A model, in Anthropic's shape.
#[derive(Serialize, ToSchema)]
pub(crate) struct AnthropicModel {
    /// `model`.
    pub(crate) r#type: &'static str,
    /// `provider/model`, or an alias.
    pub(crate) id: String,
    /// The same.
    pub(crate) display_name: String,
    /// Always 1970: providers differ in what they say.
    pub(crate) created_at: &'static str,
    /// `active`: it can be called.
    pub(crate) lifecycle: &'static str,
}

/// Models.
#[derive(Serialize, ToSchema)]
pub(crate) struct ModelList {
    /// `list`.
    pub(crate) object: &'static str,
    /// The models.
    pub(crate) data: Vec<Model>,
}

/// A model.
#[derive(Serialize, ToSchema)]
pub(crate) struct Model {
    /// `provider/model`, or an alias.
    pub(crate) id: String,
    /// `model`.
    pub(crate) object: &'static str,
    /// Always 0: providers differ in what they say.
    pub(crate) created: i64,
    /// The provider, or `privet` for an alias.
    pub(crate) owned_by: String,
}
