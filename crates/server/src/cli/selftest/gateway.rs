//! Asking the server as a client, and what is found out by it.

use std::collections::BTreeSet;
use std::time::Duration;

use privet_domain::ability::Ability;
use privet_providers::HttpProvider;
use reqwest::header::HeaderMap;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};

use crate::cli::{Exit, FAILURE, UNAVAILABLE};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A check takes no longer: a person waits.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// Of an error's words so much is told.
const CHARS_TOLD: usize = 240;

/// What is tested.
pub(super) struct Subject {
    pub(super) provider: String,
    pub(super) model: String,
    /// What the price book says that it can do; `None` if it says nothing.
    pub(super) abilities: Option<BTreeSet<Ability>>,
    /// Whether it thinks before it answers, for which it needs room.
    pub(super) thinks: bool,
    pub(super) embedding_model: Option<String>,
    pub(super) image_url: Option<String>,
}

impl Subject {
    /// `provider/model`.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.provider, self.model)
    }

    /// The most tokens of an answer. Thinking takes place within it.
    pub(super) const fn output_tokens(&self) -> u64 {
        if self.thinks { 1_500 } else { 64 }
    }
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// There was nothing to check.
    Skipped,
    Works,
    /// An answer came, and something of it is missing or was ignored.
    Degraded,
    Fails,
}

impl Outcome {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Works => "works",
            Self::Degraded => "degraded",
            Self::Fails => "fails",
        }
    }
}

/// What a check found out.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) outcome: Outcome,
    /// Why, and what to do.
    pub(super) note: String,
    /// Whether nothing else could work either.
    pub(super) is_hopeless: bool,
}

impl Finding {
    pub(super) fn works() -> Self {
        Self::works_with("")
    }

    pub(super) fn works_with(note: impl Into<String>) -> Self {
        Self { outcome: Outcome::Works, note: note.into(), is_hopeless: false }
    }

    pub(super) fn degraded(note: impl Into<String>) -> Self {
        Self { outcome: Outcome::Degraded, note: note.into(), is_hopeless: false }
    }

    pub(super) fn fails(note: impl Into<String>) -> Self {
        Self { outcome: Outcome::Fails, note: note.into(), is_hopeless: false }
    }

    pub(super) fn skipped(note: impl Into<String>) -> Self {
        Self { outcome: Outcome::Skipped, note: note.into(), is_hopeless: false }
    }

    /// Works if something holds, and is degraded for this reason if not.
    pub(super) fn if_holds(holds: bool, otherwise: impl Into<String>) -> Self {
        if holds { Self::works() } else { Self::degraded(otherwise) }
    }
}

/// An answer with status 200.
pub(super) struct Answered {
    pub(super) body: Value,
    /// How many calls of the provider it took.
    pub(super) calls: usize,
}

impl Answered {
    /// What the model said.
    pub(super) fn text(&self) -> &str {
        self.body.pointer("/choices/0/message/content").and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn finish(&self) -> &str {
        self.body.pointer("/choices/0/finish_reason").and_then(Value::as_str).unwrap_or_default()
    }

    /// One that needed more calls than one works, but not at once.
    pub(super) fn judged(&self, finding: Finding) -> Finding {
        if self.calls > 1 && finding.outcome == Outcome::Works {
            return Finding::degraded(format!("only at the {}. try; see `privet providers`", self.calls));
        }
        finding
    }
}

/// The server, asked with the key that was made for it.
pub(super) struct Gateway {
    client: reqwest::Client,
    url: String,
    key: SecretString,
    stray_key: SecretString,
    pub(super) subject: Subject,
}

impl Gateway {
    pub(super) fn new(
        url: String,
        key: &SecretString,
        stray_key: &SecretString,
        subject: Subject,
    ) -> Result<Self, Exit> {
        let client = HttpProvider::client(CONNECT_TIMEOUT).map_err(|error| Exit::new(FAILURE, error.to_string()))?;
        Ok(Self { client, url, key: key.clone(), stray_key: stray_key.clone(), subject })
    }

    /// A chat about this, with further fields.
    pub(super) fn chat_body(&self, messages: Value, more: Value) -> Value {
        let mut body = json!({
            "model": self.subject.name(), "messages": messages, "max_tokens": self.subject.output_tokens(), "store": false,
        });
        if let (Some(fields), Value::Object(more)) = (body.as_object_mut(), more) {
            fields.extend(more);
        }
        body
    }

    /// Asks for a chat that is answered at once.
    pub(super) async fn chat(&self, messages: Value, more: Value) -> Result<Answered, Finding> {
        self.post("/v1/chat/completions", &self.chat_body(messages, more)).await
    }

    /// Asks; an answer that is an error is a finding.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Answered, Finding> {
        let response = self.send(path, body, &self.key).await?;
        let (status, calls) = (response.status().as_u16(), calls_of(response.headers()));
        let bytes = tokio::time::timeout(ANSWER_TIMEOUT, response.bytes()).await;
        let bytes = bytes.map_err(|_| too_late())?.map_err(|_| Finding::fails("the answer broke off"))?;
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if status == 200 { Ok(Answered { body, calls }) } else { Err(refusal(status, &body)) }
    }

