//! The server is killed without warning under load, again and again.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use privet_testkit::postgres::fresh_database;
use privet_testkit::privet_process::{PrivetBuilder, PrivetProcess};
use sqlx::{Connection as _, SqliteConnection};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::client::{Api, Client, Random, Said, builder};
use crate::history::History;

const ROUNDS: u64 = 50;
const CLIENTS: u64 = 6;
/// Of a debug build on a busy machine; 2 s are promised of a release.
const RESTART_MAX: Duration = Duration::from_secs(5);
const ROUND_MAX: Duration = Duration::from_secs(60);
const DURABILITY: [&str; 2] = ["durability = \"full\"\n", "durability = \"process\"\n"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_on_sqlite_it_keeps_each_acknowledged_message_once() {
    let (mut server, said) = killed_again_and_again(builder(), 8).await;
    server.kill_dash_9().await.unwrap();
    every_acknowledged_answer_has_its_trace(&server.data_dir().join("traces.db"), &said).await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(server.data_dir().join("privet.db"));
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let report: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check").fetch_all(&mut connection).await.unwrap();
    assert_eq!(report, ["ok"]);
    let strays = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut connection).await.unwrap();
    assert_eq!(strays.len(), 0, "no message without its conversation");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_on_postgres_it_keeps_each_acknowledged_message_once() {
    let database = fresh_database().await;
    let (mut server, _said) = killed_again_and_again(builder().database_url(&database.url), 9).await;
    server.kill_dash_9().await.unwrap();
}

/// A round ends when so many turns were acknowledged and a moment has passed, both by the seed: a slow machine changes
/// neither how much is said nor the result.
async fn killed_again_and_again(builder: PrivetBuilder, seed: u64) -> (PrivetProcess, Vec<Said>) {
    let mut random = Random(seed);
    let mut server = builder.config_toml(DURABILITY[0]).start().await;
    let mut clients: Vec<Client> =
        (0..CLIENTS).map(|number| Client::new(format!("client {number}"), random.below(u64::MAX))).collect();
    let mut slowest_restart = Duration::ZERO;
    for round in 1..=ROUNDS {
        let acknowledgements = Arc::new(Semaphore::new(0));
        let api = Api::new(server.url(), server.key());
        let talking: JoinSet<Client> =
            clients.drain(..).map(|client| client.talk(api.clone(), acknowledgements.clone())).collect();
        let enough = acknowledgements.acquire_many(u32::try_from(random.below(60)).unwrap());
        let enough = tokio::time::timeout(ROUND_MAX, enough).await;
        enough
            .unwrap_or_else(|_| panic!("round {round} was too slow; the server printed:\n{}", server.logs()))
            .unwrap()
            .forget();
        tokio::time::sleep(Duration::from_micros(random.below(8_000))).await;
        server.kill_dash_9().await.unwrap();
        clients = talking.join_all().await;

        server.set_config_toml(DURABILITY[usize::try_from(round % 2).unwrap()]).unwrap();
        let began = Instant::now();
        server.restart().await;
        slowest_restart = slowest_restart.max(began.elapsed());
    }
    let said: Vec<_> = clients.into_iter().flat_map(|client| client.said).collect();
    let api = Api::new(server.url(), server.key());
    let counts = History::read(&api).await.judge(&said);
    eprintln!("{} said, {counts:?}, slowest restart {slowest_restart:?}", said.len());
    // A client says one thing at a time: a kill leaves at most one text in doubt for each.
    assert_eq!(said.len() - counts.acknowledged, usize::try_from(ROUNDS * CLIENTS).unwrap());
    assert!(counts.unacknowledged_kept <= said.len() - counts.acknowledged);
    assert!(slowest_restart < RESTART_MAX, "a restart took {slowest_restart:?}");
    (server, said)
}

/// The trace of each acknowledged answer is whole: in its session, with a generation that has ended well. What nobody said has
/// left none.
async fn every_acknowledged_answer_has_its_trace(file: &Path, said: &[Said]) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT traces.name, traces.session_id FROM traces JOIN observations \
         ON observations.project_id = traces.project_id AND observations.trace_id = traces.id \
         WHERE observations.type = 'GENERATION' AND observations.ended_at IS NOT NULL AND level = 'DEFAULT' AND traces.output IS NOT NULL",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let count = rows.len();
    let traces: HashMap<String, String> = rows.into_iter().collect();
    assert_eq!(traces.len(), count, "a text was said once and has one trace");
    // The texts are shorter than a trace's name.
    for said in said {
        let Some(acknowledged) = &said.acknowledged else { continue };
        assert_eq!(traces.get(&said.text), Some(&acknowledged.conversation_id), "the trace of `{}`", said.text);
    }
    let known: HashSet<&str> = said.iter().map(|said| said.text.as_str()).collect();
    let strangers: Vec<&String> = traces.keys().filter(|name| !known.contains(name.as_str())).collect();
    assert!(strangers.is_empty(), "nobody said {strangers:?}");
    eprintln!("{count} traces of {} said", said.len());
}
