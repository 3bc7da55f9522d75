//! Prompts: by the product's own API, by Langfuse's, and in front of what models are asked.

use std::time::Duration;

use privet_testkit::upstream::MockUpstream;
use serde_json::{Value, json};

use crate::stand::{Answer, Stand, ask, builder, client};

const PATIENCE: Duration = Duration::from_secs(1);
/// The beginning of the prompt that every project begins with.
const STARTER: &str = "As Alice, you're speaking to the person who writes to you.";

/// A server with keys for prompts.
struct Bed {
    stand: Stand,
    /// May chat, read and change prompts.
    editor: String,
    admin: String,
}

impl Bed {
    async fn start() -> Self {
        let stand = Stand::start().await;
        let editor = key(&stand, &["--scopes", "chat,read,prompts"]).await;
        let admin = key(&stand, &["--scopes", "admin"]).await;
        Self { stand, editor, admin }
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> Answer {
        with_key(&self.stand, &self.editor, method, path, body).await
    }

    async fn make(&self, body: Value) -> Value {
        let answer = self.ask("POST", "/api/prompts", body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, Value::Null).await
    }
}

async fn key(stand: &Stand, flags: &[&str]) -> String {
    let output = stand.privet(&[&["keys", "create", "--name", "laptop", "--user", "ada"], flags].concat()).await;
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

async fn with_key(stand: &Stand, key: &str, method: &str, path: &str, body: Value) -> Answer {
    let url = format!("{}{path}", stand.server.url());
    let request = stand.client.request(method.parse().unwrap(), url).bearer_auth(key);
    Answer::of(if body.is_null() {
        request
    } else {
        request.header("content-type", "application/json").body(body.to_string())
    })
    .await
}

fn error(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["error"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned())
}

#[tokio::test]
async fn a_prompt_is_made_read_labelled_compared_and_deleted() {
    let bed = Bed::start().await;
    let made = bed
        .make(json!({"name": "support/first reply", "prompt": "Hello {{ name }}.", "labels": ["production"],
                     "config": {"model": "openai/gpt-4o"}, "tags": ["b", "a"], "commit_message": "first"}))
        .await;
    let told = json!({"name": "support/first reply", "version": 1, "type": "text", "labels": ["production", "latest"],
        "tags": ["a", "b"], "commit_message": "first", "author": "laptop (ada)", "created_at": made["created_at"],
        "updated_at": made["updated_at"], "prompt": "Hello {{ name }}.", "config": {"model": "openai/gpt-4o"},
        "variables": ["name"], "placeholders": [], "parts": []});
    assert_eq!(made, told);
    assert_eq!(bed.get("/api/prompts/support%2Ffirst%20reply").await.json(), told);
    bed.make(json!({"name": "support/first reply", "prompt": "Hi {{name}}."})).await;
    let place = "/api/prompts/support%2Ffirst%20reply";
    assert_eq!(bed.get(place).await.json()["version"], 1, "production is what is fetched");
    assert_eq!(bed.get(&format!("{place}?label=latest")).await.json()["version"], 2);
    let diff = bed.get(&format!("{place}/diff?from=1")).await.json();
    assert_eq!((&diff["from"], &diff["to"]), (&json!(1), &json!(2)));
    let text = diff["diff"].as_str().unwrap();
    assert!(text.contains("-Hello {{ name }}.\n") && text.contains("+Hi {{name}}."), "{text}");

    let moved = bed.ask("PUT", &format!("{place}/labels/production"), json!({"version": 2})).await;
    assert_eq!((moved.status, moved.json()["labels"].clone()), (200, json!(["production", "latest"])));
    assert_eq!(bed.get(place).await.json()["version"], 2, "a moved label is seen by the next request");
    let versions = bed.get(&format!("{place}/versions")).await.json();
    assert_eq!((&versions["data"][1]["labels"], &versions["data"][0]["version"]), (&json!([]), &json!(2)));
    assert_eq!(bed.ask("DELETE", &format!("{place}/labels/production"), Value::Null).await.status, 204);
    let (status, text) = error(&bed.get(place).await);
    assert_eq!(status, 404);
    assert!(
        text.starts_with("Prompt not found: 'support/first reply' with label 'production'. GET /api/prompts"),
        "{text}"
    );
    let (status, text) = error(&bed.ask("DELETE", &format!("{place}/labels/production"), Value::Null).await);
    assert!(status == 404 && text.contains("'production'"), "{text}");

    let list = bed.get("/api/prompts?folder=support").await.json();
    assert_eq!((&list["total"], &list["data"][0]["versions"]), (&json!(1), &json!([1, 2])));
    assert_eq!(bed.get("/api/prompts?q=HELLO").await.json()["total"], 0, "an old version says it");
    let names = bed.get("/api/prompts").await.json();
    assert_eq!(names["data"][0]["name"], "Answer", "a project begins with one");
    let gone = bed.ask("DELETE", &format!("{place}?version=2"), Value::Null).await;
    assert_eq!((gone.status, gone.json()), (200, json!({"deleted": 1})));
    assert_eq!(bed.ask("DELETE", place, Value::Null).await.json(), json!({"deleted": 1}));
    assert_eq!(bed.ask("DELETE", place, Value::Null).await.status, 404);
}

#[tokio::test]
async fn what_is_wrong_with_a_prompt_is_named() {
    let bed = Bed::start().await;
    bed.make(json!({"name": "text", "prompt": "x", "labels": ["production"]})).await;
    let refer = |name: &str| format!("@@@langfusePrompt:name={name}|label=production@@@");
    bed.make(json!({"name": "whole", "prompt": refer("text"), "labels": ["production"]})).await;
    for (body, status, words) in [
        (json!({"prompt": "x"}), 400, "missing field `name`"),
        (json!({"name": "a//b", "prompt": "x"}), 400, "folders"),
        (json!({"name": "new", "prompt": "x"}), 400, "reserved"),
        (json!({"name": "x", "prompt": 7}), 400, "a string, or an array of messages"),
        (json!({"name": "x", "prompt": [{"role": "user"}]}), 400, "message 1: a message has no `content`"),
        (json!({"name": "x", "prompt": []}), 400, "1 to 1000 messages"),
        (json!({"name": "x", "prompt": "x", "labels": ["Production"]}), 400, "`Production` is no label"),
        (json!({"name": "x", "prompt": "x", "tags": [""]}), 400, "`tags`"),
        (json!({"name": "x", "prompt": "x", "commit_message": "x".repeat(501)}), 400, "500 characters"),
        (json!({"name": "x", "prompt": "x".repeat(1024 * 1024)}), 400, "1048576 bytes"),
        (json!({"name": "x", "prompt": "@@@langfusePrompt:name=y@@@"}), 400, "cannot be read"),
        (json!({"name": "x", "prompt": refer("nothing")}), 400, "`nothing` with label 'production'"),
        (json!({"name": "text", "prompt": refer("whole")}), 400, "text → whole → text"),
        (json!({"name": "text", "prompt": [{"role": "user", "content": "x"}]}), 400, "is a text prompt"),
        (json!({"name": "text", "prompt": "y", "base_version": 0}), 409, "has version 1 now"),
        (json!({"name": "x", "prompt": "x", "lables": []}), 400, "lables"),
    ] {
        let answer = bed.ask("POST", "/api/prompts", body.clone()).await;
        let (told, text) = error(&answer);
        assert!(
            told == status && text.contains(words),
            "{}: {answer:?}",
            body.to_string().get(..60).unwrap_or_default()
        );
    }
    for (method, path, status, words) in [
        ("GET", "/api/prompts/text?version=1&label=a", 400, "both"),
        ("GET", "/api/prompts/text?version=9", 404, "'text' with version 9"),
        ("GET", "/api/prompts/text/diff?from=1&to=9", 404, "version 9"),
        ("PUT", "/api/prompts/text/labels/latest", 400, "moves by itself"),
        ("DELETE", "/api/prompts/text/labels/latest", 400, "moves by itself"),
        ("PUT", "/api/prompts/text/labels/A", 400, "`A` is no label"),
        ("DELETE", "/api/prompts/text", 409, "`whole` version 1"),
        ("DELETE", "/api/prompts/text/labels/production", 409, "`whole` version 1"),
        ("GET", "/api/prompts/nothing/used-by", 404, "'nothing'"),
        ("GET", "/api/prompts?limit=0", 400, "`limit`"),
    ] {
        let body = if method == "PUT" { json!({"version": 1}) } else { Value::Null };
        let (told, text) = error(&bed.ask(method, path, body).await);
        assert!(told == status && text.contains(words), "{method} {path}: {told} {text}");
    }
    let uses = bed.get("/api/prompts/text/used-by").await.json();
    let user = json!({"name": "whole", "version": 1, "refers_to_version": null, "refers_to_label": "production"});
    assert_eq!(uses["data"], json!([user]));
}

#[tokio::test]
async fn protected_labels_need_an_administrator() {
    let bed = Bed::start().await;
    bed.make(json!({"name": "x", "prompt": "one", "labels": ["production"]})).await;
    let protect = with_key(&bed.stand, &bed.editor, "PUT", "/api/protected-labels/production", Value::Null).await;
    assert_eq!(protect.status, 403);
    let protect = with_key(&bed.stand, &bed.admin, "PUT", "/api/protected-labels/production", Value::Null).await;
    assert_eq!(protect.status, 204, "{protect:?}");
    assert_eq!(bed.get("/api/protected-labels").await.json(), json!({"data": ["production"]}));
    bed.make(json!({"name": "x", "prompt": "two"})).await;
    for (method, path, body) in [
        ("POST", "/api/prompts", json!({"name": "x", "prompt": "y", "labels": ["production"]})),
        ("PUT", "/api/prompts/x/labels/production", json!({"version": 2})),
        ("DELETE", "/api/prompts/x/labels/production", Value::Null),
        ("DELETE", "/api/prompts/x", Value::Null),
        ("POST", "/api/public/v2/prompts", json!({"name": "x", "prompt": "y", "labels": ["production"]})),
        ("PATCH", "/api/public/v2/prompts/x/versions/2", json!({"newLabels": ["production"]})),
        ("DELETE", "/api/public/v2/prompts/x", Value::Null),
    ] {
        let answer = bed.ask(method, path, body).await;
        assert_eq!(answer.status, 403, "{method} {path}: {answer:?}");
        assert!(answer.text().contains("`production` is protected"), "{answer:?}");
    }
    let moved =
        with_key(&bed.stand, &bed.admin, "PUT", "/api/prompts/x/labels/production", json!({"version": 2})).await;
    assert_eq!(moved.status, 200);
    assert_eq!(
        with_key(&bed.stand, &bed.admin, "DELETE", "/api/protected-labels/production", Value::Null).await.status,
        204
    );
    assert_eq!(bed.ask("DELETE", "/api/prompts/x", Value::Null).await.status, 200);
}

#[tokio::test]
async fn another_project_sees_none_of_it() {
    let bed = Bed::start().await;
    bed.make(json!({"name": "x", "prompt": "secret", "labels": ["production"]})).await;
    let other = key(&bed.stand, &["--scopes", "chat,read,prompts", "--project", "other"]).await;
    for (method, path, body) in [
        ("GET", "/api/prompts/x", Value::Null),
        ("GET", "/api/prompts/x/versions", Value::Null),
        ("POST", "/api/prompts/x/compile", json!({})),
        ("POST", "/api/prompts/x/run", json!({})),
        ("PUT", "/api/prompts/x/labels/a", json!({"version": 1})),
        ("DELETE", "/api/prompts/x", Value::Null),
        ("GET", "/api/public/v2/prompts/x", Value::Null),
        ("DELETE", "/api/public/v2/prompts/x", Value::Null),
    ] {
        let answer = with_key(&bed.stand, &other, method, path, body).await;
        assert!(answer.status == 404 && !answer.text().contains("secret"), "{method} {path}: {answer:?}");
    }
    assert_eq!(with_key(&bed.stand, &other, "GET", "/api/prompts?q=secret", Value::Null).await.json()["total"], 0);
    assert_eq!(bed.get("/api/prompts/x").await.status, 200);
}

#[tokio::test]
async fn holes_are_filled_by_one_rule_and_all_that_is_missing_is_named() {
    let bed = Bed::start().await;
    let chat = json!([
        {"role": "system", "content": "{{who}} {{ how }} {{#if}}x{{/if}}"}, {"type": "placeholder", "name": "history"},
    ]);
    bed.make(json!({"name": "x", "prompt": chat, "labels": ["production"], "config": {"a": 1}})).await;
    let compile = async |body: Value| bed.ask("POST", "/api/prompts/x/compile", body).await;
    let answer = compile(json!({})).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (400, json!("prompt_unfilled")));
    let (_, text) = error(&answer);
    assert!(text.contains("`x` version 1 needs the variables `who`, `how`, `#if`, `/if`"), "{text}");
    assert!(text.contains("`history`") && text.contains("`variables`"), "{text}");
    let said = json!([{"role": "user", "content": "{{who}}"}]);
    let answer = compile(json!({"variables": {"who": "{{how}}", "how": 7}, "placeholders": {"history": said},
                                "keep_missing": true}))
    .await;
    let filled =
        json!([{"role": "system", "content": "{{how}} 7 {{#if}}x{{/if}}"}, {"role": "user", "content": "{{who}}"}]);
    assert_eq!(answer.json(), json!({"name": "x", "version": 1, "prompt": filled, "config": {"a": 1}}));
    assert_eq!(error(&compile(json!({"variables": []})).await).0, 400);
    // There is no template engine: what looks like code is text.
    let attacks = [
        "{{ 7*7 }}",
        "{{config}}",
        "{{constructor.constructor('return process')()}}",
        "{% include '/etc/passwd' %}",
        "${7*7}",
    ];
    for attack in attacks {
        bed.make(json!({"name": "attack", "prompt": attack, "labels": ["production"]})).await;
        let answer = bed.ask("POST", "/api/prompts/attack/compile", json!({"keep_missing": true})).await;
        assert_eq!(answer.json()["prompt"], attack);
    }
}

#[tokio::test]
async fn a_prompt_is_tried_as_a_metered_call() {
    let bed = Bed::start().await;
    bed.make(json!({"name": "a/text", "prompt": "Say {{what}}.", "labels": ["production"],
                    "config": {"model": "openai/gpt-4o-mini", "temperature": 0.5, "note": "x"}}))
        .await;
    let run = async |body: Value| bed.ask("POST", "/api/prompts/a%2Ftext/run", body).await;
    let answer = run(json!({"variables": {"what": "hi"}})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.json()["choices"][0]["message"]["content"].is_string());
    assert_eq!(bed.stand.sent_thread(), ["user: Say hi."], "alone, a text is the user's");
    let sent = bed.stand.sent().body;
    assert_eq!(
        (&sent["model"], &sent["temperature"], &sent["note"]),
        (&json!("gpt-4o-mini"), &json!(0.5), &Value::Null)
    );
    run(
        json!({"variables": {"what": "hi"}, "messages": [{"role": "user", "content": "now"}], "model": "openai/gpt-4o",
               "parameters": {"temperature": 0}}),
    )
    .await;
    assert_eq!(bed.stand.sent_thread(), ["system: Say hi.", "user: now"]);
    assert_eq!((&bed.stand.sent().body["model"], &bed.stand.sent().body["temperature"]), (&json!("gpt-4o"), &json!(0)));
    assert_eq!(bed.stand.conversations().await, 0);
    let usage = with_key(&bed.stand, &bed.admin, "GET", "/api/usage", Value::Null).await.json();
    assert_eq!(usage["calls"], 2, "{usage}");
    let calls = bed.stand.mock.stats().calls;
    for (body, words) in [
        (json!({}), "`what`"),
        (json!({"variables": {"what": "x"}, "parameters": {"model": "x"}}), "`parameters.model`"),
        (json!({"variables": {"what": "x"}, "messages": [{"role": "narrator", "content": "x"}]}), "messages"),
    ] {
        let (status, text) = error(&run(body).await);
        assert!(status == 400 && text.contains(words), "{text}");
    }
    assert_eq!(bed.stand.mock.stats().calls, calls);
}

#[tokio::test]
async fn langfuses_api_answers_in_the_shapes_its_sdks_expect() {
    let bed = Bed::start().await;
    let path = "/api/public/v2/prompts";
    let chat =
        json!([{"type": "chatmessage", "role": "system", "content": "{{x}}"}, {"type": "placeholder", "name": "h"}]);
    let made = bed
        .ask(
            "POST",
            path,
            json!({"name": "a/b", "type": "chat", "prompt": chat, "labels": ["production"], "tags": ["t"],
                                  "config": null, "commitMessage": "why", "isActive": true}),
        )
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    let shown = json!([{"role": "system", "content": "{{x}}"}, {"type": "placeholder", "name": "h"}]);
    assert_eq!(made["prompt"], shown);
    assert_eq!((&made["type"], &made["version"], &made["config"]), (&json!("chat"), &json!(1), &json!({})));
    assert_eq!((&made["labels"], &made["commitMessage"]), (&json!(["production", "latest"]), &json!("why")));
    assert_eq!((&made["createdBy"], &made["resolutionGraph"]), (&json!("laptop (ada)"), &Value::Null));
    for place in ["a%2Fb", "a/b"] {
        let read = bed.get(&format!("{path}/{place}")).await;
        assert_eq!((read.status, read.json()), (200, made.clone()), "{place}");
    }
    let text = bed.ask("POST", path, json!({"name": "whole", "prompt": "x"})).await;
    assert_eq!((text.status, text.json()["type"].clone()), (201, json!("text")));
    let refers = "@@@langfusePrompt:name=whole|version=1@@@";
    bed.ask("POST", path, json!({"name": "outer", "prompt": format!("<{refers}>"), "labels": ["production"]})).await;
    let outer = bed.get(&format!("{path}/outer")).await.json();
    let node = |name: &str| json!({"name": name, "version": 1, "id": format!("{name}@1")});
    let graph = json!({"root": node("outer"), "dependencies": {"outer@1": [node("whole")]}});
    assert_eq!((&outer["prompt"], &outer["resolutionGraph"]), (&json!("<x>"), &graph));
    let raw = bed.get(&format!("{path}/outer?resolve=false")).await.json();
    assert_eq!((&raw["prompt"], &raw["resolutionGraph"]), (&json!(format!("<{refers}>")), &Value::Null));

    for place in ["a%2Fb/versions/1", "a/b/versions/1"] {
        let labelled = bed.ask("PATCH", &format!("{path}/{place}"), json!({"newLabels": ["staging"]})).await;
        assert_eq!(
            (labelled.status, labelled.json()["labels"].clone()),
            (200, json!(["production", "staging", "latest"]))
        );
    }
    let list = bed.get(&format!("{path}?limit=2")).await.json();
    assert_eq!(list["meta"], json!({"page": 1, "limit": 2, "totalItems": 3, "totalPages": 2}));
    let meta = json!({"name": "a/b", "type": "chat", "versions": [1], "labels": ["production", "staging", "latest"],
                      "tags": ["t"], "lastUpdatedAt": list["data"][0]["lastUpdatedAt"], "lastConfig": {}});
    assert_eq!(list["data"][0], meta);
    let filter = "%5B%7B%22type%22:%22string%22,%22column%22:%22name%22,%22operator%22:%22starts%20with%22,%22value%22:%22WH%22%7D%5D";
    assert_eq!(bed.get(&format!("{path}?filter={filter}")).await.json()["data"][0]["name"], "whole");
    assert_eq!(bed.get(&format!("{path}?label=staging&tag=t")).await.json()["meta"]["totalItems"], 1);
    assert_eq!(bed.get(&format!("{path}?fromUpdatedAt=2999-01-01T00:00:00Z")).await.json()["meta"]["totalItems"], 0);

    let refused = bed.ask("DELETE", &format!("{path}/whole"), Value::Null).await;
    assert_eq!((refused.status, refused.json()["error"].clone()), (400, json!("InvalidRequestError")));
    for name in ["outer", "whole?version=1", "a/b?label=staging"] {
        assert_eq!(bed.ask("DELETE", &format!("{path}/{name}"), Value::Null).await.status, 204, "{name}");
    }
    let gone = bed.get(&format!("{path}/whole")).await;
    let told =
        json!({"message": "Prompt not found: 'whole' with label 'production'", "error": "LangfuseNotFoundError"});
    assert_eq!((gone.status, gone.json()), (404, told));
}

#[tokio::test]
async fn langfuses_api_says_what_is_wrong_in_its_words() {
    let bed = Bed::start().await;
    let path = "/api/public/v2/prompts";
    bed.ask("POST", path, json!({"name": "x", "prompt": "x"})).await;
    for (method, place, body) in [
        ("POST", "", json!({"name": "x"})),
        ("POST", "", json!({"name": "a|b", "prompt": "x"})),
        ("POST", "", json!({"name": "x", "prompt": "x", "type": "chat"})),
        ("POST", "", json!({"name": "x", "prompt": 7})),
        ("POST", "", json!({"name": "x", "prompt": "x", "labels": ["Production"]})),
        ("PATCH", "/x/versions/1", json!({"newLabels": ["latest"]})),
        ("PATCH", "/x/versions/one", json!({"newLabels": ["a"]})),
        ("PATCH", "/x/versions/1", json!({})),
        ("GET", "/x?version=1&label=latest", Value::Null),
        ("GET", "/x?version=one", Value::Null),
        ("GET", "?limit=1000", Value::Null),
        ("GET", "?filter=x", Value::Null),
    ] {
        let answer = bed.ask(method, &format!("{path}{place}"), body.clone()).await;
        assert_eq!(answer.status, 400, "{method} {place} {body}: {answer:?}");
        let told = answer.json();
        assert_eq!(told["message"], "Invalid request data", "{told}");
        assert!(told["error"][0]["message"].is_string(), "{told}");
    }
    let missing = bed.ask("PATCH", &format!("{path}/x/versions/9"), json!({"newLabels": ["a"]})).await;
    assert_eq!((missing.status, missing.json()["error"].clone()), (404, json!("LangfuseNotFoundError")));
}

#[tokio::test]
async fn the_lessons_endpoint_begins_with_the_prompt_answer() {
    let bed = Bed::start().await;
    let say = |text: &str| json!({"messages": [{"role": "system", "content": "I am the system."}, {"role": "user", "content": text}]});
    let first = bed.stand.lesson(say("hey")).await;
    assert_eq!(first.status, 200, "{first:?}");
    let prompt = bed.stand.sent().body["messages"][0].clone();
    assert!(prompt["role"] == "system" && prompt["content"].as_str().unwrap().starts_with(STARTER), "{prompt}");
    assert_eq!(bed.stand.sent_thread(), ["user: hey"], "the client's own system message is dropped");
    let conversation = first.conversation();
    assert_eq!(bed.stand.thread(&conversation).await[0], "user: hey", "the prompt is not part of what was said");

    bed.make(json!({"name": "Answer", "labels": ["production"], "prompt": [
        {"role": "system", "content": "You speak to {{user}}.{{context}}"}, {"role": "assistant", "content": "Yes?"}]}))
        .await;
    let mut again = say("more");
    again["conversation_id"] = json!(conversation);
    bed.stand.lesson(again).await;
    let thread = bed.stand.sent_thread();
    assert_eq!(thread[..3], ["system: You speak to owner.", "assistant: Yes?", "user: hey"], "{thread:?}");
    assert_eq!(thread.last().unwrap(), "user: more");

    bed.make(
        json!({"name": "Answer", "labels": ["production"], "prompt": [{"role": "system", "content": "{{mood}}"}]}),
    )
    .await;
    let calls = bed.stand.mock.stats().calls;
    let (status, text) = error(&bed.stand.lesson(say("hey")).await);
    assert!(status == 400 && text.contains("`Answer` version 3 needs the variable `mood`"), "{text}");
    assert_eq!(bed.stand.mock.stats().calls, calls);
    bed.ask("DELETE", "/api/prompts/Answer", Value::Null).await;
    bed.stand.lesson(say("hey")).await;
    assert_eq!(bed.stand.sent_thread(), ["user: hey"], "deleted is deleted");
    let only = json!({"messages": [{"role": "system", "content": "x"}]});
    assert_eq!(bed.stand.lesson(only).await.status, 400);
}

#[tokio::test]
async fn any_chat_takes_a_prompt_by_its_metadata_or_a_header() {
    let bed = Bed::start().await;
    bed.make(json!({"name": "a/b", "prompt": "Be {{how}}.", "labels": ["production"]})).await;
    let chat = json!([{"role": "system", "content": "v2"}, {"type": "placeholder", "name": "h"}]);
    bed.make(json!({"name": "chat", "prompt": chat})).await;
    let with = |prompt: Value| {
        let mut body = ask("openai/gpt-4o", "hi");
        body["messages"] = json!([{"role": "system", "content": "own"}, {"role": "user", "content": "hi"}]);
        body["metadata"] = json!({"prompt": prompt, "team": "x"});
        body
    };
    let named = json!({"name": "a/b", "variables": {"how": "brief"}});
    for prompt in [named.clone(), json!(named.to_string())] {
        let answer = bed.stand.chat(with(prompt)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(bed.stand.sent_thread(), ["system: Be brief.", "system: own", "user: hi"]);
        assert_eq!(bed.stand.sent().body["metadata"], json!({"team": "x"}), "the provider is not told");
    }
    assert_eq!(
        bed.stand.thread(&bed.stand.chat(with(named)).await.conversation()).await[..2],
        ["system: own", "user: hi"]
    );
    let said = json!({"name": "chat", "version": 1, "placeholders": {"h": [{"role": "assistant", "content": "so"}]}});
    bed.stand.chat(with(said)).await;
    assert_eq!(bed.stand.sent_thread(), ["system: v2", "assistant: so", "system: own", "user: hi"]);

    bed.make(json!({"name": "plain", "prompt": "P", "labels": ["staging"]})).await;
    for header in ["plain@staging", "plain@1", r#"{"name":"plain","label":"latest"}"#] {
        let request = bed.stand.post("/v1/chat/completions", ask("openai/gpt-4o", "hi").to_string());
        let answer = Answer::of(request.header("x-privet-prompt", header)).await;
        assert_eq!(
            (answer.status, bed.stand.sent_thread()),
            (200, vec!["system: P".to_owned(), "user: hi".to_owned()])
        );
    }
    let calls = bed.stand.mock.stats().calls;
    for (prompt, status, words) in [
        (json!("nothing"), 404, "'nothing' with label 'production'"),
        (json!({"name": "a/b"}), 400, "`how`"),
        (json!({"name": "a/b", "label": "x", "version": 1}), 400, "metadata.prompt"),
        (json!({"name": "chat", "version": 1, "placeholders": {"h": "x"}}), 400, "`h` is a placeholder"),
        (json!(7), 400, "metadata.prompt"),
    ] {
        let answer = bed.stand.chat(with(prompt.clone())).await;
        let text = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(answer.status == status && text.contains(words), "{prompt}: {answer:?}");
    }
    assert_eq!(bed.stand.mock.stats().calls, calls);
}

#[tokio::test]
async fn every_dialect_is_asked_with_the_prompt() {
    let bed = Bed::start().await;
    bed.make(json!({"name": "p", "prompt": "Be brief.", "labels": ["production"]})).await;
    for model in ["anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-flash"] {
        let mut body = ask(model, "hi");
        body["metadata"] = json!({"prompt": "p"});
        let answer = bed.stand.chat(body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let sent = bed.stand.sent().body.to_string();
        assert!(sent.contains("Be brief.") && !sent.contains("\"prompt\""), "{sent}");
    }
}

#[tokio::test]
async fn the_tokens_of_a_prompt_are_held_before_the_call() {
    let mock = MockUpstream::start().await;
    let server = builder(&mock).start().await;
    let stand = Stand { mock, server, client: client() };
    let editor =
        key(&stand, &["--scopes", "chat,read,prompts", "--models", "openai/gpt-4o", "--budget", "0.05/day"]).await;
    let long = "word ".repeat(20_000);
    let made = with_key(
        &stand,
        &editor,
        "POST",
        "/api/prompts",
        json!({"name": "long", "prompt": long, "labels": ["production"]}),
    )
    .await;
    assert_eq!(made.status, 201, "{made:?}");
    let mut body = ask("openai/gpt-4o", "hi");
    body["max_tokens"] = json!(10);
    assert_eq!(with_key(&stand, &editor, "POST", "/v1/chat/completions", body.clone()).await.status, 200);
    body["metadata"] = json!({"prompt": "long"});
    let answer = with_key(&stand, &editor, "POST", "/v1/chat/completions", body).await;
    assert_eq!(answer.status, 402, "{answer:?}");
    assert_eq!(stand.mock.stats().calls, 1);
}

#[tokio::test]
async fn a_change_by_the_command_line_or_another_server_is_seen_within_a_second() {
    let bed = Bed::start().await;
    for text in ["one", "two"] {
        bed.make(json!({"name": "x", "prompt": text})).await;
    }
    bed.ask("PUT", "/api/prompts/x/labels/production", json!({"version": 1})).await;
    assert_eq!(bed.get("/api/prompts/x").await.json()["prompt"], "one");
    let moved = bed.stand.privet(&["prompts", "label", "x", "production", "--version", "2"]).await;
    assert!(moved.status.success(), "{moved:?}");
    let seen = async {
        while bed.get("/api/prompts/x").await.json()["prompt"] != "two" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.unwrap();
}

#[tokio::test]
async fn the_exact_version_is_told_by_the_trace() {
    let bed = Bed::start().await;
    bed.make(json!({"name": "x", "prompt": "one"})).await;
    bed.make(json!({"name": "x", "prompt": "two", "labels": ["production"]})).await;
    let mut body = ask("openai/gpt-4o", "hi");
    body["metadata"] = json!({"prompt": "x"});
    let lesson = json!({"messages": [{"role": "user", "content": "hey"}]});
    for (answer, name, version) in [
        (bed.stand.chat(body).await, "x", 2),
        (bed.ask("POST", "/api/prompts/x/run", json!({"version": 1, "store": true})).await, "x", 1),
        (bed.stand.lesson(lesson).await, "Answer", 1),
    ] {
        assert_eq!(answer.status, 200, "{answer:?}");
        let id = answer.header("x-request-id").unwrap().replace('-', "");
        let trace = bed.stand.get(&format!("/api/public/traces/{id}")).await.json();
        let generation = &trace["observations"][0];
        assert_eq!(
            (&generation["promptName"], &generation["promptVersion"]),
            (&json!(name), &json!(version)),
            "{trace}"
        );
        let input = generation["input"].to_string();
        assert!(input.contains(["one", "two", STARTER][if name == "Answer" { 2 } else { version - 1 }]), "{input}");
    }
}

#[tokio::test]
async fn no_label_makes_prompts_stand_in_each_other() {
    let bed = Bed::start().await;
    let part = |name: &str, label: &str| format!("@@@langfusePrompt:name={name}|label={label}@@@");
    bed.make(json!({"name": "m1", "prompt": "plain", "labels": ["production"]})).await;
    bed.make(json!({"name": "m2", "prompt": format!("with {}", part("m1", "production"))})).await;
    bed.make(json!({"name": "m2", "prompt": "plain", "labels": ["staging"]})).await;
    bed.make(json!({"name": "m1", "prompt": format!("with {}", part("m2", "staging"))})).await;
    let label = async |name: &str, label: &str, version: u32| {
        bed.ask("PUT", &format!("/api/prompts/{name}/labels/{label}"), json!({"version": version})).await.status
    };
    assert_eq!(label("m2", "staging", 1).await, 200, "m1 in production is plain");
    assert!((400..500).contains(&label("m1", "production", 2).await), "it would lead back to itself");
    assert_eq!(bed.get("/api/prompts/m1").await.status, 200);
    assert_eq!(bed.get("/api/prompts/m2?label=staging").await.status, 200);
}

#[tokio::test]
async fn a_push_undoes_no_rollback_and_pushes_nothing_where_one_file_is_wrong() {
    let bed = Bed::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    for text in ["one", "two"] {
        bed.make(json!({"name": "greet", "prompt": text, "labels": ["production"]})).await;
    }
    let privet = async |arguments: &[&str]| bed.stand.privet(&[&["prompts"], arguments].concat()).await;
    assert!(privet(&["pull", &path]).await.status.success());
    assert!(privet(&["rollback", "greet"]).await.status.success());
    let refused = privet(&["push", &path, "--yes"]).await;
    let told = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(!refused.status.success() && told.contains("points to version 1"), "{refused:?}");
    assert!(privet(&["push", &path, "--yes", "--labels"]).await.status.success());
    let labelled = bed.get("/api/prompts/greet").await.json();
    assert_eq!(labelled["version"], 2, "{labelled}");

    std::fs::write(folder.path().join("good.md"), "---\nname: good\n---\nfine\n").unwrap();
    std::fs::write(folder.path().join("bad.md"), "---\nname: a|b\n---\nbad\n").unwrap();
    let refused = privet(&["push", &path, "--yes"]).await;
    assert!(!refused.status.success(), "{refused:?}");
    assert_eq!(bed.get("/api/prompts/good").await.status, 404, "all or nothing");
}
