//! Keys and who they are for: scopes, limits, last use, rotation and revocation, by the API and by the command line.

use std::collections::BTreeMap;
use std::process::Output;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::stand::{Answer, Stand, ask};

/// How long something that happens by itself may take.
const PATIENCE: Duration = Duration::from_secs(20);

impl Stand {
    /// A request with this key and a JSON body.
    pub(crate) async fn with_key(&self, key: &str, method: &str, path: &str, body: Value) -> Answer {
        let url = format!("{}{path}", self.server.url());
        let request = self.client.request(method.parse().unwrap(), url).header("content-type", "application/json");
        let request = if key.is_empty() { request } else { request.bearer_auth(key) };
        Answer::of(if body.is_null() { request } else { request.body(body.to_string()) }).await
    }

    /// Makes a key by the command line; what it printed as JSON.
    pub(crate) async fn make_key(&self, flags: &[&str]) -> Value {
        let output = self.privet(&[&["keys", "create", "--name", "made", "--json"], flags].concat()).await;
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub(crate) async fn admin(&self) -> String {
        text(&self.make_key(&["--scopes", "admin"]).await, "key")
    }

    /// Whether a key opens anything.
    async fn is_valid(&self, key: &str) -> bool {
        match self.with_key(key, "GET", "/v1/models", Value::Null).await.status {
            200 => true,
            401 => false,
            status => panic!("{status}"),
        }
    }
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no {field}: {value}")).to_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The scope that a route must need. A new route needs a line here.
fn expected_scope(method: &str, path: &str) -> Option<&'static str> {
    match (method, path) {
        (_, path) if path.starts_with("/api/keys") || path == "/api/switches" => Some("admin"),
        ("get", "/api/providers") => Some("admin"),
        ("delete", "/api/users/{id}") | ("get", "/api/erasures") => Some("admin"),
        ("get", path) if path.starts_with("/api/usage") => Some("read"),
        ("post", "/api/chat" | "/v1/chat/completions" | "/api/feedback") => Some("chat"),
        ("post", "/v1/messages" | "/v1/messages/count_tokens") => Some("chat"),
        ("post", path) if path.starts_with("/v1beta/models/") => Some("chat"),
        (_, path) if path.starts_with("/v1/responses") => Some("chat"),
        ("post", "/v1/images/generations" | "/v1/moderations") => Some("chat"),
        ("post", path) if path.starts_with("/v1/audio/") => Some("chat"),
        ("post", "/v1/embeddings") => Some("embeddings"),
        (
            "post" | "patch",
            "/v1/traces"
            | "/api/public/otel/v1/traces"
            | "/api/public/ingestion"
            | "/api/public/scores"
            | "/api/public/score-configs"
            | "/api/public/score-configs/{id}",
        ) => Some("traces"),
        ("delete", path) if path.starts_with("/api/public/traces") || path.starts_with("/api/public/scores") => {
            Some("traces")
        }
        ("delete", "/api/traces/{id}") => Some("traces"),
        ("post", "/api/prompts/{name}/run") => Some("chat"),
        ("get", path) if path.contains("prompts") || path == "/api/protected-labels" => Some("read"),
        ("post", "/api/prompts/{name}/compile") => Some("read"),
        (_, path) if path.starts_with("/api/protected-labels") => Some("admin"),
        (_, path) if path.contains("/prompts") => Some("prompts"),
        ("get", path)
            if ["/api/traces", "/api/sessions", "/api/users", "/api/scores", "/api/metrics"]
                .iter()
                .any(|beginning| path.starts_with(beginning)) =>
        {
            Some("read")
        }
        ("get", path) if path.starts_with("/api/public/") && path != "/api/public/projects" => Some("read"),
        ("get", "/v1/models" | "/v1/models/{model}" | "/api/public/projects") => None,
        ("get", "/v1beta/models" | "/v1beta/models/{model}") => None,
        ("post", "/api/memories/search") => Some("read"),
        ("get", path) if path.starts_with("/api/memories") || path.starts_with("/api/documents") => Some("read"),
        (_, path) if path.starts_with("/api/memories") || path.starts_with("/api/documents") => Some("chat"),
        ("get", path) if path.starts_with("/api/conversations") || path.starts_with("/api/messages") => Some("read"),
        (_, path) if path.starts_with("/api/conversations") || path.starts_with("/api/messages") => Some("chat"),
        _ => {
            panic!("{method} {path} is a new route: say here which scope it needs, and see that it is refused without")
        }
    }
}

#[tokio::test]
async fn fault_29_every_route_opens_to_its_scope_and_to_no_other_key() {
    let stand = Stand::start().await;
    let mut keys = BTreeMap::new();
    for scopes in ["chat", "embeddings", "read", "prompts", "traces", "admin"] {
        keys.insert(scopes, text(&stand.make_key(&["--scopes", scopes]).await, "key"));
    }
    let revoked = stand.make_key(&["--scopes", "admin"]).await;
    let gone = stand.privet(&["keys", "revoke", &text(&revoked, "id")]).await;
    assert!(gone.status.success(), "{gone:?}");
    let revoked = text(&revoked, "key");

    let document = stand.get("/openapi.json").await.json();
    let mut guarded = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, route) in methods.as_object().unwrap() {
            let Some(needs) = route["security"][0]["key"].as_array() else { continue };
            guarded += 1;
            let scope = expected_scope(method, path);
            let declared: Vec<&str> = needs.iter().map(|scope| scope.as_str().unwrap()).collect();
            assert_eq!(declared, Vec::from_iter(scope), "{method} {path} describes itself wrongly");
            // No id is known and no body is sound, so that nothing is done by whoever gets in.
            let place =
                path.replace("{id}", "x").replace("{uuid}", "x").replace("{model}", "x").replace("{response_id}", "x");
            let ask = async |key: &str| stand.with_key(key, &method.to_uppercase(), &place, json!(7)).await;
            for nobody in ["", "wrong", &revoked] {
                let answer = ask(nobody).await;
                assert_eq!((answer.status, answer.header("x-privet-gate")), (401, Some("key")), "{method} {path}");
            }
            for (has, key) in &keys {
                let answer = ask(key).await;
                if scope.is_none_or(|scope| scope == *has) || *has == "admin" {
                    assert!(![401, 403, 500].contains(&answer.status), "{method} {path} with {has}: {answer:?}");
                    continue;
                }
                let (scope, words) = (scope.unwrap(), answer.text());
                assert_eq!(
                    (answer.status, answer.header("x-privet-gate")),
                    (403, Some("scope")),
                    "{method} {path}, {has}"
                );
                assert!(words.contains(&format!("`{scope}`")) && words.contains(&format!("`{has}`")), "{words}");
                assert!(words.contains(&format!("--scopes {scope}")), "{words}");
                if path != "/api/chat" && !path.starts_with("/api/public") {
                    assert!(words.contains("scope_missing"), "{words}");
                }
                assert!(route["responses"]["403"].is_object(), "{method} {path} does not describe its refusal");
            }
        }
    }
    assert!(guarded >= 20, "{guarded} routes");
    assert_eq!(stand.mock.stats().calls, 0);
}

