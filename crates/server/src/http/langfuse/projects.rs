//! `/api/public/projects`: the project of the key. The SDKs check their keys with it.

use axum::Json;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::http::authenticate::{AnyKey, Authenticated};
use crate::http::docs::LangfuseError;
use crate::http::surface::{Failure, Langfuse};

/// There are no organisations here; clients want one.
const ORGANIZATION: Organization = Organization { id: "privet", name: "Privet" };

/// The projects that a key opens: one.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProjectList {
    data: [ProjectView; 1],
}

/// A project.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProjectView {
    /// Its id: `LANGFUSE_INIT_PROJECT_ID` where that was given.
    id: String,
    /// Its name.
    name: String,
    organization: Organization,
    /// Always empty.
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
}

/// What projects belong to: always the same.
#[derive(Serialize, ToSchema)]
pub(crate) struct Organization {
    id: &'static str,
    name: &'static str,
}

/// The project of the key.
#[utoipa::path(
    get, path = "/api/public/projects", tag = "Langfuse",
    responses(
        (status = 200, description = "The project", body = ProjectList),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "Only a public key", body = LangfuseError),
    ),
    security(("key" = [])),
)]
pub(crate) async fn list(
    Authenticated { caller, .. }: Authenticated<Langfuse, AnyKey>,
) -> Result<Json<ProjectList>, Failure<Langfuse>> {
    let shown = &caller.project_shown;
    let (id, name) = (shown.id.clone(), shown.name.clone());
    Ok(Json(ProjectList { data: [ProjectView { id, name, organization: ORGANIZATION, metadata: Map::new() }] }))
}
