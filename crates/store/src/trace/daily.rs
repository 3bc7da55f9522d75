//! The sums of days, read.

use privet_domain::id::ProjectId;
use privet_domain::money::Nanos;

use super::TraceStore;
use super::condition::chars;
use super::metrics::{VALUE_CHARS_MAX, dimension};
use super::session::{Days, push_days};
use super::sql::Sql;
use crate::error::StoreError;

/// By what the sums of days are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dimension {
    /// Not at all. Traces and observations each count in the day they began.
    All,
    /// The model of observations.
    Model,
    /// The prompt of observations, with its version.
    Prompt,
    /// The user of traces; their observations count with them.
    User,
    /// Each tag of traces.
    Tag,
}

impl Dimension {
    const fn as_str(self) -> &'static str {
        match self {
            Self::All => dimension::ALL,
            Self::Model => dimension::MODEL,
            Self::Prompt => dimension::PROMPT,
            Self::User => dimension::USER,
            Self::Tag => dimension::TAG,
        }
    }
}

/// Which sums.
#[derive(Clone, Debug)]
pub struct DailyQuery {
    /// By what they are divided.
    pub by: Dimension,
    /// Only these values; all where there is none. A prompt is its name, with or without a line feed and its version.
    pub values: Vec<String>,
    /// Only these environments; all where there is none.
    pub environments: Vec<String>,
    /// Of which days.
    pub days: Days,
    /// At most so many rows, newest day first.
    pub limit: u32,
}

/// The sums of one day, value and environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DailySums {
    /// The day, since 1970, UTC.
    pub day: i64,
    /// The model, user, tag or name; of a prompt the name.
    pub value: String,
    /// The version of a prompt.
    pub prompt_version: Option<u32>,
    /// The environment.
    pub environment: String,
    /// How many traces; of models and prompts none are counted.
    pub traces: i64,
    /// How many observations.
    pub observations: i64,
    /// How many of them failed.
    pub errors: i64,
    /// Tokens that went into models.
    pub input_tokens: i64,
    /// Tokens that came out.
    pub output_tokens: i64,
    /// All tokens.
    pub total_tokens: i64,
    /// What they cost.
    pub cost: Nanos,
    /// How many have ended: traces by user, tag and name; otherwise observations.
    pub ended: i64,
    /// How long those took together, in milliseconds.
    pub latency_ms: i64,
}

#[derive(sqlx::FromRow)]
struct DayRow {
    day: i64,
    value: String,
    environment: String,
    traces: i64,
    observations: i64,
    errors: i64,
    input_tokens: i64,
    output_tokens: i64,
    total_tokens: i64,
    cost_nanos: i64,
    ended: i64,
    latency_ms: i64,
}

impl TraceStore {
    /// The sums of days, newest day first. Days without anything have none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn daily_sums(&self, project: ProjectId, query: &DailyQuery) -> Result<Vec<DailySums>, StoreError> {
        let sql = daily_sql(self.sql(), project, query);
        let rows: Vec<DayRow> = self.select(sql).await?;
        Ok(rows.into_iter().map(|row| row.into_sums(query.by)).collect())
    }
}

/// The statement that reads sums of days.
pub(crate) fn daily_sql(mut sql: Sql, project: ProjectId, query: &DailyQuery) -> Sql {
    sql.push(
        "SELECT m.day, m.value, m.environment, m.traces, m.observations, m.errors, m.input_tokens, m.output_tokens, \
         m.total_tokens, m.cost_nanos, m.ended, m.latency_ms FROM daily_metrics m WHERE m.project_id = ",
    );
    sql.bind(project).push(" AND m.dimension = ").bind(query.by.as_str());
    push_days(&mut sql, query.days);
    let cut = |value: &String| value.chars().take(VALUE_CHARS_MAX).collect::<String>();
    let values: Vec<String> = query.values.iter().map(cut).collect();
    if !values.is_empty() {
        sql.push(" AND (m.value IN ").list(values.iter().map(String::as_str));
        if query.by == Dimension::Prompt {
            for value in &values {
                let name = format!("{value}\n");
                sql.push(" OR SUBSTR(m.value, 1, ").bind(chars(&name)).push(") = ").bind(name.as_str());
            }
        }
        sql.push(")");
    }
    if !query.environments.is_empty() {
        sql.push(" AND m.environment IN ").list(query.environments.iter().map(String::as_str));
    }
    sql.push(" AND (m.traces <> 0 OR m.observations <> 0) ORDER BY m.day DESC, m.value, m.environment LIMIT ");
    sql.bind(i64::from(query.limit));
    sql
}

impl DayRow {
    fn into_sums(self, by: Dimension) -> DailySums {
        let version = match by {
            Dimension::Prompt => {
                self.value.rsplit_once('\n').and_then(|(name, version)| Some((name.to_owned(), version.parse().ok()?)))
            }
            _ => None,
        };
        let (value, prompt_version) = match version {
            Some((name, version)) => (name, Some(version)),
            None => (self.value, None),
        };
        DailySums {
            day: self.day,
            value,
            prompt_version,
            environment: self.environment,
            traces: self.traces,
            observations: self.observations,
            errors: self.errors,
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            total_tokens: self.total_tokens,
            cost: Nanos::new(self.cost_nanos),
            ended: self.ended,
            latency_ms: self.latency_ms,
        }
    }
}
