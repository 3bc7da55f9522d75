//! The command line: exit codes, help, keys, chat, sample data, conversations, configuration.

use std::process::Output;

use privet_testkit::upstream::{Behaviour, DEFAULT_CONTENT};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::stand::{Answer, CALLED_ONCE, Stand, ask, run};

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test]
async fn help_says_what_there_is() {
    for command in [
        "",
        "serve",
        "chat",
        "keys",
        "keys create",
        "keys update",
        "conversations",
        "config",
        "migrate",
        "seed",
        "erase",
        "drill",
        "drill attack",
        "memory",
        "memory search",
        "memory list",
        "memory show",
        "memory delete",
        "memory export",
        "memory import",
        "memory eval",
        "memory documents",
        "memory remember",
        "models",
        "selftest",
        "traces",
        "traces list",
        "traces show",
        "traces tail",
        "version",
    ] {
        let arguments: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let output = run(&arguments, &[]).await;
        assert_eq!(output.status.code(), Some(0), "{command}");
        insta::assert_snapshot!(format!("help {command}").trim().replace(' ', "_"), out(&output));
    }
}

#[tokio::test]
async fn models_are_listed_with_what_they_can_do_what_they_cost_and_until_when_they_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let environment = [("OPENAI_API_KEY", "sk-canary"), ("GEMINI_API_KEY", "canary")];
    let listed = run(&["models", "--data", &data, "gpt-3.5"], &environment).await;
    let line = out(&listed);
    assert!(line.starts_with("openai/gpt-3.5-turbo") && line.contains("$0.50 in, $1.50 out"), "{line}");
    assert!(line.contains("shut down since 2026-10-23, use openai/gpt-4.1-mini"), "{line}");
    let listed = run(&["models", "--data", &data, "--provider", "gemini", "--json"], &environment).await;
    let listed: Vec<Value> = serde_json::from_slice(&listed.stdout).unwrap();
    let found = listed.iter().find(|row| row["model"] == "gemini/gemini-2.5-pro").unwrap();
    assert_eq!((&found["shutdown"], &found["context_tokens"]), (&json!("2026-12-01"), &json!(1_048_576)), "{found}");
    assert!(found["abilities"].as_array().unwrap().contains(&json!("images")), "{found}");
    assert!(listed.iter().all(|row| row["model"].as_str().unwrap().starts_with("gemini/")), "{listed:?}");
    let unconfigured = run(&["models", "--data", &data, "claude"], &environment).await;
    assert_eq!((unconfigured.status.code(), out(&unconfigured).as_str()), (Some(0), ""), "{unconfigured:?}");
    assert!(err(&unconfigured).contains("no such model of a configured provider"), "{unconfigured:?}");
}

#[tokio::test]
async fn exit_codes_tell_programs_what_happened() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let broken = folder.path().join("broken.toml");
    std::fs::write(&broken, "[server]\nlisten = 1\n").unwrap();
    let broken = broken.display().to_string();
    assert_eq!(run(&["keys", "list", "--data", &data], &[]).await.status.code(), Some(78), "nobody made it");
    assert!(run(&["keys", "create", "--name", "x", "--data", &data], &[]).await.status.success());
    for (code, arguments) in [
        (0, vec!["version"]),
        (0, vec!["--version"]),
        (0, vec!["keys", "list"]),
        (1, vec!["keys", "revoke", "nobody"]),
        (1, vec!["conversations", "show", "01890000-0000-7000-8000-000000000000"]),
        (2, vec![]),
        (2, vec!["nonsense"]),
        (2, vec!["keys", "create"]),
        (2, vec!["keys", "create", "--name", "x", "--expires", "yesterday"]),
        (1, vec!["keys", "update", "nobody", "--rate", "60/1m"]),
        (2, vec!["keys", "update", "nobody", "--concurrency", "few"]),
        (2, vec!["conversations", "show", "not-an-id"]),
        (69, vec!["chat", "hello", "--url", "http://127.0.0.1:9"]),
        (78, vec!["config", "show", "--config", &broken]),
        (78, vec!["keys", "list", "--config", "/nonexistent/privet.toml"]),
    ] {
        let mut all = arguments.clone();
        if !arguments.is_empty() && arguments != ["--version"] && arguments != ["nonsense"] {
            all.extend(["--data", data.as_str()]);
        }
        let output = run(&all, &[]).await;
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        if code == 0 {
            assert!(err(&output).is_empty(), "{arguments:?}: {output:?}");
        } else {
            assert!(out(&output).is_empty() && !err(&output).is_empty(), "{arguments:?}: {output:?}");
        }
    }
}

