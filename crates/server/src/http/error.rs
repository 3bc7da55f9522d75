//! What an error is to a client: its status, its stable code and its words. The only place that decides a status.

use std::fmt;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use privet_dialects::{BadRequest, Unsupported, UpstreamFault};
use privet_engine::admission::Refused;
use privet_engine::api_key::ApiKeyError;
use privet_engine::budget::Remedy;
use privet_engine::completion::CompletionError;
use privet_engine::key_settings::WrongSetting;
use privet_engine::prompt::PromptError;
use privet_engine::switchboard::SwitchError;
use privet_engine::traces::feedback::FeedbackError;
use privet_providers::ProviderError;
use privet_store::StoreError;
use serde::Serialize;

use super::idempotency::NotOnce;
use super::rate_status::{RateStatus, whole_seconds};

/// The code of a request that came too early.
const RATE_LIMITED: &str = "rate_limited";
/// Anthropic's status for too much load.
const OVERLOADED: u16 = 529;
/// The lesson's words for it.
const LESSON_TOO_MANY: &str = "Too many requests";
/// The lesson's answer to any failure of the provider.
const LESSON_FAILURE: &str = "An error occurred while processing your request";

/// Names the gate that refused a request.
pub(crate) const GATE_HEADER: HeaderName = HeaderName::from_static("x-privet-gate");
/// Calls under way end one by one: the next second is as good a guess as any.
const CROWD_PASSES_IN: Duration = Duration::from_secs(1);
/// The request has waited for money once already; so long, a call of the usual length ends.
const CALL_ENDS_IN: Duration = Duration::from_secs(5);

/// What is wrong with one field.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Issue {
    /// The kind of the fault, as clients of the Langfuse surface know it.
    pub(crate) code: &'static str,
    /// The names that lead to the field.
    pub(crate) path: Vec<String>,
    /// For people: what is wrong and how to mend it.
    pub(crate) message: String,
}

/// All that is wrong with a request's fields.
#[derive(Debug, Serialize)]
pub(crate) struct Issues(Vec<Issue>);

impl Issue {
    /// A fault of the field that these names lead to, with dots between them.
    pub(crate) fn at(path: &str, message: impl Into<String>) -> Self {
        let path = path.split('.').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Self { code: "custom", path, message: message.into() }
    }
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.is_empty() {
            true => f.write_str(&self.message),
            false => write!(f, "`{}`: {}", self.path.join("."), self.message),
        }
    }
}

