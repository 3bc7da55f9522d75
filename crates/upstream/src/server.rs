//! Answering requests: the control routes, the lists of models, and the model calls, plain ones on a fast path.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::answer::{Answer, DEFAULT_CONTENT};
use super::behaviour::{Behaviour, Usage};
use super::body::MockBody;
use super::call::Call;
use super::ledger::Outcome;
use super::request::{Dialect, Head, Request, Route, words};
use super::state::{Admission, RawRecord, Shared};
use super::{
    anthropic, audio, control, embedding, failure, gemini, media, openai, rerank as reranking, response, responses,
    schedule,
};

const OPENAI_MODELS: [&str; 4] = ["gpt-4o", "gpt-4o-mini", "text-embedding-3-small", "text-embedding-3-large"];
const ANTHROPIC_MODELS: [&str; 2] = ["claude-sonnet-4-5", "claude-haiku-4-5"];
const GEMINI_MODELS: [&str; 3] = ["gemini-2.5-flash", "gemini-2.5-pro", "gemini-embedding-001"];

pub(super) async fn serve(shared: Arc<Shared>, request: hyper::Request<Incoming>) -> Response<MockBody> {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return response::control(StatusCode::BAD_REQUEST, json!({"error": "the body was cut"}).to_string());
    };
    let body = audio::read_form(&parts.headers, body.to_bytes());
    let path = parts.uri.path();
    if control::is_control(path) {
        let (status, answer) = control::answer(&shared, &parts.method, path, &body);
        return response::control(status, answer.to_string());
    }
    let route = Route::find(&parts.method, path, &parts.headers);
    let query = parts.uri.query().map(str::to_owned);
    let record = RawRecord {
        method: parts.method,
        path: parts.uri.path_and_query().map_or_else(String::new, ToString::to_string),
        headers: parts.headers,
        body: body.clone(),
    };
    shared.lock().record(record);
    match route {
        Route::Chat(dialect) => chat(&shared, dialect, None, body).await,
        Route::GeminiChat { stream: true, .. } if !query.is_some_and(|query| query.contains("alt=sse")) => {
            refuse(&shared, Dialect::Gemini, 400, "the mock streams with `alt=sse` alone")
        }
        Route::GeminiChat { model, stream } => chat(&shared, Dialect::Gemini, Some((model, stream)), body).await,
        Route::Embeddings => embeddings(&shared, Dialect::OpenAi, None, body).await,
        Route::GeminiEmbeddings { model, batch } => {
            embeddings(&shared, Dialect::Gemini, Some((model, batch)), body).await
        }
        Route::Rerank => {
            plain(&shared, body, |request, behaviour| {
                let counted = Usage { input_tokens: request.input_tokens, ..Usage::default() };
                let usage = behaviour.usage.unwrap_or(counted);
                let reported = (!behaviour.no_usage).then_some(usage.input_tokens);
                (reranking::reply(&request.body, reported), usage)
            })
            .await
        }
        Route::Images => {
            plain(&shared, body, |request, behaviour| {
                let output_tokens = media::PICTURE_TOKENS * media::count(&request.body);
                let counted = Usage { input_tokens: request.input_tokens, output_tokens, ..Usage::default() };
                let usage = behaviour.usage.unwrap_or(counted);
                let reported = (!behaviour.no_usage).then_some((usage.input_tokens, usage.output_tokens));
                (media::images(&request.body, reported), usage)
            })
            .await
        }
        Route::Moderations => {
            plain(&shared, body, |request, _| (media::moderation(&request.body), Usage::default())).await
        }
        Route::Speech | Route::Recording => sound(&shared, route, body).await,
        Route::CountTokens(dialect) => count_tokens(&shared, dialect, &body),
        Route::Models(dialect) => listed(&shared, dialect, models(dialect)),
        Route::Model(dialect, name) => listed(&shared, dialect, model(dialect, &name)),
        Route::Unknown(dialect) => refuse(&shared, dialect, 404, "the mock has no such path"),
    }
}

