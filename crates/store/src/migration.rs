//! Migrations: embedded, forward only, each in one transaction, after a backup of the SQLite file.

use std::fs::File;
use std::path::Path;
use std::sync::LazyLock;

use serde::Serialize;
use sqlx::migrate::{AppliedMigration, Migrate, Migrator};

use crate::db::{Database, Db, Durability, Location, connect};
use crate::error::StoreError;

/// The migrations of one database.
struct Schema {
    sqlite: Migrator,
    postgres: Migrator,
    /// The table of those that ran.
    table: &'static str,
}

static MAIN: LazyLock<Schema> = LazyLock::new(|| Schema {
    sqlite: sqlx::migrate!("migrations/sqlite"),
    postgres: sqlx::migrate!("migrations/postgres"),
    table: "_sqlx_migrations",
});
static TRACES: LazyLock<Schema> = LazyLock::new(|| {
    let table = "_sqlx_migrations_traces";
    let mut sqlite = sqlx::migrate!("migrations/traces_sqlite");
    sqlite.dangerous_set_table_name(table);
    let mut postgres = sqlx::migrate!("migrations/traces_postgres");
    postgres.dangerous_set_table_name(table);
    Schema { sqlite, postgres, table }
});

fn schema_of(database: Database) -> &'static Schema {
    match database {
        Database::Main => &MAIN,
        Database::Traces => &TRACES,
    }
}

/// A migration that has not run yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PendingMigration {
    /// Its number.
    pub version: i64,
    /// What it does.
    pub description: String,
}

/// What a migration would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MigrationPlan {
    /// The schema's version now; 0 for a fresh database.
    pub current: i64,
    /// What would run, in order.
    pub pending: Vec<PendingMigration>,
}

/// The plan for a database that may not exist yet; a missing SQLite file is not made.
pub(crate) async fn plan_at(location: &Location) -> Result<MigrationPlan, StoreError> {
    let database = Database::Main;
    match location.file_of(database) {
        Some(file) if !file.exists() => make_plan(&schema_of(database).sqlite, &[]),
        _ => plan(&connect(location, database, Durability::Full).await?, database).await,
    }
}

pub(crate) async fn migrate(db: &Db, database: Database, location: &Location) -> Result<(), StoreError> {
    let plan = plan(db, database).await?;
    if plan.pending.is_empty() {
        return Ok(());
    }
    match db {
        Db::Sqlite(sqlite) => {
            if let Some(file) = location.file_of(database).filter(|_| plan.current > 0) {
                back_up(sqlite, &file, plan.current).await?;
            }
            schema_of(database).sqlite.run(&sqlite.writer).await?;
        }
        Db::Postgres(pool) => schema_of(database).postgres.run(pool).await?,
    }
    tracing::info!(from = plan.current, migrations = plan.pending.len(), "database schema is up to date");
    Ok(())
}

/// Two processes must not make or migrate one SQLite file at once: turning a fresh file to WAL waits for nobody. PostgreSQL has
/// its own lock for it.
pub(crate) async fn lock(location: &Location) -> Result<Option<File>, StoreError> {
    let Location::Folder(folder) = location else { return Ok(None) };
    let path = folder.join("migration.lock");
    let waited_for = path.clone();
    // The wait blocks its thread: on one of the runtime's it could keep the holder of the lock from going on.
    let locked =
        tokio::task::spawn_blocking(move || File::create(&waited_for).and_then(|file| file.lock().map(|()| file)));
    let locked = locked.await.unwrap_or_else(|ended| Err(std::io::Error::other(ended)));
    locked.map(Some).map_err(|source| StoreError::File { path: path.display().to_string(), source })
}

async fn plan(db: &Db, database: Database) -> Result<MigrationPlan, StoreError> {
    let schema = schema_of(database);
    let (migrator, applied) = match db {
        Db::Sqlite(sqlite) => {
            let present: Option<i64> = sqlx::query_scalar("SELECT 1 FROM sqlite_schema WHERE name = $1")
                .bind(schema.table)
                .fetch_optional(&sqlite.readers)
                .await?;
            let mut connection = sqlite.readers.acquire().await?;
            let applied = match present {
                Some(_) => connection.list_applied_migrations(schema.table).await?,
                None => Vec::new(),
            };
            (&schema.sqlite, applied)
        }
        Db::Postgres(pool) => {
            let present: Option<i32> = sqlx::query_scalar("SELECT 1 WHERE to_regclass($1) IS NOT NULL")
                .bind(schema.table)
                .fetch_optional(pool)
                .await?;
            let mut connection = pool.acquire().await?;
            let applied = match present {
                Some(_) => connection.list_applied_migrations(schema.table).await?,
                None => Vec::new(),
            };
            (&schema.postgres, applied)
        }
    };
    make_plan(migrator, &applied)
}

fn make_plan(migrator: &Migrator, applied: &[AppliedMigration]) -> Result<MigrationPlan, StoreError> {
    let current = applied.iter().map(|migration| migration.version).max().unwrap_or(0);
    let known = migrator.iter().map(|migration| migration.version).max().unwrap_or(0);
    if current > known {
        return Err(StoreError::Newer { found: current, known });
    }
    let applied_as = |version: i64| applied.iter().find(|migration| migration.version == version);
    for migration in migrator.iter() {
        if applied_as(migration.version).is_some_and(|applied| applied.checksum != migration.checksum) {
            return Err(StoreError::Altered { version: migration.version });
        }
    }
    let pending = migrator
        .iter()
        .filter(|migration| applied_as(migration.version).is_none())
        .map(|migration| PendingMigration {
            version: migration.version,
            description: migration.description.to_string(),
        })
        .collect();
    Ok(MigrationPlan { current, pending })
}

/// Copies the SQLite file beside itself, consistently, under the version it has.
async fn back_up(sqlite: &crate::db::Sqlite, file: &Path, version: i64) -> Result<(), StoreError> {
    let backup = file.with_extension(format!("db.before-migration-from-{version}"));
    if backup.exists() {
        // Left by an attempt that failed: the file may have changed since.
        std::fs::remove_file(&backup)
            .map_err(|source| StoreError::File { path: backup.display().to_string(), source })?;
    }
    sqlx::query("VACUUM INTO $1").bind(backup.display().to_string()).execute(&sqlite.writer).await?;
    tracing::info!(backup = %backup.display(), "database backed up before its migration");
    Ok(())
}