#[tokio::test]
async fn a_key_made_by_the_api_and_one_made_by_the_command_line_are_alike() {
    let stand = Stand::start().await;
    let admin = stand.admin().await;
    let body = json!({
        "name": "made", "user": "ada", "project": "home", "scopes": ["chat", "read"], "models": ["openai/gpt-4o", "anthropic/*"],
        "budgets": ["1.00/day", "5/month Europe/Warsaw"], "rates": ["60/1m"], "token_rates": ["100000/1m"],
        "concurrency": 3, "address_rate": "1/10s", "expires_at": "2100-01-01T00:00:00Z",
    });
    let by_api = stand.with_key(&admin, "POST", "/api/keys", body).await;
    assert_eq!((by_api.status, by_api.header("cache-control")), (201, Some("no-store")), "{by_api:?}");
    let by_hand = stand
        .make_key(&[
            "--user",
            "ada",
            "--project",
            "home",
            "--scopes",
            "chat,read",
            "--models",
            "openai/gpt-4o,anthropic/*",
            "--budget",
            "1.00/day",
            "--budget",
            "5/month Europe/Warsaw",
            "--rate",
            "60/1m",
            "--token-rate",
            "100000/1m",
            "--concurrency",
            "3",
            "--address-rate",
            "1/10s",
            "--expires",
            "2100-01-01T00:00:00Z",
        ])
        .await;
    let by_api = by_api.json();
    for made in [&by_api, &by_hand] {
        assert_eq!(made["family_id"], made["id"]);
        assert!(stand.is_valid(&text(made, "key")).await);
        let read = stand.with_key(&admin, "GET", &format!("/api/keys/{}", text(made, "id")), Value::Null).await;
        assert_eq!(read.status, 200);
        let mut shown = made.clone();
        shown.as_object_mut().unwrap().remove("key").unwrap();
        let mut read = read.json();
        // It was used meanwhile, and that may be written already.
        read["last_used_at"] = Value::Null;
        assert_eq!(read, shown);
    }
    let own = ["id", "family_id", "public_id", "public_key", "key", "created_at"];
    let plain = |made: &Value| {
        let fields = made.as_object().unwrap().clone().into_iter();
        Value::Object(fields.filter(|(name, _)| !own.contains(&name.as_str())).collect())
    };
    assert_eq!(plain(&by_api), plain(&by_hand));
    insta::assert_json_snapshot!("key", plain(&by_api));
}

