//! The server is killed without warning while it spends, again and again: the provider's own bill is the oracle.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use privet_testkit::postgres::{TestDatabase, fresh_database};
use privet_testkit::privet_process::{PrivetBuilder, PrivetProcess};
use privet_testkit::upstream::{Behaviour, MockUpstream};
use serde_json::{Value, json};
use sqlx::types::Uuid;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::client::{Api, Random, builder};
use crate::purse::{Database, Purse};

const ROUNDS: u64 = 50;
const CLIENTS: usize = 6;
const ROUND_MAX: Duration = Duration::from_secs(60);
/// Nobody waits long for the money of a server that was killed a moment ago.
const CONFIG: &str = "[limits]\nbudget_wait = \"50ms\"\n\n[[budgets]]\nlimit = \"50.00/total\"\n";
const NANOS: i64 = 1_000_000_000;
/// All that there is, and what the second key has of it: less than is asked for.
const GLOBAL: i64 = 50 * NANOS;
const SMALL: i64 = NANOS / 100;

/// A server that spends at a mock, and where its ledger is.
struct Till {
    mock: MockUpstream,
    server: PrivetProcess,
    database: Database,
    _postgres: Option<TestDatabase>,
}

/// A key that `privet keys create` made.
struct Key {
    id: String,
    text: String,
}

impl Till {
    async fn sqlite() -> Self {
        let mock = MockUpstream::start().await;
        let server = spending(builder(), &mock).start().await;
        let database = Database::Sqlite(server.data_dir().join("privet.db"));
        Self { mock, server, database, _postgres: None }
    }

    async fn postgres() -> Self {
        let (mock, postgres) = (MockUpstream::start().await, fresh_database().await);
        let server = spending(builder().database_url(&postgres.url), &mock).start().await;
        Self { mock, server, database: Database::Postgres(postgres.url.clone()), _postgres: Some(postgres) }
    }