    /// The status and the error of a request that should not succeed.
    pub(super) async fn refused(&self, body: &Value, is_stray: bool) -> Result<(u16, Value), Finding> {
        let key = if is_stray { &self.stray_key } else { &self.key };
        let response = self.send("/v1/chat/completions", body, key).await?;
        let status = response.status().as_u16();
        let bytes = response.bytes().await.map_err(|_| Finding::fails("the answer broke off"))?;
        Ok((status, serde_json::from_slice(&bytes).unwrap_or_default()))
    }

    /// Asks for a stream.
    pub(super) async fn stream(&self, path: &str, body: &Value) -> Result<reqwest::Response, Finding> {
        let response = self.send(path, body, &self.key).await?;
        let status = response.status().as_u16();
        if status == 200 {
            return Ok(response);
        }
        let bytes = response.bytes().await.unwrap_or_default();
        Err(refusal(status, &serde_json::from_slice(&bytes).unwrap_or_default()))
    }

    async fn send(&self, path: &str, body: &Value, key: &SecretString) -> Result<reqwest::Response, Finding> {
        let request = self
            .client
            .post(format!("{}{path}", self.url))
            .bearer_auth(key.expose_secret())
            .header("content-type", "application/json")
            .body(body.to_string());
        let sent = tokio::time::timeout(ANSWER_TIMEOUT, request.send()).await.map_err(|_| too_late())?;
        sent.map_err(|_| Finding { is_hopeless: true, ..Finding::fails("the server does not answer; see its log") })
    }

    /// The provider's models, as the server lists them.
    pub(super) async fn models(&self) -> Result<Vec<String>, Exit> {
        models(&self.url, &self.key, &self.subject.provider).await
    }
}

fn too_late() -> Finding {
    Finding::fails(format!("no answer within {} s; try a faster model or `total_timeout`", ANSWER_TIMEOUT.as_secs()))
}

/// A provider's models, by its own names, as the server lists them.
pub(super) async fn models(url: &str, key: &SecretString, provider: &str) -> Result<Vec<String>, Exit> {
    let client = HttpProvider::client(CONNECT_TIMEOUT).map_err(|error| Exit::new(FAILURE, error.to_string()))?;
    let asked = client.get(format!("{url}/v1/models")).bearer_auth(key.expose_secret()).send().await;
    let unusable =
        |error: reqwest::Error| Exit::new(UNAVAILABLE, format!("the server lists no models: {}", error.without_url()));
    let body = asked.map_err(unusable)?.bytes().await.map_err(unusable)?;
    let list: Value = serde_json::from_slice(&body).unwrap_or_default();
    let prefix = format!("{provider}/");
    let names = list.pointer("/data").and_then(Value::as_array).into_iter().flatten();
    let names = names.filter_map(|model| model.get("id")?.as_str()?.strip_prefix(&prefix));
    Ok(names.map(str::to_owned).collect())
}

/// How many calls of the provider the header tells of.
fn calls_of(headers: &HeaderMap) -> usize {
    let told = headers.get("x-privet-attempts").and_then(|value| value.to_str().ok());
    told.map_or(1, |told| told.split(',').count())
}

/// A refusal as a finding, with what to do.
fn refusal(status: u16, body: &Value) -> Finding {
    let empty = Map::new();
    let error = body.get("error").and_then(Value::as_object).unwrap_or(&empty);
    let text = |field: &str| error.get(field).and_then(Value::as_str).unwrap_or_default();
    let code = match text("code") {
        "" => body.pointer("/error/details/error_code").and_then(Value::as_str).unwrap_or_default(),
        code => code,
    };
    let (remedy, is_hopeless) = match (code, status) {
        ("upstream_refused_key", _) => {
            ("mend the provider's key in the configuration and start the server again", true)
        }
        ("upstream_unreachable", _) => ("mend its `base_url`, or start it", true),
        ("switched_off", _) => ("`privet kill` lists what is off, `privet resume` switches it on", true),
        ("budget_exhausted" | "model_unpriced", _) => {
            ("raise the budget, or write the price into the file of `prices`", true)
        }
        ("model_not_found", _) | (_, 404) => ("name another model with --model", true),
        (_, 429) => ("the provider's limit, or this server's: try again later", false),
        (_, 503 | 529) => ("the provider has too much to do: try again later", false),
        ("upstream_malformed", _) => ("it speaks another dialect: compare `kind` and `base_url`", false),
        (_, 502 | 504) => ("see the server's log", false),
        _ => ("", false),
    };
    let message: String = text("message").chars().take(CHARS_TOLD).collect();
    let dash = if remedy.is_empty() { "" } else { " → " };
    Finding { is_hopeless, ..Finding::fails(format!("{status}: {message}{dash}{remedy}")) }
}
