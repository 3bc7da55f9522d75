//! What a call is answered with: one plain description for every dialect, in Rust and as JSON at `POST /script`.
//! It holds no wire format: the dialect files turn it into bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How the mock answers one call. The default is a short, correct answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// HTTP status; 400 and above answers an error in the dialect's shape. Default 200.
    pub status: Option<u16>,
    /// Extra response headers, such as `retry-after`. They replace the mock's own of the same name.
    pub headers: BTreeMap<String, String>,
    /// Text of the error, in place of the default one.
    pub error_message: Option<String>,
    /// OpenAI's and Anthropic's `error.type`, Gemini's `error.status`.
    pub error_type: Option<String>,
    /// OpenAI's `error.code`.
    pub error_code: Option<String>,
    /// Refuses with 400 each call whose body holds this text.
    pub refuse: Option<String>,
    /// With another status than 400.
    pub refuse_status: Option<u16>,
    /// The whole response body as it is, at any status, streamed or not.
    pub raw_body: Option<String>,

    /// The answer's text. Default: a fixed sentence, or an instance of the schema the request asks for.
    pub content: Option<String>,
    /// Answers with the JSON of the request's last message.
    pub echo: bool,
    /// Tool calls, several of them being parallel ones.
    pub tool_calls: Vec<ToolCall>,
    /// Thinking before the answer.
    pub thinking: Option<String>,
    /// Signature of the thinking (Anthropic) or of the first tool call or text (Gemini's `thoughtSignature`).
    pub signature: Option<String>,
    /// Data of a `redacted_thinking` block (Anthropic alone).
    pub redacted_thinking: Option<String>,
    /// The model's refusal, in place of the text.
    pub refusal: Option<String>,
    /// The finish reason in the dialect's own words, in place of the one that follows from the answer.
    pub finish_reason: Option<String>,
    /// Vectors of an embedding have this many dimensions. Default: what the request asks for, or 8.
    pub dimensions: Option<usize>,

    /// Reported (and billed) tokens, in place of the counted ones.
    pub usage: Option<Usage>,
    /// Reports no usage at all; the bill counts it just the same.
    pub no_usage: bool,
    /// Reports usage more than once while streaming, growing each time.
    pub repeat_usage: bool,
    /// What is charged when the client leaves before the end.
    pub bill_on_cancel: BillOnCancel,
    /// What is charged when the answer is cut or breaks off in an error. An error status costs nothing.
    pub bill_on_failure: BillOnCancel,

    /// Number of pieces the text is streamed in. Default: one per word.
    pub chunks: Option<usize>,
    /// Pause before each content chunk.
    pub chunk_delay_ms: u64,
    /// Pause before the status line.
    pub first_byte_delay_ms: u64,
    /// Accepts the call and never answers.
    pub hang: bool,
    /// Goes silent after this many content chunks and keeps the connection open (0: right after the headers).
    pub hang_after_chunks: Option<u32>,
    /// Closes the connection after this many content chunks, without an end (0: right after the headers). A plain
    /// body is cut in the middle.
    pub cut_after_chunks: Option<u32>,
    /// Sends the body one byte per this many milliseconds.
    pub slow_drip_ms: Option<u64>,
    /// Output that no parser accepts.
    pub malformed: Option<Malformed>,
    /// An error inside a 200.
    pub error_inside_200: Option<ErrorInside>,

    /// Leaves the role out of the first delta (OpenAI).
    pub omit_role: bool,
    /// Ends without `[DONE]` or `message_stop`.
    pub omit_end: bool,
    /// How `tool_calls[].index` is numbered in a stream (OpenAI).
    pub tool_index: ToolIndex,
    /// Sends tool calls with no arguments at all (`""` in OpenAI's dialect).
    pub empty_arguments: bool,
    /// Headers that do not describe what a proxy would pass on.
    pub stale_headers: Option<StaleHeaders>,
    /// Leaves the rate-limit headers out.
    pub no_rate_limit_headers: bool,
    /// How events are written.
    pub framing: Framing,
    /// Keep-alive events before the first content chunk: `ping` events (Anthropic) or comments.
    pub pings: u32,
    /// Pause before each ping.
    pub ping_interval_ms: u64,
}

/// A tool call of the answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    /// The function's name.
    pub name: String,
    /// The arguments: a JSON object, or a string that is sent as it is (cut JSON, for instance).
    #[serde(default)]
    pub arguments: Value,
    /// The call's id. Default: `call_mock_N`, `toolu_mock_N`; none in Gemini's dialect.
    #[serde(default)]
    pub id: Option<String>,
}

/// Tokens, counted the same way for all dialects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Usage {
    /// All input, cached and cache-written tokens included.
    pub input_tokens: u64,
    /// The part of the input read from the cache.
    pub cached_tokens: u64,
    /// The part of the input written to the cache (Anthropic, five minutes).
    pub cache_write_tokens: u64,
    /// All output, reasoning included.
    pub output_tokens: u64,
    /// The part of the output spent on reasoning.
    pub reasoning_tokens: u64,
}