/// An error as a client sees it.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    /// Stable, for programs.
    pub(crate) code: String,
    /// For people: what happened and how to mend it.
    pub(crate) message: String,
    /// Which field of the request is wrong.
    pub(crate) param: Option<String>,
    /// All that is wrong with the request's fields, where a surface lists them.
    pub(crate) issues: Option<Box<Issues>>,
    /// What goes along, such as `retry-after`.
    pub(crate) headers: Box<HeaderMap>,
    /// The rate limit that refused the request.
    pub(crate) limit: Option<Box<RateStatus>>,
    /// The provider's own type of error, passed on.
    kind: Option<Box<str>>,
    /// Whether it is the provider's failure and not the client's.
    provider_failed: bool,
    /// Whether the provider has too much to do.
    provider_overloaded: bool,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
            param: None,
            issues: None,
            headers: Box::default(),
            limit: None,
            kind: None,
            provider_failed: false,
            provider_overloaded: false,
        }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    /// A request whose fields are wrong, one issue for each of them.
    pub(crate) fn invalid_data(issues: Vec<Issue>) -> Self {
        let texts: Vec<String> = issues.iter().map(Issue::to_string).collect();
        Self { issues: Some(Box::new(Issues(issues))), ..Self::bad_request(texts.join("; ")) }
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// The refusal of a request that came too early for a rate limit: which one, and when to come back.
    pub(crate) fn rate_limited(gate: &'static str, status: RateStatus, wait: Duration, what: &str) -> Self {
        let seconds = whole_seconds(wait).max(1);
        let message = format!("{what} Repeat the request in {seconds} s.");
        Self::new(StatusCode::TOO_MANY_REQUESTS, RATE_LIMITED, message).at_gate(gate).limited_by(status, wait)
    }

    /// With the limit that refused, and when to come back.
    fn limited_by(self, status: RateStatus, wait: Duration) -> Self {
        Self { limit: Some(Box::new(status)), ..self.retry_in(wait) }
    }

    /// With the field of the request that is wrong.
    pub(crate) fn at(self, param: &str) -> Self {
        Self { param: Some(param.to_owned()), ..self }
    }

    /// With the gate that refused, for whoever counts refusals.
    pub(crate) fn at_gate(mut self, gate: &'static str) -> Self {
        self.headers.insert(GATE_HEADER, HeaderValue::from_static(gate));
        self
    }

    /// Tells clients that repeat by themselves not to: it would be refused again.
    pub(crate) fn not_to_repeat(mut self) -> Self {
        self.headers.insert("x-should-retry", HeaderValue::from_static("false"));
        self
    }

    /// Tells clients that repeat by themselves to do so, whatever they think of the status.
    fn worth_repeating(mut self) -> Self {
        self.headers.insert("x-should-retry", HeaderValue::from_static("true"));
        self
    }

    /// Tells when to come back, in whole seconds.
    pub(crate) fn retry_in(mut self, time: Duration) -> Self {
        // Nobody is told to come back at once: he would be refused again.
        self.headers.insert(header::RETRY_AFTER, whole_seconds(time).max(1).into());
        self
    }

    /// The `type` of OpenAI's envelope.
    pub(crate) fn kind(&self) -> &str {
        match (&self.kind, self.status.as_u16()) {
            (Some(kind), _) => kind,
            (None, 401) => "authentication_error",
            (None, 402) => "insufficient_quota",
            (None, 403) => "permission_error",
            (None, 429) => "rate_limit_error",
            (None, 400..=499) => "invalid_request_error",
            (None, _) => "server_error",
        }
    }

    /// The status on Anthropic's surface, which has one of its own for too much load.
    pub(crate) fn status_for_anthropic(&self) -> StatusCode {
        let overloaded = StatusCode::from_u16(529).ok().filter(|_| self.provider_overloaded);
        overloaded.unwrap_or(self.status)
    }

    /// The code on Anthropic's surface. Its clients know one for a conversation that the provider cannot hold, and go on without.
    pub(crate) fn code_for_anthropic(&self) -> &str {
        let is_of_thread = self.status == StatusCode::BAD_REQUEST && self.param.as_deref() == Some("thread");
        if is_of_thread { "thread_unsupported_request" } else { &self.code }
    }

    /// The class of the Langfuse surface, whose clients match some of them by name.
    pub(crate) fn class(&self) -> &'static str {
        match self.status.as_u16() {
            401 => "UnauthorizedError",
            403 => "ForbiddenError",
            404 => "LangfuseNotFoundError",
            405 => "MethodNotAllowedError",
            409 => "LangfuseConflictError",
            413 => "PayloadTooLargeError",
            429 => "RateLimitError",
            400..=499 => "InvalidRequestError",
            503 => "ServiceUnavailableError",
            _ => "InternalServerError",
        }
    }

    /// The words for `/api/chat`, which says the same of every failure of a provider and of every rate limit.
    pub(crate) fn lesson_message(&self) -> &str {
        match self.code.as_str() {
            _ if self.provider_failed => LESSON_FAILURE,
            RATE_LIMITED => LESSON_TOO_MANY,
            _ => &self.message,
        }
    }

    /// The same error with the status that the lesson's endpoint has for a failure of the provider.
    pub(crate) fn for_lesson(mut self) -> Self {
        if self.provider_failed {
            self.status = StatusCode::INTERNAL_SERVER_ERROR;
        }
        self
    }
}

impl From<FeedbackError> for ApiError {
    fn from(error: FeedbackError) -> Self {
        match error {
            FeedbackError::UnknownTrace(_) | FeedbackError::UnknownConversation(_) => {
                Self::not_found(error.to_string())
            }
            FeedbackError::Store(error) => error.into(),
        }
    }
}

impl From<BadRequest> for ApiError {
    fn from(error: BadRequest) -> Self {
        Self { param: error.param, ..Self::bad_request(error.message) }
    }
}

