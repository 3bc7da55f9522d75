//! Pages of lists: by number, or from a place in the order of time, which is as fast for the last page as for the first.

use std::str::FromStr;

use privet_domain::time::NanoTimestamp;

use super::sql::Sql;

/// So many things are counted one by one; where there are more, the count says so.
pub const COUNT_MAX: u64 = 100_000;

/// Which part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// After so many, at most so many.
    Skip(u64, u32),
    /// After this place, at most so many; from the beginning where there is none. Only in the order of time, newest first.
    After(Option<Place>, u32),
}

impl Page {
    pub(crate) const fn limit(&self) -> u32 {
        match self {
            Self::Skip(_, limit) | Self::After(_, limit) => *limit,
        }
    }
}

/// A place in a list that is ordered by time. As text it is a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    at: i64,
    id: Vec<u8>,
}

/// A text is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no cursor: give the one of the page before")]
pub struct BadCursor;

impl Place {
    pub(crate) const fn new(at: NanoTimestamp, id: Vec<u8>) -> Self {
        Self { at: at.as_nanos(), id }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}_", self.at)?;
        self.id.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Place {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let (at, id) = text.split_once('_').ok_or(BadCursor)?;
        let digits: Option<Vec<u8>> =
            id.chars().map(|digit| digit.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
        let digits = digits.filter(|digits| digits.len() % 2 == 0).ok_or(BadCursor)?;
        let id = digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
        Ok(Self { at: at.parse().map_err(|_| BadCursor)?, id })
    }
}

/// How many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// So many, at most [`COUNT_MAX`].
    pub items: u64,
    /// Whether there are more.
    pub is_more: bool,
}

impl Count {
    pub(crate) fn of_rows(rows: i64) -> Self {
        let rows = u64::try_from(rows).unwrap_or(0);
        Self { items: rows.min(COUNT_MAX), is_more: rows > COUNT_MAX }
    }
}

/// Adds that a row comes after the place, newest first. The first comparison is the one that an index answers.
pub(crate) fn push_after(sql: &mut Sql, page: &Page, time: &'static str, id: &'static str) {
    if let Page::After(Some(place), _) = page {
        sql.push(" AND ").push(time).push(" <= ").bind(place.at);
        sql.push(" AND (").push(time).push(" < ").bind(place.at);
        sql.push(" OR ").push(id).push(" < ").bind(place.id.clone()).push(")");
    }
}

/// Adds how many rows, one more than the page has, so that it shows whether there is another.
pub(crate) fn push_limit(sql: &mut Sql, page: &Page) {
    sql.push(" LIMIT ").bind(i64::from(page.limit()).saturating_add(1));
    if let Page::Skip(skip, _) = page {
        sql.push(" OFFSET ").bind(i64::try_from(*skip).unwrap_or(i64::MAX));
    }
}

/// Cuts off what is beyond the page; the place of its last row, if there was more.
pub(crate) fn cut<T>(rows: &mut Vec<T>, page: &Page, place: impl Fn(&T) -> Place) -> Option<Place> {
    let limit = usize::try_from(page.limit()).unwrap_or(usize::MAX);
    let is_more = rows.len() > limit;
    rows.truncate(limit);
    rows.last().filter(|_| is_more).map(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_and_other_texts_are_none() {
        let place = Place::new(NanoTimestamp::from_nanos(-5), vec![0, 0xff, 0x1a]);
        assert_eq!(place.to_string(), "-5_00ff1a");
        assert_eq!("-5_00ff1a".parse(), Ok(place));
        for wrong in ["", "5", "x_00", "5_0", "5_xx", "99999999999999999999_00"] {
            assert_eq!(wrong.parse::<Place>(), Err(BadCursor), "{wrong}");
        }
    }
}