#[tokio::test]
async fn a_mistyped_data_folder_is_missed_and_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("mistyped").display().to_string();
    let id = "01890000-0000-7000-8000-000000000000";
    for arguments in [
        &["usage"][..],
        &["explain", id],
        &["reconcile"],
        &["reconcile", "release"],
        &["kill"],
        &["kill", "--all"],
        &["resume", "--all"],
        &["keys", "list"],
        &["keys", "revoke", id],
        &["conversations", "list"],
    ] {
        let output = run(&[arguments, &["--data", &data]].concat(), &[]).await;
        assert_eq!((output.status.code(), out(&output).as_str()), (Some(78), ""), "{arguments:?}: {output:?}");
        assert!(err(&output).contains("mistyped/privet.db") && err(&output).contains("--data"), "{output:?}");
    }
    assert!(!std::path::Path::new(&data).exists());
}

#[tokio::test]
async fn limits_that_begin_with_a_hyphen_are_answered_with_what_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().display().to_string();
    for (flag, value, hint) in [
        ("--budget", "-1/day", "negative"),
        ("--expires", "-3d", "write a time from now"),
        ("--rate", "-5/1m", "--rate"),
        ("--concurrency", "-1", "write a number of calls"),
    ] {
        let output = run(&["keys", "create", "--name", "x", flag, value, "--data", &data], &[]).await;
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(err(&output).contains(value) && err(&output).contains(hint), "{flag} {value}: {output:?}");
    }
}

#[tokio::test]
async fn a_model_or_price_of_no_provider_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let create = ["keys", "create", "--name", "x", "--data", &data, "--models"];
    let odd = run(&[&create[..], &["nope/gpt,offline/echo"]].concat(), &[]).await;
    assert!(odd.status.success() && err(&odd).contains("answers for `nope/gpt`"), "{odd:?}");
    assert!(!err(&odd).contains("answers for `offline/echo`"), "{odd:?}");
    let prices = folder.path().join("prices.toml");
    std::fs::write(&prices, "[[price]]\nmodel = \"nope/gpt\"\ninput = 1\noutput = 1\n").unwrap();
    let toml = format!("prices = \"{}\"\n", prices.display());
    let server = privet_testkit::privet_process::PrivetProcess::builder(crate::stand::PRIVET).config_toml(&toml);
    let logs = server.start().await.logs();
    assert!(logs.contains("no provider is called `nope`"), "{logs}");
}

#[tokio::test]
async fn a_call_under_way_is_one_of_which_it_is_too_early_to_tell() {
    let stand = Stand::start().await;
    stand.mock.script(Behaviour::text("one two").hang());
    let waiting = tokio::spawn(stand.post("/v1/chat/completions", ask("gpt-4o", "hey").to_string()).send());
    stand.mock.wait_for(|stats| stats.in_flight == 1).await;
    let output = stand.privet(&["reconcile"]).await;
    assert!(out(&output).starts_with("0 calls whose process died"), "{output:?}");
    assert!(
        err(&output).contains("1 calls have not ended") && err(&output).contains("too early to tell"),
        "{output:?}"
    );
    waiting.abort();
}

