//! The surface of Langfuse's SDKs: pairs of keys, the shape of errors, and what the SDKs check first.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde_json::{Value, json};

use privet_testkit::privet_process::PrivetBuilder;
use privet_testkit::upstream::MockUpstream;

use crate::stand::{Answer, Stand, ask, builder, client};

const PROJECTS: &str = "/api/public/projects";

/// A pair of keys.
struct Pair {
    id: String,
    public_key: String,
    secret_key: String,
}

impl Stand {
    async fn make_pair(&self, flags: &[&str]) -> Pair {
        let output = self.privet(&[&["keys", "create", "--name", "pair", "--json"], flags].concat()).await;
        assert!(output.status.success(), "{output:?}");
        let made: Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = |field: &str| made[field].as_str().unwrap().to_owned();
        Pair { id: text("id"), public_key: text("public_key"), secret_key: text("key") }
    }

    /// A GET with this `Authorization`, or with none.
    async fn authorized(&self, path: &str, authorization: &str) -> Answer {
        let request = self.client.get(format!("{}{path}", self.server.url()));
        let request = if authorization.is_empty() { request } else { request.header("authorization", authorization) };
        Answer::of(request).await
    }
}

fn basic(public_key: &str, secret_key: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{public_key}:{secret_key}")))
}

fn class(answer: &Answer) -> (u16, String) {
    let body = answer.json();
    assert!(body["message"].is_string() && body.as_object().unwrap().len() == 2, "{body}");
    (answer.status, body["error"].as_str().unwrap_or_else(|| panic!("{body}")).to_owned())
}

fn refused(status: u16, error: &str) -> (u16, String) {
    (status, error.to_owned())
}

#[tokio::test]
async fn a_pair_opens_the_project_of_its_key() {
    let stand = Stand::start().await;
    let pair = stand.make_pair(&["--project", "shop"]).await;
    assert!(pair.public_key.starts_with("pk-lf-"), "{}", pair.public_key);
    let answer = stand.authorized(PROJECTS, &basic(&pair.public_key, &pair.secret_key)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let projects = answer.json();
    let project = &projects["data"][0];
    assert_eq!(projects["data"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&project["name"], &project["metadata"], &project["organization"]),
        (&json!("shop"), &json!({}), &json!({"id": "privet", "name": "Privet"}))
    );
    assert!(uuid::Uuid::parse_str(project["id"].as_str().unwrap()).is_ok(), "{project}");
    let unpadded = format!("basic {}", STANDARD_NO_PAD.encode(format!("{}:{}", pair.public_key, pair.secret_key)));
    for authorization in [unpadded, format!("Bearer {}", pair.secret_key)] {
        let same = stand.authorized(PROJECTS, &authorization).await;
        assert_eq!((same.status, same.json()), (200, projects.clone()), "{authorization}");
    }
    let by_header = stand.client.get(format!("{}{PROJECTS}", stand.server.url())).header("x-api-key", &pair.secret_key);
    assert_eq!(Answer::of(by_header).await.status, 200);
}

#[tokio::test]
async fn what_is_no_pair_of_one_valid_key_is_refused_in_the_surface_s_words() {
    let stand = Stand::start().await;
    let pair = stand.make_pair(&[]).await;
    let other = stand.make_pair(&[]).await;
    let ended = stand.make_pair(&["--expires", "1s"]).await;
    let revoked = stand.make_pair(&[]).await;
    assert!(stand.privet(&["keys", "revoke", &revoked.id]).await.status.success());
    let expired = async {
        while stand.authorized(PROJECTS, &basic(&ended.public_key, &ended.secret_key)).await.status != 401 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), expired).await.unwrap();
    for (case, authorization) in [
        ("wrong secret", basic(&pair.public_key, "sk-lf-wrong")),
        ("another key's secret", basic(&pair.public_key, &other.secret_key)),
        ("another key's public key", basic(&other.public_key, &pair.secret_key)),
        ("swapped", basic(&pair.secret_key, &pair.public_key)),
        ("no public key", basic("", &pair.secret_key)),
        ("no secret", basic(&pair.public_key, "")),
        ("one half", format!("Basic {}", STANDARD.encode(&pair.secret_key))),
        ("no base 64", "Basic %%%".to_owned()),
        ("no text", format!("Basic {}", STANDARD.encode([0xff, 0xfe, b':', 0x00]))),
        ("nothing", "Basic ".to_owned()),
        ("revoked", basic(&revoked.public_key, &revoked.secret_key)),
        ("revoked public key", format!("Bearer {}", revoked.public_key)),
        ("unknown scheme", format!("Digest {}", pair.secret_key)),
        ("absent", String::new()),
    ] {
        let answer = stand.authorized(PROJECTS, &authorization).await;
        assert_eq!(class(&answer), refused(401, "UnauthorizedError"), "{case}");
        assert_eq!(answer.header("x-privet-gate"), Some("key"), "{case}");
        assert!(!answer.text().contains(&pair.secret_key), "{case}");
    }
    let alone = stand.authorized(PROJECTS, &format!("Bearer {}", pair.public_key)).await;
    assert_eq!(class(&alone), refused(403, "ForbiddenError"), "a public key may only score");
    assert!(alone.json()["message"].as_str().unwrap().contains("only write scores"), "{alone:?}");
}

