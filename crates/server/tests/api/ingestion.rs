//! What comes in of traces: what SDKs really sent (recorded, in the dialects' test data), and what nobody should send. On both
//! databases, since they differ in what they take.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use privet_testkit::postgres::{TestDatabase, fresh_database};
use privet_testkit::upstream::MockUpstream;
use reqwest::Method;
use serde_json::{Value, json};

use crate::stand::{Answer, Stand, builder, client};

const NPM3: &str = include_str!("../../../dialects/testdata/langfuse/npm3.json");
const PYTHON2: &str = include_str!("../../../dialects/testdata/langfuse/python2.json");
const NPM5: &str = include_str!("../../../dialects/testdata/otlp/npm5.json");
const PYTHON5: &[u8] = include_bytes!("../../../dialects/testdata/otlp/python5.bin");
const OTEL_PYTHON: &[u8] = include_bytes!("../../../dialects/testdata/otlp/otel_python.bin");

const BATCHES: &str = "/api/public/ingestion";
const SPANS: &str = "/api/public/otel/v1/traces";
const PROTOBUF: &str = "application/x-protobuf";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

impl Stand {
    /// The same stand on PostgreSQL, with a database that ends with its guard.
    async fn on_postgres() -> (Self, TestDatabase) {
        let (database, mock) = (fresh_database().await, MockUpstream::start().await);
        let server = builder(&mock).database_url(&database.url).start().await;
        (Self { mock, server, client: client() }, database)
    }

    async fn deliver(&self, path: &str, headers: &[(&str, &str)], body: impl Into<reqwest::Body>) -> Answer {
        let request = self.request(Method::POST, path).body(body);
        Answer::of(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
    }

    /// What was recorded, with a score configuration of this project in place of the one that it names.
    async fn configured(&self, recorded: &str) -> String {
        let config = json!({"name": "mood", "dataType": "CATEGORICAL", "categories": [{"label": "happy", "value": 1}]});
        let made = Answer::of(self.post("/api/public/score-configs", config.to_string())).await;
        assert_eq!(made.status, 200, "{made:?}");
        recorded.replace("cfg-1", made.json()["id"].as_str().unwrap())
    }

    /// A trace as it is read.
    async fn read_trace(&self, id: &str) -> Value {
        let answer = self.get(&format!("/api/public/traces/{id}")).await;
        assert_eq!(answer.status, 200, "{id}: {answer:?}");
        answer.json()
    }
}

/// The observation with this name.
fn step<'a>(trace: &'a Value, name: &str) -> &'a Value {
    let observations = trace["observations"].as_array().unwrap();
    observations.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("no {name} in {trace}"))
}

/// What all of Langfuse's SDKs were made to send.
fn is_the_recorded_trace(trace: &Value) {
    assert_eq!(trace["name"], "What is the weather in Oslo?", "{trace}");
    assert_eq!((&trace["userId"], &trace["sessionId"]), (&json!("ada"), &json!("session-1")));
    assert_eq!(
        (&trace["release"], &trace["version"], &trace["environment"]),
        (&json!("rel-1"), &json!("v7"), &json!("staging"))
    );
    assert_eq!(trace["metadata"]["plan"], "pro");
    let answer = step(trace, "Answer");
    assert_eq!((&answer["type"], &answer["model"]), (&json!("GENERATION"), &json!("gpt-4o")));
    assert_eq!((&answer["promptName"], &answer["promptVersion"]), (&json!("Answer"), &json!(3)));
    assert_eq!(answer["output"], json!({"role": "assistant", "content": "hi"}));
    assert_eq!((&answer["usageDetails"]["input"], &answer["usageDetails"]["total"]), (&json!(10), &json!(15)));
    assert_eq!(answer["calculatedTotalCost"], json!(0.003), "{answer}");
    assert!(answer["completionStartTime"].is_string(), "{answer}");
    assert!(answer["parentObservationId"].is_string() && answer["endTime"].is_string(), "{answer}");
}

