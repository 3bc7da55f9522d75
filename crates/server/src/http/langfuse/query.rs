//! The query strings of this surface: unknown names are left out, as the original does.

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use privet_domain::time::NanoTimestamp;
use privet_store::{Count, Place, StoreError};
use serde::Serialize;

use crate::http::error::{ApiError, Issue, shortened};
use crate::http::router::Http;
use crate::http::surface::{Failure, Langfuse};

/// What stands in a query string.
pub(crate) struct Params(Vec<(String, String)>);

impl FromRequestParts<Http> for Params {
    type Rejection = Failure<Langfuse>;

    async fn from_request_parts(parts: &mut Parts, http: &Http) -> Result<Self, Self::Rejection> {
        match Query::<Vec<(String, String)>>::from_request_parts(parts, http).await {
            Ok(Query(pairs)) => Ok(Self(pairs)),
            Err(error) => Err(ApiError::bad_request(error.body_text()).into()),
        }
    }
}

impl Params {
    /// The first value of a name, if it is not empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.given(name).filter(|value| !value.is_empty())
    }

    /// The first value of a name, even an empty one.
    pub(crate) fn given(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All values of a name; some clients write it with brackets.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        let named = |key: &str| key == name || key.strip_suffix("[]") == Some(name);
        let values = self.0.iter().filter(|(key, value)| named(key) && !value.is_empty());
        values.map(|(_, value)| value.clone()).collect()
    }

    /// The parts of a list that is written with commas.
    pub(crate) fn parts(&self, name: &str) -> Vec<String> {
        let values = self.text(name).unwrap_or_default().split(',').map(str::trim);
        values.filter(|value| !value.is_empty()).map(str::to_owned).collect()
    }

    /// A value of some other type than text.
    pub(crate) fn parsed<T: std::str::FromStr>(&self, name: &str, what: &str) -> Result<Option<T>, ApiError> {
        self.text(name).map(|value| value.parse().map_err(|_| wrong(name, what))).transpose()
    }

    /// An instant.
    pub(crate) fn time(&self, name: &str) -> Result<Option<NanoTimestamp>, ApiError> {
        let what = "an instant in ISO 8601 such as `2026-11-25T10:00:00Z`";
        self.text(name).map(|value| NanoTimestamp::parse(value).ok_or_else(|| wrong(name, what))).transpose()
    }

    /// How many items a page has.
    pub(crate) fn limit(&self, max: u32) -> Result<u32, ApiError> {
        let limit = self.parsed("limit", "a number")?.unwrap_or(PAGE_DEFAULT);
        if (1..=max).contains(&limit) { Ok(limit) } else { Err(wrong("limit", &format!("from 1 to {max}"))) }
    }

    /// Which page, from 1 on.
    pub(crate) fn page(&self) -> Result<u32, ApiError> {
        Ok(self.parsed("page", "a number from 1 on")?.unwrap_or(1).max(1))
    }

    /// Where the page before ended.
    pub(crate) fn cursor(&self) -> Result<Option<Place>, ApiError> {
        self.parsed("cursor", "the `cursor` of the page before")
    }
}

const PAGE_DEFAULT: u32 = 50;
/// Pages by number are not larger.
pub(crate) const PAGE_MAX: u32 = 100;

/// The error of a query parameter that is not what it should be.
pub(crate) fn wrong(name: &str, what: &str) -> ApiError {
    ApiError::invalid_data(vec![Issue::at(name, format!("must be {what}"))])
}

/// Where a page stands among all of them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PageMeta {
    page: u32,
    limit: u32,
    total_items: u64,
    total_pages: u64,
}

impl PageMeta {
    /// Of a page that holds so many; `count` is of all.
    pub(crate) fn new(page: u32, limit: u32, count: Count) -> Self {
        Self { page, limit, total_items: count.items, total_pages: count.items.div_ceil(u64::from(limit.max(1))) }
    }
}

/// How many items stand before a page.
pub(crate) fn skipped(page: u32, limit: u32) -> u64 {
    u64::from(page.saturating_sub(1)) * u64::from(limit)
}

/// The count of all, where a page that is not full says it.
pub(crate) fn counted_by_page(page: u32, limit: u32, shown: usize, is_last: bool) -> Option<Count> {
    let shown = u64::try_from(shown).ok()?;
    let is_within = shown > 0 || page == 1;
    (is_last && is_within).then(|| Count { items: skipped(page, limit) + shown, is_more: false })
}

/// An id or a name in the path.
pub(crate) struct Named<T>(pub(crate) T);

impl<T: std::str::FromStr + Send> FromRequestParts<Http> for Named<T> {
    type Rejection = Failure<Langfuse>;

    async fn from_request_parts(parts: &mut Parts, http: &Http) -> Result<Self, Self::Rejection> {
        let Ok(Path(text)) = Path::<String>::from_request_parts(parts, http).await else {
            return Err(ApiError::bad_request("The path is not valid UTF-8.").into());
        };
        let none = |_| ApiError::not_found(format!("There is no `{}` in this project.", shortened(&text)));
        Ok(Self(text.parse().map_err(none)?))
    }
}

/// The error of something that is not there.
pub(crate) fn missing(error: StoreError, what: &str, id: &str) -> ApiError {
    match error {
        StoreError::NotFound => ApiError::not_found(format!("There is no {what} `{}` in this project.", shortened(id))),
        error => error.into(),
    }
}
