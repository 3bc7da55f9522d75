//! Two servers on one PostgreSQL database share a budget, a switch and the keys.

use futures_util::future::join_all;
use privet_testkit::postgres::fresh_database;
use privet_testkit::privet_process::PrivetProcess;
use privet_testkit::upstream::{Behaviour, MockUpstream, Usage};
use reqwest::Client;
use serde_json::{Value, json};

use crate::stand::{Answer, builder, client, run};

/// What a call of 20 tokens in and 50 out costs with gpt-4o, in nano-dollars.
const CALL_NANOS: i64 = 20 * 2_500 + 50 * 10_000;

async fn chat(client: &Client, server: &PrivetProcess, key: &str) -> Answer {
    let body = json!({"model": "openai/gpt-4o", "max_tokens": 50, "messages": [{"role": "user", "content": "hey"}]});
    let request = client.post(format!("{}/v1/chat/completions", server.url())).bearer_auth(key);
    Answer::of(request.header("content-type", "application/json").body(body.to_string())).await
}

#[tokio::test]
async fn two_servers_spend_one_budget_to_its_end_and_no_more() {
    let (database, mock, client) = (fresh_database().await, MockUpstream::start().await, client());
    let behaviour = Behaviour::text("ok").usage(Usage { input_tokens: 20, output_tokens: 50, ..Usage::default() });
    mock.script(behaviour.first_byte_delay_ms(20));
    let one = builder(&mock).database_url(&database.url).start().await;
    let other = builder(&mock).database_url(&database.url).start().await;
    let budget = format!("0.{:09}/day", 105 * CALL_NANOS / 10);
    let data = tempfile::tempdir().unwrap();
    let arguments = ["keys", "create", "--name", "shared", "--budget", &budget, "--json", "--data"];
    let arguments = [arguments.as_slice(), &[data.path().to_str().unwrap()]].concat();
    let made = run(&arguments, &[("DATABASE_URL", &database.url)]).await;
    assert!(made.status.success(), "{made:?}");
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());

    let calls = (0..60).map(|number| chat(&client, if number % 2 == 0 { &one } else { &other }, key));
    let answers = join_all(calls).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 10);
    assert!(answers.iter().all(|answer| [200, 402].contains(&answer.status)));
    for server in [&one, &other] {
        let usage = client.get(format!("{}/api/usage?key={id}", server.url())).bearer_auth(key);
        let usage = Answer::of(usage).await.json();
        assert_eq!((&usage["settled_nanos"], &usage["held_nanos"]), (&json!(10 * CALL_NANOS), &json!(0)));
    }
    assert_eq!(mock.stats().bill_nanos, u64::try_from(10 * CALL_NANOS).unwrap());

    let arguments = ["keys", "revoke", id, "--data", data.path().to_str().unwrap()];
    assert!(run(&arguments, &[("DATABASE_URL", &database.url)]).await.status.success());
    for server in [&one, &other] {
        assert_eq!(chat(&client, server, key).await.status, 401, "revoked for both at once");
    }
}
