//! `filter`: a JSON list of conditions, and the columns that they may name.

use privet_domain::time::NanoTimestamp;
use privet_store::{
    Column, Comparison, Condition, JudgedColumn, Kind, ObservationColumn, OwnColumn, ScoreColumn, Test, TextTest,
    TraceColumn,
};
use serde::Deserialize;
use serde_json::Value;

use super::query::Params;
use crate::http::error::{ApiError, Issue, shortened};

/// So many conditions stand in one filter.
const CONDITIONS_MAX: usize = 50;
/// So many values stand in one condition.
const VALUES_MAX: usize = 500;

/// A condition as clients write it.
#[derive(Deserialize)]
pub(crate) struct Filter {
    column: String,
    operator: String,
    #[serde(default)]
    value: Value,
    #[serde(default)]
    key: Option<String>,
    #[serde(rename = "type")]
    kind: String,
}

/// The conditions of the parameter `filter`; those of other parameters hold too, unless `filter` speaks of their column.
pub(crate) fn joined<C: Column + PartialEq>(
    params: &Params,
    mut simple: Vec<Condition<C>>,
    column: fn(&str) -> Option<C>,
) -> Result<Vec<Condition<C>>, ApiError> {
    let Some(text) = params.text("filter") else { return Ok(simple) };
    let filters: Vec<Filter> = serde_json::from_str(text).map_err(|error| {
        let message = format!("must be a JSON list of objects with `type`, `column`, `operator` and `value`: {error}");
        ApiError::invalid_data(vec![Issue::at("filter", message)])
    })?;
    let filters = conditions(&filters, "filter", column)?;
    simple.retain(|condition| !filters.iter().any(|filter| filter.column == condition.column));
    simple.extend(filters);
    Ok(simple)
}

/// What a list of filters asks for.
pub(crate) fn conditions<C: Column>(
    filters: &[Filter],
    path: &str,
    column: fn(&str) -> Option<C>,
) -> Result<Vec<Condition<C>>, ApiError> {
    if filters.len() > CONDITIONS_MAX {
        return Err(ApiError::invalid_data(vec![Issue::at(path, format!("has at most {CONDITIONS_MAX} conditions"))]));
    }
    let read = |(number, filter): (usize, &Filter)| {
        filter
            .read(column)
            .map_err(|message| ApiError::invalid_data(vec![Issue::at(&format!("{path}.{number}"), message)]))
    };
    filters.iter().enumerate().map(read).collect()
}

impl Filter {
    fn read<C: Column>(&self, column: fn(&str) -> Option<C>) -> Result<Condition<C>, String> {
        let found = column(&self.column).ok_or_else(|| {
            format!("`{}` is no column that can be filtered by; docs/traces.md lists them", shortened(&self.column))
        })?;
        let test = self.test(found.kind())?;
        Ok(Condition { column: found, test })
    }

    fn test(&self, kind: Kind) -> Result<Test, String> {
        let unfit = || format!("a filter of type `{}` does not fit the column `{}`", self.kind, self.column);
        let test = match self.kind.as_str() {
            "null" => Test::IsSet(match self.operator.as_str() {
                "is null" => false,
                "is not null" => true,
                _ => return Err(self.unknown_operator("`is null` or `is not null`")),
            }),
            "boolean" => Test::Flag(self.flag()?),
            "datetime" => Test::Time(self.comparison()?, self.time()?),
            "number" => Test::Number(self.comparison()?, self.number()?),
            "numberObject" => Test::MemberNumber(self.key()?, self.comparison()?, self.number()?),
            "stringObject" => self.member()?,
            "string" => Test::Text(self.text_test()?, self.text()?),
            "stringOptions" | "arrayOptions" | "categoryOptions" => self.options()?,
            _ => {
                return Err(format!(
                    "`type` must be datetime, string, number, stringOptions, categoryOptions, arrayOptions, stringObject, \
                     numberObject, boolean or null, not `{}`",
                    shortened(&self.kind)
                ));
            }
        };
        let fits = match (&test, kind) {
            (Test::IsSet(_), _) => kind != Kind::Levels,
            (Test::Flag(_), Kind::Flag) | (Test::Time(..), Kind::Time) => true,
            (Test::Number(..), Kind::Integer | Kind::Number | Kind::Seconds | Kind::Dollars) => true,
            (Test::Member(..) | Test::MemberNumber(..) | Test::MemberIsSet(..), Kind::Object) => true,
            (Test::Text(TextTest::Is, _), Kind::Id) | (Test::Text(..), Kind::Text) => true,
            (Test::AnyOf(_) | Test::NoneOf(_), Kind::Text | Kind::Id | Kind::Tags | Kind::Levels) => true,
            (Test::AllOf(_), Kind::Tags) => true,
            _ => false,
        };
        if fits { Ok(test) } else { Err(unfit()) }
    }

