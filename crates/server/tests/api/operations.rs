//! Running the server: health, metrics, the API's description, logs, connections, and refusals to start.

use std::time::{Duration, Instant};

use privet_testkit::privet_process::TEST_KEY;
use privet_testkit::upstream::{Behaviour, MockUpstream};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Connection as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::stand::{Answer, PROVIDER_KEY, Stand, ask, ask_streamed, builder};

#[tokio::test]
async fn health_readiness_and_metrics_need_no_key() {
    let stand = Stand::start().await;
    stand.chat(ask("gpt-4o", "x")).await;
    let get = |path: &str| Answer::of(stand.client.get(format!("{}{path}", stand.server.url())));
    for path in ["/healthz", "/readyz"] {
        let answer = get(path).await;
        assert_eq!(
            (answer.status, answer.json()),
            (200, json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}))
        );
    }
    let metrics = get("/metrics").await;
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let counted = "privet_requests_total{route=\"/v1/chat/completions\",status=\"200\"} 1";
    assert!(metrics.text().contains(counted), "{}", metrics.text());
    assert!(metrics.text().contains("privet_calls_under_way 0"), "{}", metrics.text());
    assert!(metrics.text().contains("privet_request_seconds"), "{}", metrics.text());
}

#[tokio::test]
async fn metrics_do_not_grow_with_what_strangers_ask_for() {
    let stand = Stand::start().await;
    for n in 0..50 {
        let url = format!("{}/nothing/{n}", stand.server.url());
        Answer::of(stand.client.request(Method::from_bytes(format!("M{n}").as_bytes()).unwrap(), url)).await;
        stand.get(&format!("/api/conversations/{n}")).await;
    }
    let metrics = stand.get("/metrics").await;
    let lines = metrics.text().lines().filter(|line| line.starts_with("privet_requests_total")).count();
    assert!(lines < 5, "{}", metrics.text());
}

