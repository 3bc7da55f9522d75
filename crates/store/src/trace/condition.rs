//! Conditions of queries: fixed pieces of SQL with bound values, the same on both databases.

use privet_domain::id::ProjectId;
use sqlx::types::Uuid;

/// A value to bind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Bound {
    Id(Uuid),
    Text(String),
    Int(i64),
    Float(f64),
    Bytes(Vec<u8>),
}

/// `WHERE …`, and what is bound in it.
#[derive(Clone, Debug)]
pub(crate) struct Conditions {
    pub(crate) sql: String,
    pub(crate) bound: Vec<Bound>,
}

impl Conditions {
    /// Of one project: every query names it.
    pub(crate) fn of(project: ProjectId) -> Self {
        Self { sql: "WHERE project_id = $1".to_owned(), bound: vec![Bound::Id(project.as_uuid())] }
    }

    /// `AND`; each `?` of the piece stands for one of the values.
    pub(crate) fn and(&mut self, piece: &str, values: impl IntoIterator<Item = Bound>) {
        self.sql.push_str(" AND ");
        self.push(piece, values);
    }

    /// As it is; each `?` of the piece stands for one of the values.
    pub(crate) fn push(&mut self, piece: &str, values: impl IntoIterator<Item = Bound>) {
        let mut values = values.into_iter();
        for character in piece.chars() {
            match (character, if character == '?' { values.next() } else { None }) {
                ('?', Some(value)) => {
                    self.bound.push(value);
                    self.sql.push('$');
                    self.sql.push_str(&self.bound.len().to_string());
                }
                (character, _) => self.sql.push(character),
            }
        }
    }

    /// `column IN (…)`, or the opposite. Nothing is in an empty list.
    pub(crate) fn and_in(&mut self, column: &str, values: &[String], is_in: bool) {
        if values.is_empty() {
            self.and(if is_in { "1 = 0" } else { "1 = 1" }, []);
            return;
        }
        let places = vec!["?"; values.len()].join(", ");
        let bound = values.iter().cloned().map(Bound::Text);
        match is_in {
            true => self.and(&format!("{column} IN ({places})"), bound),
            false => self.and(&format!("({column} IS NULL OR {column} NOT IN ({places}))"), bound),
        }
    }
}

/// Runs a query with its values bound: `fetch_all` or `fetch_one` of the given kind.
macro_rules! bound {
    ($query:expr, $bound:expr) => {{
        let mut query = $query;
        for value in $bound {
            query = match value {
                $crate::trace::condition::Bound::Id(id) => query.bind(id),
                $crate::trace::condition::Bound::Text(text) => query.bind(text),
                $crate::trace::condition::Bound::Int(number) => query.bind(number),
                $crate::trace::condition::Bound::Float(number) => query.bind(number),
                $crate::trace::condition::Bound::Bytes(bytes) => query.bind(bytes),
            };
        }
        query
    }};
}
pub(crate) use bound;

/// A pattern for `LIKE … ESCAPE '\'` that stands for this text and nothing else.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_bound_and_never_part_of_the_text() {
        let mut conditions = Conditions::of(ProjectId::new());
        conditions.and("(name = ? OR name = ?)", [Bound::Text("a".into()), Bound::Text("'; DROP".into())]);
        conditions.and_in("environment", &["x".into()], true);
        conditions.and_in("environment", &[], true);
        assert_eq!(
            conditions.sql,
            "WHERE project_id = $1 AND (name = $2 OR name = $3) AND environment IN ($4) AND 1 = 0"
        );
        assert_eq!(conditions.bound.len(), 4);
        assert_eq!(escaped("50%_\\"), "50\\%\\_\\\\");
    }
}