impl From<Unsupported> for ApiError {
    fn from(error: Unsupported) -> Self {
        let code = "unsupported_by_provider";
        Self { param: Some(error.param), ..Self::new(StatusCode::BAD_REQUEST, code, error.message) }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::not_found("There is no such thing in this project."),
            StoreError::Exists(what) => {
                Self::new(StatusCode::CONFLICT, "exists", format!("The {what} exists already."))
            }
            StoreError::DiskFull => Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", error.to_string()),
            StoreError::Closed => unavailable(),
            StoreError::Fenced => {
                let message = "The server lost its share of the budgets for a moment; repeat the request.";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "share_lost", message)
            }
            StoreError::Unavailable(_) => {
                tracing::error!(%error, "the database does not answer");
                let message = "The database does not answer; repeat the request in a moment.";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", message)
            }
            error => {
                // The client cannot mend it, and its text may name things inside.
                tracing::error!(%error, "the store failed");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "store_failed",
                    "The database failed; the server's log says why.",
                )
            }
        }
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        let message = refused.to_string();
        let (status, code) = match &refused {
            Refused::SwitchedOff(_) => (StatusCode::SERVICE_UNAVAILABLE, "switched_off"),
            Refused::Model(_) => (StatusCode::FORBIDDEN, "model_not_allowed"),
            Refused::Requests(_) => (StatusCode::TOO_MANY_REQUESTS, RATE_LIMITED),
            Refused::Tokens(_) => (StatusCode::TOO_MANY_REQUESTS, "tokens_limited"),
            Refused::Crowded(_) => (StatusCode::TOO_MANY_REQUESTS, "concurrency_limited"),
            Refused::NoMoney(..) => (StatusCode::PAYMENT_REQUIRED, "budget_exhausted"),
            Refused::Unpriced(_) => (StatusCode::FORBIDDEN, "model_unpriced"),
            Refused::Unbounded(_) => (StatusCode::BAD_REQUEST, "cost_unbounded"),
            Refused::Field(_) => (StatusCode::BAD_REQUEST, "field_unbounded"),
            Refused::Tier { .. } => (StatusCode::BAD_REQUEST, "service_tier_unpriced"),
        };
        let error = Self::new(status, code, message).at_gate(refused.gate());
        match refused {
            Refused::Requests(standing) => error.limited_by(RateStatus::of_requests(&standing), standing.retry_in),
            Refused::Tokens(standing) => error.limited_by(RateStatus::of_tokens(&standing), standing.retry_in),
            Refused::Crowded(_) => error.retry_in(CROWD_PASSES_IN),
            Refused::Model(_) | Refused::Unpriced(_) => error.at("model").not_to_repeat(),
            Refused::Field(field) => error.at(&field.name).not_to_repeat(),
            Refused::Tier { .. } => error.at("service_tier").not_to_repeat(),
            // It may succeed as it is; 402 alone would keep clients from trying.
            Refused::NoMoney(lack, _) if lack.remedy == Remedy::CallsUnderWay => {
                error.retry_in(CALL_ENDS_IN).worth_repeating()
            }
            Refused::SwitchedOff(_) | Refused::NoMoney(..) | Refused::Unbounded(_) => error.not_to_repeat(),
        }
    }
}

impl From<NotOnce> for ApiError {
    fn from(error: NotOnce) -> Self {
        let message = error.to_string();
        let conflict = |code| Self::new(StatusCode::CONFLICT, code, &*message);
        match error {
            NotOnce::BadKey => Self::bad_request(message).at("Idempotency-Key"),
            NotOnce::Mismatch => conflict("idempotency_mismatch").not_to_repeat(),
            NotOnce::InFlight => conflict("idempotency_in_flight").retry_in(CROWD_PASSES_IN),
            NotOnce::Unavailable(_) => conflict("idempotency_unavailable").not_to_repeat(),
        }
    }
}

impl From<WrongSetting> for ApiError {
    fn from(error: WrongSetting) -> Self {
        Self::bad_request(format!("{error}.")).at(error.field.as_str())
    }
}

