//! SQL put together from fixed pieces with bound values: for queries whose filters differ.

use privet_domain::id::ProjectId;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::types::Uuid;
use sqlx::{AssertSqlSafe, FromRow};

use super::TraceStore;
use crate::db::{Db, reading};
use crate::error::StoreError;

/// A value that stands in a statement as a parameter.
#[derive(Clone, Debug)]
pub(crate) enum Bound {
    Text(String),
    Integer(i64),
    /// How many characters: PostgreSQL wants a small integer there.
    Chars(i32),
    Number(f64),
    Bytes(Vec<u8>),
    Id(Uuid),
}

impl From<&str> for Bound {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Bound {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<i32> for Bound {
    fn from(chars: i32) -> Self {
        Self::Chars(chars)
    }
}

impl From<f64> for Bound {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<Vec<u8>> for Bound {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<ProjectId> for Bound {
    fn from(project: ProjectId) -> Self {
        Self::Id(project.as_uuid())
    }
}

/// A statement in the making. Its text is only ever made of pieces of this program; values are bound.
pub(crate) struct Sql {
    pub(crate) text: String,
    pub(crate) values: Vec<Bound>,
    pub(crate) is_sqlite: bool,
}

impl Sql {
    /// Adds a piece.
    pub(crate) fn push(&mut self, piece: &'static str) -> &mut Self {
        self.text.push_str(piece);
        self
    }

    /// Adds a piece that only SQLite needs: it guesses without statistics, where PostgreSQL has them.
    pub(crate) fn push_for_sqlite(&mut self, piece: &'static str) -> &mut Self {
        self.push(if self.is_sqlite { piece } else { "" })
    }

    /// Adds a value, as a parameter.
    pub(crate) fn bind(&mut self, value: impl Into<Bound>) -> &mut Self {
        self.values.push(value.into());
        self.text.push_str(&format!("${}", self.values.len()));
        self
    }

    /// Adds values in parentheses.
    pub(crate) fn list<V: Into<Bound>>(&mut self, values: impl IntoIterator<Item = V>) -> &mut Self {
        self.push("(");
        for (number, value) in values.into_iter().enumerate() {
            if number > 0 {
                self.push(", ");
            }
            self.bind(value);
        }
        self.push(")")
    }
}

/// Binds a statement's values to a query of either database.
macro_rules! with_values {
    ($query:expr, $values:expr) => {{
        let mut query = $query;
        for value in $values {
            query = match value {
                $crate::trace::sql::Bound::Text(text) => query.bind(text),
                $crate::trace::sql::Bound::Integer(number) => query.bind(number),
                $crate::trace::sql::Bound::Chars(chars) => query.bind(chars),
                $crate::trace::sql::Bound::Number(number) => query.bind(number),
                $crate::trace::sql::Bound::Bytes(bytes) => query.bind(bytes),
                $crate::trace::sql::Bound::Id(id) => query.bind(id),
            };
        }
        query
    }};
}

pub(crate) use with_values;

/// A row that can be read from both databases.
pub(crate) trait Readable: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {}

impl<T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin> Readable for T {}

impl TraceStore {
    /// An empty statement.
    pub(crate) fn sql(&self) -> Sql {
        Sql { text: String::new(), values: Vec::new(), is_sqlite: matches!(&*self.db, Db::Sqlite(_)) }
    }

    /// The rows of a statement.
    pub(crate) async fn select<T: Readable>(&self, sql: Sql) -> Result<Vec<T>, StoreError> {
        let Sql { text, values, .. } = sql;
        // Only fixed pieces stand in the text.
        Ok(reading!(self, pool => with_values!(sqlx::query_as(AssertSqlSafe(text)), values).fetch_all(pool).await)?)
    }

    /// The one number that a statement selects.
    pub(crate) async fn select_number(&self, sql: Sql) -> Result<i64, StoreError> {
        let rows: Vec<(i64,)> = self.select(sql).await?;
        Ok(rows.first().map_or(0, |(number,)| *number))
    }
}
