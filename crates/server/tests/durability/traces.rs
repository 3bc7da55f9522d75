//! The server is killed without warning while traces come in and are exported, again and again: what was acknowledged is there, and
//! the collector has got all of it.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use privet_dialects::otlp::decode_protobuf;
use privet_testkit::privet_process::PrivetProcess;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::client::builder;

const KILLS: usize = 6;
const SENDERS: usize = 4;

/// A collector that now and then refuses for a while.
#[derive(Default)]
struct Collected {
    observations: BTreeSet<String>,
    exports: usize,
    key: Option<String>,
}

type Shared = Arc<Mutex<Collected>>;

async fn collect(State(collected): State<Shared>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let mut collected = collected.lock().unwrap();
    collected.exports += 1;
    collected.key = headers.get("x-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
    if collected.exports.is_multiple_of(3) {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let mut protobuf = Vec::new();
    flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut protobuf).unwrap();
    let export = decode_protobuf(&protobuf).unwrap();
    assert_eq!(export.rejected, 0, "{:?}", export.reasons);
    collected.observations.extend(export.batch.observations.iter().map(|one| one.id.to_string()));
    StatusCode::OK
}

fn http() -> reqwest::Client {
    static PROVIDER: std::sync::Once = std::sync::Once::new();
    // Another test of this process may have installed it already.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// An acknowledged observation has the id that this makes.
fn observation_id(sender: usize, number: usize) -> String {
    format!("{:08x}{number:08x}", sender + 1)
}

fn batch(sender: usize, number: usize) -> Value {
    let id = observation_id(sender, number);
    let body = json!({
        "id": id, "traceId": format!("{id}{id}"), "name": "step", "input": {"number": number},
        "startTime": "2026-11-25T10:00:00.000Z", "endTime": "2026-11-25T10:00:01.000Z",
    });
    json!({"batch": [{"id": format!("e{id}"), "type": "span-create", "timestamp": "2026-11-25T10:00:00.000Z", "body": body}]})
}

/// Sends until the server is gone; gives the last number that was sent, and what was acknowledged.
async fn send(url: String, key: String, sender: usize, first: usize) -> (usize, Vec<String>) {
    let (client, mut acknowledged) = (http(), Vec::new());
    for number in first.. {
        let request = client.post(format!("{url}/api/public/ingestion")).bearer_auth(&key);
        let request = request.header("content-type", "application/json").body(batch(sender, number).to_string());
        match request.send().await {
            Ok(response) if response.status().as_u16() == 207 => acknowledged.push(observation_id(sender, number)),
            Ok(response) => panic!("{}", response.status()),
            Err(_) => return (number + 1, acknowledged),
        }
    }
    unreachable!("it sends until it is cut")
}

#[tokio::test]
async fn killed_while_traces_come_in_it_loses_none_and_exports_all() {
    let collected = Shared::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/v1/traces", post(collect)).with_state(collected.clone());
    let mut collector = JoinSet::new();
    collector.spawn(async move { axum::serve(listener, router).await.unwrap() });

    let config = format!("[traces.export]\nurl = \"http://{address}\"\nheaders = \"x-key=canary\"\n");
    let mut server = builder().config_toml(config).start().await;
    let mut acknowledged: Vec<String> = Vec::new();
    let mut next = [0; SENDERS];
    for _ in 0..KILLS {
        let mut senders = JoinSet::new();
        for (sender, first) in next.into_iter().enumerate() {
            let (url, key) = (server.url().to_owned(), server.key().to_owned());
            senders.spawn(async move { (sender, send(url, key, sender, first).await) });
        }
        tokio::time::sleep(Duration::from_millis(700)).await;
        server.kill_dash_9().await.unwrap();
        while let Some(sent) = senders.join_next().await {
            let (sender, (number, more)) = sent.unwrap();
            next[sender] = number;
            acknowledged.extend(more);
        }
        server.restart().await;
    }
    assert!(acknowledged.len() > 50, "{}", acknowledged.len());
    for id in acknowledged.iter().step_by(7) {
        assert_eq!(status_of(&server, id).await, 200, "observation {id}");
    }
    let all: BTreeSet<String> = acknowledged.into_iter().collect();
    for _ in 0..600 {
        if collected.lock().unwrap().observations.is_superset(&all) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let collected = collected.lock().unwrap();
    let missing: Vec<&String> = all.difference(&collected.observations).collect();
    assert!(missing.is_empty(), "{} of {} are missing: {:?}", missing.len(), all.len(), missing.first());
    assert_eq!(collected.key.as_deref(), Some("canary"));
    assert!(!server.logs().contains("canary"));
}

async fn status_of(server: &PrivetProcess, id: &str) -> u16 {
    let request = http().get(format!("{}/api/public/observations/{id}", server.url())).bearer_auth(server.key());
    request.send().await.unwrap().status().as_u16()
}
