//! `/api/usage`: what was spent, and why.

use axum::Json;
use axum::extract::State;
use privet_domain::budget::Budget;
use privet_domain::id::RequestId;
use privet_domain::scope::Scope;
use privet_domain::time::Timestamp;
use privet_engine::api_key;
use privet_engine::budget::Spender;
use privet_engine::keyring::Caller;
use privet_engine::usage::{self, Explanation};
use privet_store::{ApiKey, UsageFilter};
use serde::Deserialize;
use utoipa::IntoParams;

use super::authenticate::{Authenticated, ForRead};
use super::conversations::{PathId, Queried};
use super::docs::NativeError;
use super::error::{ApiError, shortened};
use super::router::Http;
use super::surface::{Failure, Native};
use crate::usage_view::{ExplanationView, UsageView};

/// Which calls are counted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct UsageQuery {
    /// Those of a key, by its id or public id.
    key: Option<String>,
    /// Those of a user.
    user: Option<String>,
    /// Those of a project, by name; for administrators. All projects when absent.
    project: Option<String>,
    /// Those made at this instant or later, RFC 3339.
    since: Option<String>,
    /// Those made before this instant, RFC 3339.
    until: Option<String>,
}

/// What was spent: settled and held nano-dollars, tokens and calls, by key, user, model and day.
///
/// A key with the scope `read` sees its own project, an administrator all.
#[utoipa::path(
    get, path = "/api/usage", tag = "Money",
    params(UsageQuery),
    responses(
        (status = 200, description = "The sums", body = UsageView),
        (status = 400, description = "An instant is wrong", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `read`", body = NativeError),
        (status = 404, description = "Unknown key or project", body = NativeError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn sum(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForRead>,
    Queried(query): Queried<UsageQuery>,
) -> Result<Json<UsageView>, Failure<Native>> {
    let engine = &http.engine;
    let mut filter = UsageFilter {
        user_id: query.user,
        since: query.since.as_deref().map(|text| instant("since", text)).transpose()?,
        until: query.until.as_deref().map(|text| instant("until", text)).transpose()?,
        ..UsageFilter::default()
    };
    let is_admin = caller.scopes.allow(Scope::Admin);
    filter.project_id = match query.project {
        None if is_admin => None,
        None => Some(caller.project_id),
        Some(name) if is_admin || *name == *caller.project => Some(project(&http, &name).await?),
        Some(name) => return Err(no_project(&name).into()),
    };
    let key = match &query.key {
        Some(id) => Some(key_seen_by(&http, &caller, id).await?),
        None => None,
    };
    filter.key_id = key.as_ref().map(|key| key.id);
    let report = usage::report(&engine.store, &filter).await?;
    let budgets = budgets(&http, &caller, key.as_ref())?;
    let standings = usage::standings(&engine.store, &budgets, engine.clock.now()).await?;
    Ok(Json(UsageView::new(&report, standings)))
}

/// Why a request cost what it cost, or was refused, by the id in its answer's `x-request-id`.
#[utoipa::path(
    get, path = "/api/usage/{id}", tag = "Money",
    params(("id" = uuid::Uuid, Path, description = "The request")),
    responses(
        (status = 200, description = "What is known of it", body = ExplanationView),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `read`", body = NativeError),
        (status = 404, description = "Nothing is known of it", body = NativeError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn explain(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForRead>,
    PathId(id): PathId<RequestId>,
) -> Result<Json<ExplanationView>, Failure<Native>> {
    // What was refused a moment ago may not be written yet.
    http.engine.refusals.write(&http.engine.store).await;
    let unknown = || {
        ApiError::not_found(format!(
            "Nothing is known of the request `{id}`: it reached no provider and met no limit of a key, or it is another project's."
        ))
    };
    let explanation = usage::explain(&http.engine.store, id).await?.ok_or_else(unknown)?;
    let (project_id, key_id) = match &explanation {
        Explanation::Calls(calls) => {
            let call = calls.first().ok_or_else(unknown)?;
            (call.project_id, call.key_id)
        }
        Explanation::Refused(refusal) => (refusal.project_id, refusal.key_id),
    };
    if project_id != caller.project_id && !caller.scopes.allow(Scope::Admin) {
        return Err(unknown().into());
    }
    Ok(Json(ExplanationView::new(&explanation, &format!("key {key_id}"))))
}

/// The budgets to show: those of a key, or all of the configuration that the caller may know of.
fn budgets(http: &Http, caller: &Caller, key: Option<&ApiKey>) -> Result<Vec<Budget>, ApiError> {
    let engine = &http.engine;
    let rules = match key {
        Some(key) => {
            let (_, limits) = api_key::rights(key)?;
            let spender = Spender {
                family_id: key.family_id,
                user_id: &key.user_id,
                project: &key.project,
                allowances: &limits.budgets,
            };
            engine.budgets.rules_for(&spender).to_vec()
        }
        None if caller.scopes.allow(Scope::Admin) => engine.budgets.configured().cloned().collect(),
        None => {
            let spender = Spender {
                family_id: caller.family_id,
                user_id: &caller.user_id,
                project: &caller.project,
                allowances: &caller.limits.budgets,
            };
            engine.budgets.rules_for(&spender).to_vec()
        }
    };
    Ok(rules.iter().map(|rule| rule.budget.clone()).collect())
}

async fn key_seen_by(http: &Http, caller: &Caller, id: &str) -> Result<ApiKey, ApiError> {
    let key = api_key::find(&http.engine.store, id).await?;
    if key.project_id == caller.project_id || caller.scopes.allow(Scope::Admin) {
        return Ok(key);
    }
    Err(api_key::ApiKeyError::Unknown(id.to_owned()).into())
}

async fn project(http: &Http, name: &str) -> Result<privet_domain::id::ProjectId, ApiError> {
    let found = http.engine.store.find_project(name).await?;
    found.map(|project| project.id).ok_or_else(|| no_project(name))
}

fn no_project(name: &str) -> ApiError {
    ApiError::not_found(format!("There is no project `{}` that this key may see.", shortened(name))).at("project")
}

fn instant(field: &str, text: &str) -> Result<Timestamp, ApiError> {
    Timestamp::parse(text).ok_or_else(|| {
        let message =
            format!("`{field}` = `{}` is no instant; write RFC 3339, such as `2026-11-25T00:00:00Z`.", shortened(text));
        ApiError::bad_request(message).at(field)
    })
}
