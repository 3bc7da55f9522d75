//! Speech and recordings: passed as they are, metered as everything is.

use std::time::Duration;

use privet_testkit::upstream::{Behaviour, Usage};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::money::Key;
use crate::stand::{Answer, CALLED_ONCE, Stand};

const SPEECH: &str = "/v1/audio/speech";
const TRANSCRIPTIONS: &str = "/v1/audio/transcriptions";
/// What the mock speaks.
const SOUND: &[u8] = &[0xff, 0xfb, 0x90, 0x00, 0x80, 0xfe];

/// A form as a client of OpenAI's sends it, the recording last.
pub(crate) fn form(fields: &[(&str, &str)], file: &[u8]) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for (name, value) in fields {
        let part = format!("--b0\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend_from_slice(part.as_bytes());
    }
    let head = "--b0\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a b.wav\"\r\nContent-Type: audio/wav\r\nX-Odd: 1\r\n\r\n";
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(file);
    body.extend_from_slice(b"\r\n--b0--\r\n");
    ("multipart/form-data; boundary=b0".to_owned(), body)
}

/// Two seconds of silence, as 8 kHz and 16 bits.
pub(crate) fn wav() -> Vec<u8> {
    let mut bytes =
        b"RIFF\x24\x7d\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\0\x7d\0\0".to_vec();
    bytes.resize(44 + 32_000, 0);
    bytes
}

impl Stand {
    fn speak(&self, key: &Key, body: &Value) -> RequestBuilder {
        let request = self.client.post(format!("{}{SPEECH}", self.server.url())).bearer_auth(&key.text);
        request.header("content-type", "application/json").body(body.to_string())
    }

    fn transcribe(&self, key: &Key, fields: &[(&str, &str)], file: &[u8]) -> RequestBuilder {
        let (kind, body) = form(fields, file);
        let request = self.client.post(format!("{}{TRANSCRIPTIONS}", self.server.url())).bearer_auth(&key.text);
        request.header("content-type", kind).body(body)
    }

    async fn settled(&self, key: &Key) -> i64 {
        self.usage(key).await["settled_nanos"].as_i64().unwrap()
    }

