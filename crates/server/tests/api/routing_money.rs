//! The money of several calls for one request: each that may have cost is in the ledger, and no budget is exceeded.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use privet_testkit::upstream::{Behaviour, Usage};
use serde_json::{Value, json};

use crate::routing::{FIRST, NO_BREAKER, answered_by, asked, attempts, safe_aliases};
use crate::stand::{Answer, CALLED_ONCE, Stand, ask, ask_streamed};

/// What a call of 10 tokens in and 50 out costs with gpt-4o, in nano-dollars.
const CALL_NANOS: i64 = 10 * 2_500 + 50 * 10_000;

fn ten_in_fifty_out() -> Behaviour {
    Behaviour::text("ok").usage(Usage { input_tokens: 10, output_tokens: 50, ..Usage::default() })
}

/// A call that is billed in full and has no answer that a client could use.
fn billed_and_cut() -> Behaviour {
    ten_in_fifty_out().cut_after_chunks(0).bill_in_full_on_failure()
}

fn with_limit(mut body: Value, tokens: u64) -> Value {
    body["max_tokens"] = tokens.into();
    body
}

fn nanos(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is no amount"))
}

impl Stand {
    fn bill_nanos(&self) -> i64 {
        i64::try_from(self.mock.stats().bill_nanos).unwrap()
    }

    /// Asserts that the ledger has what the provider bills, and that nothing is held any more.
    async fn ledger_covers_the_bill(&self, key: &crate::money::Key) -> i64 {
        self.mock.wait_for(|stats| stats.in_flight == 0).await;
        let settled = async {
            loop {
                let usage = self.usage(key).await;
                if usage["held_nanos"] == 0 {
                    return nanos(&usage["settled_nanos"]);
                }
                tokio::task::yield_now().await;
            }
        };
        let settled = tokio::time::timeout(Duration::from_secs(10), settled).await.unwrap();
        assert!(settled >= self.bill_nanos(), "the ledger has {settled}, the provider bills {}", self.bill_nanos());
        settled
    }
}

#[tokio::test]
async fn wire_30_a_hundred_parallel_calls_with_failing_first_targets_never_exceed_a_dollar() {
    let toml = format!(
        "{CALLED_ONCE}{NO_BREAKER}{}[[timeouts]]\nmodel = \"openai/gpt-4o\"\nfirst_byte = \"800ms\"\n\
         [models.safe]\ntargets = [\"openai/gpt-4o\"]\nfallbacks = [\"anthropic/claude-sonnet-4-5\", \"gemini/gemini-2.5-flash\"]\n",
        "[limits]\nbudget_wait = \"3s\"\n"
    );
    let stand = Stand::with_config(&toml).await;
    // Five cents a call.
    let long = Behaviour::text("ok").usage(Usage { input_tokens: 10, output_tokens: 3_300, ..Usage::default() });
    for _ in 0..20 {
        stand.mock.script_model_once("gpt-4o", Behaviour::error(503));
        stand.mock.script_model_once("gpt-4o", long.clone().cut_after_chunks(0).bill_in_full_on_failure());
        stand.mock.script_model_once("gpt-4o", long.clone().hang().bill_in_full_on_cancel());
    }
    stand.mock.script_model("gpt-4o", Behaviour::error(500));
    stand.mock.script_model_once("claude-sonnet-4-5", Behaviour::error(529));
    stand.mock.script_model("claude-sonnet-4-5", long.clone());
    stand.mock.script_model("gemini-2.5-flash", long);
    let key = stand.create_key(&["--budget", "1.00/day"]).await;
    let body = |n: usize| with_limit(asked("safe", n.is_multiple_of(2)), 3_300);
    let answers = join_all((0..100).map(|n| stand.chat_as(&key, body(n)))).await;
    let count = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
    let settled = stand.ledger_covers_the_bill(&key).await;
    assert!(settled <= 1_000_000_000, "{settled}");
    assert!(settled >= 700_000_000, "most of it is spent: {settled}");
    assert!(count(200) >= 5, "{:?}", answers.iter().map(|answer| answer.status).collect::<Vec<_>>());
    assert!(answers.iter().all(|answer| [200, 402, 502, 503, 504].contains(&answer.status)), "{answers:?}");
}

