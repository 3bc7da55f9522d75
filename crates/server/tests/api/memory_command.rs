//! `privet memory` by the real binary: carried, searched, shown, deleted, evaluated; with a server beside it and without.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use crate::stand::{Stand, run};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/memory");
const EMBEDDER: &str = "[memory]\nembedder = \"openai/text-embedding-3-small\"\n";

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_str(&out(output)).unwrap()
}

fn fixture(name: &str) -> String {
    format!("{FIXTURES}/{name}")
}

/// A data folder that no server serves.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    async fn memory(&self, arguments: &[&str]) -> Output {
        let data = self.path("data").display().to_string();
        run(&[&["memory"], arguments, &["--data", &data]].concat(), &[]).await
    }
}

fn lines(path: &Path, lines: &[Value]) -> String {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(path, text).unwrap();
    path.display().to_string()
}

fn note(id: u32, text: &str, user: &str) -> Value {
    json!({"id": format!("01990000-0000-7000-8000-{id:012}"), "text": text, "kind": "note", "user": user, "created_at": "2026-01-02T03:04:05Z"})
}

#[tokio::test]
async fn what_is_remembered_is_searched_listed_shown_and_deleted() {
    let folder = Folder::new();
    let mut door = note(1, "The office door code is 4711.", "ada");
    door["metadata"] = json!({"a": 1});
    door["representations"] = json!([{"kind": "questions", "text": "How do I get inside?"}]);
    let file = lines(
        &folder.path("in.jsonl"),
        &[door, note(2, "Lunch is at noon.", "ada"), note(3, "Bob's door is blue.", "bob")],
    );
    assert_eq!(json_of(&folder.memory(&["import", &file, "--json"]).await), json!({"added": 3, "present": 0}));

    let search = ["search", "which code has the door?", "--user", "ada"];
    let found = folder.memory(&[&search[..], &["--explain"]].concat()).await;
    assert!(String::from_utf8_lossy(&found.stderr).contains("words alone"), "{found:?}");
    let found = out(&found);
    assert!(found.contains("4711") && found.contains("sparse text") && !found.contains("Bob"), "{found}");
    let found = json_of(&folder.memory(&[&search[..], &["--explain", "--json"]].concat()).await);
    assert_eq!(
        (found["items"].as_array().unwrap().len(), &found["items"][0]["metadata"]),
        (1, &json!({"a": 1})),
        "{found}"
    );
    assert_eq!(found["items"][0]["explain"]["legs"][0]["method"], "sparse");
    assert!(found["words_alone"].as_str().unwrap().contains("memory.embedder"), "{found}");
    assert_eq!(json_of(&folder.memory(&["search", "door", "--user", "eve", "--json"]).await)["items"], json!([]));

    let listed = json_of(&folder.memory(&["list", "--user", "ada", "--json"]).await);
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    assert_eq!(json_of(&folder.memory(&["list", "--kind", "fact", "--json"]).await), json!([]));
    assert!(out(&folder.memory(&["list"]).await).contains("Lunch is at noon."));

    let id = "01990000-0000-7000-8000-000000000001";
    let shown = json_of(&folder.memory(&["show", id, "--json"]).await);
    assert_eq!(
        (&shown["representations"][0]["kind"], &shown["version"], &shown["history"]),
        (&json!("questions"), &json!(1), &json!([]))
    );
    assert!(out(&folder.memory(&["show", id]).await).contains("4711"));

    assert_eq!(json_of(&folder.memory(&["delete", id, "--json"]).await), json!({"deleted": 1}));
    assert_eq!(json_of(&folder.memory(&["delete", "--user", "ada", "--json"]).await), json!({"deleted": 1}));
    assert_eq!(json_of(&folder.memory(&["list", "--json"]).await).as_array().unwrap().len(), 1);
    let check = json_of(&folder.memory(&["check", "--json"]).await);
    assert_eq!((&check["memories"], &check["drift_total"]), (&json!(1), &json!(0)));
}

#[tokio::test]
async fn what_cannot_be_done_is_said() {
    let folder = Folder::new();
    let good = note(1, "Lunch is at noon.", "ada");
    let file = lines(&folder.path("in.jsonl"), std::slice::from_ref(&good));
    out(&folder.memory(&["import", &file]).await);
    let wrong_time = lines(
        &folder.path("time.jsonl"),
        &[json!({"id": good["id"], "text": "x", "kind": "note", "created_at": "noon"})],
    );
    let wrong_field = lines(
        &folder.path("field.jsonl"),
        &[json!({"id": good["id"], "text": "x", "kind": "dream", "created_at": "noon"})],
    );
    let nothing = lines(&folder.path("none.jsonl"), &[json!({"query": "x", "expected": []})]);
    let id = "01990000-0000-7000-8000-000000000099";
    for (code, says, arguments) in [
        (1, "no memory", vec!["show", id]),
        (1, "no memory", vec!["delete", id]),
        (2, "is not a memory's id", vec!["show", "x"]),
        (2, "--user", vec!["delete"]),
        (2, "--since", vec!["list", "--since", "sometime"]),
        (2, "--kind", vec!["list", "--kind", "dream"]),
        (1, "no project", vec!["list", "--project", "nowhere"]),
        (1, "line 1", vec!["import", &wrong_time]),
        (1, "line 1", vec!["import", &wrong_field]),
        (1, "cannot read", vec!["import", "/nonexistent"]),
        (1, "File exists", vec!["export", &file]),
        (1, "expected", vec!["eval", &nothing]),
        (1, "has no memory", vec!["eval", "/tmp/unwritten", "--make", "3", "--user", "eve"]),
    ] {
        let output = folder.memory(&arguments).await;
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(says), "{arguments:?}: {output:?}");
    }
}

