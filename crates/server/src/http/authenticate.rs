//! Who calls: an extractor that yields the caller of a valid key.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use privet_engine::Engine;
use privet_engine::keyring::Caller;

use super::error::ApiError;
use super::router::Http;
use super::surface::{Failure, Surface};

/// The code of a key that is not one of ours, or not any more.
const INVALID_KEY: &str = "invalid_api_key";

/// The caller, once the key was found valid.
pub(crate) struct Authenticated<S: Surface> {
    pub(crate) caller: Caller,
    surface: PhantomData<S>,
}

impl<S: Surface> FromRequestParts<Http> for Authenticated<S> {
    type Rejection = Failure<S>;

    async fn from_request_parts(parts: &mut Parts, http: &Http) -> Result<Self, Self::Rejection> {
        let address = http.door.enter(parts, S::COUNTED)?;
        match authenticate(&http.engine, &parts.headers) {
            Ok(caller) => Ok(Self { caller, surface: PhantomData }),
            Err(error) => {
                if error.code == INVALID_KEY {
                    http.door.refused_key(address)?;
                }
                Err(error.into())
            }
        }
    }
}

/// `Authorization: Bearer KEY` and `x-api-key: KEY` are both accepted, on every surface. The words are the lesson's.
fn authenticate(engine: &Arc<Engine>, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let token = bearer(headers).or_else(|| headers.get("x-api-key")?.to_str().ok());
    let Some(token) = token.filter(|token| !token.is_empty()) else {
        return Err(unauthorized("missing_api_key", "Unauthorized: No token provided"));
    };
    let caller = engine.keyring.authenticate(token, engine.clock.now());
    caller.ok_or_else(|| unauthorized(INVALID_KEY, "Unauthorized: Invalid token"))
}

/// The scheme's name is case-insensitive (RFC 9110, section 11.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn unauthorized(code: &str, message: &str) -> ApiError {
    let mut error = ApiError::new(StatusCode::UNAUTHORIZED, code, message);
    error.headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    error
}
