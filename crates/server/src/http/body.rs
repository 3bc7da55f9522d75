//! The body of a request: bounded in size, in time and in nesting before anything reads it.

use std::io::Read as _;
use std::marker::PhantomData;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderValue, StatusCode, header};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use privet_dialects::json_limits::{self, JsonLimits};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::error::ApiError;
use super::router::{BodyLimits, Http};
use super::surface::{Failure, Surface};

/// A JSON body: whole, valid UTF-8, and nested no deeper than is sensible. Its syntax is for the dialect to check.
pub(crate) struct JsonBody<S: Surface> {
    pub(crate) bytes: Bytes,
    surface: PhantomData<S>,
}

impl<S: Surface> FromRequest<Http> for JsonBody<S> {
    type Rejection = Failure<S>;

    async fn from_request(request: Request, http: &Http) -> Result<Self, Self::Rejection> {
        let bytes = read(request, &http.body_limits).await?;
        json_limits::check(&bytes, &JsonLimits::default())?;
        Ok(Self { bytes, surface: PhantomData })
    }
}

/// Large bodies take many times their size in memory while they are read: so many are worked on at once, the others wait.
static LARGE_BODIES: Semaphore = Semaphore::const_new(3);

/// A body of any form, whole: unpacked where it is gzip, within the same bound.
pub(crate) struct UnpackedBody<S: Surface> {
    pub(crate) bytes: Bytes,
    /// The place of a large body. It is to be held until nothing is left of it.
    pub(crate) place: Option<SemaphorePermit<'static>>,
    surface: PhantomData<S>,
}

impl<S: Surface> FromRequest<Http> for UnpackedBody<S> {
    type Rejection = Failure<S>;

    async fn from_request(request: Request, http: &Http) -> Result<Self, Self::Rejection> {
        let is_gzip = match request.headers().get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
            None | Some(b"" | b"identity") => false,
            Some(b"gzip") => true,
            Some(_) => {
                let message = "The body is packed in a way that is not understood; send it plain or as gzip.";
                return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unknown_encoding", message).into());
            }
        };
        let limits = http.body_limits;
        let mut bytes = read(request, &limits).await?;
        let mut place = None;
        if is_gzip || bytes.len() >= LONG_WORK_BYTES {
            place = LARGE_BODIES.acquire().await.ok();
        }
        if is_gzip {
            bytes = off_the_runtime(bytes.len(), move || unpack(&bytes, &limits)).await??;
        }
        // What turned out small needs no place.
        let place = place.filter(|_| bytes.len() >= LONG_WORK_BYTES);
        Ok(Self { bytes, place, surface: PhantomData })
    }
}

/// Work on so many bytes and more would keep others waiting.
const LONG_WORK_BYTES: usize = 64 * 1024;

/// Does work of the processor: at once where it is short, else on a thread of its own.
pub(crate) async fn off_the_runtime<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    if bytes < LONG_WORK_BYTES {
        return Ok(work());
    }
    let message = "The server failed on this request; its log says where.";
    let failed = |_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message);
    tokio::task::spawn_blocking(work).await.map_err(failed)
}

/// Unpacks gzip, never more than the bound: a small body can hold a large one.
fn unpack(packed: &[u8], limits: &BodyLimits) -> Result<Bytes, ApiError> {
    let mut unpacked = Vec::new();
    let bound = u64::try_from(limits.bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(packed).take(bound).read_to_end(&mut unpacked).map_err(|error| {
        ApiError::bad_request(format!("The body is no gzip, as its content-encoding says: {error}."))
    })?;
    if unpacked.len() > limits.bytes_max {
        return Err(too_large(limits));
    }
    Ok(Bytes::from(unpacked))
}

async fn read(request: Request, limits: &BodyLimits) -> Result<Bytes, ApiError> {
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: usize| length > limits.bytes_max) {
        return Err(too_large(limits));
    }
    let body: Limited<Body> = Limited::new(request.into_body(), limits.bytes_max);
    match tokio::time::timeout(limits.timeout, body.collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(limits)),
        Ok(Err(_)) => Err(ApiError::bad_request("The body ended before its announced length.")),
        Err(_) => {
            let message = format!("The body did not arrive within {} s; send it faster.", limits.timeout.as_secs_f64());
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message))
        }
    }
}

pub(super) fn too_large(limits: &BodyLimits) -> ApiError {
    let message =
        format!("The body is larger than {} bytes; send less, or raise `server.body_bytes_max`.", limits.bytes_max);
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
}
