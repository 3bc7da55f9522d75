//! Keys that take turns, breakers, and the health that administrators see.

use std::collections::BTreeMap;
use std::time::Duration;

use privet_testkit::upstream::{Behaviour, MockUpstream};
use serde_json::{Value, json};

use crate::routing::{answered_by, attempts};
use crate::stand::{Answer, CALLED_ONCE, Stand, ask, ask_streamed, builder, client};

const KEYS: [&str; 3] = ["sk-canary-one-5d1f", "sk-canary-two-5d1f", "sk-canary-three-5d1f"];

/// A server whose providers have three keys each.
async fn with_three_keys(toml: &str) -> Stand {
    let mock = MockUpstream::start().await;
    let mut server = builder(&mock);
    for provider in ["OPENAI", "ANTHROPIC", "GEMINI"] {
        server = server.env_remove(&format!("{provider}_API_KEY")).env(format!("{provider}_API_KEYS"), KEYS.join(", "));
    }
    let server = server.config_toml(toml).start().await;
    Stand { mock, server, client: client() }
}

impl Stand {
    /// How often each key was presented, in the order of [`KEYS`].
    fn presented(&self) -> Vec<usize> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for request in self.mock.requests() {
            let header =
                ["authorization", "x-api-key", "x-goog-api-key"].iter().find_map(|name| request.headers.get(*name));
            *counts.entry(header.unwrap().trim_start_matches("Bearer ").to_owned()).or_default() += 1;
        }
        KEYS.iter().map(|key| counts.get(*key).copied().unwrap_or_default()).collect()
    }

    /// What `GET /api/providers` says of a provider.
    async fn health(&self, admin: &str, provider: &str) -> Value {
        let request = self.client.get(format!("{}/api/providers", self.server.url())).bearer_auth(admin);
        let answer = Answer::of(request).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(!answer.text().contains("canary"), "a provider's key is told: {answer:?}");
        let list = answer.json()["data"].as_array().unwrap().clone();
        list.into_iter().find(|one| one["name"] == provider).unwrap()
    }
}

const MODELS: [(&str, &str); 3] =
    [("openai", "openai/gpt-4o"), ("anthropic", "anthropic/claude-sonnet-4-5"), ("gemini", "gemini/gemini-2.5-flash")];

#[tokio::test]
async fn keys_take_turns_and_one_that_is_limited_or_refused_gives_way_at_once() {
    let stand = with_three_keys("").await;
    let admin = stand.admin().await;
    for (provider, model) in MODELS {
        stand.mock.reset();
        for _ in 0..6 {
            assert_eq!(stand.chat(ask(model, "x")).await.status, 200);
        }
        assert_eq!(stand.presented(), [2, 2, 2], "{provider}");

        stand.mock.reset();
        stand.mock.script_once(Behaviour::error(429).header("retry-after", "60"));
        stand.mock.script_once(Behaviour::error(401).error_message("bad key sk-canary-two-5d1f"));
        let began = std::time::Instant::now();
        let answer = stand.chat(ask(model, "x")).await;
        assert_eq!((answer.status, stand.mock.stats().calls), (200, 3), "{provider}: {answer:?}");
        assert!(began.elapsed() < Duration::from_secs(1), "another key does not wait");
        let told = attempts(&answer);
        assert!(told[0].ends_with("error=limited;then=other-key"), "{told:?}");
        assert!(told[1].ends_with("error=key_refused;then=other-key"), "{told:?}");
        stand.mock.reset();
        for _ in 0..4 {
            assert_eq!(stand.chat(ask_streamed(model, "x")).await.status, 200);
        }
        let presented = stand.presented();
        assert_eq!(
            (presented.iter().max(), presented.iter().sum()),
            (Some(&4), 4),
            "the one that is left: {presented:?}"
        );
        assert_eq!(stand.health(&admin, provider).await["keys"], json!({"count": 3, "aside": 2}));
    }
    assert!(!stand.server.logs().contains("canary"), "{}", stand.server.logs());
}

#[tokio::test]
async fn when_every_key_is_limited_the_client_is_told_how_long() {
    let stand = with_three_keys("").await;
    stand.mock.script(Behaviour::error(429).header("retry-after", "30"));
    let answer = stand.chat(ask("openai/gpt-4o", "x")).await;
    assert_eq!((answer.status, answer.header("retry-after"), stand.mock.stats().calls), (429, Some("30"), 3));
    assert_eq!(stand.presented(), [1, 1, 1]);
    stand.mock.reset();
    stand.mock.script(Behaviour::error(429).header("retry-after", "30"));
    assert_eq!(stand.chat(ask("openai/gpt-4o", "x")).await.status, 429);
    assert_eq!(stand.mock.stats().calls, 1, "one that is aside is asked, because there is no other");
    stand.mock.reset();
    assert_eq!(stand.chat(ask("openai/gpt-4o", "x")).await.status, 200, "who answers is taken back");
}

const BREAKER: &str = "[routing]\nretries = 0\n[routing.breaker]\ncalls = 4\npause = \"1s\"\n\
                       [models]\nsafe = [\"openai/gpt-4o\", \"anthropic/claude-sonnet-4-5\"]\n";