    /// Runs a command beside the server, and reads what it prints.
    async fn privet(&self, arguments: &[&str]) -> Value {
        let data = self.server.data_dir();
        let mut command = Command::new(env!("CARGO_BIN_EXE_privet"));
        command.args(arguments).arg("--json").arg("--data").arg(data).env_clear().current_dir(data);
        if let Database::Postgres(url) = &self.database {
            command.env("DATABASE_URL", url);
        }
        let output = command.output().await.unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    async fn key(&self, budget: i64) -> Key {
        let budget = format!("{}.{:09}/total", budget / NANOS, budget % NANOS);
        let made = self.privet(&["keys", "create", "--name", "spender", "--budget", &budget]).await;
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        Key { id: text("id"), text: text("key") }
    }

    fn as_key(&self, key: &Key) -> Api {
        Api::new(self.server.url(), &key.text)
    }

    /// The ledger and the provider's bill of a server that is dead.
    async fn settle_up(&self) -> (Purse, i64) {
        let stats = self.mock.wait_for(|stats| stats.in_flight == 0).await;
        (self.database.purse().await, i64::try_from(stats.bill_nanos).unwrap())
    }
}

fn spending(builder: PrivetBuilder, mock: &MockUpstream) -> PrivetBuilder {
    let builder = builder.env("OPENAI_API_KEY", "sk-test").env("OPENAI_BASE_URL", format!("{}/v1", mock.base_url()));
    builder.config_toml(CONFIG)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_08_killed_while_spending_on_sqlite_it_keeps_each_acknowledged_cent_once() {
    let mut till = Till::sqlite().await;
    let purse = killed_again_and_again(&mut till, 31).await;
    // Whoever died before this start is fenced: what they held is settled by hand, and fits into the budgets.
    let reconciled = till.privet(&["reconcile", "charge"]).await;
    assert_eq!(reconciled, json!({"settled": purse.held.len(), "held_nanos": purse.held()}));
    let after = till.database.purse().await;
    assert_eq!((after.settled(), after.held()), (purse.settled() + purse.held(), 0));
    assert!(after.budgets.values().all(|&(_, held)| held == 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_08_killed_while_spending_on_postgres_it_keeps_each_acknowledged_cent_once() {
    killed_again_and_again(&mut Till::postgres().await, 32).await;
}

/// A round ends when so many calls were acknowledged and a moment has passed, both by the seed.
async fn killed_again_and_again(till: &mut Till, seed: u64) -> Purse {
    till.mock.script(Behaviour::text("one two three four five six seven eight nine ten").chunk_delay_ms(1));
    let keys = [till.key(GLOBAL).await, till.key(SMALL).await];
    let (mut random, mut acknowledged) = (Random(seed), HashSet::new());
    for round in 1..=ROUNDS {
        let acknowledgements = Arc::new(Semaphore::new(0));
        let mut spending = JoinSet::new();
        for client in 0..CLIENTS {
            let key = &keys[usize::from(client % 3 == 0)];
            let (api, random) = (till.as_key(key), Random(random.below(u64::MAX)));
            spending.spawn(spend(api, random, acknowledgements.clone()));
        }
        let enough = acknowledgements.acquire_many(u32::try_from(random.below(50)).unwrap());
        let enough = tokio::time::timeout(ROUND_MAX, enough).await;
        enough
            .unwrap_or_else(|_| panic!("round {round} was too slow; the server printed:\n{}", till.server.logs()))
            .unwrap()
            .forget();
        tokio::time::sleep(Duration::from_micros(random.below(12_000))).await;
        till.server.kill_dash_9().await.unwrap();
        acknowledged.extend(spending.join_all().await.into_iter().flatten());

        let (purse, bill) = till.settle_up().await;
        purse.judge(&acknowledged);
        let (settled, held) = (purse.settled(), purse.held());
        assert!(settled <= bill, "round {round}: {settled} settled, though only {bill} were billed");
        assert!(bill <= settled + held, "round {round}: {bill} billed, {settled} settled and {held} held");
        for (key, limit) in keys.iter().zip([GLOBAL, SMALL]) {
            let (settled, held) = purse.budgets.get(&format!("key/{}/total", key.id)).copied().unwrap_or_default();
            assert!(settled + held <= limit, "round {round}: {settled} settled, {held} held of {limit}");
        }
        let all = purse.budgets.get("global/total").copied().unwrap_or_default();
        assert_eq!(all, (settled, held), "round {round}: each call is charged to all its budgets");
        till.server.restart().await;
    }
    assert!(till.database.is_whole().await);
    let purse = till.database.purse().await;
    let (calls, open) = (purse.paid.len(), purse.held.len());
    eprintln!("{} acknowledged, {calls} settled, {open} held by the dead", acknowledged.len());
    assert!(open > 0, "no kill came in the middle of a call");
    purse
}

/// Spends until the server is gone; gives the acknowledged calls.
async fn spend(api: Api, mut random: Random, acknowledgements: Arc<Semaphore>) -> Vec<Uuid> {
    let mut acknowledged = Vec::new();
    loop {
        match ask(&api, random.below(2) == 0).await {
            Outcome::Gone => return acknowledged,
            Outcome::NoMoney => {}
            Outcome::Answered(id) => {
                acknowledged.push(id);
                acknowledgements.add_permits(1);
            }
        }
    }
}

/// What became of a call.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Answered(Uuid),
    NoMoney,
    Gone,
}

fn body(stream: bool) -> String {
    let messages = json!([{"role": "user", "content": "How much is the fish?"}]);
    json!({"model": "openai/gpt-4o", "messages": messages, "max_tokens": 50, "stream": stream}).to_string()
}

async fn ask(api: &Api, stream: bool) -> Outcome {
    let request = api.http.post(format!("{}/v1/chat/completions", api.url)).bearer_auth(&api.key);
    let request = request.header("content-type", "application/json").body(body(stream));
    let Ok(mut response) = request.send().await else { return Outcome::Gone };
    if response.status() == 402 {
        return Outcome::NoMoney;
    }
    if response.status() != 200 {
        panic!("{}: {:?}", response.status(), response.text().await);
    }
    let id = response.headers()["x-request-id"].to_str().unwrap().parse().unwrap();
    let mut received = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(bytes)) => received.extend_from_slice(&bytes),
            Ok(None) if !stream => return Outcome::Answered(id),
            _ => return Outcome::Gone,
        }
        // What breaks after it takes nothing back.
        if stream && received.ends_with(b"data: [DONE]\n\n") {
            return Outcome::Answered(id);
        }
    }
}

#[tokio::test]
async fn wire_31_a_stream_that_a_kill_cut_stays_held_until_it_is_reconciled() {
    let mut till = Till::sqlite().await;
    let (hold, key) = key_for_one_and_a_half(&till).await;
    till.mock.script(Behaviour::text("one two three four five six").hang_after_chunks(3));
    let api = till.as_key(&key);
    let request = api.http.post(format!("{}/v1/chat/completions", api.url)).bearer_auth(&api.key);
    let request = request.header("content-type", "application/json").body(body(true));
    let mut response = request.send().await.unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("three") {
        seen.extend_from_slice(&response.chunk().await.unwrap().unwrap());
    }
    let before = till.database.purse().await.settled();
    till.server.kill_dash_9().await.unwrap();
    let (purse, _) = till.settle_up().await;
    assert_eq!((purse.settled(), purse.held()), (before, hold));

    till.mock.script(Behaviour::text("whole"));
    till.server.restart().await;
    assert_eq!(ask(&till.as_key(&key), false).await, Outcome::NoMoney, "the rest is held");
    let released = till.privet(&["reconcile", "release"]).await;
    assert_eq!(released, json!({"settled": 1, "held_nanos": hold}));
    assert!(matches!(ask(&till.as_key(&key), false).await, Outcome::Answered(_)), "it is free again");
}

#[tokio::test]
async fn fault_10_killed_between_answer_and_commit_on_sqlite_the_hold_is_still_charged() {
    killed_between_answer_and_commit(Till::sqlite().await).await;
}

#[tokio::test]
async fn fault_10_killed_between_answer_and_commit_on_postgres_the_hold_is_still_charged() {
    killed_between_answer_and_commit(Till::postgres().await).await;
}

async fn killed_between_answer_and_commit(mut till: Till) {
    let (hold, key) = key_for_one_and_a_half(&till).await;
    let (before, completed) = (till.database.purse().await.settled(), till.mock.stats().completed);
    till.mock.script(Behaviour::text("whole").first_byte_delay_ms(2_000));
    let api = till.as_key(&key);
    let asking = tokio::spawn(async move { ask(&api, false).await });
    till.mock.wait_for(|stats| stats.in_flight == 1).await;
    // The hold is durable, the answer is yet to come, and cannot be settled.
    let lock = till.database.lock().await;
    till.mock.wait_for(|stats| stats.completed == completed + 1).await;
    till.server.kill_dash_9().await.unwrap();
    assert_eq!(asking.await.unwrap(), Outcome::Gone, "nothing was acknowledged");
    lock.release().await;

    let (purse, bill) = till.settle_up().await;
    assert_eq!((purse.settled(), purse.held()), (before, hold));
    assert!(bill <= purse.settled() + purse.held());
    till.mock.script(Behaviour::text("whole"));
    till.server.restart().await;
    assert_eq!(ask(&till.as_key(&key), false).await, Outcome::NoMoney, "the rest is held");
}

#[tokio::test]
async fn money_of_a_hold_in_doubt_is_free_again_once_the_database_answers() {
    let till = Till::sqlite().await;
    let (_, key) = key_for_one_and_a_half(&till).await;
    let api = till.as_key(&key);
    till.database.execute("ALTER TABLE holds RENAME TO lost").await;
    assert_eq!(status(&api).await, 503, "the hold cannot be written");
    assert_eq!(status(&api).await, 402, "nor is it known that it was not");
    till.database.execute("ALTER TABLE lost RENAME TO holds").await;
    let free = async {
        while status(&api).await != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(ROUND_MAX, free).await.unwrap();
}

async fn status(api: &Api) -> u16 {
    let request = api.http.post(format!("{}/v1/chat/completions", api.url)).bearer_auth(&api.key);
    let request = request.header("content-type", "application/json").body(body(false));
    request.send().await.unwrap().status().as_u16()
}

/// What a call holds, and a key that can hold it once.
async fn key_for_one_and_a_half(till: &Till) -> (i64, Key) {
    let probe = till.key(NANOS).await;
    let Outcome::Answered(id) = ask(&till.as_key(&probe), false).await else { panic!("the probe is not answered") };
    let explained = till.privet(&["explain", &id.to_string()]).await;
    let hold = explained["facts"]["hold_nanos"].as_i64().unwrap();
    (hold, till.key(hold * 3 / 2).await)
}
