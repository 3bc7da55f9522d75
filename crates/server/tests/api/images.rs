//! Images and documents by URL: passed to providers that follow them, fetched for those that do not, and never from inside.

use privet_testkit::file_server::{FileServer, PNG};
use privet_testkit::upstream::{Behaviour, MockUpstream};
use serde_json::{Value, json};

use crate::routing::FIRST;
use crate::stand::{Answer, CALLED_ONCE, Stand, builder, client};

/// The server fetches for all three providers.
const FETCHED: &str = "[routing]\nretries = 0\n[providers.openai]\nimages_by_url = \"fetch\"\n\
                       [providers.anthropic]\nimages_by_url = \"fetch\"\n[providers.gemini]\nimages_by_url = \"fetch\"\n";
const HERE_ALLOWED: &str = "[images]\nallow = [\"127.0.0.1\"]\n";
const LOCALHOST: [u8; 4] = [127, 0, 0, 1];

fn looking_at(model: &str, urls: &[&str]) -> Value {
    let mut parts = vec![json!({"type": "text", "text": "What is it?"})];
    parts.extend(urls.iter().map(|url| json!({"type": "image_url", "image_url": {"url": url, "detail": "low"}})));
    json!({"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": parts}]})
}

fn message(answer: &Answer) -> String {
    answer.json()["error"]["message"].as_str().unwrap().to_owned()
}

/// The bytes as they stand in the body for a provider.
fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_STANDARD.encode(bytes)
}

#[tokio::test]
async fn a_url_is_passed_to_providers_that_follow_it() {
    let stand = Stand::with_config(&format!("{CALLED_ONCE}{HERE_ALLOWED}")).await;
    let files = FileServer::with_file(LOCALHOST, PNG).await;
    for (model, name) in FIRST {
        let url = files.url("a.png");
        let answer = stand.chat(looking_at(name, &[&url])).await;
        assert_eq!(answer.status, 200, "{model}: {answer:?}");
        assert!(stand.sent_chat().body.to_string().contains(&url), "{model}");
    }
    assert_eq!(files.connections(), 0, "nobody asked this server to look");
}

#[tokio::test]
async fn what_a_provider_does_not_follow_is_fetched_and_the_history_keeps_the_url() {
    let stand = Stand::with_config(&format!("{FETCHED}{HERE_ALLOWED}")).await;
    let files = FileServer::with_file(LOCALHOST, PNG).await;
    let (url, again) = (files.url("a"), files.url("b.png?signature=canary"));
    for (count, (model, name)) in FIRST.into_iter().enumerate() {
        let mut asked = looking_at(name, &[&url, &again, &url]);
        asked["stream"] = json!(count == 1);
        let answer = stand.chat(asked).await;
        assert_eq!(answer.status, 200, "{model}: {answer:?}");
        let sent = stand.sent_chat().body.to_string();
        assert_eq!((sent.matches(&base64_of(PNG)).count(), sent.contains("http")), (3, false), "{model}: {sent}");
        assert!(sent.contains("image/png") && sent.contains("What is it?"), "{sent}");
        assert_eq!(files.connections(), (count + 1) * 2, "each address once");
        let id = answer.conversation();
        let kept = stand.get(&format!("/api/conversations/{id}")).await.text().to_owned();
        assert!(kept.contains(&url) && !kept.contains(&base64_of(PNG)), "{kept}");
    }
    let trace = stand.get("/api/traces").await.text().to_owned();
    assert!(!trace.contains(&base64_of(PNG)));
}