#[tokio::test]
async fn each_call_that_may_have_cost_is_in_the_ledger_by_itself() {
    let stand = Stand::with_config(&format!("{NO_BREAKER}{}", safe_aliases())).await;
    let key = stand.create_key(&["--budget", "1.00/day"]).await;
    for (model, name) in FIRST {
        for stream in [false, true] {
            stand.mock.reset();
            stand.mock.script_model(model, billed_and_cut());
            stand.mock.script_model("gpt-4o-mini", ten_in_fifty_out());
            let before = nanos(&stand.usage(&key).await["settled_nanos"]);
            let answer = stand.chat_as(&key, with_limit(asked(&format!("safe-{model}"), stream), 50)).await;
            assert_eq!((answer.status, stand.mock.stats().calls), (200, 4), "{name}: {answer:?}");
            let settled = stand.ledger_covers_the_bill(&key).await;
            assert!(settled - before >= stand.bill_nanos(), "{name}: {} of {}", settled - before, stand.bill_nanos());

            let explained = stand.explain(&key, &answer).await;
            let calls = explained["facts"]["calls"].as_array().unwrap_or_else(|| panic!("{explained}"));
            let told: Vec<_> =
                calls.iter().map(|call| (call["model"].as_str().unwrap(), call["outcome"].as_str().unwrap())).collect();
            assert_eq!(told, [(model, "cut"), (model, "cut"), (model, "cut"), ("gpt-4o-mini", "complete")]);
            let cost: i64 = calls.iter().map(|call| nanos(&call["cost_nanos"])).sum();
            assert_eq!(cost, settled - before, "{explained}");
            assert!(explained["text"].as_str().unwrap().contains("made 4 calls"), "{explained}");
            assert_eq!(explained["facts"]["model"], "gpt-4o-mini");

            let trace = stand.trace(answer.header("x-privet-trace-id").unwrap()).await;
            let costs = trace["observations"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|step| step["calculatedTotalCost"].as_f64());
            #[expect(clippy::cast_precision_loss, reason = "a few cents")]
            let dollars = cost as f64 / 1e9;
            assert!((costs.sum::<f64>() - dollars).abs() < 1e-9, "the trace has all of it: {trace}");
        }
    }
}

#[tokio::test]
async fn a_call_that_surely_cost_nothing_leaves_its_hold_to_the_next() {
    let stand = Stand::start().await;
    let key = stand.create_key(&["--budget", "1.00/day"]).await;
    stand.mock.script_once(Behaviour::error(500));
    stand.mock.script_once(Behaviour::error(503));
    stand.mock.script(ten_in_fifty_out());
    let answer = stand.chat_as(&key, with_limit(ask("openai/gpt-4o", "x"), 50)).await;
    assert_eq!((answer.status, stand.mock.stats().calls), (200, 3));
    let usage = stand.usage(&key).await;
    assert_eq!((&usage["calls"], &usage["settled_nanos"]), (&json!(1), &json!(CALL_NANOS)));
    assert_eq!(stand.explain(&key, &answer).await["facts"]["calls"], Value::Null, "one call in the ledger");
}

#[tokio::test]
async fn a_budget_that_affords_one_call_is_not_stretched_for_a_second() {
    let stand = Stand::with_config(&format!("{NO_BREAKER}{}", safe_aliases())).await;
    // What may be held is more than the 50 tokens out: the input is bounded by its bytes.
    let key = stand.create_key(&["--budget", "0.00065/day"]).await;
    stand.mock.script_model("gpt-4o", billed_and_cut());
    let answer = stand.chat_as(&key, with_limit(ask("safe-gpt-4o", "x"), 50)).await;
    assert_eq!((answer.status, stand.mock.stats().calls), (502, 1), "{answer:?}");
    assert!(answer.text().contains("cut in the middle"), "the failure is told, not the lack of money: {answer:?}");
    let settled = stand.ledger_covers_the_bill(&key).await;
    assert!(settled <= 650_000, "{settled}");
    assert_eq!(stand.conversations().await, 0, "nothing half is left");
}

#[tokio::test]
async fn wire_33_a_target_without_a_price_is_passed_over_under_a_budget() {
    let toml = "[models]\nsafe = [\"openai/nobody-knows\", \"openai/gpt-4o\"]\nback = [\"openai/gpt-4o\", \"openai/nobody-knows\"]\n";
    let stand = Stand::with_config(&format!("{CALLED_ONCE}{toml}")).await;
    let key = stand.create_key(&["--budget", "1.00/day"]).await;
    let answer = stand.chat_as(&key, ask("safe", "x")).await;
    assert_eq!((answer.status, answered_by(&answer).as_str()), (200, "openai/gpt-4o"), "{answer:?}");
    assert_eq!(attempts(&answer)[0], "openai/nobody-knows;skipped=unpriced");
    stand.mock.script_model("gpt-4o", Behaviour::error(500));
    let answer = stand.chat_as(&key, ask("back", "x")).await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert_eq!(attempts(&answer)[1], "openai/nobody-knows;skipped=unpriced");
    assert!(!stand.mock.stats().by_model.contains_key("nobody-knows"));
    assert_eq!(stand.chat_as(&key, ask("openai/nobody-knows", "x")).await.status, 403, "alone it is refused aloud");
}

