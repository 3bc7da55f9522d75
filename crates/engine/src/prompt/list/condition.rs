//! The conditions of a list, as Langfuse's clients write them: `{"type", "column", "operator", "value"}`.

use privet_domain::time::Timestamp;
use privet_store::PromptHead;
use serde::Deserialize;
use serde_json::Value;

/// A condition that a version fulfils or not.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    column: Column,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Column {
    Id,
    Name,
    Kind,
    Version,
    CreatedAt,
    UpdatedAt,
    Labels,
    Tags,
    Config(String),
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Text(TextTest, String),
    OneOf(Vec<String>),
    NoneOf(Vec<String>),
    AllOf(Vec<String>),
    Number(Comparison, f64),
    Time(Comparison, Timestamp),
    Set(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TextTest {
    Equals,
    Contains,
    ContainsNot,
    StartsWith,
    EndsWith,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A condition that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`filter[{index}]`: {reason}")]
pub struct WrongCondition {
    /// Which of them, from 0.
    pub index: usize,
    /// What is wrong with it.
    pub reason: String,
}

#[derive(Deserialize)]
struct Written {
    r#type: String,
    column: String,
    operator: String,
    #[serde(default)]
    value: Value,
    key: Option<String>,
}

impl Condition {
    /// Reads a JSON array of conditions.
    ///
    /// # Errors
    /// With the first that is none.
    pub fn read_all(json: &str) -> Result<Vec<Self>, WrongCondition> {
        let whole = |error: serde_json::Error| WrongCondition { index: 0, reason: error.to_string() };
        let values: Vec<Value> = serde_json::from_str(json).map_err(whole)?;
        let read = |(index, value): (usize, Value)| {
            let written: Result<Written, _> = serde_json::from_value(value);
            let read = written.map_err(|error| error.to_string()).and_then(Self::read);
            read.map_err(|reason| WrongCondition { index, reason })
        };
        values.into_iter().enumerate().map(read).collect()
    }

    fn read(Written { r#type: kind, column, operator, value, key }: Written) -> Result<Self, String> {
        let column = match (column.as_str(), key) {
            ("id", _) => Column::Id,
            ("name", _) => Column::Name,
            ("type", _) => Column::Kind,
            ("version", _) => Column::Version,
            ("createdAt", _) => Column::CreatedAt,
            ("updatedAt", _) => Column::UpdatedAt,
            ("labels", _) => Column::Labels,
            ("tags", _) => Column::Tags,
            ("config", Some(key)) => Column::Config(key),
            ("config", None) => return Err("a condition on `config` names a `key`".to_owned()),
            _ => return Err(format!("there is no column `{column}`")),
        };
        let is_text = matches!(column, Column::Id | Column::Name | Column::Kind);
        let fits = match kind.as_str() {
            "string" | "stringOptions" => is_text,
            "number" => column == Column::Version,
            "datetime" => matches!(column, Column::CreatedAt | Column::UpdatedAt),
            "arrayOptions" => matches!(column, Column::Labels | Column::Tags),
            "stringObject" => matches!(column, Column::Config(_)),
            _ => false,
        };
        if !fits {
            return Err(format!("the type `{kind}` does not fit the column"));
        }
        let unknown = || format!("the operator `{operator}` does not fit the type `{kind}`");
        let test = match kind.as_str() {
            "string" | "stringObject" => text_test(&operator, &value, kind == "stringObject"),
            "number" => comparison(&operator)
                .map(|how| value.as_f64().map(|number| Test::Number(how, number)).ok_or("`value` is a number")),
            "datetime" => comparison(&operator).map(|how| {
                let time = value.as_str().and_then(Timestamp::parse);
                time.map(|time| Test::Time(how, time)).ok_or("`value` is an instant, ISO 8601")
            }),
            _ => list_test(&operator, &value),
        };
        Ok(Self { column, test: test.ok_or_else(unknown)?? })
    }

    /// Whether a configuration must be at hand.
    pub(super) fn reads_config(&self) -> bool {
        matches!(self.column, Column::Config(_))
    }

    /// Whether a version fulfils it.
    pub(super) fn holds(&self, head: &PromptHead, config: &Value) -> bool {
        let one = |text: &str| self.test.holds_for(std::slice::from_ref(&text.to_owned()));
        match &self.column {
            Column::Id => one(&format!("{}@{}", head.name, head.version)),
            Column::Name => one(&head.name),
            Column::Kind => one(head.kind.as_str()),
            Column::Labels => self.test.holds_for(&head.labels),
            Column::Tags => self.test.holds_for(&head.tags),
            Column::Config(key) => match config.get(key) {
                None | Some(Value::Null) => self.test.holds_for(&[]),
                Some(Value::String(text)) => one(text),
                Some(value) => one(&value.to_string()),
            },
            Column::Version => match self.test {
                Test::Number(how, number) => how.holds(f64::from(head.version).partial_cmp(&number)),
                _ => false,
            },
            Column::CreatedAt | Column::UpdatedAt => {
                let at = if self.column == Column::CreatedAt { head.created_at } else { head.updated_at };
                match self.test {
                    Test::Time(how, time) => how.holds(at.partial_cmp(&time)),
                    _ => false,
                }
            }
        }
    }
}

type Read = Option<Result<Test, &'static str>>;

fn text_test(operator: &str, value: &Value, may_be_set: bool) -> Read {
    let test = match operator {
        "is not empty" => return Some(Ok(Test::Set(true))),
        "is set" if may_be_set => return Some(Ok(Test::Set(true))),
        "is not set" if may_be_set => return Some(Ok(Test::Set(false))),
        "=" => TextTest::Equals,
        "contains" => TextTest::Contains,
        "does not contain" => TextTest::ContainsNot,
        "starts with" => TextTest::StartsWith,
        "ends with" => TextTest::EndsWith,
        _ => return None,
    };
    Some(match value.as_str() {
        Some("") if may_be_set && test != TextTest::Equals => Ok(Test::Set(true)),
        Some(text) => Ok(Test::Text(test, text.to_owned())),
        None => Err("`value` is a string"),
    })
}

fn list_test(operator: &str, value: &Value) -> Read {
    let texts = value.as_array().filter(|values| !values.is_empty());
    let texts: Option<Vec<String>> =
        texts.and_then(|values| values.iter().map(|value| value.as_str().map(str::to_owned)).collect());
    let Some(texts) = texts else { return Some(Err("`value` is an array of strings")) };
    Some(Ok(match operator {
        "any of" => Test::OneOf(texts),
        "none of" => Test::NoneOf(texts),
        "all of" => Test::AllOf(texts),
        _ => return None,
    }))
}

fn comparison(operator: &str) -> Option<Comparison> {
    Some(match operator {
        "=" => Comparison::Equal,
        "<" => Comparison::Less,
        "<=" => Comparison::LessOrEqual,
        ">" => Comparison::Greater,
        ">=" => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

impl Comparison {
    fn holds(self, ordering: Option<std::cmp::Ordering>) -> bool {
        ordering.is_some_and(|ordering| match self {
            Self::Equal => ordering.is_eq(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        })
    }
}

impl Test {
    /// Of a column with these values.
    fn holds_for(&self, values: &[String]) -> bool {
        match self {
            Self::Text(TextTest::ContainsNot, text) => !values.iter().any(|value| like(value, &format!("%{text}%"))),
            Self::Text(test, text) => values.iter().any(|value| match test {
                TextTest::Equals => value == text,
                TextTest::Contains | TextTest::ContainsNot => like(value, &format!("%{text}%")),
                TextTest::StartsWith => like(value, &format!("{text}%")),
                TextTest::EndsWith => like(value, &format!("%{text}")),
            }),
            Self::OneOf(texts) => values.iter().any(|value| texts.contains(value)),
            Self::NoneOf(texts) => !values.iter().any(|value| texts.contains(value)),
            Self::AllOf(texts) => texts.iter().all(|text| values.contains(text)),
            Self::Set(is_set) => values.iter().any(|value| !value.is_empty()) == *is_set,
            Self::Number(..) | Self::Time(..) => false,
        }
    }
}

/// A piece of a pattern.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Glob {
    Char(char),
    AnyChar,
    AnyText,
}

/// SQL's `ILIKE`: `%` is any text, `_` any character, and a backslash takes their meaning from them.
fn like(text: &str, pattern: &str) -> bool {
    let mut globs = Vec::with_capacity(pattern.len());
    let mut chars = pattern.chars().flat_map(char::to_lowercase);
    while let Some(char) = chars.next() {
        globs.push(match char {
            '%' => Glob::AnyText,
            '_' => Glob::AnyChar,
            '\\' => Glob::Char(chars.next().unwrap_or('\\')),
            char => Glob::Char(char),
        });
    }
    let text: Vec<char> = text.chars().flat_map(char::to_lowercase).collect();
    let (mut at, mut glob) = (0, 0);
    // Where to go on when what follows the last `%` does not fit: that one takes a character more.
    let mut again: Option<(usize, usize)> = None;
    while at < text.len() {
        match globs.get(glob) {
            Some(Glob::AnyText) => {
                again = Some((at, glob + 1));
                glob += 1;
                continue;
            }
            Some(Glob::AnyChar) => (at, glob) = (at + 1, glob + 1),
            Some(Glob::Char(char)) if text.get(at) == Some(char) => (at, glob) = (at + 1, glob + 1),
            _ => {
                let Some((from, after)) = again else { return false };
                again = Some((from + 1, after));
                (at, glob) = (from + 1, after);
            }
        }
    }
    globs.get(glob..).unwrap_or_default().iter().all(|glob| *glob == Glob::AnyText)
}

#[cfg(test)]
mod tests {
    use privet_domain::prompt::PromptKind;
    use serde_json::json;

    use super::*;

    fn head() -> PromptHead {
        PromptHead {
            name: "Tools/search/description".to_owned(),
            kind: PromptKind::Text,
            tags: vec!["a".to_owned(), "b".to_owned()],
            version: 3,
            labels: vec!["production".to_owned(), "latest".to_owned()],
            commit_message: None,
            author: String::new(),
            created_at: Timestamp::parse("2026-01-01T00:00:00Z").unwrap(),
            updated_at: Timestamp::parse("2026-02-01T00:00:00Z").unwrap(),
        }
    }

    fn holds(kind: &str, column: &str, operator: &str, value: Value) -> bool {
        let json = json!([{"type": kind, "column": column, "operator": operator, "value": value, "key": "model"}]);
        let conditions = Condition::read_all(&json.to_string()).unwrap();
        conditions.iter().all(|condition| condition.holds(&head(), &json!({"model": "gpt-4o", "n": 1})))
    }

    #[test]
    fn conditions_hold_or_do_not() {
        for (kind, column, operator, value, expected) in [
            ("string", "name", "=", json!("tools/search/description"), false),
            ("string", "name", "starts with", json!("tools/"), true),
            ("string", "name", "ends with", json!("/Description"), true),
            ("string", "name", "contains", json!("s_arch"), true),
            ("string", "name", "contains", json!("s\\_arch"), false),
            ("string", "name", "does not contain", json!("search"), false),
            ("stringOptions", "type", "any of", json!(["text"]), true),
            ("number", "version", ">=", json!(3), true),
            ("number", "version", "<", json!(3), false),
            ("datetime", "updatedAt", ">", json!("2026-01-15T00:00:00Z"), true),
            ("datetime", "createdAt", ">", json!("2026-01-15T00:00:00Z"), false),
            ("arrayOptions", "tags", "all of", json!(["a", "b"]), true),
            ("arrayOptions", "labels", "none of", json!(["latest"]), false),
            ("stringObject", "config", "starts with", json!("GPT"), true),
            ("stringObject", "config", "is not set", json!(""), false),
        ] {
            assert_eq!(holds(kind, column, operator, value.clone()), expected, "{column} {operator} {value}");
        }
    }

    #[test]
    fn a_wrong_condition_is_named() {
        for wrong in [
            json!([{"type": "string", "column": "version", "operator": "=", "value": "1"}]),
            json!([{"type": "number", "column": "version", "operator": "contains", "value": 1}]),
            json!([{"type": "string", "column": "nothing", "operator": "=", "value": "1"}]),
            json!([{"type": "arrayOptions", "column": "tags", "operator": "any of", "value": []}]),
            json!([{"column": "name"}]),
            json!({}),
        ] {
            assert!(Condition::read_all(&wrong.to_string()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn patterns_match_as_sql_does() {
        for (text, pattern, expected) in [
            ("abcbd", "a%b_", true),
            ("abcb", "a%b_", false),
            ("", "%", true),
            ("a", "", false),
            ("100%", "100\\%", true),
        ] {
            assert_eq!(like(text, pattern), expected, "{text} {pattern}");
        }
    }
}