#[tokio::test]
async fn the_description_lists_every_route_and_stays_as_it_is() {
    let stand = Stand::start().await;
    let document = stand.get("/openapi.json").await.json();
    let mut routes = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        routes.extend(methods.as_object().unwrap().keys().map(|method| format!("{} {path}", method.to_uppercase())));
    }
    routes.sort();
    assert_eq!(
        routes,
        [
            "DELETE /api/conversations/{id}",
            "DELETE /api/documents/{id}",
            "DELETE /api/keys/{id}",
            "DELETE /api/memories",
            "DELETE /api/memories/{id}",
            "DELETE /api/messages/{uuid}",
            "DELETE /api/prompts/{name}",
            "DELETE /api/prompts/{name}/labels/{label}",
            "DELETE /api/protected-labels/{label}",
            "DELETE /api/public/scores/{id}",
            "DELETE /api/public/traces",
            "DELETE /api/public/traces/{id}",
            "DELETE /api/public/v2/prompts/{name}",
            "DELETE /api/switches",
            "DELETE /api/traces/{id}",
            "DELETE /api/users/{id}",
            "DELETE /v1/responses/{response_id}",
            "GET /",
            "GET /api/conversations",
            "GET /api/conversations/export",
            "GET /api/conversations/{id}",
            "GET /api/documents",
            "GET /api/documents/{id}",
            "GET /api/erasures",
            "GET /api/keys",
            "GET /api/keys/{id}",
            "GET /api/memories",
            "GET /api/memories/{id}",
            "GET /api/memories/{id}/history",
            "GET /api/messages/{uuid}",
            "GET /api/metrics/daily",
            "GET /api/prompts",
            "GET /api/prompts/{name}",
            "GET /api/prompts/{name}/diff",
            "GET /api/prompts/{name}/used-by",
            "GET /api/prompts/{name}/versions",
            "GET /api/protected-labels",
            "GET /api/providers",
            "GET /api/public/health",
            "GET /api/public/metrics",
            "GET /api/public/metrics/daily",
            "GET /api/public/models",
            "GET /api/public/models/{id}",
            "GET /api/public/observations",
            "GET /api/public/observations/{id}",
            "GET /api/public/projects",
            "GET /api/public/score-configs",
            "GET /api/public/score-configs/{id}",
            "GET /api/public/scores",
            "GET /api/public/scores/{id}",
            "GET /api/public/sessions",
            "GET /api/public/sessions/{id}",
            "GET /api/public/traces",
            "GET /api/public/traces/{id}",
            "GET /api/public/v2/metrics",
            "GET /api/public/v2/observations",
            "GET /api/public/v2/prompts",
            "GET /api/public/v2/prompts/{name}",
            "GET /api/public/v2/scores",
            "GET /api/public/v2/scores/{id}",
            "GET /api/public/v3/scores",
            "GET /api/scores",
            "GET /api/sessions",
            "GET /api/sessions/{id}",
            "GET /api/switches",
            "GET /api/traces",
            "GET /api/traces/{id}",
            "GET /api/usage",
            "GET /api/usage/{id}",
            "GET /api/users",
            "GET /api/users/{id}",
            "GET /healthz",
            "GET /metrics",
            "GET /readyz",
            "GET /v1/models",
            "GET /v1/models/{model}",
            "GET /v1/responses/{response_id}",
            "GET /v1/responses/{response_id}/input_items",
            "GET /v1beta/models",
            "GET /v1beta/models/{model}",
            "PATCH /api/keys/{id}",
            "PATCH /api/memories/{id}",
            "PATCH /api/messages/{uuid}",
            "PATCH /api/public/score-configs/{id}",
            "PATCH /api/public/v2/prompts/{name}/versions/{version}",
            "POST /api/chat",
            "POST /api/conversations",
            "POST /api/documents",
            "POST /api/feedback",
            "POST /api/keys",
            "POST /api/keys/{id}/rotate",
            "POST /api/memories",
            "POST /api/memories/search",
            "POST /api/prompts",
            "POST /api/prompts/{name}/compile",
            "POST /api/prompts/{name}/run",
            "POST /api/public/ingestion",
            "POST /api/public/otel/v1/traces",
            "POST /api/public/score-configs",
            "POST /api/public/scores",
            "POST /api/public/v2/prompts",
            "POST /api/switches",
            "POST /v1/audio/speech",
            "POST /v1/audio/transcriptions",
            "POST /v1/audio/translations",
            "POST /v1/chat/completions",
            "POST /v1/embeddings",
            "POST /v1/images/generations",
            "POST /v1/messages",
            "POST /v1/messages/count_tokens",
            "POST /v1/moderations",
            "POST /v1/responses",
            "POST /v1/responses/input_tokens",
            "POST /v1/responses/{response_id}/cancel",
            "POST /v1/traces",
            "POST /v1beta/models/{model}:countTokens",
            "POST /v1beta/models/{model}:generateContent",
            "POST /v1beta/models/{model}:streamGenerateContent",
            "PUT /api/prompts/{name}/labels/{label}",
            "PUT /api/protected-labels/{label}",
        ]
    );
    for route in &routes {
        let (method, path) = route.split_once(' ').unwrap();
        let path = path.replace("{id}", "x").replace("{uuid}", "x").replace("{model}", "x");
        let url = format!("{}{path}", stand.server.url());
        let answer = Answer::of(stand.client.request(method.parse().unwrap(), url)).await;
        let open = ["/", "/healthz", "/readyz", "/metrics", "/api/public/health"].contains(&path.as_str());
        assert_eq!(answer.status, if open { 200 } else { 401 }, "{route} without a key");
        let declared = &document["paths"][route.split_once(' ').unwrap().1][method.to_lowercase()];
        assert_eq!(declared["security"].is_array(), !open, "{route}");
    }
    insta::assert_json_snapshot!("openapi", document);
}

