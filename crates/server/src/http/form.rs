//! A form with a recording: read part by part, bounded in size, in time, and in how much of such forms is in memory at once.

use std::marker::PhantomData;

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use multer::{Field, Multipart};
use privet_dialects::openai::audio::FormPart;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::body::{off_the_runtime, too_large};
use super::error::ApiError;
use super::idempotency::Repeatable;
use super::router::{BodyLimits, Http};
use super::surface::{Failure, Surface};

/// OpenAI takes recordings of up to 25 MB (<https://platform.openai.com/docs/guides/speech-to-text>); the other parts are words.
const FORM_BYTES_MAX: usize = 26 * 1024 * 1024;
/// So many KiB of forms are in memory at once, each twice while it is written for the provider; the others wait.
static FORMS_KIB: Semaphore = Semaphore::const_new(4 * FORM_BYTES_MAX / 1024);
/// A form of OpenAI's has a dozen.
const PARTS_MAX: usize = 64;

/// The parts of a form, and the Idempotency-Key if the request carries one.
pub(crate) struct RepeatableForm<S: Surface> {
    pub(crate) parts: Vec<FormPart>,
    pub(crate) repeatable: Option<Repeatable>,
    /// The place of the form in memory. It is to be held until nothing is left of it.
    pub(crate) place: Option<SemaphorePermit<'static>>,
    surface: PhantomData<S>,
}

impl<S: Surface> FromRequest<Http> for RepeatableForm<S> {
    type Rejection = Failure<S>;

    async fn from_request(request: Request, http: &Http) -> Result<Self, Self::Rejection> {
        let repeatable = Repeatable::read(&request)?;
        let bytes_max = http.body_limits.bytes_max.min(FORM_BYTES_MAX);
        let limits = BodyLimits { bytes_max, ..http.body_limits };
        let boundary = boundary(request.headers())?;
        let announced = content_length(request.headers());
        if announced.is_some_and(|length| length > bytes_max) {
            return Err(too_large(&limits).into());
        }
        let place = place(announced.unwrap_or(bytes_max), &limits).await?;
        let body = Limited::new(request.into_body(), bytes_max).into_data_stream();
        let read = timeout(limits.timeout, read(Multipart::new(body, boundary), &limits)).await;
        let parts = read.map_err(|_| {
            let message = format!("The form did not arrive within {} s; send it faster.", limits.timeout.as_secs_f64());
            ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message)
        })??;
        let Some(head) = repeatable else { return Ok(Self { parts, repeatable, place, surface: PhantomData }) };
        let bytes = parts.iter().map(|part| part.bytes.len()).sum();
        // Not the bytes as they came: each time that a client sends a form it takes another boundary.
        let (repeatable, parts) = off_the_runtime(bytes, move || {
            let of_part =
                |head: Repeatable, part: &FormPart| head.with_body(part.name.as_bytes()).with_body(&part.bytes);
            (Some(parts.iter().fold(head, of_part)), parts)
        })
        .await?;
        Ok(Self { parts, repeatable, place, surface: PhantomData })
    }
}

fn boundary(headers: &HeaderMap) -> Result<String, ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    multer::parse_boundary(kind).map_err(|_| {
        let message =
            "The body must be a form: send it as `multipart/form-data`, with its boundary in the content type.";
        ApiError::bad_request(message)
    })
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Waits for room in memory, no longer than for the form itself.
async fn place(bytes: usize, limits: &BodyLimits) -> Result<Option<SemaphorePermit<'static>>, ApiError> {
    let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
    match timeout(limits.timeout, FORMS_KIB.acquire_many(kib)).await {
        Ok(permit) => Ok(permit.ok()),
        Err(_) => {
            let message = "Too many recordings are being received; send this one again in a moment.";
            Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_forms", message))
        }
    }
}

async fn read(mut form: Multipart<'static>, limits: &BodyLimits) -> Result<Vec<FormPart>, ApiError> {
    let mut parts = Vec::new();
    while let Some(field) = form.next_field().await.map_err(|error| wrong(error, limits))? {
        if parts.len() == PARTS_MAX {
            return Err(ApiError::bad_request(format!("The form has more than {PARTS_MAX} parts; send fewer.")));
        }
        parts.push(part(field, limits).await?);
    }
    Ok(parts)
}

async fn part(field: Field<'static>, limits: &BodyLimits) -> Result<FormPart, ApiError> {
    let is_plain = |name: &&str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.[]".contains(&byte))
    };
    let Some(name) = field.name().filter(is_plain).map(str::to_owned) else {
        let message =
            "A part of the form has no name of letters, figures and `_-.[]`; name it in its content-disposition.";
        return Err(ApiError::bad_request(message));
    };
    let file_name = field.file_name().map(str::to_owned);
    let others = field.headers().iter().filter(|(name, _)| *name != header::CONTENT_DISPOSITION);
    let headers =
        others.map(|(name, value)| (name.as_str().to_owned(), Bytes::copy_from_slice(value.as_bytes()))).collect();
    let bytes = field.bytes().await.map_err(|error| wrong(error, limits))?;
    Ok(FormPart { name, file_name, headers, bytes })
}

fn wrong(error: multer::Error, limits: &BodyLimits) -> ApiError {
    match &error {
        multer::Error::StreamReadFailed(cause) if cause.is::<LengthLimitError>() => too_large(limits),
        error => ApiError::bad_request(format!("The form cannot be read: {error}.")),
    }
}
