//! What the tests stand on: a database of either kind, a clock that is set by hand, and time that passes when it is told to.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use privet_domain::time::{Clock, Timestamp};
use privet_store::{Durability, Location, Store};
use privet_testkit::postgres::{TestDatabase, fresh_database};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, PgConnection, SqliteConnection};

use crate::ledger::Reader;

/// A database that no other test sees; removed with this value.
pub(crate) struct Bed {
    pub(crate) location: Location,
    _folder: tempfile::TempDir,
    database: Option<TestDatabase>,
}

impl Bed {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { location: Location::Folder(folder.path().to_owned()), _folder: folder, database: None }
    }

    pub(crate) async fn postgres() -> Self {
        let database = fresh_database().await;
        let location = Location::postgres(database.url.clone());
        Self { location, _folder: tempfile::tempdir().unwrap(), database: Some(database) }
    }

    /// What is written survives the process, which is all that these tests end.
    pub(crate) async fn open(&self) -> Arc<Store> {
        Arc::new(Store::open(&self.location, Durability::Process).await.unwrap())
    }

    /// A connection past the store. The store must have been opened before.
    pub(crate) async fn reader(&self) -> Reader {
        match &self.database {
            Some(database) => Reader::Postgres(PgConnection::connect(&database.url).await.unwrap()),
            None => {
                let options = SqliteConnectOptions::new().filename(self.location.sqlite_file().unwrap());
                let options = options.busy_timeout(Duration::from_secs(10)).pragma("synchronous", "normal");
                Reader::Sqlite(SqliteConnection::connect_with(&options).await.unwrap())
            }
        }
    }
}

/// A clock that shows what it was set to, and may be wrong by a fixed time.
#[derive(Clone)]
pub(crate) struct HandClock {
    micros: Arc<AtomicI64>,
    wrong_by: i64,
}

impl HandClock {
    pub(crate) fn at(text: &str) -> Self {
        let now = Timestamp::parse(text).unwrap();
        Self { micros: Arc::new(AtomicI64::new(now.as_micros())), wrong_by: 0 }
    }

    /// Another clock, set together with this one, that goes wrong by so many seconds.
    pub(crate) fn wrong_by(&self, seconds: i64) -> Self {
        Self { micros: self.micros.clone(), wrong_by: seconds * 1_000_000 }
    }

    pub(crate) fn set(&self, text: &str) {
        self.set_to(Timestamp::parse(text).unwrap());
    }

    pub(crate) fn set_to(&self, now: Timestamp) {
        self.micros.store(now.as_micros(), Ordering::Relaxed);
    }

    pub(crate) fn step(&self, seconds: i64) {
        self.micros.fetch_add(seconds * 1_000_000, Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.micros.load(Ordering::Relaxed) + self.wrong_by)
    }
}

/// Runs a test whose timers pass only when it advances them, so that a seed means the same on any machine.
pub(crate) fn with_time_by_hand(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    // Paused time runs on by itself whenever the runtime has nothing to do, as while a database works, and would fire the
    // pools' time limits. It does not while a blocking task runs.
    let standing_still = runtime.spawn_blocking(move || ended.recv());
    runtime.block_on(test);
    drop(end);
    assert!(runtime.block_on(standing_still).unwrap().is_err());
}
