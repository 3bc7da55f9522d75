//! Fault 28 for traces: what must not be written is in no file and no table, whoever sent it and wherever it stood.

use privet_testkit::postgres::{TestDatabase, fresh_database};
use privet_testkit::upstream::{Behaviour, MockUpstream};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::stand::{Answer, Stand, ask, builder, client};

const EMAIL: &str = "canary28@example.com";
const CARD: &str = "4111 1111 1111 1111";
const KEY: &str = "sk-canary28abcdefgh";
const OWN: &str = "ORDER-281828";

/// Everything that a database of traces holds, as bytes and as the hexadecimal digits of bytes.
async fn written(stand: &mut Stand, database: Option<&TestDatabase>) -> Vec<u8> {
    stand.server.terminate().await.unwrap();
    let Some(database) = database else {
        let mut bytes = std::fs::read(stand.server.data_dir().join("traces.db")).unwrap();
        bytes.extend(std::fs::read(stand.server.data_dir().join("traces.db-wal")).unwrap_or_default());
        return bytes;
    };
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let mut all = String::new();
    for statement in [
        "SELECT CAST(t AS TEXT) FROM traces AS t",
        "SELECT CAST(t AS TEXT) FROM observations AS t",
        "SELECT CAST(t AS TEXT) FROM scores AS t",
        "SELECT CAST(t AS TEXT) FROM bodies AS t",
        "SELECT CAST(t AS TEXT) FROM daily_metrics AS t",
    ] {
        let rows: Vec<String> = sqlx::query_scalar(statement).fetch_all(&mut connection).await.unwrap();
        all.push_str(&rows.concat());
    }
    all.into_bytes()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    [text, &hex].iter().any(|form| bytes.windows(form.len()).any(|window| window == form.as_bytes()))
}

async fn stand(toml: &str, database: Option<&TestDatabase>) -> Stand {
    let mock = MockUpstream::start().await;
    let builder = builder(&mock).config_toml(toml);
    let builder = database.into_iter().fold(builder, |builder, database| builder.database_url(&database.url));
    Stand { mock, server: builder.start().await, client: client() }
}

/// The same private things through every door: Langfuse's, OpenTelemetry's and the gateway's. Texts are short, so that they would
/// stand in the file as they are.
async fn send(stand: &Stand, said: &str) {
    let escaped = said.replace('@', "\\u0040");
    let batch = format!(
        r#"{{"batch":[
        {{"id":"1","type":"trace-create","timestamp":"2026-11-25T00:00:00Z","body":{{"id":"t1","name":"{said}",
          "input":{{"{escaped}":"{escaped}"}},"output":"{said}","tags":["{said}"],"metadata":{{"k":{{"deep":["{said}"]}}}}}}}},
        {{"id":"2","type":"generation-create","timestamp":"2026-11-25T00:00:00Z","body":{{"id":"g1","traceId":"t1",
          "name":"checkout","model":"gpt-kept","startTime":"2026-11-25T00:00:00Z","endTime":"2026-11-25T00:00:01Z",
          "input":[{{"role":"user","content":"{said}"}}],"output":{{"role":"assistant","content":"{escaped}"}},
          "metadata":{{"x":"{said}"}},"modelParameters":{{"stop":"{said}"}},"statusMessage":"{said}","level":"ERROR",
          "usage":{{"input":7,"output":2}}}}}},
        {{"id":"3","type":"score-create","timestamp":"2026-11-25T00:00:00Z","body":{{"id":"s1","traceId":"t1",
          "name":"taste","value":1,"comment":"{said}"}}}}]}}"#
    );
    let answer = Answer::of(stand.post("/api/public/ingestion", batch)).await;
    assert_eq!((answer.status, answer.json()["errors"].as_array().unwrap().len()), (207, 0), "{answer:?}");
    let text = |name: &str| json!({"key": name, "value": {"stringValue": said}});
    let names = ["langfuse.trace.name", "langfuse.observation.input", "gen_ai.output.messages", "other", "exception"];
    let span = json!({
        "traceId": "0123456789abcdef0123456789abcdef", "spanId": "0123456789abcdef", "name": said,
        "startTimeUnixNano": "1790000000000000000", "endTimeUnixNano": "1790000000000000001",
        "attributes": names.map(text), "status": {"code": 2, "message": said},
        "events": [{"timeUnixNano": "1790000000000000000", "name": "exception", "attributes": [text("exception.message")]}],
    });
    let resource = json!({"attributes": [text("process.command_line")]});
    let export = json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]});
    let answer = Answer::of(stand.post("/v1/traces", export.to_string())).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    stand.mock.script(Behaviour::text(said));
    let mut chat = ask("openai/gpt-4o", said);
    chat["metadata"] = json!({"note": said});
    assert_eq!(stand.chat(chat).await.status, 200);
}

async fn masks_replace(database: Option<&TestDatabase>) {
    let toml = "[traces]\ncontent = \"mask\"\npatterns = [\"ORDER-[0-9]{6}\"]\n";
    let mut stand = stand(toml, database).await;
    send(&stand, &format!("{EMAIL} {CARD} {KEY} {OWN}")).await;
    let bytes = written(&mut stand, database).await;
    for private in [EMAIL, CARD, KEY, OWN] {
        assert!(!holds(&bytes, private), "{private}");
    }
    for left in ["[email] [card] [key] [masked]", "gpt-kept", "checkout"] {
        assert!(holds(&bytes, left), "{left}");
    }
}