#[tokio::test]
async fn a_key_is_made_listed_rotated_and_revoked_and_the_running_server_knows_at_once() {
    let stand = Stand::start().await;
    let status = async |key: &str| {
        let request = stand.client.get(format!("{}/v1/models", stand.server.url())).bearer_auth(key.to_owned());
        Answer::of(request).await.status
    };
    let created = stand.privet(&["keys", "create", "--name", "laptop", "--user", "ada", "--json"]).await;
    let created: Value = serde_json::from_str(&out(&created)).unwrap();
    let (id, key) = (created["id"].as_str().unwrap(), created["key"].as_str().unwrap());
    assert!(key.starts_with("privet_"));
    assert_eq!(status(key).await, 200);

    let list = stand.privet(&["keys", "list"]).await;
    assert!(out(&list).contains("laptop  user ada  project default  valid"), "{list:?}");
    assert!(!out(&list).contains(key));
    let list = stand.privet(&["keys", "list", "--json"]).await;
    let listed: Value = serde_json::from_str(&out(&list)).unwrap();
    assert!(listed.as_array().unwrap().iter().any(|one| one["id"] == id), "{listed}");
    assert!(!out(&list).contains(key) && !out(&list).contains("hash"), "{list:?}");

    let rotated = stand.privet(&["keys", "rotate", id, "--overlap", "1h"]).await;
    let successor = out(&rotated).trim().to_owned();
    assert_eq!((status(key).await, status(&successor).await), (200, 200), "both are valid for the overlap");

    let revoked = stand.privet(&["keys", "revoke", id]).await;
    assert!(out(&revoked).starts_with("Revoked "), "{revoked:?}");
    assert_eq!((status(key).await, status(&successor).await), (401, 200));

    let short = stand.privet(&["keys", "create", "--name", "short", "--expires", "300ms"]).await;
    let short = out(&short).trim().to_owned();
    let expired = async {
        while status(&short).await != 401 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), expired).await.unwrap();
}

#[tokio::test]
async fn a_mistyped_key_is_refused() {
    let stand = Stand::start().await;
    let key = out(&stand.privet(&["keys", "create", "--name", "x"]).await).trim().to_owned();
    let mut mistyped = key.clone();
    let last = mistyped.pop().unwrap();
    mistyped.push(if last == 'a' { 'b' } else { 'a' });
    let request = stand.client.get(format!("{}/v1/models", stand.server.url())).bearer_auth(mistyped);
    assert_eq!(Answer::of(request).await.status, 401);
}

#[tokio::test]
async fn chat_prints_the_answer_and_says_how_to_go_on() {
    let stand = Stand::start().await;
    let (url, key) = (stand.server.url(), stand.server.key());
    let first = run(&["chat", "hey", "--url", url, "--key", key], &[]).await;
    assert_eq!((first.status.code(), out(&first)), (Some(0), format!("{DEFAULT_CONTENT}\n")), "{first:?}");
    let id = err(&first).trim().strip_prefix("Continue with: privet chat --conversation ").unwrap().to_owned();
    let second = run(&["chat", "more", "--url", url, "--conversation", &id], &[("PRIVET_API_KEY", key)]).await;
    assert_eq!(second.status.code(), Some(0), "{second:?}");
    assert_eq!(stand.sent_thread(), ["user: hey", &format!("assistant: {DEFAULT_CONTENT}"), "user: more"]);
    assert_eq!(stand.thread(&id).await.len(), 4);
    let other = run(&["chat", "hey", "--url", url, "--key", key, "--model", "gpt-4o-mini"], &[]).await;
    assert_eq!((other.status.code(), stand.sent().body["model"].as_str()), (Some(0), Some("gpt-4o-mini")));
}

#[tokio::test]
async fn chat_without_a_key_makes_one_for_itself_and_revokes_it() {
    let stand = Stand::start().await;
    let output = stand.privet(&["chat", "hey", "--url", stand.server.url()]).await;
    assert_eq!((output.status.code(), out(&output)), (Some(0), format!("{DEFAULT_CONTENT}\n")), "{output:?}");
    let list = out(&stand.privet(&["keys", "list"]).await);
    let own = list.lines().find(|line| line.contains("privet chat")).unwrap_or_else(|| panic!("{list}"));
    assert!(own.contains("revoked"), "{own}");
}

