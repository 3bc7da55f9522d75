//! Conditions by which traces, observations and scores are looked for.

use privet_domain::time::NanoTimestamp;

use super::sql::Sql;
use super::stored_id::pack;

/// How texts are compared; upper and lower case differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextTest {
    /// It is the text.
    Is,
    /// It is another text, or none.
    IsNot,
    /// The text stands somewhere in it.
    Contains,
    /// The text stands nowhere in it.
    ContainsNot,
    /// It begins with the text.
    Begins,
    /// It ends with the text.
    Ends,
}

/// How numbers and times are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<>`
    Unequal,
    /// `>`
    More,
    /// `>=`
    AtLeast,
    /// `<`
    Less,
    /// `<=`
    AtMost,
}

impl Comparison {
    const fn sql(self) -> &'static str {
        match self {
            Self::Equal => " = ",
            Self::Unequal => " <> ",
            Self::More => " > ",
            Self::AtLeast => " >= ",
            Self::Less => " < ",
            Self::AtMost => " <= ",
        }
    }
}

/// What a column holds, and so which tests make sense for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text.
    Text,
    /// An id, which is compared whole.
    Id,
    /// An instant.
    Time,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// A length of time; tests count in seconds.
    Seconds,
    /// Money; tests count in dollars.
    Dollars,
    /// A list of tags.
    Tags,
    /// An object; tests name the key.
    Object,
    /// True or false.
    Flag,
    /// The levels of a trace's observations: true if one of them has it.
    Levels,
}

/// A column that can be tested.
pub trait Column: Copy + Send + Sync {
    /// What it holds.
    fn kind(self) -> Kind;
    #[doc(hidden)]
    fn sql(self) -> &'static str;
}

/// What is asked of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// A text's.
    Text(TextTest, String),
    /// One of these, of a text, an id, or levels; of tags at least one.
    AnyOf(Vec<String>),
    /// None of these, or nothing.
    NoneOf(Vec<String>),
    /// All of these, of tags.
    AllOf(Vec<String>),
    /// A number's.
    Number(Comparison, f64),
    /// One of these, of a number.
    NumberAnyOf(Vec<f64>),
    /// An instant's.
    Time(Comparison, NanoTimestamp),
    /// The text that an object has under a key.
    Member(String, TextTest, String),
    /// The number that an object has under a key.
    MemberNumber(String, Comparison, f64),
    /// Whether an object has the key.
    MemberIsSet(String, bool),
    /// Whether there is something.
    IsSet(bool),
    /// Whether a flag is set.
    Flag(bool),
}

/// A condition on a column.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition<C> {
    /// Of what.
    pub column: C,
    /// What is asked of it.
    pub test: Test,
}

impl<C: Column> Condition<C> {
    /// That a text or id is this one.
    #[must_use]
    pub fn is(column: C, value: &str) -> Self {
        Self { column, test: Test::Text(TextTest::Is, value.to_owned()) }
    }

    /// That an instant is this one or later.
    #[must_use]
    pub const fn since(column: C, at: NanoTimestamp) -> Self {
        Self { column, test: Test::Time(Comparison::AtLeast, at) }
    }

    /// That an instant is before this one.
    #[must_use]
    pub const fn before(column: C, at: NanoTimestamp) -> Self {
        Self { column, test: Test::Time(Comparison::Less, at) }
    }

    /// Whether only rows with certain values meet it, which an index finds.
    pub(crate) fn is_exact(&self) -> bool {
        match &self.test {
            Test::Text(test, _) => *test == TextTest::Is,
            Test::AnyOf(values) => !values.is_empty(),
            _ => false,
        }
    }