/// A chat call. Gemini's model and way of answering stand in its path.
async fn chat(
    shared: &Arc<Shared>,
    dialect: Dialect,
    in_path: Option<(String, bool)>,
    body: Bytes,
) -> Response<MockBody> {
    let mut head = match Head::parse(&body) {
        Ok(head) => head,
        Err(error) => return refuse(shared, dialect, 400, &format!("the body is no call: {error}")),
    };
    let (model, stream) = match (in_path, head.model.take()) {
        (Some(in_path), _) => in_path,
        (None, Some(model)) => (model, head.stream == Some(true)),
        (None, None) => return refuse(shared, dialect, 400, "you must provide a model parameter"),
    };
    let fast = fast_usage(dialect, &head, &model);
    let admission = shared.admit(dialect, &model, fast);
    if let (None, Some(usage)) = (&admission.behaviour, fast) {
        return response::json(dialect, admission.serial, fast_reply(&model, usage, admission.serial));
    }
    let request = Request {
        dialect,
        model,
        stream,
        include_usage: head.include_usage(),
        input_tokens: head.input_tokens(),
        output_tokens_max: head.output_tokens_max(),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    };
    scripted(shared, request, admission, |request, behaviour, serial| {
        let answer = Answer::compose(behaviour, request, serial);
        let content = match (request.stream, request.dialect) {
            (false, Dialect::OpenAi) => Content::Whole(openai::reply(&answer)),
            (false, Dialect::Anthropic) => Content::Whole(anthropic::reply(&answer)),
            (false, Dialect::Gemini) => Content::Whole(gemini::reply(&answer)),
            (false, Dialect::Responses) => Content::Whole(responses::reply(&answer)),
            (true, Dialect::OpenAi) => Content::Events(openai::events(&answer, behaviour, request.include_usage)),
            (true, Dialect::Anthropic) => Content::Events(anthropic::events(&answer, behaviour)),
            (true, Dialect::Gemini) => Content::Events(gemini::events(&answer, behaviour)),
            (true, Dialect::Responses) => Content::Events(responses::events(&answer, behaviour)),
        };
        (content, answer.usage)
    })
    .await
}

async fn embeddings(
    shared: &Arc<Shared>,
    dialect: Dialect,
    in_path: Option<(String, bool)>,
    body: Bytes,
) -> Response<MockBody> {
    let (Ok(mut head), Ok(json)) = (Head::parse(&body), serde_json::from_slice::<Value>(&body)) else {
        return refuse(shared, dialect, 400, "the body is no JSON");
    };
    let (model, batch) = match (in_path, head.model.take()) {
        (Some(in_path), _) => in_path,
        (None, Some(model)) => (model, true),
        (None, None) => return refuse(shared, dialect, 400, "you must provide a model parameter"),
    };
    let admission = shared.admit(dialect, &model, None);
    let input_tokens = head.input_tokens();
    let request = Request {
        dialect,
        model,
        stream: false,
        include_usage: false,
        input_tokens,
        output_tokens_max: None,
        body: json,
    };
    scripted(shared, request, admission, |request, behaviour, _| {
        let counted = Usage { input_tokens: request.input_tokens, ..Usage::default() };
        let usage = behaviour.usage.unwrap_or(counted);
        let reported = (!behaviour.no_usage).then_some(usage.input_tokens);
        (Content::Whole(embedded(request, behaviour, batch, reported)), usage)
    })
    .await
}

/// A call whose body is read as it is, and answered whole.
async fn plain(
    shared: &Arc<Shared>,
    body: Bytes,
    reply: impl FnOnce(&Request, &Behaviour) -> (Value, Usage),
) -> Response<MockBody> {
    let Ok(json) = serde_json::from_slice::<Value>(&body) else {
        return refuse(shared, Dialect::OpenAi, 400, "the body is no JSON");
    };
    // A moderation without a model has one by default.
    let model = json.get("model").and_then(Value::as_str).unwrap_or("omni-moderation-latest").to_owned();
    let admission = shared.admit(Dialect::OpenAi, &model, None);
    let request = Request {
        dialect: Dialect::OpenAi,
        model,
        stream: false,
        include_usage: false,
        input_tokens: words(&json.to_string()),
        output_tokens_max: None,
        body: json,
    };
    scripted(shared, request, admission, |request, behaviour, _| {
        let (reply, usage) = reply(request, behaviour);
        (Content::Whole(reply), usage)
    })
    .await
}

