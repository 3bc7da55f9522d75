//! A provider over HTTP: addresses, headers and time limits of the three dialects.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use privet_dialects::openai::error as wire_error;
use privet_dialects::{UpstreamFault, gemini};
use privet_domain::trace::TraceParent;
use reqwest::Url;
use secrecy::ExposeSecret;
use tokio::time::{Instant, timeout_at};

use crate::body::{ByteStream, Limits, UpstreamAnswer, UpstreamBody, read_whole};
use crate::error::{ProviderError, TimeoutStage};
use crate::model_list;
use crate::provider::ChatCall;
use crate::settings::{ProviderKind, ProviderSettings};

/// The version of Anthropic's API that is spoken (<https://docs.anthropic.com/en/api/versioning>).
const ANTHROPIC_VERSION: &str = "2023-06-01";
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
const ERROR_BYTES_MAX: usize = 256 * 1024;

/// A provider over HTTP.
#[derive(Clone, Debug)]
pub struct HttpProvider {
    settings: ProviderSettings,
    client: reqwest::Client,
    headers: HeaderMap,
    /// Where chats go, unless the model is part of the address.
    chat_url: Option<Url>,
}

impl HttpProvider {
    /// With the client whose connections it shares.
    ///
    /// # Errors
    /// When its key cannot stand in a header.
    pub fn new(settings: ProviderSettings, client: reqwest::Client) -> Result<Self, http::header::InvalidHeaderValue> {
        let headers = auth_headers(&settings)?;
        let chat_path = match settings.kind {
            ProviderKind::OpenAi | ProviderKind::Offline => Some("/chat/completions"),
            ProviderKind::Anthropic => Some("/v1/messages"),
            ProviderKind::Gemini => None,
        };
        let chat_url = chat_path.and_then(|path| Url::parse(&format!("{}{path}", settings.base_url)).ok());
        Ok(Self { settings, client, headers, chat_url })
    }

    /// A pooled client, HTTP/2 where the provider offers it, that follows no redirect (a redirect would carry the key along).
    ///
    /// # Errors
    /// When the machine's TLS roots cannot be read.
    pub fn client(connect: std::time::Duration) -> Result<reqwest::Client, reqwest::Error> {
        // Only the first call sets the process's provider; a later one finds it set, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        reqwest::Client::builder()
            .connect_timeout(connect)
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(256)
            .tcp_keepalive(std::time::Duration::from_secs(30))
            .user_agent(concat!("privet/", env!("CARGO_PKG_VERSION")))
            .build()
    }

