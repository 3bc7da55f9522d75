//! A provider over HTTP: addresses, headers and time limits of the three dialects.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use privet_dialects::openai::audio::AudioEndpoint;
use privet_dialects::openai::error as wire_error;
use privet_dialects::{UpstreamFault, gemini};
use privet_domain::trace::TraceParent;
use reqwest::Url;
use tokio::time::{Instant, timeout_at};

use crate::body::{ByteStream, Limits, UpstreamAnswer, UpstreamBody, read_whole};
use crate::error::{ProviderError, TimeoutStage};
use crate::keys::{KeyChoice, ProviderKeys};
use crate::model_list;
use crate::provider::{AudioCall, ChatCall, CountCall, Counted, Deadline, EmbeddingsCall, PassedCall, PassedHead};
use crate::settings::{OpenAiApi, ProviderKind, ProviderSettings};

/// The version of Anthropic's API that is spoken (<https://docs.anthropic.com/en/api/versioning>).
const ANTHROPIC_VERSION: &str = "2023-06-01";
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
const ERROR_BYTES_MAX: usize = 256 * 1024;

/// A provider over HTTP.
#[derive(Clone, Debug)]
pub struct HttpProvider {
    settings: ProviderSettings,
    /// One for each time that a connection may take; the first is the provider's own.
    clients: Vec<(Duration, reqwest::Client)>,
    headers: HeaderMap,
    /// Where the key stands.
    key_header: HeaderName,
    keys: Arc<ProviderKeys>,
    /// Where chats go, unless the model is part of the address.
    chat_url: Option<Url>,
}

/// Why a provider cannot be called at all.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A key of its cannot stand in a header.
    #[error("a key of the provider `{0}` holds characters that no header takes; copy it again")]
    Key(String),
    /// The HTTP client does not start.
    #[error("the HTTP client cannot start: {0}")]
    Client(#[from] reqwest::Error),
}

/// HTTP clients whose connections providers share: one for each time that a connection may take.
#[derive(Debug, Default)]
pub struct HttpClients(Vec<(Duration, reqwest::Client)>);

impl HttpClients {
    fn get(&mut self, connect: Duration) -> Result<reqwest::Client, reqwest::Error> {
        if let Some((_, client)) = self.0.iter().find(|(timeout, _)| *timeout == connect) {
            return Ok(client.clone());
        }
        let client = HttpProvider::client(connect)?;
        self.0.push((connect, client.clone()));
        Ok(client)
    }
}

/// What is sent to a provider.
struct Sending<'a> {
    method: Method,
    url: Url,
    body: Option<Bytes>,
    model: &'a str,
    trace_parent: Option<&'a TraceParent>,
    key: Option<KeyChoice>,
    deadline: Option<Deadline>,
    /// What of the client's request besides its body goes on.
    passed: Option<&'a PassedHead>,
}

impl Sending<'_> {
    /// A request without anything else.
    const fn to(method: Method, url: Url) -> Self {
        Self { method, url, body: None, model: "", trace_parent: None, key: None, deadline: None, passed: None }
    }
}