/// A call with a text to speak, or with a recording.
async fn sound(shared: &Arc<Shared>, route: Route, body: Bytes) -> Response<MockBody> {
    let Ok(json) = serde_json::from_slice::<Value>(&body) else {
        return refuse(shared, Dialect::OpenAi, 400, "the body is neither JSON nor a form");
    };
    let Some(model) = json.get("model").and_then(Value::as_str).map(str::to_owned) else {
        return refuse(shared, Dialect::OpenAi, 400, "you must provide a model parameter");
    };
    let admission = shared.admit(Dialect::OpenAi, &model, None);
    let text = |name: &str| json.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (speaks, form) = (route == Route::Speech, text("response_format"));
    let stream = if speaks { text("stream_format") == "sse" } else { text("stream") == "true" };
    let (dialect, input_tokens) = (Dialect::OpenAi, words(&json.to_string()));
    let request =
        Request { dialect, model, stream, include_usage: false, input_tokens, output_tokens_max: None, body: json };
    scripted(shared, request, admission, |request, behaviour, _| {
        let model = &request.model;
        let usage = behaviour.usage.unwrap_or_else(|| audio::count(model, &request.body, request.input_tokens));
        let reported = (!behaviour.no_usage).then_some(usage);
        let heard = behaviour.content.as_deref().unwrap_or(DEFAULT_CONTENT);
        let content = match (speaks, request.stream) {
            (true, true) => Content::Events(audio::speech_events(reported)),
            (true, false) => Content::Other(Bytes::from_static(audio::SOUND), "audio/mpeg"),
            (false, true) => Content::Events(audio::transcript_events(model, heard, reported)),
            (false, false) if ["text", "srt", "vtt"].contains(&form.as_str()) => {
                Content::Other(Bytes::from(heard.to_owned()), "text/plain; charset=utf-8")
            }
            (false, false) => Content::Whole(audio::transcript(model, heard, reported)),
        };
        (content, usage)
    })
    .await
}

fn embedded(request: &Request, behaviour: &Behaviour, batch: bool, tokens: Option<u64>) -> Value {
    let body = &request.body;
    let list = body.get("requests").and_then(Value::as_array);
    let single = std::slice::from_ref(body);
    let items = list.map_or(single, Vec::as_slice);
    let asked = body.get("dimensions").or_else(|| items.first().and_then(|item| item.get("outputDimensionality")));
    let asked = asked.and_then(Value::as_u64).and_then(|asked| usize::try_from(asked).ok());
    let dimensions = behaviour.dimensions.or(asked).unwrap_or_else(|| embedding::dimensions_of(&request.model));
    match request.dialect {
        Dialect::OpenAi | Dialect::Anthropic | Dialect::Responses => {
            let vectors = embedding::of_input(body.get("input").unwrap_or(&Value::Null), dimensions);
            let as_base64 = body.get("encoding_format").and_then(Value::as_str) == Some("base64");
            openai::embeddings(&request.model, &vectors, as_base64, tokens)
        }
        Dialect::Gemini => {
            let vectors: Vec<Vec<f32>> = items.iter().map(|item| embedding::of_content(item, dimensions)).collect();
            gemini::embeddings(&vectors, batch, tokens)
        }
    }
}

enum Content {
    Whole(Value),
    Events(Vec<super::event::Event>),
    /// Bytes of another type than JSON.
    Other(Bytes, &'static str),
}

/// Answers as scripted, or by default when nothing is scripted.
async fn scripted(
    shared: &Arc<Shared>,
    request: Request,
    admission: Admission,
    content: impl FnOnce(&Request, &Behaviour, u64) -> (Content, Usage),
) -> Response<MockBody> {
    let Admission { behaviour, epoch, serial } = admission;
    let mut behaviour = behaviour.unwrap_or_default();
    if behaviour.refuses(&request.body) {
        behaviour = Arc::new(Behaviour { status: behaviour.refuse_status.or(Some(400)), ..(*behaviour).clone() });
    }
    let mut call = Call::new(Arc::clone(shared), epoch, request.model.clone(), &behaviour);
    let (content, usage) = content(&request, &behaviour, serial);
    let fails = behaviour.status.is_some_and(|status| status >= 400);
    if !fails {
        call.set_full(usage);
    }
    if behaviour.hang {
        // The connection drops this future, and the call with it, when the client leaves.
        std::future::pending::<()>().await;
    }
    if behaviour.first_byte_delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(behaviour.first_byte_delay_ms)).await;
    }
    let streamed = request.stream && !fails;
    let mut outcome = if fails { Outcome::Failed } else { Outcome::Completed };
    let dialect = request.dialect;
    let kind = match &content {
        Content::Other(_, kind) if !fails && behaviour.raw_body.is_none() => Some(*kind),
        _ => None,
    };
    let schedule = match (&behaviour.raw_body, content) {
        (Some(raw), _) => schedule::plain(raw.clone().into_bytes(), &behaviour),
        (None, _) if fails => {
            let status = behaviour.status.unwrap_or(500);
            let body = failure::body(dialect, status, &behaviour, &response::request_id(serial));
            schedule::plain(body.to_string().into_bytes(), &behaviour)
        }
        (None, Content::Events(events)) => schedule::stream(dialect, &events, &behaviour, usage.output_tokens),
        (None, Content::Other(bytes, _)) => schedule::plain(bytes.to_vec(), &behaviour),
        (None, Content::Whole(reply)) => {
            let reply = match &behaviour.error_inside_200 {
                Some(error) => {
                    outcome = Outcome::Failed;
                    failure::inside_body(dialect, error)
                }
                None => reply,
            };
            schedule::plain(reply.to_string().into_bytes(), &behaviour)
        }
    };
    let drip = behaviour.slow_drip_ms.map(Duration::from_millis);
    let body = MockBody::timed(schedule, drip, Some(call), outcome);
    let mut response = response::scripted(dialect, serial, &behaviour, streamed, body);
    if let Some(kind) = kind {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    response
}

