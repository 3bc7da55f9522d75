//! `/api/users/{id}` and `/api/erasures`: erase everything of a user, and the receipts. For administrators, in their key's
//! project.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use privet_engine::erasure::{Erasure, ErasureReceipt};
use privet_engine::keyring;
use privet_store::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

use super::authenticate::{Authenticated, ForAdmin};
use super::conversations::PathId;
use super::docs::NativeError;
use super::error::ApiError;
use super::router::Http;
use super::surface::{Failure, Native};

/// So many receipts are told, the newest first.
const RECEIPTS_MAX: u32 = 1_000;

/// What was erased of a user.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReceiptView {
    /// Its id.
    id: uuid::Uuid,
    /// When, RFC 3339.
    at: String,
    /// The project.
    project: String,
    /// The user, by a hash of project and name.
    user_hash: String,
    /// The name under which the ledger keeps the amounts.
    pseudonym: String,
    /// How many rows were deleted, by database and table.
    #[schema(value_type = Object)]
    deleted: serde_json::Value,
    /// Whether the logs of the database's files were emptied, so that the bytes are gone too.
    logs_emptied: bool,
    /// What an erasure does not reach.
    not_covered: Vec<String>,
}

/// Receipts.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReceiptList {
    /// The newest first.
    data: Vec<ReceiptView>,
}

impl From<ErasureReceipt> for ReceiptView {
    fn from(receipt: ErasureReceipt) -> Self {
        Self {
            id: receipt.id,
            at: receipt.at,
            project: receipt.project,
            user_hash: receipt.user_hash,
            pseudonym: receipt.pseudonym,
            deleted: receipt.deleted,
            logs_emptied: receipt.logs_emptied,
            not_covered: receipt.not_covered,
        }
    }
}

/// Erase everything of a user of the key's project: its keys end, its conversations and traces go, the ledger keeps the amounts
/// under a pseudonym. It cannot be undone.
#[utoipa::path(
    delete, path = "/api/users/{id}", tag = "Operations",
    params(("id" = String, Path, description = "The user, as its keys and traces name it")),
    responses(
        (status = 200, description = "What was deleted where; also of a user that left nothing", body = ReceiptView),
        (status = 400, description = "The path is wrong", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `admin`", body = NativeError),
        (status = 409, description = "It is the user of the key that asks", body = NativeError),
        (status = 507, description = "The disk is full", body = NativeError),
    ),
    security(("key" = ["admin"])),
)]
pub(crate) async fn erase(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForAdmin>,
    PathId(user): PathId<String>,
) -> Result<Json<ReceiptView>, Failure<Native>> {
    if *user == *caller.user_id {
        let message =
            "This is the user of the key that asks, which would end with it; use another key, or `privet erase`.";
        return Err(ApiError::new(StatusCode::CONFLICT, "own_user", message).into());
    }
    // It goes on when the client leaves.
    let work = http.connections.spawn({
        let (http, caller) = (http.clone(), caller.clone());
        async move {
            let erasure = erasure(&http);
            if erasure.revoke_keys(caller.project_id, &user).await? > 0 {
                http.engine.keyring.reload().await?;
                // Until the other servers know it too, and calls under way have ended.
                tokio::time::sleep(keyring::POLL_INTERVAL * 2).await;
            }
            let receipt = erasure.erase(caller.project_id, &caller.project, &user).await?;
            tracing::info!(id = %receipt.id, by = %caller.key_id, "a user was erased");
            Ok::<_, StoreError>(receipt)
        }
    });
    let receipt = work.await.map_err(|error| StoreError::Unavailable(format!("the erasure broke off: {error}")))??;
    Ok(Json(receipt.into()))
}

/// The receipts of the key's project.
#[utoipa::path(
    get, path = "/api/erasures", tag = "Operations",
    responses(
        (status = 200, description = "The newest first", body = ReceiptList),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `admin`", body = NativeError),
    ),
    security(("key" = ["admin"])),
)]
pub(crate) async fn list(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForAdmin>,
) -> Result<Json<ReceiptList>, Failure<Native>> {
    let receipts = erasure(&http).receipts(caller.project_id, RECEIPTS_MAX).await?;
    Ok(Json(ReceiptList { data: receipts.into_iter().map(ReceiptView::from).collect() }))
}

fn erasure(http: &Http) -> Erasure {
    let engine = &http.engine;
    Erasure { store: engine.store.clone(), traces: engine.traces.store.clone(), clock: engine.clock.clone() }
}
