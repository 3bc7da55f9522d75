//! What traces, observations and scores are chosen by. A filter names a column by its word in the API, an operator and values.

use privet_domain::id::ProjectId;
use privet_domain::time::NanoTimestamp;

use super::condition::{Bound, Conditions, escaped};
use super::stored_id::pack;

/// How a column is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// It is this value.
    Equal,
    /// It is another.
    NotEqual,
    /// It is greater.
    Greater,
    /// It is at least this.
    AtLeast,
    /// It is less.
    Less,
    /// It is at most this.
    AtMost,
    /// A text holds this one.
    Contains,
    /// A text does not.
    NotContains,
    /// A text begins so.
    StartsWith,
    /// A text ends so.
    EndsWith,
    /// It is one of these; of a list, one of its members is.
    AnyOf,
    /// It is none of these.
    NoneOf,
    /// All of these are members of a list.
    AllOf,
    /// There is none.
    IsNull,
    /// There is one.
    IsNotNull,
}

/// What a column is compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum FilterValue {
    /// A text.
    Text(String),
    /// A number.
    Number(f64),
    /// An instant.
    Time(NanoTimestamp),
    /// Several texts.
    Texts(Vec<String>),
}

/// One condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    /// The column, by its word in the API, such as `userId`.
    pub column: String,
    /// Of metadata, the key.
    pub key: Option<String>,
    /// How it is compared.
    pub operator: Operator,
    /// With what.
    pub value: FilterValue,
}

/// A filter that cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFilter {
    /// There is no such column.
    #[error("`{column}` is no column to filter by; there are {known}")]
    Column {
        /// What was named.
        column: String,
        /// What there is.
        known: String,
    },
    /// The operator or the value does not fit the column.
    #[error("`{0}` cannot be compared in this way: check the operator and the type of the value")]
    Comparison(String),
}

/// What kind of values a column has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Text,
    /// An id in its packed form.
    Id,
    /// Numbers; the filter's are multiplied by this.
    Number(f64),
    Time,
    /// A JSON array of texts.
    List,
    /// A JSON object.
    Object,
}

/// A column by its word in the API, its SQL, and what it holds.
pub(crate) type Column = (&'static str, &'static str, Kind);

const NANOS: f64 = 1e9;

pub(crate) const TRACE_COLUMNS: &[Column] = &[
    ("id", "id", Kind::Id),
    ("name", "name", Kind::Text),
    ("userId", "user_id", Kind::Text),
    ("sessionId", "session_id", Kind::Text),
    ("environment", "environment", Kind::Text),
    ("version", "version", Kind::Text),
    ("release", "release", Kind::Text),
    ("timestamp", "started_at", Kind::Time),
    ("tags", "tags", Kind::List),
    ("metadata", "metadata", Kind::Object),
    ("latency", "(ended_at - started_at)", Kind::Number(NANOS)),
    ("totalCost", "cost_nanos", Kind::Number(NANOS)),
    ("inputTokens", "input_tokens", Kind::Number(1.0)),
    ("outputTokens", "output_tokens", Kind::Number(1.0)),
    ("totalTokens", "total_tokens", Kind::Number(1.0)),
    ("observationCount", "observations", Kind::Number(1.0)),
    ("errorCount", "errors", Kind::Number(1.0)),
];

