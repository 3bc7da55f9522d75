//! Rows for metrics that the sums of days do not answer: of a range of time with a bounded number of rows, one after the other.

use futures_util::TryStreamExt as _;
use privet_domain::id::ProjectId;
use privet_domain::time::NanoTimestamp;
use sqlx::{AssertSqlSafe, Row as _};

use super::TraceStore;
use super::columns::{ObservationColumn, ScoreColumn, TraceColumn};
use super::condition::{Column, Condition, Kind, push_all};
use super::score::push_judged;
use super::sql::{Sql, with_values};
use crate::db::reading;
use crate::error::StoreError;

/// A range of time with more rows than this is not scanned.
pub const SCAN_ROWS_MAX: u32 = 200_000;

/// What is read of which rows.
#[derive(Clone, Debug)]
pub struct Scan<C> {
    /// All of these hold.
    pub conditions: Vec<Condition<C>>,
    /// What is read as text. Tags and objects are JSON.
    pub texts: Vec<C>,
    /// What is read as numbers: lengths of time in milliseconds, money in dollars.
    pub numbers: Vec<C>,
    /// The first instant.
    pub from: NanoTimestamp,
    /// The instant after the last.
    pub until: NanoTimestamp,
}

/// One row of a scan.
#[derive(Clone, Debug, PartialEq)]
pub struct ScanRow {
    /// When it began, or was judged.
    pub at: NanoTimestamp,
    /// What was read as text.
    pub texts: Vec<Option<String>>,
    /// What was read as numbers.
    pub numbers: Vec<Option<f64>>,
}

/// How a scan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scanned {
    /// Every row was read.
    Whole,
    /// The range has more rows than [`SCAN_ROWS_MAX`]; none was read.
    TooMany,
}

/// What is scanned: its table, and the column of its time.
struct Table {
    /// Up to the project's parameter.
    from: &'static str,
    time: &'static str,
}

const TRACES: Table = Table { from: " FROM traces t WHERE t.project_id = ", time: "t.started_at" };
const OBSERVATIONS: Table = Table { from: " FROM observations o WHERE o.project_id = ", time: "o.started_at" };
const SCORES: Table = Table { from: " FROM scores s WHERE s.project_id = ", time: "s.scored_at" };

impl TraceStore {
    /// Reads traces.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn scan_traces(
        &self,
        project: ProjectId,
        scan: &Scan<TraceColumn>,
        each: impl FnMut(ScanRow) + Send,
    ) -> Result<Scanned, StoreError> {
        let mut sql = self.begin_scan(&TRACES, scan);
        sql.push(TRACES.from).bind(project);
        push_all(&mut sql, &scan.conditions);
        self.scan(project, &TRACES, scan, sql, each).await
    }

    /// Reads observations.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn scan_observations(
        &self,
        project: ProjectId,
        scan: &Scan<ObservationColumn>,
        each: impl FnMut(ScanRow) + Send,
    ) -> Result<Scanned, StoreError> {
        let mut sql = self.begin_scan(&OBSERVATIONS, scan);
        sql.push(" FROM observations o");
        if scan.columns().any(|column| matches!(column, ObservationColumn::OfTrace(_))) {
            sql.push(" JOIN traces t ON t.project_id = o.project_id AND t.id = o.trace_id");
        }
        sql.push(" WHERE o.project_id = ").bind(project);
        push_all(&mut sql, &scan.conditions);
        self.scan(project, &OBSERVATIONS, scan, sql, each).await
    }

    /// Reads scores.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn scan_scores(
        &self,
        project: ProjectId,
        scan: &Scan<ScoreColumn>,
        each: impl FnMut(ScanRow) + Send,
    ) -> Result<Scanned, StoreError> {
        let mut sql = self.begin_scan(&SCORES, scan);
        let of_trace = scan.columns().any(|column| matches!(column, ScoreColumn::OfTrace(_)));
        let of_observation = scan.columns().any(|column| matches!(column, ScoreColumn::OfObservation(_)));
        push_judged(&mut sql, project, &scan.conditions, of_trace, of_observation);
        self.scan(project, &SCORES, scan, sql, each).await
    }

    fn begin_scan<C: Column>(&self, table: &Table, scan: &Scan<C>) -> Sql {
        let mut sql = self.sql();
        sql.push("SELECT ").push(table.time);
        for column in &scan.texts {
            sql.push(", CAST(").push(column.sql()).push(" AS TEXT)");
        }
        for column in &scan.numbers {
            sql.push(", CAST(").push(column.sql()).push(" AS DOUBLE PRECISION)").push(match column.kind() {
                Kind::Seconds => " / 1000000.0",
                Kind::Dollars => " / 1000000000.0",
                _ => "",
            });
        }
        sql
    }

    async fn scan<C: Column>(
        &self,
        project: ProjectId,
        table: &Table,
        scan: &Scan<C>,
        mut sql: Sql,
        mut each: impl FnMut(ScanRow) + Send,
    ) -> Result<Scanned, StoreError> {
        // The index alone answers how many rows lie in the range.
        let mut counted = self.sql();
        counted.push("SELECT COUNT(*) FROM (SELECT 1").push(table.from).bind(project);
        push_range(&mut counted, table, scan);
        counted.push(" LIMIT ").bind(i64::from(SCAN_ROWS_MAX) + 1).push(") AS counted");
        if self.select_number(counted).await? > i64::from(SCAN_ROWS_MAX) {
            return Ok(Scanned::TooMany);
        }
        push_range(&mut sql, table, scan);
        let (texts, numbers) = (scan.texts.len(), scan.numbers.len());
        let Sql { text, values, .. } = sql;
        reading!(self, pool => {
            let mut rows = with_values!(sqlx::query(AssertSqlSafe(text)), values).fetch(pool);
            while let Some(row) = rows.try_next().await? {
                let mut read = ScanRow {
                    at: NanoTimestamp::from_nanos(row.try_get(0)?),
                    texts: Vec::with_capacity(texts),
                    numbers: Vec::with_capacity(numbers),
                };
                for index in 1..=texts {
                    read.texts.push(row.try_get(index)?);
                }
                for index in texts + 1..=texts + numbers {
                    read.numbers.push(row.try_get(index)?);
                }
                each(read);
            }
        });
        Ok(Scanned::Whole)
    }
}

fn push_range<C>(sql: &mut Sql, table: &Table, scan: &Scan<C>) {
    sql.push(" AND ").push(table.time).push(" >= ").bind(scan.from.as_nanos());
    sql.push(" AND ").push(table.time).push(" < ").bind(scan.until.as_nanos());
}

impl<C: Column> Scan<C> {
    /// All columns that it speaks of.
    fn columns(&self) -> impl Iterator<Item = C> {
        let conditions = self.conditions.iter().map(|condition| condition.column);
        conditions.chain(self.texts.iter().copied()).chain(self.numbers.iter().copied())
    }
}
