//! The stand of a test: a server of its own, a scripted provider behind it, and a client in front.

use std::sync::Once;
use std::time::Duration;

use bytes::Bytes;
use privet_testkit::privet_process::{PrivetBuilder, PrivetProcess};
use privet_testkit::upstream::{MockUpstream, RecordedRequest};
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The binary under test.
pub(crate) const PRIVET: &str = env!("CARGO_BIN_EXE_privet");
/// The providers' keys: no answer and no log may hold them.
pub(crate) const PROVIDER_KEY: &str = "sk-provider-canary-5d1f";

/// A configuration in which a model that fails is not called again.
pub(crate) const CALLED_ONCE: &str = "[routing]\nretries = 0\n";

/// A server, its provider and a client.
pub(crate) struct Stand {
    pub(crate) mock: MockUpstream,
    pub(crate) server: PrivetProcess,
    pub(crate) client: Client,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Starts a server whose three providers are the mock. Its door stands open: most tests ask more often than the lesson's limit
/// allows.
pub(crate) fn builder(mock: &MockUpstream) -> PrivetBuilder {
    let open = ["PRIVET_LIMITS_ADDRESS_CHAT", "PRIVET_LIMITS_ADDRESS_REFUSED"];
    open.into_iter().fold(guarded(mock), |builder, limit| builder.env(limit, "off"))
}

/// The same with the limits of addresses as they are by default or by the file.
pub(crate) fn guarded(mock: &MockUpstream) -> PrivetBuilder {
    let mut builder = PrivetProcess::builder(PRIVET);
    for (provider, path) in [("OPENAI", "/v1"), ("ANTHROPIC", ""), ("GEMINI", "")] {
        builder = builder
            .env(format!("{provider}_API_KEY"), PROVIDER_KEY)
            .env(format!("{provider}_BASE_URL"), format!("{}{path}", mock.base_url()));
    }
    builder
}

/// A client that follows nothing, unpacks nothing and knows no proxy.
pub(crate) fn client() -> Client {
    static PROVIDER: Once = Once::new();
    // The server's own crate may have installed it already.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    Client::builder().no_proxy().no_gzip().timeout(Duration::from_secs(30)).build().unwrap()
}

/// How the prompt `Answer` begins that a new project has.
pub(crate) const SEEDED_PROMPT: &str = "As Alice, you're speaking to ";

impl Stand {
    pub(crate) async fn start() -> Self {
        Self::with_config("").await
    }

    pub(crate) async fn with_config(toml: &str) -> Self {
        let mock = MockUpstream::start().await;
        let server = builder(&mock).config_toml(toml).start().await;
        Self { mock, server, client: client() }
    }

    /// A server with the limits of addresses as this file says, or as they are by default.
    pub(crate) async fn guarded(toml: &str) -> Self {
        let mock = MockUpstream::start().await;
        let server = guarded(&mock).config_toml(toml).start().await;
        Self { mock, server, client: client() }
    }

    /// A request with the server's key.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.server.url())).bearer_auth(self.server.key())
    }

    pub(crate) fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.request(Method::POST, path).header("content-type", "application/json").body(body)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    /// `POST /v1/chat/completions`.
    pub(crate) async fn chat(&self, body: Value) -> Answer {
        Answer::of(self.post("/v1/chat/completions", body.to_string())).await
    }

    /// `POST /api/chat`.
    pub(crate) async fn lesson(&self, body: Value) -> Answer {
        Answer::of(self.post("/api/chat", body.to_string())).await
    }