impl HttpProvider {
    /// With the clients whose connections it shares.
    ///
    /// # Errors
    /// When a key of its cannot stand in a header, or a client does not start.
    pub fn new(settings: ProviderSettings, shared: &mut HttpClients) -> Result<Self, SetupError> {
        let keys = ProviderKeys::new(&settings.api_keys, |key| match settings.kind {
            ProviderKind::OpenAi | ProviderKind::Offline | ProviderKind::Local => format!("Bearer {key}"),
            ProviderKind::Anthropic | ProviderKind::Gemini => key.to_owned(),
        });
        let keys = Arc::new(keys.map_err(|_| SetupError::Key(settings.name.clone()))?);
        let chat_path = match settings.kind {
            ProviderKind::OpenAi if settings.api == OpenAiApi::Responses => Some("/responses"),
            ProviderKind::OpenAi | ProviderKind::Offline | ProviderKind::Local => Some("/chat/completions"),
            ProviderKind::Anthropic => Some("/v1/messages"),
            ProviderKind::Gemini => None,
        };
        let chat_url = chat_path.and_then(|path| Url::parse(&format!("{}{path}", settings.base_url)).ok());
        let own = settings.model_timeouts.iter().filter_map(|own| own.connect);
        let mut clients: Vec<(Duration, reqwest::Client)> = Vec::new();
        for connect in std::iter::once(settings.timeouts.connect).chain(own) {
            if clients.iter().all(|(known, _)| *known != connect) {
                clients.push((connect, shared.get(connect)?));
            }
        }
        let (headers, key_header) = (fixed_headers(settings.kind), key_header(settings.kind));
        Ok(Self { settings, clients, headers, key_header, keys, chat_url })
    }

    /// A pooled client, HTTP/2 where the provider offers it, that follows no redirect (a redirect would carry the key along).
    ///
    /// # Errors
    /// When the machine's TLS roots cannot be read.
    pub fn client(connect: Duration) -> Result<reqwest::Client, reqwest::Error> {
        Self::client_builder(connect).build()
    }

    /// The same, for whoever adds to it.
    pub(crate) fn client_builder(connect: Duration) -> reqwest::ClientBuilder {
        // Only the first call sets the process's provider; a later one finds it set, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        reqwest::Client::builder()
            .connect_timeout(connect)
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(256)
            .tcp_keepalive(Duration::from_secs(30))
            .user_agent(concat!("privet/", env!("CARGO_PKG_VERSION")))
    }

    /// As configured.
    #[must_use]
    pub const fn settings(&self) -> &ProviderSettings {
        &self.settings
    }

    pub(crate) fn keys(&self) -> &ProviderKeys {
        &self.keys
    }

    /// Calls the chat endpoint.
    ///
    /// # Errors
    /// When no complete head of an answer comes, or it is an error.
    pub async fn chat(&self, call: ChatCall<'_>) -> Result<UpstreamAnswer, ProviderError> {
        let url = match &self.chat_url {
            Some(url) => url.clone(),
            None => self.url(&gemini::chat_path(call.model, call.stream))?,
        };
        let sending = Sending {
            method: Method::POST,
            url,
            body: Some(call.body),
            model: call.model,
            trace_parent: call.trace_parent.as_ref(),
            key: call.key,
            deadline: call.deadline,
            passed: call.passed,
        };
        let (response, limits) = self.send(sending).await?;
        let headers = headers_for_client(response.headers());
        if !call.stream {
            let body = read_whole(response, &limits, ANSWER_BYTES_MAX).await?;
            return Ok(UpstreamAnswer { headers, body: UpstreamBody::Whole(body) });
        }
        if is_json(response.headers()) {
            // Asked for a stream and got one JSON body: some servers report an error this way, with status 200.
            let body = read_whole(response, &limits, ERROR_BYTES_MAX).await?;
            return Err(self.fault(json_instead_of_stream(&body)));
        }
        Ok(UpstreamAnswer { headers, body: UpstreamBody::Stream(ByteStream::http(response, limits)) })
    }

    /// Calls the embeddings endpoint.
    ///
    /// # Errors
    /// When it fails, or the provider has none.
    pub async fn embeddings(&self, call: EmbeddingsCall<'_>) -> Result<UpstreamAnswer, ProviderError> {
        let path = match self.settings.kind {
            ProviderKind::OpenAi | ProviderKind::Offline | ProviderKind::Local => "/embeddings".to_owned(),
            ProviderKind::Gemini => gemini::embeddings_path(call.model),
            ProviderKind::Anthropic => {
                return Err(ProviderError::NotOffered { provider: self.settings.name.clone(), what: "embeddings" });
            }
        };
        let sending = Sending {
            method: Method::POST,
            url: self.url(&path)?,
            body: Some(call.body),
            model: call.model,
            trace_parent: call.trace_parent.as_ref(),
            key: call.key,
            deadline: call.deadline,
            passed: None,
        };
        let (response, limits) = self.send(sending).await?;
        let headers = headers_for_client(response.headers());
        let body = read_whole(response, &limits, ANSWER_BYTES_MAX).await?;
        Ok(UpstreamAnswer { headers, body: UpstreamBody::Whole(body) })
    }