#[tokio::test]
async fn the_reference_renders_with_its_parts() {
    let stand = Stand::start().await;
    let page = stand.get("/docs/").await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    let parts: Vec<&str> =
        page.text().split(['"', '\'']).filter(|text| text.ends_with(".js") || text.ends_with(".css")).collect();
    assert!(parts.len() >= 3, "{}", page.text());
    for part in parts {
        assert!(!part.starts_with("http"), "nothing is loaded from elsewhere: {part}");
        let answer = stand.get(&format!("/docs/{}", part.trim_start_matches("./"))).await;
        assert_eq!(answer.status, 200, "{part}");
    }
    assert!(stand.get("/docs/swagger-initializer.js").await.text().contains("/openapi.json"));
}

#[tokio::test]
async fn logs_hold_no_key_and_nothing_that_was_said() {
    let stand = Stand::with_config("[log]\nfilter = \"debug\"\nformat = \"json\"\n").await;
    let (said, answered) = ("canary-said-7f3a", "canary-answered-91bc");
    for model in ["gpt-4o", "claude-sonnet-4-5", "gemini-2.5-flash"] {
        for stream in [false, true] {
            for behaviour in [
                Behaviour::text(answered),
                Behaviour::text(answered).thinking(answered, "c2ln").tool_call("f", json!({"a": answered})),
                Behaviour::text(format!("{answered} and more")).cut_after_chunks(1),
                Behaviour::error(500).error_message("down"),
                Behaviour::new().raw_body(format!("<html>{answered}</html>")),
            ] {
                stand.mock.script_once(behaviour);
                let mut body = ask(model, said);
                body["stream"] = json!(stream);
                let _answered = stand.chat(body).await;
            }
        }
    }
    stand.lesson(ask("gpt-4o", said)).await;
    Answer::of(stand.post("/v1/embeddings", json!({"model": "text-embedding-3-small", "input": said}).to_string()))
        .await;
    let wrong = "canary-wrong-key-4411";
    let url = format!("{}/v1/chat/completions", stand.server.url());
    Answer::of(stand.client.post(&url).bearer_auth(wrong).body(ask("gpt-4o", said).to_string())).await;
    stand.chat(json!({"model": said, "messages": [{"role": said, "content": said}], "conversation_id": said})).await;
    stand.get(&format!("/api/conversations?cursor={said}")).await;
    let logs = stand.server.logs();
    assert!(logs.contains("\"answered\""), "the log is on: {logs}");
    for canary in [said, answered, wrong, TEST_KEY, PROVIDER_KEY] {
        let line = logs.lines().find(|line| line.contains(canary));
        assert!(line.is_none(), "{canary}: {line:?}");
    }
}

#[tokio::test]
async fn every_line_after_the_greeting_is_json_with_its_time_level_and_place() {
    let mut stand = Stand::with_config("[log]\nfilter = \"debug\"\n").await;
    stand.mock.script_once(Behaviour::error(500));
    let failed = stand.chat(ask("gpt-4o", "x")).await;
    stand.server.terminate().await.unwrap();
    let logs = stand.server.logs();
    let (greeting, log) = logs.split_once("\"content\":\"hey\"}]}'\n\n").unwrap_or_else(|| panic!("{logs}"));
    assert!(greeting.contains("curl http://127.0.0.1:") && greeting.contains("$PERSONAL_API_KEY"), "{greeting}");
    assert!(log.lines().count() > 2, "{logs}");
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["timestamp"].is_string() && line["level"].is_string() && line["target"].is_string(), "{line}");
    }
    let id = failed.header("x-request-id").unwrap();
    assert!(log.contains(id), "a failure can be found by its request id");
}