#[tokio::test]
async fn wrong_values_are_refused_with_the_field_and_the_remedy_on_both_ways() {
    let stand = Stand::start().await;
    let admin = stand.admin().await;
    let target = text(&stand.make_key(&[]).await, "id");
    for (field, value, flag, hint) in [
        ("name", json!(" "), "--name", "write a name"),
        ("user", json!(""), "--user", "write a name"),
        ("project", json!("a\u{1}b"), "--project", "control characters"),
        ("scopes", json!(["chat", "wrte"]), "--scopes", "`wrte`"),
        ("models", json!(["*/gpt"]), "--models", "`*/gpt`"),
        ("budgets", json!(["-1/day"]), "--budget", "negative"),
        ("budgets", json!(["1/day Mars/Olympus"]), "--budget", "Europe/Warsaw"),
        ("budgets", json!(["1/day", "2/day"]), "--budget", "two budgets of one period"),
        ("rates", json!(["60"]), "--rate", "`60` is no rate"),
        ("rates", json!(["60/1m", "1/60s"]), "--rate", "two rates of one period"),
        ("token_rates", json!(["0/1m"]), "--token-rate", "`0/1m`"),
        ("concurrency", json!(0), "--concurrency", "at least 1"),
        ("address_rate", json!("soon"), "--address-rate", "`soon`"),
        ("expires_at", json!("2001-01-01T00:00:00Z"), "--expires", "`2001-01-01T00:00:00Z`"),
        ("expires_in", json!("0s"), "--expires", "`0s`"),
        ("expires_in", json!("999999999d"), "--expires", "30d"),
    ] {
        let mut body = json!({"name": "x"});
        body[field] = value.clone();
        let mut requests = vec![("POST", "/api/keys".to_owned(), body)];
        if !["user", "project"].contains(&field) {
            requests.push(("PATCH", format!("/api/keys/{target}"), json!({field: value})));
        }
        for (method, path, body) in requests {
            let answer = stand.with_key(&admin, method, &path, body).await;
            let words = answer.text();
            assert_eq!(answer.status, 400, "{method} {field} {value}: {words}");
            assert!(words.contains(&format!("`{field}`")) && words.contains(hint), "{method} {field} {value}: {words}");
        }
        let values = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        let values = values.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        let flags: Vec<String> = values.map(|value| format!("{flag}={value}")).collect();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let name: &[&str] = if flag == "--name" { &[] } else { &["--name", "x"] };
        let output = stand.privet(&[&["keys", "create"], name, &flags].concat()).await;
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {output:?}");
        assert!(err(&output).contains(flag) && err(&output).contains(hint), "{flags:?}: {}", err(&output));
    }
    for (body, hint) in [
        (json!({}), "name"),
        (json!({"name": 7}), "`name`"),
        (json!({"name": "x", "scopes": ["chat", 7]}), "`scopes[1]`"),
        (json!({"name": "x", "scopes": []}), "`scopes`"),
        (json!({"name": "x", "concurrency": -1}), "`concurrency`"),
        (json!({"name": "x", "budget": "1/day"}), "budget"),
        (json!({"name": "x", "expires_in": "1d", "expires_at": "2100-01-01T00:00:00Z"}), "write one of them"),
        (json!({"name": "x", "models": ["x".repeat(1_000_000)]}), "`models`"),
    ] {
        let answer = stand.with_key(&admin, "POST", "/api/keys", body).await;
        assert!(answer.status == 400 && answer.text().contains(hint), "{hint}: {answer:?}");
        assert!(answer.body.len() < 1_000, "{hint}");
    }
    let keys = stand.with_key(&admin, "GET", "/api/keys", Value::Null).await.json();
    assert_eq!(keys["data"].as_array().unwrap().len(), 3, "nothing was made: {keys}");
}