async fn sdks_are_understood(stand: &Stand) {
    for (batch, tags) in [(NPM3, json!(["alpha", "beta", "gamma"])), (PYTHON2, json!(["alpha", "beta", "gamma"]))] {
        let batch = stand.configured(batch).await;
        let answer = stand.deliver(BATCHES, &[("content-type", "application/json")], batch.clone()).await;
        let events: Value = serde_json::from_str(&batch).unwrap();
        let events = events["batch"].as_array().unwrap().clone();
        let logs = stand.server.logs();
        assert_eq!((answer.status, &answer.json()["errors"]), (207, &json!([])), "{answer:?}: {logs}");
        assert_eq!(answer.json()["successes"].as_array().unwrap().len(), events.len());
        let id = events.iter().find(|event| event["type"] == "trace-create").unwrap()["body"]["id"].clone();
        let trace = stand.read_trace(id.as_str().unwrap()).await;
        is_the_recorded_trace(&trace);
        assert_eq!((&trace["tags"], &trace["output"]), (&tags, &json!({"a": "hi"})));
    }
    let python5 = [("content-type", PROTOBUF), ("content-encoding", "gzip"), ("x-langfuse-ingestion-version", "4")];
    let answer = stand.deliver(SPANS, &python5, gzip(PYTHON5)).await;
    assert_eq!((answer.status, answer.header("content-type"), answer.body.len()), (200, Some(PROTOBUF), 0));
    let trace = stand.read_trace("07a090f70d42894131aeee4f3224c9e3").await;
    is_the_recorded_trace(&trace);
    assert_eq!((&trace["input"], &trace["output"]), (&json!({"q": "hey"}), &json!({"a": "hi"})));
    let search = step(&trace, "search");
    assert_eq!(
        (&search["type"], &search["level"], &search["statusMessage"]),
        (&json!("TOOL"), &json!("ERROR"), &json!("boom"))
    );
    assert_eq!(step(&trace, "Answer")["metadata"]["text"], "a string", "texts of metadata are JSON in this SDK");

    let answer = stand.deliver(SPANS, &[("content-type", "application/json")], NPM5).await;
    assert_eq!((answer.status, answer.json()), (200, json!({})));
    let trace = stand.read_trace("4f958d7cd9c23edcf65a70c07aae72aa").await;
    is_the_recorded_trace(&trace);
    assert_eq!((&trace["input"], &trace["output"]), (&json!("trace in"), &json!("trace out")));

    let answer = stand.deliver("/v1/traces", &[("content-type", PROTOBUF)], OTEL_PYTHON).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let trace = stand.read_trace("38073cd0cbe84453bc4a96d2d89e8627").await;
    assert_eq!((&trace["name"], &trace["sessionId"]), (&json!("POST /ask"), &json!("s1")));
    assert_eq!((&trace["environment"], &trace["release"]), (&json!("prod"), &json!("1.2")));
    assert_eq!(step(&trace, "retrieve")["type"], "RETRIEVER");
    assert_eq!(step(&trace, "chat gpt-4o")["usageDetails"], json!({"input": 12, "output": 7, "total": 19}));
    assert_eq!(step(&trace, "fails")["statusMessage"], "ValueError: broken");
}

#[tokio::test]
async fn what_each_sdk_sends_reads_back_on_sqlite() {
    sdks_are_understood(&Stand::start().await).await;
}

#[tokio::test]
async fn what_each_sdk_sends_reads_back_on_postgres() {
    let (stand, _database) = Stand::on_postgres().await;
    sdks_are_understood(&stand).await;
}