#[tokio::test]
async fn the_first_start_shows_a_key_that_works_and_the_second_shows_none() {
    let mock = MockUpstream::start().await;
    let mut server = builder(&mock).env_remove("PERSONAL_API_KEY").start().await;
    let told = async {
        while !server.logs().contains("Try it:") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // The server listens before it has told all.
    tokio::time::timeout(Duration::from_secs(10), told).await.unwrap();
    let logs = server.logs();
    let key = logs.lines().map(str::trim).find(|line| line.starts_with("privet_")).unwrap_or_else(|| panic!("{logs}"));
    let get = |url: &str| crate::stand::client().get(format!("{url}/v1/models"));
    assert_eq!(Answer::of(get(server.url()).bearer_auth(key)).await.status, 200);
    assert_eq!(Answer::of(get(server.url())).await.status, 401);
    let key = key.to_owned();
    server.restart().await;
    assert!(!server.logs().lines().any(|line| line.trim().starts_with("privet_")), "{}", server.logs());
    assert_eq!(Answer::of(get(server.url()).bearer_auth(key)).await.status, 200);
}

/// Opens connections that say this much and no more, and waits until the server has closed them all.
async fn closed_after(stand: &Stand, count: usize, said: &[u8]) -> Duration {
    let started = Instant::now();
    let mut streams: Vec<TcpStream> = Vec::new();
    for _ in 0..count {
        let mut stream = stand.connect().await;
        stream.write_all(said).await.unwrap();
        streams.push(stream);
    }
    let served = stand.chat(ask("gpt-4o", "others are served")).await;
    assert_eq!(served.status, 200);
    for mut stream in streams {
        let mut rest = Vec::new();
        // A reset is as good as an end.
        let closed = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "{:?} is still open", String::from_utf8_lossy(said));
    }
    started.elapsed()
}

#[tokio::test]
async fn fault_20_connections_with_slow_headers_are_closed_while_others_are_served() {
    let stand = Stand::with_config("[server]\nheader_timeout = \"1s\"\n").await;
    for said in [
        &b"POST /api/chat HTTP/1.1\r\nhost: x\r\nx-slow: "[..],
        b"G",
        b"PRI * HTTP/2.0\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"",
    ] {
        let elapsed = closed_after(&stand, 200, said).await;
        assert!(elapsed < Duration::from_secs(4), "{:?}: {elapsed:?}", String::from_utf8_lossy(said));
    }
}