#[tokio::test]
async fn chat_tells_refusals_and_failures_by_words_and_exit_code() {
    let stand = Stand::with_config(CALLED_ONCE).await;
    let (url, key) = (stand.server.url(), stand.server.key());
    let wrong = run(&["chat", "hey", "--url", url, "--key", "wrong"], &[]).await;
    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
    assert!(err(&wrong).contains("401") && err(&wrong).contains("Invalid token"), "{wrong:?}");
    stand.mock.script_once(Behaviour::error(500));
    let failed = run(&["chat", "hey", "--url", url, "--key", key], &[]).await;
    assert_eq!(failed.status.code(), Some(69), "{failed:?}");
    stand.mock.script_once(Behaviour::text("one two three").cut_after_chunks(1));
    let cut = run(&["chat", "hey", "--url", url, "--key", key], &[]).await;
    assert_eq!(cut.status.code(), Some(1), "{cut:?}");
    assert!(out(&cut).starts_with("one") && err(&cut).contains("cut in the middle"), "{cut:?}");
    let nobody = run(&["chat", "hey", "--url", "http://127.0.0.1:9", "--key", "x"], &[]).await;
    assert_eq!(nobody.status.code(), Some(69));
    assert!(err(&nobody).contains("http://127.0.0.1:9") && err(&nobody).contains("privet serve"), "{nobody:?}");
}

#[tokio::test]
async fn the_same_seed_gives_the_same_data() {
    let seeded = async |seed: &str| {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data").display().to_string();
        let arguments = ["seed", "--seed", seed, "--conversations", "5", "--data", &data];
        let output = run(&arguments, &[]).await;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let again = run(&arguments, &[]).await;
        assert_eq!(again.status.code(), Some(1), "sample data goes into a fresh project");
        let export = run(&["conversations", "export", "--data", &data], &[]).await;
        assert_eq!(out(&export).lines().count(), 5);
        out(&export)
    };
    let (one, same, other) = tokio::join!(seeded("7"), seeded("7"), seeded("8"));
    assert_eq!(one, same);
    assert_ne!(one, other);
}

#[tokio::test]
async fn conversations_are_listed_shown_deleted_and_exported_as_the_api_does() {
    let stand = Stand::start().await;
    stand.mock.script_once(Behaviour::text("one two three").tool_call("add", json!({"a": 1})));
    let first = stand.chat(ask("gpt-4o", "add")).await.conversation();
    stand.mock.script_once(Behaviour::text("one two three").cut_after_chunks(1));
    let second = stand.chat(crate::stand::ask_streamed("gpt-4o", "count")).await.conversation();

    let list = out(&stand.privet(&["conversations", "list"]).await);
    let ids: Vec<&str> = list.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(ids, [&second, &first]);
    let shown = out(&stand.privet(&["conversations", "show", &first]).await);
    assert!(shown.contains("user: add") && shown.contains("assistant: one two three"), "{shown}");

    let by_api = stand.get("/api/conversations/export").await;
    let by_hand = stand.privet(&["conversations", "export"]).await;
    let lines = |text: &str| -> Vec<Value> { text.lines().map(|line| serde_json::from_str(line).unwrap()).collect() };
    assert_eq!(lines(&out(&by_hand)), lines(by_api.text()), "nothing is lost on either way");

    let deleted = stand.privet(&["conversations", "delete", &first]).await;
    assert_eq!(deleted.status.code(), Some(0), "{deleted:?}");
    assert_eq!(stand.get(&format!("/api/conversations/{first}")).await.status, 404);
    assert_eq!(stand.privet(&["conversations", "delete", &first]).await.status.code(), Some(1));
}