/// What is charged of an answer that does not come to its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BillOnCancel {
    /// What was sent until then; nothing before the first event.
    #[default]
    Produced,
    /// The whole answer, as by a provider that does not stop generating.
    InFull,
}

/// Output that no parser accepts. In a stream it is one bad line after the first content chunk; the rest is correct.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Malformed {
    /// Cut JSON.
    BadJson,
    /// Bytes that are not UTF-8.
    BadUtf8,
    /// A line that is no SSE field; an HTML page when not streamed.
    GarbageLine,
    /// One line of 10 MB.
    HugeLine,
}

/// An error inside a 200.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ErrorInside {
    /// After this many content chunks; 0 makes it the first event. A plain body is the error itself.
    pub after_chunks: u32,
    /// Whose shape the error has.
    pub shape: ErrorShape,
    /// Text of the error.
    pub message: Option<String>,
}

/// Whose shape an error inside a 200 has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorShape {
    /// The dialect's own.
    #[default]
    Native,
    /// vLLM's and SGLang's: `{"error": {"object": "error", "code": 500, …}}`, then `[DONE]`.
    Vllm,
    /// Older servers': `{"object": "error", "message": …}`, then `[DONE]`.
    Flat,
}

/// How `tool_calls[].index` is numbered in a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolIndex {
    /// From 0 without gaps.
    #[default]
    Normal,
    /// Left out.
    Omit,
    /// 0 for every call.
    Repeat,
    /// 0, 2, 4 …
    Gap,
    /// Correct numbers, the fragments of all calls taking turns.
    Interleaved,
}

/// Headers that do not describe what a proxy would pass on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StaleHeaders {
    /// The body really is gzipped: true here, stale after decoding.
    Gzip,
    /// `content-encoding: gzip` on a body that is not.
    FalseGzip,
}

/// How events are written. All of it is correct SSE.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Framing {
    /// Lines end in CRLF.
    pub crlf: bool,
    /// `data:` without the space after it.
    pub no_space: bool,
    /// Each JSON is spread over several `data:` lines.
    pub multi_line_data: bool,
    /// A comment line before each event.
    pub comments: bool,
    /// The bytes are written in pieces of this size, whatever the events' borders.
    pub split_bytes: Option<usize>,
}