#[tokio::test]
async fn a_breaker_opens_is_tried_and_closes() {
    let stand = Stand::with_config(BREAKER).await;
    let admin = stand.admin().await;
    let state = async || stand.health(&admin, "openai").await["models"][0]["state"].as_str().unwrap().to_owned();
    stand.mock.script_model("gpt-4o", Behaviour::error(500).error_message("ask ann@example.org"));
    for _ in 0..4 {
        let answer = stand.chat(ask("safe", "x")).await;
        assert_eq!(answered_by(&answer), "anthropic/claude-sonnet-4-5");
    }
    let health = stand.health(&admin, "openai").await;
    let model = &health["models"][0];
    assert_eq!((&model["model"], &model["state"]), (&json!("gpt-4o"), &json!("open")), "{health}");
    let error = &model["last_error"];
    assert_eq!((&error["kind"], &error["status"]), (&json!("server"), &json!(500)), "{health}");
    assert!(error["text"].as_str().unwrap().contains("[email]") && !health.to_string().contains("ann@"), "{health}");

    for _ in 0..5 {
        let answer = stand.chat(ask("safe", "x")).await;
        assert_eq!((answered_by(&answer).as_str(), attempts(&answer).len()), ("anthropic/claude-sonnet-4-5", 0));
    }
    assert_eq!(stand.mock.stats().by_model["gpt-4o"].calls, 4, "it is passed over");

    // Its pause is half a second to one and a half.
    tokio::time::sleep(Duration::from_millis(1_600)).await;
    assert_eq!(state().await, "half_open");
    stand.chat(ask("safe", "x")).await;
    assert_eq!((state().await.as_str(), stand.mock.stats().by_model["gpt-4o"].calls), ("open", 5), "a bad try");
    tokio::time::sleep(Duration::from_millis(3_100)).await;
    stand.mock.script_model("gpt-4o", Behaviour::new());
    let answer = stand.chat(ask("safe", "x")).await;
    assert_eq!((answered_by(&answer).as_str(), state().await.as_str()), ("openai/gpt-4o", "closed"), "a good one");
    let model = stand.health(&admin, "openai").await["models"][0].clone();
    assert!(model["p50_ms"].is_u64() && model["error_rate"] == 0.0 && model["calls"] == 1, "{model}");
}

#[tokio::test]
async fn a_slow_model_is_passed_over_too() {
    let toml = BREAKER.replace("calls = 4", "calls = 4\nslow_after = \"300ms\"");
    let stand = Stand::with_config(&toml).await;
    stand.mock.script_model("gpt-4o", Behaviour::new().first_byte_delay_ms(350));
    for stream in [false, true, false, true] {
        let answer = stand.chat(crate::routing::asked("safe", stream)).await;
        assert_eq!(answered_by(&answer), "openai/gpt-4o");
    }
    assert_eq!(answered_by(&stand.chat(ask("safe", "x")).await), "anthropic/claude-sonnet-4-5");
}

#[tokio::test]
async fn a_model_that_has_no_other_is_called_whatever_its_breaker_says() {
    let stand = Stand::with_config(BREAKER).await;
    stand.mock.script(Behaviour::error(500));
    for _ in 0..6 {
        assert_eq!(stand.chat(ask("openai/gpt-4o", "x")).await.status, 502);
    }
    assert_eq!(stand.mock.stats().calls, 6);
    stand.mock.script(Behaviour::new());
    assert_eq!(stand.chat(ask("openai/gpt-4o", "x")).await.status, 200);
}

#[tokio::test]
async fn a_stream_that_is_cut_in_its_middle_counts_against_its_model() {
    let stand = Stand::with_config(BREAKER).await;
    let admin = stand.admin().await;
    stand.mock.script(Behaviour::text("one two three").cut_after_chunks(2));
    for _ in 0..3 {
        assert_eq!(stand.chat(ask_streamed("openai/gpt-4o", "x")).await.status, 200);
    }
    let counted = async {
        loop {
            let model = stand.health(&admin, "openai").await["models"][0].clone();
            if model["last_error"]["kind"] == "cut" {
                return model;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), counted).await.unwrap();
}

#[tokio::test]
async fn the_command_line_shows_the_health_of_a_running_server() {
    let stand = Stand::with_config(&format!(
        "{CALLED_ONCE}[models]\nsafe = [\"openai/gpt-4o\", \"gemini/gemini-2.5-flash\"]\n"
    ))
    .await;
    stand.mock.script_model("gpt-4o", Behaviour::error(503));
    stand.chat(ask("safe", "x")).await;
    let url = stand.server.url().to_owned();
    let text = stand.privet(&["providers", "--url", &url]).await;
    assert!(text.status.success(), "{text:?}");
    let said = String::from_utf8(text.stdout).unwrap();
    assert!(
        said.contains("openai (openai): 1 keys") && said.contains("gpt-4o: closed, 1 calls, 100 % failed"),
        "{said}"
    );
    assert!(said.contains("server at ") && said.contains("gemini-2.5-flash: closed, 1 calls, 0 % failed"), "{said}");
    let json = stand.privet(&["providers", "--url", &url, "--json"]).await;
    let list: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(list["data"].as_array().unwrap().len(), 3, "{list}");
    let wrong = stand.privet(&["providers", "--url", &url, "--key", "wrong"]).await;
    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
    let nobody = stand.privet(&["providers", "--url", "http://127.0.0.1:9"]).await;
    assert_eq!(nobody.status.code(), Some(69), "{nobody:?}");
}
