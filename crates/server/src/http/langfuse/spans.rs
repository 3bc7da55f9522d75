//! Spans by OTLP over HTTP, protobuf or JSON: `/api/public/otel/v1/traces` for Langfuse's SDKs, `/v1/traces` for any of
//! OpenTelemetry's.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use privet_dialects::otlp::{Export, decode_json, decode_protobuf, encode_reply};
use privet_engine::keyring::Caller;

use crate::http::authenticate::{Authenticated, ForTraces};
use crate::http::body::{UnpackedBody, off_the_runtime};
use crate::http::docs::{LangfuseError, OpenAiError};
use crate::http::error::ApiError;
use crate::http::router::Http;
use crate::http::surface::{Failure, Langfuse, OpenAi};

/// The newest form of Langfuse's attributes that is understood.
const INGESTION_VERSION: u32 = 4;
const INGESTION_VERSION_HEADER: &str = "x-langfuse-ingestion-version";

/// Spans from Langfuse's SDKs.
///
/// The body is an OTLP `ExportTraceServiceRequest`, as protobuf or JSON, plain or gzip.
#[utoipa::path(
    post, path = "/api/public/otel/v1/traces", tag = "Langfuse", request_body = Object,
    responses(
        (status = 200, description = "Kept; refused spans are counted", body = Object),
        (status = 400, description = "No export, or none of its spans can be read", body = LangfuseError),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `traces`", body = LangfuseError),
        (status = 413, description = "The body is too large", body = LangfuseError),
        (status = 415, description = "The body is of another type, or packed in another way", body = LangfuseError),
        (status = 507, description = "The disk is full", body = LangfuseError),
    ),
    security(("key" = ["traces"])),
)]
pub(crate) async fn create(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForTraces>,
    headers: HeaderMap,
    UnpackedBody { bytes, place, .. }: UnpackedBody<Langfuse>,
) -> Result<Response, Failure<Langfuse>> {
    let answer = take_in(&http, &caller, &headers, bytes).await?;
    drop(place);
    Ok(answer)
}

/// Spans from any SDK of OpenTelemetry.
///
/// The body is an OTLP `ExportTraceServiceRequest`, as protobuf or JSON, plain or gzip.
#[utoipa::path(
    post, path = "/v1/traces", tag = "Traces", request_body = Object,
    responses(
        (status = 200, description = "Kept; refused spans are counted", body = Object),
        (status = 400, description = "No export, or none of its spans can be read", body = OpenAiError),
        (status = 401, description = "No valid key", body = OpenAiError),
        (status = 403, description = "The key has not the scope `traces`", body = OpenAiError),
        (status = 413, description = "The body is too large", body = OpenAiError),
        (status = 415, description = "The body is of another type, or packed in another way", body = OpenAiError),
        (status = 507, description = "The disk is full", body = OpenAiError),
    ),
    security(("key" = ["traces"])),
)]
pub(crate) async fn create_plain(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<OpenAi, ForTraces>,
    headers: HeaderMap,
    UnpackedBody { bytes, place, .. }: UnpackedBody<OpenAi>,
) -> Result<Response, Failure<OpenAi>> {
    let answer = take_in(&http, &caller, &headers, bytes).await?;
    drop(place);
    Ok(answer)
}

async fn take_in(http: &Http, caller: &Caller, headers: &HeaderMap, bytes: Bytes) -> Result<Response, ApiError> {
    check_version(headers)?;
    let form = Form::of(headers)?;
    let decoded = off_the_runtime(bytes.len(), move || match form {
        Form::Protobuf => decode_protobuf(&bytes),
        Form::Json => decode_json(&bytes),
    });
    let decoded = decoded.await?;
    let Export { batch, accepted, rejected, reasons } =
        decoded.map_err(|error| ApiError::bad_request(error.to_string()))?;
    let reasons = reasons.join("; ");
    if accepted == 0 && rejected > 0 {
        return Err(ApiError::bad_request(format!("No span of the export can be read: {reasons}.")));
    }
    http.engine.traces.record(caller.project_id, batch).await?;
    Ok(form.reply(rejected, &reasons))
}

fn check_version(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(version) = headers.get(INGESTION_VERSION_HEADER) else { return Ok(()) };
    let version = version.to_str().ok().and_then(|version| version.parse::<u32>().ok());
    if version.is_some_and(|version| version <= INGESTION_VERSION) {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "`{INGESTION_VERSION_HEADER}` must be a number up to {INGESTION_VERSION}: a newer Privet may know more."
    )))
}

#[derive(Clone, Copy)]
enum Form {
    Protobuf,
    Json,
}

impl Form {
    fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/x-protobuf" | "application/protobuf" => Ok(Self::Protobuf),
            "application/json" => Ok(Self::Json),
            _ => Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unknown_content_type",
                "Spans come as `application/x-protobuf` or `application/json`; say which in the header `content-type`.",
            )),
        }
    }

    /// In the form of the request. An export that is kept whole has an empty answer.
    fn reply(self, rejected: usize, reasons: &str) -> Response {
        match self {
            Self::Protobuf => {
                let protobuf = HeaderValue::from_static("application/x-protobuf");
                ([(header::CONTENT_TYPE, protobuf)], encode_reply(rejected, reasons)).into_response()
            }
            Self::Json if rejected == 0 => axum::Json(serde_json::json!({})).into_response(),
            Self::Json => {
                let partial = serde_json::json!({"rejectedSpans": rejected.to_string(), "errorMessage": reasons});
                axum::Json(serde_json::json!({"partialSuccess": partial})).into_response()
            }
        }
    }
}