    /// As configured.
    #[must_use]
    pub const fn settings(&self) -> &ProviderSettings {
        &self.settings
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
        let (response, limits) = self.send(Method::POST, url, Some(call.body), call.trace_parent.as_ref()).await?;
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

    /// Calls the embeddings endpoint with a body in the provider's dialect.
    ///
    /// # Errors
    /// When it fails, or the provider has none.
    pub async fn embeddings(
        &self,
        model: &str,
        body: Bytes,
        trace_parent: Option<&TraceParent>,
    ) -> Result<UpstreamAnswer, ProviderError> {
        let path = match self.settings.kind {
            ProviderKind::OpenAi | ProviderKind::Offline => "/embeddings".to_owned(),
            ProviderKind::Gemini => gemini::embeddings_path(model),
            ProviderKind::Anthropic => {
                return Err(ProviderError::NotOffered { provider: self.settings.name.clone(), what: "embeddings" });
            }
        };
        let (response, limits) = self.send(Method::POST, self.url(&path)?, Some(body), trace_parent).await?;
        let headers = headers_for_client(response.headers());
        let body = read_whole(response, &limits, ANSWER_BYTES_MAX).await?;
        Ok(UpstreamAnswer { headers, body: UpstreamBody::Whole(body) })
    }

    /// Calls `/rerank` beside OpenAI's dialect, with a body that is written already.
    ///
    /// # Errors
    /// When it fails, or the provider has none.
    pub async fn rerank(
        &self,
        body: Bytes,
        trace_parent: Option<&TraceParent>,
    ) -> Result<UpstreamAnswer, ProviderError> {
        if self.settings.kind != ProviderKind::OpenAi {
            return Err(ProviderError::NotOffered { provider: self.settings.name.clone(), what: "reranking" });
        }
        let (response, limits) = self.send(Method::POST, self.url("/rerank")?, Some(body), trace_parent).await?;
        let headers = headers_for_client(response.headers());
        let body = read_whole(response, &limits, ANSWER_BYTES_MAX).await?;
        Ok(UpstreamAnswer { headers, body: UpstreamBody::Whole(body) })
    }

    /// The provider's models, by its own names.
    ///
    /// # Errors
    /// When it fails or answers something else.
    pub async fn models(&self) -> Result<Vec<String>, ProviderError> {
        let path = match self.settings.kind {
            ProviderKind::OpenAi | ProviderKind::Offline => "/models",
            ProviderKind::Anthropic => "/v1/models?limit=1000",
            ProviderKind::Gemini => "/v1beta/models?pageSize=1000",
        };
        let (response, limits) = self.send(Method::GET, self.url(path)?, None, None).await?;
        let body = read_whole(response, &limits, ANSWER_BYTES_MAX).await?;
        model_list::decode(&body).map_err(|fault| self.fault(fault))
    }

    /// Sends and waits for the head of an answer with status 2xx.
    async fn send(
        &self,
        method: Method,
        url: Url,
        body: Option<Bytes>,
        trace_parent: Option<&TraceParent>,
    ) -> Result<(reqwest::Response, Limits), ProviderError> {
        let mut request = reqwest::Request::new(method, url);
        *request.headers_mut() = self.headers.clone();
        if let Some(parent) = trace_parent {
            write_trace(parent, request.headers_mut());
        }
        *request.body_mut() = body.map(Into::into);
        let timeouts = self.settings.timeouts;
        let started = Instant::now();
        let limits = Limits {
            provider: self.settings.name.clone(),
            idle: timeouts.idle,
            total: timeouts.total,
            deadline: started + timeouts.total,
        };
        let first_byte = timeouts.first_byte.min(timeouts.total);
        let sent = timeout_at(started + first_byte, self.client.execute(request)).await;
        let response = match sent {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(ProviderError::from_reqwest(&limits.provider, &error, timeouts.connect)),
            Err(_) => {
                let stage =
                    if timeouts.total <= timeouts.first_byte { TimeoutStage::Total } else { TimeoutStage::FirstByte };
                return Err(ProviderError::Timeout { provider: limits.provider, stage, after: first_byte });
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
        error.message = self.without_key(error.message);
        ProviderError::Status { provider: self.settings.name.clone(), status, error: Box::new(error), headers }
    }

    fn url(&self, path: &str) -> Result<Url, ProviderError> {
        Url::parse(&format!("{}{path}", self.settings.base_url)).map_err(|error| ProviderError::Connect {
            provider: self.settings.name.clone(),
            reason: format!("its address is none: {error}"),
        })
    }

    /// Some providers repeat the key that they refuse.
    fn without_key(&self, text: String) -> String {
        match &self.settings.api_key {
            Some(key) => text.replace(key.expose_secret(), "(the provider's key)"),
            None => text,
        }
    }

    /// The error of an answer that is none.
    pub(crate) fn fault(&self, fault: UpstreamFault) -> ProviderError {
        let fault = match fault {
            UpstreamFault::Reported { status, kind, message } => {
                UpstreamFault::Reported { status, kind, message: self.without_key(message) }
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

fn auth_headers(settings: &ProviderSettings) -> Result<HeaderMap, http::header::InvalidHeaderValue> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if settings.kind == ProviderKind::Anthropic {
        headers.insert("anthropic-version", HeaderValue::from_static(ANTHROPIC_VERSION));
    }
    if let Some(key) = &settings.api_key {
        let key = key.expose_secret();
        let (name, value) = match settings.kind {
            ProviderKind::OpenAi | ProviderKind::Offline => (header::AUTHORIZATION, format!("Bearer {key}")),
            ProviderKind::Anthropic => (HeaderName::from_static("x-api-key"), key.to_owned()),
            ProviderKind::Gemini => (HeaderName::from_static("x-goog-api-key"), key.to_owned()),
        };
        let mut value = HeaderValue::try_from(value)?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// Of a provider's headers the client gets those that tell it how fast it may go on. Never `content-encoding`,
/// `content-length` or anything about the connection: the body is ours.
fn headers_for_client(upstream: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in upstream {
        let name_text = name.as_str();
        if name_text.starts_with("retry-after")
            || name_text.starts_with("x-ratelimit-")
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

fn json_instead_of_stream(body: &[u8]) -> UpstreamFault {
    let error = wire_error::decode(body);
    UpstreamFault::Reported { status: None, kind: error.kind.unwrap_or_default(), message: error.message }
}
