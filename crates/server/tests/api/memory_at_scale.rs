//! Memory with PostgreSQL and its index on a Qdrant server: one that `PRIVET_TEST_QDRANT_URL` names, or the stand-in that
//! `cargo xtask test` starts. Without either the parts that need it say that they did not run.

use std::time::Duration;

use privet_index::{QdrantIndex, QdrantSettings};
use privet_testkit::postgres::{TestDatabase, fresh_database};
use privet_testkit::upstream::{Behaviour, MockUpstream};
use serde_json::{Value, json};

use crate::stand::{Answer, Stand, builder, client, run};

const WITH_EMBEDDER: &str = "[memory]\nembedder = \"openai/text-embedding-3-small\"\n";

/// A server with all that it stands on.
struct Scaled {
    stand: Stand,
    database: TestDatabase,
    qdrant: String,
    collection: String,
}

/// `None`, and a word of it, where there is no Qdrant server.
async fn scaled() -> Option<Scaled> {
    scaled_with(WITH_EMBEDDER).await
}

async fn scaled_with(toml: &str) -> Option<Scaled> {
    let Some(qdrant) = std::env::var("PRIVET_TEST_QDRANT_URL").ok().filter(|url| !url.is_empty()) else {
        eprintln!("NOT RUN: no Qdrant server; name one in PRIVET_TEST_QDRANT_URL, or run cargo xtask test");
        return None;
    };
    let (database, mock) = (fresh_database().await, MockUpstream::start().await);
    let collection = format!("privet-test-{}", uuid::Uuid::now_v7());
    let builder = builder(&mock).config_toml(toml).database_url(&database.url).qdrant(&qdrant, &collection);
    let stand = Stand { mock, server: builder.start().await, client: client() };
    Some(Scaled { stand, database, qdrant, collection })
}

impl Scaled {
    /// Runs the command line beside the server.
    async fn privet(&self, arguments: &[&str]) -> (bool, String) {
        let data = self.stand.server.data_dir().display().to_string();
        let environment = [
            ("DATABASE_URL", self.database.url.as_str()),
            ("PRIVET_MEMORY_QDRANT_URL", &self.qdrant),
            ("PRIVET_MEMORY_QDRANT_COLLECTION", &self.collection),
        ];
        let output = run(&[arguments, &["--data", &data]].concat(), &environment).await;
        let succeeded = output.status.success();
        let said = if succeeded { output.stdout } else { [output.stdout, output.stderr].concat() };
        (succeeded, String::from_utf8(said).unwrap())
    }