#[tokio::test]
async fn a_fallback_counts_no_tokens_twice_and_keeps_its_place() {
    let stand = Stand::with_config(&format!("{CALLED_ONCE}{NO_BREAKER}{}", safe_aliases())).await;
    stand.mock.script_model("gpt-4o", Behaviour::error(500));
    stand.mock.script_model("gpt-4o-mini", ten_in_fifty_out());
    let key = stand.create_key(&["--token-rate", "120/1m", "--concurrency", "1"]).await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(stand.chat_as(&key, ask("safe-gpt-4o", "x")).await.status);
    }
    assert_eq!(statuses, [200, 200, 429], "60 tokens a request");
}

/// Two targets of which the first takes its time.
const HEDGED: &str = "[models.hedged]\ntargets = [\"openai/gpt-4o\"]\nfallbacks = [\"anthropic/claude-sonnet-4-5\"]\n\
                      hedge_after = \"300ms\"\n[models.same]\ntargets = [\"openai/gpt-4o\"]\nhedge_after = \"300ms\"\n";

#[tokio::test]
async fn the_faster_of_two_calls_answers_and_the_other_is_cancelled_and_paid() {
    let stand = Stand::with_config(HEDGED).await;
    let key = stand.create_key(&["--budget", "1.00/day"]).await;
    for stream in [false, true] {
        stand.mock.reset();
        stand.mock.script_model("gpt-4o", ten_in_fifty_out().hang().bill_in_full_on_cancel());
        stand.mock.script_model("claude-sonnet-4-5", ten_in_fifty_out());
        let before = nanos(&stand.usage(&key).await["settled_nanos"]);
        let began = Instant::now();
        let answer = stand.chat_as(&key, with_limit(asked("hedged", stream), 50)).await;
        let elapsed = began.elapsed();
        assert_eq!((answer.status, answered_by(&answer).as_str()), (200, "anthropic/claude-sonnet-4-5"), "{answer:?}");
        assert!(elapsed >= Duration::from_millis(300) && elapsed < Duration::from_secs(3), "{elapsed:?}");
        assert_eq!(attempts(&answer), ["openai/gpt-4o;overtaken", "anthropic/claude-sonnet-4-5;status=200"]);
        let stats = stand.mock.wait_for(|stats| stats.in_flight == 0).await;
        assert_eq!((stats.cancelled, stats.completed), (1, 1));
        let settled = stand.ledger_covers_the_bill(&key).await - before;
        assert!(settled >= stand.bill_nanos(), "{settled} of {}", stand.bill_nanos());
        let explained = stand.explain(&key, &answer).await;
        assert_eq!(explained["facts"]["calls"].as_array().unwrap().len(), 2, "{explained}");
        assert_eq!(stand.thread(&answer.conversation()).await, ["user: x", "assistant: ok"]);
    }
}

#[tokio::test]
async fn the_same_target_is_asked_twice_where_there_is_no_other_and_a_fast_one_once() {
    let stand = Stand::with_config(HEDGED).await;
    stand.mock.script_model_once("gpt-4o", ten_in_fifty_out().hang());
    let answer = stand.chat(ask_streamed("same", "x")).await;
    assert_eq!((answer.status, stand.mock.stats().calls), (200, 2), "{answer:?}");
    assert_eq!(attempts(&answer), ["openai/gpt-4o;overtaken", "openai/gpt-4o;status=200"]);
    stand.mock.wait_for(|stats| stats.in_flight == 0).await;
    stand.mock.reset();
    assert_eq!(stand.chat(ask("same", "x")).await.status, 200);
    assert_eq!(stand.mock.stats().calls, 1, "who answers in time is not overtaken");
}