    async fn all_settled(&self, key: &Key, above: i64) -> i64 {
        for _ in 0..100 {
            let usage = self.usage(key).await;
            let settled = usage["settled_nanos"].as_i64().unwrap();
            if usage["held_nanos"] == 0 && settled > above {
                return settled;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not settled: {}", self.usage(key).await);
    }
}

fn say(model: &str, input: &str) -> Value {
    json!({"model": model, "input": input, "voice": "alloy"})
}

#[tokio::test]
async fn wire_34_speech_is_passed_as_it_is_and_costs_by_the_character() {
    let stand = Stand::start().await;
    let key = stand.create_key(&["--budget", "2.00/day"]).await;
    let mut body = say("openai/tts-1", "h\u{e9} there");
    body["future"] = json!(1.5);
    let answer = Answer::of(stand.speak(&key, &body)).await;
    assert_eq!((answer.status, &answer.body[..], answer.header("content-type")), (200, SOUND, Some("audio/mpeg")));
    assert_eq!((answer.header("x-privet-provider"), answer.header("x-privet-model")), (Some("openai"), Some("tts-1")));
    body["model"] = json!("tts-1");
    assert_eq!((stand.sent().path.as_str(), stand.sent().body), (SPEECH, body));
    assert_eq!(stand.all_settled(&key, 0).await, 8 * 15_000);
    assert_eq!(i64::try_from(stand.mock.stats().bill_nanos).unwrap(), 8 * 15_000);
    let told = stand.explain(&key, &answer).await;
    assert!(told.to_string().contains("\"speech\""), "{told}");
    // The bare name is OpenAI's.
    assert_eq!(Answer::of(stand.speak(&key, &say("tts-1-hd", "x"))).await.status, 200);
    // What does not fit is not asked.
    let calls = stand.mock.stats().calls;
    let poor = stand.create_key(&["--budget", "0.001/day"]).await;
    let refused = Answer::of(stand.speak(&poor, &say("openai/tts-1", &"x".repeat(100)))).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (402, &json!("budget_exhausted")));
    assert_eq!(stand.mock.stats().calls, calls);
}

#[tokio::test]
async fn wire_34_speech_by_the_token_costs_what_its_events_tell_and_else_all_that_was_held() {
    let stand = Stand::start().await;
    let key = stand.create_key(&["--budget", "2.00/day"]).await;
    let mut body = say("openai/gpt-4o-mini-tts", "hey");
    body["stream_format"] = json!("sse");
    let usage = Usage { input_tokens: 5, output_tokens: 40, ..Usage::default() };
    stand.mock.script_once(Behaviour::new().usage(usage));
    let answer = Answer::of(stand.speak(&key, &body)).await;
    let kinds: Vec<Value> = answer.events().iter().map(|event| event["type"].clone()).collect();
    assert_eq!(kinds, ["speech.audio.delta", "speech.audio.done"]);
    let counted = stand.all_settled(&key, 0).await;
    assert_eq!(counted, 5 * 600 + 40 * 12_000);
    let answer = Answer::of(stand.speak(&key, &say("openai/gpt-4o-mini-tts", "hey"))).await;
    assert_eq!(&answer.body[..], SOUND);
    let held = stand.all_settled(&key, counted).await - counted;
    assert!(held >= (3 * 16 + 1_000) * 12_000, "{held}");
}

#[tokio::test]
async fn fault_19_speech_that_is_cut_is_seen_to_be_cut_and_whoever_leaves_is_settled() {
    let stand = Stand::with_config(CALLED_ONCE).await;
    let key = stand.create_key(&["--budget", "2.00/day"]).await;
    stand.mock.script_once(Behaviour::new().cut_after_chunks(0));
    let reply = stand.speak(&key, &say("openai/tts-1", "hey")).send().await.unwrap();
    assert_eq!(reply.status(), 200);
    assert!(reply.bytes().await.is_err(), "a cut answer must not look whole");
    let cut = stand.all_settled(&key, 0).await;
    assert_eq!(cut, 3 * 15_000);

    stand.mock.script_once(Behaviour::new().hang_after_chunks(0));
    let mut reply = stand.speak(&key, &say("openai/tts-1", "hey")).send().await.unwrap();
    assert!(reply.chunk().await.unwrap().is_some());
    drop(reply);
    stand.mock.wait_for(|stats| stats.cancelled == 1).await;
    let left = stand.all_settled(&key, cut).await;
    assert_eq!(left - cut, 3 * 15_000);

    for (status, expected) in [(400, 400), (429, 429), (500, 502)] {
        stand.mock.script_once(Behaviour::error(status).error_message("said so"));
        let answer = Answer::of(stand.speak(&key, &say("openai/tts-1", "hey"))).await;
        assert!(answer.status == expected && answer.text().contains("said so"), "{answer:?}");
    }
    let inside = Behaviour::new().raw_body(r#"{"error":{"message":"no"}}"#);
    stand.mock.script_once(inside);
    assert_eq!(Answer::of(stand.speak(&key, &say("openai/tts-1", "hey"))).await.status, 502);
    assert_eq!(stand.settled(&key).await, left, "failures cost nothing");
}

#[tokio::test]
async fn wire_34_a_recording_passes_part_by_part_and_costs_the_seconds_that_the_provider_counts() {
    let stand = Stand::start().await;
    let key = stand.create_key(&["--budget", "2.00/day"]).await;
    let fields = [
        ("timestamp_granularities[]", "word"),
        ("model", "openai/whisper-1"),
        ("timestamp_granularities[]", "segment"),
    ];
    stand.mock.script_once(Behaviour::text("Hey there."));
    let answer = Answer::of(stand.transcribe(&key, &fields, &wav())).await;
    assert_eq!((answer.status, &answer.json()["text"]), (200, &json!("Hey there.")), "{answer:?}");
    let sent = stand.sent();
    assert_eq!((sent.path.as_str(), &sent.body["model"]), (TRANSCRIPTIONS, &json!("whisper-1")));
    assert_eq!(sent.body["timestamp_granularities[]"], json!(["word", "segment"]));
    let file = &sent.body["file"];
    assert_eq!((&file["file"], &file["bytes"]), (&json!("a b.wav"), &json!(32_044)));
    let head = file["head"].as_str().unwrap();
    assert!(head.contains("content-type: audio/wav") && head.contains("x-odd: 1"), "{head}");
    assert_eq!(stand.settled(&key).await, 2 * 100_000);
    assert!(stand.explain(&key, &answer).await.to_string().contains("\"transcription\""));

    // Text tells no seconds: all that was held is charged, which two seconds of samples bound by four.
    let fields = [("model", "whisper-1"), ("response_format", "srt")];
    let answer = Answer::of(stand.transcribe(&key, &fields, &wav())).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/plain; charset=utf-8")));
    assert_eq!(stand.settled(&key).await, 2 * 100_000 + 4 * 100_000);

    // By the token, as JSON and as events.
    let before = stand.settled(&key).await;
    let usage = Usage { input_tokens: 20, output_tokens: 7, ..Usage::default() };
    for stream in ["false", "true"] {
        stand.mock.script_once(Behaviour::text("Hey there.").usage(usage));
        let fields = [("model", "openai/gpt-4o-transcribe"), ("stream", stream)];
        let answer = Answer::of(stand.transcribe(&key, &fields, &wav())).await;
        assert!(answer.status == 200 && answer.text().contains("Hey there."), "{answer:?}");
    }
    assert_eq!(stand.all_settled(&key, before).await - before, 2 * (20 * 6_000 + 7 * 10_000));
}

#[tokio::test]
async fn wire_33_what_of_a_recording_cannot_be_read_or_bounded_is_refused() {
    let stand = Stand::start().await;
    let key = stand.create_key(&["--budget", "2.00/day"]).await;
    for (fields, status, code_or_param) in [
        (vec![("model", "openai/unheard-of")], 403, "model_unpriced"),
        (vec![("model", "openai/whisper-1"), ("models", "openai/dearer")], 400, "field_unbounded"),
        (vec![], 400, "model"),
        (vec![("model", "a"), ("model", "b")], 400, "model"),
        (vec![("model", "anthropic/claude-sonnet-4-5")], 400, "unsupported_by_provider"),
    ] {
        let refused = Answer::of(stand.transcribe(&key, &fields, &wav())).await;
        let error = &refused.json()["error"];
        assert_eq!(refused.status, status, "{refused:?}");
        assert!(error["code"] == code_or_param || error["param"] == code_or_param, "{fields:?}: {refused:?}");
    }
    let url = format!("{}{TRANSCRIPTIONS}", stand.server.url());
    for (kind, body) in [
        ("application/json", "{}"),
        ("multipart/form-data", "x"),
        ("multipart/form-data; boundary=b0", "--b0\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1"),
        ("multipart/form-data; boundary=b0", "--b0\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b0--\r\n"),
        ("multipart/form-data; boundary=b0", "nothing"),
    ] {
        let answer =
            Answer::of(stand.client.post(&url).bearer_auth(&key.text).header("content-type", kind).body(body)).await;
        assert_eq!(answer.status, 400, "{kind}: {answer:?}");
    }
    // Without a key nothing is read; with one no more than 26 MiB.
    let announced = "content-type: multipart/form-data; boundary=b0\r\ncontent-length: 99000000\r\n";
    let head = |key: &str| {
        format!(
            "POST {TRANSCRIPTIONS} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nconnection: close\r\n{announced}\r\n"
        )
    };
    assert!(stand.raw(head("sk-none").as_bytes()).await.starts_with("HTTP/1.1 401"));
    assert!(stand.raw(head(&key.text).as_bytes()).await.starts_with("HTTP/1.1 413"));
    assert_eq!((stand.mock.stats().calls, stand.settled(&key).await), (0, 0));
}

#[tokio::test]
async fn wire_07_and_traces_sound_is_made_once_for_its_idempotency_key_and_not_kept_in_traces() {
    let stand = Stand::start().await;
    let key = stand.create_key(&["--scopes", "chat,read"]).await;
    let ask = async || Answer::of(stand.speak(&key, &say("tts-1", "a \"word\"")).header("idempotency-key", "k")).await;
    let (first, again) = (ask().await, ask().await);
    assert_eq!((&first.body[..], &again.body[..]), (SOUND, SOUND));
    assert_eq!(
        (again.header("content-type"), again.header("idempotency-replayed")),
        (Some("audio/mpeg"), Some("true"))
    );
    let trace = stand.get(&format!("/api/traces/{}", first.header("x-privet-trace-id").unwrap())).await.json();
    let observation = &trace["steps"][0];
    assert_eq!((&observation["type"], &observation["input"]), (&json!("GENERATION"), &json!("a \"word\"")), "{trace}");
    assert!(observation["metadata"].to_string().contains("\"characters\":8"), "{trace}");

    // The same form behind another boundary is the same request.
    let fields = [("model", "whisper-1"), ("prompt", "names")];
    let (kind, body) = form(&fields, b"a recording of some kind");
    let body = String::from_utf8(body).unwrap();
    let mut answers = Vec::new();
    for boundary in ["b0", "other"] {
        let request = stand.client.post(format!("{}{TRANSCRIPTIONS}", stand.server.url())).bearer_auth(&key.text);
        let request = request.header("content-type", kind.replace("b0", boundary)).header("idempotency-key", "form");
        answers.push(Answer::of(request.body(body.replace("--b0", &format!("--{boundary}")))).await);
    }
    assert_eq!((&answers[0].body, answers[1].header("idempotency-replayed")), (&answers[1].body, Some("true")));
    let trace = stand.get(&format!("/api/traces/{}", answers[0].header("x-privet-trace-id").unwrap())).await.json();
    let observation = &trace["steps"][0];
    assert!(observation["output"].to_string().contains("The mock upstream answers"), "{trace}");
    assert!(observation["metadata"].to_string().contains("\"seconds\":2"), "{trace}");
    assert_eq!((&observation["input"], stand.mock.stats().calls), (&json!("names"), 2));
}