#[tokio::test]
async fn a_pair_is_taken_on_its_own_surface_alone() {
    let stand = Stand::start().await;
    let pair = stand.make_pair(&[]).await;
    for path in ["/v1/models", "/api/conversations"] {
        for authorization in [basic(&pair.public_key, &pair.secret_key), format!("Bearer {}", pair.public_key)] {
            assert_eq!(stand.authorized(path, &authorization).await.status, 401, "{path}");
        }
    }
}

#[tokio::test]
async fn health_needs_no_key_and_unknown_routes_and_methods_answer_in_the_surface_s_shape() {
    let stand = Stand::start().await;
    let health = stand.authorized("/api/public/health", "").await;
    assert_eq!((health.status, health.json()), (200, json!({"status": "OK", "version": "4.16.0"})));
    for path in ["/api/public", "/api/public/", "/api/public/nothing", "/api/public/v2/nothing/x"] {
        assert_eq!(class(&stand.get(path).await), refused(404, "LangfuseNotFoundError"), "{path}");
    }
    let posted = Answer::of(stand.post(PROJECTS, "{}")).await;
    assert_eq!(class(&posted), refused(405, "MethodNotAllowedError"));
    assert!(stand.get("/api/publicity").await.json()["code"].is_string(), "another surface");
}

#[tokio::test]
async fn wrong_pairs_count_as_guesses_of_their_address_and_right_ones_as_requests() {
    let stand = Stand::guarded("[limits]\naddress = { refused = \"2/1m\", api = \"5/1m\" }\n").await;
    let pair = stand.make_pair(&[]).await;
    let right = basic(&pair.public_key, &pair.secret_key);
    let served = stand.authorized(PROJECTS, &right).await;
    assert_eq!((served.status, served.header("ratelimit-remaining")), (200, Some("4")));
    for _ in 0..2 {
        assert_eq!(stand.authorized(PROJECTS, &basic(&pair.public_key, "guess")).await.status, 401);
    }
    let guessed = stand.authorized(PROJECTS, &basic(&pair.public_key, "guess")).await;
    assert_eq!(class(&guessed), refused(429, "RateLimitError"));
    assert!(guessed.header("retry-after").is_some(), "{guessed:?}");
    assert_eq!(stand.authorized(PROJECTS, &right).await.status, 429, "no key of this address is looked at");
}