pub(crate) const OBSERVATION_COLUMNS: &[Column] = &[
    ("id", "id", Kind::Id),
    ("traceId", "trace_id", Kind::Id),
    ("parentObservationId", "parent_id", Kind::Id),
    ("type", "type", Kind::Text),
    ("name", "name", Kind::Text),
    ("level", "level", Kind::Text),
    ("statusMessage", "status_message", Kind::Text),
    ("version", "version", Kind::Text),
    ("environment", "environment", Kind::Text),
    ("startTime", "started_at", Kind::Time),
    ("endTime", "ended_at", Kind::Time),
    ("model", "model", Kind::Text),
    ("providedModelName", "model", Kind::Text),
    ("promptName", "prompt_name", Kind::Text),
    ("promptVersion", "prompt_version", Kind::Number(1.0)),
    ("metadata", "metadata", Kind::Object),
    ("latency", "(ended_at - started_at)", Kind::Number(NANOS)),
    ("timeToFirstToken", "(first_token_at - started_at)", Kind::Number(NANOS)),
    ("totalCost", "cost_nanos", Kind::Number(NANOS)),
    ("inputTokens", "input_tokens", Kind::Number(1.0)),
    ("outputTokens", "output_tokens", Kind::Number(1.0)),
    ("totalTokens", "total_tokens", Kind::Number(1.0)),
    (
        "userId",
        "(SELECT user_id FROM traces t WHERE t.project_id = observations.project_id AND t.id = observations.trace_id)",
        Kind::Text,
    ),
    (
        "sessionId",
        "(SELECT session_id FROM traces t WHERE t.project_id = observations.project_id AND t.id = observations.trace_id)",
        Kind::Text,
    ),
];

pub(crate) const SCORE_COLUMNS: &[Column] = &[
    ("id", "id", Kind::Id),
    ("traceId", "trace_id", Kind::Id),
    ("observationId", "observation_id", Kind::Id),
    ("sessionId", "session_id", Kind::Text),
    ("datasetRunId", "dataset_run_id", Kind::Text),
    ("name", "name", Kind::Text),
    ("dataType", "type", Kind::Text),
    ("value", "value", Kind::Number(1.0)),
    ("stringValue", "text", Kind::Text),
    ("source", "source", Kind::Text),
    ("configId", "config_id", Kind::Text),
    ("environment", "environment", Kind::Text),
    ("timestamp", "scored_at", Kind::Time),
    (
        "userId",
        "(SELECT user_id FROM traces t WHERE t.project_id = scores.project_id AND t.id = scores.trace_id)",
        Kind::Text,
    ),
];

/// The conditions of filters on a table.
pub(crate) fn conditions(project: ProjectId, columns: &[Column], filters: &[Filter]) -> Result<Conditions, BadFilter> {
    let mut conditions = Conditions::of(project);
    for filter in filters {
        let column = columns.iter().find(|(name, _, _)| *name == filter.column);
        let (_, sql, kind) = column.ok_or_else(|| BadFilter::Column {
            column: filter.column.chars().take(100).collect(),
            known: columns.iter().map(|(name, _, _)| *name).collect::<Vec<_>>().join(", "),
        })?;
        condition(&mut conditions, sql, *kind, filter).ok_or_else(|| BadFilter::Comparison(filter.column.clone()))?;
    }
    Ok(conditions)
}

fn condition(conditions: &mut Conditions, sql: &str, kind: Kind, filter: &Filter) -> Option<()> {
    match filter.operator {
        Operator::IsNull => conditions.and(&format!("{sql} IS NULL"), []),
        Operator::IsNotNull => conditions.and(&format!("{sql} IS NOT NULL"), []),
        operator => match kind {
            Kind::Text => text(conditions, sql, operator, &filter.value)?,
            Kind::Id => id(conditions, sql, operator, &filter.value)?,
            Kind::Number(scale) => {
                let FilterValue::Number(number) = filter.value else { return None };
                conditions.and(&format!("{sql} {} ?", symbol(operator)?), [Bound::Float(number * scale)]);
            }
            Kind::Time => {
                let FilterValue::Time(at) = filter.value else { return None };
                conditions.and(&format!("{sql} {} ?", symbol(operator)?), [Bound::Int(at.as_nanos())]);
            }
            Kind::List => list(conditions, sql, operator, &filter.value)?,
            Kind::Object => {
                let (Some(key), FilterValue::Text(value)) = (&filter.key, &filter.value) else { return None };
                member(conditions, sql, operator, key, value)?;
            }
        },
    }
    Some(())
}

fn symbol(operator: Operator) -> Option<&'static str> {
    match operator {
        Operator::Equal => Some("="),
        Operator::NotEqual => Some("<>"),
        Operator::Greater => Some(">"),
        Operator::AtLeast => Some(">="),
        Operator::Less => Some("<"),
        Operator::AtMost => Some("<="),
        _ => None,
    }
}

