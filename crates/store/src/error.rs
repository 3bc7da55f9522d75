//! What can go wrong in the store.

/// An error of the store. Its text never holds a bound value.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// What was asked for is not there, or belongs to another project.
    #[error("not found")]
    NotFound,
    /// What was to be made is there already.
    #[error("{0} exists already")]
    Exists(String),
    /// The disk is full: nothing was written, reading goes on.
    #[error("the disk of the database is full; free some space, writing resumes by itself")]
    DiskFull,
    /// The database was written by a newer version of Privet.
    #[error(
        "the database has schema version {found}, this privet knows up to {known}; run the newer privet, or restore the backup made before its migration"
    )]
    Newer {
        /// The version in the database.
        found: i64,
        /// The newest that this binary knows.
        known: i64,
    },
    /// A migration that this database went through is not the one that this binary knows.
    #[error(
        "the migration {version} of the database is not the one of this privet; use the privet that made it, or begin with a fresh database and import an export"
    )]
    Altered {
        /// The migration's number.
        version: i64,
    },
    /// A migration failed; the database is as it was before it.
    #[error("migration failed and was rolled back: {0}")]
    Migration(String),
    /// The database could not be opened or reached.
    #[error("cannot open the database {location}: {reason}")]
    Open {
        /// Where it is, without a password.
        location: String,
        /// Why not.
        reason: String,
    },
    /// A file of the data folder cannot be used.
    #[error("cannot use {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// What was read cannot be what was written.
    #[error("the database holds a damaged value: {0}")]
    Damaged(String),
    /// Another server took this one for dead and its money back: what it holds from now on would not be counted.
    #[error("this server was taken for dead by another and must begin anew with its share of the budgets")]
    Fenced,
    /// The store is shutting down.
    #[error("the store is shutting down")]
    Closed,
    /// The database does not answer.
    #[error("the database does not answer: {0}")]
    Unavailable(String),
    /// Any other answer of the database.
    #[error("database: {0}")]
    Database(sqlx::Error),
}

/// SQLite's SQLITE_FULL and PostgreSQL's `disk_full`.
const DISK_FULL_CODES: [&str; 2] = ["13", "53100"];

/// Extended codes hold the code in their lowest byte.
fn is_busy(code: &str) -> bool {
    const SQLITE_BUSY: i64 = 5;
    code.len() < 5 && code.parse::<i64>().is_ok_and(|code| code & 0xff == SQLITE_BUSY)
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::RowNotFound => Self::NotFound,
            sqlx::Error::PoolClosed => Self::Closed,
            sqlx::Error::PoolTimedOut | sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::WorkerCrashed => {
                Self::Unavailable(error.to_string())
            }
            sqlx::Error::Database(reply) if reply.is_foreign_key_violation() => Self::NotFound,
            // SQLITE_BUSY, with its kinds: somebody else writes for longer than anybody should.
            sqlx::Error::Database(reply) if reply.code().is_some_and(|code| is_busy(&code)) => {
                Self::Unavailable(error.to_string())
            }
            sqlx::Error::Database(reply) if reply.code().is_some_and(|code| DISK_FULL_CODES.contains(&&*code)) => {
                Self::DiskFull
            }
            _ => Self::Database(error),
        }
    }
}

impl From<sqlx::migrate::MigrateError> for StoreError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        Self::Migration(error.to_string())
    }
}