impl Behaviour {
    /// Refuses what cannot be sent, so that a wrong script is not taken for a wrong gateway.
    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(status) = self.status.filter(|status| !(200..=599).contains(status)) {
            return Err(format!("status {status} is not within 200..=599"));
        }
        for (name, value) in &self.headers {
            http::HeaderName::try_from(name).map_err(|error| format!("header `{name}`: {error}"))?;
            http::HeaderValue::try_from(value).map_err(|error| format!("header `{name}: {value}`: {error}"))?;
        }
        Ok(())
    }

    /// The default answer.
    pub fn new() -> Self {
        Self::default()
    }

    /// An error answer with this status.
    pub fn error(status: u16) -> Self {
        Self { status: Some(status), ..Self::default() }
    }

    /// An answer with this text.
    pub fn text(content: impl Into<String>) -> Self {
        Self { content: Some(content.into()), ..Self::default() }
    }

    /// Sets the HTTP status.
    pub fn status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Adds a response header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Sets the error's text.
    pub fn error_message(mut self, message: impl Into<String>) -> Self {
        self.error_message = Some(message.into());
        self
    }

    /// Sets the error's type.
    pub fn error_type(mut self, kind: impl Into<String>) -> Self {
        self.error_type = Some(kind.into());
        self
    }

    /// Sets the error's code.
    pub fn error_code(mut self, code: impl Into<String>) -> Self {
        self.error_code = Some(code.into());
        self
    }

    /// Sets the whole body.
    pub fn raw_body(mut self, body: impl Into<String>) -> Self {
        self.raw_body = Some(body.into());
        self
    }

    /// Sets the answer's text.
    pub fn content(mut self, content: impl Into<String>) -> Self {
        self.content = Some(content.into());
        self
    }

    /// Answers with the JSON of the request's last message.
    pub fn echo(mut self) -> Self {
        self.echo = true;
        self
    }

    /// Adds a tool call.
    pub fn tool_call(mut self, name: impl Into<String>, arguments: Value) -> Self {
        self.tool_calls.push(ToolCall { name: name.into(), arguments, id: None });
        self
    }

    /// Adds a tool call with an id.
    pub fn tool_call_with_id(mut self, id: impl Into<String>, name: impl Into<String>, arguments: Value) -> Self {
        self.tool_calls.push(ToolCall { name: name.into(), arguments, id: Some(id.into()) });
        self
    }

    /// Sets the thinking and its signature.
    pub fn thinking(mut self, text: impl Into<String>, signature: impl Into<String>) -> Self {
        self.thinking = Some(text.into());
        self.signature = Some(signature.into());
        self
    }

    /// Adds a `redacted_thinking` block.
    pub fn redacted_thinking(mut self, data: impl Into<String>) -> Self {
        self.redacted_thinking = Some(data.into());
        self
    }

    /// Refuses with this text.
    pub fn refusal(mut self, text: impl Into<String>) -> Self {
        self.refusal = Some(text.into());
        self
    }

    /// Sets the finish reason, in the dialect's own words.
    pub fn finish_reason(mut self, reason: impl Into<String>) -> Self {
        self.finish_reason = Some(reason.into());
        self
    }

    /// Whether it refuses a call with this body.
    pub(super) fn refuses(&self, body: &Value) -> bool {
        self.refuse.as_deref().is_some_and(|text| body.to_string().contains(text))
    }

    /// Sets the number of dimensions of embeddings.
    pub fn dimensions(mut self, dimensions: usize) -> Self {
        self.dimensions = Some(dimensions);
        self
    }

    /// Sets the reported tokens.
    pub fn usage(mut self, usage: Usage) -> Self {
        self.usage = Some(usage);
        self
    }

    /// Reports no usage.
    pub fn no_usage(mut self) -> Self {
        self.no_usage = true;
        self
    }

    /// Reports usage more than once.
    pub fn repeat_usage(mut self) -> Self {
        self.repeat_usage = true;
        self
    }

    /// Charges the whole answer even when the client leaves early.
    pub fn bill_in_full_on_cancel(mut self) -> Self {
        self.bill_on_cancel = BillOnCancel::InFull;
        self
    }

    /// Charges the whole answer even when it is cut or breaks off in an error.
    pub fn bill_in_full_on_failure(mut self) -> Self {
        self.bill_on_failure = BillOnCancel::InFull;
        self
    }

    /// Streams the text in this many pieces.
    pub fn chunks(mut self, chunks: usize) -> Self {
        self.chunks = Some(chunks);
        self
    }

    /// Pauses before each content chunk.
    pub fn chunk_delay_ms(mut self, delay_ms: u64) -> Self {
        self.chunk_delay_ms = delay_ms;
        self
    }

    /// Pauses before the status line.
    pub fn first_byte_delay_ms(mut self, delay_ms: u64) -> Self {
        self.first_byte_delay_ms = delay_ms;
        self
    }

    /// Never answers.
    pub fn hang(mut self) -> Self {
        self.hang = true;
        self
    }

    /// Goes silent after this many content chunks.
    pub fn hang_after_chunks(mut self, chunks: u32) -> Self {
        self.hang_after_chunks = Some(chunks);
        self
    }

    /// Closes the connection after this many content chunks.
    pub fn cut_after_chunks(mut self, chunks: u32) -> Self {
        self.cut_after_chunks = Some(chunks);
        self
    }

    /// Sends one byte per interval.
    pub fn slow_drip_ms(mut self, interval_ms: u64) -> Self {
        self.slow_drip_ms = Some(interval_ms);
        self
    }

    /// Sends output that no parser accepts.
    pub fn malformed(mut self, malformed: Malformed) -> Self {
        self.malformed = Some(malformed);
        self
    }

    /// Sends an error inside a 200 after this many content chunks.
    pub fn error_inside_200(mut self, after_chunks: u32, shape: ErrorShape) -> Self {
        self.error_inside_200 = Some(ErrorInside { after_chunks, shape, message: None });
        self
    }

    /// Leaves the role out of the first delta.
    pub fn omit_role(mut self) -> Self {
        self.omit_role = true;
        self
    }

    /// Ends without the dialect's end mark.
    pub fn omit_end(mut self) -> Self {
        self.omit_end = true;
        self
    }

    /// Sets how tool calls are numbered.
    pub fn tool_index(mut self, tool_index: ToolIndex) -> Self {
        self.tool_index = tool_index;
        self
    }

    /// Sends tool calls without arguments.
    pub fn empty_arguments(mut self) -> Self {
        self.empty_arguments = true;
        self
    }

    /// Sends headers that a proxy must not pass on.
    pub fn stale_headers(mut self, stale: StaleHeaders) -> Self {
        self.stale_headers = Some(stale);
        self
    }

    /// Leaves the rate-limit headers out.
    pub fn no_rate_limit_headers(mut self) -> Self {
        self.no_rate_limit_headers = true;
        self
    }

    /// Sets how events are written.
    pub fn framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// Sends pings before the first content chunk.
    pub fn pings(mut self, count: u32, interval_ms: u64) -> Self {
        self.pings = count;
        self.ping_interval_ms = interval_ms;
        self
    }
}
