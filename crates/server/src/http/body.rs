//! The body of a request: bounded in size, in time and in nesting before anything reads it.

use std::marker::PhantomData;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use privet_dialects::json_limits::{self, JsonLimits};

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

fn too_large(limits: &BodyLimits) -> ApiError {
    let message =
        format!("The body is larger than {} bytes; send less, or raise `server.body_bytes_max`.", limits.bytes_max);
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
}