    /// Adds it, in parentheses. What makes no sense for the column is never true.
    pub(crate) fn push(&self, sql: &mut Sql) {
        let (column, kind) = (self.column.sql(), self.column.kind());
        sql.push("(");
        match (&self.test, kind) {
            (Test::AnyOf(values) | Test::NoneOf(values) | Test::AllOf(values), _) => {
                self.push_listed(sql, column, values);
            }
            (Test::Text(test, text), Kind::Text) => {
                let of_column = |sql: &mut Sql| {
                    sql.push(column);
                };
                push_text(sql, &of_column, *test, text);
            }
            (Test::Text(TextTest::Is, id), Kind::Id) => {
                sql.push(column).push(" = ").bind(pack(id));
            }
            (Test::Number(comparison, number), kind) if is_number(kind) => {
                push_number(sql, column, kind, *comparison, *number);
            }
            (Test::NumberAnyOf(numbers), Kind::Integer | Kind::Number) if !numbers.is_empty() => {
                sql.push(column).push(" IN ").list(numbers.iter().copied());
            }
            (Test::Time(comparison, at), Kind::Time) => {
                sql.push(column).push(comparison.sql()).bind(at.as_nanos());
            }
            (Test::Member(key, test, text), Kind::Object) => {
                push_text(sql, &|sql| push_member(sql, column, key), *test, text);
            }
            (Test::MemberNumber(key, comparison, number), Kind::Object) => {
                push_member_number(sql, column, key, *comparison, *number);
            }
            (Test::MemberIsSet(key, is_set), Kind::Object) => {
                push_member(sql, column, key);
                sql.push(if *is_set { " IS NOT NULL" } else { " IS NULL" });
            }
            (Test::IsSet(is_set), _) => {
                sql.push(column).push(if *is_set { " IS NOT NULL" } else { " IS NULL" });
            }
            (Test::Flag(is_set), Kind::Flag) => {
                sql.push(column).push(if *is_set { " = 1" } else { " = 0" });
            }
            _ => {
                sql.push("1 = 0");
            }
        }
        sql.push(")");
    }

    /// Adds a condition with a list of texts. PostgreSQL knows no empty one: nothing is in it, and all of it is in anything.
    fn push_listed(&self, sql: &mut Sql, column: &'static str, values: &[String]) {
        if values.is_empty() {
            sql.push(if matches!(self.test, Test::AnyOf(_)) { "1 = 0" } else { "1 = 1" });
            return;
        }
        let texts = || values.iter().map(String::as_str);
        let ids = || values.iter().map(|id| pack(id));
        match (&self.test, self.column.kind()) {
            (Test::AnyOf(_), Kind::Text) => {
                sql.push(column).push(" IN ").list(texts());
            }
            (Test::NoneOf(_), Kind::Text) => {
                sql.push(column).push(" IS NULL OR ").push(column).push(" NOT IN ").list(texts());
            }
            (Test::AnyOf(_), Kind::Id) => {
                sql.push(column).push(" IN ").list(ids());
            }
            (Test::NoneOf(_), Kind::Id) => {
                sql.push(column).push(" IS NULL OR ").push(column).push(" NOT IN ").list(ids());
            }
            (Test::AnyOf(_), Kind::Tags) => push_tags(sql, column, values, " OR "),
            (Test::AllOf(_), Kind::Tags) => push_tags(sql, column, values, " AND "),
            (Test::NoneOf(_), Kind::Tags) => {
                sql.push(column).push(" IS NULL OR NOT (");
                push_tags(sql, column, values, " OR ");
                sql.push(")");
            }
            (Test::AnyOf(_), Kind::Levels) => push_levels(sql, "", values),
            (Test::NoneOf(_), Kind::Levels) => push_levels(sql, "NOT ", values),
            _ => {
                sql.push("1 = 0");
            }
        }
    }
}

/// Adds all conditions, each behind `AND`.
pub(crate) fn push_all<C: Column>(sql: &mut Sql, conditions: &[Condition<C>]) {
    for condition in conditions {
        sql.push(" AND ");
        condition.push(sql);
    }
}

const fn is_number(kind: Kind) -> bool {
    matches!(kind, Kind::Integer | Kind::Number | Kind::Seconds | Kind::Dollars)
}

