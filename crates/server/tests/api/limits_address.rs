//! The limits of a client's address: what is refused before a key is looked at, and what its headers say.
//!
//! All tests connect from one address; where several are needed, a trusted proxy is played by `X-Forwarded-For`.

use futures_util::future::join_all;
use privet_testkit::upstream::Behaviour;
use reqwest::{Method, RequestBuilder};
use serde_json::json;

use crate::stand::{Answer, CALLED_ONCE, Stand, ask};

const TOO_MANY: &str = r#"{"error":"Too many requests"}"#;

fn say() -> String {
    json!({"messages": [{"role": "user", "content": "hey"}]}).to_string()
}

/// A chat that comes through a proxy from this address.
fn chat_from(stand: &Stand, address: &str) -> RequestBuilder {
    stand.post("/api/chat", say()).header("x-forwarded-for", address)
}

/// The models, asked for with a key through a proxy from this address.
async fn models_from(stand: &Stand, address: &str, key: &str) -> Answer {
    let url = format!("{}/v1/models", stand.server.url());
    Answer::of(stand.client.get(url).bearer_auth(key).header("x-forwarded-for", address)).await
}

fn number(answer: &Answer, header: &str) -> u64 {
    let text = answer.header(header).unwrap_or_else(|| panic!("no {header}: {answer:?}"));
    text.parse().unwrap_or_else(|_| panic!("{header}: {text}"))
}

#[tokio::test]
async fn one_chat_in_ten_seconds_is_served_and_the_next_is_refused_in_the_lessons_words() {
    let stand = Stand::guarded("").await;
    let served = stand.lesson(json!({"messages": [{"role": "user", "content": "hey"}]})).await;
    assert_eq!(served.status, 200, "{served:?}");
    let told = ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "ratelimit-policy"];
    assert_eq!(told.map(|name| served.header(name).unwrap()), ["1", "0", "10", "1;w=10"]);
    let told = ["limit", "remaining", "reset"].map(|what| format!("x-ratelimit-{what}-requests"));
    assert_eq!(told.map(|name| served.header(&name).unwrap()), ["1", "0", "10s"]);
    assert_eq!((served.header("retry-after"), served.header("x-privet-gate")), (None, None));

    let refused = stand.lesson(json!({"messages": [{"role": "user", "content": "hey"}]})).await;
    assert_eq!((refused.status, refused.text()), (429, TOO_MANY));
    assert_eq!(refused.header("content-type"), Some("application/json"));
    assert_eq!(refused.header("x-privet-gate"), Some("address"));
    assert!((1..=10).contains(&number(&refused, "retry-after")), "{refused:?}");
    assert_eq!(number(&refused, "ratelimit-reset"), number(&refused, "retry-after"));
    let told = ["ratelimit-limit", "ratelimit-remaining", "ratelimit-policy", "x-ratelimit-remaining-requests"];
    assert_eq!(told.map(|name| refused.header(name).unwrap()), ["1", "0", "1;w=10", "0"]);
    assert_eq!(stand.mock.stats().calls, 1);
    let metrics = stand.get("/metrics").await;
    assert!(metrics.text().contains("privet_refusals_total{gate=\"address\"} 1"), "{}", metrics.text());
}

#[tokio::test]
async fn a_stream_and_another_route_tell_and_keep_limits_of_their_own() {
    let stand = Stand::guarded("[limits]\naddress = { api = \"5/1m\" }\n").await;
    let streamed = json!({"messages": [{"role": "user", "content": "hey"}], "stream": true});
    let streamed = stand.lesson(streamed).await;
    assert_eq!((streamed.status, streamed.header("ratelimit-policy")), (200, Some("1;w=10")));
    let other = stand.chat(ask("gpt-4o", "x")).await;
    assert_eq!((other.status, other.header("ratelimit-policy")), (200, Some("5;w=60")));
    // What the provider said of its tokens stays, what it said of its requests gives way.
    let told = ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-limit-tokens"];
    assert_eq!(told.map(|name| other.header(name).unwrap()), ["5", "4", "2000000"]);
}

