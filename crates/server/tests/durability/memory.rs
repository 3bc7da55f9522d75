//! The server is killed while it remembers: between the commit of a message, the embedding of its memory, the writing of the vector and
//! the task's end; and while all is embedded anew. After the restart nothing is missing and nothing is there twice.

use std::process::Output;
use std::time::Duration;

use privet_testkit::privet_process::PrivetProcess;
use privet_testkit::upstream::{Behaviour, MockUpstream};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, SqliteConnection};
use tokio::process::Command;

use crate::client::{Api, builder};

const SMALL: &str = "text-embedding-3-small";
const LARGE: &str = "text-embedding-3-large";
/// The server is given so much time to come to a step, and to end what it has begun.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const POLL: Duration = Duration::from_millis(2);

/// A server that remembers, and its provider.
pub(crate) struct Stand {
    pub(crate) mock: MockUpstream,
    pub(crate) server: PrivetProcess,
    said: usize,
}

impl Stand {
    async fn start() -> Self {
        Self::start_with("").await
    }

    /// With further settings of the memory.
    pub(crate) async fn start_with(memory: &str) -> Self {
        let mock = MockUpstream::start().await;
        let server = builder()
            .env("OPENAI_API_KEY", "sk-canary")
            .env("OPENAI_BASE_URL", format!("{}/v1", mock.base_url()))
            .config_toml(format!("[memory]\nembedder = \"openai/{SMALL}\"\n{memory}"))
            .start()
            .await;
        Self { mock, server, said: 0 }
    }

    fn api(&self) -> Api {
        Api::new(self.server.url(), self.server.key())
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let api = self.api();
        let request = api.http.post(format!("{}{path}", api.url)).bearer_auth(&api.key);
        let response = request.header("content-type", "application/json").body(body.to_string()).send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap())
    }

    /// Says a text that nobody said before and waits for the answer: both are to be remembered.
    pub(crate) async fn say(&mut self) -> String {
        self.said += 1;
        let text = format!("The parcel number {} lies in the shed.", self.said);
        let body = json!({"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": text}]});
        let (status, answer) = self.post("/v1/chat/completions", body).await;
        assert_eq!(status, 200, "{answer}");
        text
    }

    pub(crate) async fn database(&self) -> SqliteConnection {
        let file = self.server.data_dir().join("privet.db");
        SqliteConnectOptions::new().filename(file).busy_timeout(PATIENCE).connect().await.unwrap()
    }

    /// Waits until a question to the database is answered with something other than 0.
    pub(crate) async fn until(&self, question: &'static str) {
        let mut database = self.database().await;
        let seen = async {
            while number(&mut database, question).await == 0 {
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("{question}: {}", self.server.logs()));
    }

    /// What is said after a kill and a restart: everything once, each with its vector, and no drift.
    pub(crate) async fn holds_everything(&mut self) {
        self.server.restart().await;
        self.until("SELECT COUNT(*) = 0 FROM memory_outbox").await;
        let mut database = self.database().await;
        let texts = number(&mut database, "SELECT COUNT(*) FROM memories WHERE role = 'user'").await;
        let different = number(&mut database, "SELECT COUNT(DISTINCT text) FROM memories WHERE role = 'user'").await;
        assert_eq!((texts, different), (self.said as i64, self.said as i64));
        let windows = number(&mut database, "SELECT COUNT(*) FROM memory_representations WHERE kind = 'window'").await;
        assert_eq!(windows, number(&mut database, "SELECT COUNT(*) FROM memories WHERE kind = 'message'").await);
        let check = self.privet(&["memory", "check", "--json"]).await;
        assert_eq!(json_of(&check)["drift_total"], 0, "{check:?}");
        let question = json!({"query": format!("parcel number {}", self.said), "explain": true, "limit": 1});
        let (status, found) = self.post("/api/memories/search", question).await;
        assert_eq!((status, &found["degraded"]), (200, &Value::Null), "{found}");
        let best = &found["items"][0];
        assert!(best["text"].as_str().unwrap().contains(&format!("number {} ", self.said)), "{found}");
        assert!(best["explain"]["dense"].is_number(), "{found}");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_privet"));
        command
            .args(arguments)
            .arg("--data")
            .arg(self.server.data_dir())
            .args(["--config"])
            .arg(self.server.data_dir().join("for-the-command-line.toml"))
            .env_clear()
            .env("OPENAI_API_KEY", "sk-canary")
            .env("OPENAI_BASE_URL", format!("{}/v1", self.mock.base_url()))
            .env("PRIVET_LISTEN", self.server.url().trim_start_matches("http://"));
        std::fs::write(
            self.server.data_dir().join("for-the-command-line.toml"),
            format!("[memory]\nembedder = \"openai/{SMALL}\"\n"),
        )
        .unwrap();
        command
    }

    async fn privet(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().await.unwrap()
    }
}

fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

pub(crate) async fn number(database: &mut SqliteConnection, question: &'static str) -> i64 {
    sqlx::query_scalar(question).fetch_one(database).await.unwrap()
}

const VECTORS_MISSING: &str = "SELECT COUNT(*) FROM memory_representations r WHERE NOT EXISTS \
     (SELECT 1 FROM memory_vectors v WHERE v.content_hash = r.content_hash)";

#[tokio::test]
async fn killed_between_the_commit_and_the_embedding_it_embeds_after_the_restart() {
    let mut stand = Stand::start().await;
    stand.mock.script_model(SMALL, Behaviour::new().hang());
    stand.say().await;
    let mut database = stand.database().await;
    assert!(number(&mut database, "SELECT COUNT(*) FROM memory_outbox").await > 0, "message and task are one commit");
    stand.server.kill_dash_9().await.unwrap();
    stand.mock.reset();
    stand.holds_everything().await;
}