#[tokio::test]
async fn a_database_of_the_lesson_is_imported_once_and_goes_on() {
    let stand = Stand::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("database.db");
    let url = format!("sqlite://{}?mode=rwc", file.display());
    let mut database = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let lesson = "CREATE TABLE messages (id INTEGER PRIMARY KEY AUTOINCREMENT, uuid TEXT NOT NULL, conversation_id TEXT NOT NULL,
         content TEXT NOT NULL, name TEXT, role TEXT NOT NULL, created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
         updated_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP);
         INSERT INTO messages (uuid, conversation_id, content, name, role) VALUES
         ('018f0000-0000-4000-8000-000000000001', '018f0000-0000-4000-8000-0000000000aa', 'Hey', 'Adam', 'user'),
         ('018f0000-0000-4000-8000-000000000002', '018f0000-0000-4000-8000-0000000000aa', 'Hello Adam', 'Alice', 'assistant');";
    sqlx::raw_sql(lesson).execute(&mut database).await.unwrap();
    database.close().await.unwrap();
    let path = file.display().to_string();
    let imported = stand.privet(&["conversations", "import", &path]).await;
    assert_eq!(out(&imported), "2 messages added in 1 new conversations; 0 were there already.\n", "{imported:?}");
    let again = stand.privet(&["conversations", "import", &path]).await;
    assert_eq!(out(&again), "0 messages added in 0 new conversations; 2 were there already.\n", "{again:?}");
    let remembered = stand.privet(&["memory", "remember"]).await;
    assert!(out(&remembered).starts_with("2 messages are remembered now"), "{remembered:?}");
    let found = stand.privet(&["memory", "search", "hello", "--json"]).await;
    assert!(out(&found).contains("Hello Adam"), "{found:?}");
    let id = "018f0000-0000-4000-8000-0000000000aa";
    assert_eq!(stand.thread(id).await, ["user: Hey", "assistant: Hello Adam"]);
    let body = json!({"conversation_id": id, "messages": [{"role": "user", "content": "Who am I?"}]});
    assert_eq!(stand.lesson(body).await.status, 200);
    assert_eq!(stand.sent_thread(), ["user: Hey", "assistant: Hello Adam", "user: Who am I?"]);

    for wrong in ["/nonexistent/database.db", crate::stand::PRIVET] {
        let refused = stand.privet(&["conversations", "import", wrong]).await;
        assert_eq!(refused.status.code(), Some(1), "{wrong}: {refused:?}");
        assert!(err(&refused).contains(wrong), "{refused:?}");
    }
}

#[tokio::test]
async fn the_configuration_is_shown_with_its_origins_and_without_its_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("privet.toml");
    let toml = "[server]\nlisten = \"127.0.0.1:4000\"\n\n[providers.groq]\nbase_url = \"http://127.0.0.1:9/v1\"\napi_key = \"canary-file\"\n";
    std::fs::write(&file, toml).unwrap();
    let path = file.display().to_string();
    let environment = [
        ("PERSONAL_API_KEY", "canary-personal"),
        ("OPENAI_API_KEY", "canary-openai"),
        ("DATABASE_URL", "postgres://me:canary-password@localhost/x"),
        ("PRIVET_HISTORY_RECORD", "continued"),
    ];
    for form in [&["--origin"][..], &["--json"], &[]] {
        let arguments = [&["config", "show", "--config", path.as_str()][..], form].concat();
        let output = run(&arguments, &environment).await;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(!format!("{output:?}").contains("canary"), "{output:?}");
        assert!(out(&output).contains("(secret)") && out(&output).contains("127.0.0.1:4000"), "{output:?}");
    }
    let output = run(&["config", "show", "--origin", "--config", &path], &environment).await;
    let line = |key: &str| {
        out(&output).lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key}")).to_owned()
    };
    assert!(line("server.listen").ends_with("privet.toml:2"), "{}", line("server.listen"));
    assert!(line("personal_api_key").ends_with("# environment PERSONAL_API_KEY"));
    assert!(line("history.record").ends_with("# environment PRIVET_HISTORY_RECORD"));
    assert!(line("server.body_timeout").ends_with("# default"));
    assert!(line("providers.groq.api_key").ends_with("privet.toml:6"), "{}", line("providers.groq.api_key"));
}

#[tokio::test]
async fn a_migration_is_planned_before_it_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let planned = run(&["migrate", "--dry-run", "--data", &data], &[]).await;
    assert!(out(&planned).starts_with("Would migrate from version 0:"), "{planned:?}");
    let done = run(&["migrate", "--data", &data], &[]).await;
    assert!(out(&done).starts_with("Migrated from version 0:"), "{done:?}");
    let again = run(&["migrate", "--data", &data], &[]).await;
    assert!(out(&again).starts_with("The schema is up to date"), "{again:?}");
}

#[tokio::test]
async fn without_any_configuration_the_server_answers_by_itself() {
    let server = privet_testkit::privet_process::PrivetProcess::builder(crate::stand::PRIVET).start().await;
    let body = json!({"messages": [{"role": "user", "content": "hey"}]}).to_string();
    let url = format!("{}/api/chat", server.url());
    let answer = crate::stand::client().request(Method::POST, url).bearer_auth(server.key()).body(body);
    let answer = Answer::of(answer).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.json()["choices"][0]["message"]["content"].is_string());
}