/// What one database or the other does not take, beside what both take.
async fn what_no_column_takes_is_refused(stand: &Stand) {
    let event = |id: &str, body: Value| json!({"id": id, "type": "trace-create", "timestamp": "2026-11-25T10:00:00.000Z", "body": body});
    let batch = json!({"batch": [
        event("1", json!({"id": "good", "name": "n".repeat(1_000), "userId": "u".repeat(1_000), "tags": ["t".repeat(1_000)],
            "metadata": {"nul": "a\0b"}, "input": "a\0b"})),
        event("2", json!({"id": "bad", "name": "a\0b"})),
        event("3", json!({"id": "bad", "userId": "u".repeat(3_000)})),
        event("4", json!({"id": "bad\n"})),
        event("5", json!({"id": "half", "name": "HALF"})),
    ]});
    // What JavaScript leaves of a text that it cut within a character.
    let body = batch.to_string().replace("HALF", "\\ud83d");
    let answer = stand.deliver(BATCHES, &[("content-type", "application/json")], body).await;
    assert_eq!(answer.status, 207, "{answer:?}: {}", stand.server.logs());
    let told = answer.json();
    let ids = |list: &str| told[list].as_array().unwrap().iter().map(|one| one["id"].clone()).collect::<Vec<_>>();
    assert_eq!(
        (answer.status, ids("successes"), ids("errors")),
        (207, vec![json!("1"), json!("5")], vec![json!("2"), json!("3"), json!("4")])
    );
    for error in told["errors"].as_array().unwrap() {
        assert_eq!((&error["status"], &error["error"]), (&json!(400), &json!("InvalidRequestError")), "{error}");
        assert!(error["message"].as_str().unwrap().split_whitespace().count() > 3, "{error}");
    }
    let trace = stand.read_trace("good").await;
    assert_eq!((&trace["input"], &trace["metadata"]["nul"]), (&json!("a\0b"), &json!("a\0b")));
    assert_eq!(stand.read_trace("half").await["name"], "\u{fffd}");
    assert_eq!(stand.get("/api/public/traces/bad").await.status, 404);
}

#[tokio::test]
async fn what_no_column_takes_is_refused_with_its_event_on_sqlite() {
    what_no_column_takes_is_refused(&Stand::start().await).await;
}

#[tokio::test]
async fn what_no_column_takes_is_refused_with_its_event_on_postgres() {
    let (stand, _database) = Stand::on_postgres().await;
    what_no_column_takes_is_refused(&stand).await;
}

/// A length-delimited field of protobuf.
fn field(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        bytes.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).unwrap());
    [&bytes, content].concat()
}

/// An export of these spans.
fn export(spans: &[Vec<u8>]) -> Vec<u8> {
    let spans: Vec<u8> = spans.iter().flat_map(|span| field(2, span)).collect();
    field(1, &field(2, &spans))
}

fn span(trace: [u8; 16], id: [u8; 8]) -> Vec<u8> {
    let start = [&[0x39][..], &1_790_000_000_000_000_000_u64.to_le_bytes()].concat();
    [field(1, &trace), field(2, &id), field(5, b"step"), start].concat()
}

#[tokio::test]
async fn broken_spans_are_refused_and_their_neighbours_kept() {
    let stand = Stand::start().await;
    let protobuf = [("content-type", PROTOBUF)];
    let some = export(&[span([7; 16], [1; 8]), span([0; 16], [2; 8]), span([7; 16], [0; 8])]);
    let answer = stand.deliver(SPANS, &protobuf, some.clone()).await;
    let words = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(PROTOBUF)), "{answer:?}");
    // partial_success: rejected_spans 2, and why.
    assert!(answer.body[2..].starts_with(&[0x08, 2, 0x12]), "{answer:?}");
    assert!(words.contains("no valid trace id") && words.contains("no valid span id"), "{words}");
    assert_eq!(stand.read_trace(&"07".repeat(16)).await["observations"].as_array().unwrap().len(), 1);

    let broken = [
        ("all ids are zero", export(&[span([0; 16], [1; 8])]), &protobuf[..], 400, "No span of the export can be read"),
        ("noise", b"\xff\xff\xff\xff".to_vec(), &protobuf, 400, "no export of OTLP traces"),
        ("half of it", some[..some.len() / 2].to_vec(), &protobuf, 400, "no export of OTLP traces"),
        ("JSON as protobuf", NPM5.as_bytes().to_vec(), &protobuf, 400, "no export of OTLP traces"),
        ("protobuf as JSON", some.clone(), &[("content-type", "application/json")], 400, "no"),
        ("a list", b"[]".to_vec(), &[("content-type", "application/json")], 400, "no export of OTLP traces"),
        ("no type", some.clone(), &[], 415, "application/x-protobuf"),
        ("another type", some.clone(), &[("content-type", "text/plain")], 415, "application/x-protobuf"),
        ("another packing", some.clone(), &[protobuf[0], ("content-encoding", "zstd")], 415, "gzip"),
        ("no gzip", some.clone(), &[protobuf[0], ("content-encoding", "gzip")], 400, "gzip"),
        ("half a gzip", gzip(&some)[..20].to_vec(), &[protobuf[0], ("content-encoding", "gzip")], 400, "gzip"),
        ("a newer form", some.clone(), &[protobuf[0], ("x-langfuse-ingestion-version", "5")], 400, "up to 4"),
    ];
    for (what, body, headers, status, words) in broken {
        let answer = stand.deliver(SPANS, headers, body).await;
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        let told = answer.json();
        assert!(told["message"].as_str().unwrap().contains(words) && told["error"].is_string(), "{what}: {told}");
        assert!(answer.body.len() < 2_048, "{what}: {answer:?}");
    }
}