    async fn search(&self, query: &str) -> Value {
        let body = json!({"query": query, "explain": true}).to_string();
        let answer = Answer::of(self.stand.post("/api/memories/search", body)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// Asks until the answer is as it is to be: the index follows the database a little later.
    async fn until(&self, query: &str, is_so: impl Fn(&[Value]) -> bool) -> Value {
        for _ in 0..200 {
            let found = self.search(query).await;
            if is_so(found["items"].as_array().unwrap()) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the index does not follow: {}", self.stand.server.logs());
    }

    async fn said_to_provider(&self, key: &str, text: &str) -> String {
        let url = format!("{}/api/chat", self.stand.server.url());
        let body = json!({"messages": [{"role": "user", "content": text}]}).to_string();
        let request =
            self.stand.client.post(url).bearer_auth(key).header("content-type", "application/json").body(body);
        let answer = Answer::of(request).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        self.stand.sent_chat().body.to_string()
    }
}

#[tokio::test]
async fn what_was_said_is_recalled_from_the_server_by_its_user_alone_and_deleting_leaves_nothing() {
    let Some(scaled) = scaled().await else { return };
    let key = scaled.stand.server.key().to_owned();
    scaled.said_to_provider(&key, "My cat is called Filemon and he is grey.").await;
    let found = scaled.until("grey cat", |items| items.iter().any(|item| item["explain"]["dense"].is_number())).await;
    assert_eq!(found["degraded"], Value::Null);
    assert!(found["items"][0]["explain"]["sparse"].is_number(), "{found}");
    let sent = scaled.said_to_provider(&key, "Tell me about my cat").await;
    assert!(sent.contains("<recalled_memory>") && sent.contains("Filemon"), "{sent}");
    for arguments in [["--project", "other"], ["--user", "bob"]] {
        let (made, other) =
            scaled.privet(&[&["keys", "create", "--name", "other"], arguments.as_slice()].concat()).await;
        assert!(made, "{other}");
        let sent = scaled.said_to_provider(other.trim(), "Tell me about my cat").await;
        assert!(!sent.contains("Filemon"), "somebody else's: {sent}");
    }
    let id = found["items"].as_array().unwrap().iter().find(|item| item["text"].as_str().unwrap().contains("Filemon"));
    let id = id.unwrap()["id"].as_str().unwrap();
    let deleted = scaled.stand.request(reqwest::Method::DELETE, &format!("/api/memories/{id}"));
    assert!([200, 204].contains(&Answer::of(deleted).await.status));
    scaled.until("grey Filemon", |items| items.iter().all(|item| item["id"] != id)).await;
}

#[tokio::test]
async fn an_embedder_that_fails_leaves_the_words_to_find_by() {
    let toml = "[memory]\nembedder = \"broken/text-embedding-3-small\"\n[providers.broken]\nbase_url = \"http://127.0.0.1:9/v1\"\n";
    let Some(scaled) = scaled_with(toml).await else { return };
    let key = scaled.stand.server.key().to_owned();
    scaled.said_to_provider(&key, "My cat is called Filemon and he is grey.").await;
    let found = scaled.until("grey cat", |items| !items.is_empty()).await;
    assert!(found["degraded"].is_string(), "{found}");
    let sent = scaled.said_to_provider(&key, "Tell me about my cat").await;
    assert!(sent.contains("Filemon"), "{sent}");
}

#[tokio::test]
async fn check_finds_no_drift_and_a_lost_index_is_made_again() {
    let Some(scaled) = scaled().await else { return };
    let key = scaled.stand.server.key().to_owned();
    scaled.said_to_provider(&key, "My cat is called Filemon and he is grey.").await;
    let has_vector = |items: &[Value]| items.iter().any(|item| item["explain"]["dense"].is_number());
    scaled.until("grey cat", has_vector).await;
    let (agrees, told) = scaled.privet(&["memory", "check", "--json"]).await;
    assert!(agrees, "{told}");
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["drift_total"], &told["index"]["missing"]), (&json!(0), &json!(0)));

    // Another collection is as good as a lost one.
    let lost = Scaled { collection: format!("{}-lost", scaled.collection), ..scaled };
    let (agrees, told) = lost.privet(&["memory", "check"]).await;
    assert!(!agrees && told.contains("missing in the index"), "{told}");
    assert!(lost.privet(&["memory", "check", "--repair"]).await.0);
    let (agrees, told) = lost.privet(&["memory", "rebuild"]).await;
    assert!(agrees && told.contains("drift            0"), "{told}");
    // The server follows the outbox again, to its own collection.
    lost.until("grey cat", has_vector).await;
}

#[tokio::test]
async fn a_collection_that_was_lost_under_a_running_server_is_made_again_and_filled_by_a_repair() {
    let Some(scaled) = scaled().await else { return };
    let has_vector = |items: &[Value]| items.iter().any(|item| item["explain"]["dense"].is_number());
    let key = scaled.stand.server.key().to_owned();
    scaled.said_to_provider(&key, "My cat is called Filemon and he is grey.").await;
    scaled.until("grey cat", has_vector).await;
    let settings = QdrantSettings { url: scaled.qdrant.clone(), api_key: None, collection: scaled.collection.clone() };
    QdrantIndex::new(&settings).unwrap().delete_all().await.unwrap();
    assert!(scaled.privet(&["memory", "check", "--repair"]).await.0);
    scaled.until("grey cat", has_vector).await;
    let (agrees, told) = scaled.privet(&["memory", "check"]).await;
    assert!(agrees, "{told}");
}

#[tokio::test]
async fn descriptions_by_a_model_are_searched_on_the_server_too() {
    let toml = format!("{WITH_EMBEDDER}describer = \"openai/gpt-4o-mini\"\ndescribe_bytes_min = \"20\"\n");
    let Some(scaled) = scaled_with(&toml).await else { return };
    let said = json!({"summary": "Of a xylograph.", "facts": [], "questions": ["What is a xolotl?"]});
    scaled.stand.mock.script_model("gpt-4o-mini", Behaviour::text(said.to_string()));
    let made =
        Answer::of(scaled.stand.post("/api/memories", json!({"text": "The key is under the mat."}).to_string())).await;
    assert_eq!(made.status, 201, "{made:?}");
    let is_found_by =
        |word: &'static str| move |items: &[Value]| items.iter().any(|item| item["explain"].to_string().contains(word));
    scaled.until("xylograph", is_found_by("summary")).await;
    scaled.until("xolotl", is_found_by("questions")).await;
    let id = made.json()["ids"][0].as_str().unwrap().to_owned();
    let changed = scaled.stand.request(reqwest::Method::PATCH, &format!("/api/memories/{id}"));
    scaled.stand.mock.script_model("gpt-4o-mini", Behaviour::text("{\"summary\": \"Of a lamp.\"}"));
    let changed = Answer::of(changed.body(json!({"text": "The lamp is on the desk."}).to_string())).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    scaled.until("xylograph", |items| items.iter().all(|item| item["explain"]["sparse"].is_null())).await;
    assert!(scaled.privet(&["memory", "check"]).await.0);
}

#[tokio::test]
async fn postgres_without_a_qdrant_server_is_refused_with_the_ways_out() {
    let (database, mock) = (fresh_database().await, MockUpstream::start().await);
    let refused = builder(&mock).env("DATABASE_URL", &database.url).try_start().await.err().unwrap();
    assert!(!refused.status.unwrap().success());
    for way_out in ["memory.qdrant_url", "memory.enabled = \"false\""] {
        assert!(refused.logs.contains(way_out), "{refused}");
    }
    builder(&mock).env("DATABASE_URL", &database.url).env("PRIVET_MEMORY_ENABLED", "false").start().await;
}

#[tokio::test]
async fn a_qdrant_server_that_is_not_there_costs_the_memory_and_never_the_answer() {
    let (database, mock) = (fresh_database().await, MockUpstream::start().await);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let builder = builder(&mock).database_url(&database.url).qdrant(format!("http://127.0.0.1:{port}"), "privet");
    let stand = Stand { mock, server: builder.start().await, client: client() };
    for text in ["My cat is called Filemon.", "Tell me about my cat"] {
        let answer = stand.lesson(json!({"messages": [{"role": "user", "content": text}]})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert!(stand.server.logs().contains("memory waits for its index"), "{}", stand.server.logs());
}
