//! Memory that somebody has to mend: damaged vectors, wrong settings, texts and projects that fail.

use privet_testkit::upstream::Behaviour;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, SqliteConnection};

use crate::stand::{Answer, Stand, run};

const MODEL: &str = "text-embedding-3-small";
const EMBEDDER: &str = "[memory]\nembedder = \"openai/text-embedding-3-small\"\n";

impl Stand {
    async fn remember(&self, key: &str, texts: &[&str]) {
        let body: Vec<Value> = texts.iter().map(|text| json!({"text": text})).collect();
        let request = self.client.post(format!("{}/api/memories", self.server.url())).bearer_auth(key);
        let made = Answer::of(request.header("content-type", "application/json").body(json!(body).to_string())).await;
        assert_eq!(made.status, 201, "{made:?}");
    }

    /// `privet memory …` with the embedder that the server has.
    async fn memory_of(&self, dimensions: &str, command: &[&str]) -> Value {
        let data = self.server.data_dir().display().to_string();
        let listen = self.server.url().trim_start_matches("http://");
        let environment = [
            ("PRIVET_MEMORY_EMBEDDER", "openai/text-embedding-3-small"),
            ("PRIVET_MEMORY_DIMENSIONS", dimensions),
            ("PRIVET_LISTEN", listen),
            ("OPENAI_API_KEY", "sk-canary"),
        ];
        let done = run(&[&["memory"], command, &["--json", "--data", &data]].concat(), &environment).await;
        serde_json::from_slice(&done.stdout).unwrap_or_else(|_| panic!("{done:?}"))
    }

    /// Waits until a search finds a text by its meaning.
    async fn until_meant(&self, text: &str) {
        let found = async {
            loop {
                let body = json!({"query": text, "explain": true}).to_string();
                let found = Answer::of(self.post("/api/memories/search", body)).await.json();
                let items = found["items"].as_array().unwrap();
                if items.iter().any(|item| item["text"] == text && item["explain"]["dense"].is_number()) {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        };
        let found = tokio::time::timeout(std::time::Duration::from_secs(60), found).await;
        assert!(found.is_ok(), "`{text}` has no vector: {}", self.server.logs());
    }

    async fn memory_database(&self) -> SqliteConnection {
        let file = self.server.data_dir().join("privet.db");
        let options = SqliteConnectOptions::new().filename(file).busy_timeout(std::time::Duration::from_secs(30));
        options.connect().await.unwrap()
    }
}

#[tokio::test]
async fn a_damaged_vector_is_drift_and_is_made_anew() {
    let stand = Stand::with_config(EMBEDDER).await;
    stand.remember(stand.server.key(), &["the key lies in the attic"]).await;
    stand.until_meant("the key lies in the attic").await;
    let mut database = stand.memory_database().await;
    sqlx::query("UPDATE memory_vectors SET vector = x'0102'").execute(&mut database).await.unwrap();
    assert_eq!(stand.memory_of("", &["check"]).await["drift"]["without_vector"], 1);
    stand.memory_of("", &["check", "--repair"]).await;
    let whole = async {
        let question = "SELECT COUNT(*) FROM memory_vectors WHERE length(vector) = 4 * 1536";
        while sqlx::query_scalar::<_, i64>(question).fetch_one(&mut database).await.unwrap() == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), whole).await.unwrap();
    assert_eq!(stand.memory_of("", &["check"]).await["drift_total"], 0);
    stand.remember(stand.server.key(), &["the lamp stands in the hall"]).await;
    stand.until_meant("the lamp stands in the hall").await;
}

#[tokio::test]
async fn wrong_dimensions_are_corrected_by_the_configuration_while_nothing_is_made() {
    let mut stand = Stand::with_config(&format!("{EMBEDDER}dimensions = 64\n")).await;
    stand.remember(stand.server.key(), &["the key lies in the attic"]).await;
    let body = json!({"query": "attic"}).to_string();
    let found = Answer::of(stand.post("/api/memories/search", body)).await.json();
    assert!(found["degraded"].as_str().unwrap().contains("dimensions"), "{found}");
    stand.server.set_config_toml(EMBEDDER).unwrap();
    stand.server.restart().await;
    stand.until_meant("the key lies in the attic").await;
}

#[tokio::test]
async fn a_model_of_no_provider_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    for setting in ["EMBEDDER", "RERANKER"] {
        let name = format!("PRIVET_MEMORY_{setting}");
        let environment = [(name.as_str(), "nobody/text-embedding-3-small"), ("PRIVET_LISTEN", "127.0.0.1:0")];
        let started = run(&["serve", "--data", &data], &environment).await;
        let said = String::from_utf8_lossy(&started.stderr).into_owned() + &String::from_utf8_lossy(&started.stdout);
        assert!(!started.status.success() && said.contains(&setting.to_lowercase()), "{said}");
    }
}

#[tokio::test]
async fn a_text_that_breaks_the_embedder_holds_up_no_other() {
    let stand = Stand::with_config(EMBEDDER).await;
    let breaks = Behaviour { refuse: Some("xyzzy".to_owned()), refuse_status: Some(500), ..Behaviour::default() };
    stand.mock.script_model(MODEL, breaks);
    stand.remember(stand.server.key(), &["the xyzzy lies in the cellar", "the key lies in the attic"]).await;
    stand.until_meant("the key lies in the attic").await;
}

#[tokio::test]
async fn what_was_there_before_an_embedder_waits_for_no_project_without_money() {
    let poor = "[[budgets]]\nproject = \"poor\"\nlimit = \"0.000000001/day\"\n";
    let mut stand = Stand::with_config(poor).await;
    let key = stand.key_of_project("poor").await;
    stand.remember(&key, &["the poor are first", "and second"]).await;
    stand.remember(stand.server.key(), &["the key lies in the attic"]).await;
    stand.server.set_config_toml(format!("{poor}{EMBEDDER}")).unwrap();
    stand.server.restart().await;
    stand.until_meant("the key lies in the attic").await;
    let mut database = stand.memory_database().await;
    let complete = async {
        let question = "SELECT COUNT(*) FROM embedders WHERE progress_number = 9223372036854775807";
        while sqlx::query_scalar::<_, i64>(question).fetch_one(&mut database).await.unwrap() == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), complete).await.unwrap();
    let waiting = sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM memory_outbox");
    assert_eq!(waiting.fetch_one(&mut database).await.unwrap(), 2, "they wait by themselves");
}
