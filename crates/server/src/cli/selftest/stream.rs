//! Checks of streams.

use privet_dialects::sse::{SseDecoder, SseEvent};
use serde_json::{Value, json};

use super::gateway::{Finding, Gateway};

/// What came of a stream of chat chunks.
#[derive(Default)]
pub(super) struct Streamed {
    pub(super) text: String,
    /// Pieces of text or arguments.
    pub(super) pieces: usize,
    /// The first delta names the role.
    begins_with_role: bool,
    pub(super) finish: Option<String>,
    usage: Option<Value>,
    done: bool,
    error: Option<String>,
    /// Name and arguments of each call.
    pub(super) calls: Vec<(String, String)>,
}

impl Streamed {
    fn event(&mut self, event: &SseEvent) {
        if &event.data[..] == b"[DONE]" {
            self.done = true;
            return;
        }
        let chunk: Value = serde_json::from_slice(&event.data).unwrap_or_default();
        if let Some(message) = chunk.pointer("/error/message").and_then(Value::as_str) {
            self.error = Some(message.to_owned());
        }
        if let Some(usage) = chunk.get("usage").filter(|usage| usage.is_object()) {
            self.usage = Some(usage.clone());
        }
        let Some(choice) = chunk.pointer("/choices/0") else { return };
        if self.pieces == 0 && choice.pointer("/delta/role").is_some() {
            self.begins_with_role = true;
        }
        if let Some(text) = choice.pointer("/delta/content").and_then(Value::as_str).filter(|text| !text.is_empty()) {
            self.text.push_str(text);
            self.pieces += 1;
        }
        for call in choice.pointer("/delta/tool_calls").and_then(Value::as_array).into_iter().flatten() {
            self.call(call);
        }
        if let Some(finish) = choice.get("finish_reason").and_then(Value::as_str) {
            self.finish = Some(finish.to_owned());
        }
    }

    fn call(&mut self, call: &Value) {
        let text = |pointer: &str| call.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let index = call.get("index").and_then(Value::as_u64).and_then(|index| usize::try_from(index).ok());
        let index = index.unwrap_or(0).min(self.calls.len());
        if index == self.calls.len() {
            self.calls.push(Default::default());
        }
        if let Some((name, arguments)) = self.calls.get_mut(index) {
            name.push_str(text("/function/name"));
            arguments.push_str(text("/function/arguments"));
        }
        self.pieces += 1;
    }

    /// What is wrong with any stream of chat chunks.
    fn fault(&self) -> Option<Finding> {
        if let Some(error) = &self.error {
            return Some(Finding::fails(format!("it broke in the middle: {error}")));
        }
        if !self.done || self.finish.is_none() {
            return Some(Finding::fails("it ended without its end; see the server's log"));
        }
        (!self.begins_with_role).then(|| Finding::fails("the role does not come first"))
    }
}

/// Reads a stream to its end.
pub(super) async fn read(gateway: &Gateway, body: &Value) -> Result<Streamed, Finding> {
    let mut streamed = Streamed::default();
    for event in events(gateway, "/v1/chat/completions", body).await? {
        streamed.event(&event);
    }
    streamed.fault().map_or(Ok(streamed), Err)
}

async fn events(gateway: &Gateway, path: &str, body: &Value) -> Result<Vec<SseEvent>, Finding> {
    let mut response = gateway.stream(path, body).await?;
    let mut decoder = SseDecoder::default();
    let mut events = Vec::new();
    let broken = || Finding::fails("the stream broke off");
    loop {
        let chunk = response.chunk().await.map_err(|_| broken())?;
        match &chunk {
            Some(chunk) => decoder.push(chunk),
            None => decoder.finish(),
        }
        while let Some(event) = decoder.next_event() {
            events.push(event.map_err(|_| broken())?);
        }
        if chunk.is_none() {
            return Ok(events);
        }
    }
}

fn counting(gateway: &Gateway, more: Value) -> Value {
    let messages = json!([{"role": "user", "content": "Count from one to ten in words."}]);
    let mut body = gateway.chat_body(messages, more);
    if let Some(fields) = body.as_object_mut() {
        fields.insert("stream".to_owned(), Value::Bool(true));
    }
    body
}

pub(super) async fn chunks(gateway: &Gateway) -> Finding {
    match read(gateway, &counting(gateway, json!({}))).await {
        Ok(streamed) if streamed.text.is_empty() => Finding::degraded("a stream without text came"),
        Ok(streamed) => Finding::if_holds(
            streamed.pieces > 1,
            "all of the text came in one piece: whatever stands between does not stream (proxy_buffering?)",
        ),
        Err(finding) => finding,
    }
}

pub(super) async fn usage(gateway: &Gateway) -> Finding {
    match read(gateway, &counting(gateway, json!({"stream_options": {"include_usage": true}}))).await {
        Ok(streamed) => {
            let tokens =
                streamed.usage.as_ref().and_then(|usage| usage.get("completion_tokens")?.as_u64()).unwrap_or(0);
            Finding::if_holds(
                tokens > 0,
                "a stream has no count of tokens: under a budget it is charged all that it holds",
            )
        }
        Err(finding) => finding,
    }
}

/// By Anthropic's surface.
pub(super) async fn messages(gateway: &Gateway) -> Finding {
    let events = match events(gateway, "/v1/messages", &counting(gateway, json!({}))).await {
        Ok(events) => events,
        Err(finding) => return finding,
    };
    let names: Vec<&str> = events.iter().filter_map(|event| event.event.as_deref()).collect();
    if names.contains(&"error") {
        return Finding::fails("it broke in the middle; see the server's log");
    }
    let is_framed = names.first() == Some(&"message_start") && names.last() == Some(&"message_stop");
    if is_framed { Finding::works() } else { Finding::fails("it does not begin and end as Anthropic's streams do") }
}
