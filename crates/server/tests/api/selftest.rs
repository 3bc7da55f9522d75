//! `privet selftest`: what works, what is degraded and what fails is told, the money is bounded, and no key is shown.

use privet_testkit::upstream::{Behaviour, Malformed, MockUpstream};
use serde_json::{Value, json};

use crate::stand::{CALLED_ONCE, PROVIDER_KEY, Stand, run};

const ODD: &str = "Zażółć 你好 👋🏽";
/// Nobody listens there, so that the command starts a server of its own.
const NOWHERE: &str = "127.0.0.1:9";

/// A provider as the tests know it: name, model, embedding model, and its word for a cut.
const PROVIDERS: [(&str, &str, Option<&str>, &str); 3] = [
    ("openai", "gpt-4o", Some("text-embedding-3-small"), "length"),
    ("anthropic", "claude-sonnet-4-5", None, "max_tokens"),
    ("gemini", "gemini-2.5-flash", Some("gemini-embedding-001"), "MAX_TOKENS"),
];

fn paris() -> Behaviour {
    Behaviour::new().tool_call("get_weather", json!({"city": "Paris"}))
}

/// Answers to the checks in their order, by a model that can do everything.
fn able(cut: &str, thinks: bool) -> Vec<Behaviour> {
    let text = |text: &str| Behaviour::text(text);
    let mut answers = vec![
        text("privet"),
        text("privet"),
        text("BANANA"),
        text("7421"),
        text(ODD),
        text("1, 2, 3, 4, "),
        text("one two").finish_reason(cut),
        text("one two three").chunks(3),
        text("one two three").chunks(3),
        text("privet"),
        text("one two three").chunks(3),
        paris(),
        paris(),
        text("It is 21 degrees."),
        paris().tool_call("get_weather", json!({"city": "Rome"})),
        paris(),
        Behaviour::new().tool_call("get_time", json!({})),
        paris(),
        text("{\"city\": \"Lyon\"}"),
        text("Red."),
    ];
    if thinks {
        answers.push(text("391").thinking("Hm.", "c2ln"));
    }
    answers
}

fn script(mock: &MockUpstream, model: &str, answers: Vec<Behaviour>) {
    for answer in answers {
        mock.script_model_once(model, answer);
    }
}

/// What comes behind the answers of [`able`].
fn script_end(mock: &MockUpstream, model: &str) {
    // A temperature that Anthropic's dialect has no room for is refused before anybody is called.
    if !model.starts_with("claude") {
        mock.script_model_once(model, Behaviour::error(400).error_message("temperature is out of range"));
    }
    mock.script_model_once(model, Behaviour::text("one two three four five").chunks(5).slow_drip_ms(200));
    mock.script_model("privet-selftest-no-such-model", Behaviour::error(404).error_message("no such model"));
}

struct Told {
    code: i32,
    out: String,
    err: String,
}

impl Told {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {} {}", self.out, self.err))
    }

    fn outcomes(&self) -> Vec<(String, String)> {
        let checks = self.json()["checks"].as_array().unwrap().clone();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        checks.iter().map(|check| (text(&check["check"]), text(&check["outcome"]))).collect()
    }

    fn of(&self, outcome: &str) -> Vec<String> {
        self.outcomes().into_iter().filter(|(_, found)| found == outcome).map(|(check, _)| check).collect()
    }

    fn note(&self, check: &str) -> String {
        let checks = self.json()["checks"].as_array().unwrap().clone();
        checks.iter().find(|found| found["check"] == check).unwrap()["note"].as_str().unwrap().to_owned()
    }
}

/// Runs the command with the stand's providers and data.
async fn selftest(mock: &MockUpstream, data: &str, arguments: &[&str]) -> Told {
    let openai = format!("{}/v1", mock.base_url());
    let environment = [
        ("OPENAI_API_KEY", PROVIDER_KEY),
        ("OPENAI_BASE_URL", openai.as_str()),
        ("ANTHROPIC_API_KEY", PROVIDER_KEY),
        ("ANTHROPIC_BASE_URL", &mock.base_url()),
        ("GEMINI_API_KEY", PROVIDER_KEY),
        ("GEMINI_BASE_URL", &mock.base_url()),
        ("PRIVET_SERVER_LISTEN", NOWHERE),
        ("PRIVET_ROUTING_RETRIES", "0"),
        ("PRIVET_MEMORY_ENABLED", "false"),
    ];
    let output = run(&[&["selftest"], arguments, &["--data", data]].concat(), &environment).await;
    let told = Told {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    };
    assert!(!told.out.contains("canary") && !told.err.contains("canary"), "a key is shown: {} {}", told.out, told.err);
    told
}

