//! What lists are asked by: the query's names, and `filter`, a JSON array of conditions.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use privet_domain::time::NanoTimestamp;
use privet_store::{Filter, FilterValue, Operator, Page, Place};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::error::{ApiError, Issue};

const LIMIT_MAX: u32 = 100;
const LIMIT: u32 = 50;

/// The query of a list, as it came.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct ListQuery(Vec<(String, String)>);

/// A name of the query, the column it filters, and how.
pub(super) type Named = (&'static str, &'static str, Operator);

/// What is common to a page of numbered pages.
pub(super) struct Paging {
    pub(super) page: u64,
    pub(super) limit: u32,
}

impl Paging {
    /// `meta` of the answer.
    pub(super) fn meta(&self, total: u64) -> Value {
        let pages = total.div_ceil(u64::from(self.limit));
        json!({"page": self.page, "limit": self.limit, "totalItems": total, "totalPages": pages})
    }
}

impl ListQuery {
    /// The last value under a name.
    pub(super) fn one(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// All values under a name, which may come as `name` or `name[]`.
    pub(super) fn all(&self, name: &str) -> Vec<String> {
        let named = |known: &str| known == name || known.strip_suffix("[]") == Some(name);
        self.0
            .iter()
            .filter(|(known, value)| named(known) && !value.is_empty())
            .map(|(_, value)| value.clone())
            .collect()
    }

    /// Which of the numbered pages.
    pub(super) fn page(&self) -> Result<(Paging, Page), ApiError> {
        let page = self.number("page", 1)?.max(1);
        let limit = self.limit()?;
        let order = self.one("orderBy").map(order).transpose()?;
        let offset = (page - 1).saturating_mul(u64::from(limit));
        Ok((Paging { page, limit }, Page { limit, offset, order, after: None, counts: true }))
    }

    /// The page after a cursor.
    pub(super) fn page_after(&self) -> Result<Page, ApiError> {
        let after = self.one("cursor").map(place).transpose()?;
        Ok(Page { after, counts: false, ..Page::first(self.limit()?) })
    }

    fn limit(&self) -> Result<u32, ApiError> {
        let limit = self.number("limit", u64::from(LIMIT))?;
        match u32::try_from(limit) {
            Ok(limit @ 1..=LIMIT_MAX) => Ok(limit),
            _ => Err(wrong("limit", format!("must be a number from 1 to {LIMIT_MAX}"))),
        }
    }

    fn number(&self, name: &str, default: u64) -> Result<u64, ApiError> {
        let Some(text) = self.one(name) else { return Ok(default) };
        text.parse().map_err(|_| wrong(name, "must be a whole number".to_owned()))
    }

    /// The conditions: those of `filter`, and those of the names.
    pub(super) fn filters(&self, names: &[Named]) -> Result<Vec<Filter>, ApiError> {
        let mut filters = match self.one("filter") {
            None => Vec::new(),
            Some(json) => parse(json)?,
        };
        for (name, column, operator) in names {
            let value = match operator {
                Operator::AnyOf | Operator::AllOf => {
                    let values = self.all(name);
                    (!values.is_empty()).then_some(FilterValue::Texts(values))
                }
                Operator::AtLeast | Operator::Less => self.one(name).map(|text| time(name, text)).transpose()?,
                _ => self.one(name).map(|text| FilterValue::Text(text.to_owned())),
            };
            filters.extend(value.map(|value| Filter {
                column: (*column).to_owned(),
                key: None,
                operator: *operator,
                value,
            }));
        }
        Ok(filters)
    }

    /// Whether a group of fields is wanted; all are where none is named.
    pub(super) fn wants(&self, group: &str) -> bool {
        self.one("fields").is_none_or(|fields| fields.split(',').any(|field| field.trim() == group))
    }
}

/// The cursor after an item.
pub(super) fn cursor(at: NanoTimestamp, id: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("{} {id}", at.as_nanos()))
}

fn place(cursor: &str) -> Result<Place, ApiError> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let place = bytes
        .as_deref()
        .and_then(|text| text.split_once(' '))
        .and_then(|(at, id)| Some(Place { at: NanoTimestamp::from_nanos(at.parse().ok()?), id: id.to_owned() }));
    place.ok_or_else(|| wrong("cursor", "is none that this list gave".to_owned()))
}

