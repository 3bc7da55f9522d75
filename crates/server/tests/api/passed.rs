//! Pictures and moderations: passed as they are, metered as everything is.

use privet_testkit::upstream::{Behaviour, Usage};
use serde_json::{Value, json};

use crate::money::Key;
use crate::stand::{Answer, CALLED_ONCE, Stand};

const IMAGES: &str = "/v1/images/generations";
const MODERATIONS: &str = "/v1/moderations";

impl Stand {
    async fn pass_as(&self, key: &Key, path: &str, body: &Value) -> Answer {
        let request = self.client.post(format!("{}{path}", self.server.url())).bearer_auth(&key.text);
        Answer::of(request.header("content-type", "application/json").body(body.to_string())).await
    }
}

fn cat(more: &Value) -> Value {
    let mut body = json!({"model": "openai/gpt-image-1", "prompt": "a cat", "quality": "low", "size": "1024x1024"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn a_request_and_its_answer_pass_as_they_are() {
    let stand = Stand::start().await;
    let body = "{ \"model\":\"gpt-image-1\",\"prompt\":\"a \\u0063at\", \"future\":{\"a\":1.50} }";
    let raw = "{ \"created\":1,\"data\":[{\"b64_json\":\"AA==\"}],\"future\":1.0,\"usage\":{\"input_tokens\":3,\"output_tokens\":4} }\n";
    stand.mock.script_once(Behaviour::new().raw_body(raw));
    let answer = Answer::of(stand.post(IMAGES, body)).await;
    assert_eq!((answer.status, answer.text(), answer.header("x-privet-model")), (200, raw, Some("gpt-image-1")));
    let sent = stand.sent();
    assert_eq!((sent.path.as_str(), sent.body), (IMAGES, serde_json::from_str::<Value>(body).unwrap()));

    let answer = Answer::of(stand.post(MODERATIONS, r#"{"input":["one","two"]}"#)).await;
    assert_eq!((answer.status, answer.json()["results"].as_array().unwrap().len()), (200, 2), "{answer:?}");
    assert_eq!(stand.sent().body, json!({"input": ["one", "two"]}), "the provider's default is its own");
    let named = Answer::of(stand.post(MODERATIONS, r#"{"model":"openai/omni-moderation-latest","input":"x"}"#)).await;
    assert_eq!((named.status, &stand.sent().body["model"]), (200, &json!("omni-moderation-latest")));
}

#[tokio::test]
async fn wire_34_pictures_are_held_for_and_cost_what_the_provider_counts() {
    let stand = Stand::start().await;
    let key = stand.create_key(&["--budget", "2.00/day"]).await;
    let usage = Usage { input_tokens: 10, output_tokens: 300, ..Usage::default() };
    stand.mock.script_once(Behaviour::new().usage(usage));
    let answer = stand.pass_as(&key, IMAGES, &cat(&json!({"n": 2}))).await;
    assert_eq!((answer.status, answer.json()["data"].as_array().unwrap().len()), (200, 2), "{answer:?}");
    let bill = i64::try_from(stand.mock.stats().bill_nanos).unwrap();
    assert_eq!(bill, 10 * 5_000 + 300 * 40_000);
    assert_eq!(stand.usage(&key).await["settled_nanos"], bill);
    let told = stand.explain(&key, &answer).await;
    assert!(told.to_string().contains("\"images\""), "{told}");

    // Without a count all that was held is charged: two of the largest pictures, and the words.
    stand.mock.script_once(Behaviour::new().no_usage());
    assert_eq!(stand.pass_as(&key, IMAGES, &cat(&json!({"n": 2}))).await.status, 200);
    let charged = stand.usage(&key).await["settled_nanos"].as_i64().unwrap() - bill;
    assert!(charged >= 2 * 6_240 * 40_000, "{charged}");

    // What does not fit is not asked: the ceiling is hard.
    let calls = stand.mock.stats().calls;
    let refused = stand.pass_as(&key, IMAGES, &cat(&json!({"n": 10}))).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (402, &json!("budget_exhausted")), "{refused:?}");
    assert_eq!(stand.mock.stats().calls, calls);
}

#[tokio::test]
async fn a_picture_is_priced_by_its_quality_and_size_where_the_book_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let book = folder.path().join("prices.toml");
    let row = "[[price]]\nmodel = \"openai/painter\"\ninput = 0\noutput = 40000\noutput_tokens_max = 1\n\
               tiers = { \"hd/1024x1024\" = { input = 0, output = 80000 }, \"hd/1792x1024\" = { input = 0, output = 120000 } }\n";
    std::fs::write(&book, row).unwrap();
    let stand = Stand::with_config(&format!("prices = {:?}\n", book.display().to_string())).await;
    let key = stand.create_key(&["--budget", "5.00/day"]).await;
    let mut settled = 0;
    for (more, dollars) in [
        (json!({"quality": "hd", "size": "1024x1024"}), 0.08),
        (json!({"quality": "hd", "size": "1792x1024", "n": 2}), 0.24),
        // What the provider chooses may be the dearest.
        (json!({"quality": "auto"}), 0.12),
        (json!({"quality": "odd", "size": "9x9"}), 0.12),
    ] {
        stand.mock.script_once(Behaviour::new().no_usage());
        let mut body = cat(&more);
        body["model"] = json!("openai/painter");
        assert_eq!(stand.pass_as(&key, IMAGES, &body).await.status, 200, "{more}");
        let now = stand.usage(&key).await["settled_nanos"].as_i64().unwrap();
        #[expect(clippy::cast_precision_loss, reason = "a few dollars")]
        let cost = (now - settled) as f64 / 1e9;
        assert!((cost - dollars).abs() < 1e-6, "{more}: {cost}");
        settled = now;
    }
}

#[tokio::test]
async fn wire_33_what_has_no_price_or_no_bound_is_refused_aloud_under_a_budget() {
    let stand = Stand::start().await;
    let key = stand.create_key(&["--budget", "2.00/day"]).await;
    for (body, code) in [
        (cat(&json!({"model": "openai/unheard-of"})), "model_unpriced"),
        (cat(&json!({"models": ["openai/dearer"]})), "field_unbounded"),
    ] {
        let refused = stand.pass_as(&key, IMAGES, &body).await;
        assert_eq!(refused.json()["error"]["code"], code, "{refused:?}");
    }
    assert_eq!(stand.mock.stats().calls, 0);
    let free = stand.pass_as(&key, MODERATIONS, &json!({"input": "x"})).await;
    assert_eq!((free.status, &stand.usage(&key).await["settled_nanos"]), (200, &json!(0)), "{free:?}");
}

#[tokio::test]
async fn failures_have_their_status_and_cost_nothing() {
    let stand = Stand::with_config(CALLED_ONCE).await;
    let key = stand.create_key(&["--budget", "2.00/day"]).await;
    for (status, expected) in [(400, 400), (429, 429), (500, 502)] {
        stand.mock.script_once(Behaviour::error(status).error_message("said so"));
        let answer = stand.pass_as(&key, IMAGES, &cat(&json!({}))).await;
        assert!(answer.status == expected && answer.text().contains("said so"), "{answer:?}");
    }
    stand.mock.script_once(Behaviour::new().raw_body(r#"{"error":{"message":"no","type":"t"}}"#));
    assert_eq!(stand.pass_as(&key, IMAGES, &cat(&json!({}))).await.status, 502);
    assert_eq!(stand.usage(&key).await["settled_nanos"], 0);
    for (path, body, param) in [
        (IMAGES, json!({"model": "m"}), "prompt"),
        (IMAGES, cat(&json!({"stream": true})), "stream"),
        (MODERATIONS, json!({"model": "m"}), "input"),
    ] {
        let wrong = stand.pass_as(&key, path, &body).await;
        assert_eq!((wrong.status, &wrong.json()["error"]["param"]), (400, &json!(param)), "{wrong:?}");
    }
    for model in ["anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-flash"] {
        let answer = Answer::of(stand.post(IMAGES, cat(&json!({"model": model})).to_string())).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (400, &json!("unsupported_by_provider")),
            "{model}"
        );
    }
}

#[tokio::test]
async fn wire_07_and_traces_a_repeated_request_is_paid_once_and_no_picture_is_kept() {
    let stand = Stand::start().await;
    let ask = async || {
        let request = stand.post(IMAGES, cat(&json!({"user": "ada"})).to_string()).header("idempotency-key", "k");
        Answer::of(request).await
    };
    let (first, again) = (ask().await, ask().await);
    assert_eq!(
        (&first.body, again.header("idempotency-replayed"), stand.mock.stats().calls),
        (&again.body, Some("true"), 1)
    );
    let picture = first.json()["data"][0]["b64_json"].as_str().unwrap().to_owned();
    let trace = stand.get(&format!("/api/traces/{}", first.header("x-privet-trace-id").unwrap())).await;
    assert!(trace.text().contains("a cat") && !trace.text().contains(&picture), "{trace:?}");
    assert!(trace.text().contains("GENERATION") && trace.text().contains("ada"), "{trace:?}");
    let moderated = Answer::of(stand.post(MODERATIONS, r#"{"input":"hm"}"#)).await;
    let trace = stand.get(&format!("/api/traces/{}", moderated.header("x-privet-trace-id").unwrap())).await;
    assert!(trace.text().contains("GUARDRAIL"), "{trace:?}");
}