fn text(conditions: &mut Conditions, sql: &str, operator: Operator, value: &FilterValue) -> Option<()> {
    let like = |pattern: String| [Bound::Text(pattern)];
    match (operator, value) {
        (Operator::AnyOf, FilterValue::Texts(values)) => conditions.and_in(sql, values, true),
        (Operator::NoneOf, FilterValue::Texts(values)) => conditions.and_in(sql, values, false),
        (Operator::Equal | Operator::NotEqual, FilterValue::Text(value)) => {
            conditions.and(&format!("{sql} {} ?", symbol(operator)?), [Bound::Text(value.clone())]);
        }
        (Operator::Contains, FilterValue::Text(value)) => {
            conditions.and(&format!("{sql} LIKE ? ESCAPE '\\'"), like(format!("%{}%", escaped(value))));
        }
        (Operator::NotContains, FilterValue::Text(value)) => {
            let piece = format!("({sql} IS NULL OR {sql} NOT LIKE ? ESCAPE '\\')");
            conditions.and(&piece, like(format!("%{}%", escaped(value))));
        }
        (Operator::StartsWith, FilterValue::Text(value)) => {
            conditions.and(&format!("{sql} LIKE ? ESCAPE '\\'"), like(format!("{}%", escaped(value))));
        }
        (Operator::EndsWith, FilterValue::Text(value)) => {
            conditions.and(&format!("{sql} LIKE ? ESCAPE '\\'"), like(format!("%{}", escaped(value))));
        }
        _ => return None,
    }
    Some(())
}

fn id(conditions: &mut Conditions, sql: &str, operator: Operator, value: &FilterValue) -> Option<()> {
    match (operator, value) {
        (Operator::Equal | Operator::NotEqual, FilterValue::Text(id)) => {
            conditions.and(&format!("{sql} {} ?", symbol(operator)?), [Bound::Bytes(pack(id))]);
        }
        (Operator::AnyOf, FilterValue::Texts(ids)) if !ids.is_empty() => {
            let places = vec!["?"; ids.len()].join(", ");
            conditions.and(&format!("{sql} IN ({places})"), ids.iter().map(|id| Bound::Bytes(pack(id))));
        }
        _ => return None,
    }
    Some(())
}

/// A list is kept as JSON: a member stands in it with its quotation marks.
fn list(conditions: &mut Conditions, sql: &str, operator: Operator, value: &FilterValue) -> Option<()> {
    let FilterValue::Texts(members) = value else { return None };
    let holds = format!("{sql} LIKE ? ESCAPE '\\'");
    let patterns = members
        .iter()
        .map(|member| Bound::Text(format!("%{}%", escaped(&serde_json::Value::from(member.as_str()).to_string()))));
    let joined = |word: &str| vec![holds.as_str(); members.len()].join(word);
    match operator {
        _ if members.is_empty() => {}
        Operator::AllOf => conditions.and(&format!("({})", joined(" AND ")), patterns),
        Operator::AnyOf => conditions.and(&format!("({})", joined(" OR ")), patterns),
        Operator::NoneOf => conditions.and(&format!("({sql} IS NULL OR NOT ({}))", joined(" OR ")), patterns),
        _ => return None,
    }
    Some(())
}

/// A member of an object that is kept as JSON: its name and value stand in it one after the other.
fn member(conditions: &mut Conditions, sql: &str, operator: Operator, key: &str, value: &str) -> Option<()> {
    let key = serde_json::Value::from(key).to_string();
    let pattern = match operator {
        Operator::Equal => format!("%{}:{}%", escaped(&key), escaped(&serde_json::Value::from(value).to_string())),
        Operator::Contains => format!("%{}:%{}%", escaped(&key), escaped(value)),
        _ => return None,
    };
    conditions.and(&format!("{sql} LIKE ? ESCAPE '\\'"), [Bound::Text(pattern)]);
    Some(())
}
