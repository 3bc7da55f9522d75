//! The databases: how they are opened, and the two macros by which one text of SQL serves both.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use privet_domain::time::Timestamp;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, PgPool, SqlitePool};

use crate::error::StoreError;
use crate::migration::{self, MigrationPlan};
use crate::postgres_url::PostgresUrl;
use crate::writer::Writer;

/// Runs one expression with `$pool` bound to the pool for reading, whichever database it is.
macro_rules! reading {
    ($store:expr, $pool:ident => $body:expr) => {
        match &*$store.db {
            $crate::db::Db::Sqlite(sqlite) => {
                let $pool = &sqlite.readers;
                $body
            }
            $crate::db::Db::Postgres(pool) => {
                let $pool = pool;
                $body
            }
        }
    };
}

/// Runs one expression in a transaction with `$conn` bound to its connection, and commits. A `?` inside rolls back.
macro_rules! writing {
    ($store:expr, $conn:ident => $body:expr) => {
        match &*$store.db {
            $crate::db::Db::Sqlite(sqlite) => {
                let mut transaction = sqlite.writer.begin_with("BEGIN IMMEDIATE").await?;
                let $conn = &mut *transaction;
                let outcome = $body;
                transaction.commit().await?;
                outcome
            }
            $crate::db::Db::Postgres(pool) => {
                let mut transaction = pool.begin().await?;
                let $conn = &mut *transaction;
                let outcome = $body;
                transaction.commit().await?;
                outcome
            }
        }
    };
}

pub(crate) use {reading, writing};

const SQLITE_READERS: u32 = 4;
/// The log is copied into the database after so many pages (16 MiB): rarely enough to cost little, often enough to stay small.
const CHECKPOINT_PAGES: &str = "4000";
/// A writer has some statements in many sizes.
const STATEMENTS_KEPT: usize = 256;
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// What an acknowledged write survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// Loss of power: each commit is synchronised to the disk.
    #[default]
    Full,
    /// The end of the process (`kill -9`), but not loss of power.
    Process,
}

/// Where the database is.
#[derive(Clone, Debug)]
pub enum Location {
    /// SQLite in this data folder.
    Folder(PathBuf),
    /// A PostgreSQL server, by its URL (it may hold a password, so it is never printed whole).
    Postgres(PostgresUrl),
}

impl Location {
    /// A PostgreSQL server by its URL.
    #[must_use]
    pub fn postgres(url: String) -> Self {
        Self::Postgres(url.into())
    }

    /// The SQLite file of what must never be lost, if that is what it is.
    #[must_use]
    pub fn sqlite_file(&self) -> Option<PathBuf> {
        self.file_of(Database::Main)
    }

    pub(crate) fn file_of(&self, database: Database) -> Option<PathBuf> {
        match self {
            Self::Folder(folder) => Some(folder.join(database.sqlite_file())),
            Self::Postgres(_) => None,
        }
    }
}

/// What Privet keeps, in two databases: with SQLite two files, with PostgreSQL two sets of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Database {
    /// What must never be lost.
    Main,
    /// What is large and expires.
    Traces,
}

impl Database {
    /// The file's name inside the data folder.
    const fn sqlite_file(self) -> &'static str {
        match self {
            Self::Main => "privet.db",
            Self::Traces => "traces.db",
        }
    }

    const fn postgres_connections(self) -> u32 {
        match self {
            Self::Main => 16,
            Self::Traces => 8,
        }
    }
}

pub(crate) struct Sqlite {
    pub(crate) readers: SqlitePool,
    /// One connection: SQLite has one writer at a time, and waiting here is fair where its busy handler is not.
    pub(crate) writer: SqlitePool,
}

impl Sqlite {
    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

pub(crate) enum Db {
    Sqlite(Sqlite),
    Postgres(PgPool),
}

impl Db {
    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(sqlite) => sqlite.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// The store: everything that must never be lost. Cheap to share by `Arc`.
pub struct Store {
    pub(crate) db: std::sync::Arc<Db>,
    pub(crate) writer: Writer,
    last_seq: AtomicI64,
}

impl Store {
    /// Opens the database, made if missing, and brings its schema up to date (after a backup of the SQLite file).
    ///
    /// # Errors
    /// When it cannot be reached, was written by a newer version, or a migration fails.
    pub async fn open(location: &Location, durability: Durability) -> Result<Self, StoreError> {
        let _one_at_a_time = migration::lock(location).await?;
        let db = connect(location, Database::Main, durability).await?;
        migration::migrate(&db, Database::Main, location).await?;
        let db = std::sync::Arc::new(db);
        Ok(Self { writer: Writer::start(db.clone()), db, last_seq: AtomicI64::new(0) })
    }