/// Numbers that differ from run to run.
fn steady(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let word = |at: usize| match words.get(at + 1) {
            Some(&("ms" | "ms,")) if words[at].parse::<u64>().is_ok() => "N",
            _ => words[at],
        };
        let line = (0..words.len()).map(word).collect::<Vec<_>>().join(" ");
        // The column of times is as wide as its widest.
        lines.push(line.split("  ").filter(|part| !part.is_empty()).map(str::trim).collect::<Vec<_>>().join("  "));
    }
    lines.join("\n")
}

#[tokio::test]
async fn a_provider_that_can_do_everything_works_in_each_dialect() {
    for (provider, model, embedding_model, cut) in PROVIDERS {
        let stand = Stand::with_config(CALLED_ONCE).await;
        let data = stand.server.data_dir().display().to_string();
        script(&stand.mock, model, able(cut, provider != "openai"));
        let mut arguments = vec![provider, "--json", "--model", model, "--url", stand.server.url()];
        if provider == "openai" {
            arguments.extend(["--image-url", "https://example.org/a.png"]);
            script(&stand.mock, model, vec![Behaviour::text("Red.")]);
        }
        script_end(&stand.mock, model);
        arguments.extend(embedding_model.iter().flat_map(|model| ["--embedding-model", model]));
        let told = selftest(&stand.mock, &data, &arguments).await;
        let (fails, degraded) = (told.of("fails"), told.of("degraded"));
        assert!(told.code == 0 && fails.is_empty() && degraded.is_empty(), "{provider}: {} {}", told.out, told.err);
        let expected: &[&str] = match provider {
            "openai" => &["thinking", "count of tokens"],
            "anthropic" => &["image by URL", "embeddings"],
            _ => &["image by URL"],
        };
        assert_eq!(told.of("skipped"), expected, "{provider}");
        let seen = stand.mock.requests().iter().filter(|sent| sent.body.to_string().contains("example.org")).count();
        assert_eq!(seen, usize::from(provider == "openai"), "the URL is passed to the provider");
        let all = told.json();
        let (most, cost) = (all["cost_max_nanos"].as_i64().unwrap(), all["cost_nanos"].as_i64().unwrap());
        assert!(0 < cost && cost <= most, "{provider}: {cost} of {most}");
        let conversations = stand.conversations().await;
        assert_eq!(conversations, 0, "nothing is kept as a conversation");
        let keys = String::from_utf8(stand.privet(&["keys", "list", "--json"]).await.stdout).unwrap();
        let keys: Vec<Value> = serde_json::from_str(&keys).unwrap();
        let made: Vec<&Value> = keys.iter().filter(|key| key["name"] == "selftest").collect();
        assert_eq!(made.len(), 2);
        assert!(made.iter().all(|key| !key["revoked_at"].is_null()), "{made:?}");
    }
}

#[tokio::test]
async fn without_a_server_one_is_started_for_the_moment_and_the_table_is_shown() {
    let mock = MockUpstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    script(&mock, "gpt-4o", able("length", false));
    script_end(&mock, "gpt-4o");
    let told = selftest(&mock, &data, &["openai"]).await;
    assert_eq!(told.code, 0, "{} {}", told.out, told.err);
    assert!(told.err.contains("Testing openai/gpt-4o through http://127.0.0.1:"), "{}", told.err);
    insta::assert_snapshot!(steady(&told.out));
    let again = selftest(&mock, &data, &["openai", "--json"]).await;
    assert!(again.json()["calls"].as_i64().unwrap() > 0, "the folder is free again: {}", again.err);
}