#[tokio::test]
async fn a_request_is_counted_whatever_becomes_of_it() {
    for (case, status) in [("wrong key", 401), ("no key", 401), ("wrong body", 400), ("failing provider", 500)] {
        let stand = Stand::guarded(CALLED_ONCE).await;
        stand.mock.script_once(Behaviour::error(503));
        let url = format!("{}/api/chat", stand.server.url());
        let first = match case {
            "wrong key" => stand.client.post(url).bearer_auth("wrong").body(say()),
            "no key" => stand.client.post(url).body(say()),
            "wrong body" => stand.post("/api/chat", "{"),
            _ => stand.post("/api/chat", say()),
        };
        let first = Answer::of(first).await;
        assert_eq!((first.status, first.header("ratelimit-remaining")), (status, Some("0")), "{case}");
        let calls = stand.mock.stats().calls;
        let second = Answer::of(stand.post("/api/chat", say())).await;
        assert_eq!((second.status, stand.mock.stats().calls), (429, calls), "{case}");
    }
}

#[tokio::test]
async fn fault_06_headers_of_somebody_who_is_not_trusted_change_nothing() {
    let stand = Stand::guarded("[server]\ntrusted_proxies = \"10.0.0.0/8, cloudflare\"\n").await;
    assert_eq!(Answer::of(stand.post("/api/chat", say())).await.status, 200);
    for forged in 0..100_u8 {
        let address = format!("198.51.100.{forged}");
        let request = stand.post("/api/chat", say());
        let request = match forged % 5 {
            0 => request.header("x-forwarded-for", address),
            1 => request.header("cf-connecting-ip", address),
            2 => request.header("forwarded", format!("for={address}")),
            3 => request.header("x-forwarded-for", address).header("x-forwarded-for", "10.0.0.1"),
            _ => request.header("x-real-ip", &address).header("true-client-ip", address),
        };
        assert_eq!(Answer::of(request).await.status, 429, "{forged}");
    }
    assert_eq!(stand.mock.stats().calls, 1);
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_its_own_limit_and_no_prefix_lifts_it() {
    for trusted in ["1", "127.0.0.0/8"] {
        let stand = Stand::guarded(&format!("[server]\ntrusted_proxies = \"{trusted}\"\n")).await;
        for address in ["198.51.100.1", "198.51.100.2", "2001:db8:0:1::1", "2001:db8:0:2::1"] {
            assert_eq!(Answer::of(chat_from(&stand, address)).await.status, 200, "{address}");
        }
        assert_eq!(Answer::of(chat_from(&stand, "2001:db8:0:1:2:3:4:5")).await.status, 429, "one network");
        for forged in 0..50_u8 {
            let prefix = format!("203.0.113.{forged}, 198.51.100.1");
            let request = match forged % 3 {
                0 => chat_from(&stand, &prefix),
                1 => chat_from(&stand, &format!("203.0.113.{forged}")).header("x-forwarded-for", "198.51.100.1"),
                _ => chat_from(&stand, &prefix).header("cf-connecting-ip", "203.0.113.1").header("forwarded", "for=x"),
            };
            assert_eq!(Answer::of(request).await.status, 429, "{trusted}: {forged}");
        }
        assert_eq!(stand.mock.stats().calls, 4);
    }
}

#[tokio::test]
async fn fault_05_a_thousand_wrong_keys_are_stopped_and_another_address_notices_nothing() {
    let stand = Stand::guarded("[server]\ntrusted_proxies = 1\n").await;
    let mut refused = 0;
    for batch in 0..50 {
        let tries = (0..20).map(|n| {
            let (stand, key) = (&stand, format!("wrong-{batch}-{n}"));
            async move { models_from(stand, "198.51.100.1", &key).await }
        });
        for answer in join_all(tries).await {
            match answer.status {
                429 => refused += 1,
                status => assert_eq!(status, 401),
            }
        }
        let mine = models_from(&stand, "198.51.100.2", stand.server.key()).await;
        assert_eq!((mine.status, mine.header("ratelimit-limit")), (200, None));
    }
    assert!(refused >= 990, "{refused} of 1000");
    // Not even the right key is looked at: whoever guesses learns nothing.
    let blocked = models_from(&stand, "198.51.100.1", stand.server.key()).await;
    assert_eq!((blocked.status, blocked.header("x-privet-gate")), (429, Some("address")));
    assert!((1..=12).contains(&number(&blocked, "retry-after")), "{blocked:?}");
    assert_eq!(blocked.header("ratelimit-policy"), Some("5;w=60"));
    let error = blocked.json()["error"].clone();
    assert_eq!((error["code"].as_str(), error["type"].as_str()), (Some("rate_limited"), Some("rate_limit_error")));
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("Too many wrong keys from your address: it may try 5/1m. Repeat"), "{message}");
    assert_eq!(stand.mock.stats().calls, 0);
}