#[tokio::test]
async fn a_change_holds_at_once_and_leaves_what_it_does_not_name() {
    let stand = Stand::start().await;
    let admin = stand.admin().await;
    let made = stand.make_key(&["--budget", "1/day", "--rate", "60/1m", "--concurrency", "3"]).await;
    let (id, key) = (text(&made, "id"), text(&made, "key"));
    let status = async || stand.with_key(&key, "POST", "/v1/chat/completions", ask("gpt-4o", "x")).await.status;
    assert_eq!(status().await, 200);
    let path = format!("/api/keys/{id}");
    let patched = stand.with_key(&admin, "PATCH", &path, json!({"scopes": ["read"], "budgets": []})).await;
    assert_eq!(patched.status, 200, "{patched:?}");
    let patched = patched.json();
    assert_eq!(
        (&patched["scopes"], &patched["budgets"], &patched["rates"], &patched["concurrency"]),
        (&json!(["read"]), &json!([]), &json!(["60/1m"]), &json!(3))
    );
    assert_eq!(status().await, 403);
    let patched = stand.with_key(&admin, "PATCH", &path, json!({"concurrency": null, "expires_in": "1h"})).await.json();
    assert!(
        patched["concurrency"].is_null() && patched["expires_at"].is_string() && patched["scopes"] == json!(["read"])
    );

    let flags = ["keys", "update", &id, "--scopes", "chat", "--rate", "none", "--expires", "none", "--name", "renamed"];
    let updated = stand.privet(&[&flags[..], &["--json"]].concat()).await;
    let updated: Value = serde_json::from_slice(&updated.stdout).unwrap();
    assert_eq!(
        (&updated["scopes"], &updated["rates"], &updated["expires_at"], &updated["name"]),
        (&json!(["chat"]), &json!([]), &Value::Null, &json!("renamed"))
    );
    assert_eq!(status().await, 200, "the running server knows when the command ends");

    assert_eq!(stand.with_key(&admin, "DELETE", &path, Value::Null).await.status, 204);
    let late = stand.with_key(&admin, "PATCH", &path, json!({"name": "x"})).await;
    assert!(late.status == 409 && late.text().contains("key_ended"), "{late:?}");
    let nobody = stand.with_key(&admin, "PATCH", "/api/keys/01890000-0000-7000-8000-000000000000", json!({})).await;
    assert_eq!(nobody.status, 404);
}