#[tokio::test]
async fn what_is_ignored_is_degraded_and_what_breaks_fails_with_what_to_do() {
    let stand = Stand::with_config(CALLED_ONCE).await;
    let data = stand.server.data_dir().display().to_string();
    let model = "gpt-4o";
    script(
        &stand.mock,
        model,
        vec![
            Behaviour::text("privet"),
            Behaviour::text("privet").no_usage(),
            Behaviour::text("four"),
            Behaviour::text("I cannot know."),
            Behaviour::text("Zazolc"),
            Behaviour::text("1, 2, 3, 4, 5, 6"),
            Behaviour::text("one two"),
            Behaviour::text("one two three").chunks(3).cut_after_chunks(1),
            Behaviour::text("one two three").chunks(3).no_usage(),
            Behaviour::error(500),
            Behaviour::text("one two three").chunks(3).cut_after_chunks(2),
            Behaviour::text("It is sunny."),
            Behaviour::text("It is sunny."),
            paris(),
            paris(),
            Behaviour::new().tool_call("get_time", json!({})),
            Behaviour::text("Hello!"),
            Behaviour::text("Lyon"),
            Behaviour::error(400).error_message("this model takes no pictures"),
            Behaviour::text("It is warm."),
            Behaviour::text("one two three four five").chunks(5).slow_drip_ms(200),
        ],
    );
    stand.mock.script_model("privet-selftest-no-such-model", Behaviour::error(500));
    let told = selftest(&stand.mock, &data, &["openai", "--json", "--url", stand.server.url()]).await;
    assert_eq!(told.code, 1, "{} {}", told.out, told.err);
    let lines = told.outcomes().into_iter().map(|(check, outcome)| {
        let note = told.note(&check);
        steady(&format!("{check}: {outcome}: {note}"))
    });
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"));
}

#[tokio::test]
async fn a_provider_that_cannot_be_used_is_told_once() {
    let stand = Stand::with_config(CALLED_ONCE).await;
    let data = stand.server.data_dir().display().to_string();
    for (behaviour, note) in [
        (Behaviour::error(401).error_message("Incorrect API key"), "mend the provider's key"),
        (Behaviour::error(404).error_message("no such model"), "--model"),
    ] {
        stand.mock.script(behaviour);
        let told = selftest(&stand.mock, &data, &["anthropic", "--json", "--url", stand.server.url()]).await;
        assert_eq!(told.code, 69, "{} {}", told.out, told.err);
        assert!(told.note("chat").contains(note) && told.err.contains("cannot be used"), "{} {}", told.out, told.err);
        assert_eq!(told.of("works"), [""; 0]);
        assert_eq!((told.of("fails"), told.json()["usable"].clone()), (vec!["chat".to_owned()], json!(false)));
    }
}

#[tokio::test]
async fn another_dialect_is_recognised() {
    let stand = Stand::with_config(CALLED_ONCE).await;
    let data = stand.server.data_dir().display().to_string();
    stand.mock.script(Behaviour::new().malformed(Malformed::BadJson));
    let told = selftest(&stand.mock, &data, &["openai", "--json", "--url", stand.server.url()]).await;
    assert_eq!(told.code, 1, "{}", told.out);
    assert!(told.note("chat").contains("another dialect"), "{}", told.note("chat"));
}

#[tokio::test]
async fn what_is_asked_wrongly_says_what_is_right() {
    let mock = MockUpstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let unknown = selftest(&mock, &data, &["mistral"]).await;
    assert_eq!(unknown.code, 2);
    assert!(unknown.err.contains("`mistral`") && unknown.err.contains("openai, anthropic, gemini"), "{}", unknown.err);
    let nobody = selftest(&mock, &data, &["openai", "--url", "http://127.0.0.1:9"]).await;
    assert_eq!(nobody.code, 69);
    assert!(nobody.err.contains("no server answers at http://127.0.0.1:9"), "{}", nobody.err);
}

#[tokio::test]
async fn what_works_only_when_it_is_repeated_is_degraded() {
    let stand = Stand::start().await;
    let data = stand.server.data_dir().display().to_string();
    stand.mock.script_once(Behaviour::error(500));
    let told = selftest(&stand.mock, &data, &["openai", "--json", "--url", stand.server.url()]).await;
    assert_eq!(told.note("chat"), "only at the 2. try; see `privet providers`", "{}", told.out);
}