/// What a plain call costs; none when its answer needs more thought.
fn fast_usage(dialect: Dialect, head: &Head, model: &str) -> Option<Usage> {
    let output_tokens = words(DEFAULT_CONTENT);
    let simple_name = model.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
    let fits = head.output_tokens_max().is_none_or(|tokens_max| tokens_max >= output_tokens);
    (dialect == Dialect::OpenAi && head.is_plain() && simple_name && fits).then(|| Usage {
        input_tokens: head.input_tokens(),
        output_tokens,
        ..Usage::default()
    })
}

/// The default answer, written without building JSON. It equals what [`openai::reply`] makes.
fn fast_reply(model: &str, usage: Usage, serial: u64) -> MockBody {
    let mut number = itoa::Buffer::new();
    let mut body = BytesMut::with_capacity(768);
    body.put_slice(b"{\"id\":\"chatcmpl-mock-");
    body.put_slice(number.format(serial).as_bytes());
    body.put_slice(b"\",\"object\":\"chat.completion\",\"created\":");
    body.put_slice(number.format(openai::CREATED).as_bytes());
    body.put_slice(b",\"model\":\"");
    body.put_slice(model.as_bytes());
    body.put_slice(b"\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"");
    body.put_slice(DEFAULT_CONTENT.as_bytes());
    body.put_slice(b"\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\"}],");
    body.put_slice(b"\"service_tier\":\"default\",\"system_fingerprint\":\"fp_mock\",\"usage\":{\"prompt_tokens\":");
    body.put_slice(number.format(usage.input_tokens).as_bytes());
    body.put_slice(b",\"completion_tokens\":");
    body.put_slice(number.format(usage.output_tokens).as_bytes());
    body.put_slice(b",\"total_tokens\":");
    body.put_slice(number.format(usage.input_tokens + usage.output_tokens).as_bytes());
    body.put_slice(b",\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},");
    body.put_slice(b"\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0,");
    body.put_slice(b"\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}}");
    MockBody::whole(body.freeze())
}

fn count_tokens(shared: &Arc<Shared>, dialect: Dialect, body: &Bytes) -> Response<MockBody> {
    let Ok(head) = Head::parse(body) else { return refuse(shared, dialect, 400, "the body is no JSON") };
    let tokens = head.input_tokens();
    let reply = match dialect {
        Dialect::Gemini => json!({"totalTokens": tokens}),
        Dialect::Responses => json!({"object": "response.input_tokens", "input_tokens": tokens}),
        Dialect::OpenAi | Dialect::Anthropic => json!({"input_tokens": tokens}),
    };
    listed(shared, dialect, reply)
}

fn models(dialect: Dialect) -> Value {
    match dialect {
        Dialect::OpenAi | Dialect::Responses => openai::models(&OPENAI_MODELS),
        Dialect::Anthropic => anthropic::models(&ANTHROPIC_MODELS),
        Dialect::Gemini => gemini::models(&GEMINI_MODELS),
    }
}

fn model(dialect: Dialect, name: &str) -> Value {
    match dialect {
        Dialect::OpenAi | Dialect::Responses => openai::model(name),
        Dialect::Anthropic => anthropic::model(name),
        Dialect::Gemini => gemini::model(name),
    }
}

fn listed(shared: &Arc<Shared>, dialect: Dialect, reply: Value) -> Response<MockBody> {
    let serial = shared.lock().next_serial();
    response::json(dialect, serial, MockBody::whole(reply.to_string()))
}

/// The mock's own refusal: no call, so neither counted nor billed.
fn refuse(shared: &Arc<Shared>, dialect: Dialect, status: u16, message: &str) -> Response<MockBody> {
    let serial = shared.lock().next_serial();
    let behaviour = Behaviour::error(status).error_message(message);
    let body = failure::body(dialect, status, &behaviour, &response::request_id(serial));
    response::scripted(dialect, serial, &behaviour, false, MockBody::whole(body.to_string()))
}