#[tokio::test]
async fn a_connection_without_a_new_request_is_closed() {
    let stand = Stand::with_config("[server]\nheader_timeout = \"1s\"\n").await;
    let elapsed = closed_after(&stand, 3, b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(elapsed >= Duration::from_millis(900) && elapsed < Duration::from_secs(4), "{elapsed:?}");
}

#[tokio::test]
async fn a_stream_outlives_the_header_timeout() {
    let stand = Stand::with_config("[server]\nheader_timeout = \"300ms\"\nbody_timeout = \"300ms\"\n").await;
    stand.mock.script(Behaviour::text("one two three four five six").chunk_delay_ms(150));
    let answer = stand.chat(ask_streamed("gpt-4o", "x")).await;
    assert!(answer.is_done() && answer.streamed_text() == "one two three four five six", "{}", answer.text());
}

#[tokio::test]
async fn connections_over_the_cap_wait_for_a_place() {
    let stand = Stand::with_config("[server]\nconnections_max = 5\nheader_timeout = \"1s\"\n").await;
    let mut held = Vec::new();
    for _ in 0..5 {
        let mut stream = stand.connect().await;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n").await.unwrap();
        held.push(stream);
    }
    let mut waiting = stand.connect().await;
    waiting.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut first = [0_u8; 12];
    let early = tokio::time::timeout(Duration::from_millis(300), waiting.read_exact(&mut first)).await;
    assert!(early.is_err(), "the sixth connection was served beside five others");
    let served = tokio::time::timeout(Duration::from_secs(4), waiting.read_exact(&mut first)).await;
    served.unwrap().unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
}

#[tokio::test]
async fn http_2_is_spoken_without_tls() {
    let stand = Stand::start().await;
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let url = format!("{}/v1/chat/completions", stand.server.url());
    let answer = client.post(url).bearer_auth(stand.server.key()).body(ask_streamed("gpt-4o", "x").to_string());
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
    assert!(answer.text().await.unwrap().ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn a_second_server_on_the_same_data_is_refused() {
    let stand = Stand::start().await;
    let refused = builder(&stand.mock).data_dir(stand.server.data_dir()).try_start().await.err().unwrap();
    assert_eq!(refused.status.and_then(|status| status.code()), Some(1));
    let folder = stand.server.data_dir().display().to_string();
    assert!(refused.logs.contains("another privet") && refused.logs.contains(&folder), "{}", refused.logs);
    assert_eq!(stand.chat(ask("gpt-4o", "x")).await.status, 200);
}

#[tokio::test]
async fn a_taken_address_is_refused_with_the_way_out() {
    let stand = Stand::start().await;
    let taken = stand.server.url().strip_prefix("http://").unwrap();
    let data = tempfile::tempdir().unwrap();
    let path = data.path().display().to_string();
    let output = crate::stand::run(&["serve", "--listen", taken, "--data", &path], &[]).await;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains(taken) && words.contains("--listen"), "{words}");
}

#[tokio::test]
async fn a_wrong_configuration_exits_78_naming_file_line_and_key() {
    let mock = MockUpstream::start().await;
    for (toml, expected) in [
        ("[server]\n\nlisen = \"x\"\n", "privet.toml:3: `server.lisen` is unknown; did you mean `server.listen`?"),
        ("[server]\nbody_timeout = \"soon\"\n", "privet.toml:2: `server.body_timeout` = `soon`: write a time"),
        ("[server]\nbody_timeout = \n", "privet.toml:2: "),
        ("[providers.mine]\nkind = \"openai\"\n", "privet.toml:2: `providers.mine` needs a `base_url`"),
        ("[providers.openai]\nbase_url = \"ftp://x\"\n[models]\na = \"b\"\n", "privet.toml:4: `models.a` = `b`"),
        ("[log]\nfilter = \"a=b=c\"\n", "`log.filter` = `a=b=c`"),
    ] {
        let refused =
            builder(&mock).config_toml(toml).try_start().await.err().unwrap_or_else(|| panic!("{toml} is taken"));
        assert_eq!(refused.status.and_then(|status| status.code()), Some(78), "{toml}: {}", refused.logs);
        assert!(refused.logs.contains(expected), "{toml}: {}", refused.logs);
        assert_eq!(refused.logs.trim_end().lines().count(), 1, "one line says it: {}", refused.logs);
    }
}

#[tokio::test]
async fn a_database_of_a_newer_version_exits_78_and_stays_untouched() {
    let mut stand = Stand::start().await;
    stand.chat(ask("gpt-4o", "x")).await;
    stand.server.terminate().await.unwrap();
    let file = stand.server.data_dir().join("privet.db");
    let mut database = sqlx::SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'later', 1, x'00', 1)",
    )
    .execute(&mut database)
    .await
    .unwrap();
    database.close().await.unwrap();
    let before = std::fs::read(&file).unwrap();
    let refused = builder(&stand.mock).data_dir(stand.server.data_dir()).try_start().await.err().unwrap();
    assert_eq!(refused.status.and_then(|status| status.code()), Some(78), "{}", refused.logs);
    assert!(refused.logs.contains("9999") && refused.logs.contains("run the newer privet"), "{}", refused.logs);
    for command in [&["keys", "list"][..], &["migrate"], &["conversations", "list"]] {
        let output = stand.privet(command).await;
        assert_eq!(output.status.code(), Some(78), "{command:?}: {output:?}");
    }
    assert!(before == std::fs::read(&file).unwrap(), "the file was changed");
}

#[tokio::test]
async fn only_its_owner_may_read_the_data_folder() {
    use std::os::unix::fs::PermissionsExt as _;
    let stand = Stand::start().await;
    let mode = std::fs::metadata(stand.server.data_dir()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "{mode:o}");
}