    fn unknown_operator(&self, known: &str) -> String {
        format!("`operator` of a filter of type `{}` must be {known}, not `{}`", self.kind, shortened(&self.operator))
    }

    fn comparison(&self) -> Result<Comparison, String> {
        Ok(match self.operator.as_str() {
            "=" => Comparison::Equal,
            "<>" | "!=" => Comparison::Unequal,
            ">" => Comparison::More,
            ">=" => Comparison::AtLeast,
            "<" => Comparison::Less,
            "<=" => Comparison::AtMost,
            _ => return Err(self.unknown_operator("=, >, >=, < or <=")),
        })
    }

    fn text_test(&self) -> Result<TextTest, String> {
        Ok(match self.operator.as_str() {
            "=" => TextTest::Is,
            "<>" | "!=" => TextTest::IsNot,
            "contains" | "matches" => TextTest::Contains,
            "does not contain" => TextTest::ContainsNot,
            "starts with" => TextTest::Begins,
            "ends with" => TextTest::Ends,
            _ => return Err(self.unknown_operator("=, contains, does not contain, starts with, ends with or matches")),
        })
    }

    fn member(&self) -> Result<Test, String> {
        let key = self.key()?;
        Ok(match self.operator.as_str() {
            "is set" => Test::MemberIsSet(key, true),
            "is not set" => Test::MemberIsSet(key, false),
            _ => Test::Member(key, self.text_test()?, self.text()?),
        })
    }

    fn options(&self) -> Result<Test, String> {
        let values: Option<Vec<String>> = match &self.value {
            Value::Array(values) => values.iter().map(|value| value.as_str().map(str::to_owned)).collect(),
            Value::String(value) => Some(vec![value.clone()]),
            _ => None,
        };
        let values = values.ok_or("`value` must be a list of texts")?;
        if values.len() > VALUES_MAX {
            return Err(format!("`value` has at most {VALUES_MAX} texts"));
        }
        match self.operator.as_str() {
            "any of" | "=" => Ok(Test::AnyOf(values)),
            "none of" => Ok(Test::NoneOf(values)),
            "all of" => Ok(Test::AllOf(values)),
            _ => Err(self.unknown_operator("any of, none of or all of")),
        }
    }

    fn key(&self) -> Result<String, String> {
        self.key.clone().ok_or_else(|| format!("a filter of type `{}` needs a `key`", self.kind))
    }

    fn text(&self) -> Result<String, String> {
        self.value.as_str().map(str::to_owned).ok_or_else(|| "`value` must be a text".to_owned())
    }

    fn number(&self) -> Result<f64, String> {
        let number = self.value.as_f64().or_else(|| self.value.as_str()?.parse().ok());
        number.filter(|number| number.is_finite()).ok_or_else(|| "`value` must be a number".to_owned())
    }

    fn flag(&self) -> Result<bool, String> {
        let value = self.value.as_bool().ok_or("`value` must be true or false")?;
        match self.operator.as_str() {
            "=" => Ok(value),
            "<>" | "!=" => Ok(!value),
            _ => Err(self.unknown_operator("= or <>")),
        }
    }

    fn time(&self) -> Result<NanoTimestamp, String> {
        let time = self.value.as_str().and_then(NanoTimestamp::parse);
        time.ok_or_else(|| "`value` must be an instant in ISO 8601".to_owned())
    }
}

/// The column of traces that has this name.
pub(crate) fn trace_column(name: &str) -> Option<TraceColumn> {
    Some(match name {
        "id" | "traceId" => TraceColumn::Id,
        "timestamp" | "startTime" => TraceColumn::Timestamp,
        "name" | "traceName" => TraceColumn::Name,
        "userId" | "user" => TraceColumn::User,
        "sessionId" => TraceColumn::Session,
        "environment" => TraceColumn::Environment,
        "release" => TraceColumn::Release,
        "version" => TraceColumn::Version,
        "public" => TraceColumn::Public,
        "tags" | "traceTags" => TraceColumn::Tags,
        "metadata" => TraceColumn::Metadata,
        "latency" => TraceColumn::Latency,
        "totalCost" => TraceColumn::Cost,
        "inputTokens" => TraceColumn::InputTokens,
        "outputTokens" => TraceColumn::OutputTokens,
        "totalTokens" | "tokens" => TraceColumn::TotalTokens,
        "observationCount" | "observationsCount" => TraceColumn::Observations,
        "errorCount" => TraceColumn::Errors,
        "level" => TraceColumn::Level,
        _ => return None,
    })
}