/// `column.asc` or `column.desc`, or a JSON object with both.
fn order(text: &str) -> Result<(String, bool), ApiError> {
    let bad = || wrong("orderBy", "must be a column and `asc` or `desc`, such as `timestamp.desc`".to_owned());
    let (column, direction) = text.rsplit_once('.').unwrap_or((text, "asc"));
    match direction {
        "asc" => Ok((column.to_owned(), false)),
        "desc" => Ok((column.to_owned(), true)),
        _ => Err(bad()),
    }
}

fn time(name: &str, text: &str) -> Result<FilterValue, ApiError> {
    let at = NanoTimestamp::parse(text).ok_or_else(|| wrong(name, format!("must be a time, not `{text}`")))?;
    Ok(FilterValue::Time(at))
}

pub(super) fn wrong(name: &str, message: String) -> ApiError {
    ApiError::invalid_data(vec![Issue::at(name, message)])
}

/// A condition as clients write it.
#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    column: String,
    operator: String,
    #[serde(default)]
    value: Value,
    #[serde(default)]
    key: Option<String>,
}

fn parse(json: &str) -> Result<Vec<Filter>, ApiError> {
    let conditions: Vec<Condition> = serde_json::from_str(json)
        .map_err(|error| wrong("filter", format!("must be a JSON array of conditions: {error}")))?;
    conditions.into_iter().map(read).collect()
}

fn read(condition: Condition) -> Result<Filter, ApiError> {
    let Condition { kind, column, operator, value, key } = condition;
    let operator = match operator.as_str() {
        "=" | "equals" => Operator::Equal,
        "<>" | "!=" => Operator::NotEqual,
        ">" => Operator::Greater,
        ">=" => Operator::AtLeast,
        "<" => Operator::Less,
        "<=" => Operator::AtMost,
        "contains" => Operator::Contains,
        "does not contain" => Operator::NotContains,
        "starts with" => Operator::StartsWith,
        "ends with" => Operator::EndsWith,
        "any of" => Operator::AnyOf,
        "none of" => Operator::NoneOf,
        "all of" => Operator::AllOf,
        "is null" => Operator::IsNull,
        "is not null" => Operator::IsNotNull,
        other => return Err(wrong("filter", format!("the operator `{other}` of `{column}` is not known"))),
    };
    let misfit = || wrong("filter", format!("the value of `{column}` is no {kind}"));
    let value = match value {
        Value::String(text) if kind == "datetime" => FilterValue::Time(NanoTimestamp::parse(&text).ok_or_else(misfit)?),
        Value::String(text) => FilterValue::Text(text),
        Value::Number(number) => FilterValue::Number(number.as_f64().ok_or_else(misfit)?),
        Value::Array(values) => {
            let texts: Option<Vec<String>> = values.iter().map(|value| value.as_str().map(str::to_owned)).collect();
            FilterValue::Texts(texts.ok_or_else(misfit)?)
        }
        Value::Null if matches!(operator, Operator::IsNull | Operator::IsNotNull) => FilterValue::Text(String::new()),
        _ => return Err(misfit()),
    };
    Ok(Filter { column, key, operator, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back() {
        let at = NanoTimestamp::from_nanos(1_790_000_000_000_000_123);
        assert_eq!(place(&cursor(at, "an id")).unwrap(), Place { at, id: "an id".to_owned() });
        assert!(place("what").is_err());
    }

    #[test]
    fn conditions_are_read_and_wrong_ones_named() {
        let filters = parse(
            r#"[{"type":"datetime","column":"timestamp","operator":">=","value":"2026-11-25T00:00:00Z"},
                {"type":"arrayOptions","column":"tags","operator":"any of","value":["a"]},
                {"type":"number","column":"latency","operator":">","value":2.5}]"#,
        );
        assert_eq!(filters.unwrap().len(), 3);
        for wrong in [
            "{}",
            r#"[{"type":"string","column":"name","operator":"~","value":"x"}]"#,
            r#"[{"type":"datetime","column":"timestamp","operator":"<","value":"soon"}]"#,
            r#"[{"type":"string","column":"name","operator":"=","value":{}}]"#,
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