#[tokio::test]
async fn killed_between_the_embedding_and_the_writing_of_vectors_it_embeds_again() {
    let mut stand = Stand::start().await;
    stand.mock.script_model(SMALL, Behaviour::new().first_byte_delay_ms(1_000));
    stand.say().await;
    let asked = async {
        while !stand.mock.requests().iter().any(|request| request.body["input"].is_array()) {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap();
    // While the provider answers, somebody else begins to write; then the vectors wait.
    let mut database = stand.database().await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut database).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(number(&mut database, VECTORS_MISSING).await > 0, "no vector can be written meanwhile");
    stand.server.kill_dash_9().await.unwrap();
    sqlx::query("ROLLBACK").execute(&mut database).await.unwrap();
    stand.mock.reset();
    stand.holds_everything().await;
}

#[tokio::test]
async fn killed_between_the_writing_of_vectors_and_the_end_of_the_task_it_has_none_twice() {
    let mut stand = Stand::start().await;
    let mut database = stand.database().await;
    // The step is short: it is met after some attempts.
    for _ in 0..200 {
        stand.say().await;
        let written = async {
            while number(&mut database, VECTORS_MISSING).await > 0 {
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
        };
        tokio::time::timeout(PATIENCE, written).await.unwrap();
        sqlx::query("BEGIN IMMEDIATE").execute(&mut database).await.unwrap();
        let is_between = number(&mut database, "SELECT COUNT(*) FROM memory_outbox").await > 0
            && number(&mut database, VECTORS_MISSING).await == 0;
        if is_between {
            stand.server.kill_dash_9().await.unwrap();
            sqlx::query("ROLLBACK").execute(&mut database).await.unwrap();
            stand.holds_everything().await;
            return;
        }
        sqlx::query("ROLLBACK").execute(&mut database).await.unwrap();
        stand.until("SELECT COUNT(*) = 0 FROM memory_outbox").await;
    }
    panic!("the step was never met");
}

#[tokio::test]
async fn killed_again_and_again_while_it_remembers_it_loses_nothing() {
    let mut stand = Stand::start().await;
    for round in 0..8 {
        for _ in 0..6 {
            stand.say().await;
        }
        tokio::time::sleep(Duration::from_millis(37 * round)).await;
        stand.server.kill_dash_9().await.unwrap();
        stand.holds_everything().await;
    }
}

#[tokio::test]
async fn reindexing_goes_on_over_kills_while_everything_is_found_and_written() {
    let mut stand = Stand::start().await;
    let notes: Vec<Value> =
        (0..400).map(|at| json!({"text": format!("Note {at}: the key {at} fits the door {at}.")})).collect();
    assert_eq!(stand.post("/api/memories", json!(notes)).await.0, 201);
    stand.say().await;
    stand.until("SELECT COUNT(*) = 0 FROM memory_outbox").await;

    let refused = stand.privet(&["memory", "reindex", "--embedder", &format!("openai/{LARGE}")]).await;
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && message.contains("texts") && message.contains('$'),
        "the cost first: {message}"
    );
    stand.mock.script_model(LARGE, Behaviour { dimensions: Some(7), ..Behaviour::default() });
    let tried = stand.privet(&["memory", "reindex", "--yes", "--embedder", &format!("openai/{LARGE}")]).await;
    let message = String::from_utf8_lossy(&tried.stderr).into_owned();
    assert!(
        !tried.status.success() && message.contains("nothing was begun") && message.contains("7 dimensions"),
        "{message}"
    );
    let mut database = stand.database().await;
    assert_eq!(number(&mut database, "SELECT COUNT(*) FROM embedders").await, 1, "an embedder is tried first");
    drop(database);
    // Each call takes a while, so that there is something to interrupt.
    stand.mock.script_model(LARGE, Behaviour::new().first_byte_delay_ms(700));
    for _ in 0..3 {
        let name = format!("openai/{LARGE}");
        let mut following =
            stand.command(&["memory", "reindex", "--yes", "--embedder", &name]).kill_on_drop(true).spawn().unwrap();
        stand.until("SELECT COUNT(*) FROM embedders WHERE state = 'building' AND progress_number > 0").await;
        stand.say().await;
        let found =
            stand.post("/api/memories/search", json!({"query": "which key fits the door 7?", "explain": true})).await.1;
        assert!(found["items"][0]["explain"]["dense"].is_number(), "recall goes on: {found}");
        following.kill().await.unwrap();
        stand.server.kill_dash_9().await.unwrap();
        stand.server.restart().await;
    }
    stand.mock.reset();
    let done = stand.privet(&["memory", "reindex", "--yes", "--embedder", &format!("openai/{LARGE}"), "--json"]).await;
    assert_eq!(json_of(&done)["state"], "active", "{done:?}");
    // The server follows within its poll; both texts of before and of meanwhile are found by the new vectors.
    stand.until("SELECT COUNT(*) = 0 FROM memory_outbox").await;
    stand.until("SELECT COUNT(*) FROM embedders WHERE state = 'old'").await;
    stand.server.kill_dash_9().await.unwrap();
    stand.holds_everything().await;

    let finished = stand.privet(&["memory", "reindex", "--finish", "--json"]).await;
    assert_eq!(json_of(&finished)["dropped"], json!([format!("openai/{SMALL}")]));
    let mut database = stand.database().await;
    assert_eq!(number(&mut database, "SELECT COUNT(DISTINCT embedder_id) FROM memory_vectors").await, 1);
    assert_eq!(number(&mut database, VECTORS_MISSING).await, 0);
    stand.say().await;
    stand.until("SELECT COUNT(*) = 0 FROM memory_outbox").await;
}