    /// Asks how many tokens a request has.
    ///
    /// # Errors
    /// When it fails, or servers of this kind do not count.
    pub async fn count_tokens(&self, call: CountCall<'_>) -> Result<Counted, ProviderError> {
        let path = match self.settings.kind {
            ProviderKind::Anthropic => "/v1/messages/count_tokens".to_owned(),
            ProviderKind::Gemini => gemini::count_path(call.model),
            ProviderKind::OpenAi if self.settings.api == OpenAiApi::Responses => "/responses/input_tokens".to_owned(),
            ProviderKind::OpenAi | ProviderKind::Offline | ProviderKind::Local => {
                let what = "count of tokens: servers of OpenAI's dialect say it with an answer alone";
                return Err(ProviderError::NotOffered { provider: self.settings.name.clone(), what });
            }
        };
        let to = Sending::to(Method::POST, self.url(&path)?);
        let sending = Sending { body: Some(call.body), model: call.model, passed: call.passed, ..to };
        let (response, limits) = self.send(sending).await?;
        let headers = headers_for_client(response.headers());
        let body = read_whole(response, &limits, ERROR_BYTES_MAX).await?;
        Ok(Counted { headers, body })
    }

    /// Calls `/rerank` beside OpenAI's dialect, with a body that is written already.
    ///
    /// # Errors
    /// When it fails, or the provider has none.
    pub async fn rerank(
        &self,
        model: &str,
        body: Bytes,
        trace_parent: Option<&TraceParent>,
    ) -> Result<UpstreamAnswer, ProviderError> {
        if self.settings.kind != ProviderKind::OpenAi {
            return Err(ProviderError::NotOffered { provider: self.settings.name.clone(), what: "reranking" });
        }
        let sending =
            Sending { body: Some(body), model, trace_parent, ..Sending::to(Method::POST, self.url("/rerank")?) };
        let (response, limits) = self.send(sending).await?;
        let headers = headers_for_client(response.headers());
        let body = read_whole(response, &limits, ANSWER_BYTES_MAX).await?;
        Ok(UpstreamAnswer { headers, body: UpstreamBody::Whole(body) })
    }

    /// Passes a request as it is to a server of OpenAI's dialect.
    ///
    /// # Errors
    /// When it fails, or servers of this kind have no such endpoint.
    pub async fn pass(&self, call: PassedCall<'_>) -> Result<UpstreamAnswer, ProviderError> {
        let PassedCall { endpoint, model, body, trace_parent } = call;
        if self.settings.kind != ProviderKind::OpenAi {
            let provider = self.settings.name.clone();
            return Err(ProviderError::NotOffered { provider, what: endpoint.what() });
        }
        let to = Sending::to(Method::POST, self.url(endpoint.path())?);
        let (response, limits) = self.send(Sending { body: Some(body), model, trace_parent, ..to }).await?;
        let headers = headers_for_client(response.headers());
        let body = read_whole(response, &limits, ANSWER_BYTES_MAX).await?;
        Ok(UpstreamAnswer { headers, body: UpstreamBody::Whole(body) })
    }

