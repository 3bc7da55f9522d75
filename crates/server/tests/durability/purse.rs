//! The money of a server that was killed, read by SQL while nobody serves: what is settled, what is held, by call and by budget.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use sqlx::types::Uuid;
use sqlx::{Connection as _, PgConnection, SqliteConnection};

/// Where the ledger is.
#[derive(Clone)]
pub(crate) enum Database {
    Sqlite(PathBuf),
    Postgres(String),
}

/// A lock that lets nobody settle, until it is dropped.
pub(crate) enum Lock {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// A settled call.
pub(crate) struct Paid {
    pub(crate) cost: i64,
    /// What its tokens cost, computed here once more.
    pub(crate) by_tokens: i64,
    pub(crate) source: String,
}

/// The ledger.
pub(crate) struct Purse {
    pub(crate) paid: HashMap<Uuid, Paid>,
    pub(crate) held: HashMap<Uuid, i64>,
    /// What is settled and held of each budget.
    pub(crate) budgets: HashMap<String, (i64, i64)>,
}

macro_rules! rows {
    ($database:expr, $sql:expr) => {
        match $database {
            Database::Sqlite(file) => {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
                let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
                sqlx::query_as($sql).fetch_all(&mut connection).await.unwrap()
            }
            Database::Postgres(url) => {
                let mut connection = PgConnection::connect(url).await.unwrap();
                sqlx::query_as($sql).fetch_all(&mut connection).await.unwrap()
            }
        }
    };
}

/// Calls, holds and slices as one transaction sees them.
macro_rules! ledger {
    ($connection:ident, $begin:literal) => {{
        sqlx::raw_sql($begin).execute(&mut $connection).await.unwrap();
        let calls: Vec<(Uuid, i64, i64, i64, String)> =
            sqlx::query_as("SELECT id, cost_nanos, input, output, usage_source FROM calls")
                .fetch_all(&mut $connection)
                .await
                .unwrap();
        let holds: Vec<(Uuid, i64, String)> =
            sqlx::query_as("SELECT id, hold_nanos, charges FROM holds").fetch_all(&mut $connection).await.unwrap();
        let slices: Vec<(String, i64)> = sqlx::query_as("SELECT budget, settled_nanos FROM budget_slices")
            .fetch_all(&mut $connection)
            .await
            .unwrap();
        (calls, holds, slices)
    }};
}

impl Database {
    /// The ledger at one moment: PostgreSQL may still be committing what a server sent before it was killed.
    pub(crate) async fn purse(&self) -> Purse {
        let (calls, holds, slices) = match self {
            Self::Sqlite(file) => {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
                let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
                ledger!(connection, "BEGIN")
            }
            Self::Postgres(url) => {
                let mut connection = PgConnection::connect(url).await.unwrap();
                ledger!(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ")
            }
        };
        let mut budgets: HashMap<String, (i64, i64)> = HashMap::new();
        for (budget, settled) in slices {
            budgets.entry(budget).or_default().0 += settled;
        }
        for (_, amount, charges) in &holds {
            let charges: Vec<(String, i64)> = serde_json::from_str(charges).unwrap();
            for (budget, _) in charges {
                budgets.entry(budget).or_default().1 += amount;
            }
        }
        let paid = calls.into_iter().map(|(id, cost, input, output, source)| {
            (id, Paid { cost, by_tokens: input * 2_500 + output * 10_000, source })
        });
        Purse { paid: paid.collect(), held: holds.into_iter().map(|(id, held, _)| (id, held)).collect(), budgets }
    }

    /// Lets nobody settle any more.
    pub(crate) async fn lock(&self) -> Lock {
        match self {
            Self::Sqlite(file) => {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
                let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
                sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
                Lock::Sqlite(connection)
            }
            Self::Postgres(url) => {
                let mut connection = PgConnection::connect(url).await.unwrap();
                let lock = "BEGIN; LOCK TABLE holds IN EXCLUSIVE MODE";
                sqlx::raw_sql(lock).execute(&mut connection).await.unwrap();
                Lock::Postgres(connection)
            }
        }
    }

    /// Runs a statement past the server.
    pub(crate) async fn execute(&self, sql: &'static str) {
        let _no_rows: Vec<(i64,)> = rows!(self, sql);
    }

    /// Of a SQLite file, whether it is whole.
    pub(crate) async fn is_whole(&self) -> bool {
        if matches!(self, Self::Postgres(_)) {
            return true;
        }
        let report: Vec<(String,)> = rows!(self, "PRAGMA integrity_check");
        report == [("ok".to_owned(),)]
    }
}

impl Lock {
    pub(crate) async fn release(self) {
        match self {
            Self::Sqlite(connection) => connection.close().await.unwrap(),
            Self::Postgres(connection) => connection.close().await.unwrap(),
        }
    }
}

impl Purse {
    pub(crate) fn settled(&self) -> i64 {
        self.paid.values().map(|paid| paid.cost).sum()
    }

    pub(crate) fn held(&self) -> i64 {
        self.held.values().sum()
    }

    /// What was acknowledged is paid, once, at its price; and what is paid is held no more.
    pub(crate) fn judge(&self, acknowledged: &HashSet<Uuid>) {
        for id in acknowledged {
            let paid = self.paid.get(id).unwrap_or_else(|| panic!("{id} was acknowledged and is not settled"));
            assert_eq!((paid.cost, &*paid.source), (paid.by_tokens, "reported"), "{id}");
        }
        let both: Vec<&Uuid> = self.held.keys().filter(|id| self.paid.contains_key(id)).collect();
        assert!(both.is_empty(), "settled and held: {both:?}");
    }
}