/// The observation's own column that has this name.
pub(crate) fn own_column(name: &str) -> Option<OwnColumn> {
    Some(match name {
        "id" => OwnColumn::Id,
        "traceId" => OwnColumn::Trace,
        "parentObservationId" => OwnColumn::Parent,
        "isRootObservation" => OwnColumn::IsRoot,
        "type" => OwnColumn::Type,
        "name" => OwnColumn::Name,
        "startTime" => OwnColumn::Start,
        "endTime" => OwnColumn::End,
        "level" => OwnColumn::Level,
        "statusMessage" => OwnColumn::StatusMessage,
        "version" => OwnColumn::Version,
        "environment" => OwnColumn::Environment,
        "metadata" => OwnColumn::Metadata,
        "model" | "providedModelName" => OwnColumn::Model,
        "promptName" => OwnColumn::PromptName,
        "promptVersion" => OwnColumn::PromptVersion,
        "latency" => OwnColumn::Latency,
        "timeToFirstToken" => OwnColumn::FirstToken,
        "tokensPerSecond" | "outputTokensPerSecond" => OwnColumn::TokensPerSecond,
        "totalCost" => OwnColumn::Cost,
        "inputTokens" => OwnColumn::InputTokens,
        "outputTokens" => OwnColumn::OutputTokens,
        "totalTokens" | "tokens" => OwnColumn::TotalTokens,
        _ => return None,
    })
}

/// The column of observations, or of their traces, that has this name.
pub(crate) fn observation_column(name: &str) -> Option<ObservationColumn> {
    let of_trace = match name {
        "userId" => TraceColumn::User,
        "sessionId" => TraceColumn::Session,
        "traceName" => TraceColumn::Name,
        "tags" | "traceTags" => TraceColumn::Tags,
        "release" | "traceRelease" => TraceColumn::Release,
        "traceVersion" => TraceColumn::Version,
        "traceEnvironment" => TraceColumn::Environment,
        _ => return own_column(name).map(ObservationColumn::Own),
    };
    Some(ObservationColumn::OfTrace(of_trace))
}

/// The column of scores, or of what they judge, that has this name.
pub(crate) fn score_column(name: &str) -> Option<ScoreColumn> {
    let own = match name {
        "id" => JudgedColumn::Id,
        "traceId" => JudgedColumn::Trace,
        "observationId" => JudgedColumn::Observation,
        "sessionId" => JudgedColumn::Session,
        "datasetRunId" | "experimentId" => JudgedColumn::DatasetRun,
        "name" => JudgedColumn::Name,
        "dataType" => JudgedColumn::Type,
        "value" => JudgedColumn::Value,
        "stringValue" | "booleanValue" => JudgedColumn::Text,
        "comment" => JudgedColumn::Comment,
        "source" => JudgedColumn::Source,
        "authorUserId" => JudgedColumn::Author,
        "configId" => JudgedColumn::Config,
        "environment" => JudgedColumn::Environment,
        "metadata" => JudgedColumn::Metadata,
        "timestamp" => JudgedColumn::Timestamp,
        "userId" => return Some(ScoreColumn::OfTrace(TraceColumn::User)),
        "traceName" => return Some(ScoreColumn::OfTrace(TraceColumn::Name)),
        "tags" | "traceTags" => return Some(ScoreColumn::OfTrace(TraceColumn::Tags)),
        "traceRelease" => return Some(ScoreColumn::OfTrace(TraceColumn::Release)),
        "traceVersion" => return Some(ScoreColumn::OfTrace(TraceColumn::Version)),
        "traceEnvironment" => return Some(ScoreColumn::OfTrace(TraceColumn::Environment)),
        "observationName" => return Some(ScoreColumn::OfObservation(OwnColumn::Name)),
        "observationModelName" => return Some(ScoreColumn::OfObservation(OwnColumn::Model)),
        "observationPromptName" => return Some(ScoreColumn::OfObservation(OwnColumn::PromptName)),
        "observationPromptVersion" => return Some(ScoreColumn::OfObservation(OwnColumn::PromptVersion)),
        _ => return None,
    };
    Some(ScoreColumn::Own(own))
}