#[tokio::test]
async fn a_key_rotated_by_the_api_overlaps_with_its_successor_and_keeps_its_family_and_rights() {
    let stand = Stand::start().await;
    let admin = stand.admin().await;
    let first =
        stand.make_key(&["--scopes", "chat", "--budget", "1/day", "--models", "openai/*", "--user", "ada"]).await;
    let path = |key: &Value| format!("/api/keys/{}/rotate", text(key, "id"));
    let second = stand.with_key(&admin, "POST", &path(&first), json!({"overlap": "2s"})).await;
    assert_eq!((second.status, second.header("cache-control")), (201, Some("no-store")), "{second:?}");
    let second = second.json();
    assert!(
        stand.is_valid(&text(&first, "key")).await && stand.is_valid(&text(&second, "key")).await,
        "both are valid"
    );
    for field in ["family_id", "name", "user_id", "project", "scopes", "models", "budgets", "expires_at"] {
        assert_eq!(first[field], second[field], "{field}");
    }
    assert!(first["id"] != second["id"] && first["key"] != second["key"]);
    let third = stand.with_key(&admin, "POST", &path(&second), Value::Null).await.json();
    assert_eq!(third["family_id"], first["id"]);
    let ended = async {
        while stand.is_valid(&text(&first, "key")).await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    assert!(stand.is_valid(&text(&second, "key")).await && stand.is_valid(&text(&third, "key")).await);
    let late = stand.with_key(&admin, "POST", &path(&first), Value::Null).await;
    assert!(late.status == 409 && late.text().contains("key_ended"), "{late:?}");
    let wrong = stand.with_key(&admin, "POST", &path(&third), json!({"overlap": "soon"})).await;
    assert!(wrong.status == 400 && wrong.text().contains("`overlap`"), "{wrong:?}");
}

#[tokio::test]
async fn a_key_revoked_by_the_api_opens_nothing_from_the_answer_on() {
    let stand = Stand::start().await;
    let admin = stand.admin().await;
    for _ in 0..20 {
        let made = stand.with_key(&admin, "POST", "/api/keys", json!({"name": "short"})).await.json();
        let (key, path) = (text(&made, "key"), format!("/api/keys/{}", text(&made, "id")));
        assert!(stand.is_valid(&key).await, "it is valid from the answer on");
        assert_eq!(stand.with_key(&admin, "DELETE", &path, Value::Null).await.status, 204);
        assert!(!stand.is_valid(&key).await);
        assert_eq!(stand.with_key(&admin, "DELETE", &path, Value::Null).await.status, 204, "twice is the same as once");
    }
}

#[tokio::test]
async fn fault_27_a_key_is_prefix_id_secret_and_checksum_and_its_secret_is_kept_nowhere() {
    let mut stand = Stand::with_config("[log]\nfilter = \"debug\"\n").await;
    let admin = stand.admin().await;
    let mut secrets = Vec::new();
    for _ in 0..50 {
        let made = stand.with_key(&admin, "POST", "/api/keys", json!({"name": "x"})).await.json();
        let key = text(&made, "key");
        let parts: Vec<&str> = key.split('_').collect();
        let [prefix, id, secret, checksum] = parts[..] else { panic!("{} parts", parts.len()) };
        assert_eq!((prefix, id), ("privet", &*text(&made, "public_id")));
        // Base 32: five bits a letter.
        assert!(id.len() == 16 && secret.len() * 5 >= 256 && checksum.len() == 6);
        assert!([id, secret, checksum].concat().bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
        secrets.push(secret.to_owned());
    }
    let all: std::collections::BTreeSet<&String> = secrets.iter().collect();
    assert_eq!(all.len(), secrets.len(), "no secret comes twice");
    let listed = stand.with_key(&admin, "GET", "/api/keys", Value::Null).await;
    let by_hand = stand.privet(&["keys", "list", "--json"]).await;
    stand.server.terminate().await.unwrap();
    let mut places = vec![listed.body.to_vec(), by_hand.stdout, stand.server.logs().into_bytes()];
    for file in std::fs::read_dir(stand.server.data_dir()).unwrap() {
        places.push(std::fs::read(file.unwrap().path()).unwrap());
    }
    for place in &places {
        let place = String::from_utf8_lossy(place);
        assert!(!secrets.iter().any(|secret| place.contains(secret.as_str())), "a secret is kept");
    }
    assert!(!listed.text().contains("hash"), "{}", listed.text());
}

#[tokio::test]
async fn the_last_use_appears_while_the_server_runs_and_at_its_end() {
    let mut stand = Stand::start().await;
    let admin = stand.admin().await;
    let (used, unused) = (stand.make_key(&[]).await, stand.make_key(&[]).await);
    let last_use = async |key: &Value| {
        let path = format!("/api/keys/{}", text(key, "id"));
        stand.with_key(&admin, "GET", &path, Value::Null).await.json()["last_used_at"].clone()
    };
    assert!(last_use(&used).await.is_null());
    stand.is_valid(&text(&used, "key")).await;
    let appears = async {
        while last_use(&used).await.is_null() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, appears).await.unwrap();
    assert!(last_use(&unused).await.is_null());
    stand.is_valid(&text(&unused, "key")).await;
    stand.server.terminate().await.unwrap();
    let listed = stand.privet(&["keys", "list", "--json"]).await;
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let unused = listed.as_array().unwrap().iter().find(|key| key["id"] == unused["id"]).unwrap();
    assert!(unused["last_used_at"].is_string(), "{unused}");
}

#[tokio::test]
async fn a_key_sees_the_models_that_it_may_use() {
    let stand = Stand::with_config("[models]\nfast = \"openai/gpt-4o-mini\"\nslow = \"anthropic/x\"\n").await;
    let models = async |key: &Value| {
        let list = stand.with_key(&text(key, "key"), "GET", "/v1/models", Value::Null).await.json();
        let ids = list["data"].as_array().unwrap().iter().map(|model| text(model, "id"));
        ids.collect::<Vec<_>>()
    };
    let all = models(&stand.make_key(&[]).await).await;
    assert!(all.contains(&"fast".to_owned()) && all.iter().any(|id| id.starts_with("anthropic/")), "{all:?}");
    let some = stand.make_key(&["--models", "openai/*"]).await;
    let seen = models(&some).await;
    assert!(seen.contains(&"fast".to_owned()) && seen.len() > 1, "{seen:?}");
    assert!(seen.iter().all(|id| id == "fast" || id.starts_with("openai/")), "{seen:?}");
    let one = stand.with_key(&text(&some, "key"), "GET", "/v1/models/slow", Value::Null).await;
    assert_eq!((one.status, one.json()["error"]["code"].as_str()), (403, Some("model_not_allowed")), "{one:?}");
    assert_eq!(models(&stand.make_key(&["--models", "fast"]).await).await, ["fast"]);
}

#[tokio::test]
async fn the_keys_that_are_there_from_the_start_make_no_others() {
    let stand = Stand::start().await;
    let answer = Answer::of(stand.request(Method::GET, "/api/keys")).await;
    assert_eq!(answer.status, 403, "{answer:?}");
    let listed = String::from_utf8(stand.privet(&["keys", "list"]).await.stdout).unwrap();
    assert!(listed.contains("PERSONAL_API_KEY") && listed.contains("scopes chat,embeddings,read,traces"), "{listed}");
}
