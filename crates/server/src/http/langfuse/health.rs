//! `/api/public/health`: that the server lives. No key needed.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

/// The version of the Langfuse server whose API this surface follows: clients compare it, not Privet's own.
const FOLLOWED_VERSION: &str = "4.16.0";

/// The state of the server.
#[derive(Serialize, ToSchema)]
pub(crate) struct LangfuseHealth {
    /// `OK`.
    status: &'static str,
    /// The version of the Langfuse server whose API is followed.
    version: &'static str,
}

/// The server lives.
#[utoipa::path(get, path = "/api/public/health", tag = "Langfuse",
    responses((status = 200, description = "It lives", body = LangfuseHealth)))]
pub(crate) async fn read() -> Json<LangfuseHealth> {
    Json(LangfuseHealth { status: "OK", version: FOLLOWED_VERSION })
}
