//! A client that says texts nobody said before, and keeps what was acknowledged to it.

use std::sync::{Arc, Once};
use std::time::Duration;

use privet_testkit::privet_process::{PrivetBuilder, PrivetProcess};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// So many turns of one conversation, then a new one.
const TURNS_MAX: u64 = 5;

/// A server whose door stands open: its clients ask without a pause, with keys that come and go.
pub(crate) fn builder() -> PrivetBuilder {
    let open = ["PRIVET_LIMITS_ADDRESS_CHAT", "PRIVET_LIMITS_ADDRESS_REFUSED"];
    let builder = PrivetProcess::builder(env!("CARGO_BIN_EXE_privet"));
    open.into_iter().fold(builder, |builder, limit| builder.env(limit, "off"))
}

/// A seeded sequence of numbers (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// The server, as a client reaches it.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) http: reqwest::Client,
    pub(crate) url: String,
    pub(crate) key: String,
}

impl Api {
    pub(crate) fn new(url: &str, key: &str) -> Self {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| rustls::crypto::ring::default_provider().install_default().unwrap());
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
        Self { http, url: url.to_owned(), key: key.to_owned() }
    }

    /// The status and the JSON of a GET.
    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let response = self.http.get(format!("{}{path}", self.url)).bearer_auth(&self.key).send().await.unwrap();
        let status = response.status().as_u16();
        let body = response.bytes().await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }
}

/// A text that was said, and what came of it.
pub(crate) struct Said {
    pub(crate) text: String,
    /// `None` when the server died first: it may be kept or not.
    pub(crate) acknowledged: Option<Acknowledged>,
}

/// The whole answer reached the client.
#[derive(Clone)]
pub(crate) struct Acknowledged {
    pub(crate) conversation_id: String,
    pub(crate) answer: String,
}

pub(crate) struct Client {
    pub(crate) said: Vec<Said>,
    name: String,
    random: Random,
    conversation: Option<String>,
}

impl Client {
    pub(crate) fn new(name: String, seed: u64) -> Self {
        Self { said: Vec::new(), name, random: Random(seed), conversation: None }
    }

    /// Talks until the server is gone; each acknowledgement adds a permit.
    pub(crate) async fn talk(mut self, api: Api, acknowledgements: Arc<Semaphore>) -> Self {
        loop {
            let text = format!("{} says number {}", self.name, self.said.len());
            if self.random.below(TURNS_MAX) == 0 {
                self.conversation = None;
            }
            let stream = self.random.below(3) == 0;
            let acknowledged = chat(&api, &text, self.conversation.as_deref(), stream).await;
            self.said.push(Said { text, acknowledged: acknowledged.clone() });
            let Some(acknowledged) = acknowledged else { return self };
            self.conversation = Some(acknowledged.conversation_id);
            acknowledgements.add_permits(1);
        }
    }
}

/// One turn; `None` when the connection broke before the whole answer was there.
async fn chat(api: &Api, text: &str, conversation_id: Option<&str>, stream: bool) -> Option<Acknowledged> {
    let mut body = json!({"messages": [{"role": "user", "content": text}], "stream": stream});
    if let Some(id) = conversation_id {
        body["conversation_id"] = id.into();
    }
    let request = api.http.post(format!("{}/api/chat", api.url)).bearer_auth(&api.key);
    let request = request.header("content-type", "application/json").body(body.to_string());
    let response = request.send().await.ok()?;
    let status = response.status().as_u16();
    if status != 200 {
        panic!("`{text}` got {status}: {:?}", response.text().await);
    }
    if !stream {
        let whole: Value = serde_json::from_slice(&response.bytes().await.ok()?).unwrap();
        return Some(Acknowledged {
            conversation_id: whole["conversation_id"].as_str().unwrap().to_owned(),
            answer: whole["choices"][0]["message"]["content"].as_str().unwrap().to_owned(),
        });
    }
    let conversation_id = response.headers()["x-conversation-id"].to_str().unwrap().to_owned();
    Some(Acknowledged { conversation_id, answer: streamed(response).await? })
}

/// The text of a stream that came to its end; what breaks after `[DONE]` takes nothing back.
async fn streamed(mut response: reqwest::Response) -> Option<String> {
    let mut received = Vec::new();
    while !received.ends_with(b"data: [DONE]\n\n") {
        received.extend_from_slice(&response.chunk().await.ok()??);
    }
    let received = String::from_utf8(received).unwrap();
    let events = received.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    let deltas = events.map(|data| {
        let event: Value = serde_json::from_str(data).unwrap();
        assert!(event.get("error").is_none(), "{event}");
        event["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()
    });
    Some(deltas.collect())
}