    /// Passes a text to speak or a recording to a server of OpenAI's dialect. Sound and events come as a stream.
    ///
    /// # Errors
    /// When it fails, or servers of this kind have no such endpoint.
    pub async fn audio(&self, call: AudioCall<'_>) -> Result<UpstreamAnswer, ProviderError> {
        let AudioCall { endpoint, model, request, trace_parent } = call;
        if self.settings.kind != ProviderKind::OpenAi {
            let provider = self.settings.name.clone();
            return Err(ProviderError::NotOffered { provider, what: endpoint.what() });
        }
        let content_type = HeaderValue::try_from(request.content_type)
            .map_err(|error| self.fault(UpstreamFault::Malformed(error.to_string())))?;
        let head = PassedHead { headers: HeaderMap::from_iter([(header::CONTENT_TYPE, content_type)]), query: None };
        let to = Sending::to(Method::POST, self.url(endpoint.path())?);
        let sending = Sending { body: Some(request.body), model, trace_parent, passed: Some(&head), ..to };
        let (response, limits) = self.send(sending).await?;
        let mut headers = headers_for_client(response.headers());
        let kind = response.headers().get(header::CONTENT_TYPE).cloned();
        headers.extend(kind.map(|kind| (header::CONTENT_TYPE, kind)));
        let is_sound = endpoint == AudioEndpoint::Speech && !is_json(&headers);
        if is_sound || is_event_stream(&headers) {
            return Ok(UpstreamAnswer { headers, body: UpstreamBody::Stream(ByteStream::http(response, limits)) });
        }
        let body = read_whole(response, &limits, ANSWER_BYTES_MAX).await?;
        if endpoint == AudioEndpoint::Speech {
            return Err(self.fault(json_instead_of_stream(&body)));
        }
        Ok(UpstreamAnswer { headers, body: UpstreamBody::Whole(body) })
    }

    /// The provider's models, by its own names.
    ///
    /// # Errors
    /// When it fails or answers something else.
    pub async fn models(&self) -> Result<Vec<String>, ProviderError> {
        let path = match self.settings.kind {
            ProviderKind::OpenAi | ProviderKind::Offline | ProviderKind::Local => "/models",
            ProviderKind::Anthropic => "/v1/models?limit=1000",
            ProviderKind::Gemini => "/v1beta/models?pageSize=1000",
        };
        let (response, limits) = self.send(Sending::to(Method::GET, self.url(path)?)).await?;
        let body = read_whole(response, &limits, ANSWER_BYTES_MAX).await?;
        model_list::decode(&body).map_err(|fault| self.fault(fault))
    }

    /// Sends and waits for the head of an answer with status 2xx.
    async fn send(&self, sending: Sending<'_>) -> Result<(reqwest::Response, Limits), ProviderError> {
        let started = Instant::now();
        let mut request = reqwest::Request::new(sending.method, sending.url);
        *request.headers_mut() = self.headers.clone();
        if let Some(passed) = sending.passed {
            if let Some(query) = passed.query {
                request.url_mut().set_query(Some(query));
            }
            request.headers_mut().extend(passed.headers.clone());
        }
        let key = sending.key.unwrap_or_else(|| self.keys.choose(sending.model, started));
        if let Some(value) = self.keys.header(key) {
            request.headers_mut().insert(&self.key_header, value.clone());
        }
        if let Some(parent) = sending.trace_parent {
            write_trace(parent, request.headers_mut());
        }
        *request.body_mut() = sending.body.map(Into::into);
        let timeouts = self.settings.timeouts_for(sending.model);
        let own = Deadline { at: started + timeouts.total, after: timeouts.total };
        let deadline = sending.deadline.filter(|deadline| deadline.at < own.at).unwrap_or(own);
        let limits = Limits {
            provider: self.settings.name.clone(),
            idle: timeouts.idle,
            total: deadline.after,
            deadline: deadline.at,
        };
        let first_byte = (started + timeouts.first_byte).min(deadline.at);
        let sent = timeout_at(first_byte, self.client_for(timeouts.connect)?.execute(request)).await;
        let response = match sent {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(ProviderError::from_reqwest(&limits.provider, &error, timeouts.connect)),
            Err(_) => {
                let (stage, after) = if deadline.at <= first_byte {
                    (TimeoutStage::Total, deadline.after)
                } else {
                    (TimeoutStage::FirstByte, timeouts.first_byte)
                };
                return Err(ProviderError::Timeout { provider: limits.provider, stage, after });
            }
        };
        if response.status().is_success() {
            return Ok((response, limits));
        }
        Err(self.refusal(response, &limits).await)
    }

