//! Routes of several targets: fallbacks, retries, keys, conversations that stay, time limits, what is told of it all.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use privet_testkit::upstream::{Behaviour, ErrorShape, Malformed};
use serde_json::{Value, json};

use crate::stand::{Answer, CALLED_ONCE, Stand, ask, ask_streamed, builder, client};

/// A model of each dialect, by the name that it has in the mock and with its provider.
pub(crate) const FIRST: [(&str, &str); 3] = [
    ("gpt-4o", "openai/gpt-4o"),
    ("claude-sonnet-4-5", "anthropic/claude-sonnet-4-5"),
    ("gemini-2.5-flash", "gemini/gemini-2.5-flash"),
];
/// The one that stands in for them.
const SPARE: &str = "gpt-4o-mini";

/// Aliases by which each of [`FIRST`] has a spare: `safe-gpt-4o` and so on.
pub(crate) fn safe_aliases() -> String {
    let lines = FIRST.map(|(model, name)| format!("\"safe-{model}\" = [\"{name}\", \"openai/{SPARE}\"]\n"));
    format!("[models]\n{}", lines.concat())
}

/// No breaker opens, however often a model fails.
pub(crate) const NO_BREAKER: &str = "[routing.breaker]\nerrors = \"off\"\nslow = \"off\"\n";

pub(crate) fn asked(model: &str, stream: bool) -> Value {
    if stream { ask_streamed(model, "x") } else { ask(model, "x") }
}

/// Who answered.
pub(crate) fn answered_by(answer: &Answer) -> String {
    let told = |name| answer.header(name).unwrap_or_default();
    format!("{}/{}", told("x-privet-provider"), told("x-privet-model"))
}

/// What the header tells of the attempts, without the times.
pub(crate) fn attempts(answer: &Answer) -> Vec<String> {
    let header = answer.header("x-privet-attempts").unwrap_or_default();
    let without_time = |attempt: &str| {
        let facts = attempt.split(';').filter(|fact| !fact.starts_with("ms="));
        facts.collect::<Vec<_>>().join(";")
    };
    header.split(", ").filter(|attempt| !attempt.is_empty()).map(without_time).collect()
}

#[tokio::test]
async fn wire_15_every_failure_before_any_output_goes_to_the_fallback() {
    let timeouts = "[[timeouts]]\nmodel = \"*\"\nfirst_byte = \"700ms\"\n";
    let stand = Stand::with_config(&format!("{CALLED_ONCE}{NO_BREAKER}{}{timeouts}", safe_aliases())).await;
    stand.mock.script_model(SPARE, Behaviour::text("the spare"));
    let late = Duration::from_millis(600);
    for (model, name) in FIRST {
        for (behaviour, told) in [
            (Behaviour::error(500), "status=500;error=server"),
            (Behaviour::error(529), "status=529;error=server"),
            (Behaviour::error(408), "status=408;error=server"),
            (Behaviour::new().cut_after_chunks(0), "error=cut"),
            (Behaviour::new().hang(), "error=timeout"),
            (Behaviour::new().error_inside_200(0, ErrorShape::Native), "error=reported"),
        ] {
            for stream in [false, true] {
                stand.mock.script_model(model, behaviour.clone());
                let began = Instant::now();
                let answer = stand.chat(asked(&format!("safe-{model}"), stream)).await;
                assert_eq!(answer.status, 200, "{name} {told} {stream}: {answer:?}");
                assert_eq!(answered_by(&answer), format!("openai/{SPARE}"), "{name} {told}");
                let told_of = attempts(&answer);
                assert_eq!(told_of.len(), 2, "{told_of:?}");
                assert!(told_of[0].starts_with(name) && told_of[0].contains(told), "{told_of:?}");
                assert!(told_of[0].ends_with("then=next-target"), "{told_of:?}");
                assert_eq!(told_of[1], format!("openai/{SPARE};status=200"));
                let text = if stream { answer.streamed_text() } else { answer.text().to_owned() };
                assert!(text.contains("the spare"), "{text}");
                assert!(!stream || answer.is_done());
                assert!(told.contains("timeout") || began.elapsed() < late, "{told}: {:?}", began.elapsed());
                let thread = stand.thread(&answer.conversation()).await;
                assert_eq!(thread, ["user: x", "assistant: the spare"], "the turn is kept once");
            }
        }
    }
    stand.mock.wait_for(|stats| stats.in_flight == 0).await;
}