#[tokio::test]
async fn right_keys_and_missing_ones_count_as_no_guess() {
    let stand = Stand::guarded("[limits]\naddress = { refused = \"2/1h\" }\n").await;
    let url = format!("{}/v1/models", stand.server.url());
    for _ in 0..10 {
        assert_eq!(stand.get("/v1/models").await.status, 200);
        assert_eq!(Answer::of(stand.client.get(&url)).await.status, 401);
    }
    for expected in [401, 401, 429] {
        assert_eq!(Answer::of(stand.client.get(&url).bearer_auth("wrong")).await.status, expected);
    }
}

#[tokio::test]
async fn routes_with_a_key_share_a_limit_that_lets_exactly_its_number_through() {
    let stand = Stand::guarded("[limits.address]\napi = \"20/1h\"\n").await;
    let at_once = (0..100).map(|_| stand.chat(ask("gpt-4o", "x")));
    let statuses: Vec<u16> = join_all(at_once).await.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses.iter().filter(|&&status| status == 200).count(), 20);
    assert_eq!(statuses.iter().filter(|&&status| status == 429).count(), 80);
    assert_eq!(stand.mock.stats().calls, 20);
    let native = stand.get("/api/conversations").await;
    assert_eq!((native.status, native.json()["code"].as_str()), (429, Some("rate_limited")));
    let message = native.json()["error"].as_str().unwrap().to_owned();
    assert!(message.starts_with("Too many requests from your address: it may send 20/1h here. Repeat"), "{message}");
    for open in ["/healthz", "/readyz", "/metrics", "/openapi.json"] {
        assert_eq!(stand.get(open).await.status, 200, "{open}");
    }
}

#[tokio::test]
async fn a_chat_in_the_terminal_makes_the_pause_that_the_server_asks_for() {
    let stand = Stand::guarded("[limits]\naddress = { chat = \"1/2s\" }\n").await;
    let before = stand.lesson(json!({"messages": [{"role": "user", "content": "hey"}]})).await;
    assert_eq!(before.status, 200);
    let arguments = ["chat", "--url", stand.server.url(), "--key", stand.server.key(), "hello"];
    let output = crate::stand::run(&arguments, &[]).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(stand.mock.stats().calls, 2);
}

#[tokio::test]
async fn the_limits_are_shown_with_their_origin() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("privet.toml");
    std::fs::write(
        &file,
        "[limits]\naddress = { chat = \"5/1m\" }\n[[budgets]]\nlimit = \"10/month\"\nuser = \"ola\"\n",
    )
    .unwrap();
    let file = file.display().to_string();
    let output = crate::stand::run(&["config", "show", "--origin", "--config", &file], &[]).await;
    let shown = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    let chat_origin = format!("{file}:2");
    assert!(lines.contains(&vec!["limits.address.chat", "5/1m", "#", &chat_origin]), "{shown}");
    assert!(lines.contains(&vec!["limits.address.refused", "5/1m", "#", "default"]), "{shown}");
    let budget_origin = format!("{file}:3");
    assert!(lines.contains(&vec!["budgets.user/ola/month", "10.00/month", "UTC", "#", &budget_origin]), "{shown}");
}

#[tokio::test]
async fn a_method_that_the_route_does_not_take_costs_nothing() {
    let stand = Stand::guarded("").await;
    assert_eq!(Answer::of(stand.request(Method::GET, "/api/chat")).await.status, 405);
    assert_eq!(Answer::of(stand.post("/api/chat", say())).await.status, 200);
}