    async fn refusal(&self, response: reqwest::Response, limits: &Limits) -> ProviderError {
        let status = response.status().as_u16();
        let headers = Box::new(headers_for_client(response.headers()));
        // An error whose body cannot be read is still that error.
        let body = read_whole(response, limits, ERROR_BYTES_MAX).await.unwrap_or_default();
        let mut error = wire_error::decode(&body);
        error.message = self.keys.without_keys(error.message);
        ProviderError::Status { provider: self.settings.name.clone(), status, error: Box::new(error), headers }
    }

    fn url(&self, path: &str) -> Result<Url, ProviderError> {
        Url::parse(&format!("{}{path}", self.settings.base_url)).map_err(|error| ProviderError::Connect {
            provider: self.settings.name.clone(),
            reason: format!("its address is none: {error}"),
        })
    }

    /// The client whose connections may take so long.
    fn client_for(&self, connect: Duration) -> Result<&reqwest::Client, ProviderError> {
        let own = self.clients.iter().find(|(known, _)| *known == connect).or(self.clients.first());
        own.map(|(_, client)| client).ok_or_else(|| ProviderError::Connect {
            provider: self.settings.name.clone(),
            reason: "there is no HTTP client".to_owned(),
        })
    }

    /// The error of an answer that is none.
    pub(crate) fn fault(&self, fault: UpstreamFault) -> ProviderError {
        let fault = match fault {
            UpstreamFault::Reported { status, kind, message } => {
                UpstreamFault::Reported { status, kind, message: self.keys.without_keys(message) }
            }
            fault => fault,
        };
        ProviderError::Fault { provider: self.settings.name.clone(), fault }
    }
}

/// The headers of W3C Trace Context.
fn write_trace(parent: &TraceParent, headers: &mut HeaderMap) {
    if let Ok(value) = HeaderValue::try_from(parent.to_string()) {
        headers.insert("traceparent", value);
    }
    if let Some(Ok(value)) = parent.state.as_deref().map(HeaderValue::from_str) {
        headers.insert("tracestate", value);
    }
}

fn fixed_headers(kind: ProviderKind) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if kind == ProviderKind::Anthropic {
        headers.insert("anthropic-version", HeaderValue::from_static(ANTHROPIC_VERSION));
    }
    headers
}

const fn key_header(kind: ProviderKind) -> HeaderName {
    match kind {
        ProviderKind::OpenAi | ProviderKind::Offline | ProviderKind::Local => header::AUTHORIZATION,
        ProviderKind::Anthropic => HeaderName::from_static("x-api-key"),
        ProviderKind::Gemini => HeaderName::from_static("x-goog-api-key"),
    }
}

/// Of a provider's headers the client gets those that tell it how fast it may go on. Never `content-encoding`,
/// `content-length` or anything about the connection: the body is ours.
fn headers_for_client(upstream: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in upstream {
        let name_text = name.as_str();
        if name_text.starts_with("retry-after")
            || name_text.starts_with("x-ratelimit-")
            || name_text.starts_with("anthropic-ratelimit-")
            || name_text == "x-should-retry"
        {
            headers.append(name, value.clone());
        }
    }
    headers
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.trim_start().starts_with("application/json"))
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.trim_start().starts_with("text/event-stream"))
}

fn json_instead_of_stream(body: &[u8]) -> UpstreamFault {
    let error = wire_error::decode(body);
    UpstreamFault::Reported { status: None, kind: error.kind.unwrap_or_default(), message: error.message }
}