#[tokio::test]
async fn of_two_calls_that_race_one_may_fail_and_both_too() {
    let stand = Stand::with_config(&format!("{CALLED_ONCE}{NO_BREAKER}{HEDGED}")).await;
    let late_error = |status| Behaviour { first_byte_delay_ms: 600, ..Behaviour::error(status) };
    let late = ten_in_fifty_out().first_byte_delay_ms(1_000);
    for (first, second, status, by) in [
        (late_error(500), late.clone(), 200, "anthropic/claude-sonnet-4-5"),
        (late.clone(), Behaviour::error(500), 200, "openai/gpt-4o"),
        (late_error(503), late_error(500), 502, "/"),
    ] {
        for stream in [false, true] {
            stand.mock.reset();
            stand.mock.script_model("gpt-4o", first.clone());
            stand.mock.script_model("claude-sonnet-4-5", second.clone());
            let answer = stand.chat(asked("hedged", stream)).await;
            assert_eq!((answer.status, answered_by(&answer).as_str()), (status, by), "{answer:?}");
            assert_eq!((stand.mock.stats().calls, attempts(&answer).len()), (2, 2), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn no_second_call_is_made_without_money_or_a_place_for_it() {
    let stand = Stand::with_config(HEDGED).await;
    let slow = ten_in_fifty_out().first_byte_delay_ms(900);
    stand.mock.script(slow);
    let poor = stand.create_key(&["--budget", "0.00065/day"]).await;
    let narrow = stand.create_key(&["--concurrency", "1"]).await;
    for key in [&poor, &narrow] {
        stand.mock.reset();
        stand.mock.script(ten_in_fifty_out().first_byte_delay_ms(900));
        let answer = stand.chat_as(key, with_limit(ask("same", "x"), 50)).await;
        assert_eq!((answer.status, stand.mock.stats().calls), (200, 1), "{answer:?}");
    }
    assert_eq!(nanos(&stand.usage(&poor).await["settled_nanos"]), CALL_NANOS);
}

#[tokio::test]
async fn fault_19_a_client_that_leaves_a_race_cancels_both_calls_and_both_are_paid() {
    let stand = Stand::with_config(HEDGED).await;
    let key = stand.create_key(&["--budget", "1.00/day"]).await;
    for stream in [false, true] {
        stand.mock.reset();
        stand.mock.script(ten_in_fifty_out().hang().bill_in_full_on_cancel());
        let before = nanos(&stand.usage(&key).await["settled_nanos"]);
        let request = stand.client.post(format!("{}/v1/chat/completions", stand.server.url())).bearer_auth(&key.text);
        let body = with_limit(asked("hedged", stream), 50).to_string();
        let waiting = tokio::spawn(request.header("content-type", "application/json").body(body).send());
        stand.mock.wait_for(|stats| stats.in_flight == 2).await;
        let left = Instant::now();
        waiting.abort();
        stand.mock.wait_for(|stats| stats.cancelled == 2).await;
        assert!(left.elapsed() < Duration::from_millis(500), "{:?}", left.elapsed());
        let settled = async {
            loop {
                let settled = stand.ledger_covers_the_bill_since(&key, before).await;
                if settled >= stand.bill_nanos() {
                    return settled;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), settled).await.unwrap();
    }
    assert_eq!(stand.conversations().await, 0);
}

impl Stand {
    /// What was settled since then, once nothing is held.
    async fn ledger_covers_the_bill_since(&self, key: &crate::money::Key, before: i64) -> i64 {
        let usage = self.usage(key).await;
        if usage["held_nanos"] == 0 { nanos(&usage["settled_nanos"]) - before } else { 0 }
    }

    /// Sends a chat that nobody waits for.
    fn begin_chat(
        &self,
        key: &str,
        body: &Value,
    ) -> tokio::task::JoinHandle<Result<reqwest::Response, reqwest::Error>> {
        let request = self.client.post(format!("{}/v1/chat/completions", self.server.url())).bearer_auth(key);
        tokio::spawn(request.header("content-type", "application/json").body(body.to_string()).send())
    }
}

/// A provider that asks to wait, so that the server pauses before it calls again.
fn pausing() -> Behaviour {
    Behaviour::error(503).header("retry-after", "4")
}

#[tokio::test]
async fn fault_19_a_client_that_leaves_during_a_pause_ends_it_and_frees_its_money() {
    let stand = Stand::start().await;
    let key = stand.create_key(&["--budget", "1.00/day"]).await;
    for stream in [false, true] {
        stand.mock.reset();
        stand.mock.script_once(pausing());
        let waiting = stand.begin_chat(&key.text, &with_limit(asked("openai/gpt-4o", stream), 50));
        stand.mock.wait_for(|stats| stats.failed == 1).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(nanos(&stand.usage(&key).await["held_nanos"]) > 0, "it pauses with its hold");
        let left = Instant::now();
        waiting.abort();
        let freed = async {
            while stand.usage(&key).await["held_nanos"] != 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), freed).await.unwrap();
        assert!(left.elapsed() < Duration::from_millis(500), "{:?}", left.elapsed());
    }
    assert_eq!(stand.usage(&key).await["settled_nanos"], 0);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(stand.mock.stats().calls, 1, "it is not called again");
    assert_eq!(stand.conversations().await, 0);
}

#[tokio::test]
async fn a_revoked_key_and_a_server_that_stops_end_a_pause() {
    let mut stand = Stand::with_config("[server]\ndrain_timeout = \"300ms\"\n").await;
    let key = stand.create_key(&[]).await;
    stand.mock.script(pausing());
    let waiting = stand.begin_chat(&key.text, &ask("openai/gpt-4o", "x"));
    stand.mock.wait_for(|stats| stats.failed == 1).await;
    assert!(stand.privet(&["keys", "revoke", &key.id]).await.status.success());
    let answer = tokio::time::timeout(Duration::from_secs(3), waiting).await.unwrap().unwrap().unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["x-privet-gate"].to_str().unwrap()), (503, "switch"));

    let own = stand.server.key().to_owned();
    let waiting = stand.begin_chat(&own, &ask_streamed("openai/gpt-4o", "x"));
    stand.mock.wait_for(|stats| stats.failed == 2).await;
    let began = Instant::now();
    assert!(stand.server.terminate().await.unwrap().success());
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let answer = waiting.await.unwrap().unwrap();
    assert_eq!(answer.status().as_u16(), 503, "{answer:?}");
    assert_eq!(stand.mock.stats().calls, 2);
}

#[tokio::test]
async fn fault_10_killed_between_two_calls_the_first_is_settled_and_the_second_is_held() {
    let mut stand = Stand::with_config(&format!("{CALLED_ONCE}{NO_BREAKER}{}", safe_aliases())).await;
    let key = stand.create_key(&["--budget", "1.00/day"]).await;
    stand.mock.script_model("gpt-4o", billed_and_cut());
    stand.mock.script_model("gpt-4o-mini", ten_in_fifty_out().hang().bill_in_full_on_cancel());
    let waiting = stand.begin_chat(&key.text, &with_limit(ask("safe-gpt-4o", "x"), 50));
    stand.mock.wait_for(|stats| stats.by_model.get("gpt-4o-mini").is_some_and(|model| model.calls == 1)).await;
    stand.server.kill_dash_9().await.unwrap();
    assert!(waiting.await.unwrap().is_err(), "nobody answered");
    stand.server.restart().await;
    stand.mock.wait_for(|stats| stats.in_flight == 0).await;
    let usage = stand.usage(&key).await;
    let (settled, held) = (nanos(&usage["settled_nanos"]), nanos(&usage["held_nanos"]));
    let bill = |model: &str| i64::try_from(stand.mock.stats().by_model[model].bill_nanos).unwrap();
    assert!(settled >= bill("gpt-4o") && held >= bill("gpt-4o-mini"), "{settled} settled, {held} held");
    assert!(stand.privet(&["reconcile", "charge"]).await.status.success());
    let usage = stand.usage(&key).await;
    assert_eq!((nanos(&usage["settled_nanos"]), &usage["held_nanos"]), (settled + held, &json!(0)));
}

#[tokio::test]
async fn embeddings_that_fail_over_are_paid_as_they_are_billed() {
    let stand = Stand::with_config(NO_BREAKER).await;
    let key = stand.create_key(&["--budget", "1.00/day"]).await;
    let billed = Behaviour::new().cut_after_chunks(0).bill_in_full_on_failure();
    stand.mock.script_once(billed.clone());
    stand.mock.script_once(billed);
    let body = json!({"model": "openai/text-embedding-3-small", "input": "a few words to embed"}).to_string();
    let request = stand.client.post(format!("{}/v1/embeddings", stand.server.url())).bearer_auth(&key.text);
    let answer = Answer::of(request.header("content-type", "application/json").body(body)).await;
    assert_eq!((answer.status, stand.mock.stats().calls), (200, 3), "{answer:?}");
    stand.ledger_covers_the_bill(&key).await;
    assert_eq!(stand.explain(&key, &answer).await["facts"]["calls"].as_array().unwrap().len(), 3);
}
