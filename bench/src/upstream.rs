//! The provider that every subject forwards to: the same answer each time, with no bill, no script and no memory, so that
//! it takes as little as possible of the machine that it shares with what is measured.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use memchr::memmem;
use tokio::net::{TcpListener, TcpStream};

use crate::bare_proxy::accept;
use crate::memory::embeddings_answer;

/// Events of a streamed answer that carry a choice.
pub(crate) const EVENTS: u32 = 20;
/// Events come apart, as a model makes them; together they would be one read and one write for a proxy.
const EVENT_INTERVAL: Duration = Duration::from_millis(5);

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Serves until the process is ended.
pub(crate) async fn serve(listener: TcpListener) -> Result<()> {
    accept(listener, serve_connection).await
}

async fn serve_connection(stream: TcpStream) {
    // A client that leaves is what the end of a load looks like.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    let embeds = request.uri().path().ends_with("/embeddings");
    let is_messages = request.uri().path().ends_with("/messages");
    let body = request.into_body().collect().await?.to_bytes();
    if embeds {
        // What cannot be read is answered with nothing, which Privet tells as a fault.
        let answer = embeddings_answer(&body).unwrap_or_default();
        return Ok(Response::new(Full::new(Bytes::from(answer)).boxed_unsync()));
    }
    let asks = |what: &str| memmem::find(&body, what.as_bytes()).is_some();
    let streamed = asks("\"stream\":true") || asks("\"stream\": true");
    let (content_type, body) = if streamed && is_messages {
        ("text/event-stream", paced(message_events()))
    } else if is_messages {
        ("application/json", Full::new(Bytes::from_static(MESSAGE.as_bytes())).boxed_unsync())
    } else if streamed {
        let usage = asks("\"include_usage\":true") || asks("\"include_usage\": true");
        ("text/event-stream", paced(events(usage)))
    } else {
        ("application/json", Full::new(Bytes::from_static(COMPLETION.as_bytes())).boxed_unsync())
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    Ok(response)
}

/// The first event at once, then one after another.
fn paced(events: Vec<Bytes>) -> Body {
    let frames = stream::unfold((events.into_iter(), false), |(mut events, started)| async move {
        let event = events.next()?;
        if started {
            tokio::time::sleep(EVENT_INTERVAL).await;
        }
        Some((Ok::<_, Infallible>(Frame::data(event)), (events, true)))
    });
    StreamBody::new(frames).boxed_unsync()
}

fn events(usage: bool) -> Vec<Bytes> {
    let mut events: Vec<Bytes> = (1..=EVENTS).map(|number| Bytes::from(choice_event(number))).collect();
    let mut end = String::new();
    if usage {
        end.push_str(&format!(
            "data: {{{HEAD},\"choices\":[],\"usage\":{{\"prompt_tokens\":250,\"completion_tokens\":20,\"total_tokens\":270}}}}\n\n"
        ));
    }
    end.push_str("data: [DONE]\n\n");
    events.push(Bytes::from(end));
    events
}

/// The same stream as Anthropic tells it: as many pieces, the first and the last with what stands around the words.
fn message_events() -> Vec<Bytes> {
    let piece = |number| match number {
        1 => Bytes::from_static(MESSAGE_BEGINS.as_bytes()),
        EVENTS => Bytes::from_static(MESSAGE_ENDS.as_bytes()),
        _ => Bytes::from_static(MESSAGE_GOES_ON.as_bytes()),
    };
    (1..=EVENTS).map(piece).collect()
}

fn choice_event(number: u32) -> String {
    let choice = match number {
        1 => r#"{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}"#,
        EVENTS => r#"{"index":0,"delta":{},"finish_reason":"stop"}"#,
        _ => r#"{"index":0,"delta":{"content":" word"},"finish_reason":null}"#,
    };
    format!("data: {{{HEAD},\"choices\":[{choice}]}}\n\n")
}

const HEAD: &str =
    r#""id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-mini-2024-07-18""#;

const COMPLETION: &str = r#"{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"gpt-4o-mini-2024-07-18","choices":[{"index":0,"message":{"role":"assistant","content":"Warsaw is the capital of Poland. It lies on the Vistula, in the east of the country, and has about 1.9 million people.","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":250,"completion_tokens":28,"total_tokens":278},"system_fingerprint":"fp_bench"}"#;

const MESSAGE_BEGINS: &str = concat!(
    "event: message_start\ndata: ",
    r#"{"type":"message_start","message":{"id":"msg_bench","type":"message","role":"assistant","model":"claude-haiku-4-5-20251001","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":250,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":1}}}"#,
    "\n\nevent: content_block_start\ndata: ",
    r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
    "\n\n"
);

const MESSAGE_GOES_ON: &str = concat!(
    "event: content_block_delta\ndata: ",
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" word"}}"#,
    "\n\n"
);

const MESSAGE_ENDS: &str = concat!(
    "event: content_block_stop\ndata: ",
    r#"{"type":"content_block_stop","index":0}"#,
    "\n\nevent: message_delta\ndata: ",
    r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":20}}"#,
    "\n\nevent: message_stop\ndata: ",
    r#"{"type":"message_stop"}"#,
    "\n\n"
);

const MESSAGE: &str = r#"{"id":"msg_bench","type":"message","role":"assistant","model":"claude-haiku-4-5-20251001","content":[{"type":"text","text":"Warsaw is the capital of Poland. It lies on the Vistula, in the east of the country, and has about 1.9 million people."}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":250,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":28}}"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_has_its_events_and_ends_with_done() {
        let text = |usage| String::from_utf8(events(usage).concat()).unwrap();
        assert_eq!(text(false).matches("\"delta\"").count(), EVENTS as usize);
        assert!(!text(false).contains("\"usage\""));
        assert!(text(true).contains("\"usage\""));
        assert!(text(true).ends_with("data: [DONE]\n\n"));
        for line in text(true).lines().filter_map(|line| line.strip_prefix("data: ")).filter(|line| *line != "[DONE]") {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
        serde_json::from_str::<serde_json::Value>(COMPLETION).unwrap();
    }

    #[test]
    fn anthropics_stream_has_as_many_pieces_of_valid_events() {
        let pieces = message_events();
        assert_eq!(pieces.len(), EVENTS as usize);
        let text = String::from_utf8(pieces.concat()).unwrap();
        assert_eq!(text.matches("text_delta").count(), EVENTS as usize - 2);
        for line in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
        serde_json::from_str::<serde_json::Value>(MESSAGE).unwrap();
    }
}