#[tokio::test]
async fn a_provider_that_refuses_its_key_gives_way_to_the_fallback_and_is_passed_over_then() {
    for (behaviour, told) in [
        (Behaviour::error(429).header("retry-after", "60"), "status=429;error=limited"),
        (Behaviour::error(429).error_code("insufficient_quota"), "status=429;error=key_refused"),
        (Behaviour::error(401), "status=401;error=key_refused"),
        (Behaviour::error(403), "status=403;error=key_refused"),
    ] {
        let aliases =
            safe_aliases().replace("openai/gpt-4o-mini", "offline/echo") + "[providers.offline]\nkind = \"offline\"\n";
        let stand = Stand::with_config(&aliases).await;
        for (model, name) in FIRST {
            // Only OpenAI has a code for it.
            let told = if told.contains("key_refused") && told.contains("429") && model != "gpt-4o" {
                "status=429"
            } else {
                told
            };
            stand.mock.script_model(model, behaviour.clone());
            let answer = stand.chat(ask(&format!("safe-{model}"), "x")).await;
            assert_eq!((answer.status, answered_by(&answer).as_str()), (200, "offline/echo"), "{answer:?}");
            assert!(attempts(&answer)[0].starts_with(&format!("{name};{told}")), "{answer:?}");
            let calls = stand.mock.stats().by_model[model].calls;
            let next = stand.chat(ask_streamed(&format!("safe-{model}"), "x")).await;
            assert_eq!((next.status, answered_by(&next).as_str()), (200, "offline/echo"), "{next:?}");
            assert_eq!(stand.mock.stats().by_model[model].calls, calls, "{name} is passed over");
            // Whoever names it alone is not refused: the provider's own answer comes.
            let alone = stand.chat(ask(name, "x")).await;
            assert!([429, 502].contains(&alone.status), "{alone:?}");
            assert!(stand.mock.stats().by_model[model].calls > calls);
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_none_goes_to_the_fallback_and_is_not_asked_for_again() {
    let stand = Stand::with_config(&format!("{NO_BREAKER}{}", safe_aliases())).await;
    stand.mock.script_model(SPARE, Behaviour::text("the spare"));
    for (model, name) in FIRST {
        stand.mock.script_model(model, Behaviour::new().malformed(Malformed::BadJson));
        let answer = stand.chat(ask(&format!("safe-{model}"), "x")).await;
        assert_eq!((answer.status, answered_by(&answer)), (200, format!("openai/{SPARE}")), "{answer:?}");
        assert_eq!(attempts(&answer)[0], format!("{name};error=malformed;then=next-target"));
        assert_eq!(stand.mock.stats().by_model[model].calls, 1);
    }
}

#[tokio::test]
async fn a_role_alone_is_no_output() {
    let stand = Stand::with_config(&format!("{CALLED_ONCE}{}", safe_aliases())).await;
    stand.mock.script_model(SPARE, Behaviour::text("the spare"));
    let head = r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#;
    let broken = r#"{"error":{"message":"out of memory","type":"server_error","code":500}}"#;
    for rest in [format!("data: {broken}\n\ndata: [DONE]\n\n"), String::new()] {
        let stream = Behaviour::new().header("content-type", "text/event-stream");
        stand.mock.script_model("gpt-4o", stream.raw_body(format!("data: {head}\n\n{rest}")));
        let answer = stand.chat(ask_streamed("safe-gpt-4o", "x")).await;
        assert_eq!(
            (answered_by(&answer), answer.streamed_text().as_str()),
            ("openai/gpt-4o-mini".to_owned(), "the spare")
        );
        assert_eq!(answer.text().matches("\"role\":\"assistant\"").count(), 1, "nothing of the first was sent");
    }
}

#[tokio::test]
async fn the_clients_own_mistake_is_told_at_once() {
    let stand = Stand::with_config(&safe_aliases()).await;
    for (model, _) in FIRST {
        for status in [400, 404, 413, 422] {
            let before = stand.mock.stats().calls;
            stand.mock.script_model(model, Behaviour::error(status).error_message("your image is too blue"));
            let answer = stand.chat(ask(&format!("safe-{model}"), "x")).await;
            assert_eq!((answer.status, stand.mock.stats().calls - before), (status, 1), "{model}: {answer:?}");
            assert!(answer.text().contains("too blue") && answer.header("x-privet-attempts").is_none(), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn when_nobody_answers_the_last_failure_is_told_and_nothing_is_kept() {
    let stand = Stand::with_config(&format!("{CALLED_ONCE}{}", safe_aliases())).await;
    stand.mock.script(Behaviour::error(500));
    stand.mock.script_model(SPARE, Behaviour::error(503).error_message("the spare is down too"));
    for stream in [false, true] {
        let answer = stand.chat(asked("safe-gpt-4o", stream)).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.text().contains("the spare is down too"), "{answer:?}");
        assert_eq!(
            attempts(&answer),
            [
                "openai/gpt-4o;status=500;error=server;then=next-target",
                "openai/gpt-4o-mini;status=503;error=server;then=end"
            ]
        );
        assert_eq!(answer.header("x-privet-provider"), None);
    }
    assert_eq!(stand.conversations().await, 0);
}

#[tokio::test]
async fn a_failed_turn_of_a_conversation_that_goes_on_is_taken_back_after_all_targets() {
    let stand = Stand::with_config(&format!("{CALLED_ONCE}{}", safe_aliases())).await;
    let id = stand.chat(ask("safe-gpt-4o", "one")).await.conversation();
    let mut body = ask("safe-gpt-4o", "two");
    body["metadata"] = json!({"conversation_id": id});
    stand.mock.script(Behaviour::error(500));
    assert_eq!(stand.chat(body.clone()).await.status, 502);
    assert_eq!(stand.thread(&id).await.len(), 2);
    stand.mock.script_model(SPARE, Behaviour::text("three"));
    assert_eq!(stand.chat(body).await.status, 200);
    let thread = stand.thread(&id).await;
    assert_eq!((thread.len(), thread[3].as_str()), (4, "assistant: three"));
}

/// A trace tells each attempt: which model, what happened, what was done then.
#[tokio::test]
async fn a_trace_tells_each_attempt() {
    let stand = Stand::with_config(&safe_aliases()).await;
    stand.mock.script_model_once("gpt-4o", Behaviour::error(500).error_message("it burns"));
    stand.mock.script_model("gpt-4o", Behaviour::error(429).header("retry-after", "60"));
    let answer = stand.chat(ask("safe-gpt-4o", "x")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let trace = stand.trace(answer.header("x-privet-trace-id").unwrap()).await;
    let observations = trace["observations"].as_array().unwrap();
    let of = |name: &str| observations.iter().filter(|one| one["name"] == name).cloned().collect::<Vec<_>>();
    let [call] = &of("chat")[..] else { panic!("{trace}") };
    assert_eq!((&call["model"], &call["metadata"]["provider"]), (&json!(SPARE), &json!("openai")), "{call}");
    assert_eq!(call["metadata"]["requested_model"], "safe-gpt-4o");
    assert_eq!(call["level"], "DEFAULT");
    assert_eq!(call["metadata"]["attempts"], answer.header("x-privet-attempts").unwrap());
    let mut failed = of("attempt");
    failed.sort_by_key(|step| step["startTime"].as_str().unwrap().to_owned());
    let facts: Vec<_> = failed
        .iter()
        .map(|step| {
            assert_eq!((&step["parentObservationId"], &step["level"]), (&call["id"], &json!("WARNING")), "{step}");
            let facts = &step["metadata"];
            assert!(facts["ms"].is_u64(), "{step}");
            (facts["model"].as_str().unwrap(), facts["status"].as_u64().unwrap(), facts["then"].as_str().unwrap())
        })
        .collect();
    assert_eq!(facts, [("gpt-4o", 500, "again"), ("gpt-4o", 429, "next-target")], "{trace}");
    assert!(failed[0]["statusMessage"].as_str().unwrap().contains("it burns"), "{trace}");
}

#[tokio::test]
async fn fault_15_a_failing_model_is_called_at_most_three_times() {
    let stand = Stand::with_config(NO_BREAKER).await;
    for (model, name) in FIRST {
        for (behaviour, status) in [
            (Behaviour::error(500), 502),
            (Behaviour::error(503), 503),
            (Behaviour::error(529), 503),
            (Behaviour::new().error_inside_200(0, ErrorShape::Vllm), 502),
            (Behaviour::new().cut_after_chunks(0), 502),
        ] {
            for stream in [false, true] {
                stand.mock.reset();
                stand.mock.script(behaviour.clone());
                let answer = stand.chat(asked(name, stream)).await;
                let told = attempts(&answer);
                assert_eq!((answer.status, stand.mock.stats().calls), (status, 3), "{model} {stream}: {answer:?}");
                assert!(
                    told.len() == 3 && told[1].ends_with("then=again") && told[2].ends_with("then=end"),
                    "{told:?}"
                );
            }
        }
    }
    assert_eq!(stand.conversations().await, 0);
}

#[tokio::test]
async fn fault_15_a_model_that_fails_once_answers_the_next_time() {
    let stand = Stand::start().await;
    for (_, name) in FIRST {
        for stream in [false, true] {
            stand.mock.reset();
            stand.mock.script_once(Behaviour::error(503));
            stand.mock.script_once(Behaviour::new().cut_after_chunks(0));
            let answer = stand.chat(asked(name, stream)).await;
            assert_eq!((answer.status, stand.mock.stats().calls), (200, 3), "{name}: {answer:?}");
            assert_eq!(stand.thread(&answer.conversation()).await.len(), 2);
        }
    }
}

#[tokio::test]
async fn fault_15_retry_after_is_honoured_or_handed_on() {
    let stand = Stand::with_config(&safe_aliases()).await;
    for (_, name) in FIRST {
        stand.mock.reset();
        stand.mock.script_once(Behaviour::error(429).header("retry-after", "1"));
        let began = Instant::now();
        let answer = stand.chat(ask(name, "x")).await;
        assert_eq!((answer.status, stand.mock.stats().calls), (200, 2), "{name}: {answer:?}");
        assert!(began.elapsed() >= Duration::from_secs(1), "{name}: {:?}", began.elapsed());

        stand.mock.reset();
        stand.mock.script(Behaviour::error(429).header("retry-after", "60"));
        let began = Instant::now();
        let answer = stand.chat(ask(name, "x")).await;
        assert_eq!((answer.status, answer.header("retry-after"), stand.mock.stats().calls), (429, Some("60"), 1));
        assert!(began.elapsed() < Duration::from_secs(1), "nobody waits so long: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn fault_15_nothing_is_repeated_after_the_first_streamed_byte() {
    let stand = Stand::with_config(&safe_aliases()).await;
    for (model, name) in FIRST {
        for behaviour in [
            Behaviour::text("one two three").cut_after_chunks(1),
            Behaviour::text("one two three").error_inside_200(1, ErrorShape::Native),
        ] {
            let before = stand.mock.stats().calls;
            stand.mock.script_model(model, behaviour);
            let answer = stand.chat(ask_streamed(&format!("safe-{model}"), "x")).await;
            assert_eq!((answer.status, answered_by(&answer)), (200, name.to_owned()), "{answer:?}");
            assert!(!answer.is_done() && answer.streamed_text().starts_with("one"), "{}", answer.text());
            assert_eq!(stand.mock.stats().calls - before, 1);
        }
    }
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_tried_again_and_then_its_fallback() {
    let mock = privet_testkit::upstream::MockUpstream::start().await;
    let server = builder(&mock).env("ANTHROPIC_BASE_URL", "http://127.0.0.1:9");
    let server =
        server.config_toml("[models]\nsafe = [\"anthropic/claude-sonnet-4-5\", \"openai/gpt-4o\"]\n").start().await;
    let url = format!("{}/v1/chat/completions", server.url());
    let answer = Answer::of(client().post(url).bearer_auth(server.key()).body(ask("safe", "x").to_string())).await;
    assert_eq!((answer.status, answered_by(&answer).as_str()), (200, "openai/gpt-4o"), "{answer:?}");
    let told = attempts(&answer);
    let again = "anthropic/claude-sonnet-4-5;error=connect;then=again";
    assert_eq!(told[..2], [again, again], "{told:?}");
    assert_eq!(told[2], "anthropic/claude-sonnet-4-5;error=connect;then=next-target");
}

#[tokio::test]
async fn fault_14_the_total_deadline_holds_over_all_attempts() {
    let alias = "[models.slow]\ntargets = [\"openai/gpt-4o\"]\nfallbacks = [\"anthropic/claude-sonnet-4-5\", \
                 \"gemini/gemini-2.5-flash\"]\ntimeout = \"1500ms\"\n[[timeouts]]\nmodel = \"*\"\nfirst_byte = \"1s\"\n";
    let stand = Stand::with_config(alias).await;
    stand.mock.script(Behaviour::new().hang());
    for stream in [false, true] {
        let began = Instant::now();
        let answer = stand.chat(asked("slow", stream)).await;
        let elapsed = began.elapsed();
        assert_eq!(answer.status, 504, "{answer:?}");
        assert!(elapsed >= Duration::from_millis(1400) && elapsed < Duration::from_millis(2300), "{elapsed:?}");
        assert!(answer.text().contains("within 1.5 s"), "{answer:?}");
        assert_eq!(attempts(&answer).len(), 2, "{answer:?}");
    }
    stand.mock.wait_for(|stats| stats.in_flight == 0).await;
}

#[tokio::test]
async fn fault_14_a_models_own_timeouts_stand_over_its_providers() {
    let toml = "[providers.openai]\nfirst_byte_timeout = \"300ms\"\n[[timeouts]]\nmodel = \"openai/gpt-4o\"\nfirst_byte = \"20s\"\n";
    let stand = Stand::with_config(toml).await;
    stand.mock.script(Behaviour::new().first_byte_delay_ms(900));
    assert_eq!(stand.chat(ask("gpt-4o", "x")).await.status, 200);
    assert_eq!(stand.chat(ask("gpt-4o-mini", "x")).await.status, 504);
}

#[tokio::test]
async fn a_conversation_stays_with_its_target_and_others_are_spread_by_weight() {
    let toml = "[models.spread]\ntargets = [{ model = \"openai/gpt-4o\", weight = 1 }, { model = \"openai/gpt-4o-mini\", weight = 1 }]\n";
    let stand = Stand::with_config(toml).await;
    let mut chosen = BTreeSet::new();
    for _ in 0..24 {
        let first = stand.chat(ask("spread", "one")).await;
        let (id, by) = (first.conversation(), answered_by(&first));
        chosen.insert(by.clone());
        for _ in 0..2 {
            let mut body = ask("spread", "on");
            body["metadata"] = json!({"conversation_id": id});
            assert_eq!(answered_by(&stand.chat(body).await), by, "a conversation does not move");
        }
    }
    assert_eq!(chosen.len(), 2, "{chosen:?}");
}

#[tokio::test]
async fn a_target_that_the_key_may_not_use_is_passed_over_with_its_reason() {
    let stand = Stand::with_config(&format!("{CALLED_ONCE}{}", safe_aliases())).await;
    stand.mock.script_model("claude-sonnet-4-5", Behaviour::error(500));
    let by_provider = stand.create_key(&["--models", "anthropic/*"]).await;
    let answer = stand.chat_as(&by_provider, ask("safe-claude-sonnet-4-5", "x")).await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert_eq!(
        attempts(&answer),
        [
            "anthropic/claude-sonnet-4-5;status=500;error=server;then=next-target",
            "openai/gpt-4o-mini;skipped=model-not-allowed"
        ]
    );
    let by_alias = stand.create_key(&["--models", "safe-claude-sonnet-4-5"]).await;
    assert_eq!(
        stand.chat_as(&by_alias, ask("safe-claude-sonnet-4-5", "x")).await.status,
        200,
        "the alias is all of it"
    );
    let by_spare = stand.create_key(&["--models", "openai/gpt-4o-mini"]).await;
    let answer = stand.chat_as(&by_spare, ask("safe-claude-sonnet-4-5", "x")).await;
    assert_eq!((answer.status, answered_by(&answer).as_str()), (200, "openai/gpt-4o-mini"));
    assert_eq!(attempts(&answer)[0], "anthropic/claude-sonnet-4-5;skipped=model-not-allowed");
    let neither = stand.create_key(&["--models", "gemini/*"]).await;
    assert_eq!(stand.chat_as(&neither, ask("safe-claude-sonnet-4-5", "x")).await.status, 403);
}

#[tokio::test]
async fn a_provider_that_is_switched_off_is_passed_over() {
    let stand = Stand::with_config(&safe_aliases()).await;
    assert!(stand.privet(&["kill", "--provider", "anthropic"]).await.status.success());
    let answer = stand.chat(ask("safe-claude-sonnet-4-5", "x")).await;
    assert_eq!((answer.status, answered_by(&answer).as_str()), (200, "openai/gpt-4o-mini"), "{answer:?}");
    assert_eq!(attempts(&answer)[0], "anthropic/claude-sonnet-4-5;skipped=switched-off");
    assert_eq!(stand.chat(ask("anthropic/claude-sonnet-4-5", "x")).await.status, 503);
}

#[tokio::test]
async fn a_target_that_cannot_express_a_request_is_passed_over() {
    let stand = Stand::with_config("[models]\nmany = [\"anthropic/claude-sonnet-4-5\", \"openai/gpt-4o\"]\n").await;
    let mut body = ask("many", "x");
    body["n"] = json!(2);
    let answer = stand.chat(body.clone()).await;
    assert_eq!((answer.status, answered_by(&answer).as_str()), (200, "openai/gpt-4o"), "{answer:?}");
    assert_eq!(attempts(&answer)[0], "anthropic/claude-sonnet-4-5;skipped=unsupported");
    body["model"] = json!("anthropic/claude-sonnet-4-5");
    let alone = stand.chat(body).await;
    assert_eq!((alone.status, &alone.json()["error"]["param"]), (400, &json!("n")), "{alone:?}");
}

#[tokio::test]
async fn a_default_model_may_have_fallbacks() {
    let stand = Stand::with_config(&format!("default_model = \"safe-gpt-4o\"\n{CALLED_ONCE}{}", safe_aliases())).await;
    stand.mock.script_model("gpt-4o", Behaviour::error(500));
    let answer = stand.lesson(json!({"messages": [{"role": "user", "content": "hey"}]})).await;
    assert_eq!((answer.status, answered_by(&answer)), (200, format!("openai/{SPARE}")), "{answer:?}");
}

#[tokio::test]
async fn embeddings_are_repeated_and_never_made_by_another_model() {
    let toml = "[providers.second]\nbase_url = \"MOCK/v1\"\n[models]\n\
                same = [\"openai/text-embedding-3-small\", \"second/text-embedding-3-small\"]\n\
                other = [\"openai/text-embedding-3-small\", \"openai/text-embedding-3-large\"]\n";
    let mock = privet_testkit::upstream::MockUpstream::start().await;
    let toml = toml.replace("MOCK", &mock.base_url());
    let server = builder(&mock).config_toml(format!("{toml}{NO_BREAKER}")).start().await;
    let stand = Stand { mock, server, client: client() };
    let embed = async |model: &str| {
        let body = json!({"model": model, "input": "x"}).to_string();
        Answer::of(stand.post("/v1/embeddings", body)).await
    };
    for name in ["openai/text-embedding-3-small", "gemini/gemini-embedding-001"] {
        stand.mock.reset();
        stand.mock.script_once(Behaviour::error(503));
        stand.mock.script_once(Behaviour::error(429).header("retry-after", "0"));
        let answer = embed(name).await;
        assert_eq!((answer.status, stand.mock.stats().calls), (200, 3), "{answer:?}");
        assert_eq!(attempts(&answer).len(), 3);
    }
    stand.mock.reset();
    for _ in 0..3 {
        stand.mock.script_once(Behaviour::error(500));
    }
    let answer = embed("same").await;
    assert_eq!((answer.status, answered_by(&answer).as_str()), (200, "second/text-embedding-3-small"), "{answer:?}");
    stand.mock.reset();
    stand.mock.script(Behaviour::error(500));
    let answer = embed("other").await;
    assert_eq!((answer.status, stand.mock.stats().calls), (502, 3), "{answer:?}");
    assert!(!stand.mock.stats().by_model.contains_key("text-embedding-3-large"));
}
