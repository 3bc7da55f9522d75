//! `:streamGenerateContent`, as server-sent events and as one JSON array.

use privet_testkit::upstream::Behaviour;
use serde_json::{Value, json};

use crate::gemini::{MODELS, say, text_of, with_tool};
use crate::stand::{Answer, CALLED_ONCE, Stand};

impl Stand {
    async fn stream_events(&self, model: &str, body: &Value) -> Answer {
        let path = format!("/v1beta/models/{model}:streamGenerateContent?alt=sse");
        Answer::of(self.post(&path, body.to_string())).await
    }

    async fn stream_array(&self, model: &str, body: &Value) -> Answer {
        Answer::of(self.post(&format!("/v1beta/models/{model}:streamGenerateContent"), body.to_string())).await
    }
}

fn streamed_text(pieces: &[Value]) -> String {
    pieces.iter().filter(|piece| piece["candidates"][0]["content"].is_object()).map(text_of).collect()
}

fn finish_of(pieces: &[Value]) -> Option<&str> {
    pieces.iter().find_map(|piece| piece["candidates"][0]["finishReason"].as_str())
}

#[tokio::test]
async fn a_stream_comes_as_events_or_as_an_array_and_is_kept() {
    let stand = Stand::start().await;
    for model in MODELS {
        let events = stand.stream_events(model, &say("x")).await;
        assert_eq!((events.status, events.header("content-type")), (200, Some("text/event-stream")), "{events:?}");
        let pieces = events.events();
        let array = stand.stream_array(model, &say("x")).await;
        assert_eq!((array.status, array.header("content-type")), (200, Some("application/json")), "{array:?}");
        let elements = array.json().as_array().unwrap().clone();
        for (pieces, answer) in [(pieces, events), (elements, array)] {
            let text = streamed_text(&pieces);
            assert!(!text.is_empty() && pieces.len() > 2, "{model}: {pieces:?}");
            assert_eq!(finish_of(&pieces), Some("STOP"), "{model}");
            assert!(pieces.last().unwrap()["usageMetadata"]["totalTokenCount"].is_u64(), "{model}: {pieces:?}");
            assert_eq!(
                stand.thread(&answer.conversation()).await,
                ["user: x".to_owned(), format!("assistant: {text}")]
            );
        }
    }
}

#[tokio::test]
async fn wire_11_calls_stream_whole_and_apart() {
    let stand = Stand::start().await;
    for model in MODELS {
        let call = |city: &str| ("weather", json!({"city": city}));
        let calls = [call("Oslo"), call("Bergen")];
        let script = calls
            .iter()
            .fold(Behaviour::text("Let me see."), |script, (name, args)| script.tool_call(*name, args.clone()));
        stand.mock.script_once(script);
        let pieces = stand.stream_events(model, &with_tool("x")).await.events();
        let parts = pieces
            .iter()
            .flat_map(|piece| piece["candidates"][0]["content"]["parts"].as_array().cloned().unwrap_or_default());
        let seen: Vec<Value> =
            parts.filter_map(|part| part.get("functionCall").map(|call| call["args"].clone())).collect();
        assert_eq!(seen, [json!({"city": "Oslo"}), json!({"city": "Bergen"})], "{model}");
        assert_eq!(streamed_text(&pieces), "Let me see.", "{model}");
    }
}

#[tokio::test]
async fn wire_14_a_failure_before_the_first_output_is_a_status_and_after_it_an_error_and_no_finish() {
    let stand = Stand::with_config(CALLED_ONCE).await;
    for model in MODELS {
        for array in [false, true] {
            let ask = async || {
                if array {
                    stand.stream_array(model, &say("x")).await
                } else {
                    stand.stream_events(model, &say("x")).await
                }
            };
            stand.mock.script_once(Behaviour::error(503));
            let refused = ask().await;
            assert_eq!((refused.status, &refused.json()["error"]["status"]), (503, &json!("UNAVAILABLE")), "{model}");
            stand.mock.script_once(Behaviour::text("one two three").cut_after_chunks(2));
            let broken = ask().await;
            let pieces = if array { broken.json().as_array().unwrap().clone() } else { broken.events() };
            let error = &pieces.last().unwrap()["error"];
            assert_eq!((broken.status, &error["code"]), (200, &json!(503)), "{model}: {pieces:?}");
            assert!(finish_of(&pieces).is_none() && streamed_text(&pieces).starts_with("one"), "{model}: {pieces:?}");
            assert!(stand.thread(&broken.conversation()).await[1].ends_with('…'), "{model}");
        }
    }
}

#[tokio::test]
async fn what_gemini_streams_passes_to_the_byte() {
    let stand = Stand::start().await;
    let events = [
        r#"{ "candidates":[{"content":{"parts":[{"text":"\u0048"}],"role":"model"},"index":0}],"future":1.50,"responseId":"r"}"#,
        r#"{"candidates":[{"content":{"parts":[{"text":"i"}],"role":"model"},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":2},"responseId":"r"}"#,
    ];
    let stream: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    stand.mock.script(Behaviour::new().header("content-type", "text/event-stream").raw_body(stream.clone()));
    assert_eq!(stand.stream_events("gemini-2.5-flash", &say("x")).await.text(), stream);
    let array = stand.stream_array("gemini-2.5-flash", &say("x")).await;
    assert_eq!(array.text(), format!("[{}]\n", events.join(",\r\n")));
    assert!(stand.sent().path.ends_with(":streamGenerateContent?alt=sse"), "{}", stand.sent().path);
}