/// By functions that both databases have, and that know no patterns.
fn push_text(sql: &mut Sql, column: &dyn Fn(&mut Sql), test: TextTest, text: &str) {
    let part = |sql: &mut Sql, before: &'static str, after: &'static str| {
        sql.push(before);
        column(sql);
        sql.push(after);
    };
    match test {
        TextTest::Is => {
            part(sql, "", " = ");
            sql.bind(text);
        }
        TextTest::IsNot => {
            part(sql, "", " IS NULL OR ");
            part(sql, "", " <> ");
            sql.bind(text);
        }
        TextTest::Contains => {
            part(sql, "REPLACE(", ", ");
            sql.bind(text);
            part(sql, ", '') <> ", "");
        }
        TextTest::ContainsNot => {
            part(sql, "", " IS NULL OR REPLACE(");
            part(sql, "", ", ");
            sql.bind(text);
            part(sql, ", '') = ", "");
        }
        TextTest::Begins => {
            part(sql, "SUBSTR(", ", 1, ");
            sql.bind(chars(text)).push(") = ").bind(text);
        }
        TextTest::Ends => {
            part(sql, "LENGTH(", ") >= ");
            sql.bind(chars(text));
            part(sql, " AND SUBSTR(", ", ");
            part(sql, "LENGTH(", ") - ");
            sql.bind(chars(text)).push(" + 1) = ").bind(text);
        }
    }
}

/// How many characters a text has.
pub(crate) fn chars(text: &str) -> i32 {
    i32::try_from(text.chars().count()).unwrap_or(i32::MAX)
}

/// Tags are a JSON list of texts without spaces between them: a quote that follows `[` or `,` is not inside a text.
fn push_tags(sql: &mut Sql, column: &'static str, tags: &[String], between: &'static str) {
    for (number, tag) in tags.iter().enumerate() {
        if number > 0 {
            sql.push(between);
        }
        let json = serde_json::Value::from(tag.as_str()).to_string();
        let (first, later) = (format!("[{json}"), format!(",{json}"));
        sql.push("(SUBSTR(").push(column).push(", 1, ").bind(chars(&first)).push(") = ").bind(first.as_str());
        sql.push(" OR REPLACE(").push(column).push(", ").bind(later.as_str()).push(", '') <> ").push(column).push(")");
    }
}

fn push_levels(sql: &mut Sql, not: &'static str, levels: &[String]) {
    sql.push(not).push(
        "EXISTS (SELECT 1 FROM observations l WHERE l.project_id = t.project_id AND l.trace_id = t.id AND l.level IN ",
    );
    sql.list(levels.iter().map(String::as_str)).push(")");
}

const NANOS: f64 = 1e9;

fn push_number(sql: &mut Sql, column: &'static str, kind: Kind, comparison: Comparison, number: f64) {
    sql.push(column).push(comparison.sql());
    match kind {
        Kind::Seconds | Kind::Dollars => sql.bind((number * NANOS).round() as i64),
        _ => sql.bind(number),
    };
}

/// The text under a key. An object with a NUL in it has none: PostgreSQL refuses to take it out.
fn push_member(sql: &mut Sql, column: &'static str, key: &str) {
    match sql.is_sqlite {
        true => sql.push("CAST(").push(column).push(" ->> ").bind(label(key).as_str()).push(" AS TEXT)"),
        false => {
            sql.push("(CASE WHEN STRPOS(").push(column).push(", '\\u0000') = 0 THEN ");
            sql.push("CAST(").push(column).push(" AS json) ->> ").bind(key).push(" END)")
        }
    };
}

/// A key as SQLite wants it: what begins like a path would be read as one.
fn label(key: &str) -> String {
    match key.starts_with(['$', '[']) {
        true => format!("$.\"{}\"", key.replace('"', "")),
        false => key.to_owned(),
    }
}

fn push_member_number(sql: &mut Sql, column: &'static str, key: &str, comparison: Comparison, number: f64) {
    match sql.is_sqlite {
        true => {
            let label = label(key);
            sql.push("typeof(").push(column).push(" ->> ").bind(label.as_str()).push(") IN ('integer', 'real') AND ");
            sql.push(column).push(" ->> ").bind(label.as_str());
        }
        false => {
            sql.push("CASE WHEN STRPOS(").push(column).push(", '\\u0000') = 0 AND json_typeof(CAST(");
            sql.push(column).push(" AS json) -> ").bind(key).push(") = 'number' THEN CAST(CAST(").push(column);
            sql.push(" AS json) ->> ").bind(key).push(" AS DOUBLE PRECISION) END");
        }
    }
    sql.push(comparison.sql()).bind(number);
}