#[tokio::test]
async fn a_rotated_key_is_another_pair_and_the_old_one_ends_with_it() {
    let stand = Stand::start().await;
    let old = stand.make_pair(&[]).await;
    let output = stand.privet(&["keys", "rotate", &old.id, "--overlap", "1h", "--json"]).await;
    let new: Value = serde_json::from_slice(&output.stdout).unwrap();
    let (public_key, secret_key) = (new["public_key"].as_str().unwrap(), new["key"].as_str().unwrap());
    assert_ne!(public_key, old.public_key);
    let status = async |public: &str, secret: &str| stand.authorized(PROJECTS, &basic(public, secret)).await.status;
    assert_eq!(status(public_key, secret_key).await, 200);
    assert_eq!(status(&old.public_key, &old.secret_key).await, 200);
    assert_eq!(status(&old.public_key, secret_key).await, 401);
}

#[tokio::test]
async fn a_made_key_comes_with_the_lines_that_an_sdk_needs() {
    let stand = Stand::start().await;
    let output = stand.privet(&["keys", "create", "--name", "app"]).await;
    let key = String::from_utf8(output.stdout).unwrap();
    let key = key.trim();
    assert_eq!(key.lines().count(), 1, "what a script reads is the key alone: {key}");
    let told = String::from_utf8(output.stderr).unwrap();
    let value = |name: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        line.unwrap_or_else(|| panic!("no {name}: {told}")).to_owned()
    };
    assert_eq!(value("LANGFUSE_SECRET_KEY"), key);
    assert_eq!(value("LANGFUSE_BASE_URL"), "http://127.0.0.1:3000");
    let answer = stand.authorized(PROJECTS, &basic(&value("LANGFUSE_PUBLIC_KEY"), key)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

const CHOSEN_PUBLIC: &str = "pk-lf-my-installation";
const CHOSEN_SECRET: &str = "sk-lf-canary-93b1c7e2";

/// A server with these variables around it, on the data of another where one is given.
async fn moved_here(environment: &[(&str, &str)], data_of: Option<&Stand>) -> Stand {
    let mock = MockUpstream::start().await;
    let start = builder(&mock).config_toml("[log]\nfilter = \"debug\"\n");
    let start = environment.iter().fold(start, |start, (name, value)| start.env(*name, *value));
    let start = data_of.into_iter().fold(start, |start: PrivetBuilder, stand| start.data_dir(stand.server.data_dir()));
    Stand { server: start.start().await, mock, client: client() }
}

#[tokio::test]
async fn a_pair_from_the_environment_opens_the_first_project_under_the_id_it_had() {
    let stand = moved_here(
        &[
            ("LANGFUSE_INIT_PROJECT_ID", "my-project"),
            ("LANGFUSE_INIT_PROJECT_NAME", "My Project"),
            ("LANGFUSE_INIT_PROJECT_PUBLIC_KEY", CHOSEN_PUBLIC),
            ("LANGFUSE_INIT_PROJECT_SECRET_KEY", CHOSEN_SECRET),
        ],
        None,
    )
    .await;
    let answer = stand.authorized(PROJECTS, &basic(CHOSEN_PUBLIC, CHOSEN_SECRET)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let project = &answer.json()["data"][0];
    assert_eq!((&project["id"], &project["name"]), (&json!("my-project"), &json!("My Project")));
    for (public_key, secret) in [("pk-lf-other", CHOSEN_SECRET), (CHOSEN_PUBLIC, "sk-lf-other")] {
        assert_eq!(stand.authorized(PROJECTS, &basic(public_key, secret)).await.status, 401);
    }
    let public_alone = stand.authorized(PROJECTS, &format!("Bearer {CHOSEN_PUBLIC}")).await;
    assert_eq!(public_alone.status, 403);
    // A key that was made here is of the same project.
    let own = stand.make_pair(&[]).await;
    let own = stand.authorized(PROJECTS, &basic(&own.public_key, &own.secret_key)).await;
    assert_eq!(own.json()["data"][0]["id"], "my-project");

    let listed: Value = serde_json::from_slice(&stand.privet(&["keys", "list", "--json"]).await.stdout).unwrap();
    let pair = listed.as_array().unwrap().iter().find(|key| key["public_key"] == CHOSEN_PUBLIC).unwrap();
    assert_eq!(pair["scopes"], json!(["read", "prompts", "traces"]));
    let chat = stand.client.post(format!("{}/v1/chat/completions", stand.server.url())).bearer_auth(CHOSEN_SECRET);
    assert_eq!(Answer::of(chat.body(ask("gpt-4o", "x").to_string())).await.status, 403, "it spends nothing");

    let logs = stand.server.logs();
    assert!(!logs.contains(CHOSEN_SECRET) && !listed.to_string().contains(CHOSEN_SECRET), "{logs}");
    for entry in std::fs::read_dir(stand.server.data_dir()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = if path.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
        let kept = bytes.windows(CHOSEN_SECRET.len()).any(|window| window == CHOSEN_SECRET.as_bytes());
        assert!(!kept, "{} holds the secret", path.display());
    }
}

#[tokio::test]
async fn a_changed_pair_ends_the_one_before_and_the_same_one_stays() {
    let mut stand =
        moved_here(&[("LANGFUSE_PUBLIC_KEY", CHOSEN_PUBLIC), ("LANGFUSE_SECRET_KEY", CHOSEN_SECRET)], None).await;
    let rows = async |stand: &Stand| {
        let listed = stand.privet(&["keys", "list", "--json"]).await;
        serde_json::from_slice::<Value>(&listed.stdout).unwrap().as_array().unwrap().len()
    };
    let before = rows(&stand).await;
    stand.server.restart().await;
    assert_eq!(rows(&stand).await, before, "imported once");
    stand.server.terminate().await.unwrap();
    for (public_key, secret, ended) in [
        ("pk-lf-renamed", CHOSEN_SECRET, (CHOSEN_PUBLIC, CHOSEN_SECRET)),
        ("pk-lf-renamed", "sk-lf-another-secret", ("pk-lf-renamed", CHOSEN_SECRET)),
    ] {
        let mut next =
            moved_here(&[("LANGFUSE_PUBLIC_KEY", public_key), ("LANGFUSE_SECRET_KEY", secret)], Some(&stand)).await;
        let status =
            async |public_key: &str, secret: &str| next.authorized(PROJECTS, &basic(public_key, secret)).await.status;
        assert_eq!(status(public_key, secret).await, 200);
        assert_eq!(status(ended.0, ended.1).await, 401);
        next.server.terminate().await.unwrap();
    }
}

#[tokio::test]
async fn a_key_of_privet_s_own_in_the_environment_is_left_as_it_is() {
    let mut stand = Stand::start().await;
    let own = stand.make_pair(&["--scopes", "read"]).await;
    stand.server.terminate().await.unwrap();
    let pasted = [("LANGFUSE_PUBLIC_KEY", own.public_key.as_str()), ("LANGFUSE_SECRET_KEY", own.secret_key.as_str())];
    let mut next = moved_here(&pasted, Some(&stand)).await;
    assert_eq!(next.authorized(PROJECTS, &basic(&own.public_key, &own.secret_key)).await.status, 200);
    assert!(!next.server.logs().contains("LANGFUSE_"), "nothing to warn of: {}", next.server.logs());
    next.server.terminate().await.unwrap();
    let mixed = [("LANGFUSE_PUBLIC_KEY", CHOSEN_PUBLIC), ("LANGFUSE_SECRET_KEY", own.secret_key.as_str())];
    let next = moved_here(&mixed, Some(&stand)).await;
    assert_eq!(next.authorized(PROJECTS, &basic(CHOSEN_PUBLIC, &own.secret_key)).await.status, 401);
    assert_eq!(next.authorized(PROJECTS, &basic(&own.public_key, &own.secret_key)).await.status, 200);
    assert!(next.server.logs().contains("another public key"), "{}", next.server.logs());
}

#[tokio::test]
async fn half_a_pair_is_no_pair_and_the_log_says_so() {
    let stand = moved_here(&[("LANGFUSE_SECRET_KEY", CHOSEN_SECRET)], None).await;
    assert!(stand.server.logs().contains("without LANGFUSE_PUBLIC_KEY"), "{}", stand.server.logs());
    assert_eq!(stand.authorized(PROJECTS, &basic("", CHOSEN_SECRET)).await.status, 401);
}