async fn metadata_keeps_nothing_that_was_said(database: Option<&TestDatabase>) {
    let mut stand = stand("[traces]\ncontent = \"metadata\"\n", database).await;
    send(&stand, &format!("canary28 {EMAIL}")).await;
    let bytes = written(&mut stand, database).await;
    assert!(!holds(&bytes, "canary28"));
    for left in ["gpt-kept", "checkout", "gpt-4o"] {
        assert!(holds(&bytes, left), "{left}");
    }
}

#[tokio::test]
async fn fault_28_masked_traces_hold_no_private_thing_in_sqlite() {
    masks_replace(None).await;
}

#[tokio::test]
async fn fault_28_masked_traces_hold_no_private_thing_in_postgres() {
    masks_replace(Some(&fresh_database().await)).await;
}

#[tokio::test]
async fn fault_28_traces_of_metadata_alone_hold_nothing_that_was_said_in_sqlite() {
    metadata_keeps_nothing_that_was_said(None).await;
}

#[tokio::test]
async fn fault_28_traces_of_metadata_alone_hold_nothing_that_was_said_in_postgres() {
    metadata_keeps_nothing_that_was_said(Some(&fresh_database().await)).await;
}

#[tokio::test]
async fn each_project_has_its_own_privacy() {
    let toml = "[[traces.projects]]\nproject = \"shop\"\ncontent = \"mask\"\n";
    let mut stand = stand(toml, None).await;
    let shop = stand.key_of_project("shop").await;
    let trace = |id: &str, said: &str| {
        json!({"batch": [{"id": id, "type": "trace-create", "timestamp": "2026-11-25T00:00:00Z",
                          "body": {"id": id, "input": said}}]})
    };
    let of_shop = stand.with_key(&shop, "POST", "/api/public/ingestion", trace("a", "shop28@example.com")).await;
    let of_default = Answer::of(stand.post("/api/public/ingestion", trace("b", "all28@example.com").to_string())).await;
    assert_eq!((of_shop.status, of_default.status), (207, 207));
    let bytes = written(&mut stand, None).await;
    assert!(!holds(&bytes, "shop28@example.com") && holds(&bytes, "all28@example.com"));
}

#[tokio::test]
async fn a_user_is_erased_from_every_file_and_the_money_adds_up() {
    let mut stand = Stand::start().await;
    let admin = stand.admin().await;
    let made = |user: &'static str| ["--user", user];
    let canary = stand.make_key(&made("ola-canary31")).await["key"].as_str().unwrap().to_owned();
    let other = stand.make_key(&made("bob")).await["key"].as_str().unwrap().to_owned();
    for (key, said) in [(&canary, "what canary31 said"), (&other, "what bob said")] {
        stand.mock.script(Behaviour::text(said));
        let answer =
            stand.with_key(key, "POST", "/api/chat", json!({"messages": [{"role": "user", "content": said}]})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let answer = stand.with_key(key, "POST", "/v1/chat/completions", ask("openai/gpt-4o", said)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let spent = stand.with_key(&admin, "GET", "/api/usage", Value::Null).await.json();

    let answer = stand.with_key(&admin, "DELETE", "/api/users/ola-canary31", Value::Null).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let receipt = answer.json();
    let deleted = &receipt["deleted"];
    assert_eq!((&deleted["privet"]["keys"], &deleted["privet"]["calls_renamed"]), (&json!(1), &json!(2)), "{receipt}");
    assert_eq!((&deleted["traces"]["traces"], &deleted["traces"]["observations"]), (&json!(2), &json!(3)), "{receipt}");
    assert_eq!(receipt["logs_emptied"], true, "{receipt}");
    assert!(!receipt.to_string().contains("canary31"), "{receipt}");
    assert_eq!(stand.with_key(&canary, "GET", "/v1/models", Value::Null).await.status, 401);
    assert_eq!(stand.with_key(&other, "GET", "/v1/models", Value::Null).await.status, 200);
    let left = stand.with_key(&admin, "GET", "/api/usage", Value::Null).await.json();
    assert_eq!(left["settled_nanos"], spent["settled_nanos"]);
    let receipts = stand.with_key(&admin, "GET", "/api/erasures", Value::Null).await.json();
    assert_eq!(receipts["data"], json!([receipt]));
    let listed = stand.privet(&["erase", "--receipts", "--json"]).await;
    assert!(String::from_utf8_lossy(&listed.stdout).contains(receipt["id"].as_str().unwrap()), "{listed:?}");

    stand.server.terminate().await.unwrap();
    for file in ["privet.db", "privet.db-wal", "traces.db", "traces.db-wal"] {
        let bytes = std::fs::read(stand.server.data_dir().join(file)).unwrap_or_default();
        assert!(!holds(&bytes, "canary31"), "{file}");
        assert!(!file.ends_with(".db") || holds(&bytes, "bob"), "{file}");
    }
}

#[tokio::test]
async fn erasing_needs_a_yes_and_not_ones_own_key() {
    let stand = Stand::start().await;
    let made = stand.make_key(&["--user", "root", "--scopes", "admin"]).await;
    let admin = made["key"].as_str().unwrap();
    let own = stand.with_key(admin, "DELETE", "/api/users/root", Value::Null).await;
    assert_eq!((own.status, own.text().contains("own_user")), (409, true), "{own:?}");
    let refused = stand.privet(&["erase", "--user", "ada"]).await;
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--yes"), "{refused:?}");
    let nobody = stand.privet(&["erase", "--user", "nobody", "--yes", "--json"]).await;
    assert!(nobody.status.success(), "{nobody:?}");
    let receipt: Value = serde_json::from_slice(&nobody.stdout).unwrap();
    assert_eq!(receipt["deleted"]["privet"]["conversations"], 0);
}