impl From<ApiKeyError> for ApiError {
    fn from(error: ApiKeyError) -> Self {
        let message = error.to_string();
        match error {
            ApiKeyError::Store(error) => error.into(),
            ApiKeyError::Wrong(error) => error.into(),
            ApiKeyError::Mistyped => Self::bad_request(message),
            ApiKeyError::Unknown(id) => {
                Self::not_found(format!("There is no API key `{id}`; GET /api/keys lists what there is."))
            }
            ApiKeyError::Ended(id) => {
                let message = format!("The API key `{id}` is revoked or expired; make another with POST /api/keys.");
                Self::new(StatusCode::CONFLICT, "key_ended", message)
            }
            ApiKeyError::NoRandomness(_) => {
                tracing::error!(error = message, "no API key can be made");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
            }
        }
    }
}

impl From<SwitchError> for ApiError {
    fn from(error: SwitchError) -> Self {
        let message = format!("{error}.");
        match error {
            SwitchError::Form(_) => Self::bad_request(message).at("scope"),
            SwitchError::UnknownKey(_) | SwitchError::UnknownProvider { .. } | SwitchError::NotOff(_) => {
                Self::not_found(message).at("scope")
            }
            SwitchError::Store(error) => error.into(),
        }
    }
}

impl From<PromptError> for ApiError {
    fn from(error: PromptError) -> Self {
        let text = error.to_string();
        let with = |remedy: &str| format!("{text}{remedy}");
        let coded = |status, code| Self::new(status, code, with("."));
        match error {
            PromptError::Wrong { field, .. } => Self::bad_request(with(".")).at(field),
            PromptError::NotFound { .. } => {
                let remedy = ". GET /api/prompts lists the prompts of this project with their versions and labels.";
                Self::new(StatusCode::NOT_FOUND, "prompt_not_found", with(remedy)).at("prompt")
            }
            PromptError::NoPrompt(_) | PromptError::NotLabelled { .. } => {
                Self::new(StatusCode::NOT_FOUND, "prompt_not_found", with(". GET /api/prompts lists what there is."))
            }
            PromptError::OtherKind { .. } => Self::bad_request(with(".")).at("type"),
            PromptError::BadReference(_) => {
                Self::bad_request(format!("The prompt cannot be put together: {text}.")).at("prompt")
            }
            PromptError::Moved { .. } => coded(StatusCode::CONFLICT, "prompt_moved"),
            PromptError::Needed(_) => coded(StatusCode::CONFLICT, "prompt_needed"),
            PromptError::Broken { .. } => coded(StatusCode::CONFLICT, "prompt_broken").at("prompt"),
            PromptError::Protected(_) => coded(StatusCode::FORBIDDEN, "label_protected").at_gate("scope"),
            PromptError::Unfilled { .. } => {
                let remedy = "; give them as `variables` and `placeholders`.";
                Self::new(StatusCode::BAD_REQUEST, "prompt_unfilled", with(remedy)).at("variables")
            }
            PromptError::Misfilled { .. } => Self::bad_request(with(".")).at("variables"),
            PromptError::Store(error) => error.into(),
        }
    }
}

impl ApiError {
    /// A prompt's error in the statuses and words of the Langfuse surface, some of which its clients know.
    pub(crate) fn of_langfuse_prompt(error: PromptError) -> Self {
        match &error {
            PromptError::Wrong { field, reason } => Self::invalid_data(vec![Issue::at(field, reason.clone())]),
            PromptError::NotFound { .. } | PromptError::NoPrompt(_) => Self::not_found(error.to_string()),
            PromptError::Needed(_) => Self::bad_request(error.to_string()),
            _ => error.into(),
        }
    }
}