#[tokio::test]
async fn an_export_is_imported_elsewhere_and_twice_is_as_good_as_once() {
    let (one, other) = (Folder::new(), Folder::new());
    out(&one.memory(&["import", &fixture("conversations.jsonl")]).await);
    let file = one.path("out.jsonl").display().to_string();
    out(&one.memory(&["export", &file]).await);
    assert_eq!(json_of(&other.memory(&["import", &file, "--json"]).await), json!({"added": 120, "present": 0}));
    assert_eq!(json_of(&other.memory(&["import", &file, "--json"]).await), json!({"added": 0, "present": 120}));
    assert_eq!(out(&other.memory(&["export"]).await), std::fs::read_to_string(&file).unwrap());
    let of_ada = out(&other.memory(&["export", "--user", "ada"]).await);
    assert_eq!((of_ada.lines().count(), out(&other.memory(&["export", "--user", "bob"]).await).as_str()), (120, ""));
}

impl Stand {
    async fn memory(&self, arguments: &[&str]) -> Output {
        self.privet(&[&["memory"], arguments].concat()).await
    }

    /// Waits until the worker has done all.
    pub(crate) async fn until_indexed(&self) {
        for _ in 0..600 {
            let check = self.memory(&["check", "--json"]).await;
            let check: Value = serde_json::from_slice(&check.stdout).unwrap_or_default();
            if check["outbox"] == 0 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("the outbox is not empty: {}", self.server.logs());
    }
}

fn recall_of(evaluated: &Value, setting: &str, language: Option<&str>) -> (f64, f64) {
    let settings = evaluated["settings"].as_array().unwrap();
    let setting = settings.iter().find(|one| one["name"] == setting).unwrap_or_else(|| panic!("{evaluated}"));
    let figures = language.map_or(&setting["all"], |language| &setting["languages"][language]);
    (figures["recall"]["mean"].as_f64().unwrap(), figures["ndcg"]["mean"].as_f64().unwrap())
}

/// The figures that stand here were found when the set was written. Better ones may take their place; worse ones are a regression.
#[tokio::test]
async fn the_words_of_a_small_polish_and_english_set_are_found_as_well_as_before() {
    let stand = Stand::start().await;
    out(&stand.memory(&["import", &fixture("conversations.jsonl")]).await);
    stand.until_indexed().await;
    let questions = fixture("questions.jsonl");
    let evaluated =
        json_of(&stand.memory(&["eval", &questions, "--legs", "sparse,sparse-window,configured", "--json"]).await);
    for (setting, language, recall_min, ndcg_min) in [
        ("sparse", "en", 0.822, 0.656),
        ("sparse", "pl", 0.741, 0.663),
        ("sparse-window", "en", 0.919, 0.687),
        ("sparse-window", "pl", 0.854, 0.661),
        ("configured", "en", 0.887, 0.704),
        ("configured", "pl", 0.854, 0.719),
    ] {
        let (recall, ndcg) = recall_of(&evaluated, setting, Some(language));
        assert!(recall >= recall_min && ndcg >= ndcg_min, "{setting} {language}: {recall} {ndcg}");
    }
    let table = out(&stand.memory(&["eval", &questions]).await);
    assert!(
        table.contains("62 questions") && table.contains("pl (31 questions)") && table.contains("recall@10"),
        "{table}"
    );
    assert!(!table.contains("dense"), "without an embedder nothing is found by meaning alone: {table}");
}

/// Descriptions that say nothing new, of every third memory: what they find anew must not push out what was found before.
#[tokio::test]
async fn an_evaluation_shows_what_descriptions_bring_and_those_of_a_few_memories_cost_little() {
    let folder = Folder::new();
    let set = std::fs::read_to_string(fixture("conversations.jsonl")).unwrap();
    let mut turns: Vec<Value> = set.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for turn in turns.iter_mut().step_by(3) {
        turn["representations"] = json!([{"kind": "facts", "text": turn["text"]}]);
    }
    out(&folder.memory(&["import", &lines(&folder.path("turns.jsonl"), &turns)]).await);
    let questions = fixture("questions.jsonl");
    let legs = ["eval", &questions, "--legs", "undescribed,configured", "--json"];
    let evaluated = json_of(&folder.memory(&legs).await);
    let (before, with) = (recall_of(&evaluated, "undescribed", None), recall_of(&evaluated, "configured", None));
    eprintln!("without {before:?}, with {with:?}");
    assert!(with.0 >= before.0 - 0.02 && with.1 >= before.1 - 0.02, "without {before:?}, with {with:?}");

    let mut door = note(1, "The office door code is 4711.", "ada");
    door["representations"] = json!([{"kind": "questions", "text": "How do I get inside?"}]);
    out(&folder.memory(&["import", &lines(&folder.path("door.jsonl"), &[door.clone()])]).await);
    let case = json!({"query": "inside", "expected": [door["id"]], "user": "ada"});
    let case = lines(&folder.path("case.jsonl"), &[case]);
    let evaluated = json_of(&folder.memory(&["eval", &case, "--legs", "undescribed,configured", "--json"]).await);
    let recall = |setting| recall_of(&evaluated, setting, None).0;
    assert_eq!((recall("undescribed"), recall("configured")), (0.0, 1.0), "{evaluated}");
}

#[tokio::test]
async fn cases_are_made_of_ones_own_messages_and_judged() {
    let folder = Folder::new();
    out(&folder.memory(&["import", &fixture("conversations.jsonl")]).await);
    let (file, again) =
        (folder.path("cases.jsonl").display().to_string(), folder.path("again.jsonl").display().to_string());
    out(&folder.memory(&["eval", &file, "--make", "30", "--user", "ada"]).await);
    out(&folder.memory(&["eval", &again, "--make", "30", "--user", "ada"]).await);
    let made = std::fs::read_to_string(&file).unwrap();
    assert_eq!((made.lines().count(), &made), (30, &std::fs::read_to_string(&again).unwrap()));
    let evaluated = json_of(&folder.memory(&["eval", &file, "--legs", "sparse", "-k", "5", "--json"]).await);
    let (recall, _) = recall_of(&evaluated, "sparse", None);
    assert!(recall > 0.9, "half of the words of a text find it: {recall}");
    let mistaken = lines(
        &folder.path("mistaken.jsonl"),
        &[json!({"query": "dog", "expected": ["01990000-0000-7000-8000-000000000099"], "user": "ada"})],
    );
    let output = folder.memory(&["eval", &mistaken, "--json"]).await;
    assert!(String::from_utf8_lossy(&output.stderr).contains("no memories of their user"), "{output:?}");
    assert_eq!(recall_of(&json_of(&output), "sparse", None), (0.0, 0.0));
}

#[tokio::test]
async fn meaning_is_searched_beside_a_server_and_without_one() {
    let mut stand = Stand::with_config(EMBEDDER).await;
    out(&stand.memory(&["import", &fixture("conversations.jsonl")]).await);
    stand.until_indexed().await;
    let folder = Folder::new();
    let listen = stand.server.url().strip_prefix("http://").unwrap().to_owned();
    let config = folder.path("privet.toml");
    let provider = format!("[providers.openai]\nbase_url = \"{}/v1\"\n", stand.mock.base_url());
    std::fs::write(&config, format!("[server]\nlisten = \"{listen}\"\n{EMBEDDER}{provider}")).unwrap();
    let (config, data) = (config.display().to_string(), stand.server.data_dir().display().to_string());
    let questions = fixture("questions.jsonl");
    let key = stand.server.key().to_owned();
    let environment = [("OPENAI_API_KEY", "test"), ("PERSONAL_API_KEY", key.as_str())];
    let common = ["--data", &data, "--config", &config, "--json"];
    let search = [&["memory", "search", "what is our dog called", "--user", "ada"], &common[..]].concat();
    let eval = [&["memory", "eval", &questions], &common[..]].concat();

    let beside = (json_of(&run(&search, &environment).await), json_of(&run(&eval, &environment).await));
    assert_eq!(beside.0["words_alone"], Value::Null, "{}", beside.0);
    assert!(beside.1["settings"].as_array().unwrap().iter().any(|one| one["name"] == "dense"), "{}", beside.1);
    // The server goes on: nobody took its budgets.
    assert_eq!(stand.chat(crate::stand::ask("openai/gpt-4o-mini", "hello")).await.status, 200);

    stand.server.terminate().await.unwrap();
    let usage = ["usage", "--user", "memory", "--json", "--data", &data];
    let calls = json_of(&run(&usage, &[]).await)["calls"].as_u64().unwrap();
    let alone = (json_of(&run(&search, &environment).await), json_of(&run(&eval, &environment).await));
    assert_eq!(
        (alone.0["items"][0]["id"].as_str(), &alone.0["words_alone"]),
        (beside.0["items"][0]["id"].as_str(), &Value::Null)
    );
    // Words are rarer or less rare by the chat in between; what is near is as near.
    let dense = |evaluated: &Value| {
        evaluated["settings"].as_array().unwrap().iter().find(|one| one["name"] == "dense").cloned()
    };
    assert_eq!(dense(&alone.1), dense(&beside.1), "the same questions find the same");
    let calls_then = json_of(&run(&usage, &[]).await)["calls"].as_u64().unwrap();
    assert_eq!(calls_then, calls + 2, "the ledger has the call of each command");
}
