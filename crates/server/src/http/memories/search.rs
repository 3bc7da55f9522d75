//! `POST /api/memories/search`.

use axum::Json;
use axum::extract::State;
use privet_domain::memory::pack::PackBudget;
use privet_engine::memory::{RecallError, RecallRequest, explained, scope_of};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{MemoryView, filter, off, wrong};
use crate::http::authenticate::{Authenticated, ForRead};
use crate::http::body::JsonBody;
use crate::http::conversations::decode;
use crate::http::docs::NativeError;
use crate::http::error::ApiError;
use crate::http::router::Http;
use crate::http::surface::{Failure, Native};

const LIMIT_DEFAULT: usize = 10;
const LIMIT_MAX: usize = 100;
const QUERY_BYTES_MAX: usize = 32 * 1024;

/// What is sought.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemorySearch {
    /// A question, or words.
    query: String,
    /// At most so many; 10 by default, 100 at most.
    limit: Option<usize>,
    /// Whose memories; those of the key's user where it is not said.
    user: Option<String>,
    /// Only those of this conversation.
    #[schema(value_type = Option<uuid::Uuid>)]
    conversation_id: Option<String>,
    /// Only `message`, `document`, `note` or `fact`.
    kind: Option<String>,
    /// Only those said at this time or later, RFC 3339.
    since: Option<String>,
    /// Only those said before this time, RFC 3339.
    until: Option<String>,
    /// Tell how each was found, and what was left out.
    explain: Option<bool>,
}

/// What was found, best first.
#[derive(Serialize, ToSchema)]
pub(crate) struct FoundMemories {
    items: Vec<FoundMemory>,
    /// Why the words alone were searched, where meaning was to be searched too.
    degraded: Option<String>,
}

/// A memory that was found.
#[derive(Serialize, ToSchema)]
pub(crate) struct FoundMemory {
    #[serde(flatten)]
    memory: MemoryView,
    /// How well it fits: 0 to 1.
    score: f64,
    /// How it was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    explain: Option<Value>,
}

/// Find what fits a question, by its words and, with an embedder, its meaning.
#[utoipa::path(
    post, path = "/api/memories/search", tag = "Memory", request_body = MemorySearch,
    responses(
        (status = 200, description = "What was found, best first", body = FoundMemories),
        (status = 400, description = "A field is wrong, or nothing is remembered here", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `read`", body = NativeError),
        (status = 413, description = "The body is too large", body = NativeError),
        (status = 503, description = "The index does not answer", body = NativeError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn create(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForRead>,
    body: JsonBody<Native>,
) -> Result<Json<FoundMemories>, Failure<Native>> {
    let memory = http.engine.memory.as_ref().ok_or_else(off)?;
    let search: MemorySearch = decode(&body.bytes)?;
    let limit = search.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(wrong("limit", &format!("must be from 1 to {LIMIT_MAX}")).into());
    }
    if search.query.trim().is_empty() || search.query.len() > QUERY_BYTES_MAX {
        return Err(wrong("query", &format!("must say something, in at most {QUERY_BYTES_MAX} bytes")).into());
    }
    let explain = search.explain.unwrap_or(false);
    let unbounded = usize::MAX / 4;
    let request = RecallRequest {
        scope: scope_of(&caller, search.user),
        caller: &caller,
        question: &search.query,
        filter: filter(search.kind, search.conversation_id, search.since, search.until)?,
        thread: &[],
        budget: PackBudget {
            tokens_max: unbounded,
            bytes_max: unbounded,
            text_bytes_max: unbounded,
            count_max: limit,
            ..PackBudget::default()
        },
        parent: None,
    };
    let recollection = http.engine.recall(memory, request).await.map_err(|error| match error {
        RecallError::Store(error) => ApiError::from(error),
        RecallError::Index(error) => {
            ApiError::new(axum::http::StatusCode::SERVICE_UNAVAILABLE, "memory_unavailable", error.to_string())
        }
    })?;
    let degraded = recollection.degraded.clone();
    let shown = recollection.considered.into_iter().filter(|one| explain || one.reason.is_in());
    let items = shown.map(|one| FoundMemory {
        score: one.scores.score,
        explain: explain.then(|| explained(&one)),
        memory: one.memory.into(),
    });
    Ok(Json(FoundMemories { items: items.collect(), degraded }))
}
