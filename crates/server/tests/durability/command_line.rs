//! The command line writes to the database of a server under load.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::client::{Api, Client, builder};
use crate::history::History;

const KEYS: usize = 3;
/// The command waits a fixed time for servers to follow; on a machine that does much else they may be late by this.
const LATE_MAX: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_made_and_revoked_beside_a_busy_server_hold_when_the_command_returns() {
    let mut server = builder().start().await;
    let api = Api::new(server.url(), server.key());
    let acknowledgements = Arc::new(Semaphore::new(0));
    let clients = (0..3).map(|number| Client::new(format!("client {number}"), number));
    let talking: JoinSet<Client> = clients.map(|client| client.talk(api.clone(), acknowledgements.clone())).collect();

    for number in 0..KEYS {
        let data = server.data_dir();
        let made = privet(data, &["keys", "create", "--name", &format!("key {number}")]).await;
        let key = Api { key: made["key"].as_str().unwrap().to_owned(), ..api.clone() };
        becomes(&key, 200).await;
        let id = made["id"].as_str().unwrap();
        let revoked = privet(data, &["keys", "revoke", id]).await;
        assert_eq!(revoked["revoked"], true, "{revoked}");
        becomes(&key, 401).await;
    }
    let listed = privet(server.data_dir(), &["keys", "list"]).await;
    assert_eq!(listed.as_array().unwrap().len(), KEYS + 1, "{listed}");

    // The load went on beside it, and nothing of it was harmed.
    acknowledgements.acquire_many(10).await.unwrap().forget();
    server.kill_dash_9().await.unwrap();
    let said: Vec<_> = talking.join_all().await.into_iter().flat_map(|client| client.said).collect();
    server.restart().await;
    History::read(&Api::new(server.url(), server.key())).await.judge(&said);
}

/// Runs a command on the data folder, and reads what it prints.
async fn privet(data: &Path, arguments: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_privet"));
    command.args(arguments).arg("--json").arg("--data").arg(data).env_clear().current_dir(data);
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Whether the key has this status; at once, unless the machine is late.
async fn becomes(key: &Api, status: u16) {
    let began = Instant::now();
    loop {
        let (found, body) = key.get("/api/conversations?limit=1").await;
        if found == status {
            eprintln!("{status} after {:?}", began.elapsed());
            return;
        }
        assert!(began.elapsed() < LATE_MAX, "{found} instead of {status}: {body}");
    }
}