#[tokio::test]
async fn a_conversation_goes_on_with_what_it_showed_before() {
    let stand = Stand::with_config(&format!("{FETCHED}{HERE_ALLOWED}")).await;
    let files = FileServer::with_file(LOCALHOST, PNG).await;
    let begun = stand.chat(looking_at("openai/gpt-4o", &[&files.url("a.png")])).await;
    let mut more = json!({"messages": [{"role": "user", "content": "And now?"}]});
    for (count, (_, name)) in FIRST.into_iter().enumerate() {
        more["model"] = json!(name);
        more["metadata"] = json!({"conversation_id": begun.conversation()});
        let answer = stand.chat(more.clone()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(stand.sent_chat().body.to_string().contains(&base64_of(PNG)));
        assert_eq!(files.connections(), count + 2);
    }
}

#[tokio::test]
async fn fault_25_no_provider_makes_this_server_look_inside() {
    let stand = Stand::with_config(&format!("{FETCHED}[images]\nplain_http = true\n")).await;
    let inside = FileServer::with_file(LOCALHOST, PNG).await;
    let port = inside.port();
    for (model, name) in FIRST {
        for url in [
            inside.url("a.png"),
            format!("http://2130706433:{port}/"),
            format!("http://0177.0.0.1:{port}/"),
            format!("http://[::ffff:127.0.0.1]:{port}/"),
            format!("http://example.org@127.0.0.1:{port}/"),
            "http://localhost:8080/".to_owned(),
            "http://169.254.169.254/latest/meta-data/iam".to_owned(),
            "http://[fd00:ec2::254]/latest".to_owned(),
            "http://metadata.google.internal.invalid/".to_owned(),
        ] {
            let answer = stand.chat(looking_at(name, &[&url])).await;
            assert_eq!(answer.status, 400, "{model} {url}: {answer:?}");
            let error = answer.json()["error"].clone();
            assert_eq!((&error["code"], &error["param"]), (&json!("image_not_fetched"), &json!("messages")), "{error}");
        }
    }
    assert_eq!((inside.connections(), stand.mock.stats().calls), (0, 0));
}

#[tokio::test]
async fn fault_25_no_redirect_leads_inside() {
    let allowed = "[images]\nallow = [\"127.0.0.2\"]\n";
    let stand = Stand::with_config(&format!("{FETCHED}{allowed}")).await;
    let inside = FileServer::with_file(LOCALHOST, PNG).await;
    let outside = FileServer::leading_to([127, 0, 0, 2], &inside.url("a.png")).await;
    for (model, name) in FIRST {
        let answer = stand.chat(looking_at(name, &[&outside.url("a.png")])).await;
        assert_eq!(answer.status, 400, "{model}: {answer:?}");
        assert!(message(&answer).contains("leads on to another address"), "{answer:?}");
    }
    assert_eq!((outside.connections(), inside.connections(), stand.mock.stats().calls), (3, 0, 0));
}

#[tokio::test]
async fn fault_25_no_proxy_of_the_environment_stands_between() {
    let mock = MockUpstream::start().await;
    let proxy = FileServer::with_file(LOCALHOST, PNG).await;
    let outside = FileServer::with_file([127, 0, 0, 2], PNG).await;
    let server = builder(&mock)
        .config_toml(format!("{FETCHED}[images]\nallow = [\"127.0.0.2\"]\n"))
        .env("HTTP_PROXY", proxy.url(""))
        .env("HTTPS_PROXY", proxy.url(""))
        .env("NO_PROXY", "127.0.0.1")
        .start()
        .await;
    let stand = Stand { mock, server, client: client() };
    let answer = stand.chat(looking_at("openai/gpt-4o", &[&outside.url("a.png")])).await;
    assert_eq!((answer.status, outside.connections(), proxy.connections()), (200, 1, 0), "{answer:?}");
}

#[tokio::test]
async fn a_refusal_says_which_image_why_and_what_to_do() {
    let config = format!("{FETCHED}[images]\nallow = [\"127.0.0.1\"]\ncount_max = 2\nbytes_max = 100\n");
    let stand = Stand::with_config(&config).await;
    let good = FileServer::with_file(LOCALHOST, PNG).await;
    let page = FileServer::with_file(LOCALHOST, b"<html>").await;
    let large = FileServer::with_file(LOCALHOST, &[b'x'; 101]).await;
    let (good, page, large) = (good.url("a"), page.url("page?key=canary"), large.url("b"));
    let asked = async |urls: &[&str]| message(&stand.chat(looking_at("gemini/gemini-2.5-flash", urls)).await);
    insta::assert_snapshot!(
        [
            asked(&[&good, &page]).await,
            asked(&[&large]).await,
            asked(&[&good, &page, &large]).await,
            asked(&["https://10.0.0.1/a.png?key=canary"]).await,
            asked(&["https://user:canary@example.org/a.png"]).await,
        ]
        .map(|text| {
            assert!(!text.contains("canary"), "{text}");
            text.replace(&page, "PAGE").replace(page.split('?').next().unwrap(), "PAGE").replace(&large, "LARGE")
        })
        .join("\n")
    );
}

#[tokio::test]
async fn another_provider_that_follows_the_url_answers_instead() {
    let config = "[routing]\nretries = 0\n[providers.gemini]\nimages_by_url = \"fetch\"\n\
                  [models]\nsafe = [\"gemini/gemini-2.5-flash\", \"openai/gpt-4o\"]\n";
    let stand = Stand::with_config(config).await;
    let inside = FileServer::with_file(LOCALHOST, PNG).await;
    let answer = stand.chat(looking_at("safe", &[&inside.url("a.png")])).await;
    assert_eq!((answer.status, answer.header("x-privet-provider")), (200, Some("openai")), "{answer:?}");
    assert_eq!(inside.connections(), 0);
    assert!(answer.header("x-privet-attempts").unwrap().contains("image-not-fetched"), "{answer:?}");
}

#[tokio::test]
async fn a_refused_image_holds_no_money() {
    let stand = Stand::with_config(&format!("{FETCHED}[[budgets]]\nlimit = \"0.05/total\"\n")).await;
    stand.mock.script(Behaviour::text("ok"));
    for _ in 0..20 {
        let answer = stand.chat(looking_at("openai/gpt-4o", &["https://10.0.0.1/a.png"])).await;
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    let text = json!({"model": "openai/gpt-4o", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(stand.chat(text).await.status, 200, "the money of the refused ones is free");
}

#[tokio::test]
async fn a_document_by_url_that_only_its_own_dialect_can_name_is_fetched() {
    let stand = Stand::with_config(&format!("{CALLED_ONCE}{HERE_ALLOWED}")).await;
    let files = FileServer::with_file(LOCALHOST, b"%PDF-1.7 x").await;
    let document = json!({"type": "document", "source": {"type": "url", "url": files.url("a.pdf")}});
    let asked = |model: &str| {
        json!({"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": [document]}]}).to_string()
    };
    let passed = Answer::of(stand.post("/v1/messages", asked("anthropic/claude-sonnet-4-5"))).await;
    assert_eq!((passed.status, files.connections()), (200, 0), "{passed:?}");
    let fetched = Answer::of(stand.post("/v1/messages", asked("openai/gpt-4o"))).await;
    assert_eq!((fetched.status, files.connections()), (200, 1), "{fetched:?}");
    let file = stand.sent_chat().body["messages"][0]["content"][0]["file"].clone();
    let data = format!("data:application/pdf;base64,{}", base64_of(b"%PDF-1.7 x"));
    assert_eq!(file, json!({"file_data": data, "filename": "document.pdf"}));
}

#[tokio::test]
async fn a_count_of_tokens_fetches_as_its_request_would() {
    let stand = Stand::with_config(&format!("{FETCHED}{HERE_ALLOWED}")).await;
    let files = FileServer::with_file(LOCALHOST, PNG).await;
    for model in ["anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-flash"] {
        let image = json!({"type": "image", "source": {"type": "url", "url": files.url("a.png")}});
        let asked = json!({"model": model, "messages": [{"role": "user", "content": [image]}]});
        let counted = Answer::of(stand.post("/v1/messages/count_tokens", asked.to_string())).await;
        assert_eq!(counted.status, 200, "{counted:?}");
        assert!(stand.sent().body.to_string().contains(&base64_of(PNG)), "{model}");
    }
}