    /// What [`Store::open`] would migrate, without changing anything.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn plan_migration(location: &Location) -> Result<MigrationPlan, StoreError> {
        migration::plan_at(location).await
    }

    /// A number that orders messages: the time in microseconds, or one more than the last that was given.
    #[must_use]
    pub fn next_seq(&self, now: Timestamp) -> i64 {
        let now = now.as_micros();
        let previous = self
            .last_seq
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(now.max(last.saturating_add(1))))
            .unwrap_or(now);
        now.max(previous.saturating_add(1))
    }

    /// Lets the numbers of [`Store::next_seq`] go on after this one.
    pub(crate) fn begin_seq_after(&self, seq: i64) {
        self.last_seq.fetch_max(seq, Ordering::Relaxed);
    }

    /// Whether other servers may use the same database at once.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(&*self.db, Db::Postgres(_))
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        reading!(self, pool => sqlx::query("SELECT 1").execute(pool).await.map(drop))?;
        Ok(())
    }

    /// Writes what is queued and closes the connections.
    pub async fn close(&self) {
        self.writer.close().await;
        self.db.close().await;
    }
}

/// A log is emptied only if no reader is in the way for longer than this: writers wait as long.
const TRUNCATE_TIMEOUT_MS: u32 = 20;

/// Copies the log of SQLite into the database and empties it. `false` when readers were in the way.
pub(crate) async fn truncate_log(db: &Db) -> Result<bool, StoreError> {
    let Db::Sqlite(sqlite) = db else { return Ok(true) };
    let mut writer = sqlite.writer.acquire().await?;
    sqlx::query(sqlx::AssertSqlSafe(format!("PRAGMA busy_timeout = {TRUNCATE_TIMEOUT_MS}")))
        .execute(&mut *writer)
        .await?;
    let outcome = sqlx::query_as::<_, (i64, i64, i64)>("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *writer).await;
    let usual = format!("PRAGMA busy_timeout = {}", BUSY_TIMEOUT.as_millis());
    sqlx::query(sqlx::AssertSqlSafe(usual)).execute(&mut *writer).await?;
    let (is_busy, _, _) = outcome?;
    Ok(is_busy == 0)
}

pub(crate) async fn connect(location: &Location, database: Database, durability: Durability) -> Result<Db, StoreError> {
    let opened = match location {
        Location::Folder(folder) => connect_sqlite(folder, database, durability).await,
        Location::Postgres(url) => connect_postgres(&url.0, database.postgres_connections(), durability).await,
    };
    opened.map_err(|error| StoreError::Open {
        location: match location {
            Location::Folder(folder) => folder.join(database.sqlite_file()).display().to_string(),
            Location::Postgres(url) => url.to_string(),
        },
        reason: error.to_string(),
    })
}

async fn connect_sqlite(folder: &Path, database: Database, durability: Durability) -> Result<Db, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(folder.join(database.sqlite_file()))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(match durability {
            Durability::Full => SqliteSynchronous::Full,
            Durability::Process => SqliteSynchronous::Normal,
        })
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .auto_vacuum(match database {
            Database::Main => SqliteAutoVacuum::None,
            // Takes effect in a fresh file: what expired goes back to the disk in small steps.
            Database::Traces => SqliteAutoVacuum::Incremental,
        })
        .pragma("secure_delete", "on")
        .statement_cache_capacity(STATEMENTS_KEPT)
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES);
    let writer = SqlitePoolOptions::new()
        .max_connections(1)
        .min_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .acquire_timeout(Duration::from_secs(60))
        .after_release(|connection, _| {
            Box::pin(async move {
                if !connection.is_in_transaction() {
                    return Ok(true);
                }
                // A full disk makes SQLite roll back by itself; the driver's own rollback then fails, and it believes in an
                // open transaction for ever. Such a connection is replaced.
                connection.ping().await?;
                Ok(!connection.is_in_transaction())
            })
        })
        .connect_with(options.clone())
        .await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(SQLITE_READERS)
        .test_before_acquire(false)
        .max_lifetime(None)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_with(options)
        .await?;
    Ok(Db::Sqlite(Sqlite { readers, writer }))
}

async fn connect_postgres(url: &str, connections: u32, durability: Durability) -> Result<Db, sqlx::Error> {
    let commit = match durability {
        Durability::Full => "on",
        Durability::Process => "off",
    };
    let options = PgConnectOptions::from_str(url)?.application_name("privet").options([("synchronous_commit", commit)]);
    // The pool would try for its whole patience and then say only that it was in vain.
    options.connect().await?.close().await?;
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .connect_with(options)
        .await?;
    Ok(Db::Postgres(pool))
}
