//! Money through the real binary: what a budget lets through, what a call costs, and what the provider's own bill says.

use futures_util::future::join_all;
use privet_testkit::upstream::{Behaviour, Usage};
use reqwest::Method;
use serde_json::{Value, json};

use crate::stand::{Answer, Stand, ask, ask_streamed};

const CONFIG: &str = "[limits]\n";
const MODEL: &str = "openai/gpt-4o";

/// A key that `privet keys create` made.
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) text: String,
}

impl Stand {
    pub(crate) async fn create_key(&self, arguments: &[&str]) -> Key {
        let output = self.privet(&[&["keys", "create", "--name", "test", "--json"], arguments].concat()).await;
        assert!(output.status.success(), "{output:?}");
        let made: Value = serde_json::from_slice(&output.stdout).unwrap();
        Key { id: made["id"].as_str().unwrap().to_owned(), text: made["key"].as_str().unwrap().to_owned() }
    }

    pub(crate) async fn chat_as(&self, key: &Key, body: Value) -> Answer {
        let request = self.client.post(format!("{}/v1/chat/completions", self.server.url()));
        let request = request.bearer_auth(&key.text).header("content-type", "application/json");
        Answer::of(request.body(body.to_string())).await
    }

    /// What `GET /api/usage` says of a key.
    pub(crate) async fn usage(&self, key: &Key) -> Value {
        let request = self.client.get(format!("{}/api/usage?key={}", self.server.url(), key.id));
        let answer = Answer::of(request.bearer_auth(&key.text)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// What is known of a request.
    pub(crate) async fn explain(&self, key: &Key, answer: &Answer) -> Value {
        let id = answer.header("x-request-id").unwrap();
        let request = self.client.get(format!("{}/api/usage/{id}", self.server.url()));
        let answer = Answer::of(request.bearer_auth(&key.text)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    fn bill(&self) -> i64 {
        i64::try_from(self.mock.stats().bill_nanos).unwrap()
    }
}

/// What a call of 20 tokens in and 50 out costs with gpt-4o, in nano-dollars.
const CALL_NANOS: i64 = 20 * 2_500 + 50 * 10_000;

fn twenty_in_fifty_out() -> Behaviour {
    Behaviour::text("ok").usage(Usage { input_tokens: 20, output_tokens: 50, ..Usage::default() })
}

/// A request whose answer has the 50 tokens that it allows.
fn ask_for_fifty() -> Value {
    let mut body = ask(MODEL, "hey");
    body["max_tokens"] = 50.into();
    body
}

/// A daily budget of so many tenths of a call.
fn tenths_of_a_call(tenths: i64) -> String {
    format!("{}/day", dollars(tenths * CALL_NANOS / 10))
}

fn dollars(nanos: i64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

#[tokio::test]
async fn a_key_that_affords_ten_calls_serves_exactly_ten_one_after_another() {
    let stand = Stand::with_config(CONFIG).await;
    stand.mock.script(twenty_in_fifty_out());
    let key = stand.create_key(&["--budget", &tenths_of_a_call(105)]).await;
    let mut statuses = Vec::new();
    for _ in 0..12 {
        statuses.push(stand.chat_as(&key, ask_for_fifty()).await.status);
    }
    assert_eq!(statuses, [[200; 10].as_slice(), &[402; 2]].concat());
    let usage = stand.usage(&key).await;
    assert_eq!((&usage["settled_nanos"], &usage["held_nanos"]), (&json!(10 * CALL_NANOS), &json!(0)));
    assert_eq!(stand.bill(), 10 * CALL_NANOS, "the provider's own bill");
}

#[tokio::test]
async fn without_an_output_limit_a_small_budget_is_spent_to_its_end_as_well() {
    let stand = Stand::with_config(CONFIG).await;
    // A hundredth of what 4096 tokens would be.
    let budget = 5_000_000;
    let key = stand.create_key(&["--budget", &format!("{}/day", dollars(budget))]).await;
    let mut served = 0;
    while stand.chat_as(&key, ask(MODEL, "hey")).await.status == 200 {
        served += 1;
    }
    assert!(served >= 50, "{served}");
    assert_eq!(stand.usage(&key).await["settled_nanos"], stand.bill());
    assert!(stand.bill() <= budget && stand.bill() * 100 >= budget * 95, "{} of {budget}", stand.bill());
}

#[tokio::test]
async fn hit_by_two_hundred_at_once_a_key_serves_what_it_affords_as_soon_as_holds_settle() {
    let stand = Stand::with_config(CONFIG).await;
    stand.mock.script(twenty_in_fifty_out());
    let key = stand.create_key(&["--budget", &tenths_of_a_call(105)]).await;
    let answers = join_all((0..200).map(|_| stand.chat_as(&key, ask_for_fifty()))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 10);
    assert!(answers.iter().all(|answer| [200, 402].contains(&answer.status)));
    assert_eq!(stand.usage(&key).await["settled_nanos"], stand.bill());

    stand.mock.reset();
    let budget = 5_000_000;
    let key = stand.create_key(&["--budget", &format!("{}/day", dollars(budget))]).await;
    join_all((0..200).map(|_| stand.chat_as(&key, ask(MODEL, "hey")))).await;
    assert_eq!(stand.usage(&key).await["settled_nanos"], stand.bill());
    assert!(stand.bill() <= budget && stand.bill() * 100 >= budget * 95, "{} of {budget}", stand.bill());
}

#[tokio::test]
async fn a_provider_that_adds_to_the_input_overruns_once_and_is_held_for_from_then_on() {
    let stand = Stand::with_config(CONFIG).await;
    stand.mock.script(Behaviour::text("ok").usage(Usage {
        input_tokens: 5_000,
        output_tokens: 50,
        ..Usage::default()
    }));
    let key = stand.create_key(&["--budget", "1.00/day"]).await;
    let first = stand.chat_as(&key, ask_for_fifty()).await;
    let first = stand.explain(&key, &first).await;
    assert!(
        first["facts"]["cost_nanos"].as_i64() > first["facts"]["hold_nanos"].as_i64(),
        "nobody could know: {first}"
    );
    assert!(stand.server.logs().contains("adds to the input"), "{}", stand.server.logs());
    let second = stand.chat_as(&key, ask_for_fifty()).await;
    let second = stand.explain(&key, &second).await;
    assert_eq!(second["facts"]["cost_nanos"], second["facts"]["hold_nanos"], "{second}");
}

#[tokio::test]
async fn wire_30_a_hundred_parallel_calls_against_a_dollar_never_exceed_it() {
    let stand = Stand::with_config(CONFIG).await;
    // Five cents each: twenty are affordable.
    stand.mock.script(Behaviour::text("ok").usage(Usage {
        input_tokens: 12,
        output_tokens: 4_997,
        ..Usage::default()
    }));
    let key = stand.create_key(&["--budget", "1.00/day"]).await;
    let mut body = ask(MODEL, "a long story please");
    body["max_tokens"] = 5_000.into();
    let answers = join_all((0..100).map(|_| stand.chat_as(&key, body.clone()))).await;
    let served = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(served, 19, "the twentieth might have cost more than was left");
    let usage = stand.usage(&key).await;
    assert_eq!(usage["settled_nanos"], stand.bill());
    assert!(stand.bill() <= 1_000_000_000 && stand.bill() >= 950_000_000, "{}", stand.bill());
}

#[tokio::test]
async fn wire_04_an_exhausted_budget_is_402_and_says_what_helps() {
    let stand = Stand::with_config(CONFIG).await;
    stand.mock.script(twenty_in_fifty_out());
    let key = stand.create_key(&["--budget", &tenths_of_a_call(11)]).await;
    let mut body = ask_for_fifty();
    assert_eq!(stand.chat_as(&key, body.clone()).await.status, 200);
    let refused = stand.chat_as(&key, body.clone()).await;
    assert_eq!(refused.status, 402);
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    assert_eq!(refused.header("x-privet-gate"), Some("budget"));
    let error = &refused.json()["error"];
    assert_eq!((&error["type"], &error["code"]), (&json!("insufficient_quota"), &json!("budget_exhausted")));
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("$0.000055 left of $0.000605") && message.contains("full again at"), "{message}");

    body["max_tokens"] = 16_000.into();
    let never = stand.chat_as(&key, body).await;
    let message = never.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(never.status == 402 && message.contains("waiting does not help"), "{message}");
    let explained = stand.explain(&key, &never).await;
    assert_eq!(explained["state"], "refused");
    assert!(explained["text"].as_str().unwrap().contains("waiting does not help"), "{explained}");
}

#[tokio::test]
async fn a_request_without_an_output_limit_gets_one_where_a_budget_holds() {
    let stand = Stand::with_config(CONFIG).await;
    let key = stand.create_key(&["--budget", "1.00/day"]).await;
    stand.chat_as(&key, ask(MODEL, "hey")).await;
    assert_eq!(stand.sent().body["max_tokens"], 4096);
    stand.chat_as(&key, ask("anthropic/claude-sonnet-4-5", "hey")).await;
    assert_eq!(stand.sent().body["max_tokens"], 4096);
    stand.chat_as(&key, ask("gemini/gemini-2.5-flash", "hey")).await;
    assert_eq!(stand.sent().body["generationConfig"]["maxOutputTokens"], 4096);
    let mut own = ask(MODEL, "hey");
    own["max_tokens"] = 7.into();
    stand.chat_as(&key, own).await;
    assert_eq!(stand.sent().body["max_tokens"], 7);
    stand.chat(ask(MODEL, "hey")).await;
    assert_eq!(stand.sent().body.get("max_tokens"), None, "a key without a budget sends what it says");
}

#[tokio::test]
async fn wire_22_and_23_cached_and_written_tokens_cost_what_the_provider_bills() {
    let stand = Stand::with_config(CONFIG).await;
    let key = stand.create_key(&["--budget", "10.00/day"]).await;
    let usage = Usage {
        input_tokens: 10_000,
        cached_tokens: 6_000,
        cache_write_tokens: 0,
        output_tokens: 500,
        reasoning_tokens: 300,
    };
    for (model, written) in [(MODEL, 0), ("anthropic/claude-sonnet-4-5", 1_000), ("gemini/gemini-2.5-flash", 0)] {
        for stream in [false, true] {
            stand.mock.script(Behaviour::text("ok").usage(Usage { cache_write_tokens: written, ..usage }));
            let body = if stream { ask_streamed(model, "hey") } else { ask(model, "hey") };
            let before = (stand.bill(), stand.usage(&key).await["settled_nanos"].as_i64().unwrap());
            let answer = stand.chat_as(&key, body).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let after = (stand.bill(), stand.usage(&key).await["settled_nanos"].as_i64().unwrap());
            assert_eq!(after.1 - before.1, after.0 - before.0, "{model}, streamed: {stream}");
        }
    }
}

#[tokio::test]
async fn wire_33_an_unpriced_model_under_a_budget_is_refused_aloud_unless_allowed_by_name() {
    let stand = Stand::with_config(&format!("{CONFIG}unpriced = [\"openai/allowed\"]\n")).await;
    let key = stand.create_key(&["--budget", "1.00/day"]).await;
    let refused = stand.chat_as(&key, ask("openai/unheard-of", "hey")).await;
    assert_eq!(refused.status, 403);
    assert_eq!(refused.json()["error"]["code"], "model_unpriced");
    assert!(refused.text().contains("limits.unpriced"), "{}", refused.text());
    assert_eq!(stand.mock.stats().calls, 0);
    assert_eq!(stand.chat_as(&key, ask("openai/allowed", "hey")).await.status, 200);
    assert_eq!(stand.chat(ask("openai/unheard-of", "hey")).await.status, 200, "a key without a budget may");
}

#[tokio::test]
async fn wire_32_a_client_that_leaves_is_charged_once_for_what_was_used() {
    let stand = Stand::with_config(CONFIG).await;
    let key = stand.create_key(&["--budget", "1.00/day"]).await;
    for model in [MODEL, "anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-flash"] {
        stand.mock.reset();
        stand.mock.script(Behaviour::text("one two three four five six seven eight").hang_after_chunks(4));
        let before = stand.usage(&key).await["settled_nanos"].as_i64().unwrap();
        let request = stand.client.post(format!("{}/v1/chat/completions", stand.server.url()));
        let request = request.bearer_auth(&key.text).header("content-type", "application/json");
        let mut response = request.body(ask_streamed(model, "hey").to_string()).send().await.unwrap();
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains("four") {
            seen.extend_from_slice(&response.chunk().await.unwrap().unwrap());
        }
        drop(response);
        stand.mock.wait_for(|stats| stats.cancelled == 1).await;
        let settled = settled_above(&stand, &key, before).await - before;
        let bill = stand.bill();
        // What the provider had made when it was cancelled, nobody knows: all that was held is charged.
        assert!(settled >= bill, "{model}: settled {settled}, billed {bill}");
        assert_eq!(stand.usage(&key).await["held_nanos"], 0);
    }
}

#[tokio::test]
async fn a_client_that_leaves_at_the_first_byte_pays_what_a_faster_provider_made() {
    let stand = Stand::with_config(CONFIG).await;
    let key = stand.create_key(&["--budget", "1.00/day"]).await;
    for model in [MODEL, "anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-flash"] {
        stand.mock.reset();
        stand.mock.script(Behaviour::text("word ".repeat(3_000)));
        let before = stand.usage(&key).await["settled_nanos"].as_i64().unwrap();
        let request = stand.client.post(format!("{}/v1/chat/completions", stand.server.url()));
        let request = request.bearer_auth(&key.text).header("content-type", "application/json");
        let mut response = request.body(ask_streamed(model, "hey").to_string()).send().await.unwrap();
        response.chunk().await.unwrap();
        drop(response);
        let settled = settled_above(&stand, &key, before).await - before;
        assert!(settled >= stand.bill(), "{model}: settled {settled}, billed {}", stand.bill());
    }
}

/// The hold and the cost of the newest call of a key, by the answer's id.
async fn held_and_charged(stand: &Stand, key: &Key, answer: &Answer) -> (i64, i64) {
    let explained = stand.explain(key, answer).await;
    let fact = |name: &str| explained["facts"][name].as_i64().unwrap_or_else(|| panic!("{name}: {explained}"));
    (fact("hold_nanos"), fact("cost_nanos"))
}

#[tokio::test]
async fn whatever_ends_a_stream_early_the_hold_is_charged() {
    let deadlines =
        ["openai", "anthropic", "gemini"].map(|name| format!("[providers.{name}]\ntotal_timeout = \"1s\"\n"));
    let stand = Stand::with_config(&format!("{CONFIG}{}", deadlines.concat())).await;
    let key = stand.create_key(&["--budget", "100.00/day"]).await;
    let text = || Behaviour::text("word ".repeat(300));
    for model in [MODEL, "anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-flash"] {
        for (how, behaviour) in [
            ("cut", text().cut_after_chunks(5)),
            ("a huge line", text().malformed(privet_testkit::upstream::Malformed::HugeLine)),
            ("the deadline", text().hang_after_chunks(4)),
            ("counts in the middle", text().repeat_usage().cut_after_chunks(5)),
            ("an error in the middle", text().error_inside_200(3, privet_testkit::upstream::ErrorShape::Native)),
        ] {
            stand.mock.reset();
            stand.mock.script(behaviour);
            let answer = stand.chat_as(&key, ask_streamed(model, "hey")).await;
            assert!(!answer.is_done(), "{model}, {how}: {answer:?}");
            let (held, charged) = held_and_charged(&stand, &key, &answer).await;
            assert!(charged == held && charged >= stand.bill(), "{model}, {how}: {charged} of {held}");
        }
        stand.mock.reset();
        stand.mock.script(text().error_inside_200(0, privet_testkit::upstream::ErrorShape::Native));
        let refused = stand.chat_as(&key, ask_streamed(model, "hey")).await;
        let explained = stand.explain(&key, &refused).await;
        assert_eq!(explained["facts"]["cost_nanos"], 0, "an error before a beginning is a refusal: {explained}");
    }
}

#[tokio::test]
async fn what_a_model_thought_unseen_is_paid_when_its_stream_is_left() {
    let stand = Stand::with_config(CONFIG).await;
    let key = stand.create_key(&["--budget", "100.00/day"]).await;
    let thought = Usage { input_tokens: 20, output_tokens: 4_000, reasoning_tokens: 3_990, ..Usage::default() };
    for (path, model) in [
        ("/v1/chat/completions", "openai/gpt-5"),
        ("/v1/chat/completions", "anthropic/claude-sonnet-4-5"),
        ("/v1/chat/completions", "gemini/gemini-2.5-flash"),
        ("/api/chat", MODEL),
        ("/api/chat", "anthropic/claude-sonnet-4-5"),
    ] {
        stand.mock.reset();
        stand.mock.script(Behaviour::text("a few words").usage(thought).bill_in_full_on_cancel().hang_after_chunks(2));
        let before = stand.usage(&key).await["settled_nanos"].as_i64().unwrap();
        let request = stand.client.post(format!("{}{path}", stand.server.url())).bearer_auth(&key.text);
        let request = request.header("content-type", "application/json");
        let mut response = request.body(ask_streamed(model, "hey").to_string()).send().await.unwrap();
        response.chunk().await.unwrap();
        drop(response);
        stand.mock.wait_for(|stats| stats.cancelled == 1).await;
        let settled = settled_above(&stand, &key, before).await - before;
        assert!(settled >= stand.bill() && stand.bill() > 0, "{path}, {model}: {settled} of {}", stand.bill());
    }
}

#[tokio::test]
async fn an_answer_that_counts_no_output_is_charged_all_that_was_held() {
    let stand = Stand::with_config(CONFIG).await;
    let key = stand.create_key(&["--budget", "1.00/day"]).await;
    for usage in ["{}", "{\"prompt_tokens\": 9}", "{\"prompt_tokens\": 9, \"completion_tokens\": 0}"] {
        let body = format!(
            "{{\"choices\": [{{\"message\": {{\"content\": \"hi\"}}, \"finish_reason\": \"stop\"}}], \"usage\": {usage}}}"
        );
        stand.mock.script(Behaviour::new().raw_body(body));
        let answer = stand.chat_as(&key, ask(MODEL, "hey")).await;
        let (held, charged) = held_and_charged(&stand, &key, &answer).await;
        assert_eq!(held, charged, "{usage}");
    }
}

#[tokio::test]
async fn a_service_tier_that_nobody_can_price_is_refused_under_a_budget() {
    let stand = Stand::with_config(CONFIG).await;
    let budgeted = stand.create_key(&["--budget", "1.00/day"]).await;
    let mut body = ask(MODEL, "hey");
    body["service_tier"] = "ultra".into();
    let refused = stand.chat_as(&budgeted, body.clone()).await;
    let error = &refused.json()["error"];
    assert_eq!((refused.status, &error["code"]), (400, &json!("service_tier_unpriced")), "{error}");
    assert_eq!(error["param"], "service_tier");
    assert!(error["message"].as_str().unwrap().contains("`ultra`"), "{error}");
    let free = stand.create_key(&[]).await;
    assert_eq!(stand.chat_as(&free, body).await.status, 200, "the provider judges");
    let held = async |tier: Option<&str>| {
        let mut body = ask(MODEL, "hey");
        body["service_tier"] = tier.map_or(Value::Null, Value::from);
        let answer = stand.chat_as(&budgeted, body).await;
        held_and_charged(&stand, &budgeted, &answer).await.0
    };
    let (auto, priority, standard) = (held(Some("auto")).await, held(Some("priority")).await, held(None).await);
    // The longer word has four bytes more, at the tier's price.
    assert_eq!(priority - auto, 4 * 4_250);
    assert!(auto > standard * 3 / 2, "{auto}, {standard}");
}

#[tokio::test]
async fn money_that_calls_under_way_hold_is_worth_another_try() {
    let stand = Stand::with_config(&format!("{CONFIG}budget_wait = \"50ms\"\n")).await;
    let key = stand.create_key(&["--budget", &tenths_of_a_call(11)]).await;
    stand.mock.script(twenty_in_fifty_out().hang());
    let request = stand.client.post(format!("{}/v1/chat/completions", stand.server.url())).bearer_auth(&key.text);
    let request = request.header("content-type", "application/json").body(ask_for_fifty().to_string());
    let waiting = tokio::spawn(request.send());
    stand.mock.wait_for(|stats| stats.in_flight == 1).await;
    let refused = stand.chat_as(&key, ask_for_fifty()).await;
    assert_eq!((refused.status, refused.header("x-should-retry")), (402, Some("true")), "{refused:?}");
    assert_eq!(refused.header("retry-after"), Some("5"));
    assert!(refused.text().contains("repeat the request"), "{}", refused.text());
    waiting.abort();
}

#[tokio::test]
async fn a_keys_own_limits_are_told_and_not_the_providers() {
    let stand = Stand::with_config(CONFIG).await;
    let told = async |key: &Key| {
        let answer = stand.chat_as(key, ask(MODEL, "hey")).await;
        ["requests", "tokens"].map(|what| answer.header(&format!("x-ratelimit-limit-{what}")).unwrap().to_owned())
    };
    let (none, both) = (stand.create_key(&[]).await, ["--rate", "20/1m", "--token-rate", "1000/1m"]);
    let of_provider = told(&none).await;
    let (requests, both) = (stand.create_key(&both[..2]).await, stand.create_key(&both).await);
    assert_eq!(told(&requests).await, ["20", &of_provider[1]]);
    assert_eq!(told(&both).await, ["20", "1000"]);
    let few = stand.create_key(&["--token-rate", "10/1m"]).await;
    stand.chat_as(&few, ask(MODEL, "hey")).await;
    let refused = stand.chat_as(&few, ask(MODEL, "hey")).await;
    assert_eq!((refused.status, refused.header("x-ratelimit-limit-tokens")), (429, Some("10")), "{refused:?}");
    assert_eq!(refused.header("x-ratelimit-limit-requests"), None, "it has no rate of requests");
    assert_eq!(refused.header("ratelimit-reset"), refused.header("retry-after"), "who waits so long finds room");
}

#[tokio::test]
async fn fields_that_nobody_can_bound_are_refused_under_a_budget_and_pass_without() {
    let stand = Stand::with_config(CONFIG).await;
    let budgeted = stand.create_key(&["--budget", "1.00/day"]).await;
    let listed = stand.create_key(&["--models", MODEL]).await;
    let free = stand.create_key(&[]).await;
    let asked = |more: serde_json::Value| {
        let mut body = ask(MODEL, "hey");
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (more, refused_for_the_listed) in [
        (json!({"models": ["openai/gpt-4o"]}), true),
        (json!({"extra_body": {"model": "x"}}), true),
        (json!({"best_of": 20}), false),
        (json!({"Max_Tokens": 100_000}), false),
        (json!({"previous_response_id": "resp_1"}), false),
        (json!({"web_search_options": {}}), false),
        (json!({"tools": [{"type": "web_search"}]}), false),
    ] {
        let answer = stand.chat_as(&budgeted, asked(more.clone())).await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (400, &json!("field_unbounded")), "{more}");
        let answer = stand.chat_as(&listed, asked(more.clone())).await;
        assert_eq!(answer.status == 400, refused_for_the_listed, "{more}: {answer:?}");
        assert_eq!(stand.chat_as(&free, asked(more.clone())).await.status, 200, "{more}");
    }
}

#[tokio::test]
async fn a_request_without_a_service_tier_gets_the_one_that_was_held_for() {
    let stand = Stand::with_config(CONFIG).await;
    let sent_tier = || stand.sent().body["service_tier"].clone();
    let budgeted = stand.create_key(&["--budget", "1.00/day"]).await;
    assert_eq!(stand.chat_as(&budgeted, ask(MODEL, "hey")).await.status, 200);
    assert_eq!(sent_tier(), "default");
    let free = stand.create_key(&[]).await;
    assert_eq!(stand.chat_as(&free, ask(MODEL, "hey")).await.status, 200);
    assert_eq!(sent_tier(), Value::Null, "the project's own setting");
    let mut wrong = ask(MODEL, "hey");
    wrong["service_tier"] = 7.into();
    let refused = stand.chat_as(&budgeted, wrong).await;
    assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!("service_tier")));
}

/// Waits until more than this is settled.
async fn settled_above(stand: &Stand, key: &Key, before: i64) -> i64 {
    for _ in 0..500 {
        let settled = stand.usage(key).await["settled_nanos"].as_i64().unwrap();
        if settled > before {
            return settled;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("nothing was settled; the server printed:\n{}", stand.server.logs());
}

#[tokio::test]
async fn wire_32_a_provider_that_bills_all_of_a_left_stream_is_read_to_its_end() {
    let config = format!("{CONFIG}\n[providers.openai]\non_disconnect = \"drain\"\n");
    let stand = Stand::with_config(&config).await;
    let key = stand.create_key(&["--budget", "1.00/day"]).await;
    let behaviour = Behaviour::text("one two three four five six seven eight").chunk_delay_ms(50);
    stand.mock.script(behaviour.bill_in_full_on_cancel());
    let request = stand.client.post(format!("{}/v1/chat/completions", stand.server.url()));
    let request = request.bearer_auth(&key.text).header("content-type", "application/json");
    let mut response = request.body(ask_streamed(MODEL, "hey").to_string()).send().await.unwrap();
    response.chunk().await.unwrap();
    drop(response);
    stand.mock.wait_for(|stats| stats.completed == 1).await;
    assert_eq!(settled_above(&stand, &key, 0).await, stand.bill());
}

#[tokio::test]
async fn wire_34_embeddings_are_metered_and_bounded_too() {
    let stand = Stand::with_config(CONFIG).await;
    let key = stand.create_key(&["--budget", "0.000001/day"]).await;
    let embed = |text: String| {
        let request = stand.client.post(format!("{}/v1/embeddings", stand.server.url()));
        let body = json!({"model": "openai/text-embedding-3-small", "input": text});
        request.bearer_auth(&key.text).header("content-type", "application/json").body(body.to_string())
    };
    let served = Answer::of(embed("three little words".to_owned())).await;
    assert_eq!(served.status, 200, "{served:?}");
    let usage = stand.usage(&key).await;
    assert_eq!(usage["settled_nanos"], stand.bill());
    assert_eq!(usage["by_model"][0]["name"], "openai/text-embedding-3-small");
    let refused = Answer::of(embed("x".repeat(1_000))).await;
    assert_eq!(refused.status, 402, "{refused:?}");
}

#[tokio::test]
async fn a_failing_provider_costs_nothing_and_an_unreadable_answer_the_most() {
    let stand = Stand::with_config(CONFIG).await;
    let key = stand.create_key(&["--budget", "1.00/day"]).await;
    stand.mock.script(Behaviour::error(500));
    assert_eq!(stand.chat_as(&key, ask(MODEL, "hey")).await.status, 502);
    assert_eq!(stand.usage(&key).await["settled_nanos"], 0);
    stand.mock.script(Behaviour::new().malformed(privet_testkit::upstream::Malformed::BadJson));
    let answer = stand.chat_as(&key, ask(MODEL, "hey")).await;
    assert_eq!(answer.status, 502);
    let explained = stand.explain(&key, &answer).await;
    assert_eq!(explained["facts"]["usage_source"], "bounded");
    assert_eq!(explained["facts"]["cost_nanos"], explained["facts"]["hold_nanos"]);
}

#[tokio::test]
async fn an_answer_without_usage_is_charged_all_that_was_held() {
    let stand = Stand::with_config(CONFIG).await;
    let key = stand.create_key(&["--budget", "1.00/day"]).await;
    for stream in [false, true] {
        stand.mock.reset();
        stand.mock.script(Behaviour::text("four words are here").no_usage());
        let before = stand.usage(&key).await["settled_nanos"].as_i64().unwrap();
        let body = if stream { ask_streamed(MODEL, "hey") } else { ask(MODEL, "hey") };
        assert_eq!(stand.chat_as(&key, body).await.status, 200);
        let settled = stand.usage(&key).await["settled_nanos"].as_i64().unwrap() - before;
        assert!(settled >= stand.bill(), "streamed: {stream}, {settled}");
    }
}

#[tokio::test]
async fn every_cent_is_explained() {
    let stand = Stand::with_config(CONFIG).await;
    stand.mock.script(twenty_in_fifty_out());
    let key = stand.create_key(&["--budget", "1.00/day"]).await;
    let answer = stand.chat_as(&key, ask(MODEL, "hey")).await;
    let explained = stand.explain(&key, &answer).await;
    assert_eq!(explained["facts"]["cost_nanos"], CALL_NANOS);
    assert_eq!(
        explained["facts"]["bill"][0],
        json!({"kind": "input", "tokens": 20, "nanos_per_million": 2_500_000_000_i64})
    );
    let id = answer.header("x-request-id").unwrap();
    let output = stand.privet(&["explain", id]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    for part in
        ["cost $0.00055", "20 tokens of input at $2.50 a million", "50 tokens of output at $10.00 a million", "key/"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let usage = stand.privet(&["usage", "--key", &key.id, "--json"]).await;
    let usage: Value = serde_json::from_slice(&usage.stdout).unwrap();
    assert_eq!(usage["settled_nanos"], CALL_NANOS);
    assert_eq!(usage["budgets"][0]["settled_nanos"], CALL_NANOS);
    assert_eq!(usage["by_model"][0]["name"], MODEL);
}

#[tokio::test]
async fn the_tightest_of_several_budgets_holds() {
    let config = format!(
        "{CONFIG}\n[[budgets]]\nlimit = \"{}/month\"\nuser = \"ola\"\n\n[[budgets]]\nlimit = \"{}/total\"\nproject = \"shop\"\n",
        dollars(31 * CALL_NANOS / 10),
        dollars(51 * CALL_NANOS / 10)
    );
    let stand = Stand::with_config(&config).await;
    stand.mock.script(twenty_in_fifty_out());
    let body = ask_for_fifty();
    let ola = stand.create_key(&["--user", "ola", "--project", "shop", "--budget", "100.00/day"]).await;
    let adam = stand.create_key(&["--user", "adam", "--project", "shop"]).await;
    let mut served = Vec::new();
    for key in [&ola, &adam] {
        let mut count = 0;
        while stand.chat_as(key, body.clone()).await.status == 200 {
            count += 1;
        }
        served.push(count);
    }
    assert_eq!(served, [3, 2], "her month, then the project's rest");
}

#[tokio::test]
async fn a_successor_of_a_key_goes_on_with_its_budget() {
    let stand = Stand::with_config(CONFIG).await;
    stand.mock.script(twenty_in_fifty_out());
    let body = ask_for_fifty();
    let old = stand.create_key(&["--budget", &tenths_of_a_call(21)]).await;
    assert_eq!(stand.chat_as(&old, body.clone()).await.status, 200);
    let output = stand.privet(&["keys", "rotate", &old.id, "--json"]).await;
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    let new = Key { id: made["id"].as_str().unwrap().to_owned(), text: made["key"].as_str().unwrap().to_owned() };
    assert_eq!(stand.chat_as(&new, body.clone()).await.status, 200);
    assert_eq!(stand.chat_as(&new, body.clone()).await.status, 402);
    assert_eq!(stand.chat_as(&old, body).await.status, 402, "one balance for both");
}

#[tokio::test]
async fn a_rate_of_twenty_a_minute_lets_exactly_twenty_through() {
    let stand = Stand::with_config(CONFIG).await;
    let key = stand.create_key(&["--rate", "20/1m"]).await;
    let answers = join_all((0..60).map(|_| stand.chat_as(&key, ask(MODEL, "hey")))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 20);
    let refused = answers.iter().find(|answer| answer.status == 429).unwrap();
    for header in
        ["retry-after", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "x-ratelimit-limit-requests"]
    {
        assert!(refused.header(header).is_some(), "{header}: {refused:?}");
    }
    assert_eq!(refused.header("x-privet-gate"), Some("rate"));
    let served = answers.iter().find(|answer| answer.status == 200).unwrap();
    assert_eq!(served.header("ratelimit-limit"), Some("20"));
    assert_eq!(stand.mock.stats().calls, 20);
}

#[tokio::test]
async fn a_key_may_use_its_models_its_tokens_and_its_places_alone() {
    let stand = Stand::with_config(CONFIG).await;
    let narrow = stand.create_key(&["--models", "openai/gpt-4o-mini,anthropic/*"]).await;
    assert_eq!(stand.chat_as(&narrow, ask(MODEL, "hey")).await.status, 403);
    assert_eq!(stand.chat_as(&narrow, ask("gpt-4o-mini", "hey")).await.status, 200, "the bare name is the same model");
    assert_eq!(stand.chat_as(&narrow, ask("anthropic/claude-sonnet-4-5", "hey")).await.status, 200);

    stand.mock.script(twenty_in_fifty_out());
    let few_tokens = stand.create_key(&["--token-rate", "140/1m"]).await;
    let statuses = [(); 4].map(|()| ask(MODEL, "hey"));
    let mut served = Vec::new();
    for body in statuses {
        served.push(stand.chat_as(&few_tokens, body).await.status);
    }
    assert_eq!(served, [200, 200, 429, 429], "70 tokens a call");

    stand.mock.script(twenty_in_fifty_out().first_byte_delay_ms(500));
    let one_place = stand.create_key(&["--concurrency", "1"]).await;
    let answers = join_all((0..5).map(|_| stand.chat_as(&one_place, ask(MODEL, "hey")))).await;
    let gate = |answer: &Answer| answer.header("x-privet-gate").map(str::to_owned);
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    assert_eq!(answers.iter().filter(|answer| gate(answer).as_deref() == Some("concurrency")).count(), 4);
}

#[tokio::test]
async fn the_kill_switch_refuses_new_calls_and_stops_running_streams() {
    let stand = Stand::with_config(CONFIG).await;
    let admin = stand.create_key(&["--scopes", "admin"]).await;
    let victim = stand.create_key(&[]).await;
    for scope in ["global".to_owned(), format!("key/{}", victim.id), "provider/openai".to_owned()] {
        stand.mock.reset();
        stand.mock.script(Behaviour::text("one two three four").hang_after_chunks(2));
        let request = stand.client.post(format!("{}/v1/chat/completions", stand.server.url()));
        let request = request.bearer_auth(&victim.text).header("content-type", "application/json");
        let mut stream = request.body(ask_streamed(MODEL, "hey").to_string()).send().await.unwrap();
        stream.chunk().await.unwrap();
        let switches = format!("{}/api/switches", stand.server.url());
        let body = json!({"scope": scope, "reason": "a drill"}).to_string();
        let off = stand.client.post(&switches).bearer_auth(&admin.text).header("content-type", "application/json");
        assert_eq!(Answer::of(off.body(body)).await.status, 201);
        let rest = tokio::time::timeout(std::time::Duration::from_secs(5), stream.text()).await.unwrap().unwrap();
        assert!(rest.contains("switched_off") && !rest.contains("[DONE]"), "{scope}: {rest}");
        stand.mock.wait_for(|stats| stats.cancelled == 1).await;
        let refused = stand.chat_as(&victim, ask(MODEL, "hey")).await;
        assert_eq!((refused.status, refused.header("x-privet-gate")), (503, Some("switch")), "{scope}");
        assert!(refused.text().contains("a drill"), "{}", refused.text());
        let on = stand.client.delete(format!("{switches}?scope={scope}")).bearer_auth(&admin.text);
        assert_eq!(Answer::of(on).await.status, 204);
        stand.mock.reset();
        assert_eq!(stand.chat_as(&victim, ask(MODEL, "hey")).await.status, 200, "{scope} is on again");
    }
    let output = stand.privet(&["kill", "--provider", "openai", "--reason", "by hand"]).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(stand.chat_as(&victim, ask(MODEL, "hey")).await.status, 503);
    assert!(stand.privet(&["resume", "--provider", "openai"]).await.status.success());
    assert_eq!(stand.chat_as(&victim, ask(MODEL, "hey")).await.status, 200);
}

#[tokio::test]
async fn a_revoked_key_stops_what_it_began() {
    let stand = Stand::with_config(CONFIG).await;
    let key = stand.create_key(&[]).await;
    stand.mock.script(Behaviour::text("one two three four").hang_after_chunks(2));
    let request = stand.client.post(format!("{}/v1/chat/completions", stand.server.url()));
    let request = request.bearer_auth(&key.text).header("content-type", "application/json");
    let mut stream = request.body(ask_streamed(MODEL, "hey").to_string()).send().await.unwrap();
    stream.chunk().await.unwrap();
    assert!(stand.privet(&["keys", "revoke", &key.id]).await.status.success());
    let rest = tokio::time::timeout(std::time::Duration::from_secs(5), stream.text()).await.unwrap().unwrap();
    assert!(rest.contains("switched_off"), "{rest}");
    assert_eq!(stand.chat_as(&key, ask(MODEL, "hey")).await.status, 401);
}

#[tokio::test]
async fn another_projects_usage_is_not_shown() {
    let stand = Stand::with_config(CONFIG).await;
    let mine = stand.create_key(&["--project", "mine"]).await;
    let theirs = stand.create_key(&["--project", "theirs"]).await;
    let answer = stand.chat_as(&theirs, ask(MODEL, "hey")).await;
    let get = |path: String| {
        Answer::of(stand.client.request(Method::GET, format!("{}{path}", stand.server.url())).bearer_auth(&mine.text))
    };
    assert_eq!(get(format!("/api/usage?key={}", theirs.id)).await.status, 404);
    assert_eq!(get("/api/usage?project=theirs".to_owned()).await.status, 404);
    assert_eq!(get(format!("/api/usage/{}", answer.header("x-request-id").unwrap())).await.status, 404);
    assert_eq!(get("/api/usage".to_owned()).await.json()["calls"], 0);
}

#[tokio::test]
async fn wire_34_every_route_that_reaches_a_provider_is_in_the_ledger() {
    let stand = Stand::with_config(CONFIG).await;
    let key = stand.create_key(&["--budget", "1.00/day"]).await;
    let document = stand.get("/openapi.json").await.json();
    let bodies = [
        ask(MODEL, "hey"),
        ask_streamed("anthropic/claude-sonnet-4-5", "hey"),
        json!({"model": "openai/text-embedding-3-small", "input": "hey"}),
        json!({"model": "openai/gpt-image-1", "prompt": "hey"}),
        json!({"input": "hey"}),
        json!({"model": "openai/tts-1", "input": "hey"}),
        json!({"contents": [{"parts": [{"text": "hey"}]}], "generationConfig": {"maxOutputTokens": 100}}),
    ];
    for (path, methods) in document["paths"].as_object().unwrap() {
        // The others need an administrator, or read what is there.
        if methods.get("post").is_none() || path.starts_with("/api/keys") || path.starts_with("/api/switches") {
            continue;
        }
        let path = path.replace("{model}", MODEL);
        for body in &bodies {
            // No provider counts what it moderates: with a model that is not free all that was held is charged.
            if path == "/v1/moderations" && body.get("model").is_some() {
                continue;
            }
            let before = (stand.mock.stats().calls, stand.usage(&key).await["calls"].as_u64().unwrap());
            let request = stand.client.post(format!("{}{path}", stand.server.url())).bearer_auth(&key.text);
            Answer::of(request.header("content-type", "application/json").body(body.to_string())).await;
            let after = (stand.mock.stats().calls, stand.usage(&key).await["calls"].as_u64().unwrap());
            assert_eq!(after.1 - before.1, after.0 - before.0, "{path} with {body}");
        }
    }
    for path in ["/v1/audio/transcriptions", "/v1/audio/translations"] {
        let (kind, body) = crate::audio::form(&[("model", "openai/whisper-1")], &crate::audio::wav());
        let before = (stand.mock.stats().calls, stand.usage(&key).await["calls"].as_u64().unwrap());
        let request = stand.client.post(format!("{}{path}", stand.server.url())).bearer_auth(&key.text);
        assert_eq!(Answer::of(request.header("content-type", kind).body(body)).await.status, 200, "{path}");
        let after = (stand.mock.stats().calls, stand.usage(&key).await["calls"].as_u64().unwrap());
        assert_eq!((after.0 - before.0, after.1 - before.1), (1, 1), "{path}");
    }
    assert_eq!(stand.usage(&key).await["settled_nanos"], stand.bill());
    assert!(stand.mock.stats().calls >= 11, "{:?}", stand.mock.stats());
}

#[tokio::test]
async fn fault_19_a_client_that_leaves_is_let_go_within_half_a_second_and_its_hold_settled() {
    let stand = Stand::with_config(CONFIG).await;
    let key = stand.create_key(&["--budget", "1.00/day"]).await;
    for stream in [false, true] {
        stand.mock.reset();
        stand.mock.script(Behaviour::text("one two three four").hang());
        let before = stand.usage(&key).await["settled_nanos"].as_i64().unwrap();
        let body = if stream { ask_streamed(MODEL, "hey") } else { ask(MODEL, "hey") };
        let request = stand.client.post(format!("{}/v1/chat/completions", stand.server.url()));
        let request = request.bearer_auth(&key.text).header("content-type", "application/json").body(body.to_string());
        let waiting = tokio::spawn(request.send());
        stand.mock.wait_for(|stats| stats.in_flight == 1).await;
        let left_at = std::time::Instant::now();
        waiting.abort();
        stand.mock.wait_for(|stats| stats.cancelled == 1).await;
        assert!(left_at.elapsed().as_millis() <= 500, "streamed: {stream}, {:?}", left_at.elapsed());
        assert!(settled_above(&stand, &key, before).await - before >= stand.bill());
        assert_eq!(stand.usage(&key).await["held_nanos"], 0);
    }
}

#[tokio::test]
async fn fault_26_a_provider_at_another_address_gets_no_key_of_the_one_before() {
    let (one, other) =
        (privet_testkit::upstream::MockUpstream::start().await, privet_testkit::upstream::MockUpstream::start().await);
    let folder = tempfile::tempdir().unwrap();
    let server = |url: String| {
        privet_testkit::privet_process::PrivetProcess::builder(crate::stand::PRIVET)
            .data_dir(folder.path())
            .env("OPENAI_BASE_URL", format!("{url}/v1"))
    };
    let ask_it = async |server: &privet_testkit::privet_process::PrivetProcess| {
        let request = crate::stand::client().post(format!("{}/v1/chat/completions", server.url()));
        let request = request.bearer_auth(server.key()).header("content-type", "application/json");
        Answer::of(request.body(ask(MODEL, "hey").to_string())).await.status
    };
    let mut first = server(one.base_url()).env("OPENAI_API_KEY", crate::stand::PROVIDER_KEY).start().await;
    assert_eq!(ask_it(&first).await, 200);
    assert!(one.requests()[0].headers["authorization"].contains(crate::stand::PROVIDER_KEY));
    first.terminate().await.unwrap();
    let second = server(other.base_url()).start().await;
    assert_eq!(ask_it(&second).await, 200);
    assert!(!other.requests()[0].headers.contains_key("authorization"), "{:?}", other.requests());
    // Nothing of a provider's key is ever stored.
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(
            !bytes.windows(crate::stand::PROVIDER_KEY.len()).any(|part| part == crate::stand::PROVIDER_KEY.as_bytes())
        );
    }
}