impl From<CompletionError> for ApiError {
    fn from(error: CompletionError) -> Self {
        let message = error.to_string();
        match error {
            CompletionError::BadRequest(error) => error.into(),
            CompletionError::Unsupported(error) => error.into(),
            CompletionError::Beyond(_) => {
                Self::new(StatusCode::BAD_REQUEST, "beyond_the_model", message).at("model").not_to_repeat()
            }
            CompletionError::UnknownModel(_) => {
                Self { param: Some("model".to_owned()), ..Self::new(StatusCode::NOT_FOUND, "model_not_found", message) }
            }
            CompletionError::UnknownConversation(_) => Self {
                param: Some("conversation_id".to_owned()),
                ..Self::new(StatusCode::NOT_FOUND, "conversation_not_found", message)
            },
            // OpenAI's status and code.
            CompletionError::UnknownResponse(_) => Self {
                param: Some("previous_response_id".to_owned()),
                ..Self::new(StatusCode::BAD_REQUEST, "previous_response_not_found", message)
            },
            CompletionError::HistoryOff => Self::new(StatusCode::BAD_REQUEST, "history_off", message),
            CompletionError::Prompt(error) => error.into(),
            CompletionError::LinkedMedia(_) => {
                Self::new(StatusCode::BAD_REQUEST, "image_not_fetched", message).at("messages")
            }
            CompletionError::Refused(refused) => refused.into(),
            CompletionError::Provider(error) => provider_error(error, message),
            CompletionError::Store(error) => error.into(),
            CompletionError::ShuttingDown => unavailable(),
            CompletionError::Stopped => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "switched_off", message).at_gate("switch").not_to_repeat()
            }
            // Nobody reads it; the status stands in the log (nginx's number for the same).
            CompletionError::ClientLeft => {
                let status = StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST);
                Self::new(status, "client_left", message)
            }
        }
    }
}

/// A name as an error repeats it: enough to know it again, however long it is.
pub(crate) fn shortened(name: &str) -> String {
    const CHARS_MAX: usize = 100;
    match name.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", name.get(..end).unwrap_or_default()),
        None => name.to_owned(),
    }
}

fn unavailable() -> ApiError {
    let message = "The server is shutting down; repeat the request in a moment.";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "shutting_down", message)
}

fn provider_error(error: ProviderError, message: String) -> ApiError {
    tracing::warn!(%error, "a provider failed");
    let is_of_our_key = error.concerns_key();
    let failed = |status, code: &str| ApiError { provider_failed: true, ..ApiError::new(status, code, &*message) };
    match error {
        ProviderError::Connect { .. } => failed(StatusCode::BAD_GATEWAY, "upstream_unreachable"),
        ProviderError::Timeout { .. } => failed(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout"),
        ProviderError::NotOffered { .. } => ApiError::new(StatusCode::BAD_REQUEST, "unsupported_by_provider", message),
        ProviderError::Fault { fault: UpstreamFault::Reported { status, .. }, .. } => {
            let for_client = status.map_or(StatusCode::BAD_GATEWAY, |status| status_for_client(status).0);
            ApiError { provider_overloaded: status == Some(OVERLOADED), ..failed(for_client, "upstream_error") }
        }
        ProviderError::Fault { .. } => failed(StatusCode::BAD_GATEWAY, "upstream_malformed"),
        ProviderError::Status { provider, .. } if is_of_our_key => {
            // Its words may show a part of our key; they stand in the log.
            let message =
                format!("The provider `{provider}` refused this server's key; the server's log has its words.");
            ApiError { message, ..failed(StatusCode::BAD_GATEWAY, "upstream_refused_key") }
        }
        ProviderError::Status { status, error, headers, .. } => {
            let provider_overloaded = status == OVERLOADED;
            let (status, is_request_at_fault) = status_for_client(status);
            if is_request_at_fault {
                // The provider's own words: the client's request is what it speaks of.
                return ApiError {
                    param: error.param,
                    headers,
                    kind: error.kind.map(String::into_boxed_str),
                    provider_failed: true,
                    ..ApiError::new(status, error.code.as_deref().unwrap_or("upstream_refused"), error.message)
                };
            }
            let code = error.code.as_deref().unwrap_or("upstream_error");
            ApiError { headers, provider_overloaded, ..failed(status, code) }
        }
    }
}

/// The status for the client, and whether the provider speaks of the client's request.
///
/// A refusal of our key at the provider is not one of the client's key here: to the client that is a failing gateway.
fn status_for_client(upstream: u16) -> (StatusCode, bool) {
    match upstream {
        429 => (StatusCode::TOO_MANY_REQUESTS, true),
        400..=499 => (StatusCode::from_u16(upstream).unwrap_or(StatusCode::BAD_REQUEST), true),
        503 | OVERLOADED => (StatusCode::SERVICE_UNAVAILABLE, false),
        504 => (StatusCode::GATEWAY_TIMEOUT, false),
        _ => (StatusCode::BAD_GATEWAY, false),
    }
}