    /// The messages of a conversation, as `ROLE: CONTENT`, an incomplete one with `…` behind it.
    pub(crate) async fn thread(&self, conversation: &str) -> Vec<String> {
        let answer = self.get(&format!("/api/conversations/{conversation}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let messages = answer.json()["messages"].as_array().unwrap().clone();
        let said = messages.iter().map(|message| {
            let cut = if message["status"] == "incomplete" { "…" } else { "" };
            format!("{}: {}{cut}", message["role"].as_str().unwrap(), message["content"].as_str().unwrap())
        });
        said.collect()
    }

    /// How many conversations are kept.
    pub(crate) async fn conversations(&self) -> usize {
        self.get("/api/conversations").await.json()["data"].as_array().unwrap().len()
    }

    /// The last request that the provider received.
    pub(crate) fn sent(&self) -> RecordedRequest {
        self.mock.requests().pop().unwrap()
    }

    /// The last chat that the provider received: what is remembered is embedded beside it.
    pub(crate) fn sent_chat(&self) -> RecordedRequest {
        self.mock.requests().into_iter().rfind(|request| !request.path.contains("/embeddings")).unwrap()
    }

    /// The messages of the last request that the provider received, as `ROLE: CONTENT`.
    ///
    /// The prompt that a new project has, and that `/api/chat` puts in front of every thread, is left out.
    pub(crate) fn sent_thread(&self) -> Vec<String> {
        let messages = self.sent().body["messages"].as_array().unwrap().clone();
        messages
            .iter()
            .filter(|m| !m["content"].as_str().unwrap().starts_with(SEEDED_PROMPT))
            .map(|m| format!("{}: {}", m["role"].as_str().unwrap(), m["content"].as_str().unwrap()))
            .collect()
    }

    /// A key made by `privet keys create` for another project.
    pub(crate) async fn key_of_project(&self, project: &str) -> String {
        let arguments = ["keys", "create", "--name", "other", "--project", project];
        let output = self.privet(&arguments).await;
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Runs the command line on the server's data.
    pub(crate) async fn privet(&self, arguments: &[&str]) -> std::process::Output {
        let data = self.server.data_dir().display().to_string();
        run(&[arguments, &["--data", &data]].concat(), &[]).await
    }

    /// Writes bytes to a connection of its own and reads until the server closes it.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // A reset after the answer is an end as well.
        let _ended = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.server.url().strip_prefix("http://").unwrap()).await.unwrap()
    }
}

impl Answer {
    pub(crate) async fn of(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, body: response.bytes().await.unwrap() }
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn conversation(&self) -> String {
        self.header("x-conversation-id").unwrap_or_else(|| panic!("no conversation: {self:?}")).to_owned()
    }

    /// The JSON of all events.
    pub(crate) fn events(&self) -> Vec<Value> {
        events(self.text())
    }

    /// The text of a streamed answer.
    pub(crate) fn streamed_text(&self) -> String {
        self.events().iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect()
    }

    /// Whether the stream claims to have ended well.
    pub(crate) fn is_done(&self) -> bool {
        self.text().ends_with("data: [DONE]\n\n")
    }
}

/// The JSON of all events of a stream.
pub(crate) fn events(stream: &str) -> Vec<Value> {
    let data =
        |event: &str| event.lines().filter_map(|line| line.strip_prefix("data: ")).collect::<Vec<_>>().join("\n");
    stream.split("\n\n").filter_map(|event| serde_json::from_str(&data(event)).ok()).collect()
}

/// A request of one message.
pub(crate) fn ask(model: &str, content: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": content}]})
}

/// The same, streamed.
pub(crate) fn ask_streamed(model: &str, content: &str) -> Value {
    json!({"model": model, "stream": true, "messages": [{"role": "user", "content": content}]})
}

/// Runs `privet` in an empty folder with this environment alone.
pub(crate) async fn run(arguments: &[&str], environment: &[(&str, &str)]) -> std::process::Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tokio::process::Command::new(PRIVET);
    command.args(arguments).env_clear().envs(environment.iter().copied()).env("HOME", folder.path());
    command.env("COLUMNS", "100").current_dir(folder.path()).kill_on_drop(true).stdin(std::process::Stdio::null());
    tokio::time::timeout(Duration::from_secs(60), command.output()).await.unwrap().unwrap()
}