#[tokio::test]
async fn small_bodies_that_hold_large_ones_are_refused() {
    let stand = Stand::start().await;
    let headers = [("content-type", PROTOBUF), ("content-encoding", "gzip")];
    let zeros = gzip(&vec![0; 200 << 20]);
    let spans = gzip(&export(&vec![Vec::new(); 2_000_000]));
    assert!(zeros.len() < 300_000 && spans.len() < 100_000, "{} {}", zeros.len(), spans.len());
    for (bomb, status, words) in [(zeros, 413, "larger than"), (spans, 400, "send smaller batches")] {
        let answer = stand.deliver(SPANS, &headers, bomb).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.json()["message"].as_str().unwrap().contains(words), "{answer:?}");
    }
    let deep = format!("{{\"batch\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let answer = stand.deliver(BATCHES, &[("content-type", "application/json")], deep).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(!stand.server.logs().contains("panicked"), "{}", stand.server.logs());
}

#[tokio::test]
async fn a_batch_that_comes_again_is_kept_once() {
    let stand = Stand::start().await;
    let batch = stand.configured(NPM3).await;
    for _ in 0..2 {
        let answer = stand.deliver(BATCHES, &[("content-type", "application/json")], batch.clone()).await;
        assert_eq!(answer.status, 207, "{answer:?}");
    }
    let trace = stand.read_trace("d2342339-c5cc-4daf-aaaa-a08cb674982a").await;
    assert_eq!(trace["observations"].as_array().unwrap().len(), 4);
    assert_eq!(trace["scores"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_web_page_with_a_public_key_sends_scores_and_nothing_else() {
    let stand = Stand::start().await;
    let made = stand.privet(&["keys", "create", "--name", "page", "--json"]).await;
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let with_public_key = async |path: &str, body: &str| {
        let request = stand.client.post(format!("{}{path}", stand.server.url()));
        let request =
            request.bearer_auth(made["public_key"].as_str().unwrap()).header("content-type", "application/json");
        Answer::of(request.body(body.to_owned())).await
    };
    let answer = with_public_key(BATCHES, &stand.configured(NPM3).await).await;
    let told = answer.json();
    assert_eq!(answer.status, 207, "{told}");
    assert_eq!((told["successes"].as_array().unwrap().len(), told["errors"].as_array().unwrap().len()), (4, 10));
    assert!(told["errors"][0]["message"].as_str().unwrap().contains("public key"), "{told}");
    assert_eq!(with_public_key(SPANS, NPM5).await.status, 403);
    let score = r#"{"traceId": "t", "name": "helpful", "value": true}"#;
    assert_eq!(with_public_key("/api/public/scores", score).await.status, 200);
}

#[tokio::test]
async fn a_list_of_scores_is_kept_but_for_those_that_are_wrong() {
    let stand = Stand::start().await;
    let json = [("content-type", "application/json")];
    let python5 = stand.configured(include_str!("../../../dialects/testdata/langfuse/python5_scores.json")).await;
    let answer = stand.deliver("/api/public/scores", &json, python5).await;
    assert_eq!((answer.status, answer.json()), (202, json!({"message": "Accepted"})));
    let some = json!([{"traceId": "t", "name": "n", "value": 1}, {"name": "n", "value": 1}, 7]);
    let answer = stand.deliver("/api/public/scores", &json, some.to_string()).await;
    let told = answer.json();
    assert_eq!((answer.status, &told["accepted"], &told["rejected"]), (207, &json!(1), &json!(2)), "{told}");
    assert!(told["errors"][0]["message"].as_str().unwrap().contains("exactly one of"), "{told}");
    let answer = stand.deliver("/api/public/scores", &json, r#"{"name": "n", "value": 1}"#).await;
    assert_eq!((answer.status, &answer.json()["message"]), (400, &json!("Invalid request data")));
}
